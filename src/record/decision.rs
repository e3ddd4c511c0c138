//! Candidates that were weighed and the ruling on them, with its reason.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::Entity;
use super::id::{DecisionId, IncidentId};
use super::judgement::Score;
use super::names::{Names, Sym};
use super::time::{Diff, Tick};

/// A playbook that was weighed for an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The incident.
    pub incident_id: IncidentId,
    /// Its version's tick.
    pub tick: Tick,
    /// Whose.
    pub tenant: Sym,
    /// CACAO id of the playbook.
    pub playbook_id: Sym,
    /// The model's probability that it succeeds.
    pub score: Score,
    /// The probability with which it was chosen.
    pub propensity: Score,
    /// Whether guards allow it to be chosen.
    pub eligible: bool,
    /// Weighed or withdrawn.
    pub diff: Diff,
}

/// What is to be done with a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// Its steps go to the executors.
    Execute,
    /// A person decides.
    Escalate,
    /// Nothing is done.
    Decline,
}

impl Ruling {
    /// The archive's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Ruling::Execute => "execute",
            Ruling::Escalate => "escalate",
            Ruling::Decline => "decline",
        }
    }
}

/// What took the ground from under something executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lost {
    /// The incident was taken apart, and no part that would act on the target has it.
    Parted,
    /// The target was an indicator, is none any more, and would not be acted on without.
    Indicator,
}

impl Lost {
    /// What happened, in words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Lost::Parted => "the incident was taken apart",
            Lost::Indicator => "it is no indicator any more",
        }
    }
}

/// Why what stands on withdrawn ground is not undone at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    /// Nothing of it stands that could be undone.
    Nothing,
    /// Other executed decisions hold the same effect.
    Shared,
    /// The policy undoes nothing.
    Never,
    /// The policy asks a person.
    Asked,
    /// A target is protected.
    Protected,
    /// Whether it was done is in doubt, and only a person may say.
    Opaque,
    /// The kill switch is on.
    KillSwitch,
    /// More would be undone without a person than the policy allows within the window.
    Budget {
        /// The policy's bound.
        actions_max: u32,
    },
}

impl Held {
    fn text(&self) -> String {
        match self {
            Held::Nothing => "nothing of it stands that could be undone".to_owned(),
            Held::Shared => "it stays: other decisions hold the same".to_owned(),
            Held::Never => "it stays: the policy undoes nothing".to_owned(),
            Held::Asked => "a person decides whether it is undone".to_owned(),
            Held::Protected => "a target is protected: a person decides".to_owned(),
            Held::Opaque => "whether it was done is in doubt: a person decides".to_owned(),
            Held::KillSwitch => "the kill switch is on: a person decides".to_owned(),
            Held::Budget { actions_max } => format!("{actions_max} undone at most: a person decides"),
        }
    }
}

/// Why a ruling is what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reason {
    /// Score and confidence reach the policy's floors and no guard objects.
    Confident,
    /// A person approved what had been escalated.
    Approved {
        /// Who.
        by: String,
    },
    /// A person denied what had been escalated.
    Denied {
        /// Who.
        by: String,
    },
    /// No shipped playbook fits the incident.
    NoCandidate,
    /// The model does not take it for an attack.
    NotAnAttack,
    /// The best score is below the floor for escalation.
    BelowFloor {
        /// The best score.
        score: Score,
        /// The policy's floor.
        floor: Score,
    },
    /// Good enough for a person to look at, not to act alone.
    LowConfidence {
        /// The confidence, or the score where that is what falls short.
        confidence: Score,
        /// What the policy asks for.
        floor: Score,
    },
    /// A target is protected.
    Protected {
        /// Which.
        entity: Entity,
    },
    /// It would touch more than the policy allows at once.
    BlastRadius {
        /// Distinct targets within the window, this ruling's included.
        targets: u32,
        /// The policy's bound.
        targets_max: u32,
    },
    /// The verb's budget is spent.
    Budget {
        /// The verb.
        verb: Cow<'static, str>,
        /// The policy's bound within the window.
        budget: u32,
    },
    /// The playbook, or one of its verbs, always asks a person.
    NeedsApproval,
    /// The kill switch is on.
    KillSwitch,
    /// Every playbook that fits uses a verb that the policy does not allow.
    VerbNotAllowed {
        /// The first such verb.
        verb: Cow<'static, str>,
    },
    /// The playbook runs in shadow: it is weighed, nothing is done and nobody is asked.
    Shadow,
    /// Every playbook that fits was denied by a person for this incident.
    AllDenied,
    /// The incident became part of another, or was taken apart: what was asked is asked no more.
    Gone,
    /// What was executed on the incident that it was part of holds for it, and is not executed again.
    Carried {
        /// The executed decision.
        decision: DecisionId,
    },
    /// What was executed stands on withdrawn ground, and is undone unless something holds that back.
    Withdrawn {
        /// What happened.
        lost: Lost,
        /// The targets concerned, as text.
        targets: Vec<String>,
        /// Why it is not undone at once.
        held: Option<Held>,
    },
    /// Whether something is undone need not be asked any more.
    Moot {
        /// Why.
        what: Cow<'static, str>,
    },
}

impl Reason {
    /// The reason's name: what the archive is grouped by.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Reason::Confident => "confident",
            Reason::Approved { .. } => "approved",
            Reason::Denied { .. } => "denied",
            Reason::NoCandidate => "no_candidate",
            Reason::NotAnAttack => "not_an_attack",
            Reason::BelowFloor { .. } => "below_floor",
            Reason::LowConfidence { .. } => "low_confidence",
            Reason::Protected { .. } => "protected",
            Reason::BlastRadius { .. } => "blast_radius",
            Reason::Budget { .. } => "budget",
            Reason::NeedsApproval => "needs_approval",
            Reason::KillSwitch => "kill_switch",
            Reason::VerbNotAllowed { .. } => "verb_not_allowed",
            Reason::Shadow => "shadow",
            Reason::AllDenied => "all_denied",
            Reason::Gone => "gone",
            Reason::Carried { .. } => "carried",
            Reason::Withdrawn { .. } => "withdrawn_ground",
            Reason::Moot { .. } => "moot",
        }
    }

    /// The reason in a sentence that begins with its name: for the archive and people.
    #[must_use]
    pub fn text(&self, names: &Names) -> String {
        let name = self.name();
        match self {
            Reason::Confident => format!("{name}: score and confidence reach the floors, no guard objects"),
            Reason::Approved { by } | Reason::Denied { by } => format!("{name}: by {by}"),
            Reason::NoCandidate => format!("{name}: no playbook fits the incident"),
            Reason::NotAnAttack => format!("{name}: the model does not take it for an attack"),
            Reason::BelowFloor { score, floor } => {
                format!("{name}: score {:.4}, a person is asked from {:.4}", score.value(), floor.value())
            }
            Reason::LowConfidence { confidence, floor } => {
                format!("{name}: {:.4}, acting alone takes {:.4}", confidence.value(), floor.value())
            }
            Reason::Protected { entity } => format!("{name}: {}", entity.text(names)),
            Reason::BlastRadius { targets, targets_max } => {
                format!("{name}: {targets} targets, {targets_max} at most")
            }
            Reason::Budget { verb, budget } => format!("{name}: {verb}, {budget} within the window"),
            Reason::NeedsApproval => format!("{name}: the policy always asks a person"),
            Reason::KillSwitch => format!("{name}: nothing is executed while it is on"),
            Reason::VerbNotAllowed { verb } => format!("{name}: {verb}"),
            Reason::Shadow => format!("{name}: the playbook is weighed only"),
            Reason::AllDenied => format!("{name}: a person denied every playbook that fits"),
            Reason::Gone => format!("{name}: the incident became part of another or was taken apart"),
            Reason::Carried { decision } => format!("{name}: decision {decision} was executed for it before"),
            Reason::Withdrawn { lost, targets, held } => {
                let held = held.as_ref().map_or_else(|| "it is undone".to_owned(), Held::text);
                format!("{name}: {}; {}; {held}", lost.text(), targets.join(", "))
            }
            Reason::Moot { what } => format!("{name}: {what}"),
        }
    }
}

/// A ruling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Its identity: incident, tick, playbook, ruling.
    pub id: DecisionId,
    /// The incident.
    pub incident_id: IncidentId,
    /// The version's tick.
    pub tick: Tick,
    /// Whose.
    pub tenant: Sym,
    /// The playbook ruled on; `Sym::EMPTY` where there was none.
    pub playbook_id: Sym,
    /// What is to be done.
    pub ruling: Ruling,
    /// Why.
    pub reason: Reason,
    /// The playbook's score.
    pub score: Score,
    /// The triage's confidence.
    pub confidence: Score,
    /// The model that said both.
    pub model_version: Sym,
    /// The earlier decision on this incident that this one replaces: the archive writes it as that one's
    /// `superseded_by`.
    pub supersedes: Option<DecisionId>,
    /// The executed decision whose actions this one is to undo; none for a ruling on a playbook.
    pub undoes: Option<DecisionId>,
}
