//! The world: what is called. It counts what arrives by action, does it or not, says so or not, and is slow.
//!
//! Looked at with every call: the intent is in the ledger, durably; what is opaque arrives once; what is keyed is done once.
//! State: what was done, by action.

use std::collections::BTreeMap;

use super::drawn::{Handle, may_crash, of};
use super::play::Plant;
use crate::act::{Call, Ledger, Order, World};
use crate::engine::log::STATE_FOLDER;
use crate::record::{ActionClass, ActionId};

/// What was done about one action.
#[derive(Clone, Debug)]
pub(super) struct Doing {
    pub(super) class: ActionClass,
    /// Calls that arrived.
    pub(super) arrived: u32,
    /// Times that it took effect: a keyed one once for all calls, an idempotent one is a state.
    pub(super) done: u32,
    /// Whether it was refused for good.
    refused: bool,
}

/// All of it.
#[derive(Default)]
pub(super) struct Doings {
    pub(super) by_id: BTreeMap<ActionId, Doing>,
    /// Whether it is as kind as a world can be.
    pub(super) kind: bool,
    /// Whether a process that was thought dead may still be calling.
    pub(super) zombies: bool,
}

/// A door to it.
pub(super) struct Door(pub(super) Handle);

impl World for Door {
    fn post(&self, order: &Order) -> Call {
        may_crash(&self.0, 3);
        let (call, wrong) = self.carry_out(order);
        let mut drawn = of(&self.0);
        if let Some(wrong) = wrong {
            drawn.accuse(format!(
                "{wrong}: {} {} {}",
                order.class.name(),
                order.verb.name(),
                order.action_id
            ));
        }
        drop(drawn);
        may_crash(&self.0, 3);
        call
    }

    fn probe(&self, order: &Order) -> Option<bool> {
        may_crash(&self.0, 3);
        let mut drawn = of(&self.0);
        let fails = !drawn.quiet && !drawn.world.kind && drawn.dice.chance(200_000);
        if fails {
            drawn.count("probes that failed");
            return None;
        }
        Some(drawn.world.by_id.get(&order.action_id).is_some_and(|doing| doing.done > 0))
    }
}

impl Door {
    /// A call, and what is wrong with it.
    fn carry_out(&self, order: &Order) -> (Call, Option<&'static str>) {
        let mut drawn = of(&self.0);
        let id = order.action_id;
        drawn.count("calls");
        let throw = if drawn.world.kind { 0 } else { drawn.dice.below(100) };
        drawn.now += drawn.dice.span(0, 400);
        if (90..95).contains(&throw) {
            drawn.count("calls put off");
            return (Call::Again("HTTP 429".to_owned()), None);
        }
        if throw >= 95 {
            drawn.count("calls that never arrived, in doubt");
            return (Call::Unknown("timed out".to_owned()), None);
        }
        let zombies = drawn.world.zombies;
        let twice = drawn.plant == Plant::WorldDoesTwice;
        let doing = drawn.world.by_id.entry(id).or_insert(Doing {
            class: order.class,
            arrived: 0,
            done: 0,
            refused: false,
        });
        doing.arrived += 1;
        doing.refused |= (80..83).contains(&throw) && doing.done == 0;
        if !doing.refused {
            match order.class {
                ActionClass::Idempotent | ActionClass::Keyed if !twice => doing.done = 1,
                ActionClass::Idempotent
                | ActionClass::Keyed
                | ActionClass::Probeable
                | ActionClass::Opaque => doing.done += 1,
            }
        }
        let doing = doing.clone();
        let mut wrong = None;
        if doing.class == ActionClass::Opaque && doing.arrived > 1 {
            wrong = Some("called twice");
        }
        // A probe sees nothing of a call that a process thought dead is still about to make.
        if doing.done > 1 && !(zombies && doing.class == ActionClass::Probeable) {
            wrong = Some("done twice");
        }
        let state = drawn.disk.dir().join(STATE_FOLDER);
        let intent = Ledger::look(&state).ok().flatten().and_then(|ledger| ledger.intent(id).ok().flatten());
        if intent.is_none() {
            wrong = Some("called without an intent in the ledger");
        }
        if (83..90).contains(&throw) {
            drawn.count("calls done, in doubt");
            return (Call::Unknown("timed out".to_owned()), wrong);
        }
        let call = if doing.refused { Call::Refused("HTTP 409".to_owned()) } else { Call::Done };
        (call, wrong)
    }
}
