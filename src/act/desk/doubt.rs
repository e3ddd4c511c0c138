//! Doubt: actions of which nobody knows how they ended, and what resolves them: their class, or a person.

use std::collections::BTreeSet;

use super::{Desk, DeskError, Heard, Rows, known_of};
use crate::act::executor::{Answer, Executor};
use crate::act::ledger::Intent;
use crate::act::order::{Order, undo_id};
use crate::record::{ActionId, ActionStatus, DecisionId, Tick};

impl Desk {
    /// Resolves intents without an outcome, by class, before anything is recomputed. What stays unknown is met again
    /// when its action is recomputed, and called by nobody.
    pub(super) fn recover(&mut self) -> Result<(), DeskError> {
        match &self.executor {
            Executor::Webhook(_) => {}
            Executor::Orders(_) => return self.give_again(),
            Executor::DryRun | Executor::Simulate(_) | Executor::Recorded(_) => return Ok(()),
        }
        let mut orders = Vec::new();
        for Intent { order, .. } in self.ledger.in_doubt()? {
            // What was undone must not be done after all.
            if !self.ledger.intended(undo_id(order.action_id))? {
                orders.push(order);
            }
        }
        let tick = self.ledger.last_tick()?.unwrap_or(0);
        let answers = self.executor.resolve(&orders);
        let mut outcomes = Vec::new();
        for (order, answer) in orders.iter().zip(answers) {
            let before = u32::try_from(self.ledger.known(order.action_id)?.len()).unwrap_or(u32::MAX);
            let known = known_of(&answer, tick);
            if known.status != ActionStatus::InDoubt {
                outcomes.push((order.action_id, before + 1, known));
            }
        }
        self.ledger.record(&outcomes)?;
        Ok(())
    }

    /// Asks again after actions in doubt that may be repeated or read back.
    ///
    /// # Errors
    /// Where the ledger can't be written.
    pub fn resolve_in_doubt(&mut self, settled: Tick) -> Result<Rows, DeskError> {
        let undos = self.undos.values().filter(|undo| undo.in_doubt).map(|undo| undo.order.clone());
        let actions =
            self.in_doubt.iter().filter_map(|id| self.actions.get(id)).map(|live| live.order.clone());
        let orders: Vec<Order> = actions.chain(undos).collect();
        let answers = self.executor.resolve(&orders);
        for (order, answer) in orders.iter().zip(answers) {
            // Still unknown says nothing new.
            if !matches!(answer, Answer::Unknown { .. }) {
                self.hear_later(order.action_id, Heard::Answer(answer), settled - 1);
            }
        }
        self.turn(settled.saturating_sub(1), false)?;
        Ok(std::mem::take(&mut self.rows))
    }

    /// A person says how an action in doubt went. Without effect on any other.
    ///
    /// # Errors
    /// Where the ledger can't be written.
    pub fn settle_by_hand(
        &mut self,
        id: ActionId,
        succeeded: bool,
        by: &str,
        settled: Tick,
    ) -> Result<Rows, DeskError> {
        if self.in_doubt.contains(&id) {
            self.hear_later(id, Heard::ByHand { succeeded, by: by.to_owned() }, settled - 1);
        }
        self.turn(settled.saturating_sub(1), false)?;
        Ok(std::mem::take(&mut self.rows))
    }

    /// Actions whose end is awaited, and those in doubt.
    #[must_use]
    pub fn unanswered(&self) -> (usize, usize) {
        (self.awaited.len(), self.in_doubt.len())
    }

    /// Rulings with an action in doubt.
    #[must_use]
    pub fn decisions_in_doubt(&self) -> BTreeSet<DecisionId> {
        self.in_doubt
            .iter()
            .filter_map(|id| self.actions.get(id))
            .map(|live| live.order.decision_id)
            .collect()
    }
}
