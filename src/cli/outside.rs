//! Topics of a live run: where it says what it found and did, and where it hears what people say.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};

use super::{Failure, setup};
use crate::act::{Common, Executor, LedgerTopic};
use crate::engine::log::Log;
use crate::engine::scribe::Scribe;
use crate::engine::sinks::SinkSettings;
use crate::engine::words::{TopicTables, Words};
use crate::ingest::live::Bell;
use crate::plan::catalog::Plan;
use crate::plan::pipeline::ExecutorSpec;
use crate::record::Names;

/// Under what a log has the name of its run.
const RUN: &str = "name";

/// The sinks of the plan, for the run of an archive.
pub(super) fn sinks(plan: &Plan, archive: &Path, bell: &Bell) -> Result<Option<SinkSettings>, Failure> {
    let Some(kafka) = plan.pipeline.sinks.kafka.clone() else { return Ok(None) };
    let bell = bell.clone();
    Ok(Some(SinkSettings {
        kafka,
        folder: plan.folder.clone(),
        run: run(archive)?,
        ending: Box::new(move || bell.stopped()),
    }))
}

/// Where the plan's ledger lies for all machines, for the run of an archive; brokers that take nothing are waited for until it is
/// `ending`. A run takes it over from others, and what is over `yields` to them.
pub(super) fn ledger(
    plan: &Plan,
    (archive, yields): (&Path, bool),
    ending: impl Fn() -> bool + Send + 'static,
) -> Result<Option<Common>, Failure> {
    let Some(kafka) = &plan.pipeline.ledger.kafka else { return Ok(None) };
    let book = LedgerTopic::reach(kafka, &plan.folder, Box::new(ending)).context("ledger")?;
    Ok(Some(Common { book: Box::new(book), archive: run(archive)?, yields }))
}

/// The executor of a live run.
pub(super) fn executor(plan: &Plan, bell: &Bell, names: &Names) -> Result<Executor, Failure> {
    match &plan.pipeline.executor {
        ExecutorSpec::Kafka(kafka) => {
            let bell = bell.clone();
            setup::orders(plan, kafka, move || bell.stopped())
        }
        spec @ (ExecutorSpec::DryRun | ExecutorSpec::Simulate { .. } | ExecutorSpec::Webhook { .. }) => {
            setup::executor(plan, spec, false, names)
        }
    }
}

/// Who hears the plan's topics of words, for the run of an archive.
pub(super) fn words(plan: &Plan, archive: &Path, to: (&Scribe, &Bell)) -> Result<Option<Words>, Failure> {
    let Some(kafka) = &plan.pipeline.words.kafka else { return Ok(None) };
    if kafka.topics().is_empty() {
        return Ok(None);
    }
    let started = Words::start(kafka, (&plan.folder, &plan.pipeline.tenant), archive, to);
    Ok(Some(started.map_err(|error| anyhow!(error))?))
}

/// Who reads the plan's tables in topics.
pub(super) fn tables(
    plan: &Plan,
    names: &Arc<Names>,
    to: (&Scribe, &Bell),
) -> Result<Option<TopicTables>, Failure> {
    let Some(kafka) = &plan.pipeline.words.kafka else { return Ok(None) };
    let started = TopicTables::start(kafka, (&plan.folder, &plan.pipeline.tenant), names, to);
    Ok(started.map_err(|error| anyhow!(error))?)
}

/// The name of the archive's run: given once, and no other's.
fn run(archive: &Path) -> Result<String, Failure> {
    let log = Log::open(archive)?;
    if let Some(name) = log.meta(RUN)? {
        return Ok(name);
    }
    let place = archive.canonicalize().unwrap_or_else(|_| archive.to_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let of = format!("{}\n{host}\n{}\n{}", place.display(), setup::now(), std::process::id());
    let name = blake3::hash(of.as_bytes()).to_hex()[..16].to_owned();
    log.set_meta(RUN, &name)?;
    Ok(name)
}
