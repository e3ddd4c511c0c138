//! Features of one version of an incident: a pure function of the version and of the context at its tick.
//!
//! In: an incident, what the context says of it. Out: [`Features`]; the history columns stay 0, the model fills them.
//! State: none.
//!
//! Counts are heavy-tailed, so they enter as `log(1 + n) / log(1 + full)`, where `full` is a count beyond which more says
//! no more. Names are hashed by BLAKE3: equal on every machine and in every run, unlike interned numbers.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::record::features::{BUCKETS, HISTORY, NUMERIC, TOKENS};
use crate::record::{ContextFacts, EntityKind, Features, Incident, IncidentKind, Names, Sym};

const RULES_MAX: usize = 12;
const CORRELATIONS_MAX: usize = 4;
const TECHNIQUES_MAX: usize = 6;
const PRODUCTS_MAX: usize = 2;
const _: () = assert!(RULES_MAX + CORRELATIONS_MAX + TECHNIQUES_MAX + PRODUCTS_MAX == TOKENS);

/// What the model sees of `incident`; nothing later than its tick enters.
#[must_use]
pub fn features_of(
    incident: &Incident,
    context: &ContextFacts,
    hashes: &mut Hashes,
    names: &Names,
) -> Features {
    let is_technique = |attack: &&Sym| names.with(**attack, |id| !id.starts_with("TA"));
    let techniques: SmallVec<[Sym; 8]> = incident.attacks.iter().filter(is_technique).copied().collect();
    let rules = commonest_first(&incident.rules);
    Features {
        numeric: numeric(incident, context, techniques.len()),
        tokens: tokens(incident, &rules, &techniques, hashes, names),
        history: keys(rules.first().copied(), incident.tenant, hashes, names),
    }
}

/// The keys into the model's history of an incident with alerts of `rules` (sorted, with their numbers of alerts).
#[must_use]
pub fn history_keys(rules: &[(Sym, u32)], tenant: Sym, names: &Names) -> [u32; 3] {
    keys(commonest_first(rules).first().copied(), tenant, &mut Hashes::default(), names)
}

/// Keys of 24 bits.
fn keys(rule: Option<Sym>, tenant: Sym, hashes: &mut Hashes, names: &Names) -> [u32; 3] {
    let rule = rule.unwrap_or(Sym::EMPTY);
    [
        hashes.of(What::Rule, [Some(rule), None], names),
        hashes.of(What::Tenant, [Some(tenant), None], names),
        hashes.of(What::TenantRule, [Some(tenant), Some(rule)], names),
    ]
    .map(|hash| hash & 0xFF_FFFF)
}

/// What a hashed name is of: equal texts of two kinds are two names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Rule,
    Correlation,
    Technique,
    Product,
    Tenant,
    TenantRule,
}

impl What {
    /// Hashed before the name: part of what a model has learned, never to be changed.
    fn text(self) -> &'static str {
        match self {
            What::Rule => "rule",
            What::Correlation => "correlation",
            What::Technique => "technique",
            What::Product => "product",
            What::Tenant => "tenant",
            What::TenantRule => "tenant-rule",
        }
    }
}

/// Hashes of names that were met: the same few rules and techniques come again with every incident. Emptied when it is
/// full: it saves time and never changes a hash.
#[derive(Debug, Default)]
pub struct Hashes {
    known: FxHashMap<(What, [Option<Sym>; 2]), u32>,
}

impl Hashes {
    const MAX: usize = 1 << 16;

    fn of(&mut self, what: What, of: [Option<Sym>; 2], names: &Names) -> u32 {
        if self.known.len() >= Self::MAX {
            self.known.clear();
        }
        *self.known.entry((what, of)).or_insert_with(|| {
            let mut all = SmallVec::<[u8; 256]>::from_slice(what.text().as_bytes());
            for part in of.into_iter().flatten() {
                all.push(0);
                names.with(part, |text| all.extend_from_slice(text.as_bytes()));
            }
            let [a, b, c, d, ..] = *blake3::hash(&all).as_bytes();
            u32::from_le_bytes([a, b, c, d])
        })
    }

    /// The bucket of a name, in 1..BUCKETS.
    fn bucket(&mut self, what: What, of: Sym, names: &Names) -> u16 {
        let within = self.of(what, [Some(of), None], names) % u32::from(BUCKETS - 1);
        u16::try_from(within + 1).unwrap_or(1)
    }
}

/// Rules by falling number of alerts; those of equal number stay in the order of their text.
fn commonest_first(rules: &[(Sym, u32)]) -> SmallVec<[Sym; 4]> {
    let mut sorted: SmallVec<[(Sym, u32); 4]> = rules.into();
    sorted.sort_by_key(|(_, alerts)| std::cmp::Reverse(*alerts));
    sorted.into_iter().map(|(rule, _)| rule).collect()
}

fn tokens(
    incident: &Incident,
    rules: &[Sym],
    techniques: &[Sym],
    hashes: &mut Hashes,
    names: &Names,
) -> [u16; TOKENS] {
    fn few(what: What, of: &[Sym], most: usize) -> impl Iterator<Item = (What, Sym)> {
        of.iter().take(most).map(move |name| (what, *name))
    }
    let all = few(What::Rule, rules, RULES_MAX)
        .chain(few(What::Correlation, &incident.correlations, CORRELATIONS_MAX))
        .chain(few(What::Technique, techniques, TECHNIQUES_MAX))
        .chain(few(What::Product, &incident.products, PRODUCTS_MAX));
    let mut tokens = [0; TOKENS];
    for (to, (what, name)) in tokens.iter_mut().zip(all) {
        *to = hashes.bucket(what, name, names);
    }
    tokens
}

fn numeric(incident: &Incident, context: &ContextFacts, techniques: usize) -> [f32; NUMERIC.len()] {
    let seconds = incident.last_seen.saturating_sub(incident.first_seen).max(0) as f64 / 1000.0;
    let alerts = incident.alert_count as f64;
    let judged: u32 = incident.severities.iter().sum();
    let share = |ids: &[usize]| {
        let of: u32 = ids.iter().map(|id| incident.severities[*id]).sum();
        f64::from(of) / f64::from(judged.max(1))
    };
    let kinds = |wanted: EntityKind| {
        log_share(incident.entities.iter().filter(|entity| entity.kind == wanted).count() as f64, 64.0)
    };
    let tactics = (0..14).map(|at| f64::from(incident.tactics.0 >> at & 1));
    let spread = [
        log_share(alerts, 1e6),
        log_share(seconds, 1e6),
        log_share(alerts / (seconds / 3600.0).max(1.0 / 60.0), 1e6),
        f64::from(incident.severity.id()) / 6.0,
        share(&[1]),
        share(&[2]),
        share(&[3]),
        share(&[4]),
        share(&[5, 6]),
    ];
    let breadth = [
        f64::from(incident.tactics.0.count_ones()) / 14.0,
        log_share(techniques as f64, 32.0),
        log_share(incident.rules.len() as f64, 64.0),
        log_share(incident.products.len() as f64, 8.0),
        kinds(EntityKind::Host),
        kinds(EntityKind::User),
        kinds(EntityKind::Ip),
        kinds(EntityKind::Hash),
        kinds(EntityKind::Mailbox),
        kinds(EntityKind::Domain),
        kinds(EntityKind::Resource),
        log_share(f64::from(incident.entity_count), 4096.0),
        log_share(f64::from(incident.evidence.max(0)) / 1000.0, 100.0),
        if incident.kind == IncidentKind::Linked { 1.0 } else { 0.0 },
        log_share(incident.correlations.len() as f64, 8.0),
    ];
    let known = [
        f64::from(context.criticality) / 4.0,
        f64::from(context.privilege) / 2.0,
        f64::from(context.indicator) / 100.0,
        log_share(f64::from(context.indicator_count), 32.0),
        f64::from(u8::from(context.exposed)),
        log_share(context.protected.len() as f64, 8.0),
    ];
    let mut numeric = [0.0; NUMERIC.len()];
    let all = spread.into_iter().chain(tactics).chain(breadth).chain(known);
    for (to, from) in numeric[..HISTORY].iter_mut().zip(all) {
        *to = step(from);
    }
    numeric
}

/// `log(1 + n) / log(1 + full)`, at most 1.
#[must_use]
pub fn log_share(n: f64, full: f64) -> f64 {
    (n.max(0.0).ln_1p() / full.ln_1p()).min(1.0)
}

/// The nearest multiple of 1/4096 in [0, 1]: exact in an `f32`, and the last bit of a machine's logarithm is gone.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "a multiple of 1/4096 in [0, 1] is exact in an f32")]
pub fn step(value: f64) -> f32 {
    ((value.clamp(0.0, 1.0) * 4096.0).round() / 4096.0) as f32
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::{Entity, IncidentId, IncidentState, Severity, Tactics};

    fn incident(names: &Names, rules: &[(&str, u32)]) -> Incident {
        let mut rules: Vec<_> = rules.to_vec();
        rules.sort_unstable();
        let alerts: u32 = rules.iter().map(|(_, count)| count).sum();
        Incident {
            id: IncidentId::of(&[b"a"]),
            version: 1,
            tick: 100,
            tenant: names.intern("acme"),
            kind: IncidentKind::Linked,
            state: IncidentState::Open,
            merged_into: None,
            succeeds: None,
            first_seen: 0,
            last_seen: 60_000,
            alert_count: u64::from(alerts),
            severities: [0, 0, 0, 0, alerts, 0, 0],
            severity: Severity::High,
            tactics: Tactics::parse("impact").unwrap_or_default(),
            attacks: ["TA0040", "T1486"].map(|id| names.intern(id)).into(),
            entities: Arc::new([Entity { kind: EntityKind::Host, value: names.intern("mail") }]),
            entity_count: 1,
            rules: rules.iter().map(|(rule, count)| (names.intern(rule), *count)).collect(),
            products: Arc::new([names.intern("edr")]),
            correlations: Arc::new([]),
            evidence: 3000,
            unusual: crate::record::Unusual::default(),
        }
    }

    /// The bucket of a name among names of its own.
    fn bucket(what: What, of: &str) -> u16 {
        let names = Names::default();
        Hashes::default().bucket(what, names.intern(of), &names)
    }

    fn column(features: &Features, name: &str) -> f32 {
        features.numeric[NUMERIC.iter().position(|column| *column == name).expect("a column of that name")]
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "0 and 1 are exact")]
    fn columns_are_where_their_names_say() {
        let names = Names::default();
        let context = ContextFacts { criticality: 4, exposed: true, ..ContextFacts::default() };
        let features =
            features_of(&incident(&names, &[("a", 1), ("b", 3)]), &context, &mut Hashes::default(), &names);
        let read = |name| column(&features, name);
        assert_eq!([read("share_high"), read("tactic_impact"), read("linked")], [1.0; 3]);
        assert_eq!([read("criticality"), read("exposed"), read("protected")], [1.0, 1.0, 0.0]);
        assert_eq!([read("share_low"), read("tactic_execution"), read("history_log_count")], [0.0; 3]);
        assert!(read("host_count") > 0.0 && read("domain_count") == 0.0 && read("evidence") > 0.2);
        assert!(features.numeric.iter().all(|value| (0.0..=1.0).contains(value)));
    }

    #[test]
    fn names_hash_alike_whatever_their_numbers() {
        let (one, other) = (Names::default(), Names::default());
        for filler in 0..100 {
            let _ = other.intern(&filler.to_string());
        }
        let rules = [("a", 1), ("b", 3), ("c", 3)];
        let context = ContextFacts::default();
        let features = features_of(&incident(&one, &rules), &context, &mut Hashes::default(), &one);
        assert_eq!(
            features,
            features_of(&incident(&other, &rules), &context, &mut Hashes::default(), &other)
        );
        assert_eq!(
            features.tokens[..3],
            [bucket(What::Rule, "b"), bucket(What::Rule, "c"), bucket(What::Rule, "a")]
        );
        assert_eq!(features.tokens[3], bucket(What::Technique, "T1486"), "a tactic is a column, not a token");
        assert_eq!(features.history[0], history_keys(&[(one.intern("b"), 1)], Sym::EMPTY, &one)[0]);
        // Pinned: a model learned elsewhere must find the same buckets here.
        assert_eq!(
            (bucket(What::Rule, "b"), history_keys(&[(one.intern("b"), 1)], Sym::EMPTY, &one)[0]),
            (1786, 12_422_501)
        );
    }
}
