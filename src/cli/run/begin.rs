//! Begin: what a run was begun with, and whether it goes on with something else.
//!
//! Plan, sources and the longest record may change where all that was taken is settled, and kept: the run begins there, and nothing
//! is computed again by a plan that did not take it. What operators remember of a correlation rule goes on where the rule says what
//! it said; what is carried out goes on by the playbook that was approved. When alerts are acted on, and how far the journey goes,
//! never changes.
//!
//! Files may change at any time, and a process end at any other. So a copy of the plan's files lies in `_quell/plan.json`: what is not
//! settled goes on by that.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::Args;
use crate::archive::snapshots;
use crate::cli::begun::differences;
use crate::cli::{Failure, setup};
use crate::engine::log::{Log, LogError};
use crate::engine::run::has_log;
use crate::engine::sinks::delivered;
use crate::plan::catalog::{Plan, folder_of};
use crate::plan::copy::Copy;
use crate::plan::pipeline::{self, SourceKind};
use crate::record::Epoch;

/// What may change on the way.
const MAY_CHANGE: [&str; 3] = ["plan", "sources", "record_bytes_max"];

/// The plan by which a run goes: that of its files, or the one before, where what that one took is not settled.
pub(super) fn plan(args: &Args) -> Result<Plan, Failure> {
    let read = setup::plan(&args.flow);
    if args.fresh || !has_log(&args.archive) {
        return read;
    }
    let Some((hash, path)) = of_before(args, read.as_ref().ok())? else { return read };
    let Ok(text) = fs::read(&path) else { return read };
    let room = path.with_extension(std::process::id().to_string());
    let copied = serde_json::from_slice::<Copy>(&text).map_err(io::Error::other);
    match copied.and_then(|copy| copy.plan(folder_of(&args.flow), &room)) {
        Ok(plan) if plan.hash == hash => {
            eprintln!(
                "quell: {} has changed since, and what was taken is not settled: going on by the plan of then; once the run is ended \
                 in order the next one goes by the files",
                args.flow.display()
            );
            Ok(plan)
        }
        Ok(_) => read,
        Err(error) => {
            eprintln!("quell: the copy of the plan of then cannot be used: {error}");
            read
        }
    }
}

/// The plan of before, and where its copy lies, where it is another one, and what it took is not settled.
fn of_before(args: &Args, now: Option<&Plan>) -> Result<Option<(String, PathBuf)>, Failure> {
    let log = Log::look(&args.archive)?;
    let Some(before) = log.meta("run")? else { return Ok(None) };
    let before: Value = serde_json::from_str(&before).unwrap_or_default();
    let other = before["plan"].as_str().filter(|plan| now.is_none_or(|now| now.hash != *plan));
    match other {
        Some(plan) if settled_and_kept(&log)?.is_none() => Ok(Some((plan.to_owned(), copy_of(&log)))),
        Some(_) | None => Ok(None),
    }
}

fn copy_of(log: &Log) -> PathBuf {
    log.folder().join("plan.json")
}

/// Keeps a copy of the plan, before anything is taken by it. Where none can be kept a changed file is told when it is too late.
fn keep(args: &Args, plan: &Plan, log: &Log) -> Result<(), Failure> {
    let path = copy_of(log);
    let copy = match Copy::of(&args.flow, plan) {
        Ok(copy) => serde_json::to_vec(&copy)?,
        Err(error) => {
            eprintln!(
                "quell: no copy of the plan is kept: {error}; leave its files as they are while the run goes on"
            );
            return Ok(());
        }
    };
    let open = path.with_extension("tmp");
    fs::write(&open, copy)?;
    File::open(&open)?.sync_all()?;
    fs::rename(&open, &path)?;
    Ok(File::open(log.folder())?.sync_all()?)
}

/// Notes how an archive is begun, or that it goes on otherwise; refuses it where it cannot.
pub(super) fn begin_or_go_on(
    args: &Args,
    plan: &Plan,
    specs: &[pipeline::Source],
    (log, model): (&Log, String),
) -> Result<(), Failure> {
    let mut what = json!({
        "command": "run",
        "plan": plan.hash,
        "sources": specs.iter().map(named).collect::<Vec<_>>(),
        "model": model,
        "act": plan.policy.act,
        "ends_at": plan.pipeline.ends_at,
        "record_bytes_max": args.record_bytes_max,
    });
    let Some(said) = log.meta("run")? else {
        keep(args, plan, log)?;
        return Ok(log.set_meta("run", &what.to_string())?);
    };
    let before: Value = serde_json::from_str(&said).unwrap_or_default();
    // Which model judged since is told by the log itself. An older version told less, which is held against nobody.
    what["model"] = before["model"].clone();
    for key in ["act", "ends_at"] {
        if before[key].is_null() && !before.is_null() {
            what.as_object_mut().and_then(|what| what.remove(key));
        }
    }
    let (mut old, mut new) = (before.clone(), what.clone());
    for key in MAY_CHANGE {
        (old[key], new[key]) = (Value::Null, Value::Null);
    }
    let dir = args.archive.display();
    let fixed = differences(&if before.is_null() { said.clone() } else { old.to_string() }, &new);
    if !fixed.is_empty() {
        let differ = fixed.join("; ");
        return Err(anyhow!(
            "{dir} was begun otherwise: {differ}; go on with the same, name a new archive, or set this one aside with --fresh"
        )
        .into());
    }
    let differ = differences(&said, &what).join("; ");
    if differ.is_empty() {
        // An older version kept none.
        return if copy_of(log).is_file() { Ok(()) } else { keep(args, plan, log) };
    }
    let Some(after) = settled_and_kept(log)? else {
        return Err(anyhow!(
            "{dir} was begun otherwise: {differ}; what was taken so is not settled, or not kept: go on with the same once, and end \
             the run in order (Ctrl-C, with --on-stop settle and snapshots); the next one may be otherwise. Or name a new archive, \
             or set this one aside with --fresh"
        )
        .into());
    };
    if before["plan"] != what["plan"] {
        keep(args, plan, log)?;
    }
    if before["plan"] != what["plan"] && after > 0 {
        log.goes_by(&plan.hash, after)?;
    }
    log.set_meta("run", &what.to_string())?;
    eprintln!("quell: from epoch {after} on it goes otherwise: {differ}");
    Ok(())
}

fn named(spec: &pipeline::Source) -> String {
    match &spec.kind {
        SourceKind::File { .. } => format!("{} (file)", spec.name),
        SourceKind::Stdin => format!("{} (stdin)", spec.name),
        SourceKind::Http { .. } => format!("{} (http)", spec.name),
        SourceKind::Kafka(topic) => format!("{} (topic {})", spec.name, topic.topic),
    }
}

/// The last epoch, where all is settled and kept at its end, published, and told wherever it is told; 0 where there is none.
fn settled_and_kept(log: &Log) -> Result<Option<Epoch>, Failure> {
    let last = log.last_epoch()?;
    if last == 0 {
        return Ok(Some(0));
    }
    let published = log.committed()?.is_some_and(|(epoch, _)| epoch == last);
    let ended = log.ends()?.last().is_some_and(|(epoch, _)| *epoch == last);
    let told = told_through(log, last)?;
    let kept = snapshots::is_there(log.folder(), last)?;
    Ok(Some(last).filter(|_| published && ended && told && kept))
}

/// Whether topics were told all through an epoch, where any are told.
fn told_through(log: &Log, last: Epoch) -> Result<bool, LogError> {
    let told = delivered(log)?;
    Ok(told == 0 || told >= last)
}
