//! Tests: what parts of an incident carry of what was executed and denied, and what loses its ground.

use super::fixture::{Plan, shipped};
use super::*;
use crate::record::{
    Approval, ContextFacts, Entity, Incident, IncidentKind, IncidentState, Lost, Ruling, Sym, Tick, Triage,
};

const CONTAIN: &str = "ransomware-contain-host";
const BLOCK: &str = "credential-stuffing-block";

fn at(incident: &Incident, tick: Tick, state: IncidentState) -> Incident {
    Incident { tick, version: incident.version + 1, state, ..incident.clone() }
}

/// A part of `whole`; the one that keeps the name has that name.
fn part(plan: &Plan, whole: &Incident, id: &str, tick: Tick, entities: &str) -> Incident {
    let part = plan.incident(id, tick, "T1021", entities);
    let succeeds = (part.id != whole.id).then_some(whole.id);
    Incident { succeeds, rules: whole.rules.clone(), ..part }
}

fn ground(plan: &Plan, grounds: &[Ground]) -> Vec<String> {
    let told = grounds.iter().flat_map(|it| it.targets.iter().map(move |target| (it.lost, target)));
    told.map(|(lost, (entity, _))| format!("{} {lost:?}", entity.text(&plan.names))).collect()
}

/// Executes on two hosts, takes the incident apart, and gives each part this score; what is told of their ground, and what
/// is said beside.
fn taken_apart(score: f32, kind: IncidentKind) -> (Vec<String>, Vec<String>, Option<Ruling>) {
    let plan = shipped();
    let mut decider = Decider::new(Sym::EMPTY);
    let whole = plan.incident("a", 10, "T1021", "host:h1 host:h2");
    plan.decide(&mut decider, &whole, &[(CONTAIN, 0.9)], 0.95).ruled.unwrap().undertaking.unwrap();
    assert_eq!(decider.settle_ground(), (Vec::new(), Vec::new()));
    plan.decide(&mut decider, &at(&whole, 20, IncidentState::Split), &[], 0.95);
    plan.decide(&mut decider, &part(&plan, &whole, "a", 20, "host:h1"), &[(CONTAIN, 0.9)], 0.95);
    let other = Incident { kind, ..part(&plan, &whole, "b", 20, "host:h2") };
    let ruled = plan.decide(&mut decider, &other, &[(CONTAIN, score)], 0.95).ruled;
    let (beside, grounds) = decider.settle_ground();
    let beside = beside.iter().map(|it| it.decision.reason.name().to_owned()).collect();
    (ground(&plan, &grounds), beside, ruled.map(|ruled| ruled.decision.ruling))
}

#[test]
fn a_part_that_would_be_acted_on_carries_what_was_executed() {
    let (grounds, beside, ruled) = taken_apart(0.9, IncidentKind::Linked);
    assert_eq!((grounds.len(), beside, ruled), (0, vec!["carried".to_owned()], None));
    let (grounds, beside, ruled) = taken_apart(0.5, IncidentKind::Linked);
    assert_eq!((grounds.len(), beside.len(), ruled), (1, 0, Some(Ruling::Escalate)));
    let (grounds, beside, ruled) = taken_apart(0.1, IncidentKind::Linked);
    assert_eq!((grounds, beside.len()), (vec!["host:h2 Some(Parted)".to_owned()], 0));
    assert_eq!(ruled, Some(Ruling::Decline));
    // What nobody ranks carries nothing: a lone alert that was said not to belong.
    let plan = shipped();
    let mut decider = Decider::new(Sym::EMPTY);
    let whole = plan.incident("a", 10, "T1021", "host:h1 host:h2");
    plan.decide(&mut decider, &whole, &[(CONTAIN, 0.9)], 0.95);
    plan.decide(&mut decider, &at(&whole, 20, IncidentState::Split), &[], 0.95);
    // The order of the parts does not matter.
    let keeper = part(&plan, &whole, "a", 20, "host:h1");
    plan.decide(&mut decider, &keeper, &[(CONTAIN, 0.9)], 0.95);
    let (_, grounds) = decider.settle_ground();
    assert_eq!(ground(&plan, &grounds), ["host:h2 Some(Parted)"]);
    assert_eq!(decider.settle_ground().1, [], "told once");
    // It comes back with the entity.
    let again = plan.incident("a", 30, "T1021", "host:h1 host:h2");
    plan.decide(&mut decider, &again, &[(CONTAIN, 0.9)], 0.95);
    assert_eq!(ground(&plan, &decider.settle_ground().1), ["host:h2 None"]);
}

#[test]
fn a_denial_holds_for_a_part_until_there_is_something_new() {
    let plan = shipped();
    let mut decider = Decider::new(Sym::EMPTY);
    let rule = |name: &str| (plan.names.intern(name), 1);
    let whole = Incident {
        rules: [rule("r1"), rule("r2")].into(),
        ..plan.incident("a", 10, "T1021", "host:h1 host:h2")
    };
    let asked = plan.decide(&mut decider, &whole, &[(CONTAIN, 0.7)], 0.95).ruled.unwrap().decision;
    let no = Approval { decision_id: asked.id, approved: false, by: "ada".into(), time: 0 };
    assert!(matches!(decider.approve(&no, 11, plan.rules()), Answer::Resolved(_)));
    plan.decide(&mut decider, &at(&whole, 20, IncidentState::Split), &[], 0.95);
    let mut rule_on = |id: &str, tick, entities: &str, rules: &[&str]| {
        let rules = rules.iter().map(|name| rule(name)).collect();
        let part = Incident { rules, ..part(&plan, &whole, id, tick, entities) };
        let ruled = plan.decide(&mut decider, &part, &[(CONTAIN, 0.7)], 0.95).ruled;
        ruled.map(|ruled| ruled.decision.ruling)
    };
    assert_eq!(rule_on("b", 20, "host:h2", &["r2"]), Some(Ruling::Decline), "nobody is asked again");
    assert_eq!(rule_on("b", 21, "host:h2", &["r1"]), None);
    assert_eq!(rule_on("b", 22, "host:h2 host:h3", &["r1"]), Some(Ruling::Escalate), "another host");
    assert_eq!(rule_on("c", 20, "host:h2", &["r2"]), Some(Ruling::Decline));
    assert_eq!(rule_on("c", 21, "host:h2", &["r2", "r3"]), Some(Ruling::Escalate), "another rule");
    assert_eq!(rule_on("a", 22, "host:h1 host:h3", &["r1", "r3"]), None, "it keeps what it was told");
}

fn marked(plan: &Plan, entity: &str) -> ContextFacts {
    let indicators = Entity::parse(entity, &plan.names).into_iter().collect();
    ContextFacts { indicators, indicator: 90, indicator_count: 1, ..ContextFacts::default() }
}

#[test]
fn an_indicator_that_is_withdrawn_takes_the_ground_of_what_hung_on_it() {
    let mut plan = shipped();
    plan.policy.targets_max = 1;
    let attack = (Triage::TruePositive, 0.95);
    let incident = plan.incident("a", 10, "T1110", "ip:203.0.113.1 ip:203.0.113.9");
    let (known, unknown) = (marked(&plan, "ip:203.0.113.9"), ContextFacts::default());
    let decide = |decider: &mut Decider, tick, context, score| {
        let incident = at(&incident, tick, IncidentState::Open);
        plan.decide_with(decider, &incident, context, &[(BLOCK, score)], attack).ruled
    };
    let mut decider = Decider::new(Sym::EMPTY);
    assert!(decide(&mut decider, 10, &known, 0.9).unwrap().undertaking.is_some());
    decide(&mut decider, 11, &unknown, 0.9);
    let told = ground(&plan, &decider.settle_ground().1);
    assert_eq!(told, ["ip:203.0.113.9 Some(Indicator)"], "another address is the first now");
    decide(&mut decider, 12, &known, 0.9);
    assert_eq!(ground(&plan, &decider.settle_ground().1), ["ip:203.0.113.9 None"]);
    // What people are asked about is asked anew when its target is another.
    let mut decider = Decider::new(Sym::EMPTY);
    let first = decide(&mut decider, 10, &known, 0.5).unwrap().decision;
    let second = decide(&mut decider, 10, &unknown, 0.5).unwrap().decision;
    assert_eq!((second.ruling, second.supersedes), (Ruling::Escalate, Some(first.id)));
    assert_eq!(decide(&mut decider, 11, &unknown, 0.5), None);
}

#[test]
fn what_would_be_done_without_the_indicator_stands() {
    let plan = shipped();
    let attack = |confidence| (Triage::TruePositive, confidence);
    let incident = plan.incident("a", 10, "T1110", "ip:203.0.113.9");
    for (score, confidence, lost) in [(0.9, 0.95, None), (0.9, 0.5, Some(Lost::Indicator))] {
        let mut decider = Decider::new(Sym::EMPTY);
        let known = marked(&plan, "ip:203.0.113.9");
        plan.decide_with(&mut decider, &incident, &known, &[(BLOCK, 0.9)], attack(0.95));
        let unknown = ContextFacts::default();
        let next = at(&incident, 11, IncidentState::Open);
        plan.decide_with(&mut decider, &next, &unknown, &[(BLOCK, score)], attack(confidence));
        assert_eq!(decider.settle_ground().1.first().and_then(|it| it.lost), lost);
        // What stood without it once does not hang on it any more.
        let later = at(&incident, 12, IncidentState::Open);
        plan.decide_with(&mut decider, &later, &unknown, &[(BLOCK, 0.1)], attack(0.1));
        assert!(decider.settle_ground().1.is_empty());
    }
}
