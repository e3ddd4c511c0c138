//! Kafka sources against a real broker: what a topic holds is what files of the same records give, whatever is killed.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::kafka::Broker;
use common::live::{Live, taken, until};
use common::{agrees, asking_plan, count, digest, edges, quell, replay, said, summary};
use quell::archive::Reader;
use quell::engine::log::Log;
use quell::record::Names;

/// A plan whose sources are these lines.
fn plan(folder: &Path, sources: &str) -> PathBuf {
    let flow = asking_plan(folder);
    let text = std::fs::read_to_string(&flow).expect("the plan");
    let text = text.replace("tenant: default\n", &format!("tenant: default\nsources:\n{sources}\n"));
    std::fs::write(&flow, text).expect("room for the plan");
    flow
}

/// A source over a topic of its name.
fn source(name: &str, broker: &Broker, more: &str) -> String {
    format!("  - {{name: {name}, type: kafka, brokers: '{}', topic: {name}{more}}}\n", broker.address())
}

/// What partition `n` of `of` gets.
fn dealt(all: &str, n: usize, of: usize) -> Vec<&str> {
    all.lines().enumerate().filter(|(at, _)| at % 7 % of == n).map(|(_, line)| line).collect()
}

/// What a replay of the same records, a file a partition, comes to.
fn replayed(folder: &Path, flow: &Path, all: &str, of: usize) -> PathBuf {
    let files: Vec<PathBuf> = (0..of).map(|n| folder.join(format!("records.{n}"))).collect();
    for (n, file) in files.iter().enumerate() {
        std::fs::write(file, dealt(all, n, of).join("\n")).expect("room");
    }
    let told = folder.join("replayed");
    let inputs: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    summary(&mut replay(flow, &inputs, &told, &["--arrival"]));
    told
}

/// Appends records to the partitions that they belong to.
fn produce(broker: &Broker, topic: &str, all: &str, of: usize, (from, to): (usize, usize)) {
    for n in 0..of {
        let mine = all.lines().enumerate().take(to).skip(from).filter(|(at, _)| at % 7 % of == n);
        broker.produce(topic, Some(i32::try_from(n).expect("few")), mine.map(|(_, line)| line));
    }
}

/// What both came to, but for where each record lay.
fn meaning(archive: &Path) -> BTreeMap<String, String> {
    let mut digests = whole(archive);
    for table in ["alerts", "duplicates", "rejects"] {
        let digest = digests.get_mut(table).expect("a table");
        *digest = digest.split(' ').next().expect("a count").to_owned();
    }
    digests
}

/// What it came to, but for how idle clocks were moved.
fn whole(archive: &Path) -> BTreeMap<String, String> {
    let mut digests = digest(archive);
    digests.remove("inputs");
    digests
}

/// Replays an archive.
fn summary_of(flow: &Path, archive: &Path, into: &Path) {
    common::conserved(&summary(&mut replay(flow, &[archive], into, &[])));
}

fn begun(live: &Live) {
    until("it has begun", || live.told().contains("Ctrl-C").then_some(()));
}

/// A run that must fail; what it says.
fn refused(flow: &Path, archive: &Path) -> String {
    let mut command = quell();
    let output = command.arg("run").arg("--flow").arg(flow).arg("--archive").arg(archive).output();
    let output = output.expect("it starts");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    said(&output)
}

#[test]
fn a_topic_gives_what_files_give_however_often_it_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, broker) = (folder.path(), Broker::shared());
    broker.topic("edges", 3);
    let all = edges(3_000);
    let flow = plan(&folder.join("plan"), &source("edges", &broker, ", group: soc"));
    produce(&broker, "edges", &all, 3, (0, 3_000));
    let archive = folder.join("live");
    let live = Live::start(&flow, &archive, &[]);
    taken(&archive, 3_000);
    let ends: Vec<Option<i64>> = (0..3).map(|n| Some(broker.bounds("edges", n).1)).collect();
    until("its group is told", || (broker.committed("soc", "edges") == ends).then_some(()));
    let summary = live.stop();
    agrees(&summary, &archive);
    assert_eq!(count(&summary, "records"), 3_000, "{summary}");
    assert_eq!(meaning(&archive), meaning(&replayed(folder, &flow, &all, 3)));
    // Its own archive has it all.
    let again = folder.join("again");
    summary_of(&flow, &archive, &again);
    assert_eq!(whole(&again), whole(&archive));
    // The same again, killed at any moment: while the topic is read, while the log is read again.
    let killed = folder.join("killed");
    for n in 0..6_u64 {
        let live = Live::start(&flow, &killed, &["--batch", "50", "--snapshot-every-ms", "1"]);
        if n % 2 == 0 {
            begun(&live);
        }
        thread::sleep(Duration::from_millis(n * 37 % 150));
        live.kill();
    }
    // One partition more than workers.
    let live = Live::start(&flow, &killed, &["--batch", "50", "--workers", "2"]);
    taken(&killed, 3_000);
    let summary = live.stop();
    agrees(&summary, &killed);
    assert_eq!(whole(&killed), whole(&archive));
    // A run that was stopped goes on with what has come since.
    broker.produce("edges", Some(1), edges(3_100).lines().skip(3_000));
    let live = Live::start(&flow, &killed, &[]);
    taken(&killed, 3_100);
    agrees(&live.stop(), &killed);
}

#[test]
fn a_broker_that_is_killed_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut broker = Broker::start(&folder.join("broker"));
    broker.topic("edges", 2);
    let all = edges(1_500);
    let flow = plan(&folder.join("plan"), &source("edges", &broker, ""));
    let archive = folder.join("live");
    let live = Live::start(&flow, &archive, &[]);
    produce(&broker, "edges", &all, 2, (0, 500));
    taken(&archive, 500);
    broker.kill();
    until("it says so", || live.told().contains("does not answer").then_some(()));
    // Long enough that silent clocks would have moved, were they not known to be unheard; `QUELL_BROKER_AWAY_S` says how long.
    let away = std::env::var("QUELL_BROKER_AWAY_S").map_or(10, |text| text.parse().expect("seconds"));
    thread::sleep(Duration::from_secs(away));
    assert_eq!(live.told().matches("does not answer").count(), 1, "it says so once: {}", live.told());
    broker.restart();
    until("it says so", || live.told().contains("answer again").then_some(()));
    produce(&broker, "edges", &all, 2, (500, 1_000));
    taken(&archive, 1_000);
    // In order, and while quell is not there.
    broker.stop();
    live.kill();
    broker.restart();
    produce(&broker, "edges", &all, 2, (1_000, 1_500));
    let live = Live::start(&flow, &archive, &[]);
    taken(&archive, 1_500);
    let told = live.told();
    agrees(&live.stop(), &archive);
    assert_eq!(told.matches("does not answer").count(), 0, "{told}");
    assert_eq!(count_of(&archive), 1_500);
}

/// Records by the archive's own rows.
fn count_of(archive: &Path) -> u64 {
    let reader = Reader::open(archive, Arc::new(Names::default())).expect("an archive");
    reader.epochs(None).expect("epochs").map(|line| line.expect("an epoch").records).sum()
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, broker) = (folder.path(), Broker::shared());
    broker.topic("grows", 1);
    let all = edges(900);
    let lines: Vec<&str> = all.lines().collect();
    let flow = plan(&folder.join("plan"), &source("grows", &broker, ", look: 1s, start: latest"));
    let archive = folder.join("live");
    broker.produce("grows", Some(0), lines[..100].iter().copied());
    let live = Live::start(&flow, &archive, &["--batch", "20"]);
    begun(&live);
    broker.produce("grows", Some(0), lines[100..200].iter().copied());
    taken(&archive, 100);
    broker.add_partitions("grows", 3);
    for (n, lines) in (0..).zip(lines[200..500].chunks(100)) {
        broker.produce("grows", Some(n), lines.iter().copied());
    }
    taken(&archive, 400);
    live.kill();
    broker.add_partitions("grows", 4);
    broker.produce("grows", Some(3), lines[500..700].iter().copied());
    let live = Live::start(&flow, &archive, &["--batch", "20"]);
    taken(&archive, 600);
    live.kill();
    let live = Live::start(&flow, &archive, &["--batch", "20"]);
    broker.produce("grows", Some(2), lines[700..].iter().copied());
    taken(&archive, 800);
    let summary = live.stop();
    agrees(&summary, &archive);
    assert_eq!(count(&summary, "records"), 800, "all but those before it began: {summary}");
    let starts: Vec<u64> =
        Log::open(&archive).expect("a log").assigned().expect("places").iter().map(|it| it.start).collect();
    assert_eq!(starts, [100, 0, 0, 0]);
}

#[test]
fn what_was_removed_before_it_was_read_is_an_error_or_a_reject() {
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, broker) = (folder.path(), Broker::shared());
    let all = edges(300);
    for (topic, more) in [("fails", ""), ("skips", ", on_lost: skip")] {
        broker.topic(topic, 1);
        let flow = plan(&folder.join(topic).join("plan"), &source(topic, &broker, more));
        let archive = folder.join(topic).join("live");
        let live = Live::start(&flow, &archive, &[]);
        begun(&live);
        live.stop();
        broker.produce(topic, Some(0), all.lines());
        broker.delete_before(topic, 0, 120);
        if more.is_empty() {
            let told = refused(&flow, &archive);
            let what =
                format!("partition 0 of topic {topic} is to be read from offset 0 on, but begins at 120");
            assert!(told.contains(&what) && told.contains("--fresh"), "{told}");
            continue;
        }
        // What was kept at the first one's end, the next begins with; without it, what is lost is lost again.
        for kept in ["0", "0", "300000", "300000"] {
            let live = Live::start(&flow, &archive, &["--snapshot-every-ms", kept]);
            begun(&live);
            taken(&archive, 181);
            let is_told = || live.told().contains("120 offsets were removed").then_some(());
            let begins = || live.told().contains("beginning with what was kept").then_some(());
            until("it says so", || is_told().or_else(begins));
            let summary = live.stop();
            agrees(&summary, &archive);
            assert_eq!(count(&summary, "records"), 181, "{summary}");
        }
        let reader = Reader::open(&archive, Arc::new(Names::default())).expect("an archive");
        let mut rejects = reader.rejects(None).expect("rejects").map(|line| line.expect("one"));
        let lost = rejects.find(|reject| reject.position == 0).expect("what is lost");
        assert!(lost.reason.contains("offsets 0 to 119 of partition 0"), "{}", lost.reason);
    }
}

#[test]
fn retention_that_overtakes_a_run_under_way_ends_it_with_a_clear_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, broker) = (folder.path(), Broker::shared());
    broker.topic("overtaken", 1);
    let flow = plan(&folder.join("plan"), &source("overtaken", &broker, ""));
    let (archive, all) = (folder.join("live"), edges(400));
    let lines: Vec<&str> = all.lines().collect();
    broker.produce("overtaken", Some(0), lines[..100].iter().copied());
    let live = Live::start(&flow, &archive, &[]);
    taken(&archive, 100);
    // It falls behind; what it has not read is removed meanwhile.
    let signal = |name: &str| Command::new("kill").args([name, &live.id().to_string()]).status();
    assert!(signal("-STOP").expect("kill").success());
    broker.produce("overtaken", Some(0), lines[100..].iter().copied());
    broker.delete_before("overtaken", 0, 250);
    assert!(signal("-CONT").expect("kill").success());
    let told = live.failed();
    let what = "partition 0 of topic overtaken is to be read from offset 100 on, but begins at 250 by now: 150 offsets";
    assert!(told.contains(what) && told.contains("on_lost: skip"), "{told}");
    assert_eq!(count_of(&archive), 100);
}

#[test]
fn what_is_no_alert_is_told_where_it_lies_and_gaps_are_no_records() {
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, broker) = (folder.path(), Broker::shared());
    broker.topic("odd", 2);
    let long = format!("{{\"long\":\"{}\"}}", "x".repeat(3_000));
    let timeless = "{\"id\":\"t\",\"tenant\":\"default\",\"product\":\"edr\",\"rule_id\":\"R\",\"rule_name\":\"R\",\"severity\":\"low\",\"host\":\"h\"}";
    let lines = edges(40);
    broker.produce_keyed("odd", Some(1), [(Some("k"), None), (None, Some(&*long)), (None, Some(timeless))]);
    broker.produce_in_transactions("odd", 1, [(&lines.lines().take(10).collect::<Vec<_>>()[..], true)]);
    broker.produce_in_transactions("odd", 1, [(&["aborted"; 5][..], false)]);
    broker.produce_in_transactions("odd", 1, [(&lines.lines().skip(10).collect::<Vec<_>>()[..], true)]);
    let flow = plan(&folder.join("plan"), &source("odd", &broker, ""));
    let archive = folder.join("live");
    let args = ["--record-bytes-max", "2000", "--batch", "7"];
    for n in 0..2 {
        let live = Live::start(&flow, &archive, &args);
        begun(&live);
        taken(&archive, 43);
        if n == 0 {
            // Partition 0 never speaks.
            let log = Log::open(&archive).expect("a log");
            until("it is settled all the same", || (log.epochs().ok()?.last()?.settled > 0).then_some(()));
            live.kill();
            continue;
        }
        let summary = live.stop();
        agrees(&summary, &archive);
        assert_eq!((count(&summary, "records"), count(&summary, "divergences")), (43, 0), "{summary}");
    }
    let reader = Reader::open(&archive, Arc::new(Names::default())).expect("an archive");
    let rejects: Vec<_> = reader.rejects(None).expect("rejects").map(|line| line.expect("one")).collect();
    let at = |n: u64| rejects.iter().find(|it| it.position == n).map(|it| (it.partition, it.reason.clone()));
    assert!(at(0).is_some_and(|(n, why)| n == 1 && why.contains("tombstone")), "{rejects:?}");
    assert!(at(1).is_some_and(|(n, why)| n == 1 && why.contains("more than the 2000")), "{rejects:?}");
    let had = broker.consume("odd");
    let time = had.iter().find(|it| it.offset == 2).expect("it").time;
    let mut alerts = reader.alerts(None).expect("alerts").map(|line| line.expect("one"));
    assert_eq!(
        alerts.find(|it| it.position == 2).unwrap_or_else(|| panic!("{rejects:?}")).time.0,
        time,
        "the topic's time"
    );
}

/// Resident memory of a process, in bytes.
fn resident(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = text.lines().find(|line| line.starts_with("VmRSS")).expect("a size");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") << 10
}

#[test]
fn a_topic_far_ahead_costs_no_memory_and_severe_ones_go_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, broker) = (folder.path(), Broker::shared());
    broker.topic("flood", 2);
    broker.topic("severe", 1);
    let all = edges(12_000);
    let padding = "x".repeat(20_000);
    let padded: Vec<String> =
        all.lines().map(|line| line.replace('{', &format!("{{\"padding\":\"{padding}\","))).collect();
    for n in [0, 1] {
        let mine = padded.iter().enumerate().filter(|(at, _)| at % 2 == n).map(|(_, line)| &**line);
        broker.produce("flood", Some(i32::try_from(n).expect("few")), mine);
    }
    drop(padded);
    broker.produce("severe", Some(0), edges(300).lines());
    let sources = source("flood", &broker, "") + &source("severe", &broker, ", severe: true");
    let flow = plan(&folder.join("plan"), &sources);
    let archive = folder.join("live");
    let live = Live::start(&flow, &archive, &["--batch", "200"]);
    let (mut most, mut curve) = (0, String::new());
    let log = until("there is a log", || Log::open(&archive).ok());
    until("the flood is drained", || {
        let took: u64 =
            log.epochs().ok()?.iter().flat_map(|epoch| &epoch.parts).map(|part| part.records).sum();
        let now = resident(live.id());
        most = now.max(most);
        write!(curve, " {}:{}", 12_300 - took.min(12_300), now >> 20).expect("memory");
        thread::sleep(Duration::from_millis(200));
        (took >= 12_300).then_some(())
    });
    eprintln!("records left and MiB in memory:{curve}");
    taken(&archive, 12_300);
    agrees(&live.stop(), &archive);
    // 240 MB are in the topic.
    assert!(most < 200 << 20, "{} MiB", most >> 20);
    let epochs = log.epochs().expect("epochs");
    let last = |source: &str| {
        epochs.iter().rfind(|epoch| epoch.parts.iter().any(|part| part.source == source)).expect("one").epoch
    };
    assert!(last("severe") < last("flood") / 2, "{} of {}", last("severe"), last("flood"));
}

#[test]
fn a_plan_with_a_topic_is_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let flow = plan(
        folder.path(),
        "  - {name: a, type: kafka, brokers: '', topic: 'a b', security: {user: ada}, look: 0s}\n",
    );
    let output = Command::new(env!("CARGO_BIN_EXE_quell")).arg("check").arg("--flow").arg(&flow).output();
    let output = output.expect("it starts");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    for what in ["`brokers` is", "`topic` is", "a user needs SASL", "`look` is"] {
        assert!(said(&output).contains(&format!("source \"a\": {what}")), "{what}: {}", said(&output));
    }
}
