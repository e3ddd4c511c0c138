//! Encounters: who of a site is named with whom. An account at a host where it never was, an address that comes to a host for
//! the first time: that is how an attacker goes on, by rules that are common there. So such an alert says something though its
//! pair surprises nobody: it joins what is fresh at one of the two, as far as the encounter surprises; alone it opens nothing
//! that another could join.
//!
//! Of hosts, accounts and private addresses: what comes from outside is somebody new as a rule.
//!
//! State: an entry per subject and thing that it was named with, until that is forgotten; see [`super::super::rarity`]. None
//! while most pairs are new. And how many encounters were usual lately: where most are not, none says anything.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::super::base::Share;
use super::super::rarity::ActiveHours;
use super::Links;
use super::meetings::Met;
use crate::record::{Alert, Entity, EntityKind, Tick};

/// Who met whom, and when.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Encounters {
    hours: FxHashMap<(Entity, Entity), ActiveHours>,
    usual: Share,
}

impl Encounters {
    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.hours.len()
    }

    /// Drops what can matter no more.
    pub(super) fn sweep(&mut self, settled: Tick) {
        self.hours.retain(|_, hours| !hours.forgettable(settled));
    }
}

impl Links {
    /// Marks whom the alert's subject meets. How surprising the most unusual one is, in hours, where it surprises.
    pub(super) fn encounter(&mut self, alert: &Alert, met: &Met) -> Option<i32> {
        let subject = alert.subject()?;
        let mut least = f64::INFINITY;
        for (other, place) in met.entities.iter().copied().filter(|(other, _)| *other != subject) {
            let is_of_the_site = match other.kind {
                EntityKind::Host | EntityKind::User => true,
                EntityKind::Ip => !self.entities.at(place).is_public,
                EntityKind::Resource
                | EntityKind::Mailbox
                | EntityKind::Hash
                | EntityKind::Domain
                | EntityKind::Url
                | EntityKind::Process
                | EntityKind::File => false,
            };
            if !is_of_the_site {
                continue;
            }
            let hours = self.encounters.hours.entry((subject, other)).or_default();
            let before = hours.before(alert.tick);
            if hours.mark(alert.tick) {
                self.encounters.usual.count(before >= self.settings.background_common_hours);
            }
            least = least.min(before);
        }
        let strong = self.settings.surprise_strong;
        if self.encounters.usual.is_exception() || !self.scale.may_surprise(least, strong) {
            return None;
        }
        Some(self.scale.surprise(least)).filter(|surprise| *surprise >= strong)
    }
}
