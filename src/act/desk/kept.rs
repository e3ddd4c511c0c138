//! What a desk remembers at an epoch's end, to be kept, and to begin with. The ledger is beside it: what it has of later epochs
//! is met again when these are computed again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::undo::{Grounds, Undo};
use super::{Desk, Event, Live, Place, Run};
use crate::act::effects::Effects;
use crate::act::executor::Executor;
use crate::act::simulate::Counts;
use crate::flow::kept::Items;
use crate::record::{ActionId, DecisionId, Epoch, Member, Names, Tick};
use crate::settle::Labels;

/// All of it.
#[derive(Default, Serialize, Deserialize)]
pub struct Remembered {
    labels: Labels,
    effects: Effects,
    runs: BTreeMap<DecisionId, Run>,
    actions: BTreeMap<ActionId, Live>,
    undos: BTreeMap<ActionId, Undo>,
    grounds: Grounds,
    in_doubt: BTreeSet<ActionId>,
    awaited: BTreeSet<ActionId>,
    queue: BTreeMap<Place, Event>,
    members: BTreeMap<Tick, Vec<Member>>,
    held_back: Vec<(Place, Event)>,
    unexpected: u64,
    dropped: u64,
    now: Tick,
    epoch: Epoch,
    simulated: Counts,
    halted: bool,
    last: Tick,
}

impl Desk {
    /// The strings of its run.
    #[must_use]
    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// Tells what it remembers between two turns.
    pub fn keep(&mut self, items: &mut Items) {
        let remembered = self.lend();
        items.put(&remembered);
        self.begin_with(remembered);
    }

    pub(super) fn lend(&mut self) -> Remembered {
        let simulated = match &mut self.executor {
            Executor::Simulate(environment) => environment.lend(),
            Executor::DryRun | Executor::Webhook(_) | Executor::Orders(_) | Executor::Recorded(_) => {
                Counts::default()
            }
        };
        Remembered {
            labels: std::mem::take(&mut self.labels),
            effects: std::mem::take(&mut self.effects),
            runs: std::mem::take(&mut self.runs),
            actions: std::mem::take(&mut self.actions),
            undos: std::mem::take(&mut self.undos),
            grounds: std::mem::take(&mut self.grounds),
            in_doubt: std::mem::take(&mut self.in_doubt),
            awaited: std::mem::take(&mut self.awaited),
            queue: std::mem::take(&mut self.queue),
            members: std::mem::take(&mut self.members),
            held_back: std::mem::take(&mut self.held_back),
            unexpected: self.unexpected,
            dropped: self.dropped,
            now: self.now,
            epoch: self.epoch,
            simulated,
            halted: self.halted,
            last: self.last,
        }
    }

    /// Goes on with what was kept.
    pub fn begin_with(&mut self, remembered: Remembered) {
        let Remembered { labels, effects, runs, actions, undos, grounds, in_doubt, awaited, .. } = remembered;
        (self.labels, self.effects, self.runs, self.actions) = (labels, effects, runs, actions);
        (self.undos, self.grounds, self.in_doubt, self.awaited) = (undos, grounds, in_doubt, awaited);
        let Remembered { queue, members, held_back, unexpected, dropped, now, epoch, simulated, .. } =
            remembered;
        (self.halted, self.last) = (remembered.halted, remembered.last);
        (self.queue, self.members, self.held_back) = (queue, members, held_back);
        (self.unexpected, self.dropped, self.now, self.epoch) = (unexpected, dropped, now, epoch);
        if let Executor::Simulate(environment) = &mut self.executor {
            environment.begin_with(simulated);
        }
        self.find_playbooks();
    }

    /// What is carried out goes on by the playbook that was approved; where the plan has it no more, no further step begins.
    fn find_playbooks(&mut self) {
        let (playbooks, names) = (&self.playbooks, &self.names);
        let before = self.runs.len();
        self.runs.retain(|decision, run| {
            let (id, hash) = (names.get(run.book.0), run.book.1);
            let found = playbooks.iter().position(|playbook| playbook.id == id && playbook.hash == hash);
            if found.is_none() {
                eprintln!(
                    "quell: the plan has the playbook {id} no more as it was approved: no further step of decision {decision} begins"
                );
            }
            run.playbook = found.unwrap_or_default();
            found.is_some()
        });
        self.dropped += (before - self.runs.len()) as u64;
    }
}
