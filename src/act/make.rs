//! Making an `SQLite` file that is not there yet: beside its place, and moved there whole.
//!
//! `SQLite` itself waits for the disk at each step of it, some eight times: so this waits twice. Before the file is whole and durable it
//! has another name, and nobody sees it.

use std::fs::{self, File};
use std::path::Path;

use rusqlite::{Connection, Error};

/// Fills a new file by `fill`, which is then written ahead of (`journal_mode = wal`). One that is there stays as it is, and so does one
/// that comes meanwhile.
pub fn make(file: &Path, fill: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    if file.exists() {
        return Ok(());
    }
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = Path::new(&beside);
    let made = fill_new(beside, fill).and_then(|()| {
        let failed = |_| Error::InvalidPath(file.to_owned());
        File::open(beside).and_then(|new| new.sync_all()).map_err(failed)?;
        // Unlike a rename this takes no other's place.
        fs::hard_link(beside, file).map_err(failed)?;
        let folder = file.parent().map(File::open).transpose().map_err(failed)?;
        folder.map_or(Ok(()), |folder| folder.sync_all()).map_err(failed)
    });
    let _ = fs::remove_file(beside);
    made
}

fn fill_new(file: &Path, fill: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    let _ = fs::remove_file(file);
    let db = Connection::open(file)?;
    // Where it fails on the way it is gone.
    db.execute_batch("pragma journal_mode = off; pragma synchronous = off;")?;
    fill(&db)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.close().map_err(|(_, error)| error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn it_is_there_whole_or_not_at_all_and_what_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        assert!(make(&file, |db| db.execute_batch("create table a (b); no sql")).is_err());
        assert!(names(folder.path()).is_empty());
        for n in 0..2 {
            make(&file, |db| {
                db.execute_batch(&format!("begin; create table a (b); insert into a values ({n}); commit"))
            })
            .unwrap();
            assert_eq!(names(folder.path()), ["a.db"]);
        }
        let db = Connection::open(&file).unwrap();
        let (rows, sum): (i64, i64) =
            db.query_row("select count(*), sum(b) from a", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!((rows, sum), (1, 0));
        let mode: String = db.query_row("pragma journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
        assert!(make(&folder.path().join("none").join("a.db"), |_| Ok(())).is_err());
    }
}
