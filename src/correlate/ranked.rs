//! Ranked: a bag of numbers that answers with the k-th smallest.
//!
//! A weight-balanced tree in one vector (Adams 1993, with the parameters that Hirai and Yamamoto proved in 2011): adding,
//! taking out and asking cost O(log n) whatever is added in whatever order, so that no sender of alerts can slow it.

use serde::{Deserialize, Serialize};

type At = u32;
const NONE: At = At::MAX;
const DELTA: u32 = 3;
const GAMMA: u32 = 2;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Node {
    number: i128,
    /// How often it is held.
    copies: u32,
    /// Distinct numbers of this subtree: the balance.
    weight: u32,
    /// All numbers of this subtree: the ranks.
    size: u32,
    left: At,
    right: At,
}

/// A bag of numbers in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ranked {
    nodes: Vec<Node>,
    free: Vec<At>,
    root: At,
}

impl Default for Ranked {
    fn default() -> Self {
        Ranked { nodes: Vec::new(), free: Vec::new(), root: NONE }
    }
}

impl Ranked {
    /// How many numbers it holds.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.size(self.root)
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root == NONE
    }

    /// The number at `rank`, from 0.
    #[must_use]
    pub fn at(&self, mut rank: u32) -> Option<i128> {
        let mut at = self.root;
        while at != NONE {
            let node = &self.nodes[at as usize];
            let before = self.size(node.left);
            if rank < before {
                at = node.left;
            } else if rank < before + node.copies {
                return Some(node.number);
            } else {
                rank -= before + node.copies;
                at = node.right;
            }
        }
        None
    }

    /// Adds a number.
    pub fn add(&mut self, number: i128) {
        self.root = self.added(self.root, number);
    }

    /// Takes one copy of a number out; nothing happens where there is none.
    pub fn remove(&mut self, number: i128) {
        self.root = self.removed(self.root, number);
        if self.root == NONE {
            *self = Ranked::default();
        }
    }

    fn size(&self, at: At) -> u32 {
        if at == NONE { 0 } else { self.nodes[at as usize].size }
    }

    fn weight(&self, at: At) -> u32 {
        // One more than there are nodes, so that an empty side weighs something.
        if at == NONE { 1 } else { self.nodes[at as usize].weight + 1 }
    }

    fn added(&mut self, at: At, number: i128) -> At {
        if at == NONE {
            return self.leaf(number);
        }
        let node = self.nodes[at as usize];
        match number.cmp(&node.number) {
            std::cmp::Ordering::Equal => self.nodes[at as usize].copies += 1,
            std::cmp::Ordering::Less => {
                self.nodes[at as usize].left = self.added(node.left, number);
            }
            std::cmp::Ordering::Greater => {
                self.nodes[at as usize].right = self.added(node.right, number);
            }
        }
        self.balanced(at)
    }

    fn leaf(&mut self, number: i128) -> At {
        let node = Node { number, copies: 1, weight: 1, size: 1, left: NONE, right: NONE };
        if let Some(at) = self.free.pop() {
            self.nodes[at as usize] = node;
            return at;
        }
        self.nodes.push(node);
        At::try_from(self.nodes.len() - 1).expect("fewer than 2^32 numbers in a window")
    }

    fn removed(&mut self, at: At, number: i128) -> At {
        if at == NONE {
            return NONE;
        }
        let node = self.nodes[at as usize];
        match number.cmp(&node.number) {
            std::cmp::Ordering::Less => {
                self.nodes[at as usize].left = self.removed(node.left, number);
            }
            std::cmp::Ordering::Greater => {
                self.nodes[at as usize].right = self.removed(node.right, number);
            }
            std::cmp::Ordering::Equal if node.copies > 1 => self.nodes[at as usize].copies -= 1,
            std::cmp::Ordering::Equal => {
                if node.left == NONE || node.right == NONE {
                    self.free.push(at);
                    return if node.left == NONE { node.right } else { node.left };
                }
                let (least, rest) = self.without_least(node.right);
                let (number, copies) = (self.nodes[least as usize].number, self.nodes[least as usize].copies);
                self.free.push(least);
                let node = &mut self.nodes[at as usize];
                (node.number, node.copies, node.right) = (number, copies, rest);
            }
        }
        self.balanced(at)
    }

    /// The least node of a subtree, and the subtree without it.
    fn without_least(&mut self, at: At) -> (At, At) {
        let node = self.nodes[at as usize];
        if node.left == NONE {
            return (at, node.right);
        }
        let (least, rest) = self.without_least(node.left);
        self.nodes[at as usize].left = rest;
        (least, self.balanced(at))
    }

    /// Sums up a node whose sides are right, and turns it where one side outweighs the other; the subtree's new root.
    fn balanced(&mut self, at: At) -> At {
        let Node { left, right, .. } = self.nodes[at as usize];
        if self.weight(left) > DELTA * self.weight(right) {
            let Node { left: outer, right: inner, .. } = self.nodes[left as usize];
            if self.weight(inner) >= GAMMA * self.weight(outer) {
                self.nodes[at as usize].left = self.turned_left(left);
            }
            self.turned_right(at)
        } else if self.weight(right) > DELTA * self.weight(left) {
            let Node { left: inner, right: outer, .. } = self.nodes[right as usize];
            if self.weight(inner) >= GAMMA * self.weight(outer) {
                self.nodes[at as usize].right = self.turned_right(right);
            }
            self.turned_left(at)
        } else {
            self.sum(at);
            at
        }
    }

    fn turned_left(&mut self, at: At) -> At {
        let up = self.nodes[at as usize].right;
        self.nodes[at as usize].right = self.nodes[up as usize].left;
        self.nodes[up as usize].left = at;
        self.sum(at);
        self.sum(up);
        up
    }

    fn turned_right(&mut self, at: At) -> At {
        let up = self.nodes[at as usize].left;
        self.nodes[at as usize].left = self.nodes[up as usize].right;
        self.nodes[up as usize].right = at;
        self.sum(at);
        self.sum(up);
        up
    }

    fn sum(&mut self, at: At) {
        let Node { left, right, copies, .. } = self.nodes[at as usize];
        let (weight, size) =
            (self.weight(left) + self.weight(right) - 1, self.size(left) + self.size(right) + copies);
        let node = &mut self.nodes[at as usize];
        (node.weight, node.size) = (weight, size);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn depth(bag: &Ranked, at: At) -> u32 {
        if at == NONE {
            return 0;
        }
        let node = &bag.nodes[at as usize];
        1 + depth(bag, node.left).max(depth(bag, node.right))
    }

    proptest! {
        /// Against a sorted list; and never deep.
        #[test]
        fn ranks_are_those_of_a_sorted_list(steps in prop::collection::vec((-30i128..30, 0u8..5), 1..400)) {
            let (mut bag, mut list) = (Ranked::default(), Vec::new());
            for (number, what) in steps {
                if what < 3 {
                    bag.add(number);
                    list.insert(list.partition_point(|other| *other < number), number);
                } else {
                    bag.remove(number);
                    if let Ok(at) = list.binary_search(&number) {
                        list.remove(at);
                    }
                }
                prop_assert_eq!(bag.len() as usize, list.len());
                prop_assert_eq!(bag.is_empty(), list.is_empty());
                for (rank, number) in list.iter().enumerate() {
                    prop_assert_eq!(bag.at(u32::try_from(rank).unwrap()), Some(*number));
                }
                prop_assert_eq!(bag.at(bag.len()), None);
            }
        }
    }

    #[test]
    fn no_order_makes_it_deep() {
        let mut bag = Ranked::default();
        for number in 0..100_000 {
            bag.add(number);
        }
        assert!(depth(&bag, bag.root) <= 40, "{}", depth(&bag, bag.root));
        for number in (0..99_000).rev() {
            bag.remove(number);
        }
        assert!(depth(&bag, bag.root) <= 24, "{}", depth(&bag, bag.root));
        assert_eq!(bag.at(0), Some(99_000));
        assert!(bag.nodes.len() <= 100_000);
    }
}
