//! Gather: archives -> examples, with what the card tells of where they came from.
//!
//! In: published archives, the traits of the plan's playbooks. Out: [`Example`]s in order of time.
//! State: the versions of incidents on which something is known to learn from. Every incident that was ruled on is taken; of
//! the others a bounded number, drawn by the hash that is their name: what an incident shows decides whether it is ruled on,
//! so leaving some out bends no probability.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::dataset::{self, Example, Slices};
use crate::archive::{ActionLine, CandidateLine, DecisionLine, IncidentLine, OutcomeLine, Reader};
use crate::featurize::features::history_keys;
use crate::rank::PlaybookTraits;
use crate::record::attack::tactics_of;
use crate::record::features::{NUMERIC, TOKENS};
use crate::record::{Features, LabelSource, Names, Ruling, Tick};

/// What is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Incidents of an archive that nothing was ruled on, at most.
    pub unruled_max: usize,
    /// The tenant that verdicts count for in the model's history; none: the archive's own. A model is believed only at
    /// tenants that it has verdicts of, so what was learned elsewhere must not count as theirs.
    pub tenant: Option<String>,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { unruled_max: 4000, tenant: None }
    }
}

/// What was gathered.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Rows to learn from or to be measured on.
    pub examples: Vec<Example>,
    /// Where they came from.
    pub story: Story,
}

/// Where examples came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Story {
    /// Archives read.
    pub archives: usize,
    /// Incidents taken.
    pub incidents: usize,
    /// Of these, with a ruling.
    pub ruled: usize,
    /// Incidents that an analyst judged, by analyst.
    pub judged: BTreeMap<String, usize>,
    /// Actions whose end is known, by executor.
    pub ended: BTreeMap<String, usize>,
    /// Executed rulings by the model that ranked.
    pub executed: BTreeMap<String, usize>,
    /// The least and the greatest probability with which an executed playbook was chosen.
    pub propensity: Option<(f64, f64)>,
    /// First and last tick.
    pub span: Option<(Tick, Tick)>,
}

impl Story {
    /// Whether a simulation said any of it.
    #[must_use]
    pub fn is_synthetic(&self) -> bool {
        self.judged.keys().chain(self.ended.keys()).any(|by| by.starts_with("simulat"))
    }
}

impl std::fmt::Display for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |counts: &BTreeMap<String, usize>| {
            let each = counts.iter().map(|(by, n)| format!("{n} by `{}`", by.replace(['`', '\n'], " ")));
            let each: Vec<String> = each.collect();
            if each.is_empty() { "none".to_owned() } else { each.join(", ") }
        };
        let day = |tick: Tick| {
            let time = jiff::Timestamp::from_second(tick).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            time.strftime("%Y-%m-%d").to_string()
        };
        let s = if self.archives == 1 { "" } else { "s" };
        write!(f, "{} archive{s}", self.archives)?;
        if let Some((from, to)) = self.span {
            write!(f, " of {} to {}", day(from), day(to))?;
        }
        write!(f, ", {} incidents, {} of them ruled on. ", self.incidents, self.ruled)?;
        write!(f, "Verdicts: {}. Ends of actions: {}. ", list(&self.judged), list(&self.ended))?;
        write!(f, "Executed rulings by the model in force: {}", list(&self.executed))?;
        match self.propensity {
            Some((least, most)) => {
                write!(f, ", each playbook chosen with a logged probability of {least:.2} to {most:.2}.")
            }
            None => write!(f, "."),
        }
    }
}

/// Reads `archives`; `told` hears how many have been read.
pub fn gather(
    archives: &[PathBuf],
    playbooks: &BTreeMap<String, PlaybookTraits>,
    bounds: &Bounds,
    told: &mut dyn FnMut(usize),
) -> io::Result<Gathered> {
    let mut all = Gathered::default();
    for (at, archive) in archives.iter().enumerate() {
        let reader = Reader::open(archive, Arc::new(Names::default()))?;
        one(&reader, playbooks, bounds, &mut all)?;
        told(at + 1);
    }
    all.story.archives = archives.len();
    all.examples.sort_by_key(|example| (example.time, example.group.0));
    Ok(all)
}

fn one(
    reader: &Reader,
    playbooks: &BTreeMap<String, PlaybookTraits>,
    bounds: &Bounds,
    all: &mut Gathered,
) -> io::Result<()> {
    let (outcomes, judged) = outcomes(reader, &mut all.story)?;
    let (decisions, executed) = decisions(reader, &mut all.story)?;
    propensities(reader, &executed, &mut all.story)?;
    let ruled: FxHashSet<[u8; 16]> = decisions.iter().map(|row| row.incident_id.0).collect();
    // A name is a hash: the smallest are as good a draw as any, and the same in every run.
    let mut drawn: Vec<[u8; 16]> = judged.difference(&ruled.iter().copied().collect()).copied().collect();
    drawn.sort_unstable();
    drawn.truncate(bounds.unruled_max);
    let wanted: FxHashSet<[u8; 16]> = ruled.iter().copied().chain(drawn).collect();
    let incidents = incidents(reader, &wanted, bounds.tenant.as_deref(), &mut all.story)?;
    let mut actions = Vec::new();
    for line in reader.lines::<ActionLine>(None)? {
        let line = line?;
        // What undoes another says nothing of how well a playbook does.
        if line.seq == 0 && line.undo_of.is_none() {
            actions.push((line.action_id, line.decision_id));
        }
    }
    all.story.incidents += wanted.len();
    all.story.ruled += ruled.len();
    all.examples.extend(dataset::join(incidents, outcomes, actions, decisions, playbooks));
    Ok(())
}

fn outcomes(
    reader: &Reader,
    story: &mut Story,
) -> io::Result<(Vec<dataset::OutcomeRow>, BTreeSet<[u8; 16]>)> {
    let (mut rows, mut judged) = (Vec::new(), BTreeSet::new());
    for line in reader.lines::<OutcomeLine>(None)? {
        let line = line?;
        let counted = match line.label_source {
            LabelSource::Human if line.verdict.is_some() => {
                judged.insert(line.incident_id.0);
                Some(&mut story.judged)
            }
            LabelSource::Automation if line.success.is_some() => Some(&mut story.ended),
            LabelSource::Human | LabelSource::Automation | LabelSource::Model => None,
        };
        if let Some(counts) = counted.filter(|_| line.diff > 0) {
            *counts.entry(line.labelled_by.clone()).or_default() += 1;
        }
        rows.push(dataset::OutcomeRow {
            incident_id: line.incident_id,
            action_id: line.action_id,
            tick: line.tick,
            success: line.success,
            verdict: line.verdict,
            label_source: line.label_source,
            diff: line.diff,
        });
    }
    Ok((rows, judged))
}

/// An incident and a playbook that was executed on it, with the tick.
type Executed = FxHashMap<([u8; 16], String), Tick>;

fn decisions(reader: &Reader, story: &mut Story) -> io::Result<(Vec<dataset::DecisionRow>, Executed)> {
    let (mut rows, mut executed) = (Vec::new(), Executed::default());
    for line in reader.lines::<DecisionLine>(None)? {
        let line = line?;
        if line.undoes.is_some() {
            continue;
        }
        let playbook_id = line.playbook_id.map(|id| reader.names().get(id)).unwrap_or_default();
        if line.ruling == Ruling::Execute && line.superseded_by.is_none() {
            *story.executed.entry(reader.names().get(line.model_version)).or_default() += 1;
            executed.insert((line.incident_id.0, playbook_id.clone()), line.tick);
        }
        rows.push(dataset::DecisionRow {
            decision_id: line.decision_id,
            incident_id: line.incident_id,
            tick: line.tick,
            epoch: line.epoch,
            playbook_id,
        });
    }
    Ok((rows, executed))
}

/// The range of probabilities with which what was executed had been chosen: of the candidate that stood then.
fn propensities(reader: &Reader, executed: &Executed, story: &mut Story) -> io::Result<()> {
    let mut stood: FxHashMap<([u8; 16], String), (Tick, f64)> = FxHashMap::default();
    for line in reader.lines::<CandidateLine>(None)? {
        let line = line?;
        let key = (line.incident_id.0, reader.names().get(line.playbook_id));
        if line.diff < 0 || executed.get(&key).is_none_or(|tick| line.tick > *tick) {
            continue;
        }
        let entry = stood.entry(key).or_insert((Tick::MIN, 0.0));
        if line.tick >= entry.0 {
            *entry = (line.tick, line.propensity.value());
        }
    }
    for (_, propensity) in stood.into_values() {
        let (least, most) = story.propensity.unwrap_or((propensity, propensity));
        story.propensity = Some((least.min(propensity), most.max(propensity)));
    }
    Ok(())
}

fn incidents(
    reader: &Reader,
    wanted: &FxHashSet<[u8; 16]>,
    tenant: Option<&str>,
    story: &mut Story,
) -> io::Result<Vec<dataset::IncidentRow>> {
    let mut rows = Vec::new();
    for line in reader.lines::<IncidentLine>(None)? {
        let line = line?;
        if !wanted.contains(&line.incident_id.0) {
            continue;
        }
        let (from, to) = story.span.unwrap_or((line.tick, line.tick));
        story.span = Some((from.min(line.tick), to.max(line.tick)));
        // A version that the model was not asked about has nothing to learn from.
        let tenant = tenant.map_or(line.tenant, |tenant| reader.names().intern(tenant));
        let line = IncidentLine { tenant, ..line };
        rows.extend(features(&line, reader.names()).map(|features| row(&line, features, reader.names())));
    }
    Ok(rows)
}

fn row(line: &IncidentLine, features: Features, names: &Names) -> dataset::IncidentRow {
    let attacks: Vec<String> = line.attacks.iter().map(|id| names.get(*id)).collect();
    let detector = match &line.products[..] {
        [one] => names.get(*one),
        [] => String::new(),
        _ => "several".to_owned(),
    };
    let slices = Slices { tenant: names.get(line.tenant), detector, use_case: String::new() };
    dataset::IncidentRow {
        incident_id: line.incident_id,
        version: line.version,
        tick: line.tick,
        epoch: line.epoch,
        features,
        tactics: tactics_of(&attacks.join(",")),
        slices,
    }
}

/// What the model saw: the archive's numbers, and the keys into its history, which follow from rules and tenant.
fn features(line: &IncidentLine, names: &Names) -> Option<Features> {
    let numeric: [f32; NUMERIC.len()] = line.features.as_deref()?.try_into().ok()?;
    let tokens: [u16; TOKENS] = line.tokens.as_deref()?.try_into().ok()?;
    let rules: Vec<_> = line.rules.iter().copied().zip(line.rule_counts.iter().copied()).collect();
    Some(Features { numeric, tokens, history: history_keys(&rules, line.tenant, names) })
}
