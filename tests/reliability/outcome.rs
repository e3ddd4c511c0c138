//! What a campaign came to, and RELIABILITY.md, which says so.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::fault::Fault;
use super::journey::Try;

/// The sums of a campaign.
pub struct Outcome {
    name: String,
    /// Tries.
    pub tries: u64,
    /// Faults that were met.
    pub met: u64,
    kills: u64,
    failed_calls: u64,
    by_point: BTreeMap<String, u64>,
    in_doubt: u64,
    recovered_ms: Vec<u64>,
    /// What is not as it should be, with the faults that led there.
    pub wrong: Vec<String>,
    /// How long all of it took.
    pub took: Duration,
}

impl Outcome {
    /// Nothing yet.
    pub fn new(name: &str) -> Outcome {
        Outcome {
            name: name.to_owned(),
            tries: 0,
            met: 0,
            kills: 0,
            failed_calls: 0,
            by_point: BTreeMap::new(),
            in_doubt: 0,
            recovered_ms: Vec::new(),
            wrong: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// One more try.
    pub fn add(&mut self, faults: &[Fault], tried: &Try) {
        self.tries += 1;
        for fault in &tried.met {
            self.met += 1;
            *(if fault.kills() { &mut self.kills } else { &mut self.failed_calls }) += 1;
            let point = match fault {
                Fault::Time(_) => "at a random time".to_owned(),
                Fault::Role(role, _) => format!("the {role}, at a random time"),
                Fault::Call(how, call, _) => format!("{how} {call}"),
            };
            *self.by_point.entry(point).or_default() += 1;
        }
        self.in_doubt += tried.in_doubt;
        self.recovered_ms.extend(&tried.recovered_ms);
        let told = || faults.iter().map(Fault::to_string).collect::<Vec<_>>().join(",");
        self.wrong.extend(tried.wrong.iter().map(|wrong| format!("{} {}: {wrong}", self.name, told())));
    }

    fn recovered(&self, share: f64) -> u64 {
        let mut all = self.recovered_ms.clone();
        all.sort_unstable();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
        let at = ((all.len() as f64 * share) as usize).min(all.len().saturating_sub(1));
        all.get(at).copied().unwrap_or_default()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} tries, {} kills, {} failed calls, wrong {}, in doubt {}, recovery p50 {} ms p99 {} ms, {} s",
            self.name,
            self.tries,
            self.kills,
            self.failed_calls,
            self.wrong.len(),
            self.in_doubt,
            self.recovered(0.5),
            self.recovered(0.99),
            self.took.as_secs()
        )
    }
}

const BEGIN: &str = "# Reliability\n
Written by `tests/reliability/run`: the binary that users run is killed, and its disk made to fail, at random times and at the
calls by which state reaches the disk or the network; it goes on from what it left, and what it says in the end is compared with
what an undisturbed run says. A shim preloaded into the process counts and meets those calls (`tests/reliability/faults.c`); the
program holds no code for it. `before` and `after` kill -9 at a call, `torn` writes half and kills, `EIO` and `ENOSPC` let the
call fail. Recovery is timed from the start of the process that makes up to its end, when all is settled and written.\n\n";

/// Writes the report.
pub fn write(path: &Path, seed: u64, all: &[Outcome]) -> io::Result<()> {
    let mut text = BEGIN.to_owned();
    let mut say = |line: String| writeln!(text, "{line}").map_err(io::Error::other);
    say(format!("Seed {seed}.\n"))?;
    say("| journey | tries | kill -9 | failed calls | alerts lost or twice, effects lost or twice, divergences | in doubt | recovery p50 / p99 |".to_owned())?;
    say("|---|---|---|---|---|---|---|".to_owned())?;
    for outcome in all {
        say(format!(
            "| {} | {} | {} | {} | {} | {} | {} / {} ms |",
            outcome.name,
            outcome.tries,
            outcome.kills,
            outcome.failed_calls,
            outcome.wrong.len(),
            outcome.in_doubt,
            outcome.recovered(0.5),
            outcome.recovered(0.99)
        ))?;
    }
    for outcome in all {
        say(format!("\n## {}\n\n| point | met |\n|---|---|", outcome.name))?;
        for (point, many) in &outcome.by_point {
            say(format!("| {point} | {many} |"))?;
        }
        for wrong in &outcome.wrong {
            say(format!("\nNot as it should be: {wrong}"))?;
        }
    }
    std::fs::write(path, text)
}
