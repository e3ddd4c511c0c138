//! Supervise: all processes of a cluster as children on this machine, started again together when one is lost.
//!
//! In: what starts a process. Out: the first one's exit code, when the run has ended.
//! Each start has certificates of an authority of its own, which lives in this process's memory alone, and ports of
//! loopback. A child reads its standard input, which nobody else has an end of: a byte tells it to end in order; its end,
//! that the supervisor is gone, however that came, and then it ends at once. So no child outlives its supervisor.
//! State: times of restarts.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::authority::Authority;

/// Restarts are counted within this time.
const WITHIN: Duration = Duration::from_mins(1);
/// The pause before the first restart; each within [`WITHIN`] doubles it, up to `PAUSE_MAX`.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long the others may take to end when one has: their links break at once.
const NOTICED: Duration = Duration::from_secs(3);
/// How often children are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What is supervised.
pub struct Supervised<'a> {
    /// Processes.
    pub processes: usize,
    /// Workers of each.
    pub workers: u16,
    /// One restart more within a minute, and it gives up: whatever it is, restarting does not cure it.
    pub restarts_max: usize,
    /// Where the cluster's file and certificates are written.
    pub folder: PathBuf,
    /// Starts the process of that index of the cluster in that file.
    pub command: &'a dyn Fn(&Path, usize) -> Command,
    /// Whether the run is to end.
    pub stopped: &'a dyn Fn() -> bool,
}

/// One start's children. Whatever is left when it is dropped is killed.
struct Children {
    all: Vec<(Child, ChildStdin)>,
    ended: Vec<Option<ExitStatus>>,
}

impl Drop for Children {
    fn drop(&mut self) {
        for (child, _) in &mut self.all {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Supervised<'_> {
    /// Runs until the first process has ended by itself, or restarts do not help; the exit code.
    pub fn run(&self) -> io::Result<i32> {
        let mut restarts: Vec<Duration> = Vec::new();
        let mut clock = Duration::ZERO;
        loop {
            let mut children = self.start()?;
            if let Some(code) = children.watch(self.stopped, &mut clock)? {
                return Ok(code);
            }
            drop(children);
            restarts.retain(|at| clock.saturating_sub(*at) < WITHIN);
            if restarts.len() >= self.restarts_max {
                eprintln!(
                    "quell: restarted {} times within a minute, and lost again: it is given up",
                    restarts.len()
                );
                return Ok(1);
            }
            let pause = (PAUSE * (1 << restarts.len().min(10))).min(PAUSE_MAX);
            eprintln!("quell: all processes are started again");
            std::thread::sleep(pause);
            clock += pause;
            restarts.push(clock);
        }
    }

    fn start(&self) -> io::Result<Children> {
        Authority::new()?.write(&self.folder, self.processes)?;
        // They are all held until all are found, so that they differ.
        let ports: Vec<TcpListener> =
            (0..self.processes).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
        let mut text = format!("workers: {}\nwait_s: 30\nprocesses:\n", self.workers);
        for port in &ports {
            let _ = writeln!(text, "  - {{address: '{}'}}", port.local_addr()?);
        }
        text.push_str("ca: ca.pem\ncertificate: 'process-{process}.pem'\nkey: 'process-{process}.key'\n");
        let file = self.folder.join("cluster.yml");
        fs::write(&file, text)?;
        drop(ports);
        let mut children = Children { all: Vec::new(), ended: vec![None; self.processes] };
        for process in 0..self.processes {
            let mut command = (self.command)(&file, process);
            if process > 0 {
                command.stdout(Stdio::null());
            }
            let mut child = command.stdin(Stdio::piped()).spawn()?;
            let Some(input) = child.stdin.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
            eprintln!("quell: process {process} is {}", child.id());
            children.all.push((child, input));
        }
        Ok(children)
    }
}

impl Children {
    /// Waits until the first process has ended by itself: its exit code; none where a process was lost, and all have ended.
    fn watch(&mut self, stopped: &dyn Fn() -> bool, clock: &mut Duration) -> io::Result<Option<i32>> {
        let (mut told, mut lost_at) = (false, None);
        loop {
            for (process, ((child, _), ended)) in self.all.iter_mut().zip(&mut self.ended).enumerate() {
                if ended.is_none() {
                    *ended = child.try_wait()?;
                    if let Some(status) = ended.filter(|status| !status.success()) {
                        eprintln!("quell: process {process} ended: {status}");
                    }
                }
            }
            // 2 and 3 are faults of the command line and the plan: they will be the same again.
            let first = self.ended[0].and_then(|status| status.code());
            let final_code = first.filter(|code| matches!(code, 0 | 2 | 3));
            let lost = self.ended.iter().flatten().any(|status| !status.success());
            let over = self.ended.iter().all(Option::is_some);
            if lost || final_code.is_some() {
                lost_at = lost_at.or(Some(*clock));
            }
            let waited = lost_at.is_some_and(|at| clock.saturating_sub(at) > NOTICED);
            if over || waited {
                let code = final_code.or_else(|| told.then_some(1));
                return Ok(code);
            }
            if stopped() && !told {
                told = true;
                let _ = self.all[0].1.write_all(b"s");
            }
            std::thread::sleep(LOOK);
            *clock += LOOK;
        }
    }
}

/// In a child: calls `stop` when the supervisor says so; where it is gone, the process ends.
pub fn obey(stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let listen = move || {
        let mut input = io::stdin().lock();
        let mut word = [0];
        if matches!(input.read(&mut word), Ok(1)) {
            stop();
        }
        while matches!(input.read(&mut word), Ok(1)) {}
        eprintln!("quell: the supervisor is gone, and this process ends; the next run goes on from the log");
        std::process::exit(1);
    };
    std::thread::Builder::new().name("supervisor".into()).spawn(listen).map(drop)
}
