//! Rule: a correlation as it runs, after every check: what it takes in, what it looks for, and how far back.

use std::path::PathBuf;

use serde_saphyr::Spanned;

use super::expression::Expression;
use super::field::FieldName;
use super::file::CorrelationExample;
use super::filter::Filter;
use crate::record::Decimal;

/// A rule that passed its checks.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// Where it stands.
    pub file: PathBuf,
    /// Where in the file its document begins, from 1.
    pub line: u64,
    /// Name.
    pub name: String,
    /// Title.
    pub title: String,
    /// What `rules` refers to, in order: the places.
    pub inputs: Vec<Input>,
    /// Which of their alerts count; all where it does not say.
    pub only: Option<Filter>,
    /// Grouping, as written.
    pub group_by: Vec<String>,
    /// How far back it looks.
    pub extent: Extent,
    /// What it looks for.
    pub test: Test,
    /// When it says so.
    pub fires: Fires,
    /// Whether its findings are told; otherwise they are only what other correlations take in.
    pub told: bool,
    /// 0 where it takes in alerts alone, else one more than the highest correlation that it refers to.
    pub level: usize,
    /// How long after an alert it, or a correlation that takes in its findings, may still fire because of it.
    pub lasts_ms: i64,
    /// Its cases.
    pub examples: Vec<Spanned<CorrelationExample>>,
}

impl Correlation {
    /// How long after an alert a finding of the rule itself may come, in milliseconds. What is connected is told at last when
    /// nothing can join it any more.
    #[must_use]
    pub fn own_ms(&self) -> i64 {
        if self.test.connects().is_some() { self.extent.span_ms * 2 } else { self.extent.span_ms }
    }
}

/// One of the rules referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What it is.
    pub of: Source,
    /// Where the `group-by` fields are.
    pub group: Vec<Lookup>,
    /// Where the fields of the condition are.
    pub value: Vec<Lookup>,
}

/// What a rule takes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Alerts whose rule, by id or title, is one of these.
    Alerts(Vec<String>),
    /// All alerts.
    Any,
    /// The findings of another correlation of the plan, by its index.
    Findings(usize),
}

/// Where a field's value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// In the alert.
    Alert(FieldName),
    /// In the finding: at this place of its correlation's `group-by`.
    Finding(usize),
}

/// How far back a rule looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// How the window moves.
    pub window: Window,
    /// The timespan, in milliseconds.
    pub span_ms: i64,
    /// The gap that ends a session, in milliseconds.
    pub gap_ms: i64,
}

/// How a window moves.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// With each alert: the timespan before it.
    #[default]
    Sliding,
    /// In steps of the timespan, counted from 1970-01-01T00:00Z.
    Tumbling,
    /// While alerts follow one another within `gap`, for the timespan at most.
    Session,
}

/// When a rule whose condition holds says so.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Fires {
    /// At the alert at which it begins to hold; a sequence consumes its alerts.
    #[default]
    Crossing,
    /// At every alert at which it holds; a sequence consumes nothing.
    Every,
}

/// What a correlation looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// `event_count`
    Count(Bounds),
    /// `value_count`
    Distinct(Bounds),
    /// `value_sum`
    Sum(Bounds),
    /// `value_avg`
    Average(Bounds),
    /// `value_percentile`
    Percentile(Decimal, Bounds),
    /// `value_median`
    Median(Bounds),
    /// `temporal` by the number of rules that have an alert.
    Together(Bounds),
    /// `temporal` by an expression over them.
    Expression(Expression),
    /// `temporal_ordered`
    Ordered(Sequence),
    /// `connected`: so many alerts at least.
    Connected(usize),
}

impl Test {
    /// How many alerts must hang together, where that is what it looks for.
    #[must_use]
    pub fn connects(&self) -> Option<usize> {
        match self {
            Test::Connected(least) => Some(*least),
            Test::Count(_)
            | Test::Distinct(_)
            | Test::Sum(_)
            | Test::Average(_)
            | Test::Percentile(..)
            | Test::Median(_)
            | Test::Together(_)
            | Test::Expression(_)
            | Test::Ordered(_) => None,
        }
    }
}

/// The stages of a `temporal_ordered`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The places of `rules` that must follow one another.
    pub order: Vec<usize>,
    /// One bit for each place that must be absent between.
    pub without: u64,
}

/// One side of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `gt`
    Greater,
    /// `gte`
    AtLeast,
    /// `lt`
    Less,
    /// `lte`
    AtMost,
    /// `eq`
    Equal,
    /// `neq`
    Unequal,
}

/// What a condition compares with; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds(pub Vec<(Comparison, Decimal)>);

impl Bounds {
    /// At least so many.
    #[must_use]
    pub fn at_least(many: u32) -> Bounds {
        Bounds(vec![(Comparison::AtLeast, Decimal::whole(i64::from(many)))])
    }

    /// Whether `sum / of` is within them; `sum` is in billionths. Exact: both sides are multiplied, nothing is divided.
    #[must_use]
    pub fn hold(&self, sum: i128, of: i128) -> bool {
        self.0.iter().all(|(comparison, bound)| {
            let order = sum.cmp(&bound.billionths().saturating_mul(of));
            match comparison {
                Comparison::Greater => order.is_gt(),
                Comparison::AtLeast => order.is_ge(),
                Comparison::Less => order.is_lt(),
                Comparison::AtMost => order.is_le(),
                Comparison::Equal => order.is_eq(),
                Comparison::Unequal => order.is_ne(),
            }
        })
    }

    /// The smallest count that can be within them, where there is a lower bound.
    #[must_use]
    pub fn least(&self) -> Option<usize> {
        let least = |(comparison, bound): &(Comparison, Decimal)| {
            let whole = bound.billionths().div_euclid(Decimal::SCALE);
            match comparison {
                Comparison::Greater => usize::try_from(whole + 1).ok(),
                Comparison::AtLeast | Comparison::Equal => usize::try_from(whole).ok(),
                Comparison::Less | Comparison::AtMost | Comparison::Unequal => None,
            }
        };
        self.0.iter().filter_map(least).max()
    }
}
