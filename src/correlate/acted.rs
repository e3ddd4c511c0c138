//! `acted`: which alerts incidents are made of, as [`super::dedup`] tells them: once they are settled, or, where the policy
//! acts early, as soon as they are known.
//!
//! In: settled alerts and duplicates; or alerts told early, and taken back. Out: alerts. State: none.
//!
//! An incident has each alert once. Told early, a copy that takes the place of another changes nothing: the alert is a member
//! already, as it came first. One that was acted on and turns out to be a duplicate of another day's stays where it is.

use std::cmp::Reverse;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use timely::dataflow::operators::vec::Map;

use super::dedup::Admitted;
use crate::flow::{Stream, sort_nearly};
use crate::record::{Alert, AlertId, Diff};

/// Those that are settled.
pub fn settled(admitted: Stream<'_, Admitted>) -> Stream<'_, (Arc<Alert>, Diff)> {
    admitted.flat_map(|admitted| match admitted {
        Admitted::Alert(alert) => Some((alert, 1)),
        Admitted::Duplicate(_) => None,
    })
}

/// The alerts that an epoch brings, in order: of one identity as many as were admitted more than taken back, the last.
pub(super) fn new(told: &mut Vec<(Arc<Alert>, Diff)>) -> Vec<Arc<Alert>> {
    let mut back: FxHashMap<AlertId, Diff> = FxHashMap::default();
    for (alert, diff) in told.iter().filter(|(_, diff)| *diff < 0) {
        *back.entry(alert.id).or_default() -= diff;
    }
    let admitted = told.drain(..).filter(|(_, diff)| *diff > 0);
    let mut alerts: Vec<Arc<Alert>> = admitted.map(|(alert, _)| alert).collect();
    if !back.is_empty() {
        alerts.sort_unstable_by_key(|alert| Reverse(alert.order()));
        // What was taken back was the first of its name: so is what takes its place.
        let mut first = alerts.len();
        while first > 0 {
            first -= 1;
            if let Some(left) = back.get_mut(&alerts[first].id).filter(|left| **left > 0) {
                *left -= 1;
                alerts.remove(first);
            }
        }
    }
    sort_nearly(&mut alerts, |one, other| one.order().cmp(&other.order()));
    alerts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::example::blank;
    use crate::record::Names;

    #[test]
    fn a_copy_that_takes_anothers_place_is_nothing_new() {
        let names = Names::default();
        let at = |id: &str, tick| {
            Arc::new(Alert { id: AlertId::of(&[id.as_bytes()]), tick, ..blank(names.intern("r"), &names) })
        };
        let told = |changes: &[(&Arc<Alert>, Diff)]| {
            let mut changes: Vec<_> =
                changes.iter().map(|(alert, diff)| (Arc::clone(alert), *diff)).collect();
            new(&mut changes).iter().map(|alert| alert.tick).collect::<Vec<_>>()
        };
        let day = 24 * 3600;
        let [first, copy, next, other] = [at("a", 10), at("a", 20), at("a", 20 + day), at("b", 5)];
        assert_eq!(told(&[(&copy, 1), (&other, 1)]), [5, 20]);
        assert!(told(&[(&first, 1), (&copy, -1)]).is_empty());
        assert_eq!(told(&[(&copy, -1), (&next, 1), (&first, 1), (&other, 1)]), [5, 20 + day]);
        assert!(told(&[(&next, -1)]).is_empty(), "it stays where it is");
    }
}
