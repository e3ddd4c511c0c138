//! Layout: where parts lie and what they are called. A name tells whether a part is being written, waits for the
//! log's commit, or is part of the archive.
//!
//! In one folder `DIR/<table>/date=YYYY-MM-DD/`:
//! - `.part-<worker>.tmp` is being written: after a crash it is worth nothing;
//! - `.part-<tick>-<worker>.<first epoch>-<last epoch>.tmp` is sealed: whole and durable, good once the log says so;
//! - `part-<tick>-<worker>.parquet` is published. Readers see only these.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::flow::fate::{Deed, is_set, meet};
use crate::record::time::date_of;
use crate::record::{Epoch, Tick};

pub(super) const DAY_S: i64 = 86_400;

/// The day of a tick, days beyond what the calendar holds taken together as `date_of` does.
pub(super) fn day_of(tick: Tick) -> i64 {
    tick.clamp(jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second()).div_euclid(DAY_S)
}

/// The folder of a table's rows of the date of `tick`.
pub(super) fn folder(dir: &Path, table: &str, tick: Tick) -> PathBuf {
    dir.join(table).join(format!("date={}", date_of(tick)))
}

/// What a file in a date's folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PartName {
    /// Being written.
    Open { worker: u32 },
    /// Whole, waiting for the commit of its epochs.
    Sealed { tick: Tick, worker: u32, first: Epoch, last: Epoch },
    /// Part of the archive.
    Published { tick: Tick, worker: u32 },
}

impl PartName {
    /// The file's name.
    pub(super) fn text(self) -> String {
        match self {
            PartName::Open { worker } => format!(".part-{worker}.tmp"),
            PartName::Sealed { tick, worker, first, last } => {
                format!(".part-{tick}-{worker}.{first}-{last}.tmp")
            }
            PartName::Published { tick, worker } => format!("part-{tick}-{worker}.parquet"),
        }
    }

    /// Reads what `text` writes; none for a file that is not ours.
    pub(super) fn parse(name: &str) -> Option<PartName> {
        // The tick may be negative, so its dash is the last one.
        let tick_worker = |text: &str| {
            let (tick, worker) = text.rsplit_once('-')?;
            Some((tick.parse().ok()?, worker.parse().ok()?))
        };
        if let Some(name) = name.strip_prefix("part-").and_then(|rest| rest.strip_suffix(".parquet")) {
            let (tick, worker) = tick_worker(name)?;
            return Some(PartName::Published { tick, worker });
        }
        let name = name.strip_prefix(".part-")?.strip_suffix(".tmp")?;
        let Some((name, epochs)) = name.split_once('.') else {
            return Some(PartName::Open { worker: name.parse().ok()? });
        };
        let (tick, worker) = tick_worker(name)?;
        let (first, last) = epochs.split_once('-')?;
        Some(PartName::Sealed { tick, worker, first: first.parse().ok()?, last: last.parse().ok()? })
    }
}

/// Our files of one table with what their names say, by date, then tick and worker. None where the table has no
/// folder. Files of other names are left alone.
pub(super) fn parts(dir: &Path, table: &str) -> io::Result<Vec<(PathBuf, PartName)>> {
    let mut found = Vec::new();
    let mut dates = entries(&dir.join(table))?;
    dates.retain(|(path, name)| name.starts_with("date=") && path.is_dir());
    dates.sort();
    for (date, _) in dates {
        let mut files: Vec<(PathBuf, PartName)> = entries(&date)?
            .into_iter()
            .filter_map(|(path, name)| PartName::parse(&name).map(|part| (path, part)))
            .collect();
        files.sort_by_key(|(_, part)| *part);
        found.append(&mut files);
    }
    Ok(found)
}

/// The published parts of one table, by date, then tick and worker.
pub(super) fn published(dir: &Path, table: &str) -> io::Result<Vec<PathBuf>> {
    let parts = parts(dir, table)?.into_iter();
    Ok(parts.filter(|(_, part)| matches!(part, PartName::Published { .. })).map(|(path, _)| path).collect())
}

/// The same of the date of `tick` alone.
pub(super) fn published_on(dir: &Path, table: &str, tick: Tick) -> io::Result<Vec<PathBuf>> {
    let mut files = entries(&folder(dir, table, tick))?;
    files.retain(|(_, name)| matches!(PartName::parse(name), Some(PartName::Published { .. })));
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

fn entries(folder: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(about(folder, "cannot list", &error)),
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(|error| about(folder, "cannot list", &error))?;
        // A name that is not UTF-8 is none of ours.
        if let Ok(name) = entry.file_name().into_string() {
            found.push((entry.path(), name));
        }
    }
    Ok(found)
}

/// Renames and says what failed.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let renamed = meet(Deed::Rename(from, to), || fs::rename(from, to), struck);
    renamed.map_err(|error| about(to, &format!("cannot rename {} to", from.display()), &error))
}

/// Makes a file's bytes durable.
pub(super) fn sync_file(file: &File, path: &Path) -> io::Result<()> {
    meet(Deed::Contents(path), || file.sync_all(), struck).map_err(|error| about(path, "cannot sync", &error))
}

fn struck() -> io::Error {
    io::Error::other("the disk failed")
}

/// Makes a folder's entries durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    let sync = || File::open(folder).and_then(|opened| opened.sync_all());
    meet(Deed::Folder(folder), sync, struck).map_err(|error| about(folder, "cannot sync", &error))
}

/// What waits for a disk at the same time.
pub(super) const WAITING: usize = 8;

/// Does `work` for each, so many at the same time: what waits for a disk can wait together, what computes goes on on all cores.
/// Answers in order.
pub(super) fn together<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    at_once: usize,
    work: impl Fn(T) -> io::Result<R> + Sync,
) -> io::Result<Vec<R>> {
    let items: Vec<T> = items.into_iter().collect();
    let hands = if is_set() { 1 } else { at_once.min(items.len()) };
    let items = Mutex::new(items.into_iter().enumerate());
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> Vec<(usize, io::Result<R>)> {
        std::iter::from_fn(next).map(|(at, item)| (at, work(item))).collect()
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..hands).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// `error` with what was being done to which file, and what to do where that is known.
pub(super) fn about(path: &Path, doing: &str, error: &io::Error) -> io::Error {
    let cure = if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        "; no half-written part was published: make room on that disk and go on with --resume"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "; give this user the right to it, or choose another --archive"
    } else {
        ""
    };
    io::Error::new(error.kind(), format!("{doing} {}: {error}{cure}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for part in [
            PartName::Open { worker: 3 },
            PartName::Sealed { tick: -5, worker: 0, first: 1, last: u64::MAX },
            PartName::Published { tick: -62_135_596_800, worker: 7 },
            PartName::Published { tick: 1_700_000_000, worker: 0 },
        ] {
            assert_eq!(PartName::parse(&part.text()), Some(part));
        }
        for foreign in ["part-1-x.parquet", "data.parquet", ".part-.tmp", ".part-1-2.3.tmp", "part-1.parquet"]
        {
            assert_eq!(PartName::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn days_beyond_the_calendar_share_its_last() {
        assert_eq!(day_of(i64::MAX), day_of(i64::MAX - DAY_S));
        assert_eq!([day_of(-1), day_of(0), day_of(DAY_S)], [-1, 0, 1]);
    }
}
