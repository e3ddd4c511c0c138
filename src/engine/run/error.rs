//! Why a run fails.

use crate::act::DeskError;
use crate::engine::archivist::ArchiveError;
use crate::engine::log::LogError;
use crate::engine::sinks::SinkError;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The ledger.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// Topics.
    #[error(transparent)]
    Sinks(#[from] SinkError),
    /// A thread could not be started.
    #[error("a thread cannot be started: {0}; check the limits on processes and memory")]
    Thread(#[from] std::io::Error),
    /// What a word is on could not be read.
    #[error("the archive cannot be read for a word on one of its incidents: {0}")]
    Revise(#[source] std::io::Error),
    /// A worker panicked.
    #[error("a worker failed: {0}; this is a defect of quell: please report it with the message above")]
    Worker(String),
}
