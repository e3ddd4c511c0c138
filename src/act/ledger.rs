//! The ledger: every intent durable before its call, every outcome after it. SQLite, WAL, `synchronous=FULL`.
//!
//! Tables: `intent` (an action that was to be called), `outcome` (what came of it, counted per action from 1),
//! `effect` (what stands because of which caller) and `holder` (who holds it). `quell explain` reads them; the desk
//! recomputes effects from the log and compares: what differs is counted as a divergence. [`since`] has what crashes and people add,
//! [`lease`] who may call.

mod lease;
mod since;

pub use lease::Moment;
pub(super) use lease::{Grant, Lease, Leave};
pub(super) use since::Resolved;

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::order::Order;
use crate::record::{ActionId, ActionStatus, Epoch, Tick};

/// Why the ledger could not be used. Nothing is called without it.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// SQLite's word.
    #[error("the ledger cannot be used: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// What it holds is not what this version writes.
    #[error("the ledger holds what cannot be read: {0}; keep it and use the version that wrote it")]
    Content(String),
    /// It has a new owner.
    #[error("another process has taken the ledger over; this one does nothing more")]
    Fenced,
}

/// An outcome as recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Succeeded, failed or in doubt.
    pub status: ActionStatus,
    /// Calls made so far.
    pub attempts: u32,
    /// The tick at which it became known.
    pub tick: Tick,
    /// What the executor said of it.
    pub detail: String,
    /// Its place among all recorded outcomes: the order in which they were heard; 0 before it is recorded.
    pub place: u64,
}

/// An action that was to be called.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// The epoch that it was made in.
    pub epoch: Epoch,
    /// What was to be called.
    pub order: Order,
}

/// The ledger.
pub struct Ledger {
    connection: Connection,
    /// Recomputed rows that differ from recorded ones.
    pub divergences: u64,
    /// How often it was opened to be written, this time included: see [`LedgerError::Fenced`].
    generation: i64,
}

const SCHEMA: &str = "
begin immediate;
create table if not exists intent (
    action_id blob primary key, epoch integer not null, tick integer not null, tenant text not null,
    verb text not null, target text not null, class text not null, body text not null
) without rowid;
create table if not exists outcome (
    action_id blob not null, seq integer not null, status text not null, attempts integer not null,
    tick integer not null, detail text not null, primary key (action_id, seq)
);
create table if not exists effect (
    caller blob primary key, tenant text not null, verb text not null, target text not null,
    since integer not null, ended integer
) without rowid;
create table if not exists holder (
    caller blob not null, action_id blob not null, since integer not null, primary key (caller, action_id)
) without rowid;
create index if not exists effect_target on effect (tenant, verb, target);
pragma user_version = 1;
commit;
";

impl Ledger {
    /// Opens or makes the ledger `actions.sqlite` in `dir`.
    ///
    /// # Errors
    /// Where the file can't be used, or another version wrote it.
    pub fn open(dir: &Path) -> Result<Ledger, LedgerError> {
        let connection = Connection::open(dir.join("actions.sqlite"))?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        let version: i64 = connection.query_row("pragma user_version", [], |row| row.get(0))?;
        if version > 1 {
            return Err(LedgerError::Content(format!("schema version {version}")));
        }
        if version < 1 {
            connection.execute_batch(SCHEMA)?;
        }
        connection.execute_batch(since::SCHEMA)?;
        let generation = since::take(&connection)?;
        Ok(Ledger { connection, divergences: 0, generation })
    }

    /// The ledger in `dir` as it is, to read; none where there is none.
    ///
    /// # Errors
    /// Where the file can't be opened.
    pub fn look(dir: &Path) -> Result<Option<Ledger>, LedgerError> {
        let file = dir.join("actions.sqlite");
        if !file.is_file() {
            return Ok(None);
        }
        let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        let version: i64 = connection.query_row("pragma user_version", [], |row| row.get(0))?;
        if version < 1 {
            // Whoever was making it ended before it had a table.
            return Ok(None);
        }
        // Whoever only reads has it not.
        Ok(Some(Ledger { connection, divergences: 0, generation: 0 }))
    }

    /// Makes the intents durable, in one transaction. One that is there already must be the same but for its epoch.
    ///
    /// # Errors
    /// Where they are not durable: then nothing may be called.
    pub fn intend(&mut self, epoch: Epoch, orders: &[&Order]) -> Result<(), LedgerError> {
        if orders.is_empty() {
            return Ok(());
        }
        let generation = self.generation;
        let transaction = self.connection.transaction()?;
        for order in orders {
            let body =
                serde_json::to_string(order).map_err(|error| LedgerError::Content(error.to_string()))?;
            let made = transaction
                .prepare_cached("insert into intent values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing")?
                .execute(params![
                    order.action_id.0.as_slice(),
                    epoch.cast_signed(),
                    order.requested,
                    order.tenant,
                    order.verb.name(),
                    order.target,
                    order.class.name(),
                    body
                ])?;
            if made == 0 {
                let recorded: String = transaction
                    .prepare_cached("select body from intent where action_id = ?")?
                    .query_row([order.action_id.0.as_slice()], |row| row.get(0))?;
                self.divergences += u64::from(recorded != body);
            }
        }
        since::commit(transaction, generation)
    }

    /// Makes outcomes durable, in one transaction; `seq` counts them per action from 1.
    ///
    /// # Errors
    /// Where they are not durable.
    pub fn record(&mut self, outcomes: &[(ActionId, u32, Known)]) -> Result<(), LedgerError> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let generation = self.generation;
        let transaction = self.connection.transaction()?;
        for (id, seq, known) in outcomes {
            let made = transaction
                .prepare_cached("insert into outcome (action_id, seq, status, attempts, tick, detail) values (?, ?, ?, ?, ?, ?)
                     on conflict do nothing")?
                .execute(params![
                    id.0.as_slice(),
                    seq,
                    known.status.name(),
                    known.attempts,
                    known.tick,
                    known.detail
                ])?;
            if made == 0 {
                let (status, tick): (String, Tick) = transaction
                    .prepare_cached("select status, tick from outcome where action_id = ? and seq = ?")?
                    .query_row(params![id.0.as_slice(), seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
                self.divergences += u64::from(status != known.status.name() || tick != known.tick);
            }
        }
        since::commit(transaction, generation)
    }

    /// Notes who holds which caller's effect since when, which effects ended, and who called nothing since another's effect stands
    /// or is under way.
    ///
    /// # Errors
    /// Where it is not durable.
    pub fn note_effects(
        &mut self,
        held: &[(ActionId, ActionId, Order, Tick)],
        ended: &[(ActionId, Tick)],
        (epoch, joined): (Epoch, &[ActionId]),
    ) -> Result<(), LedgerError> {
        if held.is_empty() && ended.is_empty() && joined.is_empty() {
            return Ok(());
        }
        let generation = self.generation;
        let transaction = self.connection.transaction()?;
        for (caller, holder, order, since) in held {
            transaction
                .prepare_cached("insert into effect values (?, ?, ?, ?, ?, null) on conflict do nothing")?
                .execute(params![
                    caller.0.as_slice(),
                    order.tenant,
                    order.verb.name(),
                    order.target,
                    since
                ])?;
            transaction
                .prepare_cached("insert into holder values (?, ?, ?) on conflict do nothing")?
                .execute(params![caller.0.as_slice(), holder.0.as_slice(), since])?;
        }
        for id in joined {
            let said = "insert into joined values (?, ?) on conflict do nothing";
            transaction.prepare_cached(said)?.execute(params![id.0.as_slice(), epoch.cast_signed()])?;
        }
        for (caller, tick) in ended {
            transaction
                .prepare_cached("update effect set ended = ? where caller = ?")?
                .execute(params![tick, caller.0.as_slice()])?;
        }
        since::commit(transaction, generation)
    }

    /// Whether the action was ever to be called.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub fn intended(&self, id: ActionId) -> Result<bool, LedgerError> {
        let mut query = self.connection.prepare_cached("select 1 from intent where action_id = ?")?;
        Ok(query.exists([id.0.as_slice()])?)
    }

    /// Whether the order is given for certain: only its answer may be missing.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub fn is_given(&self, id: ActionId) -> Result<bool, LedgerError> {
        let mut query = self.connection.prepare_cached("select 1 from given where action_id = ?")?;
        Ok(query.exists([id.0.as_slice()])?)
    }

    /// Notes orders that are given for certain.
    ///
    /// # Errors
    /// Where it is not durable.
    pub fn note_given(&mut self, ids: impl Iterator<Item = ActionId>) -> Result<(), LedgerError> {
        let generation = self.generation;
        let transaction = self.connection.transaction()?;
        for id in ids {
            transaction
                .prepare_cached("insert into given values (?) on conflict do nothing")?
                .execute([id.0.as_slice()])?;
        }
        since::commit(transaction, generation)
    }

    /// What was to be called; none where the action never was.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub fn intent(&self, id: ActionId) -> Result<Option<Intent>, LedgerError> {
        let mut query =
            self.connection.prepare_cached("select epoch, body from intent where action_id = ?")?;
        let row =
            query.query_row([id.0.as_slice()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)));
        let Some((epoch, body)) = row.optional()? else { return Ok(None) };
        let order = serde_json::from_str(&body).map_err(|error| LedgerError::Content(error.to_string()))?;
        Ok(Some(Intent { epoch: epoch.cast_unsigned(), order }))
    }

    /// What is recorded of an action, in order.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub fn known(&self, id: ActionId) -> Result<Vec<Known>, LedgerError> {
        let mut query = self.connection.prepare_cached(
            "select status, attempts, tick, detail, rowid from outcome where action_id = ? order by seq",
        )?;
        let rows = query.query_map([id.0.as_slice()], |row| {
            let status: String = row.get(0)?;
            Ok((status, row.get(1)?, row.get(2)?, row.get(3)?, row.get::<_, i64>(4)?))
        })?;
        rows.map(|row| {
            let (status, attempts, tick, detail, place) = row?;
            Ok(Known { status: status_of(&status)?, attempts, tick, detail, place: place.cast_unsigned() })
        })
        .collect()
    }

    /// Intents without a final outcome, and not resolved: in doubt. In the order of their ticks.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub fn in_doubt(&self) -> Result<Vec<Intent>, LedgerError> {
        let mut query = self.connection.prepare_cached(
            "select epoch, body from intent where not exists (select 1 from outcome
               where outcome.action_id = intent.action_id and status in ('succeeded', 'failed'))
               and not exists (select 1 from resolved where resolved.action_id = intent.action_id)
             order by tick, action_id",
        )?;
        let rows = query.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        rows.map(|row| {
            let (epoch, body) = row?;
            let order =
                serde_json::from_str(&body).map_err(|error| LedgerError::Content(error.to_string()))?;
            Ok(Intent { epoch: epoch.cast_unsigned(), order })
        })
        .collect()
    }

    /// Effects that stand: tenant, verb, target, and how many hold each.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub fn standing(&self) -> Result<Vec<(String, String, String, u32)>, LedgerError> {
        let mut query = self.connection.prepare_cached(
            "select tenant, verb, target, (select count(*) from holder where holder.caller = effect.caller)
             from effect where ended is null order by tenant, verb, target, caller",
        )?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn status_of(name: &str) -> Result<ActionStatus, LedgerError> {
    [ActionStatus::Succeeded, ActionStatus::Failed, ActionStatus::InDoubt]
        .into_iter()
        .find(|status| status.name() == name)
        .ok_or_else(|| LedgerError::Content(format!("outcome status {name:?}")))
}
