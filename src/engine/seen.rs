//! Seen: an index by day of what archives have, so that a look-up costs the same however much they hold.
//!
//! In: dates of archives, looked through once each, and again when their parts are others. Out: how often something is
//! there. It lies in `_quell/seen.db` (SQLite) and may be thrown away: it is made again.
//! State: an entry of some 60 bytes per date and distinct entity, until the date is [`KEPT_D`] behind the latest.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};

use super::log::STATE_FOLDER;
use crate::archive::{Seen, SeenKey, Sightings, edition, sightings};

/// Days that are kept: as far back as a plan may look.
const KEPT_D: i32 = 367;

/// Which columns the index has.
const EDITION: i64 = 1;

const SCHEMA: &str = "
    pragma journal_mode = wal;
    pragma synchronous = off;
    create table if not exists date (
        id integer primary key, archive text not null, day integer not null, edition text not null,
        unique (archive, day)
    );
    create table if not exists seen (
        key blob not null, date integer not null, alerts integer not null, rejects integer not null,
        ignored integer not null, first integer not null, last integer not null, primary key (key, date)
    ) without rowid;
";

/// The index.
pub struct Index {
    db: Connection,
}

/// One date of one archive, in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Date(i64);

#[expect(clippy::needless_pass_by_value, reason = "errors are mapped by it")]
fn failed(error: rusqlite::Error) -> io::Error {
    io::Error::other(format!("the index of sightings (_quell/seen.db) fails: {error}; it may be deleted"))
}

impl Index {
    /// The index of a run's own archive.
    pub fn open(own: &Path) -> io::Result<Index> {
        let folder: PathBuf = own.join(STATE_FOLDER);
        std::fs::create_dir_all(&folder)?;
        let db = Connection::open(folder.join("seen.db")).map_err(failed)?;
        // One of other columns is made again.
        let edition: i64 = db.query_row("pragma user_version", [], |row| row.get(0)).map_err(failed)?;
        if edition < EDITION {
            db.execute_batch("drop table if exists seen; drop table if exists date;").map_err(failed)?;
            db.pragma_update(None, "user_version", EDITION).map_err(failed)?;
        }
        db.execute_batch(SCHEMA).map_err(failed)?;
        Ok(Index { db })
    }

    /// A date that is indexed as it is now; none where it is not.
    pub fn date(&self, archive: &Path, day: i32) -> io::Result<Option<Date>> {
        let said = "select id from date where archive = ?1 and day = ?2 and edition = ?3";
        let which = params![archive.to_string_lossy(), day, edition(archive, day)?];
        self.db.query_row(said, which, |row| row.get(0).map(Date)).optional().map_err(failed)
    }

    /// Looks a date through.
    pub fn add(&mut self, archive: &Path, day: i32) -> io::Result<Date> {
        // What comes while it is looked through makes another edition.
        let edition = edition(archive, day)?;
        let found = sightings(archive, day)?;
        self.put(&archive.to_string_lossy(), day, &edition, &found).map_err(failed)
    }

    fn put(&mut self, archive: &str, day: i32, edition: &str, found: &Sightings) -> rusqlite::Result<Date> {
        let work = self.db.transaction()?;
        let gone = "select id from date where (archive = ?1 and day = ?2) or day < ?3";
        work.execute(
            &format!("delete from seen where date in ({gone})"),
            params![archive, day, day - KEPT_D],
        )?;
        work.execute(&format!("delete from date where id in ({gone})"), params![archive, day, day - KEPT_D])?;
        work.execute(
            "insert into date (archive, day, edition) values (?1, ?2, ?3)",
            params![archive, day, edition],
        )?;
        let date = work.last_insert_rowid();
        {
            let mut row = work.prepare("insert into seen values (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
            let mut sorted: Vec<(&SeenKey, &Seen)> = found.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| **key);
            for (key, seen) in sorted {
                let (alerts, rejects) = (seen.alerts.cast_signed(), seen.rejects.cast_signed());
                let ignored = seen.ignored.cast_signed();
                row.execute(params![key, date, alerts, rejects, ignored, seen.first_seen, seen.last_seen])?;
            }
        }
        work.commit()?;
        Ok(Date(date))
    }

    /// How often each date has it.
    pub fn seen(&self, key: &SeenKey) -> io::Result<Vec<(Date, Seen)>> {
        let read = || -> rusqlite::Result<Vec<(Date, Seen)>> {
            let said = "select date, alerts, rejects, first, last, ignored from seen where key = ?1";
            let mut rows = self.db.prepare_cached(said)?;
            let row = |row: &rusqlite::Row<'_>| {
                let count = |at: usize| row.get(at).map(i64::cast_unsigned);
                let (alerts, rejects, ignored) = (count(1)?, count(2)?, count(5)?);
                let (first_seen, last_seen) = (row.get(3)?, row.get(4)?);
                Ok((Date(row.get(0)?), Seen { alerts, rejects, ignored, first_seen, last_seen }))
            };
            rows.query_map([key], row)?.collect()
        };
        read().map_err(failed)
    }
}
