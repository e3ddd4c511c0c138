//! Stage: what a seed chooses before anything begins: the plan's variant, the sources, how the run is led.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use super::sources::Sources;
use crate::plan::catalog::Plan;
use crate::plan::playbook::StepKind;
use crate::plan::policy::{Act, Fraction};
use crate::record::{ActionClass, Millis, Score};
use crate::replay::generate::dice::Dice;

/// See the head of this file.
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
pub(super) struct Stage {
    pub(super) plan: Arc<Plan>,
    pub(super) sources: RefCell<Sources>,
    pub(super) act: Act,
    /// How often what is remembered is kept; never where it is 0.
    pub(super) keeps_ms: Millis,
    /// Whether every epoch is shown when it is done, rather than when somebody asks for it.
    pub(super) shows: bool,
    /// Whether people speak.
    pub(super) people: bool,
    /// Whether nothing is done.
    pub(super) dry: bool,
    /// Whether orders are given in a topic, rather than by calls.
    pub(super) topic: bool,
    /// Whether the ledger lies where other machines reach it.
    pub(super) shared: bool,
    /// Whether other models are put to use on the way.
    pub(super) promotes: bool,
    /// Whether what is pushed follows the clock.
    pub(super) wall: bool,
    /// Records of an epoch.
    pub(super) most: usize,
    /// Processes that may be struck.
    pub(super) lives: u32,
}

impl Stage {
    pub(super) fn new(plan: &Plan, (dice, machines): (&mut Dice, &mut Dice), began: Millis) -> Stage {
        let mut plan = plan.clone();
        let act = dice.pick(&[Act::Settled, Act::Early]);
        plan.policy.act = act;
        // Half of them act alone, half ask.
        plan.policy.floors.execute.score = Fraction(Score(dice.pick(&[4_000, 6_000])));
        plan.policy.floors.execute.confidence = Fraction(Score(0));
        plan.lateness_s = dice.pick(&[0, 10, 60]);
        let one = dice.chance(300_000).then(|| class(dice));
        for step in plan.playbooks.iter_mut().flat_map(|playbook| &mut playbook.steps) {
            if let StepKind::Action(action) = &mut step.kind {
                action.parameters.class = one.unwrap_or_else(|| class(dice));
            }
        }
        Stage {
            plan: Arc::new(plan),
            sources: RefCell::new(Sources::new(dice, began)),
            act,
            keeps_ms: dice.pick(&[0, 0, 500, 10_000]),
            shows: dice.chance(250_000),
            people: dice.chance(500_000),
            dry: dice.chance(150_000),
            topic: dice.chance(300_000),
            shared: machines.chance(400_000),
            promotes: machines.chance(300_000),
            wall: dice.chance(300_000),
            most: dice.pick(&[1, 5, 20, 1_000]),
            lives: u32::try_from(dice.between(2, 7)).unwrap_or(2),
        }
    }

    /// Whether a machine may be lost with all that lies on it, and everything is computed from its sources again as it was.
    pub(super) fn may_lose_all(&self) -> bool {
        let sources = self.sources.borrow();
        // What was pushed or said lay there alone.
        let said = sources.pushed > 0 || self.people;
        self.shared && self.act == Act::Settled && !said
    }

    /// How long what is written may stay unseen: by the clock of the machine, which is none of the simulation's.
    pub(super) fn commit_every(&self) -> Duration {
        if self.shows { Duration::ZERO } else { Duration::MAX }
    }
}

fn class(dice: &mut Dice) -> ActionClass {
    dice.pick(&[ActionClass::Idempotent, ActionClass::Keyed, ActionClass::Probeable, ActionClass::Opaque])
}
