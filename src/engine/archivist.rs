//! The archivist: the thread that writes what left the dataflow, and says how far it is safe.
//!
//! In: rows by epoch, and turns that are done. Out: parts of the archive; commits in the log; a token for each epoch
//! done, which lets the feed go on. Order of a commit: parts sealed (durable, not seen), the log commits, parts published.
//! Rows of an epoch reach a part only when the epoch is done: a part must hold nothing beyond the commit that it waits
//! for, or a run that is cut after it says it twice. Then they go to the sinks, too, where there are any.
//! State: open parts; rows of the few epochs under way; epochs not yet recorded; counts for the summary.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::log::{Log, LogError, LoggedEpoch, STATE_FOLDER};
use super::metrics::{self, Metrics};
use super::sinks::{Hand, delivered};
use super::summary::Counts;
use crate::archive::{Rows, RunStamp, Writer, snapshots};
use crate::flow::Turn;
use crate::flow::kept::Kept;
use crate::record::{Epoch, Tick};

/// What the archivist is told.
pub enum Told {
    /// Rows of an epoch.
    Rows(Epoch, Rows),
    /// So many alerts of an epoch, which are not kept.
    Alerts(Epoch, u64),
    /// What an epoch took, to be recorded with it.
    Took(LoggedEpoch),
    /// What is remembered at an epoch's end.
    Kept(Kept),
    /// An epoch is complete: no more rows of it will come.
    Done(Turn),
    /// What is complete should be seen now, and that it is should be told where somebody waits for it.
    Flush(Option<Sender<()>>),
    /// The clerk has ended: nothing more will ever be complete.
    End,
}

/// What was said of an epoch that is not complete.
#[derive(Default)]
struct Said {
    rows: Vec<Rows>,
    /// Alerts that are not kept.
    alerts: u64,
}

/// Why the archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The disk.
    #[error("the archive {dir} cannot be written: {source}")]
    Write {
        /// The archive.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The thread, what it is told by, and a token for each epoch that is done.
pub type Started = (JoinHandle<Result<Counts, ArchiveError>>, Sender<Told>, Receiver<Turn>);

/// How long what is written stays unseen, where nothing else is asked for.
pub const COMMIT_EVERY: Duration = Duration::from_secs(5);

/// Epochs folded with a commit, which are many more than come between two.
const FOLDED_AT_ONCE: u64 = 5_000;

/// The thread's work.
pub struct Archivist {
    /// The archive.
    dir: PathBuf,
    /// Its writer.
    writer: Writer,
    /// Its log.
    log: Log,
    /// Epochs through which an earlier process has published.
    committed: Epoch,
    /// The tick of its last commit; parts' names go on from there.
    sealed_at: Tick,
    /// How long what is written may stay unseen.
    commit_every: Duration,
    /// Who says in topics what the archive is told.
    sinks: Option<Hand>,
    /// What the run is made from.
    stamp: RunStamp,
    /// Counts of all rows.
    counts: Counts,
    /// What is remembered at the end of an epoch that is not complete.
    kept: Vec<Kept>,
    /// The epoch through which the log may be folded; none where it stays as it is, as a run by hand's does, which is computed
    /// again as a whole.
    folds: Option<Epoch>,
    /// What an operator sees.
    metrics: Metrics,
    /// What epochs took that are not recorded yet.
    epochs: Vec<LoggedEpoch>,
    /// What was said of epochs that are not complete.
    under_way: BTreeMap<Epoch, Said>,
    /// The last turn that is written and not seen.
    unseen: Option<Turn>,
    /// When the archive was committed last.
    committed_at: Instant,
}

impl Archivist {
    /// One that goes on behind `committed`, the epoch through which an earlier process has published.
    pub fn new(
        dir: &Path,
        writer: Writer,
        (stamp, counts): (RunStamp, Counts),
        (committed, commit_every, metrics): (Epoch, Duration, Metrics),
        sinks: Option<Hand>,
    ) -> Result<Archivist, LogError> {
        let log = Log::open(dir)?;
        let sealed_at = log.committed()?.map_or(-1, |(_, tick)| tick);
        Ok(Archivist {
            dir: dir.to_owned(),
            writer,
            log,
            committed,
            sealed_at,
            commit_every,
            sinks,
            stamp,
            counts,
            kept: Vec::new(),
            folds: None,
            metrics,
            epochs: Vec::new(),
            under_way: BTreeMap::new(),
            unseen: None,
            committed_at: now(),
        })
    }

    /// Starts the thread: it, what it is told by, and the tokens.
    pub fn start(mut self) -> io::Result<Started> {
        self.folds = Some(0);
        let ((told, inbox), (token, tokens)) = (unbounded(), unbounded());
        let thread = thread::Builder::new().name("archive".into());
        Ok((thread.spawn(move || self.run(&inbox, &token))?, told, tokens))
    }

    /// Writes until nobody sends any more; the counts of all rows, published earlier or now.
    pub fn run(mut self, inbox: &Receiver<Told>, done: &Sender<Turn>) -> Result<Counts, ArchiveError> {
        for told in inbox {
            if !self.hear(told, done)? {
                break;
            }
        }
        Ok(self.counts)
    }

    /// The counts of all rows, published earlier or now.
    pub fn into_counts(self) -> Counts {
        self.counts
    }

    /// Takes one thing that it is told; false where nothing more is to be written.
    pub fn hear(&mut self, told: Told, done: &Sender<Turn>) -> Result<bool, ArchiveError> {
        let (mut token, mut waiting) = (None, None);
        let hurry = match told {
            Told::Rows(epoch, rows) => {
                self.under_way.entry(epoch).or_default().rows.push(rows);
                return Ok(true);
            }
            Told::Alerts(epoch, many) => {
                self.under_way.entry(epoch).or_default().alerts += many;
                return Ok(true);
            }
            Told::Took(epoch) => {
                self.epochs.push(epoch);
                return Ok(true);
            }
            Told::Kept(kept) => {
                self.kept.push(kept);
                return Ok(true);
            }
            Told::Done(turn) => {
                self.log.held()?;
                let later = self.under_way.split_off(&(turn.epoch + 1));
                let complete = std::mem::replace(&mut self.under_way, later);
                self.write(turn.epoch, &complete)?;
                if !self.hand_over(complete) {
                    return Ok(false);
                }
                token = Some(turn);
                self.unseen = token.filter(|turn| turn.epoch > self.committed);
                turn.last
                    || turn.keeps
                    || self.writer.wants_seal()
                    || self.committed_at.elapsed() >= self.commit_every
            }
            Told::Flush(who) => {
                waiting = who;
                true
            }
            Told::End => return Ok(false),
        };
        if let Some(turn) = self.unseen.take_if(|_| hurry) {
            self.show(turn)?;
            self.committed_at = now();
        }
        if let Some(turn) = token.filter(|turn| turn.keeps) {
            self.keep(turn);
        }
        if let Some(who) = waiting {
            let _ = who.send(());
        }
        if let Some(turn) = token {
            // The feed may have ended.
            let _ = done.send(turn);
        }
        Ok(true)
    }

    /// Writes what was remembered at an epoch's end. Where that fails, the run goes on, and the next one begins further back.
    fn keep(&mut self, turn: Turn) {
        // Later epochs may have been kept by then.
        let (mut kept, later): (Vec<Kept>, _) =
            std::mem::take(&mut self.kept).into_iter().partition(|kept| kept.epoch == turn.epoch);
        self.kept = later;
        // Pieces of one lie together, as they came.
        kept.sort_by(|a, b| (&a.operator, a.worker).cmp(&(&b.operator, b.worker)));
        let (names, since) = (self.writer.names(), metrics::now());
        kept.push(Kept::of("counts", (turn.epoch, 0), names, |items| items.put(&self.counts)));
        let (state, safe) = (self.dir.join(STATE_FOLDER), self.safe(turn.epoch));
        let written = snapshots::write(&state, (turn, safe), &self.stamp, &kept);
        self.metrics.kept(turn, since, written.is_ok());
        match written.and_then(|_| snapshots::oldest(&state, safe)) {
            Ok(oldest) => self.folds = self.folds.map(|before| oldest.unwrap_or(before)),
            Err(error) => {
                eprintln!("quell: no snapshot of epoch {} is kept, and the run goes on: {error}", turn.epoch);
            }
        }
    }

    /// The last epoch at or before this one through which topics were told everything, as the log has it: what they were not
    /// told of is said by computing it again.
    fn safe(&self, epoch: Epoch) -> Epoch {
        match &self.sinks {
            Some(_) => delivered(&self.log).unwrap_or(0).min(epoch),
            None => epoch,
        }
    }

    fn write(&mut self, through: Epoch, done: &BTreeMap<Epoch, Said>) -> Result<(), ArchiveError> {
        self.metrics.done(through, done.values().flat_map(|said| &said.rows));
        self.counts.alerts(done.values().map(|said| said.alerts).sum());
        let all = done.iter().flat_map(|(epoch, said)| said.rows.iter().map(move |rows| (*epoch, rows)));
        for (epoch, rows) in all {
            self.counts.add(rows);
            let written = self.writer.push(epoch, rows);
            written.map_err(|source| ArchiveError::Write { dir: self.dir.clone(), source })?;
        }
        if self.counts.first_incident.is_none() && self.counts.has_incidents() {
            self.counts.first_incident = Some(now());
        }
        Ok(())
    }

    /// False where topics are told no more: whoever started the run hears why.
    fn hand_over(&self, done: BTreeMap<Epoch, Said>) -> bool {
        let Some(sinks) = &self.sinks else { return true };
        done.into_iter().all(|(epoch, said)| sinks.take(epoch, said.rows))
    }

    /// Has all that is complete seen.
    fn show(&mut self, turn: Turn) -> Result<(), ArchiveError> {
        if turn.last {
            let shown = self.writer.show_empty_tables(turn.epoch, turn.settled.max(0));
            shown.map_err(|source| ArchiveError::Write { dir: self.dir.clone(), source })?;
        }
        // A turn may settle no further than the one before: its parts need a name of their own.
        let tick = turn.settled.max(self.sealed_at + 1);
        self.commit(turn.epoch, tick)?;
        // After the last, whoever closes the log does it.
        if !turn.last {
            self.log.tidy()?;
        }
        (self.sealed_at, self.committed) = (tick, turn.epoch);
        self.metrics.shows(turn.epoch, &self.counts);
        Ok(())
    }

    fn commit(&mut self, epoch: Epoch, tick: Tick) -> Result<(), ArchiveError> {
        let failed = |dir: &PathBuf| {
            let dir = dir.clone();
            move |source| ArchiveError::Write { dir, source }
        };
        self.log.held()?;
        let sealed = self.writer.seal(tick).map_err(failed(&self.dir))?;
        let ready = self.epochs.iter().take_while(|logged| logged.epoch <= epoch).count();
        if let Some(place) = self.sinks.as_ref().and_then(Hand::place) {
            place.keep(&self.log)?;
        }
        self.log.record(&self.epochs[..ready], Some((epoch, tick)))?;
        self.epochs.drain(..ready);
        sealed.publish().map_err(failed(&self.dir))?;
        if let Some(through) = self.folds {
            // A little at a time: others write the log, too.
            self.log.fold(through, FOLDED_AT_ONCE)?;
            self.log.forget_pushed()?;
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "how often the archive is committed shows in no result")]
fn now() -> Instant {
    Instant::now()
}
