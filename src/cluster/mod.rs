//! Cluster: one run as several processes, which trust nobody but one another.
//!
//! The first process (index 0) decides what an epoch takes, keeps the log, the ledger, the snapshots and the archive, calls
//! executors and listens for people; the others run workers of the dataflow, read and parse their share of the topics'
//! partitions (`engine/live/far.rs`), and keep nothing. So a cluster is one archive, and its state is what the log says, in
//! whatever layout it goes on: processes and workers show in no result. Files, standard input and what is pushed are the first
//! one's.
//!
//! ```text
//!  process 0: log, archive, partitions 0, 2..      process 1: partitions 1, 3..
//!  workers <--> timely <--> link  <==== TLS 1.3, both sides known ====>  link <--> timely <--> workers
//! ```
//!
//! - **Who is who.** Each process has a certificate of the cluster's own authority for the name `process-N.quell`, N its index.
//!   A pair of processes has one connection, which the one of the higher index opens. After the handshake each says what it
//!   is ([`hello`]): index, generation, plan, model, layout and version; a difference is told at both ends. Timely's
//!   own ports are not used: it gets one end of a pair of sockets within the process ([`link`]).
//! - **Generations.** The first process counts its starts in the log, durably; the others learn the number from it when they
//!   join, and all turn away who has an older one. So nobody else has to agree on it, and each process can have a supervisor of
//!   its own that knows of no other.
//! - **One fate.** Where a link breaks, falls silent or says what it should not, the process ends with exit code 1 and says
//!   why; so do the others, also where one ends before all are there. What is committed is safe. Supervisors start all of them
//!   again: `quell run --supervise N` on one machine ([`supervise`]); systemd, by a unit a process (`deploy/systemd`);
//!   Kubernetes, by a `StatefulSet` whose pods' ordinals are the indices (`deploy/kubernetes`). All must be restarted, and all
//!   are: those that are left end by themselves. In order the cluster ends when any of its processes is told to (SIGTERM).
//! - **Strangers.** What comes without a certificate of the authority, in another's name, with an older generation or slowly
//!   is turned away, counted and told in a bounded way ([`door`]); only so many handshakes are under way at a time, and the
//!   one that has taken longest makes room, so that strangers keep no process out.
//!
//! State: that of the links.

pub mod authority;
pub mod door;
pub mod file;
pub mod form;
pub mod hello;
pub mod link;
pub mod supervise;
pub mod tls;

use std::os::unix::net::UnixStream;
use std::sync::Arc;

pub use door::TurnedAway;
pub use file::ClusterFile;
pub use form::{Cluster, Means, Role};
pub use hello::Terms;
pub use link::Talk;

use crate::record::wire::Tongues;

/// A process's place in a cluster, and its links to the others, as its workers need them.
pub struct Peers {
    /// Its index.
    pub process: usize,
    /// Workers of each process.
    pub workers: usize,
    /// Links to all processes, by index; none to itself.
    pub links: Vec<Option<UnixStream>>,
    /// What is known of the others' strings.
    pub tongues: Arc<Tongues>,
    /// Talks with all processes, by index; none with itself.
    pub talks: Vec<Option<Talk>>,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A certificate or key cannot be used.
    #[error("{what}; {cure}")]
    Identity {
        /// What is wrong with which.
        what: String,
        /// What to do.
        cure: &'static str,
    },
    /// It cannot listen.
    #[error("cannot listen at {address}: {source}; is the port taken, or the address not this machine's?")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process is not what it should be, or takes us for what we should not be.
    #[error("process {process} at {address}: {why}")]
    Peer {
        /// Its index.
        process: usize,
        /// Where.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// Others did not come in time.
    #[error(
        "waited {waited_s} s for process {missing}; are all started, and do their addresses reach one another?"
    )]
    Alone {
        /// Who is missing.
        missing: String,
        /// How long it waited.
        waited_s: u64,
    },
    /// It was stopped before the others came.
    #[error("stopped before the cluster was complete")]
    Stopped,
    /// The system refuses sockets or threads.
    #[error("sockets or threads cannot be had: {0}; check the limits on processes and open files")]
    System(#[from] std::io::Error),
}
