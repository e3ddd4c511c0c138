//! Correlation files as they are written: Sigma 2.1 correlations with Quell's few additions.
//!
//! A file holds one YAML document or several. Beside correlations there may be Sigma detection rules, of which their
//! `name`, `id`, `title` and `logsource` are taken (alerts are made of them elsewhere), and Sigma filters.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::rule::{Bounds, Comparison, Fires, Window};
use crate::plan::field::OneOrMany;
use crate::record::Decimal;

/// A correlation rule's file: Sigma 2.1 with examples.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrelationFile {
    /// What a finding says.
    pub title: String,
    /// UUID.
    #[serde(default)]
    pub id: Option<String>,
    /// The name by which other rules and the archive know it; the title where absent.
    #[serde(default)]
    pub name: Option<String>,
    /// `stable`, `test`, `experimental`...
    #[serde(default)]
    pub status: Option<String>,
    /// In sentences.
    #[serde(default)]
    pub description: Option<String>,
    /// Who wrote it.
    #[serde(default)]
    pub author: Option<String>,
    /// ISO date.
    #[serde(default)]
    pub date: Option<String>,
    /// ISO date of the last change.
    #[serde(default)]
    pub modified: Option<String>,
    /// Whose field names it uses; names of `sigma` and `ecs` are known.
    #[serde(default)]
    pub taxonomy: Option<String>,
    /// Under which terms it may be used.
    #[serde(default)]
    pub license: Option<String>,
    /// Rules that it replaces or is like.
    #[serde(default)]
    pub related: Option<Value>,
    /// Links.
    #[serde(default)]
    pub references: Option<Value>,
    /// What else may raise it.
    #[serde(default)]
    pub falsepositives: Option<Value>,
    /// `attack.` tags.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// `low` to `critical`.
    #[serde(default)]
    pub level: Option<String>,
    /// Hayabusa's mark of its own rules; says nothing here.
    #[serde(default)]
    pub ruletype: Option<String>,
    /// The rule.
    pub correlation: CorrelationSpec,
    /// Cases that the tests and `quell check` run.
    #[serde(default)]
    #[schemars(with = "Vec<CorrelationExample>")]
    pub examples: Vec<Spanned<CorrelationExample>>,
}

/// Sigma's `correlation` object. `window`, `gap`, `fires`, `where` and the type `connected` are Quell's additions.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrelationSpec {
    /// The kind.
    #[serde(rename = "type")]
    pub kind: CorrelationKind,
    /// Names or ids of other correlations, whose findings it takes in, or names, titles or ids of alerts' rules; `any` for
    /// alerts of all rules, as in Sigma's filters. May be left out where the condition is an expression: then the names in
    /// it are the rules.
    #[serde(default)]
    pub rules: Option<OneOrMany<String>>,
    /// Which of their alerts count: fields and what they are compared with, as a selection of Sigma's has them. An alert
    /// must fit all of it, as in {severity: [high, critical]}.
    #[serde(default, rename = "where")]
    pub only: Option<BTreeMap<String, Value>>,
    /// What alerts must have in common, or, where they are `connected`, any one of it: `rule`, `product`, an entity kind with or without role (`src_ip`), one of Sigma's
    /// usual names (`TargetUserName`), the path of a field that mappings keep, or one of `aliases`.
    #[serde(default, rename = "group-by")]
    pub group_by: Option<OneOrMany<String>>,
    /// Names for fields that are called otherwise in the alerts of each rule: alias, rule, field.
    #[serde(default)]
    pub aliases: BTreeMap<String, BTreeMap<String, String>>,
    /// `30s`, `5m`, `1h`, `1d`, `2w`: 30 days at most.
    pub timespan: String,
    /// `{gte: 10}`, with `field` and `percentile` where the kind needs them, or an expression over the rules.
    #[serde(default)]
    pub condition: Option<ConditionFile>,
    /// Whether the correlations that it refers to are told as well; otherwise their findings are only taken in. Alerts
    /// are always kept.
    #[serde(default)]
    pub generate: bool,
    /// How the window moves.
    #[serde(default)]
    pub window: Window,
    /// What ends a session; only with `window: session`, of which `timespan` is then the longest duration.
    #[serde(default)]
    pub gap: Option<String>,
    /// When it says so.
    #[serde(default)]
    pub fires: Fires,
}

/// The kinds of correlation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CorrelationKind {
    /// How many alerts there are.
    EventCount,
    /// How many distinct values a field has.
    ValueCount,
    /// What a field's numbers add up to.
    ValueSum,
    /// The mean of a field's numbers.
    ValueAvg,
    /// A percentile of a field's numbers, by nearest rank.
    ValuePercentile,
    /// The median of a field's numbers.
    ValueMedian,
    /// Alerts of all rules, or of those that an expression asks for.
    Temporal,
    /// One alert of each rule, in the order given.
    TemporalOrdered,
    /// Quell's own: alerts that hang together, each linked to the one before it that has the same value in any one of the
    /// `group-by` fields, `timespan` apart at most.
    Connected,
}

/// A condition as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionFile {
    /// An expression over the rules.
    Expression(String),
    /// What is compared with what.
    Bounds(Box<BoundsFile>),
}

/// What is compared with what; of several comparisons all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoundsFile {
    /// More than.
    #[serde(default)]
    gt: Option<Decimal>,
    /// At least.
    #[serde(default)]
    gte: Option<Decimal>,
    /// Less than.
    #[serde(default)]
    lt: Option<Decimal>,
    /// At most.
    #[serde(default)]
    lte: Option<Decimal>,
    /// Exactly.
    #[serde(default)]
    eq: Option<Decimal>,
    /// Anything but.
    #[serde(default)]
    neq: Option<Decimal>,
    /// Of which field; several for `value_count`: then their values together are one.
    #[serde(default)]
    pub field: Option<OneOrMany<String>>,
    /// For `value_percentile`: 0 to 100.
    #[serde(default)]
    pub percentile: Option<Decimal>,
}

impl BoundsFile {
    /// The comparisons.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        let all = [
            (Comparison::Greater, self.gt),
            (Comparison::AtLeast, self.gte),
            (Comparison::Less, self.lt),
            (Comparison::AtMost, self.lte),
            (Comparison::Equal, self.eq),
            (Comparison::Unequal, self.neq),
        ];
        Bounds(all.into_iter().filter_map(|(comparison, bound)| Some((comparison, bound?))).collect())
    }
}

impl<'de> Deserialize<'de> for ConditionFile {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ConditionFile;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a comparison as {gte: 10}, or an expression over the rules")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<ConditionFile, E> {
                Ok(ConditionFile::Expression(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ConditionFile, A::Error> {
                let bounds = BoundsFile::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ConditionFile::Bounds(Box::new(bounds)))
            }
        }
        from.deserialize_any(Either)
    }
}

impl JsonSchema for ConditionFile {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ConditionFile".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let bounds = generator.subschema_for::<BoundsFile>();
        schemars::json_schema!({ "anyOf": [bounds, { "type": "string" }] })
    }
}

/// A case: alerts, and how often the rule must fire.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrelationExample {
    /// `<second> <rule> <field>=<value>...`, one an alert; `x40 ` before it repeats it a second apart. The rule is an id or
    /// a title, the fields are those of `group-by` and of the condition.
    pub alerts: Vec<String>,
    /// Findings.
    pub fires: usize,
}

/// A Sigma detection rule beside correlations: only how it may be referred to is taken.
#[derive(Clone, Debug, Deserialize)]
pub struct BaseRule {
    /// Title: an alert's rule name.
    pub title: String,
    /// UUID: an alert's rule.
    #[serde(default)]
    pub id: Option<String>,
    /// What correlations of the plan call it.
    #[serde(default)]
    pub name: Option<String>,
    /// What filters ask for.
    #[serde(default)]
    pub logsource: Option<Value>,
}

/// A `logsource`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSourceFile {
    /// `windows`...
    #[serde(default)]
    pub product: Option<String>,
    /// `sysmon`...
    #[serde(default)]
    pub service: Option<String>,
    /// `process_creation`...
    #[serde(default)]
    pub category: Option<String>,
    #[serde(default, rename = "definition")]
    _definition: Option<String>,
}

/// A Sigma filter: alerts of some rules count only where its condition holds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterFile {
    /// What it is for.
    pub title: String,
    /// UUID.
    #[serde(default, rename = "id")]
    _id: Option<String>,
    #[serde(default, rename = "name")]
    _name: Option<String>,
    #[serde(default, rename = "description")]
    _description: Option<String>,
    #[serde(default, rename = "author")]
    _author: Option<String>,
    #[serde(default, rename = "date")]
    _date: Option<String>,
    #[serde(default, rename = "modified")]
    _modified: Option<String>,
    #[serde(default, rename = "taxonomy")]
    _taxonomy: Option<String>,
    /// Of what the rules are that it is about.
    #[serde(default)]
    pub logsource: Option<LogSourceFile>,
    /// The filter.
    pub filter: FilterSpec,
}

/// A filter's body.
#[derive(Clone, Debug, Deserialize)]
pub struct FilterSpec {
    /// Names, titles or ids of rules; `any`, or left out, for all.
    #[serde(default)]
    pub rules: Option<OneOrMany<String>>,
    /// An expression over the selections: what counts, so `not selection` leaves the selected out.
    pub condition: String,
    /// By name.
    #[serde(flatten)]
    pub selections: BTreeMap<String, Value>,
}
