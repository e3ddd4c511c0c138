//! Orders in a topic, receipts in another, against a real broker: given once and answered, through kills.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::kafka::Broker;
use common::live::{Live, taken, until};
use common::told::{self, lying, topics};
use common::{acting_plan, agrees, done, edges, quell, replay, site, summary};
use quell::archive::Reader;
use quell::record::{ActionStatus, Names};
use serde_json::{Value, json};

/// A plan that acts early by orders in a topic.
fn plan(folder: &Path, days: &Path, broker: &Broker) -> PathBuf {
    let flow = acting_plan(folder, days, &["edges.jsonl"]);
    let policy = flow.with_file_name("policies/default.yml");
    let text = std::fs::read_to_string(&policy).expect("the policy");
    std::fs::write(&policy, text.replace("act: settled", "act: early")).expect("room");
    let text = std::fs::read_to_string(&flow).expect("the plan");
    let orders =
        format!("executor: {{type: kafka, brokers: '{}', topic: orders, timeout: 1d}}", broker.address());
    let lines = text.lines().map(|line| if line.starts_with("executor:") { orders.as_str() } else { line });
    let words = format!("words: {{kafka: {{brokers: '{}', receipts: receipts}}}}", broker.address());
    let all: Vec<&str> = lines.chain([words.as_str()]).collect();
    std::fs::write(&flow, all.join("\n") + "\n").expect("room");
    std::fs::write(folder.join("edges.jsonl"), "").expect("room");
    flow
}

fn feed(flow: &Path, lines: &[&str]) {
    let mut file =
        std::fs::File::options().append(true).open(flow.with_file_name("edges.jsonl")).expect("it");
    file.write_all(lines.concat().as_bytes()).expect("room");
}

/// Answers orders until it is told to stop: one in seven fails, one in five is answered twice; how often each was given.
fn answer(broker: &Broker, stop: &AtomicBool) -> BTreeMap<String, usize> {
    let mut answered = BTreeSet::new();
    loop {
        let last = stop.load(Ordering::SeqCst);
        let mut given = BTreeMap::<String, usize>::new();
        for order in lying(broker, "orders") {
            let body: Value = serde_json::from_str(&order.body).expect("JSON");
            assert_eq!(body["action_id"], order.header("quell-id"));
            let trace = format!("00-{}-", body["incident_id"].as_str().expect("an incident"));
            assert!(order.header("traceparent").starts_with(&trace), "{order:?}");
            assert_eq!(body["target"], order.key.as_str());
            *given.entry(order.header("quell-id").to_owned()).or_default() += 1;
        }
        let new: Vec<&String> = given.keys().filter(|id| !answered.contains(*id)).collect();
        let receipts = new.iter().flat_map(|id| {
            let digit = u64::from_str_radix(&id[..8], 16).expect("hex");
            let status = if digit % 7 == 0 { "failed" } else { "succeeded" };
            let receipt =
                json!({ "action_id": id, "status": status, "detail": "by hand", "by": "edr" }).to_string();
            std::iter::repeat_n(receipt, if digit % 5 == 0 { 2 } else { 1 })
        });
        let receipts: Vec<String> = receipts.collect();
        let messages: Vec<(&str, &str)> = receipts.iter().map(|text| ("k", text.as_str())).collect();
        told::produce(broker, "receipts", &messages);
        answered.extend(given.keys().cloned());
        if last {
            return given;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Tells the other to stop, also where a test fails: else it would be waited for.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// `quell digest --log`.
fn whole(archive: &Path) -> String {
    String::from_utf8(done(quell().arg("digest").arg(archive).arg("--log")).stdout).expect("text")
}

#[test]
fn orders_are_given_once_and_their_receipts_heard_through_kills() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let broker = Broker::start(&at("broker"));
    topics(&broker, &["orders", "receipts"], 2);
    site(&at("days"), 300, 5);
    let flow = plan(&at("plan"), &at("days"), &broker);
    let (archive, all, stop) = (at("live"), edges(600), AtomicBool::new(false));
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    let given = std::thread::scope(|scope| {
        let answers = scope.spawn(|| answer(&broker, &stop));
        let stopping = Stopping(&stop);
        let mut live = Live::start(&flow, &archive, &["--batch", "7"]);
        for (n, piece) in lines.chunks(100).enumerate() {
            feed(&flow, piece);
            std::thread::sleep(Duration::from_millis(300 * (1 + n as u64 % 4)));
            live.kill();
            live = Live::start(&flow, &archive, &["--batch", "11"]);
        }
        until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
        taken(&archive, 600);
        // What is given is answered, and what is answered is heard.
        let pending = || {
            let names = Arc::new(Names::default());
            let reader = Reader::open(&archive, names).expect("an archive");
            let mut last = BTreeMap::new();
            for line in reader.actions(None).expect("actions").map(|line| line.expect("an action")) {
                let stand = last.entry(line.action_id).or_insert((line.seq, line.status));
                if line.seq > stand.0 {
                    *stand = (line.seq, line.status);
                }
            }
            last.values().filter(|(_, status)| *status == ActionStatus::Requested).count()
        };
        until("receipts are heard", || (pending() == 0).then_some(()));
        agrees(&live.stop(), &archive);
        drop(stopping);
        answers.join().expect("it answers")
    });
    let reader = Reader::open(&archive, Arc::new(Names::default())).expect("an archive");
    let mut ended = BTreeMap::<String, ActionStatus>::new();
    for line in reader.actions(None).expect("actions").map(|line| line.expect("an action")) {
        assert_ne!(line.status, ActionStatus::InDoubt);
        if line.attempts > 0 && matches!(line.status, ActionStatus::Succeeded | ActionStatus::Failed) {
            assert_eq!(
                ended.insert(line.action_id.to_string(), line.status),
                None,
                "{} twice",
                line.action_id
            );
        }
    }
    assert!(ended.len() > 50, "{}", ended.len());
    assert!(ended.keys().all(|id| given.contains_key(id)), "told, and never given");
    assert!(ended.values().any(|status| *status == ActionStatus::Failed));
    let again: usize = given.values().map(|times| times - 1).sum();
    assert!(again < given.len() / 2, "{again} of {} were given again", given.len());
    // The record of it says the same.
    summary(&mut replay(&flow, &[&archive], &at("again"), &[]));
    assert_eq!(whole(&at("again")), whole(&archive));
}
