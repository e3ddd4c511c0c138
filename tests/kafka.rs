//! Kafka sources against a real broker: what a topic holds is what files of the same records give, whatever is killed.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use common::kafka::Broker;
use common::live::{Live, taken, until};
use common::{agrees, asking_plan, count, digest, edges, replay};

/// A plan whose sources are these lines.
fn plan(folder: &Path, sources: &str) -> PathBuf {
    let flow = asking_plan(folder);
    let text = std::fs::read_to_string(&flow).expect("the plan");
    let text = text.replace("tenant: default\n", &format!("tenant: default\nsources:\n{sources}\n"));
    std::fs::write(&flow, text).expect("room for the plan");
    flow
}

/// A source over a topic of the broker.
fn source(name: &str, broker: &Broker, more: &str) -> String {
    format!("  - {{name: {name}, type: kafka, brokers: '{}', topic: {name}{more}}}\n", broker.address())
}

/// The records of partition `n` of `of`, as a file of the replay that tells what they come to has them.
fn dealt(all: &str, n: usize, of: usize) -> Vec<&str> {
    all.lines().enumerate().filter(|(at, _)| at % 7 % of == n).map(|(_, line)| line).collect()
}

/// Fills a topic, and gives what a replay of the same records, a file a partition, comes to.
fn filled(broker: &Broker, folder: &Path, flow: &Path, topic: &str, all: &str, of: usize) -> PathBuf {
    let files: Vec<PathBuf> = (0..of).map(|n| folder.join(format!("{topic}.{n}"))).collect();
    for (n, file) in files.iter().enumerate() {
        let lines = dealt(all, n, of);
        std::fs::write(file, lines.join("\n")).expect("room");
        broker.produce(topic, Some(i32::try_from(n).expect("few")), lines);
    }
    let told = folder.join(format!("{topic}.replayed"));
    let inputs: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    common::summary(&mut replay(flow, &inputs, &told, &["--arrival"]));
    told
}

/// What both came to, but for where each record lay.
fn meaning(archive: &Path) -> BTreeMap<String, String> {
    let mut digests = digest(archive);
    for table in ["alerts", "duplicates", "rejects"] {
        let digest = digests.get_mut(table).expect("a table");
        *digest = digest.split(' ').next().expect("a count").to_owned();
    }
    digests.remove("inputs");
    digests
}

/// What it came to, but for how idle clocks were moved.
fn whole(archive: &Path) -> BTreeMap<String, String> {
    let mut digests = digest(archive);
    digests.remove("inputs");
    digests
}

#[test]
fn a_topic_gives_what_files_give_however_often_it_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let broker = Broker::start(&folder.join("broker"));
    broker.topic("edges", 3);
    let all = edges(3_000);
    let flow = plan(&folder.join("plan"), &source("edges", &broker, ""));
    let told = filled(&broker, folder, &flow, "edges", &all, 3);
    let archive = folder.join("live");
    let live = Live::start(&flow, &archive, &[]);
    taken(&archive, 3_000);
    let summary = live.stop();
    agrees(&summary, &archive);
    assert_eq!(count(&summary, "records"), 3_000, "{summary}");
    assert_eq!(meaning(&archive), meaning(&told));
    // The same again, killed at any moment: while the topic is read, while the log is read again.
    let killed = folder.join("killed");
    for n in 0..6_u64 {
        let live = Live::start(&flow, &killed, &["--batch", "50"]);
        if n % 2 == 0 {
            until("it has begun", || live.told().contains("Ctrl-C").then_some(()));
        }
        thread::sleep(Duration::from_millis(n * 37 % 150));
        live.kill();
    }
    let live = Live::start(&flow, &killed, &["--batch", "50"]);
    taken(&killed, 3_000);
    let summary = live.stop();
    agrees(&summary, &killed);
    assert_eq!(count(&summary, "divergences"), 0, "{summary}");
    assert_eq!(whole(&killed), whole(&archive));
    // A run that was stopped goes on with what has come since.
    broker.produce("edges", Some(1), edges(3_100).lines().skip(3_000));
    let live = Live::start(&flow, &killed, &[]);
    taken(&killed, 3_100);
    agrees(&live.stop(), &killed);
}
