//! Context: what is known of an entity beside the alerts: tables that change while the run goes on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::Entity;
use super::names::Sym;
use super::time::Millis;

/// The tables that an entity is looked up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContextTable {
    /// Hosts and addresses: whose, how critical, how exposed, whether protected.
    Assets,
    /// Accounts: whether privileged, whether protected.
    Identities,
    /// What threat intelligence says of an address, domain, hash, URL or mailbox.
    Indicators,
    /// Networks by CIDR: what an address lies in, the longest prefix first.
    Zones,
    /// What scanners found on hosts and addresses, by CVE.
    Vulnerabilities,
    /// Entities that never link alerts: shared accounts, scanners, gateways.
    NeverLink,
}

impl ContextTable {
    /// Every table, in the order in which plans name them.
    pub const ALL: [ContextTable; 6] = [
        ContextTable::Assets,
        ContextTable::Identities,
        ContextTable::Indicators,
        ContextTable::Zones,
        ContextTable::Vulnerabilities,
        ContextTable::NeverLink,
    ];

    /// What plans call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ContextTable::Assets => "assets",
            ContextTable::Identities => "identities",
            ContextTable::Indicators => "indicators",
            ContextTable::Zones => "zones",
            ContextTable::Vulnerabilities => "vulnerabilities",
            ContextTable::NeverLink => "never_link",
        }
    }
}

/// From where a network can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exposure {
    /// From our own networks only.
    Internal,
    /// It is ours, and the internet reaches it.
    Dmz,
    /// It is not ours.
    External,
}

impl Exposure {
    /// The exposure of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Exposure> {
        match name {
            "internal" => Some(Exposure::Internal),
            "dmz" => Some(Exposure::Dmz),
            "external" => Some(Exposure::External),
            _ => None,
        }
    }
}

/// What is said of an entity. Its names are interned in the dataflow, and text in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "table", rename_all = "snake_case")]
pub enum Known<T = Sym> {
    /// A row of assets.
    Assets {
        /// 0 to 4.
        criticality: u8,
        /// Reachable from the internet.
        exposed: bool,
        /// Who answers for it; empty where nobody is named.
        owner: T,
    },
    /// A row of identities.
    Identities {
        /// 0 to 2.
        privilege: u8,
    },
    /// A row of indicators.
    Indicators {
        /// 0 to 100.
        confidence: u8,
    },
    /// A row of zones, about a network; or about an address in it, whose longest prefix it is.
    Zones {
        /// The zone's name.
        zone: T,
        /// From where it can be reached.
        exposure: Exposure,
    },
    /// A row of vulnerabilities.
    Vulnerabilities {
        /// The CVE's id.
        cve: T,
        /// Its CVSS base score, in tenths: 0 to 100.
        base_score: u8,
        /// Whether an exploit is known.
        is_exploit_available: bool,
    },
    /// A row of the list of entities that never link.
    NeverLink,
    /// What our own archive says of an indicator: see [`Sighting`].
    Sightings(Sighting),
}

impl<T> Known<T> {
    /// The same with other names.
    #[must_use]
    pub fn map<U>(self, name: impl Fn(T) -> U) -> Known<U> {
        match self {
            Known::Assets { criticality, exposed, owner } => {
                Known::Assets { criticality, exposed, owner: name(owner) }
            }
            Known::Identities { privilege } => Known::Identities { privilege },
            Known::Indicators { confidence } => Known::Indicators { confidence },
            Known::Zones { zone, exposure } => Known::Zones { zone: name(zone), exposure },
            Known::Vulnerabilities { cve, base_score, is_exploit_available } => {
                Known::Vulnerabilities { cve: name(cve), base_score, is_exploit_available }
            }
            Known::NeverLink => Known::NeverLink,
            Known::Sightings(sighting) => Known::Sightings(sighting),
        }
    }
}

/// How often our own archive has an entity in the days before an incident's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sighting {
    /// The day of the incident's first alert, counted from 1970: what came before it was looked through.
    pub day: i32,
    /// How many days were looked through.
    pub days: u16,
    /// Alerts with the entity.
    pub alerts: u64,
    /// Records that could not become alerts and whose text has it.
    pub rejects: u64,
    /// Records of no concern that name it.
    #[serde(default)]
    pub ignored: u64,
    /// Event time of the first of these; 0 where there is none.
    pub first_seen: Millis,
    /// Event time of the last.
    pub last_seen: Millis,
}

/// [`Known`] on its way to another process: a tag among the fields takes a format that describes itself.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Known")]
enum Tagged {
    Assets { criticality: u8, exposed: bool, owner: Sym },
    Identities { privilege: u8 },
    Indicators { confidence: u8 },
    Zones { zone: Sym, exposure: Exposure },
    Vulnerabilities { cve: Sym, base_score: u8, is_exploit_available: bool },
    NeverLink,
    Sightings(Sighting),
}

/// What a table says of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContextRow {
    /// Whose table it is; `Sym::EMPTY` for every tenant.
    pub tenant: Sym,
    /// Never to be acted on without a person.
    pub protected: bool,
    /// What it says.
    #[serde(with = "Tagged")]
    pub known: Known,
}

/// Vulnerabilities that an incident's facts name; the others are counted.
pub const VULNERABILITIES_MAX: usize = 16;

/// What the context says of one version of an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContextFacts {
    /// The highest criticality among its assets, 0 to 4.
    pub criticality: u8,
    /// The highest privilege among its identities, 0 to 2.
    pub privilege: u8,
    /// The highest confidence among its indicators, 0 to 100.
    pub indicator: u8,
    /// How many of its entities are indicators.
    pub indicator_count: u32,
    /// Whether one of its assets is exposed, or lies in a zone that is.
    pub exposed: bool,
    /// Entities of it that are protected, themselves or by their zone, sorted by text.
    pub protected: Vec<Entity>,
    /// Entities of it that are indicators, sorted by text.
    pub indicators: Vec<Entity>,
    /// Who answers for its assets, sorted by text.
    pub owners: Vec<Sym>,
    /// Zones that its addresses lie in, sorted by text.
    pub zones: Vec<Sym>,
    /// The worst vulnerabilities of its assets, worst first: known exploits, then by score; at most
    /// [`VULNERABILITIES_MAX`].
    pub vulnerabilities: Vec<Sym>,
    /// How many distinct ones there are.
    pub vulnerability_count: u32,
    /// The highest CVSS base score among them, in tenths: 0 to 100.
    pub base_score: u8,
    /// Whether an exploit of one is known.
    pub is_exploit_available: bool,
    /// Indicators of it that our archive has seen in the days before, sorted by text.
    pub sighted: Vec<Entity>,
    /// How often.
    pub sightings: u64,
    /// Event time of the first sighting; 0 where there is none.
    pub first_sighted: Millis,
    /// Event time of the last.
    pub last_sighted: Millis,
}
