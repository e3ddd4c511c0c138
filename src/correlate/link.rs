//! `link`: which alerts belong together. The rule, per tenant, for an alert of subject s and rule r:
//!
//! 1. Its *surprise* is the rarity, in hours, of the pair (s, r) before this hour; see [`super::rarity`].
//! 2. It joins the incident of its own pair while that is fresh, so that a flood stays whole.
//! 3. If it surprises, it also joins the fresh incidents of the entities that it shares, of its rule on another subject,
//!    and the site's latest where that is strong; all of these become one.
//! 4. If it surprises less, it joins a strong one of its entities, or the site's.
//! 5. A surprising alert that joins none opens an incident; any other goes to the background session of its pair.
//! 6. Strong incidents on a shared subject within a day are one campaign and join.
//!
//! What keeps incidents from percolating: an entity or rule that surprises in many hours, or has met many pairs within the
//! window, does not link; where a site surprises often, the gaps of rule and site shrink until only few coincidences are
//! to be expected within them; an incident's age and span are bounded.
//!
//! State: pairs (see [`super::rarity`]), a pointer per entity and rule until the longest gap has passed, and what linking
//! must know of each incident until it closes.

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::bond::{Bond, Meeting, Onsets, Pair, Pointer, linking, meet, raise};
use super::rarity::surprise;
use super::shelf::{Place, Shelf};
use crate::plan::link::LinkSettings;
use crate::record::{Alert, AlertId, Entity, Finding, IncidentKind, Sym, Tick};

pub use super::bond::Number;
pub use revise::Judged;
mod revise;

/// Why an alert joins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// The other alert.
    pub other: AlertId,
    /// What is shared.
    pub entity: Option<Entity>,
    /// The kind.
    pub kind: &'static str,
    /// The surprise that carries it.
    pub weight: i32,
}

/// What became of a record.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Where the alert belongs.
    pub home: Number,
    /// It is a new incident's first.
    pub opened: Option<(Number, IncidentKind)>,
    /// The incident that a new one goes on from.
    pub succeeds: Option<Number>,
    /// Incidents that became part of `home`.
    pub absorbed: SmallVec<[Number; 1]>,
    /// Why.
    pub evidence: SmallVec<[Evidence; 2]>,
    /// The home's sum of surprises.
    pub strength: i32,
}

/// One tenant's linking.
pub struct Links {
    settings: LinkSettings,
    first: Option<Tick>,
    pairs: Shelf<(Option<Entity>, Sym), Pair>,
    entities: Shelf<Entity, Meeting>,
    rules: FxHashMap<Sym, Meeting>,
    latest: Option<Pointer>,
    onsets: Onsets,
    bonds: FxHashMap<Number, Bond>,
    merged: FxHashMap<Number, Number>,
    /// Strong incidents by subject, closed and merged ones among them until the next sweep.
    strong: FxHashMap<Entity, SmallVec<[Number; 2]>>,
    next: Number,
    swept: Tick,
    listed: FxHashSet<Entity>,
}

impl Links {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(settings: LinkSettings) -> Self {
        Self {
            settings,
            first: None,
            pairs: Shelf::default(),
            entities: Shelf::default(),
            rules: FxHashMap::default(),
            latest: None,
            onsets: Onsets::default(),
            bonds: FxHashMap::default(),
            merged: FxHashMap::default(),
            strong: FxHashMap::default(),
            next: 1,
            swept: 0,
            listed: FxHashSet::default(),
        }
    }

    /// Takes the next alert in order; a correlation may ask for it `wanted_s` ticks long.
    pub fn alert(&mut self, alert: &Alert, wanted_s: Option<Tick>) -> Verdict {
        let first = *self.first.get_or_insert(alert.tick);
        let place = self.pairs.place((alert.subject(), alert.rule));
        let pair = self.pairs.at_mut(place);
        let (active, last) = (pair.hours.before(alert.tick), pair.last);
        pair.hours.mark(alert.tick);
        let surprise = surprise(first, alert.tick, active);
        let strong = surprise >= self.settings.surprise_strong;
        let mut verdict = Verdict::default();
        if let Some(last) = last.filter(|last| Self::fresh(alert, last, self.settings.pair_gap_s)) {
            self.join(alert, &last, None, "session", surprise, &mut verdict);
        }
        let mut met: SmallVec<[(Entity, Place); 4]> = SmallVec::new();
        if strong {
            met.extend(
                linking(&self.settings, &self.listed, alert)
                    .map(|entity| (entity, self.entities.place(entity))),
            );
            self.find_strong(alert, &met, surprise, &mut verdict);
            if last.is_none_or(|last| alert.tick - last.tick > 3600) {
                self.onsets.count(alert.tick);
            }
        } else if verdict.evidence.is_empty() {
            self.find_weak(alert, surprise, &mut verdict);
        }
        self.settle_home(alert, surprise, (active, last), &mut verdict);
        let pointer = Pointer { home: verdict.home, time: alert.time, tick: alert.tick, alert: alert.id };
        self.pairs.at_mut(place).last = Some(pointer);
        if strong {
            self.remember(alert, &met, pointer);
        }
        if let (Some(wanted_s), Some(bond)) = (wanted_s, self.bonds.get_mut(&verdict.home)) {
            bond.wanted_until = bond.wanted_until.max(alert.tick + wanted_s);
        }
        verdict
    }

    /// A finding joins the incidents of its alerts into one; none where they are not known any more.
    pub fn finding(&mut self, finding: &Finding, homes: impl Iterator<Item = Number>) -> Option<Verdict> {
        let homes = self.together(homes.filter_map(|home| self.resolve(home)));
        let home = homes.iter().copied().min()?;
        let mut verdict = Verdict { home, ..Verdict::default() };
        self.absorb(&homes, &mut verdict);
        let weight = self.settings.correlation_weight;
        let bond = self.bonds.get_mut(&verdict.home)?;
        bond.kind = IncidentKind::Linked;
        bond.last = bond.last.max(finding.tick);
        raise(bond, finding.correlation, weight);
        verdict.strength = bond.strength;
        Some(verdict)
    }

    /// The tick from which on nothing can join the incident; none where it is no more.
    #[must_use]
    pub fn closes(&self, number: Number) -> Option<Tick> {
        let bond = self.bonds.get(&number)?;
        let gap = match bond.kind {
            IncidentKind::Linked if bond.strength >= self.settings.strong => self.settings.campaign_gap_s,
            IncidentKind::Linked => self.settings.entity_gap_s.max(self.settings.pair_gap_s),
            IncidentKind::Background if bond.common => self.settings.background_gap_s,
            IncidentKind::Background => self.settings.background_rare_gap_s,
        };
        Some((bond.last + gap).max(bond.wanted_until) + 2)
    }

    /// Forgets a closed incident.
    pub fn forget(&mut self, number: Number) {
        self.bonds.remove(&number);
    }

    /// Drops what can matter no more, now and then.
    pub fn sweep(&mut self, settled: Tick) {
        if settled - self.swept < 3_600 {
            return;
        }
        self.swept = settled;
        let longest = self.settings.background_gap_s.max(self.settings.entity_gap_s);
        self.pairs.retain(|pair| {
            !pair.hours.forgettable(settled) || pair.last.is_some_and(|last| settled - last.tick <= longest)
        });
        self.entities.retain(|meeting| !meeting.novelty.forgettable(settled));
        self.rules.retain(|_, meeting| !meeting.novelty.forgettable(settled));
        let mut strong = std::mem::take(&mut self.strong);
        strong.retain(|_, numbers| {
            numbers.retain(|number| self.resolve(*number).is_some());
            !numbers.is_empty()
        });
        self.strong = strong;
        let merged: Vec<Number> = self.merged.keys().copied().collect();
        for number in merged {
            if self.resolve(number).is_none() {
                self.merged.remove(&number);
            }
        }
    }

    /// How many entries its tables have, for the test that they stay bounded.
    #[must_use]
    pub fn entries(&self) -> usize {
        let tables = [self.pairs.len(), self.entities.len(), self.rules.len(), self.bonds.len()];
        tables.into_iter().sum::<usize>() + self.merged.len() + self.strong.len()
    }

    /// The incident that `number` has become part of; none where it has closed.
    pub fn resolve(&self, mut number: Number) -> Option<Number> {
        // Most are still themselves: a number is in one of the two tables.
        while !self.bonds.contains_key(&number) {
            number = *self.merged.get(&number)?;
        }
        Some(number)
    }

    fn find_strong(&self, alert: &Alert, met: &[(Entity, Place)], surprise: i32, verdict: &mut Verdict) {
        let first = self.first.unwrap_or(alert.tick);
        for (entity, place) in met.iter().copied() {
            let meeting = self.entities.at(place);
            if self.selective(meeting, first, alert.tick, self.settings.entity_novelty)
                && let Some(last) = meeting.last
                && Self::fresh(alert, &last, self.settings.entity_gap_s)
            {
                self.join(alert, &last, Some(entity), "entity", surprise, verdict);
            }
        }
        if let Some(meeting) = self.rules.get(&alert.rule)
            && self.selective(meeting, first, alert.tick, self.settings.rule_novelty)
            && let Some(last) = meeting.last
            && Self::fresh(alert, &last, self.shrunk(self.settings.rule_gap_s, alert.tick))
        {
            self.join(alert, &last, None, "rule", surprise, verdict);
        }
        if let Some(last) = self.latest
            && self.strong_home(last.home)
            && Self::fresh(alert, &last, self.shrunk(self.settings.site_gap_s, alert.tick))
        {
            self.join(alert, &last, None, "site", surprise, verdict);
        }
    }

    fn find_weak(&self, alert: &Alert, surprise: i32, verdict: &mut Verdict) {
        let gap = self.settings.entity_gap_s;
        if surprise >= self.settings.surprise_entity {
            for entity in linking(&self.settings, &self.listed, alert) {
                if let Some(last) = self.entities.get(&entity).and_then(|meeting| meeting.last)
                    && self.strong_home(last.home)
                    && !self.bars(last.home, entity)
                    && Self::fresh(alert, &last, gap)
                {
                    return self.join(alert, &last, Some(entity), "entity", surprise, verdict);
                }
            }
        }
        if surprise >= self.settings.surprise_site
            && let Some(last) = self.latest
            && self.strong_home(last.home)
            && Self::fresh(alert, &last, self.shrunk(gap, alert.tick))
        {
            self.join(alert, &last, None, "site", surprise, verdict);
        }
    }

    /// Notes a candidate, or the incident that would have been one but for its age.
    fn join(
        &self,
        alert: &Alert,
        last: &Pointer,
        entity: Option<Entity>,
        kind: &'static str,
        weight: i32,
        verdict: &mut Verdict,
    ) {
        let Some(home) = self.resolve(last.home) else { return };
        let Some(bond) = self.bonds.get(&home).filter(|bond| bond.kind == IncidentKind::Linked) else {
            return;
        };
        let parted = verdict.absorbed.iter().any(|other| self.apart(home, *other));
        if parted || entity.is_some_and(|entity| bond.bars(entity)) {
            return;
        }
        if alert.tick - bond.start > self.settings.age_max_s
            || alert.tick - bond.first > self.settings.span_max_s
        {
            verdict.succeeds = verdict.succeeds.or(Some(home));
            return;
        }
        if !verdict.absorbed.contains(&home) {
            verdict.absorbed.push(home);
            verdict.evidence.push(Evidence { other: last.alert, entity, kind, weight });
        }
    }

    /// Decides the alert's home from the candidates that `join` noted.
    fn settle_home(
        &mut self,
        alert: &Alert,
        surprise: i32,
        (active, last): (f64, Option<Pointer>),
        verdict: &mut Verdict,
    ) {
        let candidates = std::mem::take(&mut verdict.absorbed);
        if candidates.is_empty() {
            let strong = surprise >= self.settings.surprise_strong;
            let kind = if strong { IncidentKind::Linked } else { IncidentKind::Background };
            match self.session(alert, active, last).filter(|_| !strong) {
                Some(home) => verdict.home = home,
                None => self.open(alert, kind, verdict),
            }
        } else {
            verdict.succeeds = None;
            verdict.home = candidates.iter().copied().min().unwrap_or_default();
            self.absorb(&candidates, verdict);
        }
        let home = verdict.home;
        let Some(bond) = self.bonds.get_mut(&home) else { return };
        bond.last = bond.last.max(alert.tick);
        bond.latest = alert.id;
        // The next hour will count this one: what it may take for common must still be open then.
        bond.common = active + 1.0 >= self.settings.background_common_hours;
        if surprise >= self.settings.surprise_strong && bond.kind == IncidentKind::Linked {
            raise(bond, alert.rule, surprise);
            let subject = alert.subject().filter(|it| !bond.bars(*it) && !self.listed.contains(it));
            if let Some(subject) = subject.filter(|subject| bond.subjects.insert(*subject))
                && bond.is_known_strong
            {
                self.note_strong(subject, home);
            }
        }
        let Some(bond) = self.bonds.get(&home) else { return };
        verdict.strength = bond.strength;
        if bond.strength >= self.settings.strong {
            self.join_campaign(alert, verdict);
        }
    }

    fn open(&mut self, alert: &Alert, kind: IncidentKind, verdict: &mut Verdict) {
        verdict.home = self.next;
        verdict.opened = Some((verdict.home, kind));
        self.next += 1;
        let bond = Bond {
            kind,
            start: alert.tick,
            first: alert.tick,
            last: alert.tick,
            latest: alert.id,
            rules: SmallVec::new(),
            strength: 0,
            subjects: FxHashSet::default(),
            is_known_strong: false,
            near: SmallVec::new(),
            wanted_until: Tick::MIN,
            common: false,
            parted: None,
        };
        self.bonds.insert(verdict.home, bond);
    }

    /// The running background session of the alert's pair.
    fn session(&self, alert: &Alert, active: f64, last: Option<Pointer>) -> Option<Number> {
        let last = last?;
        let home = self.resolve(last.home)?;
        let bond = self.bonds.get(&home).filter(|bond| bond.kind == IncidentKind::Background)?;
        let common = active >= self.settings.background_common_hours;
        let gap = if common { self.settings.background_gap_s } else { self.settings.background_rare_gap_s };
        (Self::fresh(alert, &last, gap) && alert.tick - bond.first <= self.settings.background_span_s)
            .then_some(home)
    }

    /// Makes one incident of all candidates: the one that was published first takes in the others.
    fn absorb(&mut self, candidates: &[Number], verdict: &mut Verdict) {
        for other in candidates {
            if *other == verdict.home || verdict.absorbed.contains(other) {
                continue;
            }
            let Some(gone) = self.bonds.remove(other) else { continue };
            let Some(bond) = self.bonds.get_mut(&verdict.home) else { continue };
            bond.start = bond.start.min(gone.start);
            bond.first = bond.first.min(gone.first);
            if gone.last > bond.last {
                (bond.last, bond.latest) = (gone.last, gone.latest);
            }
            bond.wanted_until = bond.wanted_until.max(gone.wanted_until);
            for (rule, surprise) in gone.rules {
                raise(bond, rule, surprise);
            }
            bond.near.extend(gone.near);
            if let Some(gone) = gone.parted {
                bond.parted = Some(Box::new(gone.and(bond.parted.take().map(|parted| *parted))));
            }
            // What is noted of the one that is gone leads to its new home.
            let unnoted = bond.is_known_strong && !gone.is_known_strong;
            let subjects: Vec<Entity> = gone.subjects.into_iter().collect();
            bond.subjects.extend(&subjects);
            self.merged.insert(*other, verdict.home);
            verdict.absorbed.push(*other);
            for subject in subjects.into_iter().filter(|_| unnoted) {
                self.note_strong(subject, verdict.home);
            }
        }
    }

    /// Joins the strong incidents that share a subject with the verdict's home, where they are of the same time.
    fn join_campaign(&mut self, alert: &Alert, verdict: &mut Verdict) {
        let (tick, mine) = (alert.tick, verdict.home);
        self.note_all_strong(mine);
        let Some(near) = self.bonds.get_mut(&mine).map(|bond| std::mem::take(&mut bond.near)) else { return };
        let mut near: SmallVec<[Number; 2]> =
            near.into_iter().filter_map(|other| self.resolve(other)).collect();
        near.sort_unstable();
        near.dedup();
        near.retain(|other| *other != mine && !self.apart(*other, mine));
        let (gap, span) = (self.settings.campaign_gap_s, self.settings.span_max_s);
        let of_now = |other: &Number| {
            let bond = self.bonds.get(other);
            bond.is_some_and(|bond| tick - bond.last <= gap && tick - bond.first <= span)
        };
        let joins = self.together(near.iter().copied().filter(of_now).chain([mine]));
        let others = joins.iter().filter(|other| **other != mine);
        for bond in others.filter_map(|other| self.bonds.get(other)) {
            let entity = alert.subject().filter(|subject| bond.subjects.contains(subject));
            verdict.evidence.push(Evidence {
                other: bond.latest,
                entity,
                kind: "campaign",
                weight: bond.strength,
            });
        }
        let start = joins.iter().filter_map(|number| self.bonds.get(number)).map(|bond| bond.start).max();
        if let Some(bond) = self.bonds.get_mut(&mine) {
            bond.near = near;
        }
        if joins.len() == 1 {
            return;
        }
        verdict.home = joins.iter().copied().fold(mine, Number::min);
        self.absorb(&joins, verdict);
        if let Some((bond, start)) = self.bonds.get_mut(&verdict.home).zip(start) {
            bond.start = start;
            verdict.strength = bond.strength;
        }
    }

    /// Notes by its subjects that an incident is strong, once.
    fn note_all_strong(&mut self, number: Number) {
        let Some(bond) = self.bonds.get_mut(&number).filter(|bond| !bond.is_known_strong) else { return };
        bond.is_known_strong = true;
        let subjects: Vec<Entity> = bond.subjects.iter().copied().collect();
        for subject in subjects {
            self.note_strong(subject, number);
        }
    }

    /// Notes that a strong incident has a subject: it lies near the others that have it.
    fn note_strong(&mut self, subject: Entity, number: Number) {
        let numbers = self.strong.entry(subject).or_default();
        let others = std::mem::take(numbers);
        numbers.push(number);
        for other in others {
            let Some(other) = self.resolve(other).filter(|other| *other != number) else { continue };
            for (one, of) in [(number, other), (other, number)] {
                if let Some(bond) = self.bonds.get_mut(&one).filter(|bond| !bond.near.contains(&of)) {
                    bond.near.push(of);
                }
            }
            self.strong.entry(subject).or_default().push(other);
        }
    }

    /// A surprise is remembered at its entities, its rule and the site.
    fn remember(&mut self, alert: &Alert, met: &[(Entity, Place)], pointer: Pointer) {
        let pair = (alert.subject(), alert.rule);
        for (_, place) in met {
            meet(self.entities.at_mut(*place), pointer, pair, &self.settings);
        }
        meet(self.rules.entry(alert.rule).or_default(), pointer, pair, &self.settings);
        self.latest = Some(pointer);
    }

    fn selective(&self, meeting: &Meeting, first: Tick, tick: Tick, novelty: i32) -> bool {
        meeting.pairs.len() <= self.settings.degree_max
            && surprise(first, tick, meeting.novelty.before(tick)) >= novelty
    }

    fn strong_home(&self, number: Number) -> bool {
        let bond = self.resolve(number).and_then(|home| self.bonds.get(&home));
        bond.is_some_and(|bond| bond.strength >= self.settings.strong)
    }

    /// Within the gap by event time, and by ticks too: what a sweep may have dropped must not link.
    fn fresh(alert: &Alert, last: &Pointer, gap_s: Tick) -> bool {
        (alert.time - last.time).abs() <= gap_s * 1000 && alert.tick - last.tick <= gap_s + 1
    }

    /// The gap, or as much of it as has few coincidences to be expected within.
    fn shrunk(&self, gap_s: Tick, tick: Tick) -> Tick {
        let observed_s = tick - self.first.unwrap_or(tick);
        gap_s.min(self.onsets.gap_with(self.settings.coincidences_max, observed_s, tick))
    }
}

#[cfg(test)]
mod tests;
