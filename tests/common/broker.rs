//! A real Kafka broker for a test, on ports of its own: started, stopped, killed, started again on the same data; topics made,
//! written and read to their ends.

#![allow(clippy::disallowed_methods, reason = "a test that waits must end: it reads the clock")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::live::until;
use super::root;

/// Long enough for a busy machine.
const ANSWER: Duration = Duration::from_secs(20);

/// A broker; it ends with the test.
pub struct Broker {
    folder: PathBuf,
    port: u16,
    more: Option<PathBuf>,
    child: Option<Child>,
}

/// A message as it lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Lying {
    pub partition: i32,
    pub offset: i64,
    pub key: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Lying {
    /// A header's value; empty where it has none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

impl Broker {
    /// Starts one with its data in `folder`; it answers when this returns.
    pub fn start(folder: &Path) -> Broker {
        Broker::with(folder, None)
    }

    /// The same, with more properties.
    pub fn with(folder: &Path, more: Option<PathBuf>) -> Broker {
        // Two ports side by side that nobody has.
        let port = until("there are free ports", || {
            let one = TcpListener::bind(("127.0.0.1", 0)).ok()?.local_addr().ok()?.port();
            TcpListener::bind(("127.0.0.1", one.checked_add(1)?)).is_ok().then_some(one)
        });
        let mut broker = Broker { folder: folder.to_owned(), port, more, child: None };
        broker.again();
        broker
    }

    /// Starts it again on the same data.
    pub fn again(&mut self) {
        let mut command = Command::new(root().join("tests/kafka/broker"));
        command.arg(&self.folder).arg(self.port.to_string()).args(&self.more);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the broker's script");
        self.child = Some(child);
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("a client");
        until("the broker answers", || admin.inner().fetch_metadata(None, Duration::from_secs(1)).ok());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address());
        config
    }

    /// Makes topics of so many partitions.
    pub fn topics(&self, names: &[&str], partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("a client");
        let topics: Vec<NewTopic<'_>> =
            names.iter().map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1))).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let made = runtime.block_on(admin.create_topics(&topics, &AdminOptions::new())).expect("an answer");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Writes messages: key and body.
    pub fn produce(&self, topic: &str, messages: &[(&str, &str)]) {
        let producer: BaseProducer = self.config().create().expect("a client");
        for (key, body) in messages {
            producer
                .send(BaseRecord::to(topic).key(*key).payload(*body))
                .map_err(|(error, _)| error)
                .expect("room");
        }
        producer.flush(ANSWER).expect("it is taken");
    }

    /// Writes a message without value.
    pub fn withdraw(&self, topic: &str, key: &str) {
        let producer: BaseProducer = self.config().create().expect("a client");
        producer.send(BaseRecord::<str, [u8]>::to(topic).key(key)).map_err(|(error, _)| error).expect("room");
        producer.flush(ANSWER).expect("it is taken");
    }

    /// All that a topic holds, by partition and offset.
    pub fn all(&self, topic: &str) -> Vec<Lying> {
        let mut config = self.config();
        config.set("group.id", "test").set("enable.partition.eof", "true").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().expect("a client");
        let metadata = consumer.fetch_metadata(Some(topic), ANSWER).expect("an answer");
        let partitions: Vec<i32> = metadata.topics()[0].partitions().iter().map(|it| it.id()).collect();
        let mut wanted = TopicPartitionList::new();
        for partition in &partitions {
            wanted.add_partition_offset(topic, *partition, Offset::Beginning).expect("a place");
        }
        consumer.assign(&wanted).expect("partitions");
        let (mut all, mut ended) = (Vec::new(), 0);
        while ended < partitions.len() {
            match consumer.poll(ANSWER).expect("an answer") {
                Err(KafkaError::PartitionEOF(_)) => ended += 1,
                Err(error) => panic!("{error}"),
                Ok(message) => {
                    let text = |bytes: Option<&[u8]>| {
                        String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
                    };
                    let headers = message.headers().into_iter().flat_map(Headers::iter);
                    all.push(Lying {
                        partition: message.partition(),
                        offset: message.offset(),
                        key: text(message.key()),
                        headers: headers.map(|header| (header.key.to_owned(), text(header.value))).collect(),
                        body: text(message.payload()),
                    });
                }
            }
        }
        all.sort_by_key(|message| (message.partition, message.offset));
        all
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}
