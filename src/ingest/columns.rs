//! Columns: Arrow columns, row by row, as the JSON that the same record would be.
//!
//! A struct is an object, a list an array, a map an object. A timestamp is RFC 3339 text, with `Z` where it is one of
//! UTC and without a zone otherwise; dates and times of day are ISO 8601. Bytes are text where they are UTF-8, else hex;
//! those of fixed size are hex, or a UUID where they are marked so. Null is an absent field. JSON has no NaN and no
//! infinity: they are null. A decimal is a number as long as a double holds all its digits, and text beyond. An interval
//! is left out.

use std::io::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, ArrowTimestampType, Date32Type, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, DecimalType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, PrimitiveArray, StructArray};
use arrow_schema::{DataType, TimeUnit};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Serialize;

/// What a file says of a column beyond its Arrow type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing.
    Plain,
    /// Its text is JSON.
    Json,
    /// Its 16 bytes are a UUID.
    Uuid,
    /// Its times are of UTC, though their type does not say so.
    Utc,
}

/// Writes a row's value, which is there.
type Write<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// A column.
struct Column<'a> {
    array: &'a dyn Array,
    write: Write<'a>,
}

impl<'a> Column<'a> {
    /// None where JSON has nothing for its type.
    fn new(array: &'a dyn Array, mark: Mark) -> Option<Column<'a>> {
        writer(array, mark).map(|write| Column { array, write })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.array.is_null(row) {
            out.extend_from_slice(b"null");
        } else {
            (self.write)(row, out);
        }
    }
}

/// The columns of a batch, or of a struct.
pub(super) struct Object<'a> {
    /// Each with its key as JSON, colon included.
    columns: Vec<(Vec<u8>, Column<'a>)>,
}

impl<'a> Object<'a> {
    /// The columns of `of`; `marks` of the first of them, the others are plain.
    pub(super) fn new(of: &'a StructArray, marks: &[Mark]) -> Object<'a> {
        let marks = marks.iter().copied().chain(std::iter::repeat(Mark::Plain));
        let columns = of.fields().iter().zip(of.columns()).zip(marks).filter_map(|((field, array), mark)| {
            let mut key = Vec::new();
            json(field.name(), &mut key);
            key.push(b':');
            Some((key, Column::new(array.as_ref(), mark)?))
        });
        Object { columns: columns.collect() }
    }

    /// Appends the row as one JSON object.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        let there = self.columns.iter().filter(|(_, column)| !column.array.is_null(row));
        for (at, (key, column)) in there.enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(key);
            (column.write)(row, out);
        }
        out.push(b'}');
    }
}

fn writer(array: &dyn Array, mark: Mark) -> Option<Write<'_>> {
    Some(match array.data_type() {
        DataType::Boolean => truth(array),
        DataType::Int8 => number::<Int8Type>(array),
        DataType::Int16 => number::<Int16Type>(array),
        DataType::Int32 => number::<Int32Type>(array),
        DataType::Int64 => number::<Int64Type>(array),
        DataType::UInt8 => number::<UInt8Type>(array),
        DataType::UInt16 => number::<UInt16Type>(array),
        DataType::UInt32 => number::<UInt32Type>(array),
        DataType::UInt64 => number::<UInt64Type>(array),
        DataType::Float16 => half(array),
        DataType::Float32 => number::<Float32Type>(array),
        DataType::Float64 => number::<Float64Type>(array),
        DataType::Utf8View => texts(array, mark),
        DataType::BinaryView => bytes(array, mark),
        DataType::FixedSizeBinary(_) => fixed_bytes(array, mark),
        DataType::Decimal32(..) => decimal::<Decimal32Type>(array),
        DataType::Decimal64(..) => decimal::<Decimal64Type>(array),
        DataType::Decimal128(..) => decimal::<Decimal128Type>(array),
        DataType::Decimal256(..) => decimal::<Decimal256Type>(array),
        DataType::Timestamp(unit, zone) => timestamps(array, *unit, zone.is_some() || mark == Mark::Utc),
        DataType::Date32 => of_day::<Date32Type>(array, 86_400 * NANOS, |time| time.date().to_string()),
        DataType::Time32(TimeUnit::Millisecond) => {
            of_day::<Time32MillisecondType>(array, 1_000_000, |time| time.time().to_string())
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            of_day::<Time64MicrosecondType>(array, 1_000, |time| time.time().to_string())
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            of_day::<Time64NanosecondType>(array, 1, |time| time.time().to_string())
        }
        DataType::Struct(_) => structs(array),
        DataType::List(_) => list(array)?,
        DataType::Map(..) => map(array)?,
        // What Parquet by itself has no words for, or what is asked for otherwise, and so no reader of it gives.
        DataType::Null
        | DataType::Utf8
        | DataType::Binary
        | DataType::Interval(_)
        | DataType::Duration(_)
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::LargeBinary
        | DataType::LargeUtf8
        | DataType::ListView(_)
        | DataType::FixedSizeList(..)
        | DataType::LargeList(_)
        | DataType::LargeListView(_)
        | DataType::Union(..)
        | DataType::Dictionary(..)
        | DataType::RunEndEncoded(..) => return None,
    })
}

/// Nanoseconds of a second.
const NANOS: i128 = 1_000_000_000;

fn number<T: ArrowPrimitiveType<Native: Serialize>>(array: &dyn Array) -> Write<'_> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    Box::new(|row, out| json(&array.value(row), out))
}

fn truth(array: &dyn Array) -> Write<'_> {
    let array = array.as_boolean();
    Box::new(|row, out| json(&array.value(row), out))
}

fn half(array: &dyn Array) -> Write<'_> {
    let array = array.as_primitive::<Float16Type>();
    Box::new(|row, out| json(&array.value(row).to_f32(), out))
}

fn texts(array: &dyn Array, mark: Mark) -> Write<'_> {
    let array = array.as_string_view();
    Box::new(move |row, out| text(array.value(row), mark, out))
}

fn bytes(array: &dyn Array, mark: Mark) -> Write<'_> {
    let array = array.as_binary_view();
    Box::new(move |row, out| match std::str::from_utf8(array.value(row)) {
        Ok(value) => text(value, mark, out),
        Err(_) => hex(array.value(row), Mark::Plain, out),
    })
}

fn fixed_bytes(array: &dyn Array, mark: Mark) -> Write<'_> {
    let array = array.as_fixed_size_binary();
    Box::new(move |row, out| hex(array.value(row), mark, out))
}

fn structs(array: &dyn Array) -> Write<'_> {
    let object = Object::new(array.as_struct(), &[]);
    Box::new(move |row, out| object.write(row, out))
}

fn decimal<T: DecimalType + ArrowPrimitiveType>(array: &dyn Array) -> Write<'_> {
    /// A double holds so many digits, whatever they are.
    const DIGITS_MAX: usize = 15;
    let array: &PrimitiveArray<T> = array.as_primitive();
    Box::new(|row, out| {
        let text = array.value_as_string(row);
        let short = text.bytes().filter(u8::is_ascii_digit).count() <= DIGITS_MAX;
        if short || text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
            out.extend_from_slice(text.as_bytes());
        } else {
            json(&text, out);
        }
    })
}

fn timestamps(array: &dyn Array, unit: TimeUnit, utc: bool) -> Write<'_> {
    match unit {
        TimeUnit::Second => stamps::<TimestampSecondType>(array, NANOS, utc),
        TimeUnit::Millisecond => stamps::<TimestampMillisecondType>(array, 1_000_000, utc),
        TimeUnit::Microsecond => stamps::<TimestampMicrosecondType>(array, 1_000, utc),
        TimeUnit::Nanosecond => stamps::<TimestampNanosecondType>(array, 1, utc),
    }
}

fn stamps<T: ArrowTimestampType>(array: &dyn Array, unit: i128, utc: bool) -> Write<'_> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    Box::new(move |row, out| match at(array.value(row), unit) {
        Ok(time) if utc => json(&time.to_string(), out),
        Ok(time) => json(&TimeZone::UTC.to_datetime(time).to_string(), out),
        Err(odd) => json(&odd, out),
    })
}

fn of_day<T: ArrowPrimitiveType<Native: Into<i64>>>(
    array: &dyn Array,
    unit: i128,
    tell: fn(DateTime) -> String,
) -> Write<'_> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    Box::new(move |row, out| match at(array.value(row).into(), unit) {
        Ok(time) => json(&tell(TimeZone::UTC.to_datetime(time)), out),
        Err(odd) => json(&odd, out),
    })
}

/// The time `count` units of `unit` nanoseconds after 1970; words that no time format reads where the calendar has none.
fn at(count: i64, unit: i128) -> Result<Timestamp, String> {
    let nanos = i128::from(count) * unit;
    Timestamp::from_nanosecond(nanos).map_err(|_| format!("{nanos} ns after 1970"))
}

fn list(array: &dyn Array) -> Option<Write<'_>> {
    let array = array.as_list::<i32>();
    let (items, ends) = (Column::new(array.values().as_ref(), Mark::Plain)?, array.value_offsets());
    Some(Box::new(move |row, out| {
        out.push(b'[');
        let range = range(ends, row);
        for item in range.clone() {
            if item > range.start {
                out.push(b',');
            }
            items.write(item, out);
        }
        out.push(b']');
    }))
}

fn map(array: &dyn Array) -> Option<Write<'_>> {
    let array = array.as_map();
    let keys = Column::new(array.keys().as_ref(), Mark::Plain)?;
    let (values, ends) = (Column::new(array.values().as_ref(), Mark::Plain)?, array.value_offsets());
    Some(Box::new(move |row, out| {
        out.push(b'{');
        let range = range(ends, row);
        for item in range.clone() {
            if item > range.start {
                out.push(b',');
            }
            let mut key = Vec::new();
            keys.write(item, &mut key);
            match key.first() {
                Some(b'"') => out.extend_from_slice(&key),
                // A key that is no text is its JSON as text.
                _ => json(&String::from_utf8_lossy(&key), out),
            }
            out.push(b':');
            values.write(item, out);
        }
        out.push(b'}');
    }))
}

/// The items of a row.
fn range(ends: &[i32], row: usize) -> std::ops::Range<usize> {
    let end = |at: usize| ends.get(at).map_or(0, |end| usize::try_from(*end).unwrap_or(0));
    end(row)..end(row + 1)
}

fn text(value: &str, mark: Mark, out: &mut Vec<u8>) {
    let whole = mark == Mark::Json && serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok();
    if whole { out.extend_from_slice(value.as_bytes()) } else { json(value, out) }
}

fn hex(bytes: &[u8], mark: Mark, out: &mut Vec<u8>) {
    out.push(b'"');
    for (at, byte) in bytes.iter().enumerate() {
        if mark == Mark::Uuid && matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        // A vector takes all.
        let _ = write!(out, "{byte:02x}");
    }
    out.push(b'"');
}

/// Appends it as JSON. What is no number is null.
fn json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // Neither a vector nor a scalar can fail.
    let _ = serde_json::to_writer(out, value);
}
