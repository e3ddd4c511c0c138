//! Quell: a streaming dataflow processor for security incident response.

pub mod record;
pub mod plan;
pub mod rank;
pub mod decide;
pub mod act;
pub mod settle;
