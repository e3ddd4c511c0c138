//! An action's life at the desk: due, joined or called, heard, held.

use std::collections::btree_map::Entry;

use super::{Desk, DeskError, Event, Heard, Live, Run, WATCH, known_of};
use crate::act::answer::Answer;
use crate::act::effects::{Found, Key};
use crate::act::executor::Executor;
use crate::act::ledger::Known;
use crate::act::order::{Order, action_id};
use crate::act::receipt::Receipt;
use crate::act::stepper::{Due, Walk};
use crate::decide::{Approved, Ruled};
use crate::plan::openc2;
use crate::plan::playbook::StepKind;
use crate::plan::policy::Mode;
use crate::record::{
    Action, ActionId, ActionStatus, DecisionId, IncidentId, LabelSource, Sym, Target, Tick, Verdict,
};
use crate::settle::Labels;

/// What of an executor's words a row tells, in characters.
const SAID_MAX: usize = 1_000;

impl Desk {
    pub(super) fn process(&mut self, event: Event) -> Result<(), DeskError> {
        match event {
            Event::Begin(ruled) => self.begin(&ruled),
            Event::Step { decision, step } => self.step(decision, step)?,
            Event::Heard { id, what } if self.undos.contains_key(&id) => self.heard_undo(id, &what),
            Event::Heard { id, what } => self.heard(id, what),
            Event::Expiry { id } => self.expire(id)?,
            Event::Review { incident, tenant } => self.review(incident, tenant),
            Event::Ground(ground) => self.ground(ground)?,
            Event::Answer(approval) => self.answered(&approval)?,
            Event::Reported(reported) => self.reported(reported),
            Event::Silence { id } => self.silence(id),
            // At the end answers that are still to come are heard before their time: a word after it has a tick of its own.
            Event::Verdict { verdict, tenant, tick } => {
                self.rows.outcomes.extend(self.labels.verdict(&verdict, tenant, tick));
            }
        }
        Ok(())
    }

    fn begin(&mut self, ruled: &Ruled) {
        let Some(undertaking) = ruled.undertaking.as_ref().map(Approved::get) else { return };
        let id = self.names.get(undertaking.playbook_id);
        let found = self.playbooks.iter().position(|it| it.id == id && it.hash == undertaking.playbook_hash);
        // The same ruling twice is one ruling: a log that is replayed over itself must not act again.
        let (Some(playbook), false) = (found, self.runs.contains_key(&ruled.decision.id)) else {
            self.dropped += u64::from(found.is_none());
            return;
        };
        let targets: std::collections::BTreeMap<_, _> = undertaking.targets.iter().cloned().collect();
        let acts = |step: usize| targets.contains_key(&step);
        let (walk, due) = Walk::begin(&self.playbooks[playbook], &acts, self.now);
        let decision = ruled.decision.clone();
        let book = (undertaking.playbook_id, undertaking.playbook_hash);
        let run = Run { decision, playbook, book, mode: undertaking.mode, targets, walk, due: 0 };
        let id = ruled.decision.id;
        self.runs.insert(id, run);
        self.schedule(id, &due);
    }

    fn schedule(&mut self, decision: DecisionId, due: &[Due]) {
        if let Some(run) = self.runs.get_mut(&decision) {
            run.due += due.len();
            for due in due {
                let place = (due.tick, 1, decision.0, due.step);
                self.queue.insert(place, Event::Step { decision, step: due.step });
            }
            if run.due == 0 && run.walk.is_idle() {
                self.runs.remove(&decision);
            }
        }
    }

    /// An action step is due: one action a target.
    fn step(&mut self, decision: DecisionId, step: usize) -> Result<(), DeskError> {
        let Some(run) = self.runs.get_mut(&decision) else { return Ok(()) };
        run.due -= 1;
        let mode = run.mode;
        let mut issued = Vec::new();
        for target in run.targets.get(&step).cloned().unwrap_or_default() {
            let Some(live) = self.live(decision, step, target) else { continue };
            if self.grounds.passes(decision, &live.order.target) {
                continue;
            }
            let id = live.order.action_id;
            if let Entry::Vacant(place) = self.actions.entry(id) {
                place.insert(live);
                issued.push(id);
            }
        }
        if let Some(run) = self.runs.get_mut(&decision) {
            run.walk.issued(step, issued.iter().copied().collect());
        }
        for id in &issued {
            self.start(*id, mode)?;
        }
        if issued.is_empty() {
            self.advance_walk(decision, step, ActionId::default(), true);
        }
        Ok(())
    }

    pub(super) fn live(&self, decision: DecisionId, step: usize, target: Target) -> Option<Live> {
        let run = self.runs.get(&decision)?;
        let playbook = &self.playbooks[run.playbook];
        let at = playbook.steps.get(step)?;
        let StepKind::Action(action) = &at.kind else { return None };
        let incident_id = run.decision.incident_id;
        let text = target.text(&self.names);
        let value = match target {
            Target::Entity(entity) => self.names.get(entity.value),
            Target::Incident(id) => id.to_string(),
        };
        let parameters = openc2::fill(&action.command, &value, &incident_id.to_string());
        let tenant = self.names.get(run.decision.tenant);
        let verb = action.parameters.verb;
        let key = Key::new(&tenant, verb, &text, &parameters);
        let occurrence = self.effects.occurrence(&key, self.now);
        let order = Order {
            action_id: action_id(
                &tenant,
                incident_id,
                &playbook.hash,
                &at.id,
                &text,
                &parameters,
                occurrence,
            ),
            tenant,
            decision_id: decision,
            incident_id,
            playbook: playbook.name.clone(),
            use_case: playbook.applies.use_case.clone(),
            step: at.id.clone(),
            agent: action.agent.clone(),
            verb,
            target: text,
            parameters,
            class: action.parameters.class,
            ttl_s: action.parameters.ttl_s,
            undo_of: None,
            timeout_ms: at.timeout_ms,
            requested: self.now,
        };
        let tenant = run.decision.tenant;
        let undo = action.parameters.undo;
        Some(Live { order, tenant, step, key, undo, seq: 0, outcomes: 0, attempts: 0, withdrawn: false })
    }

    /// Joins what stands or is in flight, or calls.
    fn start(&mut self, id: ActionId, mode: Mode) -> Result<(), DeskError> {
        if mode != Mode::Live || matches!(self.executor, Executor::DryRun) {
            self.row(id, ActionStatus::DryRun, true);
            self.hear_later(id, Heard::Told, self.now);
            return Ok(());
        }
        let Some(live) = self.actions.get(&id) else { return Ok(()) };
        let found = self.effects.enter(&live.key, id);
        if self.executor.is_outside() && found != Found::Call {
            self.pending.joined.push(id);
        }
        match found {
            Found::Stands => {
                self.row(id, ActionStatus::Joined, true);
                self.hold(id);
                self.hear_later(id, Heard::Joined { stands: true }, self.now);
            }
            Found::InFlight => self.row(id, ActionStatus::Joined, false),
            // Nobody answered it then: it was not given.
            Found::Call if matches!(&self.executor, Executor::Recorded(log) if log.known(id).is_empty()) => {
                self.effects.called(&live.key, false, false);
                self.row(id, ActionStatus::DryRun, true);
                self.hear_later(id, Heard::Told, self.now);
            }
            Found::Call => {
                self.row(id, ActionStatus::Requested, false);
                let Some(live) = self.actions.get(&id) else { return Ok(()) };
                let order = live.order.clone();
                self.issue(order)?;
            }
        }
        Ok(())
    }

    /// Hands an order to the executor, unless the ledger knows it already.
    pub(super) fn issue(&mut self, order: Order) -> Result<(), DeskError> {
        let id = order.action_id;
        match &self.executor {
            Executor::DryRun => self.hear_later(id, Heard::Told, self.now),
            Executor::Simulate(environment) => {
                let playbook = self.runs.get(&order.decision_id).map(|run| &*self.playbooks[run.playbook].id);
                let (succeeds, tick) = environment.answer(&order, playbook.unwrap_or_default());
                let refused = Answer::Refused { attempts: 1, what: "simulated".to_owned() };
                let answer = if succeeds { Answer::Done { attempts: 1 } } else { refused };
                self.pending.intents.push(order);
                self.hear_later(id, Heard::Answer(answer), tick);
            }
            Executor::Orders(topic) => {
                let timeout_s = topic.timeout_s();
                self.issue_later(order, timeout_s)?;
            }
            Executor::Recorded(log) if let Some(timeout_s) = log.timeout_s() => {
                self.issue_later(order, timeout_s)?;
            }
            Executor::Recorded(log) => {
                let known = log.known(id).to_vec();
                self.pending.intents.push(order);
                for known in known {
                    self.hear_again(id, known);
                }
            }
            Executor::Webhook(_) => {
                let known = self.ledger.known(id)?;
                if known.is_empty() && !self.ledger.intended(id)? {
                    self.pending.intents.push(order.clone());
                    self.calls.push(order);
                } else if known.is_empty() {
                    let answer = self.resolution(id);
                    self.hear_answer(id, answer, self.now);
                }
                for known in known {
                    if known.status != ActionStatus::InDoubt {
                        self.resolved.retain(|it| it.action_id != id);
                    }
                    self.hear_again(id, known);
                }
            }
        }
        Ok(())
    }

    pub(super) fn heard(&mut self, id: ActionId, what: Heard) {
        match what {
            Heard::Told => self.end(id, true),
            Heard::Joined { stands } => self.end(id, stands),
            Heard::Answer(answer) => {
                let known = known_of(&answer, self.now);
                self.record(id, &known);
                self.receive(id, &known);
                match answer {
                    Answer::Done { .. } => self.called(id, true, (None, None)),
                    Answer::Refused { what, .. } => self.called(id, false, (None, Some(&what))),
                    Answer::Unknown { what, .. } => {
                        self.in_doubt.insert(id);
                        self.look_again(id);
                        self.row_since(id, ActionStatus::InDoubt, false, Some(&what));
                    }
                }
            }
            Heard::ByHand { succeeded, by } => {
                let status = if succeeded { ActionStatus::Succeeded } else { ActionStatus::Failed };
                let attempts = self.actions.get(&id).map_or(0, |live| live.attempts);
                self.record(
                    id,
                    &Known { status, attempts, tick: self.now, detail: format!("by {by}"), place: 0 },
                );
                self.called(id, succeeded, (Some(by), None));
            }
        }
    }

    fn record(&mut self, id: ActionId, known: &Known) {
        let Some(live) = self.actions.get_mut(&id) else { return };
        live.attempts = live.attempts.max(known.attempts);
        live.outcomes += 1;
        self.pending.outcomes.push((id, live.outcomes, known.clone()));
    }

    /// What came from outside the process is an input of the run.
    pub(super) fn receive(&mut self, id: ActionId, known: &Known) {
        let order = self.actions.get(&id).map(|live| &live.order);
        let order = order.or_else(|| self.undos.get(&id).map(|undo| &undo.order));
        if let Some(order) = order.filter(|_| self.executor.is_outside()) {
            let tenant = self.names.intern(&order.tenant);
            self.rows.receipts.push((Receipt::of(id, known), tenant));
        }
    }

    /// A call has ended: the action's row and outcome, and those who joined it in flight. Who said so, and what the executor said.
    fn called(&mut self, id: ActionId, succeeded: bool, (by, said): (Option<String>, Option<&str>)) {
        self.in_doubt.remove(&id);
        self.look_again(id);
        self.row_since(
            id,
            if succeeded { ActionStatus::Succeeded } else { ActionStatus::Failed },
            true,
            said,
        );
        self.label(by);
        let Some(live) = self.actions.get(&id) else { return };
        let (key, reversible) = (live.key.clone(), live.undo.is_some());
        for joiner in self.effects.called(&key, succeeded, reversible) {
            if !succeeded {
                self.row_since(joiner, ActionStatus::Failed, true, said);
            } else if reversible {
                self.hold(joiner);
            }
            self.hear_later(joiner, Heard::Joined { stands: succeeded }, self.now);
        }
        if succeeded && reversible {
            self.hold(id);
        }
        self.end(id, succeeded);
    }

    /// The outcome of the row said last.
    pub(super) fn label(&mut self, by: Option<String>) {
        let Some(row) = self.rows.actions.last() else { return };
        let Some(mut outcome) = Labels::receipt(row, self.executor.name()) else { return };
        if let Some(by) = by {
            outcome.label_source = LabelSource::Human;
            outcome.labelled_by = by;
        }
        self.rows.outcomes.push(outcome);
    }

    /// The walk goes on; the action is over unless it holds an effect.
    fn end(&mut self, id: ActionId, succeeded: bool) {
        let Some(live) = self.actions.get(&id) else { return };
        let (decision, step) = (live.order.decision_id, live.step);
        if !self.effects.is_party(&live.key, id) {
            self.actions.remove(&id);
        }
        self.advance_walk(decision, step, id, succeeded);
    }

    pub(super) fn advance_walk(&mut self, decision: DecisionId, step: usize, id: ActionId, succeeded: bool) {
        let Some(run) = self.runs.get_mut(&decision) else { return };
        let targets = &run.targets;
        let acts = |step: usize| targets.contains_key(&step);
        let due = run.walk.ended(&self.playbooks[run.playbook], &acts, (step, id), succeeded, self.now);
        self.schedule(decision, &due);
    }

    /// Holds a standing effect, and lets go when its time to live is over.
    fn hold(&mut self, id: ActionId) {
        let Some(live) = self.actions.get(&id) else { return };
        let Some(caller) = self.effects.caller(&live.key) else { return };
        self.pending.held.push((caller, id, live.order.clone(), self.now));
        let held = live.order.ttl_s.map_or(WATCH, Tick::from);
        let tick = live.order.requested.saturating_add(held).max(self.now);
        self.queue.insert((tick, 2, id.0, 0), Event::Expiry { id });
    }

    fn review(&mut self, incident: IncidentId, tenant: Sym) {
        let Executor::Simulate(environment) = &self.executor else { return };
        let Some((verdict, _)) = environment.verdict_for(incident) else { return };
        let time = self.now.saturating_mul(1000);
        let verdict = Verdict { incident_id: incident, verdict, by: "simulated-analyst".to_owned(), time };
        self.rows.outcomes.extend(self.labels.verdict(&verdict, tenant, self.now));
        self.rows.verdicts.push(verdict);
    }

    pub(super) fn row(&mut self, id: ActionId, status: ActionStatus, finished: bool) {
        self.row_since(id, status, finished, None);
    }

    /// A row, since the executor said something.
    pub(super) fn row_since(
        &mut self,
        id: ActionId,
        status: ActionStatus,
        finished: bool,
        said: Option<&str>,
    ) {
        let Some(live) = self.actions.get_mut(&id) else { return };
        let mut row = row_of(&live.order, live.tenant, self.now, status, finished);
        (row.seq, row.attempts) = (live.seq, live.attempts);
        row.reason = said.filter(|said| !said.is_empty()).map(|said| said.chars().take(SAID_MAX).collect());
        live.seq += 1;
        self.rows.actions.push(row);
    }
}

/// An order's row; its number and attempts are filled in.
pub(super) fn row_of(order: &Order, tenant: Sym, tick: Tick, status: ActionStatus, finished: bool) -> Action {
    Action {
        id: order.action_id,
        seq: 0,
        decision_id: order.decision_id,
        incident_id: order.incident_id,
        tick,
        tenant,
        verb: order.verb,
        target: order.target.clone(),
        class: order.class,
        status,
        attempts: 0,
        requested_time: order.requested.saturating_mul(1000),
        finished_time: finished.then(|| tick.saturating_mul(1000)),
        undo_of: None,
        reason: None,
    }
}
