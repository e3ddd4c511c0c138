//! An archive replayed from its own record says the same again; under another plan, `--diff` tells what would have been.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::days::{Days, told};
use common::{agrees, asking_plan, count, digest, done, real, replay, said, summary};
use quell::archive::{Reader, Rows, RunStamp, Writer};
use quell::record::{InputKind, InputRow, Names, Ruling, Tick};
use serde_json::{Value, json};

/// Replays an archive into a new one, and checks what it holds.
fn again(flow: &Path, from: &Path, to: &Path, more: &[&str]) -> Value {
    let summary = summary(&mut replay(flow, &[from], to, more));
    agrees(&summary, to);
    summary
}

#[test]
fn what_was_recorded_says_the_same_again() {
    let days = Days::new(4_000);
    for mode in [&[][..], &["--arrival"]] {
        let at = |name: &str| days.folder.path().join(format!("{}-{name}", mode.len()));
        let first = summary(&mut days.replay(&at("first"), mode));
        let expected = digest(&at("first"));
        let first_path = at("first").display().to_string();
        let second =
            again(&days.flow, &at("first"), &at("second"), &["--batch", "333", "--diff", &first_path]);
        assert_eq!(digest(&at("second")), expected, "{mode:?}");
        assert_eq!(second["diff"]["equal"], json!(true), "{second}");
        let mut second = told(second);
        second.as_object_mut().expect("an object").remove("diff");
        assert_eq!(second, told(first), "{mode:?}");
        again(&days.flow, &at("second"), &at("third"), &["--workers", "2"]);
        assert_eq!(digest(&at("third")), expected, "{mode:?}");
    }
}

#[test]
fn real_alerts_say_the_same_again() {
    let Some(input) = real("ait-ads/russellmitchell.csv.gz") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let flow = asking_plan(&folder.path().join("plan"));
    let said = summary(&mut replay(&flow, &[&input], &first, &["--arrival"]));
    assert!(count(&said, "late") > 0, "{said}");
    again(&flow, &first, &second, &["--workers", "2", "--batch", "4321"]);
    assert_eq!(digest(&second), digest(&first));
}

#[test]
fn people_are_heard_when_they_were_heard_then() {
    let days = Days::new(2_000);
    let at = |name: &str| days.folder.path().join(name);
    let flow = asking_plan(&at("plan-that-asks"));
    let inputs: Vec<&Path> = days.inputs.iter().map(std::path::PathBuf::as_path).collect();
    let quiet = summary(&mut replay(&flow, &inputs, &at("quiet"), &[]));
    assert_eq!(count(&quiet, "actions"), 0);
    assert!(count(&quiet["decisions"], "escalate") > 3, "{quiet}");
    let spoken = speak(&at("quiet"));
    let heard = again(&flow, &at("quiet"), &at("heard"), &["--batch", "777"]);
    assert!(count(&heard, "actions") > 0, "{heard}");
    assert!(count(&heard, "outcomes") > 0, "{heard}");
    let expected = digest(&at("heard"));
    let reader = Reader::open(at("heard"), Arc::new(Names::default())).expect("an archive");
    let inputs = reader.inputs(None).expect("inputs").map(|line| line.expect("a line").kind);
    assert_eq!(inputs.filter(|kind| *kind != InputKind::Score).count(), spoken);
    assert!(expected["verdicts"].starts_with("1 "), "{expected:?}");
    again(&flow, &at("heard"), &at("heard-again"), &["--batch", "50", "--workers", "2"]);
    assert_eq!(digest(&at("heard-again")), expected);
}

/// Writes into an archive that people approved, denied and judged, some time after they were asked; how many words.
fn speak(archive: &Path) -> usize {
    let names = Arc::new(Names::default());
    let reader = Reader::open(archive, Arc::clone(&names)).expect("an archive");
    let mut asked: Vec<_> =
        reader.decisions(None).expect("decisions").map(|line| line.expect("a line")).collect();
    let gone: Vec<_> =
        asked.iter().filter(|line| line.superseded_by.is_some()).map(|line| line.decision_id).collect();
    asked.retain(|line| line.ruling == Ruling::Escalate && !gone.contains(&line.decision_id));
    asked.sort_by_key(|line| (line.tick, line.decision_id));
    let row = |n: usize, kind, body: Value, tick: Tick| InputRow {
        epoch: 0,
        tick,
        tenant: asked[n].tenant,
        kind,
        body: body.to_string(),
    };
    let approval = |n: usize, approved: bool| {
        let line = &asked[n];
        let body = json!({ "decision_id": line.decision_id, "approved": approved, "by": "ada", "time": 1_000 + n,
            "tenant": names.get(line.tenant) });
        row(n, InputKind::Approval, body, line.tick + 61)
    };
    let judged = &asked[0];
    let verdict = json!({ "incident_id": judged.incident_id, "verdict": "true_positive", "by": "bob", "time": 9,
        "tenant": names.get(judged.tenant) });
    let last = asked.len() - 1;
    let mut rows: Vec<InputRow> = (0..last).map(|n| approval(n, n % 3 != 1)).collect();
    rows.push(row(0, InputKind::Verdict, verdict, judged.tick + 500));
    rows.sort_by_key(|row| row.tick);
    let mut writer = Writer::new(archive, 7, Arc::clone(&names), &RunStamp::default(), 0);
    let words = rows.len();
    for (epoch, row) in (1..).zip(rows) {
        writer.push(epoch, &Rows::Inputs(vec![row])).expect("room for a row");
    }
    let tick = asked[last].tick + 1_000;
    writer.seal(tick).expect("room to seal").publish().expect("a free name");
    words
}

#[test]
fn another_plan_is_told_apart() {
    let days = Days::new(2_000);
    let at = |name: &str| days.folder.path().join(name);
    done(&mut days.replay(&at("acting"), &[]));
    let flow = asking_plan(&at("plan-that-asks"));
    let acting = at("acting").display().to_string();
    let asking = again(&flow, &at("acting"), &at("asking"), &["--diff", &acting]);
    let difference = &asking["diff"];
    assert_eq!(difference["equal"], json!(false));
    let tables: Vec<&str> =
        difference["tables"].as_array().expect("tables").iter().filter_map(Value::as_str).collect();
    assert!(tables.contains(&"decisions") && tables.contains(&"actions"), "{tables:?}");
    assert!(!tables.contains(&"alerts") && !tables.contains(&"members"), "{tables:?}");
    let [incidents, decisions] = ["incidents", "decisions"].map(|kind| &difference[kind]);
    assert_eq!([count(incidents, "only_new"), count(incidents, "only_other")], [0, 0]);
    let changed = count(decisions, "changed");
    assert!(changed > 0, "{decisions}");
    let told = decisions["told"].as_array().expect("pairs");
    assert!(
        told.iter().any(|pair| pair["new"]["ruling"] == "escalate" && pair["other"]["ruling"] == "execute"),
        "{decisions}"
    );
    // And for people.
    let mut command = common::quell();
    command.arg("replay").arg("--flow").arg(&flow).arg("--input").arg(at("acting"));
    command.arg("--archive").arg(at("asking-too")).arg("--diff").arg(at("acting"));
    let text = said(&done(&mut command));
    assert!(text.contains("decisions") && text.contains("ruled otherwise"), "{text}");
    assert!(text.contains("here escalate"), "{text}");
}

#[test]
fn an_archive_is_replayed_alone_and_in_its_own_order() {
    let days = Days::new(200);
    let at = |name: &str| days.folder.path().join(name);
    done(&mut days.replay(&at("first"), &[]));
    let refused = |inputs: &[&Path], more: &[&str], code: i32| {
        let output = replay(&days.flow, inputs, &at("never"), more).output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(!at("never").exists());
    };
    refused(&[&at("first"), &days.inputs[0]], &[], 2);
    refused(&[&at("first")], &["--arrival"], 2);
    refused(&[&at("first")], &["--name", "x"], 2);
    refused(&[&days.inputs[0]], &["--diff", "/nowhere"], 1);
}

#[test]
fn an_archive_that_has_lost_a_part_is_not_taken_for_whole() {
    let days = Days::new(2_000);
    let at = |name: &str| days.folder.path().join(name);
    done(&mut days.replay(&at("first"), &[]));
    for (table, lost) in
        [("alerts", "are there"), ("duplicates", "are there"), ("epochs", "its epochs tell of")]
    {
        let (copied, to) = (at(&format!("without {table}")), at(&format!("again without {table}")));
        common::copy(&at("first"), &copied);
        let part = parts(&copied.join(table)).pop().expect("a part");
        std::fs::remove_file(part).expect("it is there");
        let output = replay(&days.flow, &[&copied], &to, &[]).output().expect("the binary starts");
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{table}: {text}");
        assert!(text.contains("has lost something") && text.contains(lost), "{table}: {text}");
        assert!(!to.exists(), "{table}: nothing was begun");
        let mut doctor = common::quell();
        doctor.args(["doctor", "--flow"]).arg(&days.flow).arg("--archive").arg(&copied);
        let text = said(&doctor.output().expect("the binary starts"));
        assert!(text.contains("WRONG   archive") && text.contains(lost), "{table}: {text}");
    }
}

/// A table's parts, in order.
fn parts(table: &Path) -> Vec<std::path::PathBuf> {
    let entries = |folder: &Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    let mut parts: Vec<_> = entries(table).iter().flat_map(|date| entries(date)).collect();
    parts.sort();
    parts
}

#[test]
fn who_reads_an_archive_leaves_it_as_it_was() {
    let days = Days::new(500);
    let at = |name: &str| days.folder.path().join(name);
    done(&mut days.replay(&at("first"), &[]));
    // As it lies when it was copied, or its last writer ended in order.
    drop(quell::engine::log::Log::open(&at("first")).expect("a log"));
    let state = || {
        let entries = std::fs::read_dir(at("first").join("_quell")).expect("a folder");
        let mut state: Vec<_> = entries
            .map(|entry| {
                let path = entry.expect("an entry").path();
                let bytes = std::fs::read(&path).expect("it can be read");
                (path, bytes)
            })
            .collect();
        state.sort();
        state
    };
    let before = state();
    assert!(before.iter().all(|(path, _)| !path.to_string_lossy().ends_with("-wal")), "its log is shut");
    done(&mut replay(&days.flow, &[&at("first")], &at("second"), &[]));
    let reader = Reader::open(at("first"), Arc::new(Names::default())).expect("an archive");
    let action = reader.actions(None).expect("actions").next().expect("one").expect("a line").action_id;
    for args in [&["doctor", "--archive"][..], &["explain", &action.to_string(), "--archive"], &["digest"]] {
        done(common::quell().args(args).arg(at("first")));
    }
    assert_eq!(state(), before);
}
