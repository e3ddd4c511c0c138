//! What a replay reads: the files that paths name, each with the source name that it goes by.

use std::path::{Path, PathBuf};

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its name without folder, or what `--name` says.
    pub name: String,
}

/// Why nothing can be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A path is not there.
    #[error("{path} cannot be read: {source}; check the path and its rights")]
    Path {
        /// It.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A folder has nothing.
    #[error(
        "{path} holds no readable file; name files of alerts (JSON lines, JSON arrays, CSV; plain, gzip or zstd; Parquet)"
    )]
    Empty {
        /// It.
        path: PathBuf,
    },
    /// Two files would be one source.
    #[error("two inputs are named {name:?}: {one} and {other}; rename one, or replay them apart with --name")]
    Twice {
        /// The name.
        name: String,
        /// One.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// `--name` with several files.
    #[error("--name names one source, and there are {count} files; leave it out, or replay them one by one")]
    Named {
        /// How many.
        count: usize,
    },
}

/// The files that `paths` name; a folder stands for the readable files in it and below, by path. Hidden files and those
/// in folders that begin with an underscore are passed over.
pub fn files(paths: &[PathBuf], name: Option<&str>) -> Result<Vec<InputFile>, InputError> {
    let mut files = Vec::new();
    for path in paths {
        let failed = |source| InputError::Path { path: path.clone(), source };
        if std::fs::metadata(path).map_err(failed)?.is_dir() {
            let mut found = Vec::new();
            walk(path, &mut found).map_err(failed)?;
            if found.is_empty() {
                return Err(InputError::Empty { path: path.clone() });
            }
            found.sort();
            files.extend(found.into_iter().map(|file| (named(&file, Some(path)), file)));
        } else {
            std::fs::File::open(path).map_err(failed)?;
            files.push((named(path, None), path.clone()));
        }
    }
    if let (Some(_), count @ 2..) = (name, files.len()) {
        return Err(InputError::Named { count });
    }
    let mut inputs: Vec<InputFile> = Vec::new();
    for (own, path) in files {
        let name = name.map_or(own, str::to_owned);
        if let Some(other) = inputs.iter().find(|input| input.name == name) {
            return Err(InputError::Twice { name, one: other.path.clone(), other: path });
        }
        inputs.push(InputFile { path, name });
    }
    Ok(inputs)
}

/// A file's name; below a folder, its path from there, so that `a/x.json` and `b/x.json` are two sources.
fn named(file: &Path, folder: Option<&Path>) -> String {
    let below = folder.and_then(|folder| file.strip_prefix(folder).ok());
    let name = below.unwrap_or_else(|| Path::new(file.file_name().unwrap_or_default()));
    let name = name.to_string_lossy();
    name.replace('\\', "/")
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['.', '_']));
        if hidden {
            continue;
        }
        if path.is_dir() {
            walk(&path, found)?;
        } else if std::fs::File::open(&path).is_ok() {
            found.push(path);
        }
    }
    Ok(())
}
