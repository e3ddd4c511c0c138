//! Tests: the shipped policy loads, faults come together and with their lines.

use std::path::Path;

use super::*;

fn default() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("dataflows/policies/default.yml");
    std::fs::read_to_string(file).unwrap()
}

fn faults(text: &str) -> Vec<String> {
    read(Path::new("p.yml"), text, Some(&[]))
        .expect_err("it has faults")
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_shipped_policy_loads() {
    let policy = read(Path::new("p.yml"), &default(), Some(&[])).unwrap();
    assert_eq!(policy.solo_severity, Severity::High);
    assert!(!policy.kill_switch && policy.exploration.rate.0 == Score(0));
    assert_eq!(policy.floors.execute.score.0, Score(8000));
    assert_eq!((policy.budgets.of(Verb::Contain), policy.budgets.of_playbook(Verb::Contain)), (20, 12));
    assert_eq!(policy.budgets.of(Verb::Allow), 0);
}

#[test]
fn a_policy_may_act_early() {
    let early = default().replace("act: settled", "act: early");
    assert_eq!(read(Path::new("p.yml"), &early, Some(&[])).unwrap().act, Act::Early);
}

#[test]
fn contradictions_are_told_together() {
    let text = default()
        .replace("escalate: 0.40", "escalate: 0.95")
        .replace("contain: 20", "allow: 20")
        .replace("people: 1", "people: 0")
        .replace("modes: {}", "modes: { nobody: shadow }");
    let found = faults(&text);
    for wanted in ["above that of execution", "verb contain is allowed", "0 people", "\"nobody\""] {
        assert!(found.iter().any(|fault| fault.contains(wanted)), "{wanted}: {found:#?}");
    }
    let floor = text.lines().position(|line| line.contains("escalate: 0.95")).unwrap() + 1;
    assert!(found[0].starts_with(&format!("p.yml:{floor}: ")), "{}", found[0]);
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    for (from, to, wanted) in [
        ("kill_switch: false", "kill_swich: false", "kill_swich"),
        ("host:dc-*", "hosts:dc-*", "no kind of entity"),
        ("192.0.2.1/32", "192.0.2.1/99", "prefix length"),
        ("score: 0.80", "score: 1.80", "between 0 and 1"),
        ("contain: 20", "smite: 20", "smite"),
    ] {
        let text = default().replace(from, to);
        let found = faults(&text);
        assert!(found[0].contains(wanted), "{wanted}: {found:#?}");
        assert!(found[0].split(':').nth(1).is_some_and(|line| line.parse::<u64>().is_ok()), "{}", found[0]);
    }
}
