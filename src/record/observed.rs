//! Observed: what records of no concern name. Nobody looks at such records one by one; that an address or a domain was in
//! them is worth knowing on the day on which it turns out to be bad.

use serde::{Deserialize, Serialize};

use super::entity::EntityKind;
use super::names::Sym;
use super::time::{Millis, Tick, tick_of};

/// An entity in records of one source and day that became no alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Whose.
    pub tenant: Sym,
    /// The source's name.
    pub source: Sym,
    /// `ip:192.0.2.7`: there are too many to intern.
    pub entity: String,
    /// How many records name it.
    pub records: u64,
    /// Event time of the first.
    pub first: Millis,
    /// Event time of the last.
    pub last: Millis,
}

impl Observed {
    /// Kinds of which it is noted: those that indicators are of, and logs are full of.
    pub const KINDS: [EntityKind; 5] =
        [EntityKind::Ip, EntityKind::Hash, EntityKind::Mailbox, EntityKind::Domain, EntityKind::Url];

    /// The second of the first, whose day all of them share.
    #[must_use]
    pub fn tick(&self) -> Tick {
        tick_of(self.first)
    }
}
