//! Names: every string that is met again (hosts, users, rules, products) is kept once and travels as a `Sym`.
//!
//! Interned numbers follow the order of arrival, which differs from run to run: never order by them, hash
//! them into a result or write them. Compare and write what `Names::get` answers.
//!
//! State: one entry per distinct string, for as long as these names are kept: a live run that has met too many goes on with new ones
//! (see `cli/renewal.rs`).
//!
//! How a `Sym` crosses to another process of a cluster is told in [`super::wire`].

use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

/// The number of an interned string within one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sym(u32);

impl Sym {
    /// The empty string: interned before all others.
    pub const EMPTY: Sym = Sym(0);

    /// The raw number, good only as a hash or an index within this process.
    #[must_use]
    pub fn raw(self) -> u32 {
        self.0
    }

    /// Of a raw number of this process.
    pub(super) fn of_raw(raw: u32) -> Sym {
        Sym(raw)
    }

    /// Its shard, and its place there.
    pub(super) fn at(self) -> (usize, usize) {
        (self.0 as usize & (SHARDS - 1), (self.0 >> SHARD_BITS) as usize)
    }
}

const SHARD_BITS: u32 = 4;
/// Tables that make up [`Names`].
pub(super) const SHARDS: usize = 1 << SHARD_BITS;

/// The table of interned strings, shared by all threads of a process.
pub struct Names {
    shards: [Mutex<Shard>; SHARDS],
}

/// Strings lie end to end in `text`; `ends[i]` is where string i ends. `index` finds a string's number: with 8 bytes an
/// entry, what a string costs is little more than its bytes. No two share a cache line: whoever has one does not wait for another's.
#[derive(Default)]
#[repr(align(128))]
struct Shard {
    text: String,
    ends: Vec<u32>,
    index: HashTable<Entry>,
}

/// The number of a string, and part of its hash: a table that grows need not read the strings again.
#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    id: u32,
}

/// Spreads the part of a hash that is kept over all bits, as the table wants it.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Shard {
    fn str(&self, at: u32) -> &str {
        let at = at as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.text[start..self.ends[at] as usize]
    }
}

impl Default for Names {
    fn default() -> Self {
        let names = Names { shards: std::array::from_fn(|_| Mutex::new(Shard::default())) };
        // The empty string must be number 0, whichever shard its hash would choose.
        let mut shard = names.shard(0);
        shard.ends.push(0);
        drop(shard);
        names
    }
}

impl Names {
    fn shard(&self, at: usize) -> MutexGuard<'_, Shard> {
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of `text`, the same for equal strings.
    #[must_use]
    pub fn intern(&self, text: &str) -> Sym {
        if text.is_empty() {
            return Sym::EMPTY;
        }
        let mut hasher = FxBuildHasher.build_hasher();
        hasher.write(text.as_bytes());
        let hash = hasher.finish();
        let at = (hash >> (64 - SHARD_BITS)) as usize;
        let mut shard = self.shard(at);
        #[expect(clippy::cast_possible_truncation, reason = "32 of its bits")]
        let part = (hash >> 16) as u32;
        #[expect(clippy::cast_possible_truncation, reason = "a shard's number is below 16")]
        let low = at as u32;
        if let Some(known) =
            shard.index.find(spread(part), |known| known.hash == part && shard.str(known.id) == text)
        {
            return Sym(known.id << SHARD_BITS | low);
        }
        let id = u32::try_from(shard.ends.len()).expect("fewer than 2^28 distinct strings a shard");
        shard.text.push_str(text);
        let end = u32::try_from(shard.text.len()).expect("fewer than 4 GiB of strings a shard");
        shard.ends.push(end);
        let entry = Entry { hash: part, id };
        shard.index.insert_unique(spread(part), entry, |known| spread(known.hash));
        Sym(id << SHARD_BITS | low)
    }

    /// Tells strings of a shard from place `from` on, `most` at most, with the place behind the last: their lengths, and
    /// their text end to end.
    pub(super) fn since<R>(
        &self,
        shard: usize,
        (from, most): (usize, usize),
        tell: impl FnOnce(&[u32], &str) -> R,
    ) -> Option<(usize, R)> {
        let shard = self.shard(shard);
        let through = shard.ends.len().min(from.saturating_add(most));
        let ends = shard.ends.get(from..through).filter(|ends| !ends.is_empty())?;
        let start = if from == 0 { 0 } else { shard.ends[from - 1] };
        let starts = std::iter::once(start).chain(ends.iter().copied());
        let lengths: Vec<u32> = ends.iter().zip(starts).map(|(end, start)| end - start).collect();
        Some((through, tell(&lengths, &shard.text[start as usize..shard.ends[through - 1] as usize])))
    }

    /// What they take of memory, in bytes: text, and 12 bytes a string.
    #[must_use]
    pub fn bytes(&self) -> usize {
        (0..SHARDS).map(|at| self.shard(at)).map(|shard| shard.text.len() + 12 * shard.ends.len()).sum()
    }

    /// What `sym` stands for.
    #[must_use]
    pub fn get(&self, sym: Sym) -> String {
        self.with(sym, str::to_owned)
    }

    /// How two strings compare, without a copy of either.
    #[must_use]
    pub fn compare(&self, one: Sym, other: Sym) -> std::cmp::Ordering {
        if one == other {
            return std::cmp::Ordering::Equal;
        }
        let at = |sym: Sym| (sym.0 as usize & (SHARDS - 1), sym.0 >> SHARD_BITS);
        let ((first, a), (second, b)) = (at(one), at(other));
        if first == second {
            let shard = self.shard(first);
            return shard.str(a).cmp(shard.str(b));
        }
        // Always the lower shard first, so that two threads cannot wait for each other.
        let low = self.shard(first.min(second));
        let high = self.shard(first.max(second));
        let (first, second) = if first < second { (&low, &high) } else { (&high, &low) };
        first.str(a).cmp(second.str(b))
    }

    /// Reads the string of `sym` in place, without a copy; `read` must not call back into these names.
    pub fn with<R>(&self, sym: Sym, read: impl FnOnce(&str) -> R) -> R {
        let shard = self.shard(sym.0 as usize & (SHARDS - 1));
        read(shard.str(sym.0 >> SHARD_BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_share_a_number_and_come_back() {
        let names = Names::default();
        let words: Vec<String> = (0..1000).map(|i| format!("host-{i}")).collect();
        let syms: Vec<Sym> = words.iter().map(|w| names.intern(w)).collect();
        for (word, sym) in words.iter().zip(&syms) {
            assert_eq!(names.intern(word), *sym);
            assert_eq!(&names.get(*sym), word);
        }
        for (one, a) in words.iter().zip(&syms) {
            for (other, b) in words.iter().zip(&syms).step_by(97) {
                assert_eq!(names.compare(*a, *b), one.cmp(other));
            }
        }
        assert_eq!(names.bytes(), 12 * 1001 + words.iter().map(String::len).sum::<usize>());
        assert_eq!(names.intern(""), Sym::EMPTY);
        assert_eq!(names.get(Sym::EMPTY), "");
    }
}
