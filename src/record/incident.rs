//! Incident: a version of what links joined. The greatest version is its last word.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alert::Severity;
use super::attack::Tactics;
use super::entity::Entity;
use super::id::IncidentId;
use super::names::Sym;
use super::time::{Millis, Tick};

/// Whether evidence joined its alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// Evidence opened it.
    Linked,
    /// A session of one rule and one entity without evidence.
    Background,
}

impl IncidentKind {
    /// The archive's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            IncidentKind::Linked => "linked",
            IncidentKind::Background => "background",
        }
    }
}

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    /// May still grow.
    Open,
    /// The settled clock has passed its last alert by the window.
    Closed,
    /// Became part of another.
    Merged,
    /// Was taken apart by a revision.
    Split,
}

impl IncidentState {
    /// The archive's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            IncidentState::Open => "open",
            IncidentState::Closed => "closed",
            IncidentState::Merged => "merged",
            IncidentState::Split => "split",
        }
    }
}

/// What of an incident's alerts is unusual for its tenant: the most that any of them is. 0 where nothing is worth saying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unusual {
    /// How seldom one of its users or hosts is seen, in thousandths of a decade.
    pub rarity: i32,
    /// How seldom one of its users is active at that hour of the day, in thousandths of a decade.
    pub unusual_hour: i32,
    /// Whether a known user was on a known host for the first time.
    pub new_pair: bool,
}

impl Unusual {
    /// The most of both.
    #[must_use]
    pub fn max(self, other: Unusual) -> Unusual {
        Unusual {
            rarity: self.rarity.max(other.rarity),
            unusual_hour: self.unusual_hour.max(other.unusual_hour),
            new_pair: self.new_pair || other.new_pair,
        }
    }

    /// What is worth saying, whatever its measure.
    #[must_use]
    pub fn kinds(self) -> [bool; 3] {
        [self.rarity > 0, self.unusual_hour > 0, self.new_pair]
    }
}

/// One version of an incident, published at a settled tick.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its name, which never changes.
    pub id: IncidentId,
    /// Counts from 1.
    pub version: u32,
    /// The tick that it was published for.
    pub tick: Tick,
    /// Whose.
    pub tenant: Sym,
    /// Linked or background.
    pub kind: IncidentKind,
    /// Where it stands.
    pub state: IncidentState,
    /// The incident that took it in, where merged.
    pub merged_into: Option<IncidentId>,
    /// The incident that it goes on from, where `span_max` parted them.
    pub succeeds: Option<IncidentId>,
    /// Event time of its earliest alert.
    pub first_seen: Millis,
    /// Event time of its latest alert.
    pub last_seen: Millis,
    /// Alerts in it.
    pub alert_count: u64,
    /// Severities of its alerts: `severities[id]` is how many have that OCSF id.
    pub severities: [u32; 7],
    /// The highest severity.
    pub severity: Severity,
    /// Tactics seen.
    pub tactics: Tactics,
    /// ATT&CK ids seen, sorted by text.
    pub attacks: Arc<[Sym]>,
    /// Entities seen, sorted by text, at most [`ENTITIES_MAX`] of the first met.
    pub entities: Arc<[Entity]>,
    /// How many distinct entities were met, those beyond the bound included.
    pub entity_count: u32,
    /// Rules (their titles) with the number of alerts of each, sorted by text, at most [`RULES_MAX`] of the first met.
    pub rules: Arc<[(Sym, u32)]>,
    /// Products seen, sorted by text.
    pub products: Arc<[Sym]>,
    /// Correlation rules that fired in it, sorted by text.
    pub correlations: Arc<[Sym]>,
    /// Sum over its rules of the strongest surprise of each, in thousandths of a decade.
    pub evidence: i32,
    /// What of it is unusual; after a revision, of the alerts since.
    pub unusual: Unusual,
}

/// Entities that an incident carries; a flood's further ones are counted, not kept.
pub const ENTITIES_MAX: usize = 256;
/// Rules that an incident carries.
pub const RULES_MAX: usize = 256;
