//! An analyst's word that something is not related: an incident is taken apart, by the run or, where it is over, at once.

use std::path::Path;
use std::sync::Arc;

use super::spoken::Spoken;
use super::{AnswerError, carry_out};
use crate::archive::{Only, Reader, Rows};
use crate::engine::journal::{word, worded};
use crate::engine::log::Log;
use crate::engine::reopen::Means;
use crate::engine::revise::{Past, Unmoved, revision};
use crate::engine::unsettled::Unsettled;
use crate::record::{Epoch, IncidentId, IncidentState, InputKind, Names, Unlink};

/// What became of the word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parted {
    /// A run is going on: it takes it within a second.
    ByRun,
    /// No run is going on: the next one takes it.
    Later,
    /// It was said before.
    Before,
    /// The run is over, and the archive tells the parts: each with its alerts, the one that keeps the name first.
    Now(Vec<(IncidentId, u64)>),
}

/// Says that something in an incident is not related. `means` is asked only where the run is over.
pub fn unlink<E: From<AnswerError>>(
    archive: &Path,
    said: &Unlink,
    means: impl Fn(&Log, &Arc<Names>) -> Result<Means, E>,
) -> Result<Parted, E> {
    let mut spoken = Spoken::to(archive)?;
    spoken.mend(&means, None)?;
    if is_repeated(&spoken, said)? {
        return Ok(Parted::Before);
    }
    let body = look(&spoken, said)?;
    let done = spoken.at_once(&means, |spoken, means| at_once(spoken, means, said, &body))?;
    Ok(match done {
        Some(done) => done,
        None if spoken.leave(InputKind::Verdict, &body)? => Parted::ByRun,
        None => Parted::Later,
    })
}

/// Whether it was said before, as the log tells, and the archive of what the log has forgotten.
fn is_repeated(spoken: &Spoken<'_>, said: &Unlink) -> Result<bool, AnswerError> {
    let same = |body: &str| {
        let word = worded::<Unlink>(body);
        word.is_ok_and(|(word, _)| (word.incident_id, word.unlink) == (said.incident_id, said.unlink.clone()))
    };
    let (logged, folded) = (spoken.log.words(InputKind::Verdict)?, spoken.log.folded()?);
    if logged.iter().any(|input| same(&input.body)) {
        return Ok(true);
    }
    if folded == 0 {
        return Ok(false);
    }
    for line in Reader::open(spoken.archive, Arc::clone(&spoken.names))?.inputs(None)? {
        let line = line?;
        if line.kind == InputKind::Verdict && line.epoch <= folded && same(&line.body) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether it would change anything, as the archive stands; the word for the log.
fn look(spoken: &Spoken<'_>, said: &Unlink) -> Result<String, AnswerError> {
    let reader = Reader::open(spoken.archive, Arc::clone(&spoken.names))?;
    let incident = said.incident_id;
    let found = reader.incidents(Some(Only::incidents([incident])))?.next().transpose()?;
    let tenant = found.ok_or(AnswerError::NoIncident(incident))?.tenant;
    let acted = spoken.log.committed()?.map_or(0, |(_, tick)| tick);
    let past = Past { reader: &reader, unsettled: &Unsettled::default(), epoch: Epoch::MAX, acted };
    match revision(past, said)? {
        // A run that goes on has what it acted on, and judges by itself.
        Err(Unmoved::Unsettled) if !spoken.over => {}
        looked => drop(looked.map_err(|why| AnswerError::Unmoved { incident, why })?),
    }
    Ok(word(said, &spoken.names.get(tenant)))
}

fn at_once(spoken: &mut Spoken<'_>, means: Means, said: &Unlink, body: &str) -> Result<Parted, AnswerError> {
    let (logged, heard) = spoken.next(InputKind::Verdict, body)?;
    let rows = carry_out(spoken.archive, &mut spoken.log, means, None, Some((logged, &heard)))?;
    let mut parts: Vec<(IncidentId, u64)> = Vec::new();
    for rows in &rows {
        let Rows::Incidents(rows) = rows else { continue };
        for incident in rows.iter().map(|row| &row.incident) {
            let kept = incident.id == said.incident_id;
            let of_it = kept || incident.succeeds == Some(said.incident_id);
            if of_it
                && incident.state != IncidentState::Split
                && !parts.iter().any(|(id, _)| *id == incident.id)
            {
                parts.insert(if kept { 0 } else { parts.len() }, (incident.id, incident.alert_count));
            }
        }
    }
    Ok(Parted::Now(parts))
}
