//! The decider of one tenant: candidates and rulings for versions of incidents, and people's answers to them.
//!
//! In: settled versions in order of tick. Out: candidates as they change, a ruling where it matters: a version of an
//! incident that was ruled on before is ruled on again only if the ruling or the playbook changes, and what was
//! executed is never taken back.
//! State: [`Memories`] an incident and [`Spent`] windows; both die by event time.

mod answer;
mod ground;

pub use ground::Ground;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::approved::{Approved, Undertaking};
use super::guard::{self, Weighed};
use super::memory::{Aim, Denied, Executed, Memories, Memory, Question};
use super::spent::{Cost, Spent};
use crate::plan::playbook::Playbook;
use crate::plan::policy::{Mode, Policy};
use crate::rank::propose::Proposal;
use crate::record::{
    Candidate, ContextFacts, Decision, DecisionId, Incident, IncidentId, IncidentKind, IncidentState,
    Judgement, Names, Reason, Ruling, Score, Sym, Tick, Triage, Verb,
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Serialize, Deserialize)]
pub struct Decider {
    tenant: Sym,
    now: Tick,
    memories: Memories,
    spent: Spent,
    /// Changes of ground at the tick under way.
    loose: Vec<ground::Loose>,
    /// Rulings beside those on the versions themselves.
    beside: Vec<Ruled>,
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
        Decider {
            tenant,
            now: Tick::MIN / 2,
            memories: Memories::default(),
            spent: Spent::default(),
            loose: Vec::new(),
            beside: Vec::new(),
        }
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
        self.inherit(case, rules);
        self.look_at_ground(case, rules);
        let ranked = match incident.kind {
            IncidentKind::Linked => true,
            IncidentKind::Background => incident.severity >= rules.policy.solo_severity,
        };
        if !ranked {
            return Rulings::default();
        }
        let denied = self.memories.get(incident.id).map(|memory| memory.denied.clone()).unwrap_or_default();
        let eligible = case.proposals.iter().map(|it| is_eligible(it, incident, &denied, rules));
        let eligible: Vec<bool> = eligible.collect();
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
        let aims = Aim::all(&undertaking, case.context);
        self.say(decision, Some((undertaking, aims)), rules)
    }

    fn rule_on_nothing(&mut self, case: Case<'_>, denied: &[Denied], rules: Rules<'_>) -> Option<Ruled> {
        let asked = |it: &&Proposal| is_denied(it, case.incident, denied, rules);
        let reason = if case.proposals.is_empty() {
            Reason::NoCandidate
        } else if let Some(proposal) = case.proposals.iter().find(|it| !asked(it)) {
            let verb = forbidden_verb(&rules.playbooks[proposal.playbook], rules.policy).unwrap_or_default();
            Reason::VerbNotAllowed { verb: verb.into() }
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
            undoes: None,
        }
    }

    /// Says a ruling if it matters: remembers it, spends what it costs, and approves what it lets be done.
    fn say(
        &mut self,
        decision: Decision,
        undertaking: Option<(Undertaking, Vec<Aim>)>,
        rules: Rules<'_>,
    ) -> Option<Ruled> {
        let memory = self.memory(decision.incident_id, rules.policy);
        // Who is asked must not be asked about what nobody would act on any more.
        let lacks = |asked: &Aim, now: &[Aim]| !now.iter().any(|aim| aim.entity == asked.entity);
        let is_stale =
            memory.question.as_ref().zip(undertaking.as_ref()).is_some_and(|(question, (_, now))| {
                decision.ruling == Ruling::Escalate && question.aims.iter().any(|asked| lacks(asked, now))
            });
        let matters = is_stale || matters(memory, decision.ruling, decision.playbook_id);
        matters.then(|| self.record(decision, undertaking, rules))
    }

    fn record(
        &mut self,
        mut decision: Decision,
        undertaking: Option<(Undertaking, Vec<Aim>)>,
        rules: Rules<'_>,
    ) -> Ruled {
        decision.id = id_of(&decision, rules.names);
        // At one tick it may be ruled again as before something else was ruled: an incident that was split, and its keeper.
        while self.memories.incident_of(decision.id).is_some() {
            decision.id = DecisionId::of(&[&decision.id.0, b"again"]);
        }
        let now = self.now;
        let cost = undertaking.as_ref().and_then(|(it, _)| {
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
            (Ruling::Execute, Some((undertaking, aims)), Some((cost, _))) => {
                memory.executed.push(Executed { decision: decision.clone(), aims });
                memory.entities.extend(cost.touched.iter().map(|key| key.1));
                self.spent.spend(now, decision.playbook_id, cost);
                approved = Some(Approved::new(undertaking));
            }
            (Ruling::Escalate, Some((undertaking, aims)), Some((_, people))) => {
                let approved_by = BTreeSet::default();
                memory.question = Some(Question { undertaking, aims, people, approved_by });
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
            let done = memory.executed.iter().any(|done| done.decision.playbook_id == playbook);
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

fn is_eligible(proposal: &Proposal, incident: &Incident, denied: &[Denied], rules: Rules<'_>) -> bool {
    let playbook = &rules.playbooks[proposal.playbook];
    forbidden_verb(playbook, rules.policy).is_none() && !is_denied(proposal, incident, denied, rules)
}

fn is_denied(proposal: &Proposal, incident: &Incident, denied: &[Denied], rules: Rules<'_>) -> bool {
    let playbook = rules.names.intern(&rules.playbooks[proposal.playbook].id);
    denied.iter().any(|denied| denied.playbook == playbook && denied.holds(proposal, incident))
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
