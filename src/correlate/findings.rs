//! `findings`: the correlation rules over the stream of admitted alerts.
//!
//! In: admitted alerts with diffs, early. Out: findings with diffs: said at once, withdrawn only where a late alert or
//! a withdrawn one undoes them, never by expiry.
//! State: per rule and group what the rule's kind keeps; see [`super::event_count`] and [`super::temporal_ordered`].

use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::vec::{Map, ToStream};

use super::event_count::Counting;
use super::group::{Compiled, Group};
use super::temporal_ordered::Sequence;
use crate::flow::{Machine, Stream, Tails, Turn, turns};
use crate::plan::correlation::CorrelationTest;
use crate::record::{Alert, Diff, Finding, Names, Order, Sym, Tick};

/// Builds the operator for all correlation rules.
pub fn findings<'scope>(
    alerts: Stream<'scope, (Alert, Diff)>,
    clock: Stream<'scope, Turn>,
    rules: &Arc<[Compiled]>,
    names: &Arc<Names>,
) -> Stream<'scope, (Finding, Diff)> {
    let grouping = Arc::clone(rules);
    let grouped = alerts.flat_map(move |(alert, diff)| {
        let rules = grouping.iter().enumerate();
        let groups: Vec<Group> = rules
            .filter(|(_, rule)| rule.concerns(&alert))
            .filter_map(|(n, rule)| rule.group(n, &alert))
            .collect();
        groups.into_iter().map(move |group| (group_parts(&group), alert.clone(), diff))
    });
    let mut tails: Tails<Group, Matching> =
        Tails::new(Matching { rules: Arc::clone(rules), names: Arc::clone(names) });
    let route = Exchange::new(|(group, _, _): &(Parts, Alert, Diff)| group_route(group));
    let nothing = Vec::<()>::new().to_stream(clock.scope());
    let (out, _) = turns("findings", (grouped, route), (nothing, Pipeline), clock, move |work| {
        work.first.sort_unstable_by(|a, b| a.1.order().cmp(&b.1.order()).then(a.2.cmp(&b.2)));
        let out: &mut Vec<(Finding, Diff)> = work.out;
        for (group, alert, diff) in work.first.drain(..) {
            let group = Group { rule: group.0, tenant: group.1, values: group.2.into() };
            let record = Rc::new((group.clone(), alert));
            tails.update(group, record, diff, |_, finding, diff| out.push((finding, diff)));
        }
        tails.settle(work.turn.settled, |_, _| ());
        let _: &mut Vec<()> = work.side;
    });
    out
}

type Parts = (u32, Sym, Vec<Sym>);

fn group_parts(group: &Group) -> Parts {
    (group.rule, group.tenant, group.values.to_vec())
}

/// Where a group lives: any function of the group will do, since which worker has it shows in no result.
fn group_route(group: &Parts) -> u64 {
    let seed = u64::from(group.0) << 32 | u64::from(group.1.raw());
    group.2.iter().fold(seed, |hash, value| {
        (hash.rotate_left(5) ^ u64::from(value.raw())).wrapping_mul(0x517c_c1b7_2722_0a95)
    })
}

/// All rules as one machine: the group says which rule.
struct Matching {
    rules: Arc<[Compiled]>,
    names: Arc<Names>,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    New,
    Counting(u32, Counting),
    Sequence(u32, Box<Sequence>),
}

impl Machine for Matching {
    type Record = Rc<(Group, Alert)>;
    type Change = Finding;
    type State = State;

    fn order(record: &Self::Record) -> Order {
        record.1.order()
    }

    fn step(&self, state: &mut State, record: &Self::Record, changes: &mut Vec<Finding>) {
        let (group, alert) = &**record;
        let rule = &self.rules[group.rule as usize];
        if let State::New = state {
            *state = match rule.test {
                CorrelationTest::EventCount { .. } => State::Counting(group.rule, Counting::default()),
                CorrelationTest::TemporalOrdered => State::Sequence(group.rule, Box::default()),
            };
        }
        let ids = match (&mut *state, rule.test) {
            (State::Counting(_, counting), CorrelationTest::EventCount { gte }) => {
                counting.step(alert.time, alert.tick, alert.id, rule.timespan_ms, gte)
            }
            (State::Sequence(_, sequence), CorrelationTest::TemporalOrdered) => {
                let named =
                    |place: &usize| rule.rules[*place] == alert.rule || rule.rules[*place] == alert.title;
                let places = (0..rule.rules.len()).filter(named);
                sequence.step((alert.time, alert.tick, alert.id), places, rule.rules.len(), rule.timespan_ms)
            }
            (State::New | State::Counting(..) | State::Sequence(..), _) => None,
        };
        if let Some(alert_ids) = ids {
            changes.push(Finding {
                tick: alert.tick,
                tenant: alert.tenant,
                correlation: rule.name,
                group: self.names.intern(&group.text(&self.names)),
                time: alert.time,
                alert_ids,
            });
        }
    }

    fn dies(&self, state: &State) -> Tick {
        match state {
            State::New => Tick::MIN,
            State::Counting(rule, counting) => counting.dies(self.rules[*rule as usize].timespan_ms),
            State::Sequence(rule, sequence) => sequence.dies(self.rules[*rule as usize].timespan_ms),
        }
    }
}
