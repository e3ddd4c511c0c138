//! Raw events by the plan that is shipped: an event that several rules match is several alerts, and all sums hold,
//! whichever way the events come in.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::live::{Live, taken};
use common::{asking_plan, conserved, count, digest, quell, replay, summary};
use serde_json::{Value, json};

const RECORDS: u64 = 600;

/// Windows events of a few hosts: of each ten some match two rules, one or none, some are copies, two are broken.
fn events() -> String {
    let mut lines = Vec::new();
    for n in 0..RECORDS {
        // A copy is an event of a while ago with all that it holds.
        let of = if n % 10 == 7 && n > 20 { n - n % 10 - 17 } else { n };
        let time = jiff::Timestamp::from_second(1_767_700_000 + (of * 7).cast_signed()).expect("a time");
        let mut event = json!({
            "Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 1, "RecordNumber": of,
            "Hostname": format!("WS-{}", of % 7), "@timestamp": time.to_string(), "User": format!("CORP\\u{}", of % 5),
        });
        let fields = event.as_object_mut().expect("an object");
        let mut put = |key: &str, value: &str| fields.insert(key.to_owned(), value.into());
        match of % 10 {
            0 | 1 => {
                put("Image", r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe");
                put("ParentImage", r"C:\Program Files\Microsoft Office\root\Office16\EXCEL.EXE");
                put("CommandLine", "powershell -enc SQBFAFgA");
            }
            2 | 3 => {
                put("Image", r"C:\Windows\System32\vssadmin.exe");
                put("CommandLine", "vssadmin delete shadows /all");
            }
            4 => {
                put("Image", r"C:\Windows\System32\vssadmin.exe");
                put("CommandLine", "vssadmin delete shadows /all");
                put("@timestamp", "yesterday");
            }
            5 => {
                // The second would hide from the rules, were it not refused.
                let deep = format!(
                    "{{\"Channel\":\"System\",\"EventID\":7045,\"x\":{}{}}}",
                    "[".repeat(200),
                    "]".repeat(200)
                );
                lines.push(if of % 20 == 5 { "{\"broken\": ".to_owned() } else { deep });
                continue;
            }
            _ => {
                put("Image", r"C:\Windows\System32\notepad.exe");
            }
        }
        lines.push(event.to_string());
    }
    lines.join("\n") + "\n"
}

fn sums(summary: &Value) -> [u64; 6] {
    conserved(summary);
    ["records", "alerts", "duplicates", "rejects", "ignored", "further"].map(|key| count(summary, key))
}

struct Setting {
    folder: tempfile::TempDir,
    input: PathBuf,
    flow: PathBuf,
}

fn setting() -> Setting {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let input = folder.path().join("events.jsonl");
    fs::write(&input, events()).expect("room");
    let flow = asking_plan(&folder.path().join("plan"));
    Setting { folder, input, flow }
}

/// Of 600 records 60 match two rules each of `0` and `1`, 120 one; copies are of such an event where they are of one.
fn expected() -> [u64; 6] {
    let kinds: Vec<u64> =
        (0..RECORDS).map(|n| if n % 10 == 7 && n > 20 { (n - n % 10 - 17) % 10 } else { n % 10 }).collect();
    let is_copy = |n: u64| n % 10 == 7 && n > 20;
    let alerts_of = |kind: u64| match kind {
        0 | 1 => 2,
        2 | 3 => 1,
        _ => 0,
    };
    let all = kinds.iter().zip(0..);
    let alerts = all.clone().filter(|(_, n)| !is_copy(*n)).map(|(kind, _)| alerts_of(*kind)).sum();
    let duplicates = all.filter(|(_, n)| is_copy(*n)).map(|(kind, _)| alerts_of(*kind)).sum();
    let count = |of: &[u64]| kinds.iter().filter(|kind| of.contains(kind)).count() as u64;
    [RECORDS, alerts, duplicates, count(&[4, 5]), count(&[6, 7, 8, 9]), count(&[0, 1])]
}

#[test]
fn rules_that_are_added_make_no_fault_of_what_the_shipped_ones_pass_over() {
    let Setting { folder, flow, .. } = setting();
    let check = || {
        let output = quell().args(["check", "--flow"]).arg(&flow).output().expect("it starts");
        (output.status.code(), common::said(&output))
    };
    // What a mapping's example says is ignored, somebody wants to hear of.
    let rule = "title: Anything\nid: 00000000-0000-4000-8000-0000000000aa\nlogsource: {product: aws, service: cloudtrail}\n\
                detection: {selection: {eventVersion|exists: true}, condition: selection}\nlevel: low\n";
    let more = folder.path().join("more");
    fs::create_dir(&more).expect("room");
    fs::write(more.join("any.yml"), rule).expect("room");
    let text = fs::read_to_string(&flow).expect("the plan");
    fs::write(&flow, format!("{text}\nrules: [rules, ../more]\n")).expect("room");
    let (code, text) = check();
    assert_eq!(code, Some(0), "{text}");
    // A rule that ships with the mappings is what their examples are about.
    fs::rename(more.join("any.yml"), folder.path().join("plan/rules/any.yml")).expect("one disk");
    let (code, text) = check();
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("it became an alert"), "{text}");
}

#[test]
fn rules_are_part_of_the_plan() {
    let Setting { folder, flow, .. } = setting();
    let look = || {
        let output =
            quell().args(["check", "--output", "json", "--flow"]).arg(&flow).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (
            output.status.code(),
            serde_json::from_str::<Value>(text.lines().last().unwrap_or_default()).expect("JSON"),
        )
    };
    let (code, before) = look();
    assert_eq!((code, count(&before, "rules_out_of_reach")), (Some(0), 0), "{before}");
    assert!(count(&before, "rules") >= 15, "{before}");
    let rule = folder.path().join("plan/rules/cloud/trail-stopped.yml");
    let text = fs::read_to_string(&rule).expect("a rule");
    fs::write(&rule, text.replace("level: high", "level: low")).expect("room");
    let (code, after) = look();
    assert_eq!(code, Some(3), "an example says how severe it is: {after}");
    fs::write(&rule, text.replace("description: Without", "description: With")).expect("room");
    let (code, after) = look();
    assert_eq!(code, Some(0), "{after}");
    assert_ne!(after["plan_hash"], before["plan_hash"], "another text is another plan");
    fs::write(&rule, text.replace("eventName:", "eventName|resembles:")).expect("room");
    fs::write(
        folder.path().join("plan/rules/of-nobody.yml"),
        text.replace("product: aws", "product: ibm").replace("d12", "dff"),
    )
    .expect("room");
    let (code, after) = look();
    let faults = after["faults"].to_string();
    assert_eq!(code, Some(3), "{after}");
    assert!(faults.contains("trail-stopped.yml") && faults.contains("resembles"), "{faults}");
    assert_eq!(count(&after, "rules_out_of_reach"), 1, "{after}");
}

#[test]
fn sums_hold_in_every_way_of_replay() {
    let Setting { folder, input, flow } = setting();
    let at = |name: &str| folder.path().join(name);
    let run = |to: &str, from: &Path, more: &[&str]| summary(&mut replay(&flow, &[from], &at(to), more));
    let first = run("set", &input, &[]);
    assert_eq!(sums(&first), expected(), "{first}");
    // Epochs of 3 part the alerts of a record.
    assert_eq!(sums(&run("workers", &input, &["--workers", "2", "--batch", "3"])), expected());
    assert_eq!(digest(&at("workers")), digest(&at("set")));
    assert_eq!(sums(&run("arrival", &input, &["--arrival", "--batch", "7"])), expected());
    assert_eq!(sums(&run("again", &at("set"), &["--batch", "5"])), expected());
    assert_eq!(digest(&at("again")), digest(&at("set")));
    assert_eq!(sums(&run("again-arrival", &at("arrival"), &["--workers", "2"])), expected());
    assert_eq!(digest(&at("again-arrival")), digest(&at("arrival")));
    assert_eq!(sums(&run("third", &at("again"), &[])), expected(), "an archive of an archive");
}

#[test]
fn sums_hold_in_a_run_and_in_one_that_goes_on() {
    let Setting { folder, input, flow } = setting();
    let text = fs::read_to_string(&flow).expect("the plan");
    let source =
        format!("tenant: default\nsources:\n  - {{name: events, type: file, path: {}}}\n", input.display());
    fs::write(&flow, text.replace("tenant: default\n", &source)).expect("room");
    let archive = folder.path().join("archive");
    // The file grows after the first run was cut; half of it ends within a line.
    let all = fs::read_to_string(&input).expect("events");
    fs::write(&input, &all[..all.len() / 2]).expect("room");
    let live = Live::start(&flow, &archive, &[]);
    taken(&archive, RECORDS / 3);
    live.kill();
    fs::write(&input, &all).expect("room");
    let live = Live::start(&flow, &archive, &[]);
    taken(&archive, RECORDS);
    assert_eq!(sums(&live.stop()), expected());
}
