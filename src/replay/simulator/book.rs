//! The book: what a ledger lies in for several machines, as a topic has it. No machine's end harms it; an append may be struck like
//! anything else that is to be durable, and whoever is struck does not know whether it is there.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::act::{Book, LedgerError, Pages};
use crate::flow::fate::{Deed, meet};
use crate::record::ActionId;

/// See the head of this file.
#[derive(Clone, Default)]
pub(super) struct Leaves(Arc<Mutex<Vec<Vec<u8>>>>);

impl Leaves {
    fn all(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A planted fault: all that it has is gone.
    pub(super) fn forget(&self) {
        self.all().clear();
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
        let wanted = |at: &i64| Some((*at, all.get(usize::try_from(*at).ok()?)?.clone()));
        Ok(range.map_while(|at| wanted(&at)).collect())
    }
}
