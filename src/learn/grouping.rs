//! Grouping: incidents against a truth. Do the alerts of a campaign stay together, and strangers apart?
//!
//! In: the home of each alert, and which campaign it truly is of. Out: what analysts would feel of it.
//!
//! A pair of alerts is *right together* where both are of one campaign and in one incident. Precision is over the pairs in
//! one incident that have an alert of a campaign, recall over the pairs of one campaign.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::record::{AlertId, IncidentId};

/// How well incidents are what truly belongs together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Grouping {
    /// Alerts in incidents.
    pub alerts: u64,
    /// Incidents at the end.
    pub incidents: u64,
    /// Alerts of campaigns.
    pub campaign_alerts: u64,
    /// Campaigns with an alert in any incident.
    pub campaigns: u64,
    /// Incidents that hold an alert of a campaign.
    pub holding: u64,
    /// Of these, the mean share of the commonest campaign's alerts.
    pub purity: f64,
    /// Campaigns of which at least nine alerts in ten are in one incident.
    pub whole: u64,
    /// Pairs: right together, of those that are together.
    pub precision: f64,
    /// Pairs: right together, of those that should be.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

/// Measures the homes of alerts against the campaigns that `truth` knows; an alert that it does not know is background.
#[must_use]
pub fn measure(
    homes: impl Iterator<Item = (AlertId, IncidentId)>,
    truth: &BTreeMap<AlertId, u64>,
) -> Grouping {
    let mut all: FxHashMap<IncidentId, u64> = FxHashMap::default();
    let mut held: BTreeMap<IncidentId, BTreeMap<u64, u64>> = BTreeMap::new();
    let mut campaigns: BTreeMap<u64, BTreeMap<IncidentId, u64>> = BTreeMap::new();
    for (alert, incident) in homes {
        *all.entry(incident).or_default() += 1;
        if let Some(campaign) = truth.get(&alert) {
            *held.entry(incident).or_default().entry(*campaign).or_default() += 1;
            *campaigns.entry(*campaign).or_default().entry(incident).or_default() += 1;
        }
    }
    let sum = |parts: &BTreeMap<_, u64>| parts.values().sum::<u64>();
    let right: u64 = held.values().flat_map(|of| of.values().copied()).map(pairs).sum();
    let due: u64 = campaigns.values().map(|parts| pairs(parts.values().sum())).sum();
    let together: u64 =
        held.iter().map(|(incident, of)| pairs(all[incident]) - pairs(all[incident] - sum(of))).sum();
    let most = |parts: &mut dyn Iterator<Item = u64>| parts.max().unwrap_or(0);
    let purities =
        held.iter().map(|(incident, of)| share(most(&mut of.values().copied()), all[incident])).sum::<f64>();
    let is_whole = |parts: &&BTreeMap<IncidentId, u64>| {
        most(&mut parts.values().copied()) * 10 >= parts.values().sum::<u64>() * 9
    };
    let (precision, recall) = (share(right, together), share(right, due));
    Grouping {
        alerts: all.values().sum(),
        incidents: all.len() as u64,
        campaign_alerts: campaigns.values().map(|parts| parts.values().sum::<u64>()).sum(),
        campaigns: campaigns.len() as u64,
        holding: held.len() as u64,
        purity: purities / (held.len().max(1) as f64),
        whole: campaigns.values().filter(is_whole).count() as u64,
        precision,
        recall,
        f1: 2.0 * precision * recall / (precision + recall).max(f64::MIN_POSITIVE),
    }
}

fn pairs(n: u64) -> u64 {
    n * n.saturating_sub(1) / 2
}

/// A share; one of nothing is whole.
fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 1.0 } else { part as f64 / of as f64 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against all pairs, one by one.
        #[test]
        fn pairs_are_counted_as_by_hand(alerts in prop::collection::vec((0u8..6, prop::option::of(0u64..4)), 0..60)) {
            let id = |n: usize| AlertId::of(&[&n.to_le_bytes()]);
            let home = |at: u8| IncidentId::of(&[&[at]]);
            let truth = alerts.iter().enumerate().filter_map(|(n, (_, campaign))| Some((id(n), (*campaign)?))).collect();
            let homes = alerts.iter().enumerate().map(|(n, (at, _))| (id(n), home(*at)));
            let found = measure(homes, &truth);
            let (mut right, mut together, mut due) = (0u64, 0u64, 0u64);
            for (n, (home, campaign)) in alerts.iter().enumerate() {
                for (other_home, other) in &alerts[..n] {
                    let same = campaign.is_some() && campaign == other;
                    let named = campaign.is_some() || other.is_some();
                    right += u64::from(same && home == other_home);
                    together += u64::from(named && home == other_home);
                    due += u64::from(same);
                }
            }
            prop_assert!((found.precision - share(right, together)).abs() < 1e-12);
            prop_assert!((found.recall - share(right, due)).abs() < 1e-12);
            prop_assert_eq!(found.alerts, alerts.len() as u64);
        }
    }
}
