//! History: how often analysts called a rule, a tenant, a rule at a tenant what. Part of the model: learned with it, frozen
//! with it.
//!
//! What is right differs from tenant to tenant more than by anything else that a model sees, so these rates carry much of the
//! signal; and a rule that no analyst ever judged is one on which nothing should run alone: see [`History::confidence_max`].

use std::collections::BTreeMap;

use crate::featurize::features::{log_share, step};
use crate::record::features::HISTORY;
use crate::record::{Features, Triage};

/// Verdicts that weigh as much as the rates of the level above: a rule's for a rule at a tenant, everything's for a rule.
const PRIOR: f64 = 4.0;
/// Verdicts beyond which more say no more.
const FULL: f64 = 10_000.0;

/// Analysts' verdicts by key of [`Features::history`], counted by class in the order of [`Triage::ALL`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    counts: BTreeMap<u32, [u32; 3]>,
    total: [u32; 3],
}

impl History {
    /// A history of these counts by key; `total` counts each verdict once.
    #[must_use]
    pub fn new(counts: BTreeMap<u32, [u32; 3]>, total: [u32; 3]) -> History {
        History { counts, total }
    }

    /// Counts by key, and the number of verdicts of each class.
    #[must_use]
    pub fn counts(&self) -> (&BTreeMap<u32, [u32; 3]>, [u32; 3]) {
        (&self.counts, self.total)
    }

    /// Counts a verdict.
    pub fn add(&mut self, features: &Features, verdict: Triage) {
        let at = verdict as usize;
        for key in features.history {
            self.counts.entry(key).or_default()[at] += 1;
        }
        self.total[at] += 1;
    }

    fn of(&self, key: u32) -> [u32; 3] {
        self.counts.get(&key).copied().unwrap_or_default()
    }

    /// `features` with its history columns filled in: the count of the rule's verdicts, and the rates of the rule at the
    /// tenant, smoothed towards those of the rule, these towards everything's.
    #[must_use]
    pub fn fill(&self, features: &Features) -> Features {
        let [rule, _, rule_at_tenant] = features.history;
        let even = [1.0 / 3.0; 3];
        let rates = smooth(self.of(rule_at_tenant), smooth(self.of(rule), smooth(self.total, even)));
        let mut filled = features.clone();
        filled.numeric[HISTORY] = step(log_share(f64::from(self.of(rule).iter().sum::<u32>()), FULL));
        for (column, rate) in filled.numeric[HISTORY + 1..].iter_mut().zip(rates) {
            *column = step(rate);
        }
        filled
    }

    /// Whether analysts ever judged the rule, and anything at the tenant: a model that knows neither guesses.
    #[must_use]
    pub fn knows(&self, features: &Features) -> bool {
        let [rule, tenant, _] = features.history.map(|key| self.counts.contains_key(&key));
        rule && tenant
    }

    /// The most that may be believed of a triage, by Laplace's rule of succession over three classes: `(n + 1) / (n + 3)`
    /// after n verdicts on the rule (wherever given) or at the tenant (on whatever), whichever are fewer. So a rule or a
    /// tenant without history goes to a person under any floor above a third.
    #[must_use]
    pub fn confidence_max(&self, features: &Features) -> f64 {
        let [rule, tenant, _] = features.history.map(|key| self.of(key).iter().sum::<u32>());
        let n = f64::from(rule.min(tenant));
        (n + 1.0) / (n + 3.0)
    }
}

fn smooth(counts: [u32; 3], towards: [f64; 3]) -> [f64; 3] {
    let n: u32 = counts.iter().sum();
    std::array::from_fn(|at| (f64::from(counts[at]) + PRIOR * towards[at]) / (f64::from(n) + PRIOR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::features::{NUMERIC, TOKENS};

    #[test]
    fn a_tenant_overrules_its_rule_and_an_unknown_one_is_not_believed() {
        let of = |rule, tenant, both| Features {
            numeric: [0.0; NUMERIC.len()],
            tokens: [0; TOKENS],
            history: [rule, tenant, both],
        };
        let (ours, theirs, stranger) = (of(1, 10, 100), of(1, 11, 101), of(2, 12, 102));
        let mut history = History::default();
        for _ in 0..50 {
            history.add(&ours, Triage::FalsePositive);
            history.add(&theirs, Triage::TruePositive);
        }
        let rates = |features| history.fill(features).numeric[HISTORY + 1..].to_vec();
        assert!(rates(&ours)[2] > 0.9 && rates(&theirs)[0] > 0.9);
        assert!((rates(&stranger)[0] - rates(&stranger)[2]).abs() < 0.01);
        assert!((history.confidence_max(&stranger) - 1.0 / 3.0).abs() < 1e-9);
        assert!(history.confidence_max(&ours) > 0.95);
        assert!(history.knows(&ours) && !history.knows(&stranger) && !history.knows(&of(1, 12, 102)));
    }
}
