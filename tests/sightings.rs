//! Sightings of an archive against a count of its rows, and what the index says of them after more was written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use quell::archive::{
    AlertLine, AlertRow, ObservedLine, Reader, RejectLine, Rows, RunStamp, Seen, Sought, Writer, sightings,
};
use quell::engine::seen::Index;
use quell::record::{
    Alert, AlertId, Entity, EntityKind, Names, Observable, Observed, Reject, Role, Severity, Stage, Tactics,
    Tick,
};

/// Draws from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len() as u64);
        from[usize::try_from(at).expect("a place in a list")]
    }
}

const DAY_S: Tick = 86_400;
const FIRST: i32 = 20_459;

fn entity(dice: &mut Dice, names: &Names) -> Observable {
    let kind = dice.pick(&[EntityKind::Ip, EntityKind::Domain, EntityKind::Hash]);
    let value = if kind == EntityKind::Ip {
        format!("10.0.0.{}", dice.below(6))
    } else {
        format!("bad{}.example", dice.below(6))
    };
    let role = dice.pick(&[Role::Related, Role::Source, Role::Destination]);
    Observable { entity: Entity { kind, value: names.intern(&value) }, role }
}

fn alert(dice: &mut Dice, day: i32, n: u64, names: &Names) -> AlertRow {
    let tick = Tick::from(day) * DAY_S + Tick::try_from(dice.below(86_400)).expect("a second");
    let alert = Alert {
        id: AlertId::of(&[&n.to_le_bytes()]),
        time: tick * 1000 + 7,
        tick,
        tenant: names.intern(dice.pick(&["a", "b"])),
        source: names.intern("source"),
        position: n,
        product: names.intern("edr"),
        rule: names.intern("rule"),
        title: names.intern("rule"),
        severity: Severity::Low,
        identified: true,
        further: false,
        tactics: Tactics::default(),
        attacks: names.intern(""),
        entities: (0..dice.below(4)).map(|_| entity(dice, names)).collect(),
        unmapped: None,
    };
    AlertRow { alert: Arc::new(alert), repeat_of: None }
}

fn reject(dice: &mut Dice, day: i32, names: &Names) -> Reject {
    let what = entity(dice, names);
    Reject {
        stage: Stage::Normalize,
        reason: "it is none".to_owned(),
        tick: Tick::from(day) * DAY_S + 5,
        tenant: names.intern("a"),
        source: names.intern("source"),
        position: 1,
        raw: format!("{{\"from\": \"{}\", 110.0.0.1", names.get(what.entity.value).to_uppercase()),
    }
}

fn flow(dice: &mut Dice, day: i32, names: &Names) -> Observed {
    let first = (Tick::from(day) * DAY_S + Tick::try_from(dice.below(80_000)).expect("a second")) * 1000;
    Observed {
        tenant: names.intern(dice.pick(&["a", "b"])),
        source: names.intern("source"),
        entity: entity(dice, names).entity.text(names),
        records: 1 + dice.below(9),
        first,
        last: first + 1_234_567,
    }
}

/// Writes rows of three days in one go.
fn write(dir: &Path, seed: u64, go: u64, alerts: u64, names: &Arc<Names>) {
    let stamp = RunStamp { plan_hash: "p".to_owned(), model_version: "m".to_owned() };
    let mut writer = Writer::new(dir, 0, Arc::clone(names), &stamp, go - 1);
    let mut dice = Dice(seed);
    let rows = (0..alerts).map(|n| alert(&mut dice, FIRST + i32::try_from(n % 3).expect("small"), n, names));
    let rows = Rows::Alerts(rows.collect());
    writer.push(go, &rows).expect("room");
    let rejects =
        (0..alerts / 10).map(|n| reject(&mut dice, FIRST + i32::try_from(n % 3).expect("small"), names));
    let rejects = Rows::Rejects(rejects.collect());
    writer.push(go, &rejects).expect("room");
    let flows = (0..alerts / 5).map(|n| flow(&mut dice, FIRST + i32::try_from(n % 3).expect("small"), names));
    writer.push(go, &Rows::Observed(flows.collect())).expect("room");
    writer.seal(Tick::try_from(go).expect("small")).expect("room").publish().expect("room");
}

type Written = (Vec<AlertLine>, Vec<RejectLine>, Vec<ObservedLine>);

/// All rows of the tables.
fn read(dir: &Path, names: &Arc<Names>) -> Written {
    let reader = Reader::open(dir, Arc::clone(names)).expect("an archive");
    let alerts = reader.alerts(None).expect("alerts").map(|line| line.expect("a line"));
    let rejects = reader.rejects(None).expect("rejects").map(|line| line.expect("a line"));
    let flows = reader.observed(None).expect("flows").map(|line| line.expect("a line"));
    (alerts.collect(), rejects.collect(), flows.collect())
}

/// The same, row by row.
fn count((alerts, rejects, flows): &Written, day: i32, sought: Sought, names: &Names) -> Seen {
    let mut seen = Seen::default();
    let once =
        |alerts, rejects, time| Seen { alerts, rejects, ignored: 0, first_seen: time, last_seen: time };
    let on_day = |tick: Tick| tick.div_euclid(DAY_S) == Tick::from(day);
    for line in alerts.iter().filter(|line| line.tenant == sought.tenant && on_day(line.tick)) {
        if line.entities.iter().any(|it| it.entity == sought.entity) {
            seen.add(once(1, 0, line.time.0));
        }
    }
    let value = format!("\"{}\"", names.get(sought.entity.value));
    for line in rejects.iter().filter(|line| line.tenant == sought.tenant && on_day(line.tick)) {
        if line.raw.to_lowercase().contains(&value) {
            seen.add(once(0, 1, line.tick * 1000));
        }
    }
    for line in flows.iter().filter(|line| line.tenant == sought.tenant && on_day(line.tick)) {
        if line.entity == sought.entity.text(names) {
            let (ignored, first_seen, last_seen) =
                (line.records, line.first_seen_time.0, line.last_seen_time.0);
            seen.add(Seen { ignored, first_seen, last_seen, ..Seen::default() });
        }
    }
    seen
}

fn all_sought(names: &Names) -> Vec<Sought> {
    let ips = (0..7).map(|n| format!("ip:10.0.0.{n}"));
    let texts: Vec<String> = ips.chain((0..7).map(|n| format!("domain:bad{n}.example"))).collect();
    let each =
        |text: &String| ["a", "b"].map(|tenant| (tenant, Entity::parse(text, names).expect("an entity")));
    let sought = |(tenant, entity)| Sought { tenant: names.intern(tenant), entity };
    texts.iter().flat_map(each).map(sought).collect()
}

#[test]
fn what_is_indexed_is_what_is_there() {
    for seed in 0..4 {
        let folder = tempfile::tempdir().expect("a folder");
        let (dir, names) = (folder.path(), Arc::new(Names::default()));
        let mut index = Index::open(dir).expect("room");
        for go in 1..=2 {
            write(dir, seed * 2 + go, go, 40 + seed * 50, &names);
            let rows = read(dir, &names);
            for day in FIRST..FIRST + 4 {
                // The fourth day has nothing, before and after.
                let known = index.date(dir, day).expect("readable").is_some();
                assert_eq!(known, go == 2 && day == FIRST + 3, "it was not looked through as it is now");
                let found = sightings(dir, day).expect("readable");
                let date = index.add(dir, day).expect("readable");
                assert_eq!(index.date(dir, day).expect("readable"), Some(date));
                for sought in all_sought(&names) {
                    let (mut scanned, mut indexed) = (Seen::default(), Seen::default());
                    for key in sought.keys(&names) {
                        scanned.add(found.get(&key).copied().unwrap_or_default());
                        let of_day =
                            index.seen(&key).expect("readable").into_iter().filter(|(at, _)| *at == date);
                        of_day.for_each(|(_, seen)| indexed.add(seen));
                    }
                    let want = count(&rows, day, sought, &names);
                    assert_eq!((scanned, indexed), (want, want), "{} on {day}", sought.entity.text(&names));
                }
            }
        }
    }
}

/// What an indexed look-up reads is the index: it does not grow with the archive.
#[test]
fn a_look_up_reads_the_index_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, names) = (folder.path(), Arc::new(Names::default()));
    write(dir, 7, 1, 30_000, &names);
    let mut index = Index::open(dir).expect("room");
    let dates: BTreeMap<i32, _> =
        (FIRST..FIRST + 3).map(|day| (day, index.add(dir, day).expect("readable"))).collect();
    // Without the parts the index still answers: nothing else is read.
    std::fs::remove_dir_all(dir.join("alerts")).expect("it is there");
    let mut alerts = 0;
    for sought in all_sought(&names) {
        let seen = index.seen(&sought.keys(&names)[0]).expect("readable");
        alerts += seen.iter().map(|(_, seen)| seen.alerts).sum::<u64>();
        assert!(seen.iter().all(|(date, _)| dates.values().any(|known| known == date)));
    }
    assert!(alerts > 10_000);
}
