//! Book: what a ledger can lie in for all who may own it. [`super::shared`] says who does.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::LedgerError;
use super::entry::Entry;
use crate::record::ActionId;

/// A log that all who may own a ledger write and read, in one order.
pub trait Book: Send {
    /// Appends pages, each with what it is about; where each lies, once nothing can lose them.
    ///
    /// # Errors
    /// Where it is not known that nothing can.
    fn append(&mut self, pages: &[(Option<ActionId>, Vec<u8>)]) -> Result<Vec<i64>, LedgerError>;

    /// Its pages.
    fn pages(&self) -> Arc<dyn Pages>;
}

/// What a book has, for any thread.
pub trait Pages: Send + Sync {
    /// Where the first page lies, and where the next one will.
    ///
    /// # Errors
    /// Where that can't be known.
    fn bounds(&self) -> Result<(i64, i64), LedgerError>;

    /// The pages that lie there, each with where.
    ///
    /// # Errors
    /// Where they can't be read.
    fn read(&self, range: Range<i64>) -> Result<Vec<(i64, Vec<u8>)>, LedgerError>;
}

/// A book, and whose ledger is to lie in it.
pub struct Common {
    /// The book.
    pub book: Box<dyn Book>,
    /// The archive's name: no other's.
    pub archive: String,
    /// Whether it is left to another archive that has taken it over since this one had it: what is over takes nothing from what goes
    /// on.
    pub yields: bool,
}

/// What one page says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Page {
    /// Somebody has it from here on.
    Took {
        /// For this archive.
        archive: String,
    },
    /// What an owner has written.
    Wrote {
        /// Where its page lies that says that it took the ledger.
        owner: i64,
        /// What.
        entry: Box<Entry>,
    },
}

impl Page {
    /// What lies `at` some place; none where a stranger wrote it.
    ///
    /// # Errors
    /// Where it is a page that only a later version can read.
    pub fn read(at: i64, page: &[u8]) -> Result<Option<Page>, LedgerError> {
        serde_json::from_slice(page).map(Some).or_else(|error| {
            let any: serde_json::Value = serde_json::from_slice(page).unwrap_or_default();
            let is_page = any.get("took").or(any.get("wrote")).is_some();
            if is_page { Err(LedgerError::Page { at, error }) } else { Ok(None) }
        })
    }

    /// The same as it lies there.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn written(&self) -> Result<Vec<u8>, LedgerError> {
        serde_json::to_vec(self).map_err(|error| LedgerError::Content(error.to_string()))
    }
}
