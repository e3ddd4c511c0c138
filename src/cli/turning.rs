//! Turning: a live run and what is around it: tables and topics that are looked at, the bell, the doors.
//!
//! What is taken and when is the [`Feed`]'s; here is said what the surroundings say, and waited where nothing came.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use crossbeam_channel::Receiver;

use super::Failure;
use super::doors::Doors;
use super::models::{Judged, Wanted};
use super::renewal::{Ended, Renewal};
use super::sightings::Sightings;
use super::topics::Topics;
use super::watch::Watch;
use crate::engine::feed::{Feed, Turned};
use crate::engine::journal::Said;
use crate::engine::metrics::Metrics;
use crate::engine::words::Words;
use crate::ingest::live::Bell;
use crate::plan::catalog::Plan;
use crate::rank::Ranker;
use crate::record::{Epoch, Millis};

/// How often tables and topics are looked at.
const LOOK_MS: Millis = 1_000;
/// How long nothing is waited for before it is looked again.
const WAIT: Duration = Duration::from_millis(50);

/// A live run.
pub(crate) struct Turning {
    pub(crate) feed: Feed,
    pub(crate) watch: Watch,
    pub(crate) sightings: Sightings,
    pub(crate) topics: Topics,
    /// The model that it is to judge by, and how another one is put to use.
    pub(crate) models: (Wanted, Swap),
    /// Who hears what is said in topics.
    pub(crate) words: Option<Words>,
    pub(crate) bell: Bell,
    pub(crate) rings: Receiver<()>,
    /// When tables and topics were looked at.
    pub(crate) looked: Millis,
    /// When it is time for new names.
    pub(crate) renewal: Renewal,
    /// Whether it is left as it stands when it is told to stop, instead of settled.
    pub(crate) leaves: bool,
    /// The plan's file, and its hash as the run goes by it.
    pub(crate) plan: (PathBuf, String),
    /// What an operator sees.
    pub(crate) metrics: Metrics,
}

/// How another model is put to use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swap {
    /// Between two epochs: this process judges everything.
    Here,
    /// All processes start again with it.
    Everywhere,
    /// Not before the run is ended in order: nothing is kept with which all could start again.
    Later,
}

impl Swap {
    /// Where this process judges everything, or else what is remembered is kept every so often.
    pub(crate) fn of(judges: bool, keeps_every_ms: u32) -> Swap {
        match (judges, keeps_every_ms) {
            (true, _) => Swap::Here,
            (false, 0) => Swap::Later,
            (false, _) => Swap::Everywhere,
        }
    }
}

impl Turning {
    /// Recomputes what the log has; false where the run was stopped on the way.
    pub(crate) fn again(&mut self) -> Result<bool, Failure> {
        let Turning { feed, watch, sightings, .. } = self;
        Ok(feed.again(|context| {
            watch.know(context);
            sightings.know(context);
        })?)
    }

    /// Turns until stopped or at the end; then ends in order, or leaves all as it stands. A run that has failed says why when
    /// it is finished.
    pub(crate) fn turn(&mut self, doors: &mut Doors) -> Result<Ended, Failure> {
        let told = self.turns(doors)?;
        match &told {
            Ended::InOrder => {
                doors.close();
                let _ = self.bell.stop();
                self.feed.end()?;
            }
            Ended::Left | Ended::Anew => {
                doors.close();
                self.bell.rest();
                self.feed.leave()?;
            }
            Ended::Promoted(model) => {
                doors.close();
                self.bell.rest();
                self.feed.promote_next(model)?;
            }
            Ended::Early => {}
        }
        Ok(told)
    }

    /// Turns; how it is to end, early where it has failed.
    fn turns(&mut self, doors: &Doors) -> Result<Ended, Failure> {
        self.sightings.begin();
        self.renewal.begin(self.feed.run().names());
        if !self.first()? {
            return Ok(Ended::Early);
        }
        while !self.bell.stopped() {
            if let Some(model) = self.look(doors)? {
                return Ok(Ended::Promoted(model));
            }
            if self.renewal.is_due(self.feed.now(), self.feed.run().names()) {
                return Ok(Ended::Anew);
            }
            match self.feed.turn()? {
                Turned::Went => {}
                Turned::Idle => self.wait(),
                Turned::Ended => return Ok(Ended::InOrder),
                Turned::Failed => return Ok(Ended::Early),
            }
        }
        Ok(if self.leaves && !self.goes_on_otherwise() { Ended::Left } else { Ended::InOrder })
    }

    /// Whether the next run may go by another plan, which it can where all is settled.
    fn goes_on_otherwise(&self) -> bool {
        let (flow, hash) = &self.plan;
        let other = Plan::load(flow).is_ok_and(|plan| plan.hash != *hash);
        if other {
            eprintln!(
                "quell: the plan has changed: what was taken is settled, so that the next run can go by it"
            );
        }
        other
    }

    /// The tables stand before the first alert comes; false where the run has failed.
    fn first(&mut self) -> Result<bool, Failure> {
        while !self.watch.is_ready() && !self.bell.stopped() {
            self.still_hears()?;
            self.wait();
        }
        let fresh = self.feed.run().epoch() == 0;
        let changes = self.watch.look().map_err(Failure::Plan)?;
        self.looked = self.feed.now();
        let says = !changes.is_empty() || (fresh && self.watch.has_tables());
        let tables = says.then(|| Said::context(&changes, fresh, self.feed.run().names()));
        let said: Vec<Said> = self.other_plan()?.into_iter().chain(tables).collect();
        Ok(self.feed.begin(said)? && self.judge()?)
    }

    /// That it is gone by another plan since the last epoch, where no epoch has told it yet.
    fn other_plan(&mut self) -> Result<Option<Said>, Failure> {
        let (_, journal) = self.feed.reading();
        let Some((after, plan)) = journal.log().plans()?.pop() else { return Ok(None) };
        let is_told = journal.log().tells_of_plan(&plan, after)?;
        Ok((!is_told).then(|| Said::plan(&plan)))
    }

    /// The model that is wanted judges from here on; false where the run has failed.
    fn judge(&mut self) -> Result<bool, Failure> {
        let (_, journal) = self.feed.reading();
        let judged = Judged::of(journal.log())?;
        let ranker = self.models.0.ranker()?;
        if judged.after(Epoch::MAX).is_none_or(|model| model == ranker.version()) {
            return Ok(true);
        }
        self.promote(ranker)
    }

    fn promote(&mut self, ranker: Ranker) -> Result<bool, Failure> {
        let model = ranker.version();
        let promoted = self.feed.promote(ranker)?;
        eprintln!("quell: the model {model} is in use after epoch {}", self.feed.run().epoch());
        Ok(promoted)
    }

    /// Puts to use what was promoted meanwhile; which model it is, where all processes are to start with it.
    fn promoted(&mut self) -> Result<Option<String>, Failure> {
        let (wanted, swap) = &mut self.models;
        let Some(ranker) = wanted.other_than(&self.feed.run().model()) else { return Ok(None) };
        match swap {
            // A run that has failed says so when it turns next.
            Swap::Here => self.promote(ranker).map(|_| None),
            Swap::Everywhere => Ok(Some(ranker.version())),
            Swap::Later => {
                eprintln!(
                    "quell: the model {} is put to use when all processes are started again: with --snapshot-every-ms 0 nothing is \
                     kept with which they could go on now",
                    ranker.version()
                );
                Ok(None)
            }
        }
    }

    /// Nothing came, or the sources have said more in the meantime: either way it is looked again.
    fn wait(&self) {
        let _ = self.rings.recv_timeout(WAIT);
    }

    /// Looks what there is beside the sources; with which model all processes are to start again, where they are.
    fn look(&mut self, doors: &Doors) -> Result<Option<String>, Failure> {
        self.still_hears()?;
        let now = self.feed.now();
        if now - self.looked < LOOK_MS {
            return Ok(None);
        }
        self.looked = now;
        self.stand(doors);
        match self.watch.look() {
            Ok(changes) if changes.is_empty() => {}
            Ok(changes) => self.feed.say(Said::context(&changes, false, self.feed.run().names())),
            Err(faults) => {
                for fault in &faults {
                    eprintln!("{fault}");
                }
                eprintln!("quell: the context tables stay as they were");
            }
        }
        let found = self.sightings.found();
        if !found.is_empty() {
            self.feed.say(Said::sightings(&found, self.feed.run().names()));
        }
        let epoch = self.feed.run().epoch();
        self.topics.look(self.feed.reading(), (epoch, now))?;
        self.promoted()
    }

    /// Shows how the sources stand.
    fn stand(&self, doors: &Doors) {
        if self.metrics.is_on() {
            let (live, names) = (self.feed.live(), self.feed.run().names());
            self.metrics.stand(live.standing(), (doors.waiting(), live.divergences), names.bytes());
        }
    }

    /// Whoever can hear no more says so.
    fn still_hears(&self) -> Result<(), Failure> {
        let failed = self.words.as_ref().and_then(Words::failed).or_else(|| self.watch.failed());
        failed.map_or(Ok(()), |error| Err(anyhow!(error).into()))
    }
}
