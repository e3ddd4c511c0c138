//! Judgement: what the model says of one version of an incident. Integers, so that it is remembered exactly.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number in [0, 1] quantised to 1/10,000.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Score(pub u16);

impl Score {
    /// One.
    pub const ONE: Score = Score(10_000);

    /// The nearest score; NaN is in no range, so it becomes 0.
    #[must_use]
    pub fn of(value: f32) -> Score {
        if value.is_nan() {
            return Score(0);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=10,000")]
        Score((value.clamp(0.0, 1.0) * 10_000.0).round() as u16)
    }

    /// As a number in [0, 1].
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

/// What an incident is, in the analyst's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Triage {
    /// An attack.
    TruePositive,
    /// What the rule looks for, but wanted or harmless.
    BenignPositive,
    /// Not what the rule looks for.
    FalsePositive,
}

impl Triage {
    /// Every class, in the order of the model's head.
    pub const ALL: [Triage; 3] = [Triage::TruePositive, Triage::BenignPositive, Triage::FalsePositive];

    /// The archive's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Triage::TruePositive => "true_positive",
            Triage::BenignPositive => "benign_positive",
            Triage::FalsePositive => "false_positive",
        }
    }

    /// The class of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Triage> {
        Self::ALL.into_iter().find(|triage| triage.name() == name)
    }
}

/// The model's answer for one version of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Judgement {
    /// The likeliest class.
    pub triage: Triage,
    /// Its probability.
    pub confidence: Score,
    /// The three tactics likeliest to come next, as indices into [`super::attack::TACTICS`], likeliest first.
    pub next_tactics: [u8; 3],
    /// The probability that each proposed playbook succeeds, in the order of the proposals.
    pub scores: Vec<Score>,
}
