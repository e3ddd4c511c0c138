//! Revise: an analyst's word that something is not related, a finding that was acted on early and is withdrawn, or a changed list of
//! entities that never link, read against what was written before it.
//!
//! In: the archive, a word, the epoch that takes it. Out: the incident taken apart, or why it is not. Rows of that epoch and
//! those after it are passed over: a run that is recovered, or computed again, finds what the first one found.

mod known;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use self::known::{known, last_words};
use super::unsettled::Unsettled;
use crate::archive::{Only, Reader};
use crate::correlate::cut::{Unrelated, Whole};
use crate::correlate::revision::{Listed, Revised, Revision};
use crate::record::{
    AlertId, Entity, Epoch, Finding, IncidentId, IncidentState, Sym, Tick, Unlink, Unrelated as Word,
    Withdrawal,
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
/// incidents: they are told, and passed over. What was withdrawn changes nothing where another finding says the same.
pub(super) fn revised(
    past: Past<'_>,
    (words, withdrawals): (&[Unlink], &[(Withdrawal, Sym)]),
    listed: Vec<Listed>,
) -> io::Result<Vec<Revised>> {
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
    if !withdrawals.is_empty() {
        revisions.extend(withdrawn(past, withdrawals)?);
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
    let open = last_words(past, &homes)?.into_values().filter(|last| last.state == IncidentState::Open);
    let open: BTreeSet<IncidentId> = open.map(|last| last.incident_id).collect();
    let mut cuts = Vec::new();
    for known in known(past, &open)?.into_values().flatten() {
        let own = added.iter().filter(|it| is_added(known.tenant, it.1));
        let own: Vec<Entity> = own.map(|(_, entity, _)| *entity).collect();
        if let Ok(revision) = Revision::of(known, Unrelated::Listed(&own), acted) {
            cuts.push(Revised::Cut(Arc::new(revision)));
        }
    }
    Ok(cuts)
}

/// Incidents that have alerts of findings that were withdrawn are what is left without these.
fn withdrawn(past: Past<'_>, withdrawals: &[(Withdrawal, Sym)]) -> io::Result<Vec<Revised>> {
    let Past { reader, epoch, acted, .. } = past;
    let names = reader.names();
    let finding = |(gone, tenant): &(Withdrawal, Sym)| Finding {
        tenant: *tenant,
        correlation: names.intern(&gone.correlation),
        group: names.intern(&gone.group),
        alert_ids: gone.alert_ids.clone(),
        ..Finding::default()
    };
    let gone: Vec<Finding> = withdrawals.iter().map(finding).collect();
    let named = gone.iter().flat_map(|finding| finding.alert_ids.iter().copied());
    let mut homes: BTreeSet<IncidentId> = BTreeSet::new();
    for line in reader.members(Some(Only::alerts(named)))? {
        let line = line?;
        homes.extend((line.epoch < epoch).then_some(line.incident_id));
    }
    let mut cuts = Vec::new();
    for known in known(past, &homes)?.into_values().flatten() {
        let standing = known.findings.clone();
        let own: BTreeSet<AlertId> = known.alerts.iter().map(|alert| alert.id).collect();
        let is_here = |finding: &&Finding| {
            finding.tenant == known.tenant && finding.alert_ids.iter().any(|id| own.contains(id))
        };
        let gone = gone.iter().filter(is_here).filter(|gone| !standing.iter().any(|it| it.holds(gone)));
        let gone: Vec<&Finding> = gone.collect();
        let word = Unrelated::Withdrawn { gone: &gone, standing: &standing };
        if !gone.is_empty()
            && let Ok(revision) = Revision::of(known, word, acted)
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
    let known = known(past, &BTreeSet::from([word.incident_id]))?.remove(&word.incident_id);
    let known = match known.unwrap_or(Err(Unmoved::Unknown)) {
        Ok(known) => known,
        Err(why) => return Ok(Err(why)),
    };
    Ok(Revision::of(known, unrelated, past.acted).map_err(Unmoved::Whole))
}
