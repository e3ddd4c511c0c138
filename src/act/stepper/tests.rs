//! Tests: the way through a workflow, by how its actions go.

use super::*;
use crate::decide::fixture::shipped;
use crate::plan::playbook::Step;

/// `start -> parallel(a, b) -> c -> end`; `x` is the exception, `f` where `c` leads when it fails.
fn workflow() -> Playbook {
    let plan = shipped();
    let playbook = plan.playbooks.iter().find(|it| it.name == "investigate-and-notify").expect("shipped");
    let action = playbook.steps.iter().find(|it| matches!(it.kind, StepKind::Action(_))).expect("an action");
    let step = |kind: StepKind, next: Next| Step { kind, next, delay_ms: 0, ..action.clone() };
    let act = || action.kind.clone();
    let mut steps = vec![
        step(StepKind::Start, Next::Always(1)),
        step(StepKind::Parallel(vec![2, 4]), Next::ByResult { success: 6, failure: None }),
        step(act(), Next::Always(3)),
        step(StepKind::End, Next::Nowhere),
        step(act(), Next::ByResult { success: 5, failure: Some(5) }),
        step(StepKind::End, Next::Nowhere),
        step(act(), Next::ByResult { success: 7, failure: Some(8) }),
        step(StepKind::End, Next::Nowhere),
        step(act(), Next::Always(7)),
        step(act(), Next::Always(7)),
    ];
    steps[6].delay_ms = 1500;
    Playbook { steps, start: 0, exception: Some(9), ..playbook.clone() }
}

/// Ends steps as told (`4+`, `2-`), one tick after another from 100; answers what becomes due.
fn walk(acts: &dyn Fn(usize) -> bool, ends: &str) -> String {
    let playbook = workflow();
    let (mut walk, due) = Walk::begin(&playbook, acts, 10);
    let show =
        |due: &[Due]| due.iter().map(|it| format!("{}@{}", it.step, it.tick)).collect::<Vec<_>>().join(" ");
    let mut said = vec![show(&due)];
    for (tick, end) in (100..).zip(ends.split_whitespace()) {
        let (step, how) = end.split_at(1);
        let id = ActionId::default();
        walk.issued(step.parse().expect("a step"), BTreeSet::from([id]));
        let step = (step.parse().expect("a step"), id);
        said.push(show(&walk.ended(&playbook, acts, step, how == "+", tick)));
    }
    said.push(if walk.is_idle() { "idle".to_owned() } else { "under way".to_owned() });
    said.join(", ")
}

#[test]
fn workflows_go_the_way_that_their_actions_went() {
    let all = |_: usize| true;
    assert_eq!(walk(&all, "2+ 4+ 6+"), "2@10 4@10, , 6@103, , idle");
    assert_eq!(walk(&all, "4+ 2+"), "2@10 4@10, , 6@103, under way");
    assert_eq!(
        walk(&all, "2+ 4- 6-"),
        "2@10 4@10, , 6@103, 8@103, under way",
        "a failure with a step of its own"
    );
    assert_eq!(walk(&all, "2- 4+ 9+"), "2@10 4@10, , 9@101, , idle", "one without leads to the exception");
    assert_eq!(
        walk(&|step| step != 2, "4+"),
        "4@10, 6@102, under way",
        "a step without targets is passed over"
    );
    assert_eq!(walk(&|_| false, ""), ", idle");
}
