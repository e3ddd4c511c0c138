//! Words: the thread that hears what people say in topics, while a run goes on.
//!
//! In: messages of topics. Out: inputs of the log, durable, each under the key `kafka/TOPIC/PARTITION/OFFSET`: so a word counts
//! once, whatever crashes, and a run that goes on reads on behind the greatest offset that the log has. No group is joined,
//! and no offset is kept elsewhere. What cannot be understood is an input, too, and becomes a reject of the epoch that takes it.
//! State: none.

mod judge;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use self::judge::judged;
use super::log::{Entry, Log, LogError};
use super::scribe::Scribe;
use crate::ingest::live::Bell;
use crate::kafka::{self, ANSWER};
use crate::plan::outside::{KafkaWords, Word};

/// How often it is looked whether the run is ending.
const LOOK: Duration = Duration::from_millis(100);
/// How often topics are asked for new partitions.
const AGAIN: Duration = Duration::from_secs(30);

/// Why topics of words cannot be heard.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WordError {
    /// What the plan says of the cluster.
    #[error("the words' cluster cannot be used: {0}")]
    Settings(String),
    /// The library.
    #[error("words: {0}")]
    Client(#[from] KafkaError),
    /// No such topic.
    #[error("words: there is no topic {0:?}; make it, or correct `words` in the pipeline file")]
    NoTopic(String),
    /// Credentials or certificates.
    #[error("words: the brokers do not let us in: {0}; check `security` under `words` in the pipeline file")]
    NotLetIn(String),
    /// Its offsets begin again: what is new would be taken for what was heard before.
    #[error(
        "words: partition {partition} of the topic {topic:?} ends at offset {end}, and was heard through {heard}: it was made \
         anew; name another topic, or go on with a new archive"
    )]
    Anew {
        /// Which.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Where it ends now.
        end: i64,
        /// The last offset that the log has.
        heard: i64,
    },
    /// The log.
    #[error("words: {0}")]
    Log(String),
}

impl From<LogError> for WordError {
    fn from(error: LogError) -> Self {
        WordError::Log(error.to_string())
    }
}

/// The thread, and how it failed.
pub struct Words {
    failed: Arc<Mutex<Option<WordError>>>,
}

struct Ear {
    /// The brokers' last complaint.
    trouble: Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>,
}

impl ClientContext for Ear {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Ear {}

struct Listener {
    consumer: BaseConsumer<Ear>,
    trouble: Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>,
    topics: Vec<(Word, String)>,
    /// The next offset of each partition that is listened to.
    places: BTreeMap<(String, i32), i64>,
    tenant: String,
    log: Log,
    scribe: Scribe,
    bell: Bell,
    /// Brokers cannot be reached: it was told.
    deaf: bool,
}

impl Words {
    /// Starts the thread, for the run of an archive; relative paths of the plan are from `folder`, and words that name no
    /// tenant are on `tenant`'s matters.
    pub fn start(
        words: &KafkaWords,
        (folder, tenant): (&Path, &str),
        archive: &Path,
        (scribe, bell): (&Scribe, &Bell),
    ) -> Result<Words, WordError> {
        let mut config = kafka::config(&words.cluster(), folder).map_err(WordError::Settings)?;
        config.set("group.id", "quell-words").set("enable.auto.commit", "false");
        // A place that is not there any more is told, never passed over in silence.
        config.set("auto.offset.reset", "error").set("queued.max.messages.kbytes", "4096");
        let trouble = Arc::new(Mutex::new(None));
        let ear = Ear { trouble: Arc::clone(&trouble) };
        let mut listener = Listener {
            consumer: BaseConsumer::from_config_and_context(&config, ear)?,
            trouble,
            topics: words.topics().into_iter().map(|(word, topic)| (word, topic.to_owned())).collect(),
            places: BTreeMap::new(),
            tenant: tenant.to_owned(),
            log: Log::open(archive)?,
            scribe: scribe.clone(),
            bell: bell.clone(),
            deaf: false,
        };
        let failed = Arc::new(Mutex::new(None));
        let fails = Arc::clone(&failed);
        let listen = move || {
            if let Err(error) = listener.listen() {
                *fails.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                listener.bell.ring();
            }
        };
        let started = thread::Builder::new().name("words".into()).spawn(listen);
        started.map_err(|error| WordError::Settings(format!("a thread cannot be started: {error}")))?;
        Ok(Words { failed })
    }

    /// Why nothing is heard any more.
    #[must_use]
    pub fn failed(&self) -> Option<WordError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Listener {
    fn listen(&mut self) -> Result<(), WordError> {
        let mut looked: Option<Instant> = None;
        while !self.bell.stopped() {
            let again = if self.deaf { LOOK * 10 } else { AGAIN };
            if looked.is_none_or(|looked| looked.elapsed() >= again || self.places.is_empty()) {
                self.look()?;
                looked = Some(now());
            }
            match self.consumer.poll(LOOK) {
                None => {}
                Some(Ok(message)) => {
                    let (place, entry) = self.entry(&message);
                    drop(message);
                    self.scribe.write(entry)?;
                    self.bell.ring();
                    self.places.entry(place.0).and_modify(|next| *next = place.1 + 1);
                }
                // What is gone under way is asked for anew, and told.
                Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                    self.places.clear();
                }
                Some(Err(error)) => self.complain(&error.to_string()),
            }
        }
        Ok(())
    }

    fn entry(&self, message: &BorrowedMessage<'_>) -> (((String, i32), i64), Entry) {
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        let word =
            self.topics.iter().find(|(_, name)| name == topic).map_or(Word::Verdicts, |(word, _)| *word);
        let time = message.timestamp().to_millis().unwrap_or(0);
        let (kind, body) = judged(word, message.payload(), (&self.tenant, time), (topic, partition, offset));
        let key = Some(format!("kafka/{topic}/{partition}/{offset}"));
        (((topic.to_owned(), partition), offset), Entry::Input { kind, body, key })
    }

    /// Listens to partitions that were not listened to before, from where they were heard.
    fn look(&mut self) -> Result<(), WordError> {
        let mut new = Vec::new();
        for (_, topic) in &self.topics {
            let heard = self.log.offsets(topic)?;
            let partitions = match self.partitions(topic)? {
                Ok(partitions) => partitions,
                Err(why) => {
                    self.complain(&why);
                    return Ok(());
                }
            };
            for partition in partitions {
                if self.places.contains_key(&(topic.clone(), partition)) {
                    continue;
                }
                let Ok((low, high)) = self.consumer.fetch_watermarks(topic, partition, ANSWER) else {
                    return Ok(());
                };
                let next = heard.get(&partition).map_or(low, |heard| heard + 1);
                if next > high {
                    let (topic, heard) = (topic.clone(), next - 1);
                    return Err(WordError::Anew { topic, partition, end: high, heard });
                }
                if next < low {
                    eprintln!(
                        "quell: words: {} messages of partition {partition} of {topic} were removed before they were heard; \
                         let the topic keep them for longer",
                        low - next
                    );
                }
                new.push(((topic.clone(), partition), next.max(low)));
            }
        }
        if !new.is_empty() {
            self.places.extend(new);
            let mut all = TopicPartitionList::new();
            for ((topic, partition), next) in &self.places {
                all.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
            }
            self.consumer.assign(&all)?;
        }
        if std::mem::take(&mut self.deaf) {
            eprintln!("quell: words: the brokers answer again");
        }
        Ok(())
    }

    /// A topic's partitions, or why brokers do not tell them now.
    fn partitions(&self, topic: &str) -> Result<Result<Vec<i32>, String>, WordError> {
        let metadata = self.consumer.fetch_metadata(Some(topic), ANSWER);
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        let why = match trouble {
            Some((RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL, why))
                if self.places.is_empty() =>
            {
                return Err(WordError::NotLetIn(why));
            }
            Some((_, why)) => why,
            None => "no broker answers".to_owned(),
        };
        let Ok(metadata) = metadata else { return Ok(Err(why)) };
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(Err(why));
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(Ok(found.partitions().iter().map(|it| it.id()).collect())),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Err(WordError::NoTopic(topic.to_owned()))
            }
            Some(code) => Ok(Err(KafkaError::Global(code).to_string())),
        }
    }

    fn complain(&mut self, why: &str) {
        if !std::mem::replace(&mut self.deaf, true) {
            eprintln!("quell: words: nothing can be heard ({why}); it is tried again");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how often partitions are looked for shows in no result")]
fn now() -> Instant {
    Instant::now()
}
