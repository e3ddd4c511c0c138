//! The decider of one tenant: candidates and rulings for versions of incidents, and people's answers to them.
//!
//! In: settled versions in order of tick. Out: candidates as they change, a ruling where it matters: a version of an
//! incident that was ruled on before is ruled on again only if the ruling or the playbook changes, and what was
//! executed is never taken back.
//! State: [`Memories`] an incident and [`Spent`] windows; both die by event time.

use std::collections::BTreeSet;

use super::approved::{Approved, Undertaking};
use super::guard::{self, Weighed};
use super::memory::{Memories, Memory, Question};
use super::spent::{Cost, Spent};
use crate::plan::playbook::Playbook;
use crate::plan::policy::{Mode, Policy};
use crate::rank::propose::Proposal;
use crate::record::{
    Approval, Candidate, ContextFacts, Decision, DecisionId, Incident, IncidentId, IncidentKind,
    IncidentState, Judgement, Names, Reason, Ruling, Score, Sym, Tick, Triage, Verb,
};

/// What rulings are made by.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// The policy, its kill switch set where the edge found the file `KILL`.
    pub policy: &'a Policy,
    /// The plan's playbooks, sorted by id.
    pub playbooks: &'a [Playbook],
    /// The process's names.
    pub names: &'a Names,
}

/// A version of an incident with all that bears on the ruling.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The version.
    pub incident: &'a Incident,
    /// Its context.
    pub context: &'a ContextFacts,
    /// The playbooks that fit.
    pub proposals: &'a [Proposal],
    /// The model's answer, a score a proposal.
    pub judgement: &'a Judgement,
    /// The model that gave it.
    pub model: Sym,
}

/// A ruling, and what it lets `act` do.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruled {
    /// The ruling.
    pub decision: Decision,
    /// What is to be carried out; none unless the ruling is to execute.
    pub undertaking: Option<Approved<Undertaking>>,
}

/// What a version led to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rulings {
    /// Candidates that changed: withdrawn with the score that they had, then said anew.
    pub candidates: Vec<Candidate>,
    /// The ruling, where it matters.
    pub ruled: Option<Ruled>,
}

/// What an approval or denial led to.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It settled the question.
    Resolved(Box<Ruled>),
    /// More people must approve.
    Waiting {
        /// People who have.
        approved: u32,
        /// People who must.
        people: u32,
    },
    /// The same person said so before: it counts once.
    Repeated,
    /// Another ruling has taken its place; answer that one.
    Superseded {
        /// Which.
        by: DecisionId,
    },
    /// It was not, or is no longer, a question.
    NoQuestion,
    /// No such decision is remembered.
    Unknown,
    /// It does not say who.
    Nameless,
    /// Nothing is executed while the kill switch is on.
    KillSwitch,
    /// The plan no longer has the playbook as it was when people were asked.
    PlaybookChanged,
}

/// The decider of one tenant.
pub struct Decider {
    tenant: Sym,
    now: Tick,
    memories: Memories,
    spent: Spent,
}

/// The playbook that the ruling is on.
struct Choice {
    at: usize,
    /// Each proposal's probability of having been chosen.
    propensities: Vec<Score>,
}

impl Decider {
    /// A decider without a past.
    #[must_use]
    pub fn new(tenant: Sym) -> Decider {
        Decider { tenant, now: Tick::MIN / 2, memories: Memories::default(), spent: Spent::default() }
    }

    /// How many incidents are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.memories.len()
    }

    /// Weighs a version and rules on it. Versions must come in order of tick; one that does not counts as of now.
    pub fn decide(&mut self, case: Case<'_>, rules: Rules<'_>) -> Rulings {
        let Case { incident, .. } = case;
        self.advance(incident.tick, rules.policy);
        match incident.state {
            IncidentState::Open | IncidentState::Closed => {}
            IncidentState::Merged | IncidentState::Split => return self.gone(incident, rules.policy),
        }
        let ranked = match incident.kind {
            IncidentKind::Linked => true,
            IncidentKind::Background => incident.severity >= rules.policy.solo_severity,
        };
        if !ranked {
            return Rulings::default();
        }
        let denied = self.memories.get(incident.id).map(|memory| memory.denied.clone()).unwrap_or_default();
        let eligible: Vec<bool> = case.proposals.iter().map(|it| is_eligible(it, &denied, rules)).collect();
        let choice = self.choose(case, &eligible, rules);
        let candidates = self.weigh(case, &eligible, choice.as_ref(), rules);
        let ruling = match &choice {
            Some(choice) => self.rule_on(case, choice.at, rules),
            None => self.rule_on_nothing(case, &denied, rules),
        };
        Rulings { candidates, ruled: ruling }
    }

    fn advance(&mut self, tick: Tick, policy: &Policy) {
        self.now = self.now.max(tick);
        self.spent.advance(self.now, policy);
        self.memories.advance(self.now, Tick::from(policy.memory_s));
    }

    fn memory(&mut self, id: IncidentId, policy: &Policy) -> &mut Memory {
        self.memories.of(id, self.now, Tick::from(policy.memory_s))
    }

    /// The best by score, then least impact, then id; or, where the policy explores, one drawn by the data's hash.
    fn choose(&self, case: Case<'_>, eligible: &[bool], rules: Rules<'_>) -> Option<Choice> {
        let playbook = |at: usize| &rules.playbooks[case.proposals[at].playbook];
        let mut order: Vec<usize> = (0..case.proposals.len()).filter(|at| eligible[*at]).collect();
        order.sort_by_key(|at| {
            let shadow = rules.policy.mode(playbook(*at)) == Mode::Shadow;
            (shadow, std::cmp::Reverse(score(case, *at)), playbook(*at).impact, *at)
        });
        let best = *order.first()?;
        let mut propensities = vec![Score(0); case.proposals.len()];
        propensities[best] = Score::ONE;
        let rate = rules.policy.exploration.rate.0;
        let floor = rules.policy.floors.execute.score.0;
        order.retain(|at| score(case, *at) >= floor && rules.policy.mode(playbook(*at)) != Mode::Shadow);
        let executes = self.ruling(case, best, rules).0 == Ruling::Execute;
        if rate == Score(0) || order.len() < 2 || !executes {
            return Some(Choice { at: best, propensities });
        }
        let share = rate.0 / u16::try_from(order.len()).unwrap_or(u16::MAX);
        for at in &order {
            propensities[*at] = Score(share);
        }
        let others = share * u16::try_from(order.len() - 1).unwrap_or(0);
        propensities[best] = Score(Score::ONE.0 - others);
        let (whether, which) = draws(case.incident, rules.policy.exploration.seed);
        // The draw's part that the best would win anyway is the remainder of the division.
        let at = if whether < u64::from(others) { order[1 + which % (order.len() - 1)] } else { best };
        Some(Choice { at, propensities })
    }

    fn ruling(&self, case: Case<'_>, at: usize, rules: Rules<'_>) -> (Ruling, Reason) {
        let proposal = &case.proposals[at];
        let playbook = &rules.playbooks[proposal.playbook];
        let cost = Cost::of(playbook, &proposal.targets);
        let none = rustc_hash::FxHashSet::default();
        let before = self.memories.get(case.incident.id).map_or(&none, |memory| &memory.entities);
        if case.judgement.triage != Triage::TruePositive {
            return (Ruling::Decline, Reason::NotAnAttack);
        }
        let weighed = Weighed {
            playbook,
            score: score(case, at),
            judgement: case.judgement,
            protected: guard::protected(&proposal.targets, case.context, rules.policy, rules.names),
            overspent: self.spent.objection(&cost, rules.names.intern(&playbook.id), before, rules.policy),
        };
        guard::rule(weighed, rules.policy)
    }

    fn rule_on(&mut self, case: Case<'_>, at: usize, rules: Rules<'_>) -> Option<Ruled> {
        let (ruling, reason) = self.ruling(case, at, rules);
        let proposal = &case.proposals[at];
        let playbook = &rules.playbooks[proposal.playbook];
        let undertaking = Undertaking {
            playbook_id: rules.names.intern(&playbook.id),
            playbook_hash: playbook.hash,
            mode: rules.policy.mode(playbook),
            targets: proposal.targets.clone(),
        };
        let decision = self.decision(case, undertaking.playbook_id, score(case, at), ruling, reason);
        self.say(decision, Some(undertaking), rules)
    }

    fn rule_on_nothing(&mut self, case: Case<'_>, denied: &[Sym], rules: Rules<'_>) -> Option<Ruled> {
        let names = rules.names;
        let asked = |it: &&Proposal| denied.contains(&names.intern(&rules.playbooks[it.playbook].id));
        let reason = if case.proposals.is_empty() {
            Reason::NoCandidate
        } else if let Some(proposal) = case.proposals.iter().find(|it| !asked(it)) {
            let verb = forbidden_verb(&rules.playbooks[proposal.playbook], rules.policy).unwrap_or_default();
            Reason::VerbNotAllowed { verb }
        } else {
            Reason::AllDenied
        };
        let decision = self.decision(case, Sym::EMPTY, Score(0), Ruling::Decline, reason);
        self.say(decision, None, rules)
    }

    fn decision(
        &self,
        case: Case<'_>,
        playbook_id: Sym,
        score: Score,
        ruling: Ruling,
        reason: Reason,
    ) -> Decision {
        Decision {
            id: DecisionId::default(),
            incident_id: case.incident.id,
            tick: case.incident.tick,
            tenant: self.tenant,
            playbook_id,
            ruling,
            reason,
            score,
            confidence: case.judgement.confidence,
            model_version: case.model,
            supersedes: None,
        }
    }

    /// Says a ruling if it matters: remembers it, spends what it costs, and approves what it lets be done.
    fn say(
        &mut self,
        decision: Decision,
        undertaking: Option<Undertaking>,
        rules: Rules<'_>,
    ) -> Option<Ruled> {
        let incident = decision.incident_id;
        let matters = matters(self.memory(incident, rules.policy), decision.ruling, decision.playbook_id);
        matters.then(|| self.record(decision, undertaking, rules))
    }

    fn record(
        &mut self,
        mut decision: Decision,
        undertaking: Option<Undertaking>,
        rules: Rules<'_>,
    ) -> Ruled {
        decision.id = id_of(&decision, rules.names);
        // At one tick it may be ruled again as before something else was ruled: an incident that was split, and its keeper.
        while self.memories.incident_of(decision.id).is_some() {
            decision.id = DecisionId::of(&[&decision.id.0, b"again"]);
        }
        let now = self.now;
        let cost = undertaking.as_ref().and_then(|it| {
            let playbook = find(rules, it.playbook_id)?;
            Some((Cost::of(playbook, &it.targets), rules.policy.people(playbook)))
        });
        let memory = self.memory(decision.incident_id, rules.policy);
        decision.supersedes = memory.standing.take().map(|earlier| earlier.id);
        if let Some(earlier) = decision.supersedes {
            memory.superseded.insert(earlier, decision.id);
        }
        memory.question = None;
        let mut approved = None;
        match (decision.ruling, undertaking, cost) {
            (Ruling::Execute, Some(undertaking), Some((cost, _))) => {
                memory.executed.push((decision.playbook_id, decision.id));
                memory.entities.extend(cost.touched.iter().map(|key| key.1));
                self.spent.spend(now, decision.playbook_id, cost);
                approved = Some(Approved::new(undertaking));
            }
            (Ruling::Escalate, Some(undertaking), Some((_, people))) => {
                memory.question = Some(Question { undertaking, people, approved_by: BTreeSet::default() });
                memory.standing = Some(decision.clone());
            }
            (Ruling::Execute | Ruling::Escalate | Ruling::Decline, _, _) => {
                memory.standing = Some(decision.clone());
            }
        }
        self.memories.note(&decision);
        Ruled { decision, undertaking: approved }
    }

    /// Candidates as they changed.
    fn weigh(
        &mut self,
        case: Case<'_>,
        eligible: &[bool],
        choice: Option<&Choice>,
        rules: Rules<'_>,
    ) -> Vec<Candidate> {
        let tenant = self.tenant;
        let fresh: Vec<Candidate> = (0..case.proposals.len())
            .map(|at| Candidate {
                incident_id: case.incident.id,
                tick: case.incident.tick,
                tenant,
                playbook_id: rules.names.intern(&rules.playbooks[case.proposals[at].playbook].id),
                score: score(case, at),
                propensity: choice.map_or(Score(0), |choice| choice.propensities[at]),
                eligible: eligible[at],
                diff: 1,
            })
            .collect();
        replace(&mut self.memory(case.incident.id, rules.policy).candidates, fresh)
    }

    /// A merged or split incident: its candidates are withdrawn, its question is closed, what was done moves on.
    fn gone(&mut self, incident: &Incident, policy: &Policy) -> Rulings {
        let Some(memory) = self.memories.get(incident.id) else { return Rulings::default() };
        let standing = memory.standing.clone().filter(|standing| standing.ruling == Ruling::Escalate);
        let candidates = replace(&mut self.memory(incident.id, policy).candidates, Vec::new());
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
            memory.denied.push(standing.playbook_id);
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
        let undertaking = question.undertaking.clone();
        let decision = answered(Ruling::Execute, Reason::Approved { by });
        Answer::Resolved(Box::new(self.record(decision, Some(undertaking), rules)))
    }
}

/// Whether a ruling says something new of the incident.
fn matters(memory: &Memory, ruling: Ruling, playbook: Sym) -> bool {
    match ruling {
        Ruling::Decline => match &memory.standing {
            // What was taken apart and goes on is ruled on anew.
            Some(standing) => standing.ruling == Ruling::Escalate || standing.reason == Reason::Gone,
            None => memory.executed.is_empty(),
        },
        Ruling::Execute | Ruling::Escalate => {
            let done = memory.executed.iter().any(|(id, _)| *id == playbook);
            let same = |it: &Decision| it.ruling == ruling && it.playbook_id == playbook;
            !done && !memory.standing.as_ref().is_some_and(same)
        }
    }
}

fn replace(standing: &mut Vec<Candidate>, mut fresh: Vec<Candidate>) -> Vec<Candidate> {
    let mut changes = Vec::new();
    for old in standing.iter() {
        match fresh.iter_mut().find(|new| new.playbook_id == old.playbook_id) {
            // Unchanged: the row said earlier stands, with its tick.
            Some(new)
                if (new.score, new.propensity, new.eligible) == (old.score, old.propensity, old.eligible) =>
            {
                *new = old.clone();
            }
            Some(_) | None => changes.push(Candidate { diff: -1, ..old.clone() }),
        }
    }
    changes.extend(fresh.iter().filter(|new| !standing.contains(new)).cloned());
    *standing = fresh;
    changes
}

/// A score that the model did not give is the lowest.
fn score(case: Case<'_>, at: usize) -> Score {
    case.judgement.scores.get(at).copied().unwrap_or_default()
}

fn find(rules: Rules<'_>, id: Sym) -> Option<&Playbook> {
    rules.playbooks.iter().find(|playbook| rules.names.intern(&playbook.id) == id)
}

fn is_eligible(proposal: &Proposal, denied: &[Sym], rules: Rules<'_>) -> bool {
    let playbook = &rules.playbooks[proposal.playbook];
    forbidden_verb(playbook, rules.policy).is_none() && !denied.contains(&rules.names.intern(&playbook.id))
}

fn forbidden_verb(playbook: &Playbook, policy: &Policy) -> Option<&'static str> {
    let mut verbs = playbook.actions().map(|(_, action)| action.parameters.verb);
    verbs.find(|verb| !policy.allow_verbs.contains(verb)).map(Verb::name)
}

fn id_of(decision: &Decision, names: &Names) -> DecisionId {
    let playbook = names.get(decision.playbook_id);
    let tick = decision.tick.to_le_bytes();
    DecisionId::of(&[&decision.incident_id.0, &tick, playbook.as_bytes(), decision.ruling.name().as_bytes()])
}

/// Two draws from `hash(incident, tick, seed)`: the first in 0..10,000, the second any number.
fn draws(incident: &Incident, seed: u64) -> (u64, usize) {
    let id = DecisionId::of(&[&incident.id.0, &incident.tick.to_le_bytes(), &seed.to_le_bytes(), b"explore"]);
    let (a, b) = id.0.split_at(8);
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    (number(a) % 10_000, usize::try_from(number(b) >> 40).unwrap_or(0))
}
