//! Value: what a record holds at one path, borrowed from the record where it can be.

use std::borrow::Cow;
use std::io::Write;

/// A scalar.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Value<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Int(i64),
    Uint(u64),
    Float(f64),
    Bool(bool),
}

/// Room for any number as text.
pub(super) type Digits = [u8; 40];

impl Value<'_> {
    /// It as text, numbers written into `digits`; none if absent.
    #[inline]
    pub(super) fn text<'b>(&'b self, digits: &'b mut Digits) -> Option<&'b str> {
        if let Value::Text(text) = self { Some(text) } else { self.written(digits) }
    }

    fn written<'b>(&'b self, digits: &'b mut Digits) -> Option<&'b str> {
        let mut rest = &mut digits[..];
        let written = match self {
            Value::Absent => return None,
            Value::Text(text) => return Some(text),
            Value::Bool(true) => return Some("true"),
            Value::Bool(false) => return Some("false"),
            Value::Int(number) => write!(rest, "{number}"),
            Value::Uint(number) => write!(rest, "{number}"),
            // The shortest digits that mean the same number, with an exponent where it is long: never over 40 bytes.
            Value::Float(number) => write!(rest, "{number:?}"),
        };
        written.ok()?;
        let free = rest.len();
        let used = digits.len() - free;
        std::str::from_utf8(&digits[..used]).ok()
    }

    /// Whether it says all that was written; a number beyond 64 bits does not.
    pub(super) fn is_exact(&self) -> bool {
        /// Doubles hold every whole number up to here.
        const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
        match self {
            Value::Float(number) => number.abs() <= WHOLE_MAX,
            Value::Absent | Value::Text(_) | Value::Int(_) | Value::Uint(_) | Value::Bool(_) => true,
        }
    }

    #[inline]
    pub(super) fn is_present(&self) -> bool {
        !matches!(self, Value::Absent)
    }
}

/// What one record holds at the paths that mappings ask for. A path through a list may hold several values.
pub(super) struct Slots<'a> {
    first: Vec<Value<'a>>,
    more: Vec<(u16, Value<'a>)>,
    touched: Vec<u16>,
}

/// Values beyond the first of a path, in one record; attackers choose how long lists are.
const MORE_MAX: usize = 256;

impl<'a> Slots<'a> {
    pub(super) fn new(count: usize) -> Self {
        Slots { first: vec![Value::Absent; count], more: Vec::new(), touched: Vec::with_capacity(count) }
    }

    pub(super) fn clear(&mut self) {
        for slot in self.touched.drain(..) {
            self.first[usize::from(slot)] = Value::Absent;
        }
        self.more.clear();
    }

    /// Adds a value; empty text counts as absent.
    #[inline]
    pub(super) fn put(&mut self, slot: u16, value: Value<'a>) {
        if matches!(&value, Value::Text(text) if text.is_empty()) {
            return;
        }
        let first = &mut self.first[usize::from(slot)];
        if !first.is_present() {
            *first = value;
            self.touched.push(slot);
        } else if self.more.len() < MORE_MAX {
            self.more.push((slot, value));
        }
    }

    /// The slots that hold something, in the order in which they came.
    #[inline]
    pub(super) fn held(&self) -> &[u16] {
        &self.touched
    }

    /// The first value there is at one of `slots`.
    pub(super) fn first(&self, slots: &[u16]) -> &Value<'a> {
        let mut values = slots.iter().map(|slot| &self.first[usize::from(*slot)]);
        values.find(|value| value.is_present()).unwrap_or(&Value::Absent)
    }

    /// Whether no path holds several values.
    pub(super) fn are_single(&self) -> bool {
        self.more.is_empty()
    }

    /// Every value at `slot`.
    pub(super) fn all(&self, slot: u16) -> impl Iterator<Item = &Value<'a>> {
        let first = Some(&self.first[usize::from(slot)]).filter(|value| value.is_present());
        first.into_iter().chain(self.more.iter().filter(move |(at, _)| *at == slot).map(|(_, value)| value))
    }
}
