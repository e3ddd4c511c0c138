//! Kafka in, Kafka out, with the broker on the same machine: how many alerts a second, beside a bare consumer and producer over the
//! same topics, which is the ceiling; and who uses the processors meanwhile, with one worker, two, and two processes of one.
//! `cargo bench --bench kafka -- [ALERTS]`.
//! `cargo bench --bench kafka -- latency [SECONDS]`: how long a decision takes, see [`latency`].
//!
//! Timed from the moment that sources are read to that at which the run, told to stop, has ended: all is settled, written and
//! delivered then.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "kafka/latency.rs"]
mod latency;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::kafka::Broker;
use common::live::{Live, until};
use common::{asking_plan, count};
use latency::Acts;
use quell::engine::log::Log;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

const PARTITIONS: i32 = 2;

/// Alerts like those of the correlation workloads: some 500 bytes, a second between forty of them.
fn alerts(many: u64) -> Vec<String> {
    let mut alerts = Vec::new();
    for n in 0..many {
        let time = jiff::Timestamp::from_second(1_767_700_000 + (n / 40).cast_signed()).expect("a time");
        let (rule, host, user) = (n * 7 % 61, n * 31 % 4_001, n * 17 % 2_003);
        let mut text = String::new();
        write!(
            text,
            "{{\"id\":\"e{n}\",\"tenant\":\"default\",\"time\":\"{time}\",\"product\":\"edr\",\"rule_id\":\"R{rule}\",\
             \"rule_name\":\"Rule {rule} of the bench\",\"severity\":\"medium\",\"technique\":\"T1059\",\"host\":\"h{host}\",\
             \"user\":\"u{user}\",\"src_ip\":\"198.51.100.{}\",\"message\":\"{:0>260}\"}}",
            n % 250,
            n
        )
        .expect("memory");
        alerts.push(text);
    }
    alerts
}

/// Seconds of processor that a process has used.
fn used(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Reads a topic to its end and writes it to another, as quickly as librdkafka lets one thread; seconds.
fn bare(config: &ClientConfig, many: u64) -> f64 {
    let mut reading = config.clone();
    reading.set("group.id", "bare").set("enable.auto.commit", "false").set("fetch.max.bytes", "67108864");
    let consumer: BaseConsumer = reading.create().expect("a consumer");
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset("in", partition, Offset::Beginning).expect("a partition");
    }
    consumer.assign(&all).expect("it is assigned");
    let mut writing = config.clone();
    writing
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.messages", "1000000");
    let producer: ThreadedProducer<_> = writing.create().expect("a producer");
    let (mut began, mut read) = (None, 0);
    while read < many {
        let Some(Ok(message)) = consumer.poll(Duration::from_secs(10)) else { continue };
        let _ = began.get_or_insert_with(Instant::now);
        read += 1;
        let record: BaseRecord<'_, (), [u8]> =
            BaseRecord::to("bare").payload(message.payload().unwrap_or_default());
        let mut unsent = producer.send(record);
        while let Err((_, record)) = unsent {
            std::thread::sleep(Duration::from_millis(1));
            unsent = producer.send(record);
        }
    }
    producer.flush(Duration::from_mins(1)).expect("it is delivered");
    began.map_or(0.0, |began| began.elapsed().as_secs_f64())
}

/// The plan, with these lines about Kafka, and how far the journey goes.
fn plan(folder: &Path, broker: &Broker, ends_at: &str) -> PathBuf {
    let flow = asking_plan(folder);
    let (text, at) = (std::fs::read_to_string(&flow).expect("the plan"), broker.address());
    let sinks = "decisions: decisions, incidents: incidents, findings: findings";
    let more = format!(
        "tenant: default\nends_at: {ends_at}\nsources:\n  - {{name: in, type: kafka, brokers: '{at}', topic: in}}\n\
         sinks: {{kafka: {{brokers: '{at}', {sinks}}}}}\n"
    );
    let lines = text.lines().filter(|line| !line.starts_with("ends_at:"));
    let text = lines.collect::<Vec<_>>().join("\n").replace("tenant: default", more.trim_end());
    std::fs::write(&flow, text + "\n").expect("room for the plan");
    flow
}

fn main() {
    let asked = std::env::args().skip(1).find_map(|text| text.parse().ok());
    if std::env::args().any(|text| text == "latency") {
        latencies(asked.unwrap_or(60));
    } else {
        throughput(asked.unwrap_or(300_000));
    }
}

fn latencies(seconds: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(&folder.path().join("broker"));
    for rate in [5_000, 20_000] {
        for (act, acts) in COURSES {
            latency::Course { folder: folder.path(), rate, seconds, act, acts }.run(&broker);
        }
    }
}

fn throughput(many: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(&folder.path().join("broker"));
    broker.topic("in", PARTITIONS);
    for topic in ["bare", "decisions", "incidents", "findings"] {
        broker.topic(topic, 1);
    }
    let all = alerts(many);
    let bytes = all.iter().map(String::len).sum::<usize>() as f64;
    for partition in 0..PARTITIONS {
        let own = all.iter().skip(partition.unsigned_abs() as usize).step_by(PARTITIONS as usize);
        broker.produce("in", Some(partition), own.map(String::as_str));
    }
    println!("{many} alerts of {:.0} bytes", bytes / many as f64);
    let (before, took) = (used(broker.pid()), bare(&broker.config(), many));
    let rate = |seconds: f64| many as f64 / seconds;
    let share = (used(broker.pid()) - before) / took;
    println!("bare consumer and producer: {:.0} alerts/s; the broker uses {share:.2} cores", rate(took));
    for ends_at in ["findings", "actions"] {
        let flow = plan(&folder.path().join(ends_at), &broker, ends_at);
        for (name, layout) in LAYOUTS {
            let archive = folder.path().join(format!("{ends_at}-{name}"));
            quell(&flow, &archive, (&broker, many), (&format!("{ends_at}, {name}"), layout));
        }
    }
}

/// When it is acted, and what becomes of decisions.
const COURSES: [(&str, Acts); 4] = [
    ("early", Acts::Asks),
    ("settled", Acts::Asks),
    ("early", Acts::LedgerBeside),
    ("early", Acts::LedgerInTopic),
];

/// Processes, and workers of each.
const LAYOUTS: [(&str, [&str; 2]); 3] =
    [("1x1", ["--workers", "1"]), ("1x2", ["--workers", "2"]), ("2x1", ["--supervise", "2"])];

/// A run until it has taken all, and its end.
fn quell(flow: &Path, archive: &Path, (broker, many): (&Broker, u64), (name, layout): (&str, [&str; 2])) {
    let before = used(broker.pid());
    let args = [&["--batch", "2000", "--snapshot-every-ms", "0"][..], &layout].concat();
    let live = Live::start(flow, archive, &args);
    until("it begins", || live.told().contains("Ctrl-C").then_some(()));
    let began = Instant::now();
    until("all is taken", || {
        let epochs = Log::open(archive).ok()?.epochs().ok()?;
        let taken: u64 = epochs.iter().flat_map(|epoch| &epoch.parts).map(|part| part.records).sum();
        (taken >= many).then_some(())
    });
    let taking = began.elapsed().as_secs_f64();
    // A supervisor says which its processes are.
    let told = live.told();
    let of_process = |line: &str| line.strip_prefix("quell: process ")?.split_once(" is ")?.1.parse().ok();
    let mut pids: Vec<u32> = told.lines().filter_map(of_process).collect();
    if pids.is_empty() {
        pids.push(live.id());
    }
    let own: Vec<String> = pids.iter().map(|pid| format!("{:.2}", used(*pid) * 1e5 / many as f64)).collect();
    let brokers = (used(broker.pid()) - before) / taking;
    let said = live.stop();
    let took = began.elapsed().as_secs_f64();
    println!(
        "quell, ends at {name}: {:.0} alerts/s ({:.0} taken); {} s of processor for 100,000 by process; the broker {brokers:.2} \
         cores; {} MB; {} incidents",
        many as f64 / took,
        many as f64 / taking,
        own.join(" and "),
        count(&said, "peak_rss_bytes") / 1_000_000,
        count(&said, "incidents")
    );
}
