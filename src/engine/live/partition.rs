//! A partition of a live run: what was read of it and not yet taken, and its clock.
//!
//! In: a stream's bytes, pushed batches, a topic's records. Out: the records that an epoch takes, with their ticks.

use std::collections::VecDeque;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::far::Far;
use super::{Read, Standing, Taken};
use crate::engine::journal::Pushed;
use crate::flow::fate;
use crate::ingest::kafka::{self, Bounds, Lane};
use crate::ingest::live::Heard;
use crate::ingest::{Framed, Framer, Limits, Origin};
use crate::normalize::{Normalizer, Parsed};
use crate::plan::topic::OnLost;
use crate::record::{Epoch, Millis, NOTHING_SETTLED, Reject, Sym, Tick, tick_of};
use crate::replay::arrival::PartitionClock;

/// Records that may wait to be taken before what gives them is left to wait, and bytes of them.
const READY_MAX: usize = 20_000;
const READY_BYTES: usize = 4 << 20;
/// How long a stream that is read again may take to give its next bytes.
const AGAIN: Duration = Duration::from_secs(30);
/// How long a topic is waited for before it is looked whether the run is to stop.
const GLANCE: Duration = Duration::from_millis(100);

/// What gives records.
pub enum Stream {
    /// A stream of bytes.
    Bytes(Receiver<Heard>),
    /// One partition of a topic, and what happens when records of it are lost.
    Lane(Box<Lane>, OnLost),
    /// Nothing: batches are pushed.
    Pushed,
    /// Another process.
    Far(Far),
}

/// What a stream that is waited for comes to.
pub(super) enum Waited {
    /// Records.
    Came,
    /// There will be none.
    Nothing,
    /// The run is to stop.
    Stopped,
}

/// What the partitions of a source have in common.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) origin: Origin,
    /// Whether they follow the others' clocks while they are idle.
    pub(super) wall: bool,
    /// Whether they are taken first.
    pub(super) severe: bool,
}

pub(super) struct Partition {
    pub(super) name: Sym,
    /// Its number within the source.
    pub(super) number: u32,
    pub(super) kind: Kind,
    limits: Limits,
    /// The epoch after which it is there.
    pub(super) since: Epoch,
    /// Which of the run's normalizers is its source's.
    pub(super) normalizer: usize,
    pub(super) stream: Stream,
    framer: Framer,
    pub(super) ready: VecDeque<Framed>,
    /// Records and bytes in `ready`.
    held: (usize, usize),
    pub(super) clock: PartitionClock,
    pub(super) open: bool,
    caught_up: bool,
    pub(super) quiet_since: Millis,
    /// Lines and records of the batches pushed before.
    pub(super) pushed: (u64, u64),
    /// Pushed batches of which no record is taken yet, each with the records before it.
    pub(super) untold: VecDeque<(u64, Pushed)>,
    /// Records that came, and records taken.
    pub(super) came: u64,
    pub(super) taken: u64,
    /// When what came was appended, or came: each with the records through it.
    appended: VecDeque<(u64, Millis)>,
    /// By how much its clock went on with so many records.
    pace: (Millis, u64),
    /// What the process that it is read for was told: records that came, whether these are all, and what is behind them.
    told: (u64, bool, Option<u64>),
}

impl Partition {
    pub(super) fn new(kind: Kind, limits: Limits, stream: Stream, lateness_s: Tick) -> Partition {
        let number = match &stream {
            Stream::Lane(lane, _) => lane.partition(),
            Stream::Far(far) => far.partition,
            Stream::Bytes(_) | Stream::Pushed => 0,
        };
        Partition {
            name: kind.origin.source,
            number,
            kind,
            limits,
            since: 0,
            normalizer: 0,
            stream,
            framer: Framer::new(kind.origin, limits),
            ready: VecDeque::new(),
            held: (0, 0),
            clock: PartitionClock::new(lateness_s),
            open: true,
            caught_up: false,
            quiet_since: 0,
            pushed: (0, 0),
            untold: VecDeque::new(),
            came: 0,
            taken: 0,
            appended: VecDeque::new(),
            pace: (0, 1),
            told: (0, false, None),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open || self.records() > 0
    }

    pub(super) fn is_of_topic(&self) -> bool {
        matches!(self.stream, Stream::Lane(..) | Stream::Far(_))
    }

    pub(super) fn is_pushed(&self) -> bool {
        matches!(self.stream, Stream::Pushed)
    }

    /// Records that wait to be taken.
    pub(super) fn records(&self) -> usize {
        match &self.stream {
            Stream::Far(far) => usize::try_from(far.read.saturating_sub(self.taken)).unwrap_or(usize::MAX),
            Stream::Bytes(_) | Stream::Lane(..) | Stream::Pushed => self.held.0,
        }
    }

    pub(super) fn is_far(&self) -> bool {
        matches!(self.stream, Stream::Far(_))
    }

    /// Where its clock will be, about, when so many records more are taken.
    pub(super) fn clock_at(&self, records: u64) -> Tick {
        let (by, of) = self.pace;
        let ahead = i128::from(by) * i128::from(records) / i128::from(of);
        self.clock
            .highest()
            .map_or(NOTHING_SETTLED, |highest| tick_of(highest + i64::try_from(ahead).unwrap_or(0)))
    }

    /// So many records were taken since its clock was there.
    pub(super) fn paced(&mut self, before: Option<Millis>, records: u64) {
        if let (Some(before), Some(now)) = (before, self.clock.highest()) {
            self.pace = (now.saturating_sub(before).max(0), records.max(1));
        }
    }

    /// Another process took so many records of it, and its clock is there now.
    pub(super) fn took(&mut self, records: u64, clock: PartitionClock) {
        let before = self.clock.highest();
        self.clock = clock;
        self.taken += records;
        self.paced(before, records);
    }

    /// How it stands, where that was not told, or is to be told again.
    pub(super) fn news(&mut self, again: bool) -> Option<(u64, bool, Option<u64>)> {
        let Stream::Lane(lane, _) = &self.stream else { return None };
        let now = (self.came, lane.is_at_end(), lane.behind());
        (std::mem::replace(&mut self.told, now) != now || again).then_some(now)
    }

    pub(super) fn is_full(&self) -> bool {
        let bytes_max = match &self.stream {
            Stream::Lane(lane, _) => lane.ahead().min(READY_BYTES),
            Stream::Bytes(_) | Stream::Far(_) => READY_BYTES,
            // They are in the log, and loaded by their number.
            Stream::Pushed => usize::MAX,
        };
        self.held.0 >= READY_MAX || self.held.1 >= bytes_max
    }

    /// Whether nothing waits, and nothing has come for so long. A topic is silent only when it was read to its end.
    pub(super) fn is_quiet(&self, now: Millis, idle_ms: Millis) -> bool {
        let at_end = match &self.stream {
            Stream::Lane(lane, _) => lane.is_at_end(),
            Stream::Far(far) => far.is_at_end(now, idle_ms),
            Stream::Bytes(_) | Stream::Pushed => true,
        };
        at_end && self.records() == 0 && now.saturating_sub(self.quiet_since) >= idle_ms
    }

    /// Takes what was read, without waiting; whether anything came, or why the run cannot go on.
    pub(super) fn pull(&mut self, now: Millis, complaints: &mut Vec<String>) -> Result<bool, String> {
        let mut came = false;
        while !self.is_full() {
            let before = self.came;
            match &mut self.stream {
                Stream::Bytes(stream) => {
                    let Ok(heard) = stream.try_recv() else { break };
                    came |= self.hear(heard, complaints);
                }
                Stream::Lane(lane, _) => {
                    let Some(heard) = lane.next(Duration::ZERO) else { break };
                    came = true;
                    self.hear_lane(heard, complaints)?;
                }
                Stream::Pushed | Stream::Far(_) => break,
            }
            if self.came > before {
                self.dated(now);
            }
        }
        Ok(came)
    }

    /// What came last was appended when its topic says so, or now.
    pub(super) fn dated(&mut self, now: Millis) {
        let appended = match &self.stream {
            Stream::Lane(lane, _) => lane.appended(),
            Stream::Bytes(_) | Stream::Pushed | Stream::Far(_) => None,
        };
        self.appended.push_back((self.came, appended.unwrap_or(now)));
    }

    /// How it stands, for an operator.
    pub(super) fn standing(&self, source: String) -> Standing {
        let waiting = self.records();
        let lag = match &self.stream {
            Stream::Lane(lane, _) => lane.behind().map(|behind| behind + waiting as u64),
            Stream::Far(far) => far.lag.map(|lag| lag + waiting as u64),
            Stream::Bytes(_) | Stream::Pushed => None,
        };
        let read = (!self.is_far()).then_some(Read { records: self.came, bytes: self.held.1 });
        Standing { source, partition: self.number, lag, waiting, clock: self.clock.highest(), read }
    }

    fn hold(&mut self, framed: impl IntoIterator<Item = Framed>) {
        for framed in framed {
            self.held.0 += length(&framed);
            self.came += length(&framed) as u64;
            self.held.1 += bytes(&framed);
            self.ready.push_back(framed);
        }
    }

    fn hear(&mut self, heard: Heard, complaints: &mut Vec<String>) -> bool {
        let mut framed = Vec::new();
        match heard {
            Heard::Bytes(bytes) => {
                self.framer.feed(&bytes, &mut framed);
                self.framer.flush(&mut framed);
            }
            Heard::Anew => self.framer.anew(&mut framed),
            Heard::CaughtUp => {
                self.caught_up = true;
                return false;
            }
            Heard::End(why) => {
                self.close(why.is_none());
                complaints.extend(why);
                return true;
            }
        }
        self.hold(framed);
        true
    }

    fn hear_lane(&mut self, heard: kafka::Heard, complaints: &mut Vec<String>) -> Result<(), String> {
        match heard {
            kafka::Heard::Records(framed) => self.hold(framed),
            kafka::Heard::Lost { wanted, bounds } => {
                let Stream::Lane(lane, on_lost) = &mut self.stream else { return Ok(()) };
                let what = lost(lane.topic(), self.number, wanted, bounds);
                if *on_lost == OnLost::Fail || bounds.earliest <= wanted {
                    return Err(what);
                }
                complaints.push(format!("{what}; it goes on without them, as `on_lost: skip` says"));
                let reject = lane.skip_to(bounds.earliest).map_err(|error| error.to_string())?;
                self.hold([reject]);
            }
        }
        Ok(())
    }

    /// Waits for the next records of what is read again.
    pub(super) fn wait(&mut self, complaints: &mut Vec<String>) -> Result<Waited, String> {
        while self.ready.is_empty() {
            match &mut self.stream {
                Stream::Bytes(stream) if self.open && !self.caught_up => match stream.recv_timeout(AGAIN) {
                    Ok(heard) => {
                        self.hear(heard, complaints);
                    }
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                },
                // Brokers that do not answer are waited for.
                Stream::Lane(lane, _) => match lane.next(GLANCE) {
                    Some(heard) => self.hear_lane(heard, complaints)?,
                    None if lane.is_stopped() => return Ok(Waited::Stopped),
                    None if lane.is_at_end() => break,
                    None => {}
                },
                Stream::Bytes(_) | Stream::Pushed | Stream::Far(_) => break,
            }
        }
        if self.ready.is_empty() && matches!(self.stream, Stream::Bytes(_)) {
            // A run that was stopped took the record under way for the last.
            let mut framed = Vec::new();
            self.framer.stop(&mut framed);
            self.hold(framed);
        }
        Ok(if self.ready.is_empty() { Waited::Nothing } else { Waited::Came })
    }

    pub(super) fn close(&mut self, ended: bool) {
        if std::mem::take(&mut self.open) && matches!(self.stream, Stream::Bytes(_)) {
            let mut framed = Vec::new();
            let close: fn(&mut Framer, &mut Vec<Framed>) = if ended { Framer::finish } else { Framer::stop };
            close(&mut self.framer, &mut framed);
            self.hold(framed);
        }
    }

    /// A pushed batch has a framer of its own: a broken one costs its neighbours nothing. Records without a time have that at which it
    /// came, where the log has it. How many records it has.
    pub(super) fn push(&mut self, text: &str, time: Option<Millis>) -> u64 {
        let (lines, records) = self.pushed;
        let mut framer = Framer::new(self.kind.origin, self.limits);
        let mut framed = Vec::new();
        framer.feed(text.as_bytes(), &mut framed);
        framer.finish(&mut framed);
        for framed in &mut framed {
            self.pushed.1 += length(framed) as u64;
            match framed {
                Framed::Chunk(chunk) => {
                    chunk.ordinal += records;
                    chunk.spans.iter_mut().for_each(|span| span.position += lines);
                    chunk.times = vec![time; chunk.len()];
                }
                Framed::Reject(reject) => reject.position += lines,
            }
        }
        self.pushed.0 += text.lines().count() as u64;
        self.hold(framed);
        self.pushed.1 - records
    }

    /// Takes up to `most` records, at least one where there is any; how many. A pushed batch is told with its first.
    pub(super) fn take(
        &mut self,
        most: usize,
        floor: Tick,
        (normalizer, parsed): (&mut Normalizer, &mut Parsed),
        taken: &mut Taken,
    ) -> usize {
        let count = match self.ready.pop_front() {
            None => 0,
            Some(framed @ Framed::Reject(_)) => {
                self.held = (self.held.0 - 1, self.held.1 - bytes(&framed));
                self.place(&framed, taken);
                let Framed::Reject(reject) = framed else { return 0 };
                taken.batch.rejects.push(Reject { tick: self.clock.tick().max(0), ..reject });
                1
            }
            Some(Framed::Chunk(mut chunk)) => {
                let whole = chunk.bytes.len();
                let now = chunk.split(most);
                let count = now.len();
                self.held.0 -= count;
                if chunk.is_empty() {
                    self.held.1 -= whole;
                } else {
                    self.ready.push_front(Framed::Chunk(chunk));
                }
                if taken.keeps_out {
                    normalizer.keep_out(&now, parsed);
                } else {
                    fate::reads(&now.bytes);
                    normalizer.parse(&now, parsed);
                }
                self.place(&Framed::Chunk(now), taken);
                self.take_parsed(floor, parsed, taken);
                count
            }
        };
        self.taken += count as u64;
        taken.batch.appended = taken.batch.appended.into_iter().chain(self.oldest()).min();
        while let Some((_, pushed)) = self.untold.pop_front_if(|(before, _)| *before < self.taken) {
            taken.batch.inputs.push(pushed.row());
        }
        count
    }

    /// When what was taken last was appended, in which what came at once counts as its oldest.
    fn oldest(&mut self) -> Option<Millis> {
        let mut oldest = self.appended.front().map(|(_, at)| *at);
        while let Some((_, at)) = self.appended.pop_front_if(|(through, _)| *through <= self.taken) {
            oldest = oldest.map(|oldest| oldest.min(at));
        }
        oldest
    }

    /// Passes by up to `most` records; how many.
    pub(super) fn pass(&mut self, most: usize) -> usize {
        let count = match self.ready.pop_front() {
            None => 0,
            Some(framed @ Framed::Reject(_)) => {
                self.held = (self.held.0 - 1, self.held.1 - bytes(&framed));
                1
            }
            Some(Framed::Chunk(mut chunk)) => {
                let whole = chunk.bytes.len();
                let count = chunk.split(most).len();
                self.held.0 -= count;
                if chunk.is_empty() {
                    self.held.1 -= whole;
                } else {
                    self.ready.push_front(Framed::Chunk(chunk));
                }
                count
            }
        };
        self.taken += count as u64;
        let _ = self.oldest();
        while self.untold.pop_front_if(|(before, _)| *before < self.taken).is_some() {}
        count
    }

    /// Notes which offsets are taken.
    fn place(&self, framed: &Framed, taken: &mut Taken) {
        if let (Stream::Lane(..), Some((first, next))) = (&self.stream, kafka::range(framed)) {
            let of = (self.name, self.number);
            match taken.places.iter_mut().find(|(other, ..)| *other == of) {
                Some((_, _, end)) => *end = next,
                None => taken.places.push((of, first, next)),
            }
        }
    }

    fn take_parsed(&mut self, floor: Tick, parsed: &mut Parsed, taken: &mut Taken) {
        let tick = |clock: &PartitionClock| clock.tick().max(0);
        let ignored = parsed.ignored_count();
        if ignored > 0 {
            taken.ignored.push((self.name, self.number, ignored));
            taken.batch.observed.append(&mut parsed.observed);
        }
        let mut rejects = std::mem::take(&mut parsed.rejects).into_iter().peekable();
        for mut alert in std::mem::take(&mut parsed.alerts) {
            let before = |reject: &Reject| reject.position < alert.position;
            while let Some(reject) = rejects.next_if(before) {
                taken.batch.rejects.push(Reject { tick: tick(&self.clock), ..reject });
            }
            taken.batch.late += u64::from(self.clock.stamp(&mut alert, floor));
            taken.batch.alerts.push(alert);
        }
        let clock = tick(&self.clock);
        taken.batch.rejects.extend(rejects.map(|reject| Reject { tick: clock, ..reject }));
    }
}

/// What is said of records that are not there any more.
pub fn lost(topic: &str, partition: u32, wanted: u64, bounds: Bounds) -> String {
    let Bounds { earliest, latest } = bounds;
    let name = format!("partition {partition} of topic {topic} is to be read from offset {wanted} on");
    if wanted >= earliest {
        return format!(
            "{name}, and ends at {latest}: records that were read are gone from it; it was cut, or made anew; begin anew with --fresh, or name a new archive"
        );
    }
    format!(
        "{name}, but begins at {earliest} by now: {} offsets were removed before they were read; keep records longer, and \
         begin anew with --fresh, or write `on_lost: skip` at the source to go on without them",
        earliest.saturating_sub(wanted)
    )
}

fn length(framed: &Framed) -> usize {
    match framed {
        Framed::Chunk(chunk) => chunk.len(),
        Framed::Reject(_) => 1,
    }
}

/// A chunk keeps all of its bytes until its last record is taken.
fn bytes(framed: &Framed) -> usize {
    match framed {
        Framed::Chunk(chunk) => chunk.bytes.len(),
        Framed::Reject(reject) => reject.raw.len(),
    }
}
