//! What correlation says: findings of correlation rules, membership of incidents, links between alerts.

use serde::{Deserialize, Serialize};

use super::entity::Entity;
use super::id::{AlertId, IncidentId};
use super::names::Sym;
use super::time::{Diff, Millis, Tick};

/// A correlation's match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// Tick of the alert that completed it; of what is connected, when nothing can join it any more, or by when it is told anew.
    pub tick: Tick,
    /// Whose.
    pub tenant: Sym,
    /// The correlation rule's name.
    pub correlation: Sym,
    /// The values of its `group-by` fields, joined by a space, as text in [`super::Names`]; of what is connected, those of its
    /// first alert.
    pub group: Sym,
    /// Event time of the alert that completed it; of what is connected, of the last so far.
    pub time: Millis,
    /// The alerts that made it, in order.
    pub alert_ids: Vec<AlertId>,
}

impl Finding {
    /// Whether it says of the same group what another one of its rule does, and maybe more.
    #[must_use]
    pub fn holds(&self, other: &Finding) -> bool {
        let of = |finding: &Finding| (finding.tenant, finding.correlation, finding.group);
        of(self) == of(other) && other.alert_ids.iter().all(|id| self.alert_ids.contains(id))
    }
}

/// An alert's membership of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Tick of the alert, or of the merge that moved it.
    pub tick: Tick,
    /// Whose.
    pub tenant: Sym,
    /// Where it belongs.
    pub incident_id: IncidentId,
    /// What belongs.
    pub alert_id: AlertId,
    /// Added or taken back.
    pub diff: Diff,
}

/// Kinds of evidence that join alerts.
pub const EVIDENCE: [EvidenceKind; 8] =
    ["session", "rare", "entity", "encounter", "rule", "site", "campaign", CORRELATION];

/// The evidence that a correlation rule's finding is.
pub const CORRELATION: EvidenceKind = "correlation";

/// A kind of evidence.
pub type EvidenceKind = &'static str;

/// The kind of evidence of that name.
#[must_use]
pub fn evidence_of(name: &str) -> Option<EvidenceKind> {
    EVIDENCE.into_iter().find(|kind| *kind == name)
}

fn read_evidence<'de, D: serde::Deserializer<'de>>(from: D) -> Result<EvidenceKind, D::Error> {
    let name = std::borrow::Cow::<'de, str>::deserialize(from)?;
    evidence_of(&name).ok_or_else(|| serde::de::Error::custom(format!("{name:?} is no kind of evidence")))
}

/// Why an alert is in an incident with another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Tick of the later alert.
    pub tick: Tick,
    /// Whose.
    pub tenant: Sym,
    /// The incident that holds both.
    pub incident_id: IncidentId,
    /// The later alert.
    pub alert_id: AlertId,
    /// The earlier one.
    pub other_alert_id: AlertId,
    /// What they share; none where a correlation or the site's campaign joined them.
    pub entity: Option<Entity>,
    /// The kind of evidence, one of [`EVIDENCE`].
    #[serde(deserialize_with = "read_evidence")]
    pub evidence: EvidenceKind,
    /// The evidence's weight in thousandths of a decade: the later alert's surprise, or a rare entity's odds against chance.
    pub weight: i32,
    /// Added or taken back.
    pub diff: Diff,
}
