//! The log again: what it has of a run is computed once more, from its beginning or from what was kept at an epoch's end.

use super::super::journal::Said;
use super::super::live::SourceKept;
use super::super::log::{LoggedEpoch, LoggedPart};
use super::super::run::Batch;
use super::{Feed, FeedError};
use crate::flow::Turn;
use crate::record::{ContextRow, Diff, Entity, Epoch};

/// Records that are passed by at a time.
const PASSED: u64 = 10_000;

/// What a run that begins with what was kept comes to.
enum Begun {
    /// It goes on from there.
    Goes,
    /// It is to stop.
    Stopped,
    /// It has failed.
    Failed,
}

/// Changes of context tables.
type Changes = Vec<((Entity, ContextRow), Diff)>;

impl Feed {
    /// Recomputes what the log has, and has each change of context `known`; false where the run was stopped on the way. A run that
    /// has failed says why when it is finished.
    pub fn again(&mut self, mut known: impl FnMut(&Changes)) -> Result<bool, FeedError> {
        let mut through = self.journal.log().folded()?;
        if let Some((turn, sources)) = self.begins.take() {
            match self.begin_with(turn, &sources, &mut known)? {
                Begun::Goes => through = turn.epoch,
                Begun::Stopped => return Ok(false),
                Begun::Failed => return Ok(true),
            }
        }
        let epochs = self.journal.log().epochs_after(through)?;
        let taken = self.journal.log().taken_between(through + 1, Epoch::MAX)?;
        let mut taken = taken.into_iter().peekable();
        for logged in &epochs {
            if self.bell.stopped() {
                return Ok(false);
            }
            let mut said = Vec::new();
            while let Some(input) = taken.next_if(|input| input.epoch.is_some_and(|at| at <= logged.epoch)) {
                said.extend(Said::logged(input));
            }
            while self.live.lacks(logged) && self.load()? > 0 {}
            let effects = self.effects(&said);
            let lost = |why| FeedError::Lost { epoch: logged.epoch, why };
            // Reading it may be what ends the process.
            self.fear(logged.epoch)?;
            let Some(mut batch) = self.live.again(logged, effects).map_err(lost)? else { return Ok(false) };
            let promotes = batch.promotes.take();
            if logged.parts.iter().any(LoggedPart::is_unread) {
                // It is kept out, and only now is it known where it lies.
                self.journal.note(logged.epoch, &batch, &[])?;
                self.journal.sync()?;
            }
            known(&batch.context);
            self.live.feed();
            if !self.run.take(batch)
                || !self.run.logged(logged.epoch)
                || !self.careful(logged.epoch, !logged.parts.is_empty())?
                || !self.promoted(logged.epoch, promotes)?
            {
                break;
            }
        }
        self.complain();
        Ok(true)
    }

    /// Begins with what was kept at a turn: what was taken through it is passed by, and what else was said is known.
    fn begin_with(
        &mut self,
        turn: Turn,
        sources: &[SourceKept],
        known: &mut impl FnMut(&Changes),
    ) -> Result<Begun, FeedError> {
        let said = self.journal.log().taken_between(1, turn.epoch)?;
        let said: Vec<Said> = said.into_iter().filter_map(Said::logged).collect();
        let effects = self.effects(&said);
        let lost = |why| FeedError::Lost { epoch: turn.epoch, why };
        self.live.pass_far(turn.epoch, &effects).map_err(lost)?;
        let mut parts = self.journal.log().parts_through(turn.epoch)?;
        if let Some(pushed) = self.journal.log().pushed(turn.epoch)? {
            self.live.begin_pushed(&pushed, &mut parts);
            self.at.0 = pushed.last;
            self.tell(format!("pushed batches are read from behind number {} on", pushed.last));
        }
        for part in parts {
            let mut left = part.records;
            while left > 0 {
                if self.bell.stopped() {
                    return Ok(Begun::Stopped);
                }
                let parts = vec![LoggedPart { records: left.min(PASSED), ..part.clone() }];
                let some = LoggedEpoch { epoch: turn.epoch, settled: turn.settled, last: false, parts };
                while self.live.lacks(&some) && self.load()? > 0 {}
                if !self.live.pass(&some).map_err(lost)? {
                    return Ok(Begun::Stopped);
                }
                left -= some.parts[0].records;
            }
        }
        let mut before = Batch::default();
        effects.fill(&mut before);
        known(&before.context);
        self.tell(format!("beginning with what was kept at epoch {}", turn.epoch));
        self.live.begin_at(turn.settled, sources);
        self.live.feed();
        Ok(if self.run.begin_at(turn, before) { Begun::Goes } else { Begun::Failed })
    }
}
