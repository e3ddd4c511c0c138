//! Check: what must hold, whatever befell.
//!
//! After each process: nothing is published beyond what the log has committed. At the end: every record is an alert, a duplicate or
//! a reject, once; no link is left by a finding that was withdrawn; what ends whoever works on it is kept out, and nothing else but
//! where processes ended three times at that record alone; every action's last row is what the ledger says of it; a run of the same log
//! that is left in peace says the same of alerts, findings, incidents and candidates, row by row and epoch by epoch; and, where nothing
//! else was said, so does one of the same records in other epochs, when all is settled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::drawn::{Handle, of};
use super::life::{Life, Stopped};
use super::sources::{PUSHED, UNREADABLE, is_poison};
use super::stage::Stage;
use crate::act::{Leaves, Ledger};
use crate::archive::{ActionLine, Reader, TABLES, digest};
use crate::engine::log::{Heard, Log, STATE_FOLDER};
use crate::engine::pushed::{self, Read};
use crate::engine::summary::Summary;
use crate::plan::policy::Act;
use crate::record::finding::CORRELATION;
use crate::record::{ActionId, ActionStatus, InputKind, Names, Stage as RejectStage};

/// So many times processes end at a record before it is kept out.
const STRIKES: u64 = 3;
/// Tables that hang on the log alone: others tell when the world answered.
const OF_LOG: [&str; 8] =
    ["alerts", "duplicates", "rejects", "matches", "members", "links", "incidents", "candidates"];

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn said(error: impl ToString) -> Stopped {
    error.to_string()
}

/// Nothing is seen that the log has not committed.
pub(super) fn published(dir: &Path) -> Result<(), Stopped> {
    if !Log::path_of(dir).is_file() {
        return Ok(());
    }
    let committed = Log::open(dir).and_then(|log| log.committed()).map_err(said)?;
    let through = committed.map_or(i64::MIN, |(_, tick)| tick);
    for table in TABLES {
        let Ok(dates) = std::fs::read_dir(dir.join(table)) else { continue };
        for file in dates.filter_map(|date| std::fs::read_dir(date.ok()?.path()).ok()).flatten() {
            let name = file.map_err(said)?.file_name().to_string_lossy().into_owned();
            let Some(tick) = name.strip_prefix("part-").and_then(|rest| rest.rsplit_once('-')) else {
                continue;
            };
            if tick.0.parse::<i64>().map_err(said)? > through {
                return Err(format!(
                    "{table}/{name} is published, and the log has committed through {through}"
                ));
            }
        }
    }
    Ok(())
}

/// All that must hold at the end.
pub(super) fn all(handle: &Handle, stage: &Stage, summary: &Summary) -> Result<(), Stopped> {
    if summary.unaccounted() != 0 {
        return Err(format!("{} records are unaccounted for", summary.unaccounted()));
    }
    let dir = of(handle).disk.dir();
    records(&dir, stage)?;
    let kept_out = kept_out(handle, &dir, stage)?;
    actions(handle, &dir)?;
    withdrawals(handle, &dir)?;
    again(handle, &dir, stage)?;
    // Moves of the clock and people's words come when they come; so does what is done early.
    let said = stage.people || stage.promotes || stage.wall || stage.topic;
    if said || stage.act == Act::Early || kept_out > 0 {
        return Ok(());
    }
    undisturbed(handle, &dir, stage)
}

/// A run of the same records that nothing disturbs settles the same.
fn undisturbed(handle: &Handle, dir: &Path, stage: &Stage) -> Result<(), Stopped> {
    let beside = folder(handle, "undisturbed")?;
    let mut life = Life::begin(handle, stage, &beside)?;
    for push in Log::open(dir).and_then(|log| log.pushes(0, u32::MAX)).map_err(said)? {
        let Read { text, key, .. } = pushed::read(&push).ok_or("a batch without text")?;
        life.push(&text, key.unwrap_or_default())?;
    }
    life.go_on()?;
    life.end()?;
    life.finish()?;
    // Every process that ends settles a second more.
    let ends = Log::open(dir).and_then(|log| log.ends()).map_err(said)?;
    for _ in 1..ends.len() {
        let mut life = Life::begin(handle, stage, &beside)?;
        life.again()?;
        life.go_on()?;
        life.end()?;
        life.finish()?;
    }
    same((dir, &beside), false, "undisturbed")
}

/// A folder of that name for a run in peace.
fn folder(handle: &Handle, name: &str) -> Result<PathBuf, Stopped> {
    let mut drawn = of(handle);
    let beside = drawn.disk.beside(name);
    std::fs::create_dir_all(&beside).map_err(said)?;
    (drawn.quiet, drawn.world.kind) = (true, true);
    drawn.world.by_id.clear();
    drawn.book = Leaves::default();
    drawn.disk.turn_to(&beside);
    Ok(beside)
}

fn same((cut, whole): (&Path, &Path), log: bool, how: &str) -> Result<(), Stopped> {
    let [cut, whole] = [cut, whole].map(|dir| digest(dir, log).map_err(said));
    for (cut, whole) in cut?.iter().zip(whole?) {
        if OF_LOG.contains(&cut.table) && *cut != whole {
            return Err(format!("{how}, it is otherwise: {cut} became {whole}"));
        }
    }
    Ok(())
}

/// Every record is in the archive once.
fn records(dir: &Path, stage: &Stage) -> Result<(), Stopped> {
    let names = Arc::new(Names::default());
    let reader = Reader::open(dir, Arc::clone(&names)).map_err(said)?;
    let mut places = BTreeMap::new();
    let mut put = |source, position, what: &'static str| {
        let place = (names.get(source), position);
        match places.insert(place, what) {
            None => Ok(()),
            Some(other) => Err(format!("{} {position} is {other} and {what}", names.get(source))),
        }
    };
    for line in reader.alerts(None).map_err(said)? {
        let line = line.map_err(said)?;
        put(line.source, line.position, "an alert")?;
    }
    for line in reader.duplicates(None).map_err(said)? {
        let line = line.map_err(said)?;
        put(line.source, line.position, "a duplicate")?;
    }
    for line in reader.rejects(None).map_err(said)? {
        let line = line.map_err(said)?;
        put(line.source, line.position, "a reject")?;
    }
    let there = stage.sources.borrow();
    let mut sources: Vec<(&str, u64)> =
        there.files.iter().map(|file| (file.name.as_str(), file.records)).collect();
    sources.push((PUSHED, there.pushed));
    for (source, records) in sources {
        let found = places.keys().filter(|(name, _)| name == source).count() as u64;
        if found != records {
            return Err(format!("{source} had {records} records, and the archive has {found}"));
        }
    }
    Ok(())
}

/// How often what was acted on early was withdrawn; and no two alerts are linked by a finding but where one stands that has both.
fn withdrawals(handle: &Handle, dir: &Path) -> Result<(), Stopped> {
    let reader = Reader::open(dir, Arc::new(Names::default())).map_err(said)?;
    let (mut links, mut findings) = (BTreeMap::new(), BTreeMap::new());
    for line in reader.links(None).map_err(said)? {
        let line = line.map_err(said)?;
        if &*reader.names().get(line.evidence) == CORRELATION {
            *links.entry([line.alert_id, line.other_alert_id]).or_insert(0) += line.diff;
        }
    }
    for line in reader.matches(None).map_err(said)? {
        let line = line.map_err(said)?;
        let key = (line.correlation.raw(), line.group.raw(), line.time.0, line.alert_ids);
        *findings.entry(key).or_insert(0) += line.diff;
    }
    findings.retain(|_, sum| *sum > 0);
    for (ends, _) in links.into_iter().filter(|(_, sum)| *sum > 0) {
        let mut all = findings.keys().map(|(.., alerts)| alerts);
        if !all.any(|alerts| ends.iter().all(|end| alerts.contains(end))) {
            return Err(format!("{} and {} are linked by a finding that was withdrawn", ends[0], ends[1]));
        }
    }
    for line in reader.inputs(None).map_err(said)? {
        if line.map_err(said)?.kind == InputKind::Withdrawal {
            of(handle).count("findings withdrawn after they were acted on");
        }
    }
    Ok(())
}

/// What ends whoever works on it is kept out, and what else may be: whoever is killed at any moment, again and again at one record, is
/// taken to be ended by it. How many records are kept out.
fn kept_out(handle: &Handle, dir: &Path, stage: &Stage) -> Result<u64, Stopped> {
    let reader = Reader::open(dir, Arc::new(Names::default())).map_err(said)?;
    let (mut poisoned, mut innocent, mut unread) = (0, 0, 0);
    for line in reader.rejects(None).map_err(said)? {
        let line = line.map_err(said)?;
        if line.stage == RejectStage::Quarantine {
            let of = if is_poison(&line.raw) { &mut poisoned } else { &mut innocent };
            *of += 1;
            unread += u64::from(line.raw.contains(UNREADABLE));
        }
    }
    let mut drawn = of(handle);
    for _ in 0..poisoned - unread {
        drawn.count("records kept out that end whoever works on them");
    }
    for _ in 0..unread {
        drawn.count("records kept out that end whoever parses them");
    }
    for _ in 0..innocent {
        drawn.count("records kept out at which processes were killed three times");
    }
    let there = stage.sources.borrow().poisoned;
    if poisoned != there {
        return Err(format!("{there} records end whoever works on them, and {poisoned} are kept out"));
    }
    if innocent * STRIKES > drawn.abrupt {
        let ended = drawn.abrupt;
        return Err(format!("{innocent} other records are kept out, and processes ended {ended} times"));
    }
    Ok(poisoned + innocent)
}

/// The last row of each action says what the ledger says, and nothing succeeds twice or is left hanging.
fn actions(handle: &Handle, dir: &Path) -> Result<(), Stopped> {
    // Who was told by a topic may not have said yet what came of it.
    let topic = of(handle).world.topic;
    let reader = Reader::open(dir, Arc::new(Names::default())).map_err(said)?;
    let ledger = Ledger::look(&dir.join(STATE_FOLDER)).map_err(said)?.ok_or("there is no ledger")?;
    let mut rows: BTreeMap<ActionId, Vec<ActionLine>> = BTreeMap::new();
    for line in reader.actions(None).map_err(said)? {
        let line = line.map_err(said)?;
        rows.entry(line.action_id).or_default().push(line);
    }
    for (id, rows) in &mut rows {
        rows.sort_by_key(|row| row.seq);
        let told: Vec<_> = rows.iter().map(|row| (row.seq, row.status.name())).collect();
        if rows.iter().zip(0..).any(|(row, seq)| row.seq != seq) {
            return Err(format!("action {id} is told with gaps: {told:?}"));
        }
        let Some(last) = rows.last().map(|row| row.status) else { continue };
        let known = ledger.known(*id).map_err(said)?.last().map(|known| known.status);
        let fits = match (known, last) {
            // Nothing was called.
            (None, ActionStatus::Requested) => topic,
            (None, _) | (Some(_), ActionStatus::Undone | ActionStatus::InDoubt) => true,
            (Some(known), last) => known == last,
        };
        let undoing = || rows.iter().any(|row| row.status == ActionStatus::Succeeded);
        let doubt = last == ActionStatus::InDoubt && known != Some(ActionStatus::InDoubt) && !undoing();
        if !fits || doubt {
            return Err(format!("action {id} is told as {told:?}, and the ledger says {known:?}"));
        }
    }
    let drawn = of(handle);
    for (id, doing) in &drawn.world.by_id {
        let told = rows.contains_key(id)
            || ledger.intent(*id).map_err(said)?.is_some_and(|it| it.order.undo_of.is_some());
        if !told {
            return Err(format!("action {id} was called {} times, and is not in the archive", doing.arrived));
        }
    }
    Ok(())
}

/// A run of the same log in peace says the same.
fn again(handle: &Handle, dir: &Path, stage: &Stage) -> Result<(), Stopped> {
    let beside = folder(handle, "peace")?;
    {
        let (from, mut to) = (Log::open(dir).map_err(said)?, Log::open(&beside).map_err(said)?);
        for push in from.pushes(0, u32::MAX).map_err(said)? {
            to.append(&push.kind, &push.body, push.key.as_deref()).map_err(said)?;
        }
        let taken = from.taken().map_err(said)?;
        for epoch in from.quarantined().map_err(said)? {
            to.quarantine(epoch).map_err(said)?;
        }
        for epoch in from.epochs().map_err(said)? {
            let own = taken.iter().filter(|input| input.epoch == Some(epoch.epoch));
            let own = own.filter_map(|input| Some((kind(&input.kind)?, input.body.clone()))).collect();
            let heard = Heard { epoch: epoch.epoch, said: own, taken: Vec::new() };
            to.record_with(&[epoch], None, &heard).map_err(said)?;
        }
    }
    let mut life = Life::begin(handle, stage, &beside)?;
    life.again()?;
    let summary = life.finish()?;
    if summary.divergences > 0 {
        return Err(format!("in peace, there are {} divergences", summary.divergences));
    }
    same((dir, &beside), true, "in peace")
}

fn kind(name: &str) -> Option<&'static str> {
    let all = [
        InputKind::Tick,
        InputKind::Approval,
        InputKind::Verdict,
        InputKind::Receipt,
        InputKind::Context,
        InputKind::Sighting,
        InputKind::Promotion,
        InputKind::Withdrawal,
    ];
    all.into_iter().map(InputKind::name).find(|kind| *kind == name)
}
