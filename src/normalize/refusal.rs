//! Refusal: why a record is no alert, and what would cure it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::IgnoredAny;

use super::line::Broken;
use crate::record::{Millis, Stage};

/// See the head of this file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("not UTF-8 at byte {at} of the record; have the source write UTF-8")]
    NotUtf8 { at: usize },
    #[error("the JSON is cut off at column {column} of line {line} of the record; see what cut it")]
    Cut { line: usize, column: usize },
    #[error("not JSON: {why}; see what wrote it")]
    NotJson { why: String },
    #[error("not a JSON object, nor syslog, CEF or LEEF; have the source write one of these, or CSV")]
    NotAnObject,
    #[error("the line cannot be read: {}; see what wrote or cut it", .0.0)]
    Broken(Broken),
    #[error("the row has {fields} fields and the header {columns}; see what wrote it")]
    Fields { fields: usize, columns: usize },
    #[error(
        "no mapping takes a record with the keys {keys}; a mapping file in dataflows/mappings is all it needs"
    )]
    Unknown { keys: String },
    #[error("no usable time: {found}; see the mapping's `time`")]
    NoTime { found: String },
    #[error("the time {time} is too far in the future (read at {as_of}); see the clock of what wrote it")]
    Future { time: String, as_of: String },
    #[error("no product; see the mapping's `product`")]
    NoProduct,
    #[error("no rule; see the mapping's `rule`")]
    NoRule,
    #[error(
        "this record alone ended the process that took it, again and again, and is kept out: a defect of quell, which its report \
         will mend; what the record says can be sent again in other words"
    )]
    Quarantined,
    #[error("no tenant; have the record name one, or the source's settings")]
    NoTenant,
}

impl Refusal {
    pub(super) fn json(error: &serde_json::Error) -> Refusal {
        if error.is_eof() {
            Refusal::Cut { line: error.line(), column: error.column() }
        } else {
            Refusal::NotJson { why: error.to_string() }
        }
    }

    pub(super) fn future(time: Millis, as_of: Millis) -> Refusal {
        let written = |millis| {
            Timestamp::from_millisecond(millis).map_or_else(|_| format!("{millis} ms"), |t| t.to_string())
        };
        Refusal::Future { time: written(time), as_of: written(as_of) }
    }

    /// No mapping knows the JSON object `text`.
    #[expect(clippy::zero_sized_map_values, reason = "serde reads keys by themselves only as those of a map")]
    pub(super) fn unknown(text: &str) -> Refusal {
        let keys: BTreeMap<String, IgnoredAny> = serde_json::from_str(text).unwrap_or_default();
        Refusal::unknown_keys(keys.keys())
    }

    pub(super) fn unknown_keys<'k>(keys: impl Iterator<Item = &'k String>) -> Refusal {
        const SHOWN: usize = 12;
        let keys: Vec<&String> = keys.collect();
        let mut shown: Vec<&str> =
            keys.iter().take(SHOWN).map(|key| &key[..key.floor_char_boundary(40)]).collect();
        if keys.is_empty() {
            shown.push("(none)");
        } else if keys.len() > SHOWN {
            shown.push("...");
        }
        Refusal::Unknown { keys: shown.join(", ") }
    }

    pub(super) fn stage(&self) -> Stage {
        match self {
            Refusal::NotUtf8 { .. } => Stage::Ingest,
            Refusal::Quarantined => Stage::Quarantine,
            Refusal::Cut { .. }
            | Refusal::NotJson { .. }
            | Refusal::NotAnObject
            | Refusal::Broken(_)
            | Refusal::Fields { .. }
            | Refusal::Unknown { .. }
            | Refusal::NoTime { .. }
            | Refusal::Future { .. }
            | Refusal::NoProduct
            | Refusal::NoRule
            | Refusal::NoTenant => Stage::Normalize,
        }
    }
}
