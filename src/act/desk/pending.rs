//! Pending: what one round of the desk makes durable, all or none, before it calls anybody.

use crate::act::ledger::{Entry, Known};
use crate::act::order::Order;
use crate::record::{ActionId, Epoch, Tick};

/// What must be durable before anything is called, or before the turn ends.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) intents: Vec<Order>,
    pub(super) outcomes: Vec<(ActionId, u32, Known)>,
    pub(super) held: Vec<(ActionId, ActionId, Order, Tick)>,
    pub(super) ended: Vec<(ActionId, Tick)>,
    pub(super) joined: Vec<ActionId>,
}

impl Pending {
    /// The same as the ledger keeps it: outcomes before the next intents, which follow from them.
    pub(super) fn entries(self, epoch: Epoch) -> Vec<Entry> {
        let Pending { intents, outcomes, held, ended, joined } = self;
        let held = held.into_iter().map(|(caller, holder, order, since)| {
            let Order { tenant, verb, target, .. } = order;
            Entry::Held { caller, holder, tenant, verb, target, since }
        });
        let outcomes = outcomes.into_iter();
        let outcomes = outcomes.map(|(action_id, seq, known)| Entry::Outcome { action_id, seq, known });
        let joined = joined.into_iter().map(|action_id| Entry::Joined { action_id, epoch });
        let ended = ended.into_iter().map(|(caller, tick)| Entry::Ended { caller, tick });
        let intents = intents.into_iter().map(|order| Entry::Intent { epoch, order });
        outcomes.chain(held).chain(joined).chain(ended).chain(intents).collect()
    }
}
