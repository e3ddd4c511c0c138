//! Actors: whose accounts an incident's alerts name. Two stories often share a host within minutes: a jump host that three
//! administrators use, a database that two service accounts sign in to. Who acts tells them apart: a story of one account
//! that names it again and again is not that of the next one, whereas one in which each account comes once (a wave of mail,
//! passwords tried on many) takes in a further one.
//!
//! State: of each incident, its accounts, up to a bound, and how many of its alerts named one.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::flow::decade::log10_milli;
use crate::record::{Entity, Sym};

/// From so many on an incident is that of everybody, and none is a stranger to it.
const ACCOUNTS_MAX: usize = 64;

/// The accounts of an incident.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in super::super) struct Actors {
    accounts: SmallVec<[Sym; 1]>,
    /// Alerts that named any.
    named: u32,
}

impl Actors {
    /// Notes the accounts of an alert.
    pub(super) fn note(&mut self, accounts: impl Iterator<Item = Entity>) {
        let mut named = 0;
        for account in accounts {
            named = 1;
            self.insert(account.value);
        }
        self.named = self.named.saturating_add(named);
    }

    /// Takes in those of another incident.
    pub(super) fn add(&mut self, other: &Actors) {
        other.accounts.iter().for_each(|account| self.insert(*account));
        self.named = self.named.saturating_add(other.named);
    }

    fn insert(&mut self, account: Sym) {
        if self.accounts.len() < ACCOUNTS_MAX && !self.accounts.contains(&account) {
            self.accounts.push(account);
        }
    }

    /// How much it speaks against an incident that an alert names accounts, but none that it knows: the log of how often each
    /// of its own was named, in thousandths of a decade. Nothing where either names none.
    pub(super) fn strangeness(&self, accounts: impl Iterator<Item = Entity>) -> i32 {
        if self.accounts.is_empty() || self.accounts.len() >= ACCOUNTS_MAX {
            return 0;
        }
        let mut is_named = false;
        for account in accounts {
            if self.accounts.contains(&account.value) {
                return 0;
            }
            is_named = true;
        }
        let often = f64::from(self.named.saturating_add(1)) / self.accounts.len() as f64;
        if is_named { log10_milli(often) } else { 0 }
    }

    /// The accounts, and how many alerts named any.
    #[cfg(test)]
    pub(super) fn told(&self) -> (rustc_hash::FxHashSet<Sym>, u32) {
        (self.accounts.iter().copied().collect(), self.named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Names;

    #[test]
    fn one_that_comes_again_and_again_tells_the_next_one_apart() {
        let names = Names::default();
        let user = |name: &str| Entity::parse(&format!("user:{name}"), &names).into_iter();
        let mut actors = Actors::default();
        assert_eq!(actors.strangeness(user("ada")), 0, "nobody is known");
        (0..99).for_each(|_| actors.note(user("ada")));
        assert_eq!(actors.strangeness(user("ada")), 0);
        assert_eq!(actors.strangeness(user("ben")), 2_000);
        assert_eq!(actors.strangeness(user("ben").chain(user("ada"))), 0, "one is enough");
        assert_eq!(actors.strangeness(std::iter::empty()), 0, "it names none");
    }

    #[test]
    fn where_each_comes_once_a_further_one_is_no_stranger() {
        let names = Names::default();
        let user = |n: usize| Entity::parse(&format!("user:u{n}"), &names).into_iter();
        let (mut actors, mut merged) = (Actors::default(), Actors::default());
        for n in 0..ACCOUNTS_MAX - 1 {
            actors.note(user(n));
            assert!(actors.strangeness(user(1_000)) <= 302);
        }
        merged.add(&actors);
        merged.add(&actors);
        assert!((301..310).contains(&merged.strangeness(user(1_000))), "each came twice");
        merged.note(user(1_000));
        assert_eq!(merged.strangeness(user(1_001)), 0, "everybody's");
        merged.note(user(1_001));
        assert_eq!(merged.accounts.len(), ACCOUNTS_MAX, "bounded");
    }
}
