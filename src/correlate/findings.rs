//! `findings`: the correlation rules over the stream of admitted alerts.
//!
//! In: admitted alerts with diffs, early. Out: findings with diffs: said at once, withdrawn only where a late alert or
//! a withdrawn one undoes them, never by expiry; of what is connected also where it has grown.
//! State: per rule and group what [`super::machine`] keeps, and what [`super::connected`] does.
//!
//! A rule that takes in findings of others stands one level above them: each level is an operator of its own, which gets
//! the changes of those below in the same epoch. So a finding that is withdrawn below is withdrawn from what it made
//! above in the same breath.

use std::sync::Arc;

use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::vec::{Map, ToStream};

use super::connected::{Linkable, connected};
use super::group::{Compiled, Found, Group, by_identity};
use super::index::Index;
use super::machine::{Matching, State};
use super::window::Event;
use crate::flow::{Keeper, Keeping, Stream, Tails, Turn, sort_nearly, turns};
use crate::record::{Alert, AlertId, Diff, Finding, Names, Order, Sym};

type Change = (Group, Event, Diff);

/// Builds the operators for all correlation rules.
#[expect(clippy::needless_pass_by_value, reason = "streams are handed over, as to every operator")]
pub fn findings<'scope>(
    alerts: Stream<'scope, (Arc<Alert>, Diff)>,
    clock: Stream<'scope, Turn>,
    rules: &Arc<[Compiled]>,
    names: &Arc<Names>,
    keeper: &Keeper,
) -> Stream<'scope, (Finding, Diff)> {
    let scope = clock.scope();
    let top = rules.iter().map(|rule| rule.level).max().unwrap_or(0);
    let mut found: Vec<Stream<'scope, (Found, Diff)>> = Vec::new();
    for own in 0..=top {
        let keeping = |what: &str| keeper.of(format!("{what} {own}"));
        let index = Arc::new(Index::of(rules, Some(own)));
        let (mut events, mut linkable) = (Vec::new(), Vec::new());
        if index.takes_alerts() {
            events.push(of_alerts(alerts.clone(), &index, names));
            linkable.extend(index.connects().then(|| links_of_alerts(alerts.clone(), &index, names)));
        }
        if index.takes_findings() {
            events.extend(found.iter().map(|below| of_findings(below.clone(), &index, names)));
            linkable.extend(found.iter().map(|below| links_of_findings(below.clone(), &index)));
        }
        let mut own = vec![level(scope.concatenate(events), clock.clone(), rules, keeping("findings"))];
        if index.connects() {
            own.push(connected(scope.concatenate(linkable), clock.clone(), rules, keeping("connected")));
        }
        found.push(scope.concatenate(own));
    }
    let (rules, names) = (Arc::clone(rules), Arc::clone(names));
    scope.concatenate(found).flat_map(move |(found, diff)| {
        let rule = &rules[found.group.rule as usize];
        rule.told.then(|| (told(&found, rule, &names), diff))
    })
}

fn of_alerts<'scope>(
    alerts: Stream<'scope, (Arc<Alert>, Diff)>,
    index: &Arc<Index>,
    names: &Arc<Names>,
) -> Stream<'scope, Change> {
    let (index, names) = (Arc::clone(index), Arc::clone(names));
    alerts.flat_map(move |(alert, diff)| {
        index.alert(&alert, &names, diff).into_iter().map(move |(group, event)| (group, event, diff))
    })
}

fn of_findings<'scope>(
    found: Stream<'scope, (Found, Diff)>,
    index: &Arc<Index>,
    names: &Arc<Names>,
) -> Stream<'scope, Change> {
    let (index, names) = (Arc::clone(index), Arc::clone(names));
    found.flat_map(move |(found, diff)| {
        index.finding(&found, &names, diff).into_iter().map(move |(group, event)| (group, event, diff))
    })
}

fn links_of_alerts<'scope>(
    alerts: Stream<'scope, (Arc<Alert>, Diff)>,
    index: &Arc<Index>,
    names: &Arc<Names>,
) -> Stream<'scope, (Linkable, Diff)> {
    let (index, names) = (Arc::clone(index), Arc::clone(names));
    alerts.flat_map(move |(alert, diff)| index.links(&alert, &names).into_iter().map(move |one| (one, diff)))
}

fn links_of_findings<'scope>(
    found: Stream<'scope, (Found, Diff)>,
    index: &Arc<Index>,
) -> Stream<'scope, (Linkable, Diff)> {
    let index = Arc::clone(index);
    found.flat_map(move |(found, diff)| index.finding_links(&found).into_iter().map(move |one| (one, diff)))
}

/// One level's rules.
fn level<'scope>(
    events: Stream<'scope, Change>,
    clock: Stream<'scope, Turn>,
    rules: &Arc<[Compiled]>,
    keeping: Keeping,
) -> Stream<'scope, (Found, Diff)> {
    let rules = Arc::clone(rules);
    let mut tails: Tails<Group, Matching> = Tails::new(Matching { rules: Arc::clone(&rules) });
    let known = by_identity(&rules);
    keeping.restore_all(|(identity, mut group, state, mut events): (Sym, Group, State, Vec<Event>)| {
        let Some(rule) = known.get(&identity) else { return };
        group.rule = *rule;
        if keeping.owns(group.route()) {
            for event in &mut events {
                event.rule = *rule;
            }
            tails.restore(group, state, events);
        }
    });
    let route = Exchange::new(|(group, _, _): &Change| group.route());
    let nothing = Vec::<()>::new().to_stream(clock.scope());
    let (out, _) = turns("findings", (events, route), (nothing, Pipeline), clock, move |work| {
        in_order(work.first);
        let out: &mut Vec<(Found, Diff)> = work.out;
        let settled = work.turn.settled;
        for (group, event, diff) in work.first.drain(..) {
            let position = behind(&rules[event.rule as usize], event.rule);
            let emit = |event: &Event, ids, diff| {
                let order = Order { position, ..event.order };
                let found = Found { order, time: order.time, group: group.clone(), ids: Arc::new(ids) };
                out.push((found, diff));
            };
            if diff > 0 && event.order.tick < settled {
                tails.pass(group.clone(), event, emit, |_, _| ());
            } else {
                tails.update(group.clone(), event, diff, emit);
            }
        }
        tails.settle(settled, |_, _| ());
        keeping.keep(work.turn, |items| {
            tails.each(|group, state, events| {
                items.put(&(rules[group.rule as usize].identity, group, state, events));
            });
        });
        let _: &mut Vec<()> = work.side;
    });
    out
}

/// A finding's position: behind the event that completed it, and behind the findings of lower levels at the same alert.
pub(super) fn behind(rule: &Compiled, index: u32) -> u64 {
    1 << 63 | (rule.level as u64) << 32 | u64::from(index)
}

/// Sorted, what was taken back within the epoch left out, and what is taken back first: a record can only be taken back
/// that is there, and one at its place only added once it is gone.
fn in_order(changes: &mut Vec<Change>) {
    sort_nearly(changes, |a, b| (a.1.order, &a.0, a.2).cmp(&(b.1.order, &b.0, b.2)));
    if changes.iter().all(|(_, _, diff)| *diff > 0) {
        return;
    }
    let mut sums: Vec<Change> = Vec::with_capacity(changes.len());
    for (group, event, diff) in changes.drain(..) {
        let same = |other: &&mut Change| other.0 == group && other.1 == event;
        let near = sums.iter_mut().rev().take_while(|other| other.1.order == event.order).find(same);
        match near {
            Some((_, _, sum)) => *sum += diff,
            None => sums.push((group, event, diff)),
        }
    }
    sums.retain(|(_, _, diff)| *diff != 0);
    sums.sort_by(|a, b| (a.1.order, &a.0, a.2).cmp(&(b.1.order, &b.0, b.2)));
    *changes = sums;
}

fn told(found: &Found, rule: &Compiled, names: &Names) -> Finding {
    let alert_ids: Vec<AlertId> = found.ids.to_vec();
    Finding {
        tick: found.order.tick,
        tenant: found.group.tenant,
        correlation: rule.name,
        group: names.intern(&found.group.text(names)),
        time: found.time,
        alert_ids,
    }
}
