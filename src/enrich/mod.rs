//! Alerts' incidents meet what is known of their entities: context tables that change while the run goes on.

pub mod stix;
mod line;
pub mod tables;
pub mod watch;
pub mod zones;
pub mod facts;
