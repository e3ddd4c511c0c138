//! Revision: an incident that an analyst's word or a withdrawn finding takes apart, with all that rebuilding it needs.
//!
//! In: what the archive has of the incident, and the word. Out: its parts with their alerts, names and evidence, and the
//! changes of its links. It is computed where the word comes in, from what was written before, so that no incident needs
//! to keep its alerts in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cut::{Unrelated, Whole, cut};
use crate::record::finding::CORRELATION;
use crate::record::{Alert, AlertId, Diff, Entity, Finding, IncidentId, IncidentKind, Link, Sym, Tick};

/// What the archive has of an incident.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Known {
    /// Its name.
    pub incident: IncidentId,
    /// Whose.
    pub tenant: Sym,
    /// Its last version's number.
    pub version: u32,
    /// What it was then.
    pub kind: IncidentKind,
    /// The incident that it goes on from.
    pub succeeds: Option<IncidentId>,
    /// Its last version's sum of surprises.
    pub evidence: i32,
    /// Its alerts, in order.
    pub alerts: Vec<Arc<Alert>>,
    /// Links that stand between them, each under the incident that it was made in; `diff` tells how many findings made it.
    pub links: Vec<Link>,
    /// Findings that stand and have one of them, in order.
    pub findings: Vec<Finding>,
}

/// One part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub id: IncidentId,
    /// Its alerts, in order.
    pub alerts: Vec<Arc<Alert>>,
    /// Of each alert that linked or was linked to, how much it surprised; none where it opened: no link tells that.
    pub surprises: Vec<(usize, Option<i32>)>,
    /// Correlations that fired within it.
    pub correlations: Vec<Sym>,
    /// Whether a link stands within it.
    pub is_linked: bool,
}

/// An incident taken apart.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Revision {
    /// What it was.
    pub known: Known,
    /// What it becomes: first the part that keeps its name.
    pub parts: Vec<Part>,
    /// Entities that join the parts no more.
    pub barred: Vec<Entity>,
    /// Whether nothing may join the parts any more.
    pub apart: bool,
    /// Whether it is a finding that was withdrawn: what surprised before it came surprises still.
    pub withdrawn: bool,
    /// Whether they are on the list of those that never link: then they join nothing for as long as they are on it.
    pub listed: bool,
    /// The alert that is related to no other, where one was named.
    pub out: Option<AlertId>,
    /// Changes of links; the tick is filled in.
    pub links: Vec<Link>,
}

/// A change of the list of entities that never link: whose list (empty: everybody's), and +1 added, -1 taken back.
pub type Listed = (Sym, Entity, Diff);

/// What revises incidents.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Revised {
    /// One is taken apart: told to any worker.
    Cut(Arc<Revision>),
    /// The list of entities that never link has changed: told to every worker.
    Listed(Vec<Listed>),
}

/// Evidence whose weight is the later alert's surprise.
const OF_SURPRISE: [&str; 4] = ["session", "entity", "rule", "site"];

impl Revision {
    /// Takes an incident apart at `tick`, below which all is settled; why not, where it holds.
    ///
    /// The new parts' names have the tick in them and not the epoch, which is another where the log is replayed. No alert
    /// of the incident can leave it twice at one tick, so that no name is given twice.
    pub fn of(known: Known, word: Unrelated<'_>, tick: Tick) -> Result<Revision, Whole> {
        let cut = cut(&known.alerts, &known.links, word)?;
        let mut of: BTreeMap<AlertId, usize> = BTreeMap::new();
        for (part, places) in cut.parts.iter().enumerate() {
            of.extend(places.iter().map(|at| (known.alerts[*at].id, part)));
        }
        let surprises = surprises(&known.links);
        let mut parts: Vec<Part> = Vec::new();
        for (n, places) in cut.parts.iter().enumerate() {
            let alerts: Vec<_> = places.iter().map(|at| Arc::clone(&known.alerts[*at])).collect();
            let told = alerts.iter().enumerate();
            let surprises = told.filter_map(|(at, alert)| Some((at, *surprises.get(&alert.id)?))).collect();
            let name = [&known.incident.0[..], &tick.to_le_bytes(), &alerts[0].id.0];
            let id = if n == 0 { known.incident } else { IncidentId::of(&name) };
            let own = |finding: &&Finding| {
                let mut homes = finding.alert_ids.iter().filter_map(|id| of.get(id)).peekable();
                homes.peek().is_some() && homes.all(|home| *home == n)
            };
            let mut correlations: Vec<Sym> = Vec::new();
            for finding in known.findings.iter().filter(own) {
                if !correlations.contains(&finding.correlation) {
                    correlations.push(finding.correlation);
                }
            }
            parts.push(Part { id, alerts, surprises, correlations, is_linked: false });
        }
        let mut links = Vec::new();
        for (at, link) in known.links.iter().enumerate() {
            let home = of[&link.alert_id];
            let dropped = cut.dropped.binary_search(&at).is_ok();
            if dropped || home > 0 {
                links.push(Link { diff: -link.diff, ..link.clone() });
            }
            if !dropped {
                parts[home].is_linked = true;
            }
            if !dropped && home > 0 {
                links.push(Link { incident_id: parts[home].id, ..link.clone() });
            }
        }
        for link in cut.mended {
            let part = &mut parts[of[&link.alert_id]];
            part.is_linked = true;
            links.push(Link { incident_id: part.id, diff: 1, ..link });
        }
        let (barred, out) = match word {
            Unrelated::Entity(entity) => (vec![entity], None),
            Unrelated::Listed(entities) => (entities.to_vec(), None),
            Unrelated::Alert(id) => (Vec::new(), Some(id)),
            Unrelated::Link(..) | Unrelated::Withdrawn { .. } => (Vec::new(), None),
        };
        let apart = matches!(word, Unrelated::Alert(_) | Unrelated::Link(..));
        let withdrawn = matches!(word, Unrelated::Withdrawn { .. });
        let listed = matches!(word, Unrelated::Listed(_));
        Ok(Revision { known, parts, barred, apart, withdrawn, listed, out, links })
    }
}

/// What links tell of alerts' surprise: it is the weight of what the alert itself was linked by.
fn surprises(links: &[Link]) -> BTreeMap<AlertId, Option<i32>> {
    let mut told: BTreeMap<AlertId, Option<i32>> = BTreeMap::new();
    for link in links.iter().filter(|link| link.evidence != CORRELATION) {
        told.entry(link.other_alert_id).or_default();
        let own = told.entry(link.alert_id).or_default();
        if OF_SURPRISE.contains(&link.evidence) {
            *own = (*own).max(Some(link.weight));
        } else if ["rare", "encounter"].contains(&link.evidence) {
            // What it names carried it, not its own surprise.
            *own = (*own).max(Some(0));
        }
    }
    told
}
