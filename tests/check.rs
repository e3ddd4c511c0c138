//! `quell check` on the binary: the shipped plan is sound, and a plan that is broken in many places is told all of them.

mod common;

use std::fs;
use std::path::Path;

use common::{done, quell, root, said};
use serde_json::Value;

/// A copy of the shipped plan, to be spoilt.
fn copy(folder: &Path) {
    fn all(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("the plan is there").map(|entry| entry.expect("an entry")) {
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if from.is_dir() { all(&from, &to) } else { fs::copy(&from, &to).map(drop).expect("a copy") }
        }
    }
    all(&root().join("dataflows"), folder);
}

fn spoil(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).expect("the file is there");
    assert!(text.contains(from), "{} holds {from:?}", file.display());
    fs::write(file, text.replacen(from, to, 1)).expect("it can be written");
}

fn check(plan: &Path) -> (Option<i32>, Value, String) {
    let output =
        quell().args(["check", "--output", "json", "--flow"]).arg(plan.join("pipeline.yml")).output();
    let output = output.expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let json = text.lines().last().map(|line| serde_json::from_str(line).expect("one JSON object"));
    (output.status.code(), json.unwrap_or_default(), said(&output))
}

#[test]
fn the_shipped_plan_is_sound() {
    let (code, found, said) = check(&root().join("dataflows"));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(found["faults"].as_array().map(Vec::len), Some(0));
    assert!(found["examples"].as_u64() >= Some(20), "{found}");
    let text = done(quell().arg("check"));
    let text = String::from_utf8_lossy(&text.stdout);
    assert!(text.contains(found["plan_hash"].as_str().expect("a hash")), "{text}");
}

#[test]
fn every_fault_is_told_at_once_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = folder.path();
    copy(plan);
    spoil(&plan.join("pipeline.yml"), "lateness: 60s", "lateness: soon");
    spoil(&plan.join("pipeline.yml"), "assets: []", "assets: [assets.csv]");
    fs::write(plan.join("assets.csv"), "entity,criticality\nhost:a,2\nhost:b,9\n").expect("a table");
    spoil(&plan.join("mappings/wazuh.yml"), "product:", "produkt:");
    spoil(&plan.join("mappings/generated.yml"), "rule: R0012", "rule: R0013");
    spoil(&plan.join("correlations/credential-stuffing.yml"), "fires: 2", "fires: 3");
    spoil(&plan.join("correlations/phished-credentials.yml"), "[user]", "[shoe_size]");
    spoil(&plan.join("playbooks/phishing-purge.json"), "\"spec_version\"", "\"spec_wersion\"");
    spoil(&plan.join("policies/default.yml"), "targets_max: 20", "targets_max: 0");
    let (code, found, said) = check(plan);
    assert_eq!(code, Some(3), "{said}");
    let faults = found["faults"].as_array().expect("a list of faults");
    for (file, line, what) in [
        ("pipeline.yml", true, "`lateness` is \"soon\""),
        ("assets.csv", true, "0 to 4"),
        ("wazuh.yml", true, "produkt"),
        ("generated.yml", true, "R0013"),
        ("credential-stuffing.yml", true, "fires 2 times, not 3"),
        ("phished-credentials.yml", false, "shoe_size"),
        ("phishing-purge.json", true, "spec_wersion"),
        ("default.yml", true, "targets_max is 0"),
    ] {
        let told = |fault: &&Value| {
            fault["file"].as_str().is_some_and(|path| path.ends_with(file))
                && fault["what"].as_str().is_some_and(|text| text.contains(what))
        };
        let fault = faults.iter().find(told).unwrap_or_else(|| panic!("{file}: {what} in {said}"));
        assert!(!line || fault["line"].as_u64() > Some(0), "{fault} has no line");
        assert!(fault["cure"].as_str().is_some_and(|cure| !cure.is_empty()), "{fault} has no cure");
        assert!(said.contains(what), "people are told as well: {said}");
    }
    assert_eq!(found["plan_hash"], Value::Null);
}

#[test]
fn what_the_pipeline_file_says_wrongly_is_told_on_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plan, file) = (folder.path(), folder.path().join("pipeline.yml"));
    copy(plan);
    let more = "\nsources:\n  - {name: a, type: file, path: a}\n  - name: a\n    type: kafka\n    brokers: ''\n    topic: 'no good'\n";
    for (from, to) in [
        ("future_max: 24h", "future_max: never"),
        ("zone: UTC", "zone: Mars/Olympus"),
        ("indicators: []", "indicators:\n    - no-such.csv"),
        ("sightings: {days: 30}", "sightings: {days: 400}"),
        ("models: ../models/ranker", "models: ../no-such-models"),
        ("executor: {type: dry-run}\n", more),
    ] {
        spoil(&file, from, to);
    }
    let text = fs::read_to_string(&file).expect("the file is there");
    let (code, found, said) = check(plan);
    assert_eq!(code, Some(3), "{said}");
    let faults = found["faults"].as_array().expect("a list of faults");
    for (line, what) in [
        ("future_max: never", "`future_max` is"),
        ("zone: Mars/Olympus", "`zone` is"),
        ("    - no-such.csv", "no-such.csv is not there"),
        ("sightings: {days: 400}", "400 days back"),
        ("models: ../no-such-models", "no-such-models"),
        ("  - name: a", "two sources are named"),
        ("    brokers: ''", "`brokers` is"),
        ("    topic: 'no good'", "`topic` is"),
    ] {
        let told = faults.iter().find(|fault| fault["what"].as_str().is_some_and(|text| text.contains(what)));
        let told = told.unwrap_or_else(|| panic!("{what} in {said}"));
        let at = text.lines().position(|text| text == line).expect("the line is there") + 1;
        assert_eq!(told["line"], at, "{told}");
    }
}

#[test]
fn an_address_that_is_never_called_is_a_fault_of_the_plan_and_tells_no_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plan, file) = (folder.path(), folder.path().join("pipeline.yml"));
    copy(plan);
    spoil(&file, "models: ../models/ranker\n", "");
    let text = fs::read_to_string(&file).expect("the file is there");
    let line = text.lines().position(|line| line.starts_with("executor:")).expect("an executor") + 1;
    fs::write(plan.join("a.jsonl"), "{}\n").expect("room");
    for (url, what) in [
        ("file:///etc/passwd", "only http and https"),
        ("", "without a base"),
        ("notaurl", "without a base"),
        ("gopher://example.org/", "only http and https"),
        ("http://169.254.169.254/", "metadata addresses are not called"),
        ("http://user:hunter2@example.org/x", "token_env"),
    ] {
        let executor = format!("executor: {{type: webhook, url: '{url}'}}");
        fs::write(&file, text.replace("executor: {type: dry-run}", &executor)).expect("room");
        let (code, found, said) = check(plan);
        assert_eq!((code, found["faults"][0]["line"].as_u64()), (Some(3), Some(line as u64)), "{said}");
        assert!(said.contains(what), "{what} in {said}");
        assert!(!said.contains("hunter2") && !said.contains("authorization_env"), "{said}");
        let mut doctor = quell();
        let doctor = doctor.args(["doctor", "--flow"]).arg(&file).output().expect("the binary starts");
        assert!(!common::said(&doctor).contains("hunter2"), "{}", common::said(&doctor));
        let archive = plan.join("archive");
        let replayed = common::replay(&file, &[&plan.join("a.jsonl")], &archive, &[]).output();
        let replayed = replayed.expect("the binary starts");
        assert_eq!(replayed.status.code(), Some(3), "{}", common::said(&replayed));
        assert!(!archive.exists(), "nothing was begun");
    }
}

#[test]
fn a_plan_that_is_not_there_is_one_fault() {
    let (code, found, said) = check(Path::new("/nonexistent"));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("--flow"), "{said}");
    assert!(found["faults"].as_array().is_some_and(|faults| !faults.is_empty()));
}

#[cfg(unix)]
#[test]
fn pipes_are_never_opened_and_links_in_circles_are_one_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = folder.path();
    copy(plan);
    for file in ["rules/x.yml", "mappings/x.yml", "correlations/x.yml", "playbooks/x.json", "rules/unnamed"] {
        let made = std::process::Command::new("mkfifo").arg(plan.join(file)).status().expect("mkfifo");
        assert!(made.success(), "{file}");
    }
    std::os::unix::fs::symlink(plan.join("rules"), plan.join("rules/around")).expect("a link");
    let (code, found, said) = check(plan);
    assert_eq!(code, Some(3), "{said}");
    let faults: Vec<(&str, &str)> = found["faults"]
        .as_array()
        .expect("faults")
        .iter()
        .map(|fault| (fault["file"].as_str().expect("a file"), fault["what"].as_str().expect("a text")))
        .collect();
    for (file, what) in [
        ("rules/x.yml", "no regular file"),
        ("mappings/x.yml", "no regular file"),
        ("correlations/x.yml", "no regular file"),
        ("playbooks/x.json", "no regular file"),
        ("rules/around", "a folder that it lies in"),
    ] {
        assert!(faults.iter().any(|(at, told)| at.ends_with(file) && told.contains(what)), "{file}: {said}");
    }
    // Beside the model, which lies elsewhere, nothing else is wrong.
    assert_eq!(faults.iter().filter(|(file, _)| !file.ends_with("pipeline.yml")).count(), 5, "{said}");
    assert!(found["rules"].as_u64() > Some(0), "the rules beside the circle are there: {said}");
}
