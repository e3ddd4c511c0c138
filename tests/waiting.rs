//! `quell run` while it waits: a kill switch that is lifted, and a source's clock that follows the wall.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::live::{Live, NDJSON, post, taken, until};
use common::{acting_plan, agrees, asking_plan, edges, site};
use quell::archive::Reader;
use quell::engine::log::{Log, LoggedEpoch, LoggedPart};
use quell::engine::pushed;
use quell::record::{NOTHING_SETTLED, Names, Ruling};

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file of the test")
}

#[test]
fn a_kill_file_that_is_lifted_lets_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (days, plans, archive) =
        (folder.path().join("site"), folder.path().join("plan"), folder.path().join("live"));
    site(&days, 800, 5);
    let flow = acting_plan(&plans, &days, &["alerts.jsonl"]);
    let (whole, input) = (text(&days.join("alerts.jsonl")), plans.join("alerts.jsonl"));
    let (half, all) = (400, whole.lines().count() as u64);
    let cut = whole.match_indices('\n').nth(half - 1).expect("so many lines").0 + 1;
    std::fs::write(&input, &whole[..cut]).expect("room");
    std::fs::create_dir_all(archive.join("_quell")).expect("room");
    let kill = archive.join("_quell/KILL");
    std::fs::write(&kill, "").expect("room");
    let live = Live::start(&flow, &archive, &[]);
    taken(&archive, half as u64);
    let reader = Reader::open(&archive, Arc::new(Names::default())).expect("an archive");
    let acted = || -> Vec<_> {
        reader.actions(None).expect("actions").map(|line| line.expect("one").decision_id).collect()
    };
    let ruled: Vec<_> = reader
        .decisions(None)
        .expect("decisions")
        .map(|line| line.expect("one"))
        .filter(|line| line.ruling == Ruling::Execute)
        .map(|line| line.decision_id)
        .collect();
    assert!(!ruled.is_empty() && acted().is_empty(), "ruled, and nothing is begun: {ruled:?} {:?}", acted());
    std::fs::remove_file(&kill).expect("it is there");
    std::fs::write(&input, &whole).expect("room");
    taken(&archive, all);
    let summary = live.stop();
    agrees(&summary, &archive);
    let acted = acted();
    assert!(ruled.iter().all(|id| acted.contains(id)), "what was held back is done, once: {summary}");
}

#[test]
fn an_idle_clock_of_the_wall_follows_the_others_and_then_the_wall() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plans, archive) = (folder.path().join("plan"), folder.path().join("live"));
    let sources = "  - {name: edge, type: http, listen: '127.0.0.1:0', clock: wall}\n  \
                   - {name: edges.jsonl, type: file, path: edges.jsonl, tenant_from_field: true}";
    let flow = asking_plan(&plans);
    let whole = text(&flow).replace("tenant: default\n", &format!("tenant: default\nsources:\n{sources}\n"));
    std::fs::write(&flow, whole).expect("room for the plan");
    let hand = edges(300);
    std::fs::write(plans.join("edges.jsonl"), &hand).expect("room");
    let live = Live::start(&flow, &archive, &[]);
    let first = hand.lines().next().expect("a line");
    assert_eq!(post(&live.address("edge"), "/push/edge", &[NDJSON], first).0, 200);
    taken(&archive, 301);
    let moves = || -> Vec<i64> {
        let inputs = Log::open(&archive).expect("a log").taken().expect("inputs");
        let ticks = inputs.iter().filter(|input| input.kind == "tick" && input.body.contains("\"edge\""));
        let body = |body: &str| serde_json::from_str::<serde_json::Value>(body).expect("JSON");
        ticks.map(|input| body(&input.body)["time"].as_i64().expect("a time")).collect()
    };
    until("the clock goes on", || (moves().len() > 2).then_some(()));
    let times = hand.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let time = |line: serde_json::Value| line["time"].as_str().and_then(|time| time.parse().ok());
    let newest = times.filter_map(time).map(jiff::Timestamp::as_millisecond).max().expect("alerts");
    let moves = moves();
    assert!(moves[0] >= newest && moves[0] < newest + 60_000, "to the others': {moves:?} {newest}");
    assert!(moves.windows(2).all(|pair| pair[0] < pair[1]), "then by elapsed time: {moves:?}");
    let settled = Log::open(&archive).expect("a log").epochs().expect("epochs").last().expect("one").settled;
    assert!(settled > (newest - 600_000) / 1_000, "what was silent holds nobody up: {settled} {newest}");
    // What was moved is read from the log again.
    live.kill();
    let live = Live::start(&flow, &archive, &[]);
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    let summary = live.stop();
    agrees(&summary, &archive);
}

#[test]
fn an_epoch_that_took_more_than_waits_at_a_time_is_taken_again() {
    const BATCHES: u64 = 66;
    const RECORDS: u64 = 400;
    let folder = tempfile::tempdir().expect("a folder");
    let (plans, archive) = (folder.path().join("plan"), folder.path().join("live"));
    // Of another source nothing comes, and so nothing is settled.
    let http =
        |name: &str| format!("  - {{name: {name}, type: http, listen: '127.0.0.1:0', clock: event}}\n");
    let sources = format!("tenant: default\nsources:\n{}{}", http("edge"), http("other"));
    let flow = asking_plan(&plans);
    std::fs::write(&flow, text(&flow).replace("tenant: default\n", &sources)).expect("room for the plan");
    // As a process leaves it that had some batches when more came, and ended with all of them in one epoch.
    let batch = "{\n".repeat(usize::try_from(RECORDS).expect("few"));
    let all = BATCHES * RECORDS;
    let mut log = Log::open(&archive).expect("a log");
    let batches: Vec<_> =
        (0..BATCHES).map(|_| pushed::entry("edge", &batch, None, 1_767_700_000_000)).collect();
    log.write(&batches).expect("room");
    let part = LoggedPart { source: "edge".into(), partition: 0, records: all, first: 1, next: all + 1 };
    let epoch = LoggedEpoch { epoch: 1, settled: NOTHING_SETTLED, last: false, parts: vec![part] };
    log.record(&[epoch], None).expect("room");
    let live = Live::start(&flow, &archive, &["--batch", "1000000"]);
    taken(&archive, all);
    let summary = live.stop();
    agrees(&summary, &archive);
    assert_eq!(
        (summary["records"].as_u64(), summary["rejects"].as_u64()),
        (Some(all), Some(all)),
        "{summary}"
    );
}
