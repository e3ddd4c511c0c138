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
    /// From this surprise of its own an entity is rare: its alerts belong together, however common their rules.
    pub entity_rare: i32,
    /// Active hours from which on an entity that was rare has become a habit.
    pub habit_hours: f64,
    /// A rare entity of several subjects joins from this weight. Weights are decades of odds against chance within an hour.
    pub rare_weight: i32,
    /// One of a single subject.
    pub rare_alone_weight: i32,
    /// Another entity joins surprising alerts from this weight.
    pub entity_weight: i32,
    /// The same rule on another subject joins them from this weight.
    pub rule_weight: i32,
    /// That nothing else happens joins them to the site's latest strong incident from this weight.
    pub site_weight: i32,
    /// A shared subject makes one campaign of two strong incidents from this weight.
    pub campaign_weight: i32,
    /// The surprise that going on with the incident of its own pair needs before it may merge that with others.
    pub session_weight: i32,
    /// From this weight on something foreign that the incident of its own pair does not know keeps an alert from going on
    /// with that.
    pub strange_weight: i32,
    /// How much more than joining it takes to merge two incidents.
    pub merge_weight: i32,
    /// An incident is strong from this sum, over its rules, of the strongest surprise of each.
    pub strong: i32,
    /// What a correlation's finding adds to that sum.
    pub correlation_weight: i32,
    /// Distinct (subject, rule) pairs within the window beyond which an entity or rule no longer links surprising alerts; and
    /// entities of a kind that surprise within an hour beyond which it is a flood, in which one more says little.
    pub degree_max: usize,
    /// An alert continues the incident of its own pair for so long.
    pub pair_gap_s: Tick,
    /// It joins that of a rare entity for so long, a day at most.
    pub rare_gap_s: Tick,
    /// The same, where that is a host, an account, a private address or a mailbox of the site.
    pub own_gap_s: Tick,
    /// It joins that of a shared entity for so long.
    pub entity_gap_s: Tick,
    /// It joins that of the same rule on another subject for so long.
    pub rule_gap_s: Tick,
    /// It joins the site's latest strong incident for so long.
    pub site_gap_s: Tick,
    /// Strong incidents on a shared subject join for so long.
    pub campaign_gap_s: Tick,
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
    /// A pair that surprises less than this never stops: its background session spans as much as any incident.
    pub background_steady_surprise: i32,
    /// With so many alerts even such a session ends when it spans more than others do.
    pub background_steady_alerts: u32,
}

impl Default for LinkSettings {
    /// What was measured best on four AIT scenarios and on generated sites; see README.
    fn default() -> Self {
        Self {
            entities: EntityKind::ALL.to_vec(),
            surprise_strong: 1_300,
            surprise_entity: 700,
            surprise_site: 950,
            entity_rare: 1_300,
            habit_hours: 16.0,
            rare_weight: 800,
            rare_alone_weight: 1_300,
            entity_weight: 1_500,
            rule_weight: 2_000,
            site_weight: -200,
            campaign_weight: 0,
            session_weight: 300,
            strange_weight: 500,
            merge_weight: 500,
            strong: 12_000,
            correlation_weight: 3_000,
            degree_max: 32,
            pair_gap_s: 900,
            rare_gap_s: 86_400,
            own_gap_s: 7_200,
            entity_gap_s: 1_800,
            rule_gap_s: 900,
            site_gap_s: 900,
            campaign_gap_s: 86_400,
            age_max_s: 86_400,
            span_max_s: 3 * 86_400,
            background_rare_gap_s: 120,
            background_gap_s: 12 * 3_600,
            background_common_hours: 4.0,
            background_span_s: 86_400,
            background_steady_surprise: 50,
            background_steady_alerts: 8_000,
        }
    }
}
