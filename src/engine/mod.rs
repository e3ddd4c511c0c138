//! The stages wired: the whole dataflow on one screen, its workers, its log, and the threads around it.

pub mod log;
pub mod lock;
pub mod journal;
pub mod caution;
pub mod live;
pub mod answers;
pub mod scores;
pub mod revise;
pub mod unsettled;
pub mod pushed;
pub mod scribe;
pub mod reopen;
pub mod beginning;
mod handing;
pub mod dataflow;
pub mod workers;
pub mod sinks;
pub mod words;
pub mod archivist;
pub mod crier;
pub mod seen;
pub mod sighter;
pub mod clerk;
pub mod summary;
pub mod metrics;
pub mod run;
pub mod feed;
