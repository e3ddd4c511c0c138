//! What every command owes its user: an example in its help, exit codes that mean something, and explanations that hold.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{done, quell, root, said};
use serde_json::Value;

fn text(arguments: &[&str]) -> String {
    String::from_utf8_lossy(&done(quell().args(arguments)).stdout).into_owned()
}

fn json(arguments: &[&str]) -> Value {
    let text = text(arguments);
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("JSON on the last line")
}

/// The subcommands that `quell ... --help` lists.
fn subcommands(of: &[&str]) -> Vec<String> {
    let help = text(&[of, &["--help"]].concat());
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    let list = list.split("\n\n").next().unwrap_or_default().lines();
    // A line that goes on with a description is indented further.
    let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_commands_help_has_an_example() {
    let commands = subcommands(&[]);
    assert!(commands.len() >= 8, "{commands:?}");
    for command in &commands {
        let inner = subcommands(&[command]);
        let all = inner.iter().map(|name| vec![command.as_str(), name]).collect::<Vec<_>>();
        for command in if all.is_empty() { vec![vec![command.as_str()]] } else { all } {
            let help = text(&[command.as_slice(), &["--help"]].concat());
            assert!(help.contains("Example: quell "), "{command:?} says\n{help}");
        }
    }
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(text(&["completions", shell]).contains("replay"), "{shell}");
    }
}

/// A copy of the shipped plan.
fn copy_plan(plan: &Path) {
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("it is there").map(|entry| entry.expect("an entry").path()) {
            if entry.is_file() {
                fs::copy(&entry, to.join(entry.file_name().expect("a name"))).expect("a copy");
            }
        }
    };
    let shipped = root().join("dataflows");
    copy(&shipped, plan);
    for part in ["mappings", "correlations", "playbooks", "policies"] {
        copy(&shipped.join(part), &plan.join(part));
    }
    let pipeline = plan.join("pipeline.yml");
    let text = fs::read_to_string(&pipeline).expect("the file is there");
    fs::write(&pipeline, text.replace("models: ../models/ranker\n", "")).expect("it can be written");
}

/// The sample day, replayed with a plan that acts in a simulated site.
fn acted(folder: &Path) -> PathBuf {
    let (plan, day) = (folder.join("plan"), root().join("datasets/soc-day"));
    copy_plan(&plan);
    let edit = |file: &str, from: &str, to: &str| {
        let text = fs::read_to_string(plan.join(file)).expect("the file is there");
        assert!(text.contains(from), "{file} holds {from:?}");
        fs::write(plan.join(file), text.replace(from, to)).expect("it can be written");
    };
    let environment = day.join("environment.json").display().to_string();
    let truth = day.join("truth.jsonl").display().to_string();
    let executor = format!("executor: {{type: simulate, environment: {environment:?}, truth: {truth:?}}}");
    edit("pipeline.yml", "executor: {type: dry-run}", &executor);
    edit(
        "policies/default.yml",
        "execute: { score: 0.80, confidence: 0.90 }",
        "execute: { score: 0.4, confidence: 0.0 }",
    );
    let archive = folder.join("archive");
    let mut replay = quell();
    replay.args(["replay", "--as-of", "2026-03-01T00:00:00Z", "--input"]).arg(day.join("alerts.jsonl.zst"));
    done(replay.arg("--flow").arg(plan.join("pipeline.yml")).arg("--archive").arg(&archive));
    archive
}

/// The incident of most alerts on which something was done, by way of the archive alone.
fn busiest(archive: &Path) -> String {
    let reader = quell::archive::Reader::open(archive, std::sync::Arc::default()).expect("an archive");
    let actions: Vec<_> = reader.actions(None).expect("actions").map(|line| line.expect("a row")).collect();
    let acted = |id| actions.iter().any(|action| action.incident_id == id);
    let incidents = reader.incidents(None).expect("incidents").map(|line| line.expect("a row"));
    let busiest = incidents
        .filter(|line| acted(line.incident_id))
        .max_by_key(|line| (line.alert_count, line.incident_id));
    busiest.expect("something was done").incident_id.to_string()
}

#[test]
fn an_archive_explains_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = acted(folder.path());
    let dir = archive.display().to_string();
    let explain = |id: &str| json(&["explain", id, "--archive", &dir, "--output", "json"]);
    let id = busiest(&archive);
    let story = explain(&id);
    assert_eq!(story["incident"]["incident_id"], id.as_str());
    let list = |of: &Value, key: &str| of[key].as_array().cloned().unwrap_or_default();
    let alerts = list(&story, "alerts");
    assert_eq!(
        story["incident"]["alert_count"],
        alerts.len(),
        "its members are those that its last word counts"
    );
    let links = list(&story, "links");
    assert!(
        !links.is_empty()
            && links.iter().all(|link| link["in_words"].as_str().is_some_and(|w| !w.is_empty()))
    );
    let decision = list(&story, "decisions").pop().expect("a decision");
    let action = list(&story, "actions").remove(0);
    for (key, of, kind) in [
        ("decision_id", &decision, "decision"),
        ("action_id", &action, "action"),
        ("alert_id", &alerts[0], "alert"),
    ] {
        let whole = of[key].as_str().expect("an id");
        assert_eq!(explain(whole)["kind"], kind);
        assert!(text(&["explain", &whole[..12], "--archive", &dir]).contains(whole), "its first digits do");
    }
    let done = explain(action["action_id"].as_str().expect("an id"));
    assert_eq!(done["intent"]["order"]["target"], action["target"], "the ledger says the same");
    let alert = explain(alerts[0]["alert_id"].as_str().expect("an id"));
    assert_eq!(alert["incidents"][0], id.as_str());
    let told = text(&["explain", &id, "--archive", &dir]);
    for heading in [
        "Rules",
        "Alerts",
        "What joined them",
        "Versions",
        "Playbooks weighed",
        "Decisions",
        "Actions",
        "Outcomes",
    ] {
        assert!(told.contains(heading), "{heading} in {told}");
    }
    let graph = text(&["explain", &id, "--archive", &dir, "--format", "dot"]);
    assert!(graph.contains("digraph") && graph.trim_end().ends_with('}'));
    unknown_ids_are_told(&dir);
    correlations_fired(&archive);
    let found = json(&["doctor", "--archive", &dir, "--output", "json"]);
    let said = |about: &str| {
        list(&found, "findings").into_iter().find(|one| one["about"] == about).expect("a finding")
    };
    assert_eq!(said("plan")["state"], "fine");
    assert!(said("archive")["what"].as_str().is_some_and(|what| what.starts_with("finished")));
}

fn unknown_ids_are_told(dir: &str) {
    for (id, code, what) in
        [("ffffffffffff", 1, "nothing in"), ("abc", 2, "is no id"), ("spam-and-eggs", 2, "is no id")]
    {
        let output = quell().args(["explain", id, "--archive", dir]).output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(what), "{}", said(&output));
    }
}

/// Both correlations that Quell ships fire on the sample day.
fn correlations_fired(archive: &Path) {
    let reader = quell::archive::Reader::open(archive, std::sync::Arc::default()).expect("an archive");
    let found: Vec<String> = reader
        .matches(None)
        .expect("matches")
        .map(|line| reader.names().get(line.expect("a row").correlation))
        .collect();
    for correlation in ["credential_stuffing", "phished_credentials"] {
        assert!(found.iter().any(|name| name == correlation), "{correlation} in {found:?}");
    }
}

#[test]
fn doctor_says_what_is_amiss_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plan, cut) = (folder.path().join("plan"), folder.path().join("cut"));
    copy_plan(&plan);
    let pipeline = fs::read_to_string(plan.join("pipeline.yml")).expect("the pipeline");
    let webhook =
        "executor: {type: webhook, url: 'http://127.0.0.1:1/', token_env: QUELL_TEST_NO_SUCH_TOKEN}";
    let pipeline = pipeline.replace("executor: {type: dry-run}", webhook);
    fs::write(plan.join("pipeline.yml"), pipeline).expect("it can be written");
    // A log that nothing finished.
    drop(quell::engine::log::Log::open(&cut).expect("a log"));
    let mut doctor = quell();
    doctor.args(["doctor", "--flow"]).arg(plan.join("pipeline.yml")).arg("--archive").arg(&cut);
    let output = doctor.output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for what in ["QUELL_TEST_NO_SUCH_TOKEN is not set", "a run was cut", "--resume", "MB free", "open files"]
    {
        assert!(said(&output).contains(what), "{what} in {}", said(&output));
    }
}

#[test]
fn a_folder_that_is_no_archive_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("2026")).expect("a folder");
    let (dir, flow) = (folder.path().display().to_string(), root().join("dataflows/pipeline.yml"));
    let flow = flow.display().to_string();
    let model = folder.path().join("model").display().to_string();
    for arguments in [
        &["digest", &dir][..],
        &["explain", "0123456789ab", "--archive", &dir],
        &["train", "--flow", &flow, "--archive", &dir, "--out", &model],
        &[
            "evaluate",
            "--flow",
            &flow,
            "--archive",
            &dir,
            "--models",
            &root().join("models/ranker").display().to_string(),
        ],
        &["evaluate", "incidents", "--archive", &dir, "--truth", &flow],
    ] {
        let output = quell().args(arguments).output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(1), "{arguments:?} {}", said(&output));
        assert!(said(&output).contains("is no archive of quell"), "{arguments:?} {}", said(&output));
    }
    // A table without rows, and an archive of which that is all that is left.
    fs::create_dir(folder.path().join("rejects")).expect("a folder");
    assert!(text(&["digest", &dir]).contains("rejects 0 "));
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_printed_is_told_and_a_closed_pipe_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("alerts")).expect("a folder");
    let (dir, day) = (folder.path().display().to_string(), folder.path().join("day").display().to_string());
    for arguments in [
        &["digest", &dir][..],
        &["digest", &dir, "--output", "json"],
        &["schema"],
        &["completions", "bash"],
        &["generate", "--alerts", "200", "--out", &day, "--output", "json"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").expect("it is there");
        let output = quell().args(arguments).stdout(full).output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(1), "{arguments:?} {}", said(&output));
        assert!(
            said(&output).contains("cannot write to standard output: No space left"),
            "{}",
            said(&output)
        );
        fs::remove_dir_all(&day).unwrap_or_default();
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = quell().args(arguments).stdout(writer).output().expect("the binary starts");
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?} {}", said(&output));
    }
}

#[test]
fn a_registry_is_told_to_programs_as_a_list() {
    let models = root().join("models/ranker").display().to_string();
    let said = json(&["model", "list", "--models", &models, "--output", "json"]);
    let versions = said.as_array().expect("a list");
    assert!(versions.iter().any(|version| version["promoted"].is_object()), "{said}");
}

#[test]
fn a_generated_day_is_what_was_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("day").display().to_string();
    let ask =
        ["generate", "--alerts", "2000", "--seed", "7", "--hosts", "20", "--users", "30", "--out", &out];
    let made = json(&[&ask[..], &["--output", "json"]].concat());
    assert_eq!(made["alerts"], 2000);
    let lines = fs::read_to_string(format!("{out}/alerts.jsonl")).expect("alerts").lines().count();
    assert_eq!(lines, 2000);
    let again = quell().args(ask).output().expect("the binary starts");
    assert_eq!(again.status.code(), Some(1), "a folder that holds something is left alone: {}", said(&again));
    assert!(!said(&again).contains("room for"), "as many campaigns as there are: {}", said(&again));
    let crowded = folder.path().join("crowded").display().to_string();
    let crowded =
        done(quell().args(["generate", "--alerts", "2000", "--campaigns", "500", "--out", &crowded]));
    let told = String::from_utf8_lossy(&crowded.stderr).into_owned();
    assert!(told.contains("there was room for") && told.contains("of 500 campaigns"), "{told}");
    let absurd =
        quell().args(["generate", "--alerts", "9", "--late-share", "2", "--out", "/nonexistent/x"]).output();
    let absurd = absurd.expect("the binary starts");
    assert_eq!(absurd.status.code(), Some(2), "{}", said(&absurd));
    assert!(said(&absurd).contains("--late-share"), "{}", said(&absurd));
}

#[test]
fn incidents_are_measured_against_a_truth() {
    let folder = tempfile::tempdir().expect("a folder");
    let (days, archive) = (folder.path().join("days"), folder.path().join("archive"));
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let (days, archive) = (text(&days), text(&archive));
    let done = |args: &[&str]| {
        let output =
            std::process::Command::new(env!("CARGO_BIN_EXE_quell")).args(args).output().expect("it runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    done(&["generate", "--alerts", "4000", "--seed", "3", "--hosts", "20", "--users", "30", "--out", &days]);
    let (alerts, truth) = (format!("{days}/alerts.jsonl"), format!("{days}/truth.jsonl"));
    done(&["replay", "--input", &alerts, "--archive", &archive, "--output", "json"]);
    let said = done(&["evaluate", "incidents", "--archive", &archive, "--truth", &truth, "--output", "json"]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let known = std::fs::read_to_string(&truth).expect("the truth");
    let attacks = known.lines().filter(|line| line.contains("\"true_positive\"")).count();
    assert_eq!(said["campaign_alerts"], attacks, "{said}");
    assert!(said["recall"].as_f64().is_some_and(|recall| (0.0..=1.0).contains(&recall)), "{said}");
    let told = done(&["evaluate", "incidents", "--archive", &archive, "--truth", &truth]);
    assert!(told.contains("pairs that are right together"), "{told}");
}
