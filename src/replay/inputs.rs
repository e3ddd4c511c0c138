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
    /// A path is named twice, or what it names.
    #[error("{path} is among the inputs twice; name it once")]
    Again {
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

/// The files that `paths` name; a folder stands for the files in it and below, by path: each must be readable, since
/// one left out unsaid would be missed by nobody. Hidden files, those in folders that begin with an underscore, pipes
/// and devices are passed over, and so is a link to a folder that it lies in.
pub fn files(paths: &[PathBuf], name: Option<&str>) -> Result<Vec<InputFile>, InputError> {
    let mut files = Vec::new();
    for path in paths {
        let failed = |source| InputError::Path { path: path.clone(), source };
        let kind = std::fs::metadata(path).map_err(failed)?;
        if kind.is_dir() {
            let mut found = Vec::new();
            walk(path, &mut Vec::new(), &mut found)?;
            if found.is_empty() {
                return Err(InputError::Empty { path: path.clone() });
            }
            found.sort();
            files.extend(found.into_iter().map(|file| (named(&file, Some(path)), file)));
        } else {
            // What writes to a pipe must find it opened once.
            if kind.is_file() {
                std::fs::File::open(path).map_err(failed)?;
            }
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
            if other.path == path {
                return Err(InputError::Again { path });
            }
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

/// `above` are the folders that this one lies in, by what they really are.
fn walk(folder: &Path, above: &mut Vec<PathBuf>, found: &mut Vec<PathBuf>) -> Result<(), InputError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| InputError::Path { path, source }
    };
    let real = folder.canonicalize().map_err(failed(folder))?;
    if above.contains(&real) {
        return Ok(());
    }
    above.push(real);
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['.', '_']));
        if hidden {
            continue;
        }
        let kind = std::fs::metadata(&path).map_err(failed(&path))?;
        if kind.is_dir() {
            walk(&path, above, found)?;
        } else if kind.is_file() {
            std::fs::File::open(&path).map_err(failed(&path))?;
            found.push(path);
        }
    }
    above.pop();
    Ok(())
}
