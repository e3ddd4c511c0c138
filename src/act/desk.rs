//! The desk: from rulings to rows of actions and outcomes, in the order of event time, whatever the batching.
//!
//! In: rulings, memberships, closed incidents, verdicts, and the settled clock. Out: [`Rows`].
//! What happens is a queue of events ordered by (tick, kind, id): an event is processed once its tick is settled, so
//! batches of any size lead to the same rows. For executors within the process (dry run, simulation) rows are a
//! function of the input; a webhook's answers are inputs from then on, and the ledger remembers them with their tick.
//! A run that is recomputed finds its actions in the ledger and calls nothing twice.
//! State: runs under way, actions under way or holding an effect, standing effects: each dies when it is over.

mod doubt;
mod halt;
mod kept;
mod later;
mod life;
mod pending;
mod undo;

use pending::Pending;

pub use kept::Remembered;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::effects::{Effects, Key};
use super::executor::Executor;
use super::ledger::{Common, Entry, Known, Lease, Ledger, LedgerError, Resolved};
use super::order::Order;
use super::receipt::Receipt;
use super::stepper::Walk;
use crate::decide::{Ground, Ruled};
use crate::kafka::ProduceError;
use crate::plan::playbook::Playbook;
use crate::plan::policy::{Mode, Policy};
use crate::record::input::Reported;
use crate::record::{
    Action, ActionId, ActionStatus, Approval, Decision, DecisionId, Epoch, IncidentId, Member, Names,
    Outcome, Sym, Target, Tick, Verb, Verdict,
};
use crate::settle::Labels;

/// Why the desk can't go on. Nothing is called without a ledger.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The ledger's word.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Orders cannot be given.
    #[error("executor")]
    Orders(#[from] ProduceError),
}

/// What is handed to the desk in one turn.
#[derive(Clone, Debug, Default)]
pub struct Handed {
    /// Rulings, in any order.
    pub ruled: Vec<Ruled>,
    /// Memberships: only a simulation reads them, and only of attack alerts.
    pub members: Vec<Member>,
    /// Incidents that closed, with whose they are and when: only simulated analysts look at them.
    pub closed: Vec<(IncidentId, Sym, Tick)>,
    /// What analysts said, with whose incident it is on and the tick at which it came.
    pub verdicts: Vec<(Verdict, Sym, Tick)>,
    /// Executed rulings whose ground changed.
    pub grounds: Vec<Ground>,
    /// People's answers, with the tick at which they came: those on undoing are the desk's.
    pub approvals: Vec<(Approval, Tick)>,
    /// What came of orders that were given before, with the tick at which it came.
    pub reported: Vec<(Reported, Tick)>,
}

/// What came of a turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Rows of actions, in order.
    pub actions: Vec<Action>,
    /// Outcomes, in order.
    pub outcomes: Vec<Outcome>,
    /// What simulated analysts said.
    pub verdicts: Vec<Verdict>,
    /// What was heard from outside the process, in order, with whose it is.
    pub receipts: Vec<(Receipt, Sym)>,
    /// Rulings on undoing what stands on withdrawn ground, in order.
    pub decisions: Vec<Decision>,
}

/// An event's place: its tick, its kind, an id, a step.
type Place = (Tick, u8, [u8; 16], usize);
/// The last kind of a tick: answers from outside the process.
const ANSWERED: u8 = 8;

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Event {
    Begin(Ruled),
    Step {
        decision: DecisionId,
        step: usize,
    },
    Heard {
        id: ActionId,
        what: Heard,
    },
    Expiry {
        id: ActionId,
    },
    Review {
        incident: IncidentId,
        tenant: Sym,
    },
    Verdict {
        verdict: Verdict,
        tenant: Sym,
        tick: Tick,
    },
    Ground(Ground),
    Answer(Approval),
    Reported(Reported),
    /// No receipt came in its time.
    Silence {
        id: ActionId,
    },
}

/// How an action went.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Heard {
    /// A dry run: told, not done.
    Told,
    /// The effect that it joined stands, or failed.
    Joined { stands: bool },
    /// The executor's word.
    Answer(Answer),
    /// A person's word on an action in doubt.
    ByHand { succeeded: bool, by: String },
}

/// A ruling under way.
#[derive(Serialize, Deserialize)]
struct Run {
    decision: Decision,
    /// Its place in the plan, found again by id and hash where it was kept.
    #[serde(skip)]
    playbook: usize,
    book: (Sym, [u8; 32]),
    mode: Mode,
    targets: BTreeMap<usize, Vec<Target>>,
    walk: Walk,
    /// Steps in the queue.
    due: usize,
}

/// An action under way or holding an effect.
#[derive(Serialize, Deserialize)]
struct Live {
    order: Order,
    tenant: Sym,
    step: usize,
    key: Key,
    /// Rows so far.
    seq: u32,
    /// Outcomes in the ledger so far.
    outcomes: u32,
    attempts: u32,
    /// What lifts it, if anything does: as the plan said when it was ordered.
    undo: Option<Verb>,
    /// Its ground is gone: it holds nothing any more.
    withdrawn: bool,
}

/// Ticks for which an effect without a time to live is watched, so that others may join it.
const WATCH: Tick = 30 * 24 * 3600;

/// The desk.
pub struct Desk {
    executor: Executor,
    playbooks: Arc<[Playbook]>,
    names: Arc<Names>,
    ledger: Ledger,
    lease: Arc<Lease>,
    labels: Labels,
    effects: Effects,
    runs: BTreeMap<DecisionId, Run>,
    actions: BTreeMap<ActionId, Live>,
    /// Undoing orders under way, with what they lift.
    undos: BTreeMap<ActionId, undo::Undo>,
    grounds: undo::Grounds,
    policy: Arc<Policy>,
    in_doubt: BTreeSet<ActionId>,
    /// Orders that are given, and not answered for good.
    awaited: BTreeSet<ActionId>,
    queue: BTreeMap<Place, Event>,
    members: BTreeMap<Tick, Vec<Member>>,
    held_back: Vec<(Place, Event)>,
    halted: bool,
    /// The epoch through which an earlier process has published: of these it is recorded when nothing was to begin.
    published: Epoch,
    /// What was resolved after a crash, and is not heard yet.
    resolved: Vec<Resolved>,
    /// The last tick of the turn before.
    last: Tick,
    /// What is computed again must be in the ledger: nothing new is intended or called.
    closed: bool,
    unexpected: u64,
    now: Tick,
    /// What ran out before it is undone: where it is acted early, a source may say that it is later than it is.
    pub undo_before: Tick,
    epoch: Epoch,
    rows: Rows,
    pending: Pending,
    calls: Vec<Order>,
    /// Undertakings whose playbook the plan no longer has as it was approved: not carried out.
    pub dropped: u64,
}

impl Desk {
    /// Opens the desk with its ledger in `state_dir` (and in common with other machines, where it lies so), and resolves what an
    /// earlier process left in doubt, which has published all through the epoch `published`.
    ///
    /// # Errors
    /// Where the ledger can't be used.
    pub fn open(
        (state_dir, common): (&Path, Option<Common>),
        executor: Executor,
        (playbooks, policy): (Arc<[Playbook]>, Arc<Policy>),
        names: Arc<Names>,
        published: Epoch,
    ) -> Result<Desk, DeskError> {
        let mut desk =
            Desk { published, ..Desk::new((state_dir, common), executor, (playbooks, policy), names)? };
        desk.ledger.write(&[Entry::Unhalt { after: published }])?;
        desk.recover()?;
        desk.resolved = desk.ledger.resolved()?;
        Ok(desk)
    }

    /// Opens the desk of a run that is over, to have it computed again: until [`Desk::go_on`] it calls nothing, and what
    /// the ledger does not have counts as a divergence.
    ///
    /// # Errors
    /// Where the ledger can't be used.
    pub fn reopen(
        state: (&Path, Option<Common>),
        executor: Executor,
        plan: (Arc<[Playbook]>, Arc<Policy>),
        names: Arc<Names>,
    ) -> Result<Desk, DeskError> {
        let mut desk = Desk { closed: true, ..Desk::new(state, executor, plan, names)? };
        desk.resolved = desk.ledger.resolved()?;
        Ok(desk)
    }

    /// What is handed over from now on is new.
    pub fn go_on(&mut self) {
        self.closed = false;
    }

    fn new(
        (state_dir, common): (&Path, Option<Common>),
        executor: Executor,
        (playbooks, policy): (Arc<[Playbook]>, Arc<Policy>),
        names: Arc<Names>,
    ) -> Result<Desk, DeskError> {
        let ledger = Ledger::open(state_dir, common)?;
        let lease = Arc::new(ledger.lease()?);
        Ok(Desk {
            executor,
            playbooks,
            names,
            ledger,
            lease,
            labels: Labels::default(),
            effects: Effects::default(),
            runs: BTreeMap::new(),
            actions: BTreeMap::new(),
            undos: BTreeMap::new(),
            grounds: undo::Grounds::default(),
            policy,
            in_doubt: BTreeSet::new(),
            awaited: BTreeSet::new(),
            queue: BTreeMap::new(),
            members: BTreeMap::new(),
            held_back: Vec::new(),
            halted: false,
            published: 0,
            resolved: Vec::new(),
            last: Tick::MIN / 2,
            closed: false,
            unexpected: 0,
            now: Tick::MIN / 2,
            undo_before: Tick::MAX,
            epoch: 0,
            rows: Rows::default(),
            pending: Pending::default(),
            calls: Vec::new(),
            dropped: 0,
        })
    }

    /// Takes in what is handed over and does all that is due before `settled` (exclusive).
    ///
    /// # Errors
    /// Where the ledger can't be written: nothing that was not durable has been called.
    pub fn handle(&mut self, epoch: Epoch, handed: Handed, settled: Tick) -> Result<Rows, DeskError> {
        self.epoch = epoch;
        self.hear_resolved()?;
        self.take_in(handed);
        self.turn(settled.saturating_sub(1), false)?;
        Ok(std::mem::take(&mut self.rows))
    }

    /// Does all that is due up to and at `settled`; then, unless orders leave the process, hears every answer that is
    /// still to come. What would be undone later stands.
    ///
    /// # Errors
    /// Where the ledger can't be written.
    pub fn finish(&mut self, settled: Tick) -> Result<Rows, DeskError> {
        self.turn(settled, false)?;
        if !self.executor.is_outside() {
            self.turn(settled, true)?;
        }
        Ok(std::mem::take(&mut self.rows))
    }

    /// Recomputed rows that differ from those in the ledger: must be zero.
    #[must_use]
    pub fn divergences(&self) -> u64 {
        self.ledger.divergences + self.unexpected
    }

    /// Runs under way, actions under way or holding, standing effects: what memory is bounded by.
    #[must_use]
    pub fn sizes(&self) -> [usize; 3] {
        [self.runs.len(), self.actions.len(), self.effects.len()]
    }

    fn take_in(&mut self, handed: Handed) {
        for ruled in handed.ruled.into_iter().filter(|ruled| ruled.undertaking.is_some()) {
            let place = (ruled.decision.tick, 0, ruled.decision.id.0, 0);
            self.queue.insert(place, Event::Begin(ruled));
        }
        for (verdict, tenant, tick) in handed.verdicts {
            // Several people may speak of one incident in one second: the order is that of their names.
            let id =
                ActionId::of(&[&verdict.incident_id.0, verdict.by.as_bytes(), &verdict.time.to_le_bytes()]);
            self.queue.insert((tick, 4, id.0, 0), Event::Verdict { verdict, tenant, tick });
        }
        self.take_in_grounds(handed.grounds, handed.approvals);
        self.take_in_reported(handed.reported);
        let Executor::Simulate(environment) = &self.executor else { return };
        for member in handed.members.into_iter().filter(|member| environment.knows(member.alert_id)) {
            self.members.entry(member.tick).or_default().push(member);
        }
        for (incident, tenant, tick) in handed.closed {
            let tick = tick.saturating_add(environment.analyst_delay(incident));
            self.queue.insert((tick, 5, incident.0, 0), Event::Review { incident, tenant });
        }
    }

    fn hear_later(&mut self, id: ActionId, what: Heard, tick: Tick) {
        self.queue.insert((tick, 3, id.0, 1), Event::Heard { id, what });
    }

    /// Hears what came from outside the process, behind all else of its tick: that was done before anything was called.
    fn hear_answer(&mut self, id: ActionId, answer: Answer, tick: Tick) {
        // In-doubt and final word may fall on one tick: the place tells them apart by what is said.
        let kind = usize::from(!matches!(answer, Answer::Unknown { .. }));
        self.queue.insert((tick, ANSWERED, id.0, kind), Event::Heard { id, what: Heard::Answer(answer) });
    }

    /// Hears again what the ledger knows, at the tick and in the order in which it was heard first. What follows from one answer
    /// comes before the next answer of its tick, as it did then.
    fn hear_again(&mut self, id: ActionId, known: Known) {
        let mut place = [0; 16];
        place[8..].copy_from_slice(&known.place.to_be_bytes());
        let tick = known.tick.max(self.now);
        let what = Heard::Answer(answer_of(known));
        self.queue.insert((tick, ANSWERED, place, 0), Event::Heard { id, what });
    }

    /// The next event up to `last`, but nothing is undone before its time; when draining, whatever its tick, but nothing is.
    fn next(&mut self, last: Tick, drain: bool) -> Option<(Place, Event)> {
        let mut due = self.queue.iter().take_while(|(place, _)| drain || place.0 <= last);
        let early = |place: &Place| drain || place.0 >= self.undo_before;
        let place = *due.find(|(place, event)| !(matches!(event, Event::Expiry { .. }) && early(place)))?.0;
        self.queue.remove_entry(&place)
    }

    fn turn(&mut self, last: Tick, drain: bool) -> Result<(), DeskError> {
        loop {
            while let Some((place, event)) = self.next(last, drain) {
                if self.halted && self.would_begin(&event)? {
                    self.held_back.push((place, event));
                    continue;
                }
                self.now = self.now.max(place.0);
                self.observe_members();
                self.process(event)?;
            }
            self.commit()?;
            if self.calls.is_empty() {
                break;
            }
            self.call(last)?;
        }
        self.last = last;
        if self.now.rem_euclid(86_400) < 3_600 {
            self.effects.advance(self.now);
            self.labels.advance(self.now);
            self.grounds.advance(self.now);
        }
        Ok(())
    }

    fn observe_members(&mut self) {
        let Executor::Simulate(environment) = &mut self.executor else { return };
        while let Some(entry) = self.members.first_entry().filter(|entry| *entry.key() <= self.now) {
            for member in entry.remove() {
                environment.observe(&member);
            }
        }
    }

    /// Intents before calls, outcomes before the next intents: what is intended follows from them.
    fn commit(&mut self) -> Result<(), DeskError> {
        let mut pending = std::mem::take(&mut self.pending);
        if self.closed {
            self.calls.clear();
            let mut known = Vec::with_capacity(pending.intents.len());
            for order in pending.intents {
                let intended = self.ledger.intended(order.action_id)?;
                self.unexpected += u64::from(!intended);
                known.extend(intended.then_some(order));
            }
            pending.intents = known;
        }
        self.lease.awake(self.executor.now());
        Ok(self.ledger.write(&pending.entries(self.epoch))?)
    }

    /// Carries out what is durable. Answers are heard at the last settled tick, or when they were due if that is later.
    fn call(&mut self, last: Tick) -> Result<(), DeskError> {
        let calls = std::mem::take(&mut self.calls);
        let webhook = match &self.executor {
            Executor::Webhook(webhook) => webhook,
            Executor::Orders(_) => return self.give(&calls),
            Executor::DryRun | Executor::Simulate(_) | Executor::Recorded(_) => return Ok(()),
        };
        let answers = webhook.call(&calls, &self.lease);
        for (order, answer) in calls.iter().zip(answers) {
            self.hear_answer(order.action_id, answer, last.max(order.requested));
        }
        Ok(())
    }
}

fn known_of(answer: &Answer, tick: Tick) -> Known {
    let (status, attempts, detail) = match answer {
        Answer::Done { attempts } => (ActionStatus::Succeeded, *attempts, String::new()),
        Answer::Refused { attempts, what } => (ActionStatus::Failed, *attempts, what.clone()),
        Answer::Unknown { attempts, what } => (ActionStatus::InDoubt, *attempts, what.clone()),
    };
    Known { status, attempts, tick, detail, place: 0 }
}

fn answer_of(known: Known) -> Answer {
    let Known { status, attempts, detail, .. } = known;
    match status {
        ActionStatus::Succeeded => Answer::Done { attempts },
        ActionStatus::Failed => Answer::Refused { attempts, what: detail },
        ActionStatus::InDoubt
        | ActionStatus::Requested
        | ActionStatus::Joined
        | ActionStatus::DryRun
        | ActionStatus::Undone => Answer::Unknown { attempts, what: detail },
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod undo_tests;
