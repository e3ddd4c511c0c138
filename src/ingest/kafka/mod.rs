//! Kafka: a topic, read by offsets that its reader knows and no group keeps. One record is one message.
//!
//! In: a topic's committed messages. Out: each partition's in order, in chunks ([`Lane`]), and what is wrong with the brokers.
//! State: what the library has fetched ahead, bounded a partition: a lane that nobody takes from is fetched no further.
//!
//! A record's position is its partition and offset ([`crate::record::place`]), and so is its ordinal: what names an alert
//! that its vendor does not name is where it lies, not how often the topic was read.

mod client;
mod lane;
mod tls;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

pub use self::client::TopicError;
pub use self::lane::{Heard, Lane, range};

use self::client::{Hearing, client, patiently};
use super::framer::{Limits, Origin};
use super::live::Bell;
use crate::plan::topic::Topic;
use crate::record::place::PARTITIONS_MAX;

/// Bytes fetched ahead of all partitions of a topic together, and of one at least and at most. As many may wait beside
/// them to be taken.
const AHEAD_BYTES: usize = 64 << 20;
const AHEAD_OF_ONE: (usize, usize) = (256 << 10, 8 << 20);
/// How long one question to the brokers may take.
const ASK: Duration = Duration::from_secs(2);

type Reader = BaseConsumer<Hearing>;

/// A topic that is read.
pub struct TopicReader {
    consumer: Arc<Reader>,
    topic: Topic,
    folder: PathBuf,
    bell: Bell,
    ahead: usize,
}

/// The offsets that a partition has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first that is there.
    pub earliest: u64,
    /// The one that comes next.
    pub latest: u64,
}

impl Bounds {
    /// Whether a partition may be read from there on.
    fn has(self, offset: u64) -> bool {
        (self.earliest..=self.latest).contains(&offset)
    }
}

impl TopicReader {
    /// Finds the topic; it has at least one partition. The password is read here; paths are relative to `folder`.
    pub fn find(topic: &Topic, folder: &Path, bell: &Bell) -> Result<(TopicReader, u32), TopicError> {
        let probe: Reader = client(topic, folder, AHEAD_OF_ONE.0)?;
        let partitions = patiently(topic, folder, &probe, |probe| count(probe, &topic.topic))?;
        let ahead = (AHEAD_BYTES / partitions as usize).clamp(AHEAD_OF_ONE.0, AHEAD_OF_ONE.1);
        let consumer = Arc::new(client(topic, folder, ahead)?);
        Ok((
            TopicReader {
                consumer,
                topic: topic.clone(),
                folder: folder.to_owned(),
                bell: bell.clone(),
                ahead,
            },
            partitions,
        ))
    }

    /// The offsets that a partition has, waited for like the topic itself.
    pub fn bounds(&self, partition: u32) -> Result<Bounds, TopicError> {
        patiently(&self.topic, &self.folder, &self.consumer, |consumer| {
            bounds(consumer, &self.topic.topic, partition)
        })
    }

    /// Reads a partition from `offset` on. One that is read already is read from there instead.
    pub fn read(
        &self,
        partition: u32,
        offset: u64,
        origin: Origin,
        limits: Limits,
    ) -> Result<Lane, TopicError> {
        let failed = |what| TopicError::Failed { topic: self.topic.topic.clone(), what };
        // The queue is the partition's own before anything is fetched into it.
        let queue = self.consumer.split_partition_queue(&self.topic.topic, number(partition));
        let mut queue = queue.ok_or_else(|| failed(format!("partition {partition} cannot be read")))?;
        let bell = self.bell.clone();
        queue.set_nonempty_callback(move || bell.ring());
        let place = place(&self.topic.topic, partition, offset);
        self.consumer.incremental_assign(&place).map_err(|error| failed(error.to_string()))?;
        let reading = (Arc::clone(&self.consumer), self.bell.clone(), self.ahead);
        Ok(Lane::new(queue, reading, &self.topic, (partition, offset), origin, limits.record_bytes))
    }

    /// Says under the topic's group, later and without waiting, where partitions go on.
    pub fn tell_group(&self, places: impl Iterator<Item = (u32, u64)>) {
        let mut all = TopicPartitionList::new();
        for (partition, next) in places {
            // Offsets of a topic are no greater than these.
            let next = Offset::Offset(i64::try_from(next).unwrap_or(i64::MAX));
            let _ = all.add_partition_offset(&self.topic.topic, number(partition), next);
        }
        if all.count() > 0 && self.topic.group.is_some() {
            // Nothing is ever read from it: what cannot be told now is told later.
            let _ = self.consumer.commit(&all, CommitMode::Async);
        }
    }

    /// Hears what the brokers say, for some time at most; whether something is wrong since they last answered.
    pub fn hear(&self, wait: Duration) -> bool {
        // Records come to lanes: what comes here is told to the client's context.
        let _ = self.consumer.poll(wait);
        self.consumer.context().is_troubled()
    }

    /// Asks the brokers for the topic's partitions; none where they do not answer, which [`TopicReader::news`] tells.
    pub fn ask(&self) -> Option<u32> {
        let hearing = self.consumer.context();
        match count(&self.consumer, &self.topic.topic) {
            Ok(partitions) => {
                hearing.right();
                Some(partitions)
            }
            Err(error) => {
                hearing.wrong(&error);
                None
            }
        }
    }

    /// What people should hear of the brokers: that something is wrong, once, and that it is over.
    pub fn news(&self) -> Option<String> {
        self.consumer.context().news().map(|news| format!("topic {}: {news}", self.topic.topic))
    }
}

/// The topic's partitions, all of which have a leader.
fn count(consumer: &Reader, topic: &str) -> Result<u32, KafkaError> {
    let known = consumer.fetch_metadata(Some(topic), ASK)?;
    let failed = |code: RDKafkaErrorCode| Err(KafkaError::MetadataFetch(code));
    let Some(found) = known.topics().first() else { return failed(RDKafkaErrorCode::UnknownTopic) };
    let without = || found.partitions().iter().find(|partition| partition.leader() < 0);
    match found.error() {
        Some(error) => failed(error.into()),
        None if without().is_some() => failed(RDKafkaErrorCode::LeaderNotAvailable),
        None if found.partitions().is_empty() => failed(RDKafkaErrorCode::UnknownTopicOrPartition),
        None => Ok(u32::try_from(found.partitions().len()).unwrap_or(u32::MAX).min(PARTITIONS_MAX)),
    }
}

fn bounds(consumer: &Reader, topic: &str, partition: u32) -> Result<Bounds, KafkaError> {
    let (earliest, latest) = consumer.fetch_watermarks(topic, number(partition), ASK)?;
    let offset = |offset: i64| u64::try_from(offset).unwrap_or(0);
    Ok(Bounds { earliest: offset(earliest), latest: offset(latest) })
}

fn place(topic: &str, partition: u32, offset: u64) -> TopicPartitionList {
    let mut place = TopicPartitionList::new();
    let offset = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
    // Only a logical offset could be refused.
    let _ = place.add_partition_offset(topic, number(partition), offset);
    place
}

/// Partitions are fewer than [`PARTITIONS_MAX`].
fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}
