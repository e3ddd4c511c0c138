//! Said: what a log has beside records, as it is written and read: words, receipts, changes of context, moves of clocks, and pushed
//! batches.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Heard, Log, LogError, LoggedInput};
use crate::record::{Epoch, InputKind};

impl Log {
    /// Appends an input, durably. With a key, the same key again changes nothing; tells whether it is new.
    pub fn append(&self, kind: &str, body: &str, key: Option<&str>) -> Result<bool, LogError> {
        self.sql(put_input(&self.db, kind, body, key))
    }

    /// The digest of what was pushed under a key, where it is known.
    pub fn digest(&self, key: &str) -> Result<Option<String>, LogError> {
        let said = "select json_extract(body, '$.digest') from input where key = ?1
            union all select digest from digest where key = ?1";
        let digest = self.db.query_row(said, [key], |row| row.get::<_, Option<String>>(0)).optional();
        self.sql(digest).map(Option::flatten)
    }

    /// Inputs after `after`, in order.
    pub fn inputs(&self, after: i64) -> Result<Vec<LoggedInput>, LogError> {
        self.inputs_where("id > ?1 order by id", params![after])
    }

    /// What was said of a kind, as far as it is not forgotten, in order.
    pub fn words(&self, kind: InputKind) -> Result<Vec<LoggedInput>, LogError> {
        self.inputs_where("kind = ?1 order by id", params![kind.name()])
    }

    /// What was said after `after` by people, by executors, in tables that cannot be understood, and of what was withdrawn, and no
    /// epoch has taken, in order.
    pub fn waiting(&self, after: i64) -> Result<Vec<LoggedInput>, LogError> {
        self.inputs_where(
            "id > ?1 and kind in ('verdict', 'approval', 'receipt', 'context', 'withdrawal') and epoch is null order by id",
            params![after],
        )
    }

    /// The last offset of each partition of a topic of words that the log has.
    pub fn offsets(&self, topic: &str) -> Result<BTreeMap<i32, i64>, LogError> {
        // A key is `kafka/TOPIC/PARTITION/OFFSET`, and `0` comes next after `/`.
        let said = "select key from input where key >= ?1 || '/' and key < ?1 || '0'
            union all select key from forgotten where key >= ?1 || '/' and key < ?1 || '0'";
        let prefix = format!("kafka/{topic}");
        let read = || -> rusqlite::Result<Vec<String>> {
            self.db.prepare(said)?.query_map([&prefix], |row| row.get(0))?.collect()
        };
        let mut offsets = BTreeMap::new();
        for key in self.sql(read())? {
            let place = key[prefix.len() + 1..].split_once('/').map(|(p, o)| (p.parse(), o.parse::<i64>()));
            if let Some((Ok(partition), Ok(offset))) = place {
                offsets.entry(partition).and_modify(|last| *last = offset.max(*last)).or_insert(offset);
            }
        }
        Ok(offsets)
    }

    /// What epochs took beside records, by epoch; of those that are folded, how the tables of context stood after them.
    pub fn taken(&self) -> Result<Vec<LoggedInput>, LogError> {
        self.taken_between(1, Epoch::MAX)
    }

    /// The same of these epochs, both included.
    pub fn taken_between(&self, from: Epoch, to: Epoch) -> Result<Vec<LoggedInput>, LogError> {
        let mut taken = if from <= self.folded()? { self.standing()? } else { Vec::new() };
        let [from, to] = [from, to.min(i64::MAX.cast_unsigned())].map(Epoch::cast_signed);
        // Pushed batches have no epoch, and the column lies behind all of their text.
        let which = "kind <> 'push' and epoch between ?1 and ?2 order by epoch, id";
        taken.extend(self.inputs_where(which, params![from, to])?);
        Ok(taken)
    }

    /// Models that were put to use on the way, each with the epoch after which it judged, in order.
    pub fn promotions(&self) -> Result<Vec<(Epoch, String)>, LogError> {
        let said = "select epoch, coalesce(json_extract(body, '$.model'), '') from input
            where kind = 'promotion' and epoch is not null and json_extract(body, '$.model') is not null order by epoch, id";
        let read = || -> rusqlite::Result<Vec<(Epoch, String)>> {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?));
            self.db.prepare(said)?.query_map([], row)?.collect()
        };
        self.sql(read())
    }

    /// Whether an epoch after that one took that a plan is gone by.
    pub fn tells_of_plan(&self, plan: &str, after: Epoch) -> Result<bool, LogError> {
        let said = "select exists (select 1 from input where kind = 'promotion' and epoch > ?1 and json_extract(body, '$.plan') = ?2)";
        self.sql(self.db.query_row(said, params![after.cast_signed(), plan], |row| row.get(0)))
    }

    /// Pushed batches after `after`, `most` at most, in order.
    pub fn pushes(&self, after: i64, most: u32) -> Result<Vec<LoggedInput>, LogError> {
        self.inputs_where("kind = 'push' and id > ?1 order by id limit ?2", params![after, most])
    }

    /// Bytes of pushed batches after `after`.
    pub fn pushed_bytes(&self, after: i64) -> Result<u64, LogError> {
        let said = "select coalesce(sum(length(body)), 0) from input where kind = 'push' and id > ?1";
        self.sql(self.db.query_row(said, [after], |row| row.get::<_, i64>(0))).map(i64::cast_unsigned)
    }

    fn inputs_where(&self, which: &str, with: &[&dyn rusqlite::ToSql]) -> Result<Vec<LoggedInput>, LogError> {
        let read = || -> rusqlite::Result<Vec<LoggedInput>> {
            let mut rows = self
                .db
                .prepare_cached(&format!("select id, kind, body, epoch, key from input where {which}"))?;
            let input = |row: &rusqlite::Row<'_>| {
                let epoch: Option<i64> = row.get(3)?;
                let epoch = epoch.map(i64::cast_unsigned);
                let (id, kind, body) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(LoggedInput { id, kind, body, key: row.get(4)?, epoch })
            };
            rows.query_map(with, input)?.collect()
        };
        self.sql(read())
    }

    /// Gives inputs their epoch.
    pub fn assign(&self, ids: &[i64], epoch: Epoch) -> Result<(), LogError> {
        for id in ids {
            let said = "update input set epoch = ?2 where id = ?1 and epoch is null";
            self.sql(self.db.execute(said, params![id, epoch.cast_signed()]))?;
        }
        Ok(())
    }
}

pub(super) fn put_heard(work: &Connection, heard: &Heard) -> rusqlite::Result<()> {
    let at = heard.epoch.cast_signed();
    for (kind, body) in &heard.said {
        let said = "insert into input (kind, body, epoch) values (?1, ?2, ?3)";
        work.execute(said, params![kind, body, at])?;
    }
    for id in &heard.taken {
        let said = "update input set epoch = ?2 where id = ?1 and epoch is null";
        work.execute(said, params![id, at])?;
    }
    Ok(())
}

pub(super) fn put_input(
    work: &Connection,
    kind: &str,
    body: &str,
    key: Option<&str>,
) -> rusqlite::Result<bool> {
    let said = "insert into input (kind, body, key) select ?1, ?2, ?3
        where not exists (select 1 from forgotten where key = ?3) on conflict (key) do nothing";
    work.prepare_cached(said)?.execute(params![kind, body, key]).map(|rows| rows == 1)
}
