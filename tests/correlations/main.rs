//! Correlations from outside: against a recount by definition, against the public rules and the specification's own
//! examples, and on the workloads on which rivals were measured.

#[path = "../common/mod.rs"]
mod common;

mod connected;
mod definition;
mod harness;
mod oracle;
mod conformance;
mod reading;
mod state;
mod telling;
mod workloads;
