//! Learning from end to end: the demonstration rules as it should, the shipped model is what was measured, training repeats
//! to the bit, a version can be put to use and taken back, and nothing runs by itself on what the model never saw.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use quell::archive::{DecisionLine, OutcomeLine, Reader};
use quell::rank::Model;
use quell::rank::model;
use quell::record::{LabelSource, Names};
use quell::replay::generate::{Settings, generate};
use serde_json::Value;

/// What measures of a shipped model may differ by from those it was shipped with.
const TOLERANCE: f64 = 0.02;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command from the repository's root; the JSON of its last line.
fn quell(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_quell"))
        .current_dir(root())
        .args(arguments)
        .args(["--output", "json"])
        .output()
        .expect("quell starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "quell {arguments:?}: {errors}");
    assert_eq!(errors, "", "silent where nobody looks");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    serde_json::from_str(said.lines().last().expect("a line")).expect("JSON")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The archive of the demonstration and what the run said, made once.
fn demo() -> &'static (tempfile::TempDir, Value) {
    static DEMO: OnceLock<(tempfile::TempDir, Value)> = OnceLock::new();
    DEMO.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = folder.path().join("archive");
        let input = "datasets/soc-day/alerts.jsonl.zst";
        let said =
            quell(&["replay", "--flow", "dataflows/demo.yml", "--input", input, "--archive", text(&archive)]);
        (folder, said)
    })
}

fn demo_archive() -> PathBuf {
    demo().0.path().join("archive")
}

#[test]
fn the_demonstration_executes_escalates_and_declines_and_says_why() {
    let said = &demo().1;
    for ruling in ["execute", "escalate", "decline"] {
        assert!(said["decisions"][ruling].as_u64().is_some_and(|many| many > 0), "{ruling}: {said}");
    }
    assert!(said["actions"].as_u64().is_some_and(|many| many > 0), "{said}");
    assert_eq!(said["divergences"], 0);
    let names = Arc::new(Names::default());
    let reader = Reader::open(demo_archive(), Arc::clone(&names)).expect("an archive");
    let version = Model::load(&root().join("models/ranker"), None).expect("the shipped model").version + ":";
    for line in reader.lines::<DecisionLine>(None).expect("decisions") {
        let line = line.expect("a row");
        assert!(!names.get(line.reason).is_empty(), "{line:?}");
        assert!(line.reason_detail.as_deref().is_some_and(|detail| !detail.is_empty()), "{line:?}");
        assert!(names.get(line.model_version).starts_with(&version), "{line:?}");
    }
    let mut sources = BTreeSet::new();
    for line in reader.lines::<OutcomeLine>(None).expect("outcomes") {
        let line = line.expect("a row");
        sources.insert(line.label_source.name());
        assert_eq!(line.verdict.is_some(), line.label_source == LabelSource::Human, "{line:?}");
        assert_eq!(line.success.is_some(), line.label_source == LabelSource::Automation, "{line:?}");
    }
    assert_eq!(sources, BTreeSet::from(["automation", "human"]));
}

#[test]
fn the_shipped_model_is_the_promoted_one_and_does_what_its_metrics_say() {
    let registry = root().join("models/ranker");
    let shipped = Model::load(&registry, None).expect("the shipped model");
    assert_eq!(shipped.hash, model::hash(&registry.join(&shipped.version)).expect("its files"));
    let said = quell(&["evaluate", "--archive", text(&demo_archive()), "--flow", "dataflows/demo.yml"]);
    assert_eq!(said["blake3"], shipped.hash.as_str());
    let metrics = std::fs::read_to_string(registry.join(&shipped.version).join("metrics.json"));
    let metrics: Value = serde_json::from_str(&metrics.expect("metrics")).expect("JSON");
    let told = &metrics["held_out"]["soc-day"];
    for measure in ["macro_f1", "accuracy", "calibration_error", "confident_accuracy"] {
        let (told, found) = (told[measure].as_f64(), said["result"][measure].as_f64());
        let near = told.zip(found).is_some_and(|(told, found)| (told - found).abs() <= TOLERANCE);
        assert!(
            near,
            "{measure}: {found:?}, metrics.json says {told:?}: `quell evaluate --record soc-day` anew"
        );
    }
    let f1 = |of: &Value| of["macro_f1"].as_f64().unwrap_or(0.0);
    for baseline in ["severity", "majority"] {
        let (model, without) = (f1(&said["result"]), f1(&said["result"][baseline]));
        assert!(model > without, "macro-F1 {model} against {without} of {baseline}");
    }
}

#[test]
fn training_repeats_to_the_bit_and_versions_come_and_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let settings = Settings { alerts: 20_000, seed: 9, hosts: 40, users: 60, ..Settings::default() };
    generate(&settings, &at("days"), |_| ()).expect("days");
    let (days, archive, registry) = (at("days"), at("archive"), at("ranker"));
    let said = quell(&[
        "replay",
        "--flow",
        "dataflows/training.yml",
        "--input",
        text(&days.join("alerts.jsonl")),
        "--context",
        text(&days),
        "--environment",
        text(&days.join("environment.json")),
        "--truth",
        text(&days.join("truth.jsonl")),
        "--archive",
        text(&archive),
    ]);
    assert!(said["decisions"]["execute"].as_u64().is_some_and(|many| many > 0), "{said}");
    let train = |version: &str, seed: &str| {
        let (out, archive) = (registry.join(version), text(&archive));
        let said =
            quell(&["train", "--archive", archive, "--out", text(&out), "--seed", seed, "--turns", "2"]);
        (model::hash(&out).expect("a model"), said)
    };
    let ((one, said), (two, again), (other, _)) = (train("v1", "1"), train("v2", "1"), train("v3", "2"));
    assert_eq!((&one, &said["test"]), (&two, &again["test"]));
    assert_ne!(one, other);
    let metrics = std::fs::read_to_string(registry.join("v1/metrics.json")).expect("metrics");
    assert_eq!(serde_json::from_str::<Value>(&metrics).expect("JSON")["test"], said["test"]);
    let card = std::fs::read_to_string(registry.join("v1/CARD.md")).expect("a card");
    assert!(card.contains("The data is synthetic") && card.contains("`simulated-analyst`"), "{card}");

    let models = ["--models", text(&registry)];
    let model = |arguments: &[&str]| quell(&[&["model"], arguments, &models].concat());
    assert_eq!(model(&["promote", "v1", "--by", "ada"])["blake3"], one.as_str());
    assert_eq!(model(&["promote", "v3", "--by", "bo"])["blake3"], other.as_str());
    let back = model(&["rollback", "--by", "cy"]);
    assert_eq!((&back["version"], &back["by"]), (&"v1".into(), &"cy".into()));
    let in_use = model(&["list"]);
    let marks: Vec<bool> =
        in_use.as_array().expect("versions").iter().map(|v| v["promoted"].is_object()).collect();
    assert_eq!(marks, [true, false, false]);
    assert_eq!(Model::load(&registry, None).expect("v1").hash, one);
}

/// Alerts of a product, rules and a chain of tactics that no analyst ever judged, however severe.
#[test]
fn nothing_runs_by_itself_on_what_the_model_never_saw() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("newcomer.jsonl");
    let line = |n: u32| {
        let tactic = ["TA0001", "TA0002", "TA0006", "TA0008", "TA0040"][n as usize % 5];
        let finding = serde_json::json!({
            "class_uid": 2004,
            "time": 1_767_600_000_000_i64 + i64::from(n) * 60_000,
            "severity_id": 5,
            "metadata": { "version": "1.8.0", "product": { "name": "newcomer" } },
            "finding_info": {
                "uid": format!("n-{n}"),
                "analytic": { "uid": format!("NEW-{}", n % 5), "name": format!("New rule {}", n % 5) },
                "attacks": [{ "tactic": { "uid": tactic }, "technique": { "uid": "T1021.002" } }],
            },
            "device": { "hostname": format!("host-{}", n / 10) },
            "evidences": [{ "user": { "name": format!("user-{}", n / 10) } }],
        });
        format!("{finding}\n")
    };
    std::fs::write(&input, (0..200).map(line).collect::<String>()).expect("written");
    let archive = folder.path().join("archive");
    let flow =
        ["replay", "--flow", "dataflows/demo.yml", "--input", text(&input), "--archive", text(&archive)];
    let said = quell(&flow);
    assert_eq!((&said["alerts"], &said["decisions"]["execute"]), (&200.into(), &0.into()), "{said}");
    let ruled = ["escalate", "decline"].map(|ruling| said["decisions"][ruling].as_u64().unwrap_or(0));
    assert!(ruled.iter().sum::<u64>() > 0, "{said}");
}

#[test]
fn nothing_runs_by_itself_on_real_alerts_that_the_model_never_saw() {
    let found = root().ancestors().map(|at| at.join("../shared/data/ait-ads/russellmitchell.csv.gz"));
    let Some(input) = found.into_iter().find(|path| path.is_file()) else {
        eprintln!("skipped: no AIT alert data set (see datasets/ait-ads/manifest.toml)");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("archive");
    let said = quell(&["replay", "--input", text(&input), "--archive", text(&archive)]);
    assert!(said["alerts"].as_u64().is_some_and(|many| many > 0), "{said}");
    assert_eq!((&said["decisions"]["execute"], &said["actions"]), (&0.into(), &0.into()), "{said}");
}
