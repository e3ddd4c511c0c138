//! What lies in topics, as tests of what goes out and comes in look at it.

use super::kafka::Broker;

/// A message as it lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Lying {
    pub partition: i32,
    pub offset: i64,
    pub key: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Lying {
    /// A header's value; empty where it has none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// All that a topic holds, by partition and offset.
pub fn lying(broker: &Broker, topic: &str) -> Vec<Lying> {
    let had = broker.consume(topic).into_iter();
    had.map(|had| Lying {
        partition: had.partition,
        offset: had.offset,
        key: had.key.unwrap_or_default(),
        headers: had.headers,
        body: had.value.unwrap_or_default(),
    })
    .collect()
}

/// Makes topics of so many partitions.
pub fn topics(broker: &Broker, names: &[&str], partitions: i32) {
    for name in names {
        broker.topic(name, partitions);
    }
}

/// Writes messages: key and body.
pub fn produce(broker: &Broker, topic: &str, messages: &[(&str, &str)]) {
    broker.produce_keyed(topic, None, messages.iter().map(|(key, body)| (Some(*key), Some(*body))));
}

/// Writes a message without value.
pub fn withdraw(broker: &Broker, topic: &str, key: &str) {
    broker.produce_keyed(topic, None, [(Some(key), None)]);
}
