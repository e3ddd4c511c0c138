//! Memo: what was worked out of a text is remembered, so that a name that recurs costs one look.
//!
//! State: a fixed number of entries, the newer replacing the older; long texts are not remembered.

use std::hash::{BuildHasher, Hasher};

use rustc_hash::FxBuildHasher;

/// Texts longer than this are worked out again each time: they are rare, or an attack on memory.
const TEXT_MAX: usize = 256;

/// A direct-mapped table of answers by (tag, text).
pub(super) struct Memo<V> {
    entries: Vec<Option<Entry<V>>>,
    bits: u32,
}

struct Entry<V> {
    hash: u64,
    tag: u32,
    text: Box<str>,
    value: V,
}

impl<V: Copy> Memo<V> {
    /// A table of 2^`bits` entries; `bits` is 1 to 31.
    pub(super) fn new(bits: u32) -> Self {
        Memo { entries: std::iter::repeat_with(|| None).take(1 << bits).collect(), bits }
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
        let at = usize::try_from(hash >> (64 - self.bits)).unwrap_or(0);
        match &mut self.entries[at] {
            Some(entry) if entry.hash == hash && entry.tag == tag && *entry.text == *text => entry.value,
            other => {
                let value = make(text);
                *other = Some(Entry { hash, tag, text: text.into(), value });
                value
            }
        }
    }
}
