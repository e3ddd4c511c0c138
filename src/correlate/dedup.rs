//! `dedup`: the same alert again within 24 hours is a duplicate, whichever copy arrived first.
//!
//! The hours are those of event time, so that one that comes days late is no copy of one that happened since; what is
//! remembered is remembered for 24 hours of the clock. Copies at one place of two sources stand in the order of their names.
//!
//! In: alerts, by identity. Out: admitted alerts as soon as they are known (early, with a diff: a late copy that
//! comes first in order takes the place of the one admitted); and every alert, once settled, as alert or duplicate.
//! State: 24 hours of identities of the alerts that their vendor names; the unsettled alerts themselves.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::vec::ToStream;

use super::admissions::{Admissions, Page};
use crate::flow::{Keeper, Keeping, Machine, Stream, Tails, Turn, sort_nearly, turns};
use crate::record::{Alert, AlertId, Diff, Duplicate, Names, Order, Tick, tick_of};

/// How long the same identity is the same alert, in ticks.
pub const SAME_ALERT_S: Tick = 24 * 3600;

/// Alerts whose identities are looked for in memory together.
const WARMED: usize = 8;

/// An alert whose tick is settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Admitted {
    /// The first of its identity.
    Alert(Arc<Alert>),
    /// One more of it. There are few, and what is told of each alert is small.
    Duplicate(Box<Duplicate>),
}

struct FirstOfItsName {
    names: Arc<Names>,
}

/// The copy that was admitted; of several that are no copies of each other the one that happened last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Tick", into = "Tick")]
pub(super) struct Admission {
    pub(super) tick: Tick,
    /// When it happened: its tick, but for one that came late. Kept apart, since few do.
    pub(super) second: Tick,
}

impl Default for Admission {
    fn default() -> Self {
        Tick::MIN.into()
    }
}

/// Of one that did not come late.
impl From<Tick> for Admission {
    fn from(tick: Tick) -> Self {
        Admission { tick, second: tick }
    }
}

impl From<Admission> for Tick {
    fn from(admission: Admission) -> Tick {
        admission.tick
    }
}

impl Admission {
    pub(super) fn dies(self) -> Tick {
        self.tick.saturating_add(SAME_ALERT_S)
    }

    /// When it happened, where it came late.
    pub(super) fn late(self) -> Option<Tick> {
        (self.second != self.tick).then_some(self.second)
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

    fn tie(&self, one: &Arc<Alert>, other: &Arc<Alert>) -> Ordering {
        self.names.compare(one.source, other.source)
    }

    fn step(&self, state: &mut Admission, record: &Arc<Alert>, changes: &mut Vec<Kept>) -> Admission {
        let before = *state;
        let (lives, second) = (record.tick < state.dies(), tick_of(record.time));
        if !lives || second.abs_diff(state.second) >= SAME_ALERT_S.unsigned_abs() {
            if !lives || second > state.second {
                *state = Admission { tick: record.tick, second };
            }
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
    names: &Arc<Names>,
    keeper: &Keeper,
) -> (Stream<'scope, (Arc<Alert>, Diff)>, Stream<'scope, Admitted>) {
    let route = Exchange::new(|alert: &Arc<Alert>| by_id(alert.id));
    let keeping = keeper.of("dedup");
    let Remembered { mut tails, mut unnamed } = Remembered::of(names, &keeping);
    let names = Arc::clone(names);
    let nothing = Vec::<()>::new().to_stream(clock.scope());
    turns("dedup", (alerts, route), (nothing, Pipeline), clock, move |work| {
        let settled = work.turn.settled;
        let by_source = |a: &Alert, b: &Alert| names.compare(a.source, b.source);
        sort_nearly(work.first, |a, b| a.order().cmp(&b.order()).then_with(|| by_source(a, b)));
        let (out, side) = (work.out, work.side);
        let mut early = |alert: &Arc<Alert>, diff: Diff| {
            if wanted(alert) {
                out.push((Arc::clone(alert), diff));
            }
        };
        let mut alerts = work.first.drain(..);
        while let Some(alert) = alerts.next() {
            if alerts.len() % WARMED == 0 {
                let soon = alerts.as_slice().iter().take(WARMED).filter(|alert| alert.identified);
                tails.settled().warm(soon.map(|alert| &alert.id));
            }
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
        drop(alerts);
        tails.settle(settled, |alert, kept| side.push(finally(alert, !kept.is_empty())));
        while let Some(entry) = unnamed.first_entry().filter(|entry| *entry.key() < settled) {
            side.extend(entry.remove().into_iter().map(Admitted::Alert));
        }
        keeping.keep(work.turn, |items| {
            let late = tails.settled().late().collect::<Vec<_>>();
            items.put(&Item::Late(late));
            tails.settled().pages(|page| items.put(&Item::Page(page)));
            tails.each_live(|id, admission, records| {
                admission.late().into_iter().for_each(|second| items.put(&Item::Late(vec![(*id, second)])));
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
    Page(Page),
    /// When those happened that came late, before what else is told of them.
    Late(Vec<(AlertId, Tick)>),
}

/// What an operator remembers.
struct Remembered {
    tails: Tails<AlertId, FirstOfItsName, Admissions>,
    unnamed: BTreeMap<Tick, Vec<Arc<Alert>>>,
}

impl Remembered {
    /// What was kept of the identities that lead to this worker.
    fn of(names: &Arc<Names>, keeping: &Keeping) -> Remembered {
        let machine = FirstOfItsName { names: Arc::clone(names) };
        let mut it = Remembered { tails: Tails::new(machine), unnamed: BTreeMap::new() };
        let mut late = FxHashMap::default();
        let owns = |id| keeping.owns(by_id(id));
        keeping.restore_all(|item| match item {
            Item::Page(page) => it.tails.settled().restore_page(&page, owns),
            Item::Named(id, mut admission, records) if owns(id) => {
                admission.second = late.remove(&id).unwrap_or(admission.second);
                it.tails.restore(id, admission, records);
            }
            Item::Late(all) => late.extend(all.into_iter().filter(|(id, _)| owns(*id))),
            Item::Unnamed(alert) if owns(alert.id) => it.unnamed.entry(alert.tick).or_default().push(alert),
            Item::Named(..) | Item::Unnamed(_) => {}
        });
        it.tails.settled().restore_late(late);
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
    Admitted::Duplicate(Box::new(Duplicate {
        alert_id: alert.id,
        tick: alert.tick,
        time: alert.time,
        tenant: alert.tenant,
        source: alert.source,
        position: alert.position,
    }))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::flow::kept::{Items, Kept, Past};
    use crate::flow::store::Store;

    fn all() -> impl Iterator<Item = (AlertId, Admission)> {
        (0..10_000u32).map(|n| {
            let tick = Tick::from(n % 90_000);
            // Some came late.
            (
                AlertId::of(&[&n.to_le_bytes()]),
                Admission { tick, second: tick - Tick::from(n % 50 / 49) * 7_000 },
            )
        })
    }

    /// What each of so many workers takes back.
    fn taken_back(tell: impl FnOnce(&mut Items), peers: usize) -> Vec<BTreeMap<[u8; 16], Admission>> {
        let names = Arc::new(Names::default());
        let past = Arc::new(Past::of(vec![Kept::of("dedup", (7, 0), &names, tell)]));
        let of = |own| {
            let keeper =
                Keeper::new((own, peers), Arc::clone(&names), Rc::new(|_| ()), Some(Arc::clone(&past)));
            let mut it = BTreeMap::new();
            let mut tails = Remembered::of(&names, &keeper.of("dedup")).tails;
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
    fn what_was_kept_is_taken_back_where_it_leads() {
        let mut admissions = Admissions::default();
        all().for_each(|(id, admission)| admissions.put(id, admission, admission.dies()));
        let (gone, _) = all().nth(5_000).expect("there are more");
        assert!(admissions.take(&gone).is_some());
        let kept: BTreeMap<_, _> = all().filter(|(id, _)| *id != gone).map(|(id, of)| (id.0, of)).collect();
        for peers in [1, 3] {
            let tell = |items: &mut Items| {
                items.put(&Item::Late(admissions.late().collect()));
                admissions.pages(|page| items.put(&Item::Page(page)));
            };
            let taken = taken_back(tell, peers);
            assert_eq!(taken.iter().map(BTreeMap::len).sum::<usize>(), 9_999);
            assert_eq!(taken.into_iter().flatten().collect::<BTreeMap<_, _>>(), kept);
        }
    }

    /// A copy of one alert: its source, when it happened, and the second in which it counts.
    fn copy(names: &Names, source: &str, second: Tick, tick: Tick) -> Arc<Alert> {
        Arc::new(Alert {
            id: AlertId::of(&[b"copied"]),
            time: second * 1000,
            tick,
            source: names.intern(source),
            position: 1,
            identified: true,
            ..Alert::bare()
        })
    }

    /// The copies that are alerts, by source and second, which must be those that were told early and not taken back.
    fn stand(names: &Arc<Names>, copies: &[Arc<Alert>], settled: &[Tick]) -> Vec<(String, Tick)> {
        let mut tails: Tails<_, _, Admissions> = Tails::new(FirstOfItsName { names: Arc::clone(names) });
        let (mut early, mut finally) = (BTreeMap::new(), BTreeMap::new());
        let of = |alert: &Alert| (names.get(alert.source), alert.tick);
        for (copy, settled) in copies.iter().zip(settled.iter().chain(std::iter::repeat(&Tick::MIN))) {
            let emit = |alert: &Arc<Alert>, Kept, diff| *early.entry(of(alert)).or_default() += diff;
            tails.update(copy.id, Arc::clone(copy), 1, emit);
            tails.settle(*settled, |alert, kept| finally.extend([(of(&alert), !kept.is_empty())]));
        }
        tails.settle(Tick::MAX, |alert, kept| finally.extend([(of(&alert), !kept.is_empty())]));
        early.retain(|_, diff: &mut Diff| *diff != 0);
        finally.retain(|_, is_alert| *is_alert);
        assert_eq!(early.into_keys().collect::<Vec<_>>(), finally.keys().cloned().collect::<Vec<_>>());
        finally.into_keys().collect()
    }

    #[test]
    fn of_two_sources_copies_at_one_place_one_stands_whichever_came_first() {
        let names = Arc::new(Names::default());
        let [b, a] = ["b.jsonl", "a.jsonl"].map(|source| copy(&names, source, 70, 70));
        for copies in [[Arc::clone(&a), Arc::clone(&b)], [b, a]] {
            assert_eq!(stand(&names, &copies, &[]), [("a.jsonl".to_owned(), 70)]);
        }
    }

    #[test]
    fn one_that_comes_days_late_is_no_copy_of_one_that_happened_since() {
        const HOUR: Tick = 3600;
        let names = Arc::new(Names::default());
        let of = |second, tick| copy(&names, "s", second, tick);
        let ticks = |copies: &[Arc<Alert>], settled: &[Tick]| -> Vec<Tick> {
            stand(&names, copies, settled).into_iter().map(|(_, tick)| tick).collect()
        };
        let now = 49 * HOUR;
        let (on_time, late) = (of(now, now), of(0, now - 60));
        for settled in [vec![], vec![now - 30], vec![now + 1]] {
            let both = [Arc::clone(&late), Arc::clone(&on_time)];
            assert_eq!(ticks(&both, &settled), [now - 60, now], "{settled:?}");
        }
        // One more of each is a copy of it.
        let more = [Arc::clone(&late), of(0, now - 59), Arc::clone(&on_time), of(now + 5, now + 5)];
        assert_eq!(ticks(&more[..2], &[]), [now - 60]);
        assert_eq!(ticks(&more[2..], &[now + 1]), [now]);
        // What came late does not make a copy of the one before it into an alert.
        let between = [on_time, of(0, now + 30), of(now + 60, now + 60)];
        assert_eq!(ticks(&between, &[now + 1, now + 40]), [now, now + 30]);
        // One that comes late and is a copy of what happened about then is one.
        assert_eq!(ticks(&[of(now, now), of(now - HOUR, now + 7)], &[now + 1]), [now]);
    }
}
