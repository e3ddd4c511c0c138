//! Telling: when what is connected is said, how much of it, and what it keeps.

use std::sync::Arc;

use quell::correlate::connected::Linkable;
use quell::correlate::connected::graph::Graph;
use quell::flow::Turn;
use quell::record::{AlertId, Diff, Names, Order, Tick, tick_of};

const SPAN_MS: i64 = 3_600_000;

fn one(names: &Names, n: u64, time: i64, values: &[&str]) -> Linkable {
    let order = Order { tick: tick_of(time), time, id: AlertId(u128::from(n).to_be_bytes()), position: n };
    let values = values.iter().map(|value| names.intern(value)).collect();
    Linkable { rule: 0, tenant: names.intern("t"), order, values, ids: None }
}

/// How many alerts each finding has that is said, less than none where it is withdrawn.
fn turn(graph: &mut Graph, settled: Tick, last: bool) -> Vec<i64> {
    let mut said = Vec::new();
    graph.turn(Turn { epoch: 0, settled, acts: settled, last, keeps: false }, |one, diff: Diff| {
        said.push(diff * i64::try_from(one.ids.len()).expect("few"));
    });
    said
}

#[test]
fn it_is_said_at_once_when_doubled_and_at_its_end() {
    let (names, mut graph) = (Names::default(), Graph::new(SPAN_MS, 3));
    let mut said = Vec::new();
    for n in 0..30i64 {
        graph.add(one(&names, n.unsigned_abs(), n * 60_000, &["h", ""]));
        said.extend(turn(&mut graph, n * 60 - 60, false));
    }
    assert_eq!(said, [3, -3, 6, -6, 12, -12, 24]);
    // Nothing can join it from an hour and a millisecond after its last alert.
    let last = 29 * 60 + 3_600;
    assert_eq!(turn(&mut graph, last, false), [0i64; 0], "one of that very second could");
    assert_eq!(turn(&mut graph, last + 1, false), [-24, 30]);
    assert!(turn(&mut graph, last + 3_600, false).is_empty() && graph.is_empty());
}

#[test]
fn the_end_of_the_input_says_how_it_stands() {
    let (names, mut graph) = (Names::default(), Graph::new(SPAN_MS, 3));
    (0..5).for_each(|n| graph.add(one(&names, n, 0, &["h", ""])));
    assert_eq!(turn(&mut graph, -60, false), [5]);
    graph.add(one(&names, 5, 0, &["h", ""]));
    assert_eq!(turn(&mut graph, -60, true), [-5, 6]);
    // It went on after all.
    graph.add(one(&names, 6, 0, &["h", ""]));
    assert_eq!(turn(&mut graph, 3_600, false), [0i64; 0]);
    assert_eq!(turn(&mut graph, 3_601, false), [-6, 7]);
}

#[test]
fn a_merge_withdraws_the_smaller_and_a_withdrawal_parts_them_again() {
    let (names, mut graph) = (Names::default(), Graph::new(SPAN_MS, 3));
    (0..10).for_each(|n| graph.add(one(&names, n, 0, &["h", ""])));
    (10..14).for_each(|n| graph.add(one(&names, n, 0, &["", "u"])));
    let mut both = turn(&mut graph, -60, false);
    both.sort_unstable();
    assert_eq!(both, [4, 10]);
    let bridge = one(&names, 14, 1, &["h", "u"]);
    graph.add(bridge.clone());
    assert_eq!(turn(&mut graph, -60, false), [-4], "fifteen are not yet twice ten");
    graph.take_back(&bridge);
    let mut parted = turn(&mut graph, -60, false);
    parted.sort_unstable();
    assert_eq!(parted, [-10, 4, 10], "of the parts as they are");
    // What never came is not withdrawn.
    graph.take_back(&bridge);
    assert_eq!(turn(&mut graph, -60, false), [0i64; 0]);
    assert_eq!(turn(&mut graph, 10_000, false), [0i64; 0], "in their end they stand as they were said");
    assert!(graph.len().1 == 0);
}

#[test]
fn what_lasts_is_said_ever_more_seldom() {
    let (names, mut graph) = (Names::default(), Graph::new(SPAN_MS, 3));
    let (mut times, mut ids) = (0, 0);
    // An alert every fifty minutes for sixty days.
    let alerts: i64 = 60 * 24 * 60 / 50;
    for n in 0..alerts {
        let time = n * 50 * 60_000;
        graph.add(one(&names, n.unsigned_abs(), time, &["h", ""]));
        let said = turn(&mut graph, time / 1000 - 60, false);
        times += said.iter().filter(|said| **said > 0).count();
        ids += said.iter().map(|said| said.abs()).sum::<i64>();
    }
    assert!((50..70).contains(&times), "about once a day: {times}");
    assert!(ids < alerts * 80, "{ids} alerts told of {alerts}");
}

/// Every alert has a value that none had before, and shares one with the last.
#[test]
fn a_flood_of_values_is_forgotten_after_the_window() {
    let (names, mut graph) = (Arc::new(Names::default()), Graph::new(10_000, 3));
    let (mut bytes, mut most) = (Vec::new(), 0);
    for n in 0..240_000u64 {
        let time = i64::try_from(n).expect("small");
        let (own, near) = (format!("h{n}"), format!("u{}", n / 4));
        graph.add(one(&names, n, time, &[&own, &near]));
        if n % 500 == 0 {
            turn(&mut graph, tick_of(time) - 5, false);
            most = most.max(graph.len().0);
            bytes.push(graph.bytes());
        }
    }
    // Ten seconds and five of lateness, and as many again before they are looked for.
    assert!((15_000..=45_000).contains(&most), "{most} alerts at once");
    let [early, late] = [&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..]].map(|all| all.iter().max());
    assert!(late <= early, "{early:?} bytes, then {late:?}");
    turn(&mut graph, 300, false);
    assert!(graph.is_empty(), "{:?}", graph.len());
}

/// All on one host: what grows is the list of its alerts alone.
#[test]
fn a_component_that_never_ends_grows_by_its_alerts() {
    let (names, mut graph) = (Names::default(), Graph::new(SPAN_MS, 3));
    for n in 0..200_000u32 {
        let time = i64::from(n) * 10;
        graph.add(one(&names, n.into(), time, &["h", ""]));
        if n % 1000 == 0 {
            turn(&mut graph, tick_of(time) - 5, false);
        }
    }
    let (nodes, components) = graph.len();
    assert!(nodes < 2_000 && components == 1, "{nodes} alerts that may be linked, {components} components");
    assert!(graph.bytes() / 200_000 <= 96, "{} bytes an alert", graph.bytes() / 200_000);
}
