//! Alert: one detection by one product, as the dataflow sees it: numbers and interned names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::attack::Tactics;
use super::entity::{Entity, Observable};
use super::id::AlertId;
use super::names::Sym;
use super::time::{Millis, Tick};

/// OCSF `severity_id`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Severity {
    /// 0: the product did not say.
    #[default]
    Unknown,
    /// 1
    Informational,
    /// 2
    Low,
    /// 3
    Medium,
    /// 4
    High,
    /// 5
    Critical,
    /// 6
    Fatal,
}

impl Severity {
    /// Every severity, in order of its OCSF id.
    pub const ALL: [Severity; 7] = [
        Severity::Unknown,
        Severity::Informational,
        Severity::Low,
        Severity::Medium,
        Severity::High,
        Severity::Critical,
        Severity::Fatal,
    ];

    /// OCSF `severity_id`.
    #[must_use]
    pub fn id(self) -> u8 {
        self as u8
    }

    /// The severity of an OCSF id; what OCSF does not name is unknown.
    #[must_use]
    pub fn of_id(id: u8) -> Severity {
        Self::ALL.get(usize::from(id)).copied().unwrap_or_default()
    }

    /// The word for it, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Severity::Unknown => "unknown",
            Severity::Informational => "informational",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
            Severity::Fatal => "fatal",
        }
    }
}

/// One detection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Its identity.
    pub id: AlertId,
    /// When it happened.
    pub time: Millis,
    /// The second in which it counts: its event time, clamped to its partition's clock less the allowed lateness.
    pub tick: Tick,
    /// Whose it is; alerts of two tenants never meet.
    pub tenant: Sym,
    /// The source's name.
    pub source: Sym,
    /// The record's place in its source: first line from 1, or offset.
    pub position: u64,
    /// The product that raised it.
    pub product: Sym,
    /// The rule's id at the product, or its name where it has none.
    pub rule: Sym,
    /// The rule's name.
    pub title: Sym,
    /// How bad the product says it is.
    pub severity: Severity,
    /// Whether the vendor named it: only then can it be a duplicate of another.
    pub identified: bool,
    /// Whether its record became another alert before: an event may match several rules. Only ingest counts by this.
    pub further: bool,
    /// The tactics among `attacks`.
    pub tactics: Tactics,
    /// ATT&CK ids, canonical: see [`super::attack`].
    pub attacks: Sym,
    /// What it is about; each entity once a role, in the order of the mapping.
    pub entities: SmallVec<[Observable; 4]>,
    /// JSON of the fields that the mapping did not take, where it keeps them.
    pub unmapped: Option<Box<str>>,
}

impl Alert {
    /// One that says nothing, for tests of a few of its fields.
    #[cfg(test)]
    pub(crate) fn bare() -> Alert {
        Alert {
            id: AlertId::default(),
            time: 0,
            tick: 0,
            tenant: Sym::EMPTY,
            source: Sym::EMPTY,
            position: 0,
            product: Sym::EMPTY,
            rule: Sym::EMPTY,
            title: Sym::EMPTY,
            severity: Severity::Low,
            identified: false,
            further: false,
            tactics: Tactics::default(),
            attacks: Sym::EMPTY,
            entities: SmallVec::new(),
            unmapped: None,
        }
    }

    /// Its place in the order in which results are computed.
    #[must_use]
    pub fn order(&self) -> Order {
        Order { tick: self.tick, time: self.time, id: self.id, position: self.position }
    }

    /// The first entity that the alert is about: the one that a background session is kept of.
    #[must_use]
    pub fn subject(&self) -> Option<Entity> {
        self.entities.first().map(|observable| observable.entity)
    }
}

/// The total order of records: by tick, then event time, then identity; the position parts two copies of one alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Order {
    /// See [`Alert::tick`].
    pub tick: Tick,
    /// Event time.
    pub time: Millis,
    /// Identity.
    pub id: AlertId,
    /// Place in the source.
    pub position: u64,
}

/// The same alert seen again within 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Duplicate {
    /// The alert that it repeats.
    pub alert_id: AlertId,
    /// Its own tick.
    pub tick: Tick,
    /// Event time.
    pub time: Millis,
    /// Whose.
    pub tenant: Sym,
    /// The source's name.
    pub source: Sym,
    /// Its place there.
    pub position: u64,
}
