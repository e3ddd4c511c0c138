//! Row: one CSV row into slots, by the columns of its header.

use std::borrow::Cow;
use std::sync::Arc;

use super::paths::{Paths, ROOT};
use super::value::{Slots, Value};
use crate::ingest::Header;

/// A header's columns as slots.
pub(super) struct Columns {
    header: Arc<Header>,
    slots: Vec<Option<u16>>,
    quoted: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Columns {
    pub(super) fn new(header: &Arc<Header>, paths: &Paths) -> Self {
        let slot = |column: &String| paths.slot_at(paths.step(ROOT, column)?);
        Columns {
            header: Arc::clone(header),
            slots: header.columns.iter().map(slot).collect(),
            quoted: csv_core::ReaderBuilder::new().delimiter(header.delimiter).build(),
            text: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Whether these are the columns of `header`.
    pub(super) fn are_of(&self, header: &Arc<Header>) -> bool {
        Arc::ptr_eq(&self.header, header) || self.header == *header
    }

    /// Fills `slots` from the row `text`; fails with the number of its fields where the header has another.
    pub(super) fn read<'a>(&mut self, text: &'a str, slots: &mut Slots<'a>) -> Result<(), usize> {
        if memchr::memchr(b'"', text.as_bytes()).is_some() {
            return self.read_quoted(text, slots);
        }
        let mut start = 0;
        let mut fields = 0;
        let ends =
            memchr::memchr_iter(self.header.delimiter, text.as_bytes()).chain(std::iter::once(text.len()));
        for end in ends {
            if let Some(Some(slot)) = self.slots.get(fields) {
                slots.put(*slot, Value::Text(Cow::Borrowed(&text[start..end])));
            }
            fields += 1;
            start = end + 1;
        }
        if fields == self.slots.len() { Ok(()) } else { Err(fields) }
    }

    /// The row's fields where some are quoted.
    fn read_quoted<'a>(&mut self, text: &'a str, slots: &mut Slots<'a>) -> Result<(), usize> {
        let fields = self.split(text);
        if fields != self.slots.len() {
            return Err(fields);
        }
        let mut start = 0;
        for (slot, end) in self.slots.iter().zip(&self.ends) {
            if let Some(slot) = slot {
                let field = String::from_utf8_lossy(&self.text[start..*end]).into_owned();
                slots.put(*slot, Value::Text(Cow::Owned(field)));
            }
            start = *end;
        }
        Ok(())
    }

    /// Unquotes the row into `self.text`, its fields ending at `self.ends`; answers how many there are.
    fn split(&mut self, text: &str) -> usize {
        self.quoted.reset();
        // A field more than the header has and a byte more than the row has always suffice to tell a bad row.
        self.text.resize(text.len() + 1, 0);
        self.ends.resize(self.slots.len() + 1, 0);
        let (_, read, written, fields) =
            self.quoted.read_record(text.as_bytes(), &mut self.text, &mut self.ends);
        if fields >= self.ends.len() || read < text.len() {
            return self.slots.len() + 1;
        }
        let (_, _, _, last) =
            self.quoted.read_record(&[], &mut self.text[written..], &mut self.ends[fields..]);
        fields + last
    }

    /// The row as pairs of column and field, those that no mapping asks for and all others.
    pub(super) fn pairs(&mut self, text: &str) -> Vec<(String, String)> {
        let fields = self.split(text).min(self.header.columns.len());
        let mut start = 0;
        let mut pairs = Vec::new();
        for (column, end) in self.header.columns.iter().zip(&self.ends[..fields]) {
            pairs.push((column.clone(), String::from_utf8_lossy(&self.text[start..*end]).into_owned()));
            start = *end;
        }
        pairs
    }

    /// The names of the columns.
    pub(super) fn names(&self) -> &[String] {
        &self.header.columns
    }
}
