//! Reliability: the real binary is killed, and its disk made to fail, at random and at named points, again and again; what it
//! says in the end is what a run says that was left in peace.
//!
//! A few of each as a test. `tests/reliability/run` does as many as are asked for, and writes RELIABILITY.md. What failed is told
//! with its seed and its fault: `QUELL_RELIABILITY_SEED` and `QUELL_RELIABILITY_FAULT` do that one again, and
//! `QUELL_RELIABILITY_JOURNEY` does one journey alone.

#![allow(unreachable_pub, reason = "modules of a test")]
#![allow(clippy::disallowed_methods, reason = "recovery is timed, and what waits must end")]

#[path = "../common/mod.rs"]
mod common;

mod fault;
mod flood;
mod journey;
mod outcome;
mod poison;
mod replaying;
mod running;
mod soak;
mod way;

use std::path::{Path, PathBuf};

use fault::{Dice, Shim};
use outcome::{Outcome, write};
use replaying::Replaying;
use running::Running;
use way::Way;

/// A number of the environment.
fn asked(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn alone(folder: &Path, shim: &Shim, seed: u64, many: u64) -> [Outcome; 3] {
    let replaying = Replaying::new(&folder.join("replaying"), shim);
    let running = Running::new(&folder.join("running"), Way::Alone("0"), shim);
    let keeping = Running::new(&folder.join("keeping"), Way::Alone("5"), shim);
    [
        journey::campaign("replay", &replaying, &mut Dice::new(seed), many),
        journey::campaign("run", &running, &mut Dice::new(seed + 1), many),
        journey::campaign("run, with snapshots", &keeping, &mut Dice::new(seed + 2), many),
    ]
}

fn several(folder: &Path, shim: &Shim, seed: u64, many: u64) -> [Outcome; 2] {
    let cluster = Running::new(&folder.join("cluster"), Way::Supervised, shim);
    let topics = Running::new(&folder.join("topics"), Way::topics(&folder.join("broker")), shim);
    [
        journey::campaign("cluster", &cluster, &mut Dice::new(seed), many),
        journey::campaign("from topic to topics", &topics, &mut Dice::new(seed + 1), many),
    ]
}

#[test]
fn what_is_killed_or_fails_says_the_same_in_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let seed = asked("QUELL_RELIABILITY_SEED", 1);
    let many = asked("QUELL_RELIABILITY_FAULTS", 30);
    let shim = Shim::build(folder.path());
    // Journeys of one process, and longer ones of several, of which two go on at a time.
    let (alone, several) = std::thread::scope(|scope| {
        let alone = scope.spawn(|| alone(folder.path(), &shim, seed, many));
        let several = several(folder.path(), &shim, seed + 3, many.div_ceil(6));
        (alone.join(), several)
    });
    let all = alone.expect("no panic there").into_iter().chain(several);
    let all: Vec<Outcome> = all.filter(|outcome| outcome.tries > 0).collect();
    for outcome in &all {
        println!("{outcome}");
    }
    if let Some(report) = std::env::var_os("QUELL_RELIABILITY_REPORT") {
        write(&PathBuf::from(report), seed, &all).expect("room for the report");
    }
    let wrong: Vec<&String> = all.iter().flat_map(|outcome| &outcome.wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(!all.is_empty() && all.iter().all(|outcome| outcome.met > 0), "no fault was met");
}
