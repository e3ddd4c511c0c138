//! Results do not depend on how a run is cut up: workers, batches, folders, and, as a set, the order of the file.

mod common;

use std::path::Path;

use common::days::{Days, told};
use common::{agrees, asking_plan, count, digest, real, replay, root, summary};

#[test]
fn workers_and_batches_change_nothing() {
    let days = Days::new(6_000);
    for mode in [&[][..], &["--arrival"][..]] {
        let name = |n: usize| format!("{}-{n}", mode.len());
        let (first, said) = days.run(&name(0), mode);
        // The data must be worth it: everything that can happen happens.
        for key in ["alerts", "duplicates", "rejects", "incidents", "actions", "outcomes"] {
            assert!(count(&said, key) > 0, "no {key}: {said}");
        }
        assert_eq!(count(&said, "late") > 0, !mode.is_empty(), "{said}");
        assert!(count(&said["decisions"], "superseded") > 0, "{said}");
        let ways =
            [["1", "100"], ["2", "100"], ["2", "10000"], ["4", "1000"], ["4", "10000"], ["1", "10000"]];
        for (n, [workers, batch]) in ways.into_iter().enumerate() {
            let more = [mode, &["--workers", workers, "--batch", batch]].concat();
            let (again, said_again) = days.run(&name(n + 1), &more);
            assert_eq!(again, first, "{more:?}");
            assert_eq!(told(said_again), told(said.clone()), "{more:?}");
        }
    }
}

#[test]
fn epochs_of_one_record_change_nothing() {
    let days = Days::new(400);
    for mode in [&[][..], &["--arrival"][..]] {
        let (first, _) = days.run(&format!("{}-whole", mode.len()), mode);
        for workers in ["1", "4"] {
            let more = [mode, &["--batch", "1", "--workers", workers]].concat();
            let (again, _) = days.run(&format!("{}-{workers}", mode.len()), &more);
            assert_eq!(again, first, "{more:?}");
        }
    }
}

#[test]
fn a_journey_that_ends_at_findings_says_the_same_findings() {
    let days = Days::new(3_000);
    for mode in [&[][..], &["--arrival"][..]] {
        let name = |n: &str| format!("{}-{n}", mode.len());
        let (whole, said) = days.run(&name("whole"), mode);
        let flow = std::fs::read_to_string(&days.flow).expect("the plan");
        std::fs::write(&days.flow, format!("{flow}ends_at: findings\n")).expect("room for the plan");
        for workers in ["1", "3"] {
            let archive = days.folder.path().join(name(workers));
            let short = summary(&mut days.replay(&archive, &[mode, &["--workers", workers]].concat()));
            for key in ["records", "alerts", "duplicates", "rejects", "ignored", "late"] {
                assert_eq!(short[key], said[key], "{key}");
            }
            assert_eq!((count(&short, "incidents"), count(&short, "divergences")), (0, 0));
            let digests = digest(&archive);
            for table in ["matches", "duplicates", "rejects"] {
                assert_eq!(digests[table], whole[table], "{table}");
            }
            let again = replay(
                &days.flow,
                &[&archive],
                &days.folder.path().join(name(&format!("{workers}-again"))),
                &[],
            )
            .output();
            let again = again.expect("it starts");
            let told = String::from_utf8_lossy(&again.stderr);
            assert!(told.contains("keeps no alerts"), "{told}");
            assert_eq!(again.status.code(), Some(1));
        }
        std::fs::write(&days.flow, flow).expect("room for the plan");
    }
}

#[test]
fn where_files_lie_changes_nothing() {
    let mut days = Days::new(900);
    let (first, _) = days.run("here", &[]);
    let elsewhere = days.folder.path().join("else where/deep");
    std::fs::create_dir_all(&elsewhere).expect("room for a folder");
    for input in &mut days.inputs {
        let moved = elsewhere.join(input.file_name().expect("a name"));
        std::fs::rename(&*input, &moved).expect("room to move");
        *input = moved;
    }
    assert_eq!(days.run("other", &["--workers", "2"]).0, first);
    // A folder stands for its files.
    days.inputs = vec![elsewhere];
    assert_eq!(days.run("folder", &[]).0, first);
}

/// Two sources that tell the same alerts, line for line, one of them otherwise: which copy counts is nobody's luck.
#[test]
fn copies_at_equal_lines_of_two_files_are_told_apart_alike_every_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lines = |(severity, hosts): (&str, u64)| -> String {
        let line = |n: u64| {
            // Some come late, and some are copies of one before them.
            let (s, of) = (18_000 + n - (n % 7) * 9, n % 500);
            let time = format!("2026-01-05T{:02}:{:02}:{:02}Z", s / 3600, s / 60 % 60, s % 60);
            let alert = serde_json::json!({
                "id": format!("u{of}"), "time": time, "product": "edr", "rule_id": format!("R{}", of % 5),
                "rule_name": "a rule", "severity": severity, "host": format!("h{}", of % hosts),
            });
            format!("{alert}\n")
        };
        (0..600).map(line).collect()
    };
    let files = ["b.jsonl", "a.jsonl", "c.jsonl"].map(|name| folder.path().join(name));
    for (file, how) in files.iter().zip([("low", 9), ("critical", 11), ("medium", 13)]) {
        std::fs::write(file, lines(how)).expect("room for records");
    }
    let flow = root().join("dataflows/pipeline.yml");
    for mode in [&[][..], &["--arrival"][..]] {
        let mut first = None;
        for (n, more) in [["1", "10000"], ["2", "100"], ["3", "7"]].into_iter().enumerate() {
            let mut inputs: Vec<&Path> = files.iter().map(std::path::PathBuf::as_path).collect();
            inputs.rotate_left(n);
            let archive = folder.path().join(format!("{}-{n}", mode.len()));
            let more = [mode, &["--workers", more[0], "--batch", more[1]]].concat();
            let said = summary(&mut replay(&flow, &inputs, &archive, &more));
            assert_eq!(count(&said, "rejects"), 0, "{said}");
            assert!(count(&said, "duplicates") >= 1_300, "{said}");
            let digests = digest(&archive);
            assert_eq!(&digests, first.get_or_insert_with(|| digests.clone()), "{more:?}");
            if n == 0 {
                let again = folder.path().join(format!("{}-again", mode.len()));
                summary(&mut replay(&flow, &[&archive], &again, &[]));
                assert_eq!(digest(&again), digests, "the archive's own record");
            }
        }
    }
}

#[test]
fn one_changed_record_shows() {
    let days = Days::new(900);
    let (first, _) = days.run("first", &[]);
    let text = std::fs::read_to_string(&days.inputs[1]).expect("what was written");
    let severe = text.replacen("\"severity\":\"medium\"", "\"severity\":\"critical\"", 1);
    assert_ne!(severe, text);
    std::fs::write(&days.inputs[1], severe).expect("room for records");
    let (other, _) = days.run("other", &[]);
    for table in ["alerts", "incidents"] {
        assert_ne!(other[table], first[table], "{table}");
    }
    assert_eq!(other["rejects"], first["rejects"]);
}

/// A set has no order: only positions, and which of two equal copies is the first, tell how the file lay.
#[test]
fn a_shuffled_file_says_the_same() {
    let days = Days::new(3_000);
    let (first, said) = days.run("first", &[]);
    for input in &days.inputs {
        let text = std::fs::read_to_string(input).expect("what was written");
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_by_key(|line| *blake3::hash(line.as_bytes()).as_bytes());
        std::fs::write(input, lines.join("\n") + "\n").expect("room for records");
    }
    let (other, said_other) = days.run("other", &["--workers", "2"]);
    let positions = ["alerts", "duplicates", "rejects"];
    for (table, line) in &other {
        if !positions.contains(&table.as_str()) {
            assert_eq!(Some(line), first.get(table), "{table}");
        }
    }
    assert_eq!(told(said_other), told(said));
}

#[test]
fn the_shipped_day_is_the_same_every_time() {
    same_thrice(&root().join("datasets/soc-day/alerts.jsonl.zst"));
}

#[test]
fn real_alerts_are_the_same_every_time() {
    if let Some(input) = real("ait-ads/russellmitchell.csv.gz") {
        same_thrice(&input);
    }
}

fn same_thrice(input: &Path) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let flow = asking_plan(&folder.path().join("plan"));
    for mode in [&[][..], &["--arrival"][..]] {
        let mut digests = Vec::new();
        for (n, more) in
            [&["--workers", "1"][..], &["--workers", "4"], &["--batch", "1777", "--workers", "2"]]
                .into_iter()
                .enumerate()
        {
            let archive = folder.path().join(format!("{}-{n}", mode.len()));
            let said = summary(&mut replay(&flow, &[input], &archive, &[mode, more].concat()));
            agrees(&said, &archive);
            digests.push(digest(&archive));
        }
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{mode:?}: {digests:#?}");
    }
}
