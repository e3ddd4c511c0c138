//! A process that is killed takes the others with it; all are started again, and go on from the log.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use quell::archive::Reader;
use quell::engine::log::Log;
use quell::record::{ActionStatus, Names};

use super::common::live::{Live, processes, taken, until};
use super::common::world::{calling, world};
use super::common::{
    acting_plan, agrees, digest_log, early, edges, quell, replay, root, said, site, summary, summary_of,
};
use super::layout::Layout;
use super::results::append;

/// Waits until a supervised run has been started so many times, and is where it was.
fn started(live: &Live, times: usize) {
    until("it goes on", || (live.told().matches("Ctrl-C").count() >= times).then_some(()));
}

fn kill(id: &str) {
    assert!(Command::new("kill").args(["-KILL", id]).status().expect("kill").success());
}

#[test]
fn kills_of_any_process_cost_nothing_and_nothing_is_called_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), 300, 5);
    let flow = acting_plan(&at("plan"), &at("days"), &["edges.jsonl"]);
    early(&flow);
    let (address, world) = world();
    calling(&flow, address);
    let (archive, input, all) = (at("live"), at("plan").join("edges.jsonl"), edges(600));
    append(&input, "");
    let given = || world.lock().expect("no panic").len();
    let live = Live::start(&flow, &archive, &["--batch", "7", "--supervise", "3"]);
    started(&live, 1);
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    for (n, piece) in lines.chunks(200).enumerate() {
        let before = given();
        append(&input, &piece.concat());
        until("something is ordered", || (given() > before + 3).then_some(()));
        kill(&processes(&live, 3)[n]);
        started(&live, n + 2);
    }
    taken(&archive, 600);
    let told = live.told();
    for generation in 1..=4 {
        assert!(
            told.contains(&format!("process 2 of 3, 1 workers each, generation {generation}\n")),
            "{told}"
        );
    }
    agrees(&live.stop(), &archive);
    let calls = || world.lock().expect("no panic").values().sum::<u32>();
    let before = calls();
    // The log says the same again, at one worker and in a cluster: its scores are taken from it there too.
    agrees(&summary(&mut replay(&flow, &[&archive], &at("again"), &[])), &at("again"));
    let layout = Layout::new(&at("2x2"), 2, 2);
    let to = at("2x2").join("archive");
    agrees(&summary_of(&layout.all(&mut replay(&flow, &[&archive], &to, &[]), &flow)), &to);
    let expected = digest_log(&archive);
    assert_eq!(digest_log(&at("again")), expected);
    assert_eq!(digest_log(&to), expected);
    assert_eq!(calls(), before, "a replay calls nobody");
    let mut called = BTreeSet::new();
    let reader = Reader::open(&archive, Arc::new(Names::default())).expect("an archive");
    for line in reader.actions(None).expect("actions").map(|line| line.expect("an action")) {
        assert_ne!(line.status, ActionStatus::InDoubt, "{}", line.action_id);
        if line.status == ActionStatus::Succeeded && line.attempts > 0 {
            assert!(called.insert(line.action_id.to_string()), "{} twice", line.action_id);
        }
    }
    assert!(called.len() > 50);
    let world = world.lock().expect("no panic").clone();
    let again = world.values().filter(|times| **times > 1).count();
    // Three kills, and a webhook has 16 calls under way at most; each was asked for again with the same key.
    assert!(again <= 3 * 16, "{again} of {} were asked for again", world.len());
    assert!(called.iter().all(|id| world.contains_key(id)), "told, and never done");
}

#[test]
fn where_the_supervisor_is_killed_nothing_is_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), 100, 5);
    let flow = acting_plan(&at("plan"), &at("days"), &["edges.jsonl"]);
    append(&at("plan").join("edges.jsonl"), &edges(50));
    let live = Live::start(&flow, &at("live"), &["--supervise", "2"]);
    started(&live, 1);
    let ids = processes(&live, 2);
    live.kill();
    until("they are gone", || {
        let gone = |id: &String| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        ids.iter().all(gone).then_some(())
    });
    let live = Live::start(&flow, &at("live"), &["--supervise", "2"]);
    taken(&at("live"), 50);
    agrees(&live.stop(), &at("live"));
}

#[test]
fn what_restarts_do_not_cure_is_given_up_or_not_begun() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let run = |more: &[&str]| {
        let mut command = quell();
        command.arg("run").arg("--archive").arg(at("live")).args(["--supervise", "2"]).args(more);
        command.output().expect("it starts")
    };
    // A fault of the plan is the same again.
    let output = run(&["--flow", "nowhere.yml", "--listen", "0"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let begun = said(&output).matches("process 0 is").count();
    assert_eq!(begun, 1, "{}", said(&output));
    // An archive of another run is no fault of the plan.
    let flow = root().join("dataflows/pipeline.yml").display().to_string();
    Log::open(&at("live")).expect("room").set_meta("run", "another").expect("room");
    let output = run(&["--flow", &flow, "--listen", "0"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("it is given up"), "{}", said(&output));
    // A folder of somebody else's is left as it is.
    std::fs::remove_dir_all(at("live")).expect("it is there");
    std::fs::create_dir_all(at("live")).expect("room");
    std::fs::write(at("live").join("mine"), "x").expect("room");
    let output = run(&["--flow", &flow, "--listen", "0"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(std::fs::read_dir(at("live")).expect("a folder").count(), 1);
}

#[test]
fn a_process_that_is_told_to_stop_ends_the_run_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), 100, 5);
    let flow = acting_plan(&at("plan"), &at("days"), &["edges.jsonl"]);
    append(&at("plan").join("edges.jsonl"), &edges(200));
    let layout = Layout::new(&at("cluster"), 2, 1);
    let other = layout.other(1, &flow);
    let file = layout.file.display().to_string();
    let live = Live::start(&flow, &at("live"), &["--cluster", &file, "--process", "0"]);
    taken(&at("live"), 200);
    std::thread::sleep(Duration::from_millis(300));
    assert!(Command::new("kill").args(["-TERM", &other.id().to_string()]).status().expect("kill").success());
    agrees(&live.end(), &at("live"));
    let output = other.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("the run has ended"), "{}", said(&output));
}

#[test]
fn a_process_that_hangs_is_lost_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), 100, 5);
    let flow = acting_plan(&at("plan"), &at("days"), &["edges.jsonl"]);
    append(&at("plan").join("edges.jsonl"), &edges(50));
    let live = Live::start(&flow, &at("live"), &["--supervise", "2"]);
    taken(&at("live"), 50);
    let id = processes(&live, 2).remove(1);
    assert!(Command::new("kill").args(["-STOP", &id]).status().expect("kill").success());
    append(&at("plan").join("edges.jsonl"), &edges(100)[edges(50).len()..]);
    started(&live, 2);
    assert!(live.told().contains("process 1 is lost: it has been silent for long"), "{}", live.told());
    taken(&at("live"), 100);
    agrees(&live.stop(), &at("live"));
}
