//! The fault simulator: the real pipeline on one thread, on a simulated machine in a simulated world, by one seed.
//!
//! Real: feed, log, dataflow, desk, ledger, archive, recovery: the product's own code and files, on a disk in memory where there
//! is one. Simulated: clock, sources, people, what is called, and every moment at which a process may end or a disk may fail. A
//! process is crashed by unwinding it; what it leaves is a copy of its files taken before, less what it had not made durable
//! where the power fails.
//!
//! Everything that happens is drawn from the seed: the same seed plays the same trace. What must hold is in [`check`]; who calls
//! is watched by [`world`].

mod check;
mod disk;
mod drawn;
mod life;
mod people;
mod play;
mod sources;
mod stage;
mod world;

pub use drawn::Tally;
pub use play::{Failed, Plant, simulate};
