//! Looking into an `SQLite` file that somebody else writes, or has written: nothing is changed, and nothing is left behind.
//!
//! A file with no `-wal` beside it has no writer and says all by itself: it is read as one that does not change, which needs no right
//! to write in its folder, where a reader would otherwise put files of its own. One that has a `-wal` is read together with that.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

/// Opens it to read; `SQLite` makes none where there is none.
pub fn look(file: &Path) -> rusqlite::Result<Connection> {
    let mut beside = file.as_os_str().to_owned();
    beside.push("-wal");
    let still = if Path::new(&beside).exists() { "" } else { "&immutable=1" };
    // What a path may hold, and an address may not as it is.
    let path = file.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match file.to_str() {
        Some(_) => Connection::open_with_flags(format!("file:{path}?mode=ro{still}"), flags)?,
        // A path that is not UTF-8 cannot be an address.
        None => Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
    };
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn who_looks_leaves_nothing_behind_and_sees_what_is_written_meanwhile() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a b?c#d%20.sqlite");
        let write = || {
            let connection = Connection::open(&file).expect("it can be made");
            connection.pragma_update(None, "journal_mode", "wal").expect("it can be set");
            connection
                .execute_batch("create table if not exists a (b); insert into a values (1)")
                .expect("room");
            connection
        };
        let rows = |connection: &Connection| -> i64 {
            connection.query_row("select count(*) from a", [], |row| row.get(0)).expect("a number")
        };
        drop(write());
        let before = names(folder.path());
        assert_eq!(before, ["a b?c#d%20.sqlite"]);
        let connection = look(&file).expect("it can be read");
        assert_eq!(rows(&connection), 1);
        assert!(connection.execute_batch("insert into a values (2)").is_err());
        drop(connection);
        assert_eq!(names(folder.path()), before);
        let writer = write();
        assert_eq!(rows(&look(&file).expect("it can be read")), 2);
        drop(writer);
        assert_eq!(names(folder.path()), before);
        assert!(look(&folder.path().join("none")).is_err());
    }
}
