//! Conformance: every public correlation file loads, or says why not; and what loads fires when it should and only then.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quell::plan::correlation::{Correlation, Correlations, Lookup, Source, Test};
use quell::record::{Alert, Names, tick_of};

use super::common::real;
use super::harness::{alert, batches, run};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn name(file: &Path) -> String {
    file.file_stem().expect("a name").to_string_lossy().into_owned()
}

/// An alert that has everything that the rule looks at, with a value of its own in what is counted.
fn satisfying(rule: &Correlation, names: &Names, n: u64, place: usize, second: i64, value: &str) -> Alert {
    let input = &rule.inputs[place];
    let Source::Alerts(of) = &input.of else { panic!("only rules over alerts") };
    let mut left = serde_json::Map::new();
    let mut fill = |lookups: &[Lookup], value: &str| {
        for lookup in lookups {
            let Lookup::Alert(field) = lookup else { panic!("only rules over alerts") };
            let path = field.path.as_ref().expect("Sigma's names");
            left.insert(path.text().to_owned(), value.into());
        }
    };
    fill(&input.group, "same");
    fill(&input.value, value);
    let time = 1_700_000_000_000 + second * 1_000;
    let left = serde_json::Value::Object(left).to_string();
    alert(names, n, time, tick_of(time), of.last().expect("a name"), &[], &left)
}

/// Alerts that must make it fire once, a second apart, and the same with one too few, or in the wrong order.
fn cases(rule: &Correlation, names: &Names) -> (Vec<Alert>, Vec<Alert>) {
    let counted = |many: i64, value: &dyn Fn(i64) -> String| -> Vec<Alert> {
        (0..many).map(|n| satisfying(rule, names, n.unsigned_abs(), 0, n, &value(n))).collect()
    };
    match &rule.test {
        Test::Count(bounds) | Test::Distinct(bounds) => {
            let least = i64::try_from(bounds.least().expect("a lower bound")).expect("a small one");
            (counted(least, &|n| format!("v{n}")), counted(least - 1, &|n| format!("v{n}")))
        }
        Test::Sum(_) => (
            counted(3, &|n| if n < 2 { "500000".into() } else { "1".into() }),
            counted(2, &|_| "500000".into()),
        ),
        Test::Average(_) => (counted(2, &|n| (n * 999 + 1).to_string()), counted(4, &|_| "500".into())),
        Test::Percentile(..) | Test::Median(_) | Test::Expression(_) | Test::Connected(_) => {
            panic!("none among the public rules yet")
        }
        Test::Together(_) | Test::Ordered(_) => {
            let all = rule.inputs.len();
            let of = |places: &[usize]| -> Vec<Alert> {
                let at = |(n, place): (i64, &usize)| satisfying(rule, names, n.unsigned_abs(), *place, n, "");
                (0..).zip(places).map(at).collect()
            };
            let places: Vec<usize> = (0..all).collect();
            let backwards: Vec<usize> = places.iter().rev().copied().collect();
            let wrong = if matches!(rule.test, Test::Ordered(_)) { backwards } else { places[1..].to_vec() };
            (of(&places), of(&wrong))
        }
    }
}

fn fires(rules: &Correlations, names: &Arc<Names>, alerts: Vec<Alert>) -> usize {
    let stream: Vec<_> = alerts.into_iter().map(|alert| (alert, 1)).collect();
    run(rules, names, &batches(&stream, 7), 1).last().map_or(0, Vec::len)
}

#[test]
fn public_correlations_load_or_say_why_not() {
    let (Some(spec), Some(public)) = (real("sigma-spec"), real("sigma-correlation")) else { return };
    let mut told = Vec::new();
    let all = files(&spec.join("tests/schema/correlation")).into_iter().chain(files(&public));
    for file in all {
        let mut faults = Vec::new();
        let rules = Correlations::read(&[&file], &mut faults);
        if faults.is_empty() {
            for rule in &rules.rules {
                let names = Arc::new(Names::default());
                let (yes, no) = cases(rule, &names);
                assert_eq!(fires(&rules, &names, yes.clone()), 1, "{} fires", rule.name);
                assert_eq!(fires(&rules, &names, no), 0, "{} must not fire", rule.name);
                // The same a timespan apart from one another.
                let mut slow = yes;
                for (n, alert) in (0i64..).zip(&mut slow) {
                    alert.time += n * rule.extent.span_ms;
                    alert.tick = tick_of(alert.time);
                }
                let alone = matches!(rule.test, Test::Average(_));
                assert!(alone || fires(&rules, &names, slow) == 0, "{} must not fire so slowly", rule.name);
            }
        }
        assert!(faults.iter().all(|fault| fault.file == file && !fault.cure.is_empty()), "{faults:?}");
        let faults: Vec<&str> = faults.iter().map(|fault| fault.what.as_str()).collect();
        told.push(format!(
            "{}: {}",
            name(&file),
            if faults.is_empty() { "loads".into() } else { faults.join("; ") }
        ));
    }
    insta::assert_snapshot!(told.join("\n"), @r"
    event_count: loads
    event_count_ecs: loads
    temporal: loads
    temporal_ordered: loads
    value_avg: loads
    value_count: loads
    value_percentile: it does not say which percentile is meant
    value_sum: loads
    correlation_html_smuggling: its `correlation` is text: a rule in SEKOIA's own form, which is not Sigma's
    correlation_iso-lnk_chain: its `correlation` is text: a rule in SEKOIA's own form, which is not Sigma's
    Sec_4625_Med_LogonFail_UserGuessing_Correlation: loads
    ");
}

#[test]
fn public_filters_load_and_leave_out_what_they_select() {
    let Some(spec) = real("sigma-spec") else { return };
    for file in files(&spec.join("tests/schema/filter")) {
        let mut faults = Vec::new();
        let rules = Correlations::read(&[&file], &mut faults);
        assert_eq!((faults, rules.filters.len()), (Vec::new(), 1), "{}", name(&file));
    }
    for file in files(&spec.join("tests/schema/rules")) {
        let mut faults = Vec::new();
        let rules = Correlations::read(&[&file], &mut faults);
        assert_eq!(
            (faults, rules.rules.len()),
            (Vec::new(), 0),
            "a detection rule alone is read: {}",
            name(&file)
        );
    }
}
