//! `facts`: what the context tables say of each watched version, by differential joins that retract.
//!
//! In: watched (entity, version) pairs, watched addresses, and the context tables, both changing. Out: versions with their facts: each new
//! one, and the current version of an open incident again when a changed row touches it, and only then.
//! State: the join's arrangements of both sides; the current version of each ranked open incident with its facts; facts
//! of epochs that have not come yet.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::{Exchange, Pipeline};

use super::watch::Key;
use super::zones::zones;
use crate::flow::{Flow, Keeper, Stream, Turn, joined, reduced, route, turns};
use crate::record::context::VULNERABILITIES_MAX;
use crate::record::{
    ContextFacts, ContextRow, Diff, Entity, Epoch, Exposure, Incident, IncidentId, IncidentState, Known,
    Names, Sighting, Sym,
};

/// A version of an incident with what is known of its entities.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Enriched {
    /// The version, numbered.
    pub incident: Arc<Incident>,
    /// What the context says.
    pub facts: Arc<ContextFacts>,
}

/// Joins what is watched with the tables; one row of facts for each version of which any table says anything.
#[must_use]
pub fn join<'scope>(
    entities: Flow<'scope, (Entity, Key)>,
    addresses: Flow<'scope, (Sym, Entity)>,
    context: Flow<'scope, (Entity, ContextRow)>,
    names: &Arc<Names>,
) -> Flow<'scope, (Key, ContextFacts)> {
    let of_addresses = zones(addresses, context.clone(), names);
    let names = Arc::clone(names);
    let context = context.concat(of_addresses);
    let met =
        joined(entities, context, |entity| place(*entity), |entity, key: &Key, row| (*key, (*entity, *row)))
            .filter(|(key, (_, row))| row.tenant == Sym::EMPTY || row.tenant == key.0)
            .filter(
                |(key, (_, row))| !matches!(row.known, Known::Sightings(sighting) if sighting.day != key.3),
            );
    let total = move |rows: &[(&(Entity, ContextRow), Diff)]| sum(rows.iter().map(|(row, _)| **row), &names);
    reduced(met, |key| route(key.0), move |_, rows, out| out.push((total(rows), 1)))
}

/// Where an entity's rows and versions meet.
fn place(entity: Entity) -> u64 {
    route(entity.value) ^ entity.kind as u64
}

/// What rows about a version's entities add up to.
fn sum(rows: impl Iterator<Item = (Entity, ContextRow)>, names: &Names) -> ContextFacts {
    let mut facts = ContextFacts::default();
    let mut vulnerabilities: BTreeMap<Sym, (bool, u8)> = BTreeMap::new();
    for (entity, row) in rows {
        match row.known {
            Known::Assets { criticality, exposed, owner } => {
                facts.criticality = facts.criticality.max(criticality);
                facts.exposed |= exposed;
                facts.owners.extend(Some(owner).filter(|owner| *owner != Sym::EMPTY));
            }
            Known::Identities { privilege } => facts.privilege = facts.privilege.max(privilege),
            Known::Indicators { confidence } => {
                facts.indicator = facts.indicator.max(confidence);
                facts.indicators.push(entity);
            }
            Known::Zones { zone, exposure } => {
                facts.exposed |= exposure == Exposure::Dmz;
                facts.zones.push(zone);
            }
            Known::Vulnerabilities { cve, base_score, is_exploit_available } => {
                let worst = vulnerabilities.entry(cve).or_default();
                *worst = (worst.0 | is_exploit_available, worst.1.max(base_score));
            }
            Known::Sightings(sighting) => sighted(&mut facts, entity, sighting),
            // Linking's own: no fact of an incident.
            Known::NeverLink => {}
        }
        if row.protected {
            facts.protected.push(entity);
        }
    }
    for list in [&mut facts.protected, &mut facts.indicators, &mut facts.sighted] {
        list.sort_by_cached_key(|entity| entity.text(names));
        list.dedup();
    }
    for list in [&mut facts.owners, &mut facts.zones] {
        list.sort_by_cached_key(|name| names.get(*name));
        list.dedup();
    }
    facts.indicator_count = u32::try_from(facts.indicators.len()).unwrap_or(u32::MAX);
    worst_first(&mut facts, vulnerabilities, names);
    facts
}

fn sighted(facts: &mut ContextFacts, entity: Entity, sighting: Sighting) {
    let seen = sighting.alerts.saturating_add(sighting.rejects).saturating_add(sighting.ignored);
    if seen == 0 {
        return;
    }
    let first = if facts.sightings == 0 { sighting.first_seen } else { facts.first_sighted };
    facts.first_sighted = first.min(sighting.first_seen);
    facts.last_sighted = facts.last_sighted.max(sighting.last_seen);
    facts.sightings = facts.sightings.saturating_add(seen);
    facts.sighted.push(entity);
}

fn worst_first(facts: &mut ContextFacts, vulnerabilities: BTreeMap<Sym, (bool, u8)>, names: &Names) {
    facts.vulnerability_count = u32::try_from(vulnerabilities.len()).unwrap_or(u32::MAX);
    facts.base_score = vulnerabilities.values().map(|(_, score)| *score).max().unwrap_or(0);
    facts.is_exploit_available = vulnerabilities.values().any(|(available, _)| *available);
    let mut sorted: Vec<(Sym, (bool, u8))> = vulnerabilities.into_iter().collect();
    sorted.sort_by_cached_key(|(cve, worst)| (Reverse(*worst), names.get(*cve)));
    facts.vulnerabilities = sorted.into_iter().take(VULNERABILITIES_MAX).map(|(cve, _)| cve).collect();
}

type Said = (Key, ContextFacts);
type Change = (Said, Epoch, Diff);

/// The current version of an open incident.
#[derive(Serialize, Deserialize)]
struct Current {
    key: Key,
    incident: Arc<Incident>,
    facts: Arc<ContextFacts>,
}

/// Each incident's last version's number, and what is current of an open one.
type Versions = FxHashMap<(Sym, IncidentId), (u32, Option<Current>)>;
/// One of them, as it is kept.
type Item = ((Sym, IncidentId), (u32, Option<Current>));

/// Gives each version its number and its facts.
pub fn attach<'scope>(
    versions: Stream<'scope, (Key, Arc<Incident>)>,
    facts: Flow<'scope, (Key, ContextFacts)>,
    clock: Stream<'scope, Turn>,
    keeper: &Keeper,
) -> Stream<'scope, Enriched> {
    let route = Exchange::new(|((key, _), _, _): &Change| route(key.0));
    let mut current: Versions = FxHashMap::default();
    let keeping = keeper.of("facts");
    let of_tenant = |((tenant, _), _): &Item| crate::flow::route(*tenant);
    keeping.restore(of_tenant, |(whose, slot)| drop(current.insert(whose, slot)));
    // A change's epoch is its own: what the join worked off together comes together, with the first one's right to speak.
    let mut ahead: BTreeMap<Epoch, Vec<(Said, Diff)>> = BTreeMap::new();
    let (enriched, _) = turns("facts", (versions, Pipeline), (facts.inner, route), clock, move |work| {
        for (change, epoch, diff) in work.second.drain(..) {
            ahead.entry(epoch).or_default().push((change, diff));
        }
        let later = ahead.split_off(&(work.turn.epoch + 1));
        let now = std::mem::replace(&mut ahead, later);
        let mut said: FxHashMap<Key, Arc<ContextFacts>> = FxHashMap::default();
        let mut unsaid: Vec<Key> = Vec::new();
        for ((key, facts), diff) in now.into_values().flatten() {
            if diff > 0 {
                said.insert(key, Arc::new(facts));
            } else {
                unsaid.push(key);
            }
        }
        let out: &mut Vec<Enriched> = work.out;
        revise(&mut current, &said, &unsaid, out);
        let mut versions: Vec<(Key, Arc<Incident>)> = work.first.drain(..).collect();
        versions.sort_unstable_by_key(|(key, incident)| (incident.tick, incident.id, key.2));
        for (key, mut incident) in versions {
            let facts = said.get(&key).cloned().unwrap_or_default();
            let slot = current.entry((key.0, key.1)).or_default();
            // An incident that has closed is forgotten here: a revision of it says how far it was counted.
            slot.0 = slot.0.max(incident.version) + 1;
            Arc::make_mut(&mut incident).version = slot.0;
            match incident.state {
                IncidentState::Open => {
                    let (incident, facts) = (Arc::clone(&incident), Arc::clone(&facts));
                    slot.1 = Some(Current { key, incident, facts });
                }
                // One part of it goes on under its name.
                IncidentState::Split => slot.1 = None,
                IncidentState::Closed | IncidentState::Merged => drop(current.remove(&(key.0, key.1))),
            }
            out.push(Enriched { incident, facts });
        }
        keeping.keep(work.turn, |items| current.iter().for_each(|slot| items.put(&slot)));
        let _: &mut Vec<()> = work.side;
    });
    enriched
}

/// A changed row touches current versions of earlier epochs: they are told again, as a new version.
fn revise(
    current: &mut Versions,
    said: &FxHashMap<Key, Arc<ContextFacts>>,
    unsaid: &[Key],
    out: &mut Vec<Enriched>,
) {
    let mut touched: Vec<Key> = said.keys().copied().chain(unsaid.iter().copied()).collect();
    touched.sort_unstable_by_key(|key| (key.1, key.2));
    touched.dedup();
    for key in touched {
        let Some((number, Some(now))) = current.get_mut(&(key.0, key.1)) else { continue };
        let facts = said.get(&key).cloned().unwrap_or_default();
        if now.key != key || now.facts == facts {
            continue;
        }
        *number += 1;
        Arc::make_mut(&mut now.incident).version = *number;
        now.facts = facts;
        out.push(Enriched { incident: Arc::clone(&now.incident), facts: Arc::clone(&now.facts) });
    }
}

#[cfg(test)]
mod tests;
