//! Decide: from ranked playbooks to a ruling, with the reason.
//!
//! In: versions of incidents with their proposals and the model's judgement; people's answers. Out: candidates and
//! rulings; what is to be carried out leaves only as [`Approved`].
//! State: one [`Decider`] a tenant.

mod approved;
mod decider;
mod guard;
mod memory;
mod spent;
mod tally;
mod undo;
pub mod ruling;

pub use approved::{Approved, Undertaking};
pub use decider::{Answer, Case, Decider, Ground, Ruled, Rules, Rulings};
pub use tally::{Sums, Tally};
pub use undo::Undoing;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod ground_tests;
