//! Windows: which of a group's alerts a rule still counts when the next one comes.
//!
//! An alert's *now* is its event time, or the beginning of its tick where it came later than the allowed lateness: along
//! the order of records it never goes back. What counts at an alert, beside itself, are those before it in order that
//!
//! - `sliding`: happened in `[now - timespan, now]`, both ends included, to the millisecond;
//! - `tumbling`: happened in the same multiple of the timespan since 1970, as `now` does;
//! - `session`: came in the same session: one ends where the next alert's `now` is more than `gap` after the last one's,
//!   or more than `timespan` after the first one's.
//!
//! An alert so late that it does not lie in its own sliding or tumbling window is not counted at all.
//!
//! State: what counts, oldest first. It leaves when an alert comes at which it no longer counts; a group dies when
//! nothing of it can count any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::tally::Tally;
use crate::flow::Queue;
use crate::plan::correlation::{Extent, Fires, Window};
use crate::record::{AlertId, Millis, Order, Sym, Tick};

/// An alert, or a finding of another rule, as a rule's operator sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Index of the correlation rule.
    pub rule: u32,
    /// Its place: a finding's is right behind that of the alert that completed it.
    pub order: Order,
    /// Which of the rules referred to it is of, one bit each.
    pub places: u64,
    /// What the rule counts or adds up.
    pub value: Value,
    /// The alerts of a finding; none where it is an alert.
    pub ids: Option<Arc<Vec<AlertId>>>,
}

/// What a rule counts or adds up of an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// The alert alone.
    #[default]
    None,
    /// One of many; equal values are the same.
    One(Which),
    /// A number, in billionths.
    Number(Billionths),
}

/// A whole number of them, in two halves: one in 16 bytes would have each event lie on a multiple of 16, and copied with what
/// fills it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "i128", into = "i128")]
pub struct Billionths([u64; 2]);

impl From<i128> for Billionths {
    fn from(number: i128) -> Billionths {
        let bits = number.cast_unsigned();
        #[expect(clippy::cast_possible_truncation, reason = "its halves")]
        Billionths([bits as u64, (bits >> 64) as u64])
    }
}

impl From<Billionths> for i128 {
    fn from(Billionths([low, high]): Billionths) -> i128 {
        (u128::from(high) << 64 | u128::from(low)).cast_signed()
    }
}

/// Which of many values: as its texts where they are few and interned, which is cheap and still a text to another process,
/// else by a hash of them. A rule's are all of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Which {
    /// Up to four texts, and empty ones.
    Names([Sym; 4]),
    /// BLAKE3 of any number of texts.
    Hash([u8; 16]),
}

impl Event {
    /// The time at which it counts: see the head of this file.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.order.time.max(self.order.tick.saturating_mul(1000))
    }

    fn late(&self) -> bool {
        self.order.tick != self.order.time.div_euclid(1000)
    }
}

/// What counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry<V> {
    time: Millis,
    id: AlertId,
    ids: Option<Arc<Vec<AlertId>>>,
    /// Its value.
    pub value: V,
}

impl<V> Entry<V> {
    /// Adds the alerts behind it to a list that is built from its end.
    pub fn tell(&self, ids: &mut Vec<AlertId>) {
        match &self.ids {
            Some(own) => ids.extend(own.iter().rev()),
            None => ids.push(self.id),
        }
    }
}

/// One group's state: what counts, what it adds up to, and whether the condition held. Most groups of a busy site hold one
/// alert, and looking at each is what they cost: so it is small, and what is rare lies apart.
#[derive(Debug)]
pub struct Windowed<T: Tally> {
    /// By event time, which is their order.
    on_time: Queue<Entry<T::Value>>,
    /// What they add up to.
    pub tally: T,
    held: bool,
    apart: Option<Box<Apart<T::Value>>>,
}

/// What most groups have not.
#[derive(Debug)]
struct Apart<V> {
    /// Those that came later than allowed, whose event time says nothing of their order.
    late: Late<V>,
    /// When the session began, and when its last alert was.
    session: Session,
}

type Late<V> = BTreeMap<(Millis, Order), Entry<V>>;
type Session = (Millis, Millis);

impl<V> Default for Apart<V> {
    fn default() -> Self {
        Apart { late: Late::new(), session: NONE }
    }
}

/// No session.
const NONE: Session = (0, 0);

impl<T: Tally> Default for Windowed<T> {
    fn default() -> Self {
        Self { on_time: Queue::default(), tally: T::default(), held: false, apart: None }
    }
}

/// The form in which a group's state is kept.
#[derive(Serialize, Deserialize)]
struct Kept<Q, L, T> {
    on_time: Q,
    late: L,
    tally: T,
    held: bool,
    session: Session,
}

impl<T: Tally + Serialize> Serialize for Windowed<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (none, session) = (Late::new(), self.session());
        let late = self.apart.as_ref().map_or(&none, |apart| &apart.late);
        Kept { on_time: &self.on_time, late, tally: &self.tally, held: self.held, session }.serialize(to)
    }
}

impl<'de, T: Tally + Deserialize<'de>> Deserialize<'de> for Windowed<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let kept = Kept::<Queue<Entry<T::Value>>, Late<T::Value>, T>::deserialize(from)?;
        let Kept { on_time, late, tally, held, session } = kept;
        let apart = (!late.is_empty() || session != NONE).then(|| Box::new(Apart { late, session }));
        Ok(Self { on_time, tally, held, apart })
    }
}

/// What takes a step back. Every unsettled event holds one, so it is small: what is rare lies apart.
#[derive(Debug)]
pub struct Undo<V> {
    expired: SmallVec<[Entry<V>; 1]>,
    rare: Option<Box<Rare<V>>>,
    held: bool,
}

#[derive(Debug)]
struct Rare<V> {
    late: Vec<((Millis, Order), Entry<V>)>,
    session: Session,
}

impl<T: Tally> Windowed<T> {
    fn session(&self) -> Session {
        self.apart.as_ref().map_or(NONE, |apart| apart.session)
    }

    fn apart(&mut self) -> &mut Apart<T::Value> {
        self.apart.get_or_insert_default()
    }

    /// Counts one more; whether the rule fires. None where the alert is too late for its own window.
    pub fn step(
        &mut self,
        event: &Event,
        value: T::Value,
        extent: Extent,
        fires: Fires,
        holds: impl FnOnce(&T) -> bool,
    ) -> (Option<Undo<T::Value>>, bool) {
        let now = event.now();
        let from = self.from(now, extent);
        if extent.window != Window::Session && event.order.time < from {
            return (None, false);
        }
        let undo = self.expire(from, extent.window);
        let anew = self.is_empty();
        self.held &= !anew;
        if extent.window == Window::Session {
            let session = &mut self.apart().session;
            *session = (if anew { now } else { session.0 }, now);
        }
        self.tally.add(&value);
        let Order { time, id, .. } = event.order;
        let entry = Entry { time, id, ids: event.ids.clone(), value };
        if event.late() {
            self.apart().late.insert((time, event.order), entry);
        } else {
            self.on_time.push_back(entry);
        }
        let holds = holds(&self.tally);
        let fired = holds && (fires == Fires::Every || !self.held);
        self.held = holds;
        (Some(undo), fired)
    }

    /// Takes the last step back.
    pub fn undo(&mut self, event: &Event, undo: Undo<T::Value>) {
        let own = if event.late() {
            self.apart.as_mut().and_then(|apart| apart.late.remove(&(event.order.time, event.order)))
        } else {
            self.on_time.pop_back()
        };
        if let Some(own) = own {
            self.tally.remove(&own.value);
        }
        for entry in undo.expired.into_iter().rev() {
            self.tally.add(&entry.value);
            self.on_time.push_front(entry);
        }
        if let Some(rare) = undo.rare {
            for (key, entry) in rare.late {
                self.tally.add(&entry.value);
                self.apart().late.insert(key, entry);
            }
            self.apart().session = rare.session;
        }
        self.held = undo.held;
    }

    /// The event time from which on alerts count at `now`.
    fn from(&self, now: Millis, extent: Extent) -> Millis {
        match extent.window {
            Window::Sliding => now.saturating_sub(extent.span_ms),
            Window::Tumbling => now.div_euclid(extent.span_ms) * extent.span_ms,
            Window::Session => {
                let (began, last) = self.session();
                let goes_on = now - last <= extent.gap_ms && now - began <= extent.span_ms;
                if goes_on { Millis::MIN } else { Millis::MAX }
            }
        }
    }

    fn expire(&mut self, from: Millis, window: Window) -> Undo<T::Value> {
        let (mut expired, mut late) = (SmallVec::new(), Vec::new());
        while let Some(entry) = self.on_time.pop_front_if(|entry| entry.time < from) {
            self.tally.remove(&entry.value);
            expired.push(entry);
        }
        if let Some(apart) = &mut self.apart {
            while let Some(first) = apart.late.first_entry().filter(|first| first.key().0 < from) {
                let (key, entry) = first.remove_entry();
                self.tally.remove(&entry.value);
                late.push((key, entry));
            }
        }
        let rare = window == Window::Session || !late.is_empty();
        let rare = rare.then(|| Box::new(Rare { late, session: self.session() }));
        Undo { expired, rare, held: self.held }
    }

    fn is_empty(&self) -> bool {
        self.on_time.is_empty() && self.late().is_none()
    }

    /// Those that came later than allowed, where there are any.
    fn late(&self) -> Option<&Late<T::Value>> {
        self.apart.as_ref().map(|apart| &apart.late).filter(|late| !late.is_empty())
    }

    /// What counts, latest first; of those that came later than allowed only the last thousand.
    pub fn latest(&self) -> Box<dyn Iterator<Item = &Entry<T::Value>> + '_> {
        let Some(late) = self.late() else { return Box::new(self.on_time.iter().rev()) };
        let on_time = self.on_time.iter().rev().take(LATEST_MAX);
        let late = late.iter().rev().take(1000);
        let mut all: Vec<_> = on_time
            .map(|entry| ((entry.time.div_euclid(1000), entry.time, entry.id), entry))
            .chain(late.map(|((time, order), entry)| ((order.tick, *time, order.id), entry)))
            .collect();
        all.sort_by_key(|(order, _)| std::cmp::Reverse(*order));
        Box::new(all.into_iter().map(|(_, entry)| entry))
    }

    /// The tick from which on it is as good as new.
    #[must_use]
    pub fn dies(&self, extent: Extent) -> Tick {
        let reach = match extent.window {
            Window::Session => self.session().1.saturating_add(extent.gap_ms),
            Window::Sliding | Window::Tumbling => {
                let newest = self.on_time.back().map(|entry| entry.time);
                let newest = newest.max(self.late().and_then(BTreeMap::last_key_value).map(|(key, _)| key.0));
                newest.unwrap_or(Millis::MIN / 4).saturating_add(extent.span_ms)
            }
        };
        reach.div_euclid(1000) + 1
    }
}

/// How many of the alerts that count are looked through for those that a finding names.
pub const LATEST_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::correlate::group::Group;
    use crate::record::Diff;

    #[test]
    fn what_an_alert_is_to_a_rule_takes_two_cache_lines() {
        assert!(size_of::<(Group, Event, Diff)>() <= 128);
    }

    proptest! {
        #[test]
        fn billionths_are_kept_as_a_whole_number(number: i128) {
            let billionths = Billionths::from(number);
            prop_assert_eq!(i128::from(billionths), number);
            prop_assert_eq!(bincode::serialize(&billionths).unwrap(), bincode::serialize(&number).unwrap());
        }
    }
}
