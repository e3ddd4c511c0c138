//! Sightings: what archives of earlier days have of incidents' indicators, for a live run: asked, taken in, let go.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::Failure;
use crate::engine::sighter::{Question, Sighter};
use crate::plan::catalog::Plan;
use crate::record::{ContextRow, Diff, Entity, Known, Names};

type Changes = Vec<((Entity, ContextRow), Diff)>;

/// Sightings that stand at most: the oldest is let go for a new one, as an input like any other.
const STANDING_MAX: usize = 16_384;

/// What was found, and stands.
pub(crate) struct Sightings {
    /// None where the plan wants none.
    sighter: Option<Sighter>,
    standing: VecDeque<(Entity, ContextRow)>,
}

impl Sightings {
    pub(crate) fn start(plan: &Plan, own: &Path, names: &Arc<Names>) -> Result<Sightings, Failure> {
        let settings = &plan.pipeline.sightings;
        let archives = settings.archives.iter().map(|archive| plan.path(archive)).collect();
        let start = || Sighter::start(own.to_owned(), settings, archives, names);
        let sighter = (settings.days > 0).then(start).transpose()?;
        Ok(Sightings { sighter, standing: VecDeque::new() })
    }

    /// Where the run asks.
    pub(crate) fn asks(&self) -> Option<Sender<Question>> {
        self.sighter.as_ref().map(Sighter::asks)
    }

    /// The run took these of its log: they are not looked up again.
    pub(crate) fn know(&mut self, changes: &Changes) {
        let sightings = changes.iter().filter(|((_, row), _)| matches!(row.known, Known::Sightings(_)));
        for (row, diff) in sightings {
            if *diff > 0 {
                self.standing.push_back(*row);
                self.sighter.iter().for_each(|sighter| sighter.know(std::iter::once(*row)));
            } else {
                self.standing.retain(|standing| standing != row);
            }
        }
    }

    /// The log is read: from now on what is asked is looked up.
    pub(crate) fn begin(&self) {
        self.sighter.iter().for_each(Sighter::begin);
    }

    /// What was found since, and what is let go for it.
    pub(crate) fn found(&mut self) -> Changes {
        let found = self.sighter.as_ref().map(Sighter::found).unwrap_or_default();
        let mut changes: Changes = found.iter().map(|row| (*row, 1)).collect();
        self.standing.extend(found);
        let beyond = self.standing.len().saturating_sub(STANDING_MAX);
        changes.extend(self.standing.drain(..beyond).map(|row| (row, -1)));
        changes
    }
}
