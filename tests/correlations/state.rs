//! State: what rules remember is bounded by their windows, whoever sends what.

use std::sync::Arc;

use quell::correlate::group::{Compiled, Group};
use quell::correlate::index::Index;
use quell::correlate::machine::Matching;
use quell::flow::Tails;
use quell::record::{Names, tick_of};

use super::harness::{alert, rules};

/// One rule of each operator, with a window of ten seconds.
const RULES: [&str; 9] = [
    "type: event_count, rules: [a], condition: {gte: 2}",
    "type: event_count, rules: [a], condition: {gte: 2}, window: tumbling",
    "type: event_count, rules: [a], condition: {gte: 2}, window: session, gap: 5s",
    "type: value_count, rules: [a], condition: {gte: 2, field: user}",
    "type: value_sum, rules: [a], condition: {gte: 2, field: bytes}",
    "type: value_percentile, rules: [a], condition: {gte: 2, field: bytes, percentile: 50}",
    "type: value_median, rules: [a], condition: {gte: 2, field: bytes}",
    "type: temporal, rules: [a, b]",
    "type: temporal_ordered, rules: [a, b]",
];

#[test]
fn a_flood_of_groups_is_forgotten_after_the_window() {
    for rule in RULES {
        let text = format!("title: x\ncorrelation: {{group-by: [host], timespan: 10s, {rule}}}");
        let names = Arc::new(Names::default());
        let compiled = Compiled::all(&rules(&text), &names);
        let index = Index::of(&compiled, None);
        let mut tails: Tails<Group, Matching> = Tails::new(Matching { rules: compiled });
        let mut most = 0;
        // A thousand new groups a second, for two minutes.
        for n in 0..120_000u64 {
            let time = i64::try_from(n).expect("small");
            let entities = [("host", &*format!("h{n}")), ("user", "ada")];
            let one = alert(&names, n, time, tick_of(time), "a", &entities, r#"{"bytes":1}"#);
            for (group, event) in index.alert(&one, &names, 1) {
                tails.update(group, event, 1, |_, _, _| ());
            }
            if n % 500 == 0 {
                tails.settle(tick_of(time) - 5, |_, _| ());
                most = most.max(tails.len());
            }
        }
        assert!((9_000..=40_000).contains(&most), "{rule}: {most} groups at once");
        // The window passes.
        tails.settle(160, |_, _| ());
        assert_eq!(tails.len(), 0, "{rule}");
    }
}

#[test]
fn what_is_no_number_is_not_counted_but_told() {
    let text = "title: x
correlation: {group-by: [host], timespan: 10s, type: value_sum, rules: [a], condition: {gte: 2, field: bytes}}";
    let names = Arc::new(Names::default());
    let compiled = Compiled::all(&rules(text), &names);
    let index = Index::of(&compiled, None);
    let mut seen = 0;
    for (n, left, diff) in [
        (0, r#"{"bytes":1}"#, 1),
        (1, r#"{"bytes":"1.5"}"#, 1),
        (2, r#"{"bytes":"much"}"#, 1),
        (3, r#"{"bytes":null}"#, 1),
        (4, "", 1),
        // One of them is withdrawn.
        (4, "", -1),
    ] {
        let one = alert(&names, n, 0, 0, "a", &[("host", "h")], left);
        seen += index.alert(&one, &names, diff).len();
    }
    assert_eq!((seen, compiled[0].without_number()), (2, 2));
}
