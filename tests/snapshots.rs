//! Snapshots: a run that begins where an earlier one kept what it remembered says what one says that began at the beginning.

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

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
    live.goes_on();
    let told = live.told();
    let line =
        told.lines().find_map(|line| line.strip_prefix("quell: beginning with what was kept at epoch "))?;
    Some(line.parse().expect("an epoch"))
}

/// How a run ends between two pieces of what it is fed.
#[derive(Clone, Copy, PartialEq)]
enum Between {
    /// By kill -9.
    Killed,
    /// Told to stop, and to keep what is not settled.
    Left,
}

impl Between {
    /// What it is told of snapshots.
    fn kept(self) -> [&'static str; 4] {
        match self {
            Between::Killed => ["--snapshot-every-ms", "1", "--on-stop", "settle"],
            Between::Left => ["--snapshot-every-ms", "3600000", "--on-stop", "keep"],
        }
    }

    fn end(self, live: Live) {
        match self {
            Between::Killed => live.kill(),
            Between::Left => {
                let said = live.stop();
                assert!(count(&said, "unsettled") > 0 && count(&said, "divergences") == 0, "{said}");
            }
        }
    }
}

/// Of what nobody begins before any more, the log has a row where something changed.
fn is_folded(archive: &Path) {
    let log = Log::open(archive).expect("a log");
    let (folded, all) = (log.folded().expect("epochs"), log.epochs().expect("epochs"));
    assert!(folded > all.len() as u64 / 2, "{folded} of {}", all.len());
    let left = log.epochs_after(folded).expect("epochs").len() as u64;
    assert_eq!(folded + left, all.len() as u64);
}

/// Feeds a run in pieces, ending it after each, and compares what it says in the end with a replay of its files.
fn goes_on(act: &str, alerts: u64, pieces: usize, between: Between) {
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
        [&["--workers", workers, "--batch", "40"][..], &between.kept()].concat()
    };
    let mut live = Live::start(&flow, &at("live"), &settings(0));
    for n in 0..pieces {
        for (input, lines) in inputs.iter().zip(&lines) {
            let part = &lines[lines.len() * n / pieces..lines.len() * (n + 1) / pieces];
            given += part.len() as u64;
            grow(input, part);
        }
        taken(&at("live"), given);
        between.end(live);
        live = Live::start(&flow, &at("live"), &settings(n + 1));
        began.extend(begun(&live));
    }
    taken(&at("live"), given);
    if between == Between::Left {
        live.stop();
        live = Live::start(&flow, &at("live"), &["--on-stop", "settle"]);
        began.extend(begun(&live));
    }
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
    if between == Between::Killed {
        is_folded(&at("live"));
    }
    // One that was stopped goes on from its end.
    let live = Live::start(&flow, &at("live"), &settings(0));
    assert!(begun(&live) > began.last().copied());
    agrees(&live.stop(), &at("live"));
}

#[test]
fn a_run_goes_on_from_what_was_kept() {
    goes_on("settled", 1_500, 5, Between::Killed);
}

#[test]
fn a_run_that_is_left_goes_on_as_though_it_had_not_ended() {
    goes_on("settled", 1_000, 4, Between::Left);
    goes_on("early", 600, 3, Between::Left);
}

#[test]
fn a_run_that_acts_early_goes_on_from_what_was_kept() {
    goes_on("early", 900, 4, Between::Killed);
}

/// A plan that acts on what is pushed to `edge`.
fn pushed_to(folder: &Path) -> PathBuf {
    site(&folder.join("days"), 100, 5);
    let flow = acting_plan(&folder.join("plan"), &folder.join("days"), &[]);
    let source = "sources:\n  - {name: edge, type: http, listen: '127.0.0.1:0', clock: event, tenant_from_field: true}\n";
    let text = std::fs::read_to_string(&flow).expect("the plan").replace("sources:\n", source);
    std::fs::write(&flow, text).expect("room");
    flow
}

#[test]
fn what_was_pushed_and_ordered_goes_on_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let flow = pushed_to(folder.path());
    let (address, world) = world();
    calling(&flow, address);
    let all = edges(600);
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    let mut live = Live::start(&flow, &at("live"), &["--snapshot-every-ms", "1"]);
    for (n, piece) in lines.chunks(100).enumerate() {
        assert_eq!(post(&live.address("edge"), "/push/edge", &[NDJSON], &piece.concat()).0, 200);
        taken(&at("live"), (n as u64 + 1) * 100);
        // What is shown is kept a moment later.
        let manifest = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.is_ok_and(|it| it.path().extension().is_some_and(|it| it == "json"))
        };
        until("something is kept", || {
            std::fs::read_dir(at("live/_quell/snapshots")).ok()?.any(manifest).then_some(())
        });
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
fn what_was_pushed_is_forgotten_once_it_lies_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let flow = pushed_to(folder.path());
    let all = edges(2_000);
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    let log = || Log::open(&at("live")).expect("a log");
    let size = || std::fs::metadata(Log::path_of(&at("live"))).expect("a log").len();
    // How many are in the log, and the first of them.
    let left = || {
        let left = log().pushes(0, u32::MAX).expect("batches");
        (left.len(), left.first().map_or(i64::MAX, |first| first.id))
    };
    let settings = ["--snapshot-every-ms", "1"];
    let mut live = Live::start(&flow, &at("live"), &settings);
    let (mut address, mut sizes) = (live.address("edge"), Vec::new());
    for (n, piece) in (1_u64..).zip(lines.chunks(10)) {
        let key = format!("batch {n}");
        let push = |address: &str| {
            let (status, said) =
                post(address, "/push/edge", &[NDJSON, ("Idempotency-Key", &key)], &piece.concat());
            assert_eq!(status, 200, "{said}");
            said.contains(r#""duplicate":true"#)
        };
        assert!(!push(&address));
        if n % 5 == 0 {
            taken(&at("live"), n * 10);
        }
        if n % 50 == 0 {
            sizes.push(size());
            live.kill();
            live = Live::start(&flow, &at("live"), &settings);
            address = live.address("edge");
            assert!(begun(&live).is_some(), "{}", live.told());
            let told = live.told();
            let from = told.lines().find_map(|line| {
                line.strip_prefix("quell: pushed batches are read from behind number ")?.strip_suffix(" on")
            });
            let from: i64 = from.expect("it says so").parse().expect("a number");
            let (many, first) = left();
            assert!(
                many < 20 && first <= from + 1 && from + 5 > n.cast_signed(),
                "{many} from {first}, {from}"
            );
            assert!(push(&address), "what was acknowledged is known");
        }
    }
    let more = sizes[3].saturating_sub(sizes[1]);
    assert!(more < all.len() as u64 / 8, "the log stops growing: {sizes:?}");
    let said = live.stop();
    agrees(&said, &at("live"));
    assert_eq!(count(&said, "records"), 2_000, "{said}");
    // What was forgotten nobody misses.
    std::fs::write(at("edge"), &all).expect("room");
    agrees(&summary(&mut replay(&flow, &[&at("edge")], &at("whole"), &["--arrival"])), &at("whole"));
    assert_eq!(digest(&at("live")), digest(&at("whole")), "it is as if nothing had happened");
    agrees(&summary(&mut replay(&flow, &[&at("live")], &at("again"), &[])), &at("again"));
    assert_eq!(digest(&at("live")), digest(&at("again")), "its record tells how it went");
}

#[test]
fn what_is_pushed_without_a_time_has_that_at_which_it_came() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let flow = pushed_to(folder.path());
    let timeless = |from, to| {
        let lines = common::edges_of(from..to, |n| n % 97 != 13);
        let cut = |line: &str| {
            let (before, after) = line.split_once("\"time\":\"").expect("a time");
            format!("{before}{}\n", &after[after.find("\",").expect("its end") + 2..])
        };
        lines.lines().map(cut).collect::<String>()
    };
    let now = || jiff::Timestamp::now().as_millisecond();
    let begin = now();
    let live = Live::start(&flow, &at("live"), &["--snapshot-every-ms", "0"]);
    assert_eq!(post(&live.address("edge"), "/push/edge", &[NDJSON], &timeless(6, 12)).0, 200);
    taken(&at("live"), 6);
    let between = now();
    assert_eq!(post(&live.address("edge"), "/push/edge", &[NDJSON], &timeless(14, 18)).0, 200);
    taken(&at("live"), 10);
    let end = now();
    live.kill();
    // Computed again, it is as it was.
    let live = Live::start(&flow, &at("live"), &["--snapshot-every-ms", "0"]);
    live.goes_on();
    let said = live.stop();
    agrees(&said, &at("live"));
    assert_eq!((count(&said, "alerts"), count(&said, "rejects")), (10, 0), "{said}");
    let reader = quell::archive::Reader::open(at("live"), std::sync::Arc::default()).expect("an archive");
    let mut alerts: Vec<_> = reader.alerts(None).expect("alerts").map(|line| line.expect("a line")).collect();
    alerts.sort_by_key(|alert| alert.position);
    let times: Vec<i64> = alerts.iter().map(|alert| alert.time.0).collect();
    assert!(times[..6].iter().all(|time| *time == times[0] && (begin..=between).contains(time)), "{times:?}");
    assert!(times[6..].iter().all(|time| *time == times[6] && (between..=end).contains(time)), "{times:?}");
    agrees(&summary(&mut replay(&flow, &[&at("live")], &at("again"), &[])), &at("again"));
    assert_eq!(digest(&at("live")), digest(&at("again")));
}

#[test]
fn a_run_that_keeps_nothing_forgets_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let flow = pushed_to(folder.path());
    let all = edges(60);
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    let settings = ["--snapshot-every-ms", "0"];
    let mut live = Live::start(&flow, &at("live"), &settings);
    for (n, piece) in (1_u64..).zip(lines.chunks(20)) {
        assert_eq!(post(&live.address("edge"), "/push/edge", &[NDJSON], &piece.concat()).0, 200);
        taken(&at("live"), n * 20);
        live.kill();
        live = Live::start(&flow, &at("live"), &settings);
        assert_eq!(begun(&live), None);
    }
    agrees(&live.stop(), &at("live"));
    assert_eq!(Log::open(&at("live")).expect("a log").pushes(0, 9).expect("batches").len(), 3);
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
        live.goes_on();
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
