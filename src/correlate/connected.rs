//! `connected`: alerts that hang together, at least so many. A type of Quell's own, beside Sigma's.
//!
//! In: alerts, and findings of lower correlations, of one rule and tenant, in any order, each to be added or taken back.
//! Out: findings with diffs.
//!
//! Two alerts are linked where they follow one another among those with the same value in one field of `group-by`, any
//! one, and are `timespan` apart at most, to the millisecond; the order is that of records, the time their *now*
//! ([`super::window`]). An alert that has none of the fields is none of the rule's. What links join, over any number of
//! alerts, is a component; one with as many alerts as the condition asks for has one finding, of all its alerts. It ends when
//! nothing can join it any more, `timespan` after its last alert. That is the finding's tick: until it is settled what was said is
//! provisional, and for correlations above it happens then. Its time is its last alert's, its group what its first alert has
//! in the fields.
//!
//! Said at once: when there are enough alerts; anew, the former withdrawn, when their number has doubled since, when what
//! was said is about to settle while alerts still come, and at the end; a merge withdraws what was said of the smaller. So
//! what is said stays within a few times the number of alerts, and what stands in the end is the truth.
//!
//! An alert that comes only ever joins: one between two that are linked is near enough to both. One that is withdrawn may
//! part a component, which is put together anew, and told anew, of that component's settled cores and unsettled alerts.
//!
//! State: see [`graph`]. By rule and tenant. Per value of each field its last settled alert, until `timespan` has passed
//! since, and the unsettled ones: about 800 bytes for an alert of two values that no other has. Per component that has not
//! ended 40 bytes an alert, twice that at most while its list grows, and 16 more if told. Nothing bounds a component itself:
//! while alerts keep linking to it, it grows by those bytes an alert.
//!
//! Why by tenant: an alert's values live at one worker only if all of a tenant's do. One worker takes what it is given
//! several times faster than it can be parsed (benches/correlate.rs).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::vec::ToStream;

use super::findings::behind;
use super::group::{Compiled, Found, Group, Values, by_identity};
use crate::flow::{Keeping, Stream, Turn, route, turns};
use crate::record::{AlertId, Diff, Order, Sym};

mod chain;
pub mod graph;
mod slab;

use graph::Graph;

/// An alert, or a finding of another rule, that may be linked with others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Linkable {
    /// Index of the correlation rule.
    pub rule: u32,
    /// Whose.
    pub tenant: Sym,
    /// Its place.
    pub order: Order,
    /// What it has in the fields, in their order.
    pub values: Values,
    /// The alerts of a finding; none where it is an alert.
    pub ids: Option<Arc<Vec<AlertId>>>,
}

/// Builds the operator for one level's rules.
pub(super) fn connected<'scope>(
    linkable: Stream<'scope, (Linkable, Diff)>,
    clock: Stream<'scope, Turn>,
    rules: &Arc<[Compiled]>,
    keeping: Keeping,
) -> Stream<'scope, (Found, Diff)> {
    let rules = Arc::clone(rules);
    let mut graphs: BTreeMap<(u32, Sym), Graph> = BTreeMap::new();
    let known = by_identity(&rules);
    let of_tenant = |(_, tenant, _): &(Sym, Sym, Graph)| route(*tenant);
    keeping.restore(of_tenant, |(identity, tenant, graph)| {
        if let Some(rule) = known.get(&identity) {
            graphs.insert((*rule, tenant), graph);
        }
    });
    let by_tenant = Exchange::new(|(one, _): &(Linkable, Diff)| route(one.tenant));
    let nothing = Vec::<()>::new().to_stream(clock.scope());
    let (out, _) = turns("connected", (linkable, by_tenant), (nothing, Pipeline), clock, move |work| {
        in_order(work.first);
        for (one, diff) in work.first.drain(..) {
            let rule = &rules[one.rule as usize];
            let graph = graphs
                .entry((one.rule, one.tenant))
                .or_insert_with(|| Graph::new(rule.extent.span_ms, rule.connects().unwrap_or(usize::MAX)));
            if diff > 0 {
                graph.add(one);
            } else {
                graph.take_back(&one);
            }
        }
        let out: &mut Vec<(Found, Diff)> = work.out;
        for ((rule, tenant), graph) in &mut graphs {
            let position = behind(&rules[*rule as usize], *rule);
            graph.turn(work.turn, |said, diff| {
                let values = said.values.iter().copied().collect();
                let found = Found {
                    order: Order { position, ..said.order },
                    time: said.time,
                    group: Group { rule: *rule, tenant: *tenant, values },
                    ids: Arc::clone(&said.ids),
                };
                out.push((found, diff));
            });
        }
        graphs.retain(|_, graph| !graph.is_empty());
        keeping.keep(work.turn, |items| {
            for ((rule, tenant), graph) in &graphs {
                items.put(&(rules[*rule as usize].identity, tenant, graph));
            }
        });
        out.sort_unstable_by(|(a, one), (b, other)| (a.order, &a.ids, *one).cmp(&(b.order, &b.ids, *other)));
        let _: &mut Vec<()> = work.side;
    });
    out
}

/// Sorted, what was taken back within the epoch left out, and what is taken back first.
fn in_order(changes: &mut Vec<(Linkable, Diff)>) {
    changes.sort_unstable_by(|(a, one), (b, other)| {
        (a.order, a.rule, a.tenant, *one).cmp(&(b.order, b.rule, b.tenant, *other))
    });
    if changes.iter().all(|(_, diff)| *diff > 0) {
        return;
    }
    let mut sums: Vec<(Linkable, Diff)> = Vec::with_capacity(changes.len());
    for (one, diff) in changes.drain(..) {
        let mut near = sums.iter_mut().rev().take_while(|(other, _)| other.order == one.order);
        match near.find(|(other, _)| *other == one) {
            Some((_, sum)) => *sum += diff,
            None => sums.push((one, diff)),
        }
    }
    sums.retain(|(_, diff)| *diff != 0);
    sums.sort_by_key(|(one, diff)| (*diff > 0, one.order));
    *changes = sums;
}
