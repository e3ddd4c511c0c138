//! Store: where the states of keys that have no unsettled records lie, until they die.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use crate::record::Tick;

/// Keys' states. A state is as good as none from the tick on at which it dies, and may be forgotten then.
pub trait Store<K, S>: Default {
    /// How many keys it remembers.
    fn len(&self) -> usize;

    /// Whether it remembers none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands the key's state out, if it has one.
    fn take(&mut self, key: &K) -> Option<S>;

    /// Remembers the key's state, and when it dies. The key has none here.
    fn put(&mut self, key: K, state: S, dies: Tick);

    /// Takes back a key's state that [`Store::each`] told, before anything else is asked. The key has none here.
    fn restore(&mut self, key: K, state: S, dies: Tick) {
        self.put(key, state, dies);
    }

    /// Changes the key's state in place, a new one if it has none; `step` answers when it dies.
    fn step(&mut self, key: K, step: impl FnOnce(&mut S) -> Tick);

    /// Tells each key's state, in no order that means anything.
    fn each(&self, tell: impl FnMut(&K, &S));

    /// Forgets states that are dead at `before`, if it is worth its while.
    fn sweep(&mut self, before: Tick, dies: impl Fn(&S) -> Tick);
}

/// Any keys and states, in a hash table. The dead are looked for when it has doubled, or at the tick at which all that
/// were alive when they were last looked for are dead: so a flood of keys costs each its share, and leaves nothing behind.
#[derive(Debug)]
pub struct Table<K, S> {
    states: FxHashMap<K, S>,
    swept_at: usize,
    swept_by: Tick,
}

/// Fewer keys than this are not worth looking through before their time.
const SWEPT_MIN: usize = 1024;

impl<K, S> Default for Table<K, S> {
    fn default() -> Self {
        Table { states: FxHashMap::default(), swept_at: SWEPT_MIN, swept_by: Tick::MAX }
    }
}

impl<K: Eq + Hash, S: Default> Store<K, S> for Table<K, S> {
    fn len(&self) -> usize {
        self.states.len()
    }

    fn take(&mut self, key: &K) -> Option<S> {
        self.states.remove(key)
    }

    fn put(&mut self, key: K, state: S, dies: Tick) {
        if self.states.is_empty() {
            self.swept_by = dies;
        }
        self.states.insert(key, state);
    }

    fn step(&mut self, key: K, step: impl FnOnce(&mut S) -> Tick) {
        let dies = step(self.states.entry(key).or_default());
        if self.swept_by == Tick::MAX {
            self.swept_by = dies;
        }
    }

    fn each(&self, mut tell: impl FnMut(&K, &S)) {
        self.states.iter().for_each(|(key, state)| tell(key, state));
    }

    fn sweep(&mut self, before: Tick, dies: impl Fn(&S) -> Tick) {
        if self.states.len() <= self.swept_at && self.swept_by > before {
            return;
        }
        let mut latest = Tick::MIN;
        self.states.retain(|_, state| {
            let dies = dies(state);
            latest = latest.max(dies);
            dies > before
        });
        self.swept_at = (self.states.len() * 2).max(SWEPT_MIN);
        self.swept_by = if self.states.is_empty() { Tick::MAX } else { latest };
        if self.states.capacity() > 8 * self.swept_at {
            self.states.shrink_to(self.swept_at);
        }
    }
}
