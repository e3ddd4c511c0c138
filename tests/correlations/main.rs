//! Correlations from outside: against a recount by definition, against the public rules and the specification's own
//! examples, and on the workloads on which rivals were measured.

#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "each test needs a part of it")]
mod common;

mod definition;
mod harness;
mod oracle;
mod conformance;
mod reading;
mod state;
mod workloads;
