//! An archive as input: its alerts, duplicates, rejects and what else came in, fed back in the order of their ticks.
//!
//! In: the published parts of an archive. Out: epochs of N records whose settled rows, under the same plan and model, are those
//! of the first run: ticks are as recorded, so what was late is late again, a person's word comes when the settled tick
//! is what it was then, and the input ends where it ended, also when the run went on after that. A duplicate comes back as
//! a copy of its alert, which is all that it was. Scores and receipts are not fed, but given to who asks for them; pushed
//! batches are alerts by now.
//! Which alerts were further ones of their record is not in the archive, only how many there were: as many are counted
//! as such as early as can be.
//! State: duplicates and inputs; alerts in sorted runs.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::arrival::Ignored;
use super::set::{FeedError, REJECTS_MAX, parts};
use super::sorted::{Sorted, Sorter};
use crate::archive::{DuplicateLine, InputLine, Lines, Reader, RejectLine};
use crate::engine::journal::{Effects, Said, is_reported, stands_alone};
use crate::engine::log::Log;
use crate::engine::run::Batch;
use crate::record::place::position;
use crate::record::{Alert, AlertId, Epoch, InputKind, NOTHING_SETTLED, Names, Reject, Sym, Tick, tick_of};

/// Alerts that are handed to the sorter at once.
const READ: usize = 8_192;

/// Whether an archive of quell lies at `path`.
#[must_use]
pub fn is_archive(path: &Path) -> bool {
    let dated = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("date="))
    };
    Log::path_of(path).is_file()
        || std::fs::read_dir(path.join("alerts")).is_ok_and(|mut entries| entries.any(dated))
}

/// What the runs that made an archive have said of themselves, for telling it from another.
pub fn identity(path: &Path) -> Result<serde_json::Value, crate::engine::log::LogError> {
    if !Log::path_of(path).is_file() {
        return Ok(serde_json::Value::Null);
    }
    let log = Log::look(path)?;
    Ok(
        serde_json::json!({ "run": log.meta("run")?, "as_of": log.meta("as_of")?, "through": log.committed()? }),
    )
}

/// What came in beside records at one epoch, with the tick that was settled then, and whether that was the end.
struct Taken {
    tick: Tick,
    /// The tick that was settled before it: what settled in the same epoch did so together with what came in.
    /// Where nothing came in, the same tick: it makes no difference.
    before: Tick,
    lines: Vec<InputLine>,
    last: bool,
    /// The epoch.
    epoch: Epoch,
}

impl Taken {
    fn new(tick: Tick, epoch: Epoch) -> Taken {
        Taken { tick, before: tick, lines: Vec::new(), last: false, epoch }
    }

    /// Whether it is on what was settled before, so that nothing may settle together with it.
    fn stands_alone(&self) -> bool {
        self.lines.iter().any(|line| stands_alone(line.kind, &line.body))
    }
}

/// A feed over an archive.
pub struct AgainFeed {
    names: Arc<Names>,
    rejects: Option<Lines<RejectLine>>,
    ignored: Vec<Ignored>,
    /// Per source, further alerts of records that were not counted yet.
    further: FxHashMap<Sym, u64>,
    alerts: Sorted,
    ahead: Option<Alert>,
    taken: VecDeque<Taken>,
    batch_records: usize,
    settled: Tick,
    /// Alerts and their copies.
    pub records: u64,
    /// Whether the archive has recorded how its tables of context stood.
    pub has_context: bool,
}

impl AgainFeed {
    /// Reads what `archive` holds; alerts are sorted in `folder`. Its tables of context are left out where others take
    /// their place.
    pub fn open(
        archive: &Path,
        folder: &Path,
        names: &Arc<Names>,
        batch_records: usize,
        with_context: bool,
    ) -> Result<AgainFeed, FeedError> {
        let reader = Reader::open(archive, Arc::clone(names)).map_err(FeedError::Archive)?;
        let (mut end, mut detections) = (NOTHING_SETTLED, 0);
        let mut ignored = FxHashMap::<(Sym, u32), u64>::default();
        let mut further = FxHashMap::<Sym, u64>::default();
        for turn in reader.epochs(None).map_err(FeedError::Archive)? {
            let turn = turn.map_err(FeedError::Archive)?;
            end = end.max(turn.tick);
            detections += (turn.records + turn.further).saturating_sub(turn.ignored);
            *ignored.entry((turn.source, turn.partition)).or_default() += turn.ignored;
            *further.entry(turn.source).or_default() += turn.further;
        }
        let ignored = ignored.into_iter().filter(|(_, n)| *n > 0);
        let mut ignored: Vec<Ignored> = ignored.map(|((source, part), n)| (source, part, n)).collect();
        ignored.sort_by_cached_key(|(source, partition, _)| (names.get(*source), *partition));
        let (mut alerts, records, last) = sorted(&reader, folder)?;
        if records == 0 && detections > 0 {
            // What is neither an alert nor ignored must be a reject.
            let rejects = reader.rejects(None).map_err(FeedError::Archive)?.count() as u64;
            if rejects < detections {
                return Err(FeedError::NoAlerts);
            }
        }
        let mut taken = taken(&reader, archive)?;
        if !taken.back().is_some_and(|taken| taken.last) {
            // It was cut, or has no log beside it: it ends with what it holds.
            let before = taken.back().map_or(end, |taken| taken.tick.max(end));
            let tick = before.max(last.saturating_add(1));
            taken.push_back(Taken { last: true, ..Taken::new(tick, Epoch::MAX) });
        }
        let tables = |line: &InputLine| line.kind == InputKind::Context;
        let has_context = taken.iter().any(|taken| taken.lines.iter().any(tables));
        if !with_context {
            for taken in &mut taken {
                taken.lines.retain(|line| !tables(line));
            }
        }
        Ok(AgainFeed {
            names: Arc::clone(names),
            rejects: Some(reader.rejects(None).map_err(FeedError::Archive)?),
            ignored,
            further,
            ahead: alerts.pull().map_err(FeedError::Sort)?,
            alerts,
            taken,
            batch_records,
            settled: NOTHING_SETTLED,
            records,
            has_context,
        })
    }

    /// The next epoch; none after the last.
    pub fn pull(&mut self) -> Result<Option<Batch>, FeedError> {
        if let Some(batch) = self.rejects()? {
            return Ok(Some(batch));
        }
        // An input speaks when the tick that was settled then is settled again, and not an alert later.
        let Some(next) = self.taken.front() else { return Ok(None) };
        let (stop, before, alone) = (next.tick, next.before, next.stands_alone());
        let mut batch = Batch::default();
        while batch.alerts.len() < self.batch_records
            && let Some(alert) = self.ahead.take_if(|alert| alert.tick < stop)
        {
            self.settled = self.settled.max(alert.tick.min(before));
            batch.late += u64::from(alert.tick > tick_of(alert.time));
            batch.alerts.push(alert);
            self.ahead = self.alerts.pull().map_err(FeedError::Sort)?;
        }
        let reached = self.ahead.as_ref().is_none_or(|alert| alert.tick >= stop);
        if reached && (self.settled < before || (alone && !batch.alerts.is_empty())) {
            self.settled = before;
        } else if let Some(taken) = reached.then(|| self.taken.pop_front()).flatten() {
            self.settled = self.settled.max(taken.tick);
            (batch.settled, batch.last, batch.was) = (self.settled, taken.last, Some(taken.epoch));
            self.fill(&mut batch, taken)?;
        }
        batch.settled = self.settled;
        batch.parts = parts(&batch.alerts, &[], self.settled);
        for part in &mut batch.parts {
            let left = self.further.entry(part.source).or_default();
            part.further = part.records.min(*left);
            part.records -= part.further;
            *left -= part.further;
        }
        Ok(Some(batch))
    }

    fn rejects(&mut self) -> Result<Option<Batch>, FeedError> {
        let Some(lines) = &mut self.rejects else { return Ok(None) };
        let rejects: Vec<Reject> = lines
            .take(REJECTS_MAX)
            .map(|line| line.map(Reject::from))
            .collect::<Result<_, _>>()
            .map_err(FeedError::Archive)?;
        if rejects.len() < REJECTS_MAX {
            self.rejects = None;
        }
        let ignored = std::mem::take(&mut self.ignored);
        if rejects.is_empty() && ignored.is_empty() {
            return Ok(None);
        }
        let parts = super::set::of_no_alert(&rejects, &ignored);
        Ok(Some(Batch { rejects, parts, settled: NOTHING_SETTLED, ..Batch::default() }))
    }

    /// Puts what was said into the batch, and its rows into the new archive's inputs.
    fn fill(&self, batch: &mut Batch, taken: Taken) -> Result<(), FeedError> {
        let said = taken.lines.into_iter().map(|line| Said { id: None, kind: line.kind, body: line.body });
        // Clocks are in the ticks of alerts: their moves are recorded, and change nothing here.
        let effects = Effects::of(&said.collect::<Vec<_>>(), &self.names);
        if let Some(what) = effects.strange.first() {
            return Err(FeedError::Input(what.clone()));
        }
        effects.fill(batch);
        Ok(())
    }
}

/// All alerts and copies in order, how many, and the last one's tick.
fn sorted(reader: &Reader, folder: &Path) -> Result<(Sorted, u64, Tick), FeedError> {
    let (mut sorter, mut records, mut last) = (Sorter::new(folder), 0, NOTHING_SETTLED);
    all_alerts(reader, |some| {
        records += some.len() as u64;
        last = some.iter().map(|alert| alert.tick).fold(last, Tick::max);
        sorter.add(some).map_err(FeedError::Sort)
    })?;
    Ok((sorter.finish().map_err(FeedError::Sort)?, records, last))
}

/// Hands over all alerts and copies, some at a time.
pub(super) fn all_alerts(
    reader: &Reader,
    mut take: impl FnMut(Vec<Alert>) -> Result<(), FeedError>,
) -> Result<(), FeedError> {
    let mut copies: FxHashMap<AlertId, Vec<DuplicateLine>> = FxHashMap::default();
    for copy in reader.duplicates(None).map_err(FeedError::Archive)? {
        let copy = copy.map_err(FeedError::Archive)?;
        copies.entry(copy.alert_id).or_default().push(copy);
    }
    let mut lines = reader.alerts(None).map_err(FeedError::Archive)?.peekable();
    while lines.peek().is_some() {
        let mut some = Vec::with_capacity(READ);
        for line in lines.by_ref().take(READ) {
            let alert = Arc::unwrap_or_clone(line.map_err(FeedError::Archive)?.row(reader.names()).alert);
            some.extend(copies.remove(&alert.id).into_iter().flatten().map(|copy| again(&alert, &copy)));
            some.push(alert);
        }
        take(some)?;
    }
    Ok(())
}

fn taken(reader: &Reader, archive: &Path) -> Result<VecDeque<Taken>, FeedError> {
    let mut by_epoch: BTreeMap<(Tick, Epoch), Taken> = BTreeMap::new();
    for line in reader.inputs(None).map_err(FeedError::Archive)? {
        let line = line.map_err(FeedError::Archive)?;
        // What is acted on when it is settled withdraws nothing.
        let is_answer = matches!(
            line.kind,
            InputKind::Score | InputKind::Receipt | InputKind::Push | InputKind::Withdrawal
        );
        if !is_answer || is_reported(line.kind, &line.body) {
            let (tick, epoch) = (line.tick, line.epoch);
            by_epoch.entry((tick, epoch)).or_insert_with(|| Taken::new(tick, epoch)).lines.push(line);
        }
    }
    if Log::path_of(archive).is_file() {
        let log = Log::look(archive).map_err(FeedError::Log)?;
        for (epoch, tick) in log.ends().map_err(FeedError::Log)? {
            by_epoch.entry((tick, epoch)).or_insert_with(|| Taken::new(tick, epoch)).last = true;
        }
        for ((tick, epoch), taken) in by_epoch.iter_mut().filter(|(_, taken)| !taken.lines.is_empty()) {
            let before = log.settled(epoch.saturating_sub(1)).map_err(FeedError::Log)?;
            taken.before = before.unwrap_or(NOTHING_SETTLED).min(*tick);
        }
    }
    Ok(by_epoch.into_values().collect())
}

fn again(alert: &Alert, copy: &DuplicateLine) -> Alert {
    Alert {
        time: copy.time.0,
        tick: copy.tick,
        tenant: copy.tenant,
        source: copy.source,
        position: position(copy.partition, copy.position),
        ..alert.clone()
    }
}

/// The archive among the inputs; none where there are only files. An archive is replayed alone.
pub fn archive_of(inputs: &[PathBuf]) -> Result<Option<&PathBuf>, String> {
    match inputs.iter().find(|path| is_archive(path)) {
        Some(archive) if inputs.len() > 1 => Err(format!(
            "{} is an archive, which is replayed alone: leave out the other inputs",
            archive.display()
        )),
        found => Ok(found),
    }
}
