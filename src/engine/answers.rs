//! Answers: what people say of an archive's incidents and decisions, from the shell or the console.
//!
//! Where a run goes on, or will go on, the word is appended to its log, durably, and the run takes it. Where a run is
//! over, an analyst's verdict becomes an epoch of its own after the last: the outcomes follow at once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::journal::word;
use super::lock::Lock;
use super::log::{Heard, Log, LogError, LoggedEpoch};
use super::run::has_log;
use crate::archive::{Only, Reader, Rows, RunStamp, VerdictRow, Writer, recover};
use crate::record::input::Approval;
use crate::record::{
    DecisionId, IncidentId, InputKind, InputRow, LabelSource, Names, Outcome, Ruling, Verdict,
};
use crate::settle::Labels;

/// What became of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A run is going on: it takes it within a second.
    ByRun,
    /// No run is going on, but this one is not over: it takes it when it goes on.
    Later,
    /// The run is over, and the archive tells it now.
    Now,
    /// The same person said the same before.
    Before,
}

/// Why a word was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Not an archive.
    #[error("{0} is no archive of quell; name one with --archive")]
    NoArchive(PathBuf),
    /// No such incident.
    #[error(
        "no incident {0} in this archive; a run that is going on shows new ones after some seconds, and `incident_id` in \
         its `incidents` table lists all"
    )]
    NoIncident(IncidentId),
    /// No such decision.
    #[error(
        "no decision {0} in this archive; a run that is going on shows new ones after some seconds, and `decision_id` in \
         its `decisions` table lists all"
    )]
    NoDecision(DecisionId),
    /// Nobody was asked.
    #[error("decision {id} was ruled to {ruling}: nobody is asked; only an escalated one can be answered")]
    NotAsked {
        /// It.
        id: DecisionId,
        /// What it says.
        ruling: &'static str,
    },
    /// Nothing goes on with it.
    #[error("{0} is of a replay that is not over; let it end (a cut one with --resume), then say it again")]
    Unfinished(PathBuf),
    /// Replays are over when they are over.
    #[error(
        "{0} is of a replay, which carries nothing out; decisions are answered where `quell run` goes on"
    )]
    Replay(PathBuf),
    /// Another one took its place.
    #[error("decision {id} was replaced by {by}; look at that one")]
    Superseded {
        /// It.
        id: DecisionId,
        /// The other.
        by: DecisionId,
    },
    /// The archive.
    #[error("the archive cannot be used: {0}")]
    Archive(#[from] io::Error),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// An analyst's word on an incident.
pub fn say(archive: &Path, verdict: &Verdict) -> Result<Taken, AnswerError> {
    if !has_log(archive) {
        return Err(AnswerError::NoArchive(archive.to_owned()));
    }
    let names = Arc::new(Names::default());
    let lock = Lock::take(archive)?;
    let mut log = Log::open(archive)?;
    let over = lock.is_some() && log.meta("finished")?.is_some();
    if over {
        recover(archive, log.committed()?)?;
    }
    let reader = Reader::open(archive, Arc::clone(&names))?;
    let found = reader.incidents(Some(Only::incidents([verdict.incident_id])))?.next().transpose()?;
    let tenant = found.ok_or(AnswerError::NoIncident(verdict.incident_id))?.tenant;
    let body = word(verdict, &names.get(tenant));
    if !over && !is_live(&log)? {
        return Err(AnswerError::Unfinished(archive.to_owned()));
    }
    if !over {
        log.append(InputKind::Verdict.name(), &body, None)?;
        return Ok(if lock.is_some() { Taken::Later } else { Taken::ByRun });
    }
    let (last, settled) = log.committed()?.unwrap_or((0, 0));
    let (epoch, tick) = (last + 1, settled + 1);
    let earlier = standing(&reader, verdict)?;
    if earlier.iter().any(|outcome| outcome.verdict == Some(verdict.verdict)) {
        return Ok(Taken::Before);
    }
    let mut outcomes: Vec<Outcome> = earlier.into_iter().map(|it| Outcome { diff: -1, ..it }).collect();
    outcomes.extend(Labels::default().verdict(verdict, tenant, tick));
    let kind = InputKind::Verdict;
    let mut writer = Writer::new(archive, 0, names, &RunStamp::default(), last);
    writer.push(epoch, &Rows::Verdicts(vec![VerdictRow { verdict: verdict.clone(), tenant, tick }]))?;
    writer.push(epoch, &Rows::Outcomes(outcomes))?;
    writer.push(epoch, &Rows::Inputs(vec![InputRow { epoch, tick, tenant, kind, body: body.clone() }]))?;
    let sealed = writer.seal(tick)?;
    let logged = LoggedEpoch { epoch, settled: tick, last: true, parts: Vec::new() };
    let heard = Heard { epoch, said: vec![(kind.name(), body)], taken: Vec::new() };
    log.record_with(&[logged], Some((epoch, tick)), &heard)?;
    sealed.publish()?;
    Ok(Taken::Now)
}

/// What a log says of itself where `quell run` writes it.
pub const LIVE: &str = "live";

/// Whether `quell run` writes this log, and so takes what is appended.
fn is_live(log: &Log) -> Result<bool, LogError> {
    log.meta(LIVE).map(|said| said.is_some())
}

/// What the same person's word on the incident is so far: one outcome, or none.
fn standing(reader: &Reader, verdict: &Verdict) -> io::Result<Vec<Outcome>> {
    let by = verdict.by.trim().to_lowercase();
    let mut standing: Vec<Outcome> = Vec::new();
    for line in reader.outcomes(Some(Only::incidents([verdict.incident_id])))? {
        let line = line?;
        let own = line.label_source == LabelSource::Human && line.labelled_by.to_lowercase() == by;
        if !own || line.action_id.is_some() {
            continue;
        }
        let (sign, times) = (line.diff.signum(), line.diff.unsigned_abs());
        let outcome = Outcome { diff: 1, ..Outcome::from(line) };
        // Within a part taking back comes after saying; over parts they are in order of ticks, and what is taken back has
        // the tick at which it was said: so they are summed.
        for _ in 0..times {
            let opposite = Outcome { diff: -sign, ..outcome.clone() };
            match standing.iter().position(|other| *other == opposite) {
                Some(at) => drop(standing.remove(at)),
                None => standing.push(Outcome { diff: sign, ..outcome.clone() }),
            }
        }
    }
    standing.retain(|outcome| outcome.diff > 0);
    Ok(standing)
}

/// A person's answer to an escalated decision.
pub fn answer(archive: &Path, approval: &Approval) -> Result<Taken, AnswerError> {
    if !has_log(archive) {
        return Err(AnswerError::NoArchive(archive.to_owned()));
    }
    let names = Arc::new(Names::default());
    let id = approval.decision_id;
    let reader = Reader::open(archive, Arc::clone(&names))?;
    let lines: Vec<_> =
        reader.decisions(Some(Only::of("decision_id", [id.0])))?.collect::<io::Result<_>>()?;
    let first = lines.first().ok_or(AnswerError::NoDecision(id))?;
    if first.ruling != Ruling::Escalate {
        return Err(AnswerError::NotAsked { id, ruling: first.ruling.name() });
    }
    if let Some(by) = lines.iter().find_map(|line| line.superseded_by) {
        return Err(AnswerError::Superseded { id, by });
    }
    let lock = Lock::take(archive)?;
    let log = Log::open(archive)?;
    if !is_live(&log)? {
        return Err(AnswerError::Replay(archive.to_owned()));
    }
    log.append(InputKind::Approval.name(), &word(approval, &names.get(first.tenant)), None)?;
    Ok(if lock.is_some() { Taken::Later } else { Taken::ByRun })
}
