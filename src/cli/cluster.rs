//! The command line's side of a cluster: which process this is, and what it does when others are lost.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use super::doors::Doors;
use super::{Failure, reading, setup};
use crate::cluster::supervise::{Supervised, obey};
use crate::cluster::{Cluster, ClusterError, ClusterFile, Means, Peers, Role, Terms};
use crate::engine::dataflow::Span;
use crate::engine::lock::Lock;
use crate::engine::log::{Log, STATE_FOLDER};
use crate::engine::metrics::Metrics;
use crate::engine::run::wiring;
use crate::engine::workers::{Crew, Workers};
use crate::ingest::live::Bell;
use crate::plan::catalog::Plan;
use crate::rank::{RankService, Ranker};
use crate::record::Names;

/// Which process of which cluster.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Be a process of the cluster that this file describes (`quell schema cluster`).
    #[arg(long, value_name = "FILE", requires = "process", conflicts_with = "workers")]
    cluster: Option<PathBuf>,
    /// Which of its processes. The first, 0, keeps the archive; the others need the plan, the model and, where topics are
    /// read, what its secrets are taken from.
    #[arg(long, value_name = "N", requires = "cluster")]
    process: Option<usize>,
    /// It is a supervisor's child: what comes on standard input is the supervisor's.
    #[arg(long, hide = true, requires = "cluster")]
    supervised: bool,
}

/// The key of the number of starts in the log.
const GENERATION: &str = "generation";

impl Args {
    /// Whether it is a supervisor's child.
    pub(crate) fn is_supervised(&self) -> bool {
        self.supervised
    }

    /// Ends with the supervisor, if there is one.
    pub(crate) fn obey(&self, bell: &Bell) -> Result<(), Failure> {
        if self.supervised {
            let bell = bell.clone();
            obey(move || {
                let _ = bell.stop();
            })?;
        }
        Ok(())
    }

    /// The file and the index, where it is another process than the first.
    pub(crate) fn other(&self) -> Option<(&Path, usize)> {
        let process = self.process.filter(|process| *process > 0)?;
        Some((self.cluster.as_deref()?, process))
    }

    /// The first process's workers: `workers` where it is the only one, else those of the cluster, once all are there. A
    /// run without a bell cannot end in order before its input does.
    pub(crate) fn crew(
        &self,
        workers: u16,
        first: &First<'_>,
        bell: Option<&Bell>,
    ) -> Result<(Crew, Option<Cluster>), Failure> {
        let Some(path) = &self.cluster else { return Ok((Crew::Alone(usize::from(workers)), None)) };
        let file = ClusterFile::read(path).map_err(Failure::Plan)?;
        let log = Log::open(first.archive)?;
        let before = log.meta(GENERATION)?.and_then(|before| before.parse::<u64>().ok());
        let generation = before.unwrap_or(0) + 1;
        log.set_meta(GENERATION, &generation.to_string())?;
        let role = Role::First { generation, terms: first.terms };
        let ends = bell.cloned();
        let asked = move || match &ends {
            Some(bell) if bell.stop() => {}
            Some(_) => eprintln!("quell: another process was told to stop; ending in order"),
            None => {
                eprintln!("quell: another process was told to stop; --resume goes on from what is committed");
                std::process::exit(1);
            }
        };
        let means = means((file, role), first.plan, (first.model.clone(), first.names), Arc::new(asked));
        let (cluster, peers) = form(&means, || bell.is_some_and(Bell::stopped))?;
        Ok((Crew::Cluster(peers), Some(cluster)))
    }
}

/// What the first process brings along.
pub(crate) struct First<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) names: &'a Arc<Names>,
    pub(crate) archive: &'a Path,
    /// The model's version.
    pub(crate) model: String,
    pub(crate) terms: Terms,
}

fn means(
    (file, role): (ClusterFile, Role),
    plan: &Plan,
    (model, names): (String, &Arc<Names>),
    asked: Arc<dyn Fn() + Send + Sync>,
) -> Means {
    let broken = Arc::new(lost);
    Means { file, role, plan: plan.hash.clone(), model, names: Arc::clone(names), broken, asked }
}

/// Another process is lost, and so is this one.
fn lost(process: usize, why: &str) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        eprintln!(
            "quell: process {process} is lost: {why}; this process ends too: start all of them again, and they go on from \
             the log"
        );
        std::process::exit(1);
    });
}

fn form(means: &Means, stopped: impl Fn() -> bool) -> Result<(Cluster, Peers), Failure> {
    let formed = Cluster::form(means, stopped)?;
    let (cluster, peers) = &formed;
    let said = format!(
        "quell: process {} of {}, {} workers each, generation {}\n",
        peers.process,
        peers.links.len(),
        peers.workers,
        cluster.generation
    );
    // Several processes say so at one time, and may share a terminal: at once, or their lines mix.
    let _ = std::io::stderr().write_all(said.as_bytes());
    Ok(formed)
}

/// All links have ended, or are given up.
pub(crate) fn part(cluster: Cluster) {
    let parted = cluster.part();
    let (records, strings) = parted.sent;
    eprintln!("quell: sent to other processes: {records} bytes of records, {strings} bytes of strings");
    for (why, count) in parted.turned_away {
        eprintln!("quell: turned away: {why}: {count}");
    }
    if !parted.in_time {
        eprintln!("quell: other processes did not end in time; look after them");
    }
}

/// Any process but the first: works at the dataflow until the run ends.
pub(crate) fn serve(
    spread: &Args,
    (path, process): (&Path, usize),
    (plan, model): (impl FnOnce() -> Result<Plan, Failure>, Option<&str>),
    shown: Option<SocketAddr>,
) -> Result<(), Failure> {
    let file = ClusterFile::read(path).map_err(Failure::Plan)?;
    if process >= file.processes.len() {
        return Err(Failure::Usage(format!(
            "{} has processes 0 to {}; there is no process {process}",
            path.display(),
            file.processes.len() - 1
        )));
    }
    let (bell, rings) = Bell::new();
    let doors = Doors::start(&bell)?;
    spread.obey(&bell)?;
    let metrics = doors.show(shown, &format!(" of process {process}"), Metrics::of_another)?;
    let (plan, names) = (Arc::new(plan()?), setup::names());
    let ranker: Ranker = setup::ranker(&plan, model)?;
    let version = names.intern(&ranker.version());
    let role = Role::Other(process);
    let means = means((file, role), &plan, (ranker.version(), &names), Arc::new(|| ()));
    let (cluster, mut peers) = match form(&means, || bell.stopped()) {
        Err(Failure::Failed(error)) if error.is::<ClusterError>() && bell.stopped() => return Ok(()),
        formed => formed?,
    };
    metrics.joins(&cluster);
    let stop = cluster.stop();
    thread::Builder::new().name("stop".into()).spawn(move || {
        // It rings for nothing else here.
        while !bell.stopped() && rings.recv().is_ok() {}
        stop();
    })?;
    let span = Span::Cluster { workers: peers.workers, first_judges: cluster.terms.first_judges };
    let wiring = wiring(&plan, &names, cluster.terms.act, span);
    let service = RankService::start(ranker, version, None)?;
    let fed = match cluster.terms.reads {
        Some(record_bytes) => reading::start(&plan, &names, &mut peers, (record_bytes, &metrics))?,
        None => Vec::new(),
    };
    Workers::serve(peers, &wiring, service, (fed, &metrics))
        .map_err(|error| anyhow::anyhow!("a worker failed: {error}"))?;
    part(cluster);
    eprintln!("quell: the run has ended, and process {process} with it");
    Ok(())
}

/// Runs this very command as `processes` processes of `workers` workers each; the exit code of the first. Each shows its
/// metrics at an address of its own, the first where it was asked to.
pub(crate) fn supervise(
    (processes, workers): (u16, u16),
    restarts_max: u16,
    archive: &Path,
    shown: Option<SocketAddr>,
) -> Result<(), Failure> {
    let shown: Vec<String> = (0..processes).map_while(|process| of_process(shown?, process)).collect();
    let (bell, _rings) = Bell::new();
    let _doors = Doors::start(&bell)?;
    free(archive)?;
    let (program, args) = (std::env::current_exe()?, child_args(std::env::args_os().skip(1)));
    let command = |file: &Path, process: usize| {
        let mut command = Command::new(&program);
        command.args(&args).arg("--cluster").arg(file);
        command.args(["--process", &process.to_string(), "--supervised"]);
        command.args(shown.get(process).iter().flat_map(|address| ["--metrics", address.as_str()]));
        command
    };
    let (processes, folder) = (usize::from(processes), archive.join(STATE_FOLDER).join("cluster"));
    let restarts_max = usize::from(restarts_max);
    let stopped = || bell.stopped();
    let supervised =
        Supervised { processes, workers, restarts_max, folder, command: &command, stopped: &stopped };
    match supervised.run()? {
        0 => Ok(()),
        code => std::process::exit(code),
    }
}

/// Where a process shows its metrics where the first does there; none where there are no more ports.
fn of_process(first: SocketAddr, process: u16) -> Option<String> {
    // The system chooses another one for each.
    let port = if first.port() == 0 { 0 } else { first.port().checked_add(process)? };
    Some(SocketAddr::new(first.ip(), port).to_string())
}

/// Makes sure that the archive is there to be written; processes of a supervisor that is gone may just be ending.
fn free(archive: &Path) -> Result<(), Failure> {
    let mut patience = 100;
    while patience > 0 && archive.join(STATE_FOLDER).is_dir() && Lock::take(archive)?.is_none() {
        thread::sleep(Duration::from_millis(100));
        patience -= 1;
    }
    setup::lock(archive).map(drop)
}

/// A child's command line: the supervisor's, without what is the supervisor's own.
fn child_args(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let valued = ["--supervise", "--workers", "--restarts-max", "--metrics"].map(OsStr::new);
    let mut kept = Vec::new();
    let mut args = args.peekable();
    while let Some(arg) = args.next() {
        let (name, value) = match arg.to_str().and_then(|arg| arg.split_once('=')) {
            Some((name, _)) => (OsStr::new(name), true),
            None => (arg.as_os_str(), false),
        };
        if valued.contains(&name) {
            if !value {
                args.next();
            }
        } else if name != "--fresh" {
            kept.push(arg);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_told_all_but_what_is_the_supervisors() {
        let args =
            ["--supervise", "3", "--fresh", "--workers=2", "--metrics=9", "--input", "a=b", "--flow", "x"];
        let args = ["run"].into_iter().chain(args);
        let kept = child_args(args.map(OsString::from));
        assert_eq!(kept, ["run", "--input", "a=b", "--flow", "x"]);
    }

    #[test]
    fn each_process_shows_its_metrics_at_its_own_port() {
        let of = |text: &str, process| of_process(text.parse().expect("an address"), process);
        assert_eq!(of("127.0.0.1:9464", 2).as_deref(), Some("127.0.0.1:9466"));
        assert_eq!(of("127.0.0.1:0", 2).as_deref(), Some("127.0.0.1:0"));
        assert_eq!(of("[::1]:65535", 0).as_deref(), Some("[::1]:65535"));
        assert_eq!(of("[::1]:65535", 1), None);
    }
}
