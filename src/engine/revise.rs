//! Revise: an analyst's word that something is not related, or a changed list of entities that never link, read against what
//! was written before it.
//!
//! In: the archive, a word, the epoch that takes it. Out: the incident taken apart, or why it is not. Rows of that epoch and
//! those after it are passed over: a run that is recovered, or computed again, finds what the first one found.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::unsettled::Unsettled;
use crate::archive::{IncidentLine, LinkLine, MatchLine, Only, Reader};
use crate::correlate::cut::{Unrelated, Whole};
use crate::correlate::revision::{Known, Listed, Revised, Revision};
use crate::record::finding::evidence_of;
use crate::record::{
    Alert, AlertId, Diff, Entity, Epoch, Finding, IncidentId, IncidentState, Link, Names, Sym, Tick, Unlink,
    Unrelated as Word,
};

/// What a word is read against.
#[derive(Clone, Copy)]
pub struct Past<'a> {
    /// What was written.
    pub reader: &'a Reader,
    /// Alerts that were acted on and are not written yet.
    pub unsettled: &'a Unsettled,
    /// The epoch that takes the word.
    pub epoch: Epoch,
    /// The tick below which all was acted on before it.
    pub acted: Tick,
}

/// Why a word changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmoved {
    /// No such incident.
    #[error("the incident is not known")]
    Unknown,
    /// It is another by now.
    #[error("it has no alerts any more: it became part of {0}")]
    Merged(IncidentId),
    /// Some of it was acted on early and is not written yet.
    #[error("some of its alerts are not settled, and so not in the archive yet; say it again when they are")]
    Unsettled,
    /// Not an entity.
    #[error("{0:?} is no entity; write one as `quell explain` does: host:web-1")]
    NoEntity(String),
    /// It holds.
    #[error(transparent)]
    Whole(#[from] Whole),
}

/// What becomes of incidents by words. Words that change nothing were refused when they were said, or are of another plan's
/// incidents: they are told, and passed over.
pub(super) fn revised(past: Past<'_>, words: &[Unlink], listed: Vec<Listed>) -> io::Result<Vec<Revised>> {
    let mut revisions = by_list(past, &listed)?;
    revisions.extend((!listed.is_empty()).then_some(Revised::Listed(listed)));
    for word in words {
        match revision(past, word)? {
            Ok(revision) => revisions.push(Revised::Cut(Arc::new(revision))),
            Err(why) => {
                eprintln!(
                    "quell: the word of {} on the incident {} changes nothing: {why}",
                    word.by, word.incident_id
                );
            }
        }
    }
    Ok(revisions)
}

/// Every open incident that is linked by an entity which is on the list now is taken apart by all such entities at once, in
/// the order of names. One that other links hold together stays whole.
fn by_list(past: Past<'_>, listed: &[Listed]) -> io::Result<Vec<Revised>> {
    let Past { reader, epoch, acted, .. } = past;
    let added: Vec<&Listed> = listed.iter().filter(|(_, _, diff)| *diff > 0).collect();
    let is_added = |tenant: Sym, entity: Entity| {
        added.iter().any(|(whose, own, _)| *own == entity && (*whose == Sym::EMPTY || *whose == tenant))
    };
    let mut linked: BTreeSet<AlertId> = BTreeSet::new();
    if !added.is_empty() {
        for line in reader.links(None)? {
            let line = line?;
            let by = line.entity.is_some_and(|entity| is_added(line.tenant, entity));
            linked.extend((by && line.epoch < epoch).then_some(line.alert_id));
        }
    }
    if linked.is_empty() {
        return Ok(Vec::new());
    }
    let mut homes: BTreeSet<IncidentId> = BTreeSet::new();
    for line in reader.members(Some(Only::alerts(linked)))? {
        homes.insert(line?.incident_id);
    }
    let mut last: BTreeMap<IncidentId, (u32, bool, Sym)> = BTreeMap::new();
    for line in reader.incidents(Some(Only::incidents(homes)))? {
        let line = line?;
        let word = (line.version, line.state == IncidentState::Open, line.tenant);
        if line.epoch < epoch && last.get(&line.incident_id).is_none_or(|last| word.0 > last.0) {
            last.insert(line.incident_id, word);
        }
    }
    let mut cuts = Vec::new();
    for (id, (_, _, tenant)) in last.into_iter().filter(|(_, (_, is_open, _))| *is_open) {
        let own: Vec<Entity> =
            added.iter().filter(|it| is_added(tenant, it.1)).map(|(_, entity, _)| *entity).collect();
        if let Ok(known) = known(past, id)?
            && let Ok(revision) = Revision::of(known, Unrelated::Listed(&own), acted)
        {
            cuts.push(Revised::Cut(Arc::new(revision)));
        }
    }
    Ok(cuts)
}

/// What becomes of an incident by a word.
pub fn revision(past: Past<'_>, word: &Unlink) -> io::Result<Result<Revision, Unmoved>> {
    let unrelated = match &word.unlink {
        Word::Alert(id) => Unrelated::Alert(*id),
        Word::Link(one, other) => Unrelated::Link(*one, *other),
        Word::Entity(text) => match Entity::parse(text, past.reader.names()) {
            Some(entity) => Unrelated::Entity(entity),
            None => return Ok(Err(Unmoved::NoEntity(text.clone()))),
        },
    };
    let known = match known(past, word.incident_id)? {
        Ok(known) => known,
        Err(why) => return Ok(Err(why)),
    };
    Ok(Revision::of(known, unrelated, past.acted).map_err(Unmoved::Whole))
}

/// What the archive has of an incident before an epoch.
fn known(past: Past<'_>, id: IncidentId) -> io::Result<Result<Known, Unmoved>> {
    let Past { reader, epoch, acted, .. } = past;
    let mut last: Option<IncidentLine> = None;
    for line in reader.incidents(Some(Only::incidents([id])))? {
        let line = line?;
        if line.epoch < epoch && last.as_ref().is_none_or(|last| line.version > last.version) {
            last = Some(line);
        }
    }
    let Some(last) = last else { return Ok(Err(Unmoved::Unknown)) };
    if let (IncidentState::Merged, Some(into)) = (last.state, last.merged_into) {
        return Ok(Err(Unmoved::Merged(into)));
    }
    let Some(alerts) = alerts(past, id)? else { return Ok(Err(Unmoved::Unsettled)) };
    let own: BTreeSet<AlertId> = alerts.iter().map(|alert| alert.id).collect();
    Ok(Ok(Known {
        incident: id,
        tenant: last.tenant,
        version: last.version,
        kind: last.kind,
        succeeds: last.succeeds,
        evidence: last.evidence,
        links: links(reader, &own, epoch)?,
        findings: findings(reader, &own, epoch, acted)?,
        alerts,
    }))
}

/// The incident's alerts in order; none where one is missing.
fn alerts(past: Past<'_>, id: IncidentId) -> io::Result<Option<Vec<Arc<Alert>>>> {
    let Past { reader, epoch, .. } = past;
    let mut sums: BTreeMap<AlertId, (Diff, BTreeSet<Tick>)> = BTreeMap::new();
    for line in reader.members(Some(Only::incidents([id])))? {
        let line = line?;
        if line.epoch < epoch {
            let (sum, ticks) = sums.entry(line.alert_id).or_default();
            *sum += line.diff;
            ticks.extend((line.diff > 0).then_some(line.tick));
        }
    }
    sums.retain(|_, (sum, _)| *sum > 0);
    let mut found: BTreeMap<AlertId, Vec<Arc<Alert>>> = BTreeMap::new();
    for line in reader.alerts(Some(Only::alerts(sums.keys().copied())))? {
        let line = line?;
        if line.epoch < epoch {
            let alert = line.row(reader.names()).alert;
            found.entry(alert.id).or_default().push(alert);
        }
    }
    let missing = |id: &AlertId| sums.contains_key(id) && !found.contains_key(id);
    let early: Vec<_> = past.unsettled.iter().filter(|alert| missing(&alert.id)).cloned().collect();
    for alert in early {
        found.entry(alert.id).or_default().push(alert);
    }
    if found.len() < sums.len() {
        return Ok(None);
    }
    let mut alerts = Vec::new();
    for (id, mut copies) in found {
        // An id that a vendor used again names several alerts: those of the ticks at which it came in here.
        let (sum, ticks) = &sums[&id];
        copies.sort_unstable_by_key(|alert| (!ticks.contains(&alert.tick), alert.order()));
        alerts.extend(copies.into_iter().take(usize::try_from(*sum).unwrap_or(0)));
    }
    alerts.sort_unstable_by_key(|alert| alert.order());
    Ok(Some(alerts))
}

/// Links that stand between these alerts, each once.
fn links(reader: &Reader, own: &BTreeSet<AlertId>, epoch: Epoch) -> io::Result<Vec<Link>> {
    let names = reader.names();
    let mut sums: BTreeMap<_, (Diff, Link)> = BTreeMap::new();
    for line in reader.links(Some(Only::alerts(own.iter().copied())))? {
        let line = line?;
        let Some(evidence) = evidence_of(&names.get(line.evidence)) else { continue };
        if line.epoch < epoch && own.contains(&line.other_alert_id) {
            let diff = line.diff;
            let link = link(&line, evidence);
            let what = link.entity.map(|entity| entity.text(names));
            let key = (link.alert_id, link.other_alert_id, evidence, what, link.incident_id, link.weight);
            sums.entry(key).or_insert((0, link)).0 += diff;
        }
    }
    Ok(sums.into_values().filter(|(sum, _)| *sum > 0).map(|(_, link)| link).collect())
}

fn link(line: &LinkLine, evidence: &'static str) -> Link {
    let &LinkLine { tenant, tick, incident_id, alert_id, other_alert_id, entity, weight, .. } = line;
    Link { tick, tenant, incident_id, alert_id, other_alert_id, entity, evidence, weight, diff: 1 }
}

/// Findings that were acted on, stand and have one of these alerts, in order.
fn findings(reader: &Reader, own: &BTreeSet<AlertId>, epoch: Epoch, acted: Tick) -> io::Result<Vec<Finding>> {
    let names: &Names = reader.names();
    let mut sums: BTreeMap<_, (Diff, Finding)> = BTreeMap::new();
    for line in reader.matches(None)? {
        let line: MatchLine = line?;
        let acted = line.epoch < epoch && line.tick < acted;
        if acted && line.alert_ids.iter().any(|id| own.contains(id)) {
            let text = (names.get(line.correlation), names.get(line.group));
            let key = (line.tick, line.time.0, text, line.alert_ids.clone());
            let MatchLine { tenant, tick, correlation, group, time, alert_ids, diff, .. } = line;
            let finding = Finding { tick, tenant, correlation, group, time: time.0, alert_ids };
            sums.entry(key).or_insert((0, finding)).0 += diff;
        }
    }
    Ok(sums.into_values().filter(|(sum, _)| *sum > 0).map(|(_, finding)| finding).collect())
}
