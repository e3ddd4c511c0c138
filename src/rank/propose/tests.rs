//! Tests: what fits, what is touched, and what never is.

use super::*;
use crate::decide::fixture::{Plan, shipped};
use crate::record::Severity;

fn proposals(plan: &Plan, attacks: &str, entities: &str) -> Vec<String> {
    let incident = plan.incident("i", 10, attacks, entities);
    let found = propose(&incident, &ContextFacts::default(), &plan.playbooks, &plan.policy, &plan.names);
    let mut lines = Vec::new();
    for proposal in found {
        let playbook = &plan.playbooks[proposal.playbook];
        for (step, targets) in &proposal.targets {
            let text = |target: &Target| match target {
                Target::Entity(entity) => entity.text(&plan.names),
                Target::Incident(_) => "incident".to_owned(),
            };
            let targets: Vec<String> = targets.iter().map(text).collect();
            lines.push(format!("{} / {}: {}", playbook.name, playbook.steps[*step].name, targets.join(" ")));
        }
    }
    lines.sort_unstable();
    lines
}

#[test]
fn playbooks_of_the_use_case_fit() {
    let plan = shipped();
    insta::assert_snapshot!(proposals(&plan, "T1110.003", "ip:203.0.113.9 ip:10.0.0.9 user:ada").join("\n"), @r"
    credential-stuffing-block / Block the source: ip:203.0.113.9
    credential-stuffing-block / Tell the desk: incident
    credential-stuffing-reset / Block the source: ip:203.0.113.9
    credential-stuffing-reset / Force a new password: user:ada
    credential-stuffing-reset / Revoke the sessions: user:ada
    credential-stuffing-reset / Tell the desk: incident
    ");
}

#[test]
fn attacker_chosen_targets_that_nobody_may_act_on_are_left_out() {
    let plan = shipped();
    for entity in [
        "ip:127.0.0.1",
        "ip:0.0.0.0",
        "ip:169.254.169.254",
        "ip:224.0.0.1",
        "ip:255.255.255.255",
        "ip:::1",
        "ip:fe80::1",
        "ip:::ffff:127.0.0.1",
        "ip:192.0.2.1",
        "ip:::ffff:192.0.2.1",
        "ip:nonsense",
        "ip:10.1.2.3",
    ] {
        let lines = proposals(&plan, "T1110", entity);
        assert!(!lines.iter().any(|line| line.contains("Block the source")), "{entity}: {lines:?}");
    }
    for entity in [
        "url:http://127.0.0.1/",
        "url:http://localhost:8080/a",
        "url:http://[::1]/",
        "url:http://2130706433/",
        "url:http://x@169.254.169.254/",
        "url:http://192.0.2.1/",
        "url:https://intranet.corp.example/x",
    ] {
        let lines = proposals(&plan, "T1566", &format!("mailbox:eve@evil.example {entity}"));
        assert!(!lines.iter().any(|line| line.contains("Block the web address")), "{entity}: {lines:?}");
    }
}

#[test]
fn a_block_never_hits_ourselves_and_a_purge_never_others() {
    let plan = shipped();
    let lines = proposals(&plan, "T1566", "mailbox:eve@evil.example mailbox:ada@corp.example");
    assert!(
        lines.contains(&"phishing-purge / Block the sender: mailbox:eve@evil.example".to_owned()),
        "{lines:?}"
    );
    assert!(
        lines.contains(&"phishing-purge / Purge the mail: mailbox:ada@corp.example".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn targets_are_bounded_and_indicators_come_first() {
    let plan = shipped();
    let many: Vec<String> = (0..50).map(|i| format!("ip:203.0.113.{i}")).collect();
    let incident = plan.incident("i", 10, "T1110", &many.join(" "));
    let indicator = Entity::parse("ip:203.0.113.49", &plan.names).unwrap();
    let context = ContextFacts { indicators: vec![indicator], ..ContextFacts::default() };
    let found = propose(&incident, &context, &plan.playbooks, &plan.policy, &plan.names);
    let (_, targets) = found[0].targets.iter().find(|(_, targets)| targets.len() > 1).unwrap();
    assert_eq!((targets.len(), targets[0], found[0].left_out), (20, Target::Entity(indicator), 30));
}

#[test]
fn severity_kinds_and_time_bound_what_fits() {
    let mut plan = shipped();
    let mut incident = plan.incident("i", 10, "T1021", "host:h1 user:ada");
    let count = |plan: &Plan, incident: &Incident| {
        propose(incident, &ContextFacts::default(), &plan.playbooks, &plan.policy, &plan.names).len()
    };
    assert_eq!(count(&plan, &incident), 3, "two of ransomware and the general one");
    incident.severity = Severity::Medium;
    assert_eq!(count(&plan, &incident), 2);
    incident.severity = Severity::Informational;
    assert_eq!(count(&plan, &incident), 0);
    incident.severity = Severity::High;
    plan.playbooks.iter_mut().for_each(|it| it.valid_until = Some(10_000));
    assert_eq!(count(&plan, &incident), 0);
}
