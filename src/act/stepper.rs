//! The stepper: walks a playbook's workflow to the action steps that are due, by how earlier ones went.
//!
//! State: one [`Walk`] a ruling under way; it dies with the workflow's end. Load checks make the workflow acyclic and
//! its branches disjoint, so a step is under way at most once at a time.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::plan::playbook::{Next, Playbook, StepKind};
use crate::record::{ActionId, Tick};

/// A playbook under way.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Walk {
    /// Action steps under way.
    open: BTreeMap<usize, Branch>,
    joins: Vec<Join>,
    excepted: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Branch {
    waiting: BTreeSet<ActionId>,
    failed: bool,
    tick: Tick,
    join: Option<usize>,
}

/// A parallel step that waits for its branches.
#[derive(Debug, Serialize, Deserialize)]
struct Join {
    step: usize,
    left: usize,
    /// Whether an action of a branch failed without a step that takes over.
    failed: bool,
    tick: Tick,
    outer: Option<usize>,
}

/// An action step that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) tick: Tick,
    pub(super) step: usize,
}

/// Milliseconds as ticks, rounded up: a delay is never cut short.
fn ticks(ms: u64) -> Tick {
    Tick::try_from(ms.div_ceil(1000)).unwrap_or(Tick::MAX / 4)
}

impl Walk {
    /// Begins at `tick`. `acts` says which action steps have targets; the others are passed over as successes.
    pub(super) fn begin(playbook: &Playbook, acts: &dyn Fn(usize) -> bool, tick: Tick) -> (Walk, Vec<Due>) {
        let mut walk = Walk::default();
        let due = walk.go(playbook, acts, vec![(playbook.start, tick, None)]);
        (walk, due)
    }

    /// Tells which actions the step waits for; with none it has succeeded already.
    pub(super) fn issued(&mut self, step: usize, ids: BTreeSet<ActionId>) {
        if let Some(branch) = self.open.get_mut(&step) {
            branch.waiting = ids;
        }
    }

    /// An action of the step has ended.
    pub(super) fn ended(
        &mut self,
        playbook: &Playbook,
        acts: &dyn Fn(usize) -> bool,
        (step, id): (usize, ActionId),
        succeeded: bool,
        tick: Tick,
    ) -> Vec<Due> {
        let Some(branch) = self.open.get_mut(&step) else { return Vec::new() };
        branch.waiting.remove(&id);
        branch.failed |= !succeeded;
        branch.tick = branch.tick.max(tick);
        if !branch.waiting.is_empty() {
            return Vec::new();
        }
        let Some(branch) = self.open.remove(&step) else { return Vec::new() };
        if let (true, Next::Always(_), Some(join)) = (branch.failed, playbook.steps[step].next, branch.join) {
            self.joins[join].failed = true;
        }
        let next = self.next(playbook, step, branch.failed);
        let next = next.map(|(next, keeps)| (next, branch.tick, branch.join.filter(|_| keeps)));
        self.go(playbook, acts, next.into_iter().collect())
    }

    /// Whether no action is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Where a step goes on, and whether it stays in its branch; nowhere when it failed and nothing takes over.
    fn next(&mut self, playbook: &Playbook, step: usize, failed: bool) -> Option<(usize, bool)> {
        match (playbook.steps[step].next, failed) {
            (Next::Always(next), _)
            | (Next::ByResult { success: next, .. }, false)
            | (Next::ByResult { failure: Some(next), .. }, true) => Some((next, true)),
            // CACAO 4.1: without `on_failure` the workflow's exception step takes over, once.
            (Next::ByResult { failure: None, .. }, true) if !self.excepted => {
                self.excepted = true;
                playbook.exception.map(|step| (step, false))
            }
            (Next::Nowhere, _) | (Next::ByResult { failure: None, .. }, true) => None,
        }
    }

    fn go(
        &mut self,
        playbook: &Playbook,
        acts: &dyn Fn(usize) -> bool,
        mut open: Vec<(usize, Tick, Option<usize>)>,
    ) -> Vec<Due> {
        let mut due = Vec::new();
        while let Some((at, tick, join)) = open.pop() {
            let step = &playbook.steps[at];
            let tick = tick.saturating_add(ticks(step.delay_ms));
            match &step.kind {
                StepKind::End => {
                    let Some(place) = join else { continue };
                    let join = &mut self.joins[place];
                    join.left -= 1;
                    join.tick = join.tick.max(tick);
                    if join.left == 0 {
                        let (step, failed, tick, outer) = (join.step, join.failed, join.tick, join.outer);
                        if let (true, Next::Always(_), Some(outer)) =
                            (failed, playbook.steps[step].next, outer)
                        {
                            self.joins[outer].failed = true;
                        }
                        let next = self.next(playbook, step, failed);
                        open.extend(next.map(|(next, keeps)| (next, tick, outer.filter(|_| keeps))));
                    }
                }
                StepKind::Parallel(heads) => {
                    self.joins.push(Join { step: at, left: heads.len(), failed: false, tick, outer: join });
                    let place = self.joins.len() - 1;
                    open.extend(heads.iter().map(|head| (*head, tick, Some(place))));
                }
                StepKind::Action(_) if acts(at) => {
                    let branch = Branch { waiting: BTreeSet::new(), failed: false, tick, join };
                    if self.open.insert(at, branch).is_none() {
                        due.push(Due { tick, step: at });
                    }
                }
                StepKind::Start | StepKind::Action(_) => {
                    open.extend(self.next(playbook, at, false).map(|(next, _)| (next, tick, join)));
                }
            }
        }
        due.sort_unstable();
        due
    }
}

#[cfg(test)]
mod tests;
