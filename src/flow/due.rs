//! Due: which keys have a record in a tick, by the places that they have.

use std::collections::BTreeMap;

use crate::record::Tick;

/// Places of keys with a record in the tick, so that settling touches only these. A place may have been taken over since:
/// looking at it once more than needed changes nothing.
#[derive(Default)]
pub(super) struct Due {
    by_tick: BTreeMap<Tick, Vec<u32>>,
    /// Those of the tick at hand, which most records share with the one before.
    at_hand: Option<(Tick, Vec<u32>)>,
}

impl Due {
    /// Notes that the key at a place has a record in the tick.
    pub(super) fn note(&mut self, tick: Tick, place: u32) {
        match &mut self.at_hand {
            Some((at, places)) if *at == tick => {
                if places.last() != Some(&place) {
                    places.push(place);
                }
            }
            _ => {
                self.put_back();
                let mut places = self.by_tick.remove(&tick).unwrap_or_default();
                places.push(place);
                self.at_hand = Some((tick, places));
            }
        }
    }

    fn put_back(&mut self) {
        self.by_tick.extend(self.at_hand.take());
    }

    /// Takes those of the first tick, where it lies below `before`.
    pub(super) fn first(&mut self, before: Tick) -> Option<Vec<u32>> {
        self.put_back();
        let first = self.by_tick.first_entry().filter(|first| *first.key() < before)?;
        Some(first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_by_tick_however_they_were_noted() {
        let mut due = Due::default();
        for (tick, place) in [(5, 1), (5, 1), (5, 2), (3, 1), (5, 1), (4, 7), (3, 2)] {
            due.note(tick, place);
        }
        assert_eq!(due.first(3), None);
        assert_eq!(due.first(5), Some(vec![1, 2]));
        assert_eq!(due.first(5), Some(vec![7]));
        due.note(5, 3);
        assert_eq!(due.first(5), None);
        assert_eq!(due.first(6), Some(vec![1, 2, 1, 3]));
        assert_eq!(due.first(Tick::MAX), None);
    }
}
