//! What a ledger knows beside intents and outcomes: who has it, what was resolved after a crash, and when nothing was to begin.

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::{Known, Ledger, LedgerError, status_of};
use crate::flow::fate::{Deed, meet};
use crate::record::{ActionId, Epoch};

/// Ledgers of before have none of these.
pub(super) const SCHEMA: &str = "
create table if not exists given (action_id blob primary key) without rowid;
create table if not exists owner (one integer primary key check (one = 1), generation integer not null);
create table if not exists resolved (
    action_id blob primary key, after integer not null, status text not null, attempts integer not null,
    detail text not null
) without rowid;
create table if not exists joined (action_id blob primary key, epoch integer not null) without rowid;
create table if not exists halt (epoch integer primary key, halted integer not null);
";

/// What came of an action in doubt when it was asked after by a later process, and the epoch through which all was published then:
/// it is told after that.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// Which.
    pub action_id: ActionId,
    /// The epoch.
    pub after: Epoch,
    /// What came of it.
    pub known: Known,
}

/// Whoever opens a ledger to write has it from then on, and whoever had it before writes no more.
pub(super) fn take(connection: &Connection) -> Result<i64, LedgerError> {
    let said = "insert into owner values (1, 1) on conflict (one) do update set generation = generation + 1
        returning generation";
    Ok(connection.query_row(said, [], |row| row.get(0))?)
}

/// Ends a transaction, if the ledger is still whose it was: its writes have the lock, so nobody can take it in between.
pub(super) fn commit(work: Transaction<'_>, generation: i64) -> Result<(), LedgerError> {
    let owner: i64 = work.query_row("select generation from owner", [], |row| row.get(0))?;
    if owner != generation {
        return Err(LedgerError::Fenced);
    }
    let failed =
        || rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC), None);
    Ok(meet(Deed::Ledger, || work.commit(), failed)?)
}

impl Ledger {
    /// What was resolved, by action.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub fn resolved(&self) -> Result<Vec<Resolved>, LedgerError> {
        let said = "select action_id, after, status, attempts, detail from resolved order by action_id";
        let mut query = self.connection.prepare_cached(said)?;
        let rows = query.query_map([], |row| {
            let status: String = row.get(2)?;
            Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, i64>(1)?, status, row.get(3)?, row.get(4)?))
        })?;
        rows.map(|row| {
            let (id, after, status, attempts, detail) = row?;
            let known = Known { status: status_of(&status)?, attempts, tick: 0, detail, place: 0 };
            Ok(Resolved { action_id: ActionId(id), after: after.cast_unsigned(), known })
        })
        .collect()
    }

    /// The epoch in which an action began: was to be called, or joined another.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub fn begun_in(&self, id: ActionId) -> Result<Option<Epoch>, LedgerError> {
        let said = "select min(epoch) from (select epoch from intent where action_id = ?1
            union all select epoch from joined where action_id = ?1)";
        let mut query = self.connection.prepare_cached(said)?;
        let epoch: Option<i64> = query.query_row([id.0.as_slice()], |row| row.get(0))?;
        Ok(epoch.map(i64::cast_unsigned))
    }

    /// The last epoch in which something was to be called; none where nothing was.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub fn last_epoch(&self) -> Result<Option<Epoch>, LedgerError> {
        let last = self.connection.query_row("select max(epoch) from intent", [], |row| row.get(0));
        Ok(last.map(|last: Option<i64>| last.map(i64::cast_unsigned))?)
    }

    /// Whether nothing was to begin in an epoch.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub fn was_halted(&self, epoch: Epoch) -> Result<bool, LedgerError> {
        let said = "select halted from halt where epoch <= ? order by epoch desc limit 1";
        let mut query = self.connection.prepare_cached(said)?;
        let halted = query.query_row([epoch.cast_signed()], |row| row.get(0)).optional()?;
        Ok(halted.unwrap_or(false))
    }
}
