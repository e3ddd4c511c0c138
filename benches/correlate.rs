//! What each correlation operator costs an event: in order, 200 events a second of event time over 1,000 groups, settled a
//! minute behind; and whether that depends on how much a window holds (10 or 100,000 distinct values, 100 or 100,000
//! numbers). What is connected, which has no groups: by what its components are like, with the state that it holds. Last,
//! some of them together in the dataflow, from alerts; "w3" is the rivals' workload of that name, of alerts that are parsed
//! already: one in 23 is serious, and linked with others by host, user or hash. Beside them what makes incidents: linking and
//! baselines, over three days of a site. What each remembers at the end is told in bytes, as a snapshot keeps it.

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quell::correlate::baseline::Baselines;
use quell::correlate::connected::Linkable;
use quell::correlate::connected::graph::Graph;
use quell::correlate::findings::findings;
use quell::correlate::group::{Compiled, Group};
use quell::correlate::index::Index;
use quell::correlate::link::Links;
use quell::correlate::machine::Matching;
use quell::correlate::window::Event;
use quell::flow::kept::{Items, Kept};
use quell::flow::{Keeper, Tails, Turn};
use quell::plan::correlation::Correlations;
use quell::plan::link::LinkSettings;
use quell::record::{
    Alert, AlertId, Entity, EntityKind, Names, Observable, Role, Severity, Sym, Tactics, Tick, tick_of,
};
use timely::dataflow::operators::Probe;
use timely::dataflow::{InputHandle, ProbeHandle};

const EVENTS: u64 = 200_000;
const LATENESS_S: Tick = 60;

const KINDS: [(&str, &str); 9] = [
    ("event_count", "type: event_count, condition: {gte: 10}"),
    ("value_count", "type: value_count, condition: {gte: 10, field: user}"),
    ("value_sum", "type: value_sum, condition: {gte: 1000000, field: bytes}"),
    ("value_avg", "type: value_avg, condition: {gt: 900, field: bytes}"),
    ("value_percentile", "type: value_percentile, condition: {gt: 990, field: bytes, percentile: 95}"),
    ("value_median", "type: value_median, condition: {gt: 900, field: bytes}"),
    ("temporal", "type: temporal"),
    ("temporal expression", "type: temporal, condition: a and b and not c"),
    ("temporal_ordered", "type: temporal_ordered"),
];

fn compiled(kinds: &[&str], timespan: &str, names: &Names) -> Arc<[Compiled]> {
    let one = |(n, kind): (usize, &&str)| {
        format!(
            "title: r{n}\ncorrelation: {{rules: [a, b, c], group-by: [host], timespan: {timespan}, {kind}}}\n"
        )
    };
    read(&kinds.iter().enumerate().map(one).collect::<Vec<_>>().join("---\n"), names)
}

fn read(text: &str, names: &Names) -> Arc<[Compiled]> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.yml");
    std::fs::write(&file, text).expect("room for a file");
    let mut faults = Vec::new();
    let rules = Correlations::read(&[file], &mut faults);
    assert!(faults.is_empty(), "{faults:?}");
    Compiled::all(&rules, names)
}

/// A splitmix64 step: the bench must be the same on every machine.
fn dice(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn alerts(groups: u64, values: u64, names: &Names) -> Vec<Alert> {
    let mut seed = 7;
    let rules = ["a", "b", "c"].map(|rule| names.intern(rule));
    let entity = |kind, value: String| Observable {
        entity: Entity { kind, value: names.intern(&value) },
        role: Role::Related,
    };
    (0..EVENTS)
        .map(|n| {
            let time = i64::try_from(n * 5).unwrap_or(0);
            let rule = rules[usize::try_from(dice(&mut seed) % 3).unwrap_or(0)];
            let host = entity(EntityKind::Host, format!("h{}", dice(&mut seed) % groups));
            let value = dice(&mut seed) % values;
            Alert {
                id: AlertId::of(&[&n.to_le_bytes()]),
                time,
                tick: tick_of(time),
                tenant: Sym::EMPTY,
                source: Sym::EMPTY,
                position: n,
                product: Sym::EMPTY,
                rule,
                title: rule,
                severity: Severity::Low,
                identified: true,
                further: false,
                tactics: Tactics::default(),
                attacks: Sym::EMPTY,
                entities: smallvec::smallvec![host, entity(EntityKind::User, format!("u{value}"))],
                unmapped: Some(format!("{{\"bytes\":{value}}}").into()),
            }
        })
        .collect()
}

fn events(alerts: &[Alert], rules: &Arc<[Compiled]>, names: &Names) -> Vec<(Group, Event)> {
    let index = Index::of(rules, None);
    alerts.iter().flat_map(|alert| index.alert(alert, names, 1)).collect()
}

/// Tells how much an operator remembers.
fn tell_state(name: &str, names: &Names, put: impl FnOnce(&mut Items)) {
    let kept = Kept::of(name, (0, 0), names, put);
    let bytes = kept.items.iter().map(Vec::len).sum::<usize>();
    eprintln!("{name}: {bytes} bytes of state");
}

fn step(events: &[(Group, Event)], rules: &Arc<[Compiled]>) -> (usize, Tails<Group, Matching>) {
    let mut tails: Tails<Group, Matching> = Tails::new(Matching { rules: Arc::clone(rules) });
    let mut said = 0;
    for events in events.chunks(10_000) {
        for (group, event) in events {
            tails.update(group.clone(), event.clone(), 1, |_, _, _| said += 1);
        }
        let clock = events.last().map_or(0, |(_, event)| event.order.tick);
        tails.settle(clock - LATENESS_S, |_, _| ());
    }
    (said, tails)
}

fn operators(c: &mut Criterion) {
    let mut group = c.benchmark_group("operator");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(10);
    for (name, kind) in KINDS {
        let names = Names::default();
        let rules = compiled(&[kind], "5m", &names);
        let events = events(&alerts(1_000, 1_000, &names), &rules, &names);
        let (_, mut tails) = step(&events, &rules);
        tell_state(&format!("operator/{name}"), &names, |items| {
            tails.each(|group, state, records| items.put(&(group, state, records)));
        });
        group.bench_function(name, |b| b.iter(|| step(&events, &rules)));
    }
    group.finish();
}

/// One group whose window holds everything: only how many values there are differs.
fn windows(c: &mut Criterion) {
    let mut group = c.benchmark_group("window");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(10);
    for values in [10, 100_000] {
        for (name, kind) in KINDS.iter().filter(|(name, _)| name.starts_with("value_")) {
            let kind = kind.replace("gte: 10,", "gte: 200000,");
            let names = Names::default();
            let rules = compiled(&[&kind], "1h", &names);
            let events = events(&alerts(1, values, &names), &rules, &names);
            let id = BenchmarkId::new(*name, format!("{values} values"));
            group.bench_function(id, |b| b.iter(|| step(&events, &rules)));
        }
    }
    group.finish();
}

const W3: &str = "title: w3\ncorrelation: {type: connected, rules: any, where: {severity: [high, critical]}, \
                  group-by: [host, user, hash], timespan: 1h, condition: {gte: 3}}";

/// Twelve alerts a second, a day of a million.
fn serious(names: &Names) -> Vec<Alert> {
    let mut seed = 11;
    let mut alerts = alerts(10_000, 20_000, names);
    for (n, alert) in (0i64..).zip(&mut alerts) {
        (alert.time, alert.tick) = (n * 86, tick_of(n * 86));
        if dice(&mut seed).is_multiple_of(23) {
            alert.severity = Severity::High;
        }
        if dice(&mut seed).is_multiple_of(5) {
            let hash = names.intern(&format!("{:032x}", dice(&mut seed) % 200_000));
            let entity = Entity { kind: EntityKind::Hash, value: hash };
            alert.entities.push(Observable { entity, role: Role::Related });
        }
    }
    alerts
}

fn linkable(alerts: &[Alert], names: &Names) -> Vec<Linkable> {
    let text = "title: r\ncorrelation: {type: connected, rules: any, group-by: [host, user], timespan: 5m, condition: {gte: 3}}";
    let index = Index::of(&read(text, names), None);
    alerts.iter().flat_map(|alert| index.links(alert, names)).collect()
}

/// What it says, in alerts, and what it holds at the most, in bytes.
fn connect(all: &[Linkable]) -> (usize, usize) {
    let (mut graph, mut said, mut most) = (Graph::new(300_000, 3), 0, 0);
    for all in all.chunks(10_000) {
        for one in all {
            graph.add(one.clone());
        }
        let settled = all.last().map_or(0, |one| one.order.tick) - LATENESS_S;
        graph.turn(Turn { epoch: 0, settled, acts: settled, last: false, keeps: false }, |one, _| {
            said += one.ids.len();
        });
        most = most.max(graph.bytes());
    }
    (said, most)
}

fn connected(c: &mut Criterion) {
    let mut group = c.benchmark_group("connected");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(10);
    for (name, hosts, users) in
        [("apart", 1 << 40, 1 << 40), ("by host", 1_000, 1 << 40), ("all one", 1_000, 1_000)]
    {
        let names = Names::default();
        let all = linkable(&alerts(hosts, users, &names), &names);
        let (said, bytes) = connect(&all);
        eprintln!("connected/{name}: {bytes} bytes of state, {said} alerts in what was said");
        group.bench_function(name, |b| b.iter(|| connect(&all)));
    }
    group.finish();
}

fn flow(alerts: &[Arc<Alert>], rules: &Arc<[Compiled]>, names: &Arc<Names>) {
    let alerts = alerts.to_vec();
    let (rules, names) = (Arc::clone(rules), Arc::clone(names));
    timely::execute_directly(move |worker| {
        let mut input: InputHandle<u64, _> = InputHandle::new();
        let mut turns: InputHandle<u64, _> = InputHandle::new();
        let probe = ProbeHandle::new();
        worker.dataflow(|scope| {
            findings(input.to_stream(scope), turns.to_stream(scope), &rules, &names, &Keeper::default())
                .probe_with(&probe);
        });
        for (epoch, alerts) in (0u64..).zip(alerts.chunks(10_000)) {
            let clock = alerts.last().map_or(0, |alert| alert.tick);
            for alert in alerts {
                input.send((Arc::clone(alert), 1));
            }
            let settled = clock - LATENESS_S;
            turns.send(Turn { epoch, settled, acts: settled, last: false, keeps: false });
            input.advance_to(epoch + 1);
            turns.advance_to(epoch + 1);
            while probe.less_than(&(epoch + 1)) {
                worker.step();
            }
        }
    });
}

fn dataflow(c: &mut Criterion) {
    let mut group = c.benchmark_group("dataflow");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(10);
    let names = Arc::new(Names::default());
    let alerts: Vec<Arc<Alert>> = alerts(1_000, 1_000, &names).into_iter().map(Arc::new).collect();
    let two = [KINDS[0].1, KINDS[8].1];
    for (name, kinds) in [("none", &[][..]), ("event_count", &two[..1]), ("and temporal_ordered", &two[..])] {
        let rules = if kinds.is_empty() { Arc::from([]) } else { compiled(kinds, "5m", &names) };
        group.bench_function(name, |b| b.iter(|| flow(&alerts, &rules, &names)));
    }
    let alerts: Vec<Arc<Alert>> = serious(&names).into_iter().map(Arc::new).collect();
    let rules = read(W3, &names);
    group.bench_function("w3", |b| b.iter(|| flow(&alerts, &rules, &names)));
    group.finish();
}

/// Three days of 1,000 hosts and 1,000 accounts.
fn days(names: &Names) -> Vec<Alert> {
    let mut alerts = alerts(1_000, 1_000, names);
    for (n, alert) in (0i64..).zip(&mut alerts) {
        (alert.time, alert.tick) = (n * 1_296, tick_of(n * 1_296));
    }
    alerts
}

fn link(alerts: &[Alert], names: &Arc<Names>) -> Links {
    let (mut links, mut open) = (Links::new(LinkSettings::default(), Arc::clone(names)), Vec::new());
    for alerts in alerts.chunks(10_000) {
        open.extend(
            alerts.iter().filter_map(|alert| links.alert(alert, None).opened).map(|(number, _)| number),
        );
        let settled = alerts.last().map_or(0, |alert| alert.tick);
        open.retain(|number| {
            let goes_on = links.closes(*number).is_some_and(|tick| tick >= settled);
            if !goes_on {
                links.forget(*number);
            }
            goes_on
        });
        links.sweep(settled);
    }
    links
}

fn look(alerts: &[Alert]) -> Baselines {
    let mut baselines = Baselines::default();
    for alert in alerts {
        baselines.alert(alert);
    }
    baselines
}

fn incidents(c: &mut Criterion) {
    let mut group = c.benchmark_group("incidents");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(10);
    let names = Arc::new(Names::default());
    let alerts = days(&names);
    tell_state("incidents/link", &names, |items| items.put(&link(&alerts, &names)));
    group.bench_function("link", |b| b.iter(|| link(&alerts, &names)));
    tell_state("incidents/baselines", &names, |items| items.put(&look(&alerts)));
    group.bench_function("baselines", |b| b.iter(|| look(&alerts)));
    group.finish();
}

criterion_group!(benches, operators, windows, connected, incidents, dataflow);
criterion_main!(benches);
