//! `dedup`: the same alert again within 24 hours is a duplicate, whichever copy arrived first.
//!
//! In: alerts, by identity. Out: admitted alerts as soon as they are known (early, with a diff: a late copy that
//! comes first in order takes the place of the one admitted); and every alert, once settled, as alert or duplicate.
//! State: 24 hours of identities of the alerts that their vendor names; the unsettled alerts themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::vec::ToStream;

use super::admissions::Admissions;
use crate::flow::kept::Items;
use crate::flow::{Keeper, Machine, Stream, Tails, Turn, turns};
use crate::record::{Alert, AlertId, Diff, Duplicate, Order, Tick};

/// How long the same identity is the same alert, in ticks.
pub const SAME_ALERT_S: Tick = 24 * 3600;

/// An alert whose tick is settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Admitted {
    /// The first of its identity.
    Alert(Arc<Alert>),
    /// One more of it.
    Duplicate(Duplicate),
}

struct FirstOfItsName;

/// The tick of the copy that was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Admission(pub(super) Tick);

impl Default for Admission {
    fn default() -> Self {
        Admission(Tick::MIN)
    }
}

impl Admission {
    pub(super) fn dies(self) -> Tick {
        self.0.saturating_add(SAME_ALERT_S)
    }
}

/// Said of the copy that is the alert.
#[derive(Clone, PartialEq)]
struct Kept;

impl Machine for FirstOfItsName {
    type Record = Arc<Alert>;
    type Change = Kept;
    type State = Admission;
    /// What the state was.
    type Undo = Admission;

    fn order(record: &Arc<Alert>) -> Order {
        record.order()
    }

    fn step(&self, state: &mut Admission, record: &Arc<Alert>, changes: &mut Vec<Kept>) -> Admission {
        let before = *state;
        if record.tick >= state.dies() {
            state.0 = record.tick;
            changes.push(Kept);
        }
        before
    }

    fn undo(&self, state: &mut Admission, _: &Arc<Alert>, before: Admission) {
        *state = before;
    }

    fn dies(&self, state: &Admission) -> Tick {
        state.dies()
    }
}

/// Builds the operator; `wanted` says which alerts are worth telling early (those that a correlation looks for).
pub fn dedup<'scope>(
    alerts: Stream<'scope, Arc<Alert>>,
    clock: Stream<'scope, Turn>,
    wanted: impl Fn(&Alert) -> bool + 'static,
    keeper: &Keeper,
) -> (Stream<'scope, (Arc<Alert>, Diff)>, Stream<'scope, Admitted>) {
    let mut tails: Tails<AlertId, FirstOfItsName, Admissions> = Tails::new(FirstOfItsName);
    let mut unnamed: BTreeMap<Tick, Vec<Arc<Alert>>> = BTreeMap::new();
    let route = Exchange::new(|alert: &Arc<Alert>| by_id(alert.id));
    let keeping = keeper.of("dedup");
    keeping.restore_all(|item| match item {
        Item::Settled(all) => {
            for (id, admission) in all.into_iter().filter(|(id, _)| keeping.owns(by_id(*id))) {
                tails.restore(id, admission, Vec::new());
            }
        }
        Item::Named(id, admission, records) if keeping.owns(by_id(id)) => {
            tails.restore(id, admission, records);
        }
        Item::Unnamed(alert) if keeping.owns(by_id(alert.id)) => {
            unnamed.entry(alert.tick).or_default().push(alert);
        }
        Item::Named(..) | Item::Unnamed(_) => {}
    });
    let nothing = Vec::<()>::new().to_stream(clock.scope());
    turns("dedup", (alerts, route), (nothing, Pipeline), clock, move |work| {
        let settled = work.turn.settled;
        work.first.sort_unstable_by_key(|alert| alert.order());
        let (out, side) = (work.out, work.side);
        let mut early = |alert: &Arc<Alert>, diff: Diff| {
            if wanted(alert) {
                out.push((Arc::clone(alert), diff));
            }
        };
        for alert in work.first.drain(..) {
            if alert.tick >= settled && alert.identified {
                tails.update(alert.id, alert, 1, |alert, Kept, diff| early(alert, diff));
            } else if alert.identified {
                let tell = |alert, kept: &[Kept]| side.push(finally(alert, !kept.is_empty()));
                tails.pass(alert.id, alert, |alert, Kept, diff| early(alert, diff), tell);
            } else {
                early(&alert, 1);
                unnamed.entry(alert.tick).or_default().push(alert);
            }
        }
        tails.settle(settled, |alert, kept| side.push(finally(alert, !kept.is_empty())));
        while let Some(entry) = unnamed.first_entry().filter(|entry| *entry.key() < settled) {
            side.extend(entry.remove().into_iter().map(Admitted::Alert));
        }
        keeping.keep(work.turn, |items| {
            keep(items, &mut tails);
            unnamed.values().flatten().for_each(|alert| items.put(&Item::Unnamed(Arc::clone(alert))));
        });
    })
}

/// What is kept: of an identity when it was admitted before its unsettled alerts, and these; an unsettled alert without one; and,
/// of identities without unsettled alerts, many at once: they are nearly all, an hour of a large site some 70 million.
#[derive(Serialize, Deserialize)]
enum Item {
    Named(AlertId, Admission, Vec<Arc<Alert>>),
    Unnamed(Arc<Alert>),
    Settled(Vec<(AlertId, Admission)>),
}

/// Identities of an item, at most.
const AT_ONCE: usize = 2_048;

/// Tells the identities that are remembered.
fn keep(items: &mut Items, tails: &mut Tails<AlertId, FirstOfItsName, Admissions>) {
    let mut settled = Vec::with_capacity(AT_ONCE);
    tails.each(|id, admission, records| {
        if !records.is_empty() {
            let records = records.iter().map(|alert| Arc::clone(alert)).collect();
            items.put(&Item::Named(*id, *admission, records));
            return;
        }
        settled.push((*id, *admission));
        if settled.len() == AT_ONCE {
            items.put(&Item::Settled(std::mem::take(&mut settled)));
        }
    });
    if !settled.is_empty() {
        items.put(&Item::Settled(settled));
    }
}

/// An identity is a hash already.
fn by_id(id: AlertId) -> u64 {
    u64::from_le_bytes(id.0[..8].try_into().unwrap_or_default())
}

fn finally(alert: Arc<Alert>, kept: bool) -> Admitted {
    if kept {
        return Admitted::Alert(alert);
    }
    Admitted::Duplicate(Duplicate {
        alert_id: alert.id,
        tick: alert.tick,
        time: alert.time,
        tenant: alert.tenant,
        source: alert.source,
        position: alert.position,
    })
}
