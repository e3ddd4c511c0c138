//! The topic executor: an order as JSON in a topic, its action's id in its headers.
//!
//! Giving an order is writing it: all replicas in sync have it when that returns. What came of it is heard later, as an input of
//! the run. An order that is written again after a crash has the same id in its headers: whoever carries orders out tells
//! copies apart by it. Whether it may be written again is its class's to say.

use std::cell::RefCell;
use std::path::Path;

use super::clock;
use super::ledger::Moment;
use super::order::Order;
use super::service::World;
use crate::kafka::{self, Letter, Patience, ProduceError, Producer, TRACEPARENT, traceparent};
use crate::plan::outside::KafkaExecutor;
use crate::record::Tick;

/// See the head of this file.
pub struct Orders {
    door: Door,
    timeout_s: Tick,
}

enum Door {
    Topic(RefCell<Producer>),
    World(Box<dyn World>),
}

impl Orders {
    /// A producer that has not reached anybody yet. Relative paths are from `folder`; brokers that take nothing are waited for
    /// until the run is `ending`, and then for a minute.
    pub fn new(
        executor: &KafkaExecutor,
        folder: &Path,
        ending: Box<dyn Fn() -> bool + Send>,
    ) -> Result<Orders, ProduceError> {
        let config = kafka::config(&executor.cluster(), folder).map_err(ProduceError::Settings)?;
        let patience = Patience::of_a_minute(ending);
        let producer = Producer::new("executor", &config, vec![executor.topic.clone()], patience)?;
        Ok(Orders { door: Door::Topic(RefCell::new(producer)), timeout_s: executor.timeout_s() })
    }

    /// Orders that are given to a simulated world, as a topic has them: what it answers is not heard.
    #[must_use]
    pub fn simulated(world: Box<dyn World>, timeout_s: Tick) -> Orders {
        Orders { door: Door::World(world), timeout_s }
    }

    /// Waits until brokers answer, and have the topic.
    pub(super) fn reach(&self) -> Result<(), ProduceError> {
        match &self.door {
            Door::Topic(producer) => producer.borrow_mut().partitions().map(drop),
            Door::World(_) => Ok(()),
        }
    }

    /// The time.
    pub(super) fn now(&self) -> Moment {
        match &self.door {
            Door::Topic(_) => clock::now(),
            Door::World(world) => world.now(),
        }
    }

    /// How long a receipt may take.
    pub(super) fn timeout_s(&self) -> Tick {
        self.timeout_s
    }

    /// Gives orders, by target: the topic has all of them when this returns.
    pub(super) fn give(&self, orders: &[Order]) -> Result<(), ProduceError> {
        match &self.door {
            Door::Topic(producer) => {
                let letters: Vec<Letter> = orders.iter().map(letter).collect();
                producer.borrow_mut().deliver(&letters, &mut |_, _, _| {})
            }
            Door::World(world) => {
                for order in orders {
                    world.post(order);
                }
                Ok(())
            }
        }
    }
}

fn letter(order: &Order) -> Letter {
    let action = order.action_id.to_string();
    let trace = format!("{}/{action}", order.incident_id);
    let parent = traceparent(&trace, &action);
    let class = order.class.name().to_owned();
    let headers =
        vec![("quell-id", action), ("quell-trace", trace), ("quell-class", class), (TRACEPARENT, parent)];
    // What was read from a plan of text and numbers can be written again.
    let body = serde_json::to_vec(order).unwrap_or_default();
    Letter { topic: 0, key: order.target.clone(), headers, body }
}
