//! Rows: what the writer is given. The nouns as they are, and with what the archive tells beside them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::record::{
    Alert, AlertId, ContextFacts, Decision, DecisionId, Diff, EpochRow, Features, Finding, Incident,
    Judgement, Sym, Tick, Verdict,
};

/// An alert, repeats included.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRow {
    /// The alert.
    pub alert: Arc<Alert>,
    /// The alert of the same rule and entities, within the dedup window, that it repeats.
    pub repeat_of: Option<AlertId>,
}

/// A correlation's match, made or withdrawn.
#[derive(Clone, Debug, PartialEq)]
pub struct FindingRow {
    /// The match.
    pub finding: Finding,
    /// Made or withdrawn.
    pub diff: Diff,
}

/// A version of an incident with what the model saw of it and said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentRow {
    /// The version.
    pub incident: Arc<Incident>,
    /// The model's answer; none where it was not asked.
    pub judgement: Option<Judgement>,
    /// What the model saw; none where it was not asked.
    pub features: Option<Arc<Features>>,
    /// What the context said of it.
    pub context: ContextFacts,
}

/// A ruling, or the word that a later one replaced it: then the same row again, with `superseded_by`.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRow {
    /// The ruling.
    pub decision: Decision,
    /// The decision that replaced it. Of two rows of one decision, the one that has this is the last word.
    pub superseded_by: Option<DecisionId>,
    /// The plan that ruled.
    pub plan_hash: Sym,
}

/// An analyst's word, with whose incident it is about and the settled tick at which it came.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictRow {
    /// The word.
    pub verdict: Verdict,
    /// Whose.
    pub tenant: Sym,
    /// The settled tick then.
    pub tick: Tick,
}

/// A turn of ingest, with the plan and the model in force.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnRow {
    /// What it took from one partition.
    pub turn: EpochRow,
    /// The plan in force.
    pub plan_hash: Sym,
    /// The model in force.
    pub model_version: Sym,
}
