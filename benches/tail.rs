//! What the replayed tail costs: a sliding count per key, records 0, 2 and 20 % late by up to a minute, in epochs of
//! 10,000 and of 100, emitted at once and settled as the clock goes on; beside it the linking of the same records.

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quell::correlate::link::Links;
use quell::correlate::tally::Count;
use quell::correlate::window::{Event, Undo, Value, Windowed};
use quell::flow::{Machine, Tails};
use quell::plan::correlation::{Bounds, Extent, Fires, Window};
use quell::plan::link::LinkSettings;
use quell::record::{
    Alert, AlertId, Entity, EntityKind, Names, Observable, Order, Role, Severity, Sym, Tactics, Tick,
};
use smallvec::smallvec;

const RECORDS: u64 = 200_000;
const LATENESS_S: Tick = 60;

struct Counting(Bounds);

const EXTENT: Extent = Extent { window: Window::Sliding, span_ms: 300_000, gap_ms: 300_000 };

impl Machine for Counting {
    type Record = (u32, Order);
    type Change = AlertId;
    type State = Windowed<Count>;
    type Undo = Option<Undo<()>>;

    fn order(record: &Self::Record) -> Order {
        record.1
    }

    fn step(&self, state: &mut Self::State, record: &Self::Record, changes: &mut Vec<AlertId>) -> Self::Undo {
        let holds = |count: &Count| count.within(&self.0);
        let (undo, fired) = state.step(&event(record), (), EXTENT, Fires::Crossing, holds);
        changes.extend(fired.then_some(record.1.id));
        undo
    }

    fn undo(&self, state: &mut Self::State, record: &Self::Record, undo: Self::Undo) {
        if let Some(undo) = undo {
            state.undo(&event(record), undo);
        }
    }

    fn dies(&self, state: &Self::State) -> Tick {
        state.dies(EXTENT)
    }
}

fn event(record: &(u32, Order)) -> Event {
    Event { rule: 0, order: record.1, places: 0, value: Value::None, ids: None }
}

/// A splitmix64 step: the bench must be the same on every machine.
fn dice(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 200 records a second of event time over 5,000 keys, squared so that some are loud.
fn records(late_percent: u64) -> Vec<(u32, Order)> {
    let mut seed = 7;
    let mut clock = 0;
    (0..RECORDS)
        .map(|n| {
            let now = i64::try_from(n * 5).unwrap_or(0);
            let late = if dice(&mut seed) % 100 < late_percent {
                i64::try_from(dice(&mut seed) % 60_000).unwrap_or(0)
            } else {
                0
            };
            let time = (now - late).max(0);
            clock = clock.max(time);
            let tick = time.div_euclid(1000).max(clock.div_euclid(1000) - LATENESS_S);
            let key = dice(&mut seed) % 5_000 * (dice(&mut seed) % 5_000) / 5_000;
            let id = AlertId::of(&[&n.to_le_bytes()]);
            (u32::try_from(key).unwrap_or(0), Order { tick, time, id, position: n })
        })
        .collect()
}

fn run(records: &[(u32, Order)], epoch: usize) -> usize {
    let mut tails: Tails<u32, Counting> = Tails::new(Counting(Bounds::at_least(10)));
    let (mut said, mut clock) = (0, 0);
    for records in records.chunks(epoch) {
        for record in records {
            clock = clock.max(record.1.time.div_euclid(1000));
            tails.update(record.0, *record, 1, |_, _, _| said += 1);
        }
        tails.settle(clock - LATENESS_S, |_, _| ());
    }
    said
}

fn tail(c: &mut Criterion) {
    let mut group = c.benchmark_group("tail");
    group.throughput(Throughput::Elements(RECORDS)).sample_size(10);
    for late in [0, 2, 20] {
        let records = records(late);
        for epoch in [10_000, 100] {
            let name = BenchmarkId::new(format!("{late} % late"), format!("epochs of {epoch}"));
            group.bench_function(name, |b| b.iter(|| run(&records, epoch)));
        }
    }
    group.finish();
}

fn link(c: &mut Criterion) {
    let names = Arc::new(Names::default());
    let alerts: Vec<Alert> = records(0)
        .into_iter()
        .map(|(key, order)| {
            let rule = names.intern(&format!("rule-{}", key % 40));
            let host = Entity { kind: EntityKind::Host, value: names.intern(&format!("host-{}", key / 40)) };
            Alert {
                id: order.id,
                time: order.time,
                tick: order.tick,
                tenant: Sym::EMPTY,
                source: Sym::EMPTY,
                position: order.position,
                product: Sym::EMPTY,
                rule,
                title: rule,
                severity: Severity::Low,
                identified: false,
                further: false,
                tactics: Tactics::default(),
                attacks: Sym::EMPTY,
                entities: smallvec![Observable { entity: host, role: Role::Related }],
                unmapped: None,
            }
        })
        .collect();
    let mut group = c.benchmark_group("link");
    group.throughput(Throughput::Elements(RECORDS)).sample_size(10);
    group.bench_function("alerts", |b| {
        b.iter(|| {
            let mut links = Links::new(LinkSettings::default(), Arc::clone(&names));
            alerts.iter().map(|alert| links.alert(alert, None).home).max()
        });
    });
    group.finish();
}

criterion_group!(benches, tail, link);
criterion_main!(benches);
