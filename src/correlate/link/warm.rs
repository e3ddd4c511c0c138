//! Warm: what linking will look up of the next alerts is touched before, all of it at once: memory answers many as fast as one,
//! and a site's pairs, entities and incidents are more than a processor's caches hold.
//!
//! State: none.

use std::hint::black_box;
use std::sync::Arc;

use smallvec::SmallVec;

use super::super::shelf::Place;
use super::{Links, Number};
use crate::record::Alert;

impl Links {
    /// Touches it; the incidents that the alerts' pairs were seen in last.
    pub(in super::super) fn warm(&self, alerts: &[Arc<Alert>]) -> SmallVec<[Number; 8]> {
        let pairs = alerts.iter().filter_map(|alert| self.pairs.find(&(alert.subject(), alert.rule)));
        let pairs: SmallVec<[Place; 8]> = pairs.collect();
        let named = alerts.iter().flat_map(|alert| &alert.entities);
        let entities = named.filter_map(|observable| self.entities.find(&observable.entity));
        let entities: SmallVec<[Place; 32]> = entities.collect();
        let homes = pairs.iter().filter_map(|place| self.pairs.at(*place).last).map(|last| last.home);
        let homes: SmallVec<[Number; 8]> = homes.collect();
        let met = entities.iter().map(|place| self.entities.at(*place));
        black_box(met.filter(|meeting| meeting.since > 0 && meeting.seen.day() > 0).count());
        black_box(
            homes.iter().filter_map(|home| self.bonds.get(home)).filter(|bond| bond.strength > 0).count(),
        );
        homes
    }
}
