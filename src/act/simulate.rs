//! The simulated environment: answers that are a function of the order, for replay, training and tests.
//!
//! `environment.json`, as `quell generate` writes it:
//! ```json
//! { "seed": 7,
//!   "analyst": { "coverage": 0.6, "error": 0.02, "delay_s": [600, 14400] },
//!   "success": [ { "use_case": "phishing", "playbook": "phishing-purge", "probability": 0.9 } ],
//!   "otherwise": 0.1 }
//! ```
//! `success` is looked up by what the incident truly is and by the playbook's name or id; what it does not name
//! succeeds with probability `otherwise`; all steps of a playbook on one incident share that draw. `truth.jsonl` has a line for each alert that is not background:
//! `{"alert": "<vendor id>", "use_case": "phishing", "campaign": 3, "label": "true_positive"}`, where `label`, by
//! default `true_positive`, tells an attack from what only looks like one. An incident truly is what most of its
//! attack alerts are (ties: the smaller text).
//!
//! No clock and no dice: every draw is BLAKE3 of seed, purpose and id. State: attack alerts counted by incident.

use std::collections::BTreeMap;
use std::path::Path;

use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::Order;
use crate::record::{AlertId, IncidentId, Member, Tick, Triage};

/// An answer comes within this many ticks.
const DELAY_MAX: u64 = 60;

/// Why an environment can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{file}{}: {what}", .line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct EnvironmentError {
    file: String,
    line: Option<usize>,
    what: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    seed: u64,
    analyst: Analyst,
    success: Vec<Success>,
    otherwise: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Analyst {
    /// The share of incidents that an analyst looks at.
    coverage: f64,
    /// The share of these on which the analyst errs.
    error: f64,
    /// How long it takes, from and to, in seconds.
    delay_s: [u32; 2],
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Success {
    use_case: String,
    playbook: String,
    probability: f64,
}

/// What alerts truly are, background left out: the use case of each, and whether it is an attack.
#[derive(Clone, Debug, Default)]
pub struct Truth(FxHashMap<AlertId, (String, Triage)>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TruthLine {
    alert: String,
    use_case: String,
    #[expect(dead_code, reason = "part of the format; the use case suffices here")]
    campaign: u64,
    #[serde(default = "attack")]
    label: Triage,
}

fn attack() -> Triage {
    Triage::TruePositive
}

impl Truth {
    /// Reads `truth.jsonl`; `ids` says which alerts a vendor's id may be (one a tenant and product).
    ///
    /// # Errors
    /// The first line that can't be read.
    pub fn read(file: &Path, ids: &dyn Fn(&str) -> Vec<AlertId>) -> Result<Truth, EnvironmentError> {
        let mut truth = Truth::default();
        for (at, line) in text_of(file)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let line: TruthLine = serde_json::from_str(line).map_err(|error| EnvironmentError {
                file: file.display().to_string(),
                line: Some(at + 1),
                what: error.to_string(),
            })?;
            truth.extend(ids(&line.alert).into_iter().map(|id| (id, line.use_case.clone(), line.label)));
        }
        Ok(truth)
    }

    /// Adds labels.
    pub fn extend(&mut self, labels: impl IntoIterator<Item = (AlertId, String, Triage)>) {
        self.0.extend(labels.into_iter().map(|(id, use_case, label)| (id, (use_case, label))));
    }
}

fn text_of(file: &Path) -> Result<String, EnvironmentError> {
    std::fs::read_to_string(file).map_err(|error| EnvironmentError {
        file: file.display().to_string(),
        line: None,
        what: error.to_string(),
    })
}

/// A simulated environment with simulated analysts.
#[derive(Clone, Debug)]
pub struct Environment {
    settings: Settings,
    truth: Truth,
    /// Labelled alerts by incident, label and use case; an entry dies when its count is zero.
    counts: Counts,
}

/// See [`Environment`].
pub(super) type Counts = FxHashMap<IncidentId, BTreeMap<(Triage, String), i64>>;

impl Environment {
    /// Reads `environment.json`.
    ///
    /// # Errors
    /// What cannot be read, or is no probability.
    pub fn read(file: &Path, truth: Truth) -> Result<Environment, EnvironmentError> {
        Environment::parse(&text_of(file)?, truth).map_err(|(line, what)| EnvironmentError {
            file: file.display().to_string(),
            line,
            what,
        })
    }

    /// The same from text.
    ///
    /// # Errors
    /// The line, where known, and what is wrong.
    pub fn parse(text: &str, truth: Truth) -> Result<Environment, (Option<usize>, String)> {
        let settings: Settings =
            serde_json::from_str(text).map_err(|error| (Some(error.line()), error.to_string()))?;
        let fractions = [settings.analyst.coverage, settings.analyst.error, settings.otherwise];
        let all = fractions.into_iter().chain(settings.success.iter().map(|success| success.probability));
        if let Some(bad) = all.into_iter().find(|value| !(0.0..=1.0).contains(value)) {
            return Err((None, format!("{bad} is not a probability")));
        }
        let [from, to] = settings.analyst.delay_s;
        if from > to {
            return Err((None, format!("delay_s begins at {from} and ends at {to}")));
        }
        Ok(Environment { settings, truth, counts: FxHashMap::default() })
    }

    /// Whether the alert is labelled: others need not be told of.
    #[must_use]
    pub fn knows(&self, alert: AlertId) -> bool {
        self.truth.0.contains_key(&alert)
    }

    /// Hands out what it was told of, to be kept.
    pub(super) fn lend(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Goes on with what was kept.
    pub(super) fn begin_with(&mut self, counts: Counts) {
        self.counts = counts;
    }

    /// Takes in a change of membership.
    pub fn observe(&mut self, member: &Member) {
        let Some((use_case, label)) = self.truth.0.get(&member.alert_id) else { return };
        let counts = self.counts.entry(member.incident_id).or_default();
        let key = (*label, use_case.clone());
        let count = counts.entry(key.clone()).or_default();
        *count += member.diff;
        if *count == 0 {
            counts.remove(&key);
        }
        if counts.is_empty() {
            self.counts.remove(&member.incident_id);
        }
    }

    /// What the incident truly is; none where nothing in it is an attack.
    #[must_use]
    pub fn truth_of(&self, incident: IncidentId) -> Option<&str> {
        let counts = self.counts.get(&incident)?;
        // `max_by_key` keeps the last of equals, so the smaller text must come last.
        let attacks = counts.iter().rev().filter(|((label, _), _)| *label == Triage::TruePositive);
        attacks.max_by_key(|(_, count)| **count).map(|((_, use_case), _)| use_case.as_str())
    }

    /// Whether the order succeeds, and at which tick that is known. What takes longer than its step may has failed.
    #[must_use]
    pub fn answer(&self, order: &Order, playbook_id: &str) -> (bool, Tick) {
        let truth = self.truth_of(order.incident_id);
        let named = |success: &&Success| {
            Some(success.use_case.as_str()) == truth
                && (success.playbook == order.playbook || success.playbook == playbook_id)
        };
        let probability =
            self.settings.success.iter().find(named).map_or(self.settings.otherwise, |it| it.probability);
        // One draw a playbook and incident: a response that does not fit fails as a whole, however many targets it has.
        let fit = IncidentId::of(&[&order.incident_id.0, order.playbook.as_bytes()]);
        // Undoing works whatever the incident truly is.
        let succeeds = order.undo_of.is_some() || self.draw(b"success", &fit.0) < probability;
        let delay = 1 + self.number(b"delay", &order.action_id.0) % DELAY_MAX;
        let limit = order.timeout_ms.map_or(DELAY_MAX, |ms| ms.div_ceil(1000));
        let tick = order.requested + Tick::try_from(delay.min(limit)).unwrap_or(0);
        (succeeds && delay <= limit, tick)
    }

    /// What a simulated analyst says of an incident, and how many ticks after its end; none where nobody looks.
    #[must_use]
    pub fn verdict_for(&self, incident: IncidentId) -> Option<(Triage, Tick)> {
        let analyst = &self.settings.analyst;
        if self.draw(b"coverage", &incident.0) >= analyst.coverage {
            return None;
        }
        let attack = self.truth_of(incident).is_some();
        let errs = self.draw(b"error", &incident.0) < analyst.error;
        // What looks like an attack on purpose (a drill, a migration) is what the rule looks for, but wanted.
        let wanted = self.counts.contains_key(&incident) && !attack;
        let benign = if wanted || self.draw(b"benign", &incident.0) < 0.5 {
            Triage::BenignPositive
        } else {
            Triage::FalsePositive
        };
        let verdict = if attack == errs { benign } else { Triage::TruePositive };
        Some((verdict, self.analyst_delay(incident)))
    }

    /// How many ticks after an incident's end an analyst speaks.
    #[must_use]
    pub fn analyst_delay(&self, incident: IncidentId) -> Tick {
        let [from, to] = self.settings.analyst.delay_s;
        let span = u64::from(to - from) + 1;
        Tick::from(from) + Tick::try_from(self.number(b"analyst", &incident.0) % span).unwrap_or(0)
    }

    fn number(&self, purpose: &[u8], id: &[u8; 16]) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"quell.simulate").update(&self.settings.seed.to_le_bytes());
        hasher.update(&(purpose.len() as u64).to_le_bytes()).update(purpose).update(id);
        let mut number = [0u8; 8];
        number.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(number)
    }

    /// In [0, 1): 53 bits, exact in a double.
    fn draw(&self, purpose: &[u8], id: &[u8; 16]) -> f64 {
        (self.number(purpose, id) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Sym;

    fn member(alert: &str, incident_id: IncidentId, diff: i64) -> Member {
        Member { tick: 0, tenant: Sym::EMPTY, incident_id, alert_id: AlertId::of(&[alert.as_bytes()]), diff }
    }

    const TEXT: &str = r#"{"seed": 1, "analyst": {"coverage": 1.0, "error": 0.0, "delay_s": [5, 5]}, "success": [], "otherwise": 0.5}"#;

    #[test]
    fn an_incident_is_what_most_of_its_attack_alerts_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("truth.jsonl");
        let lines = [
            ("a", "phishing", "true"),
            ("b", "phishing", "true"),
            ("c", "worm", "true"),
            ("d", "drill", "benign"),
        ];
        let line = |(id, case, label): &(&str, &str, &str)| {
            format!(
                "{{\"alert\":\"{id}\",\"use_case\":\"{case}\",\"campaign\":1,\"label\":\"{label}_positive\"}}"
            )
        };
        let text = lines.iter().map(line).collect::<Vec<_>>().join("\n");
        std::fs::write(&file, text).unwrap();
        let truth = Truth::read(&file, &|id| vec![AlertId::of(&[id.as_bytes()])]).unwrap();
        let mut environment = Environment::parse(TEXT, truth).unwrap();
        let [one, two] = [b"1", b"2"].map(|id| IncidentId::of(&[id]));
        for (alert, incident, diff) in [
            ("a", one, 1),
            ("b", one, 1),
            ("c", one, 1),
            ("d", two, 1),
            ("x", two, 1),
            ("b", one, -1),
            ("a", one, -1),
        ] {
            environment.observe(&member(alert, incident, diff));
        }
        assert_eq!((environment.truth_of(one), environment.truth_of(two)), (Some("worm"), None));
        assert_eq!(environment.verdict_for(one), Some((Triage::TruePositive, 5)));
        assert_eq!(environment.verdict_for(two), Some((Triage::BenignPositive, 5)));
        environment.observe(&member("c", one, -1));
        assert_eq!(environment.truth_of(one), None);
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        assert!(Environment::parse(&TEXT.replace("0.5", "1.5"), Truth::default()).is_err());
        assert!(Environment::parse(&TEXT.replace("[5, 5]", "[6, 5]"), Truth::default()).is_err());
        assert!(
            Environment::parse(&TEXT.replace("seed", "sead"), Truth::default())
                .is_err_and(|it| it.0 == Some(1))
        );
    }
}
