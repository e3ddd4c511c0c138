//! Unsettled: alerts that are acted on, and that the archive does not have yet: an incident that is taken apart has them too.
//!
//! State: alerts whose tick is not settled, where the policy acts early; else nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plan::policy::Act;
use crate::record::{Alert, Tick};

/// By tick.
#[derive(Debug, Default)]
pub struct Unsettled {
    early: bool,
    by_tick: BTreeMap<Tick, Vec<Arc<Alert>>>,
}

impl Unsettled {
    /// None yet.
    #[must_use]
    pub fn new(act: Act) -> Unsettled {
        Unsettled { early: act == Act::Early, by_tick: BTreeMap::new() }
    }

    /// Takes note of an epoch's alerts; what its end settles is in the archive from then on.
    pub fn take(&mut self, alerts: Vec<Arc<Alert>>, settled: Tick) -> Vec<Arc<Alert>> {
        if self.early {
            self.by_tick = self.by_tick.split_off(&settled);
            for alert in alerts.iter().filter(|alert| alert.tick >= settled) {
                self.by_tick.entry(alert.tick).or_default().push(Arc::clone(alert));
            }
        }
        alerts
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Alert>> {
        self.by_tick.values().flatten()
    }
}
