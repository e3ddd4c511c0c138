//! A book in memory, for all who have it: no machine's end harms it. A simulation may strike an append like anything else that is to
//! be durable ([`crate::flow::fate`]), and whoever is struck does not know whether it is there.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::LedgerError;
use super::book::{Book, Pages};
use crate::flow::fate::{Deed, meet};
use crate::record::ActionId;

/// See the head of this file.
#[derive(Clone, Default)]
pub struct Leaves(Arc<Mutex<Vec<Vec<u8>>>>);

/// Pages that are read at once, at most: whoever reads must go on.
const AT_ONCE: i64 = 3;

impl Leaves {
    /// Its pages, as they lie.
    pub fn all(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn offset(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Book for Leaves {
    fn append(&mut self, pages: &[(Option<ActionId>, Vec<u8>)]) -> Result<Vec<i64>, LedgerError> {
        let append = || {
            let mut all = self.all();
            let from = offset(all.len());
            all.extend(pages.iter().map(|(_, page)| page.clone()));
            Ok((from..offset(all.len())).collect())
        };
        meet(Deed::Book, append, || LedgerError::Content("the book did not answer".to_owned()))
    }

    fn pages(&self) -> Arc<dyn Pages> {
        Arc::new(self.clone())
    }
}

impl Pages for Leaves {
    fn bounds(&self) -> Result<(i64, i64), LedgerError> {
        Ok((0, offset(self.all().len())))
    }

    fn read(&self, range: Range<i64>) -> Result<Vec<(i64, Vec<u8>)>, LedgerError> {
        let all = self.all();
        let range = range.start..range.end.min(range.start.saturating_add(AT_ONCE));
        let wanted = |at: i64| Some((at, all.get(usize::try_from(at).ok()?)?.clone()));
        Ok(range.map_while(wanted).collect())
    }
}
