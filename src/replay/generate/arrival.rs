//! Arrival: puts alerts into the order in which they come in: some late, some twice.
//!
//! State: the lines that are still under way; one leaves when the alerts' time has passed its arrival.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::dice::{Dice, MILLION};
use crate::record::Millis;

/// A line under way; ordered by arrival, then by the order in which it set out.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Parcel {
    arrival: Millis,
    ordinal: u64,
    /// The alert.
    pub(super) line: String,
    /// Its line of truth, if it has one; a copy has none.
    pub(super) truth: String,
    /// Whether it is the same alert again.
    pub(super) copy: bool,
}

/// Who comes late and who comes twice.
pub(super) struct Arrival {
    seed: u64,
    late_millionths: u64,
    late_max_ms: Millis,
    /// Of `distinct` alerts, `copies` come twice.
    distinct: u64,
    copies: u64,
    under_way: BinaryHeap<Reverse<Parcel>>,
    parcels: u64,
}

impl Arrival {
    /// The arrivals of `distinct` alerts of which `copies` come twice.
    pub(super) fn new(
        seed: u64,
        late_millionths: u64,
        late_max_ms: Millis,
        distinct: u64,
        copies: u64,
    ) -> Arrival {
        Arrival {
            seed,
            late_millionths,
            late_max_ms,
            distinct,
            copies,
            under_way: BinaryHeap::new(),
            parcels: 0,
        }
    }

    /// How late alert `ordinal` comes, in milliseconds; 0 is at once.
    pub(super) fn delay(&self, ordinal: u64) -> Millis {
        let mut dice = Dice::of(&[self.seed, 0xa7, ordinal]);
        if self.late_max_ms > 0 && dice.chance(self.late_millionths) {
            dice.span(1, self.late_max_ms)
        } else {
            0
        }
    }

    /// How long after its first arrival alert `ordinal` comes again, where it does. Spread evenly, so that the count is exact.
    pub(super) fn again(&self, ordinal: u64) -> Option<Millis> {
        let due =
            |ordinal: u64| u128::from(ordinal) * u128::from(self.copies) / u128::from(self.distinct.max(1));
        (due(ordinal + 1) > due(ordinal)).then(|| Dice::of(&[self.seed, 0xa9, ordinal]).span(1_000, 600_000))
    }

    /// Sends a line on its way.
    pub(super) fn send(&mut self, arrival: Millis, line: String, truth: String, copy: bool) {
        self.parcels += 1;
        self.under_way.push(Reverse(Parcel { arrival, ordinal: self.parcels, line, truth, copy }));
    }

    /// The next line that has arrived by `time`.
    pub(super) fn arrived(&mut self, time: Millis) -> Option<Parcel> {
        if self.under_way.peek()?.0.arrival > time {
            return None;
        }
        self.under_way.pop().map(|Reverse(parcel)| parcel)
    }
}

/// A share as millionths; none where it is no number in `0..=1`.
pub(super) fn millionths(share: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the share lies in 0..=1")]
    (0.0..=1.0).contains(&share).then(|| (share * MILLION as f64).round() as u64)
}
