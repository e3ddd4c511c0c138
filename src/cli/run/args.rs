//! The command line of `quell run`.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::cli::{Output, cluster, setup};
use crate::ingest::push::address;

/// Run live, from the sources in the pipeline file, until stopped (Ctrl-C, SIGTERM).
///
/// A run that was cut, or stopped, goes on from its archive's log: what was acknowledged is neither lost nor doubled.
/// While a file `KILL` lies in the archive's `_quell` folder, nothing is executed.
///
/// Example: quell run --input alerts.jsonl --listen 8080 --archive archive/
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The plan.
    #[arg(long, default_value = setup::FLOW)]
    pub(super) flow: PathBuf,
    /// Where the archive is written.
    #[arg(long, default_value = setup::ARCHIVE)]
    pub(super) archive: PathBuf,
    /// Follow these files too, as sources of their names.
    #[arg(long, num_args = 1..)]
    pub(super) input: Vec<PathBuf>,
    /// Read standard input too, as the source `stdin`.
    #[arg(long)]
    pub(super) stdin: bool,
    /// Listen here too, for all sources of the plan that are pushed to, or for one named `push`; a port alone is one of
    /// loopback.
    #[arg(long, value_parser = address)]
    pub(super) listen: Vec<SocketAddr>,
    /// Dataflow workers; results do not depend on it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) workers: u16,
    #[command(flatten)]
    pub(super) spread: cluster::Args,
    /// Run as so many processes on this machine, of `--workers` each, and start all of them again when one is lost.
    #[arg(long, value_name = "N", conflicts_with_all = ["cluster", "stdin"], value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) supervise: Option<u16>,
    /// So many restarts within a minute are enough.
    #[arg(long, value_name = "N", requires = "supervise", default_value_t = 5)]
    pub(super) restarts_max: u16,
    /// Records of an epoch, at most; results do not depend on it.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) batch: u32,
    /// What is remembered is kept so often, in milliseconds, that a run which is cut need not be computed again from its
    /// beginning, and that its log lets go what lies before; with 0 nothing is kept, and the log grows as long as the run goes on.
    #[arg(long, default_value_t = 300_000, value_name = "MS")]
    pub(super) snapshot_every_ms: u32,
    /// So much memory is for names (hosts, users, rules: each is remembered while the run goes on), in MB. A run that has met
    /// more keeps what it remembers and goes on with those that it still needs, within a second or so; several processes
    /// end with code 1, to be started again. 0 is no bound; nor is there one where nothing is kept, or standard input is read.
    #[arg(long, default_value_t = 512, value_name = "MB")]
    pub(super) names_max: u32,
    /// What is done with what is not settled when it is told to stop: `settle` acts on it, as at the end of all sources;
    /// `keep` leaves it as it stands, and the next run goes on as though this one had not ended.
    #[arg(long, value_enum, default_value_t)]
    pub(super) on_stop: OnStop,
    /// Begin anew: an archive that stands there is set aside under another name.
    #[arg(long)]
    pub(super) fresh: bool,
    /// A version of the model other than the promoted one.
    #[arg(long)]
    pub(super) model: Option<String>,
    /// The longest record, in bytes; a longer one is a reject.
    #[arg(long, default_value_t = 16 << 20)]
    pub(super) record_bytes_max: usize,
    /// Say findings, and their withdrawals, the moment that they are known, as JSON lines at the end of this file; `-` is
    /// standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) findings: Option<PathBuf>,
    /// Say decisions the moment that they are made, as JSON lines at the end of this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) decisions: Option<PathBuf>,
    /// Show here how it goes on, to Prometheus at `/metrics`; a port alone is one of loopback. Each process of several shows
    /// its own: with `--supervise`, at this port and those after it.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(super) metrics: Option<SocketAddr>,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
}

/// What is done with what is not settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OnStop {
    /// It is acted on.
    #[default]
    Settle,
    /// It is kept.
    Keep,
}
