//! The producer: messages to topics, each acknowledged by all replicas in sync before anything is built on it.
//!
//! Idempotent, so that a message that is sent again because its acknowledgement was lost is there once, and in order. What
//! brokers do not take for a while is told once on standard error, and so is that they take it again.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use super::{ANSWER, ProduceError};

/// Silence of the brokers that is told.
const TOLD_AFTER: Duration = Duration::from_secs(2);
/// How often it is looked whether the run is ending.
const LOOK: Duration = Duration::from_millis(100);

/// What the client says.
enum Event {
    Delivered { topic: usize, partition: i32, offset: i64 },
    Failed { topic: usize, why: KafkaError },
    Trouble { code: Option<RDKafkaErrorCode>, why: String },
}

/// Hears what the client says.
struct Ear(Sender<Event>);

impl ClientContext for Ear {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let _ = self.0.send(Event::Trouble { code: error.rdkafka_error_code(), why: reason.to_owned() });
    }
}

impl ProducerContext for Ear {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, topic: usize) {
        let event = match result {
            Ok(message) => {
                Event::Delivered { topic, partition: message.partition(), offset: message.offset() }
            }
            Err((why, _)) => Event::Failed { topic, why: why.clone() },
        };
        let _ = self.0.send(event);
    }
}

/// When a run that ends gives up what brokers do not take.
pub struct Patience {
    /// Whether the run is ending.
    pub ending: Box<dyn Fn() -> bool + Send>,
    /// How long it waits then.
    pub most: Duration,
}

impl Patience {
    /// One that waits for a minute then.
    #[must_use]
    pub fn of_a_minute(ending: Box<dyn Fn() -> bool + Send>) -> Patience {
        Patience { ending, most: Duration::from_mins(1) }
    }
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// Which of the producer's topics, by number.
    pub topic: usize,
    /// Messages of one key stay in order.
    pub key: String,
    /// Headers; an empty one is left out.
    pub headers: Vec<(&'static str, String)>,
    /// What it says.
    pub body: Vec<u8>,
}

/// See the head of this file.
pub struct Producer {
    /// Who writes, for what is told.
    who: &'static str,
    client: ThreadedProducer<Ear>,
    events: Receiver<Event>,
    topics: Vec<String>,
    patience: Patience,
    /// Brokers take nothing: it was told.
    stuck: bool,
    /// Since when nothing was taken.
    since: Instant,
    /// When it was first seen that the run is ending.
    ending: Option<Instant>,
    why: String,
}

impl Producer {
    /// A producer that has not reached anybody yet.
    pub fn new(
        who: &'static str,
        config: &ClientConfig,
        topics: Vec<String>,
        patience: Patience,
    ) -> Result<Producer, ProduceError> {
        let mut config = config.clone();
        config.set("enable.idempotence", "true").set("acks", "all");
        // What is handed over is never given up: whoever waits for it does.
        config.set("message.timeout.ms", "0").set("linger.ms", "1").set("compression.type", "lz4");
        // As Java's clients do, so that a key is in one partition whoever writes it. The broker's limit of size governs.
        config.set("partitioner", "murmur2_random").set("message.max.bytes", "67108864");
        let (told, events) = unbounded();
        let client = ThreadedProducer::from_config_and_context(&config, Ear(told))?;
        let (since, why) = (now(), "no broker answers".to_owned());
        Ok(Producer { who, client, events, topics, patience, stuck: false, since, ending: None, why })
    }

    /// The topics, by number.
    #[must_use]
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// Asks until brokers answer.
    pub fn patiently<T>(
        &mut self,
        ask: impl Fn(&Producer) -> Result<T, KafkaError>,
    ) -> Result<T, ProduceError> {
        loop {
            match ask(self) {
                Ok(answer) => {
                    self.goes_on();
                    return Ok(answer);
                }
                Err(why) => self.why = why.to_string(),
            }
            self.waits(0)?;
            std::thread::sleep(LOOK);
        }
    }

    /// The partitions of all topics, once brokers tell them. A topic that is not there, and brokers that do not let us in, are
    /// errors here.
    pub fn partitions(&mut self) -> Result<Vec<Vec<i32>>, ProduceError> {
        let names = self.topics.clone();
        names.iter().map(|name| self.partitions_of(name)).collect()
    }

    fn partitions_of(&mut self, name: &str) -> Result<Vec<i32>, ProduceError> {
        loop {
            let metadata = self.client.client().fetch_metadata(Some(name), ANSWER);
            let trouble: Vec<Event> = self.events.try_iter().collect();
            for event in trouble {
                if let Event::Trouble { code: Some(code), why } = event {
                    if matches!(code, RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) {
                        return Err(ProduceError::NotLetIn(why));
                    }
                    self.why = why;
                }
            }
            let topic = metadata.ok().and_then(|all| {
                let found = all.topics().iter().find(|topic| topic.name() == name)?;
                let partitions: Vec<i32> = found.partitions().iter().map(MetadataPartition::id).collect();
                Some((found.error().map(RDKafkaErrorCode::from), partitions))
            });
            match topic {
                Some((None, partitions)) if !partitions.is_empty() => {
                    self.goes_on();
                    return Ok(partitions);
                }
                Some((
                    Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic),
                    _,
                )) => {
                    return Err(ProduceError::NoTopic(name.to_owned()));
                }
                Some((Some(code @ RDKafkaErrorCode::TopicAuthorizationFailed), _)) => {
                    return Err(ProduceError::Topic {
                        topic: name.to_owned(),
                        why: KafkaError::Global(code),
                    });
                }
                Some(_) | None => self.waits(0)?,
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Where a partition ends now.
    pub fn end(&self, topic: &str, partition: i32) -> Result<i64, KafkaError> {
        self.client.client().fetch_watermarks(topic, partition, ANSWER).map(|(_, end)| end)
    }

    /// Sends all, in order, and waits until all are acknowledged; `delivered` is told the topic, the partition, and the offset
    /// of each.
    pub fn deliver(
        &mut self,
        letters: &[Letter],
        delivered: &mut dyn FnMut(&str, i32, i64),
    ) -> Result<(), ProduceError> {
        self.since = now();
        let mut waiting = 0;
        for letter in letters {
            while !self.send(letter)? {
                waiting -= self.hear(waiting, delivered)?;
            }
            waiting += 1;
        }
        while waiting > 0 {
            waiting -= self.hear(waiting, delivered)?;
        }
        self.goes_on();
        Ok(())
    }

    /// False where there is no room for it yet.
    fn send(&self, letter: &Letter) -> Result<bool, ProduceError> {
        let topic = &self.topics[letter.topic];
        let said = letter.headers.iter().filter(|(_, value)| !value.is_empty());
        let headers = said
            .fold(OwnedHeaders::new_with_capacity(letter.headers.len()), |all, (key, value)| {
                all.insert(Header { key, value: Some(value) })
            });
        let record = BaseRecord::with_opaque_to(topic, letter.topic);
        match self.client.send(record.key(&letter.key).payload(&letter.body).headers(headers)) {
            Ok(()) => Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(false),
            Err((why, _)) => Err(self.failed(letter.topic, why)),
        }
    }

    /// How many were acknowledged meanwhile, of so many that wait.
    fn hear(
        &mut self,
        waiting: usize,
        delivered: &mut dyn FnMut(&str, i32, i64),
    ) -> Result<usize, ProduceError> {
        let mut count = 0;
        let first = self.events.recv_timeout(LOOK).ok();
        let more: Vec<Event> = self.events.try_iter().collect();
        for event in first.into_iter().chain(more) {
            match event {
                Event::Delivered { topic, partition, offset } => {
                    count += 1;
                    delivered(&self.topics[topic], partition, offset);
                }
                Event::Failed { topic, why } => return Err(self.failed(topic, why)),
                Event::Trouble { code: Some(RDKafkaErrorCode::Fatal), why } => {
                    return Err(ProduceError::Broken(why));
                }
                Event::Trouble { why, .. } => self.why = why,
            }
        }
        if count > 0 {
            self.goes_on();
        } else {
            self.waits(waiting)?;
        }
        Ok(count)
    }

    fn failed(&self, topic: usize, why: KafkaError) -> ProduceError {
        if let Some((_, why)) = self.client.client().fatal_error() {
            return ProduceError::Broken(why);
        }
        ProduceError::Topic { topic: self.topics[topic].clone(), why }
    }

    /// Something was taken.
    fn goes_on(&mut self) {
        self.since = now();
        if std::mem::take(&mut self.stuck) {
            eprintln!("quell: {}: the brokers take messages again", self.who);
        }
    }

    /// Nothing was taken: told after a while, and an error where the run ends and has waited long enough.
    fn waits(&mut self, waiting: usize) -> Result<(), ProduceError> {
        if self.since.elapsed() >= TOLD_AFTER && !std::mem::replace(&mut self.stuck, true) {
            eprintln!(
                "quell: {}: the brokers take nothing ({}); what is to be said waits for them, and in time the sources do",
                self.who, self.why
            );
        }
        if !(self.patience.ending)() {
            return Ok(());
        }
        let ending = *self.ending.get_or_insert_with(now);
        if ending.max(self.since).elapsed() < self.patience.most {
            return Ok(());
        }
        Err(ProduceError::Undelivered {
            waiting,
            seconds: self.patience.most.as_secs(),
            why: self.why.clone(),
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "how long brokers are waited for shows in no result")]
fn now() -> Instant {
    Instant::now()
}
