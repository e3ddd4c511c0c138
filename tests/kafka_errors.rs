//! What brokers answer that have no leader, or are too few, or fail otherwise: errors that a real cluster gives seldom and not on demand,
//! injected into librdkafka's own. A run waits for leaders, says each row once, and keeps its ledger.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::live::{Live, taken};
use common::world::{Done, calling, world};
use common::{acting_plan, agrees, count, edges, site};
use quell::kafka::Reader;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey as Asked, RDKafkaRespErr as Said};
use serde_json::Value;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// Topics of one partition each, but for the source's two.
fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).expect("a cluster");
    for (topic, partitions) in
        [("alerts", 2), ("decisions", 1), ("actions", 1), ("incidents", 1), ("ledger", 1)]
    {
        cluster.create_topic(topic, partitions, 1).expect("a topic");
    }
    cluster
}

fn config(cluster: &Cluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    config
}

/// Writes records to both partitions of the source.
fn pour(cluster: &Cluster, lines: &[&str]) {
    let producer: BaseProducer = config(cluster).create().expect("a producer");
    for (n, line) in lines.iter().enumerate() {
        let partition = i32::try_from(n % 2).expect("few");
        producer.send(BaseRecord::<(), str>::to("alerts").partition(partition).payload(line)).expect("room");
    }
    producer.flush(Duration::from_secs(20)).expect("they are taken");
}

/// A plan between its topics, with its ledger in one, that calls a world.
fn plan(folder: &Path, cluster: &Cluster) -> (PathBuf, Done) {
    let days = folder.join("days");
    site(&days, 300, 5);
    let flow = acting_plan(&folder.join("plan"), &days, &["edges.jsonl"]);
    let text = std::fs::read_to_string(&flow).expect("the plan");
    let brokers = cluster.bootstrap_servers();
    let source = format!("type: kafka, brokers: '{brokers}', topic: alerts, start: earliest, clock: event");
    let more = format!(
        "sinks: {{kafka: {{brokers: '{brokers}', decisions: decisions, actions: actions, incidents: incidents}}}}\n\
         ledger: {{kafka: {{brokers: '{brokers}', topic: ledger}}}}\n"
    );
    assert!(text.contains("type: file, path: edges.jsonl"));
    std::fs::write(&flow, text.replace("type: file, path: edges.jsonl", &source) + &more).expect("room");
    let (address, done) = world();
    calling(&flow, address);
    (flow, done)
}

/// How often each body lies in a topic.
fn lying(cluster: &Cluster, topic: &str) -> BTreeMap<String, usize> {
    let reader = Reader::new(&config(cluster), "test").expect("a reader");
    let (first, end) = reader.bounds(topic, 0).expect("it answers");
    let mut bodies = BTreeMap::new();
    for (_, body) in reader.bodies((topic, 0), first..end).expect("it answers") {
        *bodies.entry(String::from_utf8(body).expect("text")).or_default() += 1;
    }
    bodies
}

#[test]
fn leaders_that_are_not_there_yet_are_waited_for() {
    let (folder, cluster) = (tempfile::tempdir().expect("a folder"), cluster());
    let (flow, _) = plan(folder.path(), &cluster);
    let all = edges(100);
    pour(&cluster, &all.lines().collect::<Vec<_>>());
    cluster.partition_leader("alerts", 1, None).expect("a partition");
    let archive = folder.path().join("live");
    let mut live = Live::start(&flow, &archive, &[]);
    std::thread::sleep(Duration::from_secs(2));
    assert!(live.ended().is_none() && !live.told().contains("Ctrl-C"), "{}", live.told());
    cluster.partition_leader("alerts", 1, Some(1)).expect("a partition");
    taken(&archive, 100);
    agrees(&live.stop(), &archive);
}

#[test]
fn what_brokers_refuse_is_said_again_and_once() {
    let (folder, cluster) = (tempfile::tempdir().expect("a folder"), cluster());
    let (flow, done) = plan(folder.path(), &cluster);
    let archive = folder.path().join("live");
    let live = Live::start(&flow, &archive, &["--batch", "20"]);
    live.goes_on();
    let all = edges(600);
    let lines: Vec<&str> = all.lines().collect();
    let few = Said::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    let moved = Said::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    let late = Said::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT;
    let gone = Said::RD_KAFKA_RESP_ERR__TRANSPORT;
    for (n, some) in lines.chunks(100).enumerate() {
        pour(&cluster, some);
        cluster.request_errors(Asked::Produce, &[few, moved, late, gone, few][..=n % 5]);
        cluster.request_errors(Asked::Fetch, &[moved, gone, late]);
        cluster.request_errors(Asked::ListOffsets, &[moved, late]);
        taken(&archive, 100 * (n as u64 + 1));
    }
    let summary = live.stop();
    agrees(&summary, &archive);
    assert_eq!(count(&summary, "divergences"), 0, "{summary}");
    for (topic, least) in [("decisions", 100), ("actions", 50), ("incidents", 100), ("ledger", 100)] {
        let told = lying(&cluster, topic);
        assert!(told.len() >= least && told.values().all(|times| *times == 1), "{topic}: {}", told.len());
    }
    // The ledger has an intent of everything that was called, and everything was called once.
    let ledger = lying(&cluster, "ledger");
    let pages = ledger.keys().map(|page| serde_json::from_str::<Value>(page).expect("JSON"));
    let id = |page: Value| page["wrote"]["entry"]["intent"]["order"]["action_id"].as_str().map(str::to_owned);
    let mut intents: Vec<String> = pages.filter_map(id).collect();
    intents.sort();
    let done = done.lock().expect("no panic");
    assert_eq!(intents, done.keys().cloned().collect::<Vec<_>>());
    assert!(done.values().all(|times| *times == 1), "{done:?}");
}
