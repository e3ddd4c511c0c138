//! Asked: which of many may concern a record, told by the fields that it has. Mappings ask for hundreds of fields and a record
//! has twenty of them, so whoever goes through all that asks looks mostly at what is not there.
//!
//! State: none but the table.

use super::value::Slots;

/// Items of one list, each of which needs something in one of its slots, or nothing at all.
#[derive(Default)]
pub(super) struct Asked(Box<[Word]>);

/// Up to 64 of them, one bit each.
struct Word {
    /// Those that need nothing.
    always: u64,
    /// By slot, those that it is one of the slots of.
    by_slot: Box<[u64]>,
}

impl Asked {
    /// Of items in order, each with the slots of which it needs one; none where it needs nothing.
    pub(super) fn new(slots: usize, needs: &[Option<&[u16]>]) -> Asked {
        let words = needs.chunks(u64::BITS as usize).map(|needs| {
            let mut word = Word { always: 0, by_slot: vec![0; slots].into() };
            for (bit, need) in needs.iter().enumerate() {
                match need {
                    None => word.always |= 1 << bit,
                    Some(slots) => slots.iter().for_each(|slot| word.by_slot[usize::from(*slot)] |= 1 << bit),
                }
            }
            word
        });
        Asked(words.collect())
    }

    /// The items that may concern a record which has these, in order.
    #[inline]
    pub(super) fn of(&self, slots: &Slots<'_>) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let asking = slots.held().iter().map(|slot| word.by_slot[usize::from(*slot)]);
            let marks = asking.fold(word.always, |marks, asking| marks | asking);
            Ones(marks).map(move |bit| at * u64::BITS as usize + bit)
        })
    }
}

/// The places of a word's ones, lowest first.
struct Ones(u64);

impl Iterator for Ones {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let bit = (self.0 != 0).then(|| self.0.trailing_zeros() as usize)?;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::normalize::value::Value;

    proptest! {
        /// Against a look at each of them.
        #[test]
        fn it_is_those_of_which_a_slot_holds_something(
            needs in prop::collection::vec(prop::option::of(prop::collection::vec(0..40u16, 0..4)), 0..150),
            held in prop::collection::vec((0..40u16, any::<bool>()), 0..30),
        ) {
            let asked = Asked::new(40, &needs.iter().map(|need| need.as_deref()).collect::<Vec<_>>());
            let mut slots = Slots::new(40);
            for (slot, is_empty) in &held {
                slots.put(*slot, Value::Text(if *is_empty { "" } else { "x" }.into()));
            }
            let concerns = |need: &Option<Vec<u16>>| {
                need.as_ref().is_none_or(|need| need.iter().any(|slot| slots.first(&[*slot]).is_present()))
            };
            let all: Vec<usize> = (0..needs.len()).filter(|at| concerns(&needs[*at])).collect();
            prop_assert_eq!(asked.of(&slots).collect::<Vec<_>>(), all);
            slots.clear();
            let always: Vec<usize> = (0..needs.len()).filter(|at| needs[*at].is_none()).collect();
            prop_assert_eq!(asked.of(&slots).collect::<Vec<_>>(), always);
        }
    }
}
