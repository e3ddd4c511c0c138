//! Cut: which alerts of an incident still hang together when an analyst has said that some are not related.
//!
//! In: an incident's alerts in order and the links that stand between them. Out: its parts, the one that keeps its name
//! first, and what becomes of the links. A pure function: no order but that of the alerts is in it.
//!
//! Links are a tree, not all that is true: an alert is linked to the last one before it. So where an alert is taken out,
//! what was linked to it by an entity or by its pair is linked to the alert before it, if that has the same. And what no
//! link held together before, as a background session, is not parted by a word on something else.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::record::finding::CORRELATION;
use crate::record::{Alert, AlertId, Entity, Finding, Link};

/// What is said not to belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrelated<'a> {
    /// An alert, to all others.
    Alert(AlertId),
    /// Alerts by this entity.
    Entity(Entity),
    /// Alerts by any of these entities, which never link.
    Listed(&'a [Entity]),
    /// Two alerts.
    Link(AlertId, AlertId),
    /// Alerts by findings that were withdrawn, unless one that stands has both.
    Withdrawn {
        /// These.
        gone: &'a [&'a Finding],
        /// Findings that stand.
        standing: &'a [Finding],
    },
}

/// Why nothing is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Whole {
    /// No such alert.
    #[error("alert {0} is not in it")]
    NoAlert(AlertId),
    /// No such link.
    #[error("no link joins the alerts {0} and {1} in it")]
    NoLink(AlertId, AlertId),
    /// No link by that.
    #[error("no link in it is by that entity")]
    NoEntity,
    /// All would go.
    #[error("it is its only alert, so nothing would be left")]
    Nothing,
    /// Others hold it.
    #[error("other links hold all its alerts together without it")]
    Holds,
}

/// An incident taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cut {
    /// Places of each part's alerts, in order; first the part that keeps the name, then by their first.
    pub parts: Vec<Vec<usize>>,
    /// Places of the links that no longer stand.
    pub dropped: Vec<usize>,
    /// Links in the place of some that were dropped.
    pub mended: Vec<Link>,
}

/// Takes an incident apart. `alerts` are in order; `links` stand between two of them each. What a withdrawn finding leaves whole is
/// one part.
pub fn cut(alerts: &[Arc<Alert>], links: &[Link], word: Unrelated<'_>) -> Result<Cut, Whole> {
    let mut place: BTreeMap<AlertId, usize> = BTreeMap::new();
    for (at, alert) in alerts.iter().enumerate() {
        place.entry(alert.id).or_insert(at);
    }
    check(&place, links, word)?;
    let named = |link: &Link| match word {
        Unrelated::Alert(id) => [link.alert_id, link.other_alert_id].contains(&id),
        Unrelated::Entity(entity) => link.entity == Some(entity),
        Unrelated::Listed(listed) => link.entity.is_some_and(|entity| listed.contains(&entity)),
        Unrelated::Link(one, other) => is_between(link, one, other),
        Unrelated::Withdrawn { gone, standing } => {
            let ends = [link.alert_id, link.other_alert_id];
            let has = |it: &Finding| ends.iter().all(|id| it.alert_ids.contains(id));
            link.evidence == CORRELATION && gone.iter().any(|it| has(it)) && !standing.iter().any(has)
        }
    };
    let dropped: Vec<usize> = (0..links.len()).filter(|at| named(&links[*at])).collect();
    let mut mended = Vec::new();
    if let Unrelated::Alert(id) = word {
        mended.extend(dropped.iter().filter_map(|at| mend(&links[*at], id, alerts, links, &place)));
    }
    let (mut before, mut after) = (Union::new(alerts.len()), Union::new(alerts.len()));
    let ends = |link: &Link| Some((*place.get(&link.alert_id)?, *place.get(&link.other_alert_id)?));
    // A vendor's id used again is one alert to everybody: its copies stay together.
    for (at, alert) in alerts.iter().enumerate() {
        before.join(at, place[&alert.id]);
        after.join(at, place[&alert.id]);
    }
    links.iter().filter_map(ends).for_each(|(one, other)| before.join(one, other));
    let kept = links.iter().filter(|link| !named(link)).chain(&mended);
    kept.filter_map(ends).for_each(|(one, other)| after.join(one, other));
    hold_together(&mut before, &mut after, alerts, word);
    let parts = parts(&mut after, alerts.len());
    let is_one = parts.len() < 2 && !matches!(word, Unrelated::Withdrawn { .. });
    if is_one { Err(Whole::Holds) } else { Ok(Cut { parts, dropped, mended }) }
}

fn check(place: &BTreeMap<AlertId, usize>, links: &[Link], word: Unrelated<'_>) -> Result<(), Whole> {
    match word {
        Unrelated::Alert(id) if !place.contains_key(&id) => Err(Whole::NoAlert(id)),
        Unrelated::Alert(_) if place.len() == 1 => Err(Whole::Nothing),
        Unrelated::Entity(entity) if !links.iter().any(|link| link.entity == Some(entity)) => {
            Err(Whole::NoEntity)
        }
        Unrelated::Link(one, other) if !links.iter().any(|link| is_between(link, one, other)) => {
            let missing = [one, other].into_iter().find(|id| !place.contains_key(id));
            Err(missing.map_or(Whole::NoLink(one, other), Whole::NoAlert))
        }
        Unrelated::Alert(_)
        | Unrelated::Entity(_)
        | Unrelated::Listed(_)
        | Unrelated::Link(..)
        | Unrelated::Withdrawn { .. } => Ok(()),
    }
}

fn is_between(link: &Link, one: AlertId, other: AlertId) -> bool {
    [(one, other), (other, one)].contains(&(link.alert_id, link.other_alert_id))
}

/// A later alert's link to the one that is taken out leads to the last before it that shares the same.
fn mend(
    link: &Link,
    out: AlertId,
    alerts: &[Arc<Alert>],
    links: &[Link],
    place: &BTreeMap<AlertId, usize>,
) -> Option<Link> {
    if link.other_alert_id != out || link.alert_id == out {
        return None;
    }
    let at = *place.get(&link.alert_id)?;
    let own = &alerts[at];
    let names = |alert: &Alert, entity| alert.entities.iter().any(|observable| observable.entity == entity);
    let same = |other: &&Arc<Alert>| match (link.evidence, link.entity) {
        (_, Some(entity)) if names(own, entity) => names(other, entity),
        // A network, which no alert names: one that another link by it leads to.
        (_, Some(entity)) => links.iter().any(|link| {
            link.entity == Some(entity) && [link.alert_id, link.other_alert_id].contains(&other.id)
        }),
        ("session", None) => (other.subject(), other.rule) == (own.subject(), own.rule),
        (_, None) => false,
    };
    let before = alerts[..at].iter().rev().filter(|other| other.id != out && other.id != own.id);
    before.into_iter().find(same).map(|other| Link { other_alert_id: other.id, ..link.clone() })
}

/// Of what no link joined before, the greatest fragments stay together, an alert that is taken out left aside.
fn hold_together(before: &mut Union, after: &mut Union, alerts: &[Arc<Alert>], word: Unrelated<'_>) {
    let mut fragments: BTreeMap<usize, BTreeMap<usize, usize>> = BTreeMap::new();
    for (at, alert) in alerts.iter().enumerate() {
        if word != Unrelated::Alert(alert.id) {
            *fragments.entry(before.root(at)).or_default().entry(after.root(at)).or_default() += 1;
        }
    }
    // A root is the first in order of its fragment: of two as great, the earlier one.
    let greatest = |sizes: &BTreeMap<usize, usize>| {
        sizes.iter().max_by_key(|(root, size)| (**size, std::cmp::Reverse(**root))).map(|(root, _)| *root)
    };
    let main: Vec<usize> = fragments.values().filter_map(greatest).collect();
    main.windows(2).for_each(|two| after.join(two[0], two[1]));
}

fn parts(union: &mut Union, count: usize) -> Vec<Vec<usize>> {
    let mut parts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in 0..count {
        parts.entry(union.root(at)).or_default().push(at);
    }
    let mut parts: Vec<Vec<usize>> = parts.into_values().collect();
    // Stable: of two as great, the one that is first in order.
    if let Some(most) = parts.iter().map(Vec::len).max()
        && let Some(keeper) = parts.iter().position(|part| part.len() == most)
    {
        let keeper = parts.remove(keeper);
        parts.insert(0, keeper);
    }
    parts
}

/// Which places are joined; the root is the first of them.
struct Union(Vec<usize>);

impl Union {
    fn new(count: usize) -> Union {
        Union((0..count).collect())
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        let (first, last) = (one.min(other), one.max(other));
        self.0[last] = first;
    }
}

#[cfg(test)]
mod tests;
