//! Workloads: the sliding counts, sequences and components of alerts on which rivals were measured, 200,000 alerts through
//! `quell replay`, equal to what a brute-force script in another language finds.
//!
//! Needs `shared/peers` in a folder above and a Python with numpy (`QUELL_PYTHON`); says so where there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use quell::archive::Reader;
use quell::record::{AlertId, Names};
use serde_json::Value;

use super::common::{asking_plan, replay, root, summary};

const ALERTS: usize = 200_000;

/// The alerts as lines, and the truth; none where they cannot be made.
fn made(folder: &Path) -> Option<(PathBuf, Value)> {
    let peers = root().ancestors().map(|above| above.join("shared/peers")).find(|path| path.is_dir());
    let Some(peers) = peers else {
        eprintln!("skipped: there is no shared/peers here");
        return None;
    };
    let python = std::env::var("QUELL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let (lines, truth) = (folder.join("alerts.jsonl"), folder.join("truth.json"));
    let run = |script: &str, args: &[&str]| {
        let done = Command::new(&python).arg(peers.join(script)).args(args).output();
        done.is_ok_and(|done| done.status.success())
    };
    let [lines_text, truth_text] = [&lines, &truth].map(|path| path.to_str().expect("UTF-8"));
    if !run("gen.py", &[&ALERTS.to_string(), lines_text]) || !run("oracle.py", &[lines_text, truth_text]) {
        eprintln!("SKIPPED: {python} lacks numpy; set QUELL_PYTHON");
        return None;
    }
    let truth = std::fs::read_to_string(truth).expect("the truth");
    Some((lines, serde_json::from_str(&truth).expect("JSON")))
}

/// The workloads as correlations. Components are not one; their links are: each alert with the one before it.
fn correlations(serious: &BTreeSet<String>) -> String {
    let all: Vec<String> = (0..300).map(|rule| format!("R{rule:04}")).collect();
    let serious: Vec<&str> = serious.iter().map(String::as_str).collect();
    let mut text = format!(
        "title: w1\ncorrelation: {{type: event_count, rules: [{}], group-by: [rule_id, src_ip], timespan: 5m, condition: {{gte: 10}}}}\n\
         ---\ntitle: w2\ncorrelation: {{type: temporal_ordered, rules: [R0012, R0025, R0040], group-by: [host], timespan: 15m}}\n",
        all.join(", ")
    );
    for field in ["host", "user", "hash"] {
        let links = format!(
            "---\ntitle: w3_{field}\ncorrelation: {{type: event_count, rules: [{}], group-by: [{field}], timespan: 1h, \
             condition: {{gte: 2}}, fires: every}}\n",
            serious.join(", ")
        );
        text.push_str(&links);
    }
    text
}

type Found = BTreeMap<(String, String, i64, Vec<AlertId>), i64>;

fn found(archive: &Path) -> (Found, BTreeMap<AlertId, u64>) {
    let names = Arc::new(Names::default());
    let reader = Reader::open(archive, Arc::clone(&names)).expect("an archive");
    let mut found = Found::new();
    for line in reader.matches(None).expect("matches").map(|line| line.expect("a row")) {
        let key = (names.get(line.correlation), names.get(line.group), line.time.0, line.alert_ids);
        *found.entry(key).or_default() += line.diff;
    }
    found.retain(|_, sum| *sum != 0);
    assert!(found.values().all(|sum| *sum == 1), "a finding stands once");
    let alerts = reader.alerts(None).expect("alerts").map(|line| line.expect("an alert"));
    (found, alerts.map(|alert| (alert.alert_id, alert.position)).collect())
}

fn root_of(of: &mut BTreeMap<AlertId, AlertId>, mut id: AlertId) -> AlertId {
    while let Some(up) = of.get(&id).copied().filter(|up| *up != id) {
        let above = of.get(&up).copied().unwrap_or(up);
        of.insert(id, above);
        id = above;
    }
    id
}

/// Components of three alerts or more, by their smallest vendor id.
fn components(found: &Found, vendor: impl Fn(AlertId) -> String) -> BTreeSet<(String, i64)> {
    let mut of = BTreeMap::new();
    for (_, _, _, ids) in found.keys().filter(|(rule, ..)| rule.starts_with("w3_")) {
        let (one, other) = (root_of(&mut of, ids[0]), root_of(&mut of, ids[1]));
        of.insert(one, other);
        of.entry(other).or_insert(other);
    }
    let mut members: BTreeMap<AlertId, Vec<String>> = BTreeMap::new();
    for id in of.keys().copied().collect::<Vec<_>>() {
        members.entry(root_of(&mut of, id)).or_default().push(vendor(id));
    }
    let large = members.into_values().filter(|all| all.len() >= 3);
    large
        .map(|all| (all.iter().min().cloned().unwrap_or_default(), i64::try_from(all.len()).unwrap_or(0)))
        .collect()
}

#[test]
fn the_rivals_workloads_have_the_truths_findings() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((lines, truth)) = made(folder.path()) else { return };
    let text = std::fs::read_to_string(&lines).expect("the alerts");
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let word = |record: &Value, key: &str| record[key].as_str().expect("a text").to_owned();
    let serious = records.iter().filter(|r| matches!(r["severity"].as_str(), Some("high" | "critical")));
    let plan = folder.path().join("plan");
    std::fs::create_dir(&plan).expect("room for the plan");
    let flow = asking_plan(&plan);
    std::fs::remove_dir_all(plan.join("correlations")).expect("the plan's own");
    std::fs::create_dir(plan.join("correlations")).expect("room for ours");
    let rules = correlations(&serious.map(|record| word(record, "rule_id")).collect());
    std::fs::write(plan.join("correlations/w.yml"), rules).expect("room for ours");
    // In the order of arrival, so that late alerts revise what was said; at two workers.
    let archive = folder.path().join("archive");
    let told = summary(&mut replay(&flow, &[&lines], &archive, &["--arrival", "--workers", "2"]));
    assert_eq!(told["records"], ALERTS, "{told}");
    let (found, positions) = found(&archive);
    let mut got: [BTreeSet<String>; 2] = Default::default();
    for (rule, group, time, _) in found.keys() {
        let words = || format!("{group} {time}");
        match rule.as_str() {
            "w1" => drop(got[0].insert(words())),
            "w2" => drop(got[1].insert(words())),
            _ => {}
        }
    }
    let list = |key: &str| truth[key].as_array().expect("a list").clone();
    let must = |key: &str| -> BTreeSet<String> {
        let words = |words: Value| {
            let words = words.as_array().expect("a list").clone();
            words.iter().map(|w| w.as_str().map_or_else(|| w.to_string(), str::to_owned)).collect::<Vec<_>>()
        };
        list(key).into_iter().map(|found| words(found).join(" ")).collect()
    };
    assert!(must("w1").len() > 150 && must("w2").len() > 30, "the truth has something to find");
    assert_eq!((&got[0], &got[1]), (&must("w1"), &must("w2")));
    let vendor = |id: AlertId| word(&records[usize::try_from(positions[&id]).expect("a line") - 1], "id");
    let must: BTreeSet<(String, i64)> = list("w3")
        .iter()
        .map(|pair| (pair[0].as_str().expect("an id").to_owned(), pair[1].as_i64().expect("a count")))
        .collect();
    assert_eq!(components(&found, vendor), must);
}
