//! What a replay reads: the files that paths name, each with the source name that it goes by.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its name without folder, or what `--name` says. Where several are named alike, its path below the folder that was given.
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
    let mut files: Vec<(PathBuf, Option<&Path>)> = Vec::new();
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
            files.extend(found.into_iter().map(|file| (file, Some(path.as_path()))));
        } else {
            // What writes to a pipe must find it opened once.
            if kind.is_file() {
                std::fs::File::open(path).map_err(failed)?;
            }
            files.push((path.clone(), None));
        }
    }
    if let (Some(_), count @ 2..) = (name, files.len()) {
        return Err(InputError::Named { count });
    }
    let mut alike: BTreeMap<String, usize> = BTreeMap::new();
    for (file, _) in &files {
        *alike.entry(named(file, None)).or_default() += 1;
    }
    let (mut inputs, mut paths) = (BTreeMap::<String, PathBuf>::new(), BTreeSet::new());
    let mut order = Vec::new();
    for (path, folder) in files {
        let own = named(&path, None);
        let name = match name {
            Some(name) => name.to_owned(),
            None if alike[&own] > 1 => named(&path, folder),
            None => own,
        };
        if !paths.insert(path.clone()) {
            return Err(InputError::Again { path });
        }
        if let Some(one) = inputs.insert(name.clone(), path.clone()) {
            return Err(InputError::Twice { name, one, other: path });
        }
        order.push(InputFile { path, name });
    }
    Ok(order)
}

/// A file's name. Below a folder it is its path from there, so that `a/x.json` and `b/x.json` are two sources: where one name is
/// that of several files of a run. Any other has it without its folder, so that the same file elsewhere is the same source.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that files of these paths get, in order, where these paths are given; or what is said of it.
    fn names(files_there: &[&str], given: &[&str]) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        for file in files_there {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("room");
            std::fs::write(path, "x").expect("room");
        }
        let given: Vec<PathBuf> = given.iter().map(|path| folder.path().join(path)).collect();
        let at = format!("{}/", folder.path().display());
        match files(&given, None) {
            Ok(inputs) => inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string().replace(&at, ""),
        }
    }

    #[test]
    fn a_name_has_no_folder_unless_another_file_has_it_too() {
        let one = ["d/sub/b.csv", "d/c.csv"];
        assert_eq!(names(&one, &["d"]), "c.csv b.csv");
        assert_eq!(names(&one, &["d/sub"]), "b.csv");
        assert_eq!(names(&one, &["d/sub/b.csv"]), "b.csv");
        let two = ["d/one/b.csv", "d/two/b.csv", "d/c.csv"];
        assert_eq!(names(&two, &["d"]), "c.csv one/b.csv two/b.csv");
        assert_eq!(names(&two, &["d/two"]), "b.csv");
        assert_eq!(names(&["d/b.csv", "d/sub/b.csv"], &["d"]), "b.csv sub/b.csv");
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused() {
        let two = ["d/sub/b.csv", "e/b.csv"];
        assert!(names(&two, &["d/sub/b.csv", "e/b.csv"]).starts_with("two inputs are named \"b.csv\""));
        assert!(names(&two, &["d", "d/sub/b.csv"]).starts_with("d/sub/b.csv is among the inputs twice"));
        assert!(names(&two, &["e", "e"]).starts_with("e/b.csv is among the inputs twice"));
    }
}
