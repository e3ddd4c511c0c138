//! Files as a set: what they hold, by event time, whatever order they hold it in.
//!
//! First everything is read and sorted; rejects and ignored records are told on the way. Then alerts come in epochs of
//! N records. Nothing is late, and a tick is settled when an alert of a later one has come.

use rustc_hash::FxHashMap;

use super::arrival::{Ignored, add_ignored};
use super::parse::Pieces;
use super::sorted::{Sorted, Sorter};
use crate::engine::run::Batch;
use crate::ingest::IngestError;
use crate::record::place::{partition_of, within};
use crate::record::{Alert, EpochRow, NOTHING_SETTLED, Reject, Sym, Tick, tick_of};

/// Why reading failed.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// A file.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The runs that alerts are sorted in.
    #[error(
        "alerts cannot be sorted on disk: {0}; the archive's folder needs room for the alerts of the input"
    )]
    Sort(#[source] std::io::Error),
    /// The threads that parse.
    #[error("a thread cannot be started: {0}; check the limits on processes and memory")]
    Thread(#[source] std::io::Error),
    /// The archive that is the input keeps no alerts.
    #[error(
        "the archive to be replayed keeps no alerts: its plan had `ends_at: findings`; replay the files that it was made from"
    )]
    NoAlerts,
    /// Parts of the archive that is the input are gone.
    #[error(
        "the archive to be replayed has lost something: {0}; restore the parts of its tables from a copy, or replay the files that it \
         was made from"
    )]
    Missing(String),
    /// The archive that is the input.
    #[error("the archive to be replayed cannot be read: {0}")]
    Archive(#[source] std::io::Error),
    /// Its log.
    #[error(transparent)]
    Log(crate::engine::log::LogError),
    /// Something that it recorded.
    #[error(
        "the archive records {0}, which cannot be understood; was it written by a later version of quell?"
    )]
    Input(String),
}

/// What records of no concern name, of one epoch at most while reading.
const OBSERVED_MAX: usize = 64 << 10;
/// Rejects of one epoch at most while reading.
pub(super) const REJECTS_MAX: usize = 4_096;

/// A feed over files as a set.
pub struct SetFeed {
    pieces: Option<Pieces>,
    sorter: Option<Sorter>,
    sorted: Option<Sorted>,
    ahead: Option<Alert>,
    batch_records: usize,
    sources: Vec<Sym>,
    /// Per file, the last event time met: a reject counts as of then.
    clocks: Vec<Tick>,
    settled: Tick,
    /// Bytes and records read so far.
    pub read: (u64, u64),
}

impl SetFeed {
    /// A feed of epochs of `batch_records`.
    #[must_use]
    pub fn new(pieces: Pieces, sorter: Sorter, sources: Vec<Sym>, batch_records: usize) -> SetFeed {
        let clocks = vec![0; sources.len()];
        SetFeed {
            pieces: Some(pieces),
            sorter: Some(sorter),
            sorted: None,
            ahead: None,
            batch_records,
            sources,
            clocks,
            settled: NOTHING_SETTLED,
            read: (0, 0),
        }
    }

    /// The next epoch; none after the last. While it reads it calls `progress` with bytes and records so far.
    pub fn next(&mut self, mut progress: impl FnMut(u64, u64)) -> Result<Option<Batch>, FeedError> {
        if self.pieces.is_some()
            && let Some(batch) = self.read(&mut progress)?
        {
            return Ok(Some(batch));
        }
        let Some(sorted) = &mut self.sorted else { return Ok(None) };
        let mut alerts = Vec::with_capacity(self.batch_records);
        let mut next = self.ahead.take();
        while let Some(mut alert) = next {
            if alerts.len() == self.batch_records {
                self.ahead = Some(alert);
                break;
            }
            alert.tick = tick_of(alert.time);
            self.settled = alert.tick;
            alerts.push(alert);
            next = sorted.pull().map_err(FeedError::Sort)?;
        }
        let last = self.ahead.is_none();
        if last {
            self.sorted = None;
            // The end of the input settles its last tick too.
            self.settled = self.settled.saturating_add(1);
        }
        let parts = parts(&alerts, &[], self.settled);
        Ok(Some(Batch { alerts, parts, settled: self.settled, last, ..Batch::default() }))
    }

    /// Reads until there are many rejects, or nothing more to read.
    fn read(&mut self, progress: &mut impl FnMut(u64, u64)) -> Result<Option<Batch>, FeedError> {
        let (Some(pieces), Some(sorter)) = (&mut self.pieces, &mut self.sorter) else { return Ok(None) };
        let (mut rejects, mut ignored) = (Vec::new(), FxHashMap::<Sym, u64>::default());
        let mut observed = Vec::new();
        let mut more = true;
        while rejects.len() < REJECTS_MAX && observed.len() < OBSERVED_MAX {
            let Some(piece) = pieces.next() else {
                more = false;
                break;
            };
            let mut piece = piece?;
            self.read = (self.read.0 + piece.bytes, self.read.1 + piece.records);
            progress(self.read.0, self.read.1);
            stamp(&mut self.clocks[piece.file], &piece.alerts, &mut piece.rejects);
            rejects.append(&mut piece.rejects);
            observed.append(&mut piece.observed);
            *ignored.entry(self.sources[piece.file]).or_default() += piece.ignored;
            sorter.add(piece.alerts).map_err(FeedError::Sort)?;
        }
        if !more {
            self.pieces = None;
            if let Some(gathered) = self.sorter.take() {
                let mut sorted = gathered.finish().map_err(FeedError::Sort)?;
                self.ahead = sorted.pull().map_err(FeedError::Sort)?;
                self.sorted = Some(sorted);
            }
        }
        let ignored = ignored.into_iter().filter(|(_, n)| *n > 0);
        let ignored: Vec<Ignored> = ignored.map(|(source, n)| (source, 0, n)).collect();
        if rejects.is_empty() && ignored.is_empty() {
            return Ok(None);
        }
        let settled = NOTHING_SETTLED;
        let parts = of_no_alert(&rejects, &ignored);
        Ok(Some(Batch { rejects, observed, parts, settled, ..Batch::default() }))
    }
}

/// Gives rejects the tick of the last event time met before them in their file.
pub fn stamp(clock: &mut Tick, alerts: &[Alert], rejects: &mut [Reject]) {
    let mut alerts = alerts.iter().peekable();
    for reject in rejects {
        while let Some(alert) = alerts.next_if(|alert| alert.position < reject.position) {
            *clock = (*clock).max(tick_of(alert.time));
        }
        reject.tick = *clock;
    }
    for alert in alerts {
        *clock = (*clock).max(tick_of(alert.time));
    }
}

/// What an epoch took of each source, where nothing became an alert.
pub(super) fn of_no_alert(rejects: &[Reject], ignored: &[Ignored]) -> Vec<EpochRow> {
    let tick = rejects.first().map_or(0, |reject| reject.tick);
    let mut rows = parts(&[], rejects, tick);
    add_ignored(&mut rows, ignored, tick);
    rows
}

/// What an epoch took of each partition. Of a record's alerts the first counts as the record, the others as further ones,
/// also where they come in a later epoch.
#[must_use]
pub fn parts(alerts: &[Alert], rejects: &[Reject], tick: Tick) -> Vec<EpochRow> {
    let mut rows: Vec<EpochRow> = Vec::new();
    let alerts = alerts.iter().map(|alert| (alert.source, alert.position, alert.further));
    let rejects = rejects.iter().map(|reject| (reject.source, reject.position, false));
    for (source, position, further) in alerts.chain(rejects) {
        let (partition, position) = (partition_of(position), within(position));
        match rows.iter_mut().find(|row| (row.source, row.partition) == (source, partition)) {
            Some(row) => {
                row.from = row.from.min(position);
                row.to = row.to.max(position);
                row.records += u64::from(!further);
                row.further += u64::from(further);
            }
            None => {
                let (epoch, ignored) = (0, 0);
                rows.push(EpochRow {
                    epoch,
                    tick,
                    source,
                    partition,
                    from: position,
                    to: position,
                    records: u64::from(!further),
                    ignored,
                    further: u64::from(further),
                });
            }
        }
    }
    rows
}
