//! Groups: which alerts a correlation rule is about, what they have in its fields, and so which of its groups each is in.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::sight::Sight;
use super::window::{Value, Which};
use crate::plan::correlation::{
    Correlation, Correlations, Extent, FieldName, Filter, Fires, Lookup, Source, Test,
};
use crate::record::{Alert, AlertId, Decimal, Diff, Millis, Names, Sym};

pub use crate::plan::correlation::Field;

/// The rule, the tenant, and the values of the `group-by` fields: one group's identity.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Group {
    /// Index of the correlation rule.
    pub rule: u32,
    /// Whose.
    pub tenant: Sym,
    /// Values, in the order of the fields.
    pub values: SmallVec<[Sym; 2]>,
}

/// As a derived one, which would take the values one by one.
impl Clone for Group {
    fn clone(&self) -> Group {
        Group { rule: self.rule, tenant: self.tenant, values: SmallVec::from_slice(&self.values) }
    }
}

impl Group {
    /// The values as one text, for the archive; of what is connected there may be some that its first alert lacks.
    #[must_use]
    pub fn text(&self, names: &Names) -> String {
        let values = self.values.iter().filter(|value| **value != Sym::EMPTY);
        values.map(|value| names.get(*value)).collect::<Vec<_>>().join(" ")
    }

    /// Where the group lives: any function of it will do, since which worker has it shows in no result.
    #[must_use]
    pub fn route(&self) -> u64 {
        let seed = u64::from(self.rule) << 32 ^ self.tenant.place();
        self.values.iter().fold(seed, |hash, value| {
            (hash.rotate_left(5) ^ value.place()).wrapping_mul(0x517c_c1b7_2722_0a95)
        })
    }
}

/// What something has in each of the fields of which any one links it; empty where it has nothing.
pub type Values = SmallVec<[Sym; 4]>;

/// A correlation rule with its names interned.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Its name.
    pub name: Sym,
    /// A hash of all that it and those that it refers to say: what is remembered of a rule is of this.
    pub identity: Sym,
    /// What it takes in, by place.
    pub inputs: Vec<Place>,
    /// How long an alert may still be asked for: by the rule itself, or by one that takes in its findings.
    pub timespan_ms: i64,
    /// How far back it looks.
    pub extent: Extent,
    /// What it looks for.
    pub test: Test,
    /// When it says so.
    pub fires: Fires,
    /// Whether its findings are told.
    pub told: bool,
    /// How many correlations lie below it.
    pub level: usize,
    /// Alerts and findings that lack the number that it adds up; every worker adds to it.
    without_number: Arc<AtomicI64>,
    alerts: FxHashSet<Sym>,
    any: bool,
    /// Severities of alerts that count, one bit each by their ids.
    severities: u8,
    /// What its `where` asks for beside the severity.
    only: Option<Arc<Filter>>,
    filters: Arc<[Sieve]>,
    /// Whether a value that is counted is known by its interned text alone.
    interned: bool,
}

/// Of each rule a hash of what it says, of all filters, and of those that it takes in findings of. Where it stands, and its cases,
/// change nothing.
fn identities(correlations: &Correlations) -> Vec<String> {
    let filters = format!("{:?}", correlations.filters);
    let mut identities = vec![String::new(); correlations.rules.len()];
    let mut by_level: Vec<usize> = (0..correlations.rules.len()).collect();
    by_level.sort_by_key(|at| correlations.rules[*at].level);
    for at in by_level {
        let Correlation { name, inputs, only, group_by, extent, test, fires, told, level, lasts_ms, .. } =
            &correlations.rules[at];
        let below = inputs.iter().map(|input| match &input.of {
            Source::Findings(other) => identities[*other].clone(),
            source @ (Source::Alerts(_) | Source::Any) => format!("{source:?}"),
        });
        let below: Vec<String> = below.collect();
        let fields: Vec<_> = inputs.iter().map(|input| (&input.group, &input.value)).collect();
        let says = (name, below, fields, only, group_by, extent, test, fires, told);
        let hash = blake3::hash(format!("{says:?} {level} {lasts_ms} {filters}").as_bytes());
        hash.to_hex()[..32].clone_into(&mut identities[at]);
    }
    identities
}

/// Which rule something was kept of, by its identity; none where no rule of the plan is that one any more.
pub(super) fn by_identity(rules: &[Compiled]) -> FxHashMap<Sym, u32> {
    rules.iter().zip(0..).map(|(rule, at)| (rule.identity, at)).collect()
}

/// One of the rules that a correlation refers to.
#[derive(Clone, Debug)]
pub struct Place {
    /// Rules and titles of alerts, or none where it is a correlation or takes in all alerts.
    pub alerts: Vec<Sym>,
    /// Whether it takes in alerts of all rules.
    pub any: bool,
    /// The correlation whose findings it takes in.
    pub findings: Option<u32>,
    group: Vec<Lookup>,
    value: Vec<Lookup>,
}

/// A filter with its names interned.
#[derive(Debug)]
struct Sieve {
    rules: Option<FxHashSet<Sym>>,
    /// Rules whose log source is known, and whether it is the filter's.
    known: FxHashMap<Sym, bool>,
    filter: Filter,
}

impl Sieve {
    fn concerns(&self, alert: &Alert, names: &Names) -> bool {
        let named = |rules: &FxHashSet<Sym>| rules.contains(&alert.rule) || rules.contains(&alert.title);
        let (named, asked) = (self.rules.as_ref().map(named), self.filter.scope.as_ref());
        let known = self.known.get(&alert.rule).or_else(|| self.known.get(&alert.title));
        match (named, asked, known) {
            (Some(named), _, known) => named && known != Some(&false),
            (None, None, _) => true,
            (None, Some(_), Some(covered)) => *covered,
            (None, Some(scope), None) => names.with(alert.product, |product| scope.covers_product(product)),
        }
    }
}

/// A finding of a correlation, as others see it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Found {
    /// Where it stands among the events of others: right behind what completed it, or at the end of what is connected.
    pub order: crate::record::Order,
    /// The event time that is told of it: that of its last alert.
    pub time: Millis,
    /// Of which rule and whom.
    pub group: Group,
    /// Its alerts, in order.
    pub ids: Arc<Vec<AlertId>>,
}

impl Compiled {
    /// Interns the names of a plan's rules.
    #[must_use]
    pub fn all(correlations: &Correlations, names: &Names) -> Arc<[Compiled]> {
        let sieves = correlations.filters.iter().map(|filter| Sieve {
            rules: filter.rules.as_ref().map(|rules| rules.iter().map(|rule| names.intern(rule)).collect()),
            known: filter
                .scope
                .iter()
                .flat_map(|scope| &scope.rules)
                .map(|(r, is)| (names.intern(r), *is))
                .collect(),
            filter: filter.clone(),
        });
        let sieves: Arc<[Sieve]> = sieves.collect();
        let identities = identities(correlations);
        let rules = correlations.rules.iter().zip(identities);
        rules.map(|(rule, identity)| Compiled::of(rule, (&sieves, &identity), names)).collect()
    }

    fn of(rule: &Correlation, (sieves, identity): (&Arc<[Sieve]>, &str), names: &Names) -> Compiled {
        let inputs: Vec<Place> = rule
            .inputs
            .iter()
            .map(|input| {
                let (alerts, findings) = match &input.of {
                    Source::Alerts(rules) => (rules.iter().map(|rule| names.intern(rule)).collect(), None),
                    Source::Findings(other) => (Vec::new(), u32::try_from(*other).ok()),
                    Source::Any => (Vec::new(), None),
                };
                let any = input.of == Source::Any;
                Place { alerts, any, findings, group: input.group.clone(), value: input.value.clone() }
            })
            .collect();
        let with_path = |lookup: &Lookup| match lookup {
            Lookup::Alert(FieldName { path, .. }) => path.is_some(),
            Lookup::Finding(_) => false,
        };
        let severities = rule.only.as_ref().and_then(Filter::severities);
        let only = rule.only.as_ref().filter(|_| severities.is_none());
        Compiled {
            name: names.intern(&rule.name),
            identity: names.intern(identity),
            any: inputs.iter().any(|place| place.any),
            severities: severities.unwrap_or(u8::MAX),
            only: only.cloned().map(Arc::new),
            alerts: inputs.iter().flat_map(|place| place.alerts.iter().copied()).collect(),
            interned: inputs.iter().all(|place| place.value.len() <= 4 && !place.value.iter().any(with_path)),
            inputs,
            timespan_ms: rule.lasts_ms,
            extent: rule.extent,
            test: rule.test.clone(),
            fires: rule.fires,
            told: rule.told,
            level: rule.level,
            without_number: Arc::default(),
            filters: Arc::clone(sieves),
        }
    }

    /// Whether the rule refers to the alert's rule, by id or by name.
    #[must_use]
    pub fn names(&self, alert: &Alert) -> bool {
        self.any || self.alerts.contains(&alert.rule) || self.alerts.contains(&alert.title)
    }

    /// Whether the alert's severity is one that counts.
    #[must_use]
    pub fn grave(&self, alert: &Alert) -> bool {
        self.severities >> alert.severity.id().min(7) & 1 == 1
    }

    /// Whether the alert fits its `where`.
    #[must_use]
    pub fn chooses(&self, sight: &Sight<'_>) -> bool {
        let fits = |only: &Arc<Filter>| only.passes(|field| sight.text(field));
        self.grave(sight.alert) && self.only.as_ref().is_none_or(fits)
    }

    /// How many alerts must hang together, where that is what it looks for.
    #[must_use]
    pub fn connects(&self) -> Option<usize> {
        self.test.connects()
    }

    /// How many standing alerts and findings lack the number that it adds up; none where it adds up none.
    #[must_use]
    pub fn without_number(&self) -> u64 {
        u64::try_from(self.without_number.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Others of the same rule, in another process, lack it too; fewer, where `more` is negative.
    pub fn add_without_number(&self, more: Diff) {
        self.without_number.fetch_add(more, Ordering::Relaxed);
    }

    /// Whether no filter keeps the alert from counting.
    #[must_use]
    pub fn passes(&self, sight: &Sight<'_>) -> bool {
        self.filters.iter().all(|sieve| {
            !sieve.concerns(sight.alert, sight.names) || sieve.filter.passes(|field| sight.text(field))
        })
    }

    /// The group that an alert of the rule at `place` counts in, and what of it counts; none where it lacks a field. `diff`
    /// says whether the alert comes or goes.
    #[must_use]
    pub fn alert(&self, index: u32, place: usize, sight: &Sight<'_>, diff: Diff) -> Option<(Group, Value)> {
        let Place { group, value, .. } = &self.inputs[place];
        let look = |lookup: &Lookup| match lookup {
            Lookup::Alert(field) => sight.sym(field),
            Lookup::Finding(_) => None,
        };
        let values = group.iter().map(look).collect::<Option<_>>()?;
        let group = Group { rule: index, tenant: sight.alert.tenant, values };
        let value = self.value(value, look, sight.names, diff)?;
        Some((group, value))
    }

    /// The same of a finding of the correlation at `place`.
    #[must_use]
    pub fn finding(
        &self,
        index: u32,
        place: usize,
        found: &Found,
        names: &Names,
        diff: Diff,
    ) -> Option<(Group, Value)> {
        let Place { group, value, .. } = &self.inputs[place];
        let look = |lookup: &Lookup| match lookup {
            Lookup::Finding(at) => found.group.values.get(*at).copied().filter(|value| *value != Sym::EMPTY),
            Lookup::Alert(_) => None,
        };
        let values = group.iter().map(look).collect::<Option<_>>()?;
        let group = Group { rule: index, tenant: found.group.tenant, values };
        Some((group, self.value(value, look, names, diff)?))
    }

    /// What an alert or a finding has in each of the fields of which any one links; none where it has nothing in any.
    fn links(&self, place: usize, look: impl Fn(&Lookup) -> Option<Sym>) -> Option<Values> {
        let values: Values =
            self.inputs[place].group.iter().map(|at| look(at).unwrap_or(Sym::EMPTY)).collect();
        values.iter().any(|value| *value != Sym::EMPTY).then_some(values)
    }

    /// What links an alert of the rule at `place`.
    #[must_use]
    pub fn alert_links(&self, place: usize, sight: &Sight<'_>) -> Option<Values> {
        self.links(place, |lookup| match lookup {
            Lookup::Alert(field) => sight.sym(field),
            Lookup::Finding(_) => None,
        })
    }

    /// What links a finding of the correlation at `place`.
    #[must_use]
    pub fn finding_links(&self, place: usize, found: &Found) -> Option<Values> {
        self.links(place, |lookup| match lookup {
            Lookup::Finding(at) => found.group.values.get(*at).copied(),
            Lookup::Alert(_) => None,
        })
    }

    fn value(
        &self,
        at: &[Lookup],
        look: impl Fn(&Lookup) -> Option<Sym>,
        names: &Names,
        diff: Diff,
    ) -> Option<Value> {
        match self.test {
            Test::Count(_)
            | Test::Together(_)
            | Test::Expression(_)
            | Test::Ordered(_)
            | Test::Connected(_) => Some(Value::None),
            Test::Distinct(_) => {
                let values = at.iter().map(look).collect::<Option<SmallVec<[Sym; 4]>>>()?;
                Some(Value::One(if self.interned { few(&values) } else { digest(&values, names) }))
            }
            Test::Sum(_) | Test::Average(_) | Test::Percentile(..) | Test::Median(_) => {
                let text = at.first().and_then(look);
                let number = text.and_then(|text| names.with(text, Decimal::parse));
                if number.is_none() {
                    self.without_number.fetch_add(diff, Ordering::Relaxed);
                }
                number.map(|number| Value::Number(number.billionths().into()))
            }
        }
    }
}

fn few(values: &[Sym]) -> Which {
    let mut few = [Sym::EMPTY; 4];
    few.iter_mut().zip(values).for_each(|(few, value)| *few = *value);
    Which::Names(few)
}

fn digest(values: &[Sym], names: &Names) -> Which {
    let texts: SmallVec<[String; 4]> = values.iter().map(|value| names.get(*value)).collect();
    let parts: SmallVec<[&[u8]; 4]> = texts.iter().map(String::as_bytes).collect();
    Which::Hash(AlertId::of(&parts).0)
}
