//! The reader: a partition's messages from here to there, read once by whoever wants to know what is there already. No group is
//! joined, nothing is noted.

use std::collections::BTreeMap;
use std::ops::Range;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::ANSWER;

/// A consumer that says nothing by itself.
struct Quiet;
impl ClientContext for Quiet {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}
impl ConsumerContext for Quiet {}

/// See the head of this file.
pub struct Reader(BaseConsumer<Quiet>);

impl Reader {
    /// A reader that has not reached anybody yet; `name` is what brokers know it by.
    pub fn new(config: &ClientConfig, name: &str) -> Result<Reader, KafkaError> {
        let mut config = config.clone();
        config.set("group.id", name).set("enable.auto.commit", "false");
        config.set("isolation.level", "read_uncommitted").set("auto.offset.reset", "earliest");
        config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "50");
        Ok(Reader(BaseConsumer::from_config_and_context(&config, Quiet)?))
    }

    /// The first offset that a partition has, and the one behind its last.
    pub fn bounds(&self, topic: &str, partition: i32) -> Result<(i64, i64), KafkaError> {
        self.0.fetch_watermarks(topic, partition, ANSWER)
    }

    /// Hands over what a partition has at these offsets, in order.
    pub fn read(
        &self,
        (topic, partition): (&str, i32),
        offsets: Range<i64>,
        mut each: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<(), KafkaError> {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_offset(topic, partition, Offset::Offset(offsets.start))?;
        self.0.assign(&wanted)?;
        loop {
            let message = match self.0.poll(ANSWER) {
                // A broker that went away is asked again from the beginning.
                None => return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::RequestTimedOut)),
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(message) => message?,
            };
            each(&message);
            if message.offset() + 1 >= offsets.end {
                break;
            }
        }
        self.0.unassign()
    }

    /// The bodies of what a partition has at these offsets, each with its own.
    pub fn bodies(
        &self,
        partition: (&str, i32),
        offsets: Range<i64>,
    ) -> Result<Vec<(i64, Vec<u8>)>, KafkaError> {
        let mut bodies = Vec::new();
        self.read(partition, offsets, |message| {
            bodies.push((message.offset(), message.payload().unwrap_or_default().to_vec()));
        })?;
        Ok(bodies)
    }
}

/// What a topic is set to, by the names of its settings; none where brokers don't say it to us.
pub fn settings(config: &ClientConfig, topic: &str) -> Option<BTreeMap<String, String>> {
    let admin: AdminClient<DefaultClientContext> = config.create().ok()?;
    let options = AdminOptions::new().request_timeout(Some(ANSWER));
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let asked = [ResourceSpecifier::Topic(topic)];
    let told = waiting.block_on(admin.describe_configs(&asked, &options)).ok()?.pop()?.ok()?;
    Some(told.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
}
