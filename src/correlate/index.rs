//! Index: which rules an alert, or another rule's finding, concerns; and what each of them sees of it.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::connected::Linkable;
use super::group::{Compiled, Found, Group};
use super::sight::Sight;
use super::window::Event;
use crate::record::{Alert, Diff, Names, Sym};

/// A rule and the place in its `rules`.
type At = (u32, usize);

/// Rules by what they refer to.
#[derive(Clone, Debug)]
pub struct Index {
    rules: Arc<[Compiled]>,
    by_rule: FxHashMap<Sym, SmallVec<[At; 2]>>,
    by_finding: FxHashMap<u32, SmallVec<[At; 2]>>,
    /// Those that take in alerts of all rules.
    by_any: SmallVec<[At; 2]>,
}

impl Index {
    /// An index of the rules of one level, or of all.
    #[must_use]
    pub fn of(rules: &Arc<[Compiled]>, level: Option<usize>) -> Index {
        let (mut by_rule, mut by_finding) = (FxHashMap::default(), FxHashMap::default());
        let mut by_any = SmallVec::new();
        let wanted = (0u32..).zip(rules.iter()).filter(|(_, rule)| level.is_none_or(|own| own == rule.level));
        for (index, rule) in wanted {
            for (place, input) in rule.inputs.iter().enumerate() {
                for name in &input.alerts {
                    add(by_rule.entry(*name).or_default(), (index, place));
                }
                if input.any {
                    add(&mut by_any, (index, place));
                }
                if let Some(other) = input.findings {
                    add(by_finding.entry(other).or_default(), (index, place));
                }
            }
        }
        Index { rules: Arc::clone(rules), by_rule, by_finding, by_any }
    }

    /// Whether any rule refers to the alert's.
    #[must_use]
    pub fn wants(&self, alert: &Alert) -> bool {
        let grave = |(index, _): &At| self.rules[*index as usize].grave(alert);
        self.by_rule.contains_key(&alert.rule)
            || self.by_rule.contains_key(&alert.title)
            || self.by_any.iter().any(grave)
    }

    /// How long an alert may still be asked for by a rule that refers to it; none where none does.
    #[must_use]
    pub fn lasts_ms(&self, alert: &Alert) -> Option<i64> {
        let by_title = self.by_rule.get(&alert.title).filter(|_| alert.title != alert.rule);
        let by_rule = self.by_rule.get(&alert.rule).into_iter().chain(by_title).flatten();
        let rules = by_rule.chain(&self.by_any).map(|(rule, _)| &self.rules[*rule as usize]);
        rules.filter(|rule| rule.grave(alert)).map(|rule| rule.timespan_ms).max()
    }

    /// Whether any rule takes in findings.
    #[must_use]
    pub fn takes_findings(&self) -> bool {
        !self.by_finding.is_empty()
    }

    /// Whether any rule takes in alerts.
    #[must_use]
    pub fn takes_alerts(&self) -> bool {
        !self.by_rule.is_empty() || !self.by_any.is_empty()
    }

    /// Whether any rule looks for what is connected.
    #[must_use]
    pub fn connects(&self) -> bool {
        let at = self.by_rule.values().chain(self.by_finding.values()).flatten().chain(&self.by_any);
        at.into_iter().any(|(rule, _)| self.rules[*rule as usize].connects().is_some())
    }

    /// What the rules see of an alert that comes or goes.
    #[must_use]
    pub fn alert(&self, alert: &Alert, names: &Names, diff: Diff) -> SmallVec<[(Group, Event); 1]> {
        let mut events = SmallVec::new();
        self.each(alert, names, false, |sight, (index, place), rule| {
            if let Some((group, value)) = rule.alert(index, place, sight, diff) {
                let event = Event { rule: index, order: alert.order(), places: bit(place), value, ids: None };
                push(&mut events, group, event);
            }
        });
        // As whoever takes them in wants them: what comes in order need not be sorted.
        if events.len() > 1 {
            events.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        }
        events
    }

    /// What the rules of what is connected see of an alert.
    #[must_use]
    pub fn links(&self, alert: &Alert, names: &Names) -> SmallVec<[Linkable; 1]> {
        let mut all: SmallVec<[Linkable; 1]> = SmallVec::new();
        self.each(alert, names, true, |sight, (rule, place), compiled| {
            let known = all.iter().any(|other| other.rule == rule);
            if let Some(values) = compiled.alert_links(place, sight).filter(|_| !known) {
                let tenant = alert.tenant;
                all.push(Linkable { rule, tenant, order: alert.order(), values, ids: None });
            }
        });
        all
    }

    /// The rules that an alert counts in: those of what is connected, or the others.
    fn each(
        &self,
        alert: &Alert,
        names: &Names,
        connected: bool,
        mut of: impl FnMut(&Sight<'_>, At, &Compiled),
    ) {
        let (sight, mut passes) = (Sight::of(alert, names), None);
        let by_title = self.by_rule.get(&alert.title).filter(|_| alert.title != alert.rule);
        let by_rule = self.by_rule.get(&alert.rule).into_iter().chain(by_title).flatten();
        for at in by_rule.chain(&self.by_any) {
            let rule = &self.rules[at.0 as usize];
            if rule.connects().is_some() != connected || !rule.grave(alert) {
                continue;
            }
            if !*passes.get_or_insert_with(|| rule.passes(&sight)) {
                break;
            }
            if rule.chooses(&sight) {
                of(&sight, *at, rule);
            }
        }
    }

    /// What the rules of what is connected see of a finding.
    #[must_use]
    pub fn finding_links(&self, found: &Found) -> SmallVec<[Linkable; 1]> {
        let mut all: SmallVec<[Linkable; 1]> = SmallVec::new();
        for (rule, place) in self.by_finding.get(&found.group.rule).into_iter().flatten() {
            let compiled = &self.rules[*rule as usize];
            let fresh = compiled.connects().is_some() && !all.iter().any(|other| other.rule == *rule);
            if let Some(values) = compiled.finding_links(*place, found).filter(|_| fresh) {
                let (tenant, ids) = (found.group.tenant, Some(Arc::clone(&found.ids)));
                all.push(Linkable { rule: *rule, tenant, order: found.order, values, ids });
            }
        }
        all
    }

    /// What the rules see of a finding.
    #[must_use]
    pub fn finding(&self, found: &Found, names: &Names, diff: Diff) -> SmallVec<[(Group, Event); 1]> {
        let mut events = SmallVec::new();
        for (index, place) in self.by_finding.get(&found.group.rule).into_iter().flatten() {
            let rule = &self.rules[*index as usize];
            if rule.connects().is_some() {
                continue;
            }
            if let Some((group, value)) = rule.finding(*index, *place, found, names, diff) {
                let ids = Some(Arc::clone(&found.ids));
                let event = Event { rule: *index, order: found.order, places: bit(*place), value, ids };
                push(&mut events, group, event);
            }
        }
        events
    }
}

fn add(places: &mut SmallVec<[At; 2]>, at: At) {
    if !places.contains(&at) {
        places.push(at);
    }
}

/// Only temporal rules look at places, and these have at most 64.
fn bit(place: usize) -> u64 {
    1 << place.min(63)
}

/// An alert that several places of a rule refer to counts once in a group, with what counts at the first of them.
fn push(events: &mut SmallVec<[(Group, Event); 1]>, group: Group, event: Event) {
    match events.iter_mut().find(|(other, _)| *other == group) {
        Some((_, known)) => known.places |= event.places,
        None => events.push((group, event)),
    }
}
