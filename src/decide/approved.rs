//! The precondition of acting, as a type: only `decide` can make an [`Approved`], anybody can read one.

use serde::{Deserialize, Serialize};

use crate::plan::policy::Mode;
use crate::record::{Sym, Target};

/// Something that was ruled to be done. The field is private to this module: `act` can read one, never make one.
///
/// It crosses from the process of a cluster that decides to the one that acts, over a link on which each has shown who it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approved<T>(T);

impl<T> Approved<T> {
    pub(super) fn new(inner: T) -> Self {
        Approved(inner)
    }

    /// What was approved.
    #[must_use]
    pub fn get(&self) -> &T {
        &self.0
    }
}

/// A playbook to be carried out, with the targets of each step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undertaking {
    /// CACAO id of the playbook.
    pub playbook_id: Sym,
    /// Its hash when it was approved: another version of it is not what was approved.
    pub playbook_hash: [u8; 32],
    /// For real, or told only.
    pub mode: Mode,
    /// A step's place in the playbook, with its targets.
    pub targets: Vec<(usize, Vec<Target>)>,
}
