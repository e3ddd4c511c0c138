//! `link`: which alerts belong together. The rule, per tenant, for an alert of subject s and rule r:
//!
//! 1. Its *surprise* is the rarity, in hours, of the pair (s, r) before this hour; see [`super::rarity`].
//! 2. It joins the incident of its own pair while that is fresh and no habit, so that a flood stays whole.
//! 3. An entity that is *rare* in hours belongs to the incident that it was first seen in, as long as that goes on: an alert
//!    that names it joins that, however common its own pair: for up to a day where it is *foreign*, for hours where it is the
//!    site's own; see [`own`]. So does the network of public addresses that are new.
//! 4. If it surprises, it also joins fresh incidents of surprising alerts: by the entities that it shares, by its rule on
//!    another subject, and the site's latest where that is strong. If it surprises less, a strong one. If its subject meets
//!    somebody of the site for the first time, one that is fresh at either; see [`encounters`].
//! 5. A surprising alert that joins none opens an incident; one that only names something rare opens one that is kept as
//!    background until a second joins; any other goes to the background session of its pair, which ends with
//!    the day unless the pair never stops.
//! 6. Strong incidents on a shared subject within a day are one campaign and join.
//!
//! Each join is weighed by its odds against chance; see [`candidates`]. What keeps incidents from percolating: the weight
//! falls with the gap, with how often the entity, the rule or the site surprises, and with how many rare entities the
//! incident has met; to merge two takes more than to join one, unless something foreign is in both; where alerts name what
//! connects, sharing nothing speaks against a link by rule, site, campaign, or a merge by the pair; something foreign that an
//! incident does not know, though it knows others, speaks against joining it, and so does an account where others come again
//! and again (see [`actors`]), a wave that will be about many, and a flood, which something is always near, and which leaves
//! what it only began beside; that a busy host is new on a site makes nothing of it rare; a finding leaves the sessions of common
//! pairs as they are; an incident's age and span are bounded. And where most is rare, rarity says nothing (see [`super::base`]): a
//! surprise opens nothing by itself then, and background sessions of rare pairs last as long as others.
//!
//! State: pairs, entities (see [`super::rarity`]) and encounters, a pointer per entity and rule until the longest gap has passed, and
//! what linking must know of each incident until it closes.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use serde::{Deserialize, Serialize};

use super::base::{Base, Share};
use super::bond::{Bond, Meeting, Onsets, Pair, Pointer, RuleMeeting, raise};
use super::rarity::Scale;
use super::shelf::Shelf;
use crate::plan::link::LinkSettings;
use crate::record::{Alert, AlertId, Entity, EntityKind, Finding, IncidentKind, Names, Sym, Tick};
use candidates::{Candidates, Connections};
use encounters::Encounters;

pub use super::bond::Number;
pub(super) use actors::Actors;
pub(super) use own::Foreign;
pub use revise::Judged;
mod actors;
mod campaign;
mod candidates;
mod encounters;
mod meetings;
mod network;
mod own;
mod revise;
mod warm;

/// Why an alert joins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// The other alert.
    pub other: AlertId,
    /// What is shared.
    pub entity: Option<Entity>,
    /// The kind.
    pub kind: &'static str,
    /// The surprise that carries it; of a rare entity, the odds against chance.
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
    /// The home is no background session.
    pub is_linked: bool,
    /// The home's sum of surprises.
    pub strength: i32,
}

/// One tenant's linking.
#[derive(Serialize, Deserialize)]
pub struct Links {
    /// The plan's, and the run's: no state.
    #[serde(skip)]
    settings: LinkSettings,
    #[serde(skip)]
    names: Arc<Names>,
    scale: Scale,
    pairs: Shelf<(Option<Entity>, Sym), Pair>,
    entities: Shelf<Entity, Meeting>,
    encounters: Encounters,
    rules: FxHashMap<Sym, RuleMeeting>,
    latest: Option<Pointer>,
    /// Incidents that opened.
    onsets: Onsets,
    /// Incidents that became strong.
    strongs: Onsets,
    /// Of pairs in the hours that they were active in, how many were common.
    usual: Share,
    /// Of each kind of entity, how many surprise.
    bases: [Base; EntityKind::ALL.len()],
    connections: Connections,
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
    pub fn new(settings: LinkSettings, names: Arc<Names>) -> Self {
        Self {
            settings,
            names,
            scale: Scale::default(),
            pairs: Shelf::default(),
            entities: Shelf::default(),
            encounters: Encounters::default(),
            rules: FxHashMap::default(),
            latest: None,
            onsets: Onsets::default(),
            strongs: Onsets::default(),
            usual: Share::default(),
            bases: Default::default(),
            connections: Connections::default(),
            bonds: FxHashMap::default(),
            merged: FxHashMap::default(),
            strong: FxHashMap::default(),
            next: 1,
            swept: 0,
            listed: FxHashSet::default(),
        }
    }

    /// Goes on with what was kept, by the plan's thresholds and the run's strings.
    pub fn go_on(&mut self, settings: LinkSettings, names: Arc<Names>) {
        (self.settings, self.names) = (settings, names);
    }

    /// Takes the next alert in order; a correlation may ask for it `wanted_s` ticks long.
    pub fn alert(&mut self, alert: &Alert, wanted_s: Option<Tick>) -> Verdict {
        self.scale.reach(alert.tick);
        let place = self.pairs.place((alert.subject(), alert.rule));
        let pair = self.pairs.at_mut(place);
        let (active, last) = (pair.hours.before(alert.tick), pair.last);
        let is_new_hour = pair.hours.mark(alert.tick);
        let run = pair.count(alert.tick, self.settings.pair_gap_s);
        let is_loose = self.pairs.at(place).is_loose(self.flood(run));
        let surprise = self.scale.surprise(active);
        // However long the site was watched: what comes hour after hour is no surprise any more.
        let is_common = active >= self.settings.background_common_hours;
        if is_new_hour {
            self.usual.count(is_common);
        }
        let is_strong = surprise >= self.settings.surprise_strong && !is_common;
        let met = self.meet_all(alert, (run, is_loose));
        let is_telling = !self.usual.is_exception();
        let encounter = if is_telling { self.encounter(alert, &met) } else { None };
        let is_tight = !met.rare.is_empty();
        let seen = Seen { surprise, is_strong, is_common, is_telling, encounter, active, last };
        let mut candidates = Candidates::default();
        self.find(alert, &seen, &met, &mut candidates);
        let tie = candidates.tie(alert.rule);
        let mut verdict = Verdict::default();
        self.settle_home(alert, &seen, is_tight, candidates, &mut verdict);
        let home = verdict.home;
        let pointer =
            Pointer { home, time: alert.time, tick: alert.tick, alert: alert.id, run, rule: alert.rule };
        // What a rare entity or an encounter alone took elsewhere leaves the session of its pair as it is. So does what names
        // something foreign: a stranger tried this account, which says nothing of what its owner does next.
        let is_foreign = met.rare.iter().any(|rare| !rare.is_own);
        if seen.is_strong && !is_foreign || !is_tight && encounter.is_none() {
            let elsewhere = last.and_then(|last| self.resolve(last.home)) != Some(home);
            self.pairs.at_mut(place).end_at(pointer, tie, elsewhere);
        }
        self.claim(&met, pointer);
        if let Some(bond) = self.bonds.get_mut(&home) {
            bond.actors.note(met.accounts());
        }
        if seen.is_strong {
            self.connections.count(met.connects);
        }
        if seen.is_strong || seen.encounter.is_some() && !verdict.evidence.is_empty() {
            self.remember(alert, &met, pointer);
        }
        if let (Some(wanted_s), Some(bond)) = (wanted_s, self.bonds.get_mut(&verdict.home)) {
            bond.wanted_until = bond.wanted_until.max(alert.tick + wanted_s);
        }
        verdict
    }

    /// A finding joins the incidents of its alerts into one; none where they are not known any more. What a common pair does
    /// all day is no part of that because one of its alerts is, unless all of them are such.
    pub fn finding(&mut self, finding: &Finding, homes: impl Iterator<Item = Number>) -> Option<Verdict> {
        let all: SmallVec<[Number; 8]> = homes.filter_map(|home| self.resolve(home)).collect();
        let is_story = |home: &&Number| {
            let bond = self.bonds.get(*home);
            bond.is_some_and(|bond| bond.kind == IncidentKind::Linked || !bond.common)
        };
        let stories = self.together(all.iter().filter(is_story).copied());
        let homes = if stories.is_empty() { self.together(all.iter().copied()) } else { stories };
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
        let gap = if bond.is_tight { gap.max(self.settings.rare_gap_s) } else { gap };
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
        self.entities
            .retain(|meeting| !(meeting.seen.forgettable(settled) && meeting.novelty.forgettable(settled)));
        self.encounters.sweep(settled);
        self.rules.retain(|_, rule| !rule.meeting.novelty.forgettable(settled));
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
        tables.into_iter().sum::<usize>() + self.merged.len() + self.strong.len() + self.encounters.len()
    }

    /// The incident that `number` has become part of; none where it has closed.
    pub fn resolve(&self, mut number: Number) -> Option<Number> {
        // Most are still themselves: a number is in one of the two tables.
        while !self.bonds.contains_key(&number) {
            number = *self.merged.get(&number)?;
        }
        Some(number)
    }

    /// Decides the alert's home.
    fn settle_home(
        &mut self,
        alert: &Alert,
        seen: &Seen,
        is_tight: bool,
        candidates: Candidates,
        verdict: &mut Verdict,
    ) {
        verdict.succeeds = candidates.succeeds;
        let joins = self.choose(candidates, verdict);
        let is_joined = !joins.is_empty();
        let is_rare = verdict.evidence.iter().any(|evidence| evidence.kind == "rare");
        if joins.is_empty() {
            // Where rarity tells nothing, a surprise is kept as background until another joins it.
            if seen.is_strong {
                self.onsets.count(alert.tick);
            }
            let is_story = seen.is_strong && seen.is_telling;
            let kind = if is_story { IncidentKind::Linked } else { IncidentKind::Background };
            match self.session(alert, seen).filter(|_| !is_story && !is_tight && seen.encounter.is_none()) {
                Some(home) => verdict.home = home,
                None => self.open(alert, kind, verdict),
            }
        } else {
            verdict.succeeds = None;
            verdict.home = joins.iter().copied().min().unwrap_or_default();
            self.absorb(&joins, verdict);
        }
        let home = verdict.home;
        let Some(bond) = self.bonds.get_mut(&home) else { return };
        bond.last = bond.last.max(alert.tick);
        bond.latest = alert.id;
        bond.alerts = bond.alerts.saturating_add(1);
        // The next hour will count this one: what it may take for common must still be open then.
        let is_common = seen.active + 1.0 >= self.settings.background_common_hours || !seen.is_telling;
        bond.common = is_common && seen.encounter.is_none();
        bond.is_tight |= is_tight;
        if is_rare || seen.is_strong && (seen.is_telling || is_joined) {
            bond.kind = IncidentKind::Linked;
        }
        if seen.is_strong {
            raise(bond, alert.rule, seen.surprise);
            let subject = alert.subject().filter(|it| !bond.bars(*it) && !self.listed.contains(it));
            if let Some(subject) = subject.filter(|subject| bond.is_about(*subject))
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
        let bond = self.bonds.get(&verdict.home);
        verdict.is_linked = bond.is_some_and(|bond| bond.kind == IncidentKind::Linked);
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
            alerts: 0,
            rules: SmallVec::new(),
            strength: 0,
            spreads: SmallVec::new(),
            subjects: FxHashSet::default(),
            abouts: [0; EntityKind::ALL.len()],
            is_known_strong: false,
            near: SmallVec::new(),
            wanted_until: Tick::MIN,
            common: false,
            is_tight: false,
            met: [0; EntityKind::ALL.len()],
            foreign: [Foreign::default(); EntityKind::ALL.len()],
            actors: Actors::default(),
            parted: None,
        };
        self.bonds.insert(verdict.home, bond);
    }

    /// The running background session of the alert's pair.
    fn session(&self, alert: &Alert, seen: &Seen) -> Option<Number> {
        let last = seen.last?;
        let home = self.resolve(last.home)?;
        let bond = self.bonds.get(&home).filter(|bond| bond.kind == IncidentKind::Background)?;
        let gap = if seen.is_common || !seen.is_telling {
            self.settings.background_gap_s
        } else {
            self.settings.background_rare_gap_s
        };
        // What never stops is one condition, not one of each day; but no session is to grow without end.
        let is_steady = seen.surprise < self.settings.background_steady_surprise
            && bond.alerts < self.settings.background_steady_alerts;
        let span_s = if is_steady { self.settings.span_max_s } else { self.settings.background_span_s };
        (Self::fresh(alert, &last, gap) && alert.tick - bond.first <= span_s).then_some(home)
    }

    /// Makes one incident of all candidates: the one that was published first takes in the others.
    fn absorb(&mut self, candidates: &[Number], verdict: &mut Verdict) {
        for other in candidates {
            if *other == verdict.home || verdict.absorbed.contains(other) {
                continue;
            }
            let Some(gone) = self.bonds.remove(other) else { continue };
            let Some(bond) = self.bonds.get_mut(&verdict.home) else { continue };
            if gone.kind == IncidentKind::Linked {
                bond.kind = IncidentKind::Linked;
            }
            bond.alerts = bond.alerts.saturating_add(gone.alerts);
            bond.is_tight |= gone.is_tight;
            bond.met.iter_mut().zip(gone.met).for_each(|(met, more)| *met += more);
            bond.foreign.iter_mut().zip(gone.foreign).for_each(|(here, more)| *here = here.and(more));
            bond.abouts.iter_mut().zip(gone.abouts).for_each(|(abouts, more)| *abouts += more);
            bond.start = bond.start.min(gone.start);
            bond.first = bond.first.min(gone.first);
            if gone.last > bond.last {
                (bond.last, bond.latest) = (gone.last, gone.latest);
            }
            bond.wanted_until = bond.wanted_until.max(gone.wanted_until);
            for (rule, surprise) in gone.rules {
                raise(bond, rule, surprise);
            }
            bond.spread_all(&gone.spreads);
            bond.actors.add(&gone.actors);
            bond.near.extend(gone.near);
            if let Some(gone) = gone.parted {
                bond.parted = Some(Box::new(gone.and(bond.parted.take().map(|parted| *parted))));
            }
            // What is noted of the one that is gone leads to its new home.
            let unnoted = bond.is_known_strong && !gone.is_known_strong;
            let subjects: Vec<Entity> = gone.subjects.into_iter().collect();
            for subject in &subjects {
                bond.is_about(*subject);
            }
            self.merged.insert(*other, verdict.home);
            verdict.absorbed.push(*other);
            for subject in subjects.into_iter().filter(|_| unnoted) {
                self.note_strong(subject, verdict.home);
            }
        }
    }

    fn strong_home(&self, number: Number) -> bool {
        let bond = self.resolve(number).and_then(|home| self.bonds.get(&home));
        bond.is_some_and(|bond| bond.strength >= self.settings.strong)
    }

    /// Within the gap by event time, and by ticks too: what a sweep may have dropped must not link.
    fn fresh(alert: &Alert, last: &Pointer, gap_s: Tick) -> bool {
        (alert.time - last.time).abs() <= gap_s * 1000 && alert.tick - last.tick <= gap_s + 1
    }
}

/// What is known of an alert's pair before it.
struct Seen {
    surprise: i32,
    is_strong: bool,
    is_common: bool,
    /// Most pairs are common: that one is not says something.
    is_telling: bool,
    /// How much surprises that its subject meets another, where it does.
    encounter: Option<i32>,
    active: f64,
    last: Option<Pointer>,
}

#[cfg(test)]
mod tests;
