//! Digest: a hash of each table's meaning. Two runs are equal when these are.
//!
//! A row's hash is BLAKE3 over its columns by name, each with its value; nulls are left out, so that a column that
//! came later changes nothing in rows without it. A table's hash is the sum of `diff` times the row's hash, in four
//! lanes mod 2^64: changes that cancel leave nothing, and neither order nor the parts' layout is in it.

use std::fmt;
use std::io;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};

use super::TABLES;
use super::layout::{self, about};
use super::reader::open;

/// One table's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableDigest {
    /// The table.
    pub table: &'static str,
    /// Its rows, changes summed.
    pub rows: i64,
    /// The sum over its rows.
    pub hash: [u8; 32],
}

/// `alerts 1000 5f...`
impl fmt::Display for TableDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.table, self.rows)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What two runs over the same records may differ in, by table.
///
/// `epoch` is the batching of ingest. `incidents.version` counts the versions of this run. The time of a verdict is
/// the analyst's clock, and the tick that a verdict or other input met is how far the run had come: both are in
/// the log, and what they changed shows in the other tables. Actions are timed in event time, which stays.
fn left_out(table: &str, column: &str) -> bool {
    matches!(
        (table, column),
        (_, "epoch")
            | ("incidents", "version")
            | ("actions", "attempts")
            | ("verdicts", "time" | "tick")
            | ("inputs", "tick")
    )
}

/// The digest of each table of the archive at `dir`, in the tables' order; a table without rows has one too.
///
/// With `include_log`, everything that is written counts. Otherwise it is the meaning alone: `epochs` is no part of it, nor
/// `observed`, whose counts are an epoch's, nor in `inputs` what tells only of delivery (moves of the clock, pushed batches), nor are the columns of `left_out`.
pub fn digest(dir: &Path, include_log: bool) -> io::Result<Vec<TableDigest>> {
    let listed = std::fs::read_dir(dir);
    listed.map_err(|error| about(dir, "cannot read the archive", &error))?;
    TABLES
        .into_iter()
        .filter(|table| include_log || !matches!(table, &"epochs" | &"observed"))
        .map(|table| table_digest(dir, table, include_log))
        .collect()
}

fn table_digest(dir: &Path, table: &'static str, include_log: bool) -> io::Result<TableDigest> {
    let mut sum = Sum::default();
    for path in layout::published(dir, table)? {
        for batch in open(&path, None)? {
            let failed = |error| about(&path, "cannot read", &error);
            let batch = batch.map_err(|error| failed(io::Error::other(error)))?;
            sum.add_batch(table, &batch, include_log).map_err(|fault| failed(io::Error::other(fault)))?;
        }
    }
    let mut hash = [0; 32];
    for (bytes, lane) in hash.chunks_exact_mut(8).zip(sum.lanes) {
        bytes.copy_from_slice(&lane.to_le_bytes());
    }
    Ok(TableDigest { table, rows: sum.rows, hash })
}

#[derive(Default)]
struct Sum {
    lanes: [u64; 4],
    rows: i64,
}

impl Sum {
    fn add(&mut self, row: &[u8], diff: i64) {
        let hash = blake3::hash(row);
        for (lane, bytes) in self.lanes.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
            let word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            *lane = lane.wrapping_add(word.wrapping_mul(diff.cast_unsigned()));
        }
        self.rows = self.rows.wrapping_add(diff);
    }

    fn add_batch(&mut self, table: &str, batch: &RecordBatch, include_log: bool) -> Result<(), String> {
        let schema = batch.schema();
        let mut columns: Vec<(&str, &ArrayRef)> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .zip(batch.columns())
            .filter(|(name, _)| *name != "diff" && (include_log || !left_out(table, name)))
            .collect();
        columns.sort_by_key(|(name, _)| *name);
        let diffs = batch.column_by_name("diff").map(|column| {
            column.as_primitive_opt::<Int64Type>().ok_or_else(|| "column \"diff\" is not int64".to_owned())
        });
        let diffs = diffs.transpose()?;
        let inputs = (table == "inputs" && !include_log).then(|| Inputs::of(batch)).transpose()?;
        let mut row = Vec::new();
        for at in 0..batch.num_rows() {
            row.clear();
            for (name, column) in &columns {
                if column.is_null(at) {
                    continue;
                }
                put_text(&mut row, name);
                match &inputs {
                    Some(inputs) if *name == "body" => put_text(&mut row, &inputs.body(at)),
                    _ => {
                        put_value(&mut row, column, at)
                            .map_err(|fault| format!("column {name:?} {fault}"))?;
                    }
                }
            }
            if inputs.as_ref().is_none_or(|inputs| !matches!(inputs.kind(at), "tick" | "push")) {
                self.add(&row, diffs.map_or(1, |diffs| diffs.value(at)));
            }
        }
        Ok(())
    }
}

/// The two columns of `inputs` that need a closer look.
struct Inputs<'a> {
    kinds: &'a arrow_array::StringArray,
    bodies: &'a arrow_array::StringArray,
}

impl<'a> Inputs<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, String> {
        let column = |name: &str| {
            let found = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
            found.ok_or_else(|| format!("column {name:?} is missing, or is no text"))
        };
        Ok(Inputs { kinds: column("kind")?, bodies: column("body")? })
    }

    fn kind(&self, at: usize) -> &str {
        self.kinds.value(at)
    }

    /// The body without the wall-clock `time` that a person's word carries, and without how often an executor was called.
    fn body(&self, at: usize) -> String {
        let body = self.bodies.value(at);
        let left_out = match self.kind(at) {
            "approval" | "verdict" => "time",
            "receipt" => "attempts",
            _ => return body.to_owned(),
        };
        if let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_str(body)
            && fields.remove(left_out).is_some()
        {
            return serde_json::Value::Object(fields).to_string();
        }
        body.to_owned()
    }
}

fn put_text(row: &mut Vec<u8>, text: &str) {
    row.push(b's');
    row.extend_from_slice(&(text.len() as u64).to_le_bytes());
    row.extend_from_slice(text.as_bytes());
}

fn put_whole(row: &mut Vec<u8>, value: i64) {
    row.push(b'i');
    row.extend_from_slice(&value.to_le_bytes());
}

fn put_real(row: &mut Vec<u8>, value: f64) {
    row.push(b'f');
    row.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// The value at `at`, by what it says rather than by how it lies: a number's width and a text's dictionary are not
/// in it.
fn put_value(row: &mut Vec<u8>, column: &dyn Array, at: usize) -> Result<(), String> {
    if column.is_null(at) {
        row.push(b'n');
        return Ok(());
    }
    if let Some(column) = column.as_string_opt::<i32>() {
        put_text(row, column.value(at));
    } else if let Some(column) = column.as_primitive_opt::<Int64Type>() {
        put_whole(row, column.value(at));
    } else if let Some(column) = column.as_primitive_opt::<TimestampMillisecondType>() {
        put_whole(row, column.value(at));
    } else if let Some(column) = column.as_primitive_opt::<Int32Type>() {
        put_whole(row, column.value(at).into());
    } else if let Some(column) = column.as_list_opt::<i32>() {
        put_list(row, &column.value(at))?;
    } else if let Some(column) = column.as_primitive_opt::<Float32Type>() {
        put_real(row, column.value(at).into());
    } else if let Some(column) = column.as_primitive_opt::<Float64Type>() {
        put_real(row, column.value(at));
    } else if let Some(column) = column.as_boolean_opt() {
        put_whole(row, column.value(at).into());
    } else if let Some(column) = column.as_string_opt::<i64>() {
        put_text(row, column.value(at));
    } else if let Some(column) = column.as_string_view_opt() {
        put_text(row, column.value(at));
    } else if let Some(column) = column.as_list_opt::<i64>() {
        put_list(row, &column.value(at))?;
    } else {
        return Err(format!("is of type {}, which no table has", column.data_type()));
    }
    Ok(())
}

fn put_list(row: &mut Vec<u8>, values: &ArrayRef) -> Result<(), String> {
    row.push(b'l');
    row.extend_from_slice(&(values.len() as u64).to_le_bytes());
    (0..values.len()).try_for_each(|at| put_value(row, values, at))
}
