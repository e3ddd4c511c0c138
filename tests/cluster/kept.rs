//! Snapshots of a cluster: what it kept serves it, and any other layout, after kills at whatever moment.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::Duration;

use quell::engine::log::Log;

use super::common::live::{taken, until};
use super::growing::{Growing, begun};
use super::running::Running;

/// What is kept, as often as can be.
const OFTEN: [&str; 4] = ["--batch", "40", "--snapshot-every-ms", "1"];

/// The last epoch that has a snapshot.
fn kept(archive: &Path) -> Option<u64> {
    let names = std::fs::read_dir(archive.join("_quell/snapshots")).ok()?;
    let names = names.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".json")?.parse().ok()).max()
}

#[test]
fn another_layout_begins_where_one_was_killed_and_says_nothing_again() {
    let mut days = Growing::new(1_200);
    let told = days.at("decisions.jsonl");
    let says = told.display().to_string();
    let layouts = [(2, 1), (1, 4), (3, 2), (1, 1), (2, 1)];
    let mut run = Running::start(
        (&days.flow, &days.at("live")),
        layouts[0],
        &[&OFTEN[..], &["--decisions", &says]].concat(),
    );
    for n in 0..layouts.len() {
        days.grow((n, layouts.len()));
        taken(&days.at("live"), days.given);
        let through = until("all is kept", || {
            let last = Log::open(&days.at("live")).ok()?.epochs().ok()?.last()?.epoch;
            kept(&days.at("live")).filter(|kept| *kept >= last)
        });
        run.lose(n % layouts[n].0);
        run = Running::start(
            (&days.flow, &days.at("live")),
            layouts[(n + 1) % layouts.len()],
            &[&OFTEN[..], &["--decisions", &says]].concat(),
        );
        assert_eq!(begun(&run.first), Some(through), "{}", run.first.told());
    }
    let Running { first, others } = run;
    days.is_as_undisturbed(first);
    Running::others_end(others);
    // What lies before a snapshot was computed by one of them alone.
    let text = std::fs::read_to_string(told).expect("decisions");
    let lines: BTreeSet<&str> = text.lines().collect();
    assert!(lines.len() > 100 && lines.len() == text.lines().count(), "{text}");
}

#[test]
fn kills_while_something_is_kept_or_handed_out_cost_nothing() {
    const LIVES: usize = 12;
    let mut days = Growing::new(1_200);
    let mut began = BTreeSet::new();
    for n in 0..LIVES {
        days.grow((n, LIVES));
        let run = Running::start((&days.flow, &days.at("live")), (3, 1), &OFTEN);
        until("it is formed", || run.first.told().contains("process 0 of 3").then_some(()));
        // Every other one is met before it is where it was.
        if n % 2 == 1 {
            let from = begun(&run.first);
            began.extend(from);
            until("more is kept", || (kept(&days.at("live")) > from).then_some(()));
        }
        thread::sleep(Duration::from_millis(n as u64 * 29 % 150));
        run.lose(n % 3);
    }
    assert!(began.len() + 1 >= LIVES / 2, "{began:?}");
    let run = Running::start((&days.flow, &days.at("live")), (3, 1), &OFTEN);
    days.is_as_undisturbed(run.first);
    Running::others_end(run.others);
}
