//! What lies in topics, as tests of what goes out and comes in look at it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use quell::archive::Reader;
use quell::record::Names;
use serde_json::Value;

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

    /// The epoch that said it.
    pub fn epoch(&self) -> u64 {
        self.header("quell-epoch").parse().expect("an epoch")
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

/// A message's id, checked against what it says.
pub fn id(topic: &str, message: &Lying) -> String {
    let body: Value = serde_json::from_str(&message.body).expect("JSON");
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let (id, key) = match topic {
        "decisions" => {
            let trace = format!("00-{}-", text("incident_id"));
            assert!(message.header("traceparent").starts_with(&trace), "{message:?}");
            (text("decision_id"), text("incident_id"))
        }
        "actions" => (format!("{}/{}", text("action_id"), body["seq"]), text("target")),
        "incidents" => (format!("{}/{}", text("incident_id"), body["version"]), text("incident_id")),
        "rejects" => {
            (format!("{}/{}/{}", text("source"), body["partition"], body["position"]), text("source"))
        }
        _ => (message.header("quell-id").to_owned(), message.key.clone()),
    };
    assert!(message.header("quell-id").starts_with(&id), "{message:?}");
    assert_eq!(message.key, key);
    assert_eq!(body["epoch"], message.epoch());
    message.header("quell-id").to_owned()
}

/// Messages of one key lie in one partition, in the order of their epochs.
pub fn in_order(topic: &str, lying: &[Lying]) {
    let mut last: BTreeMap<&str, (i32, u64, u64)> = BTreeMap::new();
    for message in lying {
        let place =
            (message.partition, message.epoch(), message.header("quell-seq").parse().expect("a number"));
        if let Some(before) = last.insert(&message.key, place) {
            assert!(before < place && before.0 == place.0, "{topic}: {before:?} {place:?}");
        }
    }
}

/// Ids of the archive's rows as the topics have them, with their epochs.
pub fn rows(archive: &Path) -> BTreeMap<&'static str, Vec<(String, u64)>> {
    let names = Arc::new(Names::default());
    let reader = Reader::open(archive, Arc::clone(&names)).expect("an archive");
    let decisions = reader.decisions(None).expect("decisions").map(|line| line.expect("a line"));
    let decisions = decisions.map(|it| {
        let by = it.superseded_by.map_or(String::new(), |by| format!("/{by}"));
        (format!("{}{by}", it.decision_id), it.epoch)
    });
    let actions = reader.actions(None).expect("actions").map(|line| line.expect("a line"));
    let actions = actions.map(|it| (format!("{}/{}", it.action_id, it.seq), it.epoch));
    let incidents = reader.incidents(None).expect("incidents").map(|line| line.expect("a line"));
    let incidents = incidents.map(|it| (format!("{}/{}", it.incident_id, it.version), it.epoch));
    let rejects = reader.rejects(None).expect("rejects").map(|line| line.expect("a line"));
    let rejects =
        rejects.map(|it| (format!("{}/{}/{}", names.get(it.source), it.partition, it.position), it.epoch));
    let findings = reader.matches(None).expect("matches").map(|line| line.expect("a line"));
    let findings = findings.map(|it| {
        let key = [it.tenant, it.correlation, it.group].map(|name| names.get(name)).join("/");
        let alerts: Vec<String> = it.alert_ids.iter().map(ToString::to_string).collect();
        let alerts = Value::from(alerts).to_string();
        let hash = blake3::hash(format!("{key}/{alerts}").as_bytes()).to_hex();
        (format!("{}/{:+}", &hash[..32], it.diff), it.epoch)
    });
    let mut all: BTreeMap<&'static str, Vec<(String, u64)>> = BTreeMap::from([
        ("decisions", decisions.collect()),
        ("actions", actions.collect()),
        ("incidents", incidents.collect()),
        ("rejects", rejects.collect()),
        ("findings", findings.collect()),
    ]);
    for ids in all.values_mut() {
        ids.sort();
    }
    all
}
