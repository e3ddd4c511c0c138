//! Graph: what is connected of one rule and tenant.
//!
//! A *chain* is what has one value in one field, in order: what is not settled, behind the last that is. Neighbours in a
//! chain are linked if they are near enough. What links between settled records join never comes apart again: it is a
//! *core*. A record that is not settled is a core of its own until it is. A [`Component`] is the cores that links
//! join.
//!
//! So a record that comes costs its place in each of its chains and the merges that it makes, the smaller into the larger;
//! one that settles leaves each chain with one settled record; one that is withdrawn costs the cores and the unsettled records of
//! its component, and no more.
//!
//! State: a node per record in a chain; it leaves with its last one: when the next of the value is settled, or
//! `timespan` after it. A core lives as long as its component or a node of it does; a component until it ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use serde::{Deserialize, Serialize};

use super::Linkable;
use super::chain::Chain;
use super::slab::{Place, Slab, Ticket};
use crate::correlate::dedup::SAME_ALERT_S;
use crate::correlate::group::Values;
use crate::flow::Turn;
use crate::record::{AlertId, Diff, Millis, Order, Sym, Tick, tick_of};

mod tell;

/// A finding, as it is told; its order's position is the operator's to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// When it ends, or, of what has not ended, by when it is told anew at the latest.
    pub order: Order,
    /// Event time of the last alert.
    pub time: Millis,
    /// What the first alert has in the fields.
    pub values: Values,
    /// All alerts in order.
    pub ids: Arc<Vec<AlertId>>,
}

/// See the head of this file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Graph {
    span_ms: Millis,
    least: usize,
    nodes: Slab<Node>,
    cores: Slab<Core>,
    components: Slab<Component>,
    chains: FxHashMap<(u8, Sym), Chain>,
    /// Nodes that are not settled.
    due: BTreeMap<Tick, Vec<Place>>,
    /// When a component is to be looked at: it may have ended, or what was said of it is about to settle.
    looks: BTreeMap<Tick, Vec<Ticket>>,
    /// Components that may have to be told.
    grown: Vec<Ticket>,
    /// What was said of components that are no more.
    withdrawn: Vec<Said>,
    /// As in [`crate::flow::tail`]: when chains are next looked through for what is too old to link.
    swept_at: usize,
    swept_by: Tick,
}

/// Fewer chains than this are not worth looking through before their time.
const SWEPT_MIN: usize = 1024;

/// A record in a chain.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Node {
    order: Order,
    values: Values,
    ids: Option<Arc<Vec<AlertId>>>,
    core: Place,
    /// How many chains it is in.
    chains: u8,
    is_settled: bool,
}

/// Records that nothing parts any more, or one that is not settled.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Core {
    members: SmallVec<[Member; 1]>,
    /// Its first record: tick, event time, identity.
    first: (Tick, Millis, AlertId),
    /// What that has in the fields.
    values: Values,
    /// Its last record's time.
    last_ms: Millis,
    /// The core that took it in; itself otherwise.
    into: Place,
    /// Nodes of it, cores that it took in, and its component: the core goes when all have.
    holders: u32,
    component: Option<Place>,
    /// Its place among its component's.
    at: u32,
    /// The node, where it is not settled.
    loose: Option<Place>,
}

/// An alert of a core, or a finding's.
#[derive(Debug, Serialize, Deserialize)]
struct Member {
    tick: Tick,
    time: Millis,
    id: AlertId,
    ids: Option<Arc<Vec<AlertId>>>,
}

/// Cores that links join.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Component {
    cores: SmallVec<[Place; 1]>,
    size: usize,
    /// Its first record's time, and its last one's.
    first_ms: Millis,
    last_ms: Millis,
    told: Option<Box<Told>>,
    look: Tick,
    has_grown: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Told {
    said: Said,
    size: usize,
}

/// A record's time among records: it never goes back along their order.
fn now(tick: Tick, time: Millis) -> Millis {
    time.max(tick.saturating_mul(1000))
}

/// The fields that hold something.
fn links(values: &Values) -> impl Iterator<Item = (u8, Sym)> {
    (0u8..).zip(values.iter().copied()).filter(|(_, value)| *value != Sym::EMPTY)
}

impl Graph {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(span_ms: Millis, least: usize) -> Graph {
        Graph {
            span_ms,
            least,
            nodes: Slab::default(),
            cores: Slab::default(),
            components: Slab::default(),
            chains: FxHashMap::default(),
            due: BTreeMap::new(),
            looks: BTreeMap::new(),
            grown: Vec::new(),
            withdrawn: Vec::new(),
            swept_at: SWEPT_MIN,
            swept_by: Tick::MAX,
        }
    }

    /// How many records may still be linked, and how many components have not ended.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        (self.nodes.len(), self.components.len())
    }

    /// Whether nothing is left of anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0) && self.withdrawn.is_empty()
    }

    /// Bytes that it holds, about: what lies in its tables, lists and findings.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let chains = self.chains.capacity() * size_of::<((u8, Sym), Chain)>()
            + self.chains.values().map(Chain::bytes).sum::<usize>();
        let members = self.cores.places().map(|core| &self.cores[core].members);
        let members = members.filter(|all| all.spilled()).map(|all| all.capacity() * size_of::<Member>());
        let told = self.components.places().filter_map(|place| self.components[place].told.as_ref());
        let told = told.map(|told| told.said.ids.capacity() * size_of::<AlertId>() + size_of::<Told>());
        let waiting = self.due.values().map(|all| all.capacity() * size_of::<Place>()).sum::<usize>()
            + self.looks.values().map(|all| all.capacity() * size_of::<Ticket>()).sum::<usize>();
        let rows = self.nodes.bytes() + self.cores.bytes() + self.components.bytes();
        rows + chains + members.sum::<usize>() + told.sum::<usize>() + waiting
    }

    /// A record comes.
    pub fn add(&mut self, one: Linkable) {
        let Linkable { order, values, ids, .. } = one;
        let member = Member { tick: order.tick, time: order.time, id: order.id, ids: ids.clone() };
        let node = self.nodes.put(Node { order, values: values.clone(), ids, ..Node::default() });
        let core = self.cores.put(Core {
            members: SmallVec::from_iter([member]),
            first: (order.tick, order.time, order.id),
            last_ms: now(order.tick, order.time),
            values: values.clone(),
            holders: 1,
            loose: Some(node),
            ..Core::default()
        });
        (self.cores[core].into, self.nodes[node].core) = (core, core);
        self.begin(core);
        if self.chains.is_empty() {
            self.swept_by = self.dies(node);
        }
        for link in links(&values) {
            let Self { chains, nodes, .. } = self;
            let chain = chains.entry(link).or_default();
            let is_last = chain.last().is_none_or(|last| nodes[last].order <= order);
            let at = if is_last {
                chain.len()
            } else {
                chain.partition_point(|other| nodes[other].order <= order)
            };
            chain.insert(at, node);
            nodes[node].chains += 1;
            self.join_neighbours(node, link, at);
        }
        self.due.entry(order.tick).or_default().push(node);
    }

    /// A record that is not settled is withdrawn.
    pub fn take_back(&mut self, one: &Linkable) {
        let Some(node) = self.find(one) else { return };
        for link in links(&one.values) {
            let at = self.at(node, link);
            let Some(chain) = self.chains.get_mut(&link) else { continue };
            chain.remove(at);
            if chain.len() == 0 {
                self.chains.remove(&link);
            }
        }
        if let Some(due) = self.due.get_mut(&one.order.tick) {
            due.retain(|other| *other != node);
            if due.is_empty() {
                self.due.remove(&one.order.tick);
            }
        }
        let core = self.nodes.take(node).core;
        self.part(core);
        self.let_go(core);
    }

    /// The node of a record that is not settled.
    fn find(&self, one: &Linkable) -> Option<Place> {
        let chain = self.chains.get(&links(&one.values).next()?)?;
        let from = chain.partition_point(|other| self.nodes[other].order < one.order);
        let same = |other: &Place| {
            let other = &self.nodes[*other];
            !other.is_settled && other.ids == one.ids && other.values == one.values
        };
        chain.from(from).take_while(|other| self.nodes[*other].order == one.order).find(same)
    }

    /// Where in a chain a node is.
    fn at(&self, node: Place, link: (u8, Sym)) -> usize {
        let Some(chain) = self.chains.get(&link) else { return 0 };
        let order = &self.nodes[node].order;
        let from = chain.partition_point(|other| self.nodes[other].order < *order);
        from + chain.from(from).position(|other| other == node).unwrap_or(0)
    }

    fn near(&self, one: Place, other: Place) -> bool {
        self.now_of(one).abs_diff(self.now_of(other)) <= self.span_ms.unsigned_abs()
    }

    fn now_of(&self, node: Place) -> Millis {
        let order = &self.nodes[node].order;
        now(order.tick, order.time)
    }

    /// Joins a node's component with those of its neighbours in a chain.
    fn join_neighbours(&mut self, node: Place, link: (u8, Sym), at: usize) {
        let Some(chain) = self.chains.get(&link) else { return };
        let neighbours = [at.checked_sub(1).and_then(|at| chain.get(at)), chain.get(at + 1)];
        for other in neighbours.into_iter().flatten() {
            if self.near(node, other) {
                let (own, others) = (self.core_of(node), self.core_of(other));
                self.join(own, others);
            }
        }
    }

    /// The core that a node is of now.
    fn core_of(&mut self, node: Place) -> Place {
        let noted = self.nodes[node].core;
        let mut core = noted;
        while self.cores[core].into != core {
            core = self.cores[core].into;
        }
        if core != noted {
            self.cores[core].holders += 1;
            self.nodes[node].core = core;
            self.let_go(noted);
        }
        core
    }

    /// One holder of a core is no more.
    fn let_go(&mut self, core: Place) {
        let mut core = core;
        loop {
            self.cores[core].holders -= 1;
            if self.cores[core].holders > 0 {
                return;
            }
            let into = self.cores.take(core).into;
            if into == core {
                return;
            }
            core = into;
        }
    }

    /// A component of one core.
    fn begin(&mut self, core: Place) {
        let Core { members, first: (tick, time, _), last_ms, .. } = &self.cores[core];
        let (size, first_ms, last_ms) = (members.len(), now(*tick, *time), *last_ms);
        let cores = SmallVec::from_iter([core]);
        let place = self.components.put(Component { cores, size, first_ms, last_ms, ..Component::default() });
        let core = &mut self.cores[core];
        (core.component, core.at) = (Some(place), 0);
        core.holders += 1;
        self.look(place, tick_of(self.ends_ms(place)));
        self.note(place);
    }

    /// Joins the components of two cores: the smaller goes into the larger, and what was said of it is withdrawn.
    fn join(&mut self, one: Place, other: Place) {
        let (Some(one), Some(other)) = (self.cores[one].component, self.cores[other].component) else {
            return;
        };
        if one == other {
            return;
        }
        let swap = self.components[one].size < self.components[other].size;
        let (home, gone) = if swap { (other, one) } else { (one, other) };
        let Component { cores, size, first_ms, last_ms, told, .. } = self.components.take(gone);
        let row = &mut self.components[home];
        for (at, core) in (row.cores.len()..).zip(&cores) {
            let row = &mut self.cores[*core];
            (row.component, row.at) = (Some(home), u32::try_from(at).unwrap_or(u32::MAX));
        }
        row.cores.extend(cores);
        row.size += size;
        (row.first_ms, row.last_ms) = (row.first_ms.min(first_ms), row.last_ms.max(last_ms));
        self.withdrawn.extend(told.map(|told| told.said));
        self.note(home);
    }

    /// A component is put together anew without one core, which is no longer linked with others.
    fn part(&mut self, without: Place) {
        let Some(place) = self.cores[without].component else { return };
        let Component { cores, told, .. } = self.components.take(place);
        self.withdrawn.extend(told.map(|told| told.said));
        let mut loose = Vec::new();
        for core in cores {
            self.cores[core].component = None;
            if core != without {
                self.begin(core);
                loose.extend(self.cores[core].loose);
            }
            self.let_go(core);
        }
        for node in loose {
            for link in links(&self.nodes[node].values.clone()) {
                let at = self.at(node, link);
                self.join_neighbours(node, link, at);
            }
        }
    }

    /// Looks at a component when the clock has passed the tick.
    fn look(&mut self, place: Place, tick: Tick) {
        self.components[place].look = tick;
        let ticket = self.components.ticket(place);
        self.looks.entry(tick).or_default().push(ticket);
    }

    /// When nothing can join a component any more.
    fn ends_ms(&self, place: Place) -> Millis {
        self.components[place].last_ms.saturating_add(self.span_ms)
    }

    /// The first settled tick at which nothing can be linked with a record any more.
    fn dies(&self, node: Place) -> Tick {
        tick_of(self.now_of(node).saturating_add(self.span_ms)) + 1
    }

    /// What lies below `before` is settled.
    fn settle(&mut self, before: Tick) {
        while let Some(entry) = self.due.first_entry().filter(|entry| *entry.key() < before) {
            let mut nodes = entry.remove();
            nodes.sort_unstable_by_key(|node| self.nodes[*node].order);
            for node in nodes {
                self.settle_node(node);
            }
        }
        if self.chains.len() > self.swept_at || self.swept_by <= before {
            self.sweep(before);
        }
    }

    /// A node and the settled one before it in each of its chains are of one core from now on, if they are near.
    fn settle_node(&mut self, node: Place) {
        self.nodes[node].is_settled = true;
        let core = self.core_of(node);
        self.cores[core].loose = None;
        for link in links(&self.nodes[node].values.clone()) {
            while let Some(chain) = self.chains.get_mut(&link)
                && let Some(before) = chain.get(0).filter(|first| *first != node)
            {
                chain.remove(0);
                if self.near(before, node) {
                    let (one, other) = (self.core_of(before), self.core_of(node));
                    self.weld(one, other);
                }
                self.leave(before);
            }
        }
    }

    /// Two cores of one component are one from now on.
    fn weld(&mut self, one: Place, other: Place) {
        let (Some(place), Some(_)) = (self.cores[one].component, self.cores[other].component) else { return };
        if one == other {
            return;
        }
        let swap = self.cores[one].members.len() < self.cores[other].members.len();
        let (home, gone) = if swap { (other, one) } else { (one, other) };
        let row = &mut self.cores[gone];
        let (members, values) = (std::mem::take(&mut row.members), std::mem::take(&mut row.values));
        let (first, last_ms, at) = (row.first, row.last_ms, row.at as usize);
        (row.into, row.component) = (home, None);
        let row = &mut self.cores[home];
        row.members.extend(members);
        if first < row.first {
            (row.first, row.values) = (first, values);
        }
        row.last_ms = row.last_ms.max(last_ms);
        row.holders += 1;
        let cores = &mut self.components[place].cores;
        cores.swap_remove(at);
        if let Some(moved) = cores.get(at).copied() {
            self.cores[moved].at = u32::try_from(at).unwrap_or(u32::MAX);
        }
        self.let_go(gone);
    }

    /// A node has left a chain.
    fn leave(&mut self, node: Place) {
        self.nodes[node].chains -= 1;
        if self.nodes[node].chains == 0 {
            let core = self.nodes.take(node).core;
            self.let_go(core);
        }
    }

    /// Drops the chains whose only record is too old to link.
    fn sweep(&mut self, before: Tick) {
        let (mut dead, mut latest) = (Vec::new(), Tick::MIN);
        let mut chains = std::mem::take(&mut self.chains);
        chains.retain(|_, chain| {
            let Some(last) = chain.last() else { return false };
            let dies = self.dies(last);
            let lives = dies > before || !self.nodes[last].is_settled;
            if lives {
                latest = latest.max(dies);
            } else {
                dead.push(last);
            }
            lives
        });
        for node in dead {
            self.leave(node);
        }
        self.swept_at = (chains.len() * 2).max(SWEPT_MIN);
        self.swept_by = if chains.is_empty() { Tick::MAX } else { latest };
        if chains.capacity() > 8 * self.swept_at {
            chains.shrink_to(self.swept_at);
        }
        self.chains = chains;
    }
}
