//! A run as several processes, of which one is lost.

use std::path::Path;
use std::process::{Child, Output};
use std::thread;
use std::time::Duration;

use super::common::live::Live;
use super::common::said;
use super::layout::Layout;

/// A run as so many processes of so many workers each.
pub(crate) struct Running {
    pub(crate) first: Live,
    pub(crate) others: Vec<Child>,
}

impl Running {
    /// Starts it, with `more` words for the first.
    pub(crate) fn start(
        (flow, archive): (&Path, &Path),
        (processes, workers): (usize, usize),
        more: &[&str],
    ) -> Running {
        if processes == 1 {
            let workers = workers.to_string();
            let args = [more, &["--workers", &workers]].concat();
            return Running { first: Live::start(flow, archive, &args), others: Vec::new() };
        }
        let layout =
            Layout::new(&archive.with_file_name(format!("{processes}x{workers}")), processes, workers);
        let others = (1..processes).map(|process| layout.other(process, flow)).collect();
        let file = layout.file.display().to_string();
        let args = [more, &["--cluster", &file, "--process", "0"]].concat();
        Running { first: Live::start(flow, archive, &args), others }
    }

    /// What the others say when all have ended well.
    pub(crate) fn others_end(others: Vec<Child>) -> String {
        let outputs: Vec<Output> =
            others.into_iter().map(|other| other.wait_with_output().expect("it ends")).collect();
        let all: String = outputs.iter().map(said).collect();
        assert!(outputs.iter().all(|output| output.status.success()), "{all}");
        all
    }

    /// SIGKILL of one of its processes; the others end by themselves, and say that they failed.
    pub(crate) fn lose(mut self, process: usize) {
        match process.checked_sub(1) {
            None => self.first.kill(),
            Some(other) => {
                self.others.remove(other).kill_and_wait();
                self.first.failed();
            }
        }
        for mut other in self.others {
            // One that still waits for the one that is lost is ended, as a supervisor does.
            let by_itself = (0..100).any(|_| {
                thread::sleep(Duration::from_millis(20));
                other.try_wait().expect("a child").is_some()
            });
            let output = other.kill_and_wait();
            assert!(!by_itself || output.status.code() == Some(1), "{}", said(&output));
        }
    }
}

trait Killed {
    fn kill_and_wait(self) -> Output;
}

impl Killed for Child {
    fn kill_and_wait(mut self) -> Output {
        self.kill().expect("it can be told");
        self.wait_with_output().expect("it ends")
    }
}
