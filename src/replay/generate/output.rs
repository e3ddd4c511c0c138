//! Output: a folder that is there whole or not at all, and the BLAKE3 of each of its files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::GenerateError;

/// A folder under a temporary name beside its place; removed again unless it is moved there.
pub(super) struct Folder {
    place: PathBuf,
    temporary: PathBuf,
    /// BLAKE3 of the files that are done, by name.
    pub(super) hashes: BTreeMap<String, String>,
}

impl Folder {
    /// Makes the temporary folder of `out`, which must not exist or be empty.
    pub(super) fn new(out: &Path) -> Result<Folder, GenerateError> {
        let failed = |path: &Path, source| GenerateError::Io { path: path.to_owned(), source };
        match fs::read_dir(out) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(GenerateError::NotEmpty { path: out.to_owned() });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(out, error)),
        }
        let place = std::path::absolute(out).map_err(|error| failed(out, error))?;
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
            return Err(failed(out, io::Error::new(io::ErrorKind::InvalidInput, "names no folder")));
        };
        fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        let temporary = parent.join(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id()));
        fs::create_dir(&temporary).map_err(|error| failed(&temporary, error))?;
        Ok(Folder { place, temporary, hashes: BTreeMap::new() })
    }

    /// A new file in it.
    pub(super) fn file(&self, name: &'static str) -> Result<Hashed, GenerateError> {
        let path = self.temporary.join(name);
        let file =
            File::create_new(&path).map_err(|source| GenerateError::Io { path: path.clone(), source })?;
        Ok(Hashed { name, path, to: BufWriter::with_capacity(1 << 18, file), hash: blake3::Hasher::new() })
    }

    /// Makes a file durable and remembers its hash.
    pub(super) fn done(&mut self, file: Hashed) -> Result<(), GenerateError> {
        let Hashed { name, path, to, hash } = file;
        to.into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .map_err(|source| GenerateError::Io { path, source })?;
        self.hashes.insert(name.to_owned(), hash.finalize().to_hex().to_string());
        Ok(())
    }

    /// A whole small file.
    pub(super) fn write(&mut self, name: &'static str, text: &str) -> Result<(), GenerateError> {
        let mut file = self.file(name)?;
        file.write(text)?;
        self.done(file)
    }

    /// Moves the folder into its place: a rename takes the place of nothing or of an empty folder, never of files.
    pub(super) fn finish(self) -> Result<(), GenerateError> {
        fs::rename(&self.temporary, &self.place)
            .and_then(|()| self.place.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all()))
            .map_err(|source| GenerateError::Io { path: self.place.clone(), source })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // After `finish` there is nothing under this name; on the way out of an error there is nobody to tell.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

/// A file that hashes what is written to it.
pub(super) struct Hashed {
    name: &'static str,
    path: PathBuf,
    to: BufWriter<File>,
    hash: blake3::Hasher,
}

impl Hashed {
    /// Appends `text`.
    pub(super) fn write(&mut self, text: &str) -> Result<(), GenerateError> {
        self.hash.update(text.as_bytes());
        self.to
            .write_all(text.as_bytes())
            .map_err(|source| GenerateError::Io { path: self.path.clone(), source })
    }
}
