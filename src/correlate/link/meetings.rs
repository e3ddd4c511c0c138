//! Meetings: the entities that an alert names, which of them are rare and whose, and what is remembered of them.
//!
//! State: see [`super`].

use std::num::NonZeroU32;

use smallvec::SmallVec;

use super::super::bond::{Owner, Pointer, meet};
use super::super::rarity::HOUR_S;
use super::super::shelf::Place;
use super::own::is_own;
use super::{Links, Number, network};
use crate::record::{Alert, Entity, EntityKind, Observable, Role, Tick};

/// A new host that was active in so many hours has moved in, and is not one that is seldom seen.
const MOVED_IN_HOURS: f64 = 2.0;

/// The alert's entities of kinds that may link.
pub(super) struct Met {
    pub(super) entities: SmallVec<[(Entity, Place); 4]>,
    pub(super) rare: SmallVec<[Rare; 1]>,
    /// One of them was seen with another subject.
    pub(super) connects: bool,
    /// The subject itself is new on a site that has been observed for long: then all that it does is new, which says nothing of
    /// what others do at that time.
    pub(super) is_newcomer: bool,
    /// How many alerts of its pair came one after the other.
    pub(super) run: NonZeroU32,
    /// These have become a flood which what led them to their incident does not bear.
    pub(super) is_loose: bool,
}

/// A rare one.
pub(super) struct Rare {
    pub(super) entity: Entity,
    pub(super) place: Place,
    /// Of an incident that goes on.
    pub(super) owner: Option<Owner>,
    pub(super) weight: i32,
    pub(super) before: f64,
    /// It was not seen in any hour before this one.
    pub(super) is_new: bool,
    pub(super) connects: bool,
    /// The site's own; see [`super::own`].
    pub(super) is_own: bool,
}

impl Met {
    /// The accounts among them.
    pub(super) fn accounts(&self) -> impl Iterator<Item = Entity> {
        self.entities.iter().map(|(entity, _)| *entity).filter(|entity| entity.kind == EntityKind::User)
    }
}

impl Links {
    /// Marks the alert's entities as seen, and the networks of public addresses that are new, and says which are rare: what
    /// neighbours do that were there before says nothing of how rare it is that a new one comes.
    pub(super) fn meet_all(&mut self, alert: &Alert, (run, is_loose): (NonZeroU32, bool)) -> Met {
        let (entities, rare) = (SmallVec::new(), SmallVec::new());
        let mut met = Met { entities, rare, connects: false, is_newcomer: false, run, is_loose };
        let mut networks: SmallVec<[Entity; 2]> = SmallVec::new();
        let mut has_moved_in = false;
        for Observable { entity, role } in alert.entities.iter().copied() {
            if !self.settings.entities.contains(&entity.kind) || self.listed.contains(&entity) {
                continue;
            }
            let place = self.entities.place(entity);
            self.bases[entity.kind as usize].see(self.entities.at(place).seen.day(), alert.tick);
            let rare = met.rare.len();
            self.meet((entity, place), role, alert, &mut met);
            let is_new = met.rare[rare..].iter().any(|rare| rare.is_new);
            let meeting = self.entities.at(place);
            if Some(entity) == alert.subject() {
                met.is_newcomer = self.is_newcomer(meeting.since, alert.tick);
                has_moved_in = met.is_newcomer
                    && entity.kind == EntityKind::Host
                    && meeting.seen.before(alert.tick) >= MOVED_IN_HOURS;
            }
            met.entities.push((entity, place));
            networks.extend(meeting.network.filter(|network| is_new && !networks.contains(network)));
        }
        networks.retain(|network| !self.listed.contains(network));
        for network in networks {
            let place = self.entities.place(network);
            self.meet((network, place), Role::Related, alert, &mut met);
        }
        // A host that goes on being busy is rare because it is new, and so is what came with it and is nobody else's.
        if has_moved_in {
            met.rare.retain(|rare| !rare.is_own || rare.connects);
        }
        met
    }

    fn is_newcomer(&self, since: Tick, tick: Tick) -> bool {
        let day_s = 24 * HOUR_S;
        self.scale.observed_s(since) > day_s && tick - since < day_s
    }

    /// Marks an entity or a network as seen.
    fn meet(&mut self, (entity, place): (Entity, Place), role: Role, alert: &Alert, met: &mut Met) {
        let subject = alert.subject();
        let meeting = self.entities.at_mut(place);
        if meeting.seen.forgettable(alert.tick) {
            (meeting.owner, meeting.mate, meeting.connects) = (None, subject, false);
            meeting.since = alert.tick;
            meeting.network = network::of(entity, &self.names);
            meeting.is_public = meeting.network.is_some() || network::is_one(entity, &self.names);
        }
        let before = meeting.seen.before(alert.tick);
        let is_new = before < 1.0;
        meeting.seen.mark(alert.tick);
        meeting.connects |= meeting.mate != subject;
        let connects = meeting.connects;
        met.connects |= connects;
        let is_own = is_own(entity.kind, role, meeting.is_public);
        // Resources, unlike the rest of what a site has, are named only where somebody changes them.
        let is_fleeting = is_own && entity.kind != EntityKind::Resource;
        let gap_s = if is_fleeting { self.settings.own_gap_s } else { self.settings.rare_gap_s };
        let owner = meeting.owner.filter(|owner| {
            before - owner.before <= self.settings.habit_hours && Self::fresh(alert, &owner.pointer, gap_s)
        });
        let owner = owner.filter(|owner| self.resolve(owner.pointer.home).is_some());
        let (weight, before) = match &owner {
            Some(owner) => (owner.weight, owner.before),
            None if self.scale.may_surprise(before, self.settings.entity_rare) => {
                (self.scale.surprise(before), before)
            }
            None => return,
        };
        if owner.is_some() || weight >= self.settings.entity_rare {
            met.rare.push(Rare { entity, place, owner, weight, before, is_new, connects, is_own });
        }
    }

    /// Rare entities belong to the incident that named them first.
    pub(super) fn claim(&mut self, met: &Met, pointer: Pointer) {
        for rare in &met.rare {
            let before = self.entities.at(rare.place).owner;
            let before = before.and_then(|owner| self.resolve(owner.pointer.home));
            let goes_on = |home: &Number| {
                let bond = self.bonds.get(home);
                bond.is_some_and(|bond| pointer.tick - bond.first <= self.settings.span_max_s)
            };
            // One that another incident brought stays that one's, wherever this alert belongs.
            if rare.owner.is_some() && before.filter(goes_on).is_some_and(|home| home != pointer.home) {
                continue;
            }
            if let Some(bond) = self.bonds.get_mut(&pointer.home) {
                let (at, is_new) = (rare.entity.kind as usize, before != Some(pointer.home));
                bond.met[at] += u32::from(is_new);
                bond.foreign[at].met += u32::from(is_new && !rare.is_own);
                bond.foreign[at].named += u32::from(!rare.is_own);
            }
            let owner = Owner { pointer, weight: rare.weight, before: rare.before };
            self.entities.at_mut(rare.place).owner = Some(owner);
        }
    }

    /// A surprise is remembered at its entities, its rule and the site.
    pub(super) fn remember(&mut self, alert: &Alert, met: &Met, pointer: Pointer) {
        let pair = (alert.subject(), alert.rule);
        for (entity, place) in &met.entities {
            // What a sweep may have dropped is not known.
            let last = self.entities.at(*place).last;
            let last = last.filter(|last| pointer.tick - last.tick <= 24 * HOUR_S);
            let is_new = last.and_then(|last| self.resolve(last.home)) != Some(pointer.home);
            if (is_new || last.is_some_and(|last| last.rule != alert.rule))
                && let Some(bond) = self.bonds.get_mut(&pointer.home)
            {
                bond.abouts[entity.kind as usize] += u32::from(is_new);
                bond.spread(alert.rule, entity.kind, 1);
            }
            if meet(self.entities.at_mut(*place), pointer, pair, &self.settings) {
                self.bases[entity.kind as usize].surprise(pointer.tick);
            }
        }
        self.rules.entry(alert.rule).or_default().meet(pointer, pair, &self.settings);
        self.latest = Some(pointer);
    }
}
