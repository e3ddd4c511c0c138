//! Forget: what a log lets go of what was said and pushed, together with the epochs that are folded: nobody begins before them
//! any more, and the archive's `inputs` go on telling it.
//!
//! - Of pushed batches that those epochs took as a whole nothing remains but their `Idempotency-Key` and a digest, for a day: what
//!   is sent again under it within [`KEY_MS`] is known. That day is told by when batches came: no clock is read here.
//! - Of changes of context remains how the tables stand, a row for each of theirs; of sightings the same, in their order.
//! - Of words and receipts remains, of each partition of a topic, the last that was heard: it is read on behind it.
//! - Of what could not be understood in a topic of tables its place remains, as long as the log: such a topic is read from its
//!   beginning each time, and what was rejected once is not rejected again.
//!
//! What waits to be taken stays as it is. A batch is told by its number in the log, and by the lines and records of its source
//! before it; where they end that an epoch took is written when what is remembered at its end is kept. Without that (a run that
//! keeps nothing) no batch is forgotten. SQLite takes the pages that were left for what comes next: the file does not shrink, and
//! stops growing.
//!
//! State: `pushed`, a row for each kept epoch and source; `forgotten`, a row a key; `digest`, a row a pushed one; `standing`, a row for each row of context.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::fence::end;
use super::{Log, LogError, LoggedInput};
use crate::record::{Epoch, InputKind, Millis};

/// How long the key of a pushed batch is known that is forgotten: as long as a copy of an alert is a duplicate.
pub(super) const KEY_MS: Millis = 24 * 3_600_000;

/// Batches forgotten in one transaction, and bytes of them, of which one may be more: who pushes waits for no longer than these
/// take, some 10 ms.
const AT_ONCE: u32 = 64;
const BYTES: i64 = 4 << 20;

/// Transactions at a time, or one for so many batches that are left, where that is more: an archive is committed some fifty times
/// between two snapshots.
const MANY: i64 = 16;
const PART: i64 = 2_048;

pub(super) const SCHEMA: &str = "
    create table if not exists pushed (epoch integer, source text, after integer not null, lines integer not null,
        records integer not null, primary key (epoch, source));
    create table if not exists forgotten (key text primary key, kind text not null, time integer) without rowid;
    create index if not exists forgotten_when on forgotten (time);
    create table if not exists digest (key text primary key, digest text not null) without rowid;
    create table if not exists standing (id integer primary key, kind text not null, row text not null,
        diff integer not null, unique (kind, row));
";

/// Which pushed batches were taken as a whole at an epoch's end: those that came first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Through {
    /// The last one's number in the log.
    pub last: i64,
    /// Of each source, in order of names, the lines and the records of its batches among them.
    pub sources: BTreeMap<String, (u64, u64)>,
}

/// Rows of context, each with the sum of its changes.
const STAND: &str = "insert into standing (kind, row, diff)
    select said.kind, json_remove(change.value, '$.diff'), json_extract(change.value, '$.diff')
    from input said, json_each(iif(json_valid(said.body), said.body, '{}'), '$.rows') change
    where said.kind in ('context', 'sighting') and said.epoch <= ?1 order by said.epoch, said.id, change.key
    on conflict (kind, row) do update set diff = diff + excluded.diff";

/// Places in topics; of those that are heard on from the last one, all.
const PLACES: &str = "insert or ignore into forgotten select key, kind, null from input
    where kind in ('context', 'verdict', 'approval', 'receipt') and epoch <= ?1 and key is not null";

const SAID: &str = "delete from input where kind in ('context', 'sighting', 'verdict', 'approval', 'receipt') and epoch <= ?1";

/// Forgets what epochs through `last` took beside records.
pub(super) fn said(work: &Connection, last: i64) -> rusqlite::Result<()> {
    work.execute(STAND, [last])?;
    work.execute("delete from standing where diff = 0", [])?;
    if work.execute(PLACES, [last])? > 0 {
        let mut words =
            work.prepare("select key from forgotten where kind in ('verdict', 'approval', 'receipt')")?;
        let keys = words.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
        let mut greatest: BTreeMap<&str, i64> = BTreeMap::new();
        for (topic, offset) in keys.iter().filter_map(|key| place(key)) {
            greatest.entry(topic).and_modify(|last| *last = offset.max(*last)).or_insert(offset);
        }
        let passed = |key: &&String| place(key).is_some_and(|(topic, offset)| offset < greatest[topic]);
        for key in keys.iter().filter(passed) {
            work.execute("delete from forgotten where key = ?1", [key])?;
        }
    }
    work.execute(SAID, [last])?;
    let before = "delete from pushed where epoch < (select max(epoch) from pushed where epoch <= ?1)";
    work.execute(before, [last]).map(drop)
}

/// A partition of a topic and an offset in it, of `kafka/TOPIC/PARTITION/OFFSET`.
fn place(key: &str) -> Option<(&str, i64)> {
    let (topic, offset) = key.strip_prefix("kafka/")?.rsplit_once('/')?;
    Some((topic, offset.parse().ok()?))
}

/// Notes which pushed batches epochs through this one took, which the log has.
pub(super) fn put(work: &Connection, epoch: Epoch, through: &Through) -> rusqlite::Result<()> {
    let said = "insert or replace into pushed select ?1, ?2, ?3, ?4, ?5
        where exists (select 1 from epoch where epoch = ?1)";
    for (source, (lines, records)) in &through.sources {
        let [epoch, lines, records] = [epoch, *lines, *records].map(u64::cast_signed);
        work.execute(said, params![epoch, source, through.last, lines, records])?;
    }
    Ok(())
}

impl Log {
    /// Which pushed batches were taken as a whole at an epoch's end, as far as is known: maybe those of an earlier one.
    pub fn pushed(&self, epoch: Epoch) -> Result<Option<Through>, LogError> {
        let said = "select after, source, lines, records from pushed
            where epoch = (select max(epoch) from pushed where epoch <= ?1)";
        let read = || -> rusqlite::Result<Option<Through>> {
            let mut through = None;
            let mut rows = self.db.prepare(said)?;
            let mut rows = rows.query([epoch.min(i64::MAX.cast_unsigned()).cast_signed()])?;
            while let Some(row) = rows.next()? {
                let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
                let Through { last, sources } = through.get_or_insert_default();
                *last = row.get(0)?;
                sources.insert(row.get(1)?, (number(2)?, number(3)?));
            }
            Ok(through)
        };
        self.sql(read())
    }

    /// Forgets pushed batches that epochs took that are folded: many, where there are many, and not all at once.
    pub fn forget_pushed(&mut self) -> Result<(), LogError> {
        let Some(Through { last, .. }) = self.pushed(self.folded()?)? else { return Ok(()) };
        let first = "select id from input where kind = 'push' and id <= ?1 order by id limit 1";
        let first = self.sql(self.db.query_row(first, [last], |row| row.get::<_, i64>(0)).optional())?;
        let Some(first) = first else { return Ok(()) };
        for _ in 0..((last - first) / PART).max(MANY) {
            if self.forget_some(last)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Forgets some batches through that number; how many.
    fn forget_some(&mut self, last: i64) -> Result<usize, LogError> {
        let (path, own) = (self.path.clone(), self.generation);
        let mut write = || -> rusqlite::Result<usize> {
            let work = self.db.transaction()?;
            let mut some: Vec<i64> = Vec::new();
            {
                let said = "select id, octet_length(body) from input where kind = 'push' and id <= ?1 order by id limit ?2";
                let mut rows = work.prepare_cached(said)?;
                let mut rows = rows.query(params![last, AT_ONCE])?;
                let mut bytes = 0;
                while bytes < BYTES
                    && let Some(row) = rows.next()?
                {
                    some.push(row.get(0)?);
                    bytes += row.get::<_, i64>(1)?;
                }
            }
            let (Some(first), Some(last)) = (some.first(), some.last()) else { return Ok(0) };
            // One that an earlier version logged has no time: it counts as if it had come with the newest that has.
            let known = "insert or ignore into forgotten select key, 'push', coalesce(json_extract(body, '$.time'),
                (select max(time) from forgotten), 0) from input where kind = 'push' and id between ?1 and ?2 and key is not null";
            work.execute(known, [first, last])?;
            let known = "insert or ignore into digest select key, json_extract(body, '$.digest') from input
                where kind = 'push' and id between ?1 and ?2 and key is not null and json_extract(body, '$.digest') is not null";
            work.execute(known, [first, last])?;
            work.execute("delete from input where kind = 'push' and id between ?1 and ?2", [first, last])?;
            let old = "from forgotten where time < (select max(time) from forgotten) - ?1";
            work.execute(&format!("delete from digest where key in (select key {old})"), [KEY_MS])?;
            work.execute(&format!("delete {old}"), [KEY_MS])?;
            end(work, own)?;
            Ok(some.len())
        };
        write().map_err(|source| LogError::of(path, source))
    }

    /// How the tables of context stood after the epochs that are folded, as inputs that say so.
    pub(super) fn standing(&self) -> Result<Vec<LoggedInput>, LogError> {
        let epoch = Some(self.folded()?);
        let read = |kind: InputKind| -> rusqlite::Result<Option<LoggedInput>> {
            let said = "select json_set(row, '$.diff', diff) from standing where kind = ?1 order by id";
            let mut rows = self.db.prepare(said)?;
            let rows = rows
                .query_map([kind.name()], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()?;
            let body = format!(r#"{{"first":true,"rows":[{}]}}"#, rows.join(","));
            let input = LoggedInput { id: 0, kind: kind.name().to_owned(), body, key: None, epoch };
            Ok(Some(input).filter(|_| !rows.is_empty()))
        };
        let both = [InputKind::Context, InputKind::Sighting].map(read);
        let both = both.into_iter().collect::<rusqlite::Result<Vec<_>>>();
        Ok(self.sql(both)?.into_iter().flatten().collect())
    }
}
