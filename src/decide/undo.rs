//! The ruling on an undo: a pure function of what would be undone and of what was undone before.
//!
//! The verbs that playbooks may use are not asked here: what a playbook declares as its own reverse is allowed with it.

use crate::plan::playbook::Playbook;
use crate::plan::policy::{OnWithdrawnGround, Policy};
use crate::record::{Held, Ruling};

/// What would be undone.
#[derive(Clone, Copy, Debug)]
pub struct Undoing<'a> {
    /// The playbook that did it, where the plan has it still.
    pub playbook: Option<&'a Playbook>,
    /// Whether one of the targets is protected.
    pub protected: bool,
    /// Whether one of the actions is in doubt, and opaque.
    pub opaque: bool,
    /// Actions that would be undone.
    pub actions: u32,
    /// Actions undone within the window before.
    pub spent: u32,
}

impl Undoing<'_> {
    /// Whether it is undone, and what holds it back. Guards come in the order of how much they say to the person who is
    /// asked; undoing asks people wherever doing always would.
    #[must_use]
    pub fn rule(&self, policy: &Policy) -> (Ruling, Option<Held>) {
        let actions_max = policy.undo.actions_max;
        let asks = || self.playbook.is_none_or(|playbook| policy.people_always(playbook).is_some());
        let held = match policy.undo.withdrawn_ground {
            OnWithdrawnGround::Never => return (Ruling::Decline, Some(Held::Never)),
            OnWithdrawnGround::Ask | OnWithdrawnGround::Execute if policy.kill_switch => Held::KillSwitch,
            OnWithdrawnGround::Ask | OnWithdrawnGround::Execute if self.protected => Held::Protected,
            OnWithdrawnGround::Ask | OnWithdrawnGround::Execute if self.opaque => Held::Opaque,
            OnWithdrawnGround::Ask => Held::Asked,
            OnWithdrawnGround::Execute if asks() => Held::Asked,
            OnWithdrawnGround::Execute if self.spent.saturating_add(self.actions) > actions_max => {
                Held::Budget { actions_max }
            }
            OnWithdrawnGround::Execute => return (Ruling::Execute, None),
        };
        (Ruling::Escalate, Some(held))
    }

    /// How many people must approve it: as many as doing it takes.
    #[must_use]
    pub fn people(&self, policy: &Policy) -> u32 {
        self.playbook.map_or(policy.approvals.people, |playbook| policy.people(playbook))
    }
}
