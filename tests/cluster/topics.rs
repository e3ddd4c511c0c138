//! Partitions of topics are read by all processes: what comes of them is what one process says.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::common::kafka::Broker;
use super::common::live::{taken, until};
use super::common::{acting_plan, agrees, count, digest, edges, replay, site, summary};
use super::running::Running;

/// What it came to, but for how idle clocks were moved.
fn whole(archive: &Path) -> BTreeMap<String, String> {
    let mut digests = digest(archive);
    digests.remove("inputs");
    digests
}

#[test]
fn all_processes_read_and_none_of_them_may_be_lost_for_anything_to_be_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let broker = Broker::shared();
    broker.topic("spread", 4);
    site(&at("days"), 100, 5);
    let flow = acting_plan(&at("plan"), &at("days"), &[]);
    let source = format!(
        "sources:\n  - {{name: spread, type: kafka, brokers: '{}', topic: spread, tenant_from_field: true}}\n",
        broker.address()
    );
    let text = std::fs::read_to_string(&flow).expect("the plan").replace("sources:\n", &source);
    std::fs::write(&flow, text).expect("room");
    let all = edges(2_400);
    let give = |from: usize, to: usize| {
        for (n, partition) in (0..4).enumerate() {
            broker.produce("spread", Some(partition), all.lines().take(to).skip(from + n).step_by(4));
        }
    };
    give(0, 2_000);
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
    let others = Running::others_end(others);
    for (partition, times) in [(0, 0), (1, 1), (2, 1), (3, 0)] {
        let line = format!("quell: reading partition {partition} of the topic of spread\n");
        assert_eq!(others.matches(&line).count(), times, "{others}");
    }
    // What comes after that goes the same way, and the log tells it again at one worker.
    let Running { first, others } = Running::start((&flow, &live), (2, 1), &["--snapshot-every-ms", "1"]);
    give(2_000, 2_400);
    taken(&live, 2_400);
    agrees(&first.stop(), &live);
    Running::others_end(others);
    agrees(&summary(&mut replay(&flow, &[&live], &at("again"), &[])), &at("again"));
    assert_eq!(digest(&live), digest(&at("again")));
}
