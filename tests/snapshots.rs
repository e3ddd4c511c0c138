//! Snapshots: a run that begins where an earlier one kept what it remembered says what one says that began at the beginning.

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use common::days::RULES;
use common::kafka::Broker;
use common::live::{Live, NDJSON, post, taken, until};
use common::world::{calling, world};
use common::{acting_plan, agrees, count, digest, edges, replay, site, summary};
use quell::engine::log::Log;

/// Lines as they are written to a file that grows.
fn grow(file: &Path, lines: &[&str]) {
    let mut file = std::fs::File::options().append(true).open(file).expect("it");
    file.write_all(lines.concat().as_bytes()).expect("room");
}

/// The epoch whose end a run began at, where it said so.
fn begun(live: &Live) -> Option<u64> {
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    let told = live.told();
    let line =
        told.lines().find_map(|line| line.strip_prefix("quell: beginning with what was kept at epoch "))?;
    Some(line.parse().expect("an epoch"))
}

/// Feeds a run in pieces, killing it after each, and compares what it says in the end with a replay of its files.
fn goes_on(act: &str, alerts: u64, pieces: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), alerts, 11);
    let flow = acting_plan(&at("plan"), &at("days"), &["alerts.jsonl", "edges.jsonl"]);
    std::fs::write(flow.with_file_name("correlations").join("all.yml"), RULES).expect("room for rules");
    let policy = flow.with_file_name("policies/default.yml");
    let text = std::fs::read_to_string(&policy).expect("the policy");
    std::fs::write(&policy, text.replace("act: settled", &format!("act: {act}"))).expect("room");
    let inputs = ["alerts.jsonl", "edges.jsonl"].map(|name| at("plan").join(name));
    let whole = [std::fs::read_to_string(at("days").join("alerts.jsonl")).expect("days"), edges(alerts / 3)];
    for input in &inputs {
        std::fs::write(input, "").expect("room");
    }
    let lines = whole.each_ref().map(|text| text.split_inclusive('\n').collect::<Vec<_>>());
    let (mut given, mut began) = (0, BTreeSet::new());
    let settings = |n: usize| {
        let workers = ["1", "3", "2"][n % 3];
        ["--workers", workers, "--batch", "40", "--snapshot-every-ms", "1"]
    };
    let mut live = Live::start(&flow, &at("live"), &settings(0));
    for n in 0..pieces {
        for (input, lines) in inputs.iter().zip(&lines) {
            let part = &lines[lines.len() * n / pieces..lines.len() * (n + 1) / pieces];
            given += part.len() as u64;
            grow(input, part);
        }
        taken(&at("live"), given);
        live.kill();
        live = Live::start(&flow, &at("live"), &settings(n + 1));
        began.extend(begun(&live));
    }
    taken(&at("live"), given);
    let said = live.stop();
    agrees(&said, &at("live"));
    assert!(began.len() + 1 >= pieces && began.iter().all(|epoch| *epoch > 0), "{began:?}");
    if act == "early" {
        // What was done early hangs on where epochs ended: the log says so.
        let again = summary(&mut replay(&flow, &[&at("live")], &at("again"), &[]));
        agrees(&again, &at("again"));
    } else {
        let files: Vec<&Path> = inputs.iter().map(std::path::PathBuf::as_path).collect();
        agrees(&summary(&mut replay(&flow, &files, &at("again"), &["--arrival"])), &at("again"));
    }
    assert_eq!(digest(&at("live")), digest(&at("again")));
    assert!(count(&said, "actions") > 10, "{said}");
    // Of what nobody begins before any more, the log has a row where something changed.
    let log = Log::open(&at("live")).expect("a log");
    let (folded, all) = (log.folded().expect("epochs"), log.epochs().expect("epochs"));
    assert!(folded > all.len() as u64 / 2, "{folded} of {}", all.len());
    let left = log.epochs_after(folded).expect("epochs").len() as u64;
    assert_eq!(folded + left, all.len() as u64);
    // One that was stopped goes on from its end.
    let live = Live::start(&flow, &at("live"), &settings(0));
    assert!(begun(&live) > began.last().copied());
    agrees(&live.stop(), &at("live"));
}

#[test]
fn a_run_goes_on_from_what_was_kept() {
    goes_on("settled", 1_500, 5);
}

#[test]
fn a_run_that_acts_early_goes_on_from_what_was_kept() {
    goes_on("early", 900, 4);
}

#[test]
fn what_was_pushed_and_ordered_goes_on_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), 100, 5);
    let flow = acting_plan(&at("plan"), &at("days"), &[]);
    let source = "sources:\n  - {name: edge, type: http, listen: '127.0.0.1:0', tenant_from_field: true}\n";
    let text = std::fs::read_to_string(&flow).expect("the plan").replace("sources:\n", source);
    std::fs::write(&flow, text).expect("room");
    let (address, world) = world();
    calling(&flow, address);
    let all = edges(600);
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    let mut live = Live::start(&flow, &at("live"), &["--snapshot-every-ms", "1"]);
    for (n, piece) in lines.chunks(100).enumerate() {
        assert_eq!(post(&live.address("edge"), "/push/edge", &[NDJSON], &piece.concat()).0, 200);
        taken(&at("live"), (n as u64 + 1) * 100);
        live.kill();
        live = Live::start(&flow, &at("live"), &["--snapshot-every-ms", "1"]);
        assert!(begun(&live).is_some(), "{}", live.told());
    }
    let said = live.stop();
    agrees(&said, &at("live"));
    assert_eq!(count(&said, "records"), 600);
    let orders = world.lock().expect("no panic").clone();
    assert!(orders.len() > 30 && orders.values().all(|times| *times <= 2), "{orders:?}");
    agrees(&summary(&mut replay(&flow, &[&at("live")], &at("again"), &[])), &at("again"));
    assert_eq!(digest(&at("live")), digest(&at("again")), "its log tells how it went");
}

#[test]
fn what_was_read_of_a_topic_is_not_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let broker = Broker::start(&at("broker"));
    broker.topic("edges", 2);
    for told in ["decided", "open"] {
        broker.topic(told, 1);
    }
    site(&at("days"), 100, 5);
    let flow = acting_plan(&at("plan"), &at("days"), &[]);
    let source = format!(
        "sources:\n  - {{name: edges, type: kafka, brokers: '{0}', topic: edges, tenant_from_field: true}}\n\
         sinks: {{kafka: {{brokers: '{0}', decisions: decided, incidents: open}}}}\n",
        broker.address()
    );
    let text = std::fs::read_to_string(&flow).expect("the plan").replace("sources:\n", &source);
    std::fs::write(&flow, text).expect("room");
    let all = edges(600);
    let lines: Vec<&str> = all.lines().collect();
    let give = |from: usize, to: usize| {
        for (n, partition) in [0, 1].into_iter().enumerate() {
            broker.produce("edges", Some(partition), lines[from..to].iter().skip(n).step_by(2).copied());
        }
    };
    let mut live = Live::start(&flow, &at("live"), &["--snapshot-every-ms", "1"]);
    for n in 0..5 {
        give(n * 100, n * 100 + 100);
        taken(&at("live"), (n as u64 + 1) * 100);
        live.kill();
        live = Live::start(&flow, &at("live"), &["--snapshot-every-ms", "1", "--workers", ["2", "1"][n % 2]]);
        until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    }
    let through = begun(&live).expect("it begins where it was");
    // What lies before that is not there any more, and nobody misses it.
    live.stop();
    for n in 0..2 {
        broker.delete_before("edges", n, 250);
    }
    let live = Live::start(&flow, &at("live"), &[]);
    assert!(begun(&live) > Some(through));
    give(500, 600);
    taken(&at("live"), 600);
    let said = live.stop();
    agrees(&said, &at("live"));
    assert_eq!(count(&said, "records"), 600, "{said}");
    agrees(&summary(&mut replay(&flow, &[&at("live")], &at("again"), &[])), &at("again"));
    assert_eq!(digest(&at("live")), digest(&at("again")), "its log tells how it went");
    // Each decision is told once, whichever life it was of.
    let rows = quell::archive::Reader::open(at("live"), std::sync::Arc::default()).expect("an archive");
    let rows = rows.decisions(None).expect("decisions").count();
    assert_eq!(broker.consume("decided").len(), rows);
}
