//! The fault simulator: the real pipeline on one thread, on a simulated machine in a simulated world, by one seed.
//!
//! Real: feed, log, caution, dataflow, desk, ledger, archive, recovery: the product's own code and files, on a disk in memory where there
//! is one. Simulated: clock, sources, people, what is called, and every moment at which a process may end or a disk may fail. A
//! process is crashed by unwinding it; what it leaves is a copy of its files taken before, less what it had not made durable
//! where the power fails.
//!
//! A process may also stand still anywhere about a call, while another one takes over and goes on, and wake in its midst; and a record may
//! end whoever works on it. One worker: those that timely's allocator joins within a process wait for each other's threads when they
//! are made, so that one thread cannot have two; that results do not hang on their number is tested beside.
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
