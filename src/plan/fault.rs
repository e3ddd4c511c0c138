//! Fault: something wrong in a plan file, said with its place and its cure. All faults are told at once.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One thing wrong in one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// The line from 1, where it is known.
    pub line: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub cure: String,
}

impl Fault {
    /// A fault of a file as a whole.
    #[must_use]
    pub fn of(file: &Path, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Fault { file: file.to_owned(), line: None, what: what.into(), cure: cure.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}; {}", self.what, self.cure)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_like_a_compilers() {
        let mut fault = Fault {
            file: "a.yml".into(),
            line: Some(3),
            what: "no such role".into(),
            cure: "use source".into(),
        };
        assert_eq!(fault.to_string(), "a.yml:3: no such role; use source");
        fault.line = None;
        assert_eq!(fault.to_string(), "a.yml: no such role; use source");
    }
}
