//! A cluster: results are those of one process, in whatever layout; nobody joins who is not of it; a process that is lost
//! loses nothing.

#[path = "../common/mod.rs"]
mod common;

#[path = "../archive_samples/mod.rs"]
mod samples;

mod codec;
mod deploy;
mod growing;
mod kept;
mod kills;
mod layout;
mod links;
mod networks;
mod results;
mod running;
mod strangers;
mod topics;
