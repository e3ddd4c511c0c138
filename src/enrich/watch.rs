//! `watch`: the entities of every version that is ranked, as a collection, for as long as the version is current.
//!
//! In: versions of incidents. Out: the same versions with a key each; and (entity, key) pairs: added with the version,
//! taken back in a later epoch, when another version has taken its place or the incident has ended. So a version that
//! is superseded within its own epoch is still joined, and what is said of it does not depend on the size of batches.
//! State: the current version of each ranked open incident.

use std::sync::Arc;

use differential_dataflow::AsCollection;
use rustc_hash::FxHashMap;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::vec::ToStream;

use crate::flow::{Flow, Stream, Turn, turns};
use crate::record::{Diff, Entity, Epoch, Incident, IncidentId, IncidentKind, IncidentState, Severity, Sym};

/// One version of one tenant's incident, numbered within a run.
pub type Key = (Sym, IncidentId, u64);

type Watched = ((Entity, Key), Epoch, Diff);

/// Versions with their keys, and what of them is watched.
type Keyed<'scope> = (Stream<'scope, (Key, Arc<Incident>)>, Flow<'scope, (Entity, Key)>);

/// A version's key and entities.
type Version = (Key, Arc<[Entity]>);

/// Builds the operator; background sessions below `solo` are not ranked, and so not watched.
pub fn watch<'scope>(
    versions: Stream<'scope, Arc<Incident>>,
    clock: Stream<'scope, Turn>,
    solo: Severity,
) -> Keyed<'scope> {
    let mut current: FxHashMap<(Sym, IncidentId), Version> = FxHashMap::default();
    let mut passed: Vec<Version> = Vec::new();
    let mut number = 0;
    let nothing = Vec::<()>::new().to_stream(clock.scope());
    let (keyed, watched) = turns("watch", (versions, Pipeline), (nothing, Pipeline), clock, move |work| {
        let epoch = work.turn.epoch;
        let side: &mut Vec<Watched> = work.side;
        let mut tell = |key: Key, entities: &[Entity], diff: Diff| {
            side.extend(entities.iter().map(|entity| ((*entity, key), epoch, diff)));
        };
        for (key, entities) in passed.drain(..) {
            tell(key, &entities, -1);
        }
        for incident in work.first.drain(..) {
            number += 1;
            let key = (incident.tenant, incident.id, number);
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
    });
    (keyed, watched.as_collection())
}
