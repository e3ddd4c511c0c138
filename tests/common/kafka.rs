//! A real Kafka broker of a test's own, on loopback: started, killed, restarted, filled and read.
//!
//! Every broker takes four free ports: `PORT` (plain), `PORT + 1` (its controller), and two for listeners that a test adds by
//! properties in which `{0}` to `{3}` stand for the four. It dies with its value; its folder holds what it held.

#![allow(clippy::disallowed_methods, reason = "a test that waits must end: it reads the clock")]

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::live::until;
use super::root;

/// How long a broker, or a word with it, may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A broker; killed where a test forgets it.
pub struct Broker {
    folder: PathBuf,
    port: u16,
    more: String,
    scram: Option<String>,
    child: Option<Child>,
    /// Its folder, where it is its own.
    own: Option<tempfile::TempDir>,
}

/// A record as a topic has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Had {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<String>,
    /// Its value; none of a tombstone.
    pub value: Option<String>,
    /// Its headers, in order.
    pub headers: Vec<(String, String)>,
    /// When it was appended or made, in milliseconds.
    pub time: i64,
}

impl Broker {
    /// A plain broker that keeps its data in `folder`; ready when this returns.
    pub fn start(folder: &Path) -> Broker {
        Broker::start_with(folder, "", None)
    }

    /// The same with more properties, and a SCRAM user as `kafka-storage format --add-scram` writes one:
    /// `SCRAM-SHA-256=[name=ada,password=secret]`.
    pub fn start_with(folder: &Path, more: &str, scram: Option<&str>) -> Broker {
        std::fs::create_dir_all(folder).expect("room for a broker");
        let port = free_ports();
        let more = (0..4)
            .fold(more.to_owned(), |more, n| more.replace(&format!("{{{n}}}"), &(port + n).to_string()));
        let scram = scram.map(str::to_owned);
        let mut broker = Broker { folder: folder.to_owned(), port, more, scram, child: None, own: None };
        broker.restart();
        broker
    }

    /// A plain broker that tests of one process share, while one of them holds it.
    pub fn shared() -> Arc<Broker> {
        static BROKER: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
        let mut broker = BROKER.lock().unwrap_or_else(PoisonError::into_inner);
        broker.upgrade().unwrap_or_else(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let mut new = Broker::start(folder.path());
            new.own = Some(folder);
            let new = Arc::new(new);
            *broker = Arc::downgrade(&new);
            new
        })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Where it listens plainly.
    pub fn address(&self) -> String {
        self.address_of(0)
    }

    /// Where its listener `n` listens: 0 is the plain one, 2 and 3 those of the test.
    pub fn address_of(&self, n: u16) -> String {
        format!("127.0.0.1:{}", self.port + n)
    }

    /// SIGTERM: it ends in order.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let id = child.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill").success());
            child.wait().expect("it ends");
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
    }

    /// Starts it again, with what its folder holds, at the same ports; ready when this returns.
    pub fn restart(&mut self) {
        self.restart_with(&self.more.clone());
    }

    /// The same with other properties.
    pub fn restart_with(&mut self, more: &str) {
        self.kill();
        more.clone_into(&mut self.more);
        let properties = self.folder.join("more.properties");
        std::fs::write(&properties, more).expect("room for properties");
        let mut command = Command::new(root().join("tests/kafka/broker"));
        command.arg(&self.folder).arg(self.port.to_string()).arg(&properties);
        if let Some(scram) = &self.scram {
            command.env("QUELL_SCRAM", scram);
        }
        let said = std::fs::File::create(self.folder.join("script.txt")).expect("room");
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        self.child = Some(command.spawn().expect("bash"));
        let consumer: BaseConsumer = self.config().create().expect("a client");
        let since = Instant::now();
        while consumer.fetch_metadata(None, Duration::from_secs(1)).is_err() {
            let ended = self.child.as_mut().is_some_and(|child| child.try_wait().expect("a child").is_some());
            assert!(!ended && since.elapsed() < PATIENCE, "the broker does not start: {}", self.said());
        }
    }

    /// What the broker and its script said.
    pub fn said(&self) -> String {
        let said = ["script.txt", "format.txt", "broker.txt"].map(|name| self.folder.join(name));
        said.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
    }

    /// What a client of its plain listener is made from.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address());
        // What a test asks for is there when it has asked: nothing is waited for longer than it must.
        config.set("reconnect.backoff.max.ms", "500").set("log_level", "0");
        config
    }

    /// A topic of so many partitions, once all of them can be written.
    pub fn topic(&self, name: &str, partitions: i32) {
        self.topic_with(name, partitions, &[]);
    }

    /// The same, with settings as `retention.ms`.
    pub fn topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let made = block_on(self.admin().create_topics([&topic], &options())).expect("the broker answers");
        made.into_iter().collect::<Result<Vec<_>, _>>().expect("a new topic");
        self.has(name, partitions);
    }

    /// Gives a topic more partitions: so many in all.
    pub fn add_partitions(&self, topic: &str, all: usize) {
        let more = NewPartitions::new(topic, all);
        let made = block_on(self.admin().create_partitions([&more], &options())).expect("the broker answers");
        made.into_iter().collect::<Result<Vec<_>, _>>().expect("more partitions");
        self.has(topic, i32::try_from(all).expect("few"));
    }

    /// Removes a topic.
    pub fn delete_topic(&self, topic: &str) {
        let gone = block_on(self.admin().delete_topics(&[topic], &options())).expect("the broker answers");
        gone.into_iter().collect::<Result<Vec<_>, _>>().expect("a topic");
    }

    /// Removes the records before `offset`, as retention does. A broker that is killed within a minute may have them again.
    pub fn delete_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("a place");
        block_on(self.admin().delete_records(&before, &options())).expect("the broker answers");
    }

    /// Appends values to one partition, or by the hash of their (absent) key where none is named; durable when this returns.
    pub fn produce<'a>(
        &self,
        topic: &str,
        partition: Option<i32>,
        values: impl IntoIterator<Item = &'a str>,
    ) {
        let records = values.into_iter().map(|value| (None, Some(value)));
        self.produce_keyed(topic, partition, records);
    }

    /// The same with keys and tombstones.
    pub fn produce_keyed<'a>(
        &self,
        topic: &str,
        partition: Option<i32>,
        records: impl IntoIterator<Item = (Option<&'a str>, Option<&'a str>)>,
    ) {
        let mut config = self.config();
        config.set("linger.ms", "5").set("enable.idempotence", "true");
        config.set("queue.buffering.max.messages", "1000000");
        let producer: BaseProducer = config.create().expect("a producer");
        for (key, value) in records {
            let mut record: BaseRecord<'_, str, str> = BaseRecord::to(topic);
            (record.partition, record.key, record.payload) = (partition, key, value);
            let mut sent = producer.send(record);
            while let Err((_, again)) = sent {
                producer.poll(Duration::from_millis(20));
                sent = producer.send(again);
            }
        }
        producer.flush(PATIENCE).expect("all of them are taken");
    }

    /// Appends values in transactions, each committed or aborted.
    pub fn produce_in_transactions<'a>(
        &self,
        topic: &str,
        partition: i32,
        transactions: impl IntoIterator<Item = (&'a [&'a str], bool)>,
    ) {
        let mut config = self.config();
        let producer: BaseProducer = config.set("transactional.id", topic).create().expect("a producer");
        producer.init_transactions(PATIENCE).expect("a coordinator");
        for (values, committed) in transactions {
            producer.begin_transaction().expect("a transaction");
            for value in values {
                let record: BaseRecord<'_, str, str> =
                    BaseRecord::to(topic).partition(partition).payload(value);
                producer.send(record).map_err(|(error, _)| error).expect("room");
            }
            producer.flush(PATIENCE).expect("all of them are taken");
            let ended = if committed {
                producer.commit_transaction(PATIENCE)
            } else {
                producer.abort_transaction(PATIENCE)
            };
            ended.expect("an end");
        }
    }

    /// All that a topic holds, by partition and offset, as a reader of committed records sees it.
    pub fn consume(&self, topic: &str) -> Vec<Had> {
        let mut config = self.config();
        config.set("group.id", "test").set("auto.offset.reset", "error").set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut places = TopicPartitionList::new();
        for partition in 0..self.partitions(topic) {
            places.add_partition_offset(topic, partition, Offset::Beginning).expect("a place");
        }
        consumer.assign(&places).expect("places");
        let (mut left, mut had, since) = (places.count(), Vec::new(), Instant::now());
        while left > 0 {
            assert!(since.elapsed() < PATIENCE, "waited for long for {topic}");
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(message)) => had.push(Had::of(&message)),
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => left -= 1,
                Some(Err(error)) => panic!("{topic}: {error}"),
            }
        }
        had.sort_by_key(|had| (had.partition, had.offset));
        had
    }

    /// The first offset that a partition has, and the one after its last.
    pub fn bounds(&self, topic: &str, partition: i32) -> (i64, i64) {
        let consumer: BaseConsumer = self.config().create().expect("a client");
        consumer.fetch_watermarks(topic, partition, PATIENCE).expect("the broker answers")
    }

    /// Where a group says that it is: the next offset of each partition.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<Option<i64>> {
        let mut config = self.config();
        let consumer: BaseConsumer = config.set("group.id", group).create().expect("a client");
        let mut places = TopicPartitionList::new();
        places.add_partition_range(topic, 0, self.partitions(topic) - 1);
        let said = consumer.committed_offsets(places, PATIENCE).expect("the broker answers");
        said.elements().iter().map(|place| place.offset().to_raw().filter(|offset| *offset >= 0)).collect()
    }

    fn partitions(&self, topic: &str) -> i32 {
        let consumer: BaseConsumer = self.config().create().expect("a client");
        let known = consumer.fetch_metadata(Some(topic), PATIENCE).expect("the broker answers");
        i32::try_from(known.topics()[0].partitions().len()).expect("few")
    }

    fn has(&self, topic: &str, partitions: i32) {
        let consumer: BaseConsumer = self.config().create().expect("a client");
        until("the topic is there", || {
            let known = consumer.fetch_metadata(Some(topic), PATIENCE).ok()?;
            let led = known.topics()[0].partitions().iter().filter(|it| it.leader() >= 0);
            (i32::try_from(led.count()) == Ok(partitions)).then_some(())
        });
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("a client")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Had {
    fn of(message: &impl Message) -> Had {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let header = |header: rdkafka::message::Header<'_, &[u8]>| {
            (header.key.to_owned(), text(header.value.unwrap_or_default()))
        };
        Had {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(text),
            value: message.payload().map(text),
            headers: message.headers().map(|all| all.iter().map(header).collect()).unwrap_or_default(),
            time: message.timestamp().to_millis().unwrap_or(0),
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a thread").block_on(what)
}

/// Four ports in a row that nobody listens at, below those that the system gives to clients.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 2_500).expect("small");
    for _ in 0..2_500 {
        let at = 20_000 + (process + 7 * NEXT.fetch_add(1, Ordering::SeqCst)) % 2_500 * 4;
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if (at..at + 4).all(free) {
            return at;
        }
    }
    panic!("no four ports in a row are free");
}
