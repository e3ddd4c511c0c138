//! Caution: a run that ends again and again at the same place goes on in small steps, and keeps out the record that ends it.
//!
//! In: how often a process was begun without the archive getting any further, which the log counts. Out: how the next one goes
//! on. State: [`Known`], in the log; nothing once a run has ended in order, or has got past the place.
//!
//! 1. The fourth process that begins where three have ended commits each epoch before the next begins: so it shows which one
//!    ends it. A run that was only killed three times goes on like this for a while, slower, and with the same results.
//! 2. An epoch that three such processes have begun, and none has committed, did it: who is killed at any moment is not killed
//!    three times in the same. It is let go, with what was taken after it, and taken anew in eighths, until it has one record.
//!    Nothing of it was published. Where it is acted early, what is done hangs on where epochs end: one in which something was
//!    called is not let go. It came through all that works on records, so it was not they that ended it there.
//! 3. One record that ends three processes is quarantined: from then on it is a reject, with its place and bytes, and what was taken
//!    after it is taken anew. More than [`QUARANTINED_MAX`] in a row are none: then it is not the records, and the run says so.
//!
//! What is going to be read for an epoch is known before it is: the same holds of one whose records end whoever parses them, so that
//! the log never has it. Such a record is quarantined unread.
//!
//! Only a process that was ended counts: one that said why it cannot go on (a full disk, a topic that is gone) was not ended by
//! a record. All is written as the log's writer: a process that was thought dead, and goes on, changes nothing of it.

use serde::{Deserialize, Serialize};

use super::log::{Log, LogError, LoggedEpoch, LoggedPart};
use crate::act::{Ledger, LedgerError};
use crate::plan::policy::Act;
use crate::record::Epoch;

/// Processes that end before it is asked which epoch did it.
const STARTS: u32 = 3;
/// Processes that end in one epoch before it is taken anew, or its only record is kept out.
const STRIKES: u32 = 3;
/// An epoch is taken anew in so many.
const CUT: u64 = 8;
/// Records in a row that may be kept out.
const QUARANTINED_MAX: u32 = 8;
/// Whole epochs after which nothing is feared any more.
const CALM: u32 = 32;

/// What the log knows of processes that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// What was committed when the last one began.
    committed: Epoch,
    /// How many have begun there.
    starts: u32,
    /// Whether it commits each epoch before the next.
    careful: bool,
    /// The last epoch that was begun where each is committed before the next.
    begun: Epoch,
    /// How many processes have ended in the first epoch that is not committed.
    strikes: u32,
    /// Records kept out since.
    quarantined: u32,
    /// What was going to be read for the epoch that was begun, where the log does not have it yet.
    #[serde(default)]
    reads: Option<LoggedEpoch>,
}

/// How a process goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// As ever.
    Boldly,
    /// Each epoch is committed before the next begins.
    Carefully,
    /// So do epochs of so many records at most, as those were that nobody could read.
    As(u64),
    /// So do epochs of so many records at most, after those in the log that are not committed were let go.
    In(u64),
    /// What this epoch takes is kept out.
    Quarantine(Epoch),
    /// It is not the records.
    InVain,
}

impl Known {
    /// What was going to be read behind what is committed.
    fn unread(&self, committed: Epoch) -> Option<LoggedEpoch> {
        self.reads.clone().filter(|reads| reads.epoch == committed + 1)
    }

    /// Has it in the log, durably.
    fn note(&self, log: &Log) -> Result<(), LogError> {
        // Numbers can always be written.
        log.know(KEY, Some(&serde_json::to_string(self).unwrap_or_default()))
    }

    /// A process begins, behind what is committed and with the first epoch in the log that is not and may be let go.
    fn next(self, committed: Epoch, first: Option<&LoggedEpoch>) -> (Known, Step) {
        let further = committed > self.committed;
        if !self.careful {
            let starts = if further { 1 } else { self.starts + 1 };
            let careful = starts > STARTS;
            let known = Known { committed, starts, careful, ..Known::default() };
            return (known, if careful { Step::Carefully } else { Step::Boldly });
        }
        // Epochs without records are no way past those that end whoever reads them: what was read says so, see `passed`.
        let before = if further && self.reads.is_none() { 0 } else { self.strikes };
        let known = Known { committed, strikes: before, reads: None, ..self.clone() };
        // It may have been ended where it had not come so far, or where it waited for more.
        let Some(first) = first.filter(|first| first.epoch == self.begun) else {
            return (known, Step::Carefully);
        };
        let known = Known { strikes: before + 1, begun: 0, ..known };
        let records = first.parts.iter().map(|part| part.records).sum::<u64>();
        if known.strikes < STRIKES {
            return (known, if self.reads.is_some() { Step::As(records) } else { Step::Carefully });
        }
        let known = Known { strikes: 0, ..known };
        match records {
            0 => (known, Step::Carefully),
            1 if known.quarantined == QUARANTINED_MAX => (known, Step::InVain),
            1 => (Known { quarantined: known.quarantined + 1, ..known }, Step::Quarantine(first.epoch)),
            many => (known, Step::In((many / CUT).max(1))),
        }
    }
}

/// Why a run does not begin.
#[derive(Debug, thiserror::Error)]
pub enum CautionError {
    /// Records were kept out, and it went on ending.
    #[error(
        "the run has ended {STRIKES} times at each of {QUARANTINED_MAX} records in a row, which are rejects now; it is not the \
         records: see what ended it (memory? the kernel's log?), or report it; `quell doctor` shows the archive, and \
         removing the line `caution` from the log's `meta` has it tried again"
    )]
    InVain,
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// How this process goes on, and how far that has got.
#[derive(Clone, Debug)]
pub struct Caution {
    /// The archive is published through this epoch.
    committed: Epoch,
    /// Epochs are committed one by one.
    careful: bool,
    /// Records of an epoch.
    most: usize,
    usual: usize,
    calm: u32,
    /// What was known before it began, and is now.
    before: Known,
    known: Known,
}

/// Whether something was called in an epoch after that one.
fn called_after(log: &Log, epoch: Epoch) -> Result<bool, LedgerError> {
    let ledger = Ledger::look(log.folder())?;
    Ok(ledger.map(|ledger| ledger.last_epoch()).transpose()?.flatten().is_some_and(|last| last > epoch))
}

/// Where a record lies, for people.
fn place(part: &LoggedPart) -> String {
    let at = if part.is_unread() { "the next".to_owned() } else { format!("position {}", part.first) };
    format!("{}, partition {}, {at}", part.source, part.partition)
}

/// Under what the log has it.
const KEY: &str = "caution";

impl Caution {
    /// A process begins on a log whose archive is published through `committed`, with epochs of `usual` records, which are acted on
    /// when `act` says. What is out of the ordinary is told by `tell`.
    pub fn begin(
        log: &mut Log,
        committed: Epoch,
        (usual, act): (usize, Act),
        mut tell: impl FnMut(String),
    ) -> Result<Caution, CautionError> {
        // What cannot be read was written by another version: it is counted anew.
        let before: Known =
            log.meta(KEY)?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let logged = log.first_beyond(committed)?;
        let unread = if logged.is_none() { before.unread(committed) } else { None };
        let first = logged.or_else(|| unread.clone());
        let stays = act == Act::Early && called_after(log, committed)?;
        let (known, step) = Known::next(before.clone(), committed, first.as_ref().filter(|_| !stays));
        let mut most = usual;
        match step {
            Step::Boldly => {}
            Step::Carefully | Step::As(_) => tell(format!(
                "{STARTS} processes or more have ended behind epoch {committed}: each epoch is committed before the next begins"
            )),
            Step::In(records) => {
                tell(format!(
                    "epoch {} ended {STRIKES} processes: it is taken anew in smaller ones",
                    committed + 1
                ));
                log.let_go(committed)?;
                most = usize::try_from(records).unwrap_or(usize::MAX).min(usual);
            }
            Step::Quarantine(epoch) => {
                // What was taken after it was settled by a clock that it had moved.
                log.let_go(epoch)?;
                match &unread {
                    Some(unread) => log.keep_out(unread)?,
                    None => log.quarantine(epoch)?,
                }
                let place = first.iter().flat_map(|first| &first.parts).map(place).next().unwrap_or_default();
                tell(format!("a record has ended {STRIKES} processes, and is a reject from now on: {place}"));
                most = 1;
            }
            Step::InVain => return Err(CautionError::InVain),
        }
        if let Step::As(records) = step {
            most = usize::try_from(records).unwrap_or(usize::MAX).min(usual);
        }
        known.note(log)?;
        Ok(Caution { committed, careful: known.careful, most, usual, calm: 0, before, known })
    }

    /// Whether this epoch is to be committed before the next begins.
    #[must_use]
    pub fn fears(&self, epoch: Epoch) -> bool {
        self.careful && epoch > self.committed
    }

    /// Records of an epoch, at most.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// Records are about to be read for an epoch that is feared; the log has this, durably, when this returns.
    pub fn reads(&mut self, log: &Log, chosen: LoggedEpoch) -> Result<(), LogError> {
        if chosen.parts.is_empty() {
            return Ok(());
        }
        (self.known.begun, self.known.reads) = (chosen.epoch, Some(chosen));
        self.known.note(log)
    }

    /// An epoch is begun that is feared; the log has it, and has this, durably, when this returns.
    pub fn begins(&mut self, log: &Log, epoch: Epoch) -> Result<(), LogError> {
        (self.known.begun, self.known.reads) = (epoch, None);
        self.known.note(log)
    }

    /// An epoch more is committed: the next ones may be larger, and in the end all is as ever.
    pub fn passed(&mut self, log: &Log) -> Result<(), LogError> {
        self.calm = if self.most == self.usual { self.calm + 1 } else { 0 };
        self.known.strikes = 0;
        self.most = self.most.saturating_mul(2).min(self.usual);
        if self.careful && self.calm == CALM {
            self.careful = false;
            Caution::end(log)?;
        }
        Ok(())
    }

    /// The run has ended in order.
    pub fn end(log: &Log) -> Result<(), LogError> {
        log.know(KEY, None)
    }

    /// This process said why it ended: it counts for nothing.
    pub fn withdraw(&self, log: &Log) -> Result<(), LogError> {
        self.before.note(log)
    }
}

#[cfg(test)]
mod tests;
