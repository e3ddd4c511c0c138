//! A revision carried out: the incident is said to be split, and its parts are said, each rebuilt from its own alerts.

use std::sync::Arc;

use super::super::link::Judged;
use super::super::revision::{Part, Revision};
use super::super::summary::Summary;
use super::{Now, Tenant};
use crate::record::{IncidentId, IncidentKind, IncidentState, Link, Member, Tick};

impl Tenant {
    /// Takes an incident apart, as of `tick`: all that it is made of is settled below that.
    pub(super) fn revise(&mut self, revision: &Revision, tick: Tick, now: &mut Now<'_>) {
        let known = &revision.known;
        let number = self.open.iter().find(|(_, home)| home.id == known.incident).map(|(number, _)| *number);
        let judged = self.links.revise(number, revision);
        let old = number.and_then(|number| self.open.remove(&number));
        let queued = old.as_ref().is_some_and(|old| old.queued);
        let mut old = old.unwrap_or_else(|| Box::new(whole(revision)));
        if revision.parts.len() > 1 {
            let split = old.publish((self.name, tick), IncidentState::Split, None, now.with);
            now.versions.push(Arc::new(crate::record::Incident { version: known.version, ..split }));
        }
        self.worded.remove(&known.incident);
        now.links.extend(revision.links.iter().map(|link| Link { tick, ..link.clone() }));
        for part in &revision.parts[1..] {
            let moved = |incident_id: IncidentId, diff| {
                let tenant = self.name;
                let ids = part.alerts.iter().map(|alert| alert.id);
                ids.map(move |alert_id| Member { tick, tenant, incident_id, alert_id, diff })
            };
            now.members.extend(moved(known.incident, -1).chain(moved(part.id, 1)));
        }
        for (part, judged) in revision.parts.iter().zip(judged) {
            let keeps = part.id == known.incident;
            let succeeds = if keeps { known.succeeds } else { Some(known.incident) };
            let mut home = rebuilt(part, judged, succeeds, tick);
            let state = if judged.number.is_some() { IncidentState::Open } else { IncidentState::Closed };
            let version = home.publish((self.name, tick), state, None, now.with);
            now.versions.push(Arc::new(version.clone()));
            let Some(number) = judged.number else { continue };
            self.worded.insert(part.id, version);
            for alert in &part.alerts {
                if let Some((at, _)) = self.recent.get_mut(&alert.id) {
                    *at = number;
                }
            }
            home.queued = true;
            if !(keeps && queued) {
                // It may have had its time by now; but it does not end before it has begun.
                let deadline = self.links.closes(number).unwrap_or(tick).max(tick);
                self.deadlines.entry(deadline).or_default().push(number);
            }
            self.open.insert(number, Box::new(home));
        }
    }
}

/// A part from its alerts. What it says last is of the revision's tick: what was said before is older.
fn rebuilt(part: &Part, judged: Judged, succeeds: Option<IncidentId>, tick: Tick) -> Summary {
    let mut home = Summary::rebuild(part.id, &part.alerts, judged.kind, succeeds);
    home.strength = judged.strength;
    for correlation in &part.correlations {
        home.found(*correlation, tick);
    }
    home.last_tick = tick;
    home
}

/// An incident that has closed, as it was.
fn whole(revision: &Revision) -> Summary {
    let known = &revision.known;
    let kind: IncidentKind = known.kind;
    let mut home = Summary::rebuild(known.incident, &known.alerts, kind, known.succeeds);
    home.strength = known.evidence;
    for finding in &known.findings {
        home.found(finding.correlation, finding.tick);
    }
    home
}
