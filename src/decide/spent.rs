//! What automatic and approved executions have spent of a tenant's blast radius and budgets.
//!
//! State: one entry an execution; it dies when the window has passed it.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};

use serde::{Deserialize, Serialize};

use crate::plan::playbook::Playbook;
use crate::plan::policy::{Policy, VerbClass};
use crate::record::{Entity, Reason, Sym, Target, Tick, Verb};

/// What an execution would spend.
#[derive(Clone, Debug, Default)]
pub(super) struct Cost {
    /// Distinct entities by what is done to them; observing left out.
    pub(super) touched: FxHashSet<(VerbClass, Entity)>,
    /// Actions a verb, in the order of [`Verb::ALL`].
    pub(super) actions: [u32; Verb::ALL.len()],
}

impl Cost {
    pub(super) fn of(playbook: &Playbook, targets: &[(usize, Vec<Target>)]) -> Cost {
        let mut cost = Cost::default();
        for (at, action) in playbook.actions() {
            let Some((_, targets)) = targets.iter().find(|(step, _)| *step == at) else { continue };
            let verb = action.parameters.verb;
            cost.actions[place(verb)] += u32::try_from(targets.len()).unwrap_or(u32::MAX);
            let class = VerbClass::of(verb);
            for target in targets {
                match target {
                    Target::Entity(entity) if class != VerbClass::Observing => {
                        _ = cost.touched.insert((class, *entity));
                    }
                    Target::Entity(_) | Target::Incident(_) => {}
                }
            }
        }
        cost
    }
}

fn place(verb: Verb) -> usize {
    verb as usize
}

/// Sliding windows of one tenant, in ticks.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Spent {
    touched: VecDeque<(Tick, Vec<(VerbClass, Entity)>)>,
    counts: FxHashMap<(VerbClass, Entity), u32>,
    distinct: FxHashMap<VerbClass, u32>,
    actions: VecDeque<(Tick, Sym, [u32; Verb::ALL.len()])>,
}

impl Spent {
    /// Lets what the windows have passed die.
    pub(super) fn advance(&mut self, now: Tick, policy: &Policy) {
        while let Some((tick, _)) = self.touched.front() {
            if *tick > now - Tick::from(policy.blast_radius.window_s) {
                break;
            }
            for key in self.touched.pop_front().into_iter().flat_map(|(_, keys)| keys) {
                let count = self.counts.entry(key).or_default();
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&key);
                    *self.distinct.entry(key.0).or_default() -= 1;
                }
            }
        }
        while self
            .actions
            .front()
            .is_some_and(|(tick, _, _)| *tick <= now - Tick::from(policy.budgets.window_s))
        {
            self.actions.pop_front();
        }
    }

    /// Why the policy does not let this be spent; call [`Spent::advance`] first.
    pub(super) fn objection(
        &self,
        cost: &Cost,
        playbook: Sym,
        before: &FxHashSet<Entity>,
        policy: &Policy,
    ) -> Option<Reason> {
        for class in [VerbClass::Isolating, VerbClass::Blocking, VerbClass::Changing] {
            let Some(targets_max) = policy.blast_radius.max(class) else { continue };
            let new =
                cost.touched.iter().filter(|key| key.0 == class && !self.counts.contains_key(key)).count();
            let touches = cost.touched.iter().any(|key| key.0 == class);
            let targets =
                self.distinct.get(&class).copied().unwrap_or(0) + u32::try_from(new).unwrap_or(u32::MAX);
            if touches && targets > targets_max {
                return Some(Reason::BlastRadius { targets, targets_max });
            }
        }
        let all: FxHashSet<Entity> =
            cost.touched.iter().map(|key| key.1).chain(before.iter().copied()).collect();
        let (targets, targets_max) =
            (u32::try_from(all.len()).unwrap_or(u32::MAX), policy.blast_radius.incident);
        if !cost.touched.is_empty() && targets > targets_max {
            return Some(Reason::BlastRadius { targets, targets_max });
        }
        Verb::ALL.into_iter().find_map(|verb| {
            let wanted = cost.actions[place(verb)];
            let used = |of: Option<Sym>| -> u32 {
                let mine = self.actions.iter().filter(|(_, by, _)| of.is_none_or(|of| of == *by));
                mine.map(|(_, _, actions)| actions[place(verb)]).sum()
            };
            let bounds =
                [(None, policy.budgets.of(verb)), (Some(playbook), policy.budgets.of_playbook(verb))];
            let broken = bounds.into_iter().find(|(of, budget)| wanted > 0 && used(*of) + wanted > *budget);
            broken.map(|(_, budget)| Reason::Budget { verb: verb.name().into(), budget })
        })
    }

    /// Takes it from the windows.
    pub(super) fn spend(&mut self, now: Tick, playbook: Sym, cost: Cost) {
        for key in &cost.touched {
            let count = self.counts.entry(*key).or_default();
            *count += 1;
            if *count == 1 {
                *self.distinct.entry(key.0).or_default() += 1;
            }
        }
        self.touched.push_back((now, cost.touched.into_iter().collect()));
        self.actions.push_back((now, playbook, cost.actions));
    }
}
