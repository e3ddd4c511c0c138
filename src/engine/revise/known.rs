//! What the archive has of incidents before an epoch: each table is read once, however many they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::{Past, Unmoved};
use crate::archive::{IncidentLine, LinkLine, MatchLine, Only};
use crate::correlate::revision::Known;
use crate::record::finding::evidence_of;
use crate::record::{Alert, AlertId, Diff, Finding, IncidentId, IncidentState, Link, Names, Tick};

/// What is known of each, or why it cannot be taken apart.
pub(super) type All = BTreeMap<IncidentId, Result<Known, Unmoved>>;

/// What the archive has of these incidents before an epoch.
pub(super) fn known(past: Past<'_>, ids: &BTreeSet<IncidentId>) -> io::Result<All> {
    let mut all: All = ids.iter().map(|id| (*id, Err(Unmoved::Unknown))).collect();
    let mut there = BTreeMap::new();
    for (id, last) in last_words(past, ids)? {
        match (last.state, last.merged_into) {
            (IncidentState::Merged, Some(into)) => drop(all.insert(id, Err(Unmoved::Merged(into)))),
            _ => drop(there.insert(id, last)),
        }
    }
    let alerts = alerts(past, there.keys().copied())?;
    let homes = Homes::of(&alerts);
    let (mut links, mut findings) = (links(past, &homes)?, findings(past, &homes)?);
    for (id, last) in there {
        let Some(Some(alerts)) = alerts.get(&id) else {
            all.insert(id, Err(Unmoved::Unsettled));
            continue;
        };
        let known = Known {
            incident: id,
            tenant: last.tenant,
            version: last.version,
            kind: last.kind,
            succeeds: last.succeeds,
            evidence: last.evidence,
            links: links.remove(&id).unwrap_or_default(),
            findings: findings.remove(&id).unwrap_or_default(),
            alerts: alerts.clone(),
        };
        all.insert(id, Ok(known));
    }
    Ok(all)
}

/// Each incident's last version.
pub(super) fn last_words(
    Past { reader, epoch, .. }: Past<'_>,
    ids: &BTreeSet<IncidentId>,
) -> io::Result<BTreeMap<IncidentId, IncidentLine>> {
    let mut last: BTreeMap<IncidentId, IncidentLine> = BTreeMap::new();
    for line in reader.incidents(Some(Only::incidents(ids.iter().copied())))? {
        let line = line?;
        let before = last.get(&line.incident_id);
        if line.epoch < epoch && before.is_none_or(|before| line.version > before.version) {
            last.insert(line.incident_id, line);
        }
    }
    Ok(last)
}

/// The incidents' alerts in order; none where one is missing.
type Alerts = BTreeMap<IncidentId, Option<Vec<Arc<Alert>>>>;

fn alerts(past: Past<'_>, ids: impl Iterator<Item = IncidentId>) -> io::Result<Alerts> {
    let Past { reader, epoch, .. } = past;
    let mut members: BTreeMap<IncidentId, BTreeMap<AlertId, (Diff, BTreeSet<Tick>)>> =
        ids.map(|id| (id, BTreeMap::new())).collect();
    for line in reader.members(Some(Only::incidents(members.keys().copied())))? {
        let line = line?;
        if let Some(own) = members.get_mut(&line.incident_id).filter(|_| line.epoch < epoch) {
            let (sum, ticks) = own.entry(line.alert_id).or_default();
            *sum += line.diff;
            ticks.extend((line.diff > 0).then_some(line.tick));
        }
    }
    for own in members.values_mut() {
        own.retain(|_, (sum, _)| *sum > 0);
    }
    let wanted: BTreeSet<AlertId> = members.values().flat_map(|own| own.keys().copied()).collect();
    let mut found: BTreeMap<AlertId, Vec<Arc<Alert>>> = BTreeMap::new();
    for line in reader.alerts(Some(Only::alerts(wanted.iter().copied())))? {
        let line = line?;
        if line.epoch < epoch {
            let alert = line.row(reader.names()).alert;
            found.entry(alert.id).or_default().push(alert);
        }
    }
    let missing = |id: &AlertId| wanted.contains(id) && !found.contains_key(id);
    let early: Vec<_> = past.unsettled.iter().filter(|alert| missing(&alert.id)).cloned().collect();
    for alert in early {
        found.entry(alert.id).or_default().push(alert);
    }
    let own = |own: BTreeMap<AlertId, (Diff, BTreeSet<Tick>)>| {
        let mut alerts = Vec::new();
        for (id, (sum, ticks)) in own {
            // An id that a vendor used again names several alerts: those of the ticks at which it came in here.
            let mut copies = found.get(&id)?.clone();
            copies.sort_unstable_by_key(|alert| (!ticks.contains(&alert.tick), alert.order()));
            alerts.extend(copies.into_iter().take(usize::try_from(sum).unwrap_or(0)));
        }
        alerts.sort_unstable_by_key(|alert| alert.order());
        Some(alerts)
    };
    Ok(members.into_iter().map(|(id, members)| (id, own(members))).collect())
}

/// The incidents that have an alert: one, but where a vendor used an id again.
struct Homes(BTreeMap<AlertId, Vec<IncidentId>>);

impl Homes {
    fn of(all: &Alerts) -> Homes {
        let mut homes: BTreeMap<AlertId, Vec<IncidentId>> = BTreeMap::new();
        for (id, alerts) in all {
            for alert in alerts.iter().flatten() {
                let of = homes.entry(alert.id).or_default();
                if !of.contains(id) {
                    of.push(*id);
                }
            }
        }
        Homes(homes)
    }

    fn has(&self, alert: AlertId) -> &[IncidentId] {
        self.0.get(&alert).map_or(&[], Vec::as_slice)
    }
}

/// Links that stand between their alerts, each once, with how often it was made.
fn links(Past { reader, epoch, .. }: Past<'_>, homes: &Homes) -> io::Result<BTreeMap<IncidentId, Vec<Link>>> {
    let names = reader.names();
    let mut sums: BTreeMap<IncidentId, BTreeMap<_, (Diff, Link)>> = BTreeMap::new();
    for line in reader.links(Some(Only::alerts(homes.0.keys().copied())))? {
        let line = line?;
        let Some(evidence) = evidence_of(&names.get(line.evidence)).filter(|_| line.epoch < epoch) else {
            continue;
        };
        let both = homes.has(line.other_alert_id);
        for home in homes.has(line.alert_id).iter().filter(|home| both.contains(home)) {
            let link = link(&line, evidence);
            let what = link.entity.map(|entity| entity.text(names));
            let key = (link.alert_id, link.other_alert_id, evidence, what, link.incident_id, link.weight);
            sums.entry(*home).or_default().entry(key).or_insert((0, link)).0 += line.diff;
        }
    }
    let standing = |sums: BTreeMap<_, (Diff, Link)>| {
        let standing = sums.into_values().filter(|(sum, _)| *sum > 0);
        standing.map(|(diff, link)| Link { diff, ..link }).collect()
    };
    Ok(sums.into_iter().map(|(home, sums)| (home, standing(sums))).collect())
}

fn link(line: &LinkLine, evidence: &'static str) -> Link {
    let &LinkLine { tenant, tick, incident_id, alert_id, other_alert_id, entity, weight, .. } = line;
    Link { tick, tenant, incident_id, alert_id, other_alert_id, entity, evidence, weight, diff: 1 }
}

/// Findings that were acted on, stand and have one of their alerts, in order.
fn findings(
    Past { reader, epoch, acted, .. }: Past<'_>,
    homes: &Homes,
) -> io::Result<BTreeMap<IncidentId, Vec<Finding>>> {
    let names: &Names = reader.names();
    let mut sums: BTreeMap<_, (Diff, Finding)> = BTreeMap::new();
    for line in reader.matches(None)? {
        let line: MatchLine = line?;
        let acted = line.epoch < epoch && line.tick < acted;
        if acted && line.alert_ids.iter().any(|id| !homes.has(*id).is_empty()) {
            let text = (names.get(line.correlation), names.get(line.group));
            let key = (line.tick, line.time.0, text, line.alert_ids.clone());
            let MatchLine { tenant, tick, correlation, group, time, alert_ids, diff, .. } = line;
            let finding = Finding { tick, tenant, correlation, group, time: time.0, alert_ids };
            sums.entry(key).or_insert((0, finding)).0 += diff;
        }
    }
    let mut findings: BTreeMap<IncidentId, Vec<Finding>> = BTreeMap::new();
    for (_, finding) in sums.into_values().filter(|(sum, _)| *sum > 0) {
        let of: BTreeSet<IncidentId> =
            finding.alert_ids.iter().flat_map(|id| homes.has(*id)).copied().collect();
        for home in of {
            findings.entry(home).or_default().push(finding.clone());
        }
    }
    Ok(findings)
}
