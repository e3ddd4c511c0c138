//! Candidates: which incidents an alert may join, and by how much more than chance.
//!
//! The weight of a link is the log of the odds against chance, in thousandths of a decade: of an entity or a rule, its
//! surprise (log of one over the share of hours in which it meets surprising alerts; in a flood, over the share of such
//! entities that surprise now, if that is less) and how much closer than an hour the two alerts lie; of the site, one over the
//! number of incidents that open within the gap. From it is taken what joining needs and, where one of the site's own that is
//! rare links, the log of how many of that kind the incident has met or is about, for so often could a stranger have met one;
//! where it is only surprising, half of that.
//!
//! Of all candidates the one is joined that pulls most: the nearer one, about fewer things. Another merges with it only where
//! its weight bears the logs of how many entities of that kind each of the two has met or is about, and
//! [`crate::plan::link::LinkSettings::merge_weight`]. What is foreign (see [`super::own`]) is in one story, however many others
//! that has met, and bears none of these logs. An alert that names something foreign is a stranger to incidents that know
//! others, and one that names another account to incidents whose accounts come again and again; see [`Links::strangeness`] and
//! [`super::actors`]. Where either alert is one of many of its pair in a row, the log of how many is taken from the weight, too.
//! And where that comes to be more than what led its pair to the incident, the flood goes on by itself. Of rules that come in
//! waves over many subjects, the log of how many is taken from what a subject says, so that the first of a wave joins no
//! other's story; and the log of what an incident has met counts up to half as much for what links by a rule that names few
//! of these there.
//! An alert that surprises less, or only by whom its subject meets, is weighed by no more than that.
//!
//! State: how many surprising alerts named something that connects subjects.

use std::num::NonZeroU32;

use smallvec::SmallVec;

use serde::{Deserialize, Serialize};

use super::super::bond::{Bond, Meeting, Number, Pointer};
use super::super::rarity::HOUR_S;
use super::meetings::Met;
use super::{Evidence, Links, Seen, Verdict};
use crate::flow::decade::log10_milli;
use crate::record::{Alert, Entity, IncidentKind, Sym, Tick};

/// Closer than this is no closer: of surprising alerts, of a rare entity's, and for which of two is the nearer.
const GAP_LEAST_S: Tick = 300;
const RARE_GAP_LEAST_S: Tick = 1_800;
const NEAR_LEAST_S: Tick = 60;

/// An incident that an alert may join.
struct Candidate {
    home: Number,
    /// What the weight leaves over.
    net: i32,
    /// Something foreign links.
    is_foreign: bool,
    /// Which of two it is: what is nearer, and about fewer things.
    pull: i32,
    evidence: Evidence,
    /// The other alert's rule.
    rule: Sym,
}

/// All of them, in the order found; each incident once, by its best evidence.
#[derive(Default)]
pub(super) struct Candidates {
    found: SmallVec<[Candidate; 2]>,
    /// One that was too old to join.
    pub(super) succeeds: Option<Number>,
}

impl Candidates {
    /// How firmly the best link ties an alert of that rule to others of an incident. Going on with its own pair does not, nor
    /// does what it shares with alerts of its own kind.
    pub(super) fn tie(&self, rule: Sym) -> Option<i32> {
        let is_own = |one: &&Candidate| one.evidence.kind == "session" || one.rule == rule;
        let links = self.found.iter().filter(|one| !is_own(one));
        links.map(|one| if one.is_foreign { i32::MAX } else { one.net }).max()
    }
}

/// What a link rests on, before it is known whether the incident may be joined.
#[derive(Clone, Copy)]
struct Clue {
    kind: &'static str,
    entity: Option<Entity>,
    /// What the link tells of itself.
    weight: i32,
    /// What its weight leaves over.
    net: i32,
    /// Up to which gap that counts the nearness.
    least_s: Tick,
    /// It is something foreign.
    is_foreign: bool,
}

/// Up to so many alerts of a pair in a row are no flood.
const RUN_MOST: u32 = 5;

/// Of surprising alerts lately, how many named nothing that was seen with another subject, and how many did.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Connections {
    alone: u32,
    connecting: u32,
}

impl Connections {
    /// Counts one more.
    pub(super) fn count(&mut self, connects: bool) {
        *(if connects { &mut self.connecting } else { &mut self.alone }) += 1;
        if self.alone + self.connecting > 1024 {
            (self.alone, self.connecting) = (self.alone / 2, self.connecting / 2);
        }
    }

    /// How much it speaks against two alerts that they share nothing, though both could have: little where alerts only name
    /// the host that they are of. Each of the two is silent, so it counts twice.
    pub(super) fn silence(&self) -> i32 {
        2 * log10_milli(f64::from(self.alone + self.connecting + 1) / f64::from(self.alone + 1))
    }
}

impl Links {
    /// Finds what the alert may join.
    pub(super) fn find(&self, alert: &Alert, seen: &Seen, met: &Met, found: &mut Candidates) {
        let settings = &self.settings;
        if let Some(last) = seen.last.filter(|_| !seen.is_common && !met.is_loose)
            && Self::fresh(alert, &last, settings.pair_gap_s)
        {
            // Going on is always right; whether it may merge what goes on with others depends on how common that is, and on
            // whether the alert names what leads elsewhere.
            let net = (seen.surprise - settings.session_weight - self.connections.silence()).max(0);
            let clue = Clue {
                kind: "session",
                entity: None,
                weight: seen.surprise,
                net,
                least_s: settings.pair_gap_s,
                is_foreign: false,
            };
            self.consider(alert, &last, met, clue, found);
        }
        for rare in &met.rare {
            let Some(owner) = rare.owner else { continue };
            let weight = rare.weight + nearness(alert.tick - owner.pointer.tick, RARE_GAP_LEAST_S);
            let bar = if rare.connects { settings.rare_weight } else { settings.rare_alone_weight };
            let is_foreign = !rare.is_own;
            let (entity, net, least_s) = (Some(rare.entity), weight - bar, RARE_GAP_LEAST_S);
            let clue = Clue { kind: "rare", entity, weight, net, least_s, is_foreign };
            self.consider(alert, &owner.pointer, met, clue, found);
        }
        if seen.is_strong {
            self.find_strong(alert, seen.surprise, met, found);
        } else if found.found.is_empty() {
            self.find_weak(alert, seen, met, found);
        }
    }

    fn find_strong(&self, alert: &Alert, surprise: i32, met: &Met, found: &mut Candidates) {
        let settings = &self.settings;
        let by = |kind: &'static str, entity: Option<Entity>, net: i32, least_s: Tick| Clue {
            kind,
            entity,
            weight: surprise,
            net,
            least_s,
            is_foreign: false,
        };
        for (entity, place) in met.entities.iter().copied() {
            let most = self.bases[entity.kind as usize].most(alert.tick, settings.degree_max);
            if let Some((last, weight)) =
                self.weigh(alert, self.entities.at(place), settings.entity_gap_s, most)
            {
                let net = weight - settings.entity_weight;
                self.consider(alert, &last, met, by("entity", Some(entity), net, GAP_LEAST_S), found);
            }
        }
        if met.is_newcomer {
            return;
        }
        let rule = self.rules.get(&alert.rule).map(|rule| &rule.meeting);
        if let Some((last, weight)) = rule.and_then(|it| self.weigh(alert, it, settings.rule_gap_s, i32::MAX))
        {
            let net = weight - settings.rule_weight - self.connections.silence();
            self.consider(alert, &last, met, by("rule", None, net, GAP_LEAST_S), found);
        }
        self.find_site(alert, surprise, met, settings.site_gap_s, found);
    }

    /// The surprises that met at an entity or a rule: the last, and how much it says that this comes so soon after it.
    fn weigh(&self, alert: &Alert, meeting: &Meeting, gap_s: Tick, most: i32) -> Option<(Pointer, i32)> {
        let last = meeting.last.filter(|last| Self::fresh(alert, last, gap_s))?;
        let surprise = self.scale.surprise(meeting.novelty.before(alert.tick));
        let weight = surprise.min(most) + nearness(alert.tick - last.tick, GAP_LEAST_S);
        (meeting.pairs.len() <= self.settings.degree_max).then_some((last, weight))
    }

    /// What surprises less joins a strong incident by what both name, as far as its own surprise goes; what meets somebody for
    /// the first time joins any, as far as that surprises.
    fn find_weak(&self, alert: &Alert, seen: &Seen, met: &Met, found: &mut Candidates) {
        let settings = &self.settings;
        let (surprise, gap_s, bar) = (seen.surprise, settings.entity_gap_s, settings.entity_weight);
        let by = |kind, entity, weight, net| Clue {
            kind,
            entity: Some(entity),
            weight,
            net,
            least_s: GAP_LEAST_S,
            is_foreign: false,
        };
        for (entity, place) in met.entities.iter().copied() {
            let meeting = self.entities.at(place);
            if surprise >= settings.surprise_entity
                && let Some(last) = meeting.last.filter(|last| Self::fresh(alert, last, gap_s))
                && self.strong_home(last.home)
            {
                let net = surprise + nearness(alert.tick - last.tick, GAP_LEAST_S) - bar;
                self.consider(alert, &last, met, by("entity", entity, surprise, net), found);
            }
            if let Some(new) = seen.encounter {
                let most = self.bases[entity.kind as usize].most(alert.tick, settings.degree_max);
                if let Some((last, weight)) = self.weigh(alert, meeting, gap_s, most.min(new)) {
                    self.consider(alert, &last, met, by("encounter", entity, new, weight - bar), found);
                }
            }
        }
        if found.found.is_empty() && surprise >= settings.surprise_site && !met.is_newcomer {
            self.find_site(alert, surprise, met, gap_s, found);
        }
    }

    /// The site's latest incident, where it is strong and little else happens.
    fn find_site(&self, alert: &Alert, surprise: i32, met: &Met, gap_s: Tick, found: &mut Candidates) {
        if let Some(last) = self.latest.filter(|last| Self::fresh(alert, last, gap_s))
            && self.strong_home(last.home)
        {
            let observed_s = self.scale.observed_s(alert.tick);
            let weight = self.onsets.weight(alert.tick - last.tick, observed_s, alert.tick);
            let net = weight - self.settings.site_weight - self.connections.silence();
            let (kind, weight, least_s) = ("site", surprise, NEAR_LEAST_S);
            let clue = Clue { kind, entity: None, weight, net, least_s, is_foreign: false };
            self.consider(alert, &last, met, clue, found);
        }
    }

    /// Notes a candidate, if its weight is enough for all that the incident has met.
    fn consider(&self, alert: &Alert, last: &Pointer, met: &Met, clue: Clue, found: &mut Candidates) {
        let Some(home) = self.resolve(last.home) else { return };
        let Some(bond) = self.bonds.get(&home) else { return };
        let Clue { kind, entity, weight, is_foreign, .. } = clue;
        // What a flood shares with itself leads it nowhere.
        if met.is_loose && !is_foreign && last.rule == alert.rule {
            return;
        }
        let crowd = if is_foreign { 0 } else { crowd_of(bond, entity, last.rule) };
        let by_chance = if kind == "rare" { crowd } else { crowd / 2 };
        let wave = if is_foreign { 0 } else { self.wave(alert, entity) };
        let strangeness = if is_foreign { 0 } else { self.strangeness(met, home, bond) };
        let others = if is_foreign { 0 } else { bond.actors.strangeness(met.accounts()) };
        // A pair goes on with its own, but not where another hand is at it.
        if kind == "session" && strangeness >= self.settings.strange_weight {
            return;
        }
        let flood = if is_foreign { 0 } else { self.flood(last.run.max(met.run)) };
        let against = if kind == "session" { 0 } else { strangeness + others + flood };
        let net = clue.net - by_chance - wave - against;
        if net >= 0 {
            let gap_s = alert.tick - last.tick;
            let nearer = nearness(gap_s, NEAR_LEAST_S) - nearness(gap_s, clue.least_s);
            let pull = clue.net + nearer - crowd - against;
            let evidence = Evidence { other: last.alert, entity, kind, weight };
            self.accept(alert, Candidate { home, net, is_foreign, pull, evidence, rule: last.rule }, found);
        }
    }

    /// How much it speaks against a link by the alert's subject that its rule is one that comes in waves over many: what the
    /// first of them shares with another story, the others will not.
    fn wave(&self, alert: &Alert, entity: Option<Entity>) -> i32 {
        let rule = self.rules.get(&alert.rule).filter(|_| entity.is_some() && entity == alert.subject());
        rule.map_or(0, |rule| rule.width(alert.tick))
    }

    /// How much it speaks against a link that one of the two alerts is of a flood, which something is always near: the log of
    /// how many came in a row. It says so much as alerts of one story would share more than what is flooded.
    pub(super) fn flood(&self, run: NonZeroU32) -> i32 {
        let run = run.get();
        if run <= RUN_MOST {
            return 0;
        }
        log10_milli(f64::from(run) / f64::from(RUN_MOST)).min(self.connections.silence())
    }

    /// Notes a candidate, or the incident that would have been one but for its age.
    fn accept(&self, alert: &Alert, new: Candidate, found: &mut Candidates) {
        let (home, evidence) = (new.home, &new.evidence);
        let is_rare = evidence.kind == "rare";
        // A background session is only joined by what is rare, and where surprises open nothing else.
        let is_open =
            |bond: &&Bond| bond.kind == IncidentKind::Linked || is_rare || self.usual.is_exception();
        let Some(bond) = self.bonds.get(&home).filter(is_open) else { return };
        let parted = found.found.iter().any(|other| self.apart(home, other.home));
        if parted || evidence.entity.is_some_and(|entity| bond.bars(entity)) {
            return;
        }
        // What is rare is as rare days later: slow attackers are bound by the span alone.
        let is_old = alert.tick - bond.start > self.settings.age_max_s && !is_rare;
        if is_old || alert.tick - bond.first > self.settings.span_max_s {
            found.succeeds = found.succeeds.or(Some(home));
            return;
        }
        match found.found.iter_mut().find(|candidate| candidate.home == home) {
            Some(known) => {
                known.pull = known.pull.max(new.pull);
                if known.net < new.net {
                    (known.net, known.evidence, known.rule) = (new.net, new.evidence, new.rule);
                    known.is_foreign = new.is_foreign;
                }
            }
            None => found.found.push(new),
        }
    }

    /// The best candidate, and those that belong to it beyond doubt.
    pub(super) fn choose(&self, candidates: Candidates, verdict: &mut Verdict) -> SmallVec<[Number; 2]> {
        let found = candidates.found;
        let best = found.iter().max_by_key(|one| (one.pull, std::cmp::Reverse(one.home))).map(|one| one.home);
        let bond = best.and_then(|best| self.bonds.get(&best));
        let mut joins = SmallVec::new();
        for one in found {
            // Two that are about many things share some of them by chance: each counts what both are about.
            let entity = one.evidence.entity;
            // A rare one's weight bears that of its own incident already.
            let other = self.bonds.get(&one.home).filter(|_| one.evidence.kind != "rare");
            let here = || bond.map_or(0, |bond| crowd(bond, entity));
            let there = || other.map_or(0, |other| crowd_of(other, entity, one.rule));
            let net = one.net - if one.is_foreign { 0 } else { here() + there() };
            if Some(one.home) == best || net >= self.settings.merge_weight {
                joins.push(one.home);
                verdict.evidence.push(one.evidence);
            }
        }
        joins
    }
}

/// How much closer than an hour two alerts lie; less than nothing where they lie further apart.
fn nearness(gap_s: Tick, least_s: Tick) -> i32 {
    log10_milli(HOUR_S as f64 / gap_s.max(least_s) as f64)
}

/// How many things of that kind it has met or is about: chances for a stranger to have one of them.
fn crowd(bond: &Bond, entity: Option<Entity>) -> i32 {
    let many = |at: usize| bond.met[at].max(bond.abouts[at]).max(1);
    entity.map_or(0, |entity| log10_milli(f64::from(many(entity.kind as usize))))
}

/// The same, where the alert that links there is of a rule that names few of these: the one account of a spray that was then
/// signed in to is not one of many. It counts half, as what a rule names says so much of what the incident is about.
fn crowd_of(bond: &Bond, entity: Option<Entity>, rule: Sym) -> i32 {
    let all = crowd(bond, entity);
    let many = entity.and_then(|entity| bond.many(rule, entity.kind));
    many.map_or(all, |many| log10_milli(f64::from(many)).clamp(all / 2, all))
}
