//! Setup: from a plan and the command line to what a run is made from.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use jiff::tz::TimeZone;

use super::Failure;
use crate::act::{Environment, Executor, Orders, Truth, Webhook, WebhookSettings};
use crate::archive::TABLES;
use crate::engine::lock::Lock;
use crate::engine::log::STATE_FOLDER;
use crate::enrich::tables;
use crate::normalize::SourceSettings;
use crate::plan::Fault;
use crate::plan::catalog::Plan;
use crate::plan::outside::KafkaExecutor;
use crate::plan::pipeline::{ExecutorSpec, Pipeline};
use crate::plan::playbook::Playbook;
use crate::rank::{PlaybookTraits, Ranker};
use crate::record::{AlertId, ContextRow, Diff, Entity, Millis, Names};

/// The pipeline file where none is named.
pub(crate) const FLOW: &str = "dataflows/pipeline.yml";

/// The archive where none is named.
pub(crate) const ARCHIVE: &str = "archive";

/// Refuses a folder that is no archive. A run may have written no rows, and a copy may lack the log or some tables: one of the
/// things that a run writes is enough. A folder that is not there is told by whoever reads it.
pub(crate) fn archive(dir: &Path) -> Result<(), Failure> {
    let mut written = TABLES.into_iter().chain([STATE_FOLDER]);
    if !dir.is_dir() || written.any(|name| dir.join(name).is_dir()) {
        return Ok(());
    }
    let what = format!("{} is no archive of quell", dir.display());
    Err(anyhow!(
        "{what}: none of its tables ({}) lies in it, and no log ({STATE_FOLDER}); name the folder that --archive named in the run",
        TABLES.join(", ")
    )
    .into())
}

/// Reads the plan; its faults are told with their places.
pub(crate) fn plan(flow: &Path) -> Result<Plan, Failure> {
    Plan::load(flow).map_err(Failure::Plan)
}

/// The model of the plan, or `version` of its registry.
pub(crate) fn ranker(plan: &Plan, version: Option<&str>) -> Result<Ranker, Failure> {
    let traits: Vec<PlaybookTraits> = plan.playbooks.iter().map(traits).collect();
    match &plan.pipeline.models {
        Some(models) => Ok(Ranker::load(&plan.path(models), version, &traits)?),
        None if version.is_some() => Err(Failure::Usage(
            "--model needs `models:` in the pipeline file, which names the registry".to_owned(),
        )),
        None => Ok(Ranker::untrained(&traits)),
    }
}

/// What the model sees of a playbook.
pub(crate) fn traits(playbook: &Playbook) -> PlaybookTraits {
    let mut labels = playbook.labels.clone();
    labels.push(playbook.applies.use_case.clone());
    PlaybookTraits::of(&playbook.verbs(), &playbook.target_kinds(), &labels, playbook.impact)
}

/// The executor of the plan; `inside` refuses one that leaves the process.
pub(crate) fn executor(
    plan: &Plan,
    spec: &ExecutorSpec,
    inside: bool,
    names: &Names,
) -> Result<Executor, Failure> {
    match spec {
        ExecutorSpec::DryRun => Ok(Executor::DryRun),
        ExecutorSpec::Webhook { .. } | ExecutorSpec::Kafka(_) if inside => Ok(Executor::DryRun),
        ExecutorSpec::Webhook { url, token_env } => {
            let settings = serde_json::json!({ "url": url, "authorization_env": token_env });
            let settings: WebhookSettings = serde_json::from_value(settings)?;
            Ok(Executor::Webhook(Webhook::new(settings).map_err(|error| anyhow!(error))?))
        }
        // Who waits for this wants an end.
        ExecutorSpec::Kafka(kafka) => orders(plan, kafka, || true),
        ExecutorSpec::Simulate { environment, truth } => {
            let ids = |vendor: &str| truth_ids(&plan.pipeline, vendor);
            let truth = match truth {
                Some(truth) => Truth::read(&plan.path(truth), &ids)?,
                None => Truth::default(),
            };
            let environment = Environment::read(&plan.path(environment), truth)?;
            let _ = names;
            Ok(Executor::Simulate(Box::new(environment)))
        }
    }
}

/// The executor that gives orders in a topic; brokers that take none are waited for until `ending`.
pub(crate) fn orders(
    plan: &Plan,
    kafka: &KafkaExecutor,
    ending: impl Fn() -> bool + Send + 'static,
) -> Result<Executor, Failure> {
    let orders = Orders::new(kafka, &plan.folder, Box::new(ending));
    Ok(Executor::Orders(orders.context("executor")?))
}

/// The alerts that a vendor's id in `truth.jsonl` may be: the generator's ids begin with their product.
fn truth_ids(pipeline: &Pipeline, vendor: &str) -> Vec<AlertId> {
    let product = vendor.split_once('-').map_or(vendor, |(product, _)| product);
    vec![AlertId::of(&[pipeline.tenant.as_bytes(), product.as_bytes(), vendor.as_bytes()])]
}

/// What is known of a source's records: what the plan says of the source of that name, if it has one. `as_of` is the
/// recorded ingest time.
pub(crate) fn source(plan: &Plan, name: &str, as_of: Millis, names: &Names) -> SourceSettings {
    let known = plan.pipeline.sources.iter().find(|source| source.name == name);
    let tenant = known.and_then(|source| source.tenant.as_ref()).unwrap_or(&plan.pipeline.tenant);
    SourceSettings {
        name: names.intern(name),
        tenant: names.intern(tenant),
        tenant_from_field: known.is_some_and(|source| source.tenant_from_field),
        zone: TimeZone::get(&plan.pipeline.zone).unwrap_or(TimeZone::UTC),
        as_of,
        future_max_ms: plan.future_max_s * 1000,
    }
}

/// All rows of the plan's context tables.
pub(crate) fn context(plan: &Plan, names: &Names) -> Result<tables::Rows, Vec<Fault>> {
    let (mut rows, mut faults) = (tables::Rows::new(), Vec::new());
    for (table, file) in plan.pipeline.context.files() {
        match tables::read(table, &plan.path(file), names) {
            Ok(more) => {
                if let Some(first) = more.left_out.first() {
                    let (file, n) = (file.display(), more.left_out.len());
                    eprintln!(
                        "quell: {file}: {n} indicators name no entity and are left out; the first: {first}"
                    );
                }
                rows.extend(more.rows);
            }
            Err(more) => faults.extend(more),
        }
    }
    if faults.is_empty() { Ok(rows) } else { Err(faults) }
}

/// The rows as changes from nothing.
pub(crate) fn all_new(rows: &tables::Rows) -> Vec<((Entity, ContextRow), Diff)> {
    tables::changes(&tables::Rows::new(), rows)
}

/// Whether anything but our own lock lies in a folder.
pub(crate) fn is_used(archive: &Path) -> bool {
    let entries = std::fs::read_dir(archive).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name() != STATE_FOLDER)
}

/// Makes the archive ours to write, for as long as what is given back is held.
pub(crate) fn lock(archive: &Path) -> Result<Lock, Failure> {
    if is_used(archive) && !archive.join(STATE_FOLDER).is_dir() {
        return Err(anyhow!(
            "{} already holds something that is not an archive of quell; name another folder",
            archive.display()
        )
        .into());
    }
    let taken = Lock::take(archive)
        .with_context(|| format!("{} cannot be written; check its rights and space", archive.display()))?;
    let taken = taken.ok_or_else(|| {
        anyhow!("another quell is writing {}; stop it, or name another archive", archive.display())
    })?;
    Ok(taken)
}

/// Now, by the machine's clock: an input, recorded where it can change a result.
#[expect(clippy::disallowed_methods, reason = "the edge reads the clock, and records what it read")]
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A time on the command line.
pub(crate) fn parse_time(text: &str) -> anyhow::Result<Millis> {
    let parsed: jiff::Timestamp =
        text.parse().with_context(|| format!("{text:?} is not a time; write 2026-01-31T00:00:00Z"))?;
    Ok(parsed.as_millisecond())
}

/// The number of threads worth using.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Shares strings between threads.
pub(crate) fn names() -> Arc<Names> {
    Arc::new(Names::default())
}
