//! A run: the threads around the dataflow, started, fed epoch by epoch, and ended in order.
//!
//! feed -> workers -> clerk (desk) -> archivist (-> sinks) -> tokens back to the feed, so that no more than a few epochs are under way.
//! A run by hand ([`Backstage`]) has no threads: whoever feeds it says whose turn it is.

mod error;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

pub use self::error::RunError;
use super::archivist::Told;
use super::beginning::{Beginning, Remembered};
use super::crier::Criers;
use super::dataflow::{Output, Span, Wiring};
use super::live::SourceKept;
use super::log::{Log, LoggedEpoch, LoggedPart, STATE_FOLDER};
use super::metrics::Metrics;
use super::revise::{Past, revised};
use super::sighter::Question;
use super::sinks::{SinkSettings, Sinks};
use super::summary::{Counts, Summary};
use super::unsettled::Unsettled;
use super::withdrawals::Withdrawer;
use super::workers::{Crew, Workers};
use crate::act::{Common, Executor};
use crate::archive::{Reader, Rows, TurnRow};
use crate::correlate::group::Compiled;
use crate::correlate::revision::{Listed, Revised};
use crate::flow::Turn;
use crate::flow::kept::Kept;
use crate::plan::catalog::Plan;
use crate::plan::policy::Act;
use crate::rank::judge::Proposing;
use crate::rank::{RankService, Ranker, Recall};
use crate::record::input::{Approval, Reported};
use crate::record::{
    Alert, ContextRow, Diff, Entity, Epoch, EpochRow, InputRow, Millis, NOTHING_SETTLED, Names, Observed,
    Reject, Sym, Tick, Unlink, Verdict, Withdrawal,
};

use crate::replay::set::parts;

/// Epochs under way at most, where they are large: so many records in all, but for one that has more by itself. Of small
/// ones there may be more, so that no record of a live run waits while the archive writes a part; of very large ones there are
/// two, one that is worked on and one that waits for it.
const UNDER_WAY: usize = 4;
const UNDER_WAY_RECORDS: u64 = 8_000;
const UNDER_WAY_LARGE: usize = 2;
const UNDER_WAY_LARGE_RECORDS: u64 = 16_000;
const UNDER_WAY_MAX: usize = 1_024;

/// What one epoch takes in. The feed decides its bounds; ticks are already given.
#[derive(Default)]
pub struct Batch {
    /// Alerts, with their ticks.
    pub alerts: Vec<Alert>,
    /// Alerts that other processes of a cluster have read, and have, where the policy acts early.
    pub elsewhere: Vec<Alert>,
    /// What could not become one.
    pub rejects: Vec<Reject>,
    /// Words that cannot be understood: no records of a source, and counted as ones of their topic.
    pub refused: Vec<Reject>,
    /// What records of no concern name.
    pub observed: Vec<Observed>,
    /// What was taken of each partition; the epoch is filled in.
    pub parts: Vec<EpochRow>,
    /// No record will come with a lower tick.
    pub settled: Tick,
    /// The input has ended.
    pub last: bool,
    /// Alerts whose tick was clamped.
    pub late: u64,
    /// Changes of context tables.
    pub context: Vec<((Entity, ContextRow), Diff)>,
    /// People's answers.
    pub approvals: Vec<Approval>,
    /// What came of orders that were given before.
    pub reported: Vec<Reported>,
    /// Analysts' words, with whose incident each is on.
    pub verdicts: Vec<(Verdict, Sym)>,
    /// What an analyst said is not related; one a batch, which takes nothing else.
    pub unlinks: Vec<Unlink>,
    /// Findings that were acted on and are withdrawn, each with whose it is; the batch takes nothing else.
    pub withdrawals: Vec<(Withdrawal, Sym)>,
    /// Which model is put to use after it.
    pub promotes: Option<String>,
    /// Where the batch was an epoch of another archive: which.
    pub was: Option<Epoch>,
    /// Rows for the `inputs` table; the epoch is filled in.
    pub inputs: Vec<InputRow>,
    /// What the sources remember at its end, where all that is remembered then is to be kept.
    pub keeps: Option<Vec<SourceKept>>,
    /// When the oldest of its records was appended to its topic, or came; for those alone who measure.
    pub appended: Option<Millis>,
}

impl Batch {
    /// What the log keeps of it.
    #[must_use]
    pub fn logged(&self, epoch: Epoch, names: &Names) -> LoggedEpoch {
        let part = |part: &EpochRow| LoggedPart {
            source: names.get(part.source),
            partition: part.partition,
            records: part.records,
            first: part.from,
            next: part.to + 1,
        };
        let parts = self.parts.iter().map(part).collect();
        LoggedEpoch { epoch, settled: self.settled, last: self.last, parts }
    }

    /// The turn that ends its epoch, where everything below `acted` was acted on before.
    pub(super) fn turn(&self, epoch: Epoch, act: Act, acted: Tick) -> Turn {
        let acts = match act {
            Act::Settled => self.settled,
            Act::Early => {
                let came = self.alerts.iter().chain(&self.elsewhere).map(|alert| alert.tick + 1);
                came.fold(acted.max(self.settled), Tick::max)
            }
        };
        Turn { epoch, settled: self.settled, acts, last: self.last, keeps: self.keeps.is_some() }
    }

    /// Changes of the list of entities that never link, out of those of the tables.
    pub(super) fn take_listed(&mut self) -> Vec<Listed> {
        let context = std::mem::take(&mut self.context);
        let is_listed =
            |((_, row), _): &((Entity, ContextRow), Diff)| row.known == crate::record::Known::NeverLink;
        let (listed, others): (Vec<_>, Vec<_>) = context.into_iter().partition(is_listed);
        self.context = others;
        listed.into_iter().map(|((entity, row), diff)| (row.tenant, entity, diff)).collect()
    }
}

/// What a run is made from.
pub struct Settings {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Strings.
    pub names: Arc<Names>,
    /// Where the archive lies.
    pub archive: PathBuf,
    /// Dataflow workers.
    pub crew: Crew,
    /// The model.
    pub ranker: Ranker,
    /// What an earlier run's model said, which is not asked again.
    pub recall: Option<Recall>,
    /// Of a cluster, whether this process judges for all: the others know nothing of recalled or other models.
    pub first_judges: bool,
    /// What carries out actions.
    pub executor: Executor,
    /// Where the ledger lies for all machines; none where it lies beside the archive alone.
    pub ledger: Option<Common>,
    /// Where incidents' indicators are asked after; none where nothing is looked up.
    pub asks: Option<Sender<Question>>,
    /// Where it is said what was acted on early and is withdrawn; none where that is read from a record.
    pub withdrawals: Option<Withdrawer>,
    /// When alerts are acted on: what the policy says in a live run and in the replay of its log, else when they are settled.
    pub act: Act,
    /// Whether nothing is done in an epoch before the log has it: whoever feeds the run says so by [`Run::logged`].
    pub journaled: bool,
    /// How far an earlier process has published.
    pub committed: Epoch,
    /// Who says findings and decisions at once.
    pub criers: Criers,
    /// Topics that are told what the archive is; only where the run is `journaled`.
    pub sinks: Option<SinkSettings>,
    /// What it begins with; none where it begins at the beginning.
    pub beginning: Option<Beginning>,
    /// What an operator sees while it goes on.
    pub metrics: Metrics,
}

/// A run under way.
pub struct Run {
    workers: Workers,
    ranks: RankService,
    outputs: Sender<Output>,
    archive: Sender<Told>,
    tokens: Receiver<Turn>,
    behind: Behind,
    sinks: Option<Sinks>,
    names: Arc<Names>,
    /// Plan and model in force.
    stamp: (Sym, Sym),
    epoch: Epoch,
    /// Records of each epoch under way.
    under_way: VecDeque<u64>,
    late: u64,
    correlations: Arc<[Compiled]>,
    act: Act,
    journaled: bool,
    /// The archive, and the tick below which all was acted on, for those who revise.
    dir: PathBuf,
    acted: Tick,
    unsettled: Unsettled,
    metrics: Metrics,
    /// Whether the last epoch of all was taken.
    ended: bool,
    failed: Option<RunError>,
}

impl Run {
    /// Begins where an earlier run kept what it remembered, at the end of `turn`'s epoch: the context as it was then goes to
    /// the operators, which have the rest. False where the run has failed.
    #[must_use]
    pub fn begin_at(&mut self, turn: Turn, mut context: Batch) -> bool {
        // What never links is remembered by those who link.
        drop(context.take_listed());
        self.under_way.push_back(0);
        let turn = Turn { last: false, keeps: false, ..turn };
        self.workers.feed(turn, Vec::new(), context.context, Vec::new(), Vec::new())
            && (!self.journaled || self.logged(turn.epoch))
    }

    /// The strings of this run.
    #[must_use]
    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// The model in force, as decisions name it.
    #[must_use]
    pub fn model(&self) -> String {
        self.names.get(self.stamp.1)
    }

    /// Puts another model to use: it judges whatever is judged from the next epoch on. False where the run has failed.
    #[must_use]
    pub fn promote(&mut self, ranker: Ranker) -> bool {
        // What was taken in is the other one's to judge.
        let judged = self.drain();
        let model = self.in_force(&ranker.version());
        judged && self.ranks.promote(ranker, model).is_ok()
    }

    /// From the next epoch on what this model said is recalled; what it did not say the run's own model does. False where the run
    /// has failed.
    #[must_use]
    pub fn recalls(&mut self, model: &str) -> bool {
        let judged = self.drain();
        let model = self.in_force(model);
        judged && self.ranks.recalls(model).is_ok()
    }

    fn in_force(&mut self, model: &str) -> Sym {
        self.stamp.1 = self.names.intern(model);
        self.metrics.judges(model);
        self.stamp.1
    }

    /// When alerts are acted on.
    #[must_use]
    pub fn act(&self) -> Act {
        self.act
    }

    /// Whether nothing is done in an epoch before the log has it.
    #[must_use]
    pub fn is_journaled(&self) -> bool {
        self.journaled
    }

    /// Whether it can go on no further, and `finish` will say why, though nothing was to be taken in.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        // None of its threads ends before it is finished.
        self.behind.has_ended() || self.sinks.as_ref().is_some_and(Sinks::has_failed)
    }

    /// The last epoch begun.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The log has epochs through this one, durably; false where the run has failed.
    #[must_use]
    pub fn logged(&self, epoch: Epoch) -> bool {
        self.outputs.send(Output::Logged(epoch)).is_ok()
    }

    /// Takes in one epoch, when there is room for it; false where the run has failed and `finish` will say why.
    #[must_use]
    pub fn take(&mut self, batch: Batch) -> bool {
        while self.tokens.try_recv().is_ok() {
            self.under_way.pop_front();
        }
        while self.is_full() {
            if self.behind.wait_for(&self.tokens).is_none() {
                return false;
            }
            self.under_way.pop_front();
        }
        self.begin(batch)
    }

    /// Waits until everything taken in so far is written; false where the run has failed.
    #[must_use]
    pub fn drain(&mut self) -> bool {
        while !self.under_way.is_empty() {
            if self.behind.wait_for(&self.tokens).is_none() {
                return false;
            }
            self.under_way.pop_front();
        }
        true
    }

    fn is_full(&self) -> bool {
        let (epochs, records) = (self.under_way.len(), self.under_way.iter().sum::<u64>());
        let bounds = [(UNDER_WAY, UNDER_WAY_RECORDS), (UNDER_WAY_LARGE, UNDER_WAY_LARGE_RECORDS)];
        epochs >= UNDER_WAY_MAX || bounds.iter().any(|(few, many)| epochs >= *few && records >= *many)
    }

    /// Has everything taken in so far written and seen; false where the run has failed.
    #[must_use]
    pub fn flush(&mut self) -> bool {
        self.drain() && self.archive.send(Told::Flush(None)).is_ok()
    }

    /// Has everything taken in so far seen when this returns; false where the run has failed.
    #[must_use]
    pub fn show(&mut self) -> bool {
        let (who, seen) = unbounded();
        self.drain()
            && self.archive.send(Told::Flush(Some(who))).is_ok()
            && self.behind.wait_for(&seen).is_some()
    }

    /// What is taken apart, as it was written in the epochs before; none where the run has failed.
    fn revisions(&mut self, batch: &mut Batch) -> Option<Vec<Revised>> {
        let listed = batch.take_listed();
        // Before the first epochs there is nothing to be taken apart.
        let says = !batch.unlinks.is_empty() || !batch.withdrawals.is_empty();
        let reads = says || (self.acted > NOTHING_SETTLED && !listed.is_empty());
        if !reads {
            return Some(if listed.is_empty() { Vec::new() } else { vec![Revised::Listed(listed)] });
        }
        if !self.show() {
            return None;
        }
        let (epoch, acted, unsettled) = (self.epoch, self.acted, &self.unsettled);
        let read = Reader::open(&self.dir, Arc::clone(&self.names)).and_then(|reader| {
            let words = (&batch.unlinks[..], &batch.withdrawals[..]);
            revised(Past { reader: &reader, unsettled, epoch, acted }, words, listed)
        });
        read.map_err(|error| self.failed = Some(RunError::Revise(error))).ok()
    }

    fn begin(&mut self, mut batch: Batch) -> bool {
        self.epoch += 1;
        let Some(revisions) = self.revisions(&mut batch) else { return false };
        self.late += batch.late;
        let epoch = self.epoch;
        self.ended = batch.last;
        let turn = batch.turn(epoch, self.act, self.acted);
        self.acted = turn.acts;
        self.metrics.took(epoch, turn.settled, batch.appended, self.late);
        let took = batch.logged(epoch, &self.names);
        let (plan_hash, model_version) = self.stamp;
        let turn_row =
            |part: EpochRow| TurnRow { turn: EpochRow { epoch, ..part }, plan_hash, model_version };
        batch.parts.extend(parts(&[], &batch.refused, batch.settled.max(0)));
        batch.rejects.append(&mut batch.refused);
        let records = batch.parts.iter().map(|part| part.records).sum::<u64>();
        let rows = [
            Rows::Rejects(batch.rejects),
            Rows::Observed(batch.observed),
            Rows::Epochs(batch.parts.into_iter().map(turn_row).collect()),
            Rows::Inputs(batch.inputs.into_iter().map(|input| InputRow { epoch, ..input }).collect()),
        ];
        // Where whoever feeds it keeps the log, it has the epoch before the archive does.
        let mut sent = self.journaled || self.archive.send(Told::Took(took)).is_ok();
        for rows in rows.into_iter().filter(|rows| !rows.is_empty()) {
            sent &= self.archive.send(Told::Rows(epoch, rows)).is_ok();
        }
        if !batch.verdicts.is_empty() {
            sent &= self.outputs.send(Output::Verdicts(epoch, batch.verdicts)).is_ok();
        }
        if !batch.reported.is_empty() {
            sent &= self.outputs.send(Output::Reported(epoch, batch.reported)).is_ok();
        }
        if !batch.approvals.is_empty() {
            sent &= self.outputs.send(Output::Approvals(epoch, batch.approvals.clone())).is_ok();
        }
        let [alerts, elsewhere] =
            [batch.alerts, batch.elsewhere].map(|alerts| alerts.into_iter().map(Arc::new).collect());
        // From here on an alert is shared, not copied: stages and archive read the same one.
        let alerts = self.unsettled.take(alerts, turn.settled);
        drop(self.unsettled.take(elsewhere, turn.settled));
        if let Some(sources) = batch.keeps {
            sent &= self.archive.send(Told::Kept(self.remembered(epoch, sources))).is_ok();
        }
        self.under_way.push_back(records.max(alerts.len() as u64));
        sent && self.workers.feed(turn, alerts, batch.context, batch.approvals, revisions)
    }

    /// What the run itself remembers at an epoch's end.
    fn remembered(&self, epoch: Epoch, sources: Vec<SourceKept>) -> Kept {
        let remembered = Remembered {
            sources,
            unsettled: self.unsettled.iter().map(Arc::clone).collect(),
            late: self.late,
            without_number: self.correlations.iter().map(Compiled::without_number).collect(),
        };
        Kept::of("run", (epoch, 0), &self.names, |items| items.put(&remembered))
    }

    /// Lets everything end in order; the summary, or the first thing that went wrong.
    pub fn finish(self) -> Result<(Summary, Counts), RunError> {
        let worked = self.workers.finish();
        drop((self.outputs, self.archive));
        let (report, counts) = self.behind.finish()?;
        let unlike = self.sinks.map_or(Ok(0), Sinks::finish)?;
        worked.map_err(RunError::Worker)?;
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let mut summary = Summary::of(&counts, self.late, report.divergences + unlike);
        summary.without_number = self.correlations.iter().map(Compiled::without_number).sum();
        if !self.ended {
            summary.unsettled = summary.unaccounted().max(0).cast_unsigned();
        }
        if summary.unaccounted() != 0 {
            // A record that is neither alert, duplicate, reject nor ignored is a divergence like any other.
            summary.divergences += summary.unaccounted().unsigned_abs();
        }
        Ok((summary, counts))
    }
}

mod start;

use start::Behind;
pub use start::{Backstage, Choose, Step};

/// What the dataflow is made from: the same in every process of a cluster.
#[must_use]
pub fn wiring(plan: &Plan, names: &Arc<Names>, act: Act, span: Span) -> Wiring {
    Wiring {
        span,
        past: None,
        act,
        link: plan.pipeline.link.clone(),
        correlations: Compiled::all(&plan.correlations, names),
        dedup_s: plan.dedup_s,
        proposing: Proposing {
            playbooks: plan.playbooks.clone().into(),
            policy: Arc::new(plan.policy.clone()),
            names: Arc::clone(names),
        },
        ends_at: plan.pipeline.ends_at,
    }
}

/// What stands in an archive's state folder, for those who ask whether there is a run in it.
#[must_use]
pub fn has_log(archive: &Path) -> bool {
    Log::path_of(archive).is_file()
}

/// While this file stands, nothing is begun: the kill switch that anybody at the machine can throw.
#[must_use]
pub fn kill_switch(archive: &Path) -> PathBuf {
    archive.join(STATE_FOLDER).join("KILL")
}
