//! Where decisions went: `decisions = executed + declined + escalated + superseded + in doubt`.

use std::collections::BTreeMap;

use crate::record::{Decision, DecisionId, Ruling};

/// Counts decisions of a run by what became of them.
///
/// State: one entry a decision, for the life of the run: 17 bytes and the tree's overhead.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    fates: BTreeMap<DecisionId, Fate>,
    /// Rulings that were superseded without having been counted, or counted twice: must be zero.
    pub faults: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Executed,
    Declined,
    Escalated,
    Superseded,
    InDoubt,
}

/// The sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// All.
    pub decisions: u64,
    /// Executed, with every action's end known or under way.
    pub executed: u64,
    /// Declined.
    pub declined: u64,
    /// Waiting for a person.
    pub escalated: u64,
    /// Replaced by a later ruling.
    pub superseded: u64,
    /// Executed, with an action in doubt.
    pub in_doubt: u64,
}

impl Sums {
    /// Whether every decision is in exactly one place.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.decisions == self.executed + self.declined + self.escalated + self.superseded + self.in_doubt
    }
}

impl Tally {
    /// Counts a ruling.
    pub fn add(&mut self, decision: &Decision) {
        if let Some(earlier) = decision.supersedes {
            match self.fates.get_mut(&earlier) {
                Some(fate @ (Fate::Declined | Fate::Escalated)) => *fate = Fate::Superseded,
                // An executed ruling is never superseded, and none is twice.
                Some(Fate::Executed | Fate::Superseded | Fate::InDoubt) | None => self.faults += 1,
            }
        }
        let fate = match decision.ruling {
            Ruling::Execute => Fate::Executed,
            Ruling::Escalate => Fate::Escalated,
            Ruling::Decline => Fate::Declined,
        };
        if self.fates.insert(decision.id, fate).is_some() {
            self.faults += 1;
        }
    }

    /// Says whether an executed ruling has an action in doubt.
    pub fn doubt(&mut self, id: DecisionId, in_doubt: bool) {
        match (self.fates.get_mut(&id), in_doubt) {
            (Some(fate @ Fate::Executed), true) => *fate = Fate::InDoubt,
            (Some(fate @ Fate::InDoubt), false) => *fate = Fate::Executed,
            (Some(Fate::Executed | Fate::InDoubt), _) => {}
            (Some(Fate::Declined | Fate::Escalated | Fate::Superseded) | None, _) => self.faults += 1,
        }
    }

    /// The sums.
    #[must_use]
    pub fn sums(&self) -> Sums {
        let mut sums = Sums { decisions: self.fates.len() as u64, ..Sums::default() };
        for fate in self.fates.values() {
            *match fate {
                Fate::Executed => &mut sums.executed,
                Fate::Declined => &mut sums.declined,
                Fate::Escalated => &mut sums.escalated,
                Fate::Superseded => &mut sums.superseded,
                Fate::InDoubt => &mut sums.in_doubt,
            } += 1;
        }
        sums
    }
}
