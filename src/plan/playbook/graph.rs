//! The workflow as a graph: one start, ends that end, nothing unreachable, no cycle, branches that stay apart.

use std::collections::BTreeSet;

use super::read::Reader;
use super::{Next, Step, StepKind};

/// Reports every fault of the workflow.
pub(super) fn check(reader: &mut Reader<'_>, steps: &[Step], start: usize, exception: Option<usize>) {
    if !matches!(steps[start].kind, StepKind::Start) {
        reader.fault(&["workflow_start"], "workflow_start is not a start step", "name the start step");
    }
    for (at, step) in steps.iter().enumerate() {
        let keys = ["workflow", step.id.as_str()];
        match (&step.kind, step.next) {
            (StepKind::Start, Next::Always(_))
            | (StepKind::End, Next::Nowhere)
            | (StepKind::Action(_) | StepKind::Parallel(_), Next::Always(_) | Next::ByResult { .. }) => {}
            (StepKind::Start, Next::Nowhere | Next::ByResult { .. }) => {
                reader.fault(&keys, format!("start step {} goes nowhere", step.id), "give it on_completion");
            }
            (StepKind::End, Next::Always(_) | Next::ByResult { .. }) => {
                reader.fault(&keys, format!("end step {} goes on", step.id), "remove where it goes on");
            }
            (StepKind::Action(_) | StepKind::Parallel(_), Next::Nowhere) => {
                reader.fault(&keys, format!("step {} goes nowhere", step.id), "let it go on to an end step");
            }
        }
        if matches!(step.kind, StepKind::Start) && at != start {
            reader.fault(&keys, format!("{} is a second start step", step.id), "keep one");
        }
    }
    if let Some(step) = cycle(steps) {
        let id = &steps[step].id;
        reader.fault(&["workflow", id], format!("step {id} comes after itself"), "break the cycle");
        return;
    }
    let mut reached = reach(steps, start);
    reached.extend(exception.map(|step| reach(steps, step)).unwrap_or_default());
    for (_, step) in steps.iter().enumerate().filter(|(at, _)| !reached.contains(at)) {
        let what = format!("step {} cannot be reached", step.id);
        reader.fault(&["workflow", &step.id], what, "lead to it or remove it");
    }
    branches(reader, steps);
    if !steps.iter().any(|step| matches!(step.kind, StepKind::Action(_))) {
        reader.fault(&["workflow"], "the workflow has no action", "CACAO asks for at least one");
    }
}

/// CACAO 4.6: each branch of a parallel step ends at an end step of its own.
fn branches(reader: &mut Reader<'_>, steps: &[Step]) {
    for step in steps {
        let StepKind::Parallel(heads) = &step.kind else { continue };
        let mut seen: BTreeSet<usize> = follow(step.next).flat_map(|next| reach(steps, next)).collect();
        for head in heads {
            let branch = reach(steps, *head);
            if !seen.is_disjoint(&branch) {
                let what = format!("a branch of {} runs into another, or into what comes after it", step.id);
                reader.fault(
                    &["workflow", &step.id],
                    what,
                    "give each branch steps and an end step of its own",
                );
            }
            seen.extend(branch);
        }
    }
}

fn follow(next: Next) -> impl Iterator<Item = usize> {
    let (a, b) = match next {
        Next::Nowhere => (None, None),
        Next::Always(step) => (Some(step), None),
        Next::ByResult { success, failure } => (Some(success), failure),
    };
    a.into_iter().chain(b)
}

fn successors(step: &Step) -> Vec<usize> {
    let branches: &[usize] = match &step.kind {
        StepKind::Parallel(heads) => heads,
        StepKind::Start | StepKind::End | StepKind::Action(_) => &[],
    };
    branches.iter().copied().chain(follow(step.next)).collect()
}

fn reach(steps: &[Step], from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(step) = open.pop() {
        open.extend(successors(&steps[step]).into_iter().filter(|next| reached.insert(*next)));
    }
    reached
}

/// A step on a cycle: what is left when steps without a predecessor are taken away over and over.
fn cycle(steps: &[Step]) -> Option<usize> {
    let mut before = vec![0usize; steps.len()];
    for next in steps.iter().flat_map(successors) {
        before[next] += 1;
    }
    let mut open: Vec<usize> = (0..steps.len()).filter(|step| before[*step] == 0).collect();
    while let Some(step) = open.pop() {
        for next in successors(&steps[step]) {
            before[next] -= 1;
            if before[next] == 0 {
                open.push(next);
            }
        }
    }
    // What hangs behind a cycle is left too: name a step that truly reaches itself.
    (0..steps.len())
        .filter(|step| before[*step] > 0)
        .find(|step| successors(&steps[*step]).into_iter().any(|next| reach(steps, next).contains(step)))
}
