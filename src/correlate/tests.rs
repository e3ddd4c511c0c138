//! The correlation stages together, in a real dataflow, against what must hold of any stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use timely::dataflow::operators::{Inspect, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

use super::acted::settled;
use super::cut::Unrelated;
use super::dedup::dedup;
use super::findings::findings;
use super::group::Compiled;
use super::incidents::{Settings, Told, incidents};
use super::index::Index;
use super::revision::{Known, Revised, Revision};
use crate::flow::{Keeper, Stream, Turn};
use crate::plan::correlation::Correlations;
use crate::plan::link::LinkSettings;
use crate::plan::policy::Act;
use crate::record::{
    Alert, AlertId, Entity, EntityKind, Finding, Incident, IncidentId, IncidentKind, IncidentState, Link,
    Member, Names, Observable, Role, Severity, Tactics, Tick,
};

/// What came out, in no order.
#[derive(Clone, Debug, Default, PartialEq)]
struct Out {
    versions: Vec<Incident>,
    members: Vec<Member>,
    links: Vec<Link>,
    findings: Vec<(Finding, i64)>,
    /// Each incident's last version.
    last: BTreeMap<IncidentId, Incident>,
}

/// An analyst's word: after which batch, on which incident, and on what of it.
type Word = (usize, usize, usize, u8);

/// A small world: (seconds since the last alert, host, rule, vendor id or none, lateness in seconds).
type Step = (i64, u8, u8, Option<u8>, i64);

fn alerts(steps: &[Step], names: &Names) -> Vec<Alert> {
    let mut clock = 1_700_000_000;
    let entity = |kind, value: String| Observable {
        entity: Entity { kind, value: names.intern(&value) },
        role: Role::Source,
    };
    let mut alerts = Vec::new();
    // A vendor that uses an id again after a day names another alert by it: then one id may be in two incidents.
    let mut first: BTreeMap<u8, i64> = BTreeMap::new();
    for (n, (gap, host, rule, vendor, late)) in steps.iter().enumerate() {
        clock += gap;
        let vendor = vendor.filter(|vendor| clock - *first.entry(*vendor).or_insert(clock) < 80_000);
        let time = (clock - late) * 1000;
        let id =
            vendor.map_or_else(|| AlertId::of(&[&n.to_le_bytes()]), |vendor| AlertId::of(&[b"v", &[vendor]]));
        let rule = names.intern(&format!("rule-{rule}"));
        alerts.push(Alert {
            id,
            time,
            tick: (clock - late).max(clock - 60),
            tenant: names.intern(if host % 5 == 4 { "other" } else { "default" }),
            source: names.intern("s"),
            position: n as u64,
            product: names.intern("p"),
            rule,
            title: rule,
            severity: Severity::ALL[usize::from(host % 6)],
            identified: vendor.is_some(),
            further: false,
            tactics: Tactics::default(),
            attacks: names.intern(""),
            entities: smallvec::smallvec![
                entity(EntityKind::Host, format!("h{host}")),
                entity(EntityKind::Ip, format!("10.0.0.{}", host % 3))
            ],
            unmapped: None,
        });
    }
    alerts
}

fn rules(names: &Names) -> Arc<[Compiled]> {
    let text = "
title: count
correlation: {type: event_count, rules: [rule-0, rule-1], group-by: [host], timespan: 10m, condition: {gte: 3}}
---
title: order
correlation: {type: temporal_ordered, rules: [rule-1, rule-2], group-by: [host], timespan: 10m}
---
title: connected
correlation: {type: connected, rules: [rule-2, rule-3, rule-4], group-by: [host, ip], timespan: 10m, condition: {gte: 3}}
";
    read(text, names)
}

fn read(text: &str, names: &Names) -> Arc<[Compiled]> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yml");
    std::fs::write(&file, text).unwrap();
    let mut faults = Vec::new();
    let rules = Correlations::read(&[file], &mut faults);
    assert_eq!(faults, []);
    Compiled::all(&rules, names)
}

/// Runs the stages over batches; all ticks are settled at the end.
fn run(alerts: &[Alert], batch: usize, workers: usize, names: &Arc<Names>) -> Out {
    run_with(alerts, batch, workers, &[], names)
}

/// The same, with analysts' words in epochs of their own.
fn run_with(alerts: &[Alert], batch: usize, workers: usize, words: &[Word], names: &Arc<Names>) -> Out {
    let out = Arc::new(Mutex::new(Out::default()));
    let (result, names, alerts) = (Arc::clone(&out), Arc::clone(names), alerts.to_vec());
    let words = words.to_vec();
    let config = if workers == 1 { timely::Config::thread() } else { timely::Config::process(workers) };
    timely::execute(config, move |worker| {
        let settings = settings(&names);
        let mut input: InputHandle<u64, _> = InputHandle::new();
        let mut turns: InputHandle<u64, _> = InputHandle::new();
        let mut revisions: InputHandle<u64, _> = InputHandle::new();
        let probe = ProbeHandle::new();
        let (into, so_far) = (Arc::clone(&out), Arc::clone(&out));
        worker.dataflow(|scope| {
            let clock = turns.to_stream(scope);
            let (none, revisions) = (Keeper::default(), revisions.to_stream(scope));
            let (early, admitted) = dedup(input.to_stream(scope), clock.clone(), |_| true, &names, &none);
            let found = findings(early, clock.clone(), &settings.correlations, &settings.names, &none);
            let alerts = settled(admitted);
            let (versions, told) = incidents(alerts, found.clone(), revisions, clock, settings, &none);
            listen(found, versions, told, &into, &probe);
        });
        let first = worker.index() == 0;
        let (mut epoch, mut highest) = (0, Tick::MIN);
        let batches: Vec<&[Alert]> = alerts.chunks(batch).collect();
        for (n, chunk) in batches.iter().enumerate() {
            for (at, alert) in chunk.iter().enumerate() {
                highest = highest.max(alert.time.div_euclid(1000));
                if at % worker.peers() == worker.index() {
                    input.send(Arc::new(alert.clone()));
                }
            }
            let last = n + 1 == batches.len();
            let settled = if last { highest + 1 } else { highest - 60 };
            turns.send(Turn { epoch, settled, acts: settled, last, keeps: false });
            let mut step = |turns: &mut InputHandle<u64, _>, revisions: &mut InputHandle<u64, _>| {
                epoch += 1;
                input.advance_to(epoch);
                turns.advance_to(epoch);
                revisions.advance_to(epoch);
                while probe.less_than(&epoch) {
                    worker.step();
                }
                epoch
            };
            let mut epoch = step(&mut turns, &mut revisions);
            for word in words.iter().filter(|word| word.0 % batches.len() == n && !last) {
                if first {
                    let revision = revision(&so_far.lock().unwrap(), &alerts, *word, settled, &names);
                    if let Some(revision) = revision {
                        revisions.send(Revised::Cut(Arc::new(revision)));
                    }
                }
                turns.send(Turn { epoch, settled, acts: settled, last, keeps: false });
                epoch = step(&mut turns, &mut revisions);
            }
        }
    })
    .unwrap();
    let out = result.lock().unwrap().clone();
    in_order(out)
}

fn settings(names: &Arc<Names>) -> Settings {
    Settings {
        link: LinkSettings::default(),
        solo: Severity::High,
        act: Act::Settled,
        correlations: rules(names),
        names: Arc::clone(names),
    }
}

/// Notes what comes out.
fn listen(
    found: Stream<'_, (Finding, i64)>,
    versions: Stream<'_, Arc<Incident>>,
    told: Stream<'_, Told>,
    out: &Arc<Mutex<Out>>,
    probe: &ProbeHandle<u64>,
) {
    let (a, b, c, d) = (Arc::clone(out), Arc::clone(out), Arc::clone(out), Arc::clone(out));
    found.inspect(move |found| a.lock().unwrap().findings.push(found.clone())).probe_with(probe);
    versions
        .inspect(move |version| {
            let mut out = b.lock().unwrap();
            out.versions.push((**version).clone());
            out.last.insert(version.id, (**version).clone());
        })
        .probe_with(probe);
    told.inspect(move |told| match told {
        Told::Members(members) => c.lock().unwrap().members.extend(members.iter().cloned()),
        Told::Links(links) => d.lock().unwrap().links.extend(links.iter().cloned()),
        Told::Withdrawn(findings) => panic!("what is settled is withdrawn: {findings:?}"),
    })
    .probe_with(probe);
}

/// A word on an incident as it stands, with what an archive would have of it.
fn revision(out: &Out, all: &[Alert], word: Word, settled: Tick, names: &Names) -> Option<Revision> {
    let mut of: BTreeMap<IncidentId, BTreeMap<AlertId, i64>> = BTreeMap::new();
    for member in &out.members {
        *of.entry(member.incident_id).or_default().entry(member.alert_id).or_default() += member.diff;
    }
    for sums in of.values_mut() {
        sums.retain(|_, sum| *sum > 0);
    }
    of.retain(|_, sums| !sums.is_empty());
    let (incident, sums) = of.iter().nth(word.1 % of.len().max(1))?;
    let mut alerts: Vec<&Alert> = all.iter().filter(|alert| sums.contains_key(&alert.id)).collect();
    alerts.sort_by_key(|alert| alert.order());
    let mut seen = BTreeSet::new();
    alerts.retain(|alert| seen.insert(alert.id));
    let mut links = standing(&out.links, names);
    links.retain(|link| sums.contains_key(&link.alert_id) && sums.contains_key(&link.other_alert_id));
    let link = links.get(word.2 % links.len().max(1));
    let unrelated = match (word.3, link) {
        (0, Some(link)) => Unrelated::Link(link.other_alert_id, link.alert_id),
        (1, Some(Link { entity: Some(entity), .. })) => Unrelated::Entity(*entity),
        _ => Unrelated::Alert(alerts[word.2 % alerts.len()].id),
    };
    let found = out.findings.iter().filter(|(finding, _)| finding.tick < settled);
    let mut findings: BTreeMap<Finding, i64> = BTreeMap::new();
    found.for_each(|(finding, diff)| *findings.entry(finding.clone()).or_default() += diff);
    findings.retain(|finding, n| *n > 0 && finding.alert_ids.iter().any(|id| sums.contains_key(id)));
    let last = out.last.get(incident);
    let known = Known {
        incident: *incident,
        tenant: alerts[0].tenant,
        version: 0,
        kind: last.map_or(IncidentKind::Background, |last| last.kind),
        succeeds: last.and_then(|last| last.succeeds),
        evidence: last.map_or(0, |last| last.evidence),
        alerts: alerts.into_iter().cloned().map(Arc::new).collect(),
        links,
        findings: findings.into_keys().collect(),
    };
    Revision::of(known, unrelated, settled).ok()
}

/// Links that were not taken back.
fn standing(links: &[Link], names: &Names) -> Vec<Link> {
    let mut sums: BTreeMap<_, (i64, Link)> = BTreeMap::new();
    for link in links {
        let entity = link.entity.map(|entity| entity.text(names));
        let key = (link.alert_id, link.other_alert_id, link.incident_id, link.evidence, entity, link.weight);
        sums.entry(key).or_insert((0, Link { diff: 1, ..link.clone() })).0 += link.diff;
    }
    assert!(sums.values().all(|(sum, _)| *sum >= 0), "a link taken back that never was");
    let standing = sums.into_values().filter(|(sum, _)| *sum > 0);
    standing.map(|(diff, link)| Link { diff, ..link }).collect()
}

/// Sorted, and changes summed.
fn in_order(mut out: Out) -> Out {
    let text = |f: &Finding| (f.tick, f.time, names_of(f));
    out.versions.sort_by(|a, b| {
        (a.tick, a.id, a.alert_count, a.state.name()).cmp(&(b.tick, b.id, b.alert_count, b.state.name()))
    });
    out.members.sort_by_key(|m| (m.tick, m.incident_id, m.alert_id, m.diff));
    out.links.sort_by_key(|l| (l.tick, l.incident_id, l.alert_id, l.other_alert_id, l.evidence));
    let mut sums: BTreeMap<_, (Finding, i64)> = BTreeMap::new();
    for (finding, diff) in out.findings.drain(..) {
        sums.entry(text(&finding)).or_insert((finding, 0)).1 += diff;
    }
    out.findings = sums.into_values().filter(|(_, n)| *n != 0).collect();
    out
}

fn names_of(finding: &Finding) -> (Vec<AlertId>, u32, u32) {
    (finding.alert_ids.clone(), finding.correlation.raw(), finding.group.raw())
}

fn find(parents: &BTreeMap<AlertId, AlertId>, mut id: AlertId) -> AlertId {
    while let Some(parent) = parents.get(&id).filter(|parent| **parent != id) {
        id = *parent;
    }
    id
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let gap = prop_oneof![3 => 0i64..5, 3 => 5i64..400, 2 => 400i64..8_000, 1 => 8_000i64..50_000];
    let vendor = prop_oneof![2 => Just(None), 1 => (0u8..40).prop_map(Some)];
    let late = prop_oneof![4 => Just(0i64), 1 => 0i64..200];
    prop::collection::vec((gap, 0u8..6, 0u8..5, vendor, late), 1..90)
}

/// Every admitted alert is in exactly one incident at the end; and linked incidents are what links join: the
/// components of the links are the incidents, by a union-find that knows nothing of how they grew.
fn joined_by_links(steps: &[Step], batch: usize, words: &[Word]) -> Out {
    let names = Arc::new(Names::default());
    let alerts = alerts(steps, &names);
    let out = run_with(&alerts, batch, 1, words, &names);
    let mut sums: BTreeMap<(AlertId, IncidentId), i64> = BTreeMap::new();
    for member in &out.members {
        *sums.entry((member.alert_id, member.incident_id)).or_default() += member.diff;
    }
    sums.retain(|_, n| *n != 0);
    let homes: BTreeMap<AlertId, IncidentId> = sums.keys().copied().collect();
    assert_eq!(homes.len(), sums.len(), "an alert in two incidents");
    assert!(sums.values().all(|n| *n >= 1));
    for version in out.last.values().filter(|version| version.state != IncidentState::Merged) {
        let members: i64 = sums.iter().filter(|((_, id), _)| *id == version.id).map(|(_, n)| *n).sum();
        assert_ne!(version.state, IncidentState::Split, "one part keeps the name");
        assert_eq!(i64::try_from(version.alert_count).unwrap(), members, "{} says how many", version.id);
    }
    let mut parents: BTreeMap<AlertId, AlertId> = homes.keys().map(|id| (*id, *id)).collect();
    for link in &standing(&out.links, &names) {
        assert_eq!(homes.get(&link.alert_id), homes.get(&link.other_alert_id), "a link across incidents");
        let (one, other) = (find(&parents, link.alert_id), find(&parents, link.other_alert_id));
        parents.insert(one, other);
    }
    let mut components: BTreeMap<IncidentId, BTreeSet<AlertId>> = BTreeMap::new();
    for (alert, home) in &homes {
        components.entry(*home).or_default().insert(find(&parents, *alert));
    }
    for (home, roots) in components {
        // A background session that a finding took in is joined as a whole: there the links join fewer.
        if out.last.get(&home).is_some_and(|version| version.kind == IncidentKind::Linked) {
            assert!(roots.len() == 1 || !out.findings.is_empty(), "{} has {} parts", home, roots.len());
        }
    }
    out
}

/// An alert of the finding lies in an incident that has closed: no link may lead there.
#[test]
fn a_finding_joins_what_is_open() {
    let steps = [
        (0, 5, 1, None, 0),
        (19, 0, 0, None, 0),
        (283, 0, 0, None, 0),
        (362, 5, 2, None, 64),
        (0, 0, 0, None, 0),
    ];
    joined_by_links(&steps, 1, &[]);
}

/// By the rules that name the alert and that its severity counts in, however many there are.
#[test]
fn an_alert_is_asked_for_as_long_as_the_longest_rule_may() {
    let names = Names::default();
    let text = "
title: short
correlation: {type: event_count, rules: [rule-0, rule-1], group-by: [host], timespan: 5m, condition: {gte: 3}}
---
title: long
correlation: {type: event_count, rules: [rule-1], group-by: [host], timespan: 20m, condition: {gte: 3}}
---
title: grave
correlation: {type: connected, rules: any, where: {severity: [high]}, group-by: [host], timespan: 4m, condition: {gte: 3}}
";
    let index = Index::of(&read(text, &names), None);
    let mut alert = Alert { title: names.intern("a title"), ..Alert::bare() };
    let mut lasts = |rule: &str, severity| {
        (alert.rule, alert.severity) = (names.intern(rule), severity);
        index.lasts_ms(&alert).map(|lasts_ms| lasts_ms / 60_000)
    };
    assert_eq!(
        ["rule-0", "rule-1", "rule-2"].map(|rule| lasts(rule, Severity::Low)),
        [Some(5), Some(20), None]
    );
    assert_eq!(
        ["rule-0", "rule-1", "rule-2"].map(|rule| lasts(rule, Severity::High)),
        [Some(8), Some(20), Some(8)]
    );
    alert.rule = names.intern("an id");
    alert.title = names.intern("rule-0");
    assert_eq!(index.lasts_ms(&alert), Some(480_000), "by its title, and by its severity");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Neither the size of batches nor the number of workers shows in any result.
    #[test]
    fn batches_and_workers_do_not_show(steps in steps(), batch in 1usize..20) {
        let names = Arc::new(Names::default());
        let alerts = alerts(&steps, &names);
        let whole = run(&alerts, alerts.len(), 1, &names);
        prop_assert_eq!(&whole, &run(&alerts, batch, 1, &names));
        prop_assert_eq!(&whole, &run(&alerts, batch, 3, &names));
    }

    #[test]
    fn incidents_are_what_links_join(steps in steps(), batch in 1usize..30) {
        joined_by_links(&steps, batch, &[]);
    }

    /// State is bounded: however many new groups a flood invents, what is kept after the windows is what one alert needs.
    #[test]
    fn tables_forget(count in 50usize..200) {
        let names = Arc::new(Names::default());
        let mut links = super::link::Links::new(LinkSettings::default(), Arc::clone(&names));
        let steps: Vec<Step> = (0..count).map(|_| (30, 0, 0, None, 0)).collect();
        let mut last = 0;
        for (n, mut alert) in alerts(&steps, &names).into_iter().enumerate() {
            alert.rule = names.intern(&format!("new-{n}"));
            let host = Entity { kind: EntityKind::Host, value: names.intern(&format!("new-{n}")) };
            alert.entities = smallvec::smallvec![Observable { entity: host, role: Role::Related }];
            let verdict = links.alert(&alert, None);
            last = alert.tick;
            links.forget(verdict.home);
        }
        prop_assert!(links.entries() >= count);
        links.sweep(last + 4 * 86_400);
        prop_assert_eq!(links.entries(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    /// Whatever analysts say is not related: each alert is in one incident, and what links join is one.
    #[test]
    fn incidents_that_are_taken_apart_are_what_links_join(
        steps in steps(),
        batch in 1usize..12,
        words in prop::collection::vec((0usize..90, 0usize..20, 0usize..50, 0u8..3), 1..12),
    ) {
        let out = joined_by_links(&steps, batch, &words);
        let names = Arc::new(Names::default());
        let alerts = alerts(&steps, &names);
        prop_assert_eq!(out, run_with(&alerts, batch, 3, &words, &names));
    }
}
