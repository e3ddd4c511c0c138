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

use super::admissions::{Admissions, Page};
use crate::flow::{Keeper, Keeping, Machine, Stream, Tails, Turn, turns};
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
    let route = Exchange::new(|alert: &Arc<Alert>| by_id(alert.id));
    let keeping = keeper.of("dedup");
    let Remembered { mut tails, mut unnamed } = Remembered::of(&keeping);
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
            tails.settled().pages(|page| items.put(&Item::Page(page)));
            tails.each_live(|id, admission, records| {
                let records = records.iter().map(|alert| Arc::clone(alert)).collect();
                items.put(&Item::Named(*id, *admission, records));
            });
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
    /// As they were kept before there were pages.
    Settled(Vec<(AlertId, Admission)>),
    Page(Page),
}

/// What an operator remembers.
struct Remembered {
    tails: Tails<AlertId, FirstOfItsName, Admissions>,
    unnamed: BTreeMap<Tick, Vec<Arc<Alert>>>,
}

impl Remembered {
    /// What was kept of the identities that lead to this worker.
    fn of(keeping: &Keeping) -> Remembered {
        let mut it = Remembered { tails: Tails::new(FirstOfItsName), unnamed: BTreeMap::new() };
        let owns = |id| keeping.owns(by_id(id));
        keeping.restore_all(|item| match item {
            Item::Page(page) => it.tails.settled().restore_page(&page, owns),
            Item::Settled(all) => {
                for (id, admission) in all.into_iter().filter(|(id, _)| owns(*id)) {
                    it.tails.restore(id, admission, Vec::new());
                }
            }
            Item::Named(id, admission, records) if owns(id) => it.tails.restore(id, admission, records),
            Item::Unnamed(alert) if owns(alert.id) => it.unnamed.entry(alert.tick).or_default().push(alert),
            Item::Named(..) | Item::Unnamed(_) => {}
        });
        it
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

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::flow::kept::{Items, Kept, Past};
    use crate::flow::store::Store;
    use crate::record::Names;

    fn all() -> impl Iterator<Item = (AlertId, Admission)> {
        (0..10_000u32).map(|n| (AlertId::of(&[&n.to_le_bytes()]), Admission(Tick::from(n % 90_000))))
    }

    /// What each of so many workers takes back.
    fn taken_back(tell: impl FnOnce(&mut Items), peers: usize) -> Vec<BTreeMap<[u8; 16], Admission>> {
        let names = Arc::new(Names::default());
        let past = Arc::new(Past::of(vec![Kept::of("dedup", (7, 0), &names, tell)]));
        let of = |own| {
            let keeper =
                Keeper::new((own, peers), Arc::clone(&names), Rc::new(|_| ()), Some(Arc::clone(&past)));
            let mut it = BTreeMap::new();
            let mut tails = Remembered::of(&keeper.of("dedup")).tails;
            tails.each(|id, admission, _| assert!(it.insert(id.0, *admission).is_none()));
            assert_eq!(tails.settled().take(&AlertId::default()), None, "what is listed is found");
            all().for_each(|(id, admission)| {
                let found = tails.settled().take(&id);
                assert_eq!(found, it.contains_key(&id.0).then_some(admission));
            });
            it
        };
        (0..peers).map(of).collect()
    }

    #[test]
    fn what_was_kept_is_taken_back_where_it_leads_whichever_form_it_has() {
        let mut admissions = Admissions::default();
        all().for_each(|(id, admission)| admissions.put(id, admission, admission.dies()));
        let (gone, _) = all().nth(5_000).expect("there are more");
        assert!(admissions.take(&gone).is_some());
        for peers in [1, 3] {
            let pages = taken_back(|items| admissions.pages(|page| items.put(&Item::Page(page))), peers);
            let settled: Vec<_> = all().filter(|(id, _)| *id != gone).collect();
            let before = taken_back(|items| items.put(&Item::Settled(settled)), peers);
            assert_eq!(pages, before);
            assert_eq!(pages.iter().map(BTreeMap::len).sum::<usize>(), 9_999);
        }
    }
}
