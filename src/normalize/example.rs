//! Examples: the records in a mapping file become what the file says they must, or it is a fault.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::normalizer::{Normalizer, Parsed, SourceSettings};
use crate::ingest::{Framed, Framer, Limits, Origin};
use crate::plan::fault::Fault;
use crate::plan::mapping::{Example, Expect, ExpectAlert, Mapping};
use crate::record::{Alert, Names};

/// When examples are read: 2030-01-01, so that what they show has happened.
const AS_OF_MS: i64 = 1_893_456_000_000;

/// Runs the examples of `mapping` against all mappings, since another one might take its records away.
#[must_use]
pub fn check(mapping: &Mapping, all: &[Mapping]) -> Vec<Fault> {
    let fault = |line: u64, what| Fault {
        file: mapping.file.clone(),
        line: Some(line).filter(|line| *line > 0),
        what,
        cure: "mend the mapping, or what the example expects".into(),
    };
    let added = |rule: &str| is_added(mapping, rule);
    let run = |example: &Example| {
        run(example, all, added).err().map(|what| format!("example {:?}: {what}", example.name))
    };
    let examples = mapping.examples.iter();
    examples.filter_map(|e| run(&e.value).map(|what| fault(e.referenced.line(), what))).collect()
}

/// Whether a rule lies elsewhere than in the folder `rules` beside the mapping's: it was added to those that the mapping's examples
/// were written for.
fn is_added(mapping: &Mapping, rule: &str) -> bool {
    let router = mapping.detection.as_ref().and_then(|detection| detection.router.as_ref());
    let file = router.and_then(|router| router.file_of(rule));
    let own = mapping.file.parent().map(|folder| folder.with_file_name("rules")).unwrap_or_default();
    file.is_some_and(|file| !file.starts_with(&own))
}

fn run(example: &Example, mappings: &[Mapping], added: impl Fn(&str) -> bool) -> Result<(), String> {
    let names = Arc::new(Names::default());
    let (source, tenant) = (names.intern("example"), names.intern("default"));
    let text = example.raw.as_str().map_or_else(|| example.raw.to_string(), str::to_owned);
    let mut records = Vec::new();
    let mut framer = Framer::new(Origin { source, tenant }, Limits::default());
    framer.feed(text.as_bytes(), &mut records);
    framer.finish(&mut records);
    let settings = SourceSettings {
        name: source,
        tenant,
        tenant_from_field: false,
        zone: TimeZone::UTC,
        as_of: AS_OF_MS,
        future_max_ms: 86_400_000,
    };
    let mut normalizer = Normalizer::new(mappings, settings, Arc::clone(&names));
    let mut parsed = Parsed::default();
    match records.as_slice() {
        [Framed::Chunk(chunk)] if chunk.len() == 1 => normalizer.parse(chunk, &mut parsed),
        _ => return Err("its text is not one record".into()),
    }
    // Whoever adds rules finds more: what an example says of those that it was written for holds all the same.
    let own = parsed.alerts.iter().find(|alert| !added(&names.get(alert.rule)));
    match (&example.expect, parsed.alerts.first(), parsed.rejects.first()) {
        (Expect::Alert(expected), Some(first), _) => {
            let rule = expected.rule.as_deref();
            let named = parsed.alerts.iter().find(|alert| rule == Some(names.get(alert.rule).as_str()));
            compare(expected, named.or(own).unwrap_or(first), &names)
        }
        (Expect::Ignored(_), Some(_), None) if own.is_none() => Ok(()),
        (Expect::Alerts(expected), _, None) => expected.iter().try_for_each(|one| {
            let rule = one.rule.as_deref().ok_or("each of its `alerts` must name a `rule`")?;
            let found = parsed.alerts.iter().find(|alert| names.get(alert.rule) == rule);
            let found = found.ok_or_else(|| unmatched(rule, &parsed.alerts, &names))?;
            compare(one, found, &names).map_err(|what| format!("of rule {rule:?}, {what}"))
        }),
        (Expect::Ignored(kind), None, None) => {
            let found = parsed.ignored.keys().next().map(|(_, kind)| names.get(*kind)).unwrap_or_default();
            if found == *kind { Ok(()) } else { Err(format!("ignored as {found:?}, not as {kind:?}")) }
        }
        (Expect::Rejected(part), _, Some(reject)) if reject.reason.contains(part) => Ok(()),
        (_, _, Some(reject)) => Err(format!("rejected: {}", reject.reason)),
        (Expect::Ignored(_) | Expect::Rejected(_), Some(_), _) => Err("it became an alert".into()),
        (Expect::Alert(_) | Expect::Rejected(_), None, None) => Err("it was ignored".into()),
    }
}

fn unmatched(rule: &str, alerts: &[Alert], names: &Names) -> String {
    let others: Vec<String> = alerts.iter().map(|alert| names.get(alert.rule)).collect();
    let others = if others.is_empty() {
        "no rule does".to_owned()
    } else {
        format!("these do: {}", others.join(", "))
    };
    format!("the rule {rule:?} does not match it, or no rule file has it; {others}")
}

fn compare(expected: &ExpectAlert, alert: &Alert, names: &Names) -> Result<(), String> {
    let time = Timestamp::from_millisecond(alert.time).map(|t| t.to_string()).unwrap_or_default();
    let wanted_time = expected.time.as_ref().map(|time| {
        time.parse::<Timestamp>().map_or_else(|_| format!("{time}, which is not RFC 3339"), |t| t.to_string())
    });
    let texts = [
        ("product", &expected.product, names.get(alert.product)),
        ("rule", &expected.rule, names.get(alert.rule)),
        ("title", &expected.title, names.get(alert.title)),
        ("attacks", &expected.attacks, names.get(alert.attacks)),
        ("time", &wanted_time, time),
        ("severity", &expected.severity.map(|s| s.name().to_owned()), alert.severity.name().to_owned()),
        ("identified", &expected.identified.map(|i| i.to_string()), alert.identified.to_string()),
    ];
    for (field, wanted, found) in texts {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| **wanted != found) {
            return Err(format!("{field} is {found:?}, not {wanted:?}"));
        }
    }
    let found: Vec<String> = alert.entities.iter().map(|entity| entity.text(names)).collect();
    match &expected.entities {
        Some(wanted) if *wanted != found => Err(format!("entities are {found:?}, not {wanted:?}")),
        _ => Ok(()),
    }
}
