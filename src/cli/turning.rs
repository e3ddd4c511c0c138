//! Turning: a live run, epoch by epoch, until it is stopped or its sources have ended.
//!
//! An epoch closes when no source has more, after 5 ms, or at so many records. Beside records it takes what people
//! said, changes of context and moves of idle clocks, which are durable before they have an effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use crossbeam_channel::Receiver;

use super::Failure;
use super::doors::{Doors, push_key, pushed};
use super::setup;
use super::sightings::Sightings;
use super::topics::Topics;
use super::watch::Watch;
use crate::engine::caution::Caution;
use crate::engine::journal::{Effects, Journal, Said};
use crate::engine::live::{Live, SourceKept};
use crate::engine::log::{LoggedEpoch, LoggedPart};
use crate::engine::metrics::Metrics;
use crate::engine::run::{Batch, Run};
use crate::engine::words::Words;
use crate::flow::Turn;
use crate::ingest::live::Bell;
use crate::record::{Epoch, Millis, Names};

/// An epoch is open no longer, in milliseconds.
const OPEN_MS: Millis = 5;
/// How often people's words are looked for.
const PEOPLE_MS: Millis = 200;
/// How often clocks and tables are looked at.
const LOOK_MS: Millis = 1_000;
/// How often the ingest time is told.
const AS_OF_MS: Millis = 60_000;
/// Silence after which what is written is shown, at most every `SHOWN_MS`.
const QUIET_MS: Millis = 300;
const SHOWN_MS: Millis = 5_000;
/// Records that are passed by at a time.
const PASSED: u64 = 10_000;
/// Pushed batches read from the log at a time.
const PUSHES: u32 = 64;

/// The machine's clock, which does not go back while the run goes on.
pub(crate) struct Clock {
    from: Millis,
    since: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "a live run's clock is an input, and logged")]
    pub(crate) fn start() -> Clock {
        Clock { from: setup::now(), since: Instant::now() }
    }

    pub(crate) fn now(&self) -> Millis {
        self.from + i64::try_from(self.since.elapsed().as_millis()).unwrap_or(0)
    }
}

/// A live run.
pub(crate) struct Turning {
    pub(crate) run: Run,
    pub(crate) live: Live,
    pub(crate) journal: Journal,
    pub(crate) watch: Watch,
    pub(crate) sightings: Sightings,
    pub(crate) topics: Topics,
    /// Who hears what is said in topics.
    pub(crate) words: Option<Words>,
    pub(crate) names: Arc<Names>,
    pub(crate) bell: Bell,
    pub(crate) rings: Receiver<()>,
    pub(crate) clock: Clock,
    /// The last pushed batch and the last word of people that were taken.
    pub(crate) at: (i64, i64),
    /// When people, clocks and tables, and the time were looked at.
    pub(crate) looked: [Millis; 3],
    /// Where it begins, and what the sources remembered there; none where it begins at the beginning.
    pub(crate) begins: Option<(Turn, Vec<SourceKept>)>,
    /// When what is remembered is kept.
    pub(crate) keeping: Keeping,
    /// How it goes on where others have ended.
    pub(crate) caution: Caution,
    /// What an operator sees.
    pub(crate) metrics: Metrics,
    /// Bytes of pushed batches that wait to be taken.
    pub(crate) pushed_bytes: Arc<AtomicU64>,
}

/// When what is remembered is kept.
pub(crate) struct Keeping {
    /// So often; never where it is 0.
    pub(crate) every: Millis,
    /// When it was, and at the end of which epoch.
    pub(crate) last: (Millis, Epoch),
}

impl Keeping {
    fn is_due(&self, now: Millis) -> bool {
        self.every > 0 && now - self.last.0 >= self.every
    }
}

/// What a run that begins with what was kept comes to.
enum Begun {
    /// It goes on from there.
    Goes,
    /// It is to stop.
    Stopped,
    /// It has failed, and says why when it is finished.
    Failed,
}

fn lost(epoch: Epoch, why: &str) -> anyhow::Error {
    anyhow!("epoch {epoch} of the log cannot be read again: {why}; name a new --archive")
}

impl Turning {
    /// Recomputes what the log has; false where the run was stopped on the way.
    pub(crate) fn again(&mut self) -> Result<bool, Failure> {
        let mut through = self.journal.log().folded()?;
        if let Some((turn, sources)) = self.begins.take() {
            match self.begin(turn, &sources)? {
                Begun::Goes => through = turn.epoch,
                Begun::Stopped => return Ok(false),
                Begun::Failed => return Ok(true),
            }
        }
        let epochs = self.journal.log().epochs_after(through)?;
        let mut taken = self.journal.log().taken_between(through + 1, Epoch::MAX)?.into_iter().peekable();
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
            let batch = self.live.again(logged, effects).map_err(|why| lost(logged.epoch, &why))?;
            let Some(batch) = batch else { return Ok(false) };
            self.watch.know(&batch.context);
            self.sightings.know(&batch.context);
            self.live.feed();
            self.fear(logged.epoch)?;
            if !self.run.take(batch)
                || !self.run.logged(logged.epoch)
                || !self.careful(logged.epoch, !logged.parts.is_empty())?
            {
                return Ok(true);
            }
        }
        Ok(true)
    }

    /// Begins with what was kept at a turn: what was taken through it is passed by, and what else was said is known.
    fn begin(&mut self, turn: Turn, sources: &[SourceKept]) -> Result<Begun, Failure> {
        let said = self.journal.log().taken_between(1, turn.epoch)?;
        let said: Vec<Said> = said.into_iter().filter_map(Said::logged).collect();
        let effects = self.effects(&said);
        self.live.pass_far(turn.epoch, &effects).map_err(|why| lost(turn.epoch, &why))?;
        for part in self.journal.log().parts_through(turn.epoch)? {
            let mut left = part.records;
            while left > 0 {
                if self.bell.stopped() {
                    return Ok(Begun::Stopped);
                }
                let parts = vec![LoggedPart { records: left.min(PASSED), ..part.clone() }];
                let some = LoggedEpoch { epoch: turn.epoch, settled: turn.settled, last: false, parts };
                while self.live.lacks(&some) && self.load()? > 0 {}
                if !self.live.pass(&some).map_err(|why| lost(turn.epoch, &why))? {
                    return Ok(Begun::Stopped);
                }
                left -= some.parts[0].records;
            }
        }
        let mut before = Batch::default();
        effects.fill(&mut before);
        self.watch.know(&before.context);
        self.sightings.know(&before.context);
        eprintln!("quell: beginning with what was kept at epoch {}", turn.epoch);
        self.live.begin_at(turn.settled, sources);
        self.live.feed();
        Ok(if self.run.begin_at(turn, before) { Begun::Goes } else { Begun::Failed })
    }

    /// Turns until stopped or at the end; then ends in order. A run that has failed says why when it is finished.
    pub(crate) fn turn(&mut self, doors: &mut Doors) -> Result<(), Failure> {
        self.live.begin(self.clock.now());
        self.keeping.last.0 = self.clock.now();
        self.sightings.begin();
        if !self.first()? {
            return Ok(());
        }
        // What was computed again is shown, too, where nothing more comes.
        let (mut opened, mut shown, mut last): (Option<Millis>, Millis, Millis) = (None, 0, self.clock.now());
        while !self.bell.stopped() {
            let now = self.clock.now();
            let came = self.live.pull(now).map_err(|why| anyhow!(why))?;
            let pushed = self.take_pushes(doors)?;
            self.complain();
            if self.live.has_ended() {
                break;
            }
            let waiting = self.live.waiting();
            let said = self.duties(now, waiting > 0)?;
            if waiting > 0 {
                opened = opened.or(Some(now));
            }
            let long = opened.is_some_and(|opened| now - opened >= OPEN_MS);
            let idle = !came && !pushed;
            if !said.is_empty() || waiting >= self.caution.most() || (waiting > 0 && (idle || long)) {
                if !self.epoch(&said)? {
                    return Ok(());
                }
                (opened, last) = (None, now);
            } else if self.run.has_failed() {
                return Ok(());
            } else if self.keeping.is_due(now) && self.run.epoch() > self.keeping.last.1 {
                // Nothing comes, and what came is not kept yet.
                if !self.epoch(&[])? {
                    return Ok(());
                }
            } else if idle {
                if last > shown && now - last >= QUIET_MS && now - shown >= SHOWN_MS {
                    shown = now;
                    if !self.run.flush() {
                        return Ok(());
                    }
                }
                // Nothing came, or the sources have said more in the meantime: either way it is looked again.
                let _ = self.rings.recv_timeout(Duration::from_millis(50));
            }
        }
        self.end(doors)
    }

    /// The tables stand before the first alert comes, and the ingest time too.
    fn first(&mut self) -> Result<bool, Failure> {
        while !self.watch.is_ready() && !self.bell.stopped() {
            self.still_hears()?;
            let _ = self.rings.recv_timeout(Duration::from_millis(50));
        }
        let fresh = self.run.epoch() == 0;
        let changes = self.watch.look().map_err(Failure::Plan)?;
        let now = self.clock.now();
        self.looked = [now, now, now];
        let mut said = vec![Said::as_of(now)];
        if !changes.is_empty() || (fresh && self.watch.has_tables()) {
            said.push(Said::context(&changes, fresh, &self.names));
        }
        self.epoch_of(&said, 0)
    }

    /// What an epoch takes beside records.
    fn duties(&mut self, now: Millis, records: bool) -> Result<Vec<Said>, Failure> {
        self.still_hears()?;
        let mut said = Vec::new();
        if now - self.looked[1] >= LOOK_MS {
            self.stand();
        }
        let [people, looked, as_of] = &mut self.looked;
        if now - *people >= PEOPLE_MS {
            *people = now;
            said.extend(words(&self.journal, &mut self.at.1)?);
            if said.iter().any(Said::is_unlink) {
                *people = 0;
                return Ok(said);
            }
        }
        if now - *looked >= LOOK_MS {
            *looked = now;
            match self.watch.look() {
                Ok(changes) if changes.is_empty() => {}
                Ok(changes) => said.push(Said::context(&changes, false, &self.names)),
                Err(faults) => {
                    for fault in &faults {
                        eprintln!("{fault}");
                    }
                    eprintln!("quell: the context tables stay as they were");
                }
            }
            let found = self.sightings.found();
            if !found.is_empty() {
                said.push(Said::sightings(&found, &self.names));
            }
            self.topics.look(&mut self.live, &mut self.journal, (self.run.epoch(), now))?;
            let moves = self.live.moves(now);
            said.extend(moves.into_iter().map(Said::moved));
        }
        if records && now - *as_of >= AS_OF_MS {
            *as_of = now;
            said.push(Said::as_of(now));
        }
        Ok(said)
    }

    /// Shows how the sources stand.
    fn stand(&self) {
        if self.metrics.is_on() {
            let waiting = self.pushed_bytes.load(Ordering::SeqCst);
            self.metrics.stand(self.live.standing(), waiting, self.live.divergences);
        }
    }

    /// Whoever can hear no more says so.
    fn still_hears(&self) -> Result<(), Failure> {
        let failed = self.words.as_ref().and_then(Words::failed).or_else(|| self.watch.failed());
        failed.map_or(Ok(()), |error| Err(anyhow!(error).into()))
    }

    fn epoch(&mut self, said: &[Said]) -> Result<bool, Failure> {
        // Incidents are taken apart as they were written: no record may come between.
        let most = if said.iter().any(Said::stands_alone) { 0 } else { self.caution.most() };
        self.epoch_of(said, most)
    }

    /// One epoch of up to `most` records; false where the run has failed.
    fn epoch_of(&mut self, said: &[Said], most: usize) -> Result<bool, Failure> {
        let effects = self.effects(said);
        let batch = self.live.batch(most, effects, false).map_err(|why| anyhow!(why))?;
        self.take(batch, said)
    }

    fn take(&mut self, mut batch: Batch, said: &[Said]) -> Result<bool, Failure> {
        let epoch = self.run.epoch() + 1;
        let now = self.clock.now();
        if self.keeping.is_due(now) || (batch.last && self.keeping.every > 0) {
            self.keeping.last = (now, epoch);
            batch.keeps = Some(self.live.keep());
        }
        let records = !batch.parts.is_empty();
        self.journal.note(epoch, &batch, said)?;
        self.fear(epoch)?;
        self.live.feed();
        let taken = self.run.take(batch);
        if self.run.is_journaled() {
            // Epochs are acted on, or told, when they end, and so must be durable one by one. The disk is waited for while the epoch is worked on: what comes of it waits for both.
            self.journal.sync()?;
            return Ok(taken && self.run.logged(epoch) && self.careful(epoch, records)?);
        }
        Ok(taken && self.careful(epoch, records)?)
    }

    /// Before an epoch that may end the process: the log has it, and tells the next process which it was.
    fn fear(&mut self, epoch: Epoch) -> Result<(), Failure> {
        if self.caution.fears(epoch) {
            self.journal.sync()?;
            self.caution.begins(self.journal.log(), epoch)?;
        }
        Ok(())
    }

    /// After an epoch, where each is to be committed before the next begins; false where the run has failed.
    fn careful(&mut self, epoch: Epoch, records: bool) -> Result<bool, Failure> {
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
        let effects = Effects::of(said, &self.names);
        for strange in &effects.strange {
            eprintln!("quell: the log holds what cannot be understood, and is passed over: {strange}");
        }
        effects
    }

    /// Pushed batches become records, unless many wait already; how many there were.
    fn load(&mut self) -> Result<usize, Failure> {
        if self.live.is_full() {
            return Ok(0);
        }
        let batches = self.journal.log().pushes(self.at.0, PUSHES)?;
        let now = self.clock.now();
        for batch in &batches {
            let (source, text) = pushed(&batch.body)?;
            let prefix = push_key(&source, "");
            let key = batch.key.as_deref().and_then(|key| key.strip_prefix(&prefix));
            self.live.push(&source, &text, key, now);
            self.at.0 = batch.id;
        }
        Ok(batches.len())
    }

    fn take_pushes(&mut self, doors: &Doors) -> Result<bool, Failure> {
        let before = self.at.0;
        let batches = self.load()?;
        if batches > 0 {
            // What waits is counted by the log, so that batches of an earlier run count too.
            doors.waiting.store(self.journal.log().pushed_bytes(self.at.0)?, Ordering::SeqCst);
        }
        Ok(self.at.0 != before)
    }

    fn complain(&mut self) {
        for complaint in self.live.complaints.drain(..) {
            eprintln!("quell: {complaint}");
        }
    }

    /// Takes what was read and acknowledged, ends the sources, and settles everything.
    fn end(&mut self, doors: &mut Doors) -> Result<(), Failure> {
        doors.close();
        let _ = self.bell.stop();
        loop {
            let came = self.live.pull(self.clock.now()).map_err(|why| anyhow!(why))?;
            let pushed = self.load()? > 0;
            if self.live.waiting() == 0 && !came && !pushed {
                break;
            }
            if !self.epoch(&[])? {
                return Ok(());
            }
        }
        let mut said = words(&self.journal, &mut self.at.1)?;
        loop {
            let next = words(&self.journal, &mut self.at.1)?;
            if next.is_empty() && !said.iter().any(Said::is_unlink) {
                break;
            }
            if !self.epoch(&said)? {
                return Ok(());
            }
            said = next;
        }
        self.live.close();
        loop {
            let effects = self.effects(&said);
            let batch = self.live.batch(self.caution.most(), effects, true).map_err(|why| anyhow!(why))?;
            let last = batch.last;
            if !self.take(batch, &said)? || last {
                return Ok(());
            }
            said.clear();
        }
    }
}

/// What people said since: up to one that takes an incident apart, or that one alone.
fn words(journal: &Journal, at: &mut i64) -> Result<Vec<Said>, Failure> {
    let mut said: Vec<Said> = Vec::new();
    for word in journal.log().waiting(*at)? {
        let id = word.id;
        let word = Said::logged(word);
        let is_unlink = word.as_ref().is_some_and(Said::is_unlink);
        if is_unlink && !said.is_empty() {
            break;
        }
        *at = id;
        said.extend(word);
        if is_unlink {
            break;
        }
    }
    Ok(said)
}
