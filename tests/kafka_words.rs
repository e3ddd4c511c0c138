//! What people say in topics a run takes once, against a real broker: after kills too, and whatever else lies there.

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use common::broker::Broker;
use common::live::{Live, heard, taken, until};
use common::world::{Done, calling, world};
use common::{agrees, asking_plan, count, edges};
use serde_json::{Value, json};

/// A folder with a broker, a plan that asks and hears in topics, and the world that it would act in.
struct Site {
    folder: tempfile::TempDir,
    broker: Broker,
    flow: PathBuf,
    world: Done,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let broker = Broker::start(&folder.path().join("broker"));
        broker.topics(&["decisions", "rejects", "approvals", "verdicts"], 2);
        let plan = folder.path().join("plan");
        let flow = asking_plan(&plan);
        let (address, world) = world();
        calling(&flow, address);
        let topics = format!(
            "sources:\n  - {{name: edges.jsonl, type: file, path: edges.jsonl, tenant_from_field: true}}\n\
             sinks: {{kafka: {{brokers: '{0}', decisions: decisions, rejects: rejects}}}}\n\
             words: {{kafka: {{brokers: '{0}', approvals: approvals, verdicts: verdicts}}}}\n",
            broker.address()
        );
        let mut file = std::fs::File::options().append(true).open(&flow).expect("the plan");
        file.write_all(topics.as_bytes()).expect("room");
        std::fs::write(plan.join("edges.jsonl"), "").expect("room");
        let site = Site { folder, broker, flow, world };
        site.feed(0..400);
        site
    }

    /// Some of the alerts.
    fn feed(&self, which: std::ops::Range<usize>) {
        let path = self.flow.with_file_name("edges.jsonl");
        let mut file = std::fs::File::options().append(true).open(path).expect("it");
        for line in edges(500).split_inclusive('\n').skip(which.start).take(which.len()) {
            file.write_all(line.as_bytes()).expect("room");
        }
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("live")
    }

    fn start(&self) -> Live {
        let live = Live::start(&self.flow, &self.archive(), &["--batch", "50"]);
        until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
        live
    }

    /// Decisions that people are asked about, as the topic has them.
    fn asked(&self) -> Vec<Value> {
        let all = self.broker.all("decisions");
        let rows: Vec<Value> = all.iter().map(|it| serde_json::from_str(&it.body).expect("JSON")).collect();
        let replaced: BTreeSet<&str> = rows
            .iter()
            .filter(|row| row.get("superseded_by").is_some())
            .filter_map(|row| row["decision_id"].as_str())
            .collect();
        let open = |row: &&Value| {
            row["ruling"] == "escalate" && !replaced.contains(row["decision_id"].as_str().unwrap_or_default())
        };
        rows.iter().filter(open).cloned().collect()
    }

    fn orders(&self) -> usize {
        self.world.lock().expect("no panic").len()
    }
}

fn approval(row: &Value, by: &str) -> String {
    json!({ "decision_id": row["decision_id"], "approved": true, "by": by, "tenant": row["tenant"] })
        .to_string()
}

#[test]
fn what_is_approved_in_a_topic_is_done_once_and_garbage_does_nothing() {
    let site = Site::new();
    let live = site.start();
    taken(&site.archive(), 400);
    let asked = until("people are asked", || Some(site.asked()).filter(|all| all.len() > 3));
    assert_eq!(site.orders(), 0);
    let word = approval(&asked[0], "ada");
    // By two, where two are asked; the same again, as another message and by another process, is nothing new.
    let bob = approval(&asked[0], "bob");
    let garbage = [
        "",
        "not JSON",
        "{\"by\": \"ada\"}",
        "[1]",
        "{\"decision_id\": 7, \"approved\": true, \"by\": \"ada\"}",
    ];
    for text in garbage {
        site.broker.produce("approvals", &[("k", text)]);
    }
    site.broker.produce("approvals", &[("k", &word), ("k", &word), ("j", &bob)]);
    let verdict = json!({ "incident_id": asked[1]["incident_id"], "verdict": "false_positive", "by": "ada",
        "tenant": asked[1]["tenant"] });
    site.broker.produce("verdicts", &[("k", &verdict.to_string())]);
    heard(&site.archive(), "verdict");
    heard(&site.archive(), "approval");
    // It is begun when the clock goes on.
    site.feed(400..450);
    until("it is done", || (site.orders() > 0).then_some(()));
    let rejects = until("garbage is told", || {
        let all = site.broker.all("rejects");
        let words = all.iter().filter(|it| it.key.starts_with("approvals/")).count();
        (words == garbage.len()).then_some(words)
    });
    let done = site.orders();
    site.broker.produce("approvals", &[("k", &word), ("j", &bob)]);
    let last = format!("{{\"last\": \"{rejects}\"}}");
    site.broker.produce("approvals", &[("j", &last), ("k", &last)]);
    until("all was heard", || (site.broker.all("rejects").len() >= 2 + rejects).then_some(()));
    let summary = live.stop();
    agrees(&summary, &site.archive());
    assert_eq!(site.orders(), done, "said again, nothing is done again");
    assert!(count(&summary, "outcomes") > 0, "{summary}");
    // Who goes on hears nothing twice.
    let log = || quell::engine::log::Log::open(&site.archive()).expect("a log");
    let before = log().taken().expect("inputs").len();
    let live = site.start();
    let next = approval(&asked[2], "ada");
    site.broker.produce("approvals", &[("k", &next), ("j", &approval(&asked[2], "bob"))]);
    until("it is ruled anew", || {
        let open = site.asked();
        (!open.iter().any(|row| row["decision_id"] == asked[2]["decision_id"])).then_some(())
    });
    agrees(&live.stop(), &site.archive());
    let words = log().taken().expect("inputs");
    let words = words[before..].iter().filter(|input| input.kind == "approval").count();
    assert_eq!(words, 2);
}

#[test]
fn kills_neither_lose_nor_double_a_word() {
    let site = Site::new();
    let mut live = site.start();
    taken(&site.archive(), 400);
    let asked = until("people are asked", || Some(site.asked()).filter(|all| all.len() > 9));
    for (n, row) in asked.iter().take(9).enumerate() {
        site.broker.produce("approvals", &[("k", &approval(row, "ada")), ("j", &approval(row, "bob"))]);
        std::thread::sleep(std::time::Duration::from_millis(60 * (n as u64 % 5)));
        live.kill();
        live = site.start();
    }
    let log = || quell::engine::log::Log::open(&site.archive()).expect("a log");
    let words = || log().taken().expect("inputs").iter().filter(|input| input.kind == "approval").count();
    until("all words are heard", || (words() >= 18).then_some(()));
    agrees(&live.stop(), &site.archive());
    assert_eq!(words(), 18);
    assert!(site.orders() > 0);
}
