//! The plan: what an analyst edits under `dataflows/`, read, checked together and frozen.

pub mod fault;
pub mod address;
pub mod canonical;
pub mod openc2;
pub mod playbook;
pub mod policy;
