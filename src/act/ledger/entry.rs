//! Entry: one fact that a ledger keeps. A ledger that lies in a topic is these, one a message, and whoever takes it over writes the
//! same ones into a copy of its own.

use rusqlite::{OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{Known, LedgerError};
use crate::act::order::Order;
use crate::record::{ActionId, Epoch, Tick, Verb};

/// See the head of this file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// An action is to be called. One that is there already must be the same but for its epoch.
    Intent {
        /// The epoch that it was made in.
        epoch: Epoch,
        /// What is called.
        order: Order,
    },
    /// What came of it.
    Outcome {
        /// Of what.
        action_id: ActionId,
        /// Which of its outcomes, from 1.
        seq: u32,
        /// What.
        known: Known,
    },
    /// An order for that action was given for certain: only its answer may be missing.
    Given {
        /// Which.
        action_id: ActionId,
    },
    /// It called nothing, for another's effect stands or is under way.
    Joined {
        /// Which.
        action_id: ActionId,
        /// The epoch that it began in.
        epoch: Epoch,
    },
    /// Somebody holds the effect that a caller made.
    Held {
        /// Whose call made it.
        caller: ActionId,
        /// Who holds it.
        holder: ActionId,
        /// Whose.
        tenant: String,
        /// What was done.
        verb: Verb,
        /// To what.
        target: String,
        /// Since when.
        since: Tick,
    },
    /// An effect ended.
    Ended {
        /// Whose call had made it.
        caller: ActionId,
        /// When.
        tick: Tick,
    },
    /// What came of an action in doubt when it was asked after by a later process, to be told after that epoch.
    Resolved {
        /// Which.
        action_id: ActionId,
        /// The epoch.
        after: Epoch,
        /// What came of it.
        known: Known,
    },
    /// It began in an earlier epoch than it did before: epochs that are not published may be made anew in other bounds.
    Begins {
        /// Which.
        action_id: ActionId,
        /// The epoch.
        epoch: Epoch,
    },
    /// From an epoch on nothing begins, or everything does again.
    Halt {
        /// The epoch.
        epoch: Epoch,
        /// Which of the two.
        halted: bool,
    },
    /// What was noted of epochs after that one never was: they are handled anew.
    Unhalt {
        /// The epoch.
        after: Epoch,
    },
}

/// Whose archive an entry was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// This one's.
    Own,
    /// Another's, whose epochs are none here: what it did was done before all of them, and may differ in how it was put.
    Others,
}

/// How an entry met what a ledger had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// It is new.
    New,
    /// It was there.
    Same,
    /// Something else was there, and stays.
    Differs,
}

impl Entry {
    /// What it is about; nothing where it is about all.
    pub(super) fn about(&self) -> Option<ActionId> {
        match self {
            Entry::Intent { order, .. } => Some(order.action_id),
            Entry::Outcome { action_id, .. }
            | Entry::Given { action_id }
            | Entry::Joined { action_id, .. }
            | Entry::Resolved { action_id, .. }
            | Entry::Begins { action_id, .. } => Some(*action_id),
            Entry::Held { caller, .. } | Entry::Ended { caller, .. } => Some(*caller),
            Entry::Halt { .. } | Entry::Unhalt { .. } => None,
        }
    }

    /// The same as it is in an archive whose epochs it does not know; none where it says nothing there.
    pub(super) fn elsewhere(self) -> Option<Entry> {
        match self {
            Entry::Intent { order, .. } => Some(Entry::Intent { epoch: 0, order }),
            Entry::Joined { action_id, .. } => Some(Entry::Joined { action_id, epoch: 0 }),
            Entry::Resolved { action_id, known, .. } => Some(Entry::Resolved { action_id, after: 0, known }),
            it @ (Entry::Outcome { .. } | Entry::Given { .. } | Entry::Held { .. } | Entry::Ended { .. }) => {
                Some(it)
            }
            Entry::Begins { .. } | Entry::Halt { .. } | Entry::Unhalt { .. } => None,
        }
    }

    /// Writes it.
    pub(super) fn write(&self, work: &Transaction<'_>, whose: Whose) -> Result<Met, LedgerError> {
        let done = |said: &str, of: &[&dyn rusqlite::ToSql]| work.prepare_cached(said)?.execute(of);
        let made = match self {
            Entry::Intent { epoch, order } => return intent(work, *epoch, order, whose),
            Entry::Outcome { action_id, seq, known } => return outcome(work, *action_id, *seq, known),
            Entry::Given { action_id } => {
                done("insert into given values (?) on conflict do nothing", params![action_id.0])?
            }
            Entry::Joined { action_id, epoch } => {
                let said = "insert into joined values (?, ?) on conflict do nothing";
                done(said, params![action_id.0, epoch.cast_signed()])?
            }
            Entry::Held { caller, holder, tenant, verb, target, since } => {
                let effect = "insert into effect values (?, ?, ?, ?, ?, null) on conflict do nothing";
                let held = "insert into holder values (?, ?, ?) on conflict do nothing";
                done(effect, params![caller.0, tenant, verb.name(), target, since])?
                    + done(held, params![caller.0, holder.0, since])?
            }
            Entry::Ended { caller, tick } => {
                let said = "update effect set ended = ?2 where caller = ?1 and ended is not ?2";
                done(said, params![caller.0, tick])?
            }
            Entry::Resolved { action_id, after, known: Known { status, attempts, detail, .. } } => {
                let said = "insert into resolved values (?, ?, ?, ?, ?) on conflict do nothing";
                done(said, params![action_id.0, after.cast_signed(), status.name(), attempts, detail])?
            }
            Entry::Begins { action_id, epoch } => {
                let of = |table| format!("update {table} set epoch = ?2 where action_id = ?1");
                done(&of("intent"), params![action_id.0, epoch.cast_signed()])?
                    + done(&of("joined"), params![action_id.0, epoch.cast_signed()])?
            }
            Entry::Halt { epoch, halted } => {
                let said = "insert or replace into halt values (?, ?)";
                done(said, params![epoch.cast_signed(), halted])?
            }
            Entry::Unhalt { after } => {
                done("delete from halt where epoch > ?", params![after.cast_signed()])?
            }
        };
        Ok(if made > 0 { Met::New } else { Met::Same })
    }
}

fn intent(work: &Transaction<'_>, epoch: Epoch, order: &Order, whose: Whose) -> Result<Met, LedgerError> {
    let body = serde_json::to_string(order).map_err(|error| LedgerError::Content(error.to_string()))?;
    let Order { action_id, requested, tenant, verb, target, class, .. } = order;
    let said = "insert into intent values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing";
    let (verb, class) = (verb.name(), class.name());
    let of = params![action_id.0, epoch.cast_signed(), requested, tenant, verb, target, class, body];
    if work.prepare_cached(said)?.execute(of)? > 0 {
        if whose == Whose::Others {
            work.prepare_cached("insert into elsewhere values (?)")?.execute([action_id.0])?;
        }
        return Ok(Met::New);
    }
    let said = "select body from intent where action_id = ?";
    let recorded: String = work.prepare_cached(said)?.query_row([action_id.0], |row| row.get(0))?;
    Ok(if recorded == body || is_elsewhere(work, *action_id)? { Met::Same } else { Met::Differs })
}

fn outcome(work: &Transaction<'_>, id: ActionId, seq: u32, known: &Known) -> Result<Met, LedgerError> {
    let Known { status, attempts, tick, detail, .. } = known;
    let said =
        "insert into outcome (action_id, seq, status, attempts, tick, detail) values (?, ?, ?, ?, ?, ?)
        on conflict do nothing";
    if work.prepare_cached(said)?.execute(params![id.0, seq, status.name(), attempts, tick, detail])? > 0 {
        return Ok(Met::New);
    }
    let said = "select status, tick from outcome where action_id = ? and seq = ?";
    let recorded: (String, Tick) =
        work.prepare_cached(said)?.query_row(params![id.0, seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let same = recorded == (status.name().to_owned(), *tick) || is_elsewhere(work, id)?;
    Ok(if same { Met::Same } else { Met::Differs })
}

/// Whether the action was made for another archive.
pub(super) fn is_elsewhere(connection: &rusqlite::Connection, id: ActionId) -> Result<bool, LedgerError> {
    let mut said = connection.prepare_cached("select 1 from elsewhere where action_id = ?")?;
    Ok(said.query_row([id.0], |_| Ok(())).optional()?.is_some())
}
