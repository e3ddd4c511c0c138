//! The command line: one file a command. Exit codes: 0 done, 1 failed or a divergence, 2 usage, 3 plan faults.

#[macro_use]
mod out;
mod report;
mod setup;
mod sightings;
mod topics;
mod learning;
mod cluster;
mod reading;
mod begun;
mod doors;
mod scrape;
mod outside;
mod turning;
mod watch;

mod check;
mod clock;
mod completions;
mod digest;
mod doctor;
mod evaluate;
mod explain;
mod generate;
mod model;
mod models;
mod renewal;
mod replay;
mod run;
mod schema;
mod train;
mod unlink;
mod verdict;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// A streaming dataflow processor for security incident response.
#[derive(Parser)]
#[command(name = "quell", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Replay(replay::Args),
    Explain(explain::Args),
    Digest(digest::Args),
    Verdict(verdict::Args),
    /// Let an escalated decision be carried out.
    ///
    /// A run that is going on takes the answer; where it is over, it is carried out at once, by the plan and the executor of
    /// that run. A replay calls nobody outside the process.
    ///
    /// Example: quell approve 0123456789abcdef0123456789abcdef --by ada --archive archive/
    Approve(verdict::AnswerArgs),
    /// Let an escalated decision rest.
    ///
    /// Example: quell deny 0123456789abcdef0123456789abcdef --by ada --archive archive/
    Deny(verdict::AnswerArgs),
    Unlink(unlink::Args),
    Check(check::Args),
    Generate(generate::Args),
    Train(train::Args),
    Evaluate(evaluate::Args),
    Model(model::Args),
    Doctor(doctor::Args),
    Schema(schema::Args),
    Completions(completions::Args),
}

/// How a command reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// JSON on the last line of standard output: one object, or a list of them where a command lists.
    Json,
}

/// Why a command failed, with the exit code that says so.
pub(crate) enum Failure {
    /// 1: it could not be done.
    Failed(anyhow::Error),
    /// 1: it was done, and results differ from what was recorded.
    Diverged(u64),
    /// 2: it was asked for in a way that makes no sense.
    Usage(String),
    /// 3: the plan has faults.
    Plan(Vec<crate::plan::Fault>),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Failed(error.into())
    }
}

/// An error with its causes, each said once: many say theirs themselves.
fn whole(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Runs the command line; the process's exit code.
#[must_use]
pub fn main() -> ExitCode {
    // A huge page for every thread's every size of block makes 150 MB of 90, and nothing faster.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Digest(args) => digest::run(&args),
        Command::Verdict(args) => verdict::run(&args),
        Command::Approve(args) => verdict::approve(&args, true),
        Command::Deny(args) => verdict::approve(&args, false),
        Command::Unlink(args) => unlink::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Model(args) => model::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => {
            completions::run(&args);
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => {
            eprintln!("quell: {}", whole(&error));
            ExitCode::from(1)
        }
        Err(Failure::Diverged(n)) => {
            eprintln!("quell: {n} results differ from what was recorded; keep the archive and report this");
            ExitCode::from(1)
        }
        Err(Failure::Usage(what)) => {
            eprintln!("quell: {what}");
            ExitCode::from(2)
        }
        Err(Failure::Plan(faults)) => {
            for fault in &faults {
                eprintln!("{fault}");
            }
            let s = if faults.len() == 1 { "" } else { "s" };
            eprintln!("quell: the plan has {} fault{s}; nothing was started", faults.len());
            ExitCode::from(3)
        }
    }
}
