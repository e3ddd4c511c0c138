//! A ledger in a topic, against a real broker: a run that lost its machine calls nothing a second time, and of two runs that both
//! think that it is theirs one calls nobody.

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::kafka::Broker;
use common::live::{Live, until};
use common::told::lying;
use common::world::{Done, calling, world};
use common::{acting_plan, agrees, edges, quell, site};
use serde_json::Value;

/// What a ledger's topic is set to.
const KEEPS: [(&str, &str); 1] = [("retention.ms", "-1")];

/// A plan that calls a world, each action at most once ever; its ledger lies in that topic, if in any.
fn plan(folder: &Path, days: &Path, ledger: Option<(&Broker, &str)>) -> (PathBuf, Done) {
    let flow = acting_plan(folder, days, &["edges.jsonl"]);
    let (address, done) = world();
    calling(&flow, address);
    for playbook in std::fs::read_dir(folder.join("playbooks")).expect("playbooks") {
        let playbook = playbook.expect("a file").path();
        let text = std::fs::read_to_string(&playbook).expect("text");
        std::fs::write(&playbook, text.replace("\"class\": \"idempotent\"", "\"class\": \"opaque\""))
            .expect("room");
    }
    if let Some((broker, topic)) = ledger {
        let text = std::fs::read_to_string(&flow).expect("the plan");
        let ledger = format!("ledger: {{kafka: {{brokers: '{}', topic: {topic}}}}}\n", broker.address());
        std::fs::write(&flow, text + &ledger).expect("room");
    }
    std::fs::write(folder.join("edges.jsonl"), "").expect("room");
    (flow, done)
}

fn feed(flow: &Path, lines: &[&str]) {
    let mut file =
        std::fs::File::options().append(true).open(flow.with_file_name("edges.jsonl")).expect("it");
    file.write_all(lines.concat().as_bytes()).expect("room");
}

fn begins(live: &Live) {
    until("it begins", || live.told().contains("Ctrl-C").then_some(()));
}

/// Waits until so many records are taken, and stops it.
fn ends(live: Live, archive: &Path, records: u64) -> Value {
    begins(&live);
    common::live::taken(archive, records);
    let summary = live.stop();
    agrees(&summary, archive);
    summary
}

fn called(done: &Done) -> BTreeSet<String> {
    done.lock().expect("no panic").keys().cloned().collect()
}

fn more_than_once(done: &Done) -> usize {
    done.lock().expect("no panic").values().filter(|times| **times > 1).count()
}

/// Actions that the topic has intents of, and those of which it has an outcome.
fn lies(broker: &Broker, topic: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut intents, mut outcomes) = (BTreeSet::new(), BTreeSet::new());
    for page in lying(broker, topic) {
        let page: Value = serde_json::from_str(&page.body).expect("JSON");
        let entry = &page["wrote"]["entry"];
        if let Some(id) = entry["intent"]["order"]["action_id"].as_str() {
            intents.insert(id.to_owned());
        }
        if let (Some(id), Some("succeeded")) =
            (entry["outcome"]["action_id"].as_str(), entry["outcome"]["known"]["status"].as_str())
        {
            outcomes.insert(id.to_owned());
        }
    }
    (intents, outcomes)
}

#[test]
fn who_loses_its_machine_calls_nothing_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let mut broker = Broker::start(&at("broker"));
    broker.topic_with("ledger", 1, &KEEPS);
    site(&at("days"), 300, 5);
    let (flow, done) = plan(&at("plan"), &at("days"), Some((&broker, "ledger")));
    let all = edges(600);
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    let mut machine = 0;
    for (n, piece) in lines.chunks(100).enumerate() {
        let archive = at(&format!("machine-{machine}"));
        let live = Live::start(&flow, &archive, &["--batch", "7"]);
        feed(&flow, piece);
        begins(&live);
        if n == 3 {
            // Who cannot write an intent waits.
            broker.kill();
            std::thread::sleep(Duration::from_millis(1_500));
            broker.restart();
        }
        std::thread::sleep(Duration::from_millis(150 * (1 + n as u64 % 3)));
        live.kill();
        // Every other time the machine is gone, with all that lay on it.
        if n % 2 == 1 {
            std::fs::remove_dir_all(&archive).expect("it is there");
            machine += 1;
        }
    }
    let archive = at(&format!("machine-{machine}"));
    let summary = ends(Live::start(&flow, &archive, &[]), &archive, 600);
    assert_eq!(summary["divergences"], 0, "{summary}");
    assert_eq!(more_than_once(&done), 0, "{:?}", done.lock());
    let (intents, outcomes) = lies(&broker, "ledger");
    let called = called(&done);
    assert!(intents.len() > 50 && called.len() > 20, "{} of {}", called.len(), intents.len());
    // What was intended was called, or is in doubt for people to look at.
    assert!(outcomes.is_subset(&called) && called.is_subset(&intents), "called, and not intended");
    // A last new machine finds everything done.
    let last = at("last");
    ends(Live::start(&flow, &last, &[]), &last, 600);
    assert_eq!((more_than_once(&done), done.lock().expect("no panic").len()), (0, called.len()));
    // Without the topic it would do it all again.
    let (flow, done) = plan(&at("alone"), &at("days"), None);
    feed(&flow, &lines[..200]);
    for name in ["first", "second"] {
        ends(Live::start(&flow, &at(name), &[]), &at(name), 200);
    }
    assert!(more_than_once(&done) > 20, "{}", more_than_once(&done));
}

#[test]
fn of_two_runs_one_has_the_ledger() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let broker = Broker::start(&at("broker"));
    broker.topic_with("ledger", 1, &KEEPS);
    site(&at("days"), 300, 5);
    let (flow, done) = plan(&at("plan"), &at("days"), Some((&broker, "ledger")));
    let all = edges(400);
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    feed(&flow, &lines[..200]);
    let first = Live::start(&flow, &at("one"), &[]);
    begins(&first);
    let second = Live::start(&flow, &at("two"), &[]);
    begins(&second);
    feed(&flow, &lines[200..]);
    let said = first.failed();
    assert!(said.contains("another process has taken the ledger over"), "{said}");
    ends(second, &at("two"), 400);
    assert_eq!(more_than_once(&done), 0);
    // Whoever lost it takes it back, and knows what the other one did.
    ends(Live::start(&flow, &at("one"), &[]), &at("one"), 400);
    assert_eq!(more_than_once(&done), 0);
    // What one of them meant to call when it lost the ledger is called by nobody, for it may have been.
    let (intents, outcomes) = lies(&broker, "ledger");
    let called = called(&done);
    assert!(intents.len() > 50 && !called.is_empty(), "{} of {}", called.len(), intents.len());
    assert!(outcomes.is_subset(&called) && called.is_subset(&intents));
}

#[test]
fn what_cannot_hold_a_ledger_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let broker = Broker::shared();
    broker.topic("forgets", 1);
    broker.topic_with("compacts", 1, &[("cleanup.policy", "compact"), ("retention.ms", "-1")]);
    broker.topic_with("several", 2, &KEEPS);
    broker.topic_with("good", 1, &KEEPS);
    site(&at("days"), 100, 5);
    for (topic, said) in [
        ("absent", "there is no topic \"absent\""),
        ("forgets", "retention.ms=604800000"),
        ("compacts", "cleanup.policy=compact"),
        ("several", "has 2 partitions"),
    ] {
        let (flow, _) = plan(&at(topic), &at("days"), Some((&broker, topic)));
        let told = Live::start(&flow, &at("archive").join(topic), &[]).failed();
        assert!(told.contains(said), "{topic}: {told}");
    }
    // What was in a ledger is asked of the same one.
    let (flow, _) = plan(&at("good"), &at("days"), Some((&broker, "good")));
    let all = edges(200);
    feed(&flow, &[&all]);
    ends(Live::start(&flow, &at("kept"), &[]), &at("kept"), 200);
    broker.delete_topic("good");
    broker.topic_with("good", 1, &KEEPS);
    let told = Live::start(&flow, &at("kept"), &[]).failed();
    assert!(told.contains("it was made anew"), "{told}");
    // Where nothing leaves there is nothing to keep.
    let (flow, _) = plan(&at("dry"), &at("days"), Some((&broker, "good")));
    let text = std::fs::read_to_string(&flow).expect("the plan");
    let lines = text
        .lines()
        .map(|line| if line.starts_with("executor:") { "executor: {type: dry-run}" } else { line });
    std::fs::write(&flow, lines.collect::<Vec<_>>().join("\n")).expect("room");
    let output = quell().arg("check").arg("--flow").arg(&flow).output().expect("it runs");
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("ledger: nothing is called"), "{told}");
}
