//! Context: what is known of an entity beside the alerts: tables that change while the run goes on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::Entity;
use super::names::Sym;

/// The tables that an entity is looked up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContextTable {
    /// Hosts and addresses: how critical, how exposed, whether protected.
    Assets,
    /// Accounts: whether privileged, whether protected.
    Identities,
    /// What threat intelligence says of an address, domain, hash, URL or mailbox.
    Indicators,
    /// Entities that never link alerts: shared accounts, scanners, gateways.
    NeverLink,
}

/// What a table says of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContextRow {
    /// The table.
    pub table: ContextTable,
    /// Assets: criticality 0 to 4. Identities: privilege 0 to 2. Indicators: confidence 0 to 100.
    pub grade: u8,
    /// Reachable from the internet (assets).
    pub exposed: bool,
    /// Never to be acted on without a person.
    pub protected: bool,
    /// Whose table it is; `Sym::EMPTY` for every tenant.
    pub tenant: Sym,
}

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
    /// Whether one of its assets is exposed.
    pub exposed: bool,
    /// Entities of it that are protected, sorted by text.
    pub protected: Vec<Entity>,
    /// Entities of it that are indicators, sorted by text.
    pub indicators: Vec<Entity>,
}
