//! Words: the thread that hears what people say in topics, while a run goes on.
//!
//! In: messages of topics. Out: inputs of the log, durable, each under the key `kafka/TOPIC/PARTITION/OFFSET`: so a word counts
//! once, whatever crashes, and a run that goes on reads on behind the greatest offset that the log has. No group is joined,
//! and no offset is kept elsewhere. What cannot be understood is an input, too, and becomes a reject of the epoch that takes it.
//! State: none.

mod hearer;
pub mod judge;
mod tables;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};

use self::hearer::Hearer;
use self::judge::judged;
pub use self::tables::TopicTables;
use super::log::{Entry, Log, LogError};
use super::scribe::Scribe;
use crate::ingest::live::Bell;
use crate::kafka::ANSWER;
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
    #[error("words: the client cannot be used")]
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

struct Listener {
    hearer: Hearer,
    topics: Vec<(Word, String)>,
    /// The next offset of each partition that is listened to.
    places: BTreeMap<(String, i32), i64>,
    tenant: String,
    log: Log,
    scribe: Scribe,
    bell: Bell,
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
        let mut listener = Listener {
            hearer: Hearer::new(words, folder)?,
            topics: words.topics().into_iter().map(|(word, topic)| (word, topic.to_owned())).collect(),
            places: BTreeMap::new(),
            tenant: tenant.to_owned(),
            log: Log::open(archive)?,
            scribe: scribe.clone(),
            bell: bell.clone(),
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
            let again = if self.hearer.is_deaf() { LOOK * 10 } else { AGAIN };
            if looked.is_none_or(|looked| looked.elapsed() >= again || self.places.is_empty()) {
                self.look()?;
                looked = Some(now());
            }
            match self.hearer.consumer.poll(LOOK) {
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
                Some(Err(error)) => self.hearer.complain(&error.to_string()),
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
            let partitions = match self.hearer.partitions(topic)? {
                Ok(partitions) => partitions,
                Err(why) => {
                    self.hearer.complain(&why);
                    return Ok(());
                }
            };
            for partition in partitions {
                if self.places.contains_key(&(topic.clone(), partition)) {
                    continue;
                }
                let Ok((low, high)) = self.hearer.consumer.fetch_watermarks(topic, partition, ANSWER) else {
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
            self.hearer.assign(&self.places)?;
        }
        self.hearer.hears();
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "how often partitions are looked for shows in no result")]
fn now() -> Instant {
    Instant::now()
}
