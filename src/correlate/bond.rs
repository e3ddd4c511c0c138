//! Bonds: what linking remembers of pairs, entities, rules and incidents.
//!
//! State: see each type; [`super::link`] says when they leave.

use std::num::NonZeroU32;

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use serde::{Deserialize, Serialize};

use super::link::{Actors, Foreign};
use super::rarity::{ActiveHours, HOUR_S};
use crate::flow::decade::{log10_milli, weekly};
use crate::plan::link::LinkSettings;
use crate::record::{AlertId, Entity, EntityKind, IncidentKind, Millis, Sym, Tick};

/// An incident's number within one tenant, for the time of a run: never written.
pub type Number = u64;

/// The last alert of something, and where it belongs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Pointer {
    pub(super) home: Number,
    pub(super) time: Millis,
    pub(super) tick: Tick,
    pub(super) alert: AlertId,
    /// How many alerts of its pair had come one after the other by then.
    pub(super) run: NonZeroU32,
    /// Its rule.
    pub(super) rule: Sym,
}

/// A subject and a rule.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Pair {
    pub(super) hours: ActiveHours,
    pub(super) last: Option<Pointer>,
    /// How many alerts came one after the other, wherever they belong, and when the last one did.
    run: u32,
    ran: Tick,
    /// How firmly these are tied to the incident that the last of them belongs to: what the best link left over that led one
    /// there. None as long as none of them is the pair's last.
    tie: Option<i32>,
}

impl Pair {
    /// Counts an alert: how many have come one after the other by now.
    pub(super) fn count(&mut self, tick: Tick, gap_s: Tick) -> NonZeroU32 {
        if tick - self.ran > gap_s {
            (self.run, self.tie) = (0, None);
        }
        let run = NonZeroU32::MIN.saturating_add(self.run);
        (self.run, self.ran) = (run.get(), tick);
        run
    }

    /// Whether so much against them is more than what ties them to their incident.
    pub(super) fn is_loose(&self, against: i32) -> bool {
        self.tie.is_some_and(|tie| against > tie)
    }

    /// Notes its last alert, which by links came to where the one before is, or else `elsewhere`, as the first of a run always
    /// does. What no link led there is there by itself.
    pub(super) fn end_at(&mut self, pointer: Pointer, tie: Option<i32>, elsewhere: bool) {
        self.last = Some(pointer);
        self.tie = match self.tie {
            Some(known) if !elsewhere => Some(tie.map_or(known, |tie| known.max(tie))),
            _ => Some(tie.unwrap_or(i32::MAX)),
        };
    }
}

/// The incident that a rare entity was first seen in.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Owner {
    /// The entity's last alert.
    pub(super) pointer: Pointer,
    /// How rare it was when the incident met it: what the incident itself does with it makes it no commoner.
    pub(super) weight: i32,
    /// Its active hours then.
    pub(super) before: f64,
}

/// An entity, or a rule, and the surprises that met there.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Meeting {
    /// Hours with any alert about it; entities only.
    pub(super) seen: ActiveHours,
    /// The incident that brought it; rare entities only.
    pub(super) owner: Option<Owner>,
    /// When it was first seen.
    pub(super) since: Tick,
    /// The subject with which it was first seen.
    pub(super) mate: Option<Entity>,
    /// It was seen with another subject too: it connects.
    pub(super) connects: bool,
    /// The network that an address lies in; public ones only.
    pub(super) network: Option<Entity>,
    /// It has one, or is one.
    pub(super) is_public: bool,
    /// Hours with a surprising one.
    pub(super) novelty: ActiveHours,
    pub(super) last: Option<Pointer>,
    /// Distinct pairs met since the last pause, up to the degree cap.
    pub(super) pairs: SmallVec<[(Option<Entity>, Sym); 2]>,
}

/// What linking knows of an incident.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Bond {
    pub(super) kind: IncidentKind,
    /// For the age bound: a campaign keeps the later beginning.
    pub(super) start: Tick,
    /// For the span bound.
    pub(super) first: Tick,
    pub(super) last: Tick,
    /// Its last alert, which stands for it where it joins a campaign.
    pub(super) latest: AlertId,
    /// How many it has.
    pub(super) alerts: u32,
    /// Strongest surprise of each rule.
    pub(super) rules: SmallVec<[(Sym, i32); 4]>,
    pub(super) strength: i32,
    /// How many things of a kind its alerts of a rule name.
    pub(super) spreads: SmallVec<[Spread; 1]>,
    /// What its surprising alerts are about.
    pub(super) subjects: FxHashSet<Entity>,
    /// How many entities they name, by kind.
    pub(super) abouts: [u32; EntityKind::ALL.len()],
    /// Whether it is noted among the strong, by its subjects.
    pub(super) is_known_strong: bool,
    /// Strong incidents with which it shares a subject, too far off in time to be one campaign as yet.
    pub(super) near: SmallVec<[Number; 2]>,
    /// A correlation may still ask for its alerts until then.
    pub(super) wanted_until: Tick,
    /// Whether its pair was common at its last alert, so that its background session lasts long. Kept here, since the
    /// pair's own hours go on after the session has ended.
    pub(super) common: bool,
    /// It has met an entity that is rare: whatever else names that still belongs to it for long.
    pub(super) is_tight: bool,
    /// How many rare entities it has met, by kind: the more, the likelier a stranger has one of them by chance.
    pub(super) met: [u32; EntityKind::ALL.len()],
    /// What of these is none of the site's own.
    pub(super) foreign: [Foreign; EntityKind::ALL.len()],
    /// Whose accounts its alerts name.
    pub(super) actors: Actors,
    /// What analysts said does not belong to it; few incidents have that.
    pub(super) parted: Option<Box<Parted>>,
}

/// How wide a rule is in an incident.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Spread {
    rule: Sym,
    kind: EntityKind,
    many: u32,
}

impl Bond {
    /// Notes that a surprising alert is about something; whether that is new.
    pub(super) fn is_about(&mut self, subject: Entity) -> bool {
        self.subjects.insert(subject)
    }

    /// Notes so many more things of a kind that a rule's alerts name.
    pub(super) fn spread(&mut self, rule: Sym, kind: EntityKind, more: u32) {
        match self.spreads.iter_mut().find(|known| (known.rule, known.kind) == (rule, kind)) {
            Some(known) => known.many += more,
            None => self.spreads.push(Spread { rule, kind, many: more }),
        }
    }

    /// Takes in what is known of another's rules.
    pub(super) fn spread_all(&mut self, others: &[Spread]) {
        for other in others {
            self.spread(other.rule, other.kind, other.many);
        }
    }

    /// How many things of a kind its alerts of a rule name, where that is known.
    pub(super) fn many(&self, rule: Sym, kind: EntityKind) -> Option<u32> {
        self.spreads.iter().find(|known| (known.rule, known.kind) == (rule, kind)).map(|known| known.many)
    }
}

/// What surprises of a rule met, and how wide its bursts are.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct RuleMeeting {
    pub(super) meeting: Meeting,
    /// The log of how many distinct pairs a burst met, in the mean of those that are over, and how many they were.
    width: i32,
    bursts: i32,
}

impl RuleMeeting {
    /// Bursts that the mean is about.
    const BURSTS_MAX: i32 = 8;

    /// Notes that a pair surprised by the rule.
    pub(super) fn meet(&mut self, pointer: Pointer, pair: (Option<Entity>, Sym), settings: &LinkSettings) {
        if self.meeting.novelty.forgettable(pointer.tick) {
            *self = RuleMeeting::default();
        }
        let paused = self.meeting.last.is_some_and(|last| pointer.tick - last.tick > settings.entity_gap_s);
        if paused {
            self.bursts = (self.bursts + 1).min(Self::BURSTS_MAX);
            self.width += (self.burst() - self.width) / self.bursts;
        }
        meet(&mut self.meeting, pointer, pair, settings);
    }

    /// The log of how many things one burst of the rule is expected to be about: a wave of mail, a spray of passwords.
    pub(super) fn width(&self, tick: Tick) -> i32 {
        // Forgotten by the clock, as all that sweeps drop.
        if self.meeting.novelty.forgettable(tick) { 0 } else { self.width.max(self.burst()) }
    }

    fn burst(&self) -> i32 {
        log10_milli(self.meeting.pairs.len().max(1) as f64)
    }
}

/// What revisions said of an incident, which evidence must not undo.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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

/// How many stories began lately: a count that halves in a day.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Onsets {
    count: f64,
    at: Tick,
}

impl Onsets {
    /// Counts one more.
    pub(super) fn count(&mut self, tick: Tick) {
        let hours = (tick - self.at).div_euclid(HOUR_S);
        // Seven times as fast as hours of activity, which halve in a week.
        let left = if self.at == 0 { 0.0 } else { weekly::left(hours * 7) };
        self.count = self.count * left + 1.0;
        if hours > 0 || self.at == 0 {
            self.at = tick;
        }
    }

    /// How much it says that two things lie only `gap_s` apart: the log of one over the number that begin by chance within
    /// such a gap, in thousandths of a decade. Less than nothing where more than one does.
    pub(super) fn weight(&self, gap_s: Tick, observed_s: Tick, tick: Tick) -> i32 {
        let hours = (observed_s / HOUR_S).clamp(1, 24);
        let now = self.count * weekly::left((tick - self.at) / HOUR_S * 7);
        let expected = now * gap_s.max(GAP_LEAST_S) as f64 / (hours * HOUR_S) as f64;
        -log10_milli(expected.max(1e-9))
    }
}

/// Closer together than this is no closer.
const GAP_LEAST_S: Tick = 60;

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

/// Notes that a pair surprised at an entity or rule; whether it is the first one there in this hour.
pub(super) fn meet(
    meeting: &mut Meeting,
    pointer: Pointer,
    pair: (Option<Entity>, Sym),
    settings: &LinkSettings,
) -> bool {
    if meeting.last.is_none_or(|last| pointer.tick - last.tick > settings.entity_gap_s) {
        meeting.pairs.clear();
    }
    if meeting.pairs.len() <= settings.degree_max && !meeting.pairs.contains(&pair) {
        meeting.pairs.push(pair);
    }
    meeting.last = Some(pointer);
    meeting.novelty.mark(pointer.tick)
}
