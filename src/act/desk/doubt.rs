//! Doubt: actions of which nobody knows how they ended, and what resolves them: their class, or a person.

use std::collections::BTreeSet;

use super::{Desk, DeskError, Heard, Resolved, Rows, answer_of, known_of};
use crate::act::answer::Answer;
use crate::act::executor::Executor;
use crate::act::ledger::{Entry, Intent};
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
        let answers = self.resolve(&orders);
        let after = self.published;
        let resolved = orders.iter().zip(answers).filter_map(|(Order { action_id, .. }, answer)| {
            let known = Some(known_of(&answer, 0)).filter(|known| known.status != ActionStatus::InDoubt)?;
            Some(Entry::Resolved { action_id: *action_id, after, known })
        });
        Ok(self.ledger.write(&resolved.collect::<Vec<_>>())?)
    }

    fn resolve(&self, orders: &[Order]) -> Vec<Answer> {
        self.lease.awake(self.executor.now());
        self.executor.resolve(orders, &self.lease)
    }

    /// What was resolved is heard in the first epoch that was not published then: rows of an earlier one are in the archive
    /// already, and would be passed over. What was heard once is heard at the same tick again.
    pub(super) fn hear_resolved(&mut self) -> Result<(), DeskError> {
        let due = |it: &mut Resolved| {
            let undoing = self.undos.get(&it.action_id).is_some_and(|undo| undo.in_doubt);
            it.after < self.epoch && (undoing || self.in_doubt.contains(&it.action_id))
        };
        let due: Vec<Resolved> = self.resolved.extract_if(.., due).collect();
        for Resolved { action_id, known, .. } in due {
            let before = self.ledger.known(action_id)?;
            let heard = before.into_iter().find(|known| known.status != ActionStatus::InDoubt);
            match heard {
                Some(known) => self.hear_again(action_id, known),
                None => {
                    let tick = self.now.max(self.last.saturating_add(1));
                    self.hear_answer(action_id, answer_of(known), tick);
                }
            }
        }
        Ok(())
    }

    /// What came of an action that was intended and of which no outcome was recorded: what was resolved, or nobody knows.
    pub(super) fn resolution(&mut self, id: ActionId) -> Answer {
        let resolved = self.resolved.extract_if(.., |it| it.action_id == id).next();
        resolved.map_or_else(
            || {
                let what = "an earlier process ended during the call".to_owned();
                Answer::Unknown { attempts: 1, what }
            },
            |it| answer_of(it.known),
        )
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
        let answers = self.resolve(&orders);
        for (order, answer) in orders.iter().zip(answers) {
            // Still unknown says nothing new.
            if !matches!(answer, Answer::Unknown { .. }) {
                self.hear_answer(order.action_id, answer, settled - 1);
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
