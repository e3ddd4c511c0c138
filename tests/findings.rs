//! `quell run --findings`: what correlations find is said the moment that it is known, and what undoes it too.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::live::until;
use common::{asking_plan, digest, quell, said};

/// A plan that finds three alerts of one host, and no more.
fn thrice(plans: &Path) -> PathBuf {
    let flow = asking_plan(plans);
    let pipeline = std::fs::read_to_string(&flow).expect("the plan");
    std::fs::write(&flow, pipeline + "ends_at: findings\n").expect("room for the plan");
    let rule = "title: thrice\ncorrelation: {type: event_count, rules: [R1], group-by: [host], timespan: 5m, condition: {eq: 3}}\n";
    std::fs::write(plans.join("correlations/thrice.yml"), rule).expect("room for the plan");
    flow
}

fn alert(second: u32) -> String {
    format!(
        r#"{{"id":"a{second}","time":"2026-01-01T00:00:{second:02}Z","product":"edr","rule_id":"R1","rule_name":"x","host":"web-1","user":"ada"}}"#
    )
}

#[test]
fn findings_are_said_at_once_and_taken_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let flow = thrice(&folder.path().join("plan"));
    let (archive, cried) = (folder.path().join("live"), folder.path().join("cried"));
    let mut command = quell();
    command
        .args(["run", "--stdin", "--flow"])
        .arg(&flow)
        .arg("--archive")
        .arg(&archive)
        .arg("--findings")
        .arg(&cried);
    let mut run = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut input = run.stdin.take().expect("a pipe");
    let mut say = |second: u32| {
        writeln!(input, "{}", alert(second)).and_then(|()| input.flush()).expect("it reads");
    };
    let lines = |many: usize| {
        until("it is said", || {
            let said = std::fs::read_to_string(&cried).unwrap_or_default();
            let said: Vec<serde_json::Value> =
                said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            (said.len() == many).then_some(said)
        })
    };
    [10, 20, 30].into_iter().for_each(&mut say);
    let first = lines(1);
    assert_eq!((&first[0]["group"], &first[0]["diff"]), (&"web-1".into(), &1.into()), "{first:?}");
    assert_eq!(first[0]["time"], "2026-01-01T00:00:30Z");
    assert_eq!(first[0]["alert_ids"].as_array().map(Vec::len), Some(3));
    // One more, late, is the second of four.
    say(15);
    let said = lines(3);
    let mut then: Vec<String> =
        said[1..].iter().map(|cry| format!("{} {}", cry["time"], cry["diff"])).collect();
    then.sort();
    assert_eq!(then, ["\"2026-01-01T00:00:20Z\" 1", "\"2026-01-01T00:00:30Z\" -1"]);
    drop(input);
    // Standard input ends the run; what stands is what was said.
    assert!(run.wait().expect("it ends").success());
    assert!(digest(&archive)["matches"].starts_with('1'), "{:?}", digest(&archive)["matches"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_finding_that_cannot_be_said_fails_the_run_at_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let flow = thrice(&folder.path().join("plan"));
    for (n, (to, name)) in [("/dev/full", "/dev/full"), ("-", "standard output")].into_iter().enumerate() {
        let archive = folder.path().join(format!("live{n}"));
        let full = std::fs::File::options().write(true).open("/dev/full").expect("it is there");
        let mut command = quell();
        command
            .args(["run", "--stdin", "--findings", to, "--flow"])
            .arg(&flow)
            .arg("--archive")
            .arg(&archive);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        command.stdout(if to == "-" { full.into() } else { Stdio::null() });
        let mut run = command.spawn().expect("it starts");
        let mut input = run.stdin.take().expect("a pipe");
        for second in [10, 20, 30] {
            writeln!(input, "{}", alert(second)).expect("it reads");
        }
        drop(input);
        let ended = run.wait_with_output().expect("it ends");
        let told = said(&ended);
        assert_eq!(ended.status.code(), Some(1), "{told}");
        assert!(told.contains(&format!("{name} cannot be written: No space left")), "{told}");
        assert!(digest(&archive)["matches"].starts_with('1'), "the archive has it all the same");
    }
}
