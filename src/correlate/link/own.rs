//! Own: what a site has, against what comes from outside. A site's hosts, accounts, private addresses, mailboxes and
//! resources are in many stories, and the more so the longer one waits; an attacker's address, domain, sender or tool is in
//! one, however many others that has met.
//!
//! State: of each incident, how many foreign things it met and how often its alerts named such; see [`super`].

use serde::{Deserialize, Serialize};

use super::super::bond::Bond;
use super::meetings::Met;
use super::{Links, Number};
use crate::flow::decade::log10_milli;
use crate::record::{EntityKind, Role};

/// What is foreign of one kind in an incident.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(in super::super) struct Foreign {
    /// Things that it met.
    pub(in super::super) met: u32,
    /// How often its alerts named one.
    pub(in super::super) named: u32,
}

impl Foreign {
    /// Both together.
    pub(super) fn and(self, other: Foreign) -> Foreign {
        Foreign { met: self.met + other.met, named: self.named + other.named }
    }
}

/// Whether something of that kind, named in that role, is the site's own.
pub(super) fn is_own(kind: EntityKind, role: Role, is_public: bool) -> bool {
    match kind {
        EntityKind::Host | EntityKind::User | EntityKind::Resource => true,
        EntityKind::Ip => !is_public,
        // Who wrote is a stranger at least as often as not; who was written to is one of the site.
        EntityKind::Mailbox => role != Role::Source,
        EntityKind::Hash | EntityKind::Domain | EntityKind::Url | EntityKind::Process | EntityKind::File => {
            false
        }
    }
}

impl Links {
    /// How much it speaks against an incident that the alert names something foreign and rare, but nothing that the incident
    /// knows: the log of how often each such thing of it was named. One whose things never come twice loses nothing by a
    /// further one.
    pub(super) fn strangeness(&self, met: &Met, home: Number, bond: &Bond) -> i32 {
        let mut most = 0;
        for rare in met.rare.iter().filter(|rare| !rare.is_own) {
            let owner = rare.owner.and_then(|owner| self.resolve(owner.pointer.home));
            if owner == Some(home) {
                return 0;
            }
            let known = bond.foreign[rare.entity.kind as usize];
            if known.met > 0 {
                most = most.max(log10_milli(f64::from(known.named + 1) / f64::from(known.met)));
            }
        }
        most
    }
}
