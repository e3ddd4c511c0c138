//! Far: partitions of topics that other processes of a cluster read and parse for the first one.
//!
//! ```text
//!  first                                  another
//!  Open   a partition, from an offset ->
//!                                      <- Waits   how much it has read of it, and whether that is all
//!  Take   an epoch's share of each    ->
//!                                      <- Took    clocks, rejects and counts; its alerts stay there, and
//!                                                 are told too where the policy acts early
//!  Feed   the epoch, which is decided -> its workers
//! ```
//!
//! The first process decides what an epoch takes, by how much waits and where the clocks of partitions are about to be, and
//! hands each share its partition's clock; it has its own share parsed meanwhile. What an epoch took is in the log as ever: of
//! a partition so many records, whoever read them. So the log can be read again in any layout.
//!
//! Where the policy acts early, the first process must know alerts that are acted on and not settled: up to where an epoch acts,
//! what a snapshot keeps of them, and what an incident has that is taken apart. So it hears of them; those that work at them
//! have them already.
//!
//! Words name strings as texts ([`crate::record::pen`]). One epoch at a time is taken: more never wait. A share needs its
//! partition's clock and what all shares before it have settled, so the next is not ordered before this one is taken; what that
//! costs is some hundredths of the time (7 % of a flood's, in epochs of a thousand records), in which workers work.
//! State: what waits at others; there, what was read and the alerts of one epoch.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, unbounded};
use serde::{Deserialize, Serialize};

use super::partition::Stream;
use super::{IDLE_MS, Live, PIECE, Taken};
use crate::cluster::Talk;
use crate::engine::run::Batch;
use crate::ingest::live::Bell;
use crate::plan::policy::Act;
use crate::record::pen::{Glossary, of_bytes, reading, to_bytes, writing};
use crate::record::{Alert, Epoch, EpochRow, Millis, Names, Observed, Reject, Tick};
use crate::replay::arrival::PartitionClock;

/// How a partition stands is said again after so long.
const AGAIN_MS: Millis = 300;
/// How long a word is waited for before it is looked whether the run is to stop.
const GLANCE: Duration = Duration::from_millis(100);

/// A partition: its source's name and its number.
pub type Place = (String, u32);

/// One share of an epoch.
#[derive(Serialize, Deserialize)]
pub struct Share {
    pub(super) of: Place,
    pub(super) records: u64,
    pub(super) clock: PartitionClock,
}

/// What the first process says to one that reads for it.
#[derive(Serialize, Deserialize)]
pub enum Order {
    /// Read this partition from this offset on.
    Open(Place, u64),
    /// Take an epoch's shares, none of them before this tick; nothing else is done before it is fed.
    Take {
        /// The ingest time from now on.
        as_of: Option<Millis>,
        /// The tick below which all is settled.
        floor: Tick,
        /// Whether the records are rejects, unread.
        keeps_out: bool,
        /// Whether its alerts are told.
        tells: bool,
        /// Of which partitions how much.
        shares: Vec<Share>,
    },
    /// Let the workers have what was taken, as this epoch's.
    Feed(Epoch),
    /// There will be no more epochs.
    End,
}

/// What one that reads says to the first process.
#[derive(Serialize, Deserialize)]
pub enum Word {
    /// Of a partition so many records were read in all.
    Waits {
        /// Of which.
        of: Place,
        /// Since it was opened.
        read: u64,
        /// Whether these are all that there are now.
        at_end: bool,
        /// Records that it has not read, as far as brokers told.
        lag: Option<u64>,
    },
    /// An epoch's shares were taken.
    Took(Box<Took>),
    /// What people should know.
    Complaint(String),
    /// It cannot go on.
    Failed(String),
}

/// What came of an epoch's shares.
#[derive(Default, Serialize, Deserialize)]
pub struct Took {
    /// Of each share the clock, in order.
    clocks: Vec<PartitionClock>,
    rejects: Vec<Reject>,
    observed: Vec<Observed>,
    rows: Vec<EpochRow>,
    late: u64,
    appended: Option<Millis>,
    /// Its alerts, where they are asked for.
    pub(super) alerts: Vec<Alert>,
}

/// A word's bytes.
///
/// # Panics
/// Where it cannot be written, which is a defect.
pub fn told(word: &impl Serialize, names: &Names) -> Vec<u8> {
    let mut body = Vec::new();
    let (written, glossary) = writing(names, || to_bytes(word, &mut body));
    written.expect("a word can be written");
    let mut bytes = Vec::new();
    to_bytes(&(glossary, body), &mut bytes).expect("bytes can be written");
    bytes
}

/// The word; why not, where it is none.
pub fn heard<T: for<'a> Deserialize<'a>>(bytes: &[u8], names: &Names) -> Result<T, String> {
    let garbled = |error| format!("what it says of what it reads is garbled: {error}");
    let (glossary, body): (Glossary, Vec<u8>) = of_bytes(bytes).map_err(garbled)?;
    reading(names, &glossary, || of_bytes(&body)).map_err(garbled)
}

/// A partition that another process reads.
#[derive(Debug)]
pub struct Far {
    /// Who reads it.
    pub owner: usize,
    /// Its number.
    pub partition: u32,
    /// The offset from which on.
    pub from: u64,
    pub(super) read: u64,
    at_end: bool,
    pub(super) lag: Option<u64>,
    /// When whoever reads it said something.
    heard_at: Millis,
}

impl Far {
    /// Of which nothing is read yet.
    #[must_use]
    pub fn new(owner: usize, partition: u32, from: u64) -> Far {
        Far { owner, partition, from, read: 0, at_end: false, lag: None, heard_at: 0 }
    }
}

impl Far {
    /// Whether all that there is was read, as far as whoever reads it says, and says so still: a link that is cut says nothing of
    /// the topic.
    pub(super) fn is_at_end(&self, now: Millis, idle_ms: Millis) -> bool {
        self.at_end && now.saturating_sub(self.heard_at) < idle_ms
    }
}

/// Those who read for this process.
pub struct Others {
    talks: Vec<Option<Talk>>,
    bell: Bell,
    /// Whether alerts are told.
    tells: bool,
    /// The last epoch decided.
    pub(super) epoch: Epoch,
}

impl Others {
    /// By index, none where it is this process; the bell is rung where a word comes.
    pub fn new(talks: Vec<Option<Talk>>, bell: &Bell, act: Act) -> std::io::Result<Others> {
        let ring = |talk: Talk| {
            let (came, bell) = (talk.from.clone(), bell.clone());
            let (heard, from) = unbounded();
            let rings = move || {
                for word in came {
                    if heard.send(word).is_err() {
                        return;
                    }
                    bell.ring();
                }
            };
            thread::Builder::new().name("words".into()).spawn(rings)?;
            Ok(Talk { from, ..talk })
        };
        let talks = talks.into_iter().map(|talk| talk.map(ring).transpose());
        let talks = talks.collect::<std::io::Result<_>>()?;
        Ok(Others { talks, bell: bell.clone(), tells: act == Act::Early, epoch: 0 })
    }

    fn all(&self) -> impl Iterator<Item = (usize, &Talk)> {
        self.talks.iter().enumerate().filter_map(|(process, talk)| Some((process, talk.as_ref()?)))
    }
}

/// So many records of which partition, by its place among the run's.
pub(super) type Wanted = Vec<(usize, u64)>;

impl Live {
    /// From now on, and for the partitions that are theirs already, others read.
    pub fn spread(&mut self, others: Others) {
        self.others = Some(others);
        (0..self.partitions.len()).for_each(|at| self.open(at));
    }

    /// The one that is to read a partition hears of it.
    pub(super) fn open(&self, at: usize) {
        let partition = &self.partitions[at];
        if let (Some(others), Stream::Far(far)) = (&self.others, &partition.stream) {
            let place = (self.names.get(partition.name), partition.number);
            self.say(others, far.owner, &Order::Open(place, far.from));
        }
    }

    fn say(&self, others: &Others, process: usize, order: &Order) {
        if let Some(talk) = &others.talks[process] {
            talk.say(told(order, &self.names));
        }
    }

    /// The epoch is decided, and goes to the workers: those of other processes have theirs.
    pub fn feed(&self) {
        let Some(others) = &self.others else { return };
        others.all().for_each(|(process, _)| self.say(others, process, &Order::Feed(others.epoch)));
    }

    /// There will be no more epochs.
    pub fn part(&self) {
        let Some(others) = &self.others else { return };
        others.all().for_each(|(process, _)| self.say(others, process, &Order::End));
    }

    /// Hears what others have read; whether anything came.
    pub(super) fn listen(&mut self, now: Millis) -> Result<bool, String> {
        let Some(others) = self.others.take() else { return Ok(false) };
        let came = self.listen_to(&others, now);
        self.others = Some(others);
        came
    }

    fn listen_to(&mut self, others: &Others, now: Millis) -> Result<bool, String> {
        let mut came = false;
        for (process, talk) in others.all() {
            for bytes in talk.from.try_iter() {
                came |= self.note(process, heard(&bytes, &self.names)?, (now, &others.bell))?.0;
            }
        }
        Ok(came)
    }

    /// Takes note of a word: whether it tells of more records, and what was taken.
    fn note(
        &mut self,
        process: usize,
        word: Word,
        (now, bell): (Millis, &Bell),
    ) -> Result<(bool, Option<Took>), String> {
        match word {
            Word::Waits { of: (source, number), read, at_end, lag } => {
                let name = self.names.intern(&source);
                let is_it = |it: &&mut super::Partition| (it.name, it.number) == (name, number);
                let Some(partition) = self.partitions.iter_mut().find(is_it) else {
                    return Ok((false, None));
                };
                let Stream::Far(far) = &mut partition.stream else { return Ok((false, None)) };
                // A run that is to stop takes what it knows of, and ends.
                let came = read > far.read && !bell.stopped();
                // After a pause more of what is old may be on its way: it is not silent yet.
                if came || now.saturating_sub(far.heard_at) >= IDLE_MS {
                    partition.quiet_since = now;
                }
                if came {
                    far.read = read;
                }
                (far.at_end, far.lag, far.heard_at) = (at_end, lag, now);
                Ok((came, None))
            }
            Word::Took(took) => Ok((false, Some(*took))),
            Word::Complaint(what) => {
                self.complaints.push(format!("process {process}: {what}"));
                Ok((false, None))
            }
            Word::Failed(why) => Err(format!("process {process}: {why}")),
        }
    }

    /// What an epoch takes of each partition: of the one whose clock is about to be the lowest first, by how its clock went on
    /// with the records taken last.
    pub(super) fn allot(&self, most: usize) -> Wanted {
        let mut wanted: Vec<u64> = vec![0; self.partitions.len()];
        let mut count = 0;
        while count < most {
            let severe_first = count < most - most / 4;
            let ready = self.partitions.iter().enumerate();
            let ready = ready.filter(|(at, partition)| partition.records() as u64 > wanted[*at]);
            let next = ready.min_by_key(|(at, partition)| {
                (partition.kind.severe != severe_first, partition.clock_at(wanted[*at]), wanted[*at], *at)
            });
            let Some((at, partition)) = next else { break };
            let waits = partition.records() - usize::try_from(wanted[at]).unwrap_or(usize::MAX);
            let piece = waits.min(PIECE).min(most - count);
            wanted[at] += piece as u64;
            count += piece;
        }
        wanted.into_iter().enumerate().filter(|(_, records)| *records > 0).collect()
    }

    /// Takes so much of each partition, wherever it is read; false where the run is to stop; why not, where one has less.
    pub(super) fn take_all(
        &mut self,
        wanted: &Wanted,
        as_of: Option<Millis>,
        taken: &mut Taken,
    ) -> Result<bool, String> {
        // It is given back in whatever way it ends: others must hear of the end.
        let others = self.others.take();
        let done = self.take_with(others.as_ref(), wanted, as_of, taken);
        self.others = others;
        done
    }

    fn take_with(
        &mut self,
        others: Option<&Others>,
        wanted: &Wanted,
        as_of: Option<Millis>,
        taken: &mut Taken,
    ) -> Result<bool, String> {
        let shares = others.map(|others| self.order(others, wanted, as_of, taken.keeps_out));
        for &(at, records) in wanted {
            if self.partitions[at].is_far() {
                continue;
            }
            let before = self.partitions[at].clock.highest();
            let mut left = usize::try_from(records).unwrap_or(usize::MAX);
            while left > 0 {
                if !self.must_have(at)? {
                    return Ok(false);
                }
                left -= self.take(at, left.min(PIECE), taken);
            }
            self.partitions[at].paced(before, records);
        }
        for (process, own) in shares.into_iter().flatten() {
            let Some(others) = others else { break };
            if !self.await_took(others, process, &own, taken)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Tells others of their shares; whose they are.
    fn order(
        &self,
        others: &Others,
        wanted: &Wanted,
        as_of: Option<Millis>,
        keeps_out: bool,
    ) -> Vec<(usize, Wanted)> {
        let mut whose = Vec::new();
        for (process, _) in others.all() {
            let is_its = |(at, _): &&(usize, u64)| matches!(&self.partitions[*at].stream, Stream::Far(far) if far.owner == process);
            let own: Wanted = wanted.iter().filter(is_its).copied().collect();
            let share = |(at, records): &(usize, u64)| {
                let partition = &self.partitions[*at];
                let of = (self.names.get(partition.name), partition.number);
                Share { of, records: *records, clock: partition.clock }
            };
            let shares: Vec<Share> = own.iter().map(share).collect();
            if !shares.is_empty() || as_of.is_some() {
                let (floor, tells) = (self.settled, others.tells);
                self.say(others, process, &Order::Take { as_of, floor, keeps_out, tells, shares });
            }
            if !own.is_empty() {
                whose.push((process, own));
            }
        }
        whose
    }

    fn await_took(
        &mut self,
        others: &Others,
        process: usize,
        own: &Wanted,
        taken: &mut Taken,
    ) -> Result<bool, String> {
        let Some(talk) = &others.talks[process] else { return Ok(true) };
        let took = loop {
            match talk.from.recv_timeout(GLANCE) {
                Ok(bytes) => {
                    let word = heard(&bytes, &self.names)?;
                    if let Some(took) = self.note(process, word, (self.heard_at, &others.bell))?.1 {
                        break took;
                    }
                }
                // While the log is read again, it may wait for brokers.
                Err(RecvTimeoutError::Timeout) if others.bell.stopped() && taken.again => return Ok(false),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(format!("process {process} is gone")),
            }
        };
        for ((at, records), clock) in own.iter().zip(&took.clocks) {
            self.partitions[*at].took(*records, *clock);
        }
        taken.places.extend(took.rows.iter().map(|row| ((row.source, row.partition), row.from, row.to + 1)));
        taken.batch.late += took.late;
        taken.batch.appended = taken.batch.appended.into_iter().chain(took.appended).min();
        taken.far.push(took);
        Ok(true)
    }

    /// An order's shares; none where the run is to stop.
    pub(super) fn share(
        &mut self,
        (as_of, floor, keeps_out): (Option<Millis>, Tick, bool),
        shares: Vec<Share>,
    ) -> Result<Option<(Took, Batch)>, String> {
        if let Some(as_of) = as_of {
            self.sources.iter_mut().for_each(|(normalizer, _)| normalizer.set_as_of(as_of));
        }
        self.settled = floor;
        let (mut wanted, mut taken) = (Wanted::new(), Taken { keeps_out, ..Taken::default() });
        for Share { of: (source, number), records, clock } in shares {
            let at = self.at(&source, number)?;
            self.partitions[at].clock = clock;
            wanted.push((at, records));
        }
        if !self.take_all(&wanted, None, &mut taken)? {
            return Ok(None);
        }
        let clocks = wanted.iter().map(|(at, _)| self.partitions[*at].clock).collect();
        let mut batch = self.finish(taken, super::Effects::default(), floor);
        let took = Took {
            clocks,
            rejects: std::mem::take(&mut batch.rejects),
            observed: std::mem::take(&mut batch.observed),
            rows: std::mem::take(&mut batch.parts),
            late: batch.late,
            appended: batch.appended,
            alerts: Vec::new(),
        };
        Ok(Some((took, batch)))
    }

    /// How its partitions stand, where that is another than was told before, or that was long ago.
    pub(super) fn news(&mut self) -> Vec<Word> {
        let names = Arc::clone(&self.names);
        let all = self.heard_at - self.told_at >= AGAIN_MS;
        if all {
            self.told_at = self.heard_at;
        }
        let told = self.partitions.iter_mut().filter_map(|partition| {
            let of = (names.get(partition.name), partition.number);
            let (read, at_end, lag) = partition.news(all)?;
            Some(Word::Waits { of, read, at_end, lag })
        });
        let told: Vec<Word> = told.collect();
        told.into_iter().chain(self.complaints.drain(..).map(Word::Complaint)).collect()
    }
}

/// Adds what others took to an epoch.
pub(super) fn add(batch: &mut Batch, far: Vec<Took>) {
    for took in far {
        batch.rejects.extend(took.rejects);
        batch.observed.extend(took.observed);
        batch.elsewhere.extend(took.alerts);
        batch.parts.extend(took.rows.into_iter().map(|row| EpochRow { tick: batch.settled, ..row }));
    }
}

#[cfg(test)]
mod tests;
