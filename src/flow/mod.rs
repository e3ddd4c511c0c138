//! What all operators stand on: the dataflow's types, turns (work done once per closed epoch), and tails
//! (state machines that replay what late records disturb).

mod due;

pub mod decade;
pub mod fate;
pub mod meet;
pub mod kept;
pub mod nearly;
pub mod queue;
pub mod store;
pub mod tail;
pub mod turn;

use differential_dataflow::VecCollection;
use timely::dataflow::StreamVec;

use crate::record::{Diff, Epoch, Sym};

/// A stream of records, stamped with epochs.
pub type Stream<'scope, D> = StreamVec<'scope, Epoch, D>;
/// A changing collection of records.
pub type Flow<'scope, D> = VecCollection<'scope, Epoch, D, Diff>;

pub use kept::{Keeper, Keeping};
pub use meet::{joined, reduced};
pub use nearly::sort_nearly;
pub use queue::Queue;
pub use tail::{Machine, Tails};
pub use turn::{Turn, Work, turns};

/// Where a tenant lives: any function of it will do, since which worker has it shows in no result.
#[must_use]
pub fn route(tenant: Sym) -> u64 {
    tenant.place().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}
