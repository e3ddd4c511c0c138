//! How fast rows become parts: one thread, 65,536 rows a turn, with the seal (and its fsync) and without.
//!
//! `cargo bench --bench archive`

#[path = "../tests/archive_samples/mod.rs"]
mod archive_samples;

use std::hint::black_box;
use std::sync::Arc;

use archive_samples::Dice;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use quell::archive::{AlertRow, Only, Reader, Rows, RunStamp, Writer, digest};
use quell::record::{
    Alert, AlertId, Entity, EntityKind, IncidentId, Link, Member, Names, Observable, Role, Severity, tick_of,
};

const ROWS: u64 = 65_536;

/// Alerts as a network sensor and a host agent raise them: 60 rules, 2,000 hosts, three entities each.
fn alerts(names: &Names) -> Rows {
    let mut dice = Dice(1);
    let [tenant, source, product] = ["default", "alerts.json", "suricata"].map(|text| names.intern(text));
    let attacks = names.intern("TA0008,T1021.002");
    let entity = |dice: &mut Dice, kind: EntityKind, role: Role| {
        let value = names.intern(&format!("10.0.{}.{}", dice.below(8), dice.below(250)));
        Observable { entity: Entity { kind, value }, role }
    };
    let alert = |at: u64, dice: &mut Dice| {
        let time = 1_643_000_000_000 + at.cast_signed() * 13;
        let rule = names.intern(&format!("rule-{}", dice.below(60)));
        let alert = Alert {
            id: AlertId::of(&[&at.to_le_bytes()]),
            time,
            tick: tick_of(time),
            tenant,
            source,
            position: at,
            product,
            rule,
            title: rule,
            severity: Severity::Medium,
            identified: false,
            further: false,
            tactics: quell::record::attack::tactics_of("TA0008"),
            attacks,
            entities: [
                (EntityKind::Host, Role::Related),
                (EntityKind::Ip, Role::Source),
                (EntityKind::Ip, Role::Destination),
            ]
            .map(|(kind, role)| entity(dice, kind, role))
            .into_iter()
            .collect(),
            unmapped: None,
        };
        AlertRow {
            alert: Arc::new(alert),
            repeat_of: dice.below(2).eq(&0).then(|| AlertId::of(&[&(at / 2).to_le_bytes()])),
        }
    };
    Rows::Alerts((0..ROWS).map(|at| alert(at, &mut dice)).collect())
}

fn members(names: &Names) -> Rows {
    let tenant = names.intern("default");
    let member = |at: u64| Member {
        tick: 1_643_000_000 + (at / 77).cast_signed(),
        tenant,
        incident_id: IncidentId::of(&[&(at / 50).to_le_bytes()]),
        alert_id: AlertId::of(&[&at.to_le_bytes()]),
        diff: 1,
    };
    Rows::Members((0..ROWS).map(member).collect())
}

fn links(names: &Names) -> Rows {
    let tenant = names.intern("default");
    let link = |at: u64| Link {
        tick: 1_643_000_000 + (at / 77).cast_signed(),
        tenant,
        incident_id: IncidentId::of(&[&(at / 50).to_le_bytes()]),
        alert_id: AlertId::of(&[&at.to_le_bytes()]),
        other_alert_id: AlertId::of(&[&(at / 2).to_le_bytes()]),
        entity: Some(Entity { kind: EntityKind::Host, value: names.intern(&format!("host-{}", at % 500)) }),
        evidence: "session",
        weight: 2500,
        diff: 1,
    };
    Rows::Links((0..ROWS).map(link).collect())
}

/// Alerts back from one part: as rows, as a digest, and one chosen by its id.
fn read_back(group: &mut BenchmarkGroup<'_, WallTime>, names: &Arc<Names>) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut writer = Writer::new(dir.path(), 0, Arc::clone(names), &RunStamp::default(), 0);
    writer.push(1, &alerts(names)).expect("room");
    writer.seal(1).and_then(quell::archive::Sealed::publish).expect("a seal");
    let reader = Reader::open(dir.path(), Arc::clone(names)).expect("an archive");
    let count = |only: Option<Only>| reader.alerts(only).map(Iterator::count).expect("a table");
    group.bench_function("alerts/read", |bencher| bencher.iter(|| assert_eq!(count(None) as u64, ROWS)));
    group.bench_function("alerts/read-one", |bencher| {
        let only = Only::alerts([AlertId::of(&[&77_u64.to_le_bytes()])]);
        bencher.iter(|| assert_eq!(count(Some(only.clone())), 1));
    });
    group.bench_function("alerts/digest", |bencher| bencher.iter(|| digest(dir.path(), false)));
}

fn archive(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let names = Arc::new(Names::default());
    let writer = || Writer::new(dir.path(), 0, Arc::clone(&names), &RunStamp::default(), 0);
    let mut group = criterion.benchmark_group("archive");
    group.throughput(Throughput::Elements(ROWS)).sample_size(10);
    for (name, rows) in [("alerts", alerts(&names)), ("members", members(&names)), ("links", links(&names))] {
        // A full row group is encoded, compressed and written within `push`.
        group.bench_function(format!("{name}/push"), |bencher| {
            bencher.iter_batched_ref(
                writer,
                |writer| writer.push(1, black_box(&rows)),
                BatchSize::PerIteration,
            );
        });
        let mut tick = 0;
        group.bench_function(format!("{name}/push-seal-publish"), |bencher| {
            bencher.iter(|| {
                tick += 1;
                let mut writer = writer();
                writer.push(1, black_box(&rows)).expect("room");
                writer.seal(tick).and_then(quell::archive::Sealed::publish).expect("a seal");
            });
        });
    }
    read_back(&mut group, &names);
    group.finish();
}

criterion_group!(benches, archive);
criterion_main!(benches);
