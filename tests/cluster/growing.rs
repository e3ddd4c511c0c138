//! Sources that grow under a run, and what one process says of them that nobody disturbed.

use std::path::{Path, PathBuf};

use super::common::days::RULES;
use super::common::live::{Live, taken};
use super::common::{acting_plan, agrees, count, digest, edges, replay, site, summary};
use super::results::append;

/// Two sources that grow, a plan with every kind of rule, and where its runs write.
pub(crate) struct Growing {
    folder: tempfile::TempDir,
    pub(crate) flow: PathBuf,
    inputs: [PathBuf; 2],
    whole: [String; 2],
    pub(crate) given: u64,
}

impl Growing {
    /// About a third more records than `alerts`, of which nothing is given yet.
    pub(crate) fn new(alerts: u64) -> Growing {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        site(&at("days"), alerts, 11);
        let flow = acting_plan(&at("plan"), &at("days"), &["alerts.jsonl", "edges.jsonl"]);
        std::fs::write(flow.with_file_name("correlations").join("all.yml"), RULES).expect("room for rules");
        let inputs = ["alerts.jsonl", "edges.jsonl"].map(|name| at("plan").join(name));
        let days = std::fs::read_to_string(at("days").join("alerts.jsonl")).expect("days");
        for input in &inputs {
            std::fs::write(input, "").expect("room");
        }
        Growing { flow, inputs, whole: [days, edges(alerts / 3)], given: 0, folder }
    }

    /// Something of the test's own folder.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Each source grows by one piece of so many.
    pub(crate) fn grow(&mut self, (n, pieces): (usize, usize)) {
        for (input, whole) in self.inputs.iter().zip(&self.whole) {
            let lines: Vec<&str> = whole.split_inclusive('\n').collect();
            let part = &lines[lines.len() * n / pieces..lines.len() * (n + 1) / pieces];
            self.given += part.len() as u64;
            append(input, &part.concat());
        }
    }

    /// What the run says in the end is what one process says that nobody disturbed.
    pub(crate) fn is_as_undisturbed(&self, run: Live) {
        taken(&self.at("live"), self.given);
        let said = run.stop();
        agrees(&said, &self.at("live"));
        assert!(count(&said, "actions") > 10, "{said}");
        let files: Vec<&Path> = self.inputs.iter().map(PathBuf::as_path).collect();
        agrees(
            &summary(&mut replay(&self.flow, &files, &self.at("again"), &["--arrival"])),
            &self.at("again"),
        );
        assert_eq!(digest(&self.at("live")), digest(&self.at("again")));
    }
}

/// The epoch at whose end a run began, where it began with what was kept.
pub(crate) fn begun(live: &Live) -> Option<u64> {
    live.goes_on();
    let told = live.told();
    let line =
        told.lines().find_map(|line| line.strip_prefix("quell: beginning with what was kept at epoch "));
    line.map(|epoch| epoch.parse().expect("an epoch"))
}
