//! Tests: what stands on withdrawn ground is undone once, where policy and people let it, and never where others hold it.

use super::tests::desk as open;
use super::*;
use crate::act::order::undo_id;
use crate::act::server::{Reply, Server};
use crate::act::simulate::{Environment, Truth};
use crate::act::webhook::{Webhook, WebhookSettings};
use crate::decide::fixture::{Plan, shipped};
use crate::plan::playbook::StepKind;
use crate::plan::policy::OnWithdrawnGround;
use crate::record::{ActionClass, Entity, Lost, Ruling};

const BLOCK: &str = "credential-stuffing-block";

fn policy(on: OnWithdrawnGround) -> Plan {
    let mut plan = shipped();
    plan.policy.undo.withdrawn_ground = on;
    plan
}

fn certain() -> Executor {
    let text = r#"{"seed": 7, "analyst": {"coverage": 0.0, "error": 0.0, "delay_s": [1, 1]}, "success": [], "otherwise": 1.0}"#;
    Executor::Simulate(Box::new(Environment::parse(text, Truth::default()).unwrap()))
}

fn calling(server: &Server) -> Executor {
    let settings = WebhookSettings {
        url: server.url("/orders"),
        probe_url: None,
        authorization_env: None,
        allow_link_local: false,
        timeout_ms: 300,
        retries_max: 0,
        backoff_ms: 5,
        parallel_max: 4,
    };
    Executor::Webhook(Webhook::new(settings).unwrap())
}

/// A block of an address for an incident.
fn blocked(plan: &Plan, id: &str, tick: Tick) -> Ruled {
    plan.executed(&plan.incident(id, tick, "T1110", "ip:203.0.113.1"), BLOCK)
}

fn lost(plan: &Plan, ruled: &Ruled, tick: Tick, lost: Option<Lost>) -> Ground {
    let entity = Entity::parse("ip:203.0.113.1", &plan.names).unwrap();
    Ground { decision: ruled.decision.clone(), tick, targets: vec![(entity, false)], lost }
}

fn ruled(ruled: &[&Ruled]) -> Handed {
    Handed { ruled: ruled.iter().copied().cloned().collect(), ..Handed::default() }
}

fn grounds(all: &[Ground]) -> Handed {
    Handed { grounds: all.to_vec(), ..Handed::default() }
}

fn answer(rows: &Rows, approved: bool, by: &str, tick: Tick) -> Handed {
    let decision_id = rows.decisions.last().expect("a question").id;
    let approval = Approval { decision_id, approved, by: by.to_owned(), time: 0 };
    Handed { approvals: vec![(approval, tick)], ..Handed::default() }
}

/// Rows as text: `verb status`, of those on the address.
fn lines(rows: &Rows) -> Vec<String> {
    let own = rows.actions.iter().filter(|row| row.target.starts_with("ip:"));
    own.map(|row| format!("{} {}", row.verb.name(), row.status.name())).collect()
}

fn said(plan: &Plan, rows: &Rows) -> Vec<String> {
    let text = |it: &Decision| format!("{} {}", it.ruling.name(), it.reason.text(&plan.names));
    rows.decisions.iter().map(text).collect()
}

#[test]
fn what_stands_on_withdrawn_ground_is_undone_once_and_says_what_it_undoes() {
    let plan = policy(OnWithdrawnGround::Execute);
    let dir = tempfile::tempdir().unwrap();
    let block = blocked(&plan, "a", 1000);
    let gone = lost(&plan, &block, 3000, Some(Lost::Parted));
    let run = || {
        let mut desk = open(&plan, dir.path(), certain());
        let first = desk.handle(1, ruled(&[&block]), 2000).unwrap();
        assert_eq!(lines(&first), ["deny requested", "deny succeeded"]);
        let then = desk.handle(2, grounds(std::slice::from_ref(&gone)), 4000).unwrap();
        let later = desk.handle(3, Handed::default(), 1000 + 14_401).unwrap();
        assert!(lines(&later).is_empty(), "its time to live does not undo it again");
        assert_eq!((desk.divergences(), desk.sizes()), (0, [0, 0, 0]));
        (first, then)
    };
    let (first, then) = run();
    assert_eq!(lines(&then), ["allow requested", "allow succeeded", "deny undone"]);
    let (undo, undone) = (&then.actions[1], &first.actions[0]);
    assert_eq!((undo.undo_of, undo.id), (Some(undone.id), undo_id(undone.id)));
    assert_eq!(undo.reason.as_deref(), Some("the incident was taken apart"));
    assert_eq!((undo.decision_id, then.decisions[0].undoes), (then.decisions[0].id, Some(block.decision.id)));
    assert_eq!(then.outcomes.iter().map(|it| it.action_id).collect::<Vec<_>>(), [Some(undo.id)]);
    assert!(said(&plan, &then)[0].ends_with("ip:203.0.113.1; it is undone"), "{:?}", said(&plan, &then));
    assert_eq!(run(), (first, then), "a rerun agrees with its ledger");
}

#[test]
fn what_another_decision_holds_stays() {
    for (on, undone) in [(OnWithdrawnGround::Execute, true), (OnWithdrawnGround::Never, false)] {
        let plan = policy(on);
        let dir = tempfile::tempdir().unwrap();
        let mut desk = open(&plan, dir.path(), certain());
        let (one, other) = (blocked(&plan, "a", 1000), blocked(&plan, "b", 1500));
        desk.handle(1, ruled(&[&one, &other]), 2000).unwrap();
        let gone = |ruled, tick| lost(&plan, ruled, tick, Some(Lost::Parted));
        let rows = desk.handle(2, grounds(&[gone(&one, 3000)]), 4000).unwrap();
        assert!(lines(&rows).is_empty());
        let held = if undone { "other decisions hold the same" } else { "" };
        assert!(said(&plan, &rows)[0].starts_with("decline") && said(&plan, &rows)[0].contains(held));
        let rows = desk.handle(3, grounds(&[gone(&other, 5000)]), 6000).unwrap();
        let all = ["allow requested", "allow succeeded", "deny undone", "deny undone"];
        assert_eq!(lines(&rows), if undone { &all[..] } else { &[] });
    }
}

#[test]
fn people_are_asked_and_their_word_counts() {
    let plan = policy(OnWithdrawnGround::Ask);
    for approved in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut desk = open(&plan, dir.path(), certain());
        let block = blocked(&plan, "a", 1000);
        desk.handle(1, ruled(&[&block]), 2000).unwrap();
        let gone = lost(&plan, &block, 3000, Some(Lost::Indicator));
        let asked = desk.handle(2, grounds(&[gone]), 4000).unwrap();
        assert!(lines(&asked).is_empty() && said(&plan, &asked)[0].starts_with("escalate withdrawn_ground"));
        let told = desk.handle(3, answer(&asked, approved, "ada", 4000), 5000).unwrap();
        assert_eq!(told.decisions[0].supersedes, Some(asked.decisions[0].id));
        assert_eq!(told.decisions[0].ruling, if approved { Ruling::Execute } else { Ruling::Decline });
        let all = ["allow requested", "allow succeeded", "deny undone"];
        assert_eq!(lines(&told), if approved { &all[..] } else { &[] });
        let again = desk.handle(4, answer(&asked, true, "bo", 5000), 6000).unwrap();
        assert_eq!(again, Rows::default(), "it was answered");
        let end = desk.handle(5, Handed::default(), 1000 + 14_401).unwrap();
        assert_eq!(lines(&end), if approved { vec![] } else { vec!["deny undone"] });
    }
    // Ground that comes back, and time that is over, make a question moot.
    for back in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut desk = open(&plan, dir.path(), certain());
        let block = blocked(&plan, "a", 1000);
        desk.handle(1, ruled(&[&block]), 2000).unwrap();
        desk.handle(2, grounds(&[lost(&plan, &block, 3000, Some(Lost::Parted))]), 4000).unwrap();
        let handed = if back { grounds(&[lost(&plan, &block, 5000, None)]) } else { Handed::default() };
        let rows = desk.handle(3, handed, if back { 6000 } else { 1000 + 14_401 }).unwrap();
        assert!(said(&plan, &rows)[0].starts_with("decline moot"), "{:?}", said(&plan, &rows));
        assert_eq!(lines(&rows), if back { vec![] } else { vec!["deny undone"] });
    }
}

#[test]
fn guards_ask_people_before_anything_is_undone() {
    let block = |plan: &Plan| blocked(plan, "a", 1000);
    let ruling = |plan: &Plan, guarded: bool| {
        let dir = tempfile::tempdir().unwrap();
        let mut desk = open(plan, dir.path(), certain());
        desk.handle(1, ruled(&[&block(plan)]), 2000).unwrap();
        let mut gone = lost(plan, &block(plan), 3000, Some(Lost::Parted));
        gone.targets[0].1 = guarded;
        let rows = desk.handle(2, grounds(&[gone]), 4000).unwrap();
        let text = said(plan, &rows)[0].clone();
        (rows.decisions[0].ruling, text.rsplit("; ").next().unwrap_or_default().to_owned())
    };
    let plan = || policy(OnWithdrawnGround::Execute);
    assert_eq!(ruling(&plan(), false).0, Ruling::Execute);
    let person = |plan: &Plan, guarded, says: &str| {
        let (ruling, text) = ruling(plan, guarded);
        assert_eq!((ruling, text.contains(says)), (Ruling::Escalate, true), "{text}");
    };
    person(&plan(), true, "protected");
    let mut none = plan();
    none.policy.undo.actions_max = 0;
    person(&none, false, "0 undone at most");
    let mut killed = plan();
    let block = blocked(&killed, "a", 1000);
    killed.policy.kill_switch = true;
    let dir = tempfile::tempdir().unwrap();
    let mut desk = open(&killed, dir.path(), certain());
    desk.handle(1, ruled(&[&block]), 2000).unwrap();
    let gone = lost(&killed, &block, 3000, Some(Lost::Parted));
    let asked = desk.handle(2, grounds(&[gone]), 4000).unwrap();
    assert!(said(&killed, &asked)[0].contains("kill switch"), "{:?}", said(&killed, &asked));
    assert_eq!(desk.handle(3, answer(&asked, true, "ada", 4000), 5000).unwrap(), Rows::default());
    // The file at the machine holds everything back, and lets it go on.
    let plan = plan();
    let block = blocked(&plan, "a", 1000);
    let dir = tempfile::tempdir().unwrap();
    let mut desk = open(&plan, dir.path(), certain());
    desk.handle(1, ruled(&[&block]), 2000).unwrap();
    desk.halt(true);
    let gone = lost(&plan, &block, 3000, Some(Lost::Parted));
    assert_eq!(desk.handle(2, grounds(&[gone]), 4000).unwrap(), Rows::default());
    desk.halt(false);
    assert_eq!(desk.handle(3, Handed::default(), 5000).unwrap().actions.len(), 3);
}

#[test]
fn a_call_under_way_is_waited_for_and_steps_to_come_are_passed_over() {
    let plan = policy(OnWithdrawnGround::Execute);
    let dir = tempfile::tempdir().unwrap();
    let mut desk = open(&plan, dir.path(), certain());
    let block = blocked(&plan, "a", 1000);
    // Nothing has answered at the first second.
    let gone = lost(&plan, &block, 1000, Some(Lost::Parted));
    let handed = Handed { grounds: vec![gone], ..ruled(&[&block]) };
    let rows = desk.handle(1, handed, 1001).unwrap();
    assert_eq!((lines(&rows), rows.decisions.len()), (vec!["deny requested".to_owned()], 0));
    let rows = desk.handle(2, Handed::default(), 2000).unwrap();
    assert_eq!(lines(&rows), ["deny succeeded", "allow requested", "allow succeeded", "deny undone"]);
    // It went before it began.
    let dir = tempfile::tempdir().unwrap();
    let mut desk = open(&plan, dir.path(), certain());
    desk.halt(true);
    let gone = lost(&plan, &block, 1500, Some(Lost::Parted));
    desk.handle(1, Handed { grounds: vec![gone], ..ruled(&[&block]) }, 2000).unwrap();
    desk.halt(false);
    let rows = desk.handle(2, Handed::default(), 3000).unwrap();
    assert_eq!(lines(&rows), [] as [&str; 0], "its notice is given, the address left alone");
    assert!(said(&plan, &rows)[0].ends_with("nothing of it stands that could be undone"));
}

/// The block's call and its undo, with the undo's intent durable and its outcome lost.
#[test]
fn a_crash_between_an_undos_intent_and_its_outcome_undoes_once() {
    let plan = policy(OnWithdrawnGround::Execute);
    let server = Server::start(|_, _| Reply::Status(200));
    let dir = tempfile::tempdir().unwrap();
    let block = blocked(&plan, "a", 1000);
    let gone = || grounds(&[lost(&plan, &block, 3000, Some(Lost::Parted))]);
    let all = |desk: &mut Desk| {
        desk.handle(1, ruled(&[&block]), 2000).unwrap();
        desk.handle(2, gone(), 4000).unwrap()
    };
    for made in [false, true] {
        let mut desk = open(&plan, dir.path(), calling(&server));
        desk.handle(1, ruled(&[&block]), 2000).unwrap();
        desk.take_in(gone());
        while let Some((place, event)) = desk.next(3999, false) {
            desk.now = desk.now.max(place.0);
            desk.process(event).unwrap();
        }
        desk.commit().unwrap();
        if made {
            desk.call(3999).unwrap();
        }
    }
    let rows = all(&mut open(&plan, dir.path(), calling(&server)));
    assert_eq!(lines(&rows), ["allow requested", "allow succeeded", "deny undone"]);
    let key = rows.actions[1].id.to_string();
    assert_eq!(
        server.calls_of(&key).len(),
        1,
        "the first crash was resolved by repeating it, the second heard of that"
    );
    assert_eq!(all(&mut open(&plan, dir.path(), calling(&server))), rows);
    assert_eq!(server.posts(), 3, "block, notice, undo");
}

#[test]
fn what_is_in_doubt_is_undone_by_class_and_not_done_after_all() {
    for (class, undone) in [(ActionClass::Idempotent, true), (ActionClass::Opaque, false)] {
        let mut plan = policy(OnWithdrawnGround::Execute);
        for step in plan.playbooks.iter_mut().flat_map(|playbook| &mut playbook.steps) {
            if let StepKind::Action(action) = &mut step.kind {
                action.parameters.class = class;
            }
        }
        let server = Server::start(|_, nth| Reply::Status(if nth == 0 { 503 } else { 200 }));
        let dir = tempfile::tempdir().unwrap();
        let mut desk = open(&plan, dir.path(), calling(&server));
        let block = blocked(&plan, "a", 1000);
        let first = desk.handle(1, ruled(&[&block]), 2000).unwrap();
        assert_eq!(lines(&first), ["deny requested", "deny in_doubt"]);
        let gone = grounds(&[lost(&plan, &block, 3000, Some(Lost::Parted))]);
        let rows = desk.handle(2, gone, 4000).unwrap();
        if undone {
            assert_eq!(lines(&rows), ["allow requested", "allow succeeded", "deny undone"]);
            assert!(desk.decisions_in_doubt().is_empty());
            let posts = server.posts();
            drop(desk);
            open(&plan, dir.path(), calling(&server));
            assert_eq!(server.posts(), posts, "the block is not repeated");
        } else {
            assert!(said(&plan, &rows)[0].contains("in doubt: a person decides"));
        }
    }
}

#[test]
fn grounds_that_waited_for_answers_of_one_second_are_all_looked_at() {
    let plan = policy(OnWithdrawnGround::Execute);
    let server = Server::start(|_, _| Reply::Status(200));
    let dir = tempfile::tempdir().unwrap();
    let mut desk = open(&plan, dir.path(), calling(&server));
    let incident = plan.incident("a", 1000, "T1110", "ip:203.0.113.1 ip:203.0.113.2");
    let block = plan.executed(&incident, BLOCK);
    let gone = |value: &str, tick| {
        let entity = Entity::parse(value, &plan.names).unwrap();
        Ground { targets: vec![(entity, false)], ..lost(&plan, &block, tick, Some(Lost::Parted)) }
    };
    let grounds = vec![gone("ip:203.0.113.1", 1000), gone("ip:203.0.113.2", 1001)];
    let rows = desk.handle(1, Handed { grounds, ..ruled(&[&block]) }, 2000).unwrap();
    assert_eq!(lines(&rows).iter().filter(|line| *line == "deny undone").count(), 2, "{:?}", lines(&rows));
}
