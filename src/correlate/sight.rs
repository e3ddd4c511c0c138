//! Sight: what a correlation rule sees of an alert: its entities, and the fields that its mapping left over.
//!
//! The left-over JSON is read when a rule first asks for one of its fields, and only of alerts that a rule is about;
//! nothing of it is kept. A path means what it means in a mapping: nested objects as well as a literal key with dots; of a
//! list the first that holds something counts. Null and the empty string count as absent.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde_json::Value;

use crate::plan::correlation::{Field, FieldName};
use crate::record::{Alert, Names, Observable, Sym};

/// An alert, as rules look at it.
pub struct Sight<'a> {
    /// The alert.
    pub alert: &'a Alert,
    /// Strings.
    pub names: &'a Names,
    left: OnceCell<Option<Value>>,
}

/// The longest value that is told apart from others, in bytes, as for entities.
const VALUE_MAX: usize = 1024;

impl<'a> Sight<'a> {
    /// Nothing is read yet.
    #[must_use]
    pub fn of(alert: &'a Alert, names: &'a Names) -> Sight<'a> {
        Sight { alert, names, left: OnceCell::new() }
    }

    /// What the alert has in a field, interned; none where it lacks it.
    #[must_use]
    pub fn sym(&self, field: &FieldName) -> Option<Sym> {
        let known = field.known.iter().find_map(|known| self.known(*known));
        known.or_else(|| self.left_over(field).map(|text| self.names.intern(&text)))
    }

    /// What the alert has in a field.
    #[must_use]
    pub fn text(&self, field: &FieldName) -> Option<String> {
        let known = field.known.iter().find_map(|known| self.known(*known));
        known.map(|sym| self.names.get(sym)).or_else(|| self.left_over(field).map(Cow::into_owned))
    }

    fn known(&self, field: Field) -> Option<Sym> {
        let alert = self.alert;
        match field {
            Field::Rule => Some(alert.rule),
            Field::Title => Some(alert.title),
            Field::Product => Some(alert.product),
            Field::Severity => Some(self.names.intern(alert.severity.name())),
            Field::Entity(kind, role) => {
                let fits = |o: &&Observable| o.entity.kind == kind && role.is_none_or(|r| r == o.role);
                alert.entities.iter().find(fits).map(|observable| observable.entity.value)
            }
        }
    }

    fn left_over(&self, field: &FieldName) -> Option<Cow<'_, str>> {
        let path = field.path.as_ref()?;
        let text = self.alert.unmapped.as_deref()?;
        let left = self.left.get_or_init(|| serde_json::from_str(text).ok());
        find(left.as_ref()?, path.text())
    }
}

fn find<'v>(value: &'v Value, path: &str) -> Option<Cow<'v, str>> {
    match value {
        Value::Object(fields) => {
            let whole = fields.get(path).and_then(scalar);
            whole.or_else(|| {
                path.match_indices('.').find_map(|(dot, _)| find(fields.get(&path[..dot])?, &path[dot + 1..]))
            })
        }
        Value::Array(items) => items.iter().find_map(|item| find(item, path)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => {
            let text = text.trim();
            let text = &text[..text.floor_char_boundary(VALUE_MAX)];
            (!text.is_empty()).then_some(Cow::Borrowed(text))
        }
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(yes) => Some(Cow::Borrowed(if *yes { "true" } else { "false" })),
        Value::Array(items) => items.iter().find_map(scalar),
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let left: Value = serde_json::from_str(
            r#"{"a": {"b": 1, "e": null}, "a.c": "x ", "d": [{"f": ""}, {"f": [true]}], "n": 18446744073709551615, "m": 0.1}"#,
        )
        .unwrap();
        for (path, value) in [
            ("a.b", Some("1")),
            ("a.c", Some("x")),
            ("d.f", Some("true")),
            ("a.e", None),
            ("a", None),
            ("z", None),
            ("n", Some("18446744073709551615")),
            ("m", Some("0.1")),
        ] {
            assert_eq!(find(&left, path).as_deref(), value, "{path}");
        }
    }
}
