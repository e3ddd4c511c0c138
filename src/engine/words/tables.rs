//! Tables of context in compacted topics: read from their beginning, and followed.
//!
//! In: messages; the last one of a key is its row, and one without value withdraws it. Out: how the tables stand, once all
//! that was there when it began is read. What is no row leaves that of its key as it is, and becomes a reject, once: the log
//! knows it by its place. Partitions that are added while it reads are read by the next run. State: the tables.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{BorrowedMessage, Message as _};

use super::hearer::Hearer;
use super::judge::refused;
use super::{LOOK, WordError};
use crate::engine::log::Entry;
use crate::engine::scribe::Scribe;
use crate::enrich::tables::{Rows, row_of};
use crate::ingest::live::Bell;
use crate::kafka::ANSWER;
use crate::plan::outside::KafkaWords;
use crate::record::{ContextRow, ContextTable, Entity, InputKind, Names};

/// The tables of a plan's topics.
pub struct TopicTables {
    shared: Arc<Mutex<Shared>>,
}

/// What the thread knows.
#[derive(Default)]
struct Shared {
    rows: BTreeMap<(ContextTable, String), (Entity, ContextRow)>,
    /// Counts changes.
    version: u64,
    /// Whether all that was there in the beginning is read.
    ready: bool,
    failed: Option<WordError>,
}

struct Reader {
    hearer: Hearer,
    topics: BTreeMap<String, ContextTable>,
    /// Behind what was there in the beginning, for partitions that are not read so far.
    behind: BTreeMap<(String, i32), i64>,
    shared: Arc<Mutex<Shared>>,
    names: Arc<Names>,
    tenant: String,
    scribe: Scribe,
    bell: Bell,
}

impl TopicTables {
    /// Starts the thread that reads them; none where the plan names none.
    pub fn start(
        words: &KafkaWords,
        (folder, tenant): (&Path, &str),
        names: &Arc<Names>,
        (scribe, bell): (&Scribe, &Bell),
    ) -> Result<Option<TopicTables>, WordError> {
        if words.context.is_empty() {
            return Ok(None);
        }
        let shared = Arc::new(Mutex::new(Shared::default()));
        let mut reader = Reader {
            hearer: Hearer::new(words, folder)?,
            topics: words.context.iter().map(|(table, topic)| (topic.clone(), *table)).collect(),
            behind: BTreeMap::new(),
            shared: Arc::clone(&shared),
            names: Arc::clone(names),
            tenant: tenant.to_owned(),
            scribe: scribe.clone(),
            bell: bell.clone(),
        };
        let read = move || {
            if let Err(error) = reader.read() {
                reader.shared().failed = Some(error);
                reader.bell.ring();
            }
        };
        let started = thread::Builder::new().name("tables".into()).spawn(read);
        started.map_err(|error| WordError::Settings(format!("a thread cannot be started: {error}")))?;
        Ok(Some(TopicTables { shared }))
    }

    /// How often they have changed; none until they are read.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        let shared = shared(&self.shared);
        shared.ready.then_some(shared.version)
    }

    /// How they stand.
    #[must_use]
    pub fn rows(&self) -> Rows {
        shared(&self.shared).rows.values().copied().collect()
    }

    /// Why they are read no more.
    #[must_use]
    pub fn failed(&self) -> Option<WordError> {
        shared(&self.shared).failed.clone()
    }
}

fn shared(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reader {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        shared(&self.shared)
    }

    fn read(&mut self) -> Result<(), WordError> {
        while !self.begin()? {
            if self.bell.stopped() {
                return Ok(());
            }
            thread::sleep(LOOK);
        }
        self.hearer.hears();
        while !self.bell.stopped() {
            if self.behind.is_empty() && !std::mem::replace(&mut self.shared().ready, true) {
                self.bell.ring();
            }
            match self.hearer.consumer.poll(LOOK) {
                None => {}
                Some(Ok(message)) => {
                    let strange = self.take(&message);
                    let place = (message.topic().to_owned(), message.partition());
                    let next = message.offset() + 1;
                    drop(message);
                    if let Some(strange) = strange {
                        self.scribe.write(strange)?;
                        self.bell.ring();
                    }
                    if self.behind.get(&place).is_some_and(|end| next >= *end) {
                        self.behind.remove(&place);
                    }
                }
                // Compaction has gone over what was not read yet: what is left of it comes after.
                Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                    self.begin()?;
                }
                Some(Err(error)) => self.hearer.complain(&error.to_string()),
            }
            self.gaps();
        }
        Ok(())
    }

    /// Reads all partitions from their beginning; false while brokers do not tell them.
    fn begin(&mut self) -> Result<bool, WordError> {
        let mut places = BTreeMap::new();
        let topics: Vec<String> = self.topics.keys().cloned().collect();
        for topic in topics {
            let partitions = match self.hearer.partitions(&topic)? {
                Ok(partitions) => partitions,
                Err(why) => {
                    self.hearer.complain(&why);
                    return Ok(false);
                }
            };
            for partition in partitions {
                let Ok((low, high)) = self.hearer.consumer.fetch_watermarks(&topic, partition, ANSWER) else {
                    return Ok(false);
                };
                if low < high && !self.shared().ready {
                    self.behind.insert((topic.clone(), partition), high);
                }
                places.insert((topic.clone(), partition), low);
            }
        }
        self.hearer.assign(&places)?;
        Ok(true)
    }

    /// Partitions that end in what compaction took away are read when the consumer stands at their end.
    fn gaps(&mut self) {
        if self.behind.is_empty() {
            return;
        }
        let Ok(positions) = self.hearer.consumer.position() else { return };
        for element in positions.elements() {
            let place = (element.topic().to_owned(), element.partition());
            let at = element.offset().to_raw().unwrap_or(-1);
            if self.behind.get(&place).is_some_and(|end| at >= *end) {
                self.behind.remove(&place);
            }
        }
    }

    /// Takes a row; what is none is an input of the log.
    fn take(&self, message: &BorrowedMessage<'_>) -> Option<Entry> {
        let table = *self.topics.get(message.topic())?;
        let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
        let at = (message.topic(), message.partition(), message.offset());
        let Some(json) = message.payload() else {
            let mut shared = self.shared();
            shared.version += u64::from(shared.rows.remove(&(table, key)).is_some());
            return None;
        };
        match row_of(table, &key, json, &self.names) {
            Ok(row) => {
                let mut shared = self.shared();
                shared.version += u64::from(shared.rows.insert((table, key), row) != Some(row));
                None
            }
            Err(reason) => {
                let key = Some(format!("kafka/{}/{}/{}", at.0, at.1, at.2));
                let body = refused(reason, json, &self.tenant, at);
                Some(Entry::Input { kind: InputKind::Context.name(), body, key })
            }
        }
    }
}
