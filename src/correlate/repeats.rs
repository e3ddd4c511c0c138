//! `repeats`: an alert of the same rule and entities as one shortly before it repeats that one, by event time: one that comes
//! late repeats what happened about when it did, and what comes after it repeats none that happened long before.
//!
//! In: settled alerts and duplicates, by rule and subject. Out: rows for the archive, in order.
//! State: one entry per rule and entities, for the dedup window after its last alert.

use std::hash::Hasher;
use std::sync::Arc;

use hashbrown::HashTable;
use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::vec::ToStream;

use super::dedup::Admitted;
use crate::flow::{Keeper, Stream, Turn, sort_nearly, turns};
use crate::record::{Alert, AlertId, Duplicate, Observable, Sym, Tick, tick_of};

/// What the archive keeps of the alerts of one epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Seen {
    /// Alerts, with the one that each repeats.
    Alerts(Vec<(Arc<Alert>, Option<AlertId>)>),
    /// Duplicates.
    Duplicates(Vec<Duplicate>),
}

type Key = (Sym, Sym, SmallVec<[Observable; 4]>);
/// The last alert of each rule and entities. A table and no map: an alert is looked up by what it has, not by a copy of that.
type Last = HashTable<(Key, (AlertId, Tick))>;

/// Builds the operator; `window_s` is the dedup window.
pub fn repeats<'scope>(
    admitted: Stream<'scope, Admitted>,
    clock: Stream<'scope, Turn>,
    window_s: Tick,
    keeper: &Keeper,
) -> Stream<'scope, Seen> {
    let route = Exchange::new(|admitted: &Admitted| match admitted {
        Admitted::Alert(alert) => place(alert.rule, &alert.entities),
        Admitted::Duplicate(duplicate) => duplicate.position,
    });
    let mut last = Last::new();
    let keeping = keeper.of("repeats");
    let of_key = |((_, rule, entities), _): &(Key, (AlertId, Tick))| place(*rule, entities);
    keeping.restore(of_key, |kept| {
        last.insert_unique(hash_of(&kept), kept, hash_of);
    });
    let mut swept_at = 4096;
    let nothing = Vec::<()>::new().to_stream(clock.scope());
    let (seen, _) = turns("repeats", (admitted, route), (nothing, Pipeline), clock, move |work| {
        let (mut alerts, mut duplicates) = (Vec::with_capacity(work.first.len()), Vec::new());
        for admitted in work.first.drain(..) {
            match admitted {
                Admitted::Alert(alert) => alerts.push(alert),
                Admitted::Duplicate(duplicate) => duplicates.push(*duplicate),
            }
        }
        sort_nearly(&mut alerts, |one: &Arc<Alert>, other| one.order().cmp(&other.order()));
        duplicates.sort_unstable_by_key(|duplicate| (duplicate.tick, duplicate.time, duplicate.position));
        let rows: Vec<_> = alerts.into_iter().map(|alert| repeat(&mut last, alert, window_s)).collect();
        if last.len() > swept_at {
            last.retain(|(_, (_, tick))| work.turn.settled - *tick <= window_s);
            swept_at = (last.len() * 2).max(4096);
        }
        keeping.keep(work.turn, |items| last.iter().for_each(|seen| items.put(&seen)));
        if !rows.is_empty() {
            work.out.push(Seen::Alerts(rows));
        }
        if !duplicates.is_empty() {
            work.out.push(Seen::Duplicates(duplicates));
        }
        let _: &mut Vec<()> = work.side;
    });
    seen
}

/// By rule and subject.
fn place(rule: Sym, entities: &[Observable]) -> u64 {
    let subject = entities.first().map_or(0, |observable| observable.entity.value.place());
    (rule.place().rotate_left(32) ^ subject).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

fn hash(tenant: Sym, rule: Sym, entities: &[Observable]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u64(u64::from(tenant.raw()) << 32 | u64::from(rule.raw()));
    for Observable { entity, role } in entities {
        let kinds = (*role as u64) << 8 | entity.kind as u64;
        hasher.write_u64(kinds << 32 | u64::from(entity.value.raw()));
    }
    hasher.finish()
}

fn hash_of(((tenant, rule, entities), _): &(Key, (AlertId, Tick))) -> u64 {
    hash(*tenant, *rule, entities)
}

fn repeat(last: &mut Last, alert: Arc<Alert>, window_s: Tick) -> (Arc<Alert>, Option<AlertId>) {
    let (second, id) = (tick_of(alert.time), alert.id);
    let Alert { tenant, rule, entities, .. } = &*alert;
    let is = |((of, by, about), _): &(Key, _)| of == tenant && by == rule && about == entities;
    let entry = last.entry(hash(*tenant, *rule, entities), is, hash_of);
    let entry = entry.or_insert_with(|| ((*tenant, *rule, entities.clone()), (id, second))).into_mut();
    let entry = &mut entry.1;
    // What would be forgotten by now is as good as forgotten.
    let lives = alert.tick - entry.1 <= window_s;
    let repeats = lives && entry.0 != id && second.abs_diff(entry.1) <= window_s.unsigned_abs();
    let of = repeats.then_some(entry.0);
    if !lives || second >= entry.1 {
        *entry = (of.unwrap_or(id), second);
    }
    (alert, of)
}
