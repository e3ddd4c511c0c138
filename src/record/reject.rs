//! Reject: what could not become an alert, kept with its reason. Failure is a stream, not a log line.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::Sym;
use super::time::Tick;

/// Where a record failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its bytes could not be had: truncated, too long, not UTF-8.
    Ingest,
    /// Its bytes could not be read as a record, or the record as an alert.
    Normalize,
    /// Its context could not be had.
    Enrich,
    /// It ended the process that took it, again and again, and is kept out.
    Quarantine,
}

impl Stage {
    /// The archive's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stage::Ingest => "ingest",
            Stage::Normalize => "normalize",
            Stage::Enrich => "enrich",
            Stage::Quarantine => "quarantine",
        }
    }
}

/// A record that could not become an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reject {
    /// Where it failed.
    pub stage: Stage,
    /// Why, and what would cure it, in a sentence.
    pub reason: String,
    /// The tick at which it was met.
    pub tick: Tick,
    /// Whose; `default` where the record did not come so far.
    pub tenant: Sym,
    /// The source's name.
    pub source: Sym,
    /// Its place there.
    pub position: u64,
    /// Its bytes, the first 8 KiB, what is not UTF-8 replaced.
    pub raw: String,
}
