//! Groups: what `group-by` fields an alert has, and which alerts a correlation rule is about.

use smallvec::SmallVec;

use crate::plan::correlation::{Correlation, CorrelationTest};
use crate::record::{Alert, Names, Observable, Sym};

pub use crate::plan::correlation::Field;

/// What an alert has in a field; none where it lacks it.
fn value(field: Field, alert: &Alert) -> Option<Sym> {
    match field {
        Field::Rule => Some(alert.rule),
        Field::Product => Some(alert.product),
        Field::Entity(kind, role) => {
            let fits = |o: &&Observable| o.entity.kind == kind && role.is_none_or(|r| r == o.role);
            alert.entities.iter().find(fits).map(|observable| observable.entity.value)
        }
    }
}

/// The rule, the tenant, and the values of the `group-by` fields: one group's identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// Index of the correlation rule.
    pub rule: u32,
    /// Whose.
    pub tenant: Sym,
    /// Values, in the order of the fields.
    pub values: SmallVec<[Sym; 2]>,
}

/// A correlation rule with its names interned.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Its name.
    pub name: Sym,
    /// The rules referred to, in order.
    pub rules: Vec<Sym>,
    /// Grouping.
    pub group_by: Vec<Field>,
    /// Window, in milliseconds.
    pub timespan_ms: i64,
    /// What it looks for.
    pub test: CorrelationTest,
}

impl Compiled {
    /// Interns a rule's names.
    #[must_use]
    pub fn of(correlation: &Correlation, names: &Names) -> Compiled {
        Compiled {
            name: names.intern(&correlation.name),
            rules: correlation.rules.iter().map(|rule| names.intern(rule)).collect(),
            group_by: correlation.group_by.iter().filter_map(|field| Field::parse(field)).collect(),
            timespan_ms: correlation.timespan_ms,
            test: correlation.test,
        }
    }

    /// Whether the rule refers to the alert's rule, by id or by name.
    #[must_use]
    pub fn concerns(&self, alert: &Alert) -> bool {
        self.rules.iter().any(|rule| *rule == alert.rule || *rule == alert.title)
    }

    /// The group that the alert counts in; none where it lacks one of the fields.
    #[must_use]
    pub fn group(&self, index: usize, alert: &Alert) -> Option<Group> {
        let values = self.group_by.iter().map(|field| value(*field, alert)).collect::<Option<_>>()?;
        Some(Group { rule: u32::try_from(index).ok()?, tenant: alert.tenant, values })
    }
}

impl Group {
    /// The values as one text, for the archive.
    #[must_use]
    pub fn text(&self, names: &Names) -> String {
        self.values.iter().map(|value| names.get(*value)).collect::<Vec<_>>().join(" ")
    }
}
