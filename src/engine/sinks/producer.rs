//! The producer: messages to topics, each acknowledged by all replicas in sync before the place moves on.
//!
//! Idempotent, so that a message that is sent again because its acknowledgement was lost is there once, and in order. What
//! brokers do not take for a while is told once on standard error, and so is that they take it again.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use super::SinkError;
use super::ends::{ANSWER, EPOCH, ID, Partitions, RUN, SEQ, TRACE};
use super::message::Message;
use super::place::Place;

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
pub(super) struct Patience {
    /// Whether the run is ending.
    pub(super) ending: Box<dyn Fn() -> bool + Send>,
    /// How long it waits then.
    pub(super) most: Duration,
}

/// See the head of this file.
pub(super) struct Out {
    producer: ThreadedProducer<Ear>,
    events: Receiver<Event>,
    topics: Vec<String>,
    run: String,
    patience: Patience,
    /// Brokers take nothing: it was told.
    stuck: bool,
    /// Since when nothing was taken.
    since: Instant,
    /// When it was first seen that the run is ending.
    ending: Option<Instant>,
    why: String,
}

impl Out {
    /// A producer that has not reached anybody yet.
    pub(super) fn new(
        config: &ClientConfig,
        topics: Vec<String>,
        run: String,
        patience: Patience,
    ) -> Result<Out, KafkaError> {
        let mut config = config.clone();
        config.set("enable.idempotence", "true").set("acks", "all");
        // What is handed over is never given up: whoever waits for it does.
        config.set("message.timeout.ms", "0").set("linger.ms", "1").set("compression.type", "lz4");
        // As Java's clients do, so that a key is in one partition whoever writes it. The broker's limit of size governs.
        config.set("partitioner", "murmur2_random").set("message.max.bytes", "67108864");
        let (told, events) = unbounded();
        let producer = ThreadedProducer::from_config_and_context(&config, Ear(told))?;
        let (since, why) = (now(), "no broker answers".to_owned());
        Ok(Out { producer, events, topics, run, patience, stuck: false, since, ending: None, why })
    }

    /// The topics, by number.
    pub(super) fn topics(&self) -> &[String] {
        &self.topics
    }

    /// Asks until brokers answer.
    pub(super) fn patiently<T>(
        &mut self,
        ask: impl Fn(&Out) -> Result<T, KafkaError>,
    ) -> Result<T, SinkError> {
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
    pub(super) fn partitions(&mut self) -> Result<Vec<Vec<i32>>, SinkError> {
        let names = self.topics.clone();
        names.iter().map(|name| self.partitions_of(name)).collect()
    }

    fn partitions_of(&mut self, name: &str) -> Result<Vec<i32>, SinkError> {
        loop {
            let metadata = self.producer.client().fetch_metadata(Some(name), ANSWER);
            let trouble: Vec<Event> = self.events.try_iter().collect();
            for event in trouble {
                if let Event::Trouble { code: Some(code), why } = event {
                    if matches!(code, RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) {
                        return Err(SinkError::NotLetIn(why));
                    }
                    self.why = why;
                }
            }
            let topic = metadata.ok().and_then(|all| {
                let found = all.topics().iter().find(|topic| topic.name() == name)?;
                let partitions: Vec<i32> = found.partitions().iter().map(|it| it.id()).collect();
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
                    return Err(SinkError::NoTopic(name.to_owned()));
                }
                Some((Some(code @ RDKafkaErrorCode::TopicAuthorizationFailed), _)) => {
                    return Err(SinkError::Topic { topic: name.to_owned(), why: KafkaError::Global(code) });
                }
                Some(_) | None => self.waits(0)?,
            }
            std::thread::sleep(LOOK);
        }
    }

    /// What each partition has so far is none of ours.
    pub(super) fn begins(&self, topics: &Partitions<'_>) -> Result<Place, KafkaError> {
        let mut place = Place::default();
        for (name, partitions) in topics {
            for partition in partitions {
                let (_, end) = self.producer.client().fetch_watermarks(name, *partition, ANSWER)?;
                place.ends_at(name, *partition, end);
            }
        }
        Ok(place)
    }

    /// Sends all, in order, and waits until all are acknowledged; `place` learns where the partitions end.
    pub(super) fn deliver(&mut self, messages: &[Message], place: &mut Place) -> Result<(), SinkError> {
        self.since = now();
        let mut waiting = 0;
        for message in messages {
            while !self.send(message)? {
                waiting -= self.hear(waiting, place)?;
            }
            waiting += 1;
        }
        while waiting > 0 {
            waiting -= self.hear(waiting, place)?;
        }
        self.goes_on();
        Ok(())
    }

    /// False where there is no room for it yet.
    fn send(&self, message: &Message) -> Result<bool, SinkError> {
        let topic = &self.topics[message.topic];
        let (epoch, seq) = (message.epoch.to_string(), message.seq.to_string());
        let headers =
            [(ID, &message.id), (EPOCH, &epoch), (SEQ, &seq), (TRACE, &message.trace), (RUN, &self.run)];
        let headers = headers
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .fold(OwnedHeaders::new_with_capacity(5), |all, (key, value)| {
                all.insert(Header { key, value: Some(value) })
            });
        let record = BaseRecord::with_opaque_to(topic, message.topic)
            .key(&message.key)
            .payload(&message.body)
            .headers(headers);
        match self.producer.send(record) {
            Ok(()) => Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(false),
            Err((why, _)) => Err(self.failed(message.topic, why)),
        }
    }

    /// How many were acknowledged meanwhile, of so many that wait.
    fn hear(&mut self, waiting: usize, place: &mut Place) -> Result<usize, SinkError> {
        let mut delivered = 0;
        match self.events.recv_timeout(LOOK) {
            Ok(first) => {
                let more: Vec<Event> = self.events.try_iter().collect();
                for event in std::iter::once(first).chain(more) {
                    match event {
                        Event::Delivered { topic, partition, offset } => {
                            delivered += 1;
                            place.ends_at(&self.topics[topic], partition, offset + 1);
                        }
                        Event::Failed { topic, why } => return Err(self.failed(topic, why)),
                        Event::Trouble { code: Some(RDKafkaErrorCode::Fatal), why } => {
                            return Err(SinkError::Broken(why));
                        }
                        Event::Trouble { why, .. } => self.why = why,
                    }
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if delivered > 0 {
            self.goes_on();
        } else {
            self.waits(waiting)?;
        }
        Ok(delivered)
    }

    fn failed(&self, topic: usize, why: KafkaError) -> SinkError {
        if let Some((_, why)) = self.producer.client().fatal_error() {
            return SinkError::Broken(why);
        }
        SinkError::Topic { topic: self.topics[topic].clone(), why }
    }

    /// Something was taken.
    fn goes_on(&mut self) {
        self.since = now();
        if std::mem::take(&mut self.stuck) {
            eprintln!("quell: sinks: the brokers take messages again");
        }
    }

    /// Nothing was taken: told after a while, and an error where the run ends and has waited long enough.
    fn waits(&mut self, waiting: usize) -> Result<(), SinkError> {
        if self.since.elapsed() >= TOLD_AFTER && !std::mem::replace(&mut self.stuck, true) {
            eprintln!(
                "quell: sinks: the brokers take nothing ({}); what is to be said waits for them, and in time the sources do",
                self.why
            );
        }
        if !(self.patience.ending)() {
            return Ok(());
        }
        let ending = *self.ending.get_or_insert_with(now);
        if ending.max(self.since).elapsed() < self.patience.most {
            return Ok(());
        }
        Err(SinkError::Undelivered { waiting, seconds: self.patience.most.as_secs(), why: self.why.clone() })
    }
}

#[expect(clippy::disallowed_methods, reason = "how long brokers are waited for shows in no result")]
fn now() -> Instant {
    Instant::now()
}
