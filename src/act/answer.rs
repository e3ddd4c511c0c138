//! Answer: what came of an order, as whoever carried it out says.

use serde::{Deserialize, Serialize};

/// What an executor said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done {
        /// Calls made.
        attempts: u32,
    },
    /// It is not done, for good.
    Refused {
        /// Calls made.
        attempts: u32,
        /// Why.
        what: String,
    },
    /// Nobody knows: what to do is the class's to say.
    Unknown {
        /// Calls made.
        attempts: u32,
        /// Why.
        what: String,
    },
}
