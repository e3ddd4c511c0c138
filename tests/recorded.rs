//! A log is replayed without asking anybody again: what the model said, tables of context and executors' receipts are read
//! from it.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::live::{Live, heard, taken, until};
use common::world::{calling, world};
use common::{agrees, asking_plan, copy, count, digest, done, edges, replay, root, said, summary};
use quell::archive::Reader;
use quell::rank::{Model, model};
use quell::record::{InputKind, Names};
use serde_json::Value;

/// The demonstration's plan in `folder`, with a registry of its own of models beside it.
fn demo(folder: &Path) -> PathBuf {
    let (plan, models) = (folder.join("dataflows"), folder.join("models"));
    copy(&root().join("dataflows"), &plan);
    copy(&root().join("models/ranker"), &models.join("ranker"));
    let flow = plan.join("demo.yml");
    let text = std::fs::read_to_string(&flow).expect("the plan");
    let data = root().join("datasets").display().to_string();
    std::fs::write(&flow, text.replace("../datasets", &data)).expect("room for the plan");
    flow
}

/// Puts another version to use, which is less sure of everything.
fn swap(folder: &Path) {
    let registry = folder.join("models/ranker");
    let mut other = Model::load(&registry, None).expect("the shipped model");
    other.config.temperature *= 4.0;
    other.write(&registry.join("other")).expect("room for a model");
    let hash = model::hash(&registry.join("other")).expect("it is there");
    let promoted =
        format!("version = \"other\"\nblake3 = \"{hash}\"\nby = \"ada\"\nat = \"2026-03-01T00:00:00Z\"\n");
    std::fs::write(registry.join("promoted.toml"), promoted).expect("room");
}

/// The bodies of an archive's inputs of that kind.
fn inputs(archive: &Path, kind: InputKind) -> Vec<Value> {
    let reader = Reader::open(archive, Arc::new(Names::default())).expect("an archive");
    let lines = reader.inputs(None).expect("inputs").map(|line| line.expect("a line"));
    lines
        .filter(|line| line.kind == kind)
        .map(|line| serde_json::from_str(&line.body).expect("JSON"))
        .collect()
}

#[test]
fn scores_are_read_from_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let flow = demo(folder.path());
    let day = root().join("datasets/soc-day/alerts.jsonl.zst");
    let first = summary(&mut replay(&flow, &[&day], &at("first"), &[]));
    assert!(count(&first, "actions") > 0, "{first}");
    let scores = inputs(&at("first"), InputKind::Score);
    assert!(scores.iter().any(|score| score["confidence"].as_u64() > Some(0)), "the model is believed");
    let version = Model::load(&root().join("models/ranker"), None).expect("the shipped model").version + ":";
    assert!(scores.iter().all(|score| score["model"].as_str().is_some_and(|by| by.starts_with(&version))));
    let reader = Reader::open(at("first"), Arc::new(Names::default())).expect("an archive");
    assert!(scores.len() < reader.incidents(None).expect("incidents").count(), "only what was ranked");
    swap(folder.path());
    let archive = at("first");
    agrees(
        &summary(&mut replay(&flow, &[&archive], &at("recalled"), &["--workers", "2", "--batch", "99"])),
        &at("recalled"),
    );
    assert_eq!(digest(&at("recalled")), digest(&archive));
    // And from what was recalled.
    done(&mut replay(&flow, &[&at("recalled")], &at("recalled-again"), &[]));
    assert_eq!(digest(&at("recalled-again")), digest(&archive));
    done(&mut replay(&flow, &[&archive], &at("rescored"), &["--rescore"]));
    let (rescored, asked) = (digest(&at("rescored")), inputs(&at("rescored"), InputKind::Score));
    for table in ["alerts", "members", "links"] {
        assert_eq!(rescored[table], digest(&archive)[table], "{table}");
    }
    for table in ["incidents", "decisions", "inputs"] {
        assert_ne!(rescored[table], digest(&archive)[table], "{table}");
    }
    assert!(asked.iter().all(|score| score["model"].as_str().is_some_and(|by| by.starts_with("other:"))));
    let files = replay(&flow, &[&day], &at("never"), &["--rescore"]).output().expect("it starts");
    assert_eq!(files.status.code(), Some(2), "{}", said(&files));
}

#[test]
fn a_playbook_that_is_new_is_asked_of_the_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let flow = demo(folder.path());
    let day = root().join("datasets/soc-day/alerts.jsonl.zst");
    done(&mut replay(&flow, &[&day], &at("first"), &[]));
    // One playbook says otherwise what it is for: it is another edition, the others are as they were.
    let playbooks = at("dataflows/playbooks");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&playbooks).expect("playbooks").map(|entry| entry.expect("one").path()).collect();
    files.sort();
    let text = std::fs::read_to_string(&files[0]).expect("a playbook");
    let mut changed: Value = serde_json::from_str(&text).expect("JSON");
    changed["description"] = "Changed by a test.".into();
    let id = changed["id"].as_str().expect("an id").to_owned();
    std::fs::write(&files[0], changed.to_string()).expect("room");
    swap(folder.path());
    done(&mut replay(&flow, &[&at("first")], &at("second"), &[]));
    let (mut asked, mut recalled) = (0, 0);
    for score in inputs(&at("second"), InputKind::Score) {
        let weighed = score["scores"].as_array().expect("a list").iter().any(|score| score[0] == id.as_str());
        let model = score["model"].as_str().expect("a name");
        assert_eq!(model.starts_with("other:"), weighed, "{score}");
        *(if weighed { &mut asked } else { &mut recalled }) += 1;
    }
    assert!(asked > 0 && recalled > 0, "{asked} {recalled}");
}

/// A plan that follows `edges.jsonl` beside it with a table of indicators, and acts by the executor on that line.
fn following(folder: &Path, executor: &str) -> PathBuf {
    let flow = asking_plan(folder);
    let source = "tenant: default\nsources:\n  - {name: edges.jsonl, type: file, path: edges.jsonl, tenant_from_field: true}\n";
    let text = std::fs::read_to_string(&flow).expect("the plan").replace("tenant: default\n", source);
    let text = text.replace("indicators: []", "indicators: [indicators.csv]");
    std::fs::write(&flow, text.replace("{type: dry-run}", executor)).expect("room for the plan");
    let policy = folder.join("policies/default.yml");
    let text = std::fs::read_to_string(&policy).expect("the policy");
    let bold = "execute: { score: 0.40, confidence: 0 }";
    std::fs::write(&policy, text.replace("execute: { score: 0.80, confidence: 0.90 }", bold)).expect("room");
    std::fs::write(folder.join("indicators.csv"), "entity,confidence\nip:203.0.113.9,50\n").expect("room");
    flow
}

/// Replays a live run's archive, and tells that nothing is otherwise.
fn says_the_same(flow: &Path, archive: &Path, to: &Path) {
    agrees(&summary(&mut replay(flow, &[archive], to, &["--batch", "77", "--workers", "2"])), to);
    assert_eq!(digest(to), digest(archive));
}

#[test]
fn tables_are_read_from_the_log_as_they_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plan, archive) = (folder.path().join("plan"), folder.path().join("live"));
    let flow = following(&plan, "{type: dry-run}");
    std::fs::write(plan.join("edges.jsonl"), edges(300)).expect("room");
    let live = Live::start(&flow, &archive, &[]);
    taken(&archive, 300);
    let more: Vec<String> = (0..50).map(|n| format!("ip:198.51.100.{n},{}", 40 + n)).collect();
    let table = format!("entity,confidence\n{}\n", more.join("\n"));
    std::fs::write(plan.join("indicators.csv"), table).expect("room");
    until("the table is read again", || Some(heard(&archive, "context")).filter(|n| *n > 1));
    agrees(&live.stop(), &archive);
    assert_eq!(inputs(&archive, InputKind::Context).len(), 2, "how they stood, and the change");
    // The file says by now what it did not say at first.
    says_the_same(&flow, &archive, &folder.path().join("again"));
    let empty = folder.path().join("no tables");
    std::fs::create_dir(&empty).expect("room");
    for table in ["assets", "identities", "indicators"] {
        let head = if table == "indicators" { "entity,confidence\n" } else { "entity\n" };
        std::fs::write(empty.join(format!("{table}.csv")), head).expect("room");
    }
    let other = folder.path().join("without");
    done(replay(&flow, &[&archive], &other, &[]).arg("--context").arg(&empty));
    assert_ne!(digest(&other)["incidents"], digest(&archive)["incidents"]);
    assert_eq!(inputs(&other, InputKind::Context).len(), 1, "those of the command line, and no change");
}

#[test]
fn a_run_that_was_stopped_and_went_on_is_one_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plan, archive) = (folder.path().join("plan"), folder.path().join("live"));
    let flow = following(&plan, "{type: dry-run}");
    let (whole, input) = (edges(400), plan.join("edges.jsonl"));
    let cut = whole.match_indices('\n').nth(199).expect("200 lines").0 + 1;
    std::fs::write(&input, &whole[..cut]).expect("room");
    let live = Live::start(&flow, &archive, &[]);
    taken(&archive, 200);
    live.stop();
    std::fs::write(&input, &whole).expect("room");
    let live = Live::start(&flow, &archive, &[]);
    taken(&archive, 400);
    agrees(&live.stop(), &archive);
    says_the_same(&flow, &archive, &folder.path().join("again"));
}

#[test]
fn receipts_are_read_from_the_log_and_nobody_is_called() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plan, archive) = (folder.path().join("plan"), folder.path().join("live"));
    let flow = following(&plan, "{type: dry-run}");
    let (address, done) = world();
    calling(&flow, address);
    std::fs::write(plan.join("edges.jsonl"), edges(400)).expect("room");
    let live = Live::start(&flow, &archive, &["--batch", "30"]);
    taken(&archive, 400);
    let first = live.stop();
    agrees(&first, &archive);
    let given = || done.lock().expect("no panic").values().sum::<u32>();
    let calls = given();
    assert!(calls > 50 && count(&first, "outcomes") > 50, "{calls} {first}");
    assert_eq!(inputs(&archive, InputKind::Receipt).len(), calls as usize);
    says_the_same(&flow, &archive, &folder.path().join("again"));
    says_the_same(&flow, &folder.path().join("again"), &folder.path().join("and again"));
    assert_eq!(given(), calls, "a replay calls nobody");
    // An order that nobody gave then is told, not done.
    let log = folder.path().join("without receipts");
    copy(&archive, &log);
    let reader = Reader::open(&archive, Arc::new(Names::default())).expect("an archive");
    let statuses = |archive: &Path| -> std::collections::BTreeSet<&'static str> {
        let reader = Reader::open(archive, Arc::clone(reader.names())).expect("an archive");
        reader.actions(None).expect("actions").map(|line| line.expect("an action").status.name()).collect()
    };
    assert!(statuses(&archive).contains("succeeded") && !statuses(&archive).contains("dry_run"));
    std::fs::remove_dir_all(log.join("inputs")).expect("a folder");
    agrees(
        &summary(&mut replay(&flow, &[&log], &folder.path().join("told"), &[])),
        &folder.path().join("told"),
    );
    assert_eq!(statuses(&folder.path().join("told")), ["dry_run"].into());
    assert_eq!(given(), calls);
}
