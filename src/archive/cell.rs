//! Cells: how each type of a noun lies in a column. `Put` writes a value, `Cell` reads it back.
//!
//! Low-cardinality text is gathered as dictionaries keyed by what the process already knows the text by (an
//! interned number), so that a name is looked up once a batch, not once a row. Ids are written as 32 hex digits.

use std::any::Any;
use std::fmt::Write;
use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, Float32Builder, Float64Builder, Int32Builder, Int64Builder, ListBuilder,
    PrimitiveBuilder, StringBuilder, TimestampMillisecondBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMillisecondType,
};
use arrow_array::{Array, ArrayRef, DictionaryArray};
use arrow_schema::{DataType, Field, TimeUnit};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as WordError, StrDeserializer};
use smallvec::SmallVec;

use crate::record::id::hex;
use crate::record::{
    ActionClass, ActionId, ActionStatus, AlertId, DecisionId, Entity, IncidentId, IncidentKind,
    IncidentState, InputKind, LabelSource, Millis, Names, Observable, Ruling, Score, Severity, Stage, Sym,
    Triage, Verb,
};

/// A column under construction.
pub(super) trait Column: ArrayBuilder + Sized {
    /// An empty one; takes no room until rows come.
    fn new_column() -> Self;
    /// The type as handed to the Parquet writer.
    fn data_type() -> DataType;
    /// Adds a null.
    fn null(&mut self);
}

/// A value that can be put at the end of a column of type `C`.
pub(super) trait Put<C> {
    /// Puts it there; `names` resolves interned text.
    fn put(self, to: &mut C, names: &Names);

    /// Puts many there, in order.
    fn put_all(values: impl Iterator<Item = Self>, to: &mut C, names: &Names)
    where
        Self: Sized,
    {
        values.for_each(|value| value.put(to, names));
    }
}

/// A value that can be read from a column.
pub(super) trait Cell: Sized {
    /// The column that holds such values.
    type Column: Column;
    /// Whether the column may hold nulls.
    const NULLABLE: bool = false;
    /// The value at `row`; an error says what is wrong with the column, without naming it.
    fn take(from: &dyn Array, row: usize, names: &Names) -> Result<Self, String>;
}

impl<C: Column, V: Put<C>> Put<C> for Option<V> {
    fn put(self, to: &mut C, names: &Names) {
        match self {
            Some(value) => value.put(to, names),
            None => to.null(),
        }
    }
}

impl<T: Cell> Cell for Option<T> {
    type Column = T::Column;
    const NULLABLE: bool = true;

    fn take(from: &dyn Array, row: usize, names: &Names) -> Result<Self, String> {
        if from.is_null(row) { Ok(None) } else { T::take(from, row, names).map(Some) }
    }
}

fn wrong_type(from: &dyn Array, wanted: &str) -> String {
    format!("is {} where {wanted} belongs", from.data_type())
}

// Numbers.

impl<T: ArrowPrimitiveType> Column for PrimitiveBuilder<T> {
    fn new_column() -> Self {
        PrimitiveBuilder::with_capacity(0).with_data_type(Self::data_type())
    }
    fn data_type() -> DataType {
        if matches!(T::DATA_TYPE, DataType::Timestamp(TimeUnit::Millisecond, None)) {
            return DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        }
        T::DATA_TYPE
    }
    fn null(&mut self) {
        self.append_null();
    }
}

fn number<T: ArrowPrimitiveType>(from: &dyn Array, row: usize) -> Result<T::Native, String> {
    let column = from.as_primitive_opt::<T>().ok_or_else(|| wrong_type(from, &T::DATA_TYPE.to_string()))?;
    Ok(column.value(row))
}

/// A number as it lies: written `as` the column's native type, read back checked.
macro_rules! numbers {
    ($($Type:ty, $Builder:ty, $Arrow:ty, |$value:ident| $native:expr, |$raw:ident| $back:expr;)+) => {$(
        impl Put<$Builder> for $Type {
            fn put(self, to: &mut $Builder, _: &Names) {
                let $value = self;
                to.append_value($native);
            }

            fn put_all(values: impl Iterator<Item = Self>, to: &mut $Builder, _: &Names) {
                let values: SmallVec<[_; 64]> = values.map(|$value| $native).collect();
                to.append_slice(&values);
            }
        }
        impl Cell for $Type {
            type Column = $Builder;
            fn take(from: &dyn Array, row: usize, _: &Names) -> Result<Self, String> {
                let $raw = number::<$Arrow>(from, row)?;
                $back.ok_or_else(|| format!("holds {} in row {row}, which cannot be", $raw))
            }
        }
    )+};
}

/// Milliseconds since 1970 in UTC, to lie in the archive as a timestamp rather than as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Utc(pub Millis);

numbers! {
    i64, Int64Builder, Int64Type, |v| v, |raw| Some(raw);
    // Positions and counts stay below 2^63; the bits are kept all the same.
    u64, Int64Builder, Int64Type, |v| v.cast_signed(), |raw| Some(raw.cast_unsigned());
    u32, Int64Builder, Int64Type, |v| i64::from(v), |raw| u32::try_from(raw).ok();
    i32, Int32Builder, Int32Type, |v| v, |raw| Some(raw);
    u16, Int32Builder, Int32Type, |v| i32::from(v), |raw| u16::try_from(raw).ok();
    u8, Int32Builder, Int32Type, |v| i32::from(v), |raw| u8::try_from(raw).ok();
    f32, Float32Builder, Float32Type, |v| v, |raw| Some(raw);
    Severity, Int32Builder, Int32Type, |v| i32::from(v.id()), |raw| u8::try_from(raw).ok().map(Severity::of_id);
    Score, Float64Builder, Float64Type, |v| v.value(), |raw| score(raw);
    Utc, TimestampMillisecondBuilder, TimestampMillisecondType, |v| v.0, |raw| Some(Utc(raw));
}

/// The score whose value this is: the nearest 1/10,000; outside 0..=1 there is none.
fn score(value: f64) -> Option<Score> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in 0..=1")]
    (0.0..=1.0).contains(&value).then(|| Score((value * 10_000.0).round() as u16))
}

impl Column for BooleanBuilder {
    fn new_column() -> Self {
        BooleanBuilder::with_capacity(0)
    }
    fn data_type() -> DataType {
        DataType::Boolean
    }
    fn null(&mut self) {
        self.append_null();
    }
}

impl Put<BooleanBuilder> for bool {
    fn put(self, to: &mut BooleanBuilder, _: &Names) {
        to.append_value(self);
    }
}

impl Cell for bool {
    type Column = BooleanBuilder;
    fn take(from: &dyn Array, row: usize, _: &Names) -> Result<Self, String> {
        Ok(from.as_boolean_opt().ok_or_else(|| wrong_type(from, "a truth value"))?.value(row))
    }
}

// Text of its own in each row, and ids.

impl Column for StringBuilder {
    fn new_column() -> Self {
        StringBuilder::with_capacity(0, 0)
    }
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn null(&mut self) {
        self.append_null();
    }
}

impl Put<StringBuilder> for &str {
    fn put(self, to: &mut StringBuilder, _: &Names) {
        to.append_value(self);
    }
}

fn text(from: &dyn Array, row: usize) -> Result<&str, String> {
    Ok(from.as_string_opt::<i32>().ok_or_else(|| wrong_type(from, "text"))?.value(row))
}

impl Cell for String {
    type Column = StringBuilder;
    fn take(from: &dyn Array, row: usize, _: &Names) -> Result<Self, String> {
        text(from, row).map(str::to_owned)
    }
}

impl Cell for Box<str> {
    type Column = StringBuilder;
    fn take(from: &dyn Array, row: usize, _: &Names) -> Result<Self, String> {
        text(from, row).map(Box::from)
    }
}

macro_rules! ids {
    ($($Id:ty),+) => {$(
        impl Put<StringBuilder> for $Id {
            fn put(self, to: &mut StringBuilder, _: &Names) {
                let mut digits = [0u8; 32];
                hex(&self.0, &mut digits);
                to.append_value(std::str::from_utf8(&digits).unwrap_or_default());
            }
        }
        impl Cell for $Id {
            type Column = StringBuilder;
            fn take(from: &dyn Array, row: usize, _: &Names) -> Result<Self, String> {
                let text = text(from, row)?;
                Self::parse(text).ok_or_else(|| format!("holds {text:?} in row {row}, which is not 32 hex digits"))
            }
        }
    )+};
}
ids!(AlertId, IncidentId, DecisionId, ActionId);

// Words: text that is met again and again.

/// A column of few distinct texts. What was met stays known from batch to batch, up to [`Words::KNOWN_MAX`] texts: looking
/// a name up costs more than its place in a dictionary that is copied once a batch.
pub(super) struct Words {
    keys: Int32Builder,
    texts: StringBuilder,
    /// Dictionary key by what the process knows the text by; see the `Put`s below.
    known: FxHashMap<u64, i32>,
    fixed: Vec<(&'static str, i32)>,
    /// What the last text is known by, and its key: in many columns it comes again.
    last: Option<(u64, i32)>,
    /// Dictionary keys of the parts of a comma-separated list, by the list's number.
    lists: FxHashMap<Sym, Vec<i32>>,
}

impl Words {
    const KNOWN_MAX: usize = 1 << 15;

    fn next_key(&self) -> i32 {
        i32::try_from(self.texts.len()).expect("a batch holds fewer than 2^31 texts")
    }

    fn put(&mut self, known_as: u64, write: impl FnOnce(&mut StringBuilder)) {
        if let Some((_, key)) = self.last.filter(|(last, _)| *last == known_as) {
            return self.keys.append_value(key);
        }
        let next = self.next_key();
        let key = *self.known.entry(known_as).or_insert(next);
        if key == next {
            write(&mut self.texts);
        }
        self.last = Some((known_as, key));
        self.keys.append_value(key);
    }
}

impl Column for Words {
    fn new_column() -> Self {
        Words {
            keys: Int32Builder::with_capacity(0),
            texts: StringBuilder::with_capacity(0, 0),
            known: FxHashMap::default(),
            fixed: Vec::new(),
            last: None,
            lists: FxHashMap::default(),
        }
    }
    fn data_type() -> DataType {
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
    }
    fn null(&mut self) {
        self.keys.append_null();
    }
}

impl ArrayBuilder for Words {
    fn len(&self) -> usize {
        self.keys.len()
    }
    fn finish(&mut self) -> ArrayRef {
        let texts = if self.texts.len() < Words::KNOWN_MAX {
            self.texts.finish_cloned()
        } else {
            self.known.clear();
            self.fixed.clear();
            self.last = None;
            self.lists.clear();
            self.texts.finish()
        };
        let array = DictionaryArray::try_new(self.keys.finish(), Arc::new(texts));
        Arc::new(array.expect("every key was given out for a text"))
    }
    fn finish_cloned(&self) -> ArrayRef {
        let array = DictionaryArray::try_new(self.keys.finish_cloned(), Arc::new(self.texts.finish_cloned()));
        Arc::new(array.expect("every key was given out for a text"))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
    fn into_box_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Put<Words> for Sym {
    fn put(self, to: &mut Words, names: &Names) {
        to.put(u64::from(self.raw()), |texts| names.with(self, |text| texts.append_value(text)));
    }
}

impl Put<Words> for Entity {
    fn put(self, to: &mut Words, names: &Names) {
        Observable { entity: self, role: crate::record::Role::Related }.put(to, names);
    }
}

impl Put<Words> for Observable {
    fn put(self, to: &mut Words, names: &Names) {
        let kind = self.entity.kind as u64;
        let known_as = (self.role as u64) << 40 | kind << 32 | u64::from(self.entity.value.raw());
        to.put(known_as, |texts| {
            names.with(self.entity.value, |value| {
                // Writing to a builder cannot fail.
                let _ = write!(texts, "{}{}:{value}", self.role.prefix(), self.entity.kind.name());
            });
            texts.append_value("");
        });
    }
}

impl Put<Words> for &'static str {
    fn put(self, to: &mut Words, _: &Names) {
        let found = to.fixed.iter().find(|(word, _)| *word == self).map(|(_, key)| *key);
        let key = found.unwrap_or_else(|| {
            let key = to.next_key();
            to.texts.append_value(self);
            to.fixed.push((self, key));
            key
        });
        to.keys.append_value(key);
    }
}

impl Cell for Sym {
    type Column = Words;
    fn take(from: &dyn Array, row: usize, names: &Names) -> Result<Self, String> {
        text(from, row).map(|text| names.intern(text))
    }
}

impl Cell for Entity {
    type Column = Words;
    fn take(from: &dyn Array, row: usize, names: &Names) -> Result<Self, String> {
        let text = text(from, row)?;
        Entity::parse(text, names).ok_or_else(|| format!("holds {text:?} in row {row}, which is no entity"))
    }
}

impl Cell for Observable {
    type Column = Words;
    fn take(from: &dyn Array, row: usize, names: &Names) -> Result<Self, String> {
        let text = text(from, row)?;
        Observable::parse(text, names)
            .ok_or_else(|| format!("holds {text:?} in row {row}, which is no entity"))
    }
}

/// The words of closed sets, as serde spells them too.
macro_rules! words {
    ($($Enum:ty),+) => {$(
        impl Put<Words> for $Enum {
            fn put(self, to: &mut Words, names: &Names) {
                self.name().put(to, names);
            }
        }
        impl Cell for $Enum {
            type Column = Words;
            fn take(from: &dyn Array, row: usize, _: &Names) -> Result<Self, String> {
                let text = text(from, row)?;
                let word: StrDeserializer<'_, WordError> = text.into_deserializer();
                Self::deserialize(word).map_err(|error| format!("holds {text:?} in row {row}: {error}"))
            }
        }
    )+};
}
words!(
    Stage,
    Verb,
    ActionClass,
    ActionStatus,
    IncidentKind,
    IncidentState,
    Triage,
    Ruling,
    LabelSource,
    InputKind
);

// Lists.

impl<B: Column> Column for ListBuilder<B> {
    fn new_column() -> Self {
        // `element` is what the Parquet format calls it; other names read, but with a warning in places.
        ListBuilder::with_capacity(B::new_column(), 0).with_field(Field::new("element", B::data_type(), true))
    }
    fn data_type() -> DataType {
        DataType::List(Arc::new(Field::new("element", B::data_type(), true)))
    }
    fn null(&mut self) {
        self.append_null();
    }
}

/// A list made of what an iterator gives.
pub(super) struct Each<I>(pub(super) I);

impl<B: Column, I: Iterator<Item: Put<B>>> Put<ListBuilder<B>> for Each<I> {
    fn put(self, to: &mut ListBuilder<B>, names: &Names) {
        Put::put_all(self.0, to.values(), names);
        to.append(true);
    }
}

impl<B: Column, V: Copy + Put<B>> Put<ListBuilder<B>> for &[V] {
    fn put(self, to: &mut ListBuilder<B>, names: &Names) {
        Each(self.iter().copied()).put(to, names);
    }
}

impl<T: Cell> Cell for Vec<T> {
    type Column = ListBuilder<T::Column>;
    fn take(from: &dyn Array, row: usize, names: &Names) -> Result<Self, String> {
        let lists = from.as_list_opt::<i32>().ok_or_else(|| wrong_type(from, "a list"))?;
        let [start, end] = [lists.value_offsets()[row], lists.value_offsets()[row + 1]]
            .map(|offset| usize::try_from(offset).unwrap_or_default());
        (start..end).map(|at| T::take(lists.values(), at, names)).collect()
    }
}

/// ATT&CK ids as one interned, comma-separated text; a list of text in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attacks(pub Sym);

impl Put<ListBuilder<Words>> for Attacks {
    fn put(self, to: &mut ListBuilder<Words>, names: &Names) {
        if self.0 != Sym::EMPTY {
            let words = to.values();
            let Words { keys, texts, lists, .. } = words;
            let parts = lists.entry(self.0).or_insert_with(|| {
                names.with(self.0, |text| {
                    let key = |texts: &StringBuilder| i32::try_from(texts.len()).unwrap_or(i32::MAX);
                    text.split(',')
                        .map(|part| {
                            let key = key(texts);
                            texts.append_value(part);
                            key
                        })
                        .collect()
                })
            });
            keys.append_slice(parts);
        }
        to.append(true);
    }
}

impl Cell for Attacks {
    type Column = ListBuilder<Words>;
    fn take(from: &dyn Array, row: usize, names: &Names) -> Result<Self, String> {
        let parts = Vec::<String>::take(from, row, names)?;
        Ok(Attacks(names.intern(&parts.join(","))))
    }
}
