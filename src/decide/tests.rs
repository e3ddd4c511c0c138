//! Tests: every reason can be had, rulings change only where it matters, and no stream spends more than is allowed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::fixture::{Plan, shipped};
use super::*;
use crate::plan::policy::{Fraction, Mode, Pattern, VerbClass};
use crate::record::{
    Approval, ContextFacts, Decision, DecisionId, Entity, Incident, IncidentKind, IncidentState, Ruling,
    Score, Severity, Sym, Target, Tick, Triage, Verb,
};

fn text(plan: &Plan, rulings: &Rulings) -> String {
    rulings.ruled.as_ref().map_or("-".to_owned(), |ruled| {
        format!("{} {}", ruled.decision.ruling.name(), ruled.decision.reason.text(&plan.names))
    })
}

fn one(plan: &Plan, attacks: &str, entities: &str, scores: &[(&str, f32)], confidence: f32) -> String {
    let incident = plan.incident("i", 10, attacks, entities);
    text(plan, &plan.decide(&mut Decider::new(Sym::EMPTY), &incident, scores, confidence))
}

const CONTAIN: &str = "ransomware-contain-host";
const BLOCK: &str = "credential-stuffing-block";

#[test]
fn every_reason_can_be_had() {
    let mut plan = shipped();
    let ransom =
        |plan: &Plan, score, confidence| one(plan, "T1021", "host:h1", &[(CONTAIN, score)], confidence);
    assert_eq!(
        ransom(&plan, 0.9, 0.95),
        "execute confident: score and confidence reach the floors, no guard objects"
    );
    assert_eq!(ransom(&plan, 0.5, 0.95), "escalate low_confidence: 0.5000, acting alone takes 0.8000");
    assert_eq!(ransom(&plan, 0.9, 0.5), "escalate low_confidence: 0.5000, acting alone takes 0.9000");
    assert_eq!(ransom(&plan, 0.1, 0.95), "decline below_floor: score 0.1000, a person is asked from 0.4000");
    assert_eq!(one(&plan, "T1021", "host:dc-1", &[(CONTAIN, 0.9)], 0.95), "escalate protected: host:dc-1");
    assert_eq!(
        one(&plan, "T1021", "host:h1 user:ada", &[("ransomware-lockdown", 0.9)], 0.95),
        "escalate needs_approval: the policy always asks a person"
    );
    let mut informational = plan.incident("i", 10, "T1021", "host:h1");
    informational.severity = Severity::Informational;
    let rulings = plan.decide(&mut Decider::new(Sym::EMPTY), &informational, &[], 0.9);
    assert_eq!(text(&plan, &rulings), "decline no_candidate: no playbook fits the incident");
    let incident = plan.incident("i", 10, "T1021", "host:h1");
    let rulings = plan.decide_with(
        &mut Decider::new(Sym::EMPTY),
        &incident,
        &ContextFacts::default(),
        &[(CONTAIN, 0.9)],
        (Triage::FalsePositive, 0.99),
    );
    assert_eq!(text(&plan, &rulings), "decline not_an_attack: the model does not take it for an attack");
    let context = ContextFacts {
        protected: vec![Entity::parse("host:h1", &plan.names).unwrap()],
        ..Default::default()
    };
    let rulings = plan.decide_with(
        &mut Decider::new(Sym::EMPTY),
        &incident,
        &context,
        &[(CONTAIN, 0.9)],
        (Triage::TruePositive, 0.99),
    );
    assert_eq!(text(&plan, &rulings), "escalate protected: host:h1");
    plan.policy.modes.insert(CONTAIN.to_owned(), Mode::Shadow);
    plan.policy.modes.insert("investigate-and-notify".to_owned(), Mode::Shadow);
    assert_eq!(ransom(&plan, 0.9, 0.95), "decline shadow: the playbook is weighed only");
    plan.policy.modes.clear();
    plan.policy.kill_switch = true;
    assert_eq!(ransom(&plan, 0.9, 0.95), "escalate kill_switch: nothing is executed while it is on");
    plan.policy.kill_switch = false;
    plan.policy.blast_radius.incident = 0;
    assert_eq!(ransom(&plan, 0.9, 0.95), "escalate blast_radius: 1 targets, 0 at most");
    plan.policy.blast_radius.incident = 40;
    plan.policy.budgets.verbs.insert(Verb::Copy, 0);
    assert_eq!(ransom(&plan, 0.9, 0.95), "escalate budget: copy, 0 within the window");
    plan.policy.allow_verbs.remove(&Verb::Notify);
    assert_eq!(ransom(&plan, 0.9, 0.95), "decline verb_not_allowed: notify");
}

#[test]
fn background_is_ranked_from_the_solo_severity_up() {
    let plan = shipped();
    let mut incident = plan.incident("i", 10, "T1021", "host:h1");
    incident.kind = IncidentKind::Background;
    incident.severity = Severity::Medium;
    assert_eq!(
        plan.decide(&mut Decider::new(Sym::EMPTY), &incident, &[(CONTAIN, 0.9)], 0.95),
        Rulings::default()
    );
    incident.severity = Severity::High;
    assert!(plan.decide(&mut Decider::new(Sym::EMPTY), &incident, &[(CONTAIN, 0.9)], 0.95).ruled.is_some());
}

fn at(incident: &Incident, tick: Tick) -> Incident {
    Incident { tick, version: incident.version + 1, ..incident.clone() }
}

#[test]
fn a_new_version_is_ruled_on_again_only_where_it_matters() {
    let plan = shipped();
    let mut decider = Decider::new(Sym::EMPTY);
    let incident = plan.incident("i", 10, "T1021", "host:h1");
    let mut tally = Tally::default();
    let mut rule = |tick, score, confidence| {
        let rulings = plan.decide(&mut decider, &at(&incident, tick), &[(CONTAIN, score)], confidence);
        if let Some(ruled) = &rulings.ruled {
            tally.add(&ruled.decision);
        }
        let supersedes = rulings.ruled.as_ref().is_some_and(|ruled| ruled.decision.supersedes.is_some());
        (
            rulings.ruled.map_or("-", |ruled| ruled.decision.ruling.name()),
            supersedes,
            rulings.candidates.len(),
        )
    };
    assert_eq!(rule(10, 0.1, 0.95), ("decline", false, 2));
    assert_eq!(rule(11, 0.2, 0.95), ("-", false, 2), "still below: one withdrawn, one said");
    assert_eq!(rule(12, 0.5, 0.95), ("escalate", true, 2));
    assert_eq!(rule(13, 0.5, 0.95), ("-", false, 0));
    assert_eq!(rule(14, 0.9, 0.95), ("execute", true, 2));
    assert_eq!(rule(15, 0.1, 0.95), ("-", false, 2), "what was executed is never taken back");
    assert_eq!(rule(16, 0.9, 0.95), ("-", false, 2), "nor done twice");
    let sums = tally.sums();
    assert_eq!((sums.decisions, sums.superseded, sums.executed, tally.faults), (3, 2, 1, 0));
    assert!(sums.holds());
}

#[test]
fn candidates_sum_to_what_stands() {
    let plan = shipped();
    let mut decider = Decider::new(Sym::EMPTY);
    let incident = plan.incident("i", 10, "T1021", "host:h1");
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for (tick, score) in [(10, 0.1), (11, 0.5), (12, 0.5), (13, 0.7)] {
        let rulings = plan.decide(&mut decider, &at(&incident, tick), &[(CONTAIN, score)], 0.9);
        for candidate in rulings.candidates {
            let key =
                format!("{} {} {}", plan.names.get(candidate.playbook_id), candidate.tick, candidate.score.0);
            *sums.entry(key).or_default() += candidate.diff;
        }
    }
    sums.retain(|_, sum| *sum != 0);
    assert!(sums.values().all(|sum| *sum == 1), "{sums:?}");
    assert_eq!(sums.len(), 2);
    assert!(sums.keys().any(|key| key.ends_with(" 13 7000")), "{sums:?}");
}

fn approval(id: DecisionId, approved: bool, by: &str) -> Approval {
    Approval { decision_id: id, approved, by: by.to_owned(), time: 0 }
}

#[test]
fn approvals_need_different_people_and_count_once() {
    let mut plan = shipped();
    let mut decider = Decider::new(Sym::EMPTY);
    let incident = plan.incident("i", 10, "T1021", "host:h1 user:ada");
    let asked =
        plan.decide(&mut decider, &incident, &[("ransomware-lockdown", 0.9)], 0.95).ruled.unwrap().decision;
    let mut say = |plan: &Plan, approved, by: &str| {
        decider.approve(&approval(asked.id, approved, by), 20, plan.rules())
    };
    assert_eq!(say(&plan, true, " "), Answer::Nameless);
    assert_eq!(say(&plan, true, "ada"), Answer::Waiting { approved: 1, people: 2 });
    assert_eq!(say(&plan, true, "Ada "), Answer::Repeated);
    plan.policy.kill_switch = true;
    assert_eq!(say(&plan, true, "bo"), Answer::KillSwitch);
    plan.policy.kill_switch = false;
    let Answer::Resolved(ruled) = say(&plan, true, "bo") else { panic!("resolved") };
    assert_eq!(ruled.decision.ruling, Ruling::Execute);
    assert_eq!(ruled.decision.reason.text(&plan.names), "approved: by ada, bo");
    assert_eq!((ruled.decision.supersedes, ruled.decision.tick), (Some(asked.id), 20));
    assert!(ruled.undertaking.is_some());
    assert_eq!(say(&plan, true, "bo"), Answer::Superseded { by: ruled.decision.id });
    assert_eq!(say(&plan, false, "cy"), Answer::Superseded { by: ruled.decision.id });
    assert_eq!(
        decider.approve(&approval(ruled.decision.id, true, "cy"), 20, plan.rules()),
        Answer::NoQuestion
    );
    assert_eq!(
        decider.approve(&approval(DecisionId::of(&[b"x"]), true, "cy"), 20, plan.rules()),
        Answer::Unknown
    );
}

#[test]
fn a_denial_holds() {
    let plan = shipped();
    let mut decider = Decider::new(Sym::EMPTY);
    let incident = plan.incident("i", 10, "T1021", "host:h1");
    let both = [(CONTAIN, 0.7), ("investigate-and-notify", 0.6)];
    let asked = plan.decide(&mut decider, &incident, &both, 0.95).ruled.unwrap().decision;
    let Answer::Resolved(ruled) = decider.approve(&approval(asked.id, false, "ada"), 11, plan.rules()) else {
        panic!("resolved")
    };
    assert_eq!(ruled.decision.reason.text(&plan.names), "denied: by ada");
    let next = plan.decide(&mut decider, &at(&incident, 12), &both, 0.95).ruled.unwrap().decision;
    assert_ne!(next.playbook_id, asked.playbook_id, "another playbook is asked for");
    let Answer::Resolved(_) = decider.approve(&approval(next.id, false, "ada"), 13, plan.rules()) else {
        panic!("resolved")
    };
    let last = plan.decide(&mut decider, &at(&incident, 14), &both, 0.95);
    assert_eq!(last.ruled, None, "a decline after a denial says nothing new");
}

#[test]
fn a_merge_carries_over_what_was_done_and_closes_what_was_asked() {
    let plan = shipped();
    let mut decider = Decider::new(Sym::EMPTY);
    let first = plan.incident("a", 10, "T1021", "host:h1");
    let second = plan.incident("b", 10, "T1021", "host:h2");
    plan.decide(&mut decider, &first, &[(CONTAIN, 0.9)], 0.95).ruled.unwrap().undertaking.unwrap();
    let merged = Incident { state: IncidentState::Merged, merged_into: Some(second.id), ..at(&first, 11) };
    assert!(plan.decide(&mut decider, &merged, &[], 0.95).candidates.iter().all(|it| it.diff == -1));
    assert_eq!(
        plan.decide(&mut decider, &at(&second, 12), &[(CONTAIN, 0.9)], 0.95).ruled,
        None,
        "done already"
    );
    let asked = plan.incident("c", 13, "T1021", "host:h3");
    plan.decide(&mut decider, &asked, &[(CONTAIN, 0.5)], 0.95).ruled.unwrap();
    let split = Incident { state: IncidentState::Split, ..at(&asked, 14) };
    let gone = plan.decide(&mut decider, &split, &[], 0.95);
    assert!(text(&plan, &gone).starts_with("decline gone"));
}

#[test]
fn memory_dies() {
    let plan = shipped();
    let mut decider = Decider::new(Sym::EMPTY);
    for i in 0..100 {
        let incident = plan.incident(&format!("i{i}"), i * 86_400, "T1021", "host:h1");
        plan.decide(&mut decider, &incident, &[(CONTAIN, 0.5)], 0.95);
        assert!(decider.remembered() <= 8, "{}", decider.remembered());
    }
}

#[test]
fn a_flood_leaves_something_for_others() {
    let mut plan = shipped();
    plan.policy.budgets.verbs.insert(Verb::Notify, 10);
    let mut decider = Decider::new(Sym::EMPTY);
    let executed = (0..50).filter(|i| {
        let flood = plan.incident(&format!("f{i}"), *i, "T1110", &format!("ip:203.0.113.{i}"));
        plan.decide(&mut decider, &flood, &[(BLOCK, 0.9)], 0.95).ruled.unwrap().undertaking.is_some()
    });
    assert_eq!(executed.count(), 6, "60 % of 10");
    let real = plan.incident("r", 60, "T1021", "host:h1");
    assert!(plan.decide(&mut decider, &real, &[(CONTAIN, 0.9)], 0.95).ruled.unwrap().undertaking.is_some());
    let mut other = Decider::new(plan.names.intern("other"));
    let flood = plan.incident("o", 60, "T1110", "ip:203.0.113.1");
    assert!(plan.decide(&mut other, &flood, &[(BLOCK, 0.9)], 0.95).ruled.unwrap().undertaking.is_some());
}

#[test]
fn exploration_is_drawn_from_the_data_with_the_stated_propensity() {
    let mut plan = shipped();
    plan.policy.exploration.rate = Fraction(Score(5000));
    let scores = [(BLOCK, 0.95), ("investigate-and-notify", 0.9)];
    plan.policy.budgets.verbs.values_mut().for_each(|budget| *budget = 100_000);
    plan.policy.blast_radius.blocking = 100_000;
    let mut others = 0;
    for i in 0..1000 {
        let incident = plan.incident(&format!("e{i}"), i * 4000, "T1110", "ip:203.0.113.1 host:h1");
        let run = || plan.decide(&mut Decider::new(Sym::EMPTY), &incident, &scores, 0.95);
        let rulings = run();
        assert_eq!(rulings, run(), "a draw is a function of the data");
        let sum: u32 = rulings.candidates.iter().map(|it| u32::from(it.propensity.0)).sum();
        assert_eq!(sum, 10_000);
        let chosen = rulings.ruled.unwrap().decision.playbook_id;
        let propensity = rulings.candidates.iter().find(|it| it.playbook_id == chosen).unwrap().propensity;
        others += u32::from(propensity == Score(2500));
    }
    assert!((200..300).contains(&others), "{others} of about 250");
}

/// What was executed automatically: tick, playbook, verb, entity.
type Done = Vec<(Tick, Sym, Verb, Entity)>;

fn done(plan: &Plan, ruled: &Ruled, into: &mut Done) {
    let Some(undertaking) = ruled.undertaking.as_ref().map(Approved::get) else { return };
    let playbook = plan.playbooks.iter().find(|it| it.hash == undertaking.playbook_hash).unwrap();
    for (at, action) in playbook.actions() {
        for (_, targets) in undertaking.targets.iter().filter(|(step, _)| *step == at) {
            for target in targets {
                let Target::Entity(entity) = target else { continue };
                into.push((ruled.decision.tick, undertaking.playbook_id, action.parameters.verb, *entity));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The oracle counts every window that ends at an execution from scratch.
    #[test]
    fn no_stream_spends_more_than_is_allowed(
        stream in proptest::collection::vec((0i64..40, 0u8..12, 0u8..3, 0u16..=1000, 0u8..3), 1..120)
    ) {
        let mut plan = shipped();
        plan.policy.blast_radius.window_s = 100;
        plan.policy.budgets.window_s = 150;
        plan.policy.blast_radius.isolating = 3;
        plan.policy.blast_radius.blocking = 4;
        plan.policy.budgets.verbs.insert(Verb::Deny, 9);
        plan.policy.budgets.verbs.insert(Verb::Contain, 5);
        plan.policy.protected.push(Pattern::try_from("host:h7".to_owned()).unwrap());
        let mut decider = Decider::new(Sym::EMPTY);
        let (mut all, mut tick, mut tally): (Done, Tick, Tally) = (Vec::new(), 0, Tally::default());
        let mut fates: Vec<Decision> = Vec::new();
        for (step, who, kind, score, incident) in stream {
            tick += step;
            let score = f32::from(score) / 1000.0;
            let (attacks, entities) = match kind {
                0 => ("T1021", format!("host:h{who} host:h{}", who / 2)),
                1 => ("T1110", format!("ip:203.0.113.{who} user:u{who}")),
                _ => ("T1566", format!("mailbox:m{who}@evil.example domain:d{who}.example")),
            };
            let case = plan.incident(&format!("{kind}{incident}{}", who % 4), tick, attacks, &entities);
            let scores = [(CONTAIN, score), (BLOCK, score), ("phishing-purge", score)];
            let rulings = plan.decide(&mut decider, &case, &scores, 0.95);
            if let Some(ruled) = rulings.ruled {
                tally.add(&ruled.decision);
                done(&plan, &ruled, &mut all);
                fates.push(ruled.decision);
            }
        }
        let sums = tally.sums();
        prop_assert!(sums.holds());
        prop_assert_eq!((sums.decisions, tally.faults), (fates.len() as u64, 0));
        let protected = Entity::parse("host:h7", &plan.names).unwrap();
        prop_assert!(all.iter().all(|(_, _, _, entity)| *entity != protected));
        for (end, _, _, _) in &all {
            for class in [VerbClass::Isolating, VerbClass::Blocking, VerbClass::Changing] {
                let window = all.iter().filter(|it| it.0 > end - 100 && it.0 <= *end && VerbClass::of(it.2) == class);
                let distinct: BTreeSet<String> = window.map(|it| it.3.text(&plan.names)).collect();
                prop_assert!(distinct.len() <= plan.policy.blast_radius.max(class).unwrap() as usize);
            }
            for verb in Verb::ALL {
                let window: Vec<_> = all.iter().filter(|it| it.0 > end - 150 && it.0 <= *end && it.2 == verb).collect();
                prop_assert!(window.len() <= plan.policy.budgets.of(verb) as usize);
                for playbook in window.iter().map(|it| it.1).collect::<BTreeSet<_>>() {
                    let mine = window.iter().filter(|it| it.1 == playbook).count();
                    prop_assert!(mine <= plan.policy.budgets.of_playbook(verb) as usize);
                }
            }
        }
    }
}
