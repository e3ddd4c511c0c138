//! Topics beside the sources': where a run says what it found and did, and where people say theirs.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Fault;
use super::kafka::{Cluster, Security};
use super::place::Place;
use crate::record::{ContextTable, Tick};

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
    /// Rows that may wait for brokers before the sources do.
    #[serde(default = "waiting_max")]
    #[schemars(range(min = 1))]
    pub waiting_max: u32,
}

/// Where people and systems say theirs while `quell run` goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Words {
    /// Topics of a Kafka cluster.
    pub kafka: Option<KafkaWords>,
}

/// Topics of words: each message is the JSON that the log has of such a word. Whoever may write there speaks under any name:
/// the cluster's rights say who may.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaWords {
    /// Some of the cluster's brokers, as `kafka-1:9092,kafka-2:9092`.
    pub brokers: String,
    /// How to be let in.
    #[serde(default)]
    pub security: Security,
    /// Answers to escalated decisions: `{"decision_id", "approved", "by"}`.
    #[serde(default)]
    pub approvals: Option<String>,
    /// Analysts' words on incidents: `{"incident_id", "verdict", "by"}`, or `unlink` where `verdict` stands.
    #[serde(default)]
    pub verdicts: Option<String>,
    /// What came of orders that were given in a topic: `{"action_id", "status", "detail"}`; `status` is `succeeded` or `failed`.
    #[serde(default)]
    pub receipts: Option<String>,
    /// Tables of context, each a compacted topic: a message's key is an entity, its value the row that files have as JSON, and
    /// none where it is withdrawn.
    #[serde(default)]
    pub context: BTreeMap<ContextTable, String>,
}

/// A topic that orders are given in, as JSON, each with its action's id in its headers: whoever carries them out tells copies
/// apart by it, and says in the topic of receipts (`words`) what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaExecutor {
    /// Some of the cluster's brokers, as `kafka-1:9092,kafka-2:9092`.
    pub brokers: String,
    /// How to be let in.
    #[serde(default)]
    pub security: Security,
    /// The topic; it must be there.
    pub topic: String,
    /// How long a receipt may take by the clock of alerts, as `10m`; then the action is in doubt, until a receipt comes after all.
    #[serde(default = "ten_minutes")]
    pub timeout: String,
}

impl KafkaExecutor {
    /// Its cluster.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        Cluster { brokers: self.brokers.clone(), security: self.security.clone() }
    }

    /// How long a receipt may take.
    #[must_use]
    pub fn timeout_s(&self) -> Tick {
        super::pipeline::seconds(&self.timeout).unwrap_or(600)
    }

    /// What is wrong with it, where receipts come in by `words`.
    #[must_use]
    pub fn faults(&self, place: &Place<'_>, folder: &Path, words: &Words) -> Vec<Fault> {
        let mut faults = self.cluster().faults(place, folder, "executor");
        faults.extend(topic_faults(place, "executor", vec![("topic", &self.topic)], "`topic`"));
        if super::pipeline::seconds(&self.timeout).is_none() {
            let what = format!("executor: `timeout` is {:?}", self.timeout);
            faults.push(place.within("timeout").fault(what, "write 30s, 5m, 1h or 1d"));
        }
        if words.kafka.as_ref().is_none_or(|words| words.receipts.is_none()) {
            let what = "executor: nobody would hear what came of an order";
            faults.push(place.fault(what, "name the topic of `receipts` in `words: {kafka: ...}`"));
        }
        faults
    }
}

/// Where the ledger of actions lies, beside the archive's own folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ledger {
    /// A topic of a Kafka cluster.
    pub kafka: Option<KafkaLedger>,
}

/// A topic of one partition that keeps all it is told, for one job: whoever begins with a new archive, on any machine, knows from it
/// what was called before, and calls it no second time. Without it the ledger lies in the archive's folder alone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaLedger {
    /// Some of the cluster's brokers, as `kafka-1:9092,kafka-2:9092`.
    pub brokers: String,
    /// How to be let in.
    #[serde(default)]
    pub security: Security,
    /// The topic; it must be there.
    pub topic: String,
}

impl KafkaLedger {
    /// Its cluster.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        Cluster { brokers: self.brokers.clone(), security: self.security.clone() }
    }
}

impl Ledger {
    /// What is wrong with it, where actions leave the process or do not.
    #[must_use]
    pub fn faults(&self, place: &Place<'_>, folder: &Path, leave: bool) -> Vec<Fault> {
        let Some(kafka) = &self.kafka else { return Vec::new() };
        let at = place.within("kafka");
        let mut faults = kafka.cluster().faults(&at, folder, "ledger");
        faults.extend(topic_faults(&at, "ledger", vec![("topic", &kafka.topic)], "`topic`"));
        if !leave {
            let what = "ledger: nothing is called, and what is told there would never be done";
            let cure = "name an `executor` of type webhook or kafka, or take `ledger` out";
            faults.push(place.fault(what, cure));
        }
        faults
    }
}

/// What is said in a topic of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Answers to decisions.
    Approvals,
    /// Words on incidents.
    Verdicts,
    /// What came of orders.
    Receipts,
}

impl KafkaWords {
    /// Its cluster.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        Cluster { brokers: self.brokers.clone(), security: self.security.clone() }
    }

    /// What is said where.
    #[must_use]
    pub fn topics(&self) -> Vec<(Word, &str)> {
        let all = [
            (Word::Approvals, &self.approvals),
            (Word::Verdicts, &self.verdicts),
            (Word::Receipts, &self.receipts),
        ];
        all.into_iter().filter_map(|(word, topic)| Some((word, topic.as_deref()?))).collect()
    }
}

impl Words {
    /// What is wrong with them.
    #[must_use]
    pub fn faults(&self, place: &Place<'_>, folder: &Path) -> Vec<Fault> {
        let Some(kafka) = &self.kafka else { return Vec::new() };
        let place = place.within("kafka");
        let mut faults = kafka.cluster().faults(&place, folder, "words");
        let words = kafka.topics().into_iter().map(|(word, topic)| (word.key(), topic));
        let topics = words.chain(kafka.context.values().map(|topic| ("context", topic.as_str()))).collect();
        faults.extend(topic_faults(
            &place,
            "words",
            topics,
            "`approvals`, `verdicts`, `receipts` or `context`",
        ));
        faults
    }
}

impl Word {
    /// The key that names its topic.
    fn key(self) -> &'static str {
        match self {
            Word::Approvals => "approvals",
            Word::Verdicts => "verdicts",
            Word::Receipts => "receipts",
        }
    }
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

impl Stream {
    /// The key that names its topic.
    fn key(self) -> &'static str {
        match self {
            Stream::Decisions => "decisions",
            Stream::Actions => "actions",
            Stream::Incidents => "incidents",
            Stream::Rejects => "rejects",
            Stream::Findings => "findings",
        }
    }
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
    pub fn faults(&self, place: &Place<'_>, folder: &Path) -> Vec<Fault> {
        let Some(kafka) = &self.kafka else { return Vec::new() };
        let place = place.within("kafka");
        let mut faults = kafka.cluster().faults(&place, folder, "sinks");
        let topics = kafka.topics().into_iter().map(|(stream, topic)| (stream.key(), topic)).collect();
        let names = "one of `decisions`, `actions`, `incidents`, `rejects`, `findings`";
        faults.extend(topic_faults(&place, "sinks", topics, names));
        if super::pipeline::seconds(&kafka.delivery_timeout).is_none() {
            let what = format!("sinks: `delivery_timeout` is {:?}", kafka.delivery_timeout);
            faults.push(place.within("delivery_timeout").fault(what, "write 30s, 5m, 1h or 1d"));
        }
        faults
    }
}

/// What is wrong with the names of topics: each must be one, and a topic is for one thing.
fn topic_faults(
    place: &Place<'_>,
    name: &str,
    mut topics: Vec<(&'static str, &str)>,
    names: &str,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |place: &Place<'_>, what: String, cure: &str| {
        faults.push(place.fault(format!("{name}: {what}"), cure));
    };
    if topics.is_empty() {
        fault(place, "there is no topic".to_owned(), &format!("name {names}, or take `{name}` out"));
    }
    for (key, topic) in topics.iter().filter(|(_, topic)| !is_topic(topic)) {
        let cure = "write 1 to 249 letters, digits, dots, dashes and underscores";
        fault(&place.within(key), format!("{topic:?} cannot be a topic"), cure);
    }
    topics.sort_by_key(|(_, topic)| *topic);
    for twice in topics.windows(2).filter(|pair| pair[0].1 == pair[1].1) {
        let (key, topic) = twice[1];
        fault(&place.within(key), format!("the topic {topic:?} is for two things"), "give each its own");
    }
    faults
}

/// What Kafka takes for a topic's name.
fn is_topic(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name.bytes().all(fits) && name != "." && name != ".."
}

fn waiting_max() -> u32 {
    50_000
}

fn ten_minutes() -> String {
    "10m".to_owned()
}

fn minute() -> String {
    "60s".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::place::Lines;

    #[test]
    fn a_ledger_is_for_what_leaves() {
        for (text, leaves, faults) in [
            ("{}", false, 0),
            ("kafka: {brokers: 'a:9092', topic: t}", true, 0),
            ("kafka: {brokers: 'a:9092', topic: t}", false, 1),
            ("kafka: {brokers: '', topic: 'no good'}", true, 2),
        ] {
            let ledger: Ledger = crate::plan::yaml::parse(Path::new("pipeline.yml"), text, "").unwrap();
            let lines = Lines::of(text);
            let place = Place::top(Path::new("pipeline.yml"), &lines);
            let found = ledger.faults(&place, Path::new("."), leaves);
            assert_eq!(found.len(), faults, "{text}: {found:?}");
        }
    }

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
            let lines = Lines::of(text);
            let place = Place::top(Path::new("pipeline.yml"), &lines);
            let found = sinks.faults(&place, Path::new("."));
            assert_eq!(found.len(), faults, "{text}: {found:?}");
        }
    }
}
