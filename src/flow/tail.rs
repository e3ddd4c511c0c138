//! Tails: keyed state machines that emit at once, and take back and say again what a late record disturbs.
//!
//! In: records in any order, each to be added or taken back. Out: changes, added or taken back, such that at any
//! moment what stands is what the machine would have said of the records seen so far, in their order.
//! State: per key one state, after all of its records; for a key with unsettled records also these (the tail), each
//! with what was said of it and what undoes its step. A key's state dies when the machine says so. Keys with a tail come and go
//! with nearly every record: each has a place in a list, which the next one takes over, and is known by its number.
//!
//! Why it is right: a step and its undo leave the state as it was, so undoing the tail from its end to a late record's
//! place gives the state before that place, and stepping on from there gives what sorted input would have given. Below
//! the settled tick no record can come, so what would undo those steps is dropped. A record behind the tail's end (the
//! common case) costs its own step, a late one the tail behind its place, and settling costs no step at all: none of it
//! depends on how much a state holds.

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use super::due::Due;
use super::queue::Queue;
use super::store::{Store, Table};
use crate::record::{Diff, Order, Tick};

/// What is done with one key's records, one after the other.
pub trait Machine {
    /// What comes in.
    type Record;
    /// What it says of a record.
    type Change: Clone + PartialEq;
    /// What it remembers of a key.
    type State: Default;
    /// What takes one step back.
    type Undo;

    /// A record's place.
    fn order(record: &Self::Record) -> Order;
    /// Which of two records at one place comes first, where there may be two.
    fn tie(&self, _: &Self::Record, _: &Self::Record) -> Ordering {
        Ordering::Equal
    }
    /// Takes the next record in order; answers with what undoes that.
    fn step(
        &self,
        state: &mut Self::State,
        record: &Self::Record,
        changes: &mut Vec<Self::Change>,
    ) -> Self::Undo;
    /// Takes the last step back: the state is then as good as before it.
    fn undo(&self, state: &mut Self::State, record: &Self::Record, undo: Self::Undo);
    /// The first settled tick at which the state is as good as none.
    fn dies(&self, state: &Self::State) -> Tick;
}

struct Said<M: Machine> {
    order: Order,
    record: M::Record,
    changes: Vec<M::Change>,
    undo: M::Undo,
}

impl<M: Machine> Said<M> {
    /// How it stands to a record at a place.
    fn cmp(&self, machine: &M, order: Order, record: &M::Record) -> Ordering {
        self.order.cmp(&order).then_with(|| machine.tie(&self.record, record))
    }
}

struct Live<M: Machine> {
    /// The state after the whole tail.
    state: M::State,
    tail: Queue<Said<M>>,
}

/// A key with a tail, and its hash; none where the place is free.
struct Placed<K, M: Machine> {
    key: Option<K>,
    hash: u64,
    live: Live<M>,
}

/// All keys of one operator at one worker.
pub struct Tails<K, M: Machine, S = Table<K, <M as Machine>::State>> {
    machine: M,
    /// Of keys without a tail.
    settled: S,
    /// Of keys with one, by place.
    live: Vec<Placed<K, M>>,
    /// Places by key.
    places: HashTable<u32>,
    /// Places that are free.
    free: Vec<u32>,
    due: Due,
    scratch: Vec<M::Change>,
}

/// Places that are kept for later, though no key has a tail.
const PLACES_KEPT: usize = 16 << 10;

fn hash(key: &impl Hash) -> u64 {
    FxBuildHasher.hash_one(key)
}

impl<K: Eq + Hash, M: Machine, S: Store<K, M::State>> Tails<K, M, S> {
    /// No keys yet.
    pub fn new(machine: M) -> Self {
        let (settled, due, places) = (S::default(), Due::default(), HashTable::new());
        Self { machine, settled, live: Vec::new(), places, free: Vec::new(), due, scratch: Vec::new() }
    }

    /// How many keys have state.
    pub fn len(&self) -> usize {
        self.settled.len() + self.places.len()
    }

    /// Whether no key has state.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds (`diff` > 0) or takes back a record of `key`; tells what changes by it.
    pub fn update(
        &mut self,
        key: K,
        record: M::Record,
        diff: Diff,
        mut emit: impl FnMut(&M::Record, M::Change, Diff),
    ) {
        let order = M::order(&record);
        let place = self.place(key);
        let live = &mut self.live[place as usize].live;
        let machine = &self.machine;
        if diff > 0 && live.tail.back().is_none_or(|last| last.cmp(machine, order, &record).is_lt()) {
            live.append(&self.machine, record, &mut self.scratch, &mut emit);
        } else {
            live.revise(&self.machine, record, diff, &mut self.scratch, &mut emit);
        }
        self.due.note(order.tick, place);
    }

    /// The key's place, which it has from now on.
    fn place(&mut self, key: K) -> u32 {
        let hash = hash(&key);
        let live = &self.live;
        let is = |place: &u32| live[*place as usize].key.as_ref() == Some(&key);
        if let Some(place) = self.places.find(hash, is) {
            return *place;
        }
        let state = self.settled.take(&key).unwrap_or_default();
        self.give_place(key, hash, state)
    }

    /// Gives a place to a key that has none.
    fn give_place(&mut self, key: K, hash: u64, state: M::State) -> u32 {
        let place = match self.free.pop() {
            Some(place) => {
                let placed = &mut self.live[place as usize];
                (placed.key, placed.hash, placed.live.state) = (Some(key), hash, state);
                place
            }
            None => {
                let place =
                    u32::try_from(self.live.len()).expect("fewer than 2^32 keys with unsettled records");
                self.live.push(Placed { key: Some(key), hash, live: Live { state, tail: Queue::default() } });
                place
            }
        };
        let live = &self.live;
        self.places.insert_unique(hash, place, |place| live[*place as usize].hash);
        place
    }

    /// As `update`, for a record that is already settled (its tick lies below the settled one): where its key has
    /// no unsettled records, it is final at once.
    pub fn pass(
        &mut self,
        key: K,
        record: M::Record,
        mut emit: impl FnMut(&M::Record, M::Change, Diff),
        tell: impl FnOnce(M::Record, &[M::Change]),
    ) {
        if self.is_live(&key) {
            return self.update(key, record, 1, emit);
        }
        self.scratch.clear();
        let (machine, changes) = (&self.machine, &mut self.scratch);
        self.settled.step(key, |state| {
            machine.step(state, &record, changes);
            machine.dies(state)
        });
        for change in &self.scratch {
            emit(&record, change.clone(), 1);
        }
        tell(record, &self.scratch);
    }

    /// Whether the key has a tail.
    fn is_live(&self, key: &K) -> bool {
        let is = |place: &u32| self.live[*place as usize].key.as_ref() == Some(key);
        !self.places.is_empty() && self.places.find(hash(key), is).is_some()
    }

    /// Makes final what lies below `before`; tells each record with what was said of it, in no order of keys.
    pub fn settle(&mut self, before: Tick, mut tell: impl FnMut(M::Record, Vec<M::Change>)) {
        while let Some(places) = self.due.first(before) {
            for place in places {
                self.settle_place(place, before, &mut tell);
            }
        }
        if self.places.is_empty() && self.live.len() > PLACES_KEPT {
            // A flood is over.
            (self.live, self.free, self.places) = (Vec::new(), Vec::new(), HashTable::new());
        }
        let machine = &self.machine;
        self.settled.sweep(before, |state| machine.dies(state));
    }

    /// Where the states of keys without unsettled records lie.
    pub fn settled(&mut self) -> &mut S {
        &mut self.settled
    }

    /// Tells each key, the state before its unsettled records, and these: what [`Tails::restore`] takes.
    pub fn each(&mut self, mut tell: impl FnMut(&K, &M::State, &[&M::Record])) {
        self.settled.each(|key, state| tell(key, state, &[]));
        self.each_live(tell);
    }

    /// The same of keys with unsettled records.
    pub fn each_live(&mut self, mut tell: impl FnMut(&K, &M::State, &[&M::Record])) {
        let machine = &self.machine;
        let placed = self.live.iter_mut().filter_map(|Placed { key, live, .. }| Some((key.as_ref()?, live)));
        for (key, live) in placed {
            let mut later = Vec::with_capacity(live.tail.len());
            while let Some(Said { order, record, changes, undo }) = live.tail.pop_back() {
                machine.undo(&mut live.state, &record, undo);
                later.push((order, record, changes));
            }
            let records: Vec<&M::Record> = later.iter().rev().map(|(_, record, _)| record).collect();
            tell(key, &live.state, &records);
            while let Some((order, record, changes)) = later.pop() {
                self.scratch.clear();
                let undo = machine.step(&mut live.state, &record, &mut self.scratch);
                live.tail.push_back(Said { order, record, changes, undo });
            }
        }
    }

    /// Takes a key back as it was told; what was said of its records was said then. The key has none here.
    pub fn restore(&mut self, key: K, state: M::State, records: Vec<M::Record>) {
        if records.is_empty() {
            let dies = self.machine.dies(&state);
            self.settled.restore(key, state, dies);
            return;
        }
        let hash = hash(&key);
        let place = self.give_place(key, hash, state);
        for record in records {
            self.due.note(M::order(&record).tick, place);
            let live = &mut self.live[place as usize].live;
            live.append(&self.machine, record, &mut self.scratch, &mut |_, _, _| {});
        }
    }

    fn settle_place(&mut self, at: u32, before: Tick, tell: &mut impl FnMut(M::Record, Vec<M::Change>)) {
        let Some(Placed { key, hash, live }) = self.live.get_mut(at as usize) else { return };
        if key.is_none() {
            return;
        }
        while let Some(said) = live.tail.pop_front_if(|said| said.order.tick < before) {
            tell(said.record, said.changes);
        }
        if !live.tail.is_empty() {
            return;
        }
        if let Ok(listed) = self.places.find_entry(*hash, |place| *place == at) {
            listed.remove();
        }
        self.free.push(at);
        // What a queue of many took of memory is not kept for the next.
        live.tail = Queue::default();
        let state = std::mem::take(&mut live.state);
        let dies = self.machine.dies(&state);
        if let Some(key) = key.take().filter(|_| dies > before) {
            self.settled.put(key, state, dies);
        }
    }
}

/// Whether two records have one place.
fn is_one<M: Machine>(machine: &M, one: &M::Record, other: &M::Record) -> bool {
    M::order(one) == M::order(other) && machine.tie(one, other).is_eq()
}

impl<M: Machine> Live<M> {
    /// Steps on with a record behind all others.
    fn append(
        &mut self,
        machine: &M,
        record: M::Record,
        scratch: &mut Vec<M::Change>,
        emit: &mut impl FnMut(&M::Record, M::Change, Diff),
    ) {
        scratch.clear();
        let undo = machine.step(&mut self.state, &record, scratch);
        for change in scratch.iter() {
            emit(&record, change.clone(), 1);
        }
        self.tail.push_back(Said { order: M::order(&record), record, changes: scratch.clone(), undo });
    }

    /// Steps back to the record's place, adds it or leaves it out, and steps on; tells what is said otherwise.
    fn revise(
        &mut self,
        machine: &M,
        record: M::Record,
        diff: Diff,
        scratch: &mut Vec<M::Change>,
        emit: &mut impl FnMut(&M::Record, M::Change, Diff),
    ) {
        let order = M::order(&record);
        let at = self.tail.partition_point(|said| said.cmp(machine, order, &record).is_lt());
        let mut later = Vec::with_capacity(self.tail.len() - at);
        while self.tail.len() > at {
            let Some(said) = self.tail.pop_back() else { break };
            machine.undo(&mut self.state, &said.record, said.undo);
            later.push((said.record, said.changes));
        }
        if diff > 0 {
            self.append(machine, record, scratch, emit);
        } else if later.last().is_some_and(|(other, _)| is_one(machine, other, &record))
            && let Some((gone, changes)) = later.pop()
        {
            for change in changes {
                emit(&gone, change, -1);
            }
        }
        while let Some((record, before)) = later.pop() {
            let mut changes = Vec::new();
            let undo = machine.step(&mut self.state, &record, &mut changes);
            for change in before.iter().filter(|change| !changes.contains(change)) {
                emit(&record, change.clone(), -1);
            }
            for change in changes.iter().filter(|change| !before.contains(change)) {
                emit(&record, change.clone(), 1);
            }
            self.tail.push_back(Said { order: M::order(&record), record, changes, undo });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::record::AlertId;

    /// Says every third record of a key within ten ticks of the one before it.
    struct EveryThird;
    type Rec = (u8, Order);

    impl Machine for EveryThird {
        type Record = Rec;
        type Change = (u8, Order, u32);
        type State = (u32, Tick);
        type Undo = (u32, Tick);
        fn order(record: &Rec) -> Order {
            record.1
        }
        fn step(
            &self,
            state: &mut (u32, Tick),
            record: &Rec,
            changes: &mut Vec<Self::Change>,
        ) -> (u32, Tick) {
            let before = *state;
            state.0 = if record.1.time - state.1 > 10 { 1 } else { state.0 + 1 };
            state.1 = record.1.time;
            if state.0.is_multiple_of(3) {
                changes.push((record.0, record.1, state.0));
            }
            before
        }
        fn undo(&self, state: &mut (u32, Tick), _: &Rec, undo: (u32, Tick)) {
            *state = undo;
        }
        fn dies(&self, state: &(u32, Tick)) -> Tick {
            state.1 + 11
        }
    }

    fn recount(mut records: Vec<Rec>) -> BTreeMap<(u8, Order, u32), Diff> {
        records.sort_unstable();
        let mut states: BTreeMap<u8, (u32, Tick)> = BTreeMap::new();
        let mut said = Vec::new();
        for record in &records {
            EveryThird.step(states.entry(record.0).or_insert((0, -100)), record, &mut said);
        }
        let mut sums = BTreeMap::new();
        for change in said {
            *sums.entry(change).or_default() += 1;
        }
        sums
    }

    fn order(tick: Tick, id: usize) -> Order {
        Order { tick, time: tick, id: AlertId::of(&[&id.to_le_bytes()]), position: id as u64 }
    }

    proptest! {
        /// At any moment, what stands equals a recount of what was seen, whether records come late, twice, at equal
        /// times, or are taken back, or all is kept and begun anew; what is settled never changes, and keys without a living state are forgotten.
        #[test]
        fn what_stands_is_a_recount(
            steps in prop::collection::vec((0u8..3, 0i64..12, any::<bool>(), 0usize..9, any::<prop::sample::Index>()), 1..160)
        ) {
            let mut tails: Tails<u8, EveryThird> = Tails::new(EveryThird);
            let mut seen: Vec<Rec> = Vec::new();
            let mut stands: BTreeMap<(u8, Order, u32), Diff> = BTreeMap::new();
            let (mut clock, mut settled) = (100, 0);
            for (n, (key, back, forward, what, which)) in steps.into_iter().enumerate() {
                clock += i64::from(forward) * 4;
                let open: Vec<usize> = (0..seen.len()).filter(|at| seen[*at].1.tick >= settled).collect();
                let picked = (!open.is_empty()).then(|| open[which.index(open.len())]);
                let (record, diff) = match (what, picked) {
                    // An unsettled record is taken back, as an upstream revision would, or comes once more.
                    (1 | 2, Some(at)) => (seen.swap_remove(at), -1),
                    (3, Some(at)) => (seen[at], 1),
                    _ => ((key, order((clock - back).max(settled), n)), 1),
                };
                if diff > 0 {
                    seen.push(record);
                }
                tails.update(record.0, record, diff, |_, change, diff| *stands.entry(change).or_default() += diff);
                stands.retain(|_, n| *n != 0);
                prop_assert_eq!(&stands, &recount(seen.clone()));
                if what == 4 {
                    // What was kept goes on as if it had never been away, and so does what it was kept of.
                    let (mut anew, mut kept) = (Tails::new(EveryThird), Vec::new());
                    tails.each(|key, state, records| kept.push((*key, *state, records.iter().map(|it| **it).collect())));
                    for (key, state, records) in kept {
                        anew.restore(key, state, records);
                    }
                    if forward {
                        tails = anew;
                    }
                }
                if what == 0 {
                    settled = clock - 12;
                    tails.settle(settled, |record, changes| {
                        assert!(changes.iter().all(|c| stands.contains_key(c)), "settled {record:?} was taken back");
                    });
                }
            }
            tails.settle(clock + 12, |_, _| ());
            prop_assert!(tails.is_empty());
        }
    }

    #[test]
    fn a_flood_of_keys_leaves_nothing_behind() {
        let mut tails: Tails<usize, EveryThird> = Tails::new(EveryThird);
        for n in 0..100_000 {
            let record = (0, order(n / 1_000, usize::try_from(n).unwrap()));
            tails.update(usize::try_from(n).unwrap(), record, 1, |_, _, _| ());
            tails.settle(n / 1_000, |_, _| ());
            assert!(tails.len() <= 26_000, "{} keys after {n}", tails.len());
        }
        for tick in 100..200 {
            tails.update(0, (0, order(tick, 0)), 1, |_, _, _| ());
            tails.settle(tick + 1, |_, _| ());
        }
        assert_eq!(tails.len(), 1);
    }
}
