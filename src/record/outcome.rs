//! Outcome: what came of an action or an incident, with who says so. The next model learns from these.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{ActionId, IncidentId};
use super::judgement::Triage;
use super::names::Sym;
use super::time::{Diff, Millis, Tick};

/// Who says so. Automation's closures are not analysts' labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabelSource {
    /// An analyst.
    Human,
    /// An executor's receipt.
    Automation,
    /// The model itself: never learned from.
    Model,
}

impl LabelSource {
    /// The archive's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LabelSource::Human => "human",
            LabelSource::Automation => "automation",
            LabelSource::Model => "model",
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The action; none where the outcome is of an incident on which nothing was done.
    pub action_id: Option<ActionId>,
    /// The incident.
    pub incident_id: IncidentId,
    /// The tick at which it became known.
    pub tick: Tick,
    /// Whose.
    pub tenant: Sym,
    /// Whether the action did what it should; none where nobody can tell.
    pub success: Option<bool>,
    /// What the incident was.
    pub verdict: Option<Triage>,
    /// Who says so.
    pub label_source: LabelSource,
    /// By name: an analyst, an executor, a model version.
    pub labelled_by: String,
    /// When, in event time.
    pub time: Millis,
    /// Said or taken back.
    pub diff: Diff,
}
