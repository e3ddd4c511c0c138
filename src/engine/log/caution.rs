//! What the log lets go, what it keeps out, and what it knows of processes that ended: see [`crate::engine::caution`]. Its writer's
//! word alone: a process that was thought dead changes none of it.

use std::collections::BTreeSet;

use rusqlite::{Transaction, params};

use super::fence::end;
use super::{Log, LogError, LoggedEpoch};
use crate::record::Epoch;

impl Log {
    /// The first epoch after `epoch`, which must not be before what is folded.
    pub fn first_beyond(&self, epoch: Epoch) -> Result<Option<LoggedEpoch>, LogError> {
        Ok(self.epochs_after(epoch)?.into_iter().next())
    }

    /// Lets all epochs after `epoch` go, durably: what they took is taken anew, words again from where they wait.
    pub fn let_go(&mut self, epoch: Epoch) -> Result<(), LogError> {
        self.write_own(|work| {
            let after = params![epoch.cast_signed()];
            work.execute("delete from epoch where epoch > ?1", after)?;
            work.execute("delete from part where epoch > ?1", after)?;
            work.execute("delete from quarantined where epoch > ?1", after)?;
            work.execute("delete from pushed where epoch > ?1", after)?;
            // What the run said itself it says again; what it was told has waited, and has a key or a sender who does not.
            let own = "delete from input where epoch > ?1 and kind in ('tick', 'context', 'sighting') and key is null";
            work.execute(own, after)?;
            work.execute("update input set epoch = null where epoch > ?1", after)?;
            work.execute(
                "update assigned set since = min(since, ?1), next = coalesce((select max(part.next) from part
                    where part.source = assigned.source and part.partition = assigned.partition), (select passed.next from passed
                    where passed.source = assigned.source and passed.partition = assigned.partition), start)",
                after,
            )
        })
    }

    /// Says, durably, that what an epoch takes is kept out.
    pub fn quarantine(&mut self, epoch: Epoch) -> Result<(), LogError> {
        let said = "insert or ignore into quarantined values (?1)";
        self.write_own(|work| work.execute(said, [epoch.cast_signed()]))
    }

    /// Says, durably, that an epoch takes a record that nobody could read, and that it is kept out: where it lies is told when it is
    /// taken.
    pub fn keep_out(&mut self, unread: &LoggedEpoch) -> Result<(), LogError> {
        let epoch = unread.epoch.cast_signed();
        self.write_own(|work| {
            work.execute("insert or replace into epoch values (?1, ?2, 0)", params![epoch, unread.settled])?;
            for part in &unread.parts {
                let said = "insert or replace into part values (?1, ?2, ?3, ?4, 0, 0)";
                work.execute(said, params![epoch, part.source, part.partition, part.records.cast_signed()])?;
            }
            work.execute("insert or ignore into quarantined values (?1)", [epoch])
        })
    }

    /// Has what is known of processes that ended, durably; or nothing.
    pub fn know(&self, key: &str, known: Option<&str>) -> Result<(), LogError> {
        self.write_own(|work| match known {
            Some(known) => work.execute("insert or replace into meta values (?1, ?2)", [key, known]),
            None => work.execute("delete from meta where key = ?1", [key]),
        })
    }

    /// What the log's writer alone writes, durably.
    fn write_own(
        &self,
        write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<usize>,
    ) -> Result<(), LogError> {
        let written = || -> rusqlite::Result<()> {
            let work = self.db.unchecked_transaction()?;
            write(&work)?;
            end(work, self.generation)
        };
        written().map_err(|source| LogError::of(self.path.clone(), source))
    }

    /// Epochs whose records are kept out.
    pub fn quarantined(&self) -> Result<BTreeSet<Epoch>, LogError> {
        let read = || -> rusqlite::Result<BTreeSet<Epoch>> {
            let mut epochs = self.db.prepare("select epoch from quarantined")?;
            let rows = epochs.query_map([], |row| row.get::<_, i64>(0).map(i64::cast_unsigned))?;
            rows.collect()
        };
        self.sql(read())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Assigned, Heard, LoggedPart};
    use super::*;

    #[test]
    fn what_was_let_go_is_taken_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path()).unwrap();
        let place = Assigned { source: "k".into(), partition: 1, start: 4, next: 4, since: 0 };
        log.assign_partitions(std::slice::from_ref(&place)).unwrap();
        log.append("verdict", "{}", None).unwrap();
        let word = log.inputs(0).unwrap()[0].id;
        for epoch in 1..=3 {
            let (first, next) = (4 + 10 * (epoch - 1), 4 + 10 * epoch);
            let parts = vec![LoggedPart { source: "k".into(), partition: 1, records: 10, first, next }];
            let logged = LoggedEpoch { epoch, settled: 5, last: false, parts };
            let said = vec![("tick", "{}".to_owned())];
            let taken = if epoch == 2 { vec![word] } else { Vec::new() };
            log.record_with(&[logged], None, &Heard { epoch, said, taken }).unwrap();
        }
        log.quarantine(3).unwrap();
        assert_eq!(log.quarantined().unwrap(), BTreeSet::from([3]));
        assert_eq!(log.first_beyond(1).unwrap().unwrap().parts[0].first, 14);
        assert!(log.waiting(0).unwrap().is_empty());
        log.let_go(1).unwrap();
        assert_eq!(log.epochs().unwrap().len(), 1);
        assert_eq!(log.first_beyond(1).unwrap(), None);
        assert_eq!(log.assigned().unwrap(), [Assigned { next: 14, ..place.clone() }]);
        assert_eq!(log.waiting(0).unwrap().len(), 1, "the word waits again");
        assert_eq!(log.taken().unwrap().len(), 1, "one tick is left");
        assert!(log.quarantined().unwrap().is_empty());
        log.let_go(0).unwrap();
        assert_eq!(log.assigned().unwrap(), [place]);
    }
}
