//! Definition: what findings there must be, recounted from all alerts at once, in no hurry, by what the words say.

use std::collections::{BTreeMap, BTreeSet};

/// What a rule sees of an alert or of a finding below it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Order: tick, time, identity, and what parts equals.
    pub(crate) order: (i64, i64, [u8; 16], u64),
    pub(crate) group: String,
    /// Which of the rules referred to.
    pub(crate) places: BTreeSet<usize>,
    /// What is counted.
    pub(crate) value: Option<String>,
    /// What is added up, in thousandths.
    pub(crate) number: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Moves {
    Sliding,
    Tumbling,
    Session(i64),
}

/// What a window's alerts are asked.
pub(crate) enum Asks {
    Window(fn(&[&Seen]) -> bool),
    /// Places in order, and those that must be absent.
    Order(Vec<usize>, Vec<usize>),
}

pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) span_ms: i64,
    pub(crate) moves: Moves,
    pub(crate) every: bool,
    pub(crate) asks: Asks,
}

/// A finding: rule, group, what completed it.
pub(crate) type Must = (String, String, (i64, i64, [u8; 16]));

fn now(seen: &Seen) -> i64 {
    seen.order.1.max(seen.order.0 * 1000)
}

/// The findings, with what completed each.
pub(crate) fn findings(rule: &Definition, seen: &[Seen]) -> Vec<Seen> {
    let mut groups: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
    for one in seen {
        groups.entry(&one.group).or_default().push(one);
    }
    let mut found = Vec::new();
    for events in groups.values_mut() {
        events.sort_by_key(|seen| seen.order);
        match &rule.asks {
            Asks::Window(holds) => windows(rule, events, *holds, &mut found),
            Asks::Order(order, without) => sequences(rule, events, order, without, &mut found),
        }
    }
    found
}

fn windows(rule: &Definition, events: &[&Seen], holds: fn(&[&Seen]) -> bool, found: &mut Vec<Seen>) {
    let span = rule.span_ms;
    let counts = |at: &&&Seen| match rule.moves {
        Moves::Sliding => at.order.1 >= now(at) - span,
        Moves::Tumbling => at.order.1.div_euclid(span) == now(at).div_euclid(span),
        Moves::Session(_) => true,
    };
    let events: Vec<&Seen> = events.iter().filter(counts).copied().collect();
    let (mut held, mut session) = (false, 0);
    for (n, event) in events.iter().enumerate() {
        if let Moves::Session(gap) = rule.moves
            && n > 0
            && (now(event) - now(events[n - 1]) > gap || now(event) - now(events[session]) > span)
        {
            session = n;
        }
        let inside = |place: usize, other: &Seen| match rule.moves {
            Moves::Sliding => other.order.1 >= now(event) - span,
            Moves::Tumbling => other.order.1.div_euclid(span) == now(event).div_euclid(span),
            Moves::Session(_) => place >= session,
        };
        let window: Vec<&Seen> =
            (0..=n).filter(|place| inside(*place, events[*place])).map(|place| events[place]).collect();
        if window.len() == 1 {
            held = false;
        }
        let holds = holds(&window);
        if holds && (rule.every || !held) {
            found.push((*event).clone());
        }
        held = holds;
    }
}

fn sequences(rule: &Definition, events: &[&Seen], order: &[usize], without: &[usize], found: &mut Vec<Seen>) {
    let span = rule.span_ms;
    // Too late for their own tumbling window, they are none of the group's.
    let counts = |at: &&&Seen| {
        rule.moves != Moves::Tumbling || at.order.1.div_euclid(span) == now(at).div_euclid(span)
    };
    let events: Vec<&Seen> = events.iter().filter(counts).copied().collect();
    let sessions = sessions(rule, &events);
    let mut start = 0;
    for (end, event) in events.iter().enumerate() {
        let from = |first: usize| {
            let together = match rule.moves {
                Moves::Sliding => now(event) - events[first].order.1 <= span,
                Moves::Tumbling => events[first].order.1.div_euclid(span) == now(event).div_euclid(span),
                Moves::Session(_) => sessions[first] == sessions[end],
            };
            let clean =
                events[first + 1..=end].iter().all(|e| without.iter().all(|place| !e.places.contains(place)));
            together && clean && follows(&events, first, end, order)
        };
        if (start..=end).any(from) {
            found.push((*event).clone());
            if !rule.every {
                start = end + 1;
            }
        }
    }
}

/// The place of the first event of each event's session.
fn sessions(rule: &Definition, events: &[&Seen]) -> Vec<usize> {
    let Moves::Session(gap) = rule.moves else { return Vec::new() };
    let mut first = 0;
    let of = |n: usize| {
        if n > 0
            && (now(events[n]) - now(events[n - 1]) > gap
                || now(events[n]) - now(events[first]) > rule.span_ms)
        {
            first = n;
        }
        first
    };
    (0..events.len()).map(of).collect()
}

/// Whether a choice of events from `first` to `end`, both taken, has the places in order.
fn follows(events: &[&Seen], first: usize, end: usize, order: &[usize]) -> bool {
    let Some((place, rest)) = order.split_first() else { return false };
    if !events[first].places.contains(place) {
        return false;
    }
    if rest.is_empty() {
        return first == end;
    }
    (first + 1..=end).any(|next| follows(events, next, end, rest))
}
