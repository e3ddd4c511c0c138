//! Workloads: the sliding counts, sequences and components of alerts on which rivals were measured, 200,000 alerts through
//! all of `quell replay` and a million as far as findings, equal to what a brute-force script in another language finds.
//!
//! Needs `shared/peers` in a folder above and a Python with numpy (`QUELL_PYTHON`); says so where there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use quell::archive::Reader;
use quell::record::{AlertId, Names};
use serde_json::Value;

use super::common::{asking_plan, copy, replay, root, summary};

/// The workloads as correlations; `w2_all` consumes nothing.
const RULES: &str = "
title: w1
correlation: {type: event_count, rules: any, group-by: [rule_id, src_ip], timespan: 5m, condition: {gte: 10}}
---
title: w2
correlation: {type: temporal_ordered, rules: [R0012, R0025, R0040], group-by: [host], timespan: 15m}
---
title: w2_all
correlation: {type: temporal_ordered, rules: [R0012, R0025, R0040], group-by: [host], timespan: 15m, fires: every}
---
title: w3
correlation:
  type: connected
  rules: any
  where: {severity: [high, critical]}
  group-by: [host, user, hash]
  timespan: 1h
  condition: {gte: 3}
";

/// `gen.py`, a sequence with two ends that only differ where a match consumes, and `oracle.py`'s truth: all alerts in order of
/// event time without copies. Also the product of each serious alert, which is part of its identity.
const MAKE: &str = r#"
import json, subprocess, sys
peers, lines, alerts, out = sys.argv[1:]
subprocess.run([sys.executable, f"{peers}/gen.py", lines, alerts], check=True)
sys.path.insert(0, peers)
import oracle
uniq = {}
with open(alerts, "a") as more:
    late = 86_400 * int(lines) // 1_000_000
    for n, rule in enumerate(["R0012", "R0025", "R0040", "R0040"]):
        second = late + 60 * n
        time = f"2026-01-{1 + second // 86_400:02d}T{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}.000Z"
        more.write(json.dumps({"id": f"end{n}", "time": time, "product": "edr", "rule_id": rule, "rule_name": rule, "severity": "low",
            "host": "end", "user": "end", "src_ip": "10.0.0.250", "dst_ip": "10.0.0.251", "message": "", "raw": {}}) + "\n")
for line in open(alerts):
    r = json.loads(line)
    if r["id"] not in uniq:
        uniq[r["id"]] = (oracle.ms(r["time"]), r["id"], {k: r.get(k) for k in ("rule_id", "src_ip", "host", "user", "file_hash", "severity", "product")})
rows = sorted(uniq.values(), key=lambda row: row[:2])
truth = {"w1": oracle.w1(rows), "w2": oracle.w2(rows, True), "w2_all": oracle.w2(rows, False), "w3": oracle.w3(rows)}
truth["products"] = {i: r["product"] for _, i, r in rows if r["severity"] in ("high", "critical")}
json.dump(truth, open(out, "w"))
"#;

/// The alerts as lines, and the truth; none where they cannot be made.
fn made(alerts: u64, folder: &Path) -> Option<(PathBuf, Value)> {
    let peers = root().ancestors().map(|above| above.join("shared/peers")).find(|path| path.is_dir());
    let Some(peers) = peers else {
        eprintln!("skipped: there is no shared/peers here");
        return None;
    };
    let python = std::env::var("QUELL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if !Command::new(&python).args(["-c", "import numpy"]).output().is_ok_and(|done| done.status.success()) {
        eprintln!("SKIPPED: {python} lacks numpy; set QUELL_PYTHON");
        return None;
    }
    let (lines, truth) = (folder.join("alerts.jsonl"), folder.join("truth.json"));
    let mut make = Command::new(&python);
    make.args(["-c", MAKE]).arg(peers).arg(alerts.to_string()).args([&lines, &truth]);
    let done = make.output().expect("it starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let truth = fs::read_to_string(truth).expect("the truth");
    Some((lines, serde_json::from_str(&truth).expect("JSON")))
}

/// Findings that stand, by correlation: group, time, alerts.
type Found = BTreeMap<String, Vec<(String, i64, Vec<AlertId>)>>;

fn found(archive: &Path) -> Found {
    let names = Arc::new(Names::default());
    let reader = Reader::open(archive, Arc::clone(&names)).expect("an archive");
    let mut sums: BTreeMap<_, i64> = BTreeMap::new();
    for line in reader.matches(None).expect("matches").map(|line| line.expect("a row")) {
        let key =
            (names.get(line.correlation), line.tick, names.get(line.group), line.time.0, line.alert_ids);
        *sums.entry(key).or_default() += line.diff;
    }
    sums.retain(|_, sum| *sum != 0);
    assert!(sums.values().all(|sum| *sum == 1), "a finding stands once");
    let mut found = Found::new();
    for (correlation, _, group, time, ids) in sums.into_keys() {
        found.entry(correlation).or_default().push((group, time, ids));
    }
    found
}

/// What a workload must find, one text each.
fn must(truth: &Value, key: &str) -> BTreeSet<String> {
    let word = |word: &Value| word.as_str().map_or_else(|| word.to_string(), str::to_owned);
    let words = |found: &Value| {
        let words: Vec<String> = found.as_array().expect("a list").iter().map(word).collect();
        words.join(" ")
    };
    truth[key].as_array().expect("a list").iter().map(words).collect()
}

fn agrees(archive: &Path, truth: &Value) {
    let found = found(archive);
    for rule in ["w1", "w2", "w2_all"] {
        let got = found[rule].iter().map(|(group, time, _)| format!("{group} {time}"));
        assert_eq!(got.collect::<BTreeSet<String>>(), must(truth, rule), "{rule}");
    }
    let products = truth["products"].as_object().expect("a table");
    let vendor: BTreeMap<AlertId, &str> = products
        .iter()
        .map(|(id, product)| {
            let product = product.as_str().expect("a text");
            (AlertId::of(&[b"default", product.as_bytes(), id.as_bytes()]), &**id)
        })
        .collect();
    // A component goes by its smallest vendor id.
    let components = found["w3"].iter().map(|(_, _, ids)| {
        let least = ids.iter().map(|id| vendor[id]).min().expect("alerts");
        format!("{least} {}", ids.len())
    });
    assert_eq!(components.collect::<BTreeSet<String>>(), must(truth, "w3"));
    assert!(
        must(truth, "w1").len() > 150 && must(truth, "w3").len() > 200,
        "the truth has something to find"
    );
    assert!(must(truth, "w2").is_subset(&must(truth, "w2_all")));
    assert_eq!(must(truth, "w2").len() + 1, must(truth, "w2_all").len(), "a match consumes what came before");
}

#[test]
fn the_rivals_workloads_have_the_truths_findings() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((lines, truth)) = made(200_000, folder.path()) else { return };
    let plan = folder.path().join("plan");
    fs::create_dir(&plan).expect("room for the plan");
    let flow = asking_plan(&plan);
    fs::remove_dir_all(plan.join("correlations")).expect("the plan's own");
    fs::create_dir(plan.join("correlations")).expect("room for ours");
    fs::write(plan.join("correlations/w.yml"), RULES).expect("room for ours");
    // In the order of arrival, so that late alerts revise what was said; at two workers.
    let archive = folder.path().join("archive");
    let told = summary(&mut replay(&flow, &[&lines], &archive, &["--arrival", "--workers", "2"]));
    assert_eq!(told["records"], 200_004, "{told}");
    agrees(&archive, &truth);
}

#[test]
fn of_a_million_alerts_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((lines, truth)) = made(1_000_000, folder.path()) else { return };
    let plan = folder.path().join("plan");
    for part in ["policies", "playbooks"] {
        copy(&root().join("dataflows").join(part), &plan.join(part));
    }
    for part in ["mappings", "correlations"] {
        fs::create_dir_all(plan.join(part)).expect("room for the plan");
    }
    let mapping = "mappings/generated.yml";
    fs::copy(root().join("dataflows").join(mapping), plan.join(mapping)).expect("the mapping");
    fs::write(plan.join("correlations/w.yml"), RULES).expect("room for ours");
    let flow = plan.join("pipeline.yml");
    fs::write(&flow, "name: workloads\nends_at: findings\n").expect("room for the plan");
    let archive = folder.path().join("archive");
    let told = summary(&mut replay(&flow, &[&lines], &archive, &["--arrival"]));
    assert_eq!(told["records"], 1_000_004, "{told}");
    agrees(&archive, &truth);
}
