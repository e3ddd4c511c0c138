//! Beginning: what a run remembers beside its operators, as it is kept at an epoch's end, and what another one begins with.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::clerk::UnderWay;
use super::live::SourceKept;
use super::summary::Counts;
use crate::act::Remembered as Desk;
use crate::correlate::group::Compiled;
use crate::flow::Turn;
use crate::flow::kept::Past;
use crate::record::{Alert, Decision, Names};

/// What threads beside the operators keep, all of the first process.
pub(super) const OF_THREADS: [&str; 4] = ["counts", "run", "decisions", "desk"];

/// What a run itself remembers.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Remembered {
    pub(super) sources: Vec<SourceKept>,
    pub(super) unsettled: Vec<Arc<Alert>>,
    pub(super) late: u64,
    /// Of each correlation rule, how many alerts and findings lacked its number, about: those of the next few epochs may be
    /// among them.
    pub(super) without_number: Vec<u64>,
}

impl Remembered {
    /// Correlation rules go on counting what lacked their number.
    pub(super) fn count(&self, rules: &[Compiled]) {
        for (rule, so_far) in rules.iter().zip(&self.without_number) {
            rule.add_without_number(so_far.cast_signed());
        }
    }
}

/// What a run begins with, where an earlier one kept it.
pub struct Beginning {
    /// The turn that ended the epoch.
    pub turn: Turn,
    /// What the operators remembered.
    pub past: Past,
}

impl Beginning {
    /// What the sources remembered.
    #[must_use]
    pub fn sources(&self, names: &Names) -> Vec<SourceKept> {
        let mut sources = Vec::new();
        self.past.each("run", names, 1, |run: Remembered| sources = run.sources);
        sources
    }
}

/// What the threads around the dataflow begin with.
#[derive(Default)]
pub(super) struct Restored {
    pub(super) counts: Counts,
    pub(super) run: Remembered,
    pub(super) under_way: UnderWay,
    pub(super) desk: Option<Desk>,
}

impl Restored {
    /// Of what was kept; nothing where nothing was.
    pub(super) fn of(past: Option<&Past>, names: &Names) -> Restored {
        let mut restored = Restored::default();
        let Some(past) = past else { return restored };
        past.each("counts", names, 1, |kept| restored.counts = kept);
        past.each("run", names, 1, |kept| restored.run = kept);
        past.each("decisions", names, 1, |kept: Vec<Decision>| restored.under_way.know(kept));
        past.each("desk", names, 1, |kept| restored.desk = Some(kept));
        restored
    }
}
