//! The ruling itself: a pure function of the chosen playbook and what was spent, answered with its reason.

use crate::plan::playbook::Playbook;
use crate::plan::policy::{Mode, Policy};
use crate::record::{ContextFacts, Entity, Judgement, Names, Reason, Ruling, Score, Target};

/// Whether a target is one that only a person may decide on: by the context's tables or the policy's patterns.
pub(super) fn protected(
    targets: &[(usize, Vec<Target>)],
    context: &ContextFacts,
    policy: &Policy,
    names: &Names,
) -> Option<Entity> {
    let entities = targets.iter().flat_map(|(_, targets)| targets).filter_map(|target| match target {
        Target::Entity(entity) => Some(*entity),
        Target::Incident(_) => None,
    });
    entities.into_iter().find(|entity| {
        context.protected.contains(entity)
            || names.with(entity.value, |value| {
                policy.protected.iter().any(|pattern| pattern.covers(entity.kind, value))
            })
    })
}

/// What is ruled of the best playbook, before budgets are looked at.
pub(super) struct Weighed<'a> {
    pub(super) playbook: &'a Playbook,
    pub(super) score: Score,
    pub(super) judgement: &'a Judgement,
    pub(super) protected: Option<Entity>,
    /// What blast radius or budget objects to.
    pub(super) overspent: Option<Reason>,
}

/// Rules on one playbook. Guards come in the order of how much they say to the person who is asked.
pub(super) fn rule(weighed: Weighed<'_>, policy: &Policy) -> (Ruling, Reason) {
    let floors = &policy.floors;
    let (score, confidence) = (weighed.score, weighed.judgement.confidence);
    if score < floors.escalate.0 {
        return (Ruling::Decline, Reason::BelowFloor { score, floor: floors.escalate.0 });
    }
    if policy.mode(weighed.playbook) == Mode::Shadow {
        return (Ruling::Decline, Reason::Shadow);
    }
    if policy.kill_switch {
        return (Ruling::Escalate, Reason::KillSwitch);
    }
    if let Some(entity) = weighed.protected {
        return (Ruling::Escalate, Reason::Protected { entity });
    }
    if policy.people_always(weighed.playbook).is_some() {
        return (Ruling::Escalate, Reason::NeedsApproval);
    }
    if score < floors.execute.score.0 {
        return (
            Ruling::Escalate,
            Reason::LowConfidence { confidence: score, floor: floors.execute.score.0 },
        );
    }
    if confidence < floors.execute.confidence.0 {
        return (Ruling::Escalate, Reason::LowConfidence { confidence, floor: floors.execute.confidence.0 });
    }
    if let Some(reason) = weighed.overspent {
        return (Ruling::Escalate, reason);
    }
    (Ruling::Execute, Reason::Confident)
}
