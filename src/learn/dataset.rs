//! Dataset: rows of the archive -> examples: what was seen of an incident at a tick, and what came of it later.
//!
//! Nothing of an example's input is later than its tick, and what it was labelled by counts for other rows' history only from
//! the label's own time on. Triage is learned from analysts alone: automation closes what it decided itself. A playbook's
//! success is learned from receipts too.

use std::collections::{BTreeMap, BTreeSet};

use crate::rank::PlaybookTraits;
use crate::record::{
    ActionId, DecisionId, Diff, Epoch, Features, IncidentId, LabelSource, Millis, Tactics, Tick, Triage,
};

/// One row to learn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What was seen; its history columns are filled in by the training.
    pub features: Features,
    /// What an analyst said it was.
    pub triage: Option<Triage>,
    /// When the analyst said so; the row's own time where nobody did.
    pub labelled: Millis,
    /// What was done about it, and whether that did what it should.
    pub success: Vec<(PlaybookTraits, bool)>,
    /// Tactics that were first seen later.
    pub next: Option<Tactics>,
    /// How much it counts.
    pub weight: f32,
    /// Rows of one group never lie on both sides of a split: the incident, or the campaign that it is part of.
    pub group: IncidentId,
    /// When it was seen, in event time.
    pub time: Millis,
    /// What to tell the results apart by.
    pub slices: Slices,
}

/// What results are told apart by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slices {
    /// Whose.
    pub tenant: String,
    /// The product, or the rule, that raised it.
    pub detector: String,
    /// What it is a case of (`phishing`); empty where unknown.
    pub use_case: String,
}

/// A row of `incidents`.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentRow {
    /// Which.
    pub incident_id: IncidentId,
    /// Counts from 1.
    pub version: u32,
    /// The tick that it was published for.
    pub tick: Tick,
    /// The epoch in which it was: acting early, a tick may have several versions.
    pub epoch: Epoch,
    /// What was seen of it: [`Features::of_row`] of the column `features`.
    pub features: Features,
    /// Tactics seen: [`crate::record::attack::tactics_of`] of the column `attacks`.
    pub tactics: Tactics,
    /// Tenant, product and use case.
    pub slices: Slices,
}

/// A row of `outcomes`.
#[derive(Clone, Debug, PartialEq)]
pub struct OutcomeRow {
    /// Which incident.
    pub incident_id: IncidentId,
    /// Which action; none where it is of the incident.
    pub action_id: Option<ActionId>,
    /// The tick at which it became known.
    pub tick: Tick,
    /// Whether the action did what it should.
    pub success: Option<bool>,
    /// What the incident was.
    pub verdict: Option<Triage>,
    /// Who says so.
    pub label_source: LabelSource,
    /// Said (+1) or taken back (-1).
    pub diff: Diff,
}

/// A row of `decisions`.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRow {
    /// Which.
    pub decision_id: DecisionId,
    /// On what.
    pub incident_id: IncidentId,
    /// The tick of the version decided on.
    pub tick: Tick,
    /// Its epoch.
    pub epoch: Epoch,
    /// The playbook's CACAO id.
    pub playbook_id: String,
}

/// Of versions that were decided on, which playbooks did what they should.
type Successes = BTreeMap<([u8; 16], Tick, Epoch), BTreeMap<String, bool>>;

/// Examples of what four tables hold (`incidents`, `outcomes`, `actions` as pairs of action and decision, `decisions`) and of
/// the traits of the playbooks by CACAO id. Of an incident's versions come in: the first, those decided on, and the last
/// that the analyst had before the verdict; they share the weight of one incident. The examples are in order of time.
#[must_use]
pub fn join(
    incidents: impl IntoIterator<Item = IncidentRow>,
    outcomes: impl IntoIterator<Item = OutcomeRow>,
    actions: impl IntoIterator<Item = (ActionId, DecisionId)>,
    decisions: impl IntoIterator<Item = DecisionRow>,
    playbooks: &BTreeMap<String, PlaybookTraits>,
) -> Vec<Example> {
    let labels = Labels::of(outcomes);
    let actions: BTreeMap<[u8; 16], DecisionId> =
        actions.into_iter().map(|(action, decision)| (action.0, decision)).collect();
    let decisions: BTreeMap<[u8; 16], DecisionRow> =
        decisions.into_iter().map(|decision| (decision.decision_id.0, decision)).collect();
    // A playbook did what it should if all of its actions did.
    let mut successes: Successes = BTreeMap::new();
    for (action, success) in &labels.successes {
        let Some(decision) = actions.get(action).and_then(|decision| decisions.get(&decision.0)) else {
            continue;
        };
        let at = successes.entry((decision.incident_id.0, decision.tick, decision.epoch)).or_default();
        *at.entry(decision.playbook_id.clone()).or_insert(true) &= *success;
    }
    let mut versions: BTreeMap<[u8; 16], Vec<IncidentRow>> = BTreeMap::new();
    for row in incidents {
        versions.entry(row.incident_id.0).or_default().push(row);
    }
    let mut examples: Vec<Example> = Vec::new();
    for (id, mut rows) in versions {
        rows.sort_by_key(|row| row.version);
        examples.extend(of_incident(id, &rows, labels.verdicts.get(&id).copied(), &successes, playbooks));
    }
    examples.sort_by_key(|example| (example.time, example.group.0));
    examples
}

fn of_incident(
    id: [u8; 16],
    rows: &[IncidentRow],
    verdict: Option<(Tick, Triage)>,
    successes: &Successes,
    playbooks: &BTreeMap<String, PlaybookTraits>,
) -> Vec<Example> {
    let all = rows.iter().fold(Tactics::default(), |all, row| all.union(row.tactics));
    let mut chosen: BTreeSet<usize> = BTreeSet::new();
    // What came after the verdict is no longer what the analyst judged.
    let judged = |row: &IncidentRow| verdict.is_some_and(|(tick, _)| row.tick <= tick);
    if rows.first().is_some_and(|row| judged(row) || verdict.is_none()) {
        chosen.insert(0);
    }
    chosen.extend(rows.iter().rposition(judged));
    chosen
        .extend((0..rows.len()).filter(|at| successes.contains_key(&(id, rows[*at].tick, rows[*at].epoch))));
    let weight = 1.0 / chosen.len().max(1) as f32;
    let example = |row: &IncidentRow| {
        let done = successes.get(&(id, row.tick, row.epoch));
        let later = Tactics(all.0 & !row.tactics.0);
        Example {
            features: row.features.clone(),
            triage: verdict.filter(|_| judged(row)).map(|(_, triage)| triage),
            labelled: verdict.map_or(row.tick, |(tick, _)| tick.max(row.tick)).saturating_mul(1000),
            success: done
                .into_iter()
                .flatten()
                .filter_map(|(playbook, success)| Some((playbooks.get(playbook)?.clone(), *success)))
                .collect(),
            next: (later != Tactics::default()).then_some(later),
            weight,
            group: IncidentId(id),
            time: row.tick.saturating_mul(1000),
            slices: row.slices.clone(),
        }
    };
    let all = chosen.into_iter().map(|at| example(&rows[at]));
    all.filter(|example| example.triage.is_some() || example.next.is_some() || !example.success.is_empty())
        .collect()
}

/// What outcomes say once everything taken back is gone.
struct Labels {
    verdicts: BTreeMap<[u8; 16], (Tick, Triage)>,
    successes: BTreeMap<[u8; 16], bool>,
}

impl Labels {
    fn of(outcomes: impl IntoIterator<Item = OutcomeRow>) -> Labels {
        // By (incident, tick, class) and by (action, tick, success), so that a withdrawal meets what it withdraws.
        let mut verdicts: BTreeMap<([u8; 16], Tick, Triage), Diff> = BTreeMap::new();
        let mut successes: BTreeMap<([u8; 16], bool), Diff> = BTreeMap::new();
        for row in outcomes {
            let human = row.label_source == LabelSource::Human;
            let known = human || row.label_source == LabelSource::Automation;
            if let Some(verdict) = row.verdict.filter(|_| human) {
                *verdicts.entry((row.incident_id.0, row.tick, verdict)).or_default() += row.diff;
            }
            if let (Some(action), Some(success), true) = (row.action_id, row.success, known) {
                *successes.entry((action.0, success)).or_default() += row.diff;
            }
        }
        let mut labels = Labels { verdicts: BTreeMap::new(), successes: BTreeMap::new() };
        // In order of tick: an analyst's last word holds.
        for ((incident, tick, verdict), _) in verdicts.into_iter().filter(|(_, count)| *count > 0) {
            labels.verdicts.insert(incident, (tick, verdict));
        }
        // In order of `false`, `true`: who says that it failed is not overruled.
        for ((action, success), _) in successes.into_iter().filter(|(_, count)| *count > 0) {
            labels.successes.entry(action).or_insert(success);
        }
        labels
    }
}

/// How examples are parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// The oldest 70 % of groups to learn from, the next 15 % to stop and calibrate by, the newest 15 % to test.
    Time,
    /// The same shares of groups by a hash of the group.
    Group,
}

/// Examples parted, each part in order of time; no group is in two of them.
#[derive(Debug, Default)]
pub struct Parts {
    /// To learn from.
    pub train: Vec<Example>,
    /// To stop and calibrate by.
    pub valid: Vec<Example>,
    /// To tell how it does.
    pub test: Vec<Example>,
}

/// Parts examples; never by row: rows of one incident are nearly one row.
#[must_use]
pub fn part(mut examples: Vec<Example>, split: Split) -> Parts {
    examples.sort_by_key(|example| (example.time, example.group.0));
    let mut first: BTreeMap<[u8; 16], Millis> = BTreeMap::new();
    for example in &examples {
        first.entry(example.group.0).or_insert(example.time);
    }
    let mut groups: Vec<([u8; 16], Millis)> = first.into_iter().collect();
    // Groups are hashes themselves, but a campaign's may not be: hashed again, by themselves they'd still be in order.
    match split {
        Split::Time => groups.sort_by_key(|(group, time)| (*time, *group)),
        Split::Group => groups.sort_by_key(|(group, _)| *blake3::hash(group).as_bytes()),
    }
    let place: BTreeMap<[u8; 16], usize> =
        groups.iter().enumerate().map(|(at, (group, _))| (*group, at * 100 / groups.len())).collect();
    let mut parts = Parts::default();
    for example in examples {
        match place[&example.group.0] {
            ..70 => parts.train.push(example),
            70..85 => parts.valid.push(example),
            85.. => parts.test.push(example),
        }
    }
    parts
}
