//! `quell verdict`, `quell approve`, `quell deny`: what the console does, from the shell.

use std::path::PathBuf;

use anyhow::anyhow;

use super::{Failure, setup};
use crate::engine::answers::{Taken, answer, say};
use crate::record::input::Approval;
use crate::record::{DecisionId, IncidentId, Triage, Verdict};

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
    /// Who says so.
    #[arg(long, value_parser = person)]
    by: String,
    /// The archive.
    #[arg(long, default_value = setup::ARCHIVE)]
    archive: PathBuf,
}

/// Answer a decision on which people are asked.
///
/// Example: quell approve 0123456789abcdef0123456789abcdef --by ada --archive archive/
#[derive(clap::Args)]
pub(crate) struct AnswerArgs {
    /// The decision.
    #[arg(value_parser = decision)]
    decision: DecisionId,
    /// Who says so.
    #[arg(long, value_parser = person)]
    by: String,
    /// The archive.
    #[arg(long, default_value = setup::ARCHIVE)]
    archive: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let time = setup::now();
    let verdict = Verdict { incident_id: args.incident, verdict: args.verdict, by: args.by.clone(), time };
    let what = match say(&args.archive, &verdict)? {
        Taken::ByRun => "the run that is going on takes it",
        Taken::Later => "the run is not over: it takes this when it goes on",
        Taken::Now => "the archive's outcomes tell it",
        Taken::Before => "said before: nothing changes",
    };
    println!("{} {} by {}: {what}", args.incident, args.verdict.name(), args.by);
    Ok(())
}

pub(crate) fn approve(args: &AnswerArgs, approved: bool) -> Result<(), Failure> {
    let approval = Approval { decision_id: args.decision, approved, by: args.by.clone(), time: setup::now() };
    let word = if approved { "approved" } else { "denied" };
    match answer(&args.archive, &approval)? {
        Taken::ByRun => println!("{} {word} by {}: the run takes it", args.decision, args.by),
        Taken::Later | Taken::Now | Taken::Before => {
            println!("{} {word} by {}, and logged", args.decision, args.by);
            println!(
                "No run is going on, and only a run carries anything out: go on with `quell run --archive {}`",
                args.archive.display()
            );
        }
    }
    Ok(())
}

fn incident(text: &str) -> anyhow::Result<IncidentId> {
    IncidentId::parse(text).ok_or_else(|| anyhow!("an incident's id is 32 hex digits"))
}

fn decision(text: &str) -> anyhow::Result<DecisionId> {
    DecisionId::parse(text).ok_or_else(|| anyhow!("a decision's id is 32 hex digits"))
}

fn triage(text: &str) -> anyhow::Result<Triage> {
    Triage::parse(text).ok_or_else(|| anyhow!("write true_positive, benign_positive or false_positive"))
}

fn person(text: &str) -> anyhow::Result<String> {
    let name = text.trim();
    if name.is_empty() || name.len() > 200 {
        return Err(anyhow!("a name is 1 to 200 characters"));
    }
    Ok(name.to_owned())
}
