//! Which of an incident's actions stand on withdrawn ground, and which a part of it carries.

use std::io;

use super::super::words;
use super::parting::Parted;
use super::{Story, all};
use crate::archive::{ActionLine, DecisionLine, IncidentLine, Only, Reader};
use crate::record::{Entity, IncidentId, IncidentState, Names};

/// A part of an incident that says that an execution holds for it.
pub(super) struct Carried {
    part: IncidentId,
    /// The decisions that say so.
    decisions: Vec<DecisionLine>,
    /// What its last version is about.
    entities: Vec<Entity>,
}

impl Carried {
    /// What those that were parted from an incident carry; `follows` are their versions.
    pub(super) fn by(parted: &Parted, reader: &Reader, follows: &[IncidentLine]) -> io::Result<Vec<Carried>> {
        let mut carried = Vec::new();
        for part in parted.keys() {
            let versions = follows.iter().filter(|line| line.incident_id == *part);
            let Some(last) = versions.max_by_key(|line| line.version) else { continue };
            let mut decisions: Vec<DecisionLine> = all(reader.decisions(Some(Only::incidents([*part]))))?;
            decisions.retain(|line| &*reader.names().get(line.reason) == "carried");
            carried.push(Carried { part: *part, decisions, entities: last.entities.clone() });
        }
        Ok(carried)
    }

    fn holds(&self, action: &ActionLine, names: &Names) -> bool {
        let of = format!("carried: decision {} ", action.decision_id);
        let says = |line: &DecisionLine| line.reason_detail.as_ref().is_some_and(|it| it.starts_with(&of));
        self.decisions.iter().any(says)
            && self.entities.iter().any(|entity| entity.text(names) == action.target)
    }
}

impl Story {
    pub(super) fn action(&self, rows: &[ActionLine], names: &Names) -> String {
        let told = words::action(rows);
        let Some(first) = rows.first() else { return told };
        if let Some(line) = self.withdrawn_by(first) {
            let why = line.reason_detail.as_deref().unwrap_or_default();
            let what = why.split("; ").next().and_then(|why| why.split_once(": ")).map_or("", |it| it.1);
            return format!("{told}; stands on withdrawn ground: {what} (decision {})", line.decision_id);
        }
        if self.is_withdrawn(rows, names) {
            return format!("{told}; stands on withdrawn ground: its target is not the incident's any more");
        }
        let carried = self.carried.iter().find(|carried| carried.holds(first, names));
        carried.map_or(told.clone(), |carried| format!("{told}; holds for {} too", carried.part))
    }

    /// The last decision which says that the ground of an action is gone.
    fn withdrawn_by(&self, action: &ActionLine) -> Option<&DecisionLine> {
        let of_it = self.decisions.iter().rev().find(|line| {
            let targets = line.reason_detail.as_ref().and_then(|it| it.split("; ").nth(1));
            line.undoes == Some(action.decision_id)
                && targets.is_some_and(|all| all.split(", ").any(|target| target == action.target))
        })?;
        // Where it came back before anybody had answered, it stands.
        let back = |line: &DecisionLine| {
            line.supersedes == Some(of_it.decision_id)
                && line.reason_detail.as_deref() == Some("moot: its ground is back")
        };
        (action.undo_of.is_none() && !self.decisions.iter().any(back)).then_some(of_it)
    }

    /// Whether an action's ground is gone: a decision says so; or its target was an entity of the incident before it was
    /// taken apart, is none now, and no part carries it.
    pub(super) fn is_withdrawn(&self, rows: &[ActionLine], names: &Names) -> bool {
        let Some(first) = rows.first().filter(|first| first.undo_of.is_none()) else { return false };
        let is_target = |entity: &Entity| entity.text(names) == first.target;
        let mut split = self.versions.iter().filter(|line| line.state == IncidentState::Split);
        let parted = split.any(|line| line.entities.iter().any(is_target))
            && !self.alerts.iter().flat_map(|alert| &alert.entities).any(|it| is_target(&it.entity))
            && !self.carried.iter().any(|carried| carried.holds(first, names));
        parted || self.withdrawn_by(first).is_some()
    }
}
