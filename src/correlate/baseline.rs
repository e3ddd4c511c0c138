//! `baseline`: how unusual the users, hosts, pairs of both and the hour of an alert are for its tenant.
//!
//! In: a tenant's settled alerts, in order. Out: of each alert what is unusual about it, measured by what came before the
//! hour of its tick: alerts of one hour do not make each other usual, and a flood is one event. So what is said is a
//! function of the alerts in order; one that came later than allowed counts in the hour of its tick, as it does elsewhere.
//!
//! Something's activity is the number of hours in which it had an alert, each weighing half as much a week later. Surprises
//! are counted in thousandths of a decade, as evidence is: see [`Scale`].
//!
//! State: a tenant's users, hosts, and pairs of both. One leaves when its activity has fallen below a sixteenth: one active
//! hour is remembered for four weeks. A tenant has at most [`SUBJECTS_MAX`]: what does not fit is new each time, until the
//! forgotten have left, which is looked for once a day, or once an hour where there is no room.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use serde::{Deserialize, Serialize};

use super::rarity::{HOUR_S, Scale};
use crate::flow::decade::{log10_milli, weekly};
use crate::record::{Alert, EntityKind, Observable, Sym, Unusual};

/// Users, hosts and pairs remembered of one tenant: 40 bytes each, and 200 more of a user.
pub const SUBJECTS_MAX: usize = 1 << 18;
/// A rarity that is worth saying: active in less than a twentieth of the hours.
const RARITY_MIN: i32 = 1_300;
/// An hour that is worth saying: less than a tenth of the user's activity lies within an hour of it.
const HOUR_MIN: i32 = 1_000;
/// The activity from which on a user or host is known, so that a pair of both may be new.
const KNOWN: f64 = 3.0;
/// The activity from which on a user's hours are known.
const HOURS_KNOWN: f64 = 12.0;
/// Activity below which something is forgotten.
const FORGOTTEN: f64 = 1.0 / 16.0;
/// Users, and hosts, of one alert that are looked at.
const EACH_MAX: usize = 4;

/// What has a baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Subject {
    User(Sym),
    Host(Sym),
    Pair(Sym, Sym),
}

/// When something was active.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Activity {
    /// Its activity at `hour`.
    weight: f64,
    /// The last active hour since 1970.
    hour: i64,
    /// Its activity by the hour of the day (UTC), at `hour`; users only.
    by_hour: Option<Box<[f64; 24]>>,
}

impl Activity {
    /// Its activity before `hour`; `hour` never goes back.
    fn before(&self, hour: i64) -> f64 {
        if hour == self.hour {
            return self.weight - 1.0;
        }
        let left = self.weight * weekly::left(hour - self.hour);
        // Forgotten by the clock, not by when it is looked for.
        if left < FORGOTTEN { 0.0 } else { left }
    }

    /// How surprising the hour of the day is, to within an hour; 0 where its hours are not known well.
    fn unusual_hour(&self, hour: i64) -> i32 {
        let (Some(by_hour), active) = (&self.by_hour, self.before(hour)) else { return 0 };
        if active < HOURS_KNOWN {
            return 0;
        }
        let near: f64 = [-1, 0, 1].map(|by| by_hour[of_day(hour + by)]).iter().sum();
        let near = if hour == self.hour { near - 1.0 } else { near * weekly::left(hour - self.hour) };
        // No logarithm of what is far from worth saying: a decade is the least.
        let odds = (active + 1.0) / (near.max(0.0) + 0.5);
        if odds < 9.0 { 0 } else { log10_milli(odds) }
    }

    fn is_marked(&self, hour: i64) -> bool {
        self.weight > 0.0 && hour == self.hour
    }

    fn mark(&mut self, hour: i64) {
        if self.is_marked(hour) {
            return;
        }
        let before = if self.weight > 0.0 { self.before(hour) } else { 0.0 };
        let left = if before > 0.0 { weekly::left(hour - self.hour) } else { 0.0 };
        if let Some(by_hour) = &mut self.by_hour {
            by_hour.iter_mut().for_each(|weight| *weight *= left);
            by_hour[of_day(hour)] += 1.0;
        }
        (self.weight, self.hour) = (before + 1.0, hour);
    }
}

fn of_day(hour: i64) -> usize {
    usize::try_from(hour.rem_euclid(24)).unwrap_or(0)
}

/// The alert that was looked at last.
#[derive(Serialize, Deserialize)]
struct Last {
    hour: i64,
    scale: Scale,
    entities: SmallVec<[Observable; 4]>,
    unusual: Unusual,
}

/// One tenant's baselines.
#[derive(Serialize, Deserialize)]
pub struct Baselines {
    known: FxHashMap<Subject, Activity>,
    max: usize,
    /// How long the tenant has been observed.
    scale: Scale,
    hour: i64,
    swept: i64,
    last: Option<Last>,
}

impl Default for Baselines {
    fn default() -> Self {
        Self::bounded(SUBJECTS_MAX)
    }
}

impl Baselines {
    fn bounded(max: usize) -> Baselines {
        Baselines { known: FxHashMap::default(), max, scale: Scale::default(), hour: 0, swept: 0, last: None }
    }

    /// What is unusual about the next alert in order.
    pub fn alert(&mut self, alert: &Alert) -> Unusual {
        let hour = alert.tick.div_euclid(HOUR_S);
        self.scale.reach(alert.tick);
        // What an hour's alerts say of the same entities is the same: the commonest case costs one comparison. Hours of the
        // clock and of the site's observation don't begin together.
        let same =
            |last: &&Last| (last.hour, last.scale) == (hour, self.scale) && last.entities == alert.entities;
        if let Some(last) = self.last.as_ref().filter(same) {
            return last.unusual;
        }
        if hour > self.hour {
            self.hour = hour;
            self.sweep();
        }
        let of = |kind| {
            let mut of: SmallVec<[Sym; EACH_MAX]> = SmallVec::new();
            let found = alert.entities.iter().filter(|it| it.entity.kind == kind).map(|it| it.entity.value);
            found.for_each(|value| {
                if of.len() < EACH_MAX && !of.contains(&value) {
                    of.push(value);
                }
            });
            of
        };
        let (users, hosts) = (of(EntityKind::User), of(EntityKind::Host));
        let (mut unusual, mut is_marked) = (Unusual::default(), true);
        let both = users
            .iter()
            .map(|user| Subject::User(*user))
            .chain(hosts.iter().map(|host| Subject::Host(*host)));
        for subject in both {
            let known = self.known.get(&subject);
            is_marked &= known.is_some_and(|known| known.is_marked(self.hour));
            let active = known.map_or(0.0, |known| known.before(hour));
            let is_rare = self.scale.may_surprise(active, RARITY_MIN);
            let rarity = if is_rare { self.scale.surprise(active) } else { 0 };
            let late = known.map_or(0, |known| known.unusual_hour(hour));
            unusual = unusual.max(Unusual {
                rarity: if rarity < RARITY_MIN { 0 } else { rarity },
                unusual_hour: if late < HOUR_MIN { 0 } else { late },
                new_pair: false,
            });
        }
        for (user, host) in users.iter().flat_map(|user| hosts.iter().map(move |host| (*user, *host))) {
            let known = self.known.get(&Subject::Pair(user, host));
            is_marked &= known.is_some_and(|known| known.is_marked(self.hour));
            unusual.new_pair |= known.map_or(0.0, |known| known.before(self.hour)) <= 0.0
                && self.active(Subject::User(user)) >= KNOWN
                && self.active(Subject::Host(host)) >= KNOWN;
        }
        // Mostly another alert of the hour did, and nothing is looked up again.
        if !is_marked {
            self.mark(&users, &hosts);
        }
        self.last = Some(Last { hour, scale: self.scale, entities: alert.entities.clone(), unusual });
        unusual
    }

    fn active(&self, subject: Subject) -> f64 {
        self.known.get(&subject).map_or(0.0, |known| known.before(self.hour))
    }

    fn mark(&mut self, users: &[Sym], hosts: &[Sym]) {
        let hour = self.hour;
        let pairs = users.iter().flat_map(|user| hosts.iter().map(move |host| Subject::Pair(*user, *host)));
        let alone = users
            .iter()
            .map(|user| Subject::User(*user))
            .chain(hosts.iter().map(|host| Subject::Host(*host)));
        for subject in alone.chain(pairs) {
            if let Some(known) = self.known.get_mut(&subject) {
                known.mark(hour);
            } else if self.known.len() < self.max {
                let by_hour = matches!(subject, Subject::User(_)).then(Box::default);
                self.known.entry(subject).or_insert(Activity { by_hour, ..Activity::default() }).mark(hour);
            }
        }
    }

    fn sweep(&mut self) {
        let full = self.known.len() >= self.max;
        if full || self.hour - self.swept >= 24 {
            self.swept = self.hour;
            let hour = self.hour;
            self.known.retain(|_, known| known.before(hour) > 0.0);
        }
    }
}

#[cfg(test)]
mod tests;
