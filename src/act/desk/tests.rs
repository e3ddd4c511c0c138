//! Tests: equal rows whatever the batching, effects that are joined and lifted, crashes between intent and outcome.

use proptest::prelude::*;

use super::*;
use crate::act::simulate::{Environment, Truth};
use crate::decide::fixture::{Plan, shipped};
use crate::plan::playbook::StepKind;
use crate::record::{AlertId, Triage};

const ENVIRONMENT: &str = r#"{"seed": 7, "analyst": {"coverage": 0.6, "error": 0.02, "delay_s": [600, 14400]},
    "success": [{"use_case": "credential-stuffing", "playbook": "credential-stuffing-block", "probability": 0.9}],
    "otherwise": 0.1}"#;

fn alert(i: i64) -> AlertId {
    AlertId::of(&[&i.to_le_bytes()])
}

fn simulation() -> Executor {
    let mut truth = Truth::default();
    truth.extend(
        (0..200)
            .filter(|i| i % 3 == 0)
            .map(|i| (alert(i), "credential-stuffing".to_owned(), Triage::TruePositive)),
    );
    Executor::Simulate(Box::new(Environment::parse(ENVIRONMENT, truth).unwrap()))
}

fn certain() -> Executor {
    let text = ENVIRONMENT.replace("\"otherwise\": 0.1", "\"otherwise\": 1.0").replace("0.9}", "1.0}");
    Executor::Simulate(Box::new(Environment::parse(&text, Truth::default()).unwrap()))
}

pub(super) fn desk(plan: &Plan, dir: &Path, executor: Executor) -> Desk {
    Desk::open(
        (dir, None),
        executor,
        (plan.playbooks.clone().into(), Arc::new(plan.policy.clone())),
        Arc::clone(&plan.names),
        0,
    )
    .unwrap()
}

fn handed(ruled: Vec<Ruled>) -> Handed {
    Handed { ruled, ..Handed::default() }
}

/// Rows as text: `tick verb target status`.
fn lines(rows: &Rows) -> Vec<String> {
    let line =
        |row: &Action| format!("{} {} {} {}", row.tick, row.verb.name(), row.target, row.status.name());
    rows.actions.iter().map(line).filter(|line| !line.contains("incident:")).collect()
}

fn add(into: &mut Rows, more: Rows) {
    into.actions.extend(more.actions);
    into.outcomes.extend(more.outcomes);
    into.verdicts.extend(more.verdicts);
}

/// A day of 200 incidents about 20 addresses, with everything a simulation hears of.
fn day(plan: &Plan) -> Vec<(Tick, Handed)> {
    (0..200)
        .map(|i| {
            let tick = 1000 + i * 7;
            let incident =
                plan.incident(&format!("i{i}"), tick, "T1110", &format!("ip:203.0.113.{}", i % 20));
            let member =
                Member { tick, tenant: Sym::EMPTY, incident_id: incident.id, alert_id: alert(i), diff: 1 };
            let handed = Handed {
                ruled: vec![plan.executed(&incident, "credential-stuffing-block")],
                members: vec![member],
                closed: vec![(incident.id, Sym::EMPTY, tick + 3600)],
                ..Handed::default()
            };
            (tick, handed)
        })
        .collect()
}

fn run(plan: &Plan, dir: &Path, batch: usize) -> (Rows, u64) {
    let mut desk = desk(plan, dir, simulation());
    let mut rows = Rows::default();
    for (epoch, chunk) in (1..).zip(day(plan).chunks(batch)) {
        let mut all = Handed::default();
        for (_, handed) in chunk {
            all.ruled.extend(handed.ruled.clone());
            all.members.extend(handed.members.clone());
            all.closed.extend(handed.closed.clone());
        }
        add(&mut rows, desk.handle(epoch, all, chunk[chunk.len() - 1].0 + 1).unwrap());
    }
    add(&mut rows, desk.finish(40_000).unwrap());
    assert_eq!(desk.sizes(), [0, 0, 0], "all is over");
    (rows, desk.divergences())
}

#[test]
fn rows_do_not_depend_on_batching_and_a_rerun_agrees_with_its_ledger() {
    let plan = shipped();
    let dir = tempfile::tempdir().unwrap();
    let (all, _) = run(&plan, dir.path(), 200);
    for batch in [1, 10, 33] {
        let other = tempfile::tempdir().unwrap();
        assert_eq!(run(&plan, other.path(), batch).0, all, "batches of {batch}");
    }
    let (again, divergences) = run(&plan, dir.path(), 7);
    assert_eq!((&again, divergences), (&all, 0));
    let count = |status| all.actions.iter().filter(|row| row.status == status).count();
    for status in [ActionStatus::Succeeded, ActionStatus::Failed, ActionStatus::Joined, ActionStatus::Undone]
    {
        assert!(count(status) > 0, "{status:?}");
    }
    assert!(!all.verdicts.is_empty() && all.verdicts.len() < 200);
    let right = |it: &&Verdict| {
        (it.verdict == Triage::TruePositive)
            == (0..200)
                .any(|i| i % 3 == 0 && plan.incident(&format!("i{i}"), 0, "T1110", "").id == it.incident_id)
    };
    assert!(all.verdicts.iter().filter(right).count() * 10 > all.verdicts.len() * 9, "analysts seldom err");
}

/// A few incidents about a few addresses, ended at random places: joins, failures and undos overlap at random.
fn random_run(plan: &Plan, stream: &[(u16, u8, u8)], cuts: &[usize]) -> Rows {
    let dir = tempfile::tempdir().unwrap();
    let mut desk = desk(plan, dir.path(), simulation());
    let (mut rows, mut tick, mut batch, mut epoch) = (Rows::default(), 1000, Vec::new(), 0);
    for (at, (step, who, playbook)) in stream.iter().enumerate() {
        tick += Tick::from(*step);
        let entities = format!("ip:203.0.113.{} user:u{}", who % 3, who % 2);
        let incident = plan.incident(&format!("r{at}"), tick, "T1110", &entities);
        let name = ["credential-stuffing-block", "credential-stuffing-reset"][usize::from(playbook % 2)];
        batch.push(plan.executed(&incident, name));
        if cuts.contains(&at) {
            epoch += 1;
            // What comes later may fall on the same second: only what is before it is settled.
            add(&mut rows, desk.handle(epoch, handed(std::mem::take(&mut batch)), tick).unwrap());
        }
    }
    add(&mut rows, desk.handle(epoch + 1, handed(batch), tick + 20_000).unwrap());
    add(&mut rows, desk.finish(tick + 20_000).unwrap());
    assert_eq!(desk.divergences(), 0);
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_cut_of_the_stream_changes_a_row(
        stream in proptest::collection::vec((0u16..4000, 0u8..6, 0u8..2), 1..25),
        cuts in proptest::collection::vec(0usize..25, 0..12),
    ) {
        let plan = shipped();
        let whole = random_run(&plan, &stream, &[]);
        prop_assert_eq!(&random_run(&plan, &stream, &cuts), &whole);
        // Every effect has at most one call in flight or standing at a time.
        let mut standing: BTreeMap<String, i64> = BTreeMap::new();
        for row in whole.actions.iter().filter(|row| row.verb.name() == "deny") {
            let held = standing.entry(row.target.clone()).or_default();
            match row.status {
                ActionStatus::Requested => { prop_assert_eq!(*held, 0); *held = 1; }
                ActionStatus::Failed | ActionStatus::Undone => *held = 0,
                ActionStatus::Joined => prop_assert_eq!(*held, 1),
                ActionStatus::Succeeded | ActionStatus::DryRun | ActionStatus::InDoubt => {}
            }
        }
    }
}

#[test]
fn what_stands_is_joined_and_the_last_holder_lets_go() {
    let plan = shipped();
    let dir = tempfile::tempdir().unwrap();
    let mut desk = desk(&plan, dir.path(), certain());
    let rule = |id: &str, tick| {
        plan.executed(&plan.incident(id, tick, "T1110", "ip:203.0.113.1"), "credential-stuffing-block")
    };
    let first = desk.handle(1, handed(vec![rule("a", 1000)]), 2000).unwrap();
    let second = desk.handle(2, handed(vec![rule("b", 5000)]), 6000).unwrap();
    assert!(lines(&first)[0].ends_with("requested") && lines(&first)[1].ends_with("succeeded"));
    assert_eq!(lines(&second), ["5000 deny ip:203.0.113.1 joined"]);
    let at_first_end = desk.handle(3, Handed::default(), 1000 + 14_401).unwrap();
    assert_eq!(lines(&at_first_end), Vec::<String>::new(), "the second still holds it");
    assert_eq!(desk.ledger.standing().unwrap().first().map(|it| it.3), Some(2));
    let at_last = desk.handle(4, Handed::default(), 5000 + 14_401).unwrap();
    assert_eq!(lines(&at_last), vec!["19400 deny ip:203.0.113.1 undone"; 2]);
    let third = desk.handle(5, handed(vec![rule("c", 30_000)]), 30_100).unwrap();
    assert!(lines(&third)[1].ends_with("succeeded"), "it is called again, as another occurrence");
    assert_eq!(desk.divergences(), 0);
}

#[test]
fn who_says_that_it_is_later_than_it_is_undoes_nothing() {
    let plan = shipped();
    let dir = tempfile::tempdir().unwrap();
    let mut desk = desk(&plan, dir.path(), certain());
    let rule = |id: &str, tick, target: &str| {
        plan.executed(&plan.incident(id, tick, "T1110", target), "credential-stuffing-block")
    };
    desk.undo_before = 1500;
    let first = desk.handle(1, handed(vec![rule("a", 1000, "ip:203.0.113.1")]), 2000).unwrap();
    // Acted early, one alert of the far future is an order as of then, and ends nothing.
    let later = desk.handle(2, handed(vec![rule("b", 80_000, "ip:203.0.113.2")]), 81_001).unwrap();
    assert!(lines(&first)[1].ends_with("succeeded") && lines(&later)[1].ends_with("succeeded"));
    assert!(!lines(&later).iter().any(|line| line.ends_with("undone")), "{:?}", lines(&later));
    desk.undo_before = 1000 + 14_401;
    let ends = desk.handle(3, Handed::default(), 81_002).unwrap();
    assert_eq!(lines(&ends).len(), 1, "{:?}", lines(&ends));
    assert!(lines(&ends)[0].ends_with("deny ip:203.0.113.1 undone"), "{:?}", lines(&ends));
}

#[test]
fn two_that_ask_in_one_second_call_once() {
    let plan = shipped();
    let dir = tempfile::tempdir().unwrap();
    let mut desk = desk(&plan, dir.path(), certain());
    let rule = |id: &str| {
        plan.executed(&plan.incident(id, 1000, "T1110", "ip:203.0.113.1"), "credential-stuffing-block")
    };
    let rows = desk.handle(1, handed(vec![rule("a"), rule("b"), rule("a")]), 2000).unwrap();
    let calls = rows.actions.iter().filter(|row| row.verb.name() == "deny" && row.attempts > 0);
    assert_eq!(calls.count(), 1);
    assert_eq!(rows.actions.iter().filter(|row| row.status == ActionStatus::Joined).count(), 1);
}

#[test]
fn a_dry_run_tells_and_does_nothing() {
    let plan = shipped();
    let dir = tempfile::tempdir().unwrap();
    let mut desk = desk(&plan, dir.path(), Executor::DryRun);
    let ruled = plan.executed(&plan.incident("a", 1000, "T1021", "host:h1"), "ransomware-contain-host");
    let mut rows = desk.handle(1, handed(vec![ruled]), 2000).unwrap();
    add(&mut rows, desk.finish(9_000_000).unwrap());
    assert_eq!(lines(&rows), ["1000 copy host:h1 dry_run", "1000 contain host:h1 dry_run"]);
    assert!(rows.outcomes.is_empty());
}

#[test]
fn a_halt_holds_back_what_has_not_begun() {
    let plan = shipped();
    let dir = tempfile::tempdir().unwrap();
    let mut desk = desk(&plan, dir.path(), certain());
    let ruled =
        plan.executed(&plan.incident("a", 1000, "T1110", "ip:203.0.113.1"), "credential-stuffing-block");
    desk.halt(true);
    assert_eq!(desk.handle(1, handed(vec![ruled]), 2000).unwrap(), Rows::default());
    desk.halt(false);
    assert!(!desk.handle(2, Handed::default(), 3000).unwrap().actions.is_empty());
}

#[test]
fn what_is_carried_out_goes_on_by_the_playbook_that_was_approved_or_ends() {
    let plan = shipped();
    let rule =
        plan.executed(&plan.incident("a", 1000, "T1110", "ip:203.0.113.1"), "credential-stuffing-block");
    // So far as the desk had come when it was kept, and what another one makes of it.
    let goes_on = |through: Tick, changed: bool| {
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let mut first = desk(&plan, one.path(), certain());
        let before = first.handle(1, handed(vec![rule.clone()]), through).unwrap();
        let mut plan = shipped();
        if changed {
            plan.playbooks.iter_mut().for_each(|playbook| playbook.hash[0] ^= 1);
            for step in plan.playbooks.iter_mut().flat_map(|playbook| &mut playbook.steps) {
                if let StepKind::Action(action) = &mut step.kind {
                    action.parameters.undo = None;
                }
            }
        }
        let mut second = Desk::open(
            (other.path(), None),
            certain(),
            (plan.playbooks.into(), Arc::new(plan.policy)),
            first.names.clone(),
            0,
        )
        .unwrap();
        second.begin_with(first.lend());
        let after = second.handle(2, Handed::default(), 40_000).unwrap();
        (lines(&before).len(), lines(&after), after.actions.len(), second.dropped)
    };
    let (_, _, same, none) = goes_on(1001, false);
    let (_, _, changed, dropped) = goes_on(1001, true);
    assert_eq!((none, dropped), (0, 1));
    assert!(same > changed, "{same} rows, {changed} where no further step begins");
    // What stands is lifted as it was ordered, whatever the plan says by now.
    let (asked, ends, ..) = goes_on(5000, true);
    assert!(asked > 1 && ends.iter().any(|line| line.ends_with("undone")), "{ends:?}");
}
