//! The log of a run that acted early as input: epoch by epoch as they were, since what it did hangs on where they ended.
//!
//! In: the published parts of an archive, and the log beside them. Out: the epochs that made it, each with the alerts that came
//! in it, what else came in, and its settled tick: as many and with the same numbers. What ends the log where it was cut
//! is an epoch more. Copies come back as [`super::again`] tells.
//! State: rejects, duplicates and inputs; an epoch's place in each source; alerts in sorted runs.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::again::{AgainFeed, all_alerts};
use super::set::FeedError;
use super::sorted::{Sorted, Sorter};
use crate::archive::{Reader, TurnRow};
use crate::engine::answers::LIVE;
use crate::engine::journal::{Effects, Said, is_reported};
use crate::engine::log::{Log, LogError, LoggedEpoch};
use crate::engine::run::Batch;
use crate::plan::policy::Act;
use crate::record::place::{partition_of, within};
use crate::record::{Alert, Epoch, EpochRow, InputKind, Names, Reject, Sym, Tick, tick_of};

/// Under what a log says that it is the replay of a run's log that was acted on early.
pub const EARLY: &str = "early";

/// When the alerts of an archive are acted on, under a policy that says so: early only where it is a run's log.
pub fn acts(archive: &Path, policy: Act) -> Result<Act, LogError> {
    if policy == Act::Settled || !Log::path_of(archive).is_file() {
        return Ok(Act::Settled);
    }
    let log = Log::look(archive)?;
    let came_in = log.meta(LIVE)?.is_some() || log.meta(EARLY)?.is_some();
    Ok(if came_in { Act::Early } else { Act::Settled })
}

/// An archive's record, in the order in which it is to be acted on.
pub enum Recorded {
    /// By settled ticks.
    Settled(Box<AgainFeed>),
    /// By epochs.
    Early(Box<EpochFeed>),
}

impl Recorded {
    /// Reads what `archive` holds; alerts are sorted in `folder`. Where it is acted on when it is settled, epochs have
    /// `batch_records`. Its tables of context are left out where others take their place.
    pub fn open(
        archive: &Path,
        folder: &Path,
        names: &Arc<Names>,
        (act, batch_records): (Act, usize),
        with_context: bool,
    ) -> Result<Recorded, FeedError> {
        Ok(match act {
            Act::Settled => {
                let feed = AgainFeed::open(archive, folder, names, batch_records, with_context)?;
                Recorded::Settled(Box::new(feed))
            }
            Act::Early => Recorded::Early(Box::new(EpochFeed::open(archive, folder, names, with_context)?)),
        })
    }

    /// The next epoch; none after the last.
    pub fn pull(&mut self) -> Result<Option<Batch>, FeedError> {
        match self {
            Recorded::Settled(feed) => feed.pull(),
            Recorded::Early(feed) => feed.pull(),
        }
    }

    /// Alerts and their copies.
    #[must_use]
    pub fn records(&self) -> u64 {
        match self {
            Recorded::Settled(feed) => feed.records,
            Recorded::Early(feed) => feed.records,
        }
    }

    /// Whether the archive has recorded how its tables of context stood.
    #[must_use]
    pub fn has_context(&self) -> bool {
        match self {
            Recorded::Settled(feed) => feed.has_context,
            Recorded::Early(feed) => feed.has_context,
        }
    }
}

/// A feed over an archive's log.
pub struct EpochFeed {
    names: Arc<Names>,
    epochs: VecDeque<LoggedEpoch>,
    alerts: Sorted<(Epoch, Alert)>,
    ahead: Option<(Epoch, Alert)>,
    rejects: BTreeMap<Epoch, Vec<Reject>>,
    parts: BTreeMap<Epoch, Vec<EpochRow>>,
    said: BTreeMap<Epoch, Vec<Said>>,
    records: u64,
    has_context: bool,
}

impl EpochFeed {
    fn open(
        archive: &Path,
        folder: &Path,
        names: &Arc<Names>,
        with_context: bool,
    ) -> Result<EpochFeed, FeedError> {
        let reader = Reader::open(archive, Arc::clone(names)).map_err(FeedError::Archive)?;
        let parts = parts(&reader).map_err(FeedError::Archive)?;
        let places = Places::of(&parts);
        let (mut sorter, mut records, mut last) = (Sorter::new(folder), 0, Tick::MIN);
        all_alerts(&reader, |some| {
            records += some.len() as u64;
            last = some.iter().map(|alert| alert.tick).fold(last, Tick::max);
            let placed = some.into_iter().map(|alert| Ok((places.epoch(&alert, names)?, alert)));
            sorter.add(placed.collect::<Result<_, FeedError>>()?).map_err(FeedError::Sort)
        })?;
        let (mut rejects, mut said) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        for line in reader.rejects(None).map_err(FeedError::Archive)? {
            let line = line.map_err(FeedError::Archive)?;
            rejects.entry(line.epoch).or_default().push(Reject::from(line));
        }
        let mut has_context = false;
        for line in reader.inputs(None).map_err(FeedError::Archive)? {
            let line = line.map_err(FeedError::Archive)?;
            has_context |= line.kind == InputKind::Context;
            let is_said = match line.kind {
                InputKind::Score => false,
                InputKind::Receipt => is_reported(line.kind, &line.body),
                InputKind::Context => with_context,
                InputKind::Tick
                | InputKind::Sighting
                | InputKind::Verdict
                | InputKind::Approval
                | InputKind::Promotion
                | InputKind::Withdrawal
                | InputKind::Push => true,
            };
            if is_said {
                let input = Said { id: None, kind: line.kind, body: line.body };
                said.entry(line.epoch).or_default().push(input);
            }
        }
        let mut alerts = sorter.finish().map_err(FeedError::Sort)?;
        let ahead = alerts.pull().map_err(FeedError::Sort)?;
        let epochs = epochs(archive, last).map_err(FeedError::Log)?;
        let names = Arc::clone(names);
        Ok(EpochFeed { names, epochs, alerts, ahead, rejects, parts, said, records, has_context })
    }

    fn pull(&mut self) -> Result<Option<Batch>, FeedError> {
        let Some(logged) = self.epochs.pop_front() else { return Ok(None) };
        let epoch = logged.epoch;
        let mut batch = Batch {
            rejects: self.rejects.remove(&epoch).unwrap_or_default(),
            parts: self.parts.remove(&epoch).unwrap_or_default(),
            settled: logged.settled,
            last: logged.last,
            was: Some(epoch),
            ..Batch::default()
        };
        while let Some((_, alert)) = self.ahead.take_if(|(at, _)| *at <= epoch) {
            batch.late += u64::from(alert.tick > tick_of(alert.time));
            batch.alerts.push(alert);
            self.ahead = self.alerts.pull().map_err(FeedError::Sort)?;
        }
        let effects = Effects::of(&self.said.remove(&epoch).unwrap_or_default(), &self.names);
        if let Some(what) = effects.strange.first() {
            return Err(FeedError::Input(what.clone()));
        }
        effects.fill(&mut batch);
        Ok(Some(batch))
    }
}

/// What each epoch took of each source.
fn parts(reader: &Reader) -> std::io::Result<BTreeMap<Epoch, Vec<EpochRow>>> {
    let mut parts: BTreeMap<Epoch, Vec<EpochRow>> = BTreeMap::new();
    for line in reader.epochs(None)? {
        let part = TurnRow::from(line?).turn;
        parts.entry(part.epoch).or_default().push(part);
    }
    Ok(parts)
}

/// The published epochs; where the last is not the input's end, one more that is.
fn epochs(archive: &Path, last: Tick) -> Result<VecDeque<LoggedEpoch>, LogError> {
    let log = Log::look(archive)?;
    let through = log.committed()?.map_or(0, |(epoch, _)| epoch);
    let mut epochs: VecDeque<LoggedEpoch> = log.epochs()?.into();
    epochs.retain(|logged| logged.epoch <= through);
    if let Some(cut) = epochs.back().filter(|logged| !logged.last) {
        let (epoch, settled) = (cut.epoch + 1, cut.settled.max(last.saturating_add(1)));
        epochs.push_back(LoggedEpoch { epoch, settled, last: true, parts: Vec::new() });
    }
    Ok(epochs)
}

/// By partition, where each epoch's records begin and end, in order.
struct Places(FxHashMap<(Sym, u32), Vec<Taken>>);

/// The first and the last place that an epoch took.
type Taken = (u64, u64, Epoch);

impl Places {
    fn of(parts: &BTreeMap<Epoch, Vec<EpochRow>>) -> Places {
        let mut places: FxHashMap<(Sym, u32), Vec<Taken>> = FxHashMap::default();
        // Of records that are all ignored no place is told.
        let has_place = |part: &&EpochRow| part.records + part.further > part.ignored;
        for part in parts.values().flatten().filter(has_place) {
            places.entry((part.source, part.partition)).or_default().push((part.from, part.to, part.epoch));
        }
        for all in places.values_mut() {
            all.sort_unstable();
        }
        Places(places)
    }

    fn epoch(&self, alert: &Alert, names: &Names) -> Result<Epoch, FeedError> {
        let (partition, at) = (partition_of(alert.position), within(alert.position));
        let all = self.0.get(&(alert.source, partition)).map_or(&[][..], |all| all);
        let after = all.partition_point(|(from, _, _)| *from <= at);
        let found = all[..after].last().filter(|(_, to, _)| at <= *to);
        found.map(|(_, _, epoch)| *epoch).ok_or_else(|| {
            let source = names.get(alert.source);
            FeedError::Input(format!(
                "an alert at {at} of {source:?}, partition {partition}, that no epoch took"
            ))
        })
    }
}
