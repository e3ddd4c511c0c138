//! Latency: from when the broker appended an alert to when it appended the decision on it, at a steady rate; or, where decisions
//! are carried out (by a service on loopback that takes 2 ms), the end of its first action. Both times are the broker's own
//! (`LogAppendTime`).
//!
//! Some of the alerts are grave and about a host of their own: each of these is an incident, and gets a decision.

use std::collections::HashMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use super::common::kafka::Broker;
use super::common::live::{Live, until};
use super::common::world::{calling, world};
use super::common::{asking_plan, edit, executing};
use super::{PARTITIONS, used};

/// Grave alerts a second.
const PROBES: u64 = 50;
/// What comes first finds a run that is still warming up, and is not counted.
const WARM: Duration = Duration::from_secs(5);
/// What comes last settles only when its source is seen to be idle, and is not counted either.
const ENDING_MS: i64 = 3_000;
/// Event time by which a record may be late, where decisions wait for it.
const LATENESS_S: u64 = 1;

/// What becomes of a decision, and where that is noted.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Acts {
    /// It waits for a person.
    Asks,
    /// It is carried out; the ledger is beside the archive.
    LedgerBeside,
    /// It is carried out; the ledger is in a topic.
    LedgerInTopic,
}

/// One measurement.
pub(super) struct Course<'a> {
    /// Where files may lie.
    pub(super) folder: &'a Path,
    /// Alerts a second.
    pub(super) rate: u64,
    /// For how long.
    pub(super) seconds: u64,
    /// `settled` or `early`.
    pub(super) act: &'a str,
    /// What becomes of decisions.
    pub(super) acts: Acts,
}

impl Course<'_> {
    /// Runs it, and tells what it came to.
    pub(super) fn run(&self, broker: &Broker) {
        let Course { folder, rate, seconds, act, acts } = self;
        let (last, ends) = match acts {
            Acts::Asks => ("decisions", "decision"),
            Acts::LedgerBeside => ("actions", "end of action, ledger beside the archive"),
            Acts::LedgerInTopic => ("actions", "end of action, ledger in a topic"),
        };
        let name = format!("{act}-{rate}-{}", ends.replace([' ', ','], "-"));
        let topics = ["in", last, "incidents"].map(|topic| format!("{topic}-{name}"));
        for (topic, partitions) in topics.iter().zip([PARTITIONS, 1, 1]) {
            broker.topic_with(topic, partitions, &[("message.timestamp.type", "LogAppendTime")]);
        }
        let flow = plan(&folder.join(format!("plan-{name}")), broker, (act, last), &topics);
        if *acts != Acts::Asks {
            carry_out(&flow);
            calling(&flow, world().0);
        }
        if *acts == Acts::LedgerInTopic {
            let topic = format!("ledger-{name}");
            broker.topic_with(&topic, 1, &[("retention.ms", "-1")]);
            let text = std::fs::read_to_string(&flow).expect("the plan");
            let ledger = format!("ledger: {{kafka: {{brokers: '{}', topic: {topic}}}}}\n", broker.address());
            std::fs::write(&flow, text + &ledger).expect("room for the plan");
        }
        let live = Live::start(&flow, &folder.join(&name), &["--metrics", "0"]);
        until("it begins", || live.told().contains("Ctrl-C").then_some(()));
        let before = (used(live.id()), used(broker.pid()), Instant::now());
        let sent = send(broker, &topics[0], *rate, *seconds);
        let took = before.2.elapsed().as_secs_f64();
        let cores = ((used(live.id()) - before.0) / took, (used(broker.pid()) - before.1) / took);
        thread::sleep(Duration::from_secs(LATENESS_S + 3));
        live.stop();
        let appended = appended(broker, &topics[0]);
        let first =
            appended.values().min().copied().unwrap_or(0) + i64::try_from(WARM.as_millis()).unwrap_or(0);
        let decided = decided(broker, &topics[1], &topics[2]);
        let last = appended.values().max().copied().unwrap_or(0) - ENDING_MS;
        let waits = appended.iter().filter(|(_, at)| (first..=last).contains(*at));
        let mut waits: Vec<i64> = waits.filter_map(|(host, at)| Some(decided.get(host)? - at)).collect();
        waits.sort_unstable();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
        let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).or(waits.last()).copied();
        println!(
            "act: {act}, to {ends}, {:.0} alerts/s asked, {:.0} sent: p50 {:?} ms, p99 {:?} ms, max {:?} ms of {}; \
             quell {:.2} cores, the broker {:.2}",
            rate,
            sent as f64 / took,
            at(0.5).unwrap_or(-1),
            at(0.99).unwrap_or(-1),
            at(1.0).unwrap_or(-1),
            waits.len(),
            cores.0,
            cores.1
        );
    }
}

fn plan(
    folder: &Path,
    broker: &Broker,
    (act, last): (&str, &str),
    topics: &[String; 3],
) -> std::path::PathBuf {
    let flow = asking_plan(folder);
    let policy = flow.with_file_name("policies/default.yml");
    let text = std::fs::read_to_string(&policy).expect("the policy");
    std::fs::write(&policy, text.replace("act: settled", &format!("act: {act}"))).expect("room");
    let (text, at) = (std::fs::read_to_string(&flow).expect("the plan"), broker.address());
    let [read, told, incidents] = topics;
    let more = format!(
        "tenant: default\nsources:\n  - {{name: in, type: kafka, brokers: '{at}', topic: {read}}}\n\
         sinks: {{kafka: {{brokers: '{at}', {last}: {told}, incidents: {incidents}}}}}\n"
    );
    let text = text.replace("tenant: default\n", &more);
    let text = text.replace("lateness: 60s", &format!("lateness: {LATENESS_S}s"));
    std::fs::write(&flow, text).expect("room for the plan");
    flow
}

/// Has every decision carried out, however many there are.
fn carry_out(flow: &Path) {
    let policy = flow.with_file_name("policies/default.yml");
    executing(flow);
    edit(&policy, "playbook_share: 60", "playbook_share: 100");
    let text = std::fs::read_to_string(&policy).expect("the policy");
    // Blast radius and budgets are the indented lines of a word and a number.
    let limit = |line: &str| {
        let (key, value) = line.split_once(": ")?;
        let is_limit = key.starts_with("  ") && !key.ends_with("window_s") && !key.ends_with("share");
        let number = value.split(' ').next()?.parse::<u32>().ok();
        number.filter(|_| is_limit).map(|_| format!("{key}: 1000000"))
    };
    let lines = text.lines().map(|line| limit(line).unwrap_or_else(|| line.to_owned()) + "\n");
    std::fs::write(&policy, lines.collect::<String>()).expect("room for the policy");
}

/// Sends at a steady rate, in steps of a millisecond or what the machine lets; how many.
fn send(broker: &Broker, topic: &str, rate: u64, seconds: u64) -> u64 {
    let mut config = broker.config();
    config.set("linger.ms", "1").set("queue.buffering.max.messages", "1000000");
    let producer: ThreadedProducer<_> = config.create().expect("a producer");
    let began = Instant::now();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of alerts")]
    let due = || (began.elapsed().as_secs_f64().min(seconds as f64) * rate as f64) as u64;
    let mut sent = 0;
    while sent < rate * seconds {
        while sent < due() {
            let partition = i32::try_from(sent % u64::from(PARTITIONS.unsigned_abs())).unwrap_or(0);
            let text = alert(sent, sent.is_multiple_of(rate / PROBES));
            let record: BaseRecord<'_, (), str> = BaseRecord::to(topic).partition(partition).payload(&text);
            let _ = producer.send(record);
            sent += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    producer.flush(Duration::from_mins(1)).expect("it is delivered");
    sent
}

fn alert(n: u64, grave: bool) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time =
        jiff::Timestamp::from_millisecond(i64::try_from(now.as_millis()).unwrap_or(0)).expect("a time");
    let (rule, user) = (n * 7 % 61, n * 17 % 2_003);
    let (severity, host) =
        if grave { ("critical", format!("probe-{n}")) } else { ("medium", format!("h{}", n * 31 % 4_001)) };
    let user = if grave { format!("probed-{n}") } else { format!("u{user}") };
    format!(
        "{{\"id\":\"e{n}\",\"tenant\":\"default\",\"time\":\"{time}\",\"product\":\"edr\",\"rule_id\":\"R{rule}\",\
         \"rule_name\":\"Rule {rule} of the bench\",\"severity\":\"{severity}\",\"technique\":\"T1059\",\"host\":\"{host}\",\
         \"user\":\"{user}\",\"message\":\"{n:0>260}\"}}"
    )
}

/// Each record of a topic, with when it was appended.
fn each(broker: &Broker, topic: &str, mut told: impl FnMut(&[u8], i64)) {
    let mut config = broker.config();
    config.set("group.id", "bench").set("enable.partition.eof", "true").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let partitions = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).expect("a topic");
    let partitions = partitions.topics()[0].partitions().len();
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions {
        let partition = i32::try_from(partition).expect("few");
        all.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
    }
    consumer.assign(&all).expect("it is assigned");
    let mut open = partitions;
    while open > 0 {
        match consumer.poll(Duration::from_secs(10)).expect("the broker answers") {
            Ok(message) => {
                let at = message.timestamp().to_millis().expect("a time");
                told(message.payload().unwrap_or_default(), at);
            }
            Err(_) => open -= 1,
        }
    }
}

/// When each probe was appended, by its host.
fn appended(broker: &Broker, topic: &str) -> HashMap<String, i64> {
    let mut all = HashMap::new();
    each(broker, topic, |body, at| {
        let text = String::from_utf8_lossy(body);
        if let Some((_, rest)) = text.split_once("\"host\":\"probe-") {
            let number = rest.split('"').next().unwrap_or_default();
            all.insert(format!("host:probe-{number}"), at);
        }
    });
    all
}

/// When the first decision on each probe, or the first end of an action of it, was appended, by its host.
fn decided(broker: &Broker, told: &str, incidents: &str) -> HashMap<String, i64> {
    let mut hosts = HashMap::new();
    each(broker, incidents, |body, _| {
        let row: Value = serde_json::from_slice(body).expect("JSON");
        let entities = row["entities"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if let Some(host) = entities.into_iter().find(|entity| entity.starts_with("host:probe-")) {
            hosts.insert(row["incident_id"].as_str().unwrap_or_default().to_owned(), host.to_owned());
        }
    });
    let mut all: HashMap<String, i64> = HashMap::new();
    each(broker, told, |body, at| {
        let row: Value = serde_json::from_slice(body).expect("JSON");
        if row.get("action_id").is_some() && row["finished_time"].is_null() {
            return;
        }
        if let Some(host) = hosts.get(row["incident_id"].as_str().unwrap_or_default()) {
            let first = all.entry(host.clone()).or_insert(at);
            *first = at.min(*first);
        }
    });
    all
}
