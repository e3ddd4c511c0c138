//! Reopen: a run that is over takes one epoch more, in which people are heard and what they approved is carried out.
//!
//! In: a finished archive, what it was made by, and epochs to add. Out: the rows of those epochs.
//! All that was is computed again first, from the archive's own record: nothing of it is written or called, and what does not
//! come out as the ledger and the decisions have it is counted.
//! State: that of a run of one worker, with one epoch under way.

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::archivist::Told;
use super::clerk::{Clerk, UnderWay};
use super::crier::Criers;
use super::dataflow::{Output, Span};
use super::log::STATE_FOLDER;
use super::metrics::Metrics;
use super::revise::{Past, revised};
use super::run::{Batch, RunError, kill_switch, wiring};
use super::scores;
use super::unsettled::Unsettled;
use super::workers::{Crew, Workers};
use crate::act::{Common, Desk, Executor};
use crate::archive::{Reader, Rows};
use crate::plan::catalog::Plan;
use crate::plan::policy::Act;
use crate::rank::service::Gone;
use crate::rank::{RankService, Ranker};
use crate::record::{DecisionId, Epoch, NOTHING_SETTLED, Names, Tick};
use crate::replay::epochs::{Recorded, acts};
use crate::replay::set::FeedError;

/// Records of an epoch, while what was is computed again.
const BATCH: usize = 10_000;

/// What a finished archive was made by.
pub struct Means {
    /// The plan, its executor as the run had it.
    pub plan: Arc<Plan>,
    /// Strings.
    pub names: Arc<Names>,
    /// Any model: what was asked then is not asked again.
    pub ranker: Ranker,
    /// What carries out actions.
    pub executor: Executor,
    /// Where its ledger lies for all machines, if it does.
    pub ledger: Option<Common>,
}

/// Why a finished run could not be taken up.
#[derive(Debug, thiserror::Error)]
pub enum ReopenError {
    /// Its threads or its ledger.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Its archive.
    #[error(transparent)]
    Feed(#[from] FeedError),
}

/// A finished run, computed again to where it ended.
pub struct Reopened {
    reader: Reader,
    act: Act,
    acted: Tick,
    unsettled: Unsettled,
    workers: Workers,
    outputs: Sender<Output>,
    inbox: Receiver<Output>,
    clerk: Clerk,
    told: Receiver<Told>,
    epoch: Epoch,
}

impl Reopened {
    /// Computes a run again; also whether `decision` stands at its end, where one is asked for.
    pub fn open(
        archive: &Path,
        means: Means,
        decision: Option<DecisionId>,
    ) -> Result<(Reopened, bool), ReopenError> {
        let Means { plan, names, ranker, executor, ledger } = means;
        let state = archive.join(STATE_FOLDER);
        let reader = Reader::open(archive, Arc::clone(&names)).map_err(FeedError::Archive)?;
        let recall = scores::recall(&reader, &plan.playbooks).map_err(FeedError::Archive)?;
        let act = acts(archive, plan.policy.act).map_err(FeedError::Log)?;
        let wiring = wiring(&plan, &names, act, Span::Process);
        let simulated = matches!(executor, Executor::Simulate(_));
        let ruled_by = (Arc::clone(&wiring.proposing.playbooks), Arc::clone(&wiring.proposing.policy));
        let desk =
            Desk::reopen((&state, ledger), executor, ruled_by, Arc::clone(&names)).map_err(RunError::Desk)?;
        let (to_archive, told) = unbounded();
        let clerk = Clerk {
            metrics: Metrics::default(),
            desk,
            archive: to_archive,
            plan_hash: names.intern(&plan.hash),
            simulated,
            kill: kill_switch(archive),
            criers: Criers::default(),
            asks: None,
            withdrawals: None,
            logged: Epoch::MAX,
            began: 0,
            under_way: UnderWay::default(),
        };
        let model = names.intern(&ranker.version());
        let service = RankService::start(ranker, model, Some(recall)).map_err(RunError::Thread)?;
        let (outputs, inbox) = unbounded();
        let workers =
            Workers::start(Crew::Alone(1), &wiring, service.clone(), &outputs).map_err(RunError::Worker)?;
        let acted = NOTHING_SETTLED;
        let unsettled = Unsettled::new(act);
        let mut run =
            Reopened { reader, act, acted, unsettled, workers, outputs, inbox, clerk, told, epoch: 0 };
        let mut feed = Recorded::open(archive, &state, &names, (act, BATCH), true)?;
        let mut stands = decision.is_none();
        while let Some(mut batch) = feed.pull()? {
            let promotes = batch.promotes.take().map(|model| names.intern(&model));
            for rows in run.turn(batch)? {
                if let Rows::Decisions(rows) = rows {
                    let said = rows.iter().rfind(|row| Some(row.decision.id) == decision);
                    stands = said.map_or(stands, |row| row.superseded_by.is_none());
                }
            }
            let gone = |gone: Gone| RunError::Worker(gone.to_string());
            promotes.map_or(Ok(()), |model| service.recalls(model)).map_err(gone)?;
        }
        run.clerk.desk.go_on();
        Ok((run, stands))
    }

    /// What came out otherwise than it is recorded.
    #[must_use]
    pub fn divergences(&self) -> u64 {
        self.clerk.desk.divergences()
    }

    /// Takes an epoch; its rows.
    pub fn turn(&mut self, mut batch: Batch) -> Result<Vec<Rows>, ReopenError> {
        self.epoch += 1;
        let epoch = self.epoch;
        let ended = || RunError::Worker("the worker ended".to_owned());
        let turn = batch.turn(epoch, self.act, self.acted);
        let listed = batch.take_listed();
        if !batch.verdicts.is_empty() {
            self.outputs.send(Output::Verdicts(epoch, batch.verdicts)).map_err(|_| ended())?;
        }
        if !batch.reported.is_empty() {
            self.outputs.send(Output::Reported(epoch, batch.reported)).map_err(|_| ended())?;
        }
        if !batch.approvals.is_empty() {
            let approvals = Output::Approvals(epoch, batch.approvals.clone());
            self.outputs.send(approvals).map_err(|_| ended())?;
        }
        // What was written before the word was taken then, in the archive itself.
        let was = batch.was.unwrap_or(epoch);
        let past = Past { reader: &self.reader, unsettled: &self.unsettled, epoch: was, acted: self.acted };
        let revisions =
            revised(past, (&batch.unlinks, &batch.withdrawals), listed).map_err(RunError::Revise)?;
        self.acted = turn.acts;
        let alerts = self.unsettled.take(batch.alerts.into_iter().map(Arc::new).collect(), turn.settled);
        if !self.workers.feed(turn, alerts, batch.context, batch.approvals, revisions) {
            return Err(ended().into());
        }
        loop {
            let output = self.inbox.recv().map_err(|_| ended())?;
            let done = matches!(&output, Output::Done(turn) if turn.epoch == epoch);
            self.clerk.hear(output)?;
            if done {
                break;
            }
        }
        let rows = self.told.try_iter().filter_map(|told| match told {
            Told::Rows(_, rows) => Some(rows),
            Told::Alerts(..) | Told::Took(_) | Told::Kept(_) | Told::Done(_) | Told::Flush(_) | Told::End => {
                None
            }
        });
        let inputs = Some(Rows::Inputs(batch.inputs)).filter(|rows| !rows.is_empty());
        Ok(rows.chain(inputs).collect())
    }

    /// Ends in order.
    pub fn finish(self) -> Result<(), ReopenError> {
        Ok(self.workers.finish().map_err(RunError::Worker)?)
    }
}
