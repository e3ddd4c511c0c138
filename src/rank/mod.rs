//! Rank: features -> triage, next tactics and a score for each proposed playbook, in batches, by a burn network.
//!
//! [`ranker`] answers; [`model`] is how a model lies on disk and what is checked before it is believed; [`network`] is the
//! network itself; [`service`] is the thread on which the dataflow has it run; [`recall`] says again what was said before.

pub mod propose;
pub mod judge;
pub mod traits;
pub mod network;
pub mod history;
pub mod model;
pub mod device;
pub mod ranker;
pub mod recall;
pub mod service;

pub use model::{Model, ModelError};
pub use ranker::{Case, Ranker};
pub use recall::{Opinion, Recall};
pub use service::{RankClient, RankService};
pub use traits::PlaybookTraits;
