//! Shelf: rows by key that never move. A table of large rows copies them all whenever it grows, and a row that is needed
//! again costs another search; here the table holds places, and a place is good until its row is dropped.
//!
//! State: the rows; the places of dropped ones, which are used again.

use std::hash::Hash;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// Rows that are allocated at once.
const BOARD: usize = 1024;

/// Where a row lies.
pub(super) type Place = u32;

/// Rows by key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "K: Deserialize<'de> + Eq + Hash, V: Deserialize<'de>"))]
pub(super) struct Shelf<K, V> {
    places: FxHashMap<K, Place>,
    boards: Vec<Vec<V>>,
    free: Vec<Place>,
}

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        Self { places: FxHashMap::default(), boards: Vec::new(), free: Vec::new() }
    }
}

fn split(place: Place) -> (usize, usize) {
    let place = place as usize;
    (place / BOARD, place % BOARD)
}

impl<K: Eq + Hash, V: Default> Shelf<K, V> {
    /// How many rows it holds.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The place of the key's row, a new one where it has none.
    pub(super) fn place(&mut self, key: K) -> Place {
        let Self { places, boards, free } = self;
        *places.entry(key).or_insert_with(|| {
            free.pop().unwrap_or_else(|| {
                if boards.last().is_none_or(|board| board.len() == BOARD) {
                    boards.push(Vec::with_capacity(BOARD));
                }
                let (above, board) = (boards.len() - 1, boards.last_mut().expect("one was just made"));
                board.push(V::default());
                Place::try_from(above * BOARD + board.len() - 1).expect("fewer than 2^32 rows are kept")
            })
        })
    }

    /// The place of the key's row, if it has one.
    pub(super) fn find(&self, key: &K) -> Option<Place> {
        self.places.get(key).copied()
    }

    /// The key's row.
    #[cfg(test)]
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.find(key).map(|place| self.at(place))
    }

    /// The row at a place.
    pub(super) fn at(&self, place: Place) -> &V {
        let (board, at) = split(place);
        &self.boards[board][at]
    }

    /// The row at a place.
    pub(super) fn at_mut(&mut self, place: Place) -> &mut V {
        let (board, at) = split(place);
        &mut self.boards[board][at]
    }

    /// Changes every row, in no order.
    pub(super) fn each_mut(&mut self, mut change: impl FnMut(&K, &mut V)) {
        for (key, place) in &self.places {
            let (board, at) = split(*place);
            change(key, &mut self.boards[board][at]);
        }
    }

    /// Drops the rows that are not to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        let Self { places, boards, free } = self;
        places.retain(|_, place| {
            let (board, at) = split(*place);
            let row = &mut boards[board][at];
            let kept = keep(row);
            if !kept {
                *row = V::default();
                free.push(*place);
            }
            kept
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a map that holds the rows themselves.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u16..300, any::<u32>(), 0u8..40), 1..2000)) {
            let (mut shelf, mut map) = (Shelf::<u16, u32>::default(), BTreeMap::new());
            for (key, value, turn) in steps {
                let place = shelf.place(key);
                prop_assert_eq!(*shelf.at(place), *map.entry(key).or_default());
                *shelf.at_mut(place) = value;
                map.insert(key, value);
                if turn == 0 {
                    shelf.retain(|value| value % 3 != 0);
                    map.retain(|_, value| *value % 3 != 0);
                }
                prop_assert_eq!(shelf.len(), map.len());
            }
            for key in 0..300 {
                prop_assert_eq!(shelf.get(&key), map.get(&key));
            }
        }
    }

    #[test]
    fn dropped_places_are_used_again() {
        let mut shelf = Shelf::<usize, usize>::default();
        for round in 0..10 {
            for key in 0..3000 {
                let place = shelf.place(key + round);
                *shelf.at_mut(place) = key;
            }
            shelf.retain(|_| false);
        }
        assert_eq!(shelf.boards.len(), 3);
    }
}
