//! Unmapped: the fields that a mapping did not take, as JSON, for sources that keep them.

use serde_json::{Map, Value};

use crate::plan::mapping::FieldPath;

/// The JSON of `record` without what lies at `taken`; none if nothing is left.
pub(super) fn unmapped(mut record: Value, taken: &[FieldPath]) -> Option<Box<str>> {
    for path in taken {
        remove(&mut record, path.text());
    }
    let left = record.as_object().is_some_and(|fields| !fields.is_empty());
    left.then(|| record.to_string().into_boxed_str())
}

/// A CSV row as a record.
pub(super) fn of_row(pairs: Vec<(String, String)>) -> Value {
    let fields = pairs.into_iter().filter(|(column, text)| !column.is_empty() && !text.is_empty());
    Value::Object(fields.map(|(column, text)| (column, Value::String(text))).collect())
}

fn remove(value: &mut Value, path: &str) {
    match value {
        Value::Object(fields) => remove_field(fields, path),
        Value::Array(items) => items.iter_mut().for_each(|item| remove(item, path)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn remove_field(fields: &mut Map<String, Value>, path: &str) {
    fields.remove(path);
    for (dot, _) in path.match_indices('.') {
        let key = &path[..dot];
        if let Some(inner) = fields.get_mut(key) {
            remove(inner, &path[dot + 1..]);
            if matches!(inner, Value::Object(left) if left.is_empty()) {
                fields.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_left_out() {
        let record =
            serde_json::json!({"a": {"b": 1, "c": 2}, "d.e": 3, "f": [{"g": 4, "h": 5}], "i": {"j": 6}});
        let taken: Vec<FieldPath> = ["a.b", "d.e", "f.g", "i.j"]
            .iter()
            .map(|p| FieldPath::try_from((*p).to_owned()).unwrap())
            .collect();
        assert_eq!(unmapped(record, &taken).as_deref(), Some(r#"{"a":{"c":2},"f":[{"h":5}]}"#));
        assert_eq!(unmapped(serde_json::json!({"i": {"j": 6}}), &taken), None);
    }
}
