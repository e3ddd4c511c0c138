//! Fence: a log has one writer, the process that claimed it last. One that was thought dead and goes on writes nothing more.
//!
//! Beside the lock of the archive's folder, which some file systems do not keep: whatever they do, the log's order decides. People's
//! words are no writer's: they may be appended by anybody.

use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::{Log, LogError};
use crate::flow::fate::{Deed, meet};

impl Log {
    /// Has the log from now on, for this process: whatever it opens later is its too.
    pub fn claim(&mut self) -> Result<(), LogError> {
        let said = "insert into meta values ('writer', 1)
            on conflict (key) do update set value = cast(value as integer) + 1";
        let claimed = self.db.execute(said, []).and_then(|_| generation(&self.db));
        self.generation = self.sql(claimed)?;
        Ok(())
    }

    /// An error where another process has it.
    pub fn held(&self) -> Result<(), LogError> {
        if self.sql(generation(&self.db))? == self.generation { Ok(()) } else { Err(LogError::Fenced) }
    }
}

/// How often it was claimed.
pub(super) fn generation(db: &Connection) -> rusqlite::Result<i64> {
    let said = "select cast(value as integer) from meta where key = 'writer'";
    Ok(db.prepare_cached(said)?.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

impl LogError {
    /// Why a transaction failed. No statement of the log asks for one row where there are several: that stands for a fence.
    pub(super) fn of(path: PathBuf, source: rusqlite::Error) -> LogError {
        if source == rusqlite::Error::QueryReturnedMoreThanOneRow {
            return LogError::Fenced;
        }
        LogError::Sql { path, source }
    }
}

/// Ends a transaction that has written, and so has the lock: whether it is durable, or not the writer's any more.
pub(super) fn end(work: Transaction<'_>, own: i64) -> rusqlite::Result<()> {
    if generation(&work)? != own {
        return Err(rusqlite::Error::QueryReturnedMoreThanOneRow);
    }
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
    meet(Deed::Log, || work.commit(), || rusqlite::Error::SqliteFailure(code, None))
}
