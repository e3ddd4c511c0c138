//! Answers: what people say of an archive's incidents and decisions, from the shell or the console.
//!
//! Where a run goes on, or will go on, the word is appended to its log, durably, and the run takes it. Where a run is
//! over, it becomes an epoch of its own after the last, at once: a verdict's outcomes follow; what people approved is
//! carried out, by the executor that the run had.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::journal::{Effects, Said, word, worded};
use super::log::{Heard, Log, LogError, LoggedEpoch};
use super::reopen::{Means, ReopenError, Reopened};
use super::revise::Unmoved;
use super::run::{Batch, kill_switch};
use crate::archive::{DecisionLine, Only, Reader, Rows, RunStamp, VerdictRow, Writer};
use crate::record::input::Approval;
use crate::record::{
    DecisionId, IncidentId, InputKind, InputRow, LabelSource, Names, Outcome, Ruling, Verdict,
};
use crate::settle::Labels;

mod spoken;
mod unlink;

use spoken::Spoken;
pub use unlink::{Parted, unlink};

/// What became of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A run is going on: it takes it within a second.
    ByRun,
    /// No run is going on: the next one takes it.
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
    /// Nothing of it would change.
    #[error("the incident {incident} stays as it is: {why}")]
    Unmoved {
        /// It.
        incident: IncidentId,
        /// Why.
        #[source]
        why: Unmoved,
    },
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
    /// What others say of it takes long.
    #[error(
        "another word on {0} is being carried out, and takes longer than a minute; say this one again when that is through"
    )]
    Busy(PathBuf),
    /// An answer was given, and its process ended before it was carried out.
    #[error("an answer to a decision of {0} was cut; give that one again first (quell approve, quell deny)")]
    Cut(PathBuf),
    /// Nothing is begun.
    #[error(
        "the kill switch is on, so nothing is carried out: take away the file KILL in {0}/_quell, or the policy's \
         `kill_switch`, and say it again"
    )]
    Killed(PathBuf),
    /// What it would do is another plan's.
    #[error("{archive} was made by the plan {made_by}, and this is {given}; name that one with --flow")]
    OtherPlan {
        /// The archive.
        archive: PathBuf,
        /// The hash's begin.
        made_by: String,
        /// The same of the plan at hand.
        given: String,
    },
    /// What is recorded does not come out again.
    #[error(
        "{0} does not come out again as it is recorded, so nothing was carried out; was it written by another version of \
         quell, or was the kill switch on meanwhile? A live run takes answers when `quell run` goes on with it"
    )]
    Diverged(PathBuf),
    /// Computing it again.
    #[error(transparent)]
    Reopen(#[from] ReopenError),
    /// People have spoken.
    #[error("decision {id} was answered before: {what} (decision {by})")]
    Answered {
        /// It.
        id: DecisionId,
        /// What they said.
        what: String,
        /// The decision that says so.
        by: DecisionId,
    },
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
    let mut spoken = Spoken::to(archive)?;
    if spoken.is_cut()? {
        return Err(AnswerError::Cut(archive.to_owned()));
    }
    let reader = Reader::open(archive, Arc::clone(&spoken.names))?;
    let found = reader.incidents(Some(Only::incidents([verdict.incident_id])))?.next().transpose()?;
    let tenant = found.ok_or(AnswerError::NoIncident(verdict.incident_id))?.tenant;
    let (kind, body) = (InputKind::Verdict, word(verdict, &spoken.names.get(tenant)));
    if !spoken.over {
        return Ok(if spoken.leave(kind, &body)? { Taken::ByRun } else { Taken::Later });
    }
    let earlier = standing(&reader, verdict)?;
    if earlier.iter().any(|outcome| outcome.verdict == Some(verdict.verdict)) {
        return Ok(Taken::Before);
    }
    let (logged, heard) = spoken.next(kind, &body)?;
    let (epoch, tick) = (logged.epoch, logged.settled);
    let mut outcomes: Vec<Outcome> = earlier.into_iter().map(|it| Outcome { diff: -1, ..it }).collect();
    outcomes.extend(Labels::default().verdict(verdict, tenant, tick));
    let rows = [
        Rows::Verdicts(vec![VerdictRow { verdict: verdict.clone(), tenant, tick }]),
        Rows::Outcomes(outcomes),
        Rows::Inputs(vec![InputRow { epoch, tick, tenant, kind, body }]),
    ];
    publish(archive, &mut spoken.log, &spoken.names, (logged, &heard), &rows)?;
    Ok(Taken::Now)
}

/// What a log says of itself where `quell run` writes it.
pub const LIVE: &str = "live";

/// Under what a log says by what executor a replay's orders were answered, where the command line said so.
pub const EXECUTOR: &str = "executor";

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

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// A run is going on: it takes it within a second.
    ByRun,
    /// No run is going on: the next one takes it.
    Later,
    /// The same person said so before: it counts once.
    Before,
    /// More people must approve.
    Waiting {
        /// People who have.
        approved: u32,
        /// People who must.
        people: u32,
    },
    /// The run is over, and the archive tells what came of it.
    Now {
        /// The decision that took the place of the one that was asked about.
        decision: DecisionId,
        /// Its actions by how they stand.
        actions: BTreeMap<&'static str, usize>,
    },
}

/// A person's answer to an escalated decision. `means` is asked only where the run is over.
pub fn answer<E: From<AnswerError>>(
    archive: &Path,
    approval: &Approval,
    means: impl Fn(&Log, &Arc<Names>) -> Result<Means, E>,
) -> Result<Answered, E> {
    let mut spoken = Spoken::to(archive)?;
    spoken.mend(&means, Some(approval.decision_id))?;
    let asked = asked(archive, approval.decision_id, &spoken.names)?;
    let body = word(approval, &spoken.names.get(asked.tenant));
    let done = spoken.at_once(&means, |spoken, means| at_once(spoken, means, approval, &asked, &body))?;
    Ok(match done {
        Some(done) => done,
        None if spoken.leave(InputKind::Approval, &body)? => Answered::ByRun,
        None => Answered::Later,
    })
}

/// The decision, if anybody is asked about it still.
fn asked(archive: &Path, id: DecisionId, names: &Arc<Names>) -> Result<DecisionLine, AnswerError> {
    let reader = Reader::open(archive, Arc::clone(names))?;
    let of = |id: DecisionId| -> io::Result<Vec<DecisionLine>> {
        reader.decisions(Some(Only::of("decision_id", [id.0])))?.collect()
    };
    let lines = of(id)?;
    if let Some(by) = lines.iter().find_map(|line| line.superseded_by) {
        let answer =
            of(by)?.into_iter().find(|line| ["approved", "denied"].contains(&&*names.get(line.reason)));
        return Err(match answer.and_then(|line| line.reason_detail) {
            Some(what) => AnswerError::Answered { id, by, what },
            None => AnswerError::Superseded { id, by },
        });
    }
    let line = lines.into_iter().next().ok_or(AnswerError::NoDecision(id))?;
    match line.ruling {
        Ruling::Escalate => Ok(line),
        ruling @ (Ruling::Execute | Ruling::Decline) => {
            Err(AnswerError::NotAsked { id, ruling: ruling.name() })
        }
    }
}

/// Another plan would carry out something else.
fn checked(archive: &Path, log: &Log, means: Means) -> Result<Means, AnswerError> {
    let run: serde_json::Value =
        log.meta("run")?.and_then(|run| serde_json::from_str(&run).ok()).unwrap_or_default();
    let plan = run["plan"].as_str().unwrap_or_default();
    if plan == means.plan.hash {
        return Ok(means);
    }
    let short = |hash: &str| hash.chars().take(12).collect();
    Err(AnswerError::OtherPlan {
        archive: archive.to_owned(),
        made_by: short(plan),
        given: short(&means.plan.hash),
    })
}

/// The run is over: what the answer leads to is an epoch of its own after the last.
fn at_once(
    spoken: &mut Spoken<'_>,
    means: Means,
    approval: &Approval,
    asked: &DecisionLine,
    body: &str,
) -> Result<Answered, AnswerError> {
    let (archive, kind) = (spoken.archive, InputKind::Approval);
    let (logged, heard) = spoken.next(kind, body)?;
    if approval.approved {
        if kill_switch(archive).exists() || means.plan.policy.kill_switch {
            return Err(AnswerError::Killed(archive.to_owned()));
        }
        let playbook = asked.playbook_id.map(|id| means.names.get(id)).unwrap_or_default();
        let playbook = means.plan.playbooks.iter().find(|it| it.id == playbook);
        let people = playbook.map_or(1, |playbook| means.plan.policy.people(playbook));
        let mut by = approvers(archive, asked.decision_id, &means.names)?;
        if !by.insert(approval.by.trim().to_lowercase()) {
            return Ok(Answered::Before);
        }
        let approved = u32::try_from(by.len()).unwrap_or(u32::MAX);
        if approved < people {
            let (epoch, tick, tenant) = (logged.epoch, logged.settled, asked.tenant);
            let row = InputRow { epoch, tick, tenant, kind, body: body.to_owned() };
            publish(archive, &mut spoken.log, &means.names, (logged, &heard), &[Rows::Inputs(vec![row])])?;
            return Ok(Answered::Waiting { approved, people });
        }
    }
    let rows = carry_out(archive, &mut spoken.log, means, Some(asked.decision_id), Some((logged, &heard)))?;
    let (mut decision, mut stand) = (None, BTreeMap::new());
    for rows in &rows {
        if let Rows::Decisions(rows) = rows {
            let by = rows.iter().find(|row| row.decision.supersedes == Some(asked.decision_id));
            decision = decision.or(by.map(|row| row.decision.id));
        } else if let Rows::Actions(rows) = rows {
            stand.extend(rows.iter().map(|row| (row.id, row.status.name())));
        }
    }
    let mut actions = BTreeMap::new();
    for status in stand.into_values() {
        *actions.entry(status).or_default() += 1;
    }
    let decision = decision.ok_or_else(|| AnswerError::Diverged(archive.to_owned()))?;
    Ok(Answered::Now { decision, actions })
}

/// Who has approved a decision, by name.
fn approvers(archive: &Path, id: DecisionId, names: &Arc<Names>) -> Result<BTreeSet<String>, AnswerError> {
    let mut by = BTreeSet::new();
    for line in Reader::open(archive, Arc::clone(names))?.inputs(None)? {
        let line = line?;
        if line.kind == InputKind::Approval
            && let Ok((word, _)) = worded::<Approval>(&line.body)
            && word.decision_id == id
            && word.approved
        {
            by.insert(word.by.trim().to_lowercase());
        }
    }
    Ok(by)
}

/// Computes the run again, then takes what the log has beyond it: the answer that is given now, which is durable in the
/// log before anything is called for it, or one that was cut.
fn carry_out(
    archive: &Path,
    log: &mut Log,
    means: Means,
    id: Option<DecisionId>,
    new: Option<(LoggedEpoch, &Heard)>,
) -> Result<Vec<Rows>, AnswerError> {
    let names = Arc::clone(&means.names);
    let (mut run, stands) = Reopened::open(archive, means, id)?;
    if run.divergences() > 0 || (new.is_some() && !stands) {
        return Err(AnswerError::Diverged(archive.to_owned()));
    }
    if let Some((logged, heard)) = new {
        log.record_with(&[logged], None, heard)?;
    }
    let mut all = Vec::new();
    for (epoch, tick) in log.beyond(log.committed()?.map_or(0, |(epoch, _)| epoch))? {
        let said = log.taken()?.into_iter().filter(|input| input.epoch == Some(epoch));
        let said: Vec<Said> = said.filter_map(Said::logged).collect();
        let mut batch = Batch { settled: tick, last: true, was: Some(epoch), ..Batch::default() };
        Effects::of(&said, &names).fill(&mut batch);
        let rows = run.turn(batch)?;
        let logged = LoggedEpoch { epoch, settled: tick, last: true, parts: Vec::new() };
        publish(archive, log, &names, (logged, &Heard::default()), &rows)?;
        all.extend(rows);
    }
    run.finish()?;
    Ok(all)
}

/// Writes an epoch after the last: sealed, committed to the log with what it heard, published.
fn publish(
    archive: &Path,
    log: &mut Log,
    names: &Arc<Names>,
    (logged, heard): (LoggedEpoch, &Heard),
    rows: &[Rows],
) -> Result<(), AnswerError> {
    let (epoch, tick) = (logged.epoch, logged.settled);
    let mut writer = Writer::new(archive, 0, Arc::clone(names), &RunStamp::default(), epoch - 1);
    rows.iter().try_for_each(|rows| writer.push(epoch, rows))?;
    let sealed = writer.seal(tick)?;
    log.record_with(&[logged], Some((epoch, tick)), heard)?;
    Ok(sealed.publish()?)
}
