//! Undoing: an effect is lifted when its time is over, or when its ground is gone and policy or people let it.
//!
//! Where a decision's ground is gone ([`Ground`]), its actions let go of what they hold. An effect that another decision's
//! action holds stays; one that nobody holds is lifted by an order of its own, whose id follows from that of the action that
//! made it: there is one, whatever is replayed or crashes. It goes the way of any other: intent, call, outcome, rows that say
//! what it undoes and why. Whether it is made at all is a decision, which names the one that it undoes (`undoes`): by the
//! policy's `undo`, guarded as [`crate::decide::Undoing`] says; what people are asked they answer as they do on playbooks. A
//! decision says so too where nothing can be undone. Steps that are not due yet pass these targets over, a call under way is
//! waited for, and where the ground comes back before people have answered, the question is moot.
//!
//! State: [`Grounds`]: questions until they are answered or moot, what waits for a call, and a month of what was undone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::life::row_of;
use super::{Desk, DeskError, Event, Heard, known_of};
use crate::act::answer::Answer;
use crate::act::effects::{Effect, Key};
use crate::act::executor::Executor;
use crate::act::order::Order;
use crate::decide::{Ground, Undoing};
use crate::plan::policy::OnWithdrawnGround;
use crate::record::{
    ActionClass, ActionId, ActionStatus, Approval, Decision, DecisionId, Entity, Held, Lost, Reason, Ruling,
    Sym, Tick,
};
use crate::settle::Labels;

/// Ticks for which it is remembered how often a decision's ground was gone.
const MEMORY: Tick = 30 * 24 * 3600;

/// An undoing order under way.
#[derive(Serialize, Deserialize)]
pub(super) struct Undo {
    pub(super) order: Order,
    key: Key,
    /// Actions whose effect it lifts.
    parties: Vec<ActionId>,
    /// Outcomes in the ledger so far.
    outcomes: u32,
    pub(super) in_doubt: bool,
    /// Whose, why, and rows so far, where it has rows of its own.
    told: Option<(Sym, String, u32)>,
}

/// What people are asked about.
#[derive(Serialize, Deserialize)]
struct Question {
    decision: Decision,
    lost: Lost,
    actions: BTreeSet<ActionId>,
    people: u32,
    approved_by: BTreeSet<String>,
}

/// What stands on withdrawn ground, as far as it is not settled.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Grounds {
    /// By the decision that asks.
    questions: BTreeMap<DecisionId, Question>,
    /// By the action whose call is under way.
    waiting: BTreeMap<ActionId, Vec<Ground>>,
    /// How often an executed decision's ground was gone, and when last.
    times: BTreeMap<DecisionId, (u32, Tick)>,
    /// Entities that an executed decision's steps to come pass over; they die with `times`.
    left: BTreeSet<(DecisionId, String)>,
    /// Actions undone, in order of ticks.
    undone: VecDeque<(Tick, Sym, u32)>,
}

impl Grounds {
    fn leave(&mut self, decision: DecisionId, targets: &[String]) {
        self.left.extend(targets.iter().map(|target| (decision, target.clone())));
    }

    /// Whether a decision's steps pass a target over.
    pub(super) fn passes(&self, decision: DecisionId, target: &str) -> bool {
        !self.left.is_empty() && self.left.contains(&(decision, target.to_owned()))
    }

    pub(super) fn advance(&mut self, now: Tick) {
        self.times.retain(|_, (_, tick)| *tick + MEMORY > now);
        self.left.retain(|(decision, _)| self.times.contains_key(decision));
        while self.undone.pop_front_if(|(tick, _, _)| *tick + MEMORY <= now).is_some() {}
    }
}

impl Desk {
    /// Changes of ground in the order of decisions and ticks, answers in that of time and names.
    pub(super) fn take_in_grounds(&mut self, grounds: Vec<Ground>, approvals: Vec<(Approval, Tick)>) {
        for ground in grounds {
            self.ground_later(ground.tick, ground);
        }
        for (approval, tick) in approvals {
            let time = approval.time.to_be_bytes();
            let id = ActionId::of(&[&time, &approval.decision_id.0, approval.by.as_bytes()]);
            self.queue.insert((tick, 7, in_order(approval.time, id), 0), Event::Answer(approval));
        }
    }

    /// Queues a change of ground, together with another of the same decision and second.
    fn ground_later(&mut self, tick: Tick, mut ground: Ground) {
        let which = ground.lost.map_or(0, |lost| 1 + lost as usize);
        let place = (tick, 6, ground.decision.id.0, which);
        if let Some(Event::Ground(before)) = self.queue.remove(&place) {
            let more = before.targets.into_iter().filter(|it| !ground.targets.contains(it));
            let more: Vec<_> = more.collect();
            ground.targets.extend(more);
        }
        self.queue.insert(place, Event::Ground(ground));
    }

    /// A decision's ground is gone for some targets, or has come back.
    pub(super) fn ground(&mut self, ground: Ground) -> Result<(), DeskError> {
        let targets = self.texts(&ground);
        let Some(lost) = ground.lost else {
            self.come_back(&ground, &targets);
            return Ok(());
        };
        self.grounds.leave(ground.decision.id, &targets);
        let own = self.holding(ground.decision.id, &targets);
        if let Some(caller) = own.iter().find_map(|id| self.under_way(*id)) {
            self.grounds.waiting.entry(caller).or_default().push(ground);
            return Ok(());
        }
        let (ruling, held, people) = self.rule(&ground, &own);
        let (count, tick) = self.grounds.times.entry(ground.decision.id).or_default();
        (*count, *tick) = (*count + 1, self.now);
        let id = DecisionId::of(&[&ground.decision.id.0, b"undo", &count.to_le_bytes()]);
        let decision = Decision {
            id,
            tick: self.now,
            ruling,
            reason: Reason::Withdrawn { lost, targets, held },
            supersedes: None,
            undoes: Some(ground.decision.id),
            ..ground.decision
        };
        self.rows.decisions.push(decision.clone());
        match ruling {
            Ruling::Escalate => {
                let approved_by = BTreeSet::new();
                let question = Question { decision, lost, actions: own, people, approved_by };
                self.grounds.questions.insert(id, question);
            }
            Ruling::Decline if self.policy.undo.withdrawn_ground == OnWithdrawnGround::Never => {}
            // Where others hold all of it these only let go: nothing is called for that.
            Ruling::Execute | Ruling::Decline => self.lift_all(&decision, lost, &own)?,
        }
        Ok(())
    }

    /// What was held back begins: but nothing on ground that went meanwhile.
    pub(super) fn leave_held_back(&mut self) {
        for (_, event) in &self.held_back {
            if let Event::Ground(ground) = event
                && ground.lost.is_some()
            {
                self.grounds.leave(ground.decision.id, &self.texts(ground));
            }
        }
    }

    /// Targets as text, in order.
    fn texts(&self, ground: &Ground) -> Vec<String> {
        let mut texts: Vec<String> =
            ground.targets.iter().map(|(entity, _)| entity.text(&self.names)).collect();
        texts.sort_unstable();
        texts
    }

    /// Actions of a decision on these targets that hold an effect which can be undone, or may.
    fn holding(&self, decision: DecisionId, targets: &[String]) -> BTreeSet<ActionId> {
        let all = self.actions.iter().filter(|(_, live)| live.order.decision_id == decision);
        let holds = all.filter(|(id, live)| {
            targets.contains(&live.order.target)
                && live.undo.is_some()
                && self.effects.is_party(&live.key, **id)
        });
        holds.map(|(id, _)| *id).collect()
    }

    /// The call that an action waits for, where nobody knows yet how it goes.
    fn under_way(&self, id: ActionId) -> Option<ActionId> {
        let key = &self.actions.get(&id)?.key;
        let caller = self.effects.caller(key)?;
        (!self.effects.stands(key) && !self.in_doubt.contains(&caller)).then_some(caller)
    }

    /// A call has ended, or is in doubt: what waited for it is looked at again.
    pub(super) fn look_again(&mut self, caller: ActionId) {
        for ground in self.grounds.waiting.remove(&caller).into_iter().flatten() {
            self.ground_later(self.now, ground);
        }
    }

    /// Whether what a decision's actions hold is undone, and how many people may say so.
    fn rule(&self, ground: &Ground, own: &BTreeSet<ActionId>) -> (Ruling, Option<Held>, u32) {
        let lives = || own.iter().filter_map(|id| self.actions.get(id));
        let lifted = lives().filter(|live| !self.effects.is_shared(&live.key, own));
        let callers: BTreeSet<ActionId> = lifted.filter_map(|live| self.effects.caller(&live.key)).collect();
        if callers.is_empty() {
            let held = if own.is_empty() { Held::Nothing } else { Held::Shared };
            return (Ruling::Decline, Some(held), 0);
        }
        let id = self.names.get(ground.decision.playbook_id);
        let listed = |(entity, guarded): &(Entity, bool)| {
            let covers =
                |value: &str| self.policy.protected.iter().any(|pattern| pattern.covers(entity.kind, value));
            *guarded || self.names.with(entity.value, covers)
        };
        let opaque = |id: &ActionId| {
            let class = self.actions.get(id).map(|live| live.order.class);
            self.in_doubt.contains(id) && class == Some(ActionClass::Opaque)
        };
        let since = self.now - Tick::from(self.policy.budgets.window_s);
        let within = self
            .grounds
            .undone
            .iter()
            .filter(|(tick, tenant, _)| *tick > since && *tenant == ground.decision.tenant);
        let undoing = Undoing {
            playbook: self.playbooks.iter().find(|playbook| playbook.id == id),
            protected: ground.targets.iter().any(listed),
            opaque: callers.iter().any(opaque),
            actions: u32::try_from(callers.len()).unwrap_or(u32::MAX),
            spent: within.map(|(_, _, count)| *count).sum(),
        };
        let (ruling, held) = undoing.rule(&self.policy);
        (ruling, held, undoing.people(&self.policy))
    }

    /// Has actions let go of what they hold, and lifts what nobody holds then.
    fn lift_all(
        &mut self,
        decision: &Decision,
        lost: Lost,
        own: &BTreeSet<ActionId>,
    ) -> Result<(), DeskError> {
        let mut count = 0;
        for id in own {
            let Some(live) = self.actions.get_mut(id) else { continue };
            live.withdrawn = true;
            let key = live.key.clone();
            let Some(effect) = self.effects.let_go(&key, *id) else { continue };
            if let Some(order) = self.reverse(&effect) {
                let order = Order { decision_id: decision.id, incident_id: decision.incident_id, ..order };
                self.lift(order, key, effect, Some((decision.tenant, lost.text().to_owned(), 0)))?;
                count += 1;
            }
        }
        if count > 0 {
            self.grounds.undone.push_back((self.now, decision.tenant, count));
        }
        Ok(())
    }

    /// The order that lifts an effect.
    fn reverse(&self, effect: &Effect) -> Option<Order> {
        let caller = self.actions.get(&effect.caller)?;
        Some(caller.order.undo(caller.undo?, self.now))
    }

    /// What a decision holds on ground that has changed.
    pub(super) fn held_on(&self, ground: &Ground) -> BTreeSet<ActionId> {
        self.holding(ground.decision.id, &self.texts(ground))
    }

    /// What people are asked about, where it is undoing.
    pub(super) fn asked_of(&self, approval: &Approval) -> BTreeSet<ActionId> {
        let question = self.grounds.questions.get(&approval.decision_id);
        question.map_or_else(BTreeSet::new, |question| question.actions.clone())
    }

    /// A person's answer, where it is on undoing.
    pub(super) fn answered(&mut self, approval: &Approval) -> Result<(), DeskError> {
        let by = approval.by.trim().to_lowercase();
        let Some(question) = self.grounds.questions.get_mut(&approval.decision_id) else { return Ok(()) };
        if by.is_empty() || (approval.approved && self.policy.kill_switch) {
            return Ok(());
        }
        if !approval.approved {
            self.close(approval.decision_id, Ruling::Decline, Reason::Denied { by });
            return Ok(());
        }
        question.approved_by.insert(by);
        if u32::try_from(question.approved_by.len()).unwrap_or(u32::MAX) < question.people {
            return Ok(());
        }
        let by = question.approved_by.iter().cloned().collect::<Vec<_>>().join(", ");
        let (lost, own) = (question.lost, question.actions.clone());
        match self.close(approval.decision_id, Ruling::Execute, Reason::Approved { by }) {
            Some(decision) => self.lift_all(&decision, lost, &own),
            None => Ok(()),
        }
    }

    /// Another ruling takes a question's place.
    fn close(&mut self, id: DecisionId, ruling: Ruling, reason: Reason) -> Option<Decision> {
        let before = self.grounds.questions.remove(&id)?.decision;
        let id = DecisionId::of(&[&before.id.0, reason.name().as_bytes()]);
        let decision = Decision { id, tick: self.now, ruling, reason, supersedes: Some(before.id), ..before };
        self.rows.decisions.push(decision.clone());
        Some(decision)
    }

    /// Actions hold nothing any more, or stand on firm ground again: nobody need be asked about them.
    fn spare(&mut self, actions: &BTreeSet<ActionId>, what: &'static str) {
        let mut moot = Vec::new();
        for (id, question) in &mut self.grounds.questions {
            let before = question.actions.len();
            question.actions.retain(|action| !actions.contains(action));
            if question.actions.is_empty() && before > 0 {
                moot.push(*id);
            }
        }
        for id in moot {
            self.close(id, Ruling::Decline, Reason::Moot { what: what.into() });
        }
    }

    fn come_back(&mut self, ground: &Ground, targets: &[String]) {
        for waits in self.grounds.waiting.values_mut().flatten() {
            if waits.decision.id == ground.decision.id {
                waits.targets.retain(|(entity, _)| !ground.targets.iter().any(|(back, _)| back == entity));
            }
        }
        self.grounds.waiting.values_mut().for_each(|all| all.retain(|waits| !waits.targets.is_empty()));
        for target in targets {
            self.grounds.left.remove(&(ground.decision.id, target.clone()));
        }
        let own = self.holding(ground.decision.id, targets);
        self.spare(&own, "its ground is back");
    }

    /// Its time is over: lets go; the last holder lifts the effect, unless one of its parties meant it to stay.
    pub(super) fn expire(&mut self, id: ActionId) -> Result<(), DeskError> {
        let Some(live) = self.actions.get(&id) else { return Ok(()) };
        let key = live.key.clone();
        let Some(effect) = self.effects.let_go(&key, id) else {
            self.spare(&BTreeSet::from([id]), "its time is over");
            return Ok(());
        };
        let lives = || effect.parties.iter().filter_map(|party| self.actions.get(party));
        let stays = lives().any(|live| live.order.ttl_s.is_none() && !live.withdrawn);
        let order = self.reverse(&effect).filter(|_| !stays);
        self.spare(&BTreeSet::from([id]), "its time is over");
        let Some(order) = order else {
            self.effects.forget(&key);
            effect.parties.iter().for_each(|party| _ = self.actions.remove(party));
            return Ok(());
        };
        self.lift(order, key, effect, None)
    }

    /// Gives the order that lifts an effect.
    fn lift(
        &mut self,
        order: Order,
        key: Key,
        effect: Effect,
        told: Option<(Sym, String, u32)>,
    ) -> Result<(), DeskError> {
        let (id, is_told) = (order.action_id, told.is_some());
        let undo =
            Undo { order: order.clone(), key, parties: effect.parties, outcomes: 0, in_doubt: false, told };
        self.undos.insert(id, undo);
        match &self.executor {
            // Nobody answered it then: it was not given.
            Executor::Recorded(log) if is_told && log.known(id).is_empty() => {
                self.undo_row(id, ActionStatus::DryRun, 0);
                self.undos.remove(&id);
                return Ok(());
            }
            Executor::Recorded(_)
            | Executor::Webhook(_)
            | Executor::Orders(_)
            | Executor::Simulate(_)
            | Executor::DryRun => {}
        }
        self.undo_row(id, ActionStatus::Requested, 0);
        match &self.executor {
            Executor::Webhook(_) | Executor::Orders(_) => return self.issue(order),
            Executor::Recorded(log) if !log.known(id).is_empty() => return self.issue(order),
            Executor::DryRun | Executor::Simulate(_) | Executor::Recorded(_) => {}
        }
        // Within the process an undo is done at once.
        self.pending.intents.push(order);
        self.heard_undo(id, &Heard::Answer(Answer::Done { attempts: 1 }));
        Ok(())
    }

    pub(super) fn heard_undo(&mut self, id: ActionId, what: &Heard) {
        let Heard::Answer(answer) = what else { return };
        let known = known_of(answer, self.now);
        self.receive(id, &known);
        let Some(undo) = self.undos.get_mut(&id) else { return };
        let (status, attempts) = (known.status, known.attempts);
        undo.outcomes += 1;
        undo.in_doubt = status == ActionStatus::InDoubt;
        let said = known.detail.clone();
        self.pending.outcomes.push((id, undo.outcomes, known));
        let caller = self.effects.caller(&undo.key);
        self.undo_row(id, status, attempts);
        if status != ActionStatus::Succeeded {
            // It still stands, or may: a person must look. The action that made it says so.
            if status == ActionStatus::Failed {
                self.undos.remove(&id);
            }
            if let Some(caller) = caller {
                self.row_since(caller, ActionStatus::InDoubt, false, Some(&format!("not undone: {said}")));
            }
            return;
        }
        let Some(undo) = self.undos.remove(&id) else { return };
        self.pending.ended.extend(caller.map(|caller| (caller, self.now)));
        self.effects.lifted(&undo.key, self.now);
        for party in undo.parties.into_iter().collect::<BTreeSet<_>>() {
            self.row(party, ActionStatus::Undone, true);
            self.in_doubt.remove(&party);
            if let Some(live) = self.actions.remove(&party) {
                // Its step waits for it no more; one that had ended does not hear of it.
                self.advance_walk(live.order.decision_id, live.step, party, true);
            }
        }
    }

    /// An undoing order's row, where it has any; and its outcome, which says nothing of the playbook.
    fn undo_row(&mut self, id: ActionId, status: ActionStatus, attempts: u32) {
        let Some(undo) = self.undos.get_mut(&id) else { return };
        let Some((tenant, why, seq)) = &mut undo.told else { return };
        let finished = match status {
            ActionStatus::Succeeded | ActionStatus::Failed | ActionStatus::DryRun => true,
            ActionStatus::Requested | ActionStatus::Joined | ActionStatus::InDoubt | ActionStatus::Undone => {
                false
            }
        };
        let mut row = row_of(&undo.order, *tenant, self.now, status, finished);
        (row.seq, row.attempts) = (*seq, attempts);
        (row.undo_of, row.reason) = (undo.order.undo_of, Some(why.clone()));
        *seq += 1;
        self.rows.outcomes.extend(Labels::receipt(&row, self.executor.name()));
        self.rows.actions.push(row);
    }
}

/// A place by time, then by id.
fn in_order(time: i64, id: ActionId) -> [u8; 16] {
    let mut place = id.0;
    place[..8].copy_from_slice(&time.cast_unsigned().to_be_bytes());
    place
}
