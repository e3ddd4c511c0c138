//! A campaign: one journey made again and again, each time with other faults, and its end compared with the undisturbed one's.

use std::time::Instant;

use super::fault::{Dice, Fault};
use super::outcome::Outcome;

/// How one try of a journey ended.
pub struct Try {
    /// Faults that were met, each with whether it killed.
    pub met: Vec<Fault>,
    /// Milliseconds from each kill to the next thing done.
    pub recovered_ms: Vec<u64>,
    /// Actions that a person must look at.
    pub in_doubt: u64,
    /// What is not as it should be.
    pub wrong: Vec<String>,
}

/// A journey that can be disturbed.
pub trait Journey {
    /// Makes it once, with the faults one after the other, each met by the process that goes on after the one before.
    fn disturbed(&self, faults: &[Fault]) -> Try;

    /// A fault that it can meet.
    fn fault(&self, dice: &mut Dice) -> Fault {
        let (calls, usual_ms) = self.usual();
        Fault::any(dice, &calls, usual_ms)
    }

    /// How many of each call it makes when it is left in peace, and how long it takes, in milliseconds.
    fn usual(&self) -> (Vec<(&'static str, u64)>, u64);
}

/// Makes a journey `many` times.
pub fn campaign(name: &str, journey: &impl Journey, dice: &mut Dice, many: u64) -> Outcome {
    let mut outcome = Outcome::new(name);
    if std::env::var("QUELL_RELIABILITY_JOURNEY").is_ok_and(|only| only != name) {
        return outcome;
    }
    if let Ok(told) = std::env::var("QUELL_RELIABILITY_FAULT") {
        let faults: Vec<Fault> = told.split(',').map(Fault::parse).collect();
        outcome.add(&faults, &journey.disturbed(&faults));
        return outcome;
    }
    let began = Instant::now();
    for _ in 0..many {
        // Every third is met again while it makes up, every ninth once more.
        let times = 1 + u64::from(dice.below(3) == 0) + u64::from(dice.below(9) == 0);
        let faults: Vec<Fault> = (0..times).map(|_| journey.fault(dice)).collect();
        outcome.add(&faults, &journey.disturbed(&faults));
    }
    outcome.took = began.elapsed();
    outcome
}
