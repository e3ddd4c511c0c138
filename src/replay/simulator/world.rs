//! The world: what is called. It counts what arrives by action, does it or not, says so or not, and is slow.
//!
//! Looked at with every call: the intent is in the ledger, durably; what is opaque arrives once; all others are done once. But for a
//! `probeable` call in whose midst its process stood still while another one read back that nothing was done: see the ledger's lease.
//! State: what was done, by action.

use std::collections::{BTreeMap, BTreeSet};

use super::drawn::{Drawn, Handle, may_crash, may_stall, of};
use super::play::Plant;
use crate::act::{Call, Ledger, Moment, Order, World};
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
    /// Whether it is told by a topic, and tells what came of it in another.
    pub(super) topic: bool,
    /// What it will tell: of which action, and whether it is done.
    pub(super) receipts: Vec<(ActionId, bool)>,
    /// In whose call a process stood still.
    pub(super) stood_still: BTreeSet<ActionId>,
}

/// A door to it.
pub(super) struct Door(pub(super) Handle);

impl World for Door {
    fn post(&self, order: &Order) -> Call {
        may_crash(&self.0, 3);
        if may_stall(&self.0) {
            of(&self.0).world.stood_still.insert(order.action_id);
        }
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
        let done = drawn.world.by_id.get(&order.action_id).is_some_and(|doing| doing.done > 0);
        drop(drawn);
        // What it was told may not hold any more when it calls.
        may_stall(&self.0);
        Some(done)
    }

    fn now(&self) -> Moment {
        let now = of(&self.0).now;
        Moment { running_ms: now, wall_ms: now }
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
        let calls = !drawn.world.topic;
        if calls && (90..95).contains(&throw) {
            drawn.count("calls put off");
            return (Call::Again("HTTP 429".to_owned()), None);
        }
        if calls && throw >= 95 {
            drawn.count("calls that never arrived, in doubt");
            return (Call::Unknown("timed out".to_owned()), None);
        }
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
        let wrong = judged(&mut drawn, id, &doing);
        if !calls {
            // It tells of it later, twice, or never.
            let times = if throw < 80 { 1 } else { usize::from(throw < 90) * 2 };
            drawn.world.receipts.extend(std::iter::repeat_n((id, !doing.refused), times));
        }
        if (83..90).contains(&throw) {
            drawn.count("calls done, in doubt");
            return (Call::Unknown("timed out".to_owned()), wrong);
        }
        let call = if doing.refused { Call::Refused("HTTP 409".to_owned()) } else { Call::Done };
        (call, wrong)
    }
}

/// What is wrong with a call of which this is known now.
fn judged(drawn: &mut Drawn, id: ActionId, doing: &Doing) -> Option<&'static str> {
    let state = drawn.disk.dir().join(STATE_FOLDER);
    let intent = Ledger::look(&state).ok().flatten().and_then(|ledger| ledger.intent(id).ok().flatten());
    if intent.is_none() {
        return Some("called without an intent in the ledger");
    }
    if doing.class == ActionClass::Opaque && doing.arrived > 1 {
        return Some("called twice");
    }
    if doing.done > 1 {
        let is_known = doing.class == ActionClass::Probeable && drawn.world.stood_still.contains(&id);
        if !is_known {
            return Some("done twice");
        }
        drawn.count("probeable actions done twice, where a process stood still within its call");
    }
    None
}
