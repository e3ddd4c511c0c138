//! Replay: a historical day from files, in recorded time; and synthetic days to replay.

pub mod inputs;
pub mod fingerprint;
pub mod parse;
pub mod sorted;
pub mod set;
pub mod arrival;
pub mod whole;
pub mod again;
pub mod epochs;
pub mod diff;
pub mod generate;
pub mod simulator;
