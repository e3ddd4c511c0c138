//! Fold: a log's past, made small. What lies before the oldest snapshot that a run may begin with is not computed again, so of
//! its epochs remain: where what is settled changed (a row a second of event time at most, however many epochs), and how much
//! of each partition was taken. A replay of the archive needs no more: what each epoch took is in the archive's own tables.
//! Of moves of idle clocks nothing remains: what came of them is in the snapshot, and they are in the archive, too. What remains of
//! all else that was said and pushed is told in [`super::forget`].
//!
//! State: `folded`, a row for each run of epochs that are alike; `passed`, a row a partition; in `meta`, through which epoch.

use rusqlite::{Connection, OptionalExtension, params};

use super::fence::end;
use super::{Log, LogError, LoggedEpoch, LoggedPart, PARTS_OF, forget, logged_part};
use crate::record::{Epoch, Tick};

/// The key of the last epoch that is folded.
const FOLDED: &str = "folded";

pub(super) const SCHEMA: &str = "
    create table if not exists folded (epoch integer primary key, settled integer not null, last integer not null);
    create table if not exists passed (source text, partition integer, records integer not null, next integer not null,
        primary key (source, partition));
";

/// Adds what epochs through `?1` took to what was passed.
const PASS: &str =
    "insert into passed select source, partition, sum(records), max(next) from part where epoch <= ?1
    group by source, partition
    on conflict do update set records = records + excluded.records, next = max(next, excluded.next)";

/// What idle clocks did; the last ingest time stays, since it holds until the next.
const TICKS: &str =
    "delete from input where kind = 'tick' and epoch <= ?1 and id not in (select coalesce(max(id), 0)
    from input where kind = 'tick' and epoch <= ?1 and json_extract(body, '$.source') is null)";

/// An epoch as it ends: what was settled then, and whether the input ended.
type End = (i64, Tick, bool);

/// The epoch through which a log is folded; 0 where it is not.
pub(super) fn through(db: &Connection) -> rusqlite::Result<Epoch> {
    let said = "select cast(value as integer) from meta where key = ?1";
    let through: Option<i64> = db.prepare_cached(said)?.query_row([FOLDED], |row| row.get(0)).optional()?;
    Ok(through.unwrap_or(0).cast_unsigned())
}

impl Log {
    /// The epoch through which it is folded; 0 where it is not.
    pub fn folded(&self) -> Result<Epoch, LogError> {
        self.sql(through(&self.db))
    }

    /// Folds epochs through `through`, `most` of them at most, all at once or not at all; whether there are more.
    pub fn fold(&mut self, through: Epoch, most: u64) -> Result<bool, LogError> {
        let from = self.folded()? + 1;
        let last = through.min(from.saturating_add(most) - 1);
        if last < from {
            return Ok(false);
        }
        let (path, own) = (self.path.clone(), self.generation);
        let mut write = || -> rusqlite::Result<bool> {
            let work = self.db.transaction()?;
            let ends = ends_of(&work, from, last)?;
            // Runs of epochs are told by their first: none may be missing between.
            if ends.len() as u64 != last - from + 1 {
                return Ok(false);
            }
            let mut before = work
                .prepare("select epoch, settled, last from folded order by epoch desc limit 1")?
                .query_map([], read)?
                .next()
                .transpose()?;
            let mut put = work.prepare("insert into folded values (?1, ?2, ?3)")?;
            for (epoch, settled, ended) in ends {
                if before.is_none_or(|(_, tick, before)| (tick, before) != (settled, ended)) {
                    put.execute(params![epoch, settled, ended])?;
                }
                before = Some((epoch, settled, ended));
            }
            drop(put);
            let last = last.cast_signed();
            work.execute(PASS, [last])?;
            work.execute("delete from part where epoch <= ?1", [last])?;
            work.execute("delete from epoch where epoch <= ?1", [last])?;
            work.execute(TICKS, [last])?;
            forget::said(&work, last)?;
            let said = "insert into meta values (?1, ?2) on conflict (key) do update set value = ?2";
            work.execute(said, params![FOLDED, last.to_string()])?;
            end(work, own)?;
            Ok(true)
        };
        let written = write().map_err(|source| LogError::of(path, source))?;
        Ok(written && last < through)
    }

    /// All epochs that were recorded, in order; those that are folded without what they took.
    pub fn epochs(&self) -> Result<Vec<LoggedEpoch>, LogError> {
        let mut epochs: Vec<LoggedEpoch> = self.unfolded(|_| true)?.collect();
        epochs.extend(self.epochs_after(self.folded()?)?);
        Ok(epochs)
    }

    /// Epochs that are folded, of the runs that are wanted.
    fn unfolded(&self, wanted: fn(&End) -> bool) -> Result<impl Iterator<Item = LoggedEpoch>, LogError> {
        let through = self.folded()?.cast_signed();
        let runs = self.sql(ends_where(&self.db, "folded where epoch > ?1", 0))?;
        let next: Vec<i64> = runs.iter().skip(1).map(|(next, ..)| next - 1).chain([through]).collect();
        let wanted = runs.into_iter().zip(next).filter(move |(run, _)| wanted(run));
        Ok(wanted.flat_map(|((first, settled, last), end)| {
            let alike = move |epoch: i64| LoggedEpoch {
                epoch: epoch.cast_unsigned(),
                settled,
                last,
                parts: Vec::new(),
            };
            (first..=end).map(alike)
        }))
    }

    /// The epochs after that one, in order, with what they took; it must not be before what is folded.
    pub fn epochs_after(&self, epoch: Epoch) -> Result<Vec<LoggedEpoch>, LogError> {
        let read = || -> rusqlite::Result<Vec<LoggedEpoch>> {
            let mut parts = self.db.prepare(PARTS_OF)?;
            let ends = ends_where(&self.db, "epoch where epoch > ?1", epoch.cast_signed())?;
            ends.into_iter()
                .map(|(epoch, settled, last)| {
                    let parts = parts.query_map([epoch], logged_part)?.collect::<rusqlite::Result<_>>()?;
                    Ok(LoggedEpoch { epoch: epoch.cast_unsigned(), settled, last, parts })
                })
                .collect()
        };
        self.sql(read())
    }

    /// What epochs through that one took of each partition, all together; it must not be before what is folded.
    pub fn parts_through(&self, epoch: Epoch) -> Result<Vec<LoggedPart>, LogError> {
        let said = "select source, partition, sum(records), 0, max(next) from
            (select source, partition, records, next from passed
             union all select source, partition, records, next from part where epoch <= ?1)
            group by source, partition order by source, partition";
        let through = epoch.min(i64::MAX.cast_unsigned()).cast_signed();
        let read = || self.db.prepare(said)?.query_map([through], logged_part)?.collect();
        self.sql(read())
    }

    /// The last epoch; 0 where there is none.
    pub fn last_epoch(&self) -> Result<Epoch, LogError> {
        let said = "select max(epoch) from epoch";
        let last = self.sql(self.db.query_row(said, [], |row| row.get::<_, Option<i64>>(0)))?;
        last.map_or_else(|| self.folded(), |last| Ok(last.cast_unsigned()))
    }

    /// The published epochs at which the input ended, each with its settled tick: a run's end, and each word said after it.
    pub fn ends(&self) -> Result<Vec<(Epoch, Tick)>, LogError> {
        let through = self.committed()?.map_or(0, |(epoch, _)| epoch);
        let later = self.sql(ends_where(&self.db, "epoch where last and epoch > ?1", 0))?;
        let folded = self.unfolded(|(_, _, last)| *last)?.map(|epoch| (epoch.epoch, epoch.settled));
        let all = folded.chain(later.into_iter().map(|(epoch, settled, _)| (epoch.cast_unsigned(), settled)));
        Ok(all.filter(|(epoch, _)| *epoch <= through).collect())
    }
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<End> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn ends_of(db: &Connection, from: Epoch, to: Epoch) -> rusqlite::Result<Vec<End>> {
    let said = "select epoch, settled, last from epoch where epoch between ?1 and ?2 order by epoch";
    db.prepare(said)?.query_map([from.cast_signed(), to.cast_signed()], read)?.collect()
}

fn ends_where(db: &Connection, which: &str, than: i64) -> rusqlite::Result<Vec<End>> {
    db.prepare(&format!("select epoch, settled, last from {which} order by epoch"))?
        .query_map([than], read)?
        .collect()
}
