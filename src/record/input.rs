//! Inputs: everything beside alerts that can change a result. What is not in the log did not happen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{ActionId, AlertId, DecisionId, IncidentId};
use super::judgement::Triage;
use super::names::Sym;
use super::time::{Epoch, Millis, Tick};

/// What kind of input a row of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// A partition's clock was moved by elapsed time.
    Tick,
    /// A person approved or denied an escalated decision.
    Approval,
    /// An analyst's word on an incident.
    Verdict,
    /// An executor's answer.
    Receipt,
    /// A model's answer.
    Score,
    /// A context table changed.
    Context,
    /// Another model was promoted.
    Promotion,
    /// A batch came in over HTTP.
    Push,
    /// An archive was looked through for incidents' indicators.
    Sighting,
    /// A finding that was acted on early was withdrawn.
    Withdrawal,
}

impl InputKind {
    /// The archive's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            InputKind::Tick => "tick",
            InputKind::Approval => "approval",
            InputKind::Verdict => "verdict",
            InputKind::Receipt => "receipt",
            InputKind::Score => "score",
            InputKind::Context => "context",
            InputKind::Promotion => "promotion",
            InputKind::Push => "push",
            InputKind::Sighting => "sighting",
            InputKind::Withdrawal => "withdrawal",
        }
    }
}

/// A row of the `inputs` table.
#[derive(Clone, Debug, PartialEq)]
pub struct InputRow {
    /// The epoch that took it in.
    pub epoch: Epoch,
    /// The settled tick then.
    pub tick: Tick,
    /// Whose; `Sym::EMPTY` for all.
    pub tenant: Sym,
    /// What it is.
    pub kind: InputKind,
    /// JSON.
    pub body: String,
}

/// A row of the `epochs` table: what one epoch took from one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRow {
    /// The epoch.
    pub epoch: Epoch,
    /// The tick below which all is settled at its end.
    pub tick: Tick,
    /// The source's name.
    pub source: Sym,
    /// The partition within it.
    pub partition: u32,
    /// Position of the first record taken.
    pub from: u64,
    /// Position of the last record taken.
    pub to: u64,
    /// Records taken: those that became alerts or duplicates, rejects and ignored ones.
    pub records: u64,
    /// Of these, ignored ones.
    pub ignored: u64,
    /// Alerts and duplicates beyond the first of their record: an event may match several rules.
    pub further: u64,
}

/// An analyst's word on an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// On what.
    pub incident_id: IncidentId,
    /// What it was.
    pub verdict: Triage,
    /// Who says so.
    pub by: String,
    /// When, in wall-clock milliseconds: an input like any other.
    pub time: Millis,
}

/// An analyst's word that something does not belong in an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unlink {
    /// In which.
    pub incident_id: IncidentId,
    /// What does not.
    pub unlink: Unrelated,
    /// Who says so.
    pub by: String,
    /// When, in wall-clock milliseconds.
    pub time: Millis,
}

/// What is not related.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unrelated {
    /// An alert, to all others.
    Alert(AlertId),
    /// Alerts by an entity that they share: `host:web-1`.
    Entity(String),
    /// Two alerts, by a link between them.
    Link(AlertId, AlertId),
}

/// Findings of one tenant that were acted on early, and that late alerts undid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Withdrawals {
    /// These.
    pub withdrawn: Vec<Withdrawal>,
}

/// One of these findings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Withdrawal {
    /// Of which rule.
    pub correlation: String,
    /// Its `group-by` values.
    pub group: String,
    /// The event time at which it was complete.
    pub time: Millis,
    /// What it was made of, in order.
    pub alert_ids: Vec<AlertId>,
}

/// A person's answer to an escalated decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// On what.
    pub decision_id: DecisionId,
    /// Approved, or denied.
    pub approved: bool,
    /// Who says so.
    pub by: String,
    /// When, in wall-clock milliseconds.
    pub time: Millis,
}

/// What came of an order, as whoever carried it out says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// Of which.
    pub action_id: ActionId,
    /// How it ended.
    pub status: Ended,
    /// What else there is to say of it.
    #[serde(default)]
    pub detail: String,
    /// Who says so.
    #[serde(default)]
    pub by: String,
    /// When, in wall-clock milliseconds.
    pub time: Millis,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It is done.
    Succeeded,
    /// It is not done, for good.
    Failed,
}
