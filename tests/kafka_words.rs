//! What people say in topics a run takes once, against a real broker: after kills too, and whatever else lies there.

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use common::kafka::Broker;
use common::live::{Live, heard, taken, until};
use common::told::{self, lying, topics};
use common::world::{Done, calling, world};
use common::{agrees, asking_plan, count, digest, edges, replay, summary};
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
        topics(&broker, &["decisions", "rejects", "approvals", "verdicts"], 2);
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
        let all = lying(&self.broker, "decisions");
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
        told::produce(&site.broker, "approvals", &[("k", text)]);
    }
    told::produce(&site.broker, "approvals", &[("k", &word), ("k", &word), ("j", &bob)]);
    let verdict = json!({ "incident_id": asked[1]["incident_id"], "verdict": "false_positive", "by": "ada",
        "tenant": asked[1]["tenant"] });
    told::produce(&site.broker, "verdicts", &[("k", &verdict.to_string())]);
    heard(&site.archive(), "verdict");
    heard(&site.archive(), "approval");
    // It is begun when the clock goes on.
    site.feed(400..450);
    until("it is done", || (site.orders() > 0).then_some(()));
    let rejects = until("garbage is told", || {
        let all = lying(&site.broker, "rejects");
        let words = all.iter().filter(|it| it.key.starts_with("approvals/")).count();
        (words == garbage.len()).then_some(words)
    });
    let done = site.orders();
    told::produce(&site.broker, "approvals", &[("k", &word), ("j", &bob)]);
    let last = format!("{{\"last\": \"{rejects}\"}}");
    told::produce(&site.broker, "approvals", &[("j", &last), ("k", &last)]);
    until("all was heard", || (lying(&site.broker, "rejects").len() >= 2 + rejects).then_some(()));
    let said = live.stop();
    agrees(&said, &site.archive());
    assert_eq!(site.orders(), done, "said again, nothing is done again");
    assert!(count(&said, "outcomes") > 0, "{said}");
    // The archive's record says the same again, words that nobody understood among it.
    let again = site.folder.path().join("again");
    agrees(&summary(&mut replay(&site.flow, &[&site.archive()], &again, &[])), &again);
    assert_eq!(digest(&again), digest(&site.archive()));
    // Who goes on hears nothing twice.
    let log = || quell::engine::log::Log::open(&site.archive()).expect("a log");
    let before = log().taken().expect("inputs").len();
    let live = site.start();
    let next = approval(&asked[2], "ada");
    told::produce(&site.broker, "approvals", &[("k", &next), ("j", &approval(&asked[2], "bob"))]);
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
        told::produce(
            &site.broker,
            "approvals",
            &[("k", &approval(row, "ada")), ("j", &approval(row, "bob"))],
        );
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

#[test]
fn tables_in_topics_stand_before_the_first_alert_and_follow_their_changes() {
    let site = Site::new();
    topics(&site.broker, &["assets", "identities"], 2);
    let text = std::fs::read_to_string(&site.flow).expect("the plan");
    let words = "verdicts: verdicts}}";
    assert!(text.contains(words));
    let tables = "verdicts: verdicts, context: {assets: assets, identities: identities}}}";
    std::fs::write(&site.flow, text.replace(words, tables)).expect("room");
    // The last word of a key counts; one is withdrawn before anybody looks, one is no row.
    told::produce(
        &site.broker,
        "assets",
        &[("host:h1", r#"{"criticality": 1}"#), ("host:h1", r#"{"criticality": 4, "owner": "ada"}"#)],
    );
    told::produce(
        &site.broker,
        "assets",
        &[("host:h2", r#"{"criticality": 2}"#), ("host:h3", "no row"), ("x", "{}")],
    );
    told::withdraw(&site.broker, "assets", "host:h2");
    let live = site.start();
    taken(&site.archive(), 400);
    let said = || -> Vec<String> {
        let inputs = quell::engine::log::Log::open(&site.archive()).expect("a log").taken().expect("inputs");
        inputs.into_iter().filter(|input| input.kind == "context").map(|input| input.body).collect()
    };
    let first: Value = serde_json::from_str(&said()[0]).expect("JSON");
    assert_eq!(first["first"], true, "{first}");
    assert_eq!(first["rows"].as_array().map(Vec::len), Some(1), "{first}");
    assert_eq!(
        (&first["rows"][0]["entity"], &first["rows"][0]["diff"]),
        (&"host:h1".into(), &1.into()),
        "{first}"
    );
    until("what is no row is told", || {
        (lying(&site.broker, "rejects").iter().filter(|it| it.key.starts_with("assets/")).count() == 2)
            .then_some(())
    });
    let changes = || said().iter().filter(|body| !body.contains("refused")).count();
    told::produce(&site.broker, "identities", &[("user:u1", r#"{"privilege": 2}"#)]);
    until("a row is added", || (changes() == 2).then_some(()));
    live.kill();
    // Meanwhile a row is withdrawn, and one changed.
    told::withdraw(&site.broker, "identities", "user:u1");
    told::produce(&site.broker, "assets", &[("host:h1", r#"{"criticality": 3}"#)]);
    let live = site.start();
    until("that is heard", || (changes() == 3).then_some(()));
    let last: Value = serde_json::from_str(said().last().expect("one")).expect("JSON");
    let rows: BTreeSet<(String, i64)> = last["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| {
            (row["entity"].as_str().expect("text").to_owned(), row["diff"].as_i64().expect("a number"))
        })
        .collect();
    let expected = [("host:h1", -1), ("host:h1", 1), ("user:u1", -1)];
    assert_eq!(rows, expected.map(|(entity, diff)| (entity.to_owned(), diff)).into());
    agrees(&live.stop(), &site.archive());
}
