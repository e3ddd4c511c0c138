//! Kafka: what all who write topics, and look up what they have, share.

mod producer;
mod reader;

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

pub use producer::{Letter, Patience, Producer};
pub use reader::{Reader, settings};

use crate::plan::kafka::Cluster;

/// How long brokers may take to answer a question.
pub const ANSWER: Duration = Duration::from_secs(5);

/// Why topics could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// What the plan says of the cluster.
    #[error("the cluster cannot be used: {0}")]
    Settings(String),
    /// The library.
    #[error("the client cannot be used")]
    Client(#[from] KafkaError),
    /// No such topic.
    #[error("there is no topic {0:?}; make it, or correct its name in the pipeline file")]
    NoTopic(String),
    /// Credentials or certificates.
    #[error("the brokers do not let us in: {0}; check `security` in the pipeline file")]
    NotLetIn(String),
    /// A topic does not take a message.
    #[error("the topic {topic:?} does not take what is said; the next run on this archive says it again")]
    Topic {
        /// Which.
        topic: String,
        /// Why.
        #[source]
        why: KafkaError,
    },
    /// Order and once-ness can no longer be had from this session.
    #[error("the brokers lost track of what was sent: {0}; the next run on this archive reads it back")]
    Broken(String),
    /// The run ended before brokers took everything.
    #[error(
        "brokers took nothing for {seconds} s when the run ended ({why}), and {waiting} messages or more are not delivered; \
         they are in the archive, and the next run on it delivers them"
    )]
    Undelivered {
        /// Messages under way; more may wait behind them.
        waiting: usize,
        /// How long they were waited for.
        seconds: u64,
        /// The last thing that was heard of the brokers.
        why: String,
    },
}

/// The header of W3C's Trace Context.
pub const TRACEPARENT: &str = "traceparent";

/// What W3C's Trace Context (<https://www.w3.org/TR/trace-context/>) calls a parent: the trace is the incident, the span the
/// message, so that all that is said of an incident is one trace, whoever computes it and however often. None of what is about
/// no incident.
#[must_use]
pub fn traceparent(trace: &str, id: &str) -> String {
    let incident = trace.split('/').next().unwrap_or_default();
    let is_trace = incident.len() == 32 && incident.bytes().all(|byte| byte.is_ascii_hexdigit());
    let span = &blake3::hash(id.as_bytes()).to_hex()[..16];
    if is_trace { format!("00-{incident}-{span}-01") } else { String::new() }
}

/// A client's settings for a cluster; relative paths are from `folder`.
pub fn config(cluster: &Cluster, folder: &std::path::Path) -> Result<ClientConfig, String> {
    let mut config = ClientConfig::new();
    for (key, value) in cluster.settings(folder)? {
        config.set(key, value);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_an_incident_is_one_trace() {
        let incident = "0123456789abcdef0123456789abcdef";
        let [one, two] = ["a/0", "a/1"].map(|id| traceparent(&format!("{incident}/action"), id));
        assert!(
            one.starts_with(&format!("00-{incident}-")) && one.len() == 55 && one.ends_with("-01"),
            "{one}"
        );
        assert!(two[..36] == one[..36] && two != one);
        assert_eq!(traceparent("", "edge/0/7"), "");
    }
}
