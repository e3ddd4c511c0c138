//! Replay: what a run can be fed with besides the live sources.

pub mod generate;
