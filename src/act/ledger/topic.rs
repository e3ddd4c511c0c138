//! The book as a topic of one partition: its offsets are where pages lie, and its leader's order is everybody's.
//!
//! A page is written when all replicas in sync have it. What the topic forgets a new machine cannot know: so it must keep all, and is
//! refused where it does not.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::LedgerError;
use super::book::{Book, Pages};
use crate::kafka::{self, Letter, Patience, ProduceError, Producer, Reader};
use crate::plan::outside::KafkaLedger;
use crate::record::ActionId;

/// Its one partition.
const PARTITION: i32 = 0;

/// See the head of this file.
pub struct LedgerTopic {
    producer: Producer,
    lying: Arc<Lying>,
}

/// What it has.
struct Lying {
    reader: Mutex<Reader>,
    topic: String,
}

impl LedgerTopic {
    /// Reaches the topic, and makes sure that it can hold a ledger. Relative paths are from `folder`; brokers that take nothing are
    /// waited for until the run is `ending`, and then for a minute.
    ///
    /// # Errors
    /// Where it is not there, or cannot.
    pub fn reach(
        ledger: &KafkaLedger,
        folder: &Path,
        ending: Box<dyn Fn() -> bool + Send>,
    ) -> Result<LedgerTopic, LedgerError> {
        let topic = ledger.topic.clone();
        let config = kafka::config(&ledger.cluster(), folder).map_err(ProduceError::Settings)?;
        let mut producer =
            Producer::new("ledger", &config, vec![topic.clone()], Patience::of_a_minute(ending))?;
        let partitions = producer.partitions()?.concat();
        if partitions != [PARTITION] {
            return Err(LedgerError::Partitions { topic, partitions: partitions.len() });
        }
        // Brokers that don't tell us what it is set to are believed.
        let told = kafka::settings(&config, &topic).unwrap_or_default();
        let set = KEEPS.iter().filter_map(|(name, keeps)| Some((name, keeps, told.get(*name)?)));
        if let Some((name, _, value)) = set.into_iter().find(|(_, keeps, value)| value != *keeps) {
            return Err(LedgerError::Forgets { topic, forgets: format!("{name}={value}") });
        }
        let reader = Mutex::new(Reader::new(&config, "quell-ledger").map_err(ProduceError::Client)?);
        Ok(LedgerTopic { producer, lying: Arc::new(Lying { reader, topic }) })
    }
}

/// What a topic is set to that keeps all it is told.
const KEEPS: [(&str, &str); 3] =
    [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];

impl Book for LedgerTopic {
    fn append(&mut self, pages: &[(Option<ActionId>, Vec<u8>)]) -> Result<Vec<i64>, LedgerError> {
        let letter = |(about, page): &(Option<ActionId>, Vec<u8>)| {
            let key = about.map_or_else(|| "quell".to_owned(), |id| id.to_string());
            Letter { topic: 0, key, headers: Vec::new(), body: page.clone() }
        };
        let letters: Vec<Letter> = pages.iter().map(letter).collect();
        let mut places = Vec::with_capacity(pages.len());
        self.producer.deliver(&letters, &mut |_, _, offset| places.push(offset))?;
        Ok(places)
    }

    fn pages(&self) -> Arc<dyn Pages> {
        Arc::clone(&self.lying) as Arc<dyn Pages>
    }
}

impl Pages for Lying {
    fn bounds(&self) -> Result<(i64, i64), LedgerError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(reader.bounds(&self.topic, PARTITION).map_err(ProduceError::Client)?)
    }

    fn read(&self, range: Range<i64>) -> Result<Vec<(i64, Vec<u8>)>, LedgerError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(reader.bodies((&self.topic, PARTITION), range).map_err(ProduceError::Client)?)
    }
}
