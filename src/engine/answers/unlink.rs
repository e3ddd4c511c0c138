//! An analyst's word that something is not related: an incident is taken apart, by the run or, where it is over, at once.

use std::path::Path;
use std::sync::Arc;

use super::{AnswerError, carry_out, checked, is_cut, is_live};
use crate::archive::{Only, Reader, Rows};
use crate::engine::journal::{word, worded};
use crate::engine::lock::Lock;
use crate::engine::log::{Heard, Log, LoggedEpoch};
use crate::engine::reopen::Means;
use crate::engine::revise::revision;
use crate::engine::run::has_log;
use crate::record::{Epoch, IncidentId, IncidentState, InputKind, Names, Unlink};

/// What became of the word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parted {
    /// A run is going on: it takes it within a second.
    ByRun,
    /// No run is going on, but this one is not over: it takes it when it goes on.
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
    if !has_log(archive) {
        return Err(AnswerError::NoArchive(archive.to_owned()).into());
    }
    let names = Arc::new(Names::default());
    let lock = Lock::take(archive).map_err(AnswerError::Archive)?;
    let mut log = Log::open(archive).map_err(AnswerError::Log)?;
    let over = lock.is_some() && log.meta("finished").map_err(AnswerError::Log)?.is_some();
    if over && is_cut(archive, &log)? {
        let means = checked(archive, &log, means(&log, &names)?)?;
        carry_out(archive, &mut log, means, None, None)?;
    }
    if is_repeated(&log, said)? {
        return Ok(Parted::Before);
    }
    let body = look(archive, &log, said, &names)?;
    if over {
        let means = checked(archive, &log, means(&log, &names)?)?;
        match at_once(archive, &mut log, means, said, &body) {
            // A live run goes on from its sources: what its archive does not give again they may.
            Err(AnswerError::Diverged(_)) if is_live(&log).map_err(AnswerError::Log)? => {}
            done => return Ok(done?),
        }
    } else if !is_live(&log).map_err(AnswerError::Log)? {
        return Err(AnswerError::Unfinished(archive.to_owned()).into());
    }
    log.append(InputKind::Verdict.name(), &body, None).map_err(AnswerError::Log)?;
    Ok(if lock.is_some() { Parted::Later } else { Parted::ByRun })
}

fn is_repeated(log: &Log, said: &Unlink) -> Result<bool, AnswerError> {
    let same = |body: &str| {
        let word = worded::<Unlink>(body);
        word.is_ok_and(|(word, _)| (word.incident_id, word.unlink) == (said.incident_id, said.unlink.clone()))
    };
    Ok(log.inputs(0)?.iter().any(|input| input.kind == InputKind::Verdict.name() && same(&input.body)))
}

/// Whether it would change anything, as the archive stands; the word for the log.
fn look(archive: &Path, log: &Log, said: &Unlink, names: &Arc<Names>) -> Result<String, AnswerError> {
    let reader = Reader::open(archive, Arc::clone(names))?;
    let incident = said.incident_id;
    let found = reader.incidents(Some(Only::incidents([incident])))?.next().transpose()?;
    let tenant = found.ok_or(AnswerError::NoIncident(incident))?.tenant;
    let settled = log.committed()?.map_or(0, |(_, tick)| tick);
    revision(&reader, said, Epoch::MAX, settled)?.map_err(|why| AnswerError::Unmoved { incident, why })?;
    Ok(word(said, &names.get(tenant)))
}

fn at_once(
    archive: &Path,
    log: &mut Log,
    means: Means,
    said: &Unlink,
    body: &str,
) -> Result<Parted, AnswerError> {
    let (last, sealed) = log.committed()?.unwrap_or((0, 0));
    let (epoch, tick) = (last + 1, sealed + 1);
    let logged = LoggedEpoch { epoch, settled: tick, last: true, parts: Vec::new() };
    let heard = Heard { epoch, said: vec![(InputKind::Verdict.name(), body.to_owned())], taken: Vec::new() };
    let rows = carry_out(archive, log, means, None, Some((logged, &heard)))?;
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
