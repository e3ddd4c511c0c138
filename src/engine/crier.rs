//! The crier: says findings and decisions as JSON lines the moment they are known, for a pipe or a file that somebody follows.
//!
//! A finding is `{"tenant", "correlation", "group", "time", "alert_ids", "diff"}`: `diff` is 1 for a finding and -1 for its
//! withdrawal, by a late alert or because what is connected has grown. It comes before it is durable: after a crash the run
//! that goes on may say again what was said since the last commit.
//! A decision is `{"tenant", "decision_id", "incident_id", "time", "ruling", "reason", "playbook_id", "score", "confidence",
//! "supersedes", "targets"}`; `targets` is what an executed one acts on. Where the policy acts early it comes once the log
//! has its epoch, durably, and before any executor hears of it; else it may be said again after a crash, too.
//! `time` is RFC 3339. What cannot be written is told once, and nothing is said there any more: half a line is no line, and
//! whoever follows would miss what lies between. Nobody is told of a pipe that is not read any more. State: none.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use serde::Serialize;

use crate::archive::FindingRow;
use crate::decide::{Approved, Ruled};
use crate::record::{Diff, Names};

/// See the head of this file.
pub struct Crier {
    out: Box<dyn Write + Send>,
    names: Arc<Names>,
    lost: Lost,
}

/// Who is told why nothing is said any more.
pub type Lost = Box<dyn Fn(&io::Error) + Send>;

/// Who says what; none where nobody listens.
#[derive(Default)]
pub struct Criers {
    /// Findings.
    pub findings: Option<Crier>,
    /// Decisions.
    pub decisions: Option<Crier>,
}

#[derive(Serialize)]
struct Cry {
    tenant: String,
    correlation: String,
    group: String,
    time: String,
    alert_ids: Vec<String>,
    diff: Diff,
}

#[derive(Serialize)]
struct Decided {
    tenant: String,
    decision_id: String,
    incident_id: String,
    time: String,
    ruling: &'static str,
    reason: String,
    playbook_id: String,
    score: f64,
    confidence: f64,
    supersedes: Option<String>,
    targets: Vec<String>,
}

impl Criers {
    /// Says findings, while somebody reads.
    pub fn findings(&mut self, rows: &[FindingRow]) {
        self.findings.take_if(|crier| !crier.findings(rows));
    }

    /// Says decisions, while somebody reads.
    pub fn decisions(&mut self, ruled: &[Ruled]) {
        self.decisions.take_if(|crier| !ruled.is_empty() && !crier.decisions(ruled));
    }
}

impl Crier {
    /// It says them to `out`, and tells `lost` where it cannot.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, names: Arc<Names>, lost: Lost) -> Crier {
        Crier { out, names, lost }
    }

    fn findings(&mut self, rows: &[FindingRow]) -> bool {
        let names = Arc::clone(&self.names);
        self.say(rows.iter().map(|FindingRow { finding, diff }| Cry {
            tenant: names.get(finding.tenant),
            correlation: names.get(finding.correlation),
            group: names.get(finding.group),
            time: jiff::Timestamp::from_millisecond(finding.time).unwrap_or_default().to_string(),
            alert_ids: finding.alert_ids.iter().map(ToString::to_string).collect(),
            diff: *diff,
        }))
    }

    fn decisions(&mut self, ruled: &[Ruled]) -> bool {
        let names = Arc::clone(&self.names);
        self.say(ruled.iter().map(|Ruled { decision, undertaking }| {
            let steps = undertaking.as_ref().map(Approved::get).into_iter().flat_map(|it| &it.targets);
            let mut targets: Vec<String> =
                steps.flat_map(|(_, targets)| targets).map(|target| target.text(&names)).collect();
            targets.sort_unstable();
            targets.dedup();
            Decided {
                tenant: names.get(decision.tenant),
                decision_id: decision.id.to_string(),
                incident_id: decision.incident_id.to_string(),
                time: jiff::Timestamp::from_second(decision.tick).unwrap_or_default().to_string(),
                ruling: decision.ruling.name(),
                reason: decision.reason.name().to_owned(),
                playbook_id: names.get(decision.playbook_id),
                score: decision.score.value(),
                confidence: decision.confidence.value(),
                supersedes: decision.supersedes.map(|id| id.to_string()),
                targets,
            }
        }))
    }

    /// Says lines; false where it can say no more.
    fn say(&mut self, all: impl Iterator<Item = impl Serialize>) -> bool {
        let mut lines = Vec::new();
        for line in all {
            if serde_json::to_writer(&mut lines, &line).is_ok() {
                lines.push(b'\n');
            }
        }
        match self.out.write_all(&lines).and_then(|()| self.out.flush()) {
            Ok(()) => true,
            Err(error) => {
                if error.kind() != ErrorKind::BrokenPipe {
                    (self.lost)(&error);
                }
                false
            }
        }
    }
}
