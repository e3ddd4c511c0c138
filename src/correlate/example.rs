//! Examples: the alerts in a correlation file make the rule fire as often as the file says, or it is a fault. They run
//! through the operator that a run uses.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::{Input, Inspect};

use super::findings::findings;
use super::group::Compiled;
use crate::flow::{Keeper, Turn};
use crate::normalize::canonical::canonical;
use crate::plan::correlation::{CorrelationExample, Correlations, Field, FieldName};
use crate::plan::fault::Fault;
use crate::record::{
    Alert, AlertId, Diff, Epoch, Millis, Names, Observable, Severity, Sym, Tactics, Tick, tick_of,
};

/// What a mapping would leave over.
type Left = serde_json::Map<String, serde_json::Value>;

/// Alerts of one example, at most: more would make a check slow and show nothing further.
const ALERTS_MAX: u32 = 100_000;

/// Runs the examples of the correlation at that index; a rule that is told and has none is a fault too.
#[must_use]
pub fn check(correlations: &Correlations, at: usize) -> Vec<Fault> {
    let correlation = &correlations.rules[at];
    let fault = |line: u64, what: String| Fault {
        file: correlation.file.clone(),
        line: Some(line).filter(|line| *line > 0),
        what,
        cure: "mend the rule, or what the example expects".to_owned(),
    };
    if correlation.examples.is_empty() && correlation.told {
        let cure = "give alerts that make it fire, and alerts that must not".to_owned();
        let what = format!("`examples` of {:?} is empty", correlation.name);
        return vec![Fault { file: correlation.file.clone(), line: Some(correlation.line), what, cure }];
    }
    let run = |example: &CorrelationExample| match fires(correlations, at, &example.alerts) {
        Ok(found) if found == example.fires => None,
        Ok(found) => Some(format!("an example fires {found} times, not {}", example.fires)),
        Err(what) => Some(what),
    };
    let examples = correlation.examples.iter();
    examples.filter_map(|e| run(&e.value).map(|what| fault(e.referenced.line(), what))).collect()
}

/// How many findings the correlation at that index makes of alerts written as an example writes them.
pub fn fires(correlations: &Correlations, at: usize, lines: &[String]) -> Result<usize, String> {
    let names = Arc::new(Names::default());
    let mut alerts = Vec::new();
    for line in lines {
        let read = read(line, &names, &mut alerts);
        read.map_err(|what| format!("the example's alert {line:?}: {what}"))?;
    }
    let rules = Compiled::all(&correlations.alone(at), &names);
    let concerned = |alert: &Alert| rules.iter().any(|rule| rule.names(alert));
    if let Some(alert) = alerts.iter().find(|alert| !concerned(alert)) {
        let rule = names.get(alert.rule);
        return Err(format!("the example's rule {rule:?} is none of the correlation's `rules`"));
    }
    Ok(usize::try_from(run(alerts, rules, names)).unwrap_or(0))
}

/// Findings that stand after all alerts.
fn run(alerts: Vec<Alert>, rules: Arc<[Compiled]>, names: Arc<Names>) -> Diff {
    timely::execute_directly(move |worker| {
        let found: Rc<RefCell<Diff>> = Rc::default();
        let sum = Rc::clone(&found);
        let mut inputs: InputHandle<Epoch, CapacityContainerBuilder<Vec<_>>> = InputHandle::new();
        let mut clock: InputHandle<Epoch, CapacityContainerBuilder<Vec<Turn>>> = InputHandle::new();
        worker.dataflow::<Epoch, _, _>(|scope| {
            let (alerts, turns) = (scope.input_from(&mut inputs), scope.input_from(&mut clock));
            findings(alerts, turns, &rules, &names, &Keeper::default())
                .inspect(move |(_, diff)| *sum.borrow_mut() += diff);
        });
        for alert in alerts {
            inputs.send((Arc::new(alert), 1));
        }
        clock.send(Turn { epoch: 0, settled: Tick::MAX, acts: Tick::MAX, last: true, keeps: false });
        drop((inputs, clock));
        while worker.step() {}
        *found.borrow()
    })
}

/// Reads `[xN ]<second> <rule> <field>=<value>...`; the rule may be a title of several words.
fn read(line: &str, names: &Names, alerts: &mut Vec<Alert>) -> Result<(), String> {
    let mut words = line.split_whitespace().peekable();
    let copies = match words.peek().and_then(|word| word.strip_prefix('x')).map(str::parse::<u32>) {
        Some(Ok(copies @ 1..=ALERTS_MAX)) => {
            words.next();
            copies
        }
        Some(_) => return Err(format!("write xN with N from 1 to {ALERTS_MAX}")),
        None => 1,
    };
    let second = words.next().and_then(|word| word.parse::<i32>().ok());
    let second =
        second.ok_or("write the second at which it happens first, as in `0 rule src_ip=203.0.113.7`")?;
    let mut rule = Vec::new();
    while let Some(word) = words.next_if(|word| !word.contains('=')) {
        rule.push(word);
    }
    if rule.is_empty() {
        return Err("write the rule behind the second".to_owned());
    }
    let rule = names.intern(&rule.join(" "));
    let (mut alert, mut left) = (blank(rule, names), Left::new());
    for word in words {
        let (field, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is not field=value"))?;
        set(&mut alert, field, value, &mut left, names)?;
    }
    alert.unmapped = (!left.is_empty()).then(|| serde_json::Value::Object(left).to_string().into());
    for copy in 0..copies {
        let position = alerts.len() as u64 + 1;
        let time = (Millis::from(second) + Millis::from(copy)) * 1000;
        // Alerts of one second keep their order: ids sort as they are written.
        let id = AlertId(u128::from(position).to_be_bytes());
        alerts.push(Alert { id, time, tick: tick_of(time), position, ..alert.clone() });
    }
    if alerts.len() > ALERTS_MAX as usize {
        return Err(format!("an example holds {ALERTS_MAX} alerts at most"));
    }
    Ok(())
}

fn set(alert: &mut Alert, field: &str, value: &str, left: &mut Left, names: &Names) -> Result<(), String> {
    let name = FieldName::parse(field)?;
    match name.known.first() {
        Some(Field::Entity(kind, role)) => {
            let text = canonical(*kind, &[], &[], value)
                .ok_or_else(|| format!("{value:?} is no value of {field}"))?;
            let entity = crate::record::Entity { kind: *kind, value: names.intern(&text) };
            alert.entities.push(Observable { entity, role: role.unwrap_or_default() });
        }
        Some(Field::Product) => alert.product = names.intern(value),
        Some(Field::Severity) => {
            let severity = Severity::ALL.into_iter().find(|severity| severity.name() == value);
            alert.severity = severity.ok_or_else(|| format!("{value:?} is no severity"))?;
        }
        Some(Field::Rule | Field::Title) => return Err("the rule stands behind the second".to_owned()),
        None => {
            left.insert(field.to_owned(), value.into());
        }
    }
    Ok(())
}

pub(super) fn blank(rule: Sym, names: &Names) -> Alert {
    Alert {
        id: AlertId::default(),
        time: 0,
        tick: 0,
        tenant: names.intern("default"),
        source: names.intern("example"),
        position: 0,
        product: names.intern("example"),
        rule,
        title: rule,
        severity: Severity::Unknown,
        identified: true,
        further: false,
        tactics: Tactics::default(),
        attacks: Sym::EMPTY,
        entities: SmallVec::new(),
        unmapped: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Correlations {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("x.yml");
        std::fs::write(&file, text).expect("room for a file");
        let mut faults = Vec::new();
        let rules = Correlations::read(&[file], &mut faults);
        assert_eq!(faults, []);
        rules
    }

    fn rule(correlation: &str) -> Correlations {
        rules(&format!("title: X\ncorrelation: {{group-by: [user], timespan: 1m, {correlation}}}"))
    }

    fn count(rules: &Correlations, lines: &[&str]) -> Result<usize, String> {
        fires(rules, rules.rules.len() - 1, &lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn examples_run_through_the_operator() {
        let three = rule("type: event_count, rules: [Sign-in failed], condition: {gte: 3}");
        assert_eq!(count(&three, &["x3 0 Sign-in failed user=Bob"]), Ok(1));
        assert_eq!(count(&three, &["x2 0 Sign-in failed user=bob", "9 Sign-in failed user=eve"]), Ok(0));
        assert_eq!(count(&three, &["x2 0 Sign-in failed user=bob", "60 Sign-in failed user=BOB"]), Ok(1));
        assert_eq!(count(&three, &["x2 0 Sign-in failed user=bob", "61 Sign-in failed user=bob"]), Ok(0));
        let ordered = rule("type: temporal_ordered, rules: [a, b]");
        assert_eq!(count(&ordered, &["5 b user=x", "0 a user=x"]), Ok(1), "the order is that of time");
        assert_eq!(count(&ordered, &["0 a user=x", "0 b user=x"]), Ok(1), "in one second: that of the list");
        assert_eq!(count(&ordered, &["0 b user=x", "0 a user=x"]), Ok(0));
    }

    #[test]
    fn what_is_connected_is_one_finding() {
        let connected = rules(
            "title: X\ncorrelation: {type: connected, rules: any, where: {severity: [high, critical]}, \
             group-by: [user, host], timespan: 1m, condition: {gte: 3}}",
        );
        let path = ["0 a user=ada host=h severity=high", "50 b user=bob host=h severity=critical"];
        let with = |more| count(&connected, &[&path[..], &[more]].concat());
        assert_eq!(with("110 c user=bob severity=high"), Ok(1));
        assert_eq!(with("111 c user=bob severity=high"), Ok(0));
        assert_eq!(with("60 c user=bob severity=medium"), Ok(0));
        assert_eq!(with("60 c user=eve host=h2 severity=high"), Ok(0));
        assert_eq!(with("60 c severity=high"), Ok(0), "it has none of the fields");
        assert_eq!(
            count(&connected, &["x9 0 a user=ada severity=high", "x3 0 b host=h severity=fatal"]),
            Ok(1)
        );
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let ordered = rule("type: temporal_ordered, rules: [a, b]");
        for (line, what) in [
            ("a user=x", "write the second"),
            ("0 user=x", "write the rule"),
            ("x0 0 a user=x", "xN"),
            ("0 a colour..=red", "not a field's path"),
            ("0 a src_ip=nowhere", "is no value"),
            ("0 c user=x", "none of the correlation's"),
        ] {
            let said = count(&ordered, &[line]).unwrap_err();
            assert!(said.contains(what), "{line}: {said}");
        }
        assert_eq!(check(&ordered, 0).len(), 1, "a rule without examples is a fault");
    }
}
