//! Days of two sources and several tenants, with a plan that acts on them, to be replayed in many ways.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::{acting_plan, agrees, digest, edges, replay, site, summary};

/// Every kind of rule; what `by number` adds up is no number.
pub const RULES: &str = "
title: users of a host
correlation: {type: value_count, rules: any, group-by: [host], timespan: 1h, condition: {field: user, gte: 3}}
---
title: by number
correlation: {type: value_sum, rules: [R1, R4], group-by: [host], timespan: 1h, condition: {field: user, gte: 3}}
---
title: hanging together
correlation: {type: connected, rules: [R3, R9, R10], group-by: [host, user], timespan: 10m, condition: {gte: 3}}
---
title: one after the other
correlation: {type: temporal_ordered, rules: [R1, R9], group-by: [user], timespan: 1h, generate: true}
---
title: again and again
correlation: {type: event_count, rules: [one after the other], group-by: [user], timespan: 2h, condition: {gte: 2}}
";

/// `quell digest`, by table.
pub type Digests = BTreeMap<String, String>;

/// Two sources of several tenants with a plan that acts on them.
pub struct Days {
    /// Where all lies.
    pub folder: TempDir,
    /// The plan.
    pub flow: PathBuf,
    /// The files.
    pub inputs: Vec<PathBuf>,
}

impl Days {
    /// About a third more records than `alerts`.
    pub fn new(alerts: u64) -> Days {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let made = folder.path().join("site");
        site(&made, alerts, 7);
        let edge = folder.path().join("edges.jsonl");
        std::fs::write(&edge, edges(alerts / 3)).expect("room for records");
        let flow = acting_plan(&folder.path().join("plan"), &made, &["alerts.jsonl", "edges.jsonl"]);
        Days { flow, inputs: vec![made.join("alerts.jsonl"), edge], folder }
    }

    /// The command that replays them.
    pub fn replay(&self, archive: &Path, more: &[&str]) -> Command {
        let inputs: Vec<&Path> = self.inputs.iter().map(PathBuf::as_path).collect();
        replay(&self.flow, &inputs, archive, more)
    }

    /// Replays into a new archive, and checks what it holds.
    pub fn run(&self, archive: &str, more: &[&str]) -> (Digests, Value) {
        let archive = self.folder.path().join(archive);
        let summary = summary(&mut self.replay(&archive, more));
        agrees(&summary, &archive);
        (digest(&archive), summary)
    }
}

/// The same of a summary, whatever the machine's clock and memory.
pub fn told(mut summary: Value) -> Value {
    let fields = summary.as_object_mut().expect("an object");
    for machine in ["elapsed_s", "alerts_per_s", "peak_rss_bytes"] {
        fields.remove(machine);
    }
    summary
}
