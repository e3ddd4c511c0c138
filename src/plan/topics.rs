//! Topics beside the sources': where a run says what it found and did, and where people say theirs.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Fault;
use super::kafka::{Cluster, Security};

/// Where a run says what it found and did, beside its archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sinks {
    /// Topics of a Kafka cluster.
    pub kafka: Option<KafkaSinks>,
}

/// Topics that rows of the archive go to as JSON, each at most once: none is lost or doubled, whatever crashes. They must
/// be there, and must not be compacted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSinks {
    /// Some of the cluster's brokers, as `kafka-1:9092,kafka-2:9092`.
    pub brokers: String,
    /// How to be let in.
    #[serde(default)]
    pub security: Security,
    /// Rulings, by incident.
    #[serde(default)]
    pub decisions: Option<String>,
    /// Actions as they go on, by target.
    #[serde(default)]
    pub actions: Option<String>,
    /// Versions of incidents, by incident.
    #[serde(default)]
    pub incidents: Option<String>,
    /// What could not become an alert, by source.
    #[serde(default)]
    pub rejects: Option<String>,
    /// Correlations' findings and their withdrawals, by correlation and group.
    #[serde(default)]
    pub findings: Option<String>,
    /// How long the end of a run waits for brokers that take nothing, as `60s`; the next run delivers what is left.
    #[serde(default = "minute")]
    pub delivery_timeout: String,
}

/// What a topic is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Rulings.
    Decisions,
    /// Actions.
    Actions,
    /// Incidents.
    Incidents,
    /// Rejects.
    Rejects,
    /// Findings.
    Findings,
}

impl KafkaSinks {
    /// Its cluster.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        Cluster { brokers: self.brokers.clone(), security: self.security.clone() }
    }

    /// What goes where.
    #[must_use]
    pub fn topics(&self) -> Vec<(Stream, &str)> {
        let all = [
            (Stream::Decisions, &self.decisions),
            (Stream::Actions, &self.actions),
            (Stream::Incidents, &self.incidents),
            (Stream::Rejects, &self.rejects),
            (Stream::Findings, &self.findings),
        ];
        all.into_iter().filter_map(|(stream, topic)| Some((stream, topic.as_deref()?))).collect()
    }

    /// The longest wait at the end, in seconds.
    #[must_use]
    pub fn delivery_timeout_s(&self) -> u64 {
        super::pipeline::seconds(&self.delivery_timeout)
            .and_then(|span| u64::try_from(span).ok())
            .unwrap_or(60)
    }
}

impl Sinks {
    /// What is wrong with them.
    #[must_use]
    pub fn faults(&self, flow: &Path, folder: &Path) -> Vec<Fault> {
        let Some(kafka) = &self.kafka else { return Vec::new() };
        let mut faults = kafka.cluster().faults(flow, folder, "sinks");
        let mut topics: Vec<&str> = kafka.topics().into_iter().map(|(_, topic)| topic).collect();
        if topics.is_empty() {
            let cure =
                "name one of `decisions`, `actions`, `incidents`, `rejects`, `findings`, or take `sinks` out";
            faults.push(Fault::of(flow, "sinks: there is no topic", cure));
        }
        faults.extend(
            topics.iter().filter(|topic| !is_topic(topic)).map(|topic| not_a_topic(flow, "sinks", topic)),
        );
        topics.sort_unstable();
        for twice in topics.windows(2).filter(|pair| pair[0] == pair[1]) {
            let what = format!("sinks: two kinds of rows go to the topic {:?}", twice[0]);
            faults.push(Fault::of(
                flow,
                what,
                "give each its own: their places in a topic tell what is there already",
            ));
        }
        if super::pipeline::seconds(&kafka.delivery_timeout).is_none() {
            let what = format!("sinks: `delivery_timeout` is {:?}", kafka.delivery_timeout);
            faults.push(Fault::of(flow, what, "write 30s, 5m, 1h or 1d"));
        }
        faults
    }
}

/// What Kafka takes for a topic's name.
fn is_topic(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name.bytes().all(fits) && name != "." && name != ".."
}

fn not_a_topic(flow: &Path, place: &str, name: &str) -> Fault {
    let cure = "write 1 to 249 letters, digits, dots, dashes and underscores";
    Fault::of(flow, format!("{place}: {name:?} cannot be a topic"), cure)
}

fn minute() -> String {
    "60s".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks_name_their_topics() {
        for (text, topics, faults) in [
            ("{}", 0, 0),
            ("kafka: {brokers: 'a:9092', decisions: d, rejects: r}", 2, 0),
            ("kafka: {brokers: 'a:9092'}", 0, 1),
            ("kafka: {brokers: 'a:9092', decisions: d, actions: d}", 2, 1),
            ("kafka: {brokers: 'a:9092', decisions: 'no good'}", 1, 1),
            ("kafka: {brokers: '', decisions: d, delivery_timeout: long}", 1, 2),
        ] {
            let sinks: Sinks = crate::plan::yaml::parse(Path::new("pipeline.yml"), text, "").unwrap();
            assert_eq!(sinks.kafka.as_ref().map_or(0, |kafka| kafka.topics().len()), topics, "{text}");
            let found = sinks.faults(Path::new("pipeline.yml"), Path::new("."));
            assert_eq!(found.len(), faults, "{text}: {found:?}");
        }
    }
}
