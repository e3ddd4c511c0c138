//! Chain: records of one value in order. Most have one, and lie in the table itself.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::slab::Place;

/// Nodes in order.
#[derive(Debug, Default, Serialize, Deserialize)]
#[expect(clippy::box_collection, reason = "most are one node long: the table's rows stay small")]
pub(super) enum Chain {
    /// No node.
    #[default]
    Empty,
    /// One.
    One(Place),
    /// Several.
    Many(Box<VecDeque<Place>>),
}

impl Chain {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Chain::Empty => 0,
            Chain::One(_) => 1,
            Chain::Many(all) => all.len(),
        }
    }

    /// One of them.
    pub(super) fn get(&self, at: usize) -> Option<Place> {
        match self {
            Chain::Empty => None,
            Chain::One(one) => (at == 0).then_some(*one),
            Chain::Many(all) => all.get(at).copied(),
        }
    }

    /// The last.
    pub(super) fn last(&self) -> Option<Place> {
        self.get(self.len().checked_sub(1)?)
    }

    /// Those from one place on.
    pub(super) fn from(&self, at: usize) -> impl Iterator<Item = Place> {
        (at..self.len()).filter_map(|at| self.get(at))
    }

    /// How many there are of which something holds that holds of the first ones alone.
    pub(super) fn partition_point(&self, mut holds: impl FnMut(Place) -> bool) -> usize {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = usize::midpoint(from, to);
            if self.get(middle).is_some_and(&mut holds) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }

    /// Puts one in.
    pub(super) fn insert(&mut self, at: usize, node: Place) {
        match self {
            Chain::Empty => *self = Chain::One(node),
            Chain::One(one) => {
                let both = if at == 0 { [node, *one] } else { [*one, node] };
                *self = Chain::Many(Box::new(VecDeque::from(both)));
            }
            Chain::Many(all) => all.insert(at, node),
        }
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, at: usize) {
        match self {
            Chain::Empty => {}
            Chain::One(_) => *self = Chain::Empty,
            Chain::Many(all) => {
                all.remove(at);
                if let (1, Some(one)) = (all.len(), all.front().copied()) {
                    *self = Chain::One(one);
                }
            }
        }
    }

    /// Bytes that lie elsewhere.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Chain::Empty | Chain::One(_) => 0,
            Chain::Many(all) => size_of::<VecDeque<Place>>() + all.capacity() * size_of::<Place>(),
        }
    }
}
