//! Features: what the model sees of one version of an incident, point in time: nothing later than the version's tick.

/// Numeric features, all scaled to about [0, 1]; their names in order. A model records them and refuses to load
/// where they differ.
pub const NUMERIC: [&str; 44] = [
    "log_alerts",
    "log_duration",
    "log_rate",
    "severity_max",
    "share_informational",
    "share_low",
    "share_medium",
    "share_high",
    "share_critical",
    "tactic_reconnaissance",
    "tactic_resource_development",
    "tactic_initial_access",
    "tactic_execution",
    "tactic_persistence",
    "tactic_privilege_escalation",
    "tactic_defense_evasion",
    "tactic_credential_access",
    "tactic_discovery",
    "tactic_lateral_movement",
    "tactic_collection",
    "tactic_command_and_control",
    "tactic_exfiltration",
    "tactic_impact",
    "tactic_count",
    "technique_count",
    "rule_count",
    "product_count",
    "host_count",
    "user_count",
    "ip_count",
    "hash_count",
    "mailbox_count",
    "resource_count",
    "entity_count",
    "evidence",
    "linked",
    "correlation_count",
    "criticality",
    "privilege",
    "indicator",
    "indicator_count",
    "exposed",
    "protected",
    "history_log_count",
];

/// Buckets of the hashed rule and technique names.
pub const BUCKETS: u16 = 2048;
/// Hashed names that the model sees of one incident: rule titles (most alerts first), then techniques.
pub const TOKENS: usize = 24;

/// One row of input to the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// In the order of [`NUMERIC`].
    pub numeric: [f32; NUMERIC.len()],
    /// Buckets in 1..BUCKETS of hashed names, sorted; 0 pads.
    pub tokens: [u16; TOKENS],
}
