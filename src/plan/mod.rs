//! The plan: what analysts wrote in `dataflows/`, read, checked as a whole, and frozen.

pub mod fault;
mod text;
pub mod yaml;
pub mod place;
pub mod address;
pub mod webhook;
pub mod canonical;
pub mod openc2;
pub mod field;
pub mod rule;
pub mod router;
pub mod detection;
pub mod mapping;
pub mod correlation;
pub mod link;
pub mod playbook;
pub mod policy;
pub mod kafka;
pub mod topic;
pub mod outside;
pub mod pipeline;
pub mod spare;
pub mod catalog;
pub mod copy;

pub use fault::Fault;
