//! Turns: an operator that does its work once per epoch, when the epoch is complete on all its inputs.
//!
//! In: two streams of records (either may be empty) and the turns, of which every worker gets its own copy.
//! Out: two streams, at the epoch of the turn.
//! State: the records of epochs that are not complete.
//!
//! Work done per epoch, on all of its records, can sort them: so no result depends on how records were
//! spread over messages, workers or time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;

use super::Stream;
use crate::record::{Epoch, Tick};

/// The end of an epoch: the tick below which everything is settled from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The epoch that ends.
    pub epoch: Epoch,
    /// No record will come with a lower tick.
    pub settled: Tick,
    /// Incidents, and what follows from them, are made of everything below it: of what is settled, or, where the policy
    /// acts early, of all that came.
    pub acts: Tick,
    /// The input has ended: what is still open says its last word.
    pub last: bool,
    /// What is remembered at its end is told, to be kept.
    pub keeps: bool,
}

/// One epoch's work at one worker.
pub struct Work<'a, A, B, X, Y> {
    /// The turn.
    pub turn: Turn,
    /// The epoch's records of the first input, in no particular order.
    pub first: &'a mut Vec<A>,
    /// The epoch's records of the second input.
    pub second: &'a mut Vec<B>,
    /// What goes to the first output.
    pub out: &'a mut Vec<X>,
    /// What goes to the second output.
    pub side: &'a mut Vec<Y>,
}

struct Pending<A, B> {
    first: Vec<A>,
    second: Vec<B>,
    turn: Option<Turn>,
    may: Option<(Capability<Epoch>, Capability<Epoch>)>,
}

/// Room of an epoch's records is used again, unless it was an unusual epoch.
const ROOM_MAX: usize = 16 << 10;

/// Room for the records of an epoch, from one before.
struct Room<A, B>(Vec<A>, Vec<B>);

impl<A, B> Room<A, B> {
    fn pending(&mut self) -> Pending<A, B> {
        let (first, second) = (std::mem::take(&mut self.0), std::mem::take(&mut self.1));
        Pending { first, second, turn: None, may: None }
    }

    fn keep(&mut self, mut first: Vec<A>, mut second: Vec<B>) {
        first.clear();
        second.clear();
        first.shrink_to(ROOM_MAX);
        second.shrink_to(ROOM_MAX);
        (self.0, self.1) = (first, second);
    }
}

/// Builds an operator that calls `logic` once per epoch and worker, in epoch order.
pub fn turns<'scope, A, B, X, Y>(
    name: &str,
    first: (Stream<'scope, A>, impl ParallelizationContract<Epoch, Vec<A>>),
    second: (Stream<'scope, B>, impl ParallelizationContract<Epoch, Vec<B>>),
    turns: Stream<'scope, Turn>,
    mut logic: impl FnMut(Work<'_, A, B, X, Y>) + 'static,
) -> (Stream<'scope, X>, Stream<'scope, Y>)
where
    A: Clone + 'static,
    B: Clone + 'static,
    X: Clone + 'static,
    Y: Clone + 'static,
{
    let mut builder = OperatorBuilder::new(name.to_owned(), turns.scope());
    let mut first = builder.new_input(first.0, first.1);
    let mut second = builder.new_input(second.0, second.1);
    let mut turns = builder.new_input(turns, Pipeline);
    let (out, out_stream) = builder.new_output::<Vec<X>>();
    let (side, side_stream) = builder.new_output::<Vec<Y>>();
    let mut out = OutputBuilder::<_, CapacityContainerBuilder<Vec<X>>>::from(out);
    let mut side = OutputBuilder::<_, CapacityContainerBuilder<Vec<Y>>>::from(side);
    builder.build(move |_| {
        let mut pending: BTreeMap<Epoch, Pending<A, B>> = BTreeMap::new();
        let mut room = Room(Vec::new(), Vec::new());
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        move |frontiers| {
            first.for_each(|cap, data| {
                if let Some(epoch) = cap.least() {
                    pending.entry(*epoch).or_insert_with(|| room.pending()).first.append(data);
                }
            });
            second.for_each(|cap, data| {
                if let Some(epoch) = cap.least() {
                    pending.entry(*epoch).or_insert_with(|| room.pending()).second.append(data);
                }
            });
            turns.for_each(|cap, data| {
                for turn in data.drain(..) {
                    let entry = pending.entry(turn.epoch).or_insert_with(|| room.pending());
                    entry.turn = Some(turn);
                    entry.may = cap.retain_least(0).zip(cap.retain_least(1));
                }
            });
            while let Some(entry) = pending.first_entry() {
                if !complete(*entry.key(), frontiers) {
                    break;
                }
                let mut now = entry.remove();
                let (Some(turn), Some((may_out, may_side))) = (now.turn, now.may) else {
                    unreachable!("every worker gets the turn of every epoch that has records");
                };
                logic(Work {
                    turn,
                    first: &mut now.first,
                    second: &mut now.second,
                    out: &mut xs,
                    side: &mut ys,
                });
                if !xs.is_empty() {
                    out.activate().session_with_builder(&may_out).give_iterator(xs.drain(..));
                }
                if !ys.is_empty() {
                    side.activate().session_with_builder(&may_side).give_iterator(ys.drain(..));
                }
                room.keep(now.first, now.second);
            }
        }
    });
    (out_stream, side_stream)
}

fn complete(epoch: Epoch, frontiers: &[MutableAntichain<Epoch>]) -> bool {
    frontiers.iter().all(|frontier| !frontier.less_equal(&epoch))
}
