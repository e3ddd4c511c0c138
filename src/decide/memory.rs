//! What was ruled on an incident so far: enough to rule once, to take a person's answer, and to hold to both.
//!
//! State: one entry an incident that was weighed; it dies `memory_s` of event time after its last version or answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use serde::{Deserialize, Serialize};

use super::approved::Undertaking;
use crate::rank::propose::Proposal;
use crate::record::{
    Candidate, ContextFacts, Decision, DecisionId, Entity, Incident, IncidentId, Lost, Sym, Target, Tick,
};

/// An escalated decision that waits for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) undertaking: Undertaking,
    /// What of it is acted on.
    pub(super) aims: Vec<Aim>,
    pub(super) people: u32,
    pub(super) approved_by: BTreeSet<String>,
}

/// One entity that a ruling acts on, with its ground.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Aim {
    pub(super) entity: Entity,
    /// Whether it was an indicator when it was ruled on, and that may have been why.
    pub(super) indicator: bool,
    /// Whether a table of context ever said that it is protected.
    pub(super) guarded: bool,
    /// What took its ground; none while it stands.
    pub(super) lost: Option<Lost>,
}

impl Aim {
    /// Those of an undertaking, each entity once.
    pub(super) fn all(undertaking: &Undertaking, context: &ContextFacts) -> Vec<Aim> {
        let mut aims: Vec<Aim> = Vec::new();
        for entity in entities(&undertaking.targets) {
            if !aims.iter().any(|aim| aim.entity == entity) {
                let indicator = context.indicators.contains(&entity);
                let guarded = context.protected.contains(&entity);
                aims.push(Aim { entity, indicator, guarded, lost: None });
            }
        }
        aims
    }
}

/// The entities that steps act on.
pub(super) fn entities(targets: &[(usize, Vec<Target>)]) -> impl Iterator<Item = Entity> + '_ {
    targets.iter().flat_map(|(_, targets)| targets).filter_map(|target| match target {
        Target::Entity(entity) => Some(*entity),
        Target::Incident(_) => None,
    })
}

/// An execution, with the ground of each entity that it acted on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Executed {
    pub(super) decision: Decision,
    pub(super) aims: Vec<Aim>,
}

/// A playbook that a person denied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Denied {
    pub(super) playbook: Sym,
    /// What it would have acted on.
    pub(super) targets: Vec<Entity>,
    /// For a part of the incident that it was denied for: the rules that had fired there. None for the incident itself.
    pub(super) within: Option<Arc<[Sym]>>,
}

impl Denied {
    /// Whether it is denied for the incident as it is now.
    pub(super) fn holds(&self, proposal: &Proposal, incident: &Incident) -> bool {
        let Some(rules) = &self.within else { return true };
        incident.rules.iter().all(|(rule, _)| rules.contains(rule))
            && entities(&proposal.targets).all(|entity| self.targets.contains(&entity))
    }
}

/// One incident.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    /// The newest tick at which something happened to it.
    pub(super) touched: Tick,
    /// Candidates as they stand, with the score that was given: a withdrawal must carry it.
    pub(super) candidates: Vec<Candidate>,
    /// The ruling that stands, unless it was executed.
    pub(super) standing: Option<Decision>,
    /// What the standing ruling asks people.
    pub(super) question: Option<Question>,
    /// Executed playbooks: never again for this incident.
    pub(super) executed: Vec<Executed>,
    /// Playbooks that a person denied: not asked again.
    pub(super) denied: Vec<Denied>,
    /// When it was last taken apart, and the rules that had fired in it.
    pub(super) split: Option<(Tick, Arc<[Sym]>)>,
    /// It became part of another, which has all of this.
    pub(super) merged: bool,
    /// Rulings that others replaced, with the one that did.
    pub(super) superseded: BTreeMap<DecisionId, DecisionId>,
    /// Entities that its executions touched, observing left out.
    pub(super) entities: FxHashSet<Entity>,
}

/// All remembered incidents of a tenant.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Memories {
    by_id: FxHashMap<IncidentId, Memory>,
    of_decision: FxHashMap<DecisionId, IncidentId>,
    /// When to look whether an incident has been forgotten; an entry an incident.
    deaths: BTreeSet<(Tick, IncidentId)>,
}

impl Memories {
    /// The incident's memory, begun where there is none.
    pub(super) fn of(&mut self, id: IncidentId, now: Tick, memory_s: Tick) -> &mut Memory {
        let deaths = &mut self.deaths;
        let memory = self.by_id.entry(id).or_insert_with(|| {
            deaths.insert((now + memory_s, id));
            Memory::default()
        });
        memory.touched = memory.touched.max(now);
        memory
    }

    pub(super) fn get(&self, id: IncidentId) -> Option<&Memory> {
        self.by_id.get(&id)
    }

    /// The incident that a remembered decision is on.
    pub(super) fn incident_of(&self, id: DecisionId) -> Option<IncidentId> {
        self.of_decision.get(&id).copied()
    }

    pub(super) fn note(&mut self, decision: &Decision) {
        self.of_decision.insert(decision.id, decision.incident_id);
    }

    /// What a merged incident's executions and denials were holds for the one that took it in.
    pub(super) fn merge(&mut self, from: IncidentId, into: IncidentId, now: Tick, memory_s: Tick) {
        let Some(old) = self.by_id.get_mut(&from) else { return };
        old.merged = true;
        let old = old.clone();
        let new = self.of(into, now, memory_s);
        new.merged = false;
        for done in old.executed {
            match new.executed.iter_mut().find(|own| own.decision.id == done.decision.id) {
                Some(own) => join(&mut own.aims, done.aims),
                None => new.executed.push(done),
            }
        }
        for denied in old.denied {
            if !new.denied.contains(&denied) {
                new.denied.push(denied);
            }
        }
        new.entities.extend(old.entities);
    }

    /// Forgets what has had its time.
    pub(super) fn advance(&mut self, now: Tick, memory_s: Tick) {
        while let Some((due, id)) = self.deaths.first().copied().filter(|(due, _)| *due <= now) {
            self.deaths.remove(&(due, id));
            let dies = self.by_id.get(&id).map_or(now, |memory| memory.touched + memory_s);
            if dies > now {
                self.deaths.insert((dies, id));
            } else if let Some(memory) = self.by_id.remove(&id) {
                let executed = memory.executed.into_iter().map(|done| done.decision.id);
                let standing = memory.standing.map(|it| it.id);
                for decision in executed.chain(memory.superseded.into_keys()).chain(standing) {
                    // What a part carries is the decision of the incident that it was part of.
                    if self.of_decision.get(&decision) == Some(&id) {
                        self.of_decision.remove(&decision);
                    }
                }
            }
        }
    }

    /// Whether an entity that a decision acted on has its ground in any incident.
    pub(super) fn is_carried(&self, decision: DecisionId, entity: Entity) -> bool {
        let stands = |aim: &Aim| aim.entity == entity && aim.lost.is_none();
        let executed = self.by_id.values().filter(|memory| !memory.merged).flat_map(|it| &it.executed);
        executed.into_iter().any(|done| done.decision.id == decision && done.aims.iter().any(stands))
    }

    /// The incident's memory, where there is one.
    pub(super) fn get_mut(&mut self, id: IncidentId) -> Option<&mut Memory> {
        self.by_id.get_mut(&id)
    }

    /// How many incidents are remembered.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}

/// What one execution acted on, as two incidents that became one know it: ground in either is ground.
fn join(own: &mut Vec<Aim>, others: Vec<Aim>) {
    for other in others {
        match own.iter_mut().find(|aim| aim.entity == other.entity) {
            Some(aim) => {
                aim.indicator &= other.indicator;
                aim.guarded |= other.guarded;
                aim.lost = aim.lost.and(other.lost);
            }
            None => own.push(other),
        }
    }
}
