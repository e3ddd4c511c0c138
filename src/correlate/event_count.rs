//! `event_count`: at least `gte` alerts of a rule's alerts in one group within `timespan`, both ends included.
//!
//! In: alerts of one group, in order. Out: a finding at each upward crossing: `gte` or more alerts in
//! `[time - timespan, time]` at this alert and fewer at the group's alert before it. Never withdrawn by expiry.
//! State: the group's alerts of the last timespan, sorted by event time; a group dies a timespan after its last.

use std::collections::VecDeque;

use crate::record::{AlertId, Millis, Tick};

/// One group's state.
#[derive(Clone, Debug, Default)]
pub struct Counting {
    /// Event time, tick and identity of live alerts, by event time.
    live: VecDeque<(Millis, Tick, AlertId)>,
    above: bool,
    last: Tick,
}

impl Counting {
    /// Counts one more alert; the alerts of the finding, where it makes one: the last `gte` of the window.
    pub fn step(
        &mut self,
        time: Millis,
        tick: Tick,
        id: AlertId,
        timespan_ms: i64,
        gte: u32,
    ) -> Option<Vec<AlertId>> {
        let gte = gte as usize;
        // A late alert's event time may lie before that of others: what leaves is judged by ticks, which never go back.
        let dead = tick - timespan_ms.div_euclid(1000) - 1;
        while self.live.front().is_some_and(|(_, tick, _)| *tick < dead) {
            self.live.pop_front();
        }
        let at = self.live.partition_point(|(other, _, _)| *other <= time);
        self.live.insert(at, (time, tick, id));
        let from = self.live.partition_point(|(other, _, _)| *other < time - timespan_ms);
        let count = at + 1 - from;
        let crossed = count >= gte && !self.above;
        self.above = count >= gte;
        self.last = self.last.max(tick);
        crossed.then(|| self.live.range(at + 1 - gte..=at).map(|(_, _, id)| *id).collect())
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

    proptest! {
        /// Against a count by definition over the whole sorted stream.
        #[test]
        fn crossings_equal_a_recount(mut times in prop::collection::vec(0i64..4_000, 1..80), gte in 1u32..6, span in 1i64..900) {
            times.sort_unstable();
            let mut state = Counting::default();
            let mut before = 0;
            for (n, time) in times.iter().enumerate() {
                let id = AlertId::of(&[&n.to_le_bytes()]);
                let said = state.step(*time, time.div_euclid(1000), id, span, gte);
                let count = times[..=n].iter().filter(|other| (time - span..=*time).contains(other)).count();
                let expected = count >= gte as usize && before < gte as usize;
                prop_assert_eq!(said.is_some(), expected, "alert {} at {}", n, time);
                if let Some(ids) = said {
                    prop_assert_eq!(ids.len(), gte as usize);
                    prop_assert_eq!(ids.last(), Some(&id));
                }
                before = count;
            }
        }
    }

    #[test]
    fn the_window_includes_both_ends() {
        let id = AlertId::default();
        let mut state = Counting::default();
        assert!(state.step(0, 0, id, 5_000, 2).is_none());
        assert!(state.clone().step(5_000, 5, id, 5_000, 2).is_some());
        assert!(state.step(5_001, 5, id, 5_000, 2).is_none());
    }
}
