//! Machine: all correlation rules as one state machine; an event says which rule it is for.
//!
//! In: events of one group, in order. Out: the alerts of a finding, at the event that completes it. A condition makes a
//! finding at the event at which it begins to hold, not having held at the group's event before (with `fires: every`: at
//! each at which it holds). Where nothing of the group counts any more the group begins anew: the condition does not
//! hold then, so the first event makes a `lt: 3` true, and a finding.
//!
//! - `event_count`: how many events count.
//! - `value_count`: how many distinct values they have; an event that lacks the field is none of the group's.
//! - `value_sum`, `value_avg`, `value_percentile`, `value_median`: of their numbers, exact to a billionth; an event without
//!   a number there is none of the group's, and counted in the run's `without_number`.
//! - `temporal`: which of the rules referred to have an event among them: all, as many as the condition says, or as its
//!   expression says. A rule under `not` must have none among them; what comes later does not matter.
//! - `temporal_ordered`: see [`super::temporal_ordered`].
//!
//! What is `connected` has no groups, and an operator of its own: [`super::connected`].
//!
//! A finding names the alerts that made it, in order: for `event_count` with a lower bound the last so many, for
//! `value_count` the last of each of so many values, for `temporal` the last of each rule that is there, otherwise all that
//! count; the latest thousand at most.
//! State: what [`super::window`] and [`super::temporal_ordered`] keep.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use serde::{Deserialize, Serialize};

use super::group::Compiled;
use super::ranked::Ranked;
use super::tally::{Count, Distinct, Present, Sum, Tally};
use super::temporal_ordered::{self, Sequence};
use super::window::{self, Event, LATEST_MAX, Value, Windowed};
use crate::flow::Machine;
use crate::plan::correlation::{Extent, Test};
use crate::record::{AlertId, Order, Tick};

/// Alerts that a finding names, at most.
pub const ALERTS_MAX: usize = 1000;

/// The rules.
pub struct Matching {
    /// By index.
    pub rules: Arc<[Compiled]>,
}

/// One group's state.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// Noted at each step: whoever looks through many groups for the dead need not look into each.
    dies: Tick,
    of: Of,
}

impl Default for State {
    fn default() -> Self {
        State { dies: Tick::MIN, of: Of::New }
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Of {
    New,
    Count(Box<Windowed<Count>>),
    Distinct(Box<Windowed<Distinct>>),
    Sum(Box<Windowed<Sum>>),
    Ranked(Box<Windowed<Ranked>>),
    Present(Box<Windowed<Present>>),
    Sequence(Box<Sequence>),
}

/// What takes a step back.
#[derive(Debug)]
pub enum Undo {
    /// Nothing was done.
    Nothing,
    /// `event_count`
    Count(window::Undo<()>),
    /// `value_count`
    One(window::Undo<window::Which>),
    /// Those of numbers.
    Number(window::Undo<i128>),
    /// `temporal`
    Places(window::Undo<u64>),
    /// `temporal_ordered`
    Sequence(temporal_ordered::Undo),
}

impl Matching {
    fn begin(&self, rule: u32) -> Of {
        match self.rules[rule as usize].test {
            Test::Count(_) => Of::Count(Box::default()),
            Test::Distinct(_) => Of::Distinct(Box::default()),
            Test::Sum(_) | Test::Average(_) => Of::Sum(Box::default()),
            Test::Percentile(..) | Test::Median(_) => Of::Ranked(Box::default()),
            Test::Together(_) | Test::Expression(_) => Of::Present(Box::default()),
            Test::Ordered(_) => Of::Sequence(Box::default()),
            // These are no group's: see `connected`.
            Test::Connected(_) => Of::New,
        }
    }
}

impl Machine for Matching {
    type Record = Event;
    type Change = Vec<AlertId>;
    type State = State;
    type Undo = Undo;

    fn order(event: &Event) -> Order {
        event.order
    }

    fn step(&self, state: &mut State, event: &Event, changes: &mut Vec<Vec<AlertId>>) -> Undo {
        let rule = &self.rules[event.rule as usize];
        if let Of::New = state.of {
            *state = State { dies: Tick::MIN, of: self.begin(event.rule) };
        }
        let (extent, fires) = (rule.extent, rule.fires);
        let mut told: Option<Vec<AlertId>> = None;
        let undo = match (&mut state.of, &rule.test, event.value) {
            (Of::Count(group), Test::Count(bounds), _) => {
                let (undo, fired) = group.step(event, (), extent, fires, |count| count.within(bounds));
                told = fired.then(|| last(group, bounds.least().unwrap_or(ALERTS_MAX)));
                undo.map(Undo::Count)
            }
            (Of::Distinct(group), Test::Distinct(bounds), Value::One(value)) => {
                let (undo, fired) = group.step(event, value, extent, fires, |values| values.within(bounds));
                told = fired.then(|| of_each(group, bounds.least()));
                undo.map(Undo::One)
            }
            (Of::Sum(group), test @ (Test::Sum(bounds) | Test::Average(bounds)), Value::Number(number)) => {
                let mean = matches!(test, Test::Average(_));
                let holds = |sum: &Sum| if mean { sum.mean_within(bounds) } else { sum.within(bounds) };
                let (undo, fired) = group.step(event, number.into(), extent, fires, holds);
                told = fired.then(|| last(group, ALERTS_MAX));
                undo.map(Undo::Number)
            }
            (Of::Ranked(group), test, Value::Number(number)) => {
                let (undo, fired) =
                    group.step(event, number.into(), extent, fires, |ranked| ranks(ranked, test));
                told = fired.then(|| last(group, ALERTS_MAX));
                undo.map(Undo::Number)
            }
            (Of::Present(group), test, _) => {
                let holds = |present: &Present| together(present, test);
                let (undo, fired) = group.step(event, event.places, extent, fires, holds);
                told = fired.then(|| of_each_rule(group));
                undo.map(Undo::Places)
            }
            (Of::Sequence(group), Test::Ordered(stages), _) => {
                let (undo, alerts) = group.step(event, stages, extent, fires);
                told = alerts;
                Some(Undo::Sequence(undo))
            }
            // A state begins as its rule's test says, and an event's value is what that test asks for.
            (
                Of::New | Of::Count(_) | Of::Distinct(_) | Of::Sum(_) | Of::Ranked(_) | Of::Sequence(_),
                _,
                _,
            ) => None,
        };
        changes.extend(told.map(|alerts| in_order(event, alerts)));
        state.dies = state.of.dies(extent);
        undo.unwrap_or(Undo::Nothing)
    }

    fn undo(&self, state: &mut State, event: &Event, undo: Undo) {
        match (&mut state.of, undo) {
            (Of::Count(group), Undo::Count(undo)) => group.undo(event, undo),
            (Of::Distinct(group), Undo::One(undo)) => group.undo(event, undo),
            (Of::Sum(group), Undo::Number(undo)) => group.undo(event, undo),
            (Of::Ranked(group), Undo::Number(undo)) => group.undo(event, undo),
            (Of::Present(group), Undo::Places(undo)) => group.undo(event, undo),
            (Of::Sequence(group), Undo::Sequence(undo)) => group.undo(undo),
            (
                Of::New
                | Of::Count(_)
                | Of::Distinct(_)
                | Of::Sum(_)
                | Of::Ranked(_)
                | Of::Present(_)
                | Of::Sequence(_),
                _,
            ) => {}
        }
        state.dies = state.of.dies(self.rules[event.rule as usize].extent);
    }

    fn dies(&self, state: &State) -> Tick {
        state.dies
    }
}

impl Of {
    fn dies(&self, extent: Extent) -> Tick {
        match self {
            Of::New => Tick::MIN,
            Of::Count(group) => group.dies(extent),
            Of::Distinct(group) => group.dies(extent),
            Of::Sum(group) => group.dies(extent),
            Of::Ranked(group) => group.dies(extent),
            Of::Present(group) => group.dies(extent),
            Of::Sequence(group) => group.dies(extent),
        }
    }
}

fn ranks(ranked: &Ranked, test: &Test) -> bool {
    match test {
        Test::Percentile(percent, bounds) => ranked.percentile_within(*percent, bounds),
        Test::Median(bounds) => ranked.median_within(bounds),
        Test::Count(_)
        | Test::Distinct(_)
        | Test::Sum(_)
        | Test::Average(_)
        | Test::Together(_)
        | Test::Expression(_)
        | Test::Ordered(_)
        | Test::Connected(_) => false,
    }
}

fn together(present: &Present, test: &Test) -> bool {
    let places = present.places();
    match test {
        Test::Together(bounds) => {
            bounds.hold(i128::from(places.count_ones()) * crate::record::Decimal::SCALE, 1)
        }
        Test::Expression(expression) => expression.holds(places),
        Test::Count(_)
        | Test::Distinct(_)
        | Test::Sum(_)
        | Test::Average(_)
        | Test::Percentile(..)
        | Test::Median(_)
        | Test::Ordered(_)
        | Test::Connected(_) => false,
    }
}

/// The alerts of the last so many, last first.
fn last<T: Tally>(group: &Windowed<T>, many: usize) -> Vec<AlertId> {
    let mut ids = Vec::new();
    for entry in group.latest().take(many.clamp(1, ALERTS_MAX)) {
        entry.tell(&mut ids);
    }
    ids
}

/// The alerts of the last of each value, until there are enough values.
fn of_each(group: &Windowed<Distinct>, enough: Option<usize>) -> Vec<AlertId> {
    let enough = enough.unwrap_or(ALERTS_MAX).clamp(1, ALERTS_MAX);
    let (mut seen, mut ids) = (FxHashSet::default(), Vec::new());
    for entry in group.latest().take(LATEST_MAX) {
        if seen.insert(entry.value) {
            entry.tell(&mut ids);
        }
        if seen.len() == enough {
            break;
        }
    }
    ids
}

/// The alerts of the last of each rule that is there.
fn of_each_rule(group: &Windowed<Present>) -> Vec<AlertId> {
    let (mut seen, mut ids) = (0, Vec::new());
    for entry in group.latest().take(LATEST_MAX) {
        if entry.value & !seen != 0 {
            seen |= entry.value;
            entry.tell(&mut ids);
        }
        if seen == group.tally.places() {
            break;
        }
    }
    ids
}

/// Each alert once, first to last, the latest thousand; the one that completed the finding is the last.
fn in_order(event: &Event, last_first: Vec<AlertId>) -> Vec<AlertId> {
    let own = event.ids.as_ref().and_then(|ids| ids.last()).copied().unwrap_or(event.order.id);
    let mut seen = FxHashSet::default();
    let all = std::iter::once(own).chain(last_first);
    let mut ids: Vec<AlertId> = all.filter(|id| seen.insert(*id)).take(ALERTS_MAX).collect();
    ids.reverse();
    ids
}
