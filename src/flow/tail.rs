//! Tails: keyed state machines that emit at once and replay what a late record disturbs.
//!
//! In: records in any order, each to be added or taken back. Out: changes, added or taken back, such that at any
//! moment what stands is what the machine would have said of the records seen so far, in their order.
//! State: per key the settled state, and for keys with unsettled records these records (the tail), what each
//! of them said, and the state after them. A key's settled state dies when the machine says so.
//!
//! Why it is right: settled state is the machine's state after all records below the settled tick, of which no
//! more can come; the tail is sorted, so replaying it from there gives the state that a sorted input would
//! have given. A record behind the tail's end (the common case) needs no replay.

use std::collections::BTreeMap;
use std::hash::Hash;

use rustc_hash::FxHashMap;

use crate::record::{Diff, Order, Tick};

/// What is done with one key's records, one after the other.
pub trait Machine {
    /// What comes in.
    type Record: Clone;
    /// What it says of a record.
    type Change: Clone + PartialEq;
    /// What it remembers of a key.
    type State: Clone + Default;

    /// A record's place.
    fn order(record: &Self::Record) -> Order;
    /// Takes the next record in order.
    fn step(&self, state: &mut Self::State, record: &Self::Record, changes: &mut Vec<Self::Change>);
    /// The first settled tick at which the state is as good as none.
    fn dies(&self, state: &Self::State) -> Tick;
}

struct Said<M: Machine> {
    order: Order,
    record: M::Record,
    changes: Vec<M::Change>,
}

struct Live<M: Machine> {
    /// The state after the whole tail.
    current: M::State,
    tail: Vec<Said<M>>,
}

/// All keys of one operator at one worker.
pub struct Tails<K, M: Machine> {
    machine: M,
    settled: FxHashMap<K, M::State>,
    live: FxHashMap<K, Live<M>>,
    /// Keys with a record in the tick, so that settling touches only these.
    due: BTreeMap<Tick, Vec<K>>,
    swept_at: usize,
    scratch: Vec<M::Change>,
}

impl<K: Clone + Eq + Hash, M: Machine> Tails<K, M> {
    /// No keys yet.
    pub fn new(machine: M) -> Self {
        Self {
            machine,
            settled: FxHashMap::default(),
            live: FxHashMap::default(),
            due: BTreeMap::new(),
            swept_at: 1024,
            scratch: Vec::new(),
        }
    }

    /// How many keys have state.
    pub fn len(&self) -> usize {
        self.settled.len() + self.live.len()
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
        let live = self.live.entry(key.clone()).or_insert_with(|| Live {
            current: self.settled.get(&key).cloned().unwrap_or_default(),
            tail: Vec::new(),
        });
        if diff > 0 && live.tail.last().is_none_or(|last| last.order < order) {
            self.scratch.clear();
            self.machine.step(&mut live.current, &record, &mut self.scratch);
            for change in &self.scratch {
                emit(&record, change.clone(), 1);
            }
            live.tail.push(Said { order, record, changes: self.scratch.clone() });
        } else {
            let at = live.tail.partition_point(|said| said.order < order);
            if diff > 0 {
                live.tail.insert(at, Said { order, record, changes: Vec::new() });
            } else if live.tail.get(at).is_some_and(|said| said.order == order) {
                let taken = live.tail.remove(at);
                for change in taken.changes {
                    emit(&taken.record, change, -1);
                }
            }
            let start = self.settled.get(&key).cloned().unwrap_or_default();
            replay(&self.machine, live, start, at, &mut emit);
        }
        let due = self.due.entry(order.tick).or_default();
        if due.last() != Some(&key) {
            due.push(key);
        }
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
        if self.live.contains_key(&key) {
            return self.update(key, record, 1, emit);
        }
        self.scratch.clear();
        self.machine.step(self.settled.entry(key).or_default(), &record, &mut self.scratch);
        for change in &self.scratch {
            emit(&record, change.clone(), 1);
        }
        tell(record, &self.scratch);
    }

    /// Makes final what lies below `before`; tells each record with what was said of it, in no order of keys.
    pub fn settle(&mut self, before: Tick, mut tell: impl FnMut(M::Record, Vec<M::Change>)) {
        while let Some(entry) = self.due.first_entry().filter(|entry| *entry.key() < before) {
            for key in entry.remove() {
                self.settle_key(&key, before, &mut tell);
            }
        }
        if self.settled.len() > self.swept_at {
            let machine = &self.machine;
            self.settled.retain(|_, state| machine.dies(state) > before);
            self.swept_at = (self.settled.len() * 2).max(1024);
        }
    }

    fn settle_key(&mut self, key: &K, before: Tick, tell: &mut impl FnMut(M::Record, Vec<M::Change>)) {
        let Some(live) = self.live.get_mut(key) else { return };
        let n = live.tail.partition_point(|said| said.order.tick < before);
        if n == live.tail.len() {
            let Some(live) = self.live.remove(key) else { return };
            if self.machine.dies(&live.current) > before {
                self.settled.insert(key.clone(), live.current);
            } else {
                self.settled.remove(key);
            }
            live.tail.into_iter().for_each(|said| tell(said.record, said.changes));
        } else if n > 0 {
            let state = self.settled.entry(key.clone()).or_default();
            for said in live.tail.drain(..n) {
                self.scratch.clear();
                self.machine.step(state, &said.record, &mut self.scratch);
                tell(said.record, said.changes);
            }
        }
    }
}

/// Runs the tail again from `start`, telling only what is said otherwise than before from place `at` on.
fn replay<M: Machine>(
    machine: &M,
    live: &mut Live<M>,
    start: M::State,
    at: usize,
    emit: &mut impl FnMut(&M::Record, M::Change, Diff),
) {
    live.current = start;
    for (place, said) in live.tail.iter_mut().enumerate() {
        let mut changes = Vec::new();
        machine.step(&mut live.current, &said.record, &mut changes);
        if place >= at && changes != said.changes {
            for change in said.changes.iter().filter(|change| !changes.contains(change)) {
                emit(&said.record, change.clone(), -1);
            }
            for change in changes.iter().filter(|change| !said.changes.contains(change)) {
                emit(&said.record, change.clone(), 1);
            }
            said.changes = changes;
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
        fn order(record: &Rec) -> Order {
            record.1
        }
        fn step(&self, state: &mut (u32, Tick), record: &Rec, changes: &mut Vec<Self::Change>) {
            state.0 = if record.1.time - state.1 > 10 { 1 } else { state.0 + 1 };
            state.1 = record.1.time;
            if state.0.is_multiple_of(3) {
                changes.push((record.0, record.1, state.0));
            }
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
        said.into_iter().map(|change| (change, 1)).collect()
    }

    fn order(tick: Tick, id: usize) -> Order {
        Order { tick, time: tick, id: AlertId::of(&[&id.to_le_bytes()]), position: id as u64 }
    }

    proptest! {
        /// At any moment, what stands equals a recount of what was seen; what is settled never changes.
        #[test]
        fn what_stands_is_a_recount(
            steps in prop::collection::vec((0u8..3, 0i64..12, any::<bool>(), 0usize..6), 1..120)
        ) {
            let mut tails: Tails<u8, EveryThird> = Tails::new(EveryThird);
            let mut seen: Vec<Rec> = Vec::new();
            let mut stands: BTreeMap<(u8, Order, u32), Diff> = BTreeMap::new();
            let (mut clock, mut settled) = (100, 0);
            for (n, (key, back, forward, settle)) in steps.into_iter().enumerate() {
                clock += i64::from(forward) * 4;
                let record = (key, order((clock - back).max(settled), n));
                seen.push(record);
                tails.update(key, record, 1, |_, change, diff| *stands.entry(change).or_default() += diff);
                if settle == 1 && seen.len() > 2 {
                    // An unsettled record is taken back, as an upstream revision would.
                    if let Some(at) = seen.iter().position(|r| r.1.tick >= settled) {
                        let gone = seen.swap_remove(at);
                        tails.update(gone.0, gone, -1, |_, change, diff| *stands.entry(change).or_default() += diff);
                    }
                }
                stands.retain(|_, n| *n != 0);
                prop_assert_eq!(&stands, &recount(seen.clone()));
                if settle == 0 {
                    settled = clock - 12;
                    tails.settle(settled, |record, changes| {
                        assert!(changes.iter().all(|c| stands.contains_key(c)), "settled {record:?} was taken back");
                    });
                }
            }
        }
    }
}
