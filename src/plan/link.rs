//! Linking: what evidence joins alerts into incidents. The `link:` part of `pipeline.yml`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::{EntityKind, Tick};

/// All thresholds of linking. Surprise is in thousandths of a decade, time in seconds.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSettings {
    /// Kinds of entity that may link two alerts.
    pub entities: Vec<EntityKind>,
    /// From this surprise of its (subject, rule) pair an alert is evidence of its own.
    pub surprise_strong: i32,
    /// From this surprise it may join a strong incident that shares an entity.
    pub surprise_entity: i32,
    /// From this surprise it may join the site's latest strong incident.
    pub surprise_site: i32,
    /// An entity whose alerts surprise in more hours than this leaves (a surprise of its own surprises) does not link.
    pub entity_novelty: i32,
    /// The same for a rule.
    pub rule_novelty: i32,
    /// An incident is strong from this sum, over its rules, of the strongest surprise of each.
    pub strong: i32,
    /// What a correlation's finding adds to that sum.
    pub correlation_weight: i32,
    /// Distinct (subject, rule) pairs within the window beyond which an entity no longer links.
    pub degree_max: usize,
    /// An alert continues the incident of its own pair for so long.
    pub pair_gap_s: Tick,
    /// It joins that of a shared entity for so long.
    pub entity_gap_s: Tick,
    /// It joins that of the same rule on another subject for so long.
    pub rule_gap_s: Tick,
    /// It joins the site's latest strong incident for so long.
    pub site_gap_s: Tick,
    /// Strong incidents on a shared subject join for so long.
    pub campaign_gap_s: Tick,
    /// How many surprises of the site are to be expected within a rule's or the site's gap before the gap shrinks.
    pub coincidences_max: f64,
    /// An incident takes in what comes within so long of its beginning.
    pub age_max_s: Tick,
    /// It spans no more than this, whatever joins.
    pub span_max_s: Tick,
    /// A background session of a rare pair ends after so long without an alert.
    pub background_rare_gap_s: Tick,
    /// That of a common pair.
    pub background_gap_s: Tick,
    /// Active hours from which a pair is common.
    pub background_common_hours: f64,
    /// A background session spans no more than this.
    pub background_span_s: Tick,
}

impl Default for LinkSettings {
    /// What was measured best on four AIT scenarios; see README.
    fn default() -> Self {
        Self {
            entities: vec![
                EntityKind::Host,
                EntityKind::User,
                EntityKind::Ip,
                EntityKind::Hash,
                EntityKind::Mailbox,
                EntityKind::Resource,
            ],
            surprise_strong: 1_300,
            surprise_entity: 700,
            surprise_site: 950,
            entity_novelty: 500,
            rule_novelty: 700,
            strong: 12_000,
            correlation_weight: 3_000,
            degree_max: 32,
            pair_gap_s: 900,
            entity_gap_s: 1_800,
            rule_gap_s: 900,
            site_gap_s: 900,
            campaign_gap_s: 86_400,
            coincidences_max: 4.0,
            age_max_s: 86_400,
            span_max_s: 3 * 86_400,
            background_rare_gap_s: 120,
            background_gap_s: 12 * 3_600,
            background_common_hours: 4.0,
            background_span_s: 86_400,
        }
    }
}
