//! Handing: what the operators of a cluster keep reaches the first process, and what an earlier run kept reaches all.
//!
//! In: what each worker remembers at an epoch's end. Out: the same at the first worker, before it hears that the epoch is
//! done. At a start, in: the past, at the first process. Out: the same at every process, before a worker builds the run's
//! dataflow. An operator knows best which of its items lead to which worker, so every process gets the items of all.
//! State: pieces under way; those of a start are few at a time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;

use super::beginning::OF_THREADS;
use crate::flow::kept::{Kept, Past};
use crate::flow::{Stream, Turn};
use crate::record::Epoch;

/// Pieces under way to each process.
const UNDER_WAY: u64 = 64;
/// How long a worker that waits sleeps before it looks again.
const IDLE: Duration = Duration::from_micros(200);

/// What a worker's operators kept and nobody has sent yet.
pub(super) type Unsent = Rc<RefCell<Vec<Kept>>>;

/// Sends what is `unsent` of an epoch whose turn keeps, once it is `done` everywhere. Other epochs are not held up.
pub(super) fn gather<'scope>(
    clock: Stream<'scope, Turn>,
    done: Stream<'scope, ()>,
    unsent: Unsent,
) -> Stream<'scope, Kept> {
    type Pieces = CapacityContainerBuilder<Vec<Kept>>;
    clock.binary_frontier::<_, Pieces, _, _, _, _>(done, Pipeline, Pipeline, "gather", |_, _| {
        let mut due = BTreeMap::new();
        move |(clock, _), (done, frontier), output| {
            clock.for_each(|cap, turns| {
                for turn in turns.drain(..).filter(|turn| turn.keeps) {
                    due.extend(cap.retain_least(0).map(|may| (turn.epoch, may)));
                }
            });
            done.for_each(|_, _| ());
            while let Some(next) = due.first_entry().filter(|next| !frontier.less_equal(next.key())) {
                let (epoch, may): (Epoch, _) = next.remove_entry();
                // Later epochs may have been kept by then.
                let (now, later) = unsent.take().into_iter().partition(|kept| kept.epoch == epoch);
                unsent.replace(later);
                let now: Vec<Kept> = now;
                for kept in &now {
                    output.session(&may).give_iterator(kept.pieces());
                }
            }
        }
    })
}

/// Hands the first process's `past` to one of the `workers` of each other process, which puts it into its own.
pub(super) fn hand(worker: &mut Worker, past: &Arc<Past>, workers: usize) {
    let own = Arc::clone(past);
    let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
        let mut input = InputHandle::<u64, CapacityContainerBuilder<Vec<(u64, Kept)>>>::new();
        let to = Exchange::new(|(to, _): &(u64, Kept)| *to);
        let taken =
            input.to_stream(scope).unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(to, "hand", |_, _| {
                move |input, _| {
                    input.for_each(|_, pieces| pieces.drain(..).for_each(|(_, piece)| own.put(piece)));
                }
            });
        let probe = ProbeHandle::new();
        taken.probe_with(&probe);
        (input, probe)
    });
    if worker.index() == 0 {
        let others = (workers..worker.peers()).step_by(workers);
        let mut count: u64 = 0;
        past.pieces(
            |operator| !OF_THREADS.contains(&operator),
            |piece| {
                others.clone().for_each(|to| input.send((to as u64, piece.clone())));
                count += 1;
                input.advance_to(count);
                while probe.less_than(&count.saturating_sub(UNDER_WAY)) {
                    worker.step_or_park(Some(IDLE));
                }
            },
        );
    }
    drop(input);
    while !probe.done() {
        worker.step_or_park(Some(IDLE));
    }
}
