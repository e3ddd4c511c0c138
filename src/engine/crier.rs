//! The crier: says findings as JSON lines the moment they leave the dataflow, for a pipe or a file that somebody follows.
//!
//! A line is `{"tenant", "correlation", "group", "time", "alert_ids", "diff"}`: `diff` is 1 for a finding and -1 for its
//! withdrawal, by a late alert or because what is connected has grown; `time` is RFC 3339. It comes before the finding is
//! durable: after a crash the run that goes on may say again what was said since the last commit.
//! State: none.

use std::io::Write;
use std::sync::Arc;

use serde::Serialize;

use crate::archive::FindingRow;
use crate::record::{Diff, Names};

/// See the head of this file.
pub struct Crier {
    out: Box<dyn Write + Send>,
    names: Arc<Names>,
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

impl Crier {
    /// It says them to `out`.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, names: Arc<Names>) -> Crier {
        Crier { out, names }
    }

    /// Says findings; false where nobody reads any more.
    pub fn cry(&mut self, rows: &[FindingRow]) -> bool {
        let mut lines = Vec::new();
        for FindingRow { finding, diff } in rows {
            let cry = Cry {
                tenant: self.names.get(finding.tenant),
                correlation: self.names.get(finding.correlation),
                group: self.names.get(finding.group),
                time: jiff::Timestamp::from_millisecond(finding.time).unwrap_or_default().to_string(),
                alert_ids: finding.alert_ids.iter().map(ToString::to_string).collect(),
                diff: *diff,
            };
            if serde_json::to_writer(&mut lines, &cry).is_ok() {
                lines.push(b'\n');
            }
        }
        self.out.write_all(&lines).and_then(|()| self.out.flush()).is_ok()
    }
}
