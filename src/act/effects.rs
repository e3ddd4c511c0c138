//! Standing effects: what holds in the world because of us, who holds it, and who lets go last.
//!
//! Key: tenant, verb, target and parameters (a disabled account and a forced password are two effects, though both
//! are `set`). An entry lives from its first action's intent until it fails, is lifted, or, where it can't be undone,
//! is done. How often an effect ended is remembered 30 days after its last end: by then no incident that could ask
//! for it again is still open.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::plan::canonical;
use crate::record::{ActionId, Tick, Verb};
use serde_json::Value;

const ENDED_MEMORY: Tick = 30 * 24 * 3600;

/// What an effect is told apart by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) tenant: String,
    pub(super) verb: Verb,
    pub(super) target: String,
    pub(super) parameters: String,
}

impl Key {
    pub(super) fn new(tenant: &str, verb: Verb, target: &str, parameters: &Value) -> Key {
        let parameters = canonical::text(parameters);
        Key { tenant: tenant.to_owned(), verb, target: target.to_owned(), parameters }
    }
}

/// One effect.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Effect {
    /// The action that called.
    pub(super) caller: ActionId,
    /// Whether the call has succeeded; otherwise it is in flight.
    pub(super) stands: bool,
    /// All actions that ever held it, in the order in which they came.
    pub(super) parties: Vec<ActionId>,
    holders: BTreeSet<ActionId>,
}

/// What an action finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing: it must call.
    Call,
    /// A standing effect.
    Stands,
    /// Another's call in flight.
    InFlight,
}

/// All effects.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Effects {
    all: BTreeMap<Key, Effect>,
    ended: BTreeMap<Key, (u32, Tick)>,
}

impl Effects {
    /// How often the effect has ended, as far as is remembered at `now`.
    pub(super) fn occurrence(&self, key: &Key, now: Tick) -> u32 {
        self.ended.get(key).filter(|(_, tick)| *tick + ENDED_MEMORY > now).map_or(0, |(count, _)| *count)
    }

    /// Takes hold of the effect.
    pub(super) fn enter(&mut self, key: &Key, id: ActionId) -> Found {
        if let Some(effect) = self.all.get_mut(key) {
            effect.parties.push(id);
            effect.holders.insert(id);
            return if effect.stands { Found::Stands } else { Found::InFlight };
        }
        let effect = Effect { caller: id, stands: false, parties: vec![id], holders: BTreeSet::from([id]) };
        self.all.insert(key.clone(), effect);
        Found::Call
    }

    /// The call has ended: those who joined it in flight. An effect that failed, or can't be undone, is over.
    pub(super) fn called(&mut self, key: &Key, succeeded: bool, reversible: bool) -> Vec<ActionId> {
        let Some(effect) = self.all.get_mut(key) else { return Vec::new() };
        let joined = effect.parties[1..].to_vec();
        if succeeded && reversible {
            effect.stands = true;
        } else {
            self.all.remove(key);
        }
        joined
    }

    /// Lets go; the effect where nobody holds it any more. It stays in place until [`Effects::lifted`].
    pub(super) fn let_go(&mut self, key: &Key, id: ActionId) -> Option<Effect> {
        let effect = self.all.get_mut(key)?;
        (effect.holders.remove(&id) && effect.holders.is_empty()).then(|| effect.clone())
    }

    /// The effect was lifted.
    pub(super) fn lifted(&mut self, key: &Key, tick: Tick) {
        if self.all.remove(key).is_some() {
            let before = self.occurrence(key, tick);
            self.ended.insert(key.clone(), (before + 1, tick));
        }
    }

    /// The effect is no longer ours to watch: it stands, but nobody will lift it by itself.
    pub(super) fn forget(&mut self, key: &Key) {
        self.all.remove(key);
    }

    /// Forgets ends that are too long ago to matter.
    pub(super) fn advance(&mut self, now: Tick) {
        self.ended.retain(|_, (_, tick)| *tick + ENDED_MEMORY > now);
    }

    /// Who called for the effect.
    pub(super) fn caller(&self, key: &Key) -> Option<ActionId> {
        self.all.get(key).map(|effect| effect.caller)
    }

    /// Whether the call has succeeded.
    pub(super) fn stands(&self, key: &Key) -> bool {
        self.all.get(key).is_some_and(|effect| effect.stands)
    }

    /// Whether actions other than these hold it.
    pub(super) fn is_shared(&self, key: &Key, own: &BTreeSet<ActionId>) -> bool {
        self.all.get(key).is_some_and(|effect| !effect.holders.is_subset(own))
    }

    /// Whether the action made or joined an effect that is not over.
    pub(super) fn is_party(&self, key: &Key, id: ActionId) -> bool {
        self.all.get(key).is_some_and(|effect| effect.parties.contains(&id))
    }

    /// How many stand or are in flight.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_holder_lifts() {
        let key = Key::new("t", Verb::Deny, "ip:1.2.3.4", &Value::Null);
        let [a, b, c] = [b"a", b"b", b"c"].map(|id| ActionId::of(&[id]));
        let mut effects = Effects::default();
        assert_eq!(effects.enter(&key, a), Found::Call);
        assert_eq!(effects.enter(&key, b), Found::InFlight);
        assert_eq!(effects.called(&key, true, true), [b]);
        assert_eq!(effects.enter(&key, c), Found::Stands);
        assert!(effects.let_go(&key, a).is_none() && effects.let_go(&key, c).is_none());
        assert!(effects.let_go(&key, c).is_none(), "nobody lets go twice");
        assert_eq!(effects.let_go(&key, b).map(|effect| effect.parties), Some(vec![a, b, c]));
        effects.lifted(&key, 5);
        assert_eq!((effects.len(), effects.occurrence(&key, 5)), (0, 1));
        assert_eq!(effects.enter(&key, a), Found::Call);
        assert!(effects.called(&key, false, true).is_empty());
        assert_eq!((effects.len(), effects.occurrence(&key, 5)), (0, 1), "what failed never stood");
        effects.advance(5 + ENDED_MEMORY);
        assert!(effects.ended.is_empty());
    }
}
