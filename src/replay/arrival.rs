//! Files as streams: each a partition, in its own order, with its lateness.
//!
//! A partition's clock is the highest event time that it has shown; an alert's tick is its event time or the clock less
//! the allowed lateness, whichever is later. The partition with the lowest clock is read next, so that none runs away.
//! State: what was read and not yet given out.

use std::iter::Peekable;

use serde::{Deserialize, Serialize};

use super::parse::{Parser, Parsing, Piece, Pieces};
use super::set::FeedError;
use crate::engine::run::Batch;
use crate::ingest::{FileReader, IngestError};
use crate::record::{Alert, EpochRow, Millis, NOTHING_SETTLED, Observed, Reject, Sym, Tick, tick_of};

/// A partition's clock.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
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

/// Files beyond so many are read without threads of their own.
const THREADED_MAX: usize = 16;

/// Alerts that room is made for at once.
const ROOM_MAX: usize = 16_384;

/// How a file is read.
enum Reading {
    /// By threads of its own, a little ahead.
    Ahead(Pieces),
    /// When it is its turn.
    Here(Box<(FileReader, Parser)>),
}

impl Iterator for Reading {
    type Item = Result<Piece, IngestError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Reading::Ahead(pieces) => pieces.next(),
            Reading::Here(here) => {
                let (reader, parser) = &mut **here;
                reader.next().map(|framed| Ok(parser.framed(0, framed)))
            }
        }
    }
}

struct Partition {
    source: Sym,
    reading: Option<Reading>,
    /// Read and not yet given out, each in the order of the file.
    alerts: std::vec::IntoIter<Alert>,
    rejects: Peekable<std::vec::IntoIter<Reject>>,
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
    /// Opens all files; `threads` parse a file that is the only one.
    pub fn open(
        parsing: &Parsing,
        lateness_s: Tick,
        batch_records: usize,
        threads: usize,
    ) -> Result<ArrivalFeed, FeedError> {
        let (mut partitions, many) = (Vec::new(), parsing.files.len());
        for (file, (_, settings)) in parsing.files.iter().enumerate() {
            let own = parsing.of(file);
            let reading = if many > THREADED_MAX {
                Reading::Here(Box::new((own.reader(0)?, Parser::new(own))))
            } else {
                Reading::Ahead(
                    Pieces::start(&own, if many == 1 { threads } else { 1 }).map_err(FeedError::Thread)?,
                )
            };
            partitions.push(Partition {
                source: settings.name,
                reading: Some(reading),
                alerts: Vec::new().into_iter(),
                rejects: Vec::new().into_iter().peekable(),
                clock: PartitionClock::new(lateness_s),
            });
        }
        Ok(ArrivalFeed { partitions, batch_records, ended: false, read: (0, 0) })
    }

    /// The next epoch; none after the last.
    pub fn next(&mut self, mut progress: impl FnMut(u64, u64)) -> Result<Option<Batch>, FeedError> {
        if self.ended {
            return Ok(None);
        }
        let mut batch =
            Batch { alerts: Vec::with_capacity(self.batch_records.min(ROOM_MAX)), ..Batch::default() };
        let mut ignored: Vec<Ignored> = Vec::new();
        while batch.alerts.len() + batch.rejects.len() < self.batch_records {
            let Some(at) = self.lowest() else { break };
            if !self.partitions[at].is_ready() {
                self.read_more(at, &mut ignored, &mut batch.observed)?;
                progress(self.read.0, self.read.1);
                continue;
            }
            // Nobody else's turn comes where one is left.
            let alone = self.partitions.iter().filter(|partition| partition.is_open()).count() == 1;
            let many = if alone { self.batch_records - batch.alerts.len() - batch.rejects.len() } else { 1 };
            self.take(at, many, &mut batch);
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
        Ok(Some(batch))
    }

    fn lowest(&self) -> Option<usize> {
        let open = self.partitions.iter().enumerate().filter(|(_, partition)| partition.is_open());
        open.min_by_key(|(at, partition)| (partition.clock.tick(), *at)).map(|(at, _)| at)
    }

    /// Takes so many records of a partition, or those that are ready.
    fn take(&mut self, at: usize, many: usize, batch: &mut Batch) {
        let Partition { alerts, rejects, clock, .. } = &mut self.partitions[at];
        for _ in 0..many {
            let rejected = rejects.peek().is_some_and(|reject| {
                alerts.as_slice().first().is_none_or(|alert| reject.position < alert.position)
            });
            if let Some(mut reject) = rejects.next_if(|_| rejected) {
                reject.tick = clock.tick().max(0);
                batch.rejects.push(reject);
            } else if let Some(mut alert) = alerts.next() {
                batch.late += u64::from(clock.stamp(&mut alert, NOTHING_SETTLED));
                batch.alerts.push(alert);
            } else {
                break;
            }
        }
    }

    fn read_more(
        &mut self,
        at: usize,
        ignored: &mut Vec<Ignored>,
        observed: &mut Vec<Observed>,
    ) -> Result<(), FeedError> {
        let partition = &mut self.partitions[at];
        let Some(piece) = partition.reading.as_mut().and_then(Iterator::next).transpose()? else {
            partition.reading = None;
            return Ok(());
        };
        self.read = (self.read.0 + piece.bytes, self.read.1 + piece.records);
        if piece.ignored > 0 {
            ignored.push((partition.source, 0, piece.ignored));
            observed.extend(piece.observed);
        }
        partition.alerts = piece.alerts.into_iter();
        partition.rejects = piece.rejects.into_iter().peekable();
        Ok(())
    }
}

impl Partition {
    fn is_ready(&self) -> bool {
        self.alerts.len() + self.rejects.len() > 0
    }

    fn is_open(&self) -> bool {
        self.reading.is_some() || self.is_ready()
    }
}

/// Records of no concern: the source, its partition, how many.
pub type Ignored = (Sym, u32, u64);

/// Counts ignored records into the epoch's rows.
pub fn add_ignored(parts: &mut Vec<EpochRow>, ignored: &[Ignored], tick: Tick) {
    for (source, partition, n) in ignored {
        match parts.iter_mut().find(|row| (row.source, row.partition) == (*source, *partition)) {
            Some(row) => (row.records, row.ignored) = (row.records + n, row.ignored + n),
            None => {
                let (epoch, from, to, further) = (0, 0, 0, 0);
                parts.push(EpochRow {
                    epoch,
                    tick,
                    source: *source,
                    partition: *partition,
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
