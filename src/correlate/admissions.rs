//! Admissions: which alerts were admitted within a day, and at which tick: 23 to 28 bytes each, since there are millions.
//!
//! State: identities in the order of their admission, in chunks, and an index of four bytes each. A chunk is forgotten when
//! all of its admissions are dead.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::dedup::{Admission, SAME_ALERT_S};
use crate::flow::store::Store;
use crate::record::{AlertId, Tick};

/// Admissions of a chunk, at most.
const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 12;
/// The greatest chunk's number.
const CHUNKS: u32 = u32::MAX >> CHUNK_BITS;

/// Admissions by identity.
#[derive(Debug, Default)]
pub(super) struct Admissions {
    /// The numbers of what stands in the chunks: the chunk's number, then the place in it.
    index: HashTable<u32>,
    chunks: VecDeque<Chunk>,
    /// The first chunk's number; numbers begin anew after 2^20 chunks, long after their first use has died.
    first: u32,
    /// How many of the last ones in the chunks were taken back and are not in the index yet.
    unlisted: usize,
}

/// What is taken back goes into the index so many at a time, in so many parts of it: an index of millions is far larger than a
/// processor's caches, and one part of it is not.
const LISTED: usize = 8 << 20;
const PARTS: usize = 4_096;

#[derive(Debug)]
struct Chunk {
    ids: Vec<AlertId>,
    /// Seconds after `from`, or before.
    after: Vec<i16>,
    from: Tick,
    dies: Tick,
    /// How many of them were forgotten since.
    gone: usize,
}

/// An identity is a hash already.
fn hash(id: &AlertId) -> u64 {
    u64::from_le_bytes(*id.0.last_chunk().unwrap_or(&[0; 8]))
}

/// Where the one of that number stands.
fn place(first: u32, number: u32) -> (usize, usize) {
    let chunk = (number >> CHUNK_BITS).wrapping_sub(first) & CHUNKS;
    (chunk as usize, number as usize & (CHUNK - 1))
}

/// The hash of the one of that number, to move its index.
fn hash_of(chunks: &VecDeque<Chunk>, first: u32, number: u32) -> u64 {
    let (chunk, at) = place(first, number);
    hash(&chunks[chunk].ids[at])
}

impl Admissions {
    fn id(&self, number: u32) -> Option<&AlertId> {
        let (chunk, at) = place(self.first, number);
        self.chunks.get(chunk)?.ids.get(at)
    }

    fn find(&self, id: &AlertId) -> Option<u32> {
        self.index.find(hash(id), |number| self.id(*number) == Some(id)).copied()
    }

    fn admission(&self, number: u32) -> Option<Admission> {
        let (chunk, at) = place(self.first, number);
        let chunk = self.chunks.get(chunk)?;
        Some(Admission(chunk.from + Tick::from(*chunk.after.get(at)?)))
    }

    fn forget(&mut self, number: u32, id: &AlertId) {
        self.unlist(number, id);
        if let Some(chunk) = self.chunks.get_mut(place(self.first, number).0) {
            chunk.gone += 1;
        }
    }

    /// Of a chunk that goes, or of one in which it is counted.
    fn unlist(&mut self, number: u32, id: &AlertId) {
        if let Ok(entry) = self.index.find_entry(hash(id), |known| *known == number) {
            entry.remove();
        }
    }

    fn append(&mut self, id: AlertId, tick: Tick) {
        let number = self.push(id, tick);
        let Admissions { index, chunks, first, .. } = self;
        index.insert_unique(hash(&id), number, |number| hash_of(chunks, *first, *number));
    }

    /// Has in the index what was taken back.
    fn list(&mut self) {
        let unlisted = std::mem::take(&mut self.unlisted);
        if unlisted == 0 {
            return;
        }
        let Admissions { index, chunks, first, .. } = self;
        let hash_of = |number: &u32| hash_of(chunks, *first, *number);
        index.reserve(unlisted, hash_of);
        // A table has a place for each number below a power of two, of which it fills seven eighths.
        let places = (index.capacity() / 7 * 8).next_power_of_two().max(PARTS);
        let part = |hash: u64| usize::try_from(hash % places as u64).unwrap_or(0) / (places / PARTS);
        let all: usize = chunks.iter().map(|chunk| chunk.ids.len()).sum();
        let hashes = chunks.iter().zip(0u32..).flat_map(|(chunk, at)| {
            let from = (first.wrapping_add(at) & CHUNKS) << CHUNK_BITS;
            chunk.ids.iter().map(hash).zip(from..)
        });
        let mut rest = hashes.skip(all - unlisted).peekable();
        while rest.peek().is_some() {
            let some: Vec<(u64, u32)> = rest.by_ref().take(LISTED).collect();
            for (hash, number) in by_part(&some, part) {
                index.insert_unique(hash, number, hash_of);
            }
        }
    }

    /// Writes an admission into the last chunk; its number.
    fn push(&mut self, id: AlertId, tick: Tick) -> u32 {
        let fits = |chunk: &Chunk| chunk.ids.len() < CHUNK && i16::try_from(tick - chunk.from).is_ok();
        if !self.chunks.back().is_some_and(fits) {
            // They grow as they are filled: a clock that jumps to and fro fills none.
            let (ids, after) = (Vec::new(), Vec::new());
            self.chunks.push_back(Chunk { ids, after, from: tick, dies: Tick::MIN, gone: 0 });
        }
        let last = self.chunks.len() - 1;
        let Some(chunk) = self.chunks.back_mut() else { return 0 };
        let place = chunk.ids.len();
        chunk.ids.push(id);
        chunk.after.push(i16::try_from(tick - chunk.from).unwrap_or(i16::MAX));
        chunk.dies = chunk.dies.max(tick.saturating_add(SAME_ALERT_S));
        let number = |at: usize| u32::try_from(at).unwrap_or(0);
        self.first.wrapping_add(number(last)) << CHUNK_BITS | number(place)
    }
}

/// The same in the order of parts.
fn by_part(all: &[(u64, u32)], part: impl Fn(u64) -> usize) -> Vec<(u64, u32)> {
    let mut at = vec![0; PARTS + 1];
    for (hash, _) in all {
        at[part(*hash) + 1] += 1;
    }
    for part in 0..PARTS {
        at[part + 1] += at[part];
    }
    let mut sorted = vec![(0, 0); all.len()];
    for one in all {
        let place = &mut at[part(one.0)];
        sorted[*place] = *one;
        *place += 1;
    }
    sorted
}

impl Store<AlertId, Admission> for Admissions {
    fn len(&self) -> usize {
        self.index.len() + self.unlisted
    }

    fn restore(&mut self, id: AlertId, admission: Admission, _: Tick) {
        self.push(id, admission.0);
        self.unlisted += 1;
    }

    fn take(&mut self, id: &AlertId) -> Option<Admission> {
        self.list();
        let number = self.find(id)?;
        let admission = self.admission(number);
        self.forget(number, id);
        admission
    }

    fn put(&mut self, id: AlertId, admission: Admission, _: Tick) {
        self.list();
        self.append(id, admission.0);
    }

    fn step(&mut self, id: AlertId, step: impl FnOnce(&mut Admission) -> Tick) {
        self.list();
        let number = self.find(&id);
        let before = number.and_then(|number| self.admission(number));
        let mut admission = before.unwrap_or_default();
        step(&mut admission);
        if before == Some(admission) {
            return;
        }
        if let Some(number) = number {
            self.forget(number, &id);
        }
        self.append(id, admission.0);
    }

    fn each(&self, mut tell: impl FnMut(&AlertId, &Admission)) {
        for (chunk, at) in self.chunks.iter().zip(0u32..) {
            let first = (self.first.wrapping_add(at) & CHUNKS) << CHUNK_BITS;
            for ((id, after), number) in chunk.ids.iter().zip(&chunk.after).zip(first..) {
                // What was forgotten lies there until its chunk does. Mostly nothing was, and nothing is looked for. What is not
                // listed was not forgotten since.
                if chunk.gone == 0 || self.find(id) == Some(number) {
                    tell(id, &Admission(chunk.from + Tick::from(*after)));
                }
            }
        }
    }

    fn sweep(&mut self, before: Tick, _: impl Fn(&Admission) -> Tick) {
        self.list();
        while let Some(chunk) = self.chunks.pop_front_if(|chunk| chunk.dies <= before) {
            for (at, id) in chunk.ids.iter().enumerate() {
                let number = self.first << CHUNK_BITS | u32::try_from(at).unwrap_or(0);
                self.unlist(number, id);
            }
            self.first = self.first.wrapping_add(1) & CHUNKS;
        }
        if self.index.capacity() > 8 * self.index.len().max(CHUNK) {
            let Admissions { index, chunks, first, .. } = self;
            index.shrink_to(0, |number| hash_of(chunks, *first, *number));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::flow::store::Table;

    fn id(of: u16) -> AlertId {
        AlertId::of(&[&of.to_le_bytes()])
    }

    /// What is looked for is found as in a table, as long as it lives; what has died is forgotten.
    fn follows(first: u32, steps: Vec<(u16, Tick, u8)>) -> Result<(), TestCaseError> {
        let mut table: Table<AlertId, Admission> = Table::default();
        let mut admissions = Admissions { first, ..Admissions::default() };
        let mut clock = 0;
        for (of, on, what) in steps {
            clock += on;
            let (id, dies) = (id(of), clock + SAME_ALERT_S);
            let lives = |admission: Option<Admission>| admission.filter(|a| a.dies() > clock);
            match what {
                0 => prop_assert_eq!(lives(admissions.take(&id)), lives(table.take(&id))),
                1 => {
                    admissions.take(&id);
                    table.take(&id);
                    admissions.put(id, Admission(clock), dies);
                    table.put(id, Admission(clock), dies);
                }
                3 => {
                    // What was kept is taken back, by another.
                    let mut again = Admissions { first: admissions.first ^ 5, ..Admissions::default() };
                    admissions.each(|id, admission| again.restore(*id, *admission, admission.dies()));
                    prop_assert_eq!(again.len(), admissions.len());
                    admissions = again;
                }
                2 => {
                    admissions.sweep(clock, |admission| admission.dies());
                    table.sweep(clock, |admission| admission.dies());
                }
                _ => {
                    let mut said = Vec::new();
                    let mut step = |admission: &mut Admission| {
                        said.push(lives(Some(*admission)));
                        if clock >= admission.dies() {
                            *admission = Admission(clock);
                        }
                        admission.dies()
                    };
                    admissions.step(id, &mut step);
                    table.step(id, &mut step);
                    prop_assert_eq!(said[0], said[1]);
                }
            }
        }
        let mut all = BTreeMap::new();
        admissions.each(|id, admission| {
            all.insert(id.0, admission.0);
        });
        let mut of_table = BTreeMap::new();
        table.each(|id, admission| {
            of_table.insert(id.0, admission.0);
        });
        for of in [&mut all, &mut of_table] {
            of.retain(|_, tick| *tick + SAME_ALERT_S > clock);
        }
        prop_assert_eq!(all, of_table);
        admissions.sweep(clock + SAME_ALERT_S + 1, |admission| admission.dies());
        prop_assert!(admissions.is_empty() && admissions.chunks.is_empty());
        Ok(())
    }

    proptest! {
        #[test]
        fn they_are_those_of_a_table(
            steps in prop::collection::vec((0u16..60, prop_oneof![0..10i64, 0..50_000i64], 0u8..9), 1..300),
            first in prop_oneof![Just(0), Just(CHUNKS), 0..=CHUNKS]
        ) {
            follows(first, steps)?;
        }
    }

    #[test]
    fn millions_cost_a_known_number_of_bytes_and_leave() {
        let mut admissions = Admissions::default();
        for of in 0..100_000u32 {
            let tick = Tick::from(of / 10);
            admissions.put(AlertId::of(&[&of.to_le_bytes()]), Admission(tick), tick + SAME_ALERT_S);
        }
        assert_eq!((admissions.len(), admissions.chunks.len()), (100_000, 25));
        admissions.sweep(SAME_ALERT_S + 5_000, |admission| admission.dies());
        assert!((50_000..55_000).contains(&admissions.len()), "{}", admissions.len());
        admissions.sweep(SAME_ALERT_S + 10_000, |admission| admission.dies());
        assert!(admissions.is_empty() && admissions.index.capacity() <= 8 * CHUNK);
    }
}
