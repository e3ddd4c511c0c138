//! Hearer: a consumer of topics without a group, told where to read; what it cannot reach is told once on standard error.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataPartition;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::WordError;
use crate::kafka::{self, ANSWER};
use crate::plan::outside::KafkaWords;

/// The brokers' last complaint.
type Trouble = Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>;

/// See the head of this file.
pub(super) struct Hearer {
    pub(super) consumer: BaseConsumer<Ear>,
    trouble: Trouble,
    /// Whether brokers have answered yet.
    reached: bool,
    /// Brokers cannot be reached: it was told.
    deaf: bool,
}

pub(super) struct Ear {
    trouble: Trouble,
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

impl Hearer {
    /// A consumer that has not reached anybody yet.
    pub(super) fn new(words: &KafkaWords, folder: &Path) -> Result<Hearer, WordError> {
        let mut config = kafka::config(&words.cluster(), folder).map_err(WordError::Settings)?;
        config.set("group.id", "quell-words").set("enable.auto.commit", "false");
        // A place that is not there any more is told, never passed over in silence.
        config.set("auto.offset.reset", "error").set("queued.max.messages.kbytes", "4096");
        let trouble = Trouble::default();
        let ear = Ear { trouble: Arc::clone(&trouble) };
        let consumer = BaseConsumer::from_config_and_context(&config, ear)?;
        Ok(Hearer { consumer, trouble, reached: false, deaf: false })
    }

    /// A topic's partitions, or why brokers do not tell them now.
    pub(super) fn partitions(&mut self, topic: &str) -> Result<Result<Vec<i32>, String>, WordError> {
        let metadata = self.consumer.fetch_metadata(Some(topic), ANSWER);
        let why = match self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some((RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL, why)) if !self.reached => {
                return Err(WordError::NotLetIn(why));
            }
            Some((_, why)) => why,
            None => "no broker answers".to_owned(),
        };
        let Ok(metadata) = metadata else { return Ok(Err(why)) };
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(Err(why));
        };
        self.reached = true;
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(Ok(found.partitions().iter().map(MetadataPartition::id).collect())),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Err(WordError::NoTopic(topic.to_owned()))
            }
            Some(code) => Ok(Err(KafkaError::Global(code).to_string())),
        }
    }

    /// Reads these partitions from these offsets on.
    pub(super) fn assign(&self, places: &BTreeMap<(String, i32), i64>) -> Result<(), KafkaError> {
        let mut all = TopicPartitionList::new();
        for ((topic, partition), next) in places {
            all.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
        }
        self.consumer.assign(&all)
    }

    /// Whether it was told that nothing can be heard.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Brokers answer.
    pub(super) fn hears(&mut self) {
        if std::mem::take(&mut self.deaf) {
            eprintln!("quell: words: the brokers answer again");
        }
    }

    /// Brokers do not.
    pub(super) fn complain(&mut self, why: &str) {
        if !std::mem::replace(&mut self.deaf, true) {
            eprintln!("quell: words: nothing can be heard ({why}); it is tried again");
        }
    }
}
