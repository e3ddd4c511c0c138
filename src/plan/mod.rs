//! The plan: what analysts wrote in `dataflows/`, read, checked as a whole, and frozen.

pub mod fault;
pub mod field;
pub mod mapping;
