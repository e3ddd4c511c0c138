//! `quell check`: everything in `dataflows/` is loaded, cross-checked, its examples run; every fault is told at once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Failure, Output, setup};
use crate::act::{Environment, Truth};
use crate::cluster::tls::Identity;
use crate::cluster::{ClusterError, ClusterFile};
use crate::enrich::tables;
use crate::plan::Fault;
use crate::plan::catalog::Parts;
use crate::plan::pipeline::{ExecutorSpec, Pipeline};
use crate::plan::place::{Lines, Place};
use crate::rank::{PlaybookTraits, Ranker};
use crate::record::Names;
use crate::{correlate, normalize};

/// Load the whole plan, run its examples, and name every fault with file, line and cure.
///
/// Nothing is started and nothing is written. Exit code 3 where there is a fault.
///
/// Example: quell check --flow dataflows/pipeline.yml
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The plan.
    #[arg(long, default_value = setup::FLOW)]
    flow: PathBuf,
    /// Look at the file of a cluster too, and at those of its processes' certificates and keys that are here.
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What a plan was found to be.
#[derive(Debug, Default, Serialize)]
pub(super) struct Found {
    /// The pipeline file.
    pub(super) flow: PathBuf,
    /// The plan's name.
    pub(super) name: String,
    /// None where there are faults.
    pub(super) plan_hash: Option<String>,
    pub(super) mappings: usize,
    /// Detection rules for raw events.
    pub(super) rules: usize,
    /// Of these, rules of log sources that no mapping gives: no event is tried against them.
    pub(super) rules_out_of_reach: usize,
    pub(super) correlations: usize,
    pub(super) playbooks: usize,
    /// Examples that were run.
    pub(super) examples: usize,
    /// The policy's name.
    pub(super) policy: Option<String>,
    /// Rows of the context tables.
    pub(super) context_rows: usize,
    /// The model's version.
    pub(super) model: Option<String>,
    /// Where it ranks.
    pub(super) model_note: String,
    /// All of them, by file and line.
    pub(super) faults: Vec<Fault>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut found = look(&args.flow);
    found.faults.extend(args.cluster.iter().flat_map(|file| cluster(file)));
    match args.output {
        Output::Json => say!("{}", serde_json::to_string(&found)?),
        Output::Text => tell(&found),
    }
    if found.faults.is_empty() { Ok(()) } else { Err(Failure::Plan(found.faults)) }
}

/// What is wrong with a cluster's file, or with what it names.
fn cluster(path: &Path) -> Vec<Fault> {
    let file = match ClusterFile::read(path) {
        Ok(file) => file,
        Err(faults) => return faults,
    };
    let here = (0..file.processes.len()).filter(|process| file.identity(*process).0.exists());
    let here: Vec<usize> = here.collect();
    if here.is_empty() {
        let (certificate, _) = file.identity(0);
        return vec![Fault::of(
            path,
            format!("no process's certificate is here, as {} would be", certificate.display()),
            "check where it runs",
        )];
    }
    let wrong = |process: &usize| match Identity::load(&file, *process) {
        Ok(_) => None,
        Err(ClusterError::Identity { what, cure }) => Some(Fault::of(path, what, cure)),
        Err(other) => Some(Fault::of(path, other.to_string(), "see `quell schema cluster`")),
    };
    here.iter().filter_map(wrong).collect()
}

/// Loads and checks; a fault of one file keeps no other file from being checked.
pub(super) fn look(flow: &Path) -> Found {
    let mut parts = Parts::read(flow);
    let mut faults = std::mem::take(&mut parts.faults);
    for mapping in &parts.mappings {
        faults.extend(normalize::example::check(mapping, &parts.mappings));
    }
    for at in 0..parts.correlations.rules.len() {
        faults.extend(correlate::example::check(&parts.correlations, at));
    }
    let mapped = parts.mappings.iter().map(|mapping| mapping.examples.len()).sum::<usize>();
    let correlated =
        parts.correlations.rules.iter().map(|correlation| correlation.examples.len()).sum::<usize>();
    let mut found = Found {
        flow: flow.to_owned(),
        mappings: parts.mappings.len(),
        rules: parts.rules.all().len(),
        rules_out_of_reach: parts.rules.all().len() - reached(&parts),
        correlations: parts.correlations.rules.len(),
        playbooks: parts.playbooks.len(),
        examples: mapped + correlated,
        policy: parts.policy.as_ref().map(|policy| policy.name.clone()),
        ..Found::default()
    };
    if let Some(pipeline) = &parts.pipeline {
        found.name.clone_from(&pipeline.name);
        found.context_rows = context(pipeline, &parts.folder, &mut faults);
        faults.extend(executor(pipeline, &parts.folder).map(|what| fault(flow, what, "executor")));
        match ranker(pipeline, &parts) {
            Ok(ranker) => {
                found.model = Some(ranker.version());
                ranker.note().clone_into(&mut found.model_note);
            }
            Err(what) => faults.push(fault(flow, what, "models")),
        }
    }
    faults.sort();
    faults.dedup();
    parts.faults = faults;
    match parts.plan() {
        Ok(plan) => found.plan_hash = Some(plan.hash),
        Err(faults) => found.faults = faults,
    }
    found
}

/// How many rules some event can reach.
fn reached(parts: &Parts) -> usize {
    let routers = parts.mappings.iter().filter_map(|mapping| mapping.detection.as_ref()?.router.as_ref());
    routers.flat_map(|router| router.reached()).collect::<BTreeSet<usize>>().len()
}

fn fault(flow: &Path, what: String, key: &str) -> Fault {
    let lines = Lines::of_file(flow);
    Place::top(flow, &lines).within(key).fault(what, format!("mend that, or what `{key}` says"))
}

fn context(pipeline: &Pipeline, folder: &Path, faults: &mut Vec<Fault>) -> usize {
    let (names, mut rows) = (Names::default(), 0);
    for (table, file) in pipeline.context.files() {
        // One that is not there was told already.
        let file = Some(folder.join(file)).filter(|file| file.is_file());
        match file.map(|file| tables::read(table, &file, &names)) {
            Some(Ok(read)) => rows += read.rows.len(),
            Some(Err(more)) => faults.extend(more),
            None => {}
        }
    }
    rows
}

fn ranker(pipeline: &Pipeline, parts: &Parts) -> Result<Ranker, String> {
    let traits: Vec<PlaybookTraits> = parts.playbooks.iter().map(setup::traits).collect();
    match &pipeline.models {
        Some(models) => {
            Ranker::load(&parts.folder.join(models), None, &traits).map_err(|error| error.to_string())
        }
        None => Ok(Ranker::untrained(&traits)),
    }
}

/// What keeps a simulated environment from being read.
fn executor(pipeline: &Pipeline, folder: &Path) -> Option<String> {
    match &pipeline.executor {
        ExecutorSpec::Simulate { environment, truth } => {
            let truth = match truth {
                Some(truth) => Truth::read(&folder.join(truth), &|_| Vec::new()),
                None => Ok(Truth::default()),
            };
            let read = truth.and_then(|truth| Environment::read(&folder.join(environment), truth));
            read.err().map(|error| error.to_string())
        }
        ExecutorSpec::DryRun | ExecutorSpec::Webhook { .. } | ExecutorSpec::Kafka(_) => None,
    }
}

fn tell(found: &Found) {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    say!("{}", found.flow.display());
    say!(
        "  {}, {}{}, {}, {}, policy {}",
        count(found.mappings, "mapping"),
        count(found.rules, "rule"),
        match found.rules_out_of_reach {
            0 => String::new(),
            out => format!(" ({out} of log sources that no mapping gives)"),
        },
        count(found.correlations, "correlation"),
        count(found.playbooks, "playbook"),
        found.policy.as_deref().unwrap_or("unreadable")
    );
    say!("  {} run, {} of context read", count(found.examples, "example"), count(found.context_rows, "row"));
    if let Some(model) = &found.model {
        say!("  model {model}: {}", found.model_note);
    }
    if let Some(hash) = &found.plan_hash {
        say!("  no faults; plan {hash}");
    }
}
