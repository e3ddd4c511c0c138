//! Paths: the fields that all mappings ask for, as one trie of keys.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::plan::mapping::{FieldPath, OneOrMany};

/// A place in the trie.
pub(super) type Node = u32;

/// Where the trie begins.
pub(super) const ROOT: Node = 0;

/// What nobody asks for lies there.
pub(super) const NOWHERE: Node = Node::MAX;

/// The trie; each path has a slot.
pub(super) struct Paths {
    nodes: Vec<Branch>,
    slots: BTreeMap<FieldPath, u16>,
}

#[derive(Default)]
struct Branch {
    slot: Option<u16>,
    keys: FxHashMap<Box<str>, Node>,
}

impl Paths {
    pub(super) fn new() -> Self {
        Paths { nodes: vec![Branch::default()], slots: BTreeMap::new() }
    }

    /// How many slots there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot of `path`, new if need be.
    pub(super) fn slot(&mut self, path: &FieldPath) -> u16 {
        if let Some(slot) = self.slots.get(path) {
            return *slot;
        }
        let slot = u16::try_from(self.slots.len()).expect("fewer than 65,536 fields in all mapping files");
        self.slots.insert(path.clone(), slot);
        self.insert(ROOT, path.text(), slot);
        slot
    }

    /// The slots of alternatives, in order.
    pub(super) fn slots(&mut self, paths: &OneOrMany<FieldPath>) -> Box<[u16]> {
        paths.0.iter().map(|path| self.slot(path)).collect()
    }

    /// Every way to read the dots: as a step into an object, or as part of a key.
    fn insert(&mut self, node: Node, path: &str, slot: u16) {
        for (dot, _) in path.match_indices('.') {
            let child = self.child(node, &path[..dot]);
            self.insert(child, &path[dot + 1..], slot);
        }
        let leaf = self.child(node, path);
        self.nodes[leaf as usize].slot = Some(slot);
    }

    fn child(&mut self, node: Node, key: &str) -> Node {
        if let Some(child) = self.step(node, key) {
            return child;
        }
        let child = Node::try_from(self.nodes.len()).expect("fewer than 2^32 keys in all mapping files");
        self.nodes.push(Branch::default());
        self.nodes[node as usize].keys.insert(key.into(), child);
        child
    }

    /// Where `key` leads from `node`; none where no mapping asks.
    pub(super) fn step(&self, node: Node, key: &str) -> Option<Node> {
        self.nodes[node as usize].keys.get(key).copied()
    }

    /// Whether a path goes on from `node`.
    pub(super) fn goes_on(&self, node: Node) -> bool {
        !self.nodes[node as usize].keys.is_empty()
    }

    /// The slot of what lies at `node`.
    pub(super) fn slot_at(&self, node: Node) -> Option<u16> {
        self.nodes[node as usize].slot
    }
}
