//! The clerk: the thread between the dataflow and the world. It hands each epoch's rulings to the desk when the epoch
//! is complete, and everything to the archivist.
//!
//! In: what leaves the dataflow. Out: rows for the archive, in which a superseded decision is told with its successor.
//! Where it is acted early, an epoch's rulings hang on where it ends: they are handed over once the log has that, durably.
//! State: what the current epochs hand to the desk; decisions that may still be superseded, for a week.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustc_hash::FxHashMap;

use super::archivist::Told;
use super::crier::Criers;
use super::dataflow::Output;
use super::journal::received;
use super::metrics::Metrics;
use super::run::RunError;
use super::sighter::{Question, ask};
use super::withdrawals::Withdrawer;
use crate::act::{Desk, Handed};
use crate::archive::{DecisionRow, Rows, VerdictRow};
use crate::flow::Turn;
use crate::flow::kept::Kept;
use crate::record::{Decision, DecisionId, Epoch, Finding, IncidentState, Sym, Tick};

/// Decisions older than this are superseded no more.
const REMEMBERED_S: Tick = 8 * 24 * 3600;

/// The thread's work.
pub struct Clerk {
    /// Carries out what was ruled.
    pub desk: Desk,
    /// To the archivist.
    pub archive: Sender<Told>,
    /// The plan in force.
    pub plan_hash: Sym,
    /// Whether the desk wants memberships.
    pub simulated: bool,
    /// While this file stands, nothing is begun.
    pub kill: PathBuf,
    /// Who says findings and decisions at once.
    pub criers: Criers,
    /// Where indicators are asked after; none where nothing is looked up.
    pub asks: Option<Sender<Question>>,
    /// Where it is said what was withdrawn; none where that is read from a record.
    pub withdrawals: Option<Withdrawer>,
    /// The epoch through which the log is durable, where what is done depends on its epochs; else the greatest.
    pub logged: Epoch,
    /// The epoch at whose end the run began, as it was kept: all that follows from it is done.
    pub began: Epoch,
    /// What is known of the epochs under way.
    pub under_way: UnderWay,
    /// What an operator sees.
    pub metrics: Metrics,
}

/// What the clerk has been handed, and the decisions that may still be superseded.
#[derive(Default)]
pub struct UnderWay {
    handed: BTreeMap<Epoch, Handed>,
    /// Findings that were acted on and are withdrawn.
    withdrawn: BTreeMap<Epoch, Vec<Finding>>,
    /// Turns that the dataflow is done with.
    done: VecDeque<Turn>,
    decisions: FxHashMap<DecisionId, Decision>,
    swept_at: usize,
}

impl UnderWay {
    /// Decisions of before may still be superseded.
    pub(super) fn know(&mut self, decisions: Vec<Decision>) {
        self.decisions.extend(decisions.into_iter().map(|decision| (decision.id, decision)));
    }
}

/// What the clerk knows when all is done.
pub struct Report {
    /// Recomputed actions that differ from those in the ledger.
    pub divergences: u64,
    /// Decisions with an action in doubt.
    pub in_doubt: u64,
}

/// The thread, and what it is told by.
pub type Started = (thread::JoinHandle<Result<Report, RunError>>, Sender<Output>);

/// Tells the archivist when the clerk ends, in whatever way: else the feed would wait for epochs that never complete.
struct Ending(Sender<Told>);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.send(Told::End);
    }
}

impl Clerk {
    /// Starts the thread: it, and by what it is told.
    pub fn start(self) -> io::Result<Started> {
        let (outputs, inbox) = unbounded();
        Ok((thread::Builder::new().name("act".into()).spawn(move || self.run(&inbox))?, outputs))
    }

    /// Works until nobody sends any more.
    pub fn run(mut self, inbox: &Receiver<Output>) -> Result<Report, RunError> {
        let _ending = Ending(self.archive.clone());
        for output in inbox {
            self.hear(output)?;
        }
        Ok(self.report())
    }

    /// What it knows when all is done.
    #[must_use]
    pub fn report(&self) -> Report {
        let in_doubt = self.desk.decisions_in_doubt().len() as u64;
        Report { divergences: self.desk.divergences(), in_doubt }
    }

    /// Takes one thing that left the dataflow.
    pub fn hear(&mut self, output: Output) -> Result<(), RunError> {
        match output {
            Output::Rows(epoch, rows) => {
                if let Rows::Matches(findings) = &rows {
                    self.criers.findings(findings);
                }
                let simulated = self.simulated;
                note(simulated, &rows, self.under_way.handed.entry(epoch).or_default());
                if let (Some(asks), Rows::Incidents(versions)) = (&self.asks, &rows) {
                    ask(asks, versions);
                }
                self.tell(epoch, rows);
            }
            Output::Alerts(epoch, many) => {
                let _ = self.archive.send(Told::Alerts(epoch, many));
            }
            Output::Ruled(epoch, ruled) => {
                let ruled = Arc::unwrap_or_clone(ruled);
                self.under_way.handed.entry(epoch).or_default().ruled.push(ruled);
            }
            Output::Verdicts(epoch, verdicts) => {
                let entry = self.under_way.handed.entry(epoch).or_default();
                entry.verdicts.extend(verdicts.into_iter().map(|(verdict, tenant)| (verdict, tenant, 0)));
            }
            Output::Approvals(epoch, approvals) => {
                let entry = self.under_way.handed.entry(epoch).or_default();
                entry.approvals.extend(approvals.into_iter().map(|approval| (approval, 0)));
            }
            Output::Reported(epoch, reported) => {
                let entry = self.under_way.handed.entry(epoch).or_default();
                entry.reported.extend(reported.into_iter().map(|reported| (reported, 0)));
            }
            Output::Grounds(epoch, grounds) => {
                self.under_way.handed.entry(epoch).or_default().grounds.extend(grounds);
            }
            Output::Withdrawn(epoch, findings) => {
                self.under_way.withdrawn.entry(epoch).or_default().extend(findings);
            }
            Output::Kept(kept) => {
                let _ = self.archive.send(Told::Kept(kept));
            }
            Output::Done(turn) if turn.epoch <= self.began => {
                let _ = self.archive.send(Told::Done(turn));
            }
            Output::Done(turn) => {
                self.under_way.done.push_back(turn);
                self.go_on()?;
            }
            Output::Logged(epoch) => {
                self.logged = self.logged.max(epoch);
                self.go_on()?;
            }
        }
        Ok(())
    }

    /// Takes the turns that are done, as far as the log has their epochs.
    fn go_on(&mut self) -> Result<(), RunError> {
        let logged = self.logged;
        while let Some(turn) = self.under_way.done.pop_front_if(|turn| turn.epoch <= logged) {
            let now = self.under_way.handed.remove(&turn.epoch).unwrap_or_default();
            self.turn(turn, now)?;
            let UnderWay { decisions, swept_at, .. } = &mut self.under_way;
            if decisions.len() > (*swept_at).max(4096) {
                decisions.retain(|_, decision| decision.tick + REMEMBERED_S >= turn.settled);
                *swept_at = decisions.len() * 2;
            }
        }
        Ok(())
    }

    fn turn(&mut self, turn: Turn, mut handed: Handed) -> Result<(), RunError> {
        self.withdraw(turn.epoch)?;
        handed.ruled.sort_unstable_by_key(|ruled| (ruled.decision.tick, ruled.decision.id));
        self.criers.decisions(&handed.ruled);
        self.metrics.decided(turn.epoch, handed.ruled.len());
        let ruled = handed.ruled.iter().map(|ruled| ruled.decision.clone()).collect();
        let rows = self.decision_rows(ruled);
        self.tell(turn.epoch, Rows::Decisions(rows));
        for (_, _, tick) in &mut handed.verdicts {
            *tick = turn.settled;
        }
        for (_, tick) in &mut handed.approvals {
            *tick = turn.settled;
        }
        for (_, tick) in &mut handed.reported {
            *tick = turn.settled;
        }
        let said = handed.verdicts.iter();
        let said = said.map(|(verdict, tenant, tick)| VerdictRow {
            verdict: verdict.clone(),
            tenant: *tenant,
            tick: *tick,
        });
        self.tell(turn.epoch, Rows::Verdicts(said.collect()));
        self.desk.halt_in(turn.epoch, self.kill.exists())?;
        self.desk.undo_before = if turn.settled < turn.acts { turn.settled } else { Tick::MAX };
        let done = self.desk.handle(turn.epoch, handed, turn.acts)?;
        self.tell_done(turn.epoch, done);
        if turn.last {
            let done = self.desk.finish(turn.acts)?;
            self.tell_done(turn.epoch, done);
        }
        self.metrics.acts(self.desk.unanswered(), self.desk.divergences());
        if turn.keeps {
            self.keep(turn);
        }
        // The archivist ends only with an error, which whoever started it will hear.
        let _ = self.archive.send(Told::Done(turn));
        Ok(())
    }

    /// Says what an epoch withdrew, before anything of the epoch is committed.
    fn withdraw(&mut self, epoch: Epoch) -> Result<(), RunError> {
        let withdrawn = self.under_way.withdrawn.remove(&epoch);
        if let (Some(findings), Some(withdrawals)) = (withdrawn, &self.withdrawals) {
            withdrawals.say(epoch, &findings, self.desk.names())?;
        }
        Ok(())
    }

    /// What is remembered here, beside the operators.
    fn keep(&mut self, turn: Turn) {
        let at = (turn.epoch, 0);
        let names = Arc::clone(self.desk.names());
        let desk = Kept::of("desk", at, &names, |items| self.desk.keep(items));
        let decisions = Kept::of("decisions", at, &names, |items| {
            items.put(&self.under_way.decisions.values().collect::<Vec<_>>());
        });
        for kept in [desk, decisions] {
            let _ = self.archive.send(Told::Kept(kept));
        }
    }

    /// Rows of decisions, and of those that they replace: of one turn's, one may replace another.
    fn decision_rows(&mut self, said: Vec<Decision>) -> Vec<DecisionRow> {
        let plan_hash = self.plan_hash;
        let row = |decision: Decision, superseded_by| DecisionRow { decision, superseded_by, plan_hash };
        let decisions = &mut self.under_way.decisions;
        decisions.extend(said.iter().map(|decision| (decision.id, decision.clone())));
        let replaced = said.iter().filter_map(|by| Some((by.supersedes?, by.id)));
        let replaced: Vec<DecisionRow> =
            replaced.filter_map(|(id, by)| Some(row(decisions.remove(&id)?, Some(by)))).collect();
        said.into_iter().map(|decision| row(decision, None)).chain(replaced).collect()
    }

    fn tell_done(&mut self, epoch: Epoch, done: crate::act::Rows) {
        let verdicts = done.verdicts.into_iter().filter_map(|verdict| {
            let outcome = done.outcomes.iter().find(|outcome| outcome.incident_id == verdict.incident_id)?;
            Some(VerdictRow { tenant: outcome.tenant, tick: outcome.tick, verdict })
        });
        let verdicts = verdicts.collect();
        let decisions = self.decision_rows(done.decisions);
        self.tell(epoch, Rows::Decisions(decisions));
        self.tell(epoch, Rows::Inputs(done.receipts.iter().map(received).collect()));
        self.tell(epoch, Rows::Actions(done.actions));
        self.tell(epoch, Rows::Verdicts(verdicts));
        self.tell(epoch, Rows::Outcomes(done.outcomes));
    }

    fn tell(&self, epoch: Epoch, rows: Rows) {
        if !rows.is_empty() {
            let _ = self.archive.send(Told::Rows(epoch, rows));
        }
    }
}

/// Copies what a simulated environment looks at.
fn note(simulated: bool, rows: &Rows, handed: &mut Handed) {
    if !simulated {
        return;
    }
    if let Rows::Members(members) = rows {
        handed.members.extend(members.iter().cloned());
    } else if let Rows::Incidents(versions) = rows {
        let closed = versions.iter().map(|row| &row.incident).filter(|i| i.state == IncidentState::Closed);
        handed.closed.extend(closed.map(|incident| (incident.id, incident.tenant, incident.tick)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::Executor;
    use crate::decide::fixture::shipped;

    #[test]
    fn what_is_replaced_in_its_own_turn_says_so_whatever_the_order_of_names() {
        let plan = shipped();
        let dir = tempfile::tempdir().unwrap();
        let (playbooks, policy) = (plan.playbooks.clone().into(), Arc::new(plan.policy.clone()));
        let desk =
            Desk::open((dir.path(), None), Executor::DryRun, (playbooks, policy), Arc::clone(&plan.names), 0);
        let mut clerk = Clerk {
            desk: desk.unwrap(),
            archive: crossbeam_channel::unbounded().0,
            plan_hash: Sym::EMPTY,
            simulated: false,
            kill: PathBuf::new(),
            criers: Criers::default(),
            asks: None,
            withdrawals: None,
            logged: Epoch::MAX,
            began: 0,
            under_way: UnderWay::default(),
            metrics: Metrics::default(),
        };
        let incident = plan.incident("a", 10, "T1021", "host:h1");
        let first = plan.executed(&incident, "ransomware-contain-host").decision;
        for (before, after) in [(1, 2), (4, 3)] {
            let before = Decision { id: DecisionId([before; 16]), ..first.clone() };
            let after =
                Decision { id: DecisionId([after; 16]), supersedes: Some(before.id), ..first.clone() };
            let mut said = vec![before.clone(), after.clone()];
            said.sort_unstable_by_key(|decision| decision.id);
            let rows = clerk.decision_rows(said);
            let replaced: Vec<_> = rows.iter().filter(|row| row.superseded_by == Some(after.id)).collect();
            assert_eq!((rows.len(), replaced.len()), (3, 1));
            assert_eq!(replaced[0].decision.id, before.id);
        }
    }
}
