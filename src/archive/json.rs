//! JSON: rows as they lie in the archive, for whoever is told of them elsewhere: the fields are the columns, by the schemas
//! that `quell schema` prints. A column that holds nothing is left out.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use arrow_schema::DataType;
use serde_json::{Map, Value};

use super::line::Line;
use crate::record::{Epoch, Names};

/// Rows of one table as JSON objects, in order.
pub(super) fn objects<L: Line>(epoch: Epoch, rows: &[L::Row], names: &Names) -> Vec<Map<String, Value>> {
    let mut columns = L::columns();
    for row in rows {
        L::push(&mut columns, epoch, row, names);
    }
    let columns = L::finish(&mut columns);
    let fields = L::fields();
    let object = |row: usize| {
        let cell = |(field, column): (&arrow_schema::Field, &arrow_array::ArrayRef)| {
            Some((field.name().clone(), value(column.as_ref(), row)?))
        };
        fields.iter().zip(&columns).filter_map(cell).collect()
    };
    (0..rows.len()).map(object).collect()
}

/// A cell; none where it holds nothing.
fn value(column: &dyn Array, row: usize) -> Option<Value> {
    if column.is_null(row) {
        return None;
    }
    if let Some(words) = column.as_dictionary_opt::<Int32Type>() {
        return value(words.values().as_ref(), usize::try_from(words.keys().value(row)).ok()?);
    }
    if let Some(lists) = column.as_list_opt::<i32>() {
        let elements = lists.value(row);
        let all = (0..elements.len()).map(|at| value(elements.as_ref(), at).unwrap_or(Value::Null));
        return Some(Value::Array(all.collect()));
    }
    if let Some(texts) = column.as_string_opt::<i32>() {
        return Some(texts.value(row).into());
    }
    if let Some(truths) = column.as_boolean_opt() {
        return Some(truths.value(row).into());
    }
    number(column, row)
}

fn number(column: &dyn Array, row: usize) -> Option<Value> {
    if matches!(column.data_type(), DataType::Timestamp(..)) {
        let time = column.as_primitive_opt::<TimestampMillisecondType>()?.value(row);
        return Some(jiff::Timestamp::from_millisecond(time).unwrap_or_default().to_string().into());
    }
    if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
        return Some(numbers.value(row).into());
    }
    if let Some(numbers) = column.as_primitive_opt::<Int32Type>() {
        return Some(numbers.value(row).into());
    }
    if let Some(numbers) = column.as_primitive_opt::<Float64Type>() {
        return Some(numbers.value(row).into());
    }
    column.as_primitive_opt::<Float32Type>().map(|numbers| numbers.value(row).into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Rows, table_schemas};
    use super::*;
    use crate::record::{Reject, Stage, Sym};

    #[test]
    fn a_row_is_told_by_its_columns() {
        let names = Names::default();
        let reject = Reject {
            stage: Stage::Normalize,
            reason: "no time".into(),
            tick: 7,
            tenant: names.intern("north"),
            source: names.intern("edge"),
            position: 3,
            raw: "{\"a\":1}".into(),
        };
        let told =
            Rows::Rejects(vec![reject.clone(), Reject { source: Sym::EMPTY, ..reject }]).json(9, &names);
        let expected = serde_json::json!({ "tenant": "north", "epoch": 9, "tick": 7, "stage": "normalize",
            "reason": "no time", "source": "edge", "partition": 0, "position": 3, "raw": "{\"a\":1}" });
        assert_eq!(Value::Object(told[0].clone()), expected);
        assert_eq!(told[1]["source"], "");
    }

    #[test]
    fn every_type_of_column_can_be_told() {
        let types: BTreeSet<String> = table_schemas()
            .iter()
            .flat_map(|(_, schema)| {
                schema.fields().iter().map(|field| field.data_type().to_string()).collect::<Vec<_>>()
            })
            .collect();
        let known = ["Boolean", "Float32", "Float64", "Int32", "Int64", "Timestamp(ms, \"UTC\")", "Utf8"];
        for kind in types {
            assert!(known.contains(&kind.as_str()) || kind.starts_with("List("), "{kind}");
        }
    }
}
