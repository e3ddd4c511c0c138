//! Guesses: which key comes next in a record's JSON, from what came next in those before.
//!
//! Records of one producer name the same keys in the same order, so most keys need not be looked for: their bytes are
//! compared with those that came last time. A wrong guess costs a comparison and changes no result.
//! State: a bounded number of keys, of which each knows the two that followed it last.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use super::paths::{NOWHERE, Node};

/// Keys that are known; attackers choose keys.
const KEYS_MAX: usize = 4096;

/// Bytes that are compared at once.
const AT_ONCE: usize = 16;

/// Where every record begins.
pub(super) const START: Guess = 0;

/// A key that was met, by number.
pub(super) type Guess = u32;

/// The keys that were met, and what followed them.
pub(super) struct Guesses {
    keys: Vec<Key>,
    by_hash: FxHashMap<u64, Guess>,
}

struct Key {
    /// Where the object lies that the key is of.
    of: Node,
    /// Where it leads.
    to: Node,
    /// `"key":`, whole.
    bytes: Box<[u8]>,
    /// Its first bytes, the rest zero, in two words: the second says something of long keys alone.
    words: [u64; 2],
    /// Which bits of these count.
    masks: [u64; 2],
    next: [Guess; 2],
}

impl Key {
    fn new(of: Node, to: Node, bytes: &[u8]) -> Self {
        let (mut word, mut mask) = ([0; AT_ONCE], [0; AT_ONCE]);
        let (first, _) = bytes.split_at(bytes.len().min(AT_ONCE));
        word[..first.len()].copy_from_slice(first);
        mask[..first.len()].fill(u8::MAX);
        Key { of, to, bytes: bytes.into(), words: words(word), masks: words(mask), next: [START; 2] }
    }

    #[inline]
    fn begins(&self, rest: &[u8]) -> bool {
        let Some(first) = rest.first_chunk::<AT_ONCE>() else { return rest.starts_with(&self.bytes) };
        let [one, two] = words(*first);
        one & self.masks[0] == self.words[0]
            && two & self.masks[1] == self.words[1]
            && (self.bytes.len() <= AT_ONCE || rest.starts_with(&self.bytes))
    }
}

fn words(bytes: [u8; AT_ONCE]) -> [u64; 2] {
    let bytes = u128::from_le_bytes(bytes);
    #[expect(clippy::cast_possible_truncation, reason = "its halves")]
    [bytes as u64, (bytes >> 64) as u64]
}

impl Guesses {
    pub(super) fn new() -> Self {
        Guesses { keys: vec![Key::new(NOWHERE, NOWHERE, b"\"\":")], by_hash: FxHashMap::default() }
    }

    /// Whether the bytes begin with a key that followed `last` before, in an object at `of`: which, its length with quotes
    /// and colon, and where it leads.
    #[inline]
    pub(super) fn next(&mut self, last: Guess, of: Node, rest: &[u8]) -> Option<(Guess, usize, Node)> {
        let [first, second] = self.keys[last as usize].next;
        if let Some(known) = self.begins(first, of, rest) {
            return Some(known);
        }
        let known = self.begins(second, of, rest)?;
        // What was right last goes first, and what is learnt takes the place of the other.
        self.keys[last as usize].next = [second, first];
        Some(known)
    }

    #[inline]
    fn begins(&self, guess: Guess, of: Node, rest: &[u8]) -> Option<(Guess, usize, Node)> {
        let key = &self.keys[guess as usize];
        (guess != START && key.of == of && key.begins(rest)).then_some((guess, key.bytes.len(), key.to))
    }

    /// Notes that the key with these bytes, quotes and colon and no escapes among them, came after `last`.
    pub(super) fn learn(&mut self, last: Guess, of: Node, to: Node, bytes: &[u8]) -> Guess {
        let mut hasher = FxHasher::default();
        (of, bytes).hash(&mut hasher);
        let hash = hasher.finish();
        let known = self.by_hash.get(&hash).copied();
        let guess = match known {
            Some(guess)
                if self.keys[guess as usize].of == of && *self.keys[guess as usize].bytes == *bytes =>
            {
                guess
            }
            None if self.keys.len() < KEYS_MAX => {
                let guess = Guess::try_from(self.keys.len()).unwrap_or(START);
                self.keys.push(Key::new(of, to, bytes));
                self.by_hash.insert(hash, guess);
                guess
            }
            Some(_) | None => return START,
        };
        self.keys[last as usize].next[1] = guess;
        guess
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_next_twice_is_known_and_a_flood_of_keys_is_forgotten() {
        let mut guesses = Guesses::new();
        let (a, b) = (guesses.learn(START, 0, 1, b"\"a\":"), b"\"a key that is long\":");
        let long = guesses.learn(a, 0, NOWHERE, b);
        assert_eq!(guesses.next(START, 0, b"\"a\":1}"), Some((a, 4, 1)));
        assert_eq!(guesses.next(a, 0, b"\"a key that is long\":2"), Some((long, b.len(), NOWHERE)));
        assert_eq!(guesses.next(a, 0, b"\"a key that is longer\":2"), None);
        assert_eq!(guesses.next(a, NOWHERE, b"\"a key that is long\":2"), None, "it is another object's");
        assert_eq!(guesses.next(START, 0, b""), None);
        for n in 0..10_000 {
            guesses.learn(START, NOWHERE, NOWHERE, format!("\"{n}\":").as_bytes());
        }
        assert_eq!(guesses.keys.len(), KEYS_MAX);
        assert_eq!(guesses.next(START, 0, b"\"a\":1}"), Some((a, 4, 1)), "what is met goes on");
    }
}
