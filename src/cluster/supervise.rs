//! Supervise.
