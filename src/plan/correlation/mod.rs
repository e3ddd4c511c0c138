//! Correlation rules: files of `dataflows/correlations/`, Sigma 2.1 in YAML.
//!
//! Everything of Sigma's correlations is read: all types and conditions, aliases, correlations of correlations, `generate`,
//! several documents in a file, filters; and pySigma's expressions as a temporal condition. The type `connected`, `where`,
//! `window`, `gap` and `fires` are Quell's own: Sigma has no place for extensions in a correlation, so other tools will turn
//! away a rule that uses them. What cannot be read is a load error. An `examples:` list beside Sigma's keys holds alerts and the number of findings that they must give.

mod ask;
pub mod documents;
pub mod expression;
pub mod field;
pub mod file;
pub mod filter;
pub mod reach;
pub mod resolve;
pub mod rule;
pub mod test;

use std::path::Path;

pub use expression::Expression;
pub use field::{Field, FieldName};
pub use file::{CorrelationExample, CorrelationFile};
pub use filter::{Filter, Scope};
pub use rule::{
    Bounds, Comparison, Correlation, Extent, Fires, Input, Lookup, Sequence, Source, Test, Window,
};

use super::fault::Fault;
use super::rule::Rules;
use super::text;

/// The correlations of a plan, and what keeps alerts from counting in them.
#[derive(Clone, Debug, Default)]
pub struct Correlations {
    /// In the order of files and documents.
    pub rules: Vec<Correlation>,
    /// In the same order.
    pub filters: Vec<Filter>,
}

impl Correlations {
    /// Reads files as one plan's; tells every fault that they have, and keeps the rules that have none.
    pub fn read(files: &[impl AsRef<Path>], faults: &mut Vec<Fault>) -> Correlations {
        let mut documents = Vec::new();
        for file in files {
            let file = file.as_ref();
            let read = text::read(file)
                .map_err(|error| {
                    vec![Fault::of(file, format!("cannot be read: {error}"), "make it readable")]
                })
                .and_then(|text| documents::read(file, &text));
            match read {
                Ok(read) => documents.extend(read.into_iter().map(|document| (file.to_owned(), document))),
                Err(more) => faults.extend(more),
            }
        }
        resolve::resolve(documents, faults)
    }

    /// Tells the filters of which log source the plan's detection rules are.
    pub fn know(&mut self, rules: &Rules) {
        for scope in self.filters.iter_mut().filter_map(|filter| filter.scope.as_mut()) {
            // An id is one rule's, a title may be several rules': what an id says stands.
            for (rule, source) in rules.sources() {
                scope.know([rule.title.as_str()], source);
            }
            for (rule, source) in rules.sources() {
                scope.know([rule.key.as_str()], source);
            }
        }
    }

    /// The rule at `at` with those whose findings it takes in, and all filters: what an example of it runs. The rule is the
    /// last of them, and is told.
    #[must_use]
    pub fn alone(&self, at: usize) -> Correlations {
        let mut wanted = vec![at];
        let mut next = 0;
        while let Some(rule) = wanted.get(next).and_then(|at| self.rules.get(*at)) {
            for input in &rule.inputs {
                match input.of {
                    Source::Findings(inner) if !wanted.contains(&inner) => wanted.push(inner),
                    Source::Findings(_) | Source::Alerts(_) | Source::Any => {}
                }
            }
            next += 1;
        }
        wanted.reverse();
        let mut rules: Vec<Correlation> =
            wanted.iter().filter_map(|at| self.rules.get(*at).cloned()).collect();
        for (rule, old) in rules.iter_mut().zip(&wanted) {
            rule.told = *old == at;
            for input in &mut rule.inputs {
                if let Source::Findings(inner) = &mut input.of {
                    *inner = wanted.iter().position(|old| old == inner).unwrap_or_default();
                }
            }
        }
        Correlations { rules, filters: self.filters.clone() }
    }
}

/// Milliseconds of `30s`, `5m`, `1h`, `1d`, `2w`; at most 30 days.
#[must_use]
pub fn timespan(text: &str) -> Option<i64> {
    let unit = match text.chars().last()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        'w' => 7 * 86_400_000,
        _ => return None,
    };
    let n: i64 = text.get(..text.len() - 1)?.parse().ok()?;
    let ms = n.checked_mul(unit)?;
    (1..=30 * 86_400_000).contains(&ms).then_some(ms)
}
