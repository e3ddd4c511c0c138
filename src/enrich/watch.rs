//! `watch`: the entities of every version that is ranked, as a collection, for as long as the version is current.
//!
//! In: versions of incidents. Out: the same versions with a key each; (entity, key) pairs, added with the version, taken
//! back in a later epoch, when another version has taken its place or the incident has ended; and the addresses among these
//! entities, each once a tenant. So a version that is superseded within its own epoch is still joined, and what is said of
//! it does not depend on the size of batches.
//! State: the current version of each ranked open incident; how many current versions have each address.

use std::sync::Arc;

use differential_dataflow::AsCollection;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::OkErr;
use timely::dataflow::operators::vec::ToStream;

use crate::flow::kept::Items;
use crate::flow::{Flow, Keeper, Stream, Turn, route, turns};
use crate::record::{
    Diff, Entity, EntityKind, Epoch, Incident, IncidentId, IncidentKind, IncidentState, Millis, Severity, Sym,
};

/// One version of one tenant's incident, numbered within a run, with the day of its first alert since 1970.
pub type Key = (Sym, IncidentId, u64, i32);

/// What is watched at one worker.
pub struct Watched<'scope> {
    /// Versions with their keys.
    pub versions: Stream<'scope, (Key, Arc<Incident>)>,
    /// Their entities.
    pub entities: Flow<'scope, (Entity, Key)>,
    /// Addresses among these, by tenant.
    pub addresses: Flow<'scope, (Sym, Entity)>,
}

/// A change of what is watched.
#[derive(Clone)]
enum Change {
    Entity((Entity, Key), Epoch, Diff),
    Address((Sym, Entity), Epoch, Diff),
}

/// A version's key and entities.
type Version = (Key, Arc<[Entity]>);

/// Builds the operator; background sessions below `solo` are not ranked, and so not watched.
pub fn watch<'scope>(
    versions: Stream<'scope, Arc<Incident>>,
    clock: Stream<'scope, Turn>,
    solo: Severity,
    keeper: &Keeper,
) -> Watched<'scope> {
    let mut current: FxHashMap<(Sym, IncidentId), Version> = FxHashMap::default();
    let mut passed: Vec<Version> = Vec::new();
    let mut addresses = Addresses::default();
    let mut number = 0;
    let keeping = keeper.of("watch");
    keeping.restore_all(|item: Item| {
        // Numbers are never used again, whichever worker gave them.
        number = number.max(item.number);
        match item.version.filter(|(key, _)| keeping.owns(route(key.0))) {
            Some((key, entities)) if item.is_current => drop(current.insert((key.0, key.1), (key, entities))),
            version => passed.extend(version),
        }
    });
    // The collections begin with what is watched: what was told of it then is told again to the join.
    let mut again: Vec<Version> = current.values().chain(&passed).cloned().collect();
    let nothing = Vec::<()>::new().to_stream(clock.scope());
    let (versions, changes) = turns("watch", (versions, Pipeline), (nothing, Pipeline), clock, move |work| {
        let epoch = work.turn.epoch;
        let side: &mut Vec<Change> = work.side;
        let mut tell = |key: Key, entities: &[Entity], diff: Diff| {
            side.extend(entities.iter().map(|entity| Change::Entity((*entity, key), epoch, diff)));
            addresses
                .count(key.0, entities, diff, |address| side.push(Change::Address(address, epoch, diff)));
        };
        if again.is_empty() {
            for (key, entities) in passed.drain(..) {
                tell(key, &entities, -1);
            }
        }
        for (key, entities) in again.drain(..) {
            tell(key, &entities, 1);
        }
        for incident in work.first.drain(..) {
            number += 1;
            let key = (incident.tenant, incident.id, number, day_of(incident.first_seen));
            if incident.kind == IncidentKind::Linked || incident.severity >= solo {
                tell(key, &incident.entities, 1);
                let now = (key, Arc::clone(&incident.entities));
                if incident.state == IncidentState::Open {
                    passed.extend(current.insert((incident.tenant, incident.id), now));
                } else {
                    passed.extend(current.remove(&(incident.tenant, incident.id)));
                    passed.push(now);
                }
            }
            work.out.push((key, incident));
        }
        keeping.keep(work.turn, |items| keep(items, number, current.values(), &passed));
    });
    let (entities, addresses) = changes.ok_err(|change| match change {
        Change::Entity(pair, epoch, diff) => Ok((pair, epoch, diff)),
        Change::Address(address, epoch, diff) => Err((address, epoch, diff)),
    });
    Watched { versions, entities: entities.as_collection(), addresses: addresses.as_collection() }
}

/// What is kept: a version that is watched, or the last number alone.
#[derive(Serialize, Deserialize)]
struct Item {
    number: u64,
    is_current: bool,
    version: Option<Version>,
}

fn keep<'a>(items: &mut Items, number: u64, current: impl Iterator<Item = &'a Version>, passed: &[Version]) {
    items.put(&Item { number, is_current: false, version: None });
    let mut put = |version: &Version, is_current| {
        items.put(&Item { number, is_current, version: Some(version.clone()) });
    };
    current.for_each(|version| put(version, true));
    for version in passed {
        put(version, false);
    }
}

/// How many current versions have each address of a tenant.
#[derive(Default)]
struct Addresses(FxHashMap<(Sym, Entity), Diff>);

impl Addresses {
    /// Counts the addresses among `entities`; tells those that come or go.
    fn count(&mut self, tenant: Sym, entities: &[Entity], diff: Diff, mut tell: impl FnMut((Sym, Entity))) {
        for entity in entities.iter().filter(|entity| entity.kind == EntityKind::Ip) {
            let address = (tenant, *entity);
            let sum = self.0.entry(address).or_default();
            let before = *sum;
            *sum += diff;
            if before == 0 {
                tell(address);
            } else if *sum == 0 {
                self.0.remove(&address);
                tell(address);
            }
        }
    }
}

/// The day of a time, counted from 1970.
#[must_use]
pub fn day_of(time: Millis) -> i32 {
    i32::try_from(time.div_euclid(24 * 3600 * 1000)).unwrap_or_default()
}
