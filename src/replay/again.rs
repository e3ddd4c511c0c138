//! An archive as input: its alerts, duplicates, rejects and what else came in, fed back in the order of their ticks.
//!
//! In: the published parts of an archive. Out: epochs of N records whose settled rows, under the same plan and model, are those
//! of the first run: ticks are as recorded, so what was late is late again, and a person's word comes when the settled
//! tick is what it was then. A duplicate comes back as a copy of its alert, which is all that it was.
//! Which alerts were further ones of their record is not in the archive, only how many there were: as many are counted
//! as such as early as can be.
//! State: duplicates and inputs; alerts in sorted runs.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::set::{FeedError, REJECTS_MAX, parts};
use super::sorted::{Sorted, Sorter};
use crate::archive::{AlertLine, DuplicateLine, InputLine, Lines, Reader, RejectLine};
use crate::engine::log::Log;
use crate::engine::run::Batch;
use crate::record::input::Approval;
use crate::record::{
    Alert, AlertId, ContextRow, ContextTable, Diff, Entity, Epoch, InputKind, InputRow, NOTHING_SETTLED,
    Names, Reject, Sym, Tick, Verdict, attack, tick_of,
};

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
    let log = Log::open(path)?;
    Ok(
        serde_json::json!({ "run": log.meta("run")?, "as_of": log.meta("as_of")?, "through": log.committed()? }),
    )
}

/// What came in beside records at one epoch, with the tick that was settled then.
struct Taken {
    tick: Tick,
    lines: Vec<InputLine>,
}

/// A feed over an archive.
pub struct AgainFeed {
    names: Arc<Names>,
    rejects: Option<Lines<RejectLine>>,
    ignored: Vec<(Sym, u64)>,
    /// Per source, further alerts of records that were not counted yet.
    further: FxHashMap<Sym, u64>,
    alerts: Sorted,
    ahead: Option<Alert>,
    taken: VecDeque<Taken>,
    batch_records: usize,
    settled: Tick,
    /// The tick that was settled when the first run ended.
    end: Tick,
    ended: bool,
    /// Alerts and their copies.
    pub records: u64,
}

impl AgainFeed {
    /// Reads what `archive` holds; alerts are sorted in `folder`.
    pub fn open(
        archive: &Path,
        folder: &Path,
        names: &Arc<Names>,
        batch_records: usize,
    ) -> Result<AgainFeed, FeedError> {
        let reader = Reader::open(archive, Arc::clone(names)).map_err(FeedError::Archive)?;
        let mut end = NOTHING_SETTLED;
        let (mut ignored, mut further) = (FxHashMap::<Sym, u64>::default(), FxHashMap::<Sym, u64>::default());
        for turn in reader.epochs(None).map_err(FeedError::Archive)? {
            let turn = turn.map_err(FeedError::Archive)?;
            end = end.max(turn.tick);
            *ignored.entry(turn.source).or_default() += turn.ignored;
            *further.entry(turn.source).or_default() += turn.further;
        }
        let mut ignored: Vec<(Sym, u64)> = ignored.into_iter().filter(|(_, n)| *n > 0).collect();
        ignored.sort_by_cached_key(|(source, _)| names.get(*source));
        let (mut alerts, records, last) = sorted(&reader, folder)?;
        Ok(AgainFeed {
            names: Arc::clone(names),
            rejects: Some(reader.rejects(None).map_err(FeedError::Archive)?),
            ignored,
            further,
            ahead: alerts.pull().map_err(FeedError::Sort)?,
            alerts,
            taken: taken(&reader)?,
            batch_records,
            settled: NOTHING_SETTLED,
            end: end.max(last.saturating_add(1)),
            ended: false,
            records,
        })
    }

    /// The next epoch; none after the last.
    pub fn pull(&mut self) -> Result<Option<Batch>, FeedError> {
        if self.ended {
            return Ok(None);
        }
        if let Some(batch) = self.rejects()? {
            return Ok(Some(batch));
        }
        let mut batch = Batch::default();
        // An input speaks when the tick that was settled then is settled again, and not an alert later.
        let stop = self.taken.front().map(|taken| taken.tick.min(self.end));
        while batch.alerts.len() < self.batch_records
            && let Some(alert) = self.ahead.take_if(|alert| stop.is_none_or(|stop| alert.tick < stop))
        {
            self.settled = self.settled.max(alert.tick);
            batch.late += u64::from(alert.tick > tick_of(alert.time));
            batch.alerts.push(alert);
            self.ahead = self.alerts.pull().map_err(FeedError::Sort)?;
        }
        let reached = self.ahead.as_ref().is_none_or(|alert| stop.is_some_and(|stop| alert.tick >= stop));
        if reached && let Some(taken) = self.taken.pop_front() {
            self.settled = self.settled.max(taken.tick.min(self.end));
            batch.settled = self.settled;
            self.fill(&mut batch, taken)?;
        } else if self.ahead.is_none() {
            self.settled = self.settled.max(self.end);
            (batch.last, self.ended) = (true, true);
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
            .map(|line| line.map(reject))
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
        for line in taken.lines {
            let InputLine { tenant, kind, body, .. } = line;
            let understood = match kind {
                InputKind::Verdict => {
                    word::<Verdict>(&body).map(|verdict| batch.verdicts.push((verdict, tenant)))
                }
                InputKind::Approval => word::<Approval>(&body).map(|approval| batch.approvals.push(approval)),
                InputKind::Context => serde_json::from_str::<Changed>(&body).map(|changed| {
                    batch.context.extend(changed.rows.iter().filter_map(|row| row.read(&self.names)));
                }),
                // Clocks are in the ticks of alerts; the others are recorded, and change nothing here.
                InputKind::Tick
                | InputKind::Receipt
                | InputKind::Score
                | InputKind::Promotion
                | InputKind::Push => Ok(()),
            };
            understood.map_err(|error| FeedError::Input { kind: kind.name(), error })?;
            batch.inputs.push(InputRow { epoch: 0, tick: batch.settled, tenant, kind, body });
        }
        Ok(())
    }
}

/// All alerts and copies in order, how many, and the last one's tick.
fn sorted(reader: &Reader, folder: &Path) -> Result<(Sorted, u64, Tick), FeedError> {
    let mut copies: FxHashMap<AlertId, Vec<DuplicateLine>> = FxHashMap::default();
    for copy in reader.duplicates(None).map_err(FeedError::Archive)? {
        let copy = copy.map_err(FeedError::Archive)?;
        copies.entry(copy.alert_id).or_default().push(copy);
    }
    let (mut sorter, mut records, mut last) = (Sorter::new(folder), 0, NOTHING_SETTLED);
    let mut lines = reader.alerts(None).map_err(FeedError::Archive)?.peekable();
    while lines.peek().is_some() {
        let mut some = Vec::with_capacity(READ);
        for line in lines.by_ref().take(READ) {
            let alert = alert(line.map_err(FeedError::Archive)?, reader.names());
            some.extend(copies.remove(&alert.id).into_iter().flatten().map(|copy| again(&alert, &copy)));
            some.push(alert);
        }
        records += some.len() as u64;
        last = some.iter().map(|alert| alert.tick).fold(last, Tick::max);
        sorter.add(some).map_err(FeedError::Sort)?;
    }
    Ok((sorter.finish().map_err(FeedError::Sort)?, records, last))
}

fn taken(reader: &Reader) -> Result<VecDeque<Taken>, FeedError> {
    let mut by_epoch: std::collections::BTreeMap<Epoch, Taken> = std::collections::BTreeMap::new();
    for line in reader.inputs(None).map_err(FeedError::Archive)? {
        let line = line.map_err(FeedError::Archive)?;
        let taken = by_epoch.entry(line.epoch).or_insert(Taken { tick: line.tick, lines: Vec::new() });
        taken.lines.push(line);
    }
    Ok(by_epoch.into_values().collect())
}

fn alert(line: AlertLine, names: &Names) -> Alert {
    let attacks = line.attacks.0;
    Alert {
        id: line.alert_id,
        time: line.time.0,
        tick: line.tick,
        tenant: line.tenant,
        source: line.source,
        position: line.position,
        product: line.product,
        rule: line.rule,
        title: line.title,
        severity: line.severity_id,
        identified: line.identified,
        further: false,
        tactics: names.with(attacks, attack::tactics_of),
        attacks,
        entities: line.entities.into(),
        unmapped: line.unmapped,
    }
}

fn again(alert: &Alert, copy: &DuplicateLine) -> Alert {
    Alert {
        time: copy.time.0,
        tick: copy.tick,
        tenant: copy.tenant,
        source: copy.source,
        position: copy.position,
        ..alert.clone()
    }
}

fn reject(line: RejectLine) -> Reject {
    let RejectLine { tenant, tick, stage, reason, source, position, raw, .. } = line;
    Reject { stage, reason, tick, tenant, source, position, raw }
}

/// A person's word; whose matter it is on stands beside it.
fn word<T: serde::de::DeserializeOwned>(body: &str) -> Result<T, serde_json::Error> {
    let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(body)?;
    fields.remove("tenant");
    serde_json::from_value(fields.into())
}

/// A change of context tables as it is recorded.
#[derive(serde::Deserialize)]
struct Changed {
    rows: Vec<ChangedRow>,
}

#[derive(serde::Deserialize)]
struct ChangedRow {
    entity: String,
    table: ContextTable,
    grade: u8,
    exposed: bool,
    protected: bool,
    tenant: String,
    diff: Diff,
}

impl ChangedRow {
    fn read(&self, names: &Names) -> Option<((Entity, ContextRow), Diff)> {
        let entity = Entity::parse(&self.entity, names)?;
        let ChangedRow { table, grade, exposed, protected, diff, .. } = *self;
        let tenant = names.intern(&self.tenant);
        Some(((entity, ContextRow { table, grade, exposed, protected, tenant }), diff))
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
