//! Files as streams: each a partition, in its own order, with its lateness.
//!
//! A partition's clock is the highest event time that it has shown; an alert's tick is its event time or the clock less
//! the allowed lateness, whichever is later. The partition with the lowest clock is read next, so that none runs away.
//! State: what was read and not yet given out.

use std::collections::VecDeque;

use super::parse::{Parser, Parsing};
use super::set::FeedError;
use crate::engine::run::Batch;
use crate::ingest::{FileReader, Origin};
use crate::record::{Alert, EpochRow, Millis, NOTHING_SETTLED, Reject, Sym, Tick, tick_of};

/// A partition's clock.
#[derive(Clone, Copy, Debug)]
pub struct PartitionClock {
    highest: Option<Millis>,
    lateness_s: Tick,
}

impl PartitionClock {
    /// A clock that has seen nothing.
    #[must_use]
    pub fn new(lateness_s: Tick) -> Self {
        Self { highest: None, lateness_s }
    }

    /// Moves the clock to an alert's event time and gives the alert its tick, not before `floor`; whether it was late.
    pub fn stamp(&mut self, alert: &mut Alert, floor: Tick) -> bool {
        self.highest = Some(self.highest.map_or(alert.time, |highest| highest.max(alert.time)));
        alert.tick = tick_of(alert.time).max(self.settled()).max(floor);
        alert.tick > tick_of(alert.time)
    }

    /// Moves the clock on, as when its partition is idle.
    pub fn move_to(&mut self, time: Millis) {
        self.highest = Some(self.highest.map_or(time, |highest| highest.max(time)));
    }

    /// The tick of the clock itself.
    #[must_use]
    pub fn tick(&self) -> Tick {
        self.highest.map_or(NOTHING_SETTLED, tick_of)
    }

    /// The clock, in event time.
    #[must_use]
    pub fn highest(&self) -> Option<Millis> {
        self.highest
    }

    /// The tick below which this partition will say nothing more.
    #[must_use]
    pub fn settled(&self) -> Tick {
        self.highest.map_or(NOTHING_SETTLED, |highest| tick_of(highest) - self.lateness_s)
    }
}

enum Item {
    Alert(Box<Alert>),
    Reject(Box<Reject>),
}

struct Partition {
    source: Sym,
    reader: Option<FileReader>,
    parser: Parser,
    ready: VecDeque<Item>,
    clock: PartitionClock,
}

/// A feed over files in their own order.
pub struct ArrivalFeed {
    partitions: Vec<Partition>,
    batch_records: usize,
    ended: bool,
    /// Bytes and records read so far.
    pub read: (u64, u64),
}

impl ArrivalFeed {
    /// Opens all files.
    pub fn open(parsing: &Parsing, lateness_s: Tick, batch_records: usize) -> Result<ArrivalFeed, FeedError> {
        let mut partitions = Vec::new();
        for (input, settings) in parsing.files.iter() {
            let origin = Origin { source: settings.name, tenant: settings.tenant };
            partitions.push(Partition {
                source: settings.name,
                reader: Some(FileReader::open(&input.path, origin, parsing.limits)?),
                parser: Parser::new(parsing.clone()),
                ready: VecDeque::new(),
                clock: PartitionClock::new(lateness_s),
            });
        }
        Ok(ArrivalFeed { partitions, batch_records, ended: false, read: (0, 0) })
    }

    /// The next epoch; none after the last.
    pub fn next(&mut self, mut progress: impl FnMut(u64, u64)) -> Option<Batch> {
        if self.ended {
            return None;
        }
        let mut batch = Batch::default();
        let mut ignored: Vec<(Sym, u64)> = Vec::new();
        while batch.alerts.len() + batch.rejects.len() < self.batch_records {
            let Some(at) = self.lowest() else { break };
            if self.partitions[at].ready.is_empty() {
                self.read_more(at, &mut ignored);
                progress(self.read.0, self.read.1);
                continue;
            }
            self.take(at, &mut batch);
        }
        let open =
            self.partitions.iter().filter(|partition| partition.is_open()).map(|p| p.clock.settled()).min();
        batch.settled = open.unwrap_or_else(|| {
            // Nothing is open any more: what was shown last is settled too.
            batch.last = true;
            self.partitions.iter().map(|p| p.clock.tick()).max().unwrap_or(NOTHING_SETTLED) + 1
        });
        self.ended = batch.last;
        batch.parts = super::set::parts(&batch.alerts, &batch.rejects, batch.settled);
        add_ignored(&mut batch.parts, &ignored, batch.settled);
        Some(batch)
    }

    fn lowest(&self) -> Option<usize> {
        let open = self.partitions.iter().enumerate().filter(|(_, partition)| partition.is_open());
        open.min_by_key(|(at, partition)| (partition.clock.tick(), *at)).map(|(at, _)| at)
    }

    fn take(&mut self, at: usize, batch: &mut Batch) {
        let partition = &mut self.partitions[at];
        match partition.ready.pop_front() {
            Some(Item::Alert(mut alert)) => {
                batch.late += u64::from(partition.clock.stamp(&mut alert, NOTHING_SETTLED));
                batch.alerts.push(*alert);
            }
            Some(Item::Reject(mut reject)) => {
                reject.tick = partition.clock.tick().max(0);
                batch.rejects.push(*reject);
            }
            None => {}
        }
    }

    fn read_more(&mut self, at: usize, ignored: &mut Vec<(Sym, u64)>) {
        let partition = &mut self.partitions[at];
        let Some(framed) = partition.reader.as_mut().and_then(Iterator::next) else {
            partition.reader = None;
            return;
        };
        let piece = partition.parser.framed(at, framed);
        self.read = (self.read.0 + piece.bytes, self.read.1 + piece.records);
        if piece.ignored > 0 {
            ignored.push((partition.source, piece.ignored));
        }
        partition.ready.extend(in_order(piece.alerts, piece.rejects));
    }
}

impl Partition {
    fn is_open(&self) -> bool {
        self.reader.is_some() || !self.ready.is_empty()
    }
}

fn in_order(alerts: Vec<Alert>, rejects: Vec<Reject>) -> impl Iterator<Item = Item> {
    let mut rejects = rejects.into_iter().peekable();
    let mut items = Vec::with_capacity(alerts.len() + rejects.len());
    for alert in alerts {
        while let Some(reject) = rejects.next_if(|reject| reject.position < alert.position) {
            items.push(Item::Reject(Box::new(reject)));
        }
        items.push(Item::Alert(Box::new(alert)));
    }
    items.extend(rejects.map(|reject| Item::Reject(Box::new(reject))));
    items.into_iter()
}

/// Counts ignored records into the epoch's rows.
pub fn add_ignored(parts: &mut Vec<EpochRow>, ignored: &[(Sym, u64)], tick: Tick) {
    for (source, n) in ignored {
        match parts.iter_mut().find(|row| row.source == *source) {
            Some(row) => (row.records, row.ignored) = (row.records + n, row.ignored + n),
            None => {
                let (epoch, partition, from, to, further) = (0, 0, 0, 0, 0);
                parts.push(EpochRow {
                    epoch,
                    tick,
                    source: *source,
                    partition,
                    from,
                    to,
                    records: *n,
                    ignored: *n,
                    further,
                });
            }
        }
    }
}
