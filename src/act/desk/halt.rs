//! Halt: the kill switch. While it is on nothing begins; what stands is still undone in time.
//!
//! It is a file that anybody at the machine can throw, and so no input of the log: that it would slow down. The ledger has the epoch
//! from which on it was on or off, before that epoch is handled; so an epoch that is published is computed again as it was. And what the
//! ledger knows to have begun in one that was not is no beginning: it is told now, and called by nobody.

use super::{Desk, DeskError, Event};
use crate::act::ledger::Entry;
use crate::act::order::undo_id;
use crate::record::{ActionId, Epoch};

impl Desk {
    /// Whether an event would begin something that has not begun.
    pub(super) fn would_begin(&mut self, event: &Event) -> Result<bool, DeskError> {
        let begun: Vec<ActionId> = match event {
            Event::Step { decision, step } => {
                let targets = self.runs.get(decision).and_then(|run| run.targets.get(step));
                let live = targets.into_iter().flatten().filter_map(|it| self.live(*decision, *step, *it));
                live.map(|live| live.order.action_id).collect()
            }
            Event::Ground(ground) => self.undone_by(&self.held_on(ground)),
            Event::Answer(approval) => self.undone_by(&self.asked_of(approval)),
            // A ruling's steps are events of their own.
            Event::Begin(_)
            | Event::Heard { .. }
            | Event::Expiry { .. }
            | Event::Review { .. }
            | Event::Verdict { .. }
            | Event::Reported(_)
            | Event::Silence { .. } => return Ok(false),
        };
        // What is published is computed again as it was: what had begun by then had begun.
        let again = self.closed || self.epoch <= self.published;
        for id in begun {
            let Some(at) = self.ledger.begun_in(id)? else { continue };
            if at > self.epoch && !again {
                self.ledger.write(&[Entry::Begins { action_id: id, epoch: self.epoch }])?;
            }
            if at <= self.epoch || !again {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Orders that would undo actions: they are named after the one whose call made the effect.
    fn undone_by(&self, actions: &std::collections::BTreeSet<ActionId>) -> Vec<ActionId> {
        let caller = |id: &ActionId| self.effects.caller(&self.actions.get(id)?.key);
        actions.iter().flat_map(|id| [Some(*id), caller(id)]).flatten().map(undo_id).collect()
    }

    /// Whether the kill switch is on when an epoch is handled: durably, before anything hangs on it. An epoch that is published
    /// already is handled as it was.
    ///
    /// # Errors
    /// Where the ledger can't be used.
    pub fn halt_in(&mut self, epoch: Epoch, halted: bool) -> Result<(), DeskError> {
        let again = self.closed || epoch <= self.published;
        let halted = if again { self.ledger.was_halted(epoch)? } else { halted };
        if halted != self.halted {
            if !again {
                self.ledger.write(&[Entry::Halt { epoch, halted }])?;
            }
            self.halt(halted);
        }
        Ok(())
    }

    /// Holds back everything not yet begun while the kill switch is on; what stands is still undone in time.
    pub fn halt(&mut self, halted: bool) {
        self.halted = halted;
        if !halted {
            self.leave_held_back();
            self.queue.extend(std::mem::take(&mut self.held_back));
        }
    }
}
