//! The command line: one file a command. Exit codes: 0 done, 1 failed or a divergence, 2 usage, 3 plan faults.

mod report;
mod setup;
mod replay;
mod digest;
mod run;
mod doors;
mod turning;
mod verdict;
mod watch;

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
    Digest(digest::Args),
    Verdict(verdict::Args),
    /// Let an escalated decision be carried out.
    Approve(verdict::AnswerArgs),
    /// Let an escalated decision rest.
    Deny(verdict::AnswerArgs),
}

/// How a command reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON object on the last line of standard output.
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

/// Runs the command line; the process's exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Digest(args) => digest::run(&args),
        Command::Verdict(args) => verdict::run(&args),
        Command::Approve(args) => verdict::approve(&args, true),
        Command::Deny(args) => verdict::approve(&args, false),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => {
            eprintln!("quell: {error:#}");
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
