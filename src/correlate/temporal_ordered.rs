//! `temporal_ordered`: one alert of each rule, in the order of the rules, within one window: sliding, within `timespan`
//! from first to last; tumbling or session, in the same as [`super::window`] has it. There a sequence that has begun ends
//! with its window, and an alert too late for its own tumbling window is none of the group's.
//!
//! In: events of one group, in order. Out: a finding at the alert that completes a sequence. It consumes what came
//! before it: no alert is part of two findings of one rule and group, as the truth of the published benchmarks has it
//! (A B C C is one finding). With `fires: every` nothing is consumed: each alert that ends a sequence fires (two).
//! A rule under `not` must be absent between: its alert ends every sequence that has begun.
//! Equal times: the order of records decides (by identity), never the arrival.
//! State: per stage the sequence that began latest (no other can complete where it can't), and the window; a group dies a
//! timespan after the last beginning, or a session's gap after its last alert.

use std::sync::Arc;

use smallvec::SmallVec;

use serde::{Deserialize, Serialize};

use super::window::Event;
use crate::plan::correlation::{Extent, Fires, Sequence as Stages, Window};
use crate::record::{AlertId, Millis, Tick};

/// One group's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sequence {
    /// `stages[k]`: when the latest sequence of the first k + 1 rules began, and its alerts.
    stages: SmallVec<[Option<Begun>; 4]>,
    /// Of a tumbling window or a session when it began, and when its last alert was.
    window: Option<(Millis, Millis)>,
}

/// An alert, or a finding's alerts.
type Link = (AlertId, Option<Arc<Vec<AlertId>>>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Begun {
    time: Millis,
    alerts: SmallVec<[Link; 3]>,
}

/// What takes a step back: stages as they were, in the order in which they were changed, and the window.
#[derive(Debug, Default)]
pub struct Undo {
    stages: SmallVec<[(usize, Option<Begun>); 1]>,
    window: Option<(Millis, Millis)>,
}

impl Sequence {
    /// Takes the next event; the sequence's alerts, last first, where it completes one.
    pub fn step(
        &mut self,
        event: &Event,
        rule: &Stages,
        extent: Extent,
        fires: Fires,
    ) -> (Undo, Option<Vec<AlertId>>) {
        let mut undo = Undo { window: self.window, ..Undo::default() };
        self.stages.resize(rule.order.len(), None);
        if !self.enter(event, extent, &mut undo) {
            return (undo, None);
        }
        if event.places & rule.without != 0 {
            self.clear(&mut undo);
        }
        let mut told = None;
        // From the last stage back, so that an alert of a rule named twice is not taken twice in one step.
        for stage in (0..rule.order.len()).rev().filter(|stage| event.places >> rule.order[*stage] & 1 == 1) {
            let own = (event.order.id, event.ids.clone());
            let begun = match stage.checked_sub(1) {
                None => Some(Begun { time: event.order.time, alerts: SmallVec::from_iter([own]) }),
                Some(before) => self.stages[before]
                    .as_ref()
                    .filter(|begun| {
                        extent.window != Window::Sliding || event.now() - begun.time <= extent.span_ms
                    })
                    .map(|begun| {
                        let mut begun = begun.clone();
                        begun.alerts.push(own);
                        begun
                    }),
            };
            let Some(begun) = begun else { continue };
            if stage + 1 == rule.order.len() {
                told = Some(begun.tell());
                if fires == Fires::Crossing {
                    self.clear(&mut undo);
                    break;
                }
            } else if self.stages[stage].as_ref().is_none_or(|other| other.time <= begun.time) {
                undo.stages.push((stage, self.stages[stage].replace(begun)));
            }
        }
        (undo, told)
    }

    /// Moves the window to the event, where what began in another one ends; whether the event counts in its own.
    fn enter(&mut self, event: &Event, extent: Extent, undo: &mut Undo) -> bool {
        let now = event.now();
        let begins = match extent.window {
            Window::Sliding => return true,
            Window::Tumbling => {
                let begins = now.div_euclid(extent.span_ms) * extent.span_ms;
                if event.order.time < begins {
                    return false;
                }
                begins
            }
            Window::Session => {
                let goes_on = |(began, last): &(Millis, Millis)| {
                    now - last <= extent.gap_ms && now - began <= extent.span_ms
                };
                self.window.filter(goes_on).map_or(now, |(began, _)| began)
            }
        };
        if self.window.is_some_and(|(began, _)| began != begins) {
            self.clear(undo);
        }
        self.window = Some((begins, now));
        true
    }

    /// Takes the last step back.
    pub fn undo(&mut self, undo: Undo) {
        for (stage, before) in undo.stages.into_iter().rev() {
            self.stages[stage] = before;
        }
        self.window = undo.window;
    }

    fn clear(&mut self, undo: &mut Undo) {
        for (stage, begun) in self.stages.iter_mut().enumerate().filter(|(_, begun)| begun.is_some()) {
            undo.stages.push((stage, begun.take()));
        }
    }

    /// The tick from which on it is as good as new.
    #[must_use]
    pub fn dies(&self, extent: Extent) -> Tick {
        let reach = if extent.window == Window::Session {
            self.window.map(|(_, last)| last.saturating_add(extent.gap_ms))
        } else {
            let latest = self.stages.iter().flatten().map(|begun| begun.time).max();
            latest.map(|began| began.saturating_add(extent.span_ms))
        };
        reach.unwrap_or(Millis::MIN / 4).div_euclid(1000) + 1
    }
}

impl Begun {
    fn tell(self) -> Vec<AlertId> {
        let mut ids = Vec::with_capacity(self.alerts.len());
        for (id, own) in self.alerts.into_iter().rev() {
            match own {
                Some(own) => ids.extend(own.iter().rev()),
                None => ids.push(id),
            }
        }
        ids
    }
}
