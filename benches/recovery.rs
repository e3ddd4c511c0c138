//! Recovery: what it takes to come back to the identities of a day, which are nearly all that a run at a high rate
//! remembers. So many alerts, 20,000 a second of event time, each another one, go through `dedup`; what it keeps is written as
//! a snapshot, read again, and taken back by another `dedup`, which then takes one epoch more.
//!
//! `cargo bench --bench recovery -- 72000000`: an hour of them.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use quell::archive::RunStamp;
use quell::archive::snapshots;
use quell::correlate::dedup::dedup;
use quell::flow::kept::{Kept, Past};
use quell::flow::{Keeper, Turn};
use quell::record::{Alert, AlertId, Names, Severity, Sym, Tactics, Tick};
use timely::dataflow::operators::Probe;
use timely::dataflow::{InputHandle, ProbeHandle};

/// Alerts of a second of event time, which are an epoch.
const RATE: u64 = 20_000;
const LATENESS_S: Tick = 60;

fn alert(n: u64) -> Arc<Alert> {
    let tick = Tick::try_from(n / RATE).unwrap_or(0);
    Arc::new(Alert {
        id: AlertId::of(&[&n.to_le_bytes()]),
        time: tick * 1_000,
        tick,
        tenant: Sym::EMPTY,
        source: Sym::EMPTY,
        position: n,
        product: Sym::EMPTY,
        rule: Sym::EMPTY,
        title: Sym::EMPTY,
        severity: Severity::Low,
        identified: true,
        further: false,
        tactics: Tactics::default(),
        attacks: Sym::EMPTY,
        entities: smallvec::SmallVec::new(),
        unmapped: None,
    })
}

/// Lets `dedup` take the epochs, of alerts by their number, and gives what it keeps at the end of the last one.
fn run(epochs: std::ops::Range<u64>, past: Option<Past>) -> Vec<Kept> {
    let kept = timely::execute_directly(move |worker| {
        let kept = Rc::new(RefCell::new(Vec::new()));
        let out = Rc::clone(&kept);
        let (mut input, mut turns) = (InputHandle::new(), InputHandle::new());
        let probe = ProbeHandle::new();
        let past = past.map(Arc::new);
        let names = Arc::new(Names::default());
        let keeper = Keeper::new(
            (0, 1),
            Arc::clone(&names),
            Rc::new(move |it| out.borrow_mut().push(it)),
            past.clone(),
        );
        worker.dataflow(|scope| {
            let (_, settled) =
                dedup(input.to_stream(scope), turns.to_stream(scope), |_: &Alert| false, &names, &keeper);
            settled.probe_with(&probe);
        });
        if let Some(past) = past {
            past.release(1);
        }
        for epoch in epochs.clone() {
            input.advance_to(epoch);
            turns.advance_to(epoch);
            (epoch * RATE..(epoch + 1) * RATE).for_each(|n| input.send(alert(n)));
            let settled = Tick::try_from(epoch).unwrap_or(0) - LATENESS_S;
            turns.send(Turn { epoch, settled, acts: settled, last: false, keeps: epoch + 1 == epochs.end });
            input.advance_to(epoch + 1);
            turns.advance_to(epoch + 1);
            while probe.less_than(&(epoch + 1)) {
                worker.step();
            }
        }
        kept.take()
    });
    assert_eq!(kept.len(), 1, "it was asked to keep once");
    kept
}

fn main() {
    let many: u64 = std::env::args().skip(1).find_map(|text| text.parse().ok()).unwrap_or(4_000_000);
    let epochs = many / RATE;
    let folder = tempfile::tempdir().expect("a folder");
    let stamp = RunStamp::default();
    let timed = |what: &str, began: Instant| println!("{what}: {:.2} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let kept = run(0..epochs, None);
    timed(&format!("{} alerts through dedup, and what is kept of them", epochs * RATE), began);
    let turn = Turn { epoch: epochs - 1, settled: 0, acts: 0, last: false, keeps: true };
    let began = Instant::now();
    let bytes = snapshots::write(folder.path(), (turn, turn.epoch), &stamp, &kept).expect("room");
    timed(&format!("written, {} MB", bytes / 1_000_000), began);
    drop(kept);
    let began = Instant::now();
    let found = snapshots::latest(
        folder.path(),
        turn.epoch,
        snapshots::By { plan: &stamp.plan_hash, since: 0 },
        |why| panic!("{why}"),
    );
    let found = found.expect("a folder").expect("a snapshot");
    timed("read", began);
    let began = Instant::now();
    let again = run(epochs..epochs + 1, Some(Past::of(found.kept)));
    timed("taken back, one epoch taken, and all kept again", began);
    let items: usize = again.iter().map(|kept| kept.items.len()).sum();
    assert!(items as u64 >= epochs * RATE / 2_048, "all are remembered");
}
