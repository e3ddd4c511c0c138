//! Harness: rules over a stream of alerts in the real operator, by epochs, at one or several workers.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use quell::correlate::findings::findings;
use quell::correlate::group::Compiled;
use quell::flow::{Keeper, Turn};
use quell::plan::Fault;
use quell::plan::correlation::Correlations;
use quell::record::{
    Alert, AlertId, Diff, Entity, EntityKind, Finding, Names, Observable, Role, Severity, Tactics, Tick,
    tick_of,
};
use timely::dataflow::operators::{Inspect, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

/// Seconds that an alert may be late before its tick is clamped.
pub(crate) const LATENESS_S: Tick = 20;

/// One epoch: changes, and the tick below which all is settled at its end.
pub(crate) type Batch = (Vec<(Alert, Diff)>, Tick);

/// A finding as tests compare it: rule, group, event time, tick, alerts.
pub(crate) type Told = (String, String, i64, Tick, Vec<AlertId>);

/// Reads files as one plan's.
pub(crate) fn read(texts: &[&str]) -> (Correlations, Vec<Fault>) {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |(n, text): (usize, &&str)| {
        let file = folder.path().join(format!("{n}.yml"));
        std::fs::write(&file, text).expect("room for a file");
        file
    };
    let files: Vec<PathBuf> = texts.iter().enumerate().map(write).collect();
    let mut faults = Vec::new();
    (Correlations::read(&files, &mut faults), faults)
}

/// Rules without a fault.
pub(crate) fn rules(text: &str) -> Correlations {
    let (rules, faults) = read(&[text]);
    assert_eq!(faults, []);
    rules
}

/// An alert: its number makes its identity; `bytes` is a field that the mapping left over.
pub(crate) fn alert(
    names: &Names,
    n: u64,
    time: i64,
    tick: Tick,
    rule: &str,
    entities: &[(&str, &str)],
    left: &str,
) -> Alert {
    let entity = |(kind, value): &(&str, &str)| {
        let (role, kind) = match (kind.strip_prefix("src_"), kind.strip_prefix("dst_")) {
            (Some(kind), _) => (Role::Source, kind),
            (_, Some(kind)) => (Role::Destination, kind),
            _ => (Role::Related, *kind),
        };
        let kind = EntityKind::parse(kind).expect("a kind");
        Observable { entity: Entity { kind, value: names.intern(value) }, role }
    };
    let rule = names.intern(rule);
    Alert {
        id: AlertId::of(&[&n.to_le_bytes()]),
        time,
        tick,
        tenant: names.intern("default"),
        source: names.intern("s"),
        position: n,
        product: names.intern("p"),
        rule,
        title: rule,
        severity: Severity::Low,
        identified: true,
        further: false,
        tactics: Tactics::default(),
        attacks: names.intern(""),
        entities: entities.iter().map(entity).collect(),
        unmapped: (!left.is_empty()).then(|| left.into()),
    }
}

/// Alerts in the order of their arrival become epochs of so many: late ones are clamped, the clock settles.
pub(crate) fn batches(alerts: &[(Alert, Diff)], size: usize) -> Vec<Batch> {
    let mut clock = Tick::MIN;
    let mut all: Vec<Batch> = Vec::new();
    for chunk in alerts.chunks(size.max(1)) {
        clock = chunk.iter().map(|(alert, _)| tick_of(alert.time)).max().unwrap_or(clock).max(clock);
        all.push((chunk.to_vec(), clock - LATENESS_S));
    }
    if let Some((_, settled)) = all.last_mut() {
        *settled = Tick::MAX;
    }
    all
}

/// What stands after each epoch at one worker, and after the last one at several.
pub(crate) fn run(
    rules: &Correlations,
    names: &Arc<Names>,
    batches: &[Batch],
    workers: usize,
) -> Vec<Vec<Told>> {
    let out: Arc<Mutex<Vec<(u64, Finding, Diff)>>> = Arc::default();
    let (sink, batches, shared) = (Arc::clone(&out), Arc::new(batches.to_vec()), Arc::clone(names));
    let compiled = Compiled::all(rules, names);
    let epochs = batches.len() as u64;
    let config = if workers == 1 { timely::Config::thread() } else { timely::Config::process(workers) };
    timely::execute(config, move |worker| {
        let mut input: InputHandle<u64, _> = InputHandle::new();
        let mut turns: InputHandle<u64, _> = InputHandle::new();
        let probe = ProbeHandle::new();
        let sink = Arc::clone(&sink);
        // An epoch is waited for before the next is sent: what is said belongs to the one that is sent.
        let current = Rc::new(Cell::new(0));
        let stamp = Rc::clone(&current);
        worker.dataflow(|scope| {
            let (alerts, clock) = (input.to_stream(scope), turns.to_stream(scope));
            findings(alerts, clock, &compiled, &shared, &Keeper::default())
                .inspect(move |(found, diff)| sink.lock().unwrap().push((stamp.get(), found.clone(), *diff)))
                .probe_with(&probe);
        });
        for (epoch, (changes, settled)) in (0u64..).zip(batches.iter()) {
            current.set(epoch);
            for (at, (alert, diff)) in changes.iter().enumerate() {
                if at % worker.peers() == worker.index() {
                    input.send((Arc::new(alert.clone()), *diff));
                }
            }
            turns.send(Turn {
                epoch,
                settled: *settled,
                acts: *settled,
                last: epoch + 1 == epochs,
                keeps: false,
            });
            input.advance_to(epoch + 1);
            turns.advance_to(epoch + 1);
            while probe.less_than(&(epoch + 1)) {
                worker.step();
            }
        }
    })
    .expect("workers start");
    let said = std::mem::take(&mut *out.lock().unwrap());
    let until = if workers == 1 { 0 } else { epochs.saturating_sub(1) };
    (until..epochs).map(|epoch| standing(&said, epoch, names)).collect()
}

fn standing(said: &[(u64, Finding, Diff)], until: u64, names: &Names) -> Vec<Told> {
    let mut sums: BTreeMap<Told, Diff> = BTreeMap::new();
    for (_, found, diff) in said.iter().filter(|(epoch, _, _)| *epoch <= until) {
        let told = (
            names.get(found.correlation),
            names.get(found.group),
            found.time,
            found.tick,
            found.alert_ids.clone(),
        );
        *sums.entry(told).or_default() += diff;
    }
    sums.retain(|_, n| *n != 0);
    assert!(sums.values().all(|n| *n == 1), "a finding stands once: {sums:?}");
    sums.into_keys().collect()
}
