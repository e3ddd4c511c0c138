//! Order: one command to the world, with its identity.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::canonical;
use crate::record::{ActionClass, ActionId, DecisionId, IncidentId, Tick, Verb};

/// One command. Its JSON is what the ledger keeps as the intent and what a webhook is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Its identity, and the vendor's idempotency key.
    pub action_id: ActionId,
    /// Whose.
    pub tenant: String,
    /// The ruling behind it.
    pub decision_id: DecisionId,
    /// The incident behind it.
    pub incident_id: IncidentId,
    /// The playbook's name.
    pub playbook: String,
    /// Its use case.
    pub use_case: String,
    /// The step's CACAO id.
    pub step: String,
    /// Who carries it out, by name.
    pub agent: String,
    /// What is done.
    pub verb: Verb,
    /// To what: `host:mail`, `incident:...`.
    pub target: String,
    /// The OpenC2 command or the text for people, variables filled in.
    #[serde(with = "crate::record::pen::json")]
    pub parameters: Value,
    /// What may be done with it in doubt.
    pub class: ActionClass,
    /// Seconds after which it will be undone.
    pub ttl_s: Option<u32>,
    /// The action that this one undoes.
    pub undo_of: Option<ActionId>,
    /// Milliseconds after which it has failed.
    pub timeout_ms: Option<u64>,
    /// The tick that it was due at.
    pub requested: Tick,
}

/// The identity of an action: no clock, worker or score is in it. `occurrence` counts effects of the same command
/// on the same target that ended before.
#[must_use]
pub fn action_id(
    tenant: &str,
    incident: IncidentId,
    playbook_hash: &[u8; 32],
    step: &str,
    target: &str,
    parameters: &Value,
    occurrence: u32,
) -> ActionId {
    ActionId::of(&[
        tenant.as_bytes(),
        &incident.0,
        playbook_hash,
        step.as_bytes(),
        target.as_bytes(),
        canonical::text(parameters).as_bytes(),
        &occurrence.to_le_bytes(),
    ])
}

/// The identity of what undoes an action.
pub(super) fn undo_id(action: ActionId) -> ActionId {
    ActionId::of(&[b"undo", &action.0])
}

impl Order {
    /// The order that undoes this one.
    #[must_use]
    pub fn undo(&self, verb: Verb, requested: Tick) -> Order {
        Order {
            action_id: undo_id(self.action_id),
            verb,
            ttl_s: None,
            undo_of: Some(self.action_id),
            requested,
            ..self.clone()
        }
    }
}
