//! Receipts: what an executor outside the process answered, as inputs of a run; and a log's receipts as an executor that
//! calls nobody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ledger::Known;
use crate::record::{ActionId, ActionStatus, Tick};

/// One answer, as the table `inputs` keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// To which order: an action's, or the one that undoes it.
    pub action_id: ActionId,
    /// Succeeded, failed or in doubt; requested for an order that is given, and answered later.
    pub status: ActionStatus,
    /// Calls made so far.
    pub attempts: u32,
    /// The tick at which it was heard.
    pub tick: Tick,
    /// What the executor said of it.
    pub detail: String,
}

impl Receipt {
    pub(super) fn of(action_id: ActionId, known: &Known) -> Receipt {
        let Known { status, attempts, tick, detail, .. } = known.clone();
        Receipt { action_id, status, attempts, tick, detail }
    }
}

/// All receipts of a log. An order that has none was not given then: it is told, not done.
#[derive(Debug, Default)]
pub struct Recorded {
    answers: BTreeMap<ActionId, Vec<Known>>,
    /// How long what came of an order was waited for, where it was given in a topic.
    timeout_s: Option<Tick>,
}

impl Recorded {
    /// The receipts in the order in which they were heard.
    #[must_use]
    pub fn of(receipts: impl IntoIterator<Item = Receipt>) -> Recorded {
        let mut answers: BTreeMap<ActionId, Vec<Known>> = BTreeMap::new();
        for (place, receipt) in (1..).zip(receipts) {
            let Receipt { action_id, status, attempts, tick, detail } = receipt;
            answers.entry(action_id).or_default().push(Known { status, attempts, tick, detail, place });
        }
        Recorded { answers, timeout_s: None }
    }

    /// The same, of orders that were given in a topic: what came of them is fed to the run again.
    #[must_use]
    pub fn of_topic(self, timeout_s: Tick) -> Recorded {
        Recorded { timeout_s: Some(timeout_s), ..self }
    }

    /// How long what came of an order was waited for, where it was given in a topic.
    pub(super) fn timeout_s(&self) -> Option<Tick> {
        self.timeout_s
    }

    /// By whom outcomes are labelled.
    pub(super) fn by(&self) -> &'static str {
        if self.timeout_s.is_some() { "kafka" } else { "webhook" }
    }

    /// What was answered to an order, in order.
    pub(super) fn known(&self, id: ActionId) -> &[Known] {
        self.answers.get(&id).map_or(&[], Vec::as_slice)
    }
}
