//! What was ruled on an incident so far: enough to rule once, to take a person's answer, and to hold to both.
//!
//! State: one entry an incident that was weighed; it dies `memory_s` of event time after its last version or answer.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::{FxHashMap, FxHashSet};

use super::approved::Undertaking;
use crate::record::{Candidate, Decision, DecisionId, Entity, IncidentId, Sym, Tick};

/// An escalated decision that waits for people.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) undertaking: Undertaking,
    pub(super) people: u32,
    pub(super) approved_by: BTreeSet<String>,
}

/// One incident.
#[derive(Clone, Debug, Default)]
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
    pub(super) executed: Vec<(Sym, DecisionId)>,
    /// Playbooks that a person denied: not asked again.
    pub(super) denied: Vec<Sym>,
    /// Rulings that others replaced, with the one that did.
    pub(super) superseded: BTreeMap<DecisionId, DecisionId>,
    /// Entities that its executions touched, observing left out.
    pub(super) entities: FxHashSet<Entity>,
}

/// All remembered incidents of a tenant.
#[derive(Default)]
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
        let Some(old) = self.by_id.get(&from).cloned() else { return };
        let new = self.of(into, now, memory_s);
        for done in old.executed {
            if !new.executed.contains(&done) {
                new.executed.push(done);
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
                let executed = memory.executed.into_iter().map(|(_, id)| id);
                for id in executed.chain(memory.superseded.into_keys()).chain(memory.standing.map(|it| it.id))
                {
                    self.of_decision.remove(&id);
                }
            }
        }
    }

    /// How many incidents are remembered.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}
