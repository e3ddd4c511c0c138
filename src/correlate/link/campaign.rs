//! Campaigns: strong incidents on a shared subject within a day are one.
//!
//! State: strong incidents by subject, and of each the strong ones that it lies near; see [`super`].

use smallvec::SmallVec;

use super::{Evidence, Links, Number, Verdict};
use crate::record::{Alert, Entity};

impl Links {
    /// Joins the strong incidents that share a subject with the verdict's home, where they are of the same time.
    pub(super) fn join_campaign(&mut self, alert: &Alert, verdict: &mut Verdict) {
        let (tick, mine) = (alert.tick, verdict.home);
        self.note_all_strong(mine);
        let Some(near) = self.bonds.get_mut(&mine).map(|bond| std::mem::take(&mut bond.near)) else { return };
        let mut near: SmallVec<[Number; 2]> =
            near.into_iter().filter_map(|other| self.resolve(other)).collect();
        near.sort_unstable();
        near.dedup();
        near.retain(|other| *other != mine && !self.apart(*other, mine));
        let (gap, span) = (self.settings.campaign_gap_s, self.settings.span_max_s);
        let (observed_s, bar) = (self.scale.observed_s(tick), self.settings.campaign_weight);
        let bar = bar + self.connections.silence();
        let of_now = |other: &Number| {
            let bond = self.bonds.get(other);
            bond.is_some_and(|bond| {
                tick - bond.last <= gap
                    && tick - bond.first <= span
                    && self.strongs.weight(tick - bond.last, observed_s, tick) >= bar
            })
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
        // What lay near those that joined may be of now, too.
        self.join_campaign(alert, verdict);
    }

    /// Notes by its subjects that an incident is strong, once.
    pub(super) fn note_all_strong(&mut self, number: Number) {
        let Some(bond) = self.bonds.get_mut(&number).filter(|bond| !bond.is_known_strong) else { return };
        bond.is_known_strong = true;
        self.strongs.count(bond.last);
        let subjects: Vec<Entity> = bond.subjects.iter().copied().collect();
        for subject in subjects {
            self.note_strong(subject, number);
        }
    }

    /// Notes that a strong incident has a subject: it lies near the others that have it.
    pub(super) fn note_strong(&mut self, subject: Entity, number: Number) {
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
}
