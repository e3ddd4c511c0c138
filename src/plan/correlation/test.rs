//! Test: what a correlation's `type` and `condition` ask for together, or why they don't fit.

use super::expression::Expression;
use super::file::{BoundsFile, ConditionFile, CorrelationKind, CorrelationSpec};
use super::rule::{Bounds, Comparison, Fires, Sequence, Test, Window};
use crate::record::Decimal;

/// What is wrong, and what to do about it.
pub type Wrong = (String, String);

/// Counts are compared with whole numbers up to this.
const COUNT_MAX: i64 = 1_000_000;
/// Rules of one temporal correlation, at most: each has a bit.
const PLACES_MAX: usize = 64;
/// Rules that must follow one another, at most.
const ORDERED_MAX: usize = 16;

/// What `rules` names; of a temporal correlation without, the names in its expression.
#[must_use]
pub fn names(spec: &CorrelationSpec) -> Vec<String> {
    match (&spec.rules, &spec.condition) {
        (Some(rules), _) => rules.0.clone(),
        (None, Some(ConditionFile::Expression(text))) => {
            let words = text.split(|c: char| !(c.is_alphanumeric() || "_-.:".contains(c)));
            let mut names: Vec<String> = Vec::new();
            for word in words.filter(|word| !word.is_empty()) {
                let keyword = ["and", "or", "not"].iter().any(|known| word.eq_ignore_ascii_case(known));
                if !keyword && !names.iter().any(|name| name == word) {
                    names.push(word.to_owned());
                }
            }
            names
        }
        (None, Some(ConditionFile::Bounds(_)) | None) => Vec::new(),
    }
}

/// What it looks for, and the fields that it counts or adds up.
pub fn test(spec: &CorrelationSpec, names: &[String]) -> Result<(Test, Vec<String>), Wrong> {
    let wrong = |what: &str, cure: &str| Err((what.to_owned(), cure.to_owned()));
    if names.is_empty() {
        return wrong("`rules` is empty", "name at least one rule");
    }
    if spec.kind == CorrelationKind::Connected {
        return connected(spec).map(|test| (test, Vec::new()));
    }
    let temporal = matches!(spec.kind, CorrelationKind::Temporal | CorrelationKind::TemporalOrdered);
    if temporal && names.len() > PLACES_MAX {
        return wrong("a temporal correlation has more than 64 rules", "chain several correlations");
    }
    let bounds = match &spec.condition {
        Some(ConditionFile::Bounds(bounds)) => Some(&**bounds),
        Some(ConditionFile::Expression(_)) if !temporal => {
            return wrong(
                "only temporal correlations have an expression as `condition`",
                "compare, as in condition: {gte: 10}",
            );
        }
        Some(ConditionFile::Expression(text)) => return expression(spec.kind, text, names),
        None => None,
    };
    if temporal {
        return together(spec.kind, bounds, names).map(|test| (test, Vec::new()));
    }
    let Some(bounds) = bounds.filter(|bounds| !bounds.bounds().0.is_empty()) else {
        let cure = "write at least one of gt, gte, lt, lte, eq and neq, as in condition: {gte: 10}";
        return wrong("`condition` compares with nothing", cure);
    };
    let fields = bounds.field.as_ref().map(|field| field.0.clone()).unwrap_or_default();
    let most = match spec.kind {
        CorrelationKind::EventCount
        | CorrelationKind::Temporal
        | CorrelationKind::TemporalOrdered
        | CorrelationKind::Connected => 0,
        CorrelationKind::ValueCount => 8,
        CorrelationKind::ValueSum
        | CorrelationKind::ValueAvg
        | CorrelationKind::ValuePercentile
        | CorrelationKind::ValueMedian => 1,
    };
    if fields.len() > most || fields.is_empty() && most > 0 {
        let cure = match most {
            0 => "take `field` out, or make it a value_count",
            1 => "name the one field whose numbers it is about",
            _ => "name one field whose values are counted, or up to eight that are one value together",
        };
        return Err((format!("`condition` has {} fields", fields.len()), cure.to_owned()));
    }
    numeric(spec.kind, bounds).map(|test| (test, fields))
}

/// Fields that may link alerts, at most.
const LINKING_MAX: usize = 8;

fn connected(spec: &CorrelationSpec) -> Result<Test, Wrong> {
    let wrong = |what: &str, cure: &str| Err((what.to_owned(), cure.to_owned()));
    let fields = spec.group_by.as_ref().map(|fields| fields.0.len()).unwrap_or_default();
    if !(1..=LINKING_MAX).contains(&fields) {
        let what = "a `connected` is linked by 1 to 8 fields";
        return wrong(what, "name in `group-by` the fields of which any one links two alerts");
    }
    if spec.window != Window::Sliding || spec.gap.is_some() || spec.fires != Fires::Crossing {
        let what = "a `connected` has neither `window` nor `gap` nor `fires`";
        return wrong(what, "take them out: `timespan` says how far apart two linked alerts may be");
    }
    let bounds = match &spec.condition {
        Some(ConditionFile::Bounds(bounds)) if bounds.field.is_none() && bounds.percentile.is_none() => {
            bounds.bounds()
        }
        Some(ConditionFile::Bounds(_) | ConditionFile::Expression(_)) | None => Bounds::default(),
    };
    whole(&bounds)?;
    match (&bounds.0[..], bounds.least()) {
        ([(Comparison::AtLeast | Comparison::Greater, _)], Some(least @ 2..)) => Ok(Test::Connected(least)),
        _ => wrong(
            "a `connected` does not say how many alerts must hang together",
            "write condition: {gte: 3}, with 2 or more",
        ),
    }
}

fn numeric(kind: CorrelationKind, file: &BoundsFile) -> Result<Test, Wrong> {
    let bounds = file.bounds();
    let test = match (kind, file.percentile) {
        (CorrelationKind::ValuePercentile, Some(percent)) => {
            let percents = Decimal::default()..=Decimal::whole(100);
            if !percents.contains(&percent) {
                return Err((format!("`percentile` is {percent}"), "write a number from 0 to 100".into()));
            }
            return Ok(Test::Percentile(percent, bounds));
        }
        (CorrelationKind::ValuePercentile, None) => {
            let cure = "write condition: {field: ..., percentile: 95, gt: ...}: that percentile of the field's numbers is compared";
            return Err(("it does not say which percentile is meant".into(), cure.into()));
        }
        (_, Some(_)) => {
            let what = "`percentile` belongs to value_percentile alone";
            return Err((what.into(), "take it out, or make it a value_percentile".into()));
        }
        (CorrelationKind::ValueSum, None) => return Ok(Test::Sum(bounds)),
        (CorrelationKind::ValueAvg, None) => return Ok(Test::Average(bounds)),
        (CorrelationKind::ValueMedian, None) => return Ok(Test::Median(bounds)),
        (CorrelationKind::ValueCount, None) => Test::Distinct(bounds.clone()),
        (
            CorrelationKind::EventCount
            | CorrelationKind::Temporal
            | CorrelationKind::TemporalOrdered
            | CorrelationKind::Connected,
            None,
        ) => Test::Count(bounds.clone()),
    };
    whole(&bounds)?;
    Ok(test)
}

/// A count is compared with whole numbers.
fn whole(bounds: &Bounds) -> Result<(), Wrong> {
    let counts = Decimal::default()..=Decimal::whole(COUNT_MAX);
    let odd = |bound: &Decimal| bound.billionths() % Decimal::SCALE != 0 || !counts.contains(bound);
    match bounds.0.iter().find(|(_, bound)| odd(bound)) {
        Some((_, bound)) => Err((
            format!("a count is compared with {bound}"),
            format!("write a number from 0 to {COUNT_MAX}"),
        )),
        None => Ok(()),
    }
}

fn together(kind: CorrelationKind, file: Option<&BoundsFile>, names: &[String]) -> Result<Test, Wrong> {
    if file.is_some_and(|file| file.field.is_some() || file.percentile.is_some()) {
        let what = "a temporal correlation has neither `field` nor `percentile`";
        return Err((what.into(), "take it out, or make it a value_count".into()));
    }
    let bounds = file.map(BoundsFile::bounds).unwrap_or_default();
    whole(&bounds)?;
    let all = names.len();
    if kind == CorrelationKind::Temporal {
        let all = u32::try_from(all).unwrap_or(u32::MAX);
        return Ok(Test::Together(if bounds.0.is_empty() { Bounds::at_least(all) } else { bounds }));
    }
    // Of an order no part can be left out: a condition may only say so.
    let holds = |many: usize| bounds.hold(many as i128 * Decimal::SCALE, 1);
    if !bounds.0.is_empty() && (!holds(all) || (0..all).any(holds)) {
        let cure = format!("write gte: {all} or nothing, or make it a temporal");
        return Err(("temporal_ordered needs all of its rules".into(), cure));
    }
    ordered((0..all).collect(), 0)
}

fn ordered(order: Vec<usize>, without: u64) -> Result<Test, Wrong> {
    if (2..=ORDERED_MAX).contains(&order.len()) {
        return Ok(Test::Ordered(Sequence { order, without }));
    }
    let what = format!("`temporal_ordered` puts {} rules in order", order.len());
    Err((what, format!("name 2 to {ORDERED_MAX} rules in order")))
}

fn expression(kind: CorrelationKind, text: &str, names: &[String]) -> Result<(Test, Vec<String>), Wrong> {
    let cure = "combine the names in `rules` with and, or, not, brackets and `N of PATTERN`";
    let parsed = Expression::parse(text, names)
        .map_err(|what| (format!("`condition` {text:?} cannot be read: {what}"), cure.to_owned()))?;
    if let Some(idle) = (0..names.len()).find(|place| parsed.names() >> place & 1 == 0) {
        let what = format!("`condition` does not ask for the rule {:?}", names[idle]);
        return Err((what, "name it in the condition, or take it out of `rules`".into()));
    }
    if parsed.holds(0) {
        let what = "`condition` holds where none of its rules has an alert".to_owned();
        return Err((what, "ask for at least one that must be there".into()));
    }
    let test = if kind == CorrelationKind::Temporal {
        Test::Expression(parsed)
    } else {
        let Some((with, without)) = parsed.conjunction() else {
            let what = "`condition` of a temporal_ordered combines rules with `or`".to_owned();
            return Err((what, "use `and` and `not` alone, or a correlation for each order".into()));
        };
        ordered((0..names.len()).filter(|place| with >> place & 1 == 1).collect(), without)?
    };
    Ok((test, Vec::new()))
}
