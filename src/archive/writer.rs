//! Writer: rows to parts. One writer a worker; together they fill one archive.
//!
//! In: rows with their epoch. Out: published parts.
//! State: the parts since the last seal; memory is bounded by a row group a part.
//!
//! The order that makes a crash harmless: `seal` (bytes durable under a name that readers pass over), then the log
//! commits "through this epoch, at this tick", then `publish` (a rename). A crash before the commit leaves parts that
//! `recover` removes and the run makes again; after it, parts that `recover` publishes.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::record::{Epoch, Names, Tick};

use super::layout::{self, PartName, WAITING, about, rename, sync_folder, together};
use super::part::{AnyParts, refuse_existing};
use super::{Rows, TABLES, Tables};

/// A part asks to be sealed at this size.
const PART_BYTES_MAX: usize = 128 << 20;
/// A replay of a year meets hundreds of dates: seal before they hold too many files, or too much memory.
const FILES_MAX: usize = 64;
const PARTS_MAX: usize = 256;

/// What every part of a run tells of it, in its footer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunStamp {
    /// Hash of the plan in force at the start.
    pub plan_hash: String,
    /// Version of the model in force at the start.
    pub model_version: String,
}

/// Writes one worker's rows.
pub struct Writer {
    dir: PathBuf,
    worker: u32,
    names: Arc<Names>,
    skip_through: Epoch,
    tables: Tables,
    failed: Option<String>,
}

impl Writer {
    /// A writer into `dir`, which is made when the first part is. Rows of epochs up to `skip_through` are passed
    /// over: the run that was cut has published them.
    pub fn new(
        dir: impl Into<PathBuf>,
        worker: u32,
        names: Arc<Names>,
        stamp: &RunStamp,
        skip_through: Epoch,
    ) -> Writer {
        Writer { dir: dir.into(), worker, names, skip_through, tables: Tables::new(stamp), failed: None }
    }

    /// Adds rows that were said at `epoch`. After an error the writer takes nothing more: what it holds is not whole.
    pub fn push(&mut self, epoch: Epoch, rows: &Rows) -> io::Result<()> {
        if epoch <= self.skip_through {
            return Ok(());
        }
        self.standing()?;
        let done = self.tables.push((&self.dir, self.worker, &self.names), epoch, rows);
        self.note(done)
    }

    /// The strings of its rows.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// At the end of a run: a table in which nothing was ever said gets a part without rows, so that readers find it.
    pub fn show_empty_tables(&mut self, epoch: Epoch, tick: Tick) -> io::Result<()> {
        self.standing()?;
        let (dir, worker) = (self.dir.clone(), self.worker);
        let done =
            self.tables.all_mut().into_iter().try_for_each(|table| table.show(&dir, worker, epoch, tick));
        self.note(done)
    }

    /// Whether parts have grown so large, or so many, that the caller should seal now rather than in its own time.
    pub fn wants_seal(&self) -> bool {
        let (mut parts, mut files) = (0, 0);
        for (bytes_max, more_parts, more_files) in self.tables.all().map(AnyParts::load) {
            if bytes_max >= PART_BYTES_MAX {
                return true;
            }
            parts += more_parts;
            files += more_files;
        }
        parts > PARTS_MAX || files > FILES_MAX
    }

    /// Ends every part and makes it durable under a name that readers pass over. `tick` goes into the parts' names:
    /// the settled tick to be committed, greater than that of the seal before wherever there are rows.
    ///
    /// Commit to the log what was sealed, then [`Sealed::publish`].
    pub fn seal(&mut self, tick: Tick) -> io::Result<Sealed> {
        self.standing()?;
        // The last rows of each are packed then, which takes as long as writing them.
        let sealing = self.tables.all_mut().into_iter().flat_map(|table| table.seal(tick));
        let parts = together(sealing, WAITING, |seal| seal());
        let sealed = Sealed { parts: parts.inspect_err(|error| self.failed = Some(error.to_string()))? };
        let synced = sealed.sync(&self.dir);
        self.note(synced)?;
        Ok(sealed)
    }

    fn standing(&self) -> io::Result<()> {
        match &self.failed {
            Some(error) => Err(io::Error::other(format!("this writer failed before: {error}"))),
            None => Ok(()),
        }
    }

    fn note(&mut self, done: io::Result<()>) -> io::Result<()> {
        done.inspect_err(|error| self.failed = Some(error.to_string()))
    }
}

/// Parts that are whole and durable, and not yet seen by readers.
#[must_use = "sealed parts are seen by nobody until they are published"]
#[derive(Debug)]
pub struct Sealed {
    /// The name that each has, and the one that it is to have.
    parts: Vec<(PathBuf, PathBuf)>,
}

impl Sealed {
    /// How many parts.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether nothing was written since the seal before.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Gives the parts their final names; to be called when the log has committed them.
    ///
    /// Fails before the first rename where a name is taken.
    pub fn publish(self) -> io::Result<()> {
        for (_, target) in &self.parts {
            refuse_existing(target)?;
        }
        for (sealed, target) in &self.parts {
            rename(sealed, target)?;
        }
        together(self.folders(), WAITING, sync_folder).map(drop)
    }

    fn folders(&self) -> BTreeSet<&Path> {
        self.parts.iter().filter_map(|(sealed, _)| sealed.parent()).collect()
    }

    /// Makes the names of the dates' folders durable, up to the one that the archive lies in.
    fn sync(&self, dir: &Path) -> io::Result<()> {
        let mut all: BTreeSet<&Path> = self.folders().into_iter().filter_map(Path::parent).collect();
        if !all.is_empty() {
            all.insert(dir);
            all.extend(dir.parent().filter(|above| !above.as_os_str().is_empty()));
        }
        together(all, WAITING, sync_folder).map(drop)
    }
}

/// What `recover` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Parts that had been committed and not published.
    pub published: usize,
    /// Parts beyond the commit, and ones that were being written.
    pub removed: usize,
}

/// Brings an archive to what its log has committed, through an epoch and at a tick: publishes sealed parts that
/// belong to it and removes all that goes beyond it; with `None`, every part. Files that are not ours stay.
///
/// To be called before any writer is made, by one process. Calling it again changes nothing.
pub fn recover(dir: &Path, committed: Option<(Epoch, Tick)>) -> io::Result<Recovered> {
    let mut done = Recovered::default();
    for table in TABLES {
        let mut folders = BTreeSet::new();
        for (path, part) in layout::parts(dir, table)? {
            let within = match (part, committed) {
                (PartName::Open { .. }, _) | (_, None) => false,
                (PartName::Sealed { tick, last, .. }, Some((epoch, at))) => last <= epoch && tick <= at,
                (PartName::Published { tick, .. }, Some((_, at))) => tick <= at,
            };
            match part {
                PartName::Published { .. } if within => continue,
                PartName::Sealed { tick, worker, .. } if within => {
                    let target = path.with_file_name(PartName::Published { tick, worker }.text());
                    refuse_existing(&target)?;
                    rename(&path, &target)?;
                    done.published += 1;
                }
                PartName::Open { .. } | PartName::Sealed { .. } | PartName::Published { .. } => {
                    std::fs::remove_file(&path).map_err(|error| about(&path, "cannot remove", &error))?;
                    done.removed += 1;
                }
            }
            folders.extend(path.parent().map(Path::to_owned));
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))?;
    }
    Ok(done)
}
