//! Bonds: what linking remembers of pairs, entities, rules and incidents.
//!
//! State: see each type; [`super::link`] says when they leave.

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::rarity::ActiveHours;
use crate::flow::decade::weekly;
use crate::plan::link::LinkSettings;
use crate::record::{Alert, AlertId, Entity, IncidentKind, Millis, Sym, Tick};

/// An incident's number within one tenant, for the time of a run: never written.
pub type Number = u64;

/// The last alert of something, and where it belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pointer {
    pub(super) home: Number,
    pub(super) time: Millis,
    pub(super) tick: Tick,
    pub(super) alert: AlertId,
}

/// A subject and a rule.
#[derive(Debug, Default)]
pub(super) struct Pair {
    pub(super) hours: ActiveHours,
    pub(super) last: Option<Pointer>,
}

/// An entity, or a rule, and the surprises that met there.
#[derive(Debug, Default)]
pub(super) struct Meeting {
    pub(super) novelty: ActiveHours,
    pub(super) last: Option<Pointer>,
    /// Distinct pairs met since the last pause, up to the degree cap.
    pub(super) pairs: SmallVec<[(Option<Entity>, Sym); 2]>,
}

/// What linking knows of an incident.
#[derive(Debug)]
pub(super) struct Bond {
    pub(super) kind: IncidentKind,
    /// For the age bound: a campaign keeps the later beginning.
    pub(super) start: Tick,
    /// For the span bound.
    pub(super) first: Tick,
    pub(super) last: Tick,
    /// Its last alert, which stands for it where it joins a campaign.
    pub(super) latest: AlertId,
    /// Strongest surprise of each rule.
    pub(super) rules: SmallVec<[(Sym, i32); 4]>,
    pub(super) strength: i32,
    /// What its surprising alerts are about.
    pub(super) subjects: FxHashSet<Entity>,
    /// Whether it is noted among the strong, by its subjects.
    pub(super) is_known_strong: bool,
    /// Strong incidents with which it shares a subject, too far off in time to be one campaign as yet.
    pub(super) near: SmallVec<[Number; 2]>,
    /// A correlation may still ask for its alerts until then.
    pub(super) wanted_until: Tick,
    /// Whether its pair was common at its last alert, so that its background session lasts long. Kept here, since the
    /// pair's own hours go on after the session has ended.
    pub(super) common: bool,
    /// What analysts said does not belong to it; few incidents have that.
    pub(super) parted: Option<Box<Parted>>,
}

/// What revisions said of an incident, which evidence must not undo.
#[derive(Clone, Debug, Default)]
pub(super) struct Parted {
    /// Incidents that it never becomes one with.
    pub(super) apart: Vec<Number>,
    /// Entities that carry no link into it.
    pub(super) barred: Vec<Entity>,
}

impl Parted {
    /// Both.
    pub(super) fn and(mut self, other: Option<Parted>) -> Parted {
        if let Some(other) = other {
            self.apart.extend(other.apart);
            self.barred.extend(other.barred);
        }
        self
    }
}

/// How many pairs began to surprise lately: a count that halves in a day.
#[derive(Debug, Default)]
pub(super) struct Onsets {
    count: f64,
    at: Tick,
}

impl Onsets {
    /// Counts one more.
    pub(super) fn count(&mut self, tick: Tick) {
        let hours = (tick - self.at).div_euclid(3600);
        // Seven times as fast as hours of activity, which halve in a week.
        let left = if self.at == 0 { 0.0 } else { weekly::left(hours * 7) };
        self.count = self.count * left + 1.0;
        if hours > 0 || self.at == 0 {
            self.at = tick;
        }
    }

    /// The longest gap, in seconds, within which no more than so many are to be expected by chance.
    pub(super) fn gap_with(&self, coincidences_max: f64, observed_s: Tick, tick: Tick) -> Tick {
        let hours = (observed_s / 3600).clamp(1, 24);
        let now = self.count * weekly::left((tick - self.at) / 3600 * 7);
        let per_second = now / (hours as f64 * 3600.0);
        #[expect(clippy::cast_possible_truncation, reason = "bounded by a billion")]
        let gap = (coincidences_max / per_second.max(1e-9)).min(1e9) as Tick;
        gap
    }
}

/// Notes a rule's surprise in an incident: the strongest of each rule counts.
pub(super) fn raise(bond: &mut Bond, rule: Sym, surprise: i32) {
    match bond.rules.iter_mut().find(|(known, _)| *known == rule) {
        Some((_, best)) if *best >= surprise => {}
        Some((_, best)) => {
            bond.strength += surprise - *best;
            *best = surprise;
        }
        None => {
            bond.rules.push((rule, surprise));
            bond.strength += surprise;
        }
    }
}

/// Notes that a pair surprised at an entity or rule.
pub(super) fn meet(
    meeting: &mut Meeting,
    pointer: Pointer,
    pair: (Option<Entity>, Sym),
    settings: &LinkSettings,
) {
    if meeting.last.is_none_or(|last| pointer.tick - last.tick > settings.entity_gap_s) {
        meeting.pairs.clear();
    }
    if meeting.pairs.len() <= settings.degree_max && !meeting.pairs.contains(&pair) {
        meeting.pairs.push(pair);
    }
    meeting.novelty.mark(pointer.tick);
    meeting.last = Some(pointer);
}

/// The alert's entities that may link: of such kinds, and not on the list of those that never do.
pub(super) fn linking<'a>(
    settings: &'a LinkSettings,
    listed: &'a FxHashSet<Entity>,
    alert: &'a Alert,
) -> impl Iterator<Item = Entity> + 'a {
    let may = |it: &Entity| settings.entities.contains(&it.kind) && !listed.contains(it);
    alert.entities.iter().map(|o| o.entity).filter(may)
}
