//! Memo: what was worked out of a text is remembered, so that a name that recurs costs one look.
//!
//! State: a bounded number of entries, in pairs; of each pair the one used longer ago gives way. Long texts are not
//! remembered.

use std::hash::{BuildHasher, Hasher};

use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;

/// Texts longer than this are worked out again each time: they are rare, or an attack on memory.
const TEXT_MAX: usize = 256;

/// A two-way table of answers by (tag, text).
pub(super) struct Memo<V> {
    entries: Vec<Option<Entry<V>>>,
    bits: u32,
    bits_max: u32,
    used: usize,
}

/// One cache line, never two.
#[repr(align(64))]
struct Entry<V> {
    hash: u64,
    tag: u32,
    /// In place where it is short: a look should cost one cache line.
    text: SmallVec<[u8; 24]>,
    value: V,
}

impl<V: Copy> Entry<V> {
    fn is(&self, hash: u64, tag: u32, text: &str) -> bool {
        self.hash == hash && self.tag == tag && *self.text == *text.as_bytes()
    }
}

impl<V: Copy> Memo<V> {
    /// A table of at most 2^`bits_max` entries, 2 to 31; it begins small, since most sources say little.
    pub(super) fn new(bits_max: u32) -> Self {
        let bits = bits_max.min(6);
        Memo { entries: empty(bits), bits, bits_max, used: 0 }
    }

    fn pair(&self, hash: u64) -> usize {
        usize::try_from(hash >> (64 - self.bits)).unwrap_or(0) & !1
    }

    /// Makes the table four times as large; where two meet, one is forgotten.
    fn grow(&mut self) {
        self.bits = (self.bits + 2).min(self.bits_max);
        let known = std::mem::replace(&mut self.entries, empty(self.bits));
        self.used = 0;
        for entry in known.into_iter().flatten() {
            let at = self.pair(entry.hash);
            let way = if self.entries[at].is_none() { at } else { at + 1 };
            self.used += usize::from(self.entries[way].is_none());
            self.entries[way] = Some(entry);
        }
    }

    /// What `make` says of `text`, remembered under `tag`.
    pub(super) fn get(&mut self, tag: u32, text: &str, make: impl FnOnce(&str) -> V) -> V {
        if text.len() > TEXT_MAX {
            return make(text);
        }
        let mut hasher = FxBuildHasher.build_hasher();
        hasher.write_u32(tag);
        hasher.write(text.as_bytes());
        let hash = hasher.finish();
        let at = self.pair(hash);
        for way in [at, at + 1] {
            if let Some(entry) = &self.entries[way]
                && entry.is(hash, tag, text)
            {
                let value = entry.value;
                // Only what is used twice goes first: what passes by once cannot push it out.
                self.entries.swap(at, way);
                return value;
            }
        }
        let value = make(text);
        if self.used * 3 > self.entries.len() && self.bits < self.bits_max {
            self.grow();
        }
        let at = self.pair(hash) + 1;
        self.used += usize::from(self.entries[at].is_none());
        self.entries[at] = Some(Entry { hash, tag, text: SmallVec::from_slice(text.as_bytes()), value });
        value
    }
}

fn empty<V>(bits: u32) -> Vec<Option<Entry<V>>> {
    std::iter::repeat_with(|| None).take(1 << bits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_of_the_text_however_full_the_table() {
        let mut memo = Memo::new(8);
        for round in 0..3 {
            for at in 0..400usize {
                let text = "x".repeat(at);
                assert_eq!(memo.get(0, &text, str::len), at, "round {round}");
                assert_eq!(memo.get(1, &text, |text| text.len() + 1), at + 1);
            }
        }
    }
}
