//! A replay that is killed and resumed says what one that ran through says, and says nothing twice.

#![allow(clippy::disallowed_methods, reason = "a test that waits must end: it reads the clock")]

mod common;

use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::days::{Days, told};
use common::{agrees, digest, done, said, summary};
use quell::engine::log::Log;

/// What happened to a replay that was to be killed.
#[derive(Debug, PartialEq)]
enum Fate {
    /// It was done before.
    Done,
    /// Killed before its first commit.
    Early,
    /// Killed with something published and something not.
    Between,
}

/// Starts the replay, kills it after `after`, and looks at what it left.
fn killed(days: &Days, archive: &Path, more: &[&str], after: Duration) -> Fate {
    let mut command = days.replay(archive, more);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
    sleep(after);
    // SIGKILL, to this process alone: nothing can be tidied up.
    child.kill().expect("it can be killed");
    if child.wait().expect("it ends").success() {
        return Fate::Done;
    }
    // Its log may not be there yet.
    match Log::open(archive).and_then(|log| log.committed()) {
        Ok(Some(_)) => Fate::Between,
        Ok(None) | Err(_) => Fate::Early,
    }
}

/// Kills replays until `kills` were cut, resumes each, and compares with one that ran through.
fn cut(alerts: u64, mode: &[&str], kills: usize) {
    let days = Days::new(alerts);
    let more = [mode, &["--batch", "100", "--commit-every-ms", "10"]].concat();
    let started = Instant::now();
    let whole = days.folder.path().join("whole");
    let first = told(summary(&mut days.replay(&whole, &more)));
    let usual = started.elapsed();
    agrees(&first, &whole);
    let expected = digest(&whole);
    let (mut done, mut between, mut try_number) = (0, 0, 0u32);
    while done < kills {
        try_number += 1;
        assert!(try_number < 200, "{done} of {kills} replays were cut, {between} between commits");
        let archive = days.folder.path().join(format!("cut-{try_number}"));
        // Spread evenly over a tenth to nine tenths of the usual duration.
        let share = 0.1 + 0.8 * (f64::from(try_number) * 0.618_034).fract();
        let fate = killed(&days, &archive, &more, usual.mul_f64(share));
        let resuming = [&more[..], &["--resume"]].concat();
        if fate == Fate::Done {
            continue;
        }
        done += 1;
        between += usize::from(fate == Fate::Between);
        // Every third is cut once more while it makes up.
        if try_number.is_multiple_of(3) {
            let again = killed(&days, &archive, &resuming, usual.mul_f64(share / 2.0));
            done += usize::from(again != Fate::Done);
        }
        let resumed = summary(&mut days.replay(&archive, &resuming));
        agrees(&resumed, &archive);
        assert_eq!(digest(&archive), expected, "cut after {share:.2} of {usual:?}: {fate:?}");
        assert_eq!(told(resumed), first);
        std::fs::remove_dir_all(&archive).expect("the archive can be removed");
    }
    assert!(between * 3 >= kills, "only {between} of {kills} kills fell between commits");
}

#[test]
fn twelve_kills_of_a_set() {
    cut(9_000, &[], 12);
}

#[test]
fn eight_kills_in_arrival_order() {
    cut(9_000, &["--arrival"], 8);
}

#[test]
fn six_kills_of_two_workers() {
    cut(6_000, &["--workers", "2"], 6);
}

#[test]
fn a_finished_replay_has_nothing_to_resume() {
    let days = Days::new(300);
    let archive = days.folder.path().join("archive");
    let first = summary(&mut days.replay(&archive, &[]));
    let before = digest(&archive);
    assert_eq!(summary(&mut days.replay(&archive, &["--resume"])), first);
    assert_eq!(digest(&archive), before);
}

#[test]
fn resuming_what_was_never_begun_begins_it() {
    let days = Days::new(300);
    let (expected, _) = days.run("first", &[]);
    assert_eq!(days.run("second", &["--resume"]).0, expected);
}

/// Runs a replay that must be refused; what it said.
fn refused(days: &Days, archive: &Path, more: &[&str]) -> String {
    let output = days.replay(archive, more).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_cannot_be_resumed_is_refused_and_left_alone() {
    let mut days = Days::new(300);
    let archive = days.folder.path().join("archive");
    done(&mut days.replay(&archive, &[]));
    let before = digest(&archive);
    assert!(refused(&days, &archive, &[]).contains("--resume"));
    // With other options, other inputs, an input that has grown, one that has changed in its place, another plan.
    let option = refused(&days, &archive, &["--resume", "--arrival"]);
    assert!(option.contains("--arrival was not given and is given"), "{option}");
    let edges = days.inputs.pop().expect("two inputs");
    assert!(refused(&days, &archive, &["--resume"]).contains("the input edges.jsonl was there and is not"));
    let text = std::fs::read_to_string(&edges).expect("what was written");
    std::fs::write(&edges, format!("{text}{{}}\n")).expect("room for a line");
    days.inputs.push(edges.clone());
    assert!(refused(&days, &archive, &["--resume"]).contains("the input edges.jsonl had"));
    std::fs::write(&edges, text.replacen("\"u", "\"v", 1)).expect("room for records");
    assert!(refused(&days, &archive, &["--resume"]).contains("the input edges.jsonl has changed"));
    std::fs::write(&edges, text).expect("room for records");
    let plan = std::fs::read_to_string(&days.flow).expect("a plan");
    std::fs::write(&days.flow, plan.replace("dedup_window: 5m", "dedup_window: 6m"))
        .expect("room for a plan");
    assert!(refused(&days, &archive, &["--resume"]).contains("the plan was"));
    assert_eq!(digest(&archive), before);
    // A folder that is no archive is not touched either.
    let foreign = days.folder.path().join("foreign");
    std::fs::create_dir(&foreign).expect("room for a folder");
    std::fs::write(foreign.join("letter.txt"), "dear").expect("room for a file");
    for more in [&[][..], &["--resume"]] {
        refused(&days, &foreign, more);
        assert_eq!(std::fs::read_dir(&foreign).expect("a folder").count(), 1);
    }
}

#[test]
fn an_archive_that_was_begun_before_fingerprints_is_gone_on_with() {
    let days = Days::new(300);
    let archive = days.folder.path().join("archive");
    done(&mut days.replay(&archive, &[]));
    let log = Log::open(&archive).expect("a log");
    let mut begun: serde_json::Value =
        serde_json::from_str(&log.meta("run").expect("a log").expect("what it is")).expect("JSON");
    for input in begun["inputs"].as_array_mut().expect("a list") {
        assert!(input[2].is_string(), "{input}");
        input.as_array_mut().expect("a list").truncate(2);
    }
    log.set_meta("run", &begun.to_string()).expect("room");
    done(&mut days.replay(&archive, &["--resume"]));
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let days = Days::new(300);
    let archive = days.folder.path().join("archive");
    // The plan names no registry; then one that lacks the version.
    let output = days.replay(&archive, &["--model", "v99"]).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(!archive.exists());
    let models = common::root().join("models/ranker");
    let plan = std::fs::read_to_string(&days.flow).expect("a plan");
    std::fs::write(&days.flow, format!("{plan}models: {}\n", models.display())).expect("room for a plan");
    let text = refused(&days, &archive, &["--model", "v99"]);
    assert!(text.contains("v99") && !archive.exists(), "{text}");
    let text = refused(&days, &archive, &["--diff", "/nonexistent"]);
    assert!(text.contains("nonexistent") && !archive.exists(), "{text}");
    done(&mut days.replay(&archive, &[]));
}
