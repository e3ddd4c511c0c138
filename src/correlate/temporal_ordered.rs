//! `temporal_ordered`: one alert of each rule, in the order of the rules, within `timespan` from first to last.
//!
//! In: alerts of one group, in order. Out: a finding at the alert that completes a sequence; it consumes what came
//! before it, so that no alert is part of two findings of one rule and group.
//! State: per stage the sequence that began latest (no other can complete where it can't); a group dies a timespan
//! after its last alert.

use smallvec::SmallVec;

use crate::record::{AlertId, Millis, Tick};

/// One group's state.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    /// `stages[k]`: when the latest sequence of the first k + 1 rules began, and its alerts.
    stages: SmallVec<[Option<Begun>; 4]>,
    last: Tick,
}

#[derive(Clone, Debug)]
struct Begun {
    time: Millis,
    ids: SmallVec<[AlertId; 3]>,
}

impl Sequence {
    /// Takes the next alert, which is of the rules at `places` of `length`; the sequence's alerts where it completes one.
    pub fn step(
        &mut self,
        (time, tick, id): (Millis, Tick, AlertId),
        places: impl DoubleEndedIterator<Item = usize>,
        length: usize,
        timespan_ms: i64,
    ) -> Option<Vec<AlertId>> {
        self.stages.resize(length, None);
        self.last = self.last.max(tick);
        // From the last stage back, so that an alert of a rule named twice is not taken twice in one step.
        for place in places.rev() {
            let begun = match place.checked_sub(1) {
                None => Some(Begun { time, ids: SmallVec::from_slice(&[id]) }),
                Some(before) => self.stages[before]
                    .as_ref()
                    .filter(|begun| time - begun.time <= timespan_ms)
                    .map(|begun| {
                        let mut begun = begun.clone();
                        begun.ids.push(id);
                        begun
                    }),
            };
            let Some(begun) = begun else { continue };
            if place + 1 == length {
                self.stages.iter_mut().for_each(|stage| *stage = None);
                return Some(begun.ids.into_vec());
            }
            let stage = &mut self.stages[place];
            if stage.as_ref().is_none_or(|stage| stage.time <= begun.time) {
                *stage = Some(begun);
            }
        }
        None
    }

    /// The tick from which on it is as good as new.
    #[must_use]
    pub fn dies(&self, timespan_ms: i64) -> Tick {
        self.last.saturating_add(timespan_ms.div_euclid(1000) + 2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By definition: does some choice of one alert of each rule, in order, after `start`, end at `end` in time?
    fn completes(stream: &[(Millis, usize)], start: usize, end: usize, span: i64, length: usize) -> bool {
        fn reach(stream: &[(Millis, usize)], at: usize, end: usize, stage: usize, length: usize) -> bool {
            stage + 1 == length && at == end
                || (at + 1..=end)
                    .any(|n| stream[n].1 == stage + 1 && reach(stream, n, end, stage + 1, length))
        }
        (start..=end).any(|n| {
            stream[n].1 == 0 && stream[end].0 - stream[n].0 <= span && reach(stream, n, end, 0, length)
        })
    }

    proptest! {
        /// Against a search by definition, with consumption.
        #[test]
        fn sequences_equal_a_search(mut stream in prop::collection::vec((0i64..600, 0usize..3), 1..24), span in 1i64..300) {
            stream.sort_by_key(|(time, _)| *time);
            let mut state = Sequence::default();
            let mut start = 0;
            for (n, (time, place)) in stream.iter().enumerate() {
                let id = AlertId::of(&[&n.to_le_bytes()]);
                let said = state.step((*time, 0, id), std::iter::once(*place), 3, span);
                let expected = completes(&stream, start, n, span, 3);
                prop_assert_eq!(said.is_some(), expected, "alert {} of {:?}", n, stream);
                if expected {
                    start = n + 1;
                }
            }
        }
    }

    #[test]
    fn a_match_consumes_what_came_before_it() {
        let id = AlertId::default();
        let mut state = Sequence::default();
        let mut fires = |time, place| state.step((time, 0, id), std::iter::once(place), 3, 100).is_some();
        let said: Vec<bool> =
            [0, 1, 2, 2, 1, 2].into_iter().zip(0..).map(|(place, time)| fires(time, place)).collect();
        assert_eq!(said, [false, false, true, false, false, false]);
    }
}
