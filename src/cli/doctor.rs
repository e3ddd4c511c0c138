//! `quell doctor`: what around quell may keep it from working well, and what to do about each.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use serde::Serialize;

use super::report::{group, plain};
use super::{Failure, Output, check, setup};
use crate::engine::log::Log;
use crate::engine::run::has_log;
use crate::plan::catalog::Plan;
use crate::plan::kafka::Cluster;
use crate::plan::pipeline::{ExecutorSpec, Pipeline};
use crate::plan::webhook;
use crate::record::{Epoch, Millis};
use crate::replay::whole;

/// Look at the plan, the model, an archive and the machine, and say what to do about what is amiss.
///
/// Exit code 1 where something will not work; advice alone leaves it 0.
///
/// Example: quell doctor --archive archive/
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The plan.
    #[arg(long, default_value = setup::FLOW)]
    flow: PathBuf,
    /// An archive to look at.
    #[arg(long)]
    archive: Option<PathBuf>,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Fine,
    Advice,
    Wrong,
}

#[derive(Debug, Serialize)]
struct Finding {
    about: &'static str,
    state: State,
    what: String,
    /// What to do; empty where all is fine.
    cure: String,
}

fn fine(about: &'static str, what: impl Into<String>) -> Finding {
    Finding { about, state: State::Fine, what: what.into(), cure: String::new() }
}

fn advice(about: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding { about, state: State::Advice, what: what.into(), cure: cure.into() }
}

fn wrong(about: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding { about, state: State::Wrong, what: what.into(), cure: cure.into() }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut findings = plan(&args.flow);
    if let Some(dir) = &args.archive {
        findings.extend(archive(dir));
    }
    findings.push(disk(args.archive.as_deref().unwrap_or(Path::new("."))));
    findings.push(open_files());
    findings.push(clock(&args.flow));
    match args.output {
        Output::Json => say!("{}", serde_json::json!({ "findings": findings })),
        Output::Text => findings.iter().for_each(tell),
    }
    match findings.iter().filter(|finding| finding.state == State::Wrong).count() {
        0 => Ok(()),
        1 => Err(anyhow::anyhow!("one thing will not work as it is; see above").into()),
        n => Err(anyhow::anyhow!("{n} things will not work as they are; see above").into()),
    }
}

fn tell(finding: &Finding) {
    let state = match finding.state {
        State::Fine => "fine  ",
        State::Advice => "advice",
        State::Wrong => "WRONG ",
    };
    say!("{state}  {:<10}  {}", finding.about, plain(&finding.what));
    if !finding.cure.is_empty() {
        say!("{:20}-> {}", "", plain(&finding.cure));
    }
}

fn plan(flow: &Path) -> Vec<Finding> {
    let found = check::look(flow);
    let mut findings = Vec::new();
    match (&found.plan_hash, found.faults.first()) {
        (Some(hash), _) => findings.push(fine(
            "plan",
            format!(
                "{hash}: {} mappings, {} rules, {} correlations, {} playbooks; {} examples hold",
                found.mappings, found.rules, found.correlations, found.playbooks, found.examples
            ),
        )),
        (None, first) => {
            let first = first.map(ToString::to_string).unwrap_or_default();
            let what = format!("{} faults, the first: {first}", found.faults.len());
            findings.push(wrong("plan", what, format!("quell check --flow {}", flow.display())));
        }
    }
    match found.model.as_deref() {
        Some("untrained") => findings.push(advice(
            "model",
            found.model_note.clone(),
            "train one with quell train on an archive with verdicts, promote it, and name its registry in `models`",
        )),
        Some(version) => findings.push(fine("model", format!("{version}: {}", found.model_note))),
        None => {}
    }
    let plan = setup::plan(flow).ok();
    findings.extend(plan.as_ref().map(|plan| executor(&plan.pipeline)));
    findings.extend(plan.as_ref().map(clusters).into_iter().flatten());
    findings
}

/// Topics beside the sources': whether what the plan says of their clusters can be used from here.
fn clusters(plan: &Plan) -> Vec<Finding> {
    let pipeline = &plan.pipeline;
    let sinks = pipeline.sinks.kafka.as_ref().map(|kafka| ("sinks", kafka.cluster()));
    let words = pipeline.words.kafka.as_ref().map(|kafka| ("words", kafka.cluster()));
    let orders = match &pipeline.executor {
        ExecutorSpec::Kafka(kafka) => Some(("executor", kafka.cluster())),
        ExecutorSpec::DryRun | ExecutorSpec::Simulate { .. } | ExecutorSpec::Webhook { .. } => None,
    };
    let ledger = pipeline.ledger.kafka.as_ref().map(|kafka| ("ledger", kafka.cluster()));
    let finding = |(name, cluster): (&'static str, Cluster)| match cluster.settings(&plan.folder) {
        Ok(_) => fine(name, format!("topics at {}", cluster.brokers)),
        Err(what) => wrong(name, what, "set it to the user's password"),
    };
    [sinks, words, orders, ledger].into_iter().flatten().map(finding).collect()
}

fn executor(pipeline: &Pipeline) -> Finding {
    match &pipeline.executor {
        ExecutorSpec::DryRun => advice(
            "executor",
            "dry run: actions are told, none is carried out",
            "where that is not what you want, name a webhook under `executor` in the pipeline file",
        ),
        ExecutorSpec::Simulate { .. } => fine("executor", "simulated: no action leaves this process"),
        ExecutorSpec::Webhook { url, token_env } => match token_env {
            Some(name) if std::env::var_os(name).is_none_or(|value| value.is_empty()) => wrong(
                "executor",
                format!("the environment variable {name} is not set"),
                format!("set it to the token that {} expects", webhook::shown(url)),
            ),
            _ => fine("executor", format!("webhook {}", webhook::shown(url))),
        },
        ExecutorSpec::Kafka(kafka) => fine("executor", format!("topic {}", kafka.topic)),
    }
}

fn archive(dir: &Path) -> Vec<Finding> {
    if !dir.exists() {
        return vec![fine("archive", format!("{} is not there yet; a run makes it", dir.display()))];
    }
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none()) {
        return vec![fine("archive", format!("{} is empty; a run fills it", dir.display()))];
    }
    if !has_log(dir) {
        let what = format!("{} has no log of quell", dir.display());
        return vec![wrong("archive", what, "name the folder that --archive named in the run")];
    }
    let mut findings = Vec::new();
    let users = users(&Log::path_of(dir));
    let state = Log::look(dir).and_then(|log| Ok((log.meta("finished")?, log.committed()?)));
    findings.push(match state {
        Err(error) => wrong("archive", error.to_string(), "end what holds it, or restore the file"),
        Ok((Some(_), committed)) => finished(dir, committed.map_or(0, |(epoch, _)| epoch)),
        Ok((None, committed)) => {
            let until = committed.map_or(0, |(epoch, _)| epoch);
            if users.is_empty() {
                let what = format!("a run was cut; what it published goes through epoch {until}");
                advice("archive", what, "go on with the same command and --resume")
            } else {
                fine("archive", format!("a run is under way, published through epoch {until}"))
            }
        }
    });
    if !users.is_empty() {
        let what = format!("in use by process {}", users.join(", "));
        findings.push(advice("archive", what, "start no second run on it; reading it is fine"));
    }
    findings
}

/// An archive whose run has ended: whether it has lost anything since.
fn finished(dir: &Path, through: Epoch) -> Finding {
    let cure = "restore the parts of its tables from a copy, or make the archive again";
    match whole::missing(dir) {
        Ok(None) => fine("archive", format!("finished, through epoch {through}")),
        Ok(Some(missing)) => {
            wrong("archive", format!("finished, through epoch {through}, but {missing}"), cure)
        }
        Err(error) => wrong("archive", format!("finished, but {error}"), cure),
    }
}

/// Other processes that have `file` open, as far as the system tells us.
fn users(file: &Path) -> Vec<String> {
    let Ok(file) = file.canonicalize() else { return Vec::new() };
    let own = std::process::id().to_string();
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let holds = |pid: &String| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        pid.bytes().all(|byte| byte.is_ascii_digit())
            && *pid != own
            && open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|target| target == file)
    };
    let mut users: Vec<String> = pids.filter(holds).collect();
    users.sort_unstable();
    users
}

/// Free space where the archive is or will be. `df` knows; the standard library does not.
fn disk(path: &Path) -> Finding {
    const LOW_KIB: u64 = 5 << 20;
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let answer = Command::new("df").arg("-Pk").arg(there).output();
    let text = answer.map(|answer| String::from_utf8_lossy(&answer.stdout).into_owned()).unwrap_or_default();
    let free_kib = text.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    match free_kib {
        None => advice("disk", "how much is free cannot be told here", "see that some GB are free"),
        Some(kib) if kib < LOW_KIB => {
            let what = format!("{} MB free at {}", group(kib >> 10), there.display());
            advice(
                "disk",
                what,
                "make room: a million alerts take 60 MB and more, and files that are replayed are sorted beside them",
            )
        }
        Some(kib) => fine("disk", format!("{} MB free at {}", group(kib >> 10), there.display())),
    }
}

fn open_files() -> Finding {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    match line.and_then(|line| line.split_whitespace().next()).map(str::parse::<u64>) {
        Some(Ok(n)) if n < 1024 => advice(
            "open files",
            format!("{n} at most"),
            "raise it with ulimit -n 4096: sorting opens many runs",
        ),
        Some(Ok(n)) => fine("open files", format!("{} at most", group(n))),
        Some(Err(_)) => fine("open files", "unlimited"),
        None => fine("open files", "this system does not tell its limit"),
    }
}

/// The clock decides what is too far in the future, and stamps approvals and verdicts.
fn clock(flow: &Path) -> Finding {
    const BEGUN: Millis = 1_767_225_600_000; // 2026-01-01, before this version was written.
    let now = setup::now();
    let written = std::fs::metadata(flow).and_then(|file| file.modified()).ok();
    let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let written = written.and_then(|since| Millis::try_from(since.as_millis()).ok()).unwrap_or(0);
    let text =
        jiff::Timestamp::from_millisecond(now).map(|now| now.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    let text = text.unwrap_or_default();
    if now < BEGUN.max(written - 60_000) {
        let what = format!("it is {text}, which is before the plan was written");
        return wrong("clock", what, "set the clock: records of today would be rejected as from the future");
    }
    fine("clock", text)
}
