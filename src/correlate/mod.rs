//! Alerts to incidents: duplicates apart, correlation rules, links by shared entities, and the incidents' life.
//!
//! Everything here does its work once per epoch on all of its records, sorted, so that neither the number of
//! workers nor the size of batches shows in a result.

mod admissions;
pub mod dedup;
pub mod acted;
pub mod counted;
pub mod repeats;
pub mod sight;
pub mod group;
pub mod index;
pub mod ranked;
pub mod tally;
pub mod window;
pub mod temporal_ordered;
pub mod machine;
pub mod connected;
pub mod findings;
pub mod example;
pub mod rarity;
pub mod baseline;
mod base;
pub mod bond;
pub mod link;
pub mod cut;
pub mod revision;
mod shelf;
pub mod summary;
pub mod incidents;

#[cfg(test)]
mod tests;
