//! Act: approved playbooks become commands, once each, and are undone when their time is over.
//!
//! In: rulings with their undertakings, the settled clock. Out: rows of actions and outcomes.
//! State: runs under way, standing effects, the ledger on disk. What is done to the world is done by an
//! [`Executor`]; every call is preceded by a durable intent and followed by a durable outcome.

mod answer;
mod clock;
mod desk;
mod effects;
mod executor;
mod ledger;
mod look;
mod make;
mod order;
mod orders;
mod receipt;
mod secret;
#[cfg(test)]
mod server;
mod service;
mod simulate;
mod stepper;
mod webhook;

pub use answer::Answer;
pub use desk::{Desk, DeskError, Handed, Remembered, Rows};
pub use executor::Executor;
pub use ledger::{
    Book, Common, Entry, Intent, Known, Leaves, Ledger, LedgerError, LedgerTopic, Moment, Page, Pages,
};
pub use look::look;
pub use make::make;
pub use order::{Order, action_id};
pub use orders::Orders;
pub use receipt::{Receipt, Recorded};
pub use secret::Secret;
pub use service::{Call, World};
pub use simulate::{Environment, EnvironmentError, Truth};
pub use webhook::{Webhook, WebhookError, WebhookSettings};
