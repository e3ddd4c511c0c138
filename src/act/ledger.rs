//! The ledger: every intent durable before its call, every outcome after it. SQLite, WAL, `synchronous=FULL`.
//!
//! Tables: `intent` (an action that was to be called), `outcome` (what came of it, counted per action from 1),
//! `effect` (what stands because of which caller) and `holder` (who holds it). `quell explain` reads them; the desk
//! recomputes effects from the log and compares: what differs is counted as a divergence. [`entry`] has what is written, [`since`] what
//! crashes and people add, [`lease`] who may call, [`shared`] who owns a ledger that several machines can reach: then this is a copy.

mod book;
mod entry;
mod lease;
mod leaves;
mod shared;
#[cfg(test)]
mod shared_tests;
mod since;
mod topic;

pub use book::{Book, Common, Page, Pages};
pub use entry::Entry;
pub use lease::Moment;
pub(super) use lease::{Grant, Lease, Leave};
pub use leaves::Leaves;
pub(super) use since::Resolved;
pub use topic::LedgerTopic;

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use self::entry::{Met, Whose};
use self::shared::Shared;
use super::look::look;
use super::make::make;
use super::order::Order;
use crate::kafka::ProduceError;
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
    /// Its topic.
    #[error("the ledger's topic")]
    Topic(#[from] ProduceError),
    /// Order is what says who owns it, and partitions have none between them.
    #[error(
        "the ledger's topic {topic:?} has {partitions} partitions; make one of one partition, and name it under `ledger`"
    )]
    Partitions {
        /// Its name.
        topic: String,
        /// How many.
        partitions: usize,
    },
    /// What is forgotten may be done again.
    #[error(
        "the ledger's topic {topic:?} has {forgets}: what it forgets may be done again; set cleanup.policy=delete, retention.ms=-1 \
         and retention.bytes=-1 on it"
    )]
    Forgets {
        /// Its name.
        topic: String,
        /// By which setting.
        forgets: String,
    },
    /// It has forgotten.
    #[error(
        "the ledger's topic begins at offset {first}, and this archive has read what lies before {read}: what lies between is lost, and \
         may be done again; restore the topic, or begin with a new one and a new archive where nothing of it matters"
    )]
    Forgotten {
        /// Its first offset.
        first: i64,
        /// Where this archive goes on.
        read: i64,
    },
    /// Another topic of that name.
    #[error(
        "the ledger's topic ends at offset {ends}, and this archive has read what lies before {read}: it was made anew; name the topic \
         that has what was read, or a new archive"
    )]
    MadeAnew {
        /// Where it ends.
        ends: i64,
        /// Where this archive goes on.
        read: i64,
    },
    /// What must lie there cannot be had.
    #[error(
        "the ledger's topic does not give what lies from offset {from} to {to}; the next run on this archive reads it again"
    )]
    Unread {
        /// The first offset.
        from: i64,
        /// The one behind the last.
        to: i64,
    },
    /// A later version wrote it.
    #[error("the ledger's topic has at offset {at} what cannot be read; use the version that wrote it")]
    Page {
        /// Where.
        at: i64,
        /// Why.
        #[source]
        error: serde_json::Error,
    },
    /// A topic is to have what it never had.
    #[error("this archive's ledger was begun without a topic; go on without `ledger`, or name a new archive")]
    Unshared,
    /// What goes on is not disturbed.
    #[error(
        "the run of another archive ({other}) has the ledger since: say it there, or go on with `quell run` on this one, which ends that"
    )]
    Yielded {
        /// Its name.
        other: String,
    },
    /// What only a topic can tell is not asked.
    #[error(
        "this archive's ledger is kept in a topic; name it under `ledger` in the pipeline file, as before"
    )]
    NotShared,
}

/// An outcome as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    #[serde(skip)]
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
    /// Where it lies for all machines; none where it lies here alone.
    shared: Option<Shared>,
}

const SCHEMA: &str = "
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
";

/// All tables at once: each by itself would wait for the disk.
fn tables(first: &str) -> String {
    ["begin immediate;", first, since::SCHEMA, shared::SCHEMA, "commit;"].concat()
}

impl Ledger {
    /// Opens or makes the ledger `actions.sqlite` in `dir`, which is all there is of it, or the copy of what lies in a book.
    ///
    /// # Errors
    /// Where the file or the book can't be used, or another version wrote it.
    pub fn open(dir: &Path, common: Option<Common>) -> Result<Ledger, LedgerError> {
        let file = dir.join("actions.sqlite");
        // What fails here fails again when it is opened, which says why.
        let _ = make(&file, |new| new.execute_batch(&tables(SCHEMA)));
        let mut connection = Connection::open(file)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        let version: i64 = connection.query_row("pragma user_version", [], |row| row.get(0))?;
        if version > 1 {
            return Err(LedgerError::Content(format!("schema version {version}")));
        }
        connection.execute_batch(&tables(if version < 1 { SCHEMA } else { "" }))?;
        let generation = since::take(&connection)?;
        if common.is_none() && shared::is_copy(&connection)? {
            return Err(LedgerError::NotShared);
        }
        let shared = common.map(|common| Shared::take(common, &mut connection)).transpose()?;
        Ok(Ledger { connection, divergences: 0, generation, shared })
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
        let connection = look(&file)?;
        let version: i64 = connection.query_row("pragma user_version", [], |row| row.get(0))?;
        if version < 1 {
            // Whoever was making it ended before it had a table.
            return Ok(None);
        }
        // Whoever only reads has it not.
        Ok(Some(Ledger { connection, divergences: 0, generation: 0, shared: None }))
    }

    /// Makes entries durable, all or none; what is there already stays as it is.
    ///
    /// # Errors
    /// Where they are not durable: then nothing may be called.
    pub fn write(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        if entries.is_empty() {
            return Ok(());
        }
        if let Some(shared) = &mut self.shared {
            // What brokers take their time for locks nobody out here.
            let try_out = self.connection.transaction()?;
            let met = entries.iter().map(|entry| Ok((entry, entry.write(&try_out, Whose::Own)?)));
            let met = met.collect::<Result<Vec<_>, LedgerError>>()?;
            drop(try_out);
            let new = met.into_iter().filter(|(_, met)| *met == Met::New).map(|(entry, _)| entry);
            shared.write(&new.collect::<Vec<_>>())?;
        }
        let work = self.connection.transaction()?;
        for entry in entries {
            let met = entry.write(&work, Whose::Own)?;
            self.divergences += u64::from(met == Met::Differs);
        }
        if let Some(shared) = &self.shared {
            shared.note(&work)?;
        }
        since::commit(work, self.generation)
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

    /// Whether the action was called for another archive: what came of it is known from there, if it is.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub fn is_elsewhere(&self, id: ActionId) -> Result<bool, LedgerError> {
        entry::is_elsewhere(&self.connection, id)
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

    /// Effects that stand which were called for other archives.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub fn standing_elsewhere(&self) -> Result<u64, LedgerError> {
        let said = "select count(*) from effect join elsewhere on action_id = caller where ended is null";
        let count = self.connection.query_row(said, [], |row| row.get::<_, i64>(0))?;
        Ok(count.cast_unsigned())
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
