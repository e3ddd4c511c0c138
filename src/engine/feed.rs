//! The feed: a live run from where the log has it to its end, epoch by epoch. `quell run` leads it, and the fault simulator does.
//!
//! In: what sources and the log have, what is said beside them, and the time. Out: epochs, each in the log before it can change a
//! result. State: what was said and is not taken yet; when was looked at what.
//!
//! An epoch closes when no source has more, after 5 ms, or at so many records. Beside records it takes what people said, changes of
//! context and moves of idle clocks, which are durable before they have an effect. Its life: it is noted; where it is feared (see
//! [`super::caution`]) the log has that too; the run takes it; the disk is waited for while it is worked on; and then it may be acted
//! on. Nothing here waits for a source: where a turn comes to nothing, whoever leads it waits.

mod again;
mod promote;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use promote::Models;

use super::caution::Caution;
use super::journal::{Effects, Journal, Said};
use super::live::{Live, SourceKept};
use super::log::LogError;
use super::pushed::{self, Read};
use super::run::{Batch, Run, RunError};
use super::summary::{Counts, Summary};
use crate::flow::Turn;
use crate::ingest::live::Bell;
use crate::record::{Epoch, Millis};

/// An epoch is open no longer, in milliseconds.
const OPEN_MS: Millis = 5;
/// How often people's words are looked for.
const PEOPLE_MS: Millis = 200;
/// How often clocks are looked at.
const LOOK_MS: Millis = 1_000;
/// How often the ingest time is told.
const AS_OF_MS: Millis = 60_000;
/// Silence after which what is written is shown, at most every `SHOWN_MS`.
const QUIET_MS: Millis = 300;
const SHOWN_MS: Millis = 5_000;
/// Pushed batches read from the log at a time.
const PUSHES: u32 = 64;

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Its log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A source no longer gives what it gave.
    #[error("epoch {epoch} of the log cannot be read again: {why}; name a new --archive")]
    Lost {
        /// Which.
        epoch: Epoch,
        /// How that shows.
        why: String,
    },
    /// A source cannot be gone on with.
    #[error("{0}")]
    Source(String),
    /// What judged then cannot be asked again.
    #[error(
        "what the log has after epoch {epoch} was judged by the model {model}, which cannot be asked again: {why}"
    )]
    Model {
        /// After which epoch.
        epoch: Epoch,
        /// Which model.
        model: String,
        /// Why.
        why: String,
    },
    /// Another program wrote the log.
    #[error("the log holds a pushed batch that this program did not write")]
    Pushed,
}

/// When what is remembered is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// So often, in milliseconds; never where it is 0.
    pub every: Millis,
    /// When it was, and at the end of which epoch.
    last: (Millis, Epoch),
    /// Whether the next epoch is kept in any case, where any is.
    asked: bool,
}

impl Keeping {
    /// So often; never where it is 0.
    #[must_use]
    pub fn every(every: Millis) -> Keeping {
        Keeping { every, last: (0, 0), asked: false }
    }

    fn is_due(self, now: Millis) -> bool {
        self.every > 0 && now - self.last.0 >= self.every
    }
}

/// What a feed is made from.
pub struct Parts {
    /// What is fed.
    pub run: Run,
    /// The sources, at their beginning.
    pub live: Live,
    /// The log.
    pub journal: Journal,
    /// How it goes on where others have ended.
    pub caution: Caution,
    /// Where it begins, and what the sources remembered there; none where it begins at the beginning.
    pub begins: Option<(Turn, Vec<SourceKept>)>,
    /// When what is remembered is kept.
    pub keeping: Keeping,
    /// The model of a name, as the log and decisions have it.
    pub models: Models,
    /// Rung when it is to stop.
    pub bell: Bell,
    /// Bytes of pushed batches that wait to be taken.
    pub pushed_bytes: Arc<AtomicU64>,
    /// The machine's clock, which does not go back while the run goes on.
    pub clock: Box<dyn Fn() -> Millis>,
    /// Who is told what is out of the ordinary.
    pub tell: Box<dyn Fn(String)>,
}

/// See the head of this file.
pub struct Feed {
    run: Run,
    live: Live,
    journal: Journal,
    caution: Caution,
    begins: Option<(Turn, Vec<SourceKept>)>,
    keeping: Keeping,
    models: Models,
    bell: Bell,
    pushed_bytes: Arc<AtomicU64>,
    clock: Box<dyn Fn() -> Millis>,
    tell: Box<dyn Fn(String)>,
    /// The last pushed batch and the last word of people that were taken.
    at: (i64, i64),
    /// What was said beside the log.
    beside: Vec<Said>,
    /// When people and clocks were looked at, and the time was told.
    looked: [Millis; 3],
    /// Since when records wait.
    opened: Option<Millis>,
    /// When something was taken last, and when what is written was shown.
    last: Millis,
    shown: Millis,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// There may be more at once.
    Went,
    /// Nothing came.
    Idle,
    /// The sources have ended.
    Ended,
    /// The run has failed, and says why when it is finished.
    Failed,
}

impl Feed {
    /// One that has taken nothing yet.
    #[must_use]
    pub fn new(parts: Parts) -> Feed {
        let Parts { run, live, journal, caution, begins, keeping, models, bell, pushed_bytes, clock, tell } =
            parts;
        Feed {
            run,
            live,
            journal,
            caution,
            begins,
            keeping,
            models,
            bell,
            pushed_bytes,
            clock,
            tell,
            at: (0, 0),
            beside: Vec::new(),
            looked: [0; 3],
            opened: None,
            last: 0,
            shown: 0,
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Millis {
        (self.clock)()
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The run, to have it show what it wrote.
    pub fn run_mut(&mut self) -> &mut Run {
        &mut self.run
    }

    /// The sources.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Sources and log, where there are more partitions of a topic.
    pub fn reading(&mut self) -> (&mut Live, &mut Journal) {
        (&mut self.live, &mut self.journal)
    }

    /// Goes on behind the log, with what is `said` first: how tables stand is known before the first alert, and the time is. False
    /// where the run has failed.
    pub fn begin(&mut self, said: impl IntoIterator<Item = Said>) -> Result<bool, FeedError> {
        let now = self.now();
        self.live.begin(now);
        self.keeping.last.0 = now;
        self.looked = [now; 3];
        // What was computed again is shown, too, where nothing more comes.
        self.last = now;
        let said: Vec<Said> = std::iter::once(Said::as_of(now)).chain(said).collect();
        self.epoch_of(&said, 0)
    }

    /// Says something beside the log: the next epoch takes it.
    pub fn say(&mut self, said: Said) {
        self.beside.push(said);
    }

    /// Takes what is there, if it is time to.
    pub fn turn(&mut self) -> Result<Turned, FeedError> {
        let now = self.now();
        let came = self.live.pull(now).map_err(FeedError::Source)?;
        let pushed = self.take_pushes()?;
        self.complain();
        if self.live.has_ended() {
            return Ok(Turned::Ended);
        }
        let waiting = self.live.waiting();
        let said = self.said(now, waiting > 0)?;
        if waiting > 0 {
            self.opened = self.opened.or(Some(now));
        }
        let idle = !came && !pushed;
        let long = self.opened.is_some_and(|opened| now - opened >= OPEN_MS);
        let keeping = self.keeping;
        if !said.is_empty() || waiting >= self.caution.most() || (waiting > 0 && (idle || long)) {
            (self.opened, self.last) = (None, now);
            self.epoch(&said).map(went)
        } else if self.run.has_failed() {
            Ok(Turned::Failed)
        } else if keeping.is_due(now) && self.run.epoch() > keeping.last.1 {
            // Nothing comes, and what came is not kept yet.
            self.epoch(&[]).map(went)
        } else if !idle {
            Ok(Turned::Went)
        } else if self.last > self.shown && now - self.last >= QUIET_MS && now - self.shown >= SHOWN_MS {
            self.shown = now;
            Ok(if self.run.flush() { Turned::Idle } else { Turned::Failed })
        } else {
            Ok(Turned::Idle)
        }
    }

    /// Takes what was read and acknowledged, ends the sources, and settles everything. A run that has failed says why when it is
    /// finished.
    pub fn end(&mut self) -> Result<(), FeedError> {
        loop {
            let came = self.live.pull(self.now()).map_err(FeedError::Source)?;
            let pushed = self.load_some()? > 0;
            if self.live.waiting() == 0 && !came && !pushed {
                break;
            }
            if !self.epoch(&[])? {
                return Ok(());
            }
        }
        // What came last may withdraw what was acted on: that is a word, too.
        if !self.run.drain() {
            return Ok(());
        }
        let mut said = std::mem::take(&mut self.beside);
        loop {
            let next = self.words()?;
            if next.is_empty() && !said.iter().any(Said::stands_alone) {
                break;
            }
            if !said.is_empty() && !self.epoch(&said)? {
                return Ok(());
            }
            said = next;
        }
        self.live.close();
        loop {
            let batch = self.batch(&said, self.caution.most(), true)?;
            let last = batch.last;
            if !self.take(batch, &said)? || last {
                self.complain();
                return Ok(());
            }
            said.clear();
        }
    }

    /// Takes nothing more, and keeps what is remembered: what was read and not taken is read again, and what was pushed lies in the
    /// log. Where it cannot, it is said when the run is finished.
    pub fn leave(&mut self) -> Result<(), FeedError> {
        self.leave_with(&[])
    }

    fn leave_with(&mut self, said: &[Said]) -> Result<(), FeedError> {
        self.keeping.asked = true;
        let _ = self.epoch_of(said, 0)? && self.run.show();
        Ok(())
    }

    /// Lets the run end in order; the summary, or the first thing that went wrong.
    pub fn finish(self) -> Result<(Summary, Counts), RunError> {
        self.live.part();
        let (mut summary, counts) = self.run.finish()?;
        summary.divergences += self.live.divergences;
        Ok((summary, counts))
    }

    /// What an epoch takes beside records.
    fn said(&mut self, now: Millis, records: bool) -> Result<Vec<Said>, FeedError> {
        let mut said = Vec::new();
        if now - self.looked[0] >= PEOPLE_MS {
            self.looked[0] = now;
            said = self.words()?;
            if said.iter().any(Said::is_unlink) {
                // It takes nothing else; what is behind it is looked for at once.
                self.looked[0] = 0;
                return Ok(said);
            }
        }
        said.append(&mut self.beside);
        let [_, moved, as_of] = &mut self.looked;
        if now - *moved >= LOOK_MS {
            *moved = now;
            said.extend(self.live.moves(now).into_iter().map(Said::moved));
        }
        if records && now - *as_of >= AS_OF_MS {
            *as_of = now;
            said.push(Said::as_of(now));
        }
        Ok(said)
    }

    /// What people said since: up to one that takes an incident apart, or that one alone.
    fn words(&mut self) -> Result<Vec<Said>, FeedError> {
        let mut said: Vec<Said> = Vec::new();
        for word in self.journal.log().waiting(self.at.1)? {
            let id = word.id;
            let word = Said::logged(word);
            let is_unlink = word.as_ref().is_some_and(Said::is_unlink);
            if is_unlink && !said.is_empty() {
                break;
            }
            self.at.1 = id;
            said.extend(word);
            if is_unlink {
                break;
            }
        }
        Ok(said)
    }

    fn epoch(&mut self, said: &[Said]) -> Result<bool, FeedError> {
        // Incidents are taken apart as they were written: no record may come between.
        let most = if said.iter().any(Said::stands_alone) { 0 } else { self.caution.most() };
        self.epoch_of(said, most)
    }

    /// One epoch of up to `most` records; false where the run has failed.
    fn epoch_of(&mut self, said: &[Said], most: usize) -> Result<bool, FeedError> {
        let batch = self.batch(said, most, false)?;
        self.take(batch, said)
    }

    /// What an epoch of up to `most` records takes. Of one that is feared the next process knows what it was to be, before any of it
    /// is parsed.
    fn batch(&mut self, said: &[Said], most: usize, ending: bool) -> Result<Batch, FeedError> {
        let (effects, epoch) = (self.effects(said), self.run.epoch() + 1);
        let batch = if self.caution.fears(epoch) {
            let chosen = self.live.choose(epoch, most);
            self.caution.reads(self.journal.log(), chosen.clone())?;
            self.live.batch_of(&chosen, effects, ending)
        } else {
            self.live.batch(most, effects, ending)
        };
        batch.map_err(FeedError::Source)
    }

    fn take(&mut self, mut batch: Batch, said: &[Said]) -> Result<bool, FeedError> {
        let (epoch, now) = (self.run.epoch() + 1, self.now());
        let keeping = &mut self.keeping;
        if keeping.is_due(now) || (keeping.every > 0 && (batch.last || keeping.asked)) {
            keeping.last = (now, epoch);
            batch.keeps = Some(self.live.keep());
        }
        let records = !batch.parts.is_empty();
        self.journal.note(epoch, &batch, said)?;
        if batch.keeps.is_some() {
            self.journal.note_pushed(epoch, self.live.pushed())?;
        }
        self.fear(epoch)?;
        self.live.feed();
        let taken = self.run.take(batch);
        if self.run.is_journaled() {
            // Epochs are acted on, or told, when they end, and so must be durable one by one. The disk is waited for while
            // the epoch is worked on: what comes of it waits for both.
            self.journal.sync()?;
            return Ok(taken && self.run.logged(epoch) && self.careful(epoch, records)?);
        }
        Ok(taken && self.careful(epoch, records)?)
    }

    /// Before an epoch that may end the process: the log has it, and tells the next process which it was.
    fn fear(&mut self, epoch: Epoch) -> Result<(), FeedError> {
        if self.caution.fears(epoch) {
            self.journal.sync()?;
            self.caution.begins(self.journal.log(), epoch)?;
        }
        Ok(())
    }

    /// After an epoch, where each is to be committed before the next begins; false where the run has failed.
    fn careful(&mut self, epoch: Epoch, records: bool) -> Result<bool, FeedError> {
        if !self.caution.fears(epoch) {
            return Ok(true);
        }
        let shown = self.run.show();
        // One without records says nothing of them.
        if shown && records {
            self.caution.passed(self.journal.log())?;
        }
        Ok(shown)
    }

    fn effects(&self, said: &[Said]) -> Effects {
        let effects = Effects::of(said, self.run.names());
        for strange in &effects.strange {
            self.tell(format!("the log holds what cannot be understood, and is passed over: {strange}"));
        }
        effects
    }

    /// Pushed batches become records; how many there were.
    fn load(&mut self) -> Result<usize, FeedError> {
        let batches = self.journal.log().pushes(self.at.0, PUSHES)?;
        let now = self.now();
        for batch in &batches {
            let Read { source, text, key, time } = pushed::read(batch).ok_or(FeedError::Pushed)?;
            self.live.push((batch.id, &source), (&text, time), key, now);
            self.at.0 = batch.id;
        }
        Ok(batches.len())
    }

    /// The same, unless many wait already.
    fn load_some(&mut self) -> Result<usize, FeedError> {
        if self.live.is_full() { Ok(0) } else { self.load() }
    }

    fn take_pushes(&mut self) -> Result<bool, FeedError> {
        let pushed = self.load_some()? > 0;
        if pushed {
            // What waits is counted by the log, so that batches of an earlier run count too.
            let waiting = self.journal.log().pushed_bytes(self.at.0)?;
            self.pushed_bytes.store(waiting, Ordering::SeqCst);
        }
        Ok(pushed)
    }

    fn complain(&mut self) {
        for complaint in std::mem::take(&mut self.live.complaints) {
            self.tell(complaint);
        }
    }

    fn tell(&self, what: String) {
        (self.tell)(what);
    }
}

fn went(taken: bool) -> Turned {
    if taken { Turned::Went } else { Turned::Failed }
}
