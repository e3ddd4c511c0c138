//! Tests: what a crash at each point around a call leaves behind, and what the next process makes of it. The desk is
//! dropped where a process would die: what is not in the ledger by then is lost.

use std::rc::Rc;

use super::*;
use crate::act::ledger::Moment;
use crate::act::server::{Reply, Server};
use crate::act::webhook::{Webhook, WebhookSettings};
use crate::decide::fixture::{Plan, shipped};
use crate::flow::fate::{self, Deed, Fate, Strike};
use crate::plan::playbook::StepKind;
use crate::record::ActionClass;

/// A playbook of one block and one notice, of the given class.
fn plan(class: ActionClass) -> Plan {
    let mut plan = shipped();
    for step in plan.playbooks.iter_mut().flat_map(|playbook| &mut playbook.steps) {
        if let StepKind::Action(action) = &mut step.kind {
            action.parameters.class = class;
        }
    }
    plan
}

fn open(plan: &Plan, dir: &Path, server: &Server) -> Desk {
    open_after(plan, dir, server, 0)
}

/// The same, where an earlier process has published all through an epoch.
fn open_after(plan: &Plan, dir: &Path, server: &Server, published: Epoch) -> Desk {
    let settings = WebhookSettings {
        url: server.url("/orders"),
        probe_url: Some(server.url("/probe")),
        authorization_env: None,
        allow_link_local: false,
        timeout_ms: 300,
        retries_max: 1,
        backoff_ms: 5,
        parallel_max: 4,
    };
    let executor = Executor::Webhook(Webhook::new(settings).unwrap());
    let (playbooks, policy) = (plan.playbooks.clone().into(), Arc::new(plan.policy.clone()));
    Desk::open((dir, None), executor, (playbooks, policy), Arc::clone(&plan.names), published).unwrap()
}

fn rulings(plan: &Plan) -> Handed {
    let incident = plan.incident("a", 1000, "T1110", "ip:203.0.113.1 ip:203.0.113.2");
    Handed { ruled: vec![plan.executed(&incident, "credential-stuffing-block")], ..Handed::default() }
}

/// Goes on until the first calls are to be made, their intents durable; and makes them if told to.
fn until_calls(desk: &mut Desk, handed: Handed, make: bool) {
    desk.take_in(handed);
    while let Some((place, event)) = desk.next(1999, false) {
        desk.now = desk.now.max(place.0);
        desk.process(event).unwrap();
    }
    desk.commit().unwrap();
    assert_eq!(desk.calls.len(), 2);
    if make {
        desk.call(1999).unwrap();
    }
}

fn statuses(rows: &Rows) -> Vec<&'static str> {
    rows.actions.iter().map(|row| row.status.name()).collect()
}

const ALL_DONE: [&str; 6] = ["requested", "requested", "succeeded", "succeeded", "requested", "succeeded"];

#[test]
fn a_crash_between_intent_and_call_calls_once_in_the_end() {
    for (class, posts) in [(ActionClass::Idempotent, 3), (ActionClass::Keyed, 3), (ActionClass::Probeable, 3)]
    {
        let plan = plan(class);
        let server = Server::start(|call, _| Reply::Status(if call.method == "GET" { 404 } else { 200 }));
        let dir = tempfile::tempdir().unwrap();
        until_calls(&mut open(&plan, dir.path(), &server), rulings(&plan), false);
        assert_eq!(server.posts(), 0);
        let mut desk = open(&plan, dir.path(), &server);
        let rows = desk.handle(1, rulings(&plan), 2000).unwrap();
        assert_eq!(statuses(&rows), ALL_DONE, "{class:?}");
        assert_eq!(server.posts(), posts, "{class:?}: two blocks and a notice");
    }
}

#[test]
fn a_crash_between_call_and_outcome_is_resolved_by_class() {
    for (class, most) in [(ActionClass::Idempotent, 2), (ActionClass::Keyed, 2), (ActionClass::Probeable, 2)]
    {
        let plan = plan(class);
        // What was posted is there when it is read back.
        let server = Server::start(|_, _| Reply::Status(200));
        let dir = tempfile::tempdir().unwrap();
        until_calls(&mut open(&plan, dir.path(), &server), rulings(&plan), true);
        assert_eq!(server.posts(), 2);
        let mut desk = open(&plan, dir.path(), &server);
        let rows = desk.handle(1, rulings(&plan), 2000).unwrap();
        assert_eq!(statuses(&rows), ALL_DONE, "{class:?}");
        assert!(server.posts_of_one_max() <= most, "repeated with the same key at most once");
        let posts = if class == ActionClass::Probeable { 3 } else { 5 };
        assert_eq!(server.posts(), posts, "{class:?}: a probeable one is read back, not repeated");
    }
}

#[test]
fn who_has_lost_the_ledger_between_intent_and_call_calls_nobody() {
    let classes = [ActionClass::Idempotent, ActionClass::Keyed, ActionClass::Probeable, ActionClass::Opaque];
    for class in classes {
        let plan = plan(class);
        let server = Server::start(|call, _| Reply::Status(if call.method == "GET" { 404 } else { 200 }));
        let dir = tempfile::tempdir().unwrap();
        let mut sleeper = open(&plan, dir.path(), &server);
        until_calls(&mut sleeper, rulings(&plan), false);
        let _other = open(&plan, dir.path(), &server);
        let resolved = if class == ActionClass::Opaque { 0 } else { 2 };
        assert_eq!(server.posts(), resolved, "{class:?}");
        sleeper.call(1999).unwrap();
        assert_eq!(server.posts(), resolved, "{class:?}");
        assert!(matches!(sleeper.turn(1999, false), Err(DeskError::Ledger(LedgerError::Fenced))));
    }
}

#[test]
fn who_stood_still_between_intent_and_call_resolves_it_by_class() {
    for (class, posts) in [
        (ActionClass::Idempotent, 2),
        (ActionClass::Keyed, 2),
        (ActionClass::Probeable, 0),
        (ActionClass::Opaque, 0),
    ] {
        let plan = plan(class);
        let server = Server::start(|_, _| Reply::Status(200));
        let dir = tempfile::tempdir().unwrap();
        let mut desk = open(&plan, dir.path(), &server);
        until_calls(&mut desk, rulings(&plan), false);
        desk.lease.awake(Moment::default());
        desk.call(1999).unwrap();
        assert_eq!(server.posts(), posts, "{class:?}: each of both, not the first alone");
    }
}

#[test]
fn an_opaque_action_is_never_repeated_and_waits_for_a_person() {
    for make in [false, true] {
        let plan = plan(ActionClass::Opaque);
        let server = Server::start(|_, _| Reply::Status(200));
        let dir = tempfile::tempdir().unwrap();
        until_calls(&mut open(&plan, dir.path(), &server), rulings(&plan), make);
        let before = server.posts();
        let mut desk = open(&plan, dir.path(), &server);
        let rows = desk.handle(1, rulings(&plan), 2000).unwrap();
        assert_eq!(statuses(&rows), ["requested", "requested", "in_doubt", "in_doubt"]);
        assert_eq!((server.posts(), desk.decisions_in_doubt().len()), (before, 1));
        assert!(desk.resolve_in_doubt(2500).unwrap().actions.is_empty());
        assert_eq!(server.posts(), before);
        let ids: Vec<ActionId> = desk.in_doubt.iter().copied().collect();
        let first = desk.settle_by_hand(ids[0], true, "ada", 3000).unwrap();
        assert_eq!(first.outcomes[0].labelled_by, "ada");
        let second = desk.settle_by_hand(ids[1], true, "ada", 3000).unwrap();
        assert_eq!(statuses(&second), ["succeeded", "requested", "succeeded"], "the workflow goes on");
        assert!(desk.decisions_in_doubt().is_empty());
    }
}

#[test]
fn a_rerun_over_its_ledger_calls_nothing_and_tells_the_same() {
    let plan = plan(ActionClass::Idempotent);
    let server = Server::start(|_, nth| Reply::Status(if nth == 0 { 500 } else { 200 }));
    let dir = tempfile::tempdir().unwrap();
    let run = || {
        let mut desk = open(&plan, dir.path(), &server);
        let mut rows = desk.handle(1, rulings(&plan), 2000).unwrap();
        let later = desk.handle(2, Handed::default(), 1000 + 14_401).unwrap();
        rows.actions.extend(later.actions);
        rows.outcomes.extend(later.outcomes);
        (rows, desk.divergences())
    };
    let (first, _) = run();
    assert_eq!(statuses(&first)[6..], ["undone", "undone"]);
    let posts = server.posts();
    let (again, divergences) = run();
    assert_eq!((&again, divergences), (&first, 0));
    assert_eq!(server.posts(), posts, "nothing is called twice");
}

#[test]
fn a_rerun_over_its_ledger_tells_answers_and_what_they_meet_in_the_same_order() {
    let plan = plan(ActionClass::Idempotent);
    let server = Server::start(|_, nth| Reply::Status(if nth % 5 == 0 { 404 } else { 200 }));
    let dir = tempfile::tempdir().unwrap();
    // Each joins what others have under way, and people speak in the last second that is settled.
    let handed = || {
        let incidents = (0..24_u8).map(|n| {
            let entities = format!("ip:203.0.113.{} ip:203.0.113.{}", n / 3, n % 5 + 100);
            plan.incident(&n.to_string(), 1000 + Tick::from(n), "T1110", &entities)
        });
        let incidents: Vec<_> = incidents.collect();
        let ruled = incidents.iter().map(|it| plan.executed(it, "credential-stuffing-block")).collect();
        let verdict = |incident: &crate::record::Incident| {
            let verdict = crate::record::Triage::FalsePositive;
            let verdict =
                Verdict { incident_id: incident.id, verdict, by: "ada".to_owned(), time: 1_999_000 };
            (verdict, Sym::EMPTY, 1999)
        };
        Handed { ruled, verdicts: incidents.iter().map(verdict).collect(), ..Handed::default() }
    };
    let first = open(&plan, dir.path(), &server).handle(1, handed(), 2000).unwrap();
    assert!(["joined", "succeeded", "failed"].iter().all(|it| statuses(&first).contains(it)));
    let posts = server.posts();
    for _ in 0..2 {
        let mut desk = open(&plan, dir.path(), &server);
        let again = desk.handle(1, handed(), 2000).unwrap();
        assert_eq!(again.actions, first.actions);
        assert_eq!((again, desk.divergences(), server.posts()), (first.clone(), 0, posts));
    }
}

#[test]
fn a_ledger_of_whoever_ended_while_it_was_made_is_none_yet() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("actions.sqlite"), "").unwrap();
    assert!(Ledger::look(dir.path()).unwrap().is_none());
    drop(Ledger::open(dir.path(), None).unwrap());
    assert_eq!(Ledger::look(dir.path()).unwrap().expect("a ledger").last_epoch().unwrap(), None);
}

#[test]
fn a_service_that_is_down_leaves_doubt_that_is_resolved_when_it_is_back() {
    let plan = plan(ActionClass::Idempotent);
    let server = Server::start(|_, nth| Reply::Status(if nth < 4 { 503 } else { 200 }));
    let dir = tempfile::tempdir().unwrap();
    let mut desk = open(&plan, dir.path(), &server);
    let rows = desk.handle(1, rulings(&plan), 2000).unwrap();
    assert_eq!(statuses(&rows), ["requested", "requested", "in_doubt", "in_doubt"]);
    let rows = desk.resolve_in_doubt(3000).unwrap();
    assert_eq!(statuses(&rows), ["succeeded", "succeeded", "requested", "succeeded"]);
}

#[test]
fn what_a_restart_resolves_is_told_after_what_is_published() {
    let plan = plan(ActionClass::Idempotent);
    let server = Server::start(|_, nth| Reply::Status(if nth < 4 { 503 } else { 200 }));
    let dir = tempfile::tempdir().unwrap();
    let first = open(&plan, dir.path(), &server).handle(1, rulings(&plan), 2000).unwrap();
    assert_eq!(statuses(&first), ["requested", "requested", "in_doubt", "in_doubt"]);
    let (mut posts, mut told) = (None, None);
    for published in [1, 1, 2, 3] {
        let mut desk = open_after(&plan, dir.path(), &server, published);
        assert_eq!(desk.handle(1, rulings(&plan), 2000).unwrap(), first, "as it is in the archive");
        let second = desk.handle(2, Handed::default(), 2100).unwrap();
        assert_eq!(statuses(&second), ["succeeded", "succeeded", "requested", "succeeded"]);
        assert_eq!((&*told.get_or_insert(second.clone()), desk.divergences()), (&second, 0));
        assert_eq!(*posts.get_or_insert(server.posts()), server.posts(), "nothing is called twice");
        assert_eq!(desk.handle(3, Handed::default(), 2200).unwrap(), Rows::default());
    }
}

#[test]
fn a_switch_thrown_between_two_processes_holds_back_only_what_is_new() {
    let plan = plan(ActionClass::Idempotent);
    let server = Server::start(|_, _| Reply::Status(200));
    let dir = tempfile::tempdir().unwrap();
    let first = open(&plan, dir.path(), &server).handle(1, rulings(&plan), 2000).unwrap();
    let posts = server.posts();
    let other = || {
        let incident = plan.incident("b", 2100, "T1110", "ip:203.0.113.9");
        Handed { ruled: vec![plan.executed(&incident, "credential-stuffing-block")], ..Handed::default() }
    };
    // Whether it was published or not, it had begun.
    for published in [0, 1] {
        let mut desk = open_after(&plan, dir.path(), &server, published);
        desk.halt_in(1, true).unwrap();
        assert_eq!(desk.handle(1, rulings(&plan), 2000).unwrap(), first);
        desk.halt_in(2, true).unwrap();
        assert_eq!((desk.handle(2, other(), 2500).unwrap(), server.posts()), (Rows::default(), posts));
        assert_eq!(desk.divergences(), 0);
    }
    // Lifted by now, it was on when the second was handled.
    let mut desk = open_after(&plan, dir.path(), &server, 2);
    for (epoch, handed, settled) in [(1, rulings(&plan), 2000), (2, other(), 2500)] {
        desk.halt_in(epoch, false).unwrap();
        let told = desk.handle(epoch, handed, settled).unwrap();
        assert_eq!(told, if epoch == 1 { first.clone() } else { Rows::default() });
    }
    desk.halt_in(3, false).unwrap();
    assert!(!desk.handle(3, Handed::default(), 2600).unwrap().actions.is_empty());
}

/// A ledger whose nth transaction fails.
struct Fails(std::cell::Cell<u32>);

impl Fate for Fails {
    fn before(&self, deed: Deed<'_>) -> Strike {
        assert_eq!(deed, Deed::Ledger);
        let left = self.0.get();
        self.0.set(left.wrapping_sub(1));
        if left == 0 { Strike::Failed } else { Strike::Spared }
    }

    fn after(&self, _: Deed<'_>) {}
}

#[test]
fn whichever_write_of_the_ledger_fails_nothing_is_called_that_is_not_told() {
    for nth in 0..8 {
        let mut plan = plan(ActionClass::Opaque);
        for step in plan.playbooks.iter_mut().flat_map(|playbook| &mut playbook.steps) {
            if let StepKind::Action(action) = &mut step.kind
                && action.parameters.verb == crate::record::Verb::Notify
            {
                action.parameters.class = ActionClass::Idempotent;
            }
        }
        let server = Server::start(|_, _| Reply::Status(200));
        let dir = tempfile::tempdir().unwrap();
        let mut desk = open(&plan, dir.path(), &server);
        fate::set(Some(Rc::new(Fails(nth.into()))));
        let failed = desk.handle(1, rulings(&plan), 2000).is_err();
        fate::set(None);
        drop(desk);
        let rows = open(&plan, dir.path(), &server).handle(1, rulings(&plan), 2000).unwrap();
        let told = rows.actions.iter().filter(|row| row.seq == 0).map(|row| row.id.to_string());
        let calls: usize = told.map(|id| server.calls_of(&id).len()).sum();
        assert_eq!(server.posts(), calls, "write {nth} ({failed}): {:?}", statuses(&rows));
    }
}

#[test]
fn a_process_that_was_thought_dead_calls_nothing_more() {
    let plan = plan(ActionClass::Opaque);
    let server = Server::start(|_, _| Reply::Status(200));
    let dir = tempfile::tempdir().unwrap();
    let mut dead = open(&plan, dir.path(), &server);
    let mut next = open(&plan, dir.path(), &server);
    assert!(matches!(dead.handle(1, rulings(&plan), 2000), Err(DeskError::Ledger(LedgerError::Fenced))));
    assert_eq!(server.posts(), 0);
    assert_eq!(statuses(&next.handle(1, rulings(&plan), 2000).unwrap()), ALL_DONE);
    assert_eq!(server.posts_of_one_max(), 1);
}

#[test]
fn a_row_tells_what_the_executor_said_and_a_replay_the_same() {
    for (status, stands, why) in [
        (404, "failed", "HTTP 404"),
        (307, "failed", "HTTP 307: redirects are not followed"),
        (500, "in_doubt", "HTTP 500"),
    ] {
        let plan = plan(ActionClass::Opaque);
        let server = Server::start(move |_, _| Reply::Status(status));
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let rows = open(&plan, dir.path(), &server).handle(1, rulings(&plan), 2000).unwrap();
        let told = |rows: &Rows| -> Vec<(&'static str, Option<String>)> {
            rows.actions.iter().map(|row| (row.status.name(), row.reason.clone())).collect()
        };
        let ended = told(&rows).into_iter().filter(|(status, _)| *status == stands);
        assert!(ended.clone().count() >= 2, "{:?}", told(&rows));
        for (_, reason) in ended {
            assert!(reason.as_deref().is_some_and(|reason| reason.contains(why)), "{reason:?} tells {why}");
        }
        assert!(told(&rows).iter().all(|(status, reason)| *status == stands || reason.is_none()));
        let receipts = rows.receipts.iter().map(|(receipt, _)| receipt.clone());
        let executor = Executor::Recorded(crate::act::Recorded::of(receipts));
        let (playbooks, policy) = (plan.playbooks.clone().into(), Arc::new(plan.policy.clone()));
        let names = Arc::clone(&plan.names);
        let mut again = Desk::open((other.path(), None), executor, (playbooks, policy), names, 0).unwrap();
        assert_eq!(again.handle(1, rulings(&plan), 2000).unwrap().actions, rows.actions);
    }
}
