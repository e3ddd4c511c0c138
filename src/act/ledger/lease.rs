//! A lease: what lets a process call for an intent that it has made durable. It is looked at before each call.
//!
//! A process may stand still between its intent and its call (a paused machine, a stopped process), be thought dead, and wake when
//! another one has resolved that intent by its class. The target cannot tell their calls apart, so each process asks itself, last of
//! all before it calls: whether the ledger is its own still, and whether it stood still since it was seen awake: when it made the
//! intent, or called before. Where the ledger has a new owner it calls nobody. Where it stood still for long, by the machine's clock
//! or by the one that does not count a suspended machine's time, the intent is in doubt, and resolved by its class at once, for the
//! disk on which it looks may be a copy.
//!
//! What remains is a process that stands still after this look and before its request has left, for as long as another one takes to
//! start and to resolve the intent: a few instructions, and the connection's making, which the call's timeout ends. Then, by class:
//!
//! - `idempotent` and `keyed`: it calls once more, which changes nothing, unless what was done was undone by then.
//! - `probeable`: the other one read back that nothing was done, and did it; this one does it again. It may be done twice.
//! - `opaque`: an intent is made once, and called by nobody but who made it: the other one leaves it to a person. It is called once,
//!   though a person may have taken it in hand by then.
//!
//! State: when the process was seen awake last, and how often it had stood still by then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags};

use super::shared::{Shared, Watch};
use super::{Ledger, LedgerError};
use crate::record::Millis;

/// A time by two clocks, in milliseconds: one that does not go back, and the machine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Since anything.
    pub running_ms: Millis,
    /// Since 1970.
    pub wall_ms: Millis,
}

impl Moment {
    /// How long ago it was, by the clock that says longer.
    fn until(self, now: Moment) -> Millis {
        let by = |from: Millis, to: Millis| to.saturating_sub(from);
        by(self.running_ms, now.running_ms).max(by(self.wall_ms, now.wall_ms))
    }
}

/// Whether a process may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::act) enum Leave {
    /// It may.
    Granted,
    /// It stood still: what it was to call is in doubt. It is awake now.
    StoodStill,
    /// The ledger is another's, or cannot be read.
    Lost,
}

/// See the head of this file.
pub(in crate::act) struct Lease {
    /// To read alone, and from any task.
    ledger: Mutex<Connection>,
    generation: i64,
    /// Where the ledger lies for several machines: one of them may have taken it over without a trace here.
    watch: Option<Watch>,
    awake: Mutex<Awake>,
}

#[derive(Clone, Copy, Default)]
struct Awake {
    last: Moment,
    /// How often the process was found to have stood still.
    stood_still: u32,
}

/// The lease, for calls whose intents were made when it was granted.
#[derive(Clone)]
pub(in crate::act) struct Grant {
    lease: Arc<Lease>,
    stood_still: u32,
}

impl Ledger {
    /// The lease of whoever has this ledger.
    ///
    /// # Errors
    /// Where the file can't be opened once more.
    pub(in crate::act) fn lease(&self) -> Result<Lease, LedgerError> {
        let path = self.connection.path().unwrap_or_default();
        let ledger = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        ledger.busy_timeout(std::time::Duration::from_secs(5))?;
        let watch = self.shared.as_ref().map(Shared::watch);
        let (ledger, generation) = (Mutex::new(ledger), self.generation);
        Ok(Lease { ledger, generation, watch, awake: Mutex::default() })
    }
}

impl Lease {
    /// The process is seen awake, before it makes intents.
    pub(in crate::act) fn awake(&self, now: Moment) {
        self.seen().last = now;
    }

    /// For the intents that there are.
    pub(in crate::act) fn grant(self: &Arc<Lease>) -> Grant {
        Grant { lease: Arc::clone(self), stood_still: self.seen().stood_still }
    }

    fn seen(&self) -> MutexGuard<'_, Awake> {
        self.awake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_held(&self) -> bool {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = ledger.prepare_cached("select generation from owner");
        let owner = owner.and_then(|mut said| said.query_row([], |row| row.get::<_, i64>(0)));
        let held = owner.is_ok_and(|owner| owner == self.generation);
        held && self.watch.as_ref().is_none_or(Watch::is_held)
    }
}

impl Grant {
    /// Whether a call may begin now; who was not seen for longer than `still_ms` stood still, which each of its calls is told once.
    pub(in crate::act) fn look(&mut self, now: Moment, still_ms: Millis) -> Leave {
        let stood_still = {
            let mut awake = self.lease.seen();
            awake.stood_still += u32::from(awake.last.until(now) > still_ms);
            awake.last = now;
            awake.stood_still
        };
        if !self.lease.is_held() {
            return Leave::Lost;
        }
        if std::mem::replace(&mut self.stood_still, stood_still) == stood_still {
            Leave::Granted
        } else {
            Leave::StoodStill
        }
    }
}
