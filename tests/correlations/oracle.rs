//! Oracle: all types at once over random days, in the real operator, against the definition: late and clamped alerts,
//! copies, equal times, withdrawals, groups that come and go, expiry to the millisecond, any epochs, 1 and 3 workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use quell::record::{Alert, Diff, Names, Tick, tick_of};

use super::definition::{Asks, Definition, Moves, Must, Seen, findings};
use super::harness::{LATENESS_S, Told, alert, batches, rules, run};

const RULES: &str = include_str!("oracle.yml");

/// An alert of a small world.
#[derive(Clone, Debug)]
struct Step {
    gap_ms: i64,
    late_ms: i64,
    rule: usize,
    host: usize,
    user: usize,
    bytes: usize,
    what: u8,
    which: prop::sample::Index,
}

const HOSTS: [&str; 3] = ["h0", "h1", "h2"];
const USERS: [&str; 4] = ["ada", "bob", "eve", "kim"];
/// As a mapping leaves them over, and in thousandths.
const BYTES: [(&str, Option<i64>); 7] = [
    ("", None),
    (r#"{"bytes":"much"}"#, None),
    (r#"{"bytes":0.5}"#, Some(500)),
    (r#"{"bytes":3}"#, Some(3_000)),
    (r#"{"bytes":"12.000"}"#, Some(12_000)),
    (r#"{"bytes":7}"#, Some(7_000)),
    (r#"{"bytes":1.8e1}"#, Some(18_000)),
];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// What happened, for the recount.
#[derive(Clone, Debug)]
struct Happened {
    order: (i64, i64, [u8; 16], u64),
    rule: usize,
    host: usize,
    user: usize,
    bytes: usize,
}

/// The alerts in order of arrival, with withdrawals, and what each is for the recount.
fn world(steps: &[Step], names: &Names) -> (Vec<(Alert, Diff)>, Vec<Happened>) {
    let (mut now, mut clock) = (1_700_000_000_000, Tick::MIN);
    let mut stream: Vec<(Alert, Diff)> = Vec::new();
    let mut there: Vec<(Alert, Happened)> = Vec::new();
    let mut all = Vec::new();
    for (n, step) in (0u64..).zip(steps) {
        now += step.gap_ms;
        let time = now - step.late_ms;
        clock = clock.max(tick_of(time));
        let open: Vec<usize> = (0..there.len()).filter(|at| there[*at].0.tick > clock - LATENESS_S).collect();
        match step.what {
            // One that is not settled is withdrawn.
            0 if !open.is_empty() => {
                let (gone, happened) = there.swap_remove(open[step.which.index(open.len())]);
                stream.push((gone, -1));
                all.push(happened);
            }
            _ => {
                let tick = tick_of(time).max(clock - LATENESS_S);
                let user = USERS[step.user];
                let entities =
                    [("host", HOSTS[step.host]), ("dst_user", user), ("src_user", USERS[3 - step.user])];
                let mut one = alert(names, n, time, tick, NAMES[step.rule], &entities, BYTES[step.bytes].0);
                if step.what == 1
                    && let Some((other, _)) = there.last()
                {
                    // At the same millisecond as another: the identity decides.
                    (one.time, one.tick) = (other.time, other.tick.max(clock - LATENESS_S));
                }
                let order = (one.tick, one.time, one.id.0, n);
                let Step { rule, host, user, bytes, .. } = *step;
                let happened = Happened { order, rule, host, user, bytes };
                there.push((one.clone(), happened.clone()));
                all.push(happened);
                stream.push((one, 1));
            }
        }
    }
    (stream, all)
}

/// What is there after so many changes.
fn there(stream: &[(Alert, Diff)], all: &[Happened]) -> Vec<Happened> {
    let mut there: BTreeMap<_, Happened> = BTreeMap::new();
    for ((_, diff), happened) in stream.iter().zip(all) {
        if *diff > 0 {
            there.insert(happened.order, happened.clone());
        } else {
            there.remove(&happened.order);
        }
    }
    there.into_values().collect()
}

type Take = fn(&Happened) -> Option<(String, Option<String>, Option<i64>)>;

fn host(h: &Happened) -> String {
    HOSTS[h.host].to_owned()
}

/// The first user entity is the destination's.
fn user(h: &Happened) -> String {
    USERS[h.user].to_owned()
}

fn text(h: &Happened) -> Option<String> {
    ["", "much", "0.5", "3", "12.000", "7", "18.0"]
        .get(h.bytes)
        .filter(|t| !t.is_empty())
        .map(|t| (*t).to_owned())
}

fn number(h: &Happened) -> Option<(String, Option<String>, Option<i64>)> {
    Some((host(h), None, Some(BYTES[h.bytes].1?)))
}

/// What a rule sees of the alerts of `rules`.
fn see(all: &[Happened], rules: &[&str], take: Take) -> Vec<Seen> {
    let seen = all.iter().filter_map(|h| {
        let place = rules.iter().position(|rule| *rule == NAMES[h.rule])?;
        let (group, value, number) = take(h)?;
        Some(Seen { order: h.order, group, places: BTreeSet::from([place]), value, number })
    });
    seen.collect()
}

/// What a rule sees of findings, at a place of its rules.
fn above(found: &[Seen], level: u64, index: u64, place: usize) -> Vec<Seen> {
    let seen = found.iter().cloned().map(|mut seen| {
        seen.order.3 = 1 << 63 | level << 32 | index;
        seen.places = BTreeSet::from([place]);
        seen
    });
    seen.collect()
}

fn at(place: usize, seen: Vec<Seen>) -> Vec<Seen> {
    seen.into_iter()
        .map(|mut seen| {
            seen.places = BTreeSet::from([place]);
            seen
        })
        .collect()
}

fn distinct<T: Ord>(items: impl Iterator<Item = T>) -> usize {
    items.collect::<BTreeSet<T>>().len()
}

fn numbers(window: &[&Seen]) -> Vec<i64> {
    let mut numbers: Vec<i64> = window.iter().filter_map(|seen| seen.number).collect();
    numbers.sort_unstable();
    numbers
}

fn present(window: &[&Seen], place: usize) -> bool {
    window.iter().any(|seen| seen.places.contains(&place))
}

fn places(window: &[&Seen]) -> usize {
    distinct(window.iter().flat_map(|seen| seen.places.iter()))
}

fn rule(name: &'static str, span_s: i64, asks: Asks) -> Definition {
    Definition { name, span_ms: span_s * 1000, moves: Moves::Sliding, every: false, asks }
}

/// A rule, the rules that it refers to, and what it sees of their alerts.
type Defined = (Definition, &'static [&'static str], Take);

/// The rules over alerts alone, defined once more.
fn definitions() -> Vec<Defined> {
    let mut all = of_counts();
    all.extend(of_numbers());
    all.extend(of_rules());
    all
}

fn tumbling(definition: Definition) -> Definition {
    Definition { moves: Moves::Tumbling, ..definition }
}

fn session(gap_s: i64, definition: Definition) -> Definition {
    Definition { moves: Moves::Session(gap_s * 1000), ..definition }
}

fn every(definition: Definition) -> Definition {
    Definition { every: true, ..definition }
}

fn of_counts() -> Vec<Defined> {
    use Asks::Window;
    let by_host: Take = |h| Some((host(h), None, None));
    let users: Take = |h| Some((host(h), Some(user(h)), None));
    let pairs: Take = |h| Some((host(h), Some(format!("{} {}", user(h), text(h)?)), None));
    let both: Take = |h| Some((format!("{} {}", host(h), user(h)), None, None));
    vec![
        (rule("gte", 10, Window(|w| w.len() >= 3)), &["a", "b"], by_host),
        (rule("lt", 10, Window(|w| w.len() < 2)), &["a"], by_host),
        (rule("range", 20, Window(|w| w.len() > 1 && w.len() <= 3)), &["a", "b"], both),
        (rule("neq", 10, Window(|w| w.len() != 2)), &["b"], by_host),
        (every(rule("every", 8, Window(|w| w.len() >= 2))), &["a", "b", "c"], by_host),
        (tumbling(rule("tumbling", 10, Window(|w| w.len() == 3))), &["a", "b"], by_host),
        (
            Definition { moves: Moves::Session(4_000), ..rule("session", 30, Window(|w| w.len() >= 4)) },
            &["a", "b"],
            by_host,
        ),
        (
            rule("distinct", 15, Window(|w| distinct(w.iter().map(|s| &s.value)) >= 3)),
            &["a", "b", "c"],
            users,
        ),
        (rule("pairs", 15, Window(|w| distinct(w.iter().map(|s| &s.value)) <= 2)), &["a", "b"], pairs),
    ]
}

fn of_numbers() -> Vec<Defined> {
    use Asks::Window;
    vec![
        (rule("sum", 10, Window(|w| numbers(w).iter().sum::<i64>() >= 30_500)), &["a", "c"], number),
        (
            rule("avg", 10, Window(|w| numbers(w).iter().map(|n| n - 7_250).sum::<i64>() < 0)),
            &["a", "c"],
            number,
        ),
        (
            // The smallest number that at least nine tenths of them do not exceed.
            rule(
                "p90",
                20,
                Window(|w| {
                    let all = numbers(w);
                    let reaches =
                        |n: &&i64| all.iter().filter(|other| other <= n).count() * 10 >= all.len() * 9;
                    all.iter().find(reaches).is_some_and(|n| *n > 12_000)
                }),
            ),
            &["a", "b"],
            number,
        ),
        (tumbling(rule("p0", 20, Window(|w| numbers(w)[0] <= 3_000))), &["a", "b"], number),
        (
            rule(
                "median",
                20,
                Window(|w| {
                    let all = numbers(w);
                    let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
                    low + high == 19_000
                }),
            ),
            &["a", "b", "c"],
            number,
        ),
    ]
}

fn of_rules() -> Vec<Defined> {
    use Asks::{Order, Window};
    let by_host: Take = |h| Some((host(h), None, None));
    let who: Take = |h| Some((if h.rule == 0 { USERS[3 - h.user].to_owned() } else { user(h) }, None, None));
    vec![
        (rule("together", 6, Window(|w| places(w) == 3)), &["a", "b", "c"], by_host),
        (every(rule("two", 3, Window(|w| places(w) == 2))), &["a", "b", "c"], |_| {
            Some((String::new(), None, None))
        }),
        (
            rule("expression", 8, Window(|w| (present(w, 0) || present(w, 1)) && !present(w, 2))),
            &["a", "b", "c"],
            by_host,
        ),
        (rule("aliased", 9, Window(|w| places(w) == 2)), &["a", "b"], who),
        (rule("order", 12, Order(vec![0, 1, 2], vec![])), &["a", "b", "c"], by_host),
        (every(rule("order-every", 12, Order(vec![0, 1, 2], vec![]))), &["a", "b", "c"], by_host),
        (rule("order-without", 15, Order(vec![0, 2], vec![1])), &["a", "b", "c"], by_host),
        (tumbling(rule("order-tumbling", 20, Order(vec![0, 1], vec![]))), &["a", "b"], by_host),
        (
            every(tumbling(rule("order-tumbling-every", 30, Order(vec![0, 2], vec![1])))),
            &["a", "b", "c"],
            by_host,
        ),
        (session(6, rule("order-session", 40, Order(vec![0, 1, 2], vec![]))), &["a", "b", "c"], by_host),
        (
            every(session(6, rule("order-session-every", 9, Order(vec![0, 2], vec![1])))),
            &["a", "b", "c"],
            by_host,
        ),
    ]
}

/// Everything that must be found.
fn must(all: &[Happened]) -> Vec<Must> {
    let by_host: Take = |h| Some((host(h), None, None));
    let mut found: Vec<(&'static str, Vec<Seen>)> = definitions()
        .into_iter()
        .map(|(definition, rules, take)| (definition.name, findings(&definition, &see(all, rules, take))))
        .collect();
    let of = |found: &[(&str, Vec<Seen>)], name: &str| {
        found.iter().find(|(other, _)| *other == name).map(|(_, seen)| seen.clone()).expect("a rule")
    };
    let (gte, many) = (of(&found, "gte"), of(&found, "distinct"));
    let mut seen = above(&gte, 0, 0, 0);
    seen.extend(at(1, see(all, &["c"], by_host)));
    let followed = findings(&rule("followed", 15, Asks::Order(vec![0, 1], vec![])), &seen);
    let mut seen = above(&followed, 1, 21, 0);
    seen.extend(above(&many, 0, 7, 1));
    let again = findings(&rule("again", 60, Asks::Window(|w| w.len() >= 2)), &seen);
    let mut seen = above(&again, 2, 22, 0);
    seen.extend(above(&gte, 0, 0, 1));
    seen.extend(at(2, see(all, &["b"], by_host)));
    let deep = |w: &[&Seen]| present(w, 0) && (present(w, 1) || present(w, 2));
    let deep = findings(&rule("deep", 40, Asks::Window(deep)), &seen);
    found.extend([("followed", followed), ("again", again), ("deep", deep)]);
    let musts = found.into_iter().flat_map(|(name, seen)| {
        let must = move |seen: Seen| {
            let (tick, time, id, _) = seen.order;
            (name.to_owned(), seen.group, (tick, time, id))
        };
        seen.into_iter().map(must)
    });
    let mut musts: Vec<Must> = musts.collect();
    musts.sort();
    musts
}

fn told(stands: &[Told]) -> Vec<Must> {
    let mut told: Vec<Must> = stands
        .iter()
        .map(|(rule, group, time, tick, ids)| {
            let last = ids.last().expect("a finding has alerts").0;
            (rule.clone(), group.clone(), (*tick, *time, last))
        })
        .collect();
    told.sort();
    told
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let gap = prop_oneof![2 => Just(0i64), 4 => 1i64..2_000, 2 => (0i64..12).prop_map(|s| s * 1_000), 1 => 10_000i64..60_000];
    let late = prop_oneof![5 => Just(0i64), 2 => 1i64..20_000, 1 => 20_000i64..70_000];
    let step = (gap, late, 0usize..4, 0usize..3, 0usize..4, 0usize..7, 0u8..12, any::<prop::sample::Index>());
    let step = step.prop_map(|(gap_ms, late_ms, rule, host, user, bytes, what, which)| Step {
        gap_ms,
        late_ms,
        // Mostly the rules that somebody asks for, on one host.
        rule: if rule == 3 { bytes % 4 } else { rule },
        host: if which.index(3) > 0 { 0 } else { host },
        user,
        bytes,
        what,
        which,
    });
    prop::collection::vec(step, 1..90)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// What stands is what the definition finds, after every epoch.
    #[test]
    fn what_stands_is_what_the_definition_finds(steps in steps(), size in 1usize..40) {
        let names = Arc::new(Names::default());
        let rules = rules(RULES);
        let (stream, all) = world(&steps, &names);
        let epochs = batches(&stream, size);
        let stands = run(&rules, &names, &epochs, 1);
        for (n, stands) in stands.iter().enumerate().rev().step_by(3) {
            let until = stream.len().min((n + 1) * size);
            prop_assert_eq!(told(stands), must(&there(&stream[..until], &all)), "after epoch {}", n);
        }
        let several = run(&rules, &names, &epochs, 3);
        prop_assert_eq!(several.last(), stands.last(), "the number of workers does not show");
        let whole = run(&rules, &names, &batches(&stream, 1_000), 1);
        prop_assert_eq!(whole.last(), stands.last(), "nor do epochs");
    }
}

/// The recount is worth something: each rule has findings in such worlds, and some that were said are withdrawn.
#[test]
fn every_rule_finds_something() {
    let mut runner = TestRunner::deterministic();
    let (mut found, mut withdrawn): (BTreeMap<String, usize>, usize) = (BTreeMap::new(), 0);
    for _ in 0..40 {
        let steps = steps().new_tree(&mut runner).expect("a world").current();
        let names = Arc::new(Names::default());
        let (stream, all) = world(&steps, &names);
        for (name, _, _) in must(&there(&stream, &all)) {
            *found.entry(name).or_default() += 1;
        }
        let stands = run(&rules(RULES), &names, &batches(&stream, 5), 1);
        for pair in stands.windows(2) {
            withdrawn += pair[0].iter().filter(|told| !pair[1].contains(told)).count();
        }
    }
    let rules = rules(RULES).rules;
    let idle: Vec<&str> = rules
        .iter()
        .map(|rule| rule.name.as_str())
        .filter(|name| found.get(*name).is_none_or(|n| *n < 3))
        .collect();
    assert!(idle.is_empty(), "these find next to nothing: {idle:?} of {found:?}");
    assert!(withdrawn > 20, "{withdrawn} withdrawn");
}
