//! Halt: the kill switch. While it is on nothing begins; what stands is still undone in time.
//!
//! It is a file that anybody at the machine can throw, and so no input of the log: that it would slow down. The ledger has the epoch
//! from which on it was on or off, before that epoch is handled; so an epoch that is published is computed again as it was.

use super::{Desk, DeskError};
use crate::record::Epoch;

impl Desk {
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
                self.ledger.note_halt(epoch, halted)?;
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
