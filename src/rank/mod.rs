//! Rank: which playbooks fit an incident, and how likely each is to succeed.

pub mod propose;
