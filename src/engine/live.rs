//! Live: sources that go on. Each is a partition, or several, with a clock each; an epoch takes what is there.
//!
//! In: bytes of streams, topics' records, pushed batches, what else was said. Out: batches for the run; the same again
//! from its log. State: what was read and not yet taken, bounded per partition; a clock each; a normalizer per source.

mod chosen;
pub mod far;
mod partition;
mod pushed;
pub mod reader;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::far::{Others, Took, Wanted, add};
use self::partition::{Kind, Partition, Waited};
pub use self::partition::{Stream, lost};
use self::pushed::Loaded;

use super::journal::{Effects, Move};
use super::log::{LoggedEpoch, LoggedPart};
use super::run::Batch;
use crate::ingest::{Limits, Origin};
use crate::normalize::{Normalizer, Parsed, SourceSettings};
use crate::plan::mapping::Mapping;
use crate::record::{Epoch, EpochRow, Millis, NOTHING_SETTLED, Names, Sym, Tick, tick_of};
use crate::replay::arrival::{Ignored, PartitionClock, add_ignored};
use crate::replay::set::parts;

/// Records taken of one source before the clocks are compared again.
const PIECE: usize = 256;
/// A source that said nothing for so long is idle.
const IDLE_MS: Millis = 1_000;

/// One source, as it is set up.
pub struct Source {
    /// What is known of its records.
    pub settings: SourceSettings,
    /// Whether it follows the others' clocks, and elapsed time, while it is idle.
    pub wall: bool,
    /// Whether it is taken first while there is more than an epoch takes.
    pub severe: bool,
    /// Its partitions, each with the epoch after which it is there.
    pub streams: Vec<(Stream, Epoch)>,
}

/// What a partition remembers at an epoch's end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceKept {
    source: String,
    partition: u32,
    clock: PartitionClock,
}

/// How a partition stands, for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The source's name.
    pub source: String,
    /// The partition within it.
    pub partition: u32,
    /// Records of a topic that are not taken yet, as far as its brokers told; none where it is no topic's.
    pub lag: Option<u64>,
    /// Records that are read and not taken yet.
    pub waiting: usize,
    /// Its greatest event time; none where it has shown nothing.
    pub clock: Option<Millis>,
    /// What was read of it; none where another process reads it.
    pub read: Option<Read>,
}

/// What this process has read of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Records, since the process began.
    pub records: u64,
    /// Bytes that are not taken yet.
    pub bytes: usize,
}

/// All sources of a run.
pub struct Live {
    partitions: Vec<Partition>,
    /// Pushed batches that are not taken as a whole.
    loaded: Loaded,
    /// A source's name, its normalizer, and what new partitions of it are like.
    sources: Vec<(Normalizer, Kind)>,
    parsed: Parsed,
    names: Arc<Names>,
    limits: Limits,
    lateness_s: Tick,
    settled: Tick,
    /// When all sources fell silent, by the machine's clock, and the greatest clock then.
    silence: Option<(Millis, Millis)>,
    /// Epochs of the log whose records are kept out.
    pub quarantined: BTreeSet<Epoch>,
    /// Epochs that settled otherwise when they were recomputed.
    pub divergences: u64,
    /// What went wrong with sources, to be told.
    pub complaints: Vec<String>,
    /// Who reads partitions for this process; none where it reads all.
    others: Option<Others>,
    /// When it was heard last what came.
    heard_at: Millis,
    /// When the process that it reads for was told how its partitions stand.
    told_at: Millis,
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
        let mut live = Live {
            partitions: Vec::new(),
            loaded: Loaded::default(),
            sources: Vec::new(),
            parsed: Parsed::default(),
            names: Arc::clone(names),
            limits,
            lateness_s,
            settled: NOTHING_SETTLED,
            silence: None,
            quarantined: BTreeSet::new(),
            divergences: 0,
            complaints: Vec::new(),
            others: None,
            heard_at: 0,
            told_at: 0,
        };
        for Source { settings, wall, severe, streams } in sources {
            let origin = Origin { source: settings.name, tenant: settings.tenant };
            let normalizer = Normalizer::new(mappings, settings, Arc::clone(names));
            live.sources.push((normalizer, Kind { origin, wall, severe }));
            for (stream, since) in streams {
                live.add(origin.source, stream, since, 0);
            }
        }
        live
    }

    /// A source has one partition more, after epoch `since`.
    pub fn add(&mut self, source: Sym, stream: Stream, since: Epoch, now: Millis) {
        let found = self.sources.iter().position(|(_, kind)| kind.origin.source == source);
        let Some(normalizer) = found else { return };
        let kind = self.sources[normalizer].1;
        let mut new = Partition::new(kind, self.limits, stream, self.lateness_s);
        (new.normalizer, new.since, new.quiet_since) = (normalizer, since, now);
        self.partitions.push(new);
        self.open(self.partitions.len() - 1);
    }

    /// Takes what streams have read, without waiting; whether anything came, or why the run cannot go on.
    pub fn pull(&mut self, now: Millis) -> Result<bool, String> {
        self.heard_at = now;
        let mut came = self.listen(now)?;
        for partition in &mut self.partitions {
            if partition.pull(now, &mut self.complaints)? {
                came = true;
                partition.quiet_since = now;
            }
        }
        Ok(came)
    }

    /// How the partitions stand.
    #[must_use]
    pub fn standing(&self) -> Vec<Standing> {
        self.partitions.iter().map(|partition| partition.standing(self.names.get(partition.name))).collect()
    }

    /// Records that wait to be taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.partitions.iter().map(Partition::records).sum()
    }

    /// Whether pushed batches should wait where they are.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.partitions.iter().any(|partition| partition.is_pushed() && partition.is_full())
    }

    /// Whether every source has ended; what they gave may still wait.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.partitions.iter().all(|partition| !partition.open)
    }

    /// Ends every source: what is left of a record that was under way is its last.
    pub fn close(&mut self) {
        self.partitions.iter_mut().for_each(|partition| partition.close(false));
    }

    /// The sources' silence begins now: what came before was read again.
    pub fn begin(&mut self, now: Millis) {
        self.partitions.iter_mut().for_each(|partition| partition.quiet_since = now);
    }

    /// Where silent sources' clocks are to be moved: to the greatest that there is; when all are silent, on from there
    /// by elapsed time.
    pub fn moves(&mut self, now: Millis) -> Vec<Move<String>> {
        let quiet = |partition: &Partition| partition.is_quiet(now, IDLE_MS);
        let Some(greatest) = self.partitions.iter().filter_map(|partition| partition.clock.highest()).max()
        else {
            return Vec::new();
        };
        let all = self.partitions.iter().all(|partition| !partition.is_open() || quiet(partition));
        self.silence = if all { self.silence.or(Some((now, greatest))) } else { None };
        let time = self.silence.map_or(greatest, |(since, from)| from + now.saturating_sub(since).max(0));
        let behind = |partition: &&Partition| partition.kind.wall && partition.open && quiet(partition);
        let behind = self.partitions.iter().filter(behind);
        // A second is what a clock's move can change.
        let behind = behind.filter(|partition| partition.clock.tick() < tick_of(time));
        let mut moves: Vec<Move<Sym>> = Vec::new();
        for partition in behind {
            let number = partition.is_of_topic().then_some(partition.number);
            match moves.iter_mut().find(|to| to.source == partition.name) {
                Some(to) => to.partitions.extend(number),
                None => {
                    let partitions = number.into_iter().collect();
                    moves.push(Move { source: partition.name, partitions, time });
                }
            }
        }
        let named = |to: Move<Sym>| Move {
            source: self.names.get(to.source),
            partitions: to.partitions,
            time: to.time,
        };
        moves.into_iter().map(named).collect()
    }

    /// The next epoch: up to `most` records, of the partition with the lowest clock first. When the run is `ending`, the
    /// one after which no source is open is the last.
    ///
    /// Severe sources come before the others, but leave them a quarter of what is taken.
    ///
    /// # Errors
    /// Why another process cannot go on with what it reads for this one.
    pub fn batch(&mut self, most: usize, effects: Effects, ending: bool) -> Result<Batch, String> {
        self.apply(&effects);
        let mut taken = Taken::default();
        if let Some(others) = &mut self.others {
            others.epoch += 1;
            let wanted = self.allot(most);
            self.take_all(&wanted, effects.as_of, &mut taken)?;
        } else {
            self.take_lowest(most, &mut taken);
        }
        Ok(self.close_with(taken, effects, ending))
    }

    /// The epoch that took these.
    fn close_with(&mut self, mut taken: Taken, effects: Effects, ending: bool) -> Batch {
        let open = self.partitions.iter().filter(|partition| partition.is_open());
        let settled = open.map(|partition| partition.clock.settled()).min();
        taken.batch.last = ending && settled.is_none();
        // Nothing is open any more: what was shown last is settled too.
        let shown = self.partitions.iter().map(|partition| partition.clock.tick()).max();
        let end = shown.filter(|_| ending).map(|shown| shown.max(self.settled) + 1);
        self.finish(taken, effects, settled.or(end).unwrap_or(self.settled))
    }

    fn take_lowest(&mut self, most: usize, taken: &mut Taken) {
        let mut count = 0;
        while count < most
            && let Some(at) = self.lowest(count < most - most / 4)
        {
            count += self.take(at, (most - count).min(PIECE), taken);
        }
    }

    /// An epoch again, as the log tells it; none where the run is to stop; why not, where a source no longer gives what it
    /// gave then.
    pub fn again(&mut self, logged: &LoggedEpoch, effects: Effects) -> Result<Option<Batch>, String> {
        self.apply(&effects);
        let keeps_out = self.quarantined.contains(&logged.epoch);
        let mut taken = Taken { keeps_out, again: true, ..Taken::default() };
        let wanted = self.wanted(logged)?;
        if let Some(others) = &mut self.others {
            others.epoch = logged.epoch;
        }
        if !self.take_all(&wanted, effects.as_of, &mut taken)? {
            return Ok(None);
        }
        for (part, (at, _)) in logged.parts.iter().zip(wanted) {
            let of = (self.partitions[at].name, part.partition);
            let place = taken.places.iter().find(|(other, ..)| *other == of);
            let is_elsewhere = |(_, first, next): &(_, u64, u64)| (*first, *next) != (part.first, part.next);
            if !part.is_unread() && place.is_some_and(is_elsewhere) {
                return Err(format!(
                    "partition {} of the source {:?} does not hold what was taken of it from offset {} to {}: it was \
                     compacted, cut or made anew",
                    part.partition, part.source, part.first, part.next
                ));
            }
        }
        let there = self.partitions.iter().filter(|partition| partition.since < logged.epoch);
        let open = there.map(|partition| partition.clock.settled()).min();
        // What is kept out moved the clock when it was taken in.
        let settled = if keeps_out { open.unwrap_or(self.settled) } else { logged.settled };
        if !logged.last && open.is_some_and(|open| open.max(self.settled) != settled.max(self.settled)) {
            self.divergences += 1;
        }
        let mut batch = self.finish(taken, effects, settled);
        // What came of it was decided long ago.
        (batch.last, batch.appended) = (logged.last, None);
        Ok(Some(batch))
    }

    /// What each source remembers, now that an epoch was taken.
    #[must_use]
    pub fn keep(&self) -> Vec<SourceKept> {
        let kept = |it: &Partition| {
            let (source, partition) = (self.names.get(it.name), it.number);
            SourceKept { source, partition, clock: it.clock }
        };
        self.partitions.iter().map(kept).collect()
    }

    /// Goes on after an epoch at whose end this was remembered: what was taken through it was passed by.
    pub fn begin_at(&mut self, settled: Tick, kept: &[SourceKept]) {
        self.settled = settled;
        for partition in &mut self.partitions {
            let name = self.names.get(partition.name);
            let is_it =
                |kept: &&SourceKept| (kept.source.as_str(), kept.partition) == (&name, partition.number);
            if let Some(kept) = kept.iter().find(is_it) {
                partition.clock = kept.clock;
            }
        }
    }

    /// What was said through an epoch has its effect on sources, also where other processes read them.
    pub fn pass_far(&mut self, epoch: Epoch, effects: &Effects) -> Result<(), String> {
        self.apply(effects);
        if let Some(others) = &mut self.others {
            others.epoch = epoch;
        }
        self.take_all(&Wanted::new(), effects.as_of, &mut Taken::default()).map(drop)
    }

    /// Passes by what epochs of the log took, unread; false where the run is to stop; why not, where a source no longer
    /// gives what it gave then. A topic is read from behind it on.
    pub fn pass(&mut self, logged: &LoggedEpoch) -> Result<bool, String> {
        for part in &logged.parts {
            // What is not read any more, by another plan, need not be read again.
            let Ok(at) = self.of(part) else { continue };
            let mut left = usize::try_from(part.records).unwrap_or(usize::MAX);
            while left > 0 && !self.partitions[at].is_of_topic() {
                if !self.must_have(at)? {
                    return Ok(false);
                }
                left -= self.partitions[at].pass(left);
            }
        }
        Ok(true)
    }

    /// Whether an epoch of the log needs batches that were not pushed yet.
    #[must_use]
    pub fn lacks(&self, logged: &LoggedEpoch) -> bool {
        logged.parts.iter().any(|part| {
            let name = self.names.intern(&part.source);
            let has = |partition: &&Partition| partition.name == name && partition.is_pushed();
            let found = self.partitions.iter().find(has);
            found.is_some_and(|partition| (partition.records() as u64) < part.records)
        })
    }

    /// What an epoch takes, by the places of its partitions.
    fn wanted(&self, epoch: &LoggedEpoch) -> Result<Wanted, String> {
        epoch.parts.iter().map(|part| Ok((self.of(part)?, part.records))).collect()
    }

    fn of(&self, part: &LoggedPart) -> Result<usize, String> {
        self.at(&part.source, part.partition)
    }

    fn at(&self, source: &str, number: u32) -> Result<usize, String> {
        let name = self.names.intern(source);
        let is_it = |partition: &Partition| (partition.name, partition.number) == (name, number);
        let found = self.partitions.iter().position(is_it);
        found.ok_or_else(|| format!("the source {source:?} is not there any more"))
    }

    /// Waits until a partition has a record; false where the run is to stop; why it has none.
    fn must_have(&mut self, at: usize) -> Result<bool, String> {
        match self.partitions[at].wait(&mut self.complaints)? {
            Waited::Came => Ok(true),
            Waited::Stopped => Ok(false),
            Waited::Nothing => Err(format!(
                "the source {:?} holds fewer records than were taken of it: it was cut or replaced",
                self.names.get(self.partitions[at].name)
            )),
        }
    }

    fn apply(&mut self, effects: &Effects) {
        if let Some(as_of) = effects.as_of {
            self.sources.iter_mut().for_each(|(normalizer, _)| normalizer.set_as_of(as_of));
        }
        for Move { source, partitions, time } in &effects.moves {
            let moved = |partition: &&mut Partition| {
                partition.name == *source && (partitions.is_empty() || partitions.contains(&partition.number))
            };
            self.partitions.iter_mut().filter(moved).for_each(|partition| partition.clock.move_to(*time));
        }
    }

    /// The partition to be taken from next; of severe ones, if there are any that have something and may go first.
    fn lowest(&self, severe_first: bool) -> Option<usize> {
        let ready = self.partitions.iter().enumerate().filter(|(_, partition)| !partition.ready.is_empty());
        ready
            .min_by_key(|(at, partition)| {
                (partition.kind.severe != severe_first, partition.clock.tick(), *at)
            })
            .map(|(at, _)| at)
    }

    fn take(&mut self, at: usize, most: usize, taken: &mut Taken) -> usize {
        let partition = &mut self.partitions[at];
        let (normalizer, _) = &mut self.sources[partition.normalizer];
        partition.take(most, self.settled, (normalizer, &mut self.parsed), taken)
    }

    fn finish(&mut self, taken: Taken, effects: Effects, settled: Tick) -> Batch {
        let Taken { mut batch, ignored, places, far, .. } = taken;
        self.settled = self.settled.max(settled);
        batch.settled = self.settled;
        batch.parts = parts(&batch.alerts, &batch.rejects, batch.settled);
        add_ignored(&mut batch.parts, &ignored, batch.settled);
        for ((source, partition), first, next) in places {
            let is_it = |row: &&mut EpochRow| (row.source, row.partition) == (source, partition);
            if let Some(row) = batch.parts.iter_mut().find(is_it) {
                (row.from, row.to) = (first, next - 1);
            }
        }
        add(&mut batch, far);
        effects.fill(&mut batch);
        batch
    }
}

/// What an epoch has taken so far.
#[derive(Default)]
struct Taken {
    batch: Batch,
    /// Whether its records are rejects, unread.
    keeps_out: bool,
    ignored: Vec<Ignored>,
    /// Of each partition of a topic, the first offset taken and the one after the last.
    places: Vec<((Sym, u32), u64, u64)>,
    /// Whether it is an epoch of the log.
    again: bool,
    /// What other processes took of it.
    far: Vec<Took>,
}
