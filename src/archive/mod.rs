//! The archive: records to Parquet and back.
//!
//! `DIR/<table>/date=YYYY-MM-DD/part-<tick>-<worker>.parquet`, append-only: what changes its mind is written as
//! changes, summed over `diff`. `DuckDB`, Polars and pyarrow read it as it lies.
//!
//! - `tables` lists the columns; `line` turns each list into schema, builders and reader; `cell` says how a value lies.
//! - `json` tells rows to others than readers of the archive.
//! - `writer` gathers rows into `part`s, seals and publishes them; `layout` names them.
//! - `reader` gives them back; `sightings` counts entities in them; `digest` says whether two archives mean the same.
//!
//! Knows nothing of the log: the caller commits between `seal` and `publish`, and tells `recover` how far it got.

mod cell;
mod line;
mod json;
mod rows;
mod tables;
mod nouns;
mod layout;
mod part;
mod writer;
mod reader;
mod digest;
mod sightings;
pub mod snapshots;

use std::io;
use std::path::Path;

use arrow_schema::Schema;

use crate::record::{Epoch, Names};

pub use cell::{Attacks, Utc};
pub use digest::{TableDigest, digest};
pub use line::Line;
pub use reader::{Lines, Only, Reader};
pub use rows::{AlertRow, DecisionRow, FindingRow, IncidentRow, TurnRow, VerdictRow};
pub use sightings::{Seen, SeenKey, Sightings, Sought, edition, sightings};
pub use tables::{
    ActionLine, AlertLine, CandidateLine, DecisionLine, DuplicateLine, EpochLine, IncidentLine, InputLine,
    LinkLine, MatchLine, MemberLine, ObservedLine, OutcomeLine, RejectLine, VerdictLine,
};
pub use writer::{Recovered, RunStamp, Sealed, Writer, recover};

use part::{AnyParts, Parts};

/// All tables: what the writer is given, where it goes, what the reader gives.
macro_rules! catalogue {
    ($($(#[doc = $doc:literal])+ $table:ident $Variant:ident $Line:ident;)+) => {
        /// Rows of one table.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Rows {
            $( $(#[doc = $doc])+ $Variant(Vec<<$Line as Line>::Row>), )+
        }

        impl Rows {
            /// How many.
            pub fn len(&self) -> usize {
                match self { $( Rows::$Variant(rows) => rows.len(), )+ }
            }

            /// Whether there is none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Rows that were said at `epoch` as JSON objects, in order; see `json`.
            pub fn json(&self, epoch: Epoch, names: &Names) -> Vec<serde_json::Map<String, serde_json::Value>> {
                match self { $( Rows::$Variant(rows) => json::objects::<$Line>(epoch, rows, names), )+ }
            }
        }

        /// The tables' names, in the order in which they are reported.
        pub const TABLES: [&str; [$($Line::TABLE),+].len()] = [$($Line::TABLE),+];

        /// Each table's columns, as readers see them; descriptions lie in the metadata under `description`.
        pub fn table_schemas() -> Vec<(&'static str, Schema)> {
            vec![$( ($Line::TABLE, line::schema::<$Line>()) ),+]
        }

        /// The parts under construction.
        struct Tables {
            $( $table: Parts<$Line>, )+
        }

        impl Tables {
            fn new(stamp: &RunStamp) -> Tables {
                Tables { $( $table: Parts::new(stamp), )+ }
            }

            fn push(&mut self, to: (&Path, u32, &Names), epoch: Epoch, rows: &Rows) -> io::Result<()> {
                match rows { $( Rows::$Variant(rows) => self.$table.push(to, epoch, rows), )+ }
            }

            fn all(&self) -> [&dyn AnyParts; TABLES.len()] {
                [$( &self.$table ),+]
            }

            fn all_mut(&mut self) -> [&mut dyn AnyParts; TABLES.len()] {
                [$( &mut self.$table ),+]
            }
        }

        impl Reader {
            $(
                $(#[doc = $doc])+
                pub fn $table(&self, only: Option<Only>) -> io::Result<Lines<$Line>> {
                    self.lines(only)
                }
            )+
        }
    };
}

catalogue! {
    /// Every alert, repeats included.
    alerts Alerts AlertLine;
    /// The same alert seen again.
    duplicates Duplicates DuplicateLine;
    /// What could not become an alert.
    rejects Rejects RejectLine;
    /// Correlations' findings, and their withdrawals.
    matches Matches MatchLine;
    /// Changes of membership.
    members Members MemberLine;
    /// Why two alerts are joined.
    links Links LinkLine;
    /// Versions of incidents.
    incidents Incidents IncidentLine;
    /// Playbooks that were weighed.
    candidates Candidates CandidateLine;
    /// Rulings.
    decisions Decisions DecisionLine;
    /// Steps' commands, and how they go on.
    actions Actions ActionLine;
    /// What came of them.
    outcomes Outcomes OutcomeLine;
    /// Analysts' words.
    verdicts Verdicts VerdictLine;
    /// Turns of ingest.
    epochs Epochs EpochLine;
    /// What else came in.
    inputs Inputs InputLine;
    /// What records of no concern name.
    observed Observed ObservedLine;
}
