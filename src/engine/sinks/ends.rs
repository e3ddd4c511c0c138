//! Ends: what the topics' partitions have beyond the place that the log knows: messages of this run that were delivered
//! before a crash, which are not sent again.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message as _};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::place::Place;
use crate::kafka::ANSWER;
use crate::record::Epoch;

/// The headers of a message.
pub(super) const ID: &str = "quell-id";
pub(super) const EPOCH: &str = "quell-epoch";
pub(super) const SEQ: &str = "quell-seq";
pub(super) const TRACE: &str = "quell-trace";
pub(super) const RUN: &str = "quell-run";

/// What a process that was killed had handed to its machine may still arrive: ends count when they stay for so long.
const QUIET: Duration = Duration::from_millis(300);

/// What is there already: ids by topic number, epoch, and number within these.
pub(super) type Already = BTreeMap<(usize, Epoch, u64), String>;

/// A consumer that says nothing by itself.
struct Quiet;
impl ClientContext for Quiet {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}
impl rdkafka::consumer::ConsumerContext for Quiet {}

/// Topics' partitions, by topic number.
pub(super) type Partitions<'a> = [(&'a str, Vec<i32>)];

/// The first offset of each partition of each topic, and the one behind its last.
type Offsets = BTreeMap<(usize, i32), (i64, i64)>;

/// Reads back what `run` has in the topics beyond `place`.
pub(super) fn already(
    config: &ClientConfig,
    topics: &Partitions<'_>,
    place: &Place,
    run: &str,
) -> Result<Already, KafkaError> {
    let mut config = config.clone();
    // No group is joined: partitions are named one by one.
    config.set("group.id", "quell-sinks").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_uncommitted").set("auto.offset.reset", "earliest");
    config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "50");
    let consumer: BaseConsumer<Quiet> = BaseConsumer::from_config_and_context(&config, Quiet)?;
    let mut ends = high(&consumer, topics)?;
    loop {
        std::thread::sleep(QUIET);
        let now = high(&consumer, topics)?;
        if std::mem::replace(&mut ends, now.clone()) == now {
            break;
        }
    }
    let mut already = Already::new();
    for ((topic, partition), (low, end)) in ends {
        let name = topics[topic].0;
        // A topic that was made anew ends before the place.
        let from = Some(place.end(name, partition)).filter(|from| *from <= end).unwrap_or(low).max(low);
        if from < end {
            read(&consumer, (topic, name, partition), from..end, (run, place.epoch), &mut already)?;
        }
    }
    Ok(already)
}

/// The first offset of each partition, and the one behind its last.
fn high(consumer: &BaseConsumer<Quiet>, topics: &Partitions<'_>) -> Result<Offsets, KafkaError> {
    let all = topics
        .iter()
        .enumerate()
        .flat_map(|(topic, (name, all))| all.iter().map(move |it| (topic, *name, *it)));
    all.map(|(topic, name, partition)| {
        Ok(((topic, partition), consumer.fetch_watermarks(name, partition, ANSWER)?))
    })
    .collect()
}

fn read(
    consumer: &BaseConsumer<Quiet>,
    (topic, name, partition): (usize, &str, i32),
    offsets: std::ops::Range<i64>,
    (run, through): (&str, Epoch),
    already: &mut Already,
) -> Result<(), KafkaError> {
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition_offset(name, partition, Offset::Offset(offsets.start))?;
    consumer.assign(&wanted)?;
    loop {
        let message = match consumer.poll(ANSWER) {
            // A broker that went away is asked again from the beginning.
            None => {
                return Err(KafkaError::MessageConsumption(
                    rdkafka::types::RDKafkaErrorCode::RequestTimedOut,
                ));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(message) => message?,
        };
        let (mut own, mut epoch, mut seq, mut id) = (false, None, None, String::new());
        for header in message.headers().into_iter().flat_map(Headers::iter) {
            let text = header.value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
            match header.key {
                RUN => own = text == run,
                EPOCH => epoch = text.parse::<Epoch>().ok(),
                SEQ => seq = text.parse::<u64>().ok(),
                ID => text.clone_into(&mut id),
                _ => {}
            }
        }
        // What a run found there and did not send again moves no end.
        if let (true, Some(epoch), Some(seq)) = (own, epoch.filter(|epoch| *epoch > through), seq) {
            already.insert((topic, epoch, seq), id);
        }
        if message.offset() + 1 >= offsets.end {
            break;
        }
    }
    consumer.unassign()
}
