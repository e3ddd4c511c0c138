//! Pushed: batches become records of their sources, and it is told which of them epochs took as a whole.
//!
//! In: batches, in the order of their numbers in the log. Out: records of partitions; the number through which all are taken,
//! with the lines and records before: there a run begins that begins at that epoch's end, and the log may forget what is before.
//! State: where each batch begins and ends that is not wholly taken, or has one before it that is not: as many as wait.

use std::collections::VecDeque;

use super::Live;
use crate::engine::journal::Pushed;
use crate::engine::log::{LoggedPart, Through};
use crate::record::Millis;

/// Batches that may not be taken yet.
#[derive(Default)]
pub(super) struct Loaded {
    /// The number of the last one that was loaded.
    last: i64,
    batches: VecDeque<Batch>,
}

/// A batch.
struct Batch {
    /// Its number in the log.
    id: i64,
    /// Its partition's place.
    at: usize,
    /// Lines and records of its source before it.
    before: (u64, u64),
    /// Records of its source through it.
    end: u64,
}

impl Live {
    /// A batch was pushed to a source, and is durable under its number; nothing where the plan has no such source any more.
    /// Its records without a time have that at which it came.
    pub fn push(
        &mut self,
        (id, source): (i64, &str),
        (text, time): (&str, Option<Millis>),
        key: Option<&str>,
        now: Millis,
    ) {
        self.settle_pushed();
        self.loaded.last = id;
        let name = self.names.intern(source);
        if let Some(at) = self.partitions.iter().position(|partition| partition.name == name) {
            let partition = &mut self.partitions[at];
            let before = partition.pushed;
            let records = partition.push(text, time);
            partition.dated(time.unwrap_or(now));
            let (source, key) = (source.to_owned(), key.map(str::to_owned));
            partition.untold.push_back((before.1, Pushed { source, key, records }));
            partition.quiet_since = now;
            self.loaded.batches.push_back(Batch { id, at, before, end: before.1 + records });
        }
    }

    /// Which pushed batches epochs took as a whole, now that one was taken; none where nothing is pushed.
    pub fn pushed(&mut self) -> Option<Through> {
        self.settle_pushed();
        let first = self.loaded.batches.front();
        let mut through =
            Through { last: first.map_or(self.loaded.last, |first| first.id - 1), ..Through::default() };
        for (at, partition) in self.partitions.iter().enumerate().filter(|(_, it)| it.is_pushed()) {
            let first = self.loaded.batches.iter().find(|batch| batch.at == at);
            let before = first.map_or(partition.pushed, |batch| batch.before);
            through.sources.insert(self.names.get(partition.name), before);
        }
        Some(through).filter(|through| !through.sources.is_empty())
    }

    /// Begins behind batches that were taken: the next one is that after them, and what `parts` have of them needs not be
    /// passed by.
    pub fn begin_pushed(&mut self, through: &Through, parts: &mut [LoggedPart]) {
        self.loaded.last = through.last;
        for partition in self.partitions.iter_mut().filter(|partition| partition.is_pushed()) {
            let name = self.names.get(partition.name);
            let Some(&(lines, records)) = through.sources.get(&name) else { continue };
            partition.pushed = (lines, records);
            (partition.came, partition.taken) = (records, records);
            let parts = parts.iter_mut().filter(|part| part.source == name);
            parts.for_each(|part| part.records = part.records.saturating_sub(records));
        }
    }

    fn settle_pushed(&mut self) {
        let partitions = &self.partitions;
        // One without records is told with the next.
        let taken = |batch: &mut Batch| {
            let taken = partitions[batch.at].taken;
            batch.before.1 < taken && batch.end <= taken
        };
        while self.loaded.batches.pop_front_if(taken).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::tz::TimeZone;

    use super::*;
    use crate::engine::journal::Effects;
    use crate::engine::live::{Source, Stream};
    use crate::ingest::Limits;
    use crate::normalize::SourceSettings;
    use crate::record::{Names, Reject};

    fn live(names: &Arc<Names>) -> Live {
        let source = |name: &str| {
            let settings = SourceSettings {
                name: names.intern(name),
                tenant: names.intern("default"),
                tenant_from_field: false,
                zone: TimeZone::UTC,
                as_of: 0,
                future_max_ms: 0,
            };
            Source { settings, wall: false, severe: name == "b", streams: vec![(Stream::Pushed, 0)] }
        };
        Live::new(vec![source("a"), source("b")], &[], names, 0, Limits::default())
    }

    /// Numbers from 1, each with its source and text.
    const PUSHED: [(&str, &str); 7] = [
        ("a", "{\"n\":1}\n{\"n\":2}\n"),
        ("b", "{\"n\":3}\n"),
        ("a", "\n\n{\"n\":4}\n{\"n\":5}\n{\"n\":6}\n"),
        ("nobody", "{}"),
        ("b", "[]\n"),
        ("a", "{\"n\":7}"),
        ("b", "{\"n\":8}\n{\"n\":9}\n"),
    ];

    fn load(live: &mut Live, after: i64) {
        for (id, (source, text)) in (1..).zip(PUSHED).filter(|(id, _)| *id > after) {
            live.push((id, source), (text, None), None, 0);
        }
    }

    /// What comes of an epoch of so many records: no mapping takes them, so each is a reject.
    fn take(live: &mut Live, most: usize) -> Vec<Reject> {
        live.batch(most, Effects::default(), false).unwrap().rejects
    }

    #[test]
    fn a_run_begins_in_the_first_batch_that_is_not_wholly_taken() {
        for taken in 0..=9_usize {
            let names = Arc::new(Names::default());
            let mut whole = live(&names);
            load(&mut whole, 0);
            let before = (0..taken).flat_map(|_| take(&mut whole, 1)).collect::<Vec<_>>();
            let through = whole.pushed().unwrap();
            let rest = take(&mut whole, 99);
            assert_eq!(before.len() + rest.len(), 9, "{before:?} {rest:?}");

            let mut begun = live(&names);
            let of = |source: &str| {
                let source = names.intern(source);
                before.iter().filter(|reject| reject.source == source).count() as u64
            };
            let part = |source: &str| LoggedPart {
                source: source.to_owned(),
                partition: 0,
                records: of(source),
                first: 0,
                next: 0,
            };
            let mut parts = ["a", "b"].map(part);
            begun.begin_pushed(&through, &mut parts);
            load(&mut begun, through.last);
            // What is left to pass by lies in batches of which some wait, or which came after such a one.
            let logged =
                crate::engine::log::LoggedEpoch { epoch: 1, settled: 0, last: false, parts: parts.into() };
            assert!(!begun.lacks(&logged));
            assert_eq!(begun.pass(&logged), Ok(true));
            assert_eq!((begun.pushed(), take(&mut begun, 99)), (Some(through), rest), "after {taken}");
            assert_eq!(begun.pushed(), whole.pushed());
        }
    }

    #[test]
    fn what_was_taken_is_told_by_the_first_that_was_not() {
        let names = Arc::new(Names::default());
        let mut live = live(&names);
        let through =
            |last, a, b| Through { last, sources: [("a".to_owned(), a), ("b".to_owned(), b)].into() };
        assert_eq!(live.pushed(), Some(through(0, (0, 0), (0, 0))));
        load(&mut live, 0);
        assert_eq!(live.pushed(), Some(through(0, (0, 0), (0, 0))));
        // Of `b`, which is severe, all is taken first.
        take(&mut live, 4);
        assert_eq!(live.pushed(), Some(through(0, (0, 0), (0, 0))));
        take(&mut live, 1);
        assert_eq!(
            live.pushed(),
            Some(through(2, (2, 2), (1, 1))),
            "what came after one that waits is not told"
        );
        take(&mut live, 3);
        assert_eq!(live.pushed(), Some(through(5, (7, 5), (2, 1))));
        take(&mut live, 1);
        assert_eq!(live.pushed(), Some(through(7, (8, 6), (4, 3))));
    }
}
