//! Executors: what carries orders out. A closed set; a new one is a variant here.

use std::sync::Arc;

use super::answer::Answer;
use super::ledger::{Lease, Moment};
use super::order::Order;
use super::orders::Orders;
use super::receipt::Recorded;
use super::simulate::Environment;
use super::webhook::Webhook;

/// What carries orders out.
pub enum Executor {
    /// Nothing: every order is told, not done.
    DryRun,
    /// A simulated environment: answers are a function of the order.
    Simulate(Box<Environment>),
    /// A service of the site that takes orders over HTTP.
    Webhook(Webhook),
    /// A topic in which orders are given; what came of them is heard later.
    Orders(Orders),
    /// What was answered outside, as a log has it.
    Recorded(Recorded),
}

impl Executor {
    /// By whom outcomes are labelled.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Executor::DryRun => "dry_run",
            Executor::Simulate(_) => "simulation",
            Executor::Webhook(_) => "webhook",
            Executor::Orders(_) => "kafka",
            Executor::Recorded(log) => log.by(),
        }
    }

    /// Whether its answers are inputs of the run: what answers within the process is a function of other inputs.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        match self {
            Executor::Webhook(_) | Executor::Orders(_) | Executor::Recorded(_) => true,
            Executor::DryRun | Executor::Simulate(_) => false,
        }
    }

    /// The time, where it is told how long a process stood still before a call.
    pub(super) fn now(&self) -> Moment {
        match self {
            Executor::Webhook(webhook) => webhook.now(),
            Executor::Orders(topic) => topic.now(),
            Executor::DryRun | Executor::Simulate(_) | Executor::Recorded(_) => Moment::default(),
        }
    }

    /// Resolves an order that was intended and has no outcome, by its class: an idempotent or keyed one is repeated,
    /// a probeable one is read back first, an opaque one is left to a person.
    #[must_use]
    pub(super) fn resolve(&self, orders: &[Order], lease: &Arc<Lease>) -> Vec<Answer> {
        match self {
            Executor::Webhook(webhook) => webhook.resolve(orders, lease),
            // Nothing leaves the process, or its receipt will come: recomputation says what came of it.
            Executor::DryRun | Executor::Simulate(_) | Executor::Orders(_) | Executor::Recorded(_) => orders
                .iter()
                .map(|_| Answer::Unknown { attempts: 0, what: "will be recomputed".to_owned() })
                .collect(),
        }
    }
}
