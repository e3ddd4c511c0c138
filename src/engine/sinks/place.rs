//! Place: how far the topics have been told, as the log keeps it: the epoch through which every message is delivered, and
//! where each partition ended then. What lies beyond is read back after a crash.

use std::collections::BTreeMap;

use rdkafka::error::KafkaError;
use serde::{Deserialize, Serialize};

use super::ends::Partitions;
use crate::engine::log::{Log, LogError};
use crate::kafka::Producer;
use crate::record::Epoch;

/// Under what the log has it.
const KEY: &str = "sinks";

/// See the head of this file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Place {
    /// All messages of epochs through this one are delivered.
    pub(super) epoch: Epoch,
    /// By topic and partition: the offset behind the last message of these, and of whatever was there before them.
    pub(super) ends: BTreeMap<String, BTreeMap<i32, i64>>,
}

impl Place {
    /// What the log has; none where nothing was sent.
    pub(super) fn of(log: &Log) -> Result<Option<Place>, LogError> {
        // What cannot be read is written anew: more is read back then, and nothing is lost.
        Ok(log.meta(KEY)?.map(|text| serde_json::from_str(&text).unwrap_or_default()))
    }

    /// The same through a later epoch, where nothing more was said.
    pub(super) fn through(mut self, epoch: Option<Epoch>) -> Place {
        self.epoch = self.epoch.max(epoch.unwrap_or(0));
        self
    }

    /// Keeps it.
    pub(in crate::engine) fn keep(&self, log: &Log) -> Result<(), LogError> {
        log.set_meta(KEY, &serde_json::to_string(self).unwrap_or_default())
    }

    /// Where all partitions end now: what they have so far is none of the run's.
    pub(super) fn at_ends(producer: &Producer, topics: &Partitions<'_>) -> Result<Place, KafkaError> {
        let mut place = Place::default();
        for (name, partitions) in topics {
            for partition in partitions {
                place.ends_at(name, *partition, producer.end(name, *partition)?);
            }
        }
        Ok(place)
    }

    /// A partition has messages up to before this offset.
    pub(super) fn ends_at(&mut self, topic: &str, partition: i32, end: i64) {
        let partitions = match self.ends.get_mut(topic) {
            Some(partitions) => partitions,
            None => self.ends.entry(topic.to_owned()).or_default(),
        };
        let known = partitions.entry(partition).or_insert(end);
        *known = end.max(*known);
    }

    /// From where a partition is to be read back.
    pub(super) fn end(&self, topic: &str, partition: i32) -> i64 {
        self.ends.get(topic).and_then(|partitions| partitions.get(&partition)).copied().unwrap_or(0)
    }
}
