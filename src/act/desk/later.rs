//! Later: orders that are given in one turn and answered in another. What came of them is an input of the run, with its epoch in
//! the log: so it is heard at the same tick whenever it is computed. An order that nobody answers in its time is in doubt, and
//! a receipt that comes after that resolves it.
//!
//! Given means: its intent is durable, the topic has it, and the ledger knows that. What a crash left between intent and that
//! knowledge is given again where its class lets it be (idempotent, keyed: copies have one id); else its time runs out, and a
//! person looks. State: orders that wait for their receipt, and those in doubt.

use super::{Desk, DeskError, Event};
use crate::act::answer::Answer;
use crate::act::executor::Executor;
use crate::act::ledger::{Entry, Intent, Known, Leave, LedgerError};
use crate::act::order::{Order, undo_id};
use crate::act::service::STILL_MS;
use crate::record::input::{Ended, Reported};
use crate::record::{ActionClass, ActionId, ActionStatus, Tick};

/// What of a receipt's detail is kept, in characters.
const DETAIL_MAX: usize = 1_000;

/// Whether an order may be given again.
fn is_harmless_twice(class: ActionClass) -> bool {
    match class {
        ActionClass::Idempotent | ActionClass::Keyed => true,
        ActionClass::Probeable | ActionClass::Opaque => false,
    }
}

impl Desk {
    /// An order whose answer comes later: given, unless the ledger knows that it was to be.
    pub(super) fn issue_later(&mut self, order: Order, timeout_s: Tick) -> Result<(), DeskError> {
        let id = order.action_id;
        let requested = ActionStatus::Requested;
        let given = Known { status: requested, attempts: 1, tick: self.now, detail: String::new(), place: 0 };
        self.receive(id, &given);
        // What another archive was answered is in no log here.
        let known = if self.ledger.is_elsewhere(id)? { self.ledger.known(id)? } else { Vec::new() };
        if let Some(known) = known.into_iter().find(|known| known.status != ActionStatus::InDoubt) {
            self.hear_again(id, known);
            return Ok(());
        }
        self.awaited.insert(id);
        self.queue.insert((self.now.saturating_add(timeout_s), 3, id.0, 2), Event::Silence { id });
        if !self.ledger.intended(id)? {
            self.pending.intents.push(order.clone());
            self.calls.push(order);
        }
        Ok(())
    }

    /// Gives orders whose intents are durable. A process that stood still gives those alone whose copies change nothing: the time of
    /// the others runs out.
    pub(super) fn give(&mut self, orders: &[Order]) -> Result<(), DeskError> {
        let Executor::Orders(topic) = &self.executor else { return Ok(()) };
        let harmless: Vec<Order>;
        let orders = match self.lease.grant().look(topic.now(), STILL_MS) {
            Leave::Granted => orders,
            Leave::StoodStill => {
                harmless = orders.iter().filter(|order| is_harmless_twice(order.class)).cloned().collect();
                &harmless
            }
            Leave::Lost => return Err(LedgerError::Fenced.into()),
        };
        topic.give(orders)?;
        let given = orders.iter().map(|order| Entry::Given { action_id: order.action_id });
        Ok(self.ledger.write(&given.collect::<Vec<_>>())?)
    }

    /// What was intended and may not have been given is given again, by class; what was undone must not be done after all.
    pub(super) fn give_again(&mut self) -> Result<(), DeskError> {
        let Executor::Orders(topic) = &self.executor else { return Ok(()) };
        topic.reach()?;
        let mut orders = Vec::new();
        for Intent { order, .. } in self.ledger.in_doubt()? {
            let id = order.action_id;
            if is_harmless_twice(order.class)
                && !self.ledger.is_given(id)?
                && !self.ledger.intended(undo_id(id))?
            {
                orders.push(order);
            }
        }
        self.lease.awake(self.executor.now());
        if orders.is_empty() { Ok(()) } else { self.give(&orders) }
    }

    /// Receipts, in the order of time and ids.
    pub(super) fn take_in_reported(&mut self, reported: Vec<(Reported, Tick)>) {
        for (reported, tick) in reported {
            // Of two on one order in one second the first counts.
            let place = (tick, 3, reported.action_id.0, 1);
            self.queue.entry(place).or_insert(Event::Reported(reported));
        }
    }

    /// A receipt: of an order that is not waited for it says nothing.
    pub(super) fn reported(&mut self, reported: Reported) {
        let Reported { action_id, status, detail, .. } = reported;
        if self.awaited.remove(&action_id) {
            self.answer_later(
                action_id,
                match status {
                    Ended::Succeeded => Answer::Done { attempts: 1 },
                    Ended::Failed => {
                        Answer::Refused { attempts: 1, what: detail.chars().take(DETAIL_MAX).collect() }
                    }
                },
            );
        }
    }

    /// The time for a receipt is over.
    pub(super) fn silence(&mut self, id: ActionId) {
        if self.awaited.contains(&id) {
            let what = "no receipt came in its time".to_owned();
            self.answer_later(id, Answer::Unknown { attempts: 1, what });
        }
    }

    fn answer_later(&mut self, id: ActionId, answer: Answer) {
        let heard = super::Heard::Answer(answer);
        if self.undos.contains_key(&id) {
            self.heard_undo(id, &heard);
        } else {
            self.heard(id, heard);
        }
    }
}
