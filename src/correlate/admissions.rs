//! Admissions: which alerts were admitted within a day, and at which tick: 23 to 28 bytes each, since there are millions.
//!
//! State: identities in the order of their admission, in chunks, and an index of four bytes each, in shares: so nobody waits
//! until a table of millions has grown, and cores fill it together. A chunk is forgotten when all of its admissions are dead.

use std::collections::VecDeque;
use std::hint::black_box;
use std::num::NonZero;
use std::thread::{self, available_parallelism};

use bytes::Bytes;
use hashbrown::HashTable;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::dedup::{Admission, SAME_ALERT_S};
use crate::flow::fate::is_set;
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
    index: [HashTable<u32>; SHARES],
    chunks: VecDeque<Chunk>,
    /// The first chunk's number; numbers begin anew after 2^20 chunks, long after their first use has died.
    first: u32,
    /// How many of the last ones in the chunks were taken back and are not in the index yet.
    unlisted: usize,
    /// When those happened that came late.
    late: FxHashMap<AlertId, Tick>,
}

/// Tables that make up the index.
const SHARES: usize = 16;
/// A hand gathers for so many of them at once what was taken back.
const AT_ONCE: usize = 4;
/// What goes into a share goes into so many parts of it, one after the other.
const PARTS: usize = 128;
/// Fewer are listed by whoever asks for them.
const FEW: usize = 1 << 20;

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

/// A chunk as it is kept: identities, 16 bytes each, and when they were admitted.
#[derive(Serialize, Deserialize)]
pub(super) struct Page {
    ids: Bytes,
    after: Vec<i16>,
    from: Tick,
}

impl Page {
    fn all(&self) -> impl Iterator<Item = (AlertId, Tick)> {
        let ids = self.ids.as_chunks().0.iter().map(|id| AlertId(*id));
        ids.zip(self.after.iter().map(|after| self.from + Tick::from(*after)))
    }
}

/// An identity is a hash already.
fn hash(id: &AlertId) -> u64 {
    u64::from_le_bytes(*id.0.last_chunk().unwrap_or(&[0; 8]))
}

/// In which table it is listed. A table goes by the lowest bits, and by the highest seven.
fn share(hash: u64) -> usize {
    (hash >> 48) as usize % SHARES
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
        let hash = hash(id);
        self.index[share(hash)].find(hash, |number| self.id(*number) == Some(id)).copied()
    }

    /// Touches where these are looked for, all of it at once: memory answers many as fast as one.
    pub(super) fn warm<'a>(&self, ids: impl Iterator<Item = &'a AlertId>) {
        black_box(ids.filter(|id| self.find(id).is_some()).count());
    }

    fn admission(&self, number: u32) -> Option<Admission> {
        let (chunk, at) = place(self.first, number);
        let chunk = self.chunks.get(chunk)?;
        let tick = chunk.from + Tick::from(*chunk.after.get(at)?);
        Some(Admission { tick, second: self.second(chunk.ids.get(at)?, tick) })
    }

    /// When one happened that was admitted at a tick.
    fn second(&self, id: &AlertId, tick: Tick) -> Tick {
        if self.late.is_empty() { tick } else { self.late.get(id).copied().unwrap_or(tick) }
    }

    /// When those happened that came late.
    pub(super) fn late(&self) -> impl Iterator<Item = (AlertId, Tick)> {
        self.late.iter().map(|(id, second)| (*id, *second))
    }

    /// Takes back what [`Admissions::late`] told.
    pub(super) fn restore_late(&mut self, late: FxHashMap<AlertId, Tick>) {
        self.late.extend(late);
    }

    fn forget(&mut self, number: u32, id: &AlertId) {
        self.unlist(number, id);
        if let Some(chunk) = self.chunks.get_mut(place(self.first, number).0) {
            chunk.gone += 1;
        }
    }

    /// Of a chunk that goes, or of one in which it is counted.
    fn unlist(&mut self, number: u32, id: &AlertId) {
        let hash = hash(id);
        if let Ok(entry) = self.index[share(hash)].find_entry(hash, |known| *known == number) {
            entry.remove();
            if !self.late.is_empty() {
                self.late.remove(id);
            }
        }
    }

    fn append(&mut self, id: AlertId, admission: Admission) {
        let number = self.push(id, admission.tick);
        self.late.extend(admission.late().map(|second| (id, second)));
        let Admissions { index, chunks, first, .. } = self;
        let hash = hash(&id);
        index[share(hash)].insert_unique(hash, number, |number| hash_of(chunks, *first, *number));
    }

    /// Tells what is remembered, many at once.
    pub(super) fn pages(&self, mut tell: impl FnMut(Page)) {
        for (chunk, at) in self.chunks.iter().zip(0u32..) {
            let first = (self.first.wrapping_add(at) & CHUNKS) << CHUNK_BITS;
            // What was forgotten lies there until its chunk does. Mostly nothing was, and nothing is looked for. What is not
            // listed was not forgotten since.
            let stands = |id: &AlertId, number| chunk.gone == 0 || self.find(id) == Some(number);
            let (mut ids, mut after) = (Vec::with_capacity(chunk.ids.len() * 16), Vec::new());
            for ((id, at), number) in chunk.ids.iter().zip(&chunk.after).zip(first..) {
                if stands(id, number) {
                    ids.extend_from_slice(&id.0);
                    after.push(*at);
                }
            }
            tell(Page { ids: ids.into(), after, from: chunk.from });
        }
    }

    /// Takes back those of a page that are wanted, before anything else is asked. None of them is here.
    pub(super) fn restore_page(&mut self, page: &Page, wanted: impl Fn(AlertId) -> bool) {
        for (id, tick) in page.all().filter(|(id, _)| wanted(*id)) {
            self.restore(id, tick.into(), tick);
        }
    }

    /// Has in the index what was taken back.
    fn list(&mut self) {
        if self.unlisted == 0 {
            return;
        }
        let alone = self.unlisted < FEW || is_set();
        self.list_by(if alone { 1 } else { available_parallelism().map_or(1, NonZero::get) });
    }

    /// The same by so many hands, each of which fills some of the shares.
    fn list_by(&mut self, hands: usize) {
        let unlisted = std::mem::take(&mut self.unlisted);
        let all: usize = self.chunks.iter().map(|chunk| chunk.ids.len()).sum();
        let back = &Unlisted { chunks: &self.chunks, first: self.first, from: all - unlisted };
        let of_hand = SHARES.div_ceil(hands);
        let own = self.index.chunks_mut(of_hand).zip((0..SHARES).step_by(of_hand));
        if hands == 1 {
            return own.for_each(|(shares, at)| back.list(shares, at));
        }
        thread::scope(|scope| own.for_each(|(shares, at)| drop(scope.spawn(move || back.list(shares, at)))));
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

/// What was taken back and is not in the index yet.
struct Unlisted<'a> {
    chunks: &'a VecDeque<Chunk>,
    first: u32,
    /// How many before it are.
    from: usize,
}

impl Unlisted<'_> {
    /// Hashes and numbers.
    fn all(&self) -> impl Iterator<Item = (u64, u32)> {
        let all = self.chunks.iter().zip(0u32..).flat_map(|(chunk, at)| {
            let from = (self.first.wrapping_add(at) & CHUNKS) << CHUNK_BITS;
            chunk.ids.iter().map(hash).zip(from..)
        });
        all.skip(self.from)
    }

    /// Lists what belongs into these shares, of which the first is number `at`.
    fn list(&self, shares: &mut [HashTable<u32>], at: usize) {
        for (some, at) in shares.chunks_mut(AT_ONCE).zip((at..).step_by(AT_ONCE)) {
            let mut each: [Vec<(u64, u32)>; AT_ONCE] = Default::default();
            for (hash, number) in self.all() {
                if let Some(own) = share(hash).checked_sub(at).filter(|own| *own < some.len()) {
                    each[own].push((hash, number));
                }
            }
            for (share, all) in some.iter_mut().zip(each) {
                fill(share, &all, |number| hash_of(self.chunks, self.first, *number));
            }
        }
    }
}

/// Lists all of these in a share: part by part, each of which fits into a processor's caches.
fn fill(share: &mut HashTable<u32>, all: &[(u64, u32)], hash_of: impl Fn(&u32) -> u64) {
    share.reserve(all.len(), &hash_of);
    // A table has a place for each number below a power of two, of which it fills seven eighths.
    let places = (share.capacity() / 7 * 8).next_power_of_two().max(PARTS);
    let part = |hash: u64| usize::try_from(hash % places as u64).unwrap_or(0) / (places / PARTS);
    for (hash, number) in by_part(all, part) {
        share.insert_unique(hash, number, &hash_of);
    }
}

/// The same in the order of parts.
fn by_part(all: &[(u64, u32)], part: impl Fn(u64) -> usize) -> Vec<(u64, u32)> {
    let mut at = [0; PARTS + 1];
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
        self.index.iter().map(HashTable::len).sum::<usize>() + self.unlisted
    }

    fn restore(&mut self, id: AlertId, admission: Admission, _: Tick) {
        self.push(id, admission.tick);
        self.late.extend(admission.late().map(|second| (id, second)));
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
        self.append(id, admission);
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
        self.append(id, admission);
    }

    fn each(&self, mut tell: impl FnMut(&AlertId, &Admission)) {
        let told = |(id, tick)| (id, Admission { tick, second: self.second(&id, tick) });
        self.pages(|page| page.all().map(told).for_each(|(id, admission)| tell(&id, &admission)));
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
        let Admissions { index, chunks, first, late, .. } = self;
        if late.is_empty() {
            // A table does not shrink by itself.
            *late = FxHashMap::default();
        }
        for share in index.iter_mut().filter(|share| share.capacity() > 8 * share.len().max(CHUNK)) {
            share.shrink_to(0, |number| hash_of(chunks, *first, *number));
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
            // Some came late.
            let own = Admission { tick: clock, second: clock - Tick::from(of % 3) * 40_000 };
            let lives = |admission: Option<Admission>| admission.filter(|a| a.dies() > clock);
            match what {
                0 => prop_assert_eq!(lives(admissions.take(&id)), lives(table.take(&id))),
                1 => {
                    admissions.take(&id);
                    table.take(&id);
                    admissions.put(id, own, dies);
                    table.put(id, own, dies);
                }
                3 => {
                    // What was kept is taken back, by another.
                    let mut again = Admissions { first: admissions.first ^ 5, ..Admissions::default() };
                    admissions.pages(|page| again.restore_page(&page, |_| true));
                    again.restore_late(admissions.late().collect());
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
                            *admission = own;
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
            all.insert(id.0, *admission);
        });
        let mut of_table = BTreeMap::new();
        table.each(|id, admission| {
            of_table.insert(id.0, *admission);
        });
        for of in [&mut all, &mut of_table] {
            of.retain(|_, admission| admission.dies() > clock);
        }
        prop_assert_eq!(all, of_table);
        admissions.sweep(clock + SAME_ALERT_S + 1, |admission| admission.dies());
        prop_assert!(admissions.is_empty() && admissions.chunks.is_empty() && admissions.late.is_empty());
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
    fn what_is_taken_back_is_listed_by_however_many_hands() {
        let all =
            || (0..20_000u32).map(|n| (AlertId::of(&[&n.to_le_bytes()]), Admission::from(Tick::from(n % 7))));
        for hands in [1, 2, 3, 16, 40] {
            let mut admissions = Admissions::default();
            for some in [0..15_000, 15_000..20_000] {
                let some = all().skip(some.start).take(some.len());
                some.for_each(|(id, admission)| admissions.restore(id, admission, admission.dies()));
                admissions.list_by(hands);
            }
            assert_eq!(admissions.len(), 20_000, "{hands}");
            assert!(all().all(|(id, admission)| admissions.take(&id) == Some(admission)), "{hands}");
            assert!(admissions.is_empty());
        }
    }

    #[test]
    fn millions_cost_a_known_number_of_bytes_and_leave() {
        let mut admissions = Admissions::default();
        for of in 0..100_000u32 {
            let tick = Tick::from(of / 10);
            admissions.put(AlertId::of(&[&of.to_le_bytes()]), tick.into(), tick + SAME_ALERT_S);
        }
        assert_eq!((admissions.len(), admissions.chunks.len()), (100_000, 25));
        admissions.sweep(SAME_ALERT_S + 5_000, |admission| admission.dies());
        assert!((50_000..55_000).contains(&admissions.len()), "{}", admissions.len());
        admissions.sweep(SAME_ALERT_S + 10_000, |admission| admission.dies());
        assert!(admissions.is_empty() && admissions.index.iter().all(|share| share.capacity() <= 8 * CHUNK));
    }
}
