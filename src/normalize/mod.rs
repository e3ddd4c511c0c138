//! Normalize: records become alerts, as the mapping files say. What cannot is a reject with its reason; what is of no
//! concern by name is counted, and what it names is noted (`observe`). It reads no clock and does no IO.
//!
//! A record that is an event is tried against the Sigma rules of its log source (`detect`), of which it may match several:
//! only then is its JSON read into a tree (`event`).
//!
//! A record that is a line of text (syslog, CEF, LEEF) becomes fields under names of their own (`line`).
//!
//! All mappings' field paths are one trie (`paths`), through which a record's JSON is read once, in place
//! (`extract`; where it is plain by `scan`, which expects the keys that came before: `guesses`); what the mappings may
//! want lies in slots then (`value`), and which of them want any of it is told by bits (`asked`). Everything that recurs
//! (names, addresses, severities, ATT&CK lists) is worked out once and remembered per thread (`memo`).

pub mod example;

pub(crate) mod canonical;
mod asked;
mod compile;
mod detect;
mod event;
mod extract;
mod guesses;
mod scan;
mod line;
mod memo;
mod observe;
mod paths;
mod refusal;
mod row;
mod time;
mod unmapped;
mod value;
mod words;
pub mod normalizer;

pub use normalizer::{Normalizer, Parsed, SourceSettings};
