//! Linking after a revision: each part gets a bond of its own, and what pointed at the whole points at the right part.

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::super::bond::{Bond, Number, Parted, Pointer, raise};
use super::super::revision::{Part, Revision};
use super::{Actors, Foreign, Links, network};
use crate::record::{Alert, AlertId, Entity, EntityKind, IncidentKind, Sym, Tick};

/// What linking says of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Its number; none where the incident has closed.
    pub number: Option<Number>,
    /// Linked or background.
    pub kind: IncidentKind,
    /// Its sum of surprises.
    pub strength: i32,
}

impl Links {
    /// Takes an incident apart: `number` is that of the part that keeps its name; none where it has closed.
    pub fn revise(&mut self, number: Option<Number>, revision: &Revision) -> Vec<Judged> {
        let old = number.and_then(|number| self.bonds.get(&number));
        let bonds: Vec<Bond> = revision.parts.iter().map(|part| self.bond(part, revision, old)).collect();
        let judged = |number, bond: &Bond| Judged { number, kind: bond.kind, strength: bond.strength };
        let Some(number) = number.filter(|_| old.is_some()) else {
            return bonds.iter().map(|bond| judged(None, bond)).collect();
        };
        let numbers: Vec<Number> = std::iter::once(number).chain(self.next..).take(bonds.len()).collect();
        self.next += bonds.len() as Number - 1;
        self.forget_nearness(number);
        self.point(number, &numbers, revision);
        // What was said of the whole before holds for each part.
        let before = self.bonds.get(&number).and_then(|old| old.parted.as_deref().cloned());
        let mut told = Vec::new();
        for (at, bond) in numbers.iter().zip(bonds) {
            told.push(judged(Some(*at), &bond));
            let others = numbers.iter().copied().filter(|other| revision.apart && other != at);
            let apart = others.collect();
            let barred = if revision.listed { Vec::new() } else { revision.barred.clone() };
            let parted = Parted { apart, barred };
            let parted = parted.and(before.clone());
            self.bonds.insert(*at, Bond { parted: Some(Box::new(parted)), ..bond });
        }
        for at in &numbers {
            if self.bonds.get(at).is_some_and(|bond| bond.strength >= self.settings.strong) {
                self.note_all_strong(*at);
            }
        }
        told
    }

    fn bond(&self, part: &Part, revision: &Revision, old: Option<&Bond>) -> Bond {
        let settings = &self.settings;
        let ticks = || part.alerts.iter().map(|alert| alert.tick);
        let first = ticks().min().unwrap_or_default();
        let last = ticks().max().unwrap_or_default();
        let mut bond = Bond {
            kind: IncidentKind::Background,
            start: old.map_or(first, |old| old.start.max(first)),
            first,
            last,
            latest: part.alerts.last().map(|alert| alert.id).unwrap_or_default(),
            alerts: u32::try_from(part.alerts.len()).unwrap_or(u32::MAX),
            rules: SmallVec::new(),
            strength: 0,
            subjects: FxHashSet::default(),
            is_known_strong: false,
            near: SmallVec::new(),
            wanted_until: old.map_or(Tick::MIN, |old| old.wanted_until),
            common: old.is_some_and(|old| old.common),
            is_tight: old.is_some_and(|old| old.is_tight),
            // Of the whole: rather too many than too few.
            abouts: old.map_or([0; EntityKind::ALL.len()], |old| old.abouts),
            spreads: old.map_or_else(SmallVec::new, |old| old.spreads.clone()),
            met: old.map_or([0; EntityKind::ALL.len()], |old| old.met),
            foreign: old.map_or([Foreign::default(); EntityKind::ALL.len()], |old| old.foreign),
            actors: Actors::default(),
            parted: None,
        };
        for alert in &part.alerts {
            let entities = alert.entities.iter().map(|observable| observable.entity);
            bond.actors.note(entities.filter(|it| it.kind == EntityKind::User && !self.listed.contains(it)));
        }
        let unlinked = |at: &usize| revision.withdrawn && part.surprises.iter().all(|(told, _)| told != at);
        let opened = (0..part.alerts.len()).filter(unlinked);
        let opened = opened.filter_map(|at| Some((at, Some(remembered(old, part.alerts[at].rule)?))));
        for (at, told) in part.surprises.iter().copied().chain(opened) {
            let alert = &part.alerts[at];
            // One that opened surprised as its rule does at most, which the bond remembers; else the least that opens.
            let opened = || remembered(old, alert.rule).unwrap_or(settings.surprise_strong);
            let surprise = told.unwrap_or_else(opened);
            if surprise >= settings.surprise_strong {
                raise(&mut bond, alert.rule, surprise);
                let barred = |subject: &Entity| revision.barred.contains(subject);
                if let Some(subject) = alert.subject().filter(|subject| !barred(subject)) {
                    bond.is_about(subject);
                }
            }
        }
        for correlation in &part.correlations {
            raise(&mut bond, *correlation, settings.correlation_weight);
        }
        if part.is_linked || bond.strength > 0 {
            bond.kind = IncidentKind::Linked;
        }
        bond
    }

    /// Nobody is near the incident any more, until its parts are noted anew.
    fn forget_nearness(&mut self, number: Number) {
        let own = self.own(number);
        self.strong.retain(|_, numbers| {
            numbers.retain(|number| !own.contains(number));
            !numbers.is_empty()
        });
        for bond in self.bonds.values_mut() {
            bond.near.retain(|number| !own.contains(number));
        }
    }

    /// All numbers that lead to one.
    fn own(&self, number: Number) -> FxHashSet<Number> {
        let merged = self.merged.keys().copied().filter(|other| self.resolve(*other) == Some(number));
        merged.chain([number]).collect()
    }

    fn point(&mut self, number: Number, numbers: &[Number], revision: &Revision) {
        let own = self.own(number);
        let parts = numbers.iter().zip(&revision.parts);
        let of: FxHashMap<AlertId, Number> =
            parts.flat_map(|(at, part)| part.alerts.iter().map(move |alert| (alert.id, *at))).collect();
        let turn = |pointer: &mut Pointer| {
            if let Some(at) = of.get(&pointer.alert).filter(|_| own.contains(&pointer.home)) {
                pointer.home = *at;
            }
        };
        // What an alert that is taken out was the last of, the one before it is the last of: the host goes on without it.
        let before = |pointer: &Pointer, same: &dyn Fn(&Alert) -> bool| {
            let parts = numbers.iter().zip(&revision.parts).filter(|_| revision.out == Some(pointer.alert));
            let told = parts.flat_map(|(at, part)| part.surprises.iter().map(|it| (*at, &part.alerts[it.0])));
            let others = told.filter(|(_, alert)| alert.id != pointer.alert && same(alert));
            let last = others.max_by_key(|(_, alert)| alert.order());
            last.map(|(home, it)| Pointer {
                home,
                time: it.time,
                tick: it.tick,
                alert: it.id,
                run: pointer.run,
                rule: it.rule,
            })
        };
        let replace = |last: &mut Option<Pointer>, same: &dyn Fn(&Alert) -> bool| {
            if let Some(pointer) = last.as_mut().filter(|pointer| own.contains(&pointer.home)) {
                *pointer = before(pointer, same).unwrap_or(*pointer);
                turn(pointer);
            }
        };
        self.pairs.each_mut(|_, pair| pair.last.iter_mut().for_each(turn));
        let names = &self.names;
        self.entities.each_mut(|entity, meeting| {
            let is_named = |alert: &Alert| network::is_named(*entity, alert, names);
            replace(&mut meeting.last, &is_named);
            let mut owned = meeting.owner.map(|owner| owner.pointer);
            replace(&mut owned, &is_named);
            if let Some((owner, pointer)) = meeting.owner.as_mut().zip(owned) {
                owner.pointer = pointer;
            }
        });
        for (rule, known) in &mut self.rules {
            replace(&mut known.meeting.last, &|alert| alert.rule == *rule);
        }
        replace(&mut self.latest, &|_| true);
    }

    /// The list of entities that never link is this from now on. What links by one that is new stays, unless it is cut; but
    /// nothing more joins by it: no alert, and no campaign by a subject that it was. One that is taken off links again with
    /// what comes then.
    pub fn list(&mut self, listed: FxHashSet<Entity>) {
        self.listed = listed;
        let listed = &self.listed;
        self.entities.each_mut(|entity, meeting| {
            if listed.contains(entity) {
                (meeting.last, meeting.owner) = (None, None);
            }
        });
        let mut strong: Vec<Number> = Vec::new();
        for (number, bond) in &mut self.bonds {
            bond.subjects.retain(|subject| !listed.contains(subject));
            bond.near.clear();
            if std::mem::take(&mut bond.is_known_strong) {
                strong.push(*number);
            }
        }
        self.strong.clear();
        strong.sort_unstable();
        for number in strong {
            self.note_all_strong(number);
        }
    }

    /// Whether a revision keeps two incidents apart.
    pub(super) fn apart(&self, one: Number, other: Number) -> bool {
        let from = |one: Number, other: Number| {
            let parted = self.bonds.get(&one).and_then(|bond| bond.parted.as_ref());
            parted.is_some_and(|it| it.apart.iter().any(|number| self.resolve(*number) == Some(other)))
        };
        from(one, other) || from(other, one)
    }

    /// Those of `numbers` that may be one, the earlier ones first to say.
    pub(super) fn together(&self, numbers: impl Iterator<Item = Number>) -> SmallVec<[Number; 4]> {
        let mut together: SmallVec<[Number; 4]> = SmallVec::new();
        for number in numbers {
            if !together.iter().any(|other| self.apart(number, *other)) {
                together.push(number);
            }
        }
        together
    }
}

impl Bond {
    /// Whether a revision said that the entity carries no link into it.
    pub(in super::super) fn bars(&self, entity: Entity) -> bool {
        self.parted.as_ref().is_some_and(|parted| parted.barred.contains(&entity))
    }
}

fn remembered(old: Option<&Bond>, rule: Sym) -> Option<i32> {
    old?.rules.iter().find(|(known, _)| *known == rule).map(|(_, surprise)| *surprise)
}
