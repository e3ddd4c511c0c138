//! Facts against a scan of all rows for each incident, as versions and rows come and go; and nothing is told again that did
//! not change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use differential_dataflow::input::InputSession;
use proptest::prelude::*;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::{Inspect, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

use super::super::watch::watch;
use super::*;
use crate::record::{IncidentKind, Severity, Tactics, Unusual};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// An incident of a tenant (0 or 1), with these of the entities.
#[derive(Clone, Debug)]
struct Version {
    incident: u8,
    entities: BTreeSet<usize>,
    open: bool,
}

/// A row: which entity, whose (0: everybody's, else a tenant's number and 1), and what.
type Row = (&'static str, u8, &'static str, u8);

const ENTITIES: [&str; 7] =
    ["host:a", "host:b", "user:u", "ip:10.0.0.1", "ip:10.0.0.2", "ip:2001:db8::1", "domain:bad.example"];

const ROWS: [Row; 14] = [
    ("host:a", 0, "asset", 3),
    ("host:a", 1, "asset", 4),
    ("host:b", 0, "asset", 1),
    ("user:u", 2, "identity", 2),
    ("ip:10.0.0.1", 0, "indicator", 60),
    ("domain:bad.example", 0, "indicator", 90),
    ("host:a", 0, "flaw", 70),
    ("host:b", 0, "flaw", 98),
    ("ip:10.0.0.0/30", 0, "zone", 30),
    ("ip:10.0.0.2/32", 1, "zone", 32),
    ("ip:2001:db8::/33", 0, "zone", 33),
    ("domain:bad.example", 1, "sighting", 5),
    ("domain:bad.example", 2, "sighting", 9),
    ("host:b", 1, "protected", 0),
];

fn tenant(n: u8, names: &Names) -> Sym {
    if n == 0 { Sym::EMPTY } else { names.intern(&format!("t{n}")) }
}

/// Which tenant's an incident is.
fn whose(incident: u8) -> u8 {
    incident % 2 + 1
}

fn row((entity, whose, what, n): Row, names: &Names) -> (Entity, ContextRow) {
    let known = match what {
        "asset" => {
            Known::Assets { criticality: n, exposed: false, owner: names.intern(&format!("owner {n}")) }
        }
        "identity" => Known::Identities { privilege: n },
        "indicator" => Known::Indicators { confidence: n },
        "flaw" => {
            let cve = names.intern(&format!("CVE-{n}"));
            Known::Vulnerabilities { cve, base_score: n, is_exploit_available: n < 80 }
        }
        "zone" => {
            let exposure = if n == 33 { Exposure::Dmz } else { Exposure::Internal };
            Known::Zones { zone: names.intern(&format!("zone {n}")), exposure }
        }
        "sighting" => {
            let (alerts, seen) = (u64::from(n), i64::from(n));
            // The second one is of another day.
            let day = i32::from(n > 5);
            Known::Sightings(Sighting {
                day,
                days: 30,
                alerts,
                rejects: 0,
                ignored: 0,
                first_seen: seen,
                last_seen: seen,
            })
        }
        _ => Known::Identities { privilege: 0 },
    };
    let row = ContextRow { tenant: tenant(whose, names), protected: what == "protected", known };
    (Entity::parse(entity, names).unwrap(), row)
}

/// What is said of an incident, as text, from all rows.
fn scan(version: &Version, rows: &BTreeSet<Row>) -> String {
    let has = |entity: &str| version.entities.iter().any(|at| ENTITIES[*at] == entity);
    let own: Vec<&Row> = rows.iter().filter(|row| row.1 == 0 || row.1 == whose(version.incident)).collect();
    let of = |what: &str| {
        own.iter().filter(|row| row.2 == what && has(row.0)).map(|row| row.3).collect::<Vec<_>>()
    };
    let max = |of: &[u8]| of.iter().copied().max().unwrap_or(0);
    let zone = |n: u8| own.iter().any(|row| row.2 == "zone" && row.3 == n);
    let mut zones = BTreeSet::new();
    for (entity, prefixes) in [(3, &[30][..]), (4, &[32, 30]), (5, &[33])] {
        let in_it = version.entities.contains(&entity);
        zones.extend(prefixes.iter().copied().find(|n| in_it && zone(*n)));
    }
    // Incidents 0 and 1 began on the first day.
    let day = u8::from(version.incident > 1);
    let seen: Vec<u8> = of("sighting").into_iter().filter(|n| u8::from(*n > 5) == day).collect();
    let mut flaws = of("flaw");
    flaws.sort_by_key(|n| Reverse((*n < 80, *n)));
    let owners: BTreeSet<u8> = of("asset").into_iter().collect();
    format!(
        "{} {owners:?} {} {} of {} {zones:?} {} {flaws:?} {} {} {}",
        max(&of("asset")),
        max(&of("identity")),
        max(&of("indicator")),
        of("indicator").len(),
        zones.contains(&33),
        max(&flaws),
        seen.iter().map(|n| u64::from(*n)).sum::<u64>(),
        of("protected").len(),
    )
}

/// The same of facts.
fn text(facts: &ContextFacts, names: &Names) -> String {
    let numbers = |of: &[Sym]| -> Vec<u8> {
        let last = |text: String| text.rsplit([' ', '-']).next().unwrap().parse().unwrap();
        of.iter().map(|name| last(names.get(*name))).collect()
    };
    format!(
        "{} {:?} {} {} of {} {:?} {} {:?} {} {} {}",
        facts.criticality,
        numbers(&facts.owners).into_iter().collect::<BTreeSet<_>>(),
        facts.privilege,
        facts.indicator,
        facts.indicators.len(),
        numbers(&facts.zones).into_iter().collect::<BTreeSet<_>>(),
        facts.exposed,
        numbers(&facts.vulnerabilities),
        facts.base_score,
        facts.sightings,
        facts.protected.len(),
    )
}

fn incident(version: &Version, tick: i64, names: &Names) -> Arc<Incident> {
    let entities = version.entities.iter().map(|at| Entity::parse(ENTITIES[*at], names).unwrap());
    Arc::new(Incident {
        id: IncidentId::of(&[&[version.incident]]),
        version: 0,
        tick,
        tenant: tenant(whose(version.incident), names),
        kind: IncidentKind::Linked,
        state: if version.open { IncidentState::Open } else { IncidentState::Closed },
        merged_into: None,
        succeeds: None,
        first_seen: if version.incident > 1 { DAY_MS } else { 0 },
        last_seen: tick * 1000,
        alert_count: 1,
        severities: [0; 7],
        severity: Severity::High,
        tactics: Tactics::default(),
        attacks: Arc::new([]),
        entities: entities.collect(),
        entity_count: 0,
        rules: Arc::new([]),
        products: Arc::new([]),
        correlations: Arc::new([]),
        evidence: 0,
        unusual: Unusual::default(),
    })
}

type Step = (Vec<Version>, Vec<(Row, Diff)>);

/// What is told in each step: incidents with their facts.
fn told(steps: &[Step], names: &Arc<Names>) -> Vec<Vec<(IncidentId, String)>> {
    let (with, steps) = (Arc::clone(names), steps.to_vec());
    let heard = Arc::new(Mutex::new(Vec::<Vec<(IncidentId, String)>>::new()));
    let (hears, begins) = (Arc::clone(&heard), Arc::clone(&heard));
    timely::execute_directly(move |worker| {
        let mut versions = InputHandle::<Epoch, CapacityContainerBuilder<Vec<Arc<Incident>>>>::new();
        let mut clock = InputHandle::<Epoch, CapacityContainerBuilder<Vec<Turn>>>::new();
        let mut rows = InputSession::<Epoch, (Entity, ContextRow), Diff>::new();
        let (probe, names) = (ProbeHandle::new(), Arc::clone(&with));
        worker.dataflow(|scope| {
            let turns = clock.to_stream(scope);
            let watched = watch(versions.to_stream(scope), turns.clone(), Severity::High, &Keeper::default());
            let facts = join(watched.entities, watched.addresses, rows.to_collection(scope), &with);
            attach(watched.versions, facts, turns, &Keeper::default())
                .inspect(move |enriched| {
                    let said = (enriched.incident.id, text(&enriched.facts, &names));
                    hears.lock().unwrap().last_mut().unwrap().push(said);
                })
                .probe_with(&probe);
        });
        for (epoch, (published, changes)) in (0..).zip(steps) {
            begins.lock().unwrap().push(Vec::new());
            let tick = i64::try_from(epoch).unwrap();
            clock.send(Turn { epoch, settled: tick, acts: tick, last: false, keeps: false });
            for version in &published {
                versions.send(incident(version, tick, &with));
            }
            for (which, diff) in changes {
                rows.update(row(which, &with), diff);
            }
            clock.advance_to(epoch + 1);
            versions.advance_to(epoch + 1);
            rows.advance_to(epoch + 1);
            rows.flush();
            worker.step_while(|| probe.less_than(&(epoch + 1)));
        }
    });
    let heard = heard.lock().unwrap();
    heard.clone()
}

fn version() -> impl Strategy<Value = Version> {
    let entities = prop::collection::btree_set(0..ENTITIES.len(), 0..5);
    (0u8..4, entities, 0u8..5).prop_map(|(incident, entities, open)| Version {
        incident,
        entities,
        open: open > 0,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// After each step an open incident's facts are what a scan of all rows says of its current version; and a step tells
    /// only of incidents with a new version and of those whose facts changed, and of these once.
    #[test]
    fn facts_are_a_scan(
        turns in prop::collection::vec(
            (prop::collection::vec(version(), 0..3), prop::collection::btree_set(0..ROWS.len(), 0..4)),
            1..10,
        )
    ) {
        let names = Arc::new(Names::default());
        let mut rows = BTreeSet::<Row>::new();
        let steps: Vec<Step> = turns.into_iter().map(|(versions, which)| {
            let toggle = |at: usize| {
                let diff = if rows.remove(&ROWS[at]) { -1 } else { 1 };
                if diff > 0 {
                    rows.insert(ROWS[at]);
                }
                (ROWS[at], diff)
            };
            (versions, which.into_iter().map(toggle).collect())
        }).collect();
        let heard = told(&steps, &names);
        let (mut rows, mut open, mut last) = (BTreeSet::<Row>::new(), BTreeMap::new(), BTreeMap::new());
        for ((versions, changes), heard) in steps.iter().zip(heard) {
            for (row, diff) in changes {
                if *diff > 0 { rows.insert(*row) } else { rows.remove(row) };
            }
            let mut may: BTreeSet<IncidentId> = BTreeSet::new();
            let before: BTreeSet<IncidentId> = open.keys().copied().collect();
            for version in versions {
                let id = IncidentId::of(&[&[version.incident]]);
                may.insert(id);
                if version.open { open.insert(id, version.clone()) } else { open.remove(&id) };
            }
            for (id, said) in &heard {
                let changed = before.contains(id) && last.get(id) != Some(said);
                prop_assert!(may.contains(id) || changed, "told again for nothing: {}", said);
                last.insert(*id, said.clone());
            }
            let revised = heard.iter().filter(|(id, _)| !may.contains(id));
            let ids: BTreeSet<IncidentId> = revised.clone().map(|(id, _)| *id).collect();
            prop_assert_eq!(ids.len(), revised.count());
            for (id, version) in &open {
                prop_assert_eq!(last.get(id), Some(&scan(version, &rows)), "{:?}", version);
            }
        }
    }
}
