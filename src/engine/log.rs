//! The log: what was taken in, epoch by epoch, and everything else that can change a result. An SQLite file beside the
//! archive's tables, so that a second process (`quell verdict`, `approve`, `deny`) may append while a run goes on.
//!
//! State: `_quell/log.db`: `meta` (what the run is), `epoch` and `part` (what each epoch took), `input` (verdicts, approvals,
//! pushed batches: durable before they are answered, given their epoch when taken), `commit` (how far the archive is published).
//! Where a run keeps what it remembers, what lies before is made small: [`fold`], [`forget`].

mod caution;
mod fold;
mod forget;
mod said;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use fence::{end, generation};
use said::{put_heard, put_input};

pub use forget::Through;

use crate::act::{look, make};
use crate::record::{Epoch, Tick};

/// The folder beside the tables; hive readers pass over names that begin with an underscore.
pub const STATE_FOLDER: &str = "_quell";

/// The key of the plans by which a run went on.
const PLANS: &str = "plans";

/// What can go wrong with the log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// SQLite says no.
    #[error(
        "the log {path} cannot be used: {source}; check the disk's space and rights, and whether the file is whole"
    )]
    Sql {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// Its thread cannot be started.
    #[error("a thread cannot be started: {0}; check the limits on processes and memory")]
    Thread(#[source] std::io::Error),
    /// It has a new writer.
    #[error("another process has taken the log over; this one writes nothing more")]
    Fenced,
    /// Its thread has ended, and said why.
    #[error("the thread that writes the log has ended; restart quell, and it goes on from there")]
    Gone,
    /// The folder cannot be made.
    #[error("the folder {path} cannot be made: {source}; check its parent's rights and space")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// An open log.
pub struct Log {
    path: PathBuf,
    db: Connection,
    /// How often it had been claimed when it was opened: see [`fence`].
    generation: i64,
}

/// What one epoch took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedEpoch {
    /// The epoch.
    pub epoch: Epoch,
    /// The tick below which all was settled at its end.
    pub settled: Tick,
    /// Whether the input ended with it.
    pub last: bool,
    /// Records taken per partition, in the order of sources and partitions.
    pub parts: Vec<LoggedPart>,
}

/// What one epoch took of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedPart {
    /// The source's name.
    pub source: String,
    /// The partition within it.
    pub partition: u32,
    /// Records taken.
    pub records: u64,
    /// Position of the first; between it and `next` there may be more numbers than records.
    pub first: u64,
    /// Where the partition goes on.
    pub next: u64,
}

impl LoggedPart {
    /// So many records, of which nobody has come to know where they lie.
    #[must_use]
    pub fn unread(source: String, partition: u32, records: u64) -> LoggedPart {
        LoggedPart { source, partition, records, first: 0, next: 0 }
    }

    /// Whether nobody has come to know where its records lie.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.next == 0
    }
}

/// Where a partition of a topic is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The source's name.
    pub source: String,
    /// The partition within it.
    pub partition: u32,
    /// The offset that it is read from on.
    pub start: u64,
    /// The offset where it goes on after what epochs took.
    pub next: u64,
    /// The epoch after which it is there.
    pub since: Epoch,
}

/// An input beside the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedInput {
    /// Its place in the log.
    pub id: i64,
    /// Its kind, as [`crate::record::InputKind::name`] says it.
    pub kind: String,
    /// JSON.
    pub body: String,
    /// What it was told apart by, where its sender said so.
    pub key: Option<String>,
    /// The epoch that took it, once one has.
    pub epoch: Option<Epoch>,
}

/// What is written at once.
#[derive(Clone, Debug)]
pub enum Entry {
    /// An input; with a key, the same key again changes nothing.
    Input {
        /// See [`LoggedInput`].
        kind: &'static str,
        /// JSON.
        body: String,
        /// What it is told apart by.
        key: Option<String>,
    },
    /// Epochs, and what the last of them takes beside records.
    Epochs(Vec<LoggedEpoch>, Heard),
    /// Which pushed batches epochs through this one took; nothing is said of an epoch that the log does not have.
    Pushed(Epoch, Through),
}

/// What an epoch takes beside records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The epoch.
    pub epoch: Epoch,
    /// Inputs that are new to the log: kind and body.
    pub said: Vec<(&'static str, String)>,
    /// Inputs that waited in it.
    pub taken: Vec<i64>,
}

const SCHEMA: &str = "
    begin immediate;
    create table if not exists meta (key text primary key, value text not null);
    create table if not exists epoch (epoch integer primary key, settled integer not null, last integer not null);
    create table if not exists part (epoch integer, source text, partition integer, records integer, first integer,
        next integer, primary key (epoch, source, partition));
    create table if not exists assigned (source text, partition integer, start integer, next integer, since integer,
        primary key (source, partition));
    create table if not exists quarantined (epoch integer primary key);
    create table if not exists input (id integer primary key autoincrement, kind text not null, body text not null,
        key text unique, epoch integer);
    create table if not exists committed (one integer primary key check (one = 1), epoch integer not null, tick integer not null);
";

/// All tables at once: each by itself would wait for the disk.
fn tables() -> String {
    [SCHEMA, fold::SCHEMA, forget::SCHEMA, "commit;"].concat()
}

fn set(db: &Connection, (key, value): (&str, &str)) -> rusqlite::Result<usize> {
    let said = "insert into meta values (?1, ?2) on conflict (key) do update set value = ?2";
    db.execute(said, [key, value])
}

/// Pages of what was written and could not be moved to its place yet, beyond which writers wait for it: 64 MB.
const PAGES_MAX: i64 = 16_384;

/// Waits for who else writes, some 30 s in all. What is written is short: SQLite's own pauses would soon be longer than that.
fn wait(times: i32) -> bool {
    std::thread::sleep(std::time::Duration::from_micros(if times < 250 { 200 } else { 5_000 }));
    times < 6_000
}

impl Log {
    /// Where an archive's log lies.
    #[must_use]
    pub fn path_of(archive: &Path) -> PathBuf {
        archive.join(STATE_FOLDER).join("log.db")
    }

    /// Makes an archive's log where there is none, that says this of the run from its first moment on.
    pub fn begin(archive: &Path, metas: &[(&str, &str)]) -> Result<(), LogError> {
        let path = Self::path_of(archive);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|source| LogError::Folder { path: folder.to_owned(), source })?;
        }
        // What fails here fails again when it is opened, which says why.
        let _ = make(&path, |db| {
            db.execute_batch(&tables())?;
            metas.iter().try_for_each(|meta| set(db, *meta).map(drop))
        });
        Ok(())
    }

    /// Opens an archive's log; makes it where there is none.
    pub fn open(archive: &Path) -> Result<Log, LogError> {
        Self::begin(archive, &[])?;
        let path = Self::path_of(archive);
        let sql = |source| LogError::Sql { path: path.clone(), source };
        let mut db = Connection::open(&path).map_err(sql)?;
        db.busy_handler(Some(wait)).map_err(sql)?;
        // One that reads before it writes would not be waited for.
        db.set_transaction_behavior(TransactionBehavior::Immediate);
        let how = "pragma journal_mode = wal; pragma synchronous = full;";
        db.execute_batch(&[how, &tables()].concat()).map_err(sql)?;
        let generation = generation(&db).map_err(sql)?;
        Ok(Log { path, db, generation })
    }

    /// The log of an archive as it is, to read: nothing is changed, and nothing left behind. One that an older version began and this
    /// one has not opened yet may lack tables, and is opened to be written.
    pub fn look(archive: &Path) -> Result<Log, LogError> {
        let path = Self::path_of(archive);
        let sql = |source| LogError::Sql { path: path.clone(), source };
        let db = look(&path).map_err(sql)?;
        let tables = "select count(*) from sqlite_master where name in ('meta', 'epoch', 'part', 'assigned', 'quarantined', 'input',
            'committed', 'folded', 'passed', 'pushed', 'forgotten', 'standing')";
        if db.query_row(tables, [], |row| row.get::<_, i64>(0)).map_err(sql)? < 12 {
            drop(db);
            return Log::open(archive);
        }
        let generation = generation(&db).map_err(sql)?;
        Ok(Log { path, db, generation })
    }

    /// [`Log::open`], for who must not wait for what was written to be moved to its place: [`Log::tidy`] does that.
    pub fn open_to_write(archive: &Path) -> Result<Log, LogError> {
        let log = Log::open(archive)?;
        let set = log.db.pragma_update(None, "wal_autocheckpoint", 0);
        log.sql(set)?;
        Ok(log)
    }

    /// The folder that it lies in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    fn sql<T>(&self, result: rusqlite::Result<T>) -> Result<T, LogError> {
        result.map_err(|source| LogError::Sql { path: self.path.clone(), source })
    }

    /// What the run is, by key.
    pub fn meta(&self, key: &str) -> Result<Option<String>, LogError> {
        self.sql(
            self.db.query_row("select value from meta where key = ?1", [key], |row| row.get(0)).optional(),
        )
    }

    /// Says what the run is.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<(), LogError> {
        self.set_metas(&[(key, value)])
    }

    /// Says this of the run, all of it or nothing.
    pub fn set_metas(&self, metas: &[(&str, &str)]) -> Result<(), LogError> {
        let write = || -> rusqlite::Result<()> {
            let work = self.db.unchecked_transaction()?;
            metas.iter().try_for_each(|meta| set(&work, *meta).map(drop))?;
            work.commit()
        };
        self.sql(write())
    }

    /// Plans by which the run went on, each with the epoch after which it did; none where it goes by the one it was begun with.
    pub fn plans(&self) -> Result<Vec<(Epoch, String)>, LogError> {
        let said = self.meta(PLANS)?;
        Ok(said.and_then(|said| serde_json::from_str(&said).ok()).unwrap_or_default())
    }

    /// Says that the run goes by another plan after an epoch, which is the last so far.
    pub fn goes_by(&self, plan: &str, after: Epoch) -> Result<(), LogError> {
        let mut plans = self.plans()?;
        plans.retain(|(epoch, _)| *epoch < after);
        plans.push((after, plan.to_owned()));
        self.set_meta(PLANS, &serde_json::json!(plans).to_string())
    }

    /// Takes back what was said of the run.
    pub fn unset_meta(&self, key: &str) -> Result<(), LogError> {
        self.sql(self.db.execute("delete from meta where key = ?1", [key])).map(drop)
    }

    /// How far the archive is published.
    pub fn committed(&self) -> Result<Option<(Epoch, Tick)>, LogError> {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?));
        self.sql(self.db.query_row("select epoch, tick from committed", [], row).optional())
    }

    /// Makes epochs durable; with `commit`, says that the archive is sealed through its epoch at its tick.
    pub fn record(&mut self, epochs: &[LoggedEpoch], commit: Option<(Epoch, Tick)>) -> Result<(), LogError> {
        self.record_with(epochs, commit, &Heard::default())
    }

    /// The same, at once with what else an epoch took: all of it is durable, or nothing.
    pub fn record_with(
        &mut self,
        epochs: &[LoggedEpoch],
        commit: Option<(Epoch, Tick)>,
        heard: &Heard,
    ) -> Result<(), LogError> {
        let (path, own) = (self.path.clone(), self.generation);
        let mut write = || -> rusqlite::Result<()> {
            let work = self.db.transaction()?;
            put_epochs(&work, epochs)?;
            put_heard(&work, heard)?;
            if let Some((epoch, tick)) = commit {
                let said = "insert into committed values (1, ?1, ?2)
                    on conflict (one) do update set epoch = ?1, tick = ?2";
                work.execute(said, params![epoch.cast_signed(), tick])?;
            }
            end(work, own)
        };
        write().map_err(|source| LogError::of(path, source))
    }

    /// Writes entries, durably: all of them, or nothing. Whether each is new.
    pub fn write(&mut self, entries: &[Entry]) -> Result<Vec<bool>, LogError> {
        let (path, own) = (self.path.clone(), self.generation);
        let mut write = || -> rusqlite::Result<Vec<bool>> {
            let work = self.db.transaction()?;
            let put = |entry: &Entry| match entry {
                Entry::Input { kind, body, key } => put_input(&work, kind, body, key.as_deref()),
                Entry::Epochs(epochs, heard) => {
                    put_epochs(&work, epochs)?;
                    put_heard(&work, heard)?;
                    Ok(true)
                }
                Entry::Pushed(epoch, through) => forget::put(&work, *epoch, through).map(|()| true),
            };
            let new = entries.iter().map(put).collect::<rusqlite::Result<_>>()?;
            end(work, own)?;
            Ok(new)
        };
        write().map_err(|source| LogError::of(path, source))
    }

    /// Moves what was written to its place, while others go on writing; where that left much behind, they wait a moment.
    pub fn tidy(&self) -> Result<(), LogError> {
        let checkpoint = |how: &str| {
            self.db.query_row(&format!("pragma wal_checkpoint({how})"), [], |row| row.get::<_, i64>(1))
        };
        let pages = self.sql(checkpoint("passive"))?;
        if pages > PAGES_MAX {
            self.sql(checkpoint("restart"))?;
        }
        Ok(())
    }

    /// Says, durably, where partitions of topics are read from on, before they are: all of it, or nothing.
    pub fn assign_partitions(&mut self, places: &[Assigned]) -> Result<(), LogError> {
        let (path, own) = (self.path.clone(), self.generation);
        let mut write = || -> rusqlite::Result<()> {
            let work = self.db.transaction()?;
            for Assigned { source, partition, start, next, since } in places {
                let said = "insert or replace into assigned values (?1, ?2, ?3, ?4, ?5)";
                let [start, next, since] = [start, next, since].map(|number| number.cast_signed());
                work.execute(said, params![source, partition, start, next, since])?;
            }
            end(work, own)
        };
        write().map_err(|source| LogError::of(path, source))
    }

    /// Where partitions of topics are read, in the order of sources and partitions.
    pub fn assigned(&self) -> Result<Vec<Assigned>, LogError> {
        let read = || -> rusqlite::Result<Vec<Assigned>> {
            let said =
                "select source, partition, start, next, since from assigned order by source, partition";
            let place = |row: &rusqlite::Row<'_>| {
                let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
                let (source, partition) = (row.get(0)?, row.get(1)?);
                Ok(Assigned { source, partition, start: number(2)?, next: number(3)?, since: number(4)? })
            };
            self.db.prepare(said)?.query_map([], place)?.collect()
        };
        self.sql(read())
    }

    /// Where a partition goes on after what epochs through this one took; none where they took nothing of it.
    pub fn passed(&self, source: &str, partition: u32, through: Epoch) -> Result<Option<u64>, LogError> {
        let said = "select max(next) from (select next from part where source = ?1 and partition = ?2 and epoch <= ?3
            union all select next from passed where source = ?1 and partition = ?2)";
        let of = params![source, partition, through.cast_signed()];
        let next = self.db.query_row(said, of, |row| row.get::<_, Option<i64>>(0));
        Ok(self.sql(next)?.map(i64::cast_unsigned))
    }

    /// Epochs after `epoch`, each with its settled tick: in the log, and not published yet.
    pub fn beyond(&self, epoch: Epoch) -> Result<Vec<(Epoch, Tick)>, LogError> {
        let read = || -> rusqlite::Result<Vec<(Epoch, Tick)>> {
            let said = "select epoch, settled from epoch where epoch > ?1 order by epoch";
            let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?));
            self.db.prepare(said)?.query_map([epoch.cast_signed()], row)?.collect()
        };
        self.sql(read())
    }

    /// The tick below which all was settled at an epoch's end; none where the log has no such epoch.
    pub fn settled(&self, epoch: Epoch) -> Result<Option<Tick>, LogError> {
        let table =
            if epoch <= self.folded()? { "folded where epoch <= ?1" } else { "epoch where epoch = ?1" };
        let said = format!("select settled from {table} order by epoch desc limit 1");
        self.sql(self.db.query_row(&said, [epoch.cast_signed()], |row| row.get(0)).optional())
    }
}

const PARTS_OF: &str =
    "select source, partition, records, first, next from part where epoch = ?1 order by source, partition";

fn logged_part(row: &rusqlite::Row<'_>) -> rusqlite::Result<LoggedPart> {
    let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
    let (records, first, next) = (number(2)?, number(3)?, number(4)?);
    Ok(LoggedPart { source: row.get(0)?, partition: row.get(1)?, records, first, next })
}

fn put_epochs(work: &Connection, epochs: &[LoggedEpoch]) -> rusqlite::Result<()> {
    let mut epoch_row = work.prepare_cached("insert or replace into epoch values (?1, ?2, ?3)")?;
    let mut part_row = work.prepare_cached("insert or replace into part values (?1, ?2, ?3, ?4, ?5, ?6)")?;
    let said = "update assigned set next = ?3 where source = ?1 and partition = ?2";
    let mut place_row = work.prepare_cached(said)?;
    // Who feeds the run notes epochs in its own time: some may be written, shown and folded before.
    let folded = fold::through(work)?;
    for epoch in epochs.iter().filter(|epoch| epoch.epoch > folded) {
        let number = epoch.epoch.cast_signed();
        epoch_row.execute(params![number, epoch.settled, epoch.last])?;
        for part in &epoch.parts {
            let (records, first, next) =
                (part.records.cast_signed(), part.first.cast_signed(), part.next.cast_signed());
            part_row.execute(params![number, part.source, part.partition, records, first, next])?;
            place_row.execute(params![part.source, part.partition, next])?;
        }
    }
    Ok(())
}

mod fence;

#[cfg(test)]
mod tests;
