//! Ground: what of an incident's executions and denials holds for its parts, and what of it holds no more.
//!
//! An execution acted on entities. Each has its *ground* in the incident that was ruled on, and, once that was taken apart,
//! in each part that carries it:
//!
//! - The part that keeps the name keeps what was executed and denied. A target that none of its alerts has is lost to it.
//! - A new part carries what was executed on a target where it would by itself be done without asking anybody: the
//!   playbook fits it, with that target; it is taken for an attack; score and confidence reach the floors of execution. Then
//!   the playbook counts as executed for it, so it is not executed again, and a decision says so (`carried`). Any other part
//!   is ruled on anew: people may be asked, and what they approve joins what stands, unless it was undone by then.
//! - A new part carries a denial while the playbook would act there on nothing but what was denied, and no rule has fired
//!   in it that had not in the whole: that would be new evidence, on which people are asked anew.
//!
//! A target that was an indicator loses its ground when it is one no more, unless by what is known now the same would be
//! done to it: the playbook fits, with it, and the score (and the confidence, where nobody had been asked) reaches the floor
//! that it was done by. Ground comes back with the entity, or with the indicator.
//!
//! Where no incident has an entity's ground any more, that is told once, as [`Ground`]; `act` undoes what policy and people
//! let it. An incident that has closed is ground still: time withdraws nothing. What is told is a function of the versions
//! of one tick together, so that no order of parts shows in it. State: in [`super::super::memory`], and dies with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::memory::{Aim, Denied, Executed, entities};
use super::{Case, Decider, Ruled, Rules, score};
use crate::rank::propose::Proposal;
use crate::record::{Decision, DecisionId, Entity, IncidentId, Lost, Reason, Ruling, Score, Tick, Triage};

/// A change of the ground on which a decision was executed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ground {
    /// The executed decision.
    pub decision: Decision,
    /// The tick of the version that showed it.
    pub tick: Tick,
    /// The entities concerned, each with whether a table of context said that it is protected.
    pub targets: Vec<(Entity, bool)>,
    /// What took the ground; none where it stands again.
    pub lost: Option<Lost>,
}

/// An entity whose ground changed in one incident.
#[derive(Serialize, Deserialize)]
pub(super) struct Loose {
    decision: Decision,
    tick: Tick,
    aim: Aim,
}

impl Decider {
    /// What changed at the tick under way, when all versions of it were decided: rulings beside those on the versions, and
    /// ground that no incident has any more, or one has again.
    pub fn settle_ground(&mut self) -> (Vec<Ruled>, Vec<Ground>) {
        let mut all: BTreeMap<(DecisionId, Option<Lost>), Ground> = BTreeMap::new();
        for Loose { decision, tick, aim } in std::mem::take(&mut self.loose) {
            if aim.lost.is_some() == self.memories.is_carried(decision.id, aim.entity) {
                continue;
            }
            let ground = all.entry((decision.id, aim.lost)).or_insert_with(|| Ground {
                decision,
                tick,
                targets: Vec::new(),
                lost: aim.lost,
            });
            if !ground.targets.iter().any(|(entity, _)| *entity == aim.entity) {
                ground.targets.push((aim.entity, aim.guarded));
            }
        }
        (std::mem::take(&mut self.beside), all.into_values().collect())
    }

    /// A part's first version: what of the whole's denials and executions holds for it.
    pub(super) fn inherit(&mut self, case: Case<'_>, rules: Rules<'_>) {
        let incident = case.incident;
        let whole = incident.succeeds.filter(|_| self.memories.get(incident.id).is_none());
        let Some(whole) = whole.and_then(|id| self.memories.get(id)) else { return };
        let Some((_, fired)) = whole.split.as_ref().filter(|(tick, _)| *tick == incident.tick) else {
            return;
        };
        let denied: Vec<Denied> = whole
            .denied
            .iter()
            .map(|it| Denied {
                within: Some(it.within.clone().unwrap_or_else(|| fired.clone())),
                ..it.clone()
            })
            .collect();
        let floors = &rules.policy.floors.execute;
        let floor = (floors.score.0, floors.confidence.0);
        let carried = whole.executed.iter().filter_map(|done| {
            // What the part that keeps the name has lost at this tick may be here: the parts come in no order.
            let own = |aim: &&Aim| {
                aim.lost != Some(Lost::Indicator) && wanted(case, done, aim.entity, floor, rules)
            };
            let aims = done.aims.iter().filter(own).map(|aim| Aim { lost: None, ..aim.clone() });
            let aims: Vec<Aim> = aims.collect();
            (!aims.is_empty()).then(|| Executed { decision: done.decision.clone(), aims })
        });
        let carried: Vec<Executed> = carried.collect();
        let memory = self.memory(incident.id, rules.policy);
        memory.denied = denied;
        memory.entities.extend(carried.iter().flat_map(|done| &done.aims).map(|aim| aim.entity));
        memory.executed.clone_from(&carried);
        for Executed { decision: done, .. } in carried {
            let reason = Reason::Carried { decision: done.id };
            let decision = self.decision(case, done.playbook_id, done.score, Ruling::Decline, reason);
            let ruled = self.record(decision, None, rules);
            self.beside.push(ruled);
        }
    }

    /// Whether what was executed on the incident has its ground there still, or again.
    pub(super) fn look_at_ground(&mut self, case: Case<'_>, rules: Rules<'_>) {
        let (incident, context) = (case.incident, case.context);
        let id: IncidentId = incident.id;
        let Some(memory) = self.memories.get_mut(id).filter(|memory| !memory.executed.is_empty()) else {
            return;
        };
        let parted = memory.split.as_ref().is_some_and(|(tick, _)| *tick == incident.tick);
        // Of a flood's entities not all are listed: that one is missing tells nothing then.
        let all_listed = incident.entity_count as usize <= incident.entities.len();
        let floors = &rules.policy.floors;
        for done in &mut memory.executed {
            let asked = matches!(done.decision.reason, Reason::Approved { .. });
            let alone = (floors.execute.score.0, floors.execute.confidence.0);
            let floor = if asked { (floors.escalate.0, Score(0)) } else { alone };
            let known = done.clone();
            for aim in &mut done.aims {
                aim.guarded |= context.protected.contains(&aim.entity);
                let there = incident.entities.contains(&aim.entity);
                let marked = context.indicators.contains(&aim.entity);
                let is_wanted = || wanted(case, &known, aim.entity, floor, rules);
                let lost = match aim.lost {
                    None if parted && all_listed && !there => Some(Lost::Parted),
                    None if aim.indicator && there && !marked => {
                        let lost = (!is_wanted()).then_some(Lost::Indicator);
                        // What stands without the indicator does not hang on it any more.
                        aim.indicator = lost.is_some();
                        lost
                    }
                    Some(Lost::Parted) if there => None,
                    Some(Lost::Indicator) if there && (marked || is_wanted()) => None,
                    before @ (None | Some(Lost::Parted | Lost::Indicator)) => before,
                };
                if lost != aim.lost {
                    aim.lost = lost;
                    let (decision, aim) = (known.decision.clone(), aim.clone());
                    self.loose.push(Loose { decision, tick: incident.tick, aim });
                }
            }
        }
    }
}

/// Whether by what is known now the same playbook would be weighed highly enough, with the entity among its targets.
fn wanted(
    case: Case<'_>,
    done: &Executed,
    entity: Entity,
    (least, confidence): (Score, Score),
    rules: Rules<'_>,
) -> bool {
    let same =
        |it: &Proposal| rules.names.intern(&rules.playbooks[it.playbook].id) == done.decision.playbook_id;
    let Some(at) = case.proposals.iter().position(same) else { return false };
    case.judgement.triage == Triage::TruePositive
        && score(case, at) >= least
        && case.judgement.confidence >= confidence
        && entities(&case.proposals[at].targets).any(|target| target == entity)
}
