//! A record that ends whoever takes it: the run is started again and again, as by a supervisor, and in the end has all others.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use quell::archive::Reader;
use quell::record::{Names, Stage};

use super::common::live::{Live, PATIENCE, shown};
use super::common::{asking_plan, count, digest, done, held, quell, replay};
use super::fault::Shim;

const RECORDS: u64 = 2_000;
const POISON: [u64; 2] = [1_100, 1_740];
const WORD: &str = "mallory-the-last";
/// Processes that it may take: some twenty for each.
const PROCESSES: usize = 70;

fn lines(poison: &[u64]) -> String {
    let mut text = String::new();
    for n in 0..RECORDS {
        let user = if poison.contains(&n) { WORD.to_owned() } else { format!("u{}", n % 7) };
        let time =
            jiff::Timestamp::from_second(1_767_700_000 + i64::try_from(n).expect("few")).expect("a time");
        writeln!(
            text,
            r#"{{"id":"r{n}","time":"{time}","product":"edr","rule_id":"R1","rule_name":"x","host":"web-{}","user":"{user}"}}"#,
            n % 3
        )
        .expect("memory");
    }
    text
}

/// A plan that finds something of each alert, which is said at once.
fn plan(folder: &Path, poison: &[u64]) -> std::path::PathBuf {
    let flow = asking_plan(folder);
    let source = "tenant: default\nsources:\n  - {name: hand.jsonl, type: file, path: hand.jsonl}\n";
    let text = std::fs::read_to_string(&flow).expect("the plan").replace("tenant: default\n", source);
    std::fs::write(&flow, text).expect("room");
    let rule = "title: any\ncorrelation: {type: event_count, rules: [R1], group-by: [user], timespan: 1s, condition: {gte: 1}}\n";
    std::fs::write(folder.join("correlations/any.yml"), rule).expect("room");
    std::fs::write(folder.join("hand.jsonl"), lines(poison)).expect("room");
    flow
}

#[test]
fn a_record_that_ends_its_reader_is_kept_out_and_all_others_are_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let shim = Shim::build(folder.path());
    let flow = plan(&folder.path().join("plan"), &POISON);
    let archive = folder.path().join("archive");
    let command = |poisoned: bool| {
        let mut command = quell();
        command.arg("run").arg("--flow").arg(&flow).arg("--archive").arg(&archive).arg("--findings");
        command.arg(folder.path().join("findings")).args(["--output", "json", "--batch", "500"]);
        if poisoned {
            shim.meet_word(&mut command, &archive, WORD);
        }
        command
    };
    let mut told = String::new();
    let mut processes = 0;
    loop {
        processes += 1;
        assert!(processes < PROCESSES, "it gets no further: {told}");
        let mut live = Live::of(&mut command(true));
        let began = Instant::now();
        let whole = loop {
            assert!(began.elapsed() < PATIENCE, "{}", live.told());
            if live.ended().is_some() {
                break false;
            }
            if live.told().contains("Ctrl-C") && shown(&archive).unwrap_or(0) >= RECORDS {
                break true;
            }
            sleep(Duration::from_millis(3));
        };
        told += &live.told();
        if whole {
            let summary = live.stop();
            let told = ["divergences", "records", "rejects", "alerts"].map(|key| count(&summary, key));
            let poison = POISON.len() as u64;
            assert_eq!(told, [0, RECORDS, poison, RECORDS - poison]);
            break;
        }
    }
    assert_eq!(told.matches("a record has ended 3 processes").count(), POISON.len(), "{told}");
    held(&archive);
    kept_out(&archive);
    // Whoever reads it again keeps out what was kept out: the log says which, and the archive.
    let before = digest(&archive);
    let again = Live::of(&mut command(false));
    again.goes_on();
    assert_eq!(count(&again.stop(), "divergences"), 0);
    assert_eq!(digest(&archive), before);
    let other = folder.path().join("other");
    done(&mut replay(&flow, &[&archive], &other, &["--batch", "77"]));
    assert_eq!(digest(&other), before);
}

/// The poisoned records are rejects with what they said, and nothing else is.
fn kept_out(archive: &Path) {
    let names = Arc::new(Names::default());
    let reader = Reader::open(archive, names).expect("an archive");
    let rejects: Vec<_> =
        reader.rejects(None).expect("rejects").map(|line| line.expect("a reject")).collect();
    let mut places: Vec<u64> = rejects.iter().map(|line| line.position).collect();
    places.sort_unstable();
    assert_eq!(places, POISON.map(|at| at + 1), "{rejects:?}");
    for reject in &rejects {
        assert_eq!(reject.stage, Stage::Quarantine);
        assert!(reject.raw.contains(WORD) && reject.reason.contains("kept out"), "{reject:?}");
    }
    assert_eq!(reader.alerts(None).expect("alerts").count() as u64, RECORDS - POISON.len() as u64);
}
