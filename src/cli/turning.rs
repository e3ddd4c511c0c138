//! Turning: a live run and what is around it: tables and topics that are looked at, the bell, the doors.
//!
//! What is taken and when is the [`Feed`]'s; here is said what the surroundings say, and waited where nothing came.

use std::time::Duration;

use anyhow::anyhow;
use crossbeam_channel::Receiver;

use super::Failure;
use super::doors::Doors;
use super::renewal::{Ended, Renewal};
use super::sightings::Sightings;
use super::topics::Topics;
use super::watch::Watch;
use crate::engine::feed::{Feed, Turned};
use crate::engine::journal::Said;
use crate::engine::metrics::Metrics;
use crate::engine::words::Words;
use crate::ingest::live::Bell;
use crate::record::Millis;

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
    /// What an operator sees.
    pub(crate) metrics: Metrics,
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
        match told {
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
            self.look(doors)?;
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
        Ok(if self.leaves { Ended::Left } else { Ended::InOrder })
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
        let said = says.then(|| Said::context(&changes, fresh, self.feed.run().names()));
        Ok(self.feed.begin(said)?)
    }

    /// Nothing came, or the sources have said more in the meantime: either way it is looked again.
    fn wait(&self) {
        let _ = self.rings.recv_timeout(WAIT);
    }

    /// Looks what there is beside the sources.
    fn look(&mut self, doors: &Doors) -> Result<(), Failure> {
        self.still_hears()?;
        let now = self.feed.now();
        if now - self.looked < LOOK_MS {
            return Ok(());
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
        self.topics.look(self.feed.reading(), (epoch, now))
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
