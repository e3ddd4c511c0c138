//! Quell: a streaming dataflow processor for security incident response.

pub mod record;
pub mod featurize;
pub mod rank;
pub mod learn;
