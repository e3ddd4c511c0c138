//! What people answer, and what becomes of questions on incidents that are no more.

use super::super::memory::Denied;
use super::{Answer, Decider, Ruled, Rules, Rulings, find, replace};
use crate::plan::policy::Policy;
use crate::record::{Approval, Decision, DecisionId, Incident, IncidentState, Reason, Ruling, Tick};

impl Decider {
    /// A merged or split incident: its candidates are withdrawn, its question is closed, what was done moves on.
    pub(super) fn gone(&mut self, incident: &Incident, policy: &Policy) -> Rulings {
        let Some(memory) = self.memories.get(incident.id) else { return Rulings::default() };
        let standing = memory.standing.clone().filter(|standing| standing.ruling == Ruling::Escalate);
        let candidates = replace(&mut self.memory(incident.id, policy).candidates, Vec::new());
        if incident.state == IncidentState::Split {
            let rules = incident.rules.iter().map(|(rule, _)| *rule).collect();
            self.memory(incident.id, policy).split = Some((incident.tick, rules));
        }
        if let Some(into) = incident.merged_into {
            self.memories.merge(incident.id, into, self.now, Tick::from(policy.memory_s));
        }
        let ruled = standing.map(|standing| {
            let mut decision = Decision {
                tick: incident.tick,
                ruling: Ruling::Decline,
                reason: Reason::Gone,
                supersedes: Some(standing.id),
                ..standing.clone()
            };
            // The playbook's name is in the id of what is replaced: that id stands for it here.
            decision.id =
                DecisionId::of(&[&incident.id.0, &incident.tick.to_le_bytes(), &standing.id.0, b"gone"]);
            let memory = self.memory(incident.id, policy);
            memory.superseded.insert(standing.id, decision.id);
            memory.question = None;
            memory.standing = Some(decision.clone());
            self.memories.note(&decision);
            Ruled { decision, undertaking: None }
        });
        Rulings { candidates, ruled }
    }

    /// Takes a person's answer, as of a tick. An approval by people overrides the guard that asked them, and counts
    /// against the windows that bound what is done without them.
    pub fn approve(&mut self, approval: &Approval, tick: Tick, rules: Rules<'_>) -> Answer {
        self.advance(tick, rules.policy);
        let by = approval.by.trim().to_lowercase();
        if by.is_empty() {
            return Answer::Nameless;
        }
        let Some(incident_id) = self.memories.incident_of(approval.decision_id) else {
            return Answer::Unknown;
        };
        let now = self.now;
        let memory = self.memory(incident_id, rules.policy);
        if let Some(by) = memory.superseded.get(&approval.decision_id) {
            return Answer::Superseded { by: *by };
        }
        let standing = memory.standing.clone().filter(|standing| standing.id == approval.decision_id);
        let (Some(standing), Some(question)) = (standing, memory.question.as_mut()) else {
            return Answer::NoQuestion;
        };
        let answered = |ruling, reason| Decision { tick: now, ruling, reason, ..standing.clone() };
        if !approval.approved {
            let targets = question.aims.iter().map(|aim| aim.entity).collect();
            memory.denied.push(Denied { playbook: standing.playbook_id, targets, within: None });
            let decision = answered(Ruling::Decline, Reason::Denied { by });
            return Answer::Resolved(Box::new(self.record(decision, None, rules)));
        }
        if rules.policy.kill_switch {
            return Answer::KillSwitch;
        }
        let hash = question.undertaking.playbook_hash;
        if find(rules, standing.playbook_id).is_none_or(|playbook| playbook.hash != hash) {
            return Answer::PlaybookChanged;
        }
        if !question.approved_by.insert(by) {
            return Answer::Repeated;
        }
        let approved = u32::try_from(question.approved_by.len()).unwrap_or(u32::MAX);
        if approved < question.people {
            return Answer::Waiting { approved, people: question.people };
        }
        let by = question.approved_by.iter().cloned().collect::<Vec<_>>().join(", ");
        let undertaking = (question.undertaking.clone(), question.aims.clone());
        let decision = answered(Ruling::Execute, Reason::Approved { by });
        Answer::Resolved(Box::new(self.record(decision, Some(undertaking), rules)))
    }
}
