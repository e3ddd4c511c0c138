//! What is connected, against a recount by definition: late and clamped alerts, copies, equal times, withdrawals, expiry to the
//! millisecond, any epochs, 1 and 3 workers; after every epoch and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use quell::record::{Alert, AlertId, Diff, Names, Severity, Tick, tick_of};

use super::definition::{self, Asks, Definition, Moves, findings};
use super::harness::{LATENESS_S, Told, alert, batches, rules, run};

/// Links by any of three fields; by one; of findings; and what counts those of the second.
const RULES: &str = "
title: grave
correlation:
  type: connected
  rules: any
  where: {severity: [high, critical]}
  group-by: [host, user, hash]
  timespan: 5s
  condition: {gte: 3}
---
title: by user
correlation: {type: connected, rules: [a, b], group-by: [User], timespan: 3s, condition: {gt: 1}}
---
title: pair
correlation: {type: event_count, rules: [a], group-by: [host, user], timespan: 4s, condition: {gte: 2}}
---
title: pairs
correlation: {type: connected, rules: [pair, c], group-by: [host, user], timespan: 10s, condition: {gte: 2}}
---
title: above
correlation: {type: event_count, rules: [by user], group-by: [User], timespan: 30s, condition: {gte: 2}, generate: true}
";

#[derive(Clone, Debug)]
struct Step {
    gap_ms: i64,
    late_ms: i64,
    rule: usize,
    values: [usize; 3],
    is_grave: bool,
    what: u8,
    which: prop::sample::Index,
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const FIELDS: [&str; 3] = ["host", "user", "hash"];

/// A record for the recount: its place, its values, the alerts that it stands for.
#[derive(Clone, Debug)]
struct Seen {
    order: (Tick, i64, AlertId, u64),
    values: Vec<String>,
    ids: Vec<AlertId>,
}

impl Seen {
    fn now(&self) -> i64 {
        self.order.1.max(self.order.0 * 1000)
    }
}

fn value(field: usize, which: usize) -> Option<String> {
    (which > 0).then(|| format!("{}{which}", FIELDS[field]))
}

fn seen(alert: &Alert, names: &Names) -> Seen {
    let value = |field: &&str| {
        let own = alert.entities.iter().find(|one| one.entity.kind.name() == *field);
        own.map(|one| names.get(one.entity.value)).unwrap_or_default()
    };
    Seen {
        order: (alert.tick, alert.time, alert.id, alert.position),
        values: FIELDS.iter().map(value).collect(),
        ids: vec![alert.id],
    }
}

/// The alerts in order of arrival, with withdrawals; where they are dense, components outlast the lateness.
fn world(steps: &[Step], dense: bool, names: &Names) -> Vec<(Alert, Diff)> {
    let (mut now, mut clock) = (1_700_000_000_000, Tick::MIN);
    let (mut stream, mut there): (Vec<(Alert, Diff)>, Vec<Alert>) = (Vec::new(), Vec::new());
    for (n, step) in (0u64..).zip(steps) {
        now += if dense { step.gap_ms.min(1_200) } else { step.gap_ms };
        let time = now - step.late_ms;
        clock = clock.max(tick_of(time));
        let open: Vec<usize> = (0..there.len()).filter(|at| there[*at].tick > clock - LATENESS_S).collect();
        if step.what < 3 && !open.is_empty() {
            stream.push((there.swap_remove(open[step.which.index(open.len())]), -1));
            continue;
        }
        let values: Vec<(usize, String)> =
            step.values.iter().enumerate().filter_map(|(at, which)| Some((at, value(at, *which)?))).collect();
        let entities: Vec<(&str, &str)> = values.iter().map(|(at, value)| (FIELDS[*at], &**value)).collect();
        let tick = tick_of(time).max(clock - LATENESS_S);
        let mut one = alert(names, n, time, tick, NAMES[step.rule], &entities, "");
        if step.is_grave {
            one.severity = if n % 2 == 0 { Severity::High } else { Severity::Critical };
        }
        if step.what == 3
            && let Some(other) = there.last()
        {
            // At the same millisecond as another: the identity decides.
            (one.time, one.tick) = (other.time, other.tick.max(clock - LATENESS_S));
        }
        there.push(one.clone());
        stream.push((one, 1));
    }
    stream
}

fn there(stream: &[(Alert, Diff)]) -> Vec<Alert> {
    let mut there = BTreeMap::new();
    for (alert, diff) in stream {
        if *diff > 0 {
            there.insert(alert.order(), alert.clone());
        } else {
            there.remove(&alert.order());
        }
    }
    there.into_values().collect()
}

fn root(of: &[usize], at: usize) -> usize {
    if of[at] == at { at } else { root(of, of[at]) }
}

/// By definition: components of at least so many, each as it is told when it ends.
fn components(rule: &str, mut all: Vec<Seen>, fields: &[usize], span_ms: i64, least: usize) -> Vec<Told> {
    all.retain(|seen| fields.iter().any(|field| !seen.values[*field].is_empty()));
    all.sort_by_key(|seen| seen.order);
    let mut of: Vec<usize> = (0..all.len()).collect();
    for field in fields {
        for (at, one) in all.iter().enumerate() {
            let value = &one.values[*field];
            let same = |other: &usize| !value.is_empty() && all[*other].values[*field] == *value;
            let before = (0..at).rev().find(same);
            if let Some(before) = before.filter(|before| one.now() - all[*before].now() <= span_ms) {
                let (one, other) = (root(&of, at), root(&of, before));
                of[one] = other;
            }
        }
    }
    let mut parts: BTreeMap<usize, Vec<&Seen>> = BTreeMap::new();
    for (at, one) in all.iter().enumerate() {
        parts.entry(root(&of, at)).or_default().push(one);
    }
    let told = parts.into_values().filter(|part| part.len() >= least).map(|part| {
        let (first, last) = (part[0], part[part.len() - 1]);
        let group: Vec<&str> =
            fields.iter().map(|field| &*first.values[*field]).filter(|value| !value.is_empty()).collect();
        let mut ids: Vec<AlertId> = Vec::new();
        for id in part.iter().flat_map(|seen| &seen.ids) {
            if !ids.contains(id) {
                ids.push(*id);
            }
        }
        (rule.to_owned(), group.join(" "), last.order.1, tick_of(last.now() + span_ms), ids)
    });
    let mut told: Vec<Told> = told.collect();
    told.sort();
    told
}

fn count(name: &'static str, span_ms: i64) -> Definition {
    let asks = Asks::Window(|window| window.len() >= 2);
    Definition { name, span_ms, moves: Moves::Sliding, every: false, asks }
}

fn counted(order: (Tick, i64, AlertId, u64), group: String) -> definition::Seen {
    let order = (order.0, order.1, order.2.0, order.3);
    definition::Seen { order, group, places: BTreeSet::from([0]), value: None, number: None }
}

/// The findings of `pair`, as what is above sees them.
fn pairs(alerts: &[Alert], names: &Names) -> Vec<Seen> {
    let mut all: Vec<Seen> =
        alerts.iter().filter(|alert| names.get(alert.rule) == "a").map(|alert| seen(alert, names)).collect();
    all.retain(|one| !one.values[0].is_empty() && !one.values[1].is_empty());
    all.sort_by_key(|one| one.order);
    let group = |one: &Seen| one.values[..2].join(" ");
    let events: Vec<_> = all.iter().map(|one| counted(one.order, group(one))).collect();
    let found = findings(&count("pair", 4_000), &events).into_iter().map(|found| {
        let at = all.iter().position(|one| one.order.2.0 == found.order.2).expect("an alert completed it");
        let (one, now) = (&all[at], all[at].now());
        let in_window = |other: &&Seen| {
            group(other) == group(one) && other.order.1 >= now - 4_000 && other.order.1 >= other.now() - 4_000
        };
        let mut ids: Vec<AlertId> =
            all[..=at].iter().rev().filter(in_window).take(2).map(|one| one.order.2).collect();
        ids.reverse();
        // Right behind what completed it.
        Seen { order: (one.order.0, one.order.1, one.order.2, u64::MAX), values: one.values.clone(), ids }
    });
    found.collect()
}

/// Everything that must stand in the end, but for `pair` and `above`.
fn must(alerts: &[Alert], names: &Names) -> BTreeMap<&'static str, Vec<Told>> {
    let of = |pick: &dyn Fn(&Alert) -> bool| -> Vec<Seen> {
        alerts.iter().filter(|alert| pick(alert)).map(|alert| seen(alert, names)).collect()
    };
    let rule = |alert: &Alert| names.get(alert.rule);
    let grave = of(&|alert| alert.severity >= Severity::High);
    let mut paired = pairs(alerts, names);
    paired.extend(of(&|alert| rule(alert) == "c"));
    BTreeMap::from([
        ("grave", components("grave", grave, &[0, 1, 2], 5_000, 3)),
        ("by user", components("by user", of(&|alert| rule(alert) != "c"), &[1], 3_000, 2)),
        ("pairs", components("pairs", paired, &[0, 1], 10_000, 2)),
    ])
}

/// Two components of one user that end within half a minute of one another.
fn above(by_user: &[Told]) -> usize {
    let ends = by_user.iter().map(|(_, group, time, tick, ids)| {
        // A clamped alert's now is its tick's beginning.
        let end = if tick_of(time + 3_000) == *tick { time + 3_000 } else { tick * 1_000 };
        counted((*tick, end, *ids.last().expect("alerts"), 0), group.clone())
    });
    findings(&count("above", 30_000), &ends.collect::<Vec<_>>()).len()
}

fn of<'t>(stands: &'t [Told], rule: &str) -> Vec<&'t Told> {
    stands.iter().filter(|told| told.0 == rule).collect()
}

/// What stands while alerts may still come: each component has one finding, of more than half of it; once it has ended, of
/// all of it. `records` tells a component's records where these are alerts.
fn check(
    stands: &[Told],
    must: &BTreeMap<&'static str, Vec<Told>>,
    settled: Tick,
) -> Result<(), TestCaseError> {
    for (rule, must) in must {
        let stands = of(stands, rule);
        prop_assert_eq!(stands.len(), must.len(), "{}: {:?} for {:?}", rule, stands, must);
        for component in must {
            let (_, _, _, ends, all) = component;
            let own: Vec<&&Told> =
                stands.iter().filter(|told| told.4.iter().any(|id| all.contains(id))).collect();
            if *ends < settled {
                prop_assert!(own.iter().any(|told| **told == component), "{:?} for {:?}", own, component);
            } else if *rule != "pairs" {
                prop_assert_eq!(own.len(), 1, "{:?}", own);
                let told = own[0];
                prop_assert!(told.4.iter().all(|id| all.contains(id)) && told.4.len() * 2 > all.len());
                prop_assert!(told.3 >= settled, "it is provisional: {:?} at {}", told, settled);
            }
        }
    }
    Ok(())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let gap = prop_oneof![2 => Just(0i64), 5 => 1i64..1_500, 2 => (0i64..7).prop_map(|s| s * 1_000), 1 => 5_000i64..40_000];
    let late = prop_oneof![5 => Just(0i64), 2 => 1i64..20_000, 1 => 20_000i64..60_000];
    let values = [0usize..4, 0usize..5, 0usize..8];
    let step = (gap, late, 0usize..3, values, 0u8..3, 0u8..14, any::<prop::sample::Index>());
    let step = step.prop_map(|(gap_ms, late_ms, rule, values, grave, what, which)| Step {
        gap_ms,
        late_ms,
        rule,
        values,
        is_grave: grave > 0,
        what,
        which,
    });
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_stands_is_what_the_definition_finds(steps in steps(), size in 1usize..30, dense in any::<bool>()) {
        let names = Arc::new(Names::default());
        let rules = rules(RULES);
        let stream = world(&steps, dense, &names);
        let epochs = batches(&stream, size);
        let stands = run(&rules, &names, &epochs, 1);
        for (n, stands) in stands.iter().enumerate() {
            let until = stream.len().min((n + 1) * size);
            check(stands, &must(&there(&stream[..until]), &names), epochs[n].1)?;
        }
        let last = stands.last().cloned().unwrap_or_default();
        let must = must(&there(&stream), &names);
        for (rule, must) in &must {
            prop_assert_eq!(of(&last, rule).into_iter().cloned().collect::<Vec<_>>(), must.clone());
        }
        prop_assert_eq!(of(&last, "above").len(), above(&must["by user"]));
        let several = run(&rules, &names, &epochs, 3);
        prop_assert_eq!(several.last(), Some(&last), "the number of workers does not show");
        let whole = run(&rules, &names, &batches(&stream, 1_000), 1);
        prop_assert_eq!(whole.last(), Some(&last), "nor do epochs");
    }
}
