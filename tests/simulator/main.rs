//! The fault simulator plays some hundreds of seeds, and finds what is planted.
//!
//! `QUELL_SIMULATE_SEEDS` says how many, `QUELL_SIMULATE_SEED` from which on; `QUELL_SIMULATE_TRACE` prints every step,
//! `QUELL_SIMULATE_REPORT` names a file for what came of it, and `QUELL_SIMULATE_KEEP` a folder in which the disks of seeds that fail
//! are kept. A seed that fails says so: the same seed plays the same again.

#![allow(clippy::disallowed_methods, reason = "how long the play takes is told")]

#[path = "../common/mod.rs"]
mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use quell::plan::catalog::Plan;
use quell::replay::simulator::{Failed, Plant, Tally, simulate};
use tempfile::TempDir;

/// Seeds that are played where nothing else is said: some 30 s of two processors.
const SEEDS: u64 = 150;

/// A folder in memory, where the machine has one.
fn memory() -> TempDir {
    let shared = Path::new("/dev/shm");
    let folder = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
    folder.expect("a folder")
}

/// The project's plan, with the one mapping that the records need, and a rule whose findings late alerts undo.
fn plan(folder: &Path) -> Plan {
    let flow = common::asking_plan(folder);
    let remove = |path: PathBuf| std::fs::remove_file(path).expect("a file of the plan");
    for file in std::fs::read_dir(folder.join("mappings")).expect("mappings") {
        let path = file.expect("a mapping").path();
        if path.file_stem().is_some_and(|name| name != "generated") {
            remove(path);
        }
    }
    std::fs::remove_dir_all(folder.join("rules")).expect("rules");
    let twice = "title: twice\ncorrelation: {type: event_count, rules: [R1, R2, R3, R4, R5], group-by: [user], timespan: 1m, condition: {eq: 2}}\n";
    std::fs::write(folder.join("correlations/twice.yml"), twice).expect("room for the plan");
    Plan::load(&flow).expect("a plan")
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Plays seeds, as many at a time as there are processors; all that befell, and those that failed.
fn play(seeds: std::ops::Range<u64>, plant: Plant, enough: usize) -> (Tally, Vec<Failed>) {
    let folder = memory();
    let plan = plan(&folder.path().join("plan"));
    let next = AtomicU64::new(seeds.start);
    let all = Mutex::new((Tally::default(), Vec::new()));
    let one = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds.end || all.lock().expect("no panic").1.len() >= enough {
                break;
            }
            let played = simulate(&plan, seed, plant, folder.path());
            let mut all = all.lock().expect("no panic");
            match played {
                Ok(tally) => all.0.add(&tally),
                Err(failed) => all.1.push(*failed),
            }
        }
    };
    let hands = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..hands {
            scope.spawn(one);
        }
    });
    let (tally, mut failed) = all.into_inner().expect("no panic");
    failed.sort_by_key(|failed| failed.seed);
    (tally, failed)
}

#[test]
fn no_fault_makes_it_lose_or_double_anything() {
    let first = number("QUELL_SIMULATE_SEED", 1);
    let single = std::env::var_os("QUELL_SIMULATE_SEED").is_some();
    let seeds = number("QUELL_SIMULATE_SEEDS", if single { 1 } else { SEEDS });
    let began = Instant::now();
    let (tally, failed) = play(first..first + seeds, Plant::Nothing, 5);
    println!("{seeds} seeds from {first}: {} steps in {:.1} s", tally.steps, began.elapsed().as_secs_f64());
    for (kind, count) in &tally.kinds {
        println!("{count:>10} {kind}");
    }
    if let Some(report) = std::env::var_os("QUELL_SIMULATE_REPORT") {
        std::fs::write(report, written((first, seeds), &tally, &failed)).expect("room");
    }
    let told: Vec<String> =
        failed.iter().map(|failed| format!("seed {}: {}", failed.seed, failed.what)).collect();
    if let Some(first) = failed.first() {
        panic!(
            "{first}\n\n{}\nplay one again: QUELL_SIMULATE_SEED={} cargo test --release --test simulator",
            told.join("\n"),
            first.seed
        );
    }
}

/// A process that stood still while it began, and opened the log again when another had taken it over, wrote in its name.
#[test]
fn seeds_that_found_something_find_it_no_more() {
    for seed in [240, 327, 496, 503, 687] {
        let (_, failed) = play(seed..seed + 1, Plant::Nothing, 1);
        assert!(failed.is_empty(), "seed {seed}: {}", failed[0].what);
    }
}

/// What RELIABILITY.md says of it.
fn written((first, seeds): (u64, u64), tally: &Tally, failed: &[Failed]) -> String {
    let mut text = format!(
        "{seeds} seeds from {first}, {} steps: {} that lost, doubled or told otherwise.\n\n| what befell | times |\n|---|--:|\n",
        tally.steps,
        failed.len()
    );
    for (kind, count) in &tally.kinds {
        writeln!(text, "| {kind} | {count} |").expect("memory");
    }
    for failed in failed {
        writeln!(text, "\nNot as it should be: seed {}: {}", failed.seed, failed.what).expect("memory");
    }
    text
}

#[test]
fn the_same_seed_plays_the_same() {
    let played = || play(3..6, Plant::Nothing, 9);
    let (one, other) = (played(), played());
    assert_eq!(one.0, other.0);
    assert_eq!(one.1.len(), other.1.len());
}

#[test]
fn what_is_planted_is_found() {
    for plant in [
        Plant::LedgerLost,
        Plant::LogLost,
        Plant::WorldDoesTwice,
        Plant::OtherKeys,
        Plant::SplitBrain,
        Plant::BookLost,
    ] {
        // Seeds whose machines are lost while it matters are few.
        let first = if plant == Plant::BookLost { 180 } else { 1 };
        let (_, failed) = play(first..first + 400, plant, 1);
        let first = failed.first().unwrap_or_else(|| panic!("{plant:?} is not found in 400 seeds"));
        println!("{plant:?}: seed {}: {}", first.seed, first.what);
    }
}
