//! Ingest: bytes with a position in their source, cut into records. It knows where records begin and end, not what
//! they say.
//!
//! # Formats
//!
//! Told by content, never by a file's name:
//!
//! | bytes begin with | they are |
//! |---|---|
//! | `1f 8b` | gzip, of one or more members; what is inside is told in turn |
//! | `28 b5 2f fd` | zstd, likewise |
//! | `PAR1`, in a file that is not packed | Parquet: each row is the JSON object that its columns make |
//! | `{`, and the first line is one whole object (or is cut) | JSON lines |
//! | `{` otherwise | JSON objects one after the other, each over any number of lines |
//! | `[` | a JSON array of objects, over any number of lines |
//! | two or more plain words between `,`, `;`, tab or `\|` | CSV with a header; quoted fields may hold newlines |
//! | `ff fe`, `fe ff`, or a letter beside a NUL | UTF-16; what is inside is told in turn |
//! | a zip or tar archive, an event log and suchlike | one reject that says what it is |
//! | `<`, `CEF:`, `LEEF:` | lines of syslog, CEF or LEEF |
//! | anything else | lines, each a JSON object or a line of syslog |
//!
//! A record's *position* is the line from 1 on which it begins (a CSV header is line 1, its first row line 2), in
//! Parquet the row from 1; its *ordinal* counts records from 0. Blank lines are no records. A bad record never costs its neighbours: reading
//! resumes at the next line that begins one.

pub mod chunk;
mod sniff;
pub mod tape;
mod lines;
mod objects;
mod rows;
mod utf16;
pub mod framer;
mod columns;
pub(crate) mod ends;
mod parquet;
mod gzip;
pub mod file;
pub mod live;
pub mod push;
pub mod kafka;

pub use chunk::{Chunk, Framing, Header, Span};
pub use file::{FileReader, IngestError};
pub use framer::{Framed, Framer, Limits, Origin};
pub use tape::{RAW_MAX, raw};
