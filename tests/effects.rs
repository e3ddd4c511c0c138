//! Effects happen once: kills of a run that acts on the world, seen from the world.

#![allow(clippy::disallowed_methods, reason = "a test that waits must end: it reads the clock")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::live::{Live, taken, until};
use common::world::{calling, world};
use common::{acting_plan, agrees, count, digest, edges, replay, site};
use quell::archive::Reader;
use quell::record::{ActionStatus, Names};

#[test]
fn an_order_is_given_once_whatever_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (days, plans, archive) =
        (folder.path().join("site"), folder.path().join("plan"), folder.path().join("live"));
    site(&days, 300, 5);
    let flow = acting_plan(&plans, &days, &["edges.jsonl"]);
    let (address, done) = world();
    calling(&flow, address);
    std::fs::write(plans.join("edges.jsonl"), edges(600)).expect("room");
    let given = || done.lock().expect("no panic").len();
    let mut kills = 0;
    let mut live = Live::start(&flow, &archive, &["--batch", "20"]);
    while kills < 4 {
        let before = given();
        // Towards the end there is less to be met in the middle of.
        let since = Instant::now();
        until("more is ordered", || {
            (given() > before + 40 || since.elapsed() > Duration::from_secs(2)).then_some(())
        });
        live.kill();
        kills += 1;
        live = Live::start(&flow, &archive, &["--batch", "50", "--workers", "2"]);
    }
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    taken(&archive, 600);
    let summary = live.stop();
    assert_eq!(count(&summary, "divergences"), 0, "{summary}");
    let calls = || done.lock().expect("no panic").values().sum::<u32>();
    let (before, again) = (calls(), folder.path().join("again"));
    agrees(&common::summary(&mut replay(&flow, &[&archive], &again, &[])), &again);
    assert_eq!(digest(&again), digest(&archive), "the log tells how it went");
    assert_eq!(calls(), before, "a replay calls nobody");
    let done = done.lock().expect("no panic").clone();
    // What was in flight at a kill is asked for again, with the same key.
    let again = done.values().filter(|times| **times > 1).count();
    assert!(done.values().all(|times| *times <= 1 + kills), "{done:?}");
    assert!(again < done.len() / 2, "{again} of {} were asked for again", done.len());
    let reader = Reader::open(&archive, Arc::new(Names::default())).expect("an archive");
    let mut called = BTreeSet::new();
    for line in reader.actions(None).expect("actions").map(|line| line.expect("an action")) {
        assert_ne!(line.status, ActionStatus::InDoubt, "{}", line.action_id);
        if line.status == ActionStatus::Succeeded && line.attempts > 0 {
            assert!(called.insert(line.action_id.to_string()), "{} succeeds twice", line.action_id);
        }
    }
    assert!(called.len() > 50, "{summary}");
    // Besides actions the world sees what undoes them, which has ids of its own.
    assert!(called.iter().all(|id| done.contains_key(id)), "told, and never done");
}
