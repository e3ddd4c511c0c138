//! `quell verdict`, `quell approve`, `quell deny`: what the console does, from the shell.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use serde_json::json;

use super::{Failure, Output, outside, setup};
use crate::act::Executor;
use crate::archive::Reader;
use crate::engine::answers::{Answered, EXECUTOR, LIVE, Taken, answer, say};
use crate::engine::journal::recorded;
use crate::engine::log::Log;
use crate::engine::reopen::Means;
use crate::plan::pipeline::ExecutorSpec;
use crate::record::input::Approval;
use crate::record::{DecisionId, IncidentId, Names, Triage, Verdict};

/// Who speaks, and of what.
#[derive(clap::Args)]
pub(super) struct Speaker {
    /// Who says so.
    #[arg(long, value_parser = person)]
    pub(super) by: String,
    /// The archive.
    #[arg(long, default_value = setup::ARCHIVE)]
    pub(super) archive: PathBuf,
}

/// Say what an incident was.
///
/// A second verdict of the same person takes the place of the first. The next model learns from verdicts.
///
/// Example: quell verdict 0123456789abcdef0123456789abcdef false_positive --by ada --archive archive/
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The incident.
    #[arg(value_parser = incident)]
    incident: IncidentId,
    /// What it was: `true_positive`, `benign_positive` or `false_positive`.
    #[arg(value_parser = triage)]
    verdict: Triage,
    #[command(flatten)]
    speaker: Speaker,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Answer a decision on which people are asked.
///
/// A run that is going on takes the answer. Where it is over, what is approved is carried out at once by the executor that
/// the run had; a replay calls nobody outside the process.
///
/// Example: quell approve 0123456789abcdef0123456789abcdef --by ada --archive archive/
#[derive(clap::Args)]
pub(crate) struct AnswerArgs {
    /// The decision.
    #[arg(value_parser = decision)]
    decision: DecisionId,
    #[command(flatten)]
    speaker: Speaker,
    /// The plan that made the archive; read where its run is over, to carry out what is approved.
    #[arg(long, default_value = setup::FLOW)]
    flow: PathBuf,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let time = setup::now();
    let verdict =
        Verdict { incident_id: args.incident, verdict: args.verdict, by: args.speaker.by.clone(), time };
    let (taken, what) = match say(&args.speaker.archive, &verdict)? {
        Taken::ByRun => ("by_run", "the run that is going on takes it"),
        Taken::Later => ("later", "the run is not over: it takes this when it goes on"),
        Taken::Now => ("now", "the archive's outcomes tell it"),
        Taken::Before => ("before", "said before: nothing changes"),
    };
    let (incident, name, by) = (args.incident, args.verdict.name(), &args.speaker.by);
    match args.output {
        Output::Text => say!("{incident} {name} by {by}: {what}"),
        Output::Json => {
            say!("{}", json!({ "incident_id": incident, "verdict": name, "by": by, "taken": taken }));
        }
    }
    Ok(())
}

pub(crate) fn approve(args: &AnswerArgs, approved: bool) -> Result<(), Failure> {
    let approval =
        Approval { decision_id: args.decision, approved, by: args.speaker.by.clone(), time: setup::now() };
    let answered = answer(&args.speaker.archive, &approval, |log, names| {
        means(&args.speaker.archive, &args.flow, log, names)
    })?;
    match args.output {
        Output::Text => tell(args, approved, &answered),
        Output::Json => say!("{}", told(args, approved, &answered)),
    }
    Ok(())
}

fn tell(args: &AnswerArgs, approved: bool, answered: &Answered) {
    let word = if approved { "approved" } else { "denied" };
    let said = format!("{} {word} by {}", args.decision, args.speaker.by);
    match answered {
        Answered::ByRun => say!("{said}: the run takes it"),
        Answered::Later => {
            say!("{said}, and logged");
            say!(
                "No run is going on: it is carried out by the next one, `quell run --archive {}`",
                args.speaker.archive.display()
            );
        }
        Answered::Before => say!("{said}: said before, nothing changes"),
        Answered::Waiting { approved, people } => {
            say!("{said}, and logged: {approved} of {people} people so far, nothing is done yet");
        }
        Answered::Now { decision, actions } => {
            let actions: Vec<String> =
                actions.iter().map(|(status, count)| format!("{count} {status}")).collect();
            let done = if actions.is_empty() { "nothing is done".to_owned() } else { actions.join(", ") };
            say!("{said}: the archive tells it as decision {decision} ({done})");
        }
    }
}

/// The same for programs: `taken` is as `quell verdict` says it, or `waiting` where more people must approve.
fn told(args: &AnswerArgs, approved: bool, answered: &Answered) -> serde_json::Value {
    let (taken, more) = match answered {
        Answered::ByRun => ("by_run", json!({})),
        Answered::Later => ("later", json!({})),
        Answered::Before => ("before", json!({})),
        Answered::Waiting { approved, people } => {
            ("waiting", json!({ "people_approved": approved, "people_needed": people }))
        }
        Answered::Now { decision, actions } => {
            ("now", json!({ "superseded_by": decision, "actions": actions }))
        }
    };
    let by = &args.speaker.by;
    let mut said = json!({ "decision_id": args.decision, "approved": approved, "by": by, "taken": taken });
    if let (Some(said), serde_json::Value::Object(more)) = (said.as_object_mut(), more) {
        said.extend(more);
    }
    said
}

/// What the archive was made by: the plan, and the executor that the run had. A replay calls nobody outside.
pub(super) fn means(archive: &Path, flow: &Path, log: &Log, names: &Arc<Names>) -> Result<Means, Failure> {
    let mut plan = setup::plan(flow)?;
    if let Some(executor) = log.meta(EXECUTOR)? {
        plan.pipeline.executor = serde_json::from_str(&executor)?;
    }
    let live = log.meta(LIVE)?.is_some();
    let executor = match &plan.pipeline.executor {
        ExecutorSpec::Webhook { .. } if !live => {
            Executor::Recorded(recorded(&Reader::open(archive, Arc::clone(names))?)?)
        }
        ExecutorSpec::Kafka(kafka) if !live => Executor::Recorded(
            recorded(&Reader::open(archive, Arc::clone(names))?)?.of_topic(kafka.timeout_s()),
        ),
        spec @ (ExecutorSpec::DryRun
        | ExecutorSpec::Simulate { .. }
        | ExecutorSpec::Webhook { .. }
        | ExecutorSpec::Kafka(_)) => setup::executor(&plan, spec, !live, names)?,
    };
    let ranker = setup::ranker(&plan, None)?;
    // Who waits for this wants an end.
    let ledger = if live { outside::ledger(&plan, (archive, true), || true)? } else { None };
    Ok(Means { plan: Arc::new(plan), names: Arc::clone(names), ranker, executor, ledger })
}

pub(super) fn incident(text: &str) -> anyhow::Result<IncidentId> {
    IncidentId::parse(text).ok_or_else(|| anyhow!("an incident's id is 32 hex digits"))
}

fn decision(text: &str) -> anyhow::Result<DecisionId> {
    DecisionId::parse(text).ok_or_else(|| anyhow!("a decision's id is 32 hex digits"))
}

fn triage(text: &str) -> anyhow::Result<Triage> {
    Triage::parse(text).ok_or_else(|| anyhow!("write true_positive, benign_positive or false_positive"))
}

pub(super) fn person(text: &str) -> anyhow::Result<String> {
    let name = text.trim();
    if name.is_empty() || name.len() > 200 {
        return Err(anyhow!("a name is 1 to 200 characters"));
    }
    Ok(name.to_owned())
}
