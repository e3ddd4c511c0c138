//! Features: what the model sees of one version of an incident, point in time: nothing later than the version's tick.

use serde::{Deserialize, Serialize};

/// Numeric features, all scaled to about [0, 1]; their names in order. A model records them and refuses to load
/// where they differ.
pub const NUMERIC: [&str; 48] = [
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
    "domain_count",
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
    "history_true_positive",
    "history_benign_positive",
    "history_false_positive",
];

/// Where the columns begin that the model's own history fills in: 0 until then.
pub const HISTORY: usize = NUMERIC.len() - 4;

/// Buckets of the hashed rule and technique names.
pub const BUCKETS: u16 = 2048;
/// Hashed names that the model sees of one incident: rules (most alerts first), correlations, techniques, products.
pub const TOKENS: usize = 24;

/// One row of input to the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Features {
    /// In the order of [`NUMERIC`]; steps of 1/4096, so that no two machines' logarithms differ.
    #[serde(with = "numeric")]
    pub numeric: [f32; NUMERIC.len()],
    /// Buckets in 1..BUCKETS of hashed names; 0 pads.
    pub tokens: [u16; TOKENS],
    /// Keys into the model's history, 24 bits each: the commonest rule, the tenant, that rule at that tenant.
    pub history: [u32; 3],
}

/// So many numbers are more than serde knows of arrays.
mod numeric {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::NUMERIC;

    pub(super) fn serialize<S: Serializer>(numbers: &[f32; NUMERIC.len()], to: S) -> Result<S::Ok, S::Error> {
        numbers[..].serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[f32; NUMERIC.len()], D::Error> {
        let numbers = Vec::<f32>::deserialize(from)?;
        numbers.try_into().map_err(|_| D::Error::custom("features of another model"))
    }
}

/// Numbers in [`Features::row`].
pub const ROW: usize = NUMERIC.len() + TOKENS + 3;

impl Features {
    /// All of it as one row of numbers, each exact in an `f32`: the archive's `features` column.
    #[must_use]
    pub fn row(&self) -> [f32; ROW] {
        let mut row = [0.0; ROW];
        let tokens = self.tokens.iter().map(|token| f32::from(*token));
        #[expect(clippy::cast_precision_loss, reason = "keys have 24 bits, as many as an f32 holds")]
        let history = self.history.iter().map(|key| *key as f32);
        for (to, from) in row.iter_mut().zip(self.numeric.into_iter().chain(tokens).chain(history)) {
            *to = from;
        }
        row
    }

    /// Reads what `row` writes; none where the length differs, or a number is none that `row` could have written.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole and in range"
    )]
    pub fn of_row(row: &[f32]) -> Option<Features> {
        let whole = |value: f32, bound: u32| {
            (value >= 0.0 && value < bound as f32 && value.fract() == 0.0).then_some(value as u32)
        };
        if row.len() != ROW || !row.iter().all(|value| value.is_finite()) {
            return None;
        }
        let (numeric, rest) = row.split_at(NUMERIC.len());
        let (names, keys) = rest.split_at(TOKENS);
        let mut features =
            Features { numeric: numeric.try_into().ok()?, tokens: [0; TOKENS], history: [0; 3] };
        for (to, from) in features.tokens.iter_mut().zip(names) {
            *to = whole(*from, u32::from(BUCKETS))? as u16;
        }
        for (to, from) in features.history.iter_mut().zip(keys) {
            *to = whole(*from, 1 << 24)?;
        }
        Some(features)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back() {
        let mut features =
            Features { numeric: [0.25; NUMERIC.len()], tokens: [7; TOKENS], history: [0, 1, 0xFF_FFFF] };
        features.tokens[3] = BUCKETS - 1;
        assert_eq!(Features::of_row(&features.row()), Some(features.clone()));
        assert_eq!(Features::of_row(&features.row()[1..]), None);
        features.numeric[0] = f32::NAN;
        assert_eq!(Features::of_row(&features.row()), None);
    }
}
