//! Index: which rules an alert, or another rule's finding, concerns; and what each of them sees of it.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

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
}

impl Index {
    /// An index of the rules of one level, or of all.
    #[must_use]
    pub fn of(rules: &Arc<[Compiled]>, level: Option<usize>) -> Index {
        let (mut by_rule, mut by_finding) = (FxHashMap::default(), FxHashMap::default());
        let wanted = (0u32..).zip(rules.iter()).filter(|(_, rule)| level.is_none_or(|own| own == rule.level));
        for (index, rule) in wanted {
            for (place, input) in rule.inputs.iter().enumerate() {
                for name in &input.alerts {
                    add(by_rule.entry(*name).or_default(), (index, place));
                }
                if let Some(other) = input.findings {
                    add(by_finding.entry(other).or_default(), (index, place));
                }
            }
        }
        Index { rules: Arc::clone(rules), by_rule, by_finding }
    }

    /// Whether any rule refers to the alert's.
    #[must_use]
    pub fn wants(&self, alert: &Alert) -> bool {
        self.by_rule.contains_key(&alert.rule) || self.by_rule.contains_key(&alert.title)
    }

    /// Whether any rule takes in findings.
    #[must_use]
    pub fn takes_findings(&self) -> bool {
        !self.by_finding.is_empty()
    }

    /// Whether any rule takes in alerts.
    #[must_use]
    pub fn takes_alerts(&self) -> bool {
        !self.by_rule.is_empty()
    }

    /// What the rules see of an alert that comes or goes.
    #[must_use]
    pub fn alert(&self, alert: &Alert, names: &Names, diff: Diff) -> SmallVec<[(Group, Event); 1]> {
        let (mut events, mut passes) = (SmallVec::new(), None);
        let sight = Sight::of(alert, names);
        let by_title = self.by_rule.get(&alert.title).filter(|_| alert.title != alert.rule);
        for (index, place) in self.by_rule.get(&alert.rule).into_iter().chain(by_title).flatten() {
            let rule = &self.rules[*index as usize];
            if !*passes.get_or_insert_with(|| rule.passes(&sight)) {
                break;
            }
            if let Some((group, value)) = rule.alert(*index, *place, &sight, diff) {
                let event =
                    Event { rule: *index, order: alert.order(), places: bit(*place), value, ids: None };
                push(&mut events, group, event);
            }
        }
        events
    }

    /// What the rules see of a finding.
    #[must_use]
    pub fn finding(&self, found: &Found, names: &Names, diff: Diff) -> SmallVec<[(Group, Event); 1]> {
        let mut events = SmallVec::new();
        for (index, place) in self.by_finding.get(&found.group.rule).into_iter().flatten() {
            let rule = &self.rules[*index as usize];
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
