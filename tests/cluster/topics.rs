//! Partitions of topics are read by all processes: what comes of them is what one process says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use quell::archive::Reader;
use quell::engine::log::{Log, LoggedEpoch, LoggedPart};
use quell::record::{Names, Stage};

use super::common::kafka::Broker;
use super::common::live::{taken, until};
use super::common::world::{calling, world};
use super::common::{acting_plan, agrees, count, digest, digest_log, early, edges, replay, site, summary};
use super::running::Running;

/// What it came to, but for how idle clocks were moved.
fn whole(archive: &Path) -> BTreeMap<String, String> {
    let mut digests = digest(archive);
    digests.remove("inputs");
    digests
}

/// A plan that reads a topic of its name, with `more` of its settings.
fn plan(folder: &Path, broker: &Broker, topic: &str, more: &str) -> PathBuf {
    site(&folder.join("days"), 100, 5);
    let flow = acting_plan(&folder.join("plan"), &folder.join("days"), &[]);
    let source = format!(
        "sources:\n  - {{name: {topic}, type: kafka, brokers: '{}', topic: {topic}, tenant_from_field: true{more}}}\n",
        broker.address()
    );
    let text = std::fs::read_to_string(&flow).expect("the plan").replace("sources:\n", &source);
    std::fs::write(&flow, text).expect("room");
    flow
}

/// Deals records of a range to so many partitions.
fn give(broker: &Broker, topic: &str, partitions: usize, (from, to): (usize, usize)) {
    let all = edges(to as u64);
    for (n, partition) in (0..partitions).zip(0..) {
        broker.produce(topic, Some(partition), all.lines().skip(from + n).step_by(partitions));
    }
}

/// Asserts that a partition was read by another process than the first so many times.
fn read(others: &str, topic: &str, partitions: &[(u32, usize)]) {
    for (partition, times) in partitions {
        let line = format!("quell: reading partition {partition} of the topic of {topic}\n");
        assert_eq!(others.matches(&line).count(), *times, "{others}");
    }
}

#[test]
fn all_processes_read_and_none_of_them_may_be_lost_for_anything_to_be_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let broker = Broker::shared();
    broker.topic("spread", 4);
    let flow = plan(folder.path(), &broker, "spread", "");
    give(&broker, "spread", 4, (0, 2_000));
    let one = Running::start((&flow, &at("one")), (1, 1), &[]);
    taken(&at("one"), 2_000);
    let said = one.first.stop();
    agrees(&said, &at("one"));
    // Another layout for each life, most of which end while topics, or the log, are read.
    let live = at("live");
    let layouts = [(2, 1), (3, 1), (1, 2), (2, 2), (4, 1), (2, 1)];
    for (n, layout) in layouts.into_iter().enumerate() {
        let snapshots = if n < 3 { "0" } else { "1" };
        let run =
            Running::start((&flow, &live), layout, &["--batch", "60", "--snapshot-every-ms", snapshots]);
        let word = ["process 0 of", "Ctrl-C"][n % 2];
        until("it is met", || (layout.0 == 1 || run.first.told().contains(word)).then_some(()));
        thread::sleep(Duration::from_millis(200 + n as u64 * 137 % 300));
        run.lose((n + 1) % layout.0);
    }
    let Running { first, others } = Running::start((&flow, &live), (3, 1), &["--batch", "60"]);
    taken(&live, 2_000);
    let said = first.stop();
    agrees(&said, &live);
    assert_eq!(count(&said, "records"), 2_000, "{said}");
    assert_eq!(whole(&live), whole(&at("one")));
    read(&Running::others_end(others), "spread", &[(0, 0), (1, 1), (2, 1), (3, 0)]);
    // What comes after that goes the same way, and the log tells it again at one worker.
    let Running { first, others } = Running::start((&flow, &live), (2, 1), &["--snapshot-every-ms", "1"]);
    give(&broker, "spread", 4, (2_000, 2_400));
    taken(&live, 2_400);
    agrees(&first.stop(), &live);
    Running::others_end(others);
    agrees(&summary(&mut replay(&flow, &[&live], &at("again"), &[])), &at("again"));
    assert_eq!(digest(&live), digest(&at("again")));
}

#[test]
fn where_it_is_acted_early_all_processes_read_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let broker = Broker::shared();
    broker.topic("hasty", 4);
    let flow = plan(folder.path(), &broker, "hasty", "");
    early(&flow);
    let (address, orders) = world();
    calling(&flow, address);
    let (live, mut given) = (at("live"), 0);
    // Another layout for each life: what is acted on and not settled is known to the next one, from the log or a snapshot.
    for (n, layout) in [(2, 1), (1, 2), (3, 1), (2, 2)].into_iter().enumerate() {
        let snapshots = if n % 2 == 0 { "0" } else { "1" };
        let run =
            Running::start((&flow, &live), layout, &["--batch", "30", "--snapshot-every-ms", snapshots]);
        give(&broker, "hasty", 4, (given, given + 400));
        given += 400;
        taken(&live, given as u64 - 200);
        run.lose((n + 1) % layout.0);
    }
    let Running { first, others } = Running::start((&flow, &live), (2, 1), &[]);
    taken(&live, given as u64);
    agrees(&first.stop(), &live);
    read(&Running::others_end(others), "hasty", &[(0, 0), (1, 1), (2, 0), (3, 1)]);
    let many = orders.lock().expect("no panic").len();
    assert!(many > 50, "{many}");
    // The log says the same again at one worker: what was done hangs on it alone.
    agrees(&summary(&mut replay(&flow, &[&live], &at("again"), &[])), &at("again"));
    assert_eq!(digest_log(&at("again")), digest_log(&live));
    assert_eq!(orders.lock().expect("no panic").len(), many);
}

#[test]
fn what_befalls_a_topic_is_the_same_whoever_reads_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let live = folder.path().join("live");
    let mut broker = Broker::start(&folder.path().join("broker"));
    broker.topic("grows", 1);
    let flow = plan(folder.path(), &broker, "grows", ", look: 1s");
    let Running { first, others } = Running::start((&flow, &live), (2, 1), &["--batch", "50"]);
    give(&broker, "grows", 1, (0, 100));
    taken(&live, 100);
    // Partitions are added, and read by whose they are.
    broker.add_partitions("grows", 4);
    give(&broker, "grows", 4, (100, 500));
    taken(&live, 500);
    // The broker is away, longer than clocks wait for what is silent.
    broker.kill();
    until("it says so", || first.told().contains("does not answer").then_some(()));
    thread::sleep(Duration::from_secs(3));
    broker.restart();
    give(&broker, "grows", 4, (500, 900));
    taken(&live, 900);
    let summary = first.stop();
    agrees(&summary, &live);
    assert_eq!(count(&summary, "divergences"), 0, "{summary}");
    read(&Running::others_end(others), "grows", &[(0, 0), (1, 1), (2, 0), (3, 1)]);
    // What retention removes before it is read ends the run, which says of which partition: it is the other process's.
    let (_, end) = broker.bounds("grows", 1);
    give(&broker, "grows", 4, (900, 1_300));
    broker.delete_before("grows", 1, end + 30);
    let Running { first, others } = Running::start((&flow, &live), (2, 1), &[]);
    let told = first.failed();
    let what = format!(
        "process 1: partition 1 of topic grows is to be read from offset {end} on, but begins at {} by now",
        end + 30
    );
    assert!(told.contains(&what) && told.contains("on_lost: skip"), "{told}");
    Running::others_end(others);
}

/// The offsets of what is kept out, by partition.
fn kept_out(archive: &Path) -> Vec<(u32, u64)> {
    let reader = Reader::open(archive, Arc::new(Names::default())).expect("an archive");
    let lines = reader.rejects(None).expect("rejects").map(|line| line.expect("a reject"));
    let lines = lines.filter(|line| line.stage == Stage::Quarantine);
    let mut places: Vec<(u32, u64)> = lines.map(|line| (line.partition, line.position)).collect();
    places.sort_unstable();
    places
}

#[test]
fn a_record_that_nobody_could_parse_is_kept_out_where_it_lies_whoever_reads_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let broker = Broker::shared();
    broker.topic("unread", 2);
    let flow = plan(folder.path(), &broker, "unread", "");
    let live = at("live");
    let run = Running::start((&flow, &live), (2, 1), &["--batch", "50"]);
    give(&broker, "unread", 2, (0, 200));
    taken(&live, 200);
    run.lose(1);
    // What processes leave that have ended at the next record of each partition.
    let mut log = Log::open(&live).expect("a log");
    for partition in 0..2 {
        let epoch = log.last_epoch().expect("epochs") + 1;
        let settled = log.settled(epoch - 1).expect("epochs").expect("the last");
        let parts = vec![LoggedPart::unread("unread".to_owned(), partition, 1)];
        log.keep_out(&LoggedEpoch { epoch, settled, last: false, parts }).expect("room");
    }
    drop(log);
    give(&broker, "unread", 2, (200, 400));
    // It is known where they lie once they were passed by, whether that is computed again or not.
    let start = |processes: usize, snapshots: &str| {
        let run = Running::start((&flow, &live), (processes, 1), &["--snapshot-every-ms", snapshots]);
        until("it goes on", || run.first.told().contains("Ctrl-C").then_some(()));
        taken(&live, 400);
        run
    };
    for (processes, snapshots) in [(2, "0"), (2, "1"), (1, "1"), (2, "0")] {
        start(processes, snapshots).lose(0);
    }
    let Running { first, others } = start(2, "1");
    let summary = first.stop();
    Running::others_end(others);
    agrees(&summary, &live);
    assert_eq!(["records", "divergences"].map(|key| count(&summary, key)), [400, 0], "{summary}");
    assert_eq!(kept_out(&live), [(0, 100), (1, 100)]);
    agrees(&self::summary(&mut replay(&flow, &[&live], &at("again"), &[])), &at("again"));
    assert_eq!(digest(&live), digest(&at("again")));
}
