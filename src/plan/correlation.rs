//! Correlation rules: files of `dataflows/correlations/`, Sigma 2.1 correlations in YAML.
//!
//! Supported: `event_count` with `gt` or `gte`, and `temporal_ordered`. What else Sigma has is a load error. An
//! `examples:` list beside Sigma's keys holds alerts and the number of findings that they must give.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use super::fault::Fault;
use crate::record::{EntityKind, Role};

/// A correlation rule's file: Sigma 2.1 with examples.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
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
    /// Links.
    #[serde(default)]
    pub references: Vec<String>,
    /// What else may raise it.
    #[serde(default)]
    pub falsepositives: Vec<String>,
    /// `attack.` tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// `low` to `critical`.
    #[serde(default)]
    pub level: Option<String>,
    /// The rule.
    pub correlation: CorrelationSpec,
    /// Cases that the tests and `quell check` run.
    #[serde(default)]
    #[schemars(with = "Vec<CorrelationExample>")]
    pub examples: Vec<Spanned<CorrelationExample>>,
}

/// Sigma's `correlation` object.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrelationSpec {
    /// The kind.
    #[serde(rename = "type")]
    pub kind: CorrelationKind,
    /// Names, titles or ids of the alerts' rules.
    pub rules: Vec<String>,
    /// What alerts must have in common: `rule`, `product`, or an entity kind with or without role (`src_ip`).
    #[serde(rename = "group-by")]
    pub group_by: Vec<String>,
    /// `30s`, `5m`, `1h`, `1d`.
    pub timespan: String,
    /// For `event_count`: `{gte: 10}`.
    #[serde(default)]
    pub condition: BTreeMap<String, u32>,
}

/// The kinds of correlation that this version runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CorrelationKind {
    /// At least so many alerts within the timespan.
    EventCount,
    /// One alert of each rule, in the order given, within the timespan.
    TemporalOrdered,
}

/// A case: alerts, and how often the rule must fire.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrelationExample {
    /// `<second> <rule> <field>=<value>...`, one an alert; `x40 ` before it repeats it a second apart. The rule is an id or
    /// a title, the fields are those of `group-by`.
    pub alerts: Vec<String>,
    /// Findings.
    pub fires: usize,
}

/// A rule that passed its checks.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// Where it stands.
    pub file: PathBuf,
    /// Name.
    pub name: String,
    /// Title.
    pub title: String,
    /// Rules referred to, in order.
    pub rules: Vec<String>,
    /// Grouping.
    pub group_by: Vec<String>,
    /// Window, in milliseconds.
    pub timespan_ms: i64,
    /// What it looks for.
    pub test: CorrelationTest,
    /// Its cases.
    pub examples: Vec<Spanned<CorrelationExample>>,
}

/// What a correlation looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CorrelationTest {
    /// At least `gte` alerts.
    EventCount {
        /// The threshold.
        gte: u32,
    },
    /// The rules in their order.
    TemporalOrdered,
}

/// A field to group by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The alert's rule.
    Rule,
    /// The alert's product.
    Product,
    /// An entity's value; any role where none is given.
    Entity(EntityKind, Option<Role>),
}

impl Field {
    /// The field of that name in a correlation file.
    #[must_use]
    pub fn parse(name: &str) -> Option<Field> {
        let kind = |name: &str| EntityKind::parse(name);
        match name {
            "rule" => Some(Field::Rule),
            "product" => Some(Field::Product),
            _ => match (name.strip_prefix("src_"), name.strip_prefix("dst_")) {
                (Some(rest), _) => Some(Field::Entity(kind(rest)?, Some(Role::Source))),
                (_, Some(rest)) => Some(Field::Entity(kind(rest)?, Some(Role::Destination))),
                _ => Some(Field::Entity(kind(name)?, None)),
            },
        }
    }
}

impl Correlation {
    /// Reads and checks a file; tells every fault that it has.
    pub fn load(file: &Path) -> Result<Correlation, Vec<Fault>> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| vec![Fault::of(file, format!("cannot be read: {error}"), "make it readable")])?;
        let parsed: CorrelationFile = super::yaml::parse(
            file,
            &text,
            "see schemas/correlation.json for what a correlation file holds",
        )?;
        parsed.check(file)
    }
}

impl CorrelationFile {
    fn check(self, file: &Path) -> Result<Correlation, Vec<Fault>> {
        let mut faults = Vec::new();
        let spec = self.correlation;
        if spec.rules.is_empty() {
            faults.push(Fault::of(file, "`rules` is empty", "name at least one rule"));
        }
        for field in &spec.group_by {
            if Field::parse(field).is_none() {
                let cure =
                    "use rule, product, or an entity kind with or without src_ or dst_ (src_ip, host, user)";
                faults.push(Fault::of(file, format!("`group-by` names {field:?}, which no alert has"), cure));
            }
        }
        let timespan_ms = timespan(&spec.timespan);
        if timespan_ms.is_none() {
            faults.push(Fault::of(
                file,
                format!("`timespan` is {:?}", spec.timespan),
                "write 30s, 5m, 1h or 1d",
            ));
        }
        let test = match spec.kind {
            CorrelationKind::EventCount => match threshold(&spec.condition) {
                Some(gte) => CorrelationTest::EventCount { gte },
                None => {
                    let cure = "write condition: {gte: N} or {gt: N} with N from 1 to 100000; others are not supported";
                    faults.push(Fault::of(file, "`event_count` needs one supported condition", cure));
                    CorrelationTest::EventCount { gte: 1 }
                }
            },
            CorrelationKind::TemporalOrdered => {
                if spec.rules.len() < 2 || spec.rules.len() > 16 {
                    faults.push(Fault::of(
                        file,
                        "`temporal_ordered` needs 2 to 16 rules",
                        "name them in order",
                    ));
                }
                CorrelationTest::TemporalOrdered
            }
        };
        let Some(timespan_ms) = timespan_ms.filter(|_| faults.is_empty()) else { return Err(faults) };
        Ok(Correlation {
            file: file.to_owned(),
            name: self.name.unwrap_or_else(|| self.title.clone()),
            title: self.title,
            rules: spec.rules,
            group_by: spec.group_by,
            timespan_ms,
            test,
            examples: self.examples,
        })
    }
}

fn threshold(condition: &BTreeMap<String, u32>) -> Option<u32> {
    let gte = match condition.iter().next()? {
        (key, n) if key == "gte" => *n,
        (key, n) if key == "gt" => n.checked_add(1)?,
        _ => return None,
    };
    (condition.len() == 1 && (1..=100_000).contains(&gte)).then_some(gte)
}

/// Milliseconds of `30s`, `5m`, `1h`, `1d`; at most 30 days.
#[must_use]
pub fn timespan(text: &str) -> Option<i64> {
    let unit = match text.chars().last()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    let n: i64 = text.get(..text.len() - 1)?.parse().ok()?;
    let ms = n.checked_mul(unit)?;
    (1..=30 * 86_400_000).contains(&ms).then_some(ms)
}
