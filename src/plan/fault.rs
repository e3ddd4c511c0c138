//! Fault: what is wrong with a file of the plan, where, and what would cure it.

use std::fmt;
use std::path::PathBuf;

/// One thing wrong with one file. All faults of a plan are reported at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, where it can be told.
    pub line: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What would cure it.
    pub cure: String,
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
