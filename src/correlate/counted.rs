//! `counted`: how many alerts there were, where nobody keeps them; duplicates one by one.
//!
//! In: alerts and duplicates, once settled. Out: one count an epoch and worker.
//! State: none.

use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::vec::ToStream;

use super::dedup::Admitted;
use crate::flow::{Stream, Turn, turns};
use crate::record::Duplicate;

/// What one worker saw in one epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counted {
    /// Alerts.
    pub alerts: u64,
    /// Duplicates.
    pub duplicates: Vec<Duplicate>,
}

/// Builds the operator.
pub fn counted<'scope>(
    admitted: Stream<'scope, Admitted>,
    clock: Stream<'scope, Turn>,
) -> Stream<'scope, Counted> {
    let nothing = Vec::<()>::new().to_stream(clock.scope());
    let (counted, _) = turns("counted", (admitted, Pipeline), (nothing, Pipeline), clock, move |work| {
        let (mut alerts, mut duplicates) = (0, Vec::new());
        for admitted in work.first.drain(..) {
            match admitted {
                Admitted::Alert(_) => alerts += 1,
                Admitted::Duplicate(duplicate) => duplicates.push(*duplicate),
            }
        }
        duplicates.sort_unstable_by_key(|duplicate| (duplicate.tick, duplicate.time, duplicate.position));
        if alerts > 0 || !duplicates.is_empty() {
            work.out.push(Counted { alerts, duplicates });
        }
        let _: &mut Vec<()> = work.side;
    });
    counted
}
