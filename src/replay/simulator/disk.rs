//! The disk: a folder a life. What a process leaves when it ends is a copy of its folder, taken at that moment.
//!
//! Where the power fails, what was not synced may be gone: names that were changed since their folder was synced change back,
//! files that were being written are cut or gone, and what SQLite was writing has a torn end. State: names not yet synced.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::engine::log::STATE_FOLDER;
use crate::replay::generate::dice::Dice;

/// See the head of this file.
pub(super) struct Disk {
    root: PathBuf,
    lives: u32,
    elsewhere: Option<PathBuf>,
    unsynced: Vec<(PathBuf, PathBuf)>,
    /// What was left by a process that has ended.
    left: Option<PathBuf>,
    /// What a planted fault has lost: a file of the state folder, as it was.
    pub(super) lies: Option<(&'static str, Vec<u8>)>,
}

impl Disk {
    /// An empty one, in a folder of its own.
    pub(super) fn new(root: &Path) -> io::Result<Disk> {
        let root = root.to_owned();
        fs::create_dir_all(root.join("0"))?;
        Ok(Disk { root, lives: 0, elsewhere: None, unsynced: Vec::new(), left: None, lies: None })
    }

    /// The folder of the process that lives.
    pub(super) fn dir(&self) -> PathBuf {
        self.elsewhere.clone().unwrap_or_else(|| self.root.join(self.lives.to_string()))
    }

    /// The process that lives has another folder.
    pub(super) fn turn_to(&mut self, folder: &Path) {
        self.elsewhere = Some(folder.to_owned());
    }

    /// Whether that is one of a run beside it.
    pub(super) fn is_beside(&self) -> bool {
        self.elsewhere.is_some()
    }

    /// What the next process finds is an empty disk.
    pub(super) fn lose_all(&mut self) {
        self.copy();
        if let Some(left) = &self.left {
            fs::remove_dir_all(left).and_then(|()| fs::create_dir(left)).expect("room");
        }
    }

    /// A folder beside it.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn renamed(&mut self, from: &Path, to: &Path) {
        self.unsynced.push((from.to_owned(), to.to_owned()));
    }

    pub(super) fn synced(&mut self, folder: &Path) {
        self.unsynced.retain(|(_, to)| to.parent() != Some(folder));
    }

    /// Copies what a process leaves that ends here, unless it has.
    pub(super) fn copy(&mut self) {
        if self.left.is_none() {
            let to = self.root.join((self.lives + 1).to_string());
            copy(&self.dir(), &to).expect("room for a copy");
            self.left = Some(to);
        }
    }

    /// The next process finds what the last one left: without what was not durable, where the power failed.
    pub(super) fn go_on(&mut self, power_failed: bool, dice: &mut Dice) {
        let before = self.dir();
        self.move_on(power_failed, dice);
        // The process that fell is gone, and its folder with it.
        let _ = fs::remove_dir_all(before);
    }

    /// The same, where the process before has its folder yet.
    pub(super) fn move_on(&mut self, power_failed: bool, dice: &mut Dice) {
        self.copy();
        let Some(left) = self.left.take() else { return };
        let before = self.dir();
        let unsynced = std::mem::take(&mut self.unsynced);
        if power_failed {
            for (from, to) in unsynced.iter().rev() {
                let [from, to] =
                    [from, to].map(|path| path.strip_prefix(&before).map(|path| left.join(path)));
                if let (Ok(from), Ok(to), true) = (from, to, dice.chance(500_000)) {
                    // What was renamed once more has another name already.
                    let _ = fs::rename(to, from);
                }
            }
            tear(&left, dice).expect("room to tear in");
        }
        if let Some((file, was)) = self.lies.take() {
            lose(&left.join(STATE_FOLDER), file, &was);
        }
        self.lives += 1;
    }

    /// A file of the state folder as it is, for a plant that will have lost what comes after.
    pub(super) fn remember(&mut self, file: &'static str) {
        if self.lies.is_none() {
            let whole = self.beside("remembered");
            let state = self.dir().join(STATE_FOLDER);
            let _ = fs::remove_dir_all(&whole);
            if state.join(file).is_file() && copy(&state, &whole).is_ok() {
                self.lies = fs::read(whole.join(file)).ok().map(|bytes| (file, bytes));
            }
        }
    }
}

/// A database becomes what it was; what was written ahead of it is gone.
fn lose(state: &Path, file: &str, was: &[u8]) {
    for more in ["-wal", "-shm"] {
        let _ = fs::remove_file(state.join(format!("{file}{more}")));
    }
    fs::write(state.join(file), was).expect("room");
}

impl Disk {
    /// Everything on it is kept at `to`, for somebody to look at.
    pub(super) fn keep(&self, to: &Path) -> io::Result<()> {
        copy(&self.root, to)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Who made the folder removes it, where this does not.
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Published parts never change, and so need not be copied.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let target = to.join(name);
        let is = |end: &str| name.ends_with(end);
        if path.is_dir() {
            copy(&path, &target)?;
        } else if is("-shm") || is(".lock") {
            // Of a process, not of the disk.
        } else if is(".parquet") {
            fs::hard_link(&path, &target).or_else(|_| fs::copy(&path, &target).map(drop))?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

fn tear(folder: &Path, dice: &mut Dice) -> io::Result<()> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            tear(&path, dice)?;
        } else if name.ends_with("-wal") && dice.chance(500_000) {
            let torn: Vec<u8> = (0..dice.below(9_000)).map(|_| dice.bits().to_le_bytes()[0]).collect();
            fs::OpenOptions::new().append(true).open(&path)?.write_all(&torn)?;
        } else if is_open(name) {
            match dice.below(3) {
                0 => fs::remove_file(&path)?,
                1 => {
                    let length = fs::metadata(&path)?.len();
                    fs::OpenOptions::new().write(true).open(&path)?.set_len(dice.below(length + 1))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether a file is being written: its bytes are synced before it gets the name of a sealed one.
#[expect(clippy::case_sensitive_file_extension_comparisons, reason = "the writer spells it so")]
fn is_open(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp") && name.matches('.').count() == 2
}
