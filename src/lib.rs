//! Quell: a streaming dataflow processor for security incident response.

pub mod record;
pub mod plan;
pub mod flow;
pub mod ingest;
pub mod normalize;
pub mod correlate;
pub mod enrich;
pub mod featurize;
pub mod rank;
pub mod decide;
pub mod act;
pub mod settle;
pub mod archive;
pub mod learn;
pub mod engine;
pub mod replay;
pub mod cli;
