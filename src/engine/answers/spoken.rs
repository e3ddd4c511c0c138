//! Spoken: an archive that somebody says something of, held while the word is taken: by the run that goes on or will, or at
//! once where it is over.

use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use super::{AnswerError, LIVE, carry_out, checked};
use crate::archive::recover;
use crate::engine::lock::Lock;
use crate::engine::log::{Heard, Log, LogError, LoggedEpoch};
use crate::engine::reopen::Means;
use crate::engine::run::has_log;
use crate::record::{DecisionId, InputKind, Names};

/// How often it is looked whether another word on the same archive is through, and how many times.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: u32 = 1_200;

/// An archive that is spoken to.
pub(super) struct Spoken<'a> {
    pub(super) archive: &'a Path,
    pub(super) names: Arc<Names>,
    pub(super) log: Log,
    /// Whether its run is over, and no process has it.
    pub(super) over: bool,
    lock: Option<Lock>,
}

impl<'a> Spoken<'a> {
    /// Opens it, and keeps runs out where none is going on. Where the run is over, who has it is carrying out a word: that is
    /// waited for.
    pub(super) fn to(archive: &'a Path) -> Result<Spoken<'a>, AnswerError> {
        if !has_log(archive) {
            return Err(AnswerError::NoArchive(archive.to_owned()));
        }
        for look in 0..=LOOKS {
            if look > 0 {
                sleep(LOOK);
            }
            let lock = Lock::take(archive)?;
            let log = Log::open(archive)?;
            let over = log.meta("finished")?.is_some();
            if lock.is_some() || !over {
                return Ok(Spoken { archive, names: Arc::new(Names::default()), log, over, lock });
            }
        }
        Err(AnswerError::Busy(archive.to_owned()))
    }

    /// Whether `quell run` writes this log, and so takes what is appended.
    fn is_live(&self) -> Result<bool, LogError> {
        self.log.meta(LIVE).map(|said| said.is_some())
    }

    /// Whether it went by several plans: no one of them computes all of it again, and a run is to take the word.
    fn is_of_plans(&self) -> Result<bool, LogError> {
        Ok(!self.log.plans()?.is_empty())
    }

    /// Where the run is over, brings the archive to its commit; whether its log has a word that was cut before it was carried
    /// out to its end.
    pub(super) fn is_cut(&self) -> Result<bool, AnswerError> {
        if !self.over {
            return Ok(false);
        }
        let committed = self.log.committed()?;
        recover(self.archive, committed)?;
        Ok(!self.log.beyond(committed.map_or(0, |(epoch, _)| epoch))?.is_empty())
    }

    /// Carries out to its end what was cut; `decision` is the one that is asked about now.
    pub(super) fn mend<E: From<AnswerError>>(
        &mut self,
        means: impl Fn(&Log, &Arc<Names>) -> Result<Means, E>,
        decision: Option<DecisionId>,
    ) -> Result<(), E> {
        if !self.is_of_plans().map_err(AnswerError::Log)? && self.is_cut()? {
            let means = checked(self.archive, &self.log, means(&self.log, &self.names)?)?;
            carry_out(self.archive, &mut self.log, means, decision, None)?;
        }
        Ok(())
    }

    /// The epoch after the last, in which a word is heard, where the run is over.
    pub(super) fn next(&self, kind: InputKind, body: &str) -> Result<(LoggedEpoch, Heard), LogError> {
        let (last, sealed) = self.log.committed()?.unwrap_or((0, 0));
        let (epoch, tick) = (last + 1, sealed + 1);
        let logged = LoggedEpoch { epoch, settled: tick, last: true, parts: Vec::new() };
        Ok((logged, Heard { epoch, said: vec![(kind.name(), body.to_owned())], taken: Vec::new() }))
    }

    /// Does it now, where the run is over; none where a run is to take the word.
    pub(super) fn at_once<T, E: From<AnswerError>>(
        &mut self,
        means: impl Fn(&Log, &Arc<Names>) -> Result<Means, E>,
        act: impl FnOnce(&mut Self, Means) -> Result<T, AnswerError>,
    ) -> Result<Option<T>, E> {
        if !self.over || self.is_of_plans().map_err(AnswerError::Log)? {
            return Ok(None);
        }
        let means = checked(self.archive, &self.log, means(&self.log, &self.names)?)?;
        match act(self, means) {
            // A live run goes on from its sources: what its archive does not give again they may.
            Err(AnswerError::Diverged(_)) if self.is_live().map_err(AnswerError::Log)? => Ok(None),
            done => Ok(Some(done?)),
        }
    }

    /// Leaves the word to a run; whether one is going on.
    pub(super) fn leave(self, kind: InputKind, body: &str) -> Result<bool, AnswerError> {
        if !self.is_live()? {
            return Err(AnswerError::Unfinished(self.archive.to_owned()));
        }
        self.log.append(kind.name(), body, None)?;
        Ok(self.lock.is_none())
    }
}
