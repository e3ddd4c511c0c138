//! Memo: what was worked out of a text is remembered, so that a name that recurs costs one look.
//!
//! A look costs what the caches miss, so a short text lies in place, and the two that may answer lie in one cache line.
//! State: a bounded number of entries, in pairs; of each pair the one used longer ago gives way. Long texts are not
//! remembered.

use std::hash::Hasher;
use std::num::NonZero;

use rustc_hash::FxHasher;

/// Texts longer than this are worked out again each time: they are rare, or an attack on memory.
const TEXT_MAX: usize = 256;

/// Two-way tables of answers by (tag, text): one for texts that lie in place, one for longer ones.
pub(super) struct Memo<V> {
    short: Ways<Short<V>>,
    long: Ways<Long<V>>,
}

impl<V: Copy> Memo<V> {
    /// Tables of at most 2^`bits_max` entries, 2 to 31; they begin small, since most sources say little.
    pub(super) fn new(bits_max: u32) -> Self {
        Memo { short: Ways::new(bits_max), long: Ways::new(bits_max) }
    }

    /// Where a text lies that lies in place, for [`Memo::warm`].
    pub(super) fn place(tag: u32, text: &str) -> Option<u64> {
        Packed::of(text).map(|words| words.hash(tag))
    }

    /// Touches what lies at these places: it is near when it is looked for. A line for each, so none waits for another.
    pub(super) fn warm(&self, places: &[u64]) {
        let pairs = places.iter().map(|place| &self.short.pairs[self.short.at(*place)].0);
        std::hint::black_box(pairs.filter(|pair| pair[0].is_some()).count());
    }

    /// What `make` says of `text`, remembered under `tag`.
    pub(super) fn get(&mut self, tag: u32, text: &str, make: impl FnOnce(&str) -> V) -> V {
        if let Some(words) = Packed::of(text) {
            let hash = words.hash(tag);
            let is = |known: &Short<V>| known.text == words && known.tag == tag;
            if let Some(known) = self.short.find(hash, is) {
                return known.value;
            }
            let value = make(text);
            self.short.put(hash, Short { text: words, tag, value });
            return value;
        }
        if text.len() > TEXT_MAX {
            return make(text);
        }
        let hash = hash(tag, text.as_bytes());
        let is = |known: &Long<V>| known.hash == hash && known.tag == tag && *known.text == *text;
        if let Some(known) = self.long.find(hash, is) {
            return known.value;
        }
        let value = make(text);
        self.long.put(hash, Long { hash, tag, text: text.into(), value });
        value
    }
}

/// A text of at most [`Packed::BYTES`] bytes, as three words: its bytes, then zeros, then its length and one.
#[derive(Clone, Copy, PartialEq)]
struct Packed([u64; 2], NonZero<u64>);

/// The hash of a text under a tag.
fn hash(tag: u32, text: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u32(tag);
    // Of bytes, not of words: only so has each of them a part in all bits.
    hasher.write(text);
    hasher.finish()
}

impl Packed {
    const BYTES: usize = 23;

    fn of(text: &str) -> Option<Packed> {
        let mut bytes = [0; Packed::BYTES + 1];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        if text.len() > Packed::BYTES {
            return None;
        }
        bytes[Packed::BYTES] = u8::try_from(text.len()).ok()? + 1;
        let [first, second, last] = *bytes.as_chunks().0 else { return None };
        let word = u64::from_le_bytes;
        Some(Packed([word(first), word(second)], NonZero::new(word(last))?))
    }

    fn hash(self, tag: u32) -> u64 {
        let Packed([first, second], last) = self;
        let mut bytes = [0; Packed::BYTES + 1];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip([first, second, last.get()]) {
            *bytes = word.to_le_bytes();
        }
        hash(tag, &bytes)
    }
}

struct Short<V> {
    text: Packed,
    tag: u32,
    value: V,
}

struct Long<V> {
    hash: u64,
    tag: u32,
    text: Box<str>,
    value: V,
}

trait Entry {
    /// The one that it was put by.
    fn hash(&self) -> u64;
}

impl<V> Entry for Short<V> {
    fn hash(&self) -> u64 {
        self.text.hash(self.tag)
    }
}

impl<V> Entry for Long<V> {
    fn hash(&self) -> u64 {
        self.hash
    }
}

/// A two-way table.
struct Ways<E> {
    pairs: Vec<Pair<E>>,
    bits: u32,
    bits_max: u32,
    used: usize,
}

/// The one used last goes first.
#[repr(align(64))]
struct Pair<E>([Option<E>; 2]);

impl<E: Entry> Ways<E> {
    fn new(bits_max: u32) -> Self {
        let bits = bits_max.min(6);
        Ways { pairs: empty(bits), bits, bits_max, used: 0 }
    }

    fn at(&self, hash: u64) -> usize {
        usize::try_from(hash & u64::from(u32::MAX)).unwrap_or(0) & (self.pairs.len() - 1)
    }

    fn pair(&mut self, hash: u64) -> &mut [Option<E>; 2] {
        let at = self.at(hash);
        &mut self.pairs[at].0
    }

    fn find(&mut self, hash: u64, is: impl Fn(&E) -> bool) -> Option<&E> {
        let pair = self.pair(hash);
        if !pair[0].as_ref().is_some_and(&is) {
            pair[1].as_ref().filter(|known| is(known))?;
            // Only what is used twice goes first: what passes by once cannot push it out.
            pair.swap(0, 1);
        }
        pair[0].as_ref()
    }

    fn put(&mut self, hash: u64, entry: E) {
        if self.used * 3 > 2 * self.pairs.len() && self.bits < self.bits_max {
            self.grow();
        }
        self.used += usize::from(self.fill(hash, entry));
    }

    /// Puts it where there is room, or in the second's place; whether there was room.
    fn fill(&mut self, hash: u64, entry: E) -> bool {
        let pair = self.pair(hash);
        let way = usize::from(pair[0].is_some());
        pair[way].replace(entry).is_none()
    }

    /// Makes the table four times as large; where two meet, one is forgotten.
    fn grow(&mut self) {
        self.bits = (self.bits + 2).min(self.bits_max);
        let known = std::mem::replace(&mut self.pairs, empty(self.bits));
        self.used = 0;
        for entry in known.into_iter().flat_map(|pair| pair.0).flatten() {
            self.used += usize::from(self.fill(entry.hash(), entry));
        }
    }
}

fn empty<E>(bits: u32) -> Vec<Pair<E>> {
    std::iter::repeat_with(|| Pair([None, None])).take(1 << (bits - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_of_short_texts_is_a_cache_line() {
        assert_eq!(size_of::<Pair<Short<crate::record::Sym>>>(), 64);
    }

    #[test]
    fn nearly_all_of_what_fits_is_remembered() {
        let mut memo = Memo::new(13);
        let hosts = (0..2_000).map(|n| format!("host-{n:05}.corp.example"));
        let addresses = (0..2_000).map(|n| format!("10.{}.{}.7", n % 7, n));
        let texts: Vec<String> = hosts.chain(addresses).collect();
        let mut made = 0;
        for _ in 0..3 {
            made = 0;
            for text in &texts {
                memo.get(0, text, |_| made += 1);
            }
        }
        assert!(made < 1_000, "{made} of 4,000 in 8,192 places were worked out again");
    }

    #[test]
    fn texts_that_differ_in_what_fills_them_up_are_not_one() {
        let mut memo = Memo::new(8);
        let texts = [
            "",
            "\0",
            "\0\0",
            "a",
            "a\0",
            &"x".repeat(22),
            &"x".repeat(23),
            &"x".repeat(24),
            &"x".repeat(25),
        ];
        for _ in 0..2 {
            for text in texts {
                assert_eq!(memo.get(0, text, str::len), text.len(), "{text:?}");
            }
        }
    }

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
