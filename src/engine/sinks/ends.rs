//! Ends: what the topics' partitions have beyond the place that the log knows: messages of this run that were delivered
//! before a crash, which are not sent again.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message as _};

use super::place::Place;
use crate::kafka::Reader;
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
    let reader = Reader::new(config, "quell-sinks")?;
    let mut ends = high(&reader, topics)?;
    loop {
        std::thread::sleep(QUIET);
        let now = high(&reader, topics)?;
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
            read(&reader, (topic, name, partition), from..end, (run, place.epoch), &mut already)?;
        }
    }
    Ok(already)
}

/// The first offset of each partition, and the one behind its last.
fn high(reader: &Reader, topics: &Partitions<'_>) -> Result<Offsets, KafkaError> {
    let all = topics
        .iter()
        .enumerate()
        .flat_map(|(topic, (name, all))| all.iter().map(move |it| (topic, *name, *it)));
    all.map(|(topic, name, partition)| Ok(((topic, partition), reader.bounds(name, partition)?))).collect()
}

fn read(
    reader: &Reader,
    (topic, name, partition): (usize, &str, i32),
    offsets: std::ops::Range<i64>,
    (run, through): (&str, Epoch),
    already: &mut Already,
) -> Result<(), KafkaError> {
    reader.read((name, partition), offsets, |message| {
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
    })
}
