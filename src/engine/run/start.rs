//! How a run starts, and what works behind it: threads, or one hand that steps worker, clerk and archivist in turn.
//!
//! By hand nothing happens but in [`Backstage::step`]: where the run waits for one of them, it asks whose turn it is. So whoever
//! chooses decides the order of everything, and the same choices lead to the same run.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::super::archivist::{ArchiveError, Archivist, COMMIT_EVERY, Told};
use super::super::beginning::Restored;
use super::super::clerk::{Clerk, Report};
use super::super::dataflow::{Output, Wiring};
use super::super::log::STATE_FOLDER;
use super::super::sinks::Sinks;
use super::super::summary::Counts;
use super::super::unsettled::Unsettled;
use super::super::workers::{Crew, Hand, Workers};
use super::{Run, RunError, Settings, kill_switch, wiring};
use crate::act::{Desk, Executor};
use crate::archive::{RunStamp, Writer};
use crate::flow::Turn;
use crate::plan::policy::Act;
use crate::rank::{RankService, Ranker, Recall};
use crate::record::{Alert, Epoch, NOTHING_SETTLED, Sym};

impl Run {
    /// Starts all threads.
    pub fn start(settings: Settings) -> Result<Run, RunError> {
        Run::start_committing(settings, COMMIT_EVERY)
    }

    /// As `start`, where what is written shows after `commit_every` at the latest.
    pub fn start_committing(settings: Settings, commit_every: Duration) -> Result<Run, RunError> {
        Run::start_with(settings, commit_every, None)
    }

    /// One without threads, of one worker; `choose` is asked whose turn it is, of those who have something to do.
    pub fn by_hand(settings: Settings, commit_every: Duration, choose: Choose) -> Result<Run, RunError> {
        Run::start_with(settings, commit_every, Some(choose))
    }

    fn start_with(settings: Settings, commit_every: Duration, hand: Option<Choose>) -> Result<Run, RunError> {
        let Settings { plan, names, archive, crew, ranker, act, journaled, committed, metrics, .. } =
            settings;
        let (begins, past) = settings.beginning.map(|it| (it.turn, Arc::new(it.past))).unzip();
        let before = Restored::of(past.as_deref(), &names);
        let stamp = RunStamp { plan_hash: plan.hash.clone(), model_version: ranker.version() };
        let (plan_hash, model_version) = (names.intern(&stamp.plan_hash), names.intern(&stamp.model_version));
        let (sinks, topics) =
            settings.sinks.map(|it| Sinks::start(it, &archive, &names)).transpose()?.unzip();
        metrics.begins((&stamp.plan_hash, &stamp.model_version), &before.counts);
        let writer = Writer::new(&archive, 0, Arc::clone(&names), &stamp, committed);
        let commits = (committed, commit_every, metrics.clone());
        let archivist = Archivist::new(&archive, writer, (stamp, before.counts), commits, topics)?;
        let wiring = Wiring { past, ..wiring(&plan, &names, act, crew.span(settings.first_judges)) };
        let simulated = matches!(settings.executor, Executor::Simulate(_));
        let ruled_by = (Arc::clone(&wiring.proposing.playbooks), Arc::clone(&wiring.proposing.policy));
        let lies = (&*archive.join(STATE_FOLDER), settings.ledger);
        let mut desk = Desk::open(lies, settings.executor, ruled_by, Arc::clone(&names), committed)?;
        before.desk.into_iter().for_each(|kept| desk.begin_with(kept));
        let clerk = |to_archive: Sender<Told>| Clerk {
            desk,
            archive: to_archive,
            plan_hash,
            simulated,
            kill: kill_switch(&archive),
            criers: settings.criers,
            asks: settings.asks,
            withdrawals: settings.withdrawals,
            logged: if journaled { 0 } else { Epoch::MAX },
            began: begins.map_or(0, |turn| turn.epoch),
            under_way: before.under_way,
            metrics: metrics.clone(),
        };
        let (ranks, in_force) = ranks(ranker, model_version, settings.recall, hand.is_some())?;
        let (workers, outputs, archive_door, tokens, behind) =
            work(archivist, clerk, (crew, &wiring), &ranks, hand)?;
        before.run.count(&wiring.correlations);
        Ok(Run {
            workers,
            ranks,
            outputs,
            archive: archive_door,
            tokens,
            behind,
            sinks,
            names,
            stamp: (plan_hash, in_force),
            epoch: begins.map_or(0, |turn| turn.epoch),
            under_way: std::collections::VecDeque::new(),
            late: before.run.late,
            correlations: wiring.correlations,
            act,
            journaled,
            dir: archive,
            acted: begins.map_or(NOTHING_SETTLED, |turn| turn.acts),
            unsettled: unsettled(act, begins, before.run.unsettled),
            metrics,
            ended: false,
            failed: None,
        })
    }

    /// Who works behind it, where that is one hand.
    #[must_use]
    pub fn backstage(&self) -> Option<Rc<RefCell<Backstage>>> {
        match &self.behind {
            Behind::Hand(backstage) => Some(Rc::clone(backstage)),
            Behind::Threads { .. } => None,
        }
    }
}

/// Who works behind the feed.
pub(super) enum Behind {
    /// A thread each.
    Threads {
        clerk: JoinHandle<Result<Report, RunError>>,
        archivist: JoinHandle<Result<Counts, ArchiveError>>,
    },
    /// Whoever feeds the run.
    Hand(Rc<RefCell<Backstage>>),
}

impl Behind {
    /// Whether somebody ended before the run was finished.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Behind::Threads { clerk, archivist } => archivist.is_finished() || clerk.is_finished(),
            Behind::Hand(backstage) => backstage.borrow().failed.is_some(),
        }
    }

    /// What somebody sends; none where nobody will.
    pub(super) fn wait_for<T>(&self, from: &Receiver<T>) -> Option<T> {
        match self {
            Behind::Threads { .. } => from.recv().ok(),
            Behind::Hand(backstage) => loop {
                if let Ok(sent) = from.try_recv() {
                    return Some(sent);
                }
                if !backstage.borrow_mut().step() {
                    return None;
                }
            },
        }
    }

    /// What they know when all is done.
    pub(super) fn finish(self) -> Result<(Report, Counts), RunError> {
        match self {
            Behind::Hand(backstage) => {
                let ended = || RunError::Worker("somebody still holds what works behind the run".to_owned());
                Rc::into_inner(backstage).ok_or_else(ended)?.into_inner().finish()
            }
            Behind::Threads { clerk, archivist } => {
                let report = clerk.join();
                let panicked = |who: &str| RunError::Worker(format!("the {who} thread panicked"));
                let counts = archivist.join().map_err(|_| panicked("archive's"))??;
                Ok((report.map_err(|_| panicked("executors'"))??, counts))
            }
        }
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The worker's, of the dataflow.
    Worker,
    /// The clerk's, with the desk.
    Clerk,
    /// The archivist's.
    Archivist,
}

/// Says whose turn it is, of those who have something to do: there is always one.
pub type Choose = Box<dyn FnMut(&[Step]) -> Step>;

/// Worker, clerk and archivist of a run without threads.
pub struct Backstage {
    worker: Hand,
    clerk: Clerk,
    outputs: Receiver<Output>,
    archivist: Archivist,
    told: Receiver<Told>,
    token: Sender<Turn>,
    choose: Choose,
    failed: Option<RunError>,
}

type Parts = (Workers, Sender<Output>, Sender<Told>, Receiver<Turn>, Behind);

/// What was acted on at the beginning, and not settled yet.
fn unsettled(act: Act, begins: Option<Turn>, before: Vec<Arc<Alert>>) -> Unsettled {
    let mut unsettled = Unsettled::new(act);
    unsettled.take(before, begins.map_or(NOTHING_SETTLED, |turn| turn.settled));
    unsettled
}

/// Who judges, and which model is in force.
fn ranks(
    ranker: Ranker,
    model: Sym,
    recall: Option<Recall>,
    by_hand: bool,
) -> Result<(RankService, Sym), RunError> {
    let in_force = recall.as_ref().and_then(|recall| recall.began).unwrap_or(model);
    let ranks = if by_hand {
        RankService::by_hand(ranker, model, recall)
    } else {
        RankService::start(ranker, model, recall)?
    };
    Ok((ranks, in_force))
}

/// Has everybody begin.
fn work(
    archivist: Archivist,
    clerk: impl FnOnce(Sender<Told>) -> Clerk,
    (crew, wiring): (Crew, &Wiring),
    ranks: &RankService,
    hand: Option<Choose>,
) -> Result<Parts, RunError> {
    if let Some(choose) = hand {
        return Ok(by_hand(archivist, clerk, wiring, ranks, choose));
    }
    let (archivist, to_archive, tokens) = archivist.start()?;
    let (clerk, outputs) = clerk(to_archive.clone()).start()?;
    let workers = Workers::start(crew, wiring, ranks.clone(), &outputs).map_err(RunError::Worker)?;
    Ok((workers, outputs, to_archive, tokens, Behind::Threads { clerk, archivist }))
}

fn by_hand(
    archivist: Archivist,
    clerk: impl FnOnce(Sender<Told>) -> Clerk,
    wiring: &Wiring,
    ranks: &RankService,
    choose: Choose,
) -> Parts {
    let ((outputs, inbox), (to_archive, told), (token, tokens)) = (unbounded(), unbounded(), unbounded());
    let (workers, worker) = Workers::by_hand(wiring, ranks, &outputs);
    let clerk = clerk(to_archive.clone());
    let backstage = Backstage { worker, clerk, outputs: inbox, archivist, told, token, choose, failed: None };
    (workers, outputs, to_archive, tokens, Behind::Hand(Rc::new(RefCell::new(backstage))))
}

impl Backstage {
    /// One step of somebody who has something to do; false where nobody has, or somebody has failed.
    pub fn step(&mut self) -> bool {
        let ready = [
            (Step::Worker, self.worker.has_work()),
            (Step::Clerk, !self.outputs.is_empty()),
            (Step::Archivist, !self.told.is_empty()),
        ];
        let ready: Vec<Step> = ready.into_iter().filter(|(_, has)| *has).map(|(step, _)| step).collect();
        if self.failed.is_some() || ready.is_empty() {
            return false;
        }
        let step = (self.choose)(&ready);
        if let Err(failed) = self.one(step) {
            self.failed = Some(failed);
        }
        self.failed.is_none()
    }

    fn one(&mut self, step: Step) -> Result<(), RunError> {
        match step {
            Step::Worker => self.worker.step(),
            Step::Clerk => {
                if let Ok(output) = self.outputs.try_recv() {
                    self.clerk.hear(output)?;
                }
            }
            Step::Archivist => {
                if let Ok(told) = self.told.try_recv() {
                    self.archivist.hear(told, &self.token)?;
                }
            }
        }
        Ok(())
    }

    /// Why somebody failed, once.
    pub fn failed(&mut self) -> Option<RunError> {
        self.failed.take()
    }

    /// What came out otherwise than the ledger has it, so far.
    pub fn divergences(&self) -> u64 {
        self.clerk.report().divergences
    }

    fn finish(mut self) -> Result<(Report, Counts), RunError> {
        while self.step() {}
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        self.worker.finish();
        for output in self.outputs.try_iter() {
            self.clerk.hear(output)?;
        }
        for told in self.told.try_iter() {
            self.archivist.hear(told, &self.token)?;
        }
        Ok((self.clerk.report(), self.archivist.into_counts()))
    }
}
