//! Policy: what may be done without a person, and how much of it. YAML under `dataflows/policies/`.

mod pattern;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::playbook::Playbook;
use crate::record::{Score, Severity, Verb};

pub use pattern::Pattern;
pub(crate) use pattern::host_of;

/// A policy file: what may be done without a person, how much of it, and what always asks people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// When decisions are acted on.
    #[serde(default)]
    pub act: Act,
    /// Nothing is executed while this is on.
    #[serde(default)]
    pub kill_switch: bool,
    /// Background incidents are ranked from this severity up.
    #[serde(default = "high")]
    pub solo_severity: Severity,
    /// What score and confidence it takes.
    pub floors: Floors,
    /// How often another playbook than the best is tried.
    #[serde(default)]
    pub exploration: Exploration,
    /// Never acted on without a person.
    #[serde(default)]
    pub protected: Vec<Pattern>,
    /// Never acted on at all.
    #[serde(default)]
    pub infrastructure: Vec<Pattern>,
    /// What is our own: see [`super::playbook::Scope`].
    #[serde(default)]
    pub own: Vec<Pattern>,
    /// Targets of one step at most.
    pub targets_max: u32,
    /// Distinct targets within a window.
    pub blast_radius: BlastRadius,
    /// Actions within a window.
    pub budgets: Budgets,
    /// Who is asked.
    pub approvals: Approvals,
    /// What is undone where its ground is gone.
    #[serde(default)]
    pub undo: Undo,
    /// Verbs that playbooks may use.
    pub allow_verbs: BTreeSet<Verb>,
    /// How a playbook is run, by its name; live where nothing is said.
    #[serde(default)]
    pub modes: BTreeMap<String, Mode>,
    /// Seconds for which rulings on an incident are remembered after its last version.
    #[serde(default = "week")]
    pub memory_s: u32,
}

fn high() -> Severity {
    Severity::High
}

fn week() -> u32 {
    7 * 24 * 3600
}

/// What becomes of an executed action that can be undone and stands on withdrawn ground: a revision took its target from the
/// incident, or the indicator for which it was done was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Undo {
    /// Whether it is undone.
    pub withdrawn_ground: OnWithdrawnGround,
    /// Actions undone within the budgets' window, a tenant; beyond it a person is asked.
    pub actions_max: u32,
}

impl Default for Undo {
    fn default() -> Undo {
        Undo { withdrawn_ground: OnWithdrawnGround::default(), actions_max: 20 }
    }
}

/// Whether what stands on withdrawn ground is undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnWithdrawnGround {
    /// At once, unless a guard asks a person.
    Execute,
    /// A person is asked. The default: to lift a block on one analyst's slip would let an attacker go, and to leave it
    /// untold would leave a host isolated for nothing.
    #[default]
    Ask,
    /// Never; the archive tells what stands so.
    Never,
}

/// When decisions are acted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// When their tick is settled: what came late is in its place by then.
    #[default]
    Settled,
    /// In `quell run`, when their epoch ends, some milliseconds after they came. What comes late finds the decisions made.
    /// Where files are replayed it is as `settled`: nothing is early there.
    Early,
}

/// How a playbook is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// For real.
    #[default]
    Live,
    /// Its actions are told, not done.
    DryRun,
    /// It is weighed; what would have been executed is declined with that reason.
    Shadow,
}

/// A number in [0, 1] as people write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(with = "f64")]
pub struct Fraction(pub Score);

impl TryFrom<f64> for Fraction {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        // NaN is in no range, so it is turned away too.
        if !(0.0..=1.0).contains(&value) {
            return Err(format!("{value} is not between 0 and 1"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 10,000 by the check above"
        )]
        Ok(Fraction(Score((value * 10_000.0).round() as u16)))
    }
}

impl From<Fraction> for f64 {
    fn from(fraction: Fraction) -> f64 {
        fraction.0.value()
    }
}

/// Floors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Floors {
    /// To act alone.
    pub execute: ExecuteFloor,
    /// The score from which a person is asked.
    pub escalate: Fraction,
}

/// What it takes to act alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecuteFloor {
    /// The playbook's score.
    pub score: Fraction,
    /// The triage's confidence.
    pub confidence: Fraction,
}

/// Exploration: epsilon-greedy among playbooks that might be executed, drawn from `hash(incident, tick, seed)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exploration {
    /// The share of rulings in which a playbook is drawn evenly; 0 is off.
    #[serde(default)]
    pub rate: Fraction,
    /// Of the draws.
    #[serde(default)]
    pub seed: u64,
}

/// What a verb does to its targets: blast radius counts by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VerbClass {
    /// Takes it out of service: contain, restart.
    Isolating,
    /// Keeps it out: deny.
    Blocking,
    /// Changes it: set, delete, allow.
    Changing,
    /// Leaves it alone: investigate, notify, copy. Budgets bound these.
    Observing,
}

impl VerbClass {
    /// The class of a verb.
    #[must_use]
    pub fn of(verb: Verb) -> VerbClass {
        match verb {
            Verb::Contain | Verb::Restart => VerbClass::Isolating,
            Verb::Deny => VerbClass::Blocking,
            Verb::Set | Verb::Delete | Verb::Allow => VerbClass::Changing,
            Verb::Investigate | Verb::Notify | Verb::Copy => VerbClass::Observing,
        }
    }
}

/// Bounds on distinct targets, a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlastRadius {
    /// Seconds of event time.
    pub window_s: u32,
    /// Contain, restart.
    pub isolating: u32,
    /// Deny.
    pub blocking: u32,
    /// Set, delete, allow.
    pub changing: u32,
    /// Of one incident, whatever is done, observing left out.
    pub incident: u32,
}

impl BlastRadius {
    /// The bound of a class; none for observing.
    #[must_use]
    pub fn max(&self, class: VerbClass) -> Option<u32> {
        match class {
            VerbClass::Isolating => Some(self.isolating),
            VerbClass::Blocking => Some(self.blocking),
            VerbClass::Changing => Some(self.changing),
            VerbClass::Observing => None,
        }
    }
}

/// Bounds on actions, a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// Seconds of event time.
    pub window_s: u32,
    /// Per cent of a verb's budget that one playbook may spend.
    #[serde(default = "all")]
    pub playbook_share: u32,
    /// Actions of each verb.
    pub verbs: BTreeMap<Verb, u32>,
}

fn all() -> u32 {
    100
}

impl Budgets {
    /// The tenant's budget of a verb within the window.
    #[must_use]
    pub fn of(&self, verb: Verb) -> u32 {
        self.verbs.get(&verb).copied().unwrap_or(0)
    }

    /// One playbook's part of it, at least 1 where there is a budget.
    #[must_use]
    pub fn of_playbook(&self, verb: Verb) -> u32 {
        let share = u64::from(self.of(verb)).saturating_mul(u64::from(self.playbook_share)).div_ceil(100);
        u32::try_from(share).unwrap_or(u32::MAX)
    }
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    /// People who must approve what was escalated.
    #[serde(default = "one")]
    pub people: u32,
    /// What always asks people.
    #[serde(default)]
    pub always: Vec<Always>,
}

fn one() -> u32 {
    1
}

/// What always asks people: a playbook with any of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Always {
    /// A step's verb.
    #[serde(default)]
    pub verbs: BTreeSet<Verb>,
    /// Its name.
    #[serde(default)]
    pub playbooks: BTreeSet<String>,
    /// An impact from this up.
    #[serde(default)]
    pub impact_min: Option<u8>,
    /// How many people.
    #[serde(default = "one")]
    pub people: u32,
}

impl Always {
    fn matches(&self, playbook: &Playbook) -> bool {
        self.playbooks.contains(&playbook.name)
            || self.impact_min.is_some_and(|impact| playbook.impact >= impact)
            || playbook.actions().any(|(_, action)| self.verbs.contains(&action.parameters.verb))
    }
}

impl Policy {
    /// How many people a playbook always asks; none where it may run alone.
    #[must_use]
    pub fn people_always(&self, playbook: &Playbook) -> Option<u32> {
        self.approvals.always.iter().filter(|rule| rule.matches(playbook)).map(|rule| rule.people).max()
    }

    /// How many people must approve the playbook once it was escalated.
    #[must_use]
    pub fn people(&self, playbook: &Playbook) -> u32 {
        self.people_always(playbook).unwrap_or(1).max(self.approvals.people)
    }

    /// How the playbook is run.
    #[must_use]
    pub fn mode(&self, playbook: &Playbook) -> Mode {
        self.modes.get(&playbook.name).copied().unwrap_or_default()
    }
}

/// Reads a policy. Without playbooks (because one of them can't be read) what it says of them is not judged.
///
/// # Errors
/// All its faults: what cannot be read, what contradicts itself, what names a playbook that is not there.
pub fn read(file: &Path, text: &str, playbooks: Option<&[Playbook]>) -> Result<Policy, Vec<Fault>> {
    let fault = |line: Option<u64>, what: String, cure: &str| Fault {
        file: file.to_owned(),
        line,
        what,
        cure: cure.to_owned(),
    };
    let policy: Policy = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|location| location.line());
        let what = error.to_string().lines().next().unwrap_or_default().to_owned();
        vec![fault(line, what, "see dataflows/policies/default.yml for what a policy holds")]
    })?;
    let line = |key: &str| {
        let at = text
            .lines()
            .position(|line| line.trim_start().trim_start_matches(['-', ' ', '{']).starts_with(key));
        at.map(|at| at as u64 + 1)
    };
    let faults: Vec<Fault> =
        check(&policy, playbooks).into_iter().map(|(key, what, cure)| fault(line(key), what, cure)).collect();
    if faults.is_empty() { Ok(policy) } else { Err(faults) }
}

type Found = (&'static str, String, &'static str);

fn check(policy: &Policy, playbooks: Option<&[Playbook]>) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    if policy.floors.escalate.0 > policy.floors.execute.score.0 {
        found.push(("escalate:", "the floor of escalation is above that of execution".into(), "lower it"));
    }
    if policy.blast_radius.window_s == 0 || policy.budgets.window_s == 0 {
        found.push(("window_s:", "a window of 0 s bounds nothing".into(), "give at least 1"));
    }
    if !(1..=100).contains(&policy.budgets.playbook_share) {
        found.push(("playbook_share:", "playbook_share is not between 1 and 100".into(), "give per cent"));
    }
    if policy.targets_max == 0 {
        found.push(("targets_max:", "targets_max is 0".into(), "give at least 1"));
    }
    let people = policy.approvals.always.iter().map(|rule| rule.people).chain([policy.approvals.people]);
    if people.into_iter().any(|people| people == 0) {
        found.push(("approvals:", "an approval by 0 people is none".into(), "give at least 1"));
    }
    for rule in &policy.approvals.always {
        if rule.verbs.is_empty() && rule.playbooks.is_empty() && rule.impact_min.is_none() {
            found.push((
                "always:",
                "a rule of `always` matches nothing".into(),
                "name verbs, playbooks or impact_min",
            ));
        }
    }
    for verb in policy.allow_verbs.iter().filter(|verb| !policy.budgets.verbs.contains_key(verb)) {
        let what = format!("verb {} is allowed but has no budget", verb.name());
        found.push(("allow_verbs:", what, "give it one in budgets.verbs"));
    }
    let named = policy.modes.keys().map(|name| ("modes:", name));
    let asked = policy.approvals.always.iter().flat_map(|rule| &rule.playbooks).map(|name| ("always:", name));
    for (key, name) in named.chain(asked) {
        if playbooks.is_some_and(|there| !there.iter().any(|playbook| playbook.name == *name)) {
            found.push((key, format!("playbook {name:?} is not there"), "name one of dataflows/playbooks"));
        }
    }
    found
}

#[cfg(test)]
mod tests;
