//! Reading: what rules in files mean together: references, circles, what is told, filters, and every fault with its cure.

use std::sync::Arc;

use quell::plan::correlation::Correlations;
use quell::record::{Alert, Names, tick_of};

use super::harness::{alert, batches, read, rules, run};

type Brief<'a> = (i64, &'a str, &'a [(&'a str, &'a str)]);

fn found(rules: &Correlations, alerts: &[Brief<'_>]) -> Vec<String> {
    let names = Arc::new(Names::default());
    let one = |(n, (second, rule, entities)): (usize, &Brief<'_>)| -> (Alert, i64) {
        (alert(&names, n as u64, second * 1_000, tick_of(second * 1_000), rule, entities, ""), 1)
    };
    let stream: Vec<_> = alerts.iter().enumerate().map(one).collect();
    let last = run(rules, &names, &batches(&stream, 3), 1).pop().unwrap_or_default();
    last.into_iter()
        .map(|(rule, group, time, _, ids)| format!("{rule} {group} {time} {}", ids.len()))
        .collect()
}

const FAILED_THEN_IN: &str = "
title: Failed, then in
correlation: {type: temporal_ordered, rules: [many_failed, in], group-by: [User], timespan: 10m}
---
title: Many failed
name: many_failed
correlation: {type: event_count, rules: [failed], group-by: [User, host], timespan: 10m, condition: {gte: 2}}
---
title: Sign-in failed
id: 53ba33fd-3a50-4468-a5ef-c583635cfa92
name: failed
logsource: {product: windows}
detection: {selection: {EventID: [529, 4625]}, condition: selection}
---
title: Signed in
name: in
logsource: {product: windows}
detection: {selection: {EventID: 4624}, condition: selection}
";

#[test]
fn a_chain_names_the_alerts_of_its_links() {
    let ada: &[(&str, &str)] = &[("user", "ada"), ("host", "h")];
    // By title, by id and by name.
    let alerts: [Brief<'_>; 3] =
        [(0, "Sign-in failed", ada), (5, "53ba33fd-3a50-4468-a5ef-c583635cfa92", ada), (9, "in", ada)];
    assert_eq!(
        found(&rules(FAILED_THEN_IN), &alerts),
        ["Failed, then in ada 9000 3"],
        "the inner rule is not told"
    );
    let generate = FAILED_THEN_IN
        .replace("timespan: 10m}\n---\ntitle: Many", "timespan: 10m, generate: true}\n---\ntitle: Many");
    let told = ["Failed, then in ada 9000 3", "many_failed ada h 5000 2"];
    assert_eq!(found(&rules(&generate), &alerts), told, "with `generate` it is");
    let late: [Brief<'_>; 3] = [(0, "failed", ada), (5, "failed", ada), (606, "in", ada)];
    assert_eq!(found(&rules(FAILED_THEN_IN), &late), Vec::<String>::new(), "counted from the inner finding");
}

#[test]
fn a_sequence_consumes_unless_it_fires_every_time() {
    let text =
        "title: S\ncorrelation: {type: temporal_ordered, rules: [a, b, c], group-by: [host], timespan: 1h}";
    let h: &[(&str, &str)] = &[("host", "h")];
    let alerts: [Brief<'_>; 5] = [(0, "a", h), (1, "b", h), (2, "c", h), (3, "c", h), (4, "c", h)];
    assert_eq!(found(&rules(text), &alerts), ["S h 2000 3"]);
    let every = text.replace("1h}", "1h, fires: every}");
    assert_eq!(found(&rules(&every), &alerts), ["S h 2000 3", "S h 3000 3", "S h 4000 3"]);
}

#[test]
fn a_filter_keeps_alerts_from_counting() {
    let text = "
title: Many
correlation: {type: event_count, rules: [failed], group-by: [host], timespan: 10m, condition: {gte: 2}}
---
title: Not the administrators
logsource: {product: windows}
filter:
  rules: [failed]
  selection: {User|startswith: adm_}
  condition: not selection
";
    let kim: &[(&str, &str)] = &[("user", "kim"), ("host", "h")];
    let adm: &[(&str, &str)] = &[("user", "adm_kim"), ("host", "h")];
    assert_eq!(found(&rules(text), &[(0, "failed", kim), (1, "failed", adm)]), Vec::<String>::new());
    assert_eq!(found(&rules(text), &[(0, "failed", kim), (1, "failed", kim)]).len(), 1);
}

#[test]
fn a_filter_is_about_rules_of_its_log_source() {
    let text = |filter: &str| {
        format!(
            "
title: Many
correlation: {{type: event_count, rules: [login, started, vendor], group-by: [host], timespan: 10m, condition: {{gte: 1}}, fires: every}}
---
title: login
logsource: {{product: windows, service: security}}
detection: {{}}
---
title: started
logsource: {{product: Linux, category: process_creation}}
detection: {{}}
---
title: Nobody
{filter}
  selection: {{host: '*'}}
  condition: not selection
"
        )
    };
    let host: &[(&str, &str)] = &[("host", "h")];
    let alerts: [Brief<'_>; 3] = [(0, "login", host), (1, "started", host), (2, "vendor", host)];
    let counted = |filter: &str| {
        let found = found(&rules(&text(filter)), &alerts);
        found
            .iter()
            .map(|told| told.split(' ').nth(2).unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(counted("filter:"), "", "of all");
    assert_eq!(counted("logsource: {product: windows}\nfilter:"), "1000 2000");
    assert_eq!(counted("logsource: {product: LINUX}\nfilter:\n  rules: any"), "0 2000");
    assert_eq!(counted("logsource: {category: process_creation}\nfilter:"), "0 2000");
    assert_eq!(counted("logsource: {product: P}\nfilter:"), "0 1000", "the vendor's alert by its product");
    assert_eq!(counted("logsource: {product: p, service: x}\nfilter:"), "0 1000 2000");
    let named = "logsource: {product: windows}\nfilter:\n  rules: [login, started, vendor]";
    assert_eq!(counted(named), "1000", "a name is meant, but where the log source is another's");
    let (_, faults) = read(&[&text("logsource: {host: x}\nfilter:")]);
    assert!(faults[0].what.contains("host"), "{faults:?}");
}

#[test]
fn a_late_alert_undoes_what_was_found_above() {
    let text = "
title: twice
correlation: {type: event_count, rules: [inner], group-by: [host], timespan: 1h, condition: {gte: 2}, generate: true}
---
title: inner
correlation: {type: temporal_ordered, rules: [a, b], group-by: [host], timespan: 1h, condition: a and b and not c}
".replace(", condition: a and b and not c", "").replace("rules: [a, b]", "rules: [a, b, c], condition: a and b and not c");
    let (rules, names) = (rules(&text), Arc::new(Names::default()));
    let one =
        |n: u64, ms: i64, rule: &str| (alert(&names, n, ms, tick_of(ms), rule, &[("host", "h")], ""), 1);
    let early = [one(0, 0, "a"), one(1, 2_000, "b"), one(2, 3_000, "a"), one(3, 5_000, "b")];
    let late = [one(4, 4_000, "c")];
    let stands = run(&rules, &names, &batches(&[&early[..], &late[..]].concat(), 4), 1);
    let rules_of =
        |told: &[super::harness::Told]| told.iter().map(|(rule, ..)| rule.clone()).collect::<Vec<_>>();
    assert_eq!(rules_of(&stands[0]), ["inner", "inner", "twice"]);
    assert_eq!(rules_of(&stands[1]), ["inner"], "said at once, and taken back");
}

#[test]
fn every_fault_says_what_to_do() {
    let base = |inner: &str| format!("title: T\ncorrelation: {{group-by: [host], {inner}}}");
    for (inner, what) in [
        ("type: event_count, rules: [a], timespan: 5m", "compares with nothing"),
        ("type: event_count, rules: [a], timespan: 5y, condition: {gte: 2}", "`timespan` is \"5y\""),
        ("type: event_count, rules: [a], timespan: 5m, condition: {gte: 2, field: x}", "has 1 fields"),
        ("type: event_count, rules: [a], timespan: 5m, condition: {gte: 2.5}", "compared with 2.5"),
        ("type: event_count, rules: [a], timespan: 5m, condition: {more: 2}", "more"),
        ("type: event_count, rules: [a], timespan: 5m, condition: a", "only temporal"),
        ("type: value_count, rules: [a], timespan: 5m, condition: {gte: 2}", "has 0 fields"),
        ("type: value_sum, rules: [a], timespan: 5m, condition: {gte: 2, field: [x, y]}", "has 2 fields"),
        (
            "type: value_percentile, rules: [a], timespan: 5m, condition: {gte: 2, field: x}",
            "which percentile",
        ),
        (
            "type: value_percentile, rules: [a], timespan: 5m, condition: {gte: 2, field: x, percentile: 101}",
            "is 101",
        ),
        (
            "type: value_sum, rules: [a], timespan: 5m, condition: {gte: 2, field: x, percentile: 10}",
            "belongs to",
        ),
        ("type: temporal_ordered, rules: [a], timespan: 5m", "1 rules in order"),
        (
            "type: temporal_ordered, rules: [a, b], timespan: 5m, condition: {gte: 1}",
            "needs all of its rules",
        ),
        ("type: temporal_ordered, rules: [a, b], timespan: 5m, window: session", "no `gap`"),
        ("type: temporal_ordered, timespan: 5m, condition: a or b", "with `or`"),
        ("type: temporal, rules: [a, b], timespan: 5m, condition: a", "does not ask for the rule \"b\""),
        (
            "type: temporal, rules: [a, b], timespan: 5m, condition: not a or b",
            "none of its rules has an alert",
        ),
        ("type: temporal, rules: [a, b], timespan: 5m, window: session", "no `gap`"),
        ("type: temporal, rules: [a, b], timespan: 5m, gap: 1m", "session windows alone"),
        ("type: temporal, rules: [a, b], timespan: 5m, aliases: {w: {c: User}}", "none of `rules`"),
        ("type: temporal, rules: [], timespan: 5m", "the list is empty"),
        ("type: connected, rules: [a], timespan: 5m", "how many alerts must hang together"),
        ("type: connected, rules: [a], timespan: 5m, condition: {gte: 1}", "how many alerts must"),
        ("type: connected, rules: [a], timespan: 5m, condition: {lt: 9}", "how many alerts must"),
        (
            "type: connected, rules: [a], timespan: 5m, condition: {gte: 3, field: user}",
            "how many alerts must",
        ),
        ("type: connected, rules: [a], timespan: 5m, condition: {gte: 3}, fires: every", "nor `fires`"),
        ("type: connected, rules: [a], timespan: 5m, condition: {gte: 3}, window: tumbling", "nor `gap`"),
        (
            "type: temporal, rules: [a, b], timespan: 5m, where: {severity|near: high}",
            "`where` cannot be read",
        ),
        ("type: sometimes, rules: [a], timespan: 5m", "sometimes"),
    ] {
        let (read, faults) = read(&[&base(inner)]);
        assert!(read.rules.is_empty(), "{inner}");
        assert!(faults.iter().any(|fault| fault.what.contains(what)), "{inner}: {faults:?}");
        assert!(faults.iter().all(|fault| !fault.cure.is_empty()), "{faults:?}");
    }
}

#[test]
fn any_means_alerts_of_all_rules_and_where_chooses_among_them() {
    let text = |only: &str| {
        format!(
            "title: R\ncorrelation: {{type: event_count, rules: any, {only} group-by: [host], timespan: 1h, condition: {{gte: 1}}, fires: every}}"
        )
    };
    let (kim, eve): (&[_], &[_]) = (&[("user", "kim"), ("host", "h")], &[("user", "eve"), ("host", "h")]);
    let alerts: [Brief<'_>; 3] = [(0, "a", kim), (1, "any", eve), (2, "b", kim)];
    let counted = |only: &str| found(&rules(&text(only)), &alerts).len();
    assert_eq!(counted(""), 3);
    assert_eq!(counted("where: {User: kim},"), 2);
    assert_eq!(counted("where: {User|startswith: [k, x], severity: [low, high]},"), 2);
    assert_eq!(counted("where: {severity: low},"), 3);
    assert_eq!(counted("where: {severity: [high, critical]},"), 0);
    assert_eq!(counted("where: {user: kim, severity: high},"), 0);
    let filter =
        "\n---\ntitle: Not kim\nlogsource: {}\nfilter: {rules: any, s: {User: kim}, condition: not s}";
    assert_eq!(found(&rules(&(text("") + filter)), &alerts).len(), 1);
    let own = "\n---\ntitle: any\ndetection: {}";
    assert_eq!(found(&rules(&(text("") + own)), &alerts).len(), 1, "a rule of that name is meant");
    let above =
        "title: A\ncorrelation: {type: temporal, rules: [R, x], where: {host: h}, timespan: 1h}\n---\n";
    let (_, faults) = read(&[&(above.to_owned() + &text(""))]);
    assert!(faults[0].what.contains("\"R\" is a correlation"), "{faults:?}");
    let none = text("").replace("event_count", "connected").replace("group-by: [host], ", "");
    let (_, faults) = read(&[&none]);
    assert!(faults[0].what.contains("1 to 8 fields"), "{faults:?}");
}

#[test]
fn circles_and_doubtful_references_are_faults() {
    let one = "title: A\ncorrelation: {type: event_count, rules: [B], group-by: [host], timespan: 5m, condition: {gte: 2}}";
    let other = "title: B\ncorrelation: {type: temporal, rules: [A, C], group-by: [host], timespan: 5m}";
    let third = "# The third.\ntitle: C\ncorrelation: {type: event_count, rules: [x], group-by: [host], timespan: 5m, condition: {gte: 2}}";
    let (rules, faults) = read(&[one, other, third]);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults.iter().all(|fault| fault.what.contains("by way of A, B")), "{faults:?}");
    assert_eq!(rules.rules.len(), 1, "what is sound is kept, so that its examples are run");
    let missing = other.replace("group-by: [host]", "group-by: [user]").replace("A, C", "a, C");
    let (_, faults) = read(&[&missing, third]);
    assert!(faults[0].what.contains("which are grouped by [\"host\"]"), "{faults:?}");
    let twice = third.replace("title: C", "title: C\nname: c2");
    let (_, faults) = read(&[third, &twice, &other.replace("A, C", "a, C").replace("title: C", "title: D")]);
    assert!(faults.iter().any(|fault| fault.what.contains("may be any of 2")), "{faults:?}");
    let (_, faults) = read(&[third, third]);
    assert!(faults.iter().any(|fault| fault.what.contains("also named \"C\"")), "{faults:?}");
}

#[test]
fn a_fault_has_its_line_in_a_file_of_many_documents() {
    let text =
        "title: A\ndetection: {}\n---\n# b\ntitle: B\ncorrelation:\n  type: event_count\n  rulez: [a]\n";
    let (_, faults) = read(&[text]);
    assert_eq!(faults[0].line, Some(8), "{faults:?}");
    // What can be read, and not used, stands on its line as well.
    for (from, to, line) in
        [("timespan: 5m", "timespan: 0s", 10), ("[a]", "[]", 8), ("gte: 2", "field: x, eq: 2", 11)]
    {
        let text = "title: A\ndetection: {}\n---\n# b\ntitle: B\ncorrelation:\n  type: event_count\n  rules: [a]\n  \
                    group-by: [host]\n  timespan: 5m\n  condition: {gte: 2}\n";
        let (_, faults) = read(&[&text.replace(from, to)]);
        assert_eq!(faults[0].line, Some(line), "{faults:?}");
    }
}
