//! The plan: what analysts wrote in `dataflows/`, read, checked as a whole, and frozen.

pub mod fault;
pub mod yaml;
pub mod mapping;
pub mod correlation;
pub mod link;

pub use fault::Fault;
