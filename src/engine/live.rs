//! Live: sources that go on. Each is a partition with its own framer, normalizer and clock; an epoch takes what is there.
//!
//! In: bytes of streams, pushed batches, what else was said. Out: batches for the run; the same again from its log.
//! State: what was read and not yet taken, bounded per source; a clock each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::journal::{Effects, Pushed};
use super::log::LoggedEpoch;
use super::run::Batch;
use crate::ingest::live::Heard;
use crate::ingest::{Framed, Framer, Limits, Origin};
use crate::normalize::{Normalizer, Parsed, SourceSettings};
use crate::plan::mapping::Mapping;
use crate::record::{Alert, Millis, NOTHING_SETTLED, Names, Reject, Sym, Tick, tick_of};
use crate::replay::arrival::{PartitionClock, add_ignored};
use crate::replay::set::parts;

/// Records of a source that may wait to be taken before its stream is left to wait.
const READY_MAX: usize = 20_000;
/// Records taken of one source before the clocks are compared again.
const PIECE: usize = 256;
/// A source that said nothing for so long is idle.
const IDLE_MS: Millis = 1_000;
/// How long a source that is read again may take to give its next bytes.
const AGAIN: Duration = Duration::from_secs(30);

/// One source, as it is set up.
pub struct Source {
    /// What is known of its records.
    pub settings: SourceSettings,
    /// Whether it follows the others' clocks, and elapsed time, while it is idle.
    pub wall: bool,
    /// Its stream; none where batches are pushed.
    pub stream: Option<Receiver<Heard>>,
}

struct Partition {
    name: Sym,
    origin: Origin,
    limits: Limits,
    wall: bool,
    stream: Option<Receiver<Heard>>,
    framer: Framer,
    normalizer: Normalizer,
    parsed: Parsed,
    ready: VecDeque<Framed>,
    clock: PartitionClock,
    open: bool,
    caught_up: bool,
    quiet_since: Millis,
    /// Lines and records of the batches pushed before.
    pushed: (u64, u64),
    /// Pushed batches of which no record is taken yet, each with the records before it.
    untold: VecDeque<(u64, Pushed)>,
    /// Records taken.
    taken: u64,
}

/// All sources of a run.
pub struct Live {
    partitions: Vec<Partition>,
    names: Arc<Names>,
    settled: Tick,
    /// When all sources fell silent, by the machine's clock, and the greatest clock then.
    silence: Option<(Millis, Millis)>,
    /// Epochs that settled otherwise when they were recomputed.
    pub divergences: u64,
    /// What went wrong with sources, to be told.
    pub complaints: Vec<String>,
}

impl Live {
    /// Sources that have given nothing yet.
    #[must_use]
    pub fn new(
        sources: Vec<Source>,
        mappings: &[Mapping],
        names: &Arc<Names>,
        lateness_s: Tick,
        limits: Limits,
    ) -> Live {
        let partition = |source: Source| {
            let origin = Origin { source: source.settings.name, tenant: source.settings.tenant };
            Partition {
                name: origin.source,
                origin,
                limits,
                wall: source.wall,
                stream: source.stream,
                framer: Framer::new(origin, limits),
                normalizer: Normalizer::new(mappings, source.settings, Arc::clone(names)),
                parsed: Parsed::default(),
                ready: VecDeque::new(),
                clock: PartitionClock::new(lateness_s),
                open: true,
                caught_up: false,
                quiet_since: 0,
                pushed: (0, 0),
                untold: VecDeque::new(),
                taken: 0,
            }
        };
        Live {
            partitions: sources.into_iter().map(partition).collect(),
            names: Arc::clone(names),
            settled: NOTHING_SETTLED,
            silence: None,
            divergences: 0,
            complaints: Vec::new(),
        }
    }

    /// Takes what streams have read, without waiting; whether anything came.
    pub fn pull(&mut self, now: Millis) -> bool {
        let mut came = false;
        for partition in &mut self.partitions {
            while partition.records() < READY_MAX
                && let Some(heard) = partition.stream.as_ref().and_then(|stream| stream.try_recv().ok())
            {
                came |= partition.hear(heard, &mut self.complaints);
                partition.quiet_since = now;
            }
        }
        came
    }

    /// A batch was pushed to a source, and is durable; nothing where the plan has no such source any more.
    pub fn push(&mut self, source: &str, text: &str, key: Option<&str>, now: Millis) {
        let name = self.names.intern(source);
        if let Some(partition) = self.partitions.iter_mut().find(|partition| partition.name == name) {
            let before = partition.pushed.1;
            let records = partition.push(text);
            let (source, key) = (source.to_owned(), key.map(str::to_owned));
            partition.untold.push_back((before, Pushed { source, key, records }));
            partition.quiet_since = now;
        }
    }

    /// Records that wait to be taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.partitions.iter().map(Partition::records).sum()
    }

    /// Whether pushed batches should wait where they are.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.partitions.iter().any(|partition| partition.stream.is_none() && partition.records() >= READY_MAX)
    }

    /// Whether every source has ended; what they gave may still wait.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.partitions.iter().all(|partition| !partition.open)
    }

    /// Ends every source: what is left of a record that was under way is its last.
    pub fn close(&mut self) {
        self.partitions.iter_mut().for_each(Partition::end);
    }

    /// The sources' silence begins now: what came before was read again.
    pub fn begin(&mut self, now: Millis) {
        self.partitions.iter_mut().for_each(|partition| partition.quiet_since = now);
    }

    /// Where silent sources' clocks are to be moved: to the greatest that there is; when all are silent, on from there
    /// by elapsed time.
    pub fn moves(&mut self, now: Millis) -> Vec<(String, Millis)> {
        let quiet = |partition: &Partition| {
            partition.ready.is_empty() && now.saturating_sub(partition.quiet_since) >= IDLE_MS
        };
        let Some(greatest) = self.partitions.iter().filter_map(|partition| partition.clock.highest()).max()
        else {
            return Vec::new();
        };
        let all = self.partitions.iter().all(|partition| !partition.is_open() || quiet(partition));
        self.silence = if all { self.silence.or(Some((now, greatest))) } else { None };
        let to = self.silence.map_or(greatest, |(since, from)| from + now.saturating_sub(since).max(0));
        let behind = |partition: &&Partition| partition.wall && partition.open && quiet(partition);
        let behind = self.partitions.iter().filter(behind);
        // A second is what a clock's move can change.
        let behind = behind.filter(|partition| partition.clock.tick() < tick_of(to));
        behind.map(|partition| (self.names.get(partition.name), to)).collect()
    }

    /// The next epoch: up to `most` records, of the source with the lowest clock first. When the run is `ending`, the one
    /// after which no source is open is the last.
    pub fn batch(&mut self, most: usize, effects: Effects, ending: bool) -> Batch {
        self.apply(&effects);
        let mut taken = Taken::default();
        let mut count = 0;
        while count < most
            && let Some(at) = self.lowest()
        {
            count += self.partitions[at].take((most - count).min(PIECE), self.settled, &mut taken);
        }
        let open = self.partitions.iter().filter(|partition| partition.is_open());
        let settled = open.map(|partition| partition.clock.settled()).min();
        taken.batch.last = ending && settled.is_none();
        // Nothing is open any more: what was shown last is settled too.
        let shown = self.partitions.iter().map(|partition| partition.clock.tick()).max();
        let end = shown.filter(|_| ending).map(|shown| shown.max(self.settled) + 1);
        self.finish(taken, effects, settled.or(end).unwrap_or(self.settled))
    }

    /// An epoch again, as the log tells it; why not, where a source no longer gives what it gave then.
    pub fn again(&mut self, logged: &LoggedEpoch, effects: Effects) -> Result<Batch, String> {
        self.apply(&effects);
        let mut taken = Taken::default();
        for part in &logged.parts {
            let name = self.names.intern(&part.source);
            let partition = self.partitions.iter_mut().find(|partition| partition.name == name);
            let partition =
                partition.ok_or_else(|| format!("the source {:?} is not there any more", part.source))?;
            let mut left = usize::try_from(part.records).unwrap_or(usize::MAX);
            while left > 0 {
                if partition.ready.is_empty() && !partition.wait(&mut self.complaints) {
                    return Err(format!(
                        "the source {:?} holds fewer records than were taken of it: it was cut or replaced",
                        part.source
                    ));
                }
                left -= partition.take(left.min(PIECE), self.settled, &mut taken);
            }
        }
        let open = self.partitions.iter().map(|partition| partition.clock.settled()).min();
        if !logged.last && open.is_some_and(|open| open.max(self.settled) != logged.settled) {
            self.divergences += 1;
        }
        let mut batch = self.finish(taken, effects, logged.settled);
        batch.last = logged.last;
        Ok(batch)
    }

    /// Whether an epoch of the log needs batches that were not pushed yet.
    #[must_use]
    pub fn lacks(&self, logged: &LoggedEpoch) -> bool {
        logged.parts.iter().any(|part| {
            let name = self.names.intern(&part.source);
            let has = |partition: &&Partition| partition.name == name && partition.stream.is_none();
            let found = self.partitions.iter().find(has);
            found.is_some_and(|partition| (partition.records() as u64) < part.records)
        })
    }

    fn apply(&mut self, effects: &Effects) {
        for partition in &mut self.partitions {
            if let Some(as_of) = effects.as_of {
                partition.normalizer.set_as_of(as_of);
            }
            for (_, time) in effects.moves.iter().filter(|(source, _)| *source == partition.name) {
                partition.clock.move_to(*time);
            }
        }
    }

    fn lowest(&self) -> Option<usize> {
        let ready = self.partitions.iter().enumerate().filter(|(_, partition)| !partition.ready.is_empty());
        ready.min_by_key(|(at, partition)| (partition.clock.tick(), *at)).map(|(at, _)| at)
    }

    fn finish(&mut self, taken: Taken, effects: Effects, settled: Tick) -> Batch {
        let Taken { mut batch, ignored } = taken;
        self.settled = self.settled.max(settled);
        batch.settled = self.settled;
        batch.parts = parts(&batch.alerts, &batch.rejects, batch.settled);
        add_ignored(&mut batch.parts, &ignored, batch.settled);
        effects.fill(&mut batch);
        batch
    }
}

/// What an epoch has taken so far.
#[derive(Default)]
struct Taken {
    batch: Batch,
    ignored: Vec<(Sym, u64)>,
}

impl Partition {
    fn is_open(&self) -> bool {
        self.open || !self.ready.is_empty()
    }

    fn records(&self) -> usize {
        self.ready.iter().map(length).sum()
    }

    fn hear(&mut self, heard: Heard, complaints: &mut Vec<String>) -> bool {
        match heard {
            Heard::Bytes(bytes) => {
                let mut framed = Vec::new();
                self.framer.feed(&bytes, &mut framed);
                self.framer.flush(&mut framed);
                self.ready.extend(framed);
                true
            }
            Heard::Anew => {
                let mut framed = Vec::new();
                self.framer.anew(&mut framed);
                self.ready.extend(framed);
                true
            }
            Heard::CaughtUp => {
                self.caught_up = true;
                false
            }
            Heard::End(why) => {
                complaints.extend(why);
                self.end();
                true
            }
        }
    }

    /// Waits for the stream's next records; false where there are none.
    fn wait(&mut self, complaints: &mut Vec<String>) -> bool {
        while self.ready.is_empty() {
            let Some(stream) = self.stream.as_ref().filter(|_| self.open && !self.caught_up) else { break };
            match stream.recv_timeout(AGAIN) {
                Ok(heard) => {
                    self.hear(heard, complaints);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        if self.ready.is_empty() && self.stream.is_some() {
            // A run that was stopped took the record under way for the last.
            let mut framed = Vec::new();
            self.framer.finish(&mut framed);
            self.ready.extend(framed);
        }
        !self.ready.is_empty()
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.open) && self.stream.is_some() {
            let mut framed = Vec::new();
            self.framer.finish(&mut framed);
            self.ready.extend(framed);
        }
    }

    /// A pushed batch has a framer of its own: a broken one costs its neighbours nothing. How many records it has.
    fn push(&mut self, text: &str) -> u64 {
        let (lines, records) = self.pushed;
        let mut framer = Framer::new(self.origin, self.limits);
        let mut framed = Vec::new();
        framer.feed(text.as_bytes(), &mut framed);
        framer.finish(&mut framed);
        for framed in &mut framed {
            self.pushed.1 += length(framed) as u64;
            match framed {
                Framed::Chunk(chunk) => {
                    chunk.ordinal += records;
                    chunk.spans.iter_mut().for_each(|span| span.position += lines);
                }
                Framed::Reject(reject) => reject.position += lines,
            }
        }
        self.pushed.0 += text.lines().count() as u64;
        self.ready.extend(framed);
        self.pushed.1 - records
    }

    /// Takes up to `most` records, at least one where there is any; how many. A pushed batch is told with its first.
    fn take(&mut self, most: usize, floor: Tick, taken: &mut Taken) -> usize {
        let count = self.take_ready(most, floor, taken);
        self.taken += count as u64;
        while let Some((_, pushed)) = self.untold.pop_front_if(|(before, _)| *before < self.taken) {
            taken.batch.inputs.push(pushed.row());
        }
        count
    }

    fn take_ready(&mut self, most: usize, floor: Tick, taken: &mut Taken) -> usize {
        let (name, tick) = (self.name, |clock: &PartitionClock| clock.tick().max(0));
        match self.ready.pop_front() {
            None => 0,
            Some(Framed::Reject(reject)) => {
                taken.batch.rejects.push(Reject { tick: tick(&self.clock), ..reject });
                1
            }
            Some(Framed::Chunk(mut chunk)) => {
                let now = chunk.split(most);
                let count = now.len();
                if !chunk.is_empty() {
                    self.ready.push_front(Framed::Chunk(chunk));
                }
                self.normalizer.parse(&now, &mut self.parsed);
                let ignored = self.parsed.ignored_count();
                if ignored > 0 {
                    taken.ignored.push((name, ignored));
                    taken.batch.observed.append(&mut self.parsed.observed);
                }
                let mut rejects = std::mem::take(&mut self.parsed.rejects).into_iter().peekable();
                for mut alert in std::mem::take(&mut self.parsed.alerts) {
                    let before = |reject: &Reject| reject.position < alert.position;
                    while let Some(reject) = rejects.next_if(before) {
                        taken.batch.rejects.push(Reject { tick: tick(&self.clock), ..reject });
                    }
                    taken.batch.late += u64::from(self.stamp(&mut alert, floor));
                    taken.batch.alerts.push(alert);
                }
                let clock = tick(&self.clock);
                taken.batch.rejects.extend(rejects.map(|reject| Reject { tick: clock, ..reject }));
                count
            }
        }
    }

    fn stamp(&mut self, alert: &mut Alert, floor: Tick) -> bool {
        self.clock.stamp(alert, floor)
    }
}

fn length(framed: &Framed) -> usize {
    match framed {
        Framed::Chunk(chunk) => chunk.len(),
        Framed::Reject(_) => 1,
    }
}
