//! What `quell run --metrics` shows while it runs, as a scraper reads it.

#![allow(clippy::disallowed_methods, reason = "a test that waits must end: it reads the clock")]

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::kafka::Broker;
use common::live::{Live, until};
use common::{acting_plan, agrees, asking_plan, count, digest, edges, replay, site, summary};
use serde_json::Value;

/// Where a run shows its metrics.
fn address(live: &Live) -> String {
    address_of(live, "")
}

/// Where a process of a run does.
fn address_of(live: &Live, whose: &str) -> String {
    until("it shows metrics", || {
        let told = live.told();
        let (_, rest) = told.split_once(&format!("quell: metrics{whose} at http://"))?;
        rest.split_once("/metrics\n").map(|(address, _)| address.to_owned())
    })
}

fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(path != "/metrics" || head.contains("text/plain; version=0.0.4"), "{head}");
    Ok(body.to_owned())
}

/// What is shown, sample by sample; each has its help and its type before it, and is told once.
fn scrape(address: &str) -> BTreeMap<String, f64> {
    let text = get(address, "/metrics").expect("it listens");
    let (mut samples, mut kind) = (BTreeMap::new(), (String::new(), String::new()));
    let mut helped = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            help.split(' ').next().unwrap_or_default().clone_into(&mut helped);
        } else if let Some(said) = line.strip_prefix("# TYPE ") {
            let (name, of) = said.split_once(' ').expect("a type");
            assert!(name == helped && name.starts_with("quell_") != name.starts_with("process_"), "{line}");
            assert_eq!(name.ends_with("_total"), of == "counter", "{line}");
            kind = (name.to_owned(), of.to_owned());
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a sample");
            let name = sample.split('{').next().unwrap_or_default();
            let of_kind = name.strip_prefix(kind.0.as_str()).expect("a sample of its metric");
            let parts: &[&str] = if kind.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(parts.contains(&of_kind), "{line}");
            assert!(samples.insert(sample.to_owned(), value.parse().expect("a number")).is_none(), "{line}");
        }
    }
    samples
}

/// What a summary says, as it is shown.
const SUMS: [(&str, &str); 9] = [
    ("records", "quell_records_total"),
    ("alerts", "quell_alerts_total"),
    ("duplicates", "quell_duplicates_total"),
    ("rejects", "quell_rejects_total"),
    ("ignored", "quell_ignored_total"),
    ("further", "quell_further_total"),
    ("incidents", "quell_incidents_total"),
    ("actions", "quell_actions_total"),
    ("outcomes", "quell_outcomes_total"),
];

/// What is shown is what the run came to.
fn adds_up(shown: &BTreeMap<String, f64>, said: &Value) {
    for (key, name) in SUMS {
        assert!((shown[name] - count(said, key) as f64).abs() < 0.5, "{key}: {} {said}", shown[name]);
    }
    let decisions = &said["decisions"];
    for ruling in ["execute", "escalate", "decline"] {
        let name = format!("quell_decisions_standing{{ruling=\"{ruling}\"}}");
        assert!((shown[&name] - count(decisions, ruling) as f64).abs() < 0.5, "{ruling}: {said}");
    }
    let superseded = shown["quell_decisions_superseded_total"];
    assert!((superseded - count(decisions, "superseded") as f64).abs() < 0.5, "{said}");
}

/// A plan that reads the topic `edges`, and acts.
fn plan(folder: &Path, broker: &Broker) -> PathBuf {
    site(&folder.join("days"), 100, 5);
    let flow = acting_plan(&folder.join("plan"), &folder.join("days"), &[]);
    let source = format!(
        "sources:\n  - {{name: edges, type: kafka, brokers: '{}', topic: edges, tenant_from_field: true}}\n",
        broker.address()
    );
    let text = std::fs::read_to_string(&flow).expect("the plan").replace("sources:\n", &source);
    std::fs::write(&flow, text).expect("room");
    flow
}

#[test]
fn what_is_shown_is_what_the_run_comes_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let broker = Broker::start(&at("broker"));
    broker.topic("edges", 2);
    let flow = plan(folder.path(), &broker);
    let all = edges(600);
    let lines: Vec<&str> = all.lines().collect();
    let live = Live::start(&flow, &at("live"), &["--metrics", "0"]);
    let shown = address(&live);
    assert!(shown.starts_with("127.0.0.1:"), "{shown}");
    for partition in [0_i32, 1] {
        let own = lines.iter().skip(partition.unsigned_abs() as usize).step_by(2).copied();
        broker.produce("edges", Some(partition), own);
    }
    let now = until("all is shown", || {
        let now = scrape(&shown);
        let lags = ["0", "1"].map(|partition| {
            now.get(&format!("quell_source_lag_records{{source=\"edges\",partition=\"{partition}\"}}"))
                .copied()
        });
        (now["quell_records_total"] > 599.5 && lags == [Some(0.0), Some(0.0)]).then_some(now)
    });
    assert!(now["quell_source_clock_seconds{source=\"edges\",partition=\"1\"}"] > 1e9);
    assert!(now["quell_epoch{stage=\"shown\"}"] <= now["quell_epoch{stage=\"taken\"}"]);
    assert!(now["quell_epoch_shown_seconds_count"] > 0.5 && now["process_resident_memory_bytes"] > 1e6);
    assert!(now["quell_log_bytes"] > 1e3 && now["quell_divergences_total"] < 0.5);
    scraped(&shown, &now);
    let said = live.stop();
    agrees(&said, &at("live"));
    // A run that goes on shows at once what the one before came to.
    let live = Live::start(&flow, &at("live"), &["--metrics", "0"]);
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    adds_up(&scrape(&address(&live)), &said);
    let ended = live.stop();
    assert_eq!(count(&ended, "records"), 600);
    assert!(count(&said, "actions") > 0, "{said}");
}

#[test]
fn each_process_of_several_shows_what_it_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let broker = Broker::start(&at("broker"));
    broker.topic("edges", 2);
    let flow = plan(folder.path(), &broker);
    let live = Live::start(&flow, &at("live"), &["--supervise", "2", "--metrics", "0"]);
    let shown = ["", " of process 1"].map(|whose| address_of(&live, whose));
    let all = edges(600);
    let lines: Vec<&str> = all.lines().collect();
    for partition in [0_i32, 1] {
        let own = lines.iter().skip(partition.unsigned_abs() as usize).step_by(2).copied();
        broker.produce("edges", Some(partition), own);
    }
    let of = |name: &str, partition: usize| format!("{name}{{source=\"edges\",partition=\"{partition}\"}}");
    let is = |value: Option<&f64>, wanted: f64| value.is_some_and(|value| (value - wanted).abs() < 0.5);
    let both = until("all is shown", || {
        let both = shown.each_ref().map(|address| scrape(address));
        let own = |n: usize| {
            is(both[n].get(&of("quell_read_records_total", n)), 300.0)
                && is(both[n].get(&of("quell_read_lag_records", n)), 0.0)
        };
        let done = both[1]["quell_epoch{stage=\"done\"}"] >= both[0]["quell_epoch{stage=\"shown\"}"];
        (own(0) && own(1) && done && is(both[0].get("quell_records_total"), 600.0)).then_some(both)
    });
    for (n, own) in both.iter().enumerate() {
        assert!(
            is(own.get("quell_cluster_process"), n as f64) && is(own.get("quell_cluster_generation"), 1.0)
        );
        assert!(own["quell_cluster_since_timestamp_seconds"] >= own["process_start_time_seconds"]);
        assert!(own["process_resident_memory_bytes"] > 1e6);
        assert!(own["quell_cluster_sent_bytes_total{of=\"records\"}"] > 1.0);
        assert!(is(own.get(&of("quell_read_waiting_bytes", n)), 0.0));
        assert_eq!(own.get(&of("quell_read_records_total", 1 - n)), None, "that is the other's");
        // The run's view is the first one's.
        assert_eq!(own.contains_key(&of("quell_source_lag_records", 1)), n == 0);
        assert_eq!(own.contains_key("quell_records_total"), n == 0);
    }
    agrees(&live.stop(), &at("live"));
}

/// A process that is ended with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A real Prometheus, where the machine has one, reads the same.
fn scraped(address: &str, shown: &BTreeMap<String, f64>) {
    let folder = tempfile::tempdir().expect("a folder");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let config = folder.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - {{job_name: quell, static_configs: [{{targets: ['{address}']}}]}}\n"
    );
    std::fs::write(&config, text).expect("room");
    let mut command = Command::new("prometheus");
    command.arg("--config.file").arg(&config).arg("--storage.tsdb.path").arg(folder.path().join("data"));
    command.arg("--web.listen-address").arg(free.to_string()).stderr(Stdio::null()).stdout(Stdio::null());
    let Ok(prometheus) = command.spawn() else {
        eprintln!("skipped: there is no prometheus on this machine (apt-get install prometheus)");
        return;
    };
    let _ending = Ending(prometheus);
    let found = until("Prometheus has scraped it", || {
        let path = "/api/v1/query?query=%7Bjob%3D%22quell%22%7D";
        let answer: Value =
            serde_json::from_str(TcpStream::connect(free).is_ok().then(|| body(free, path)).as_deref()?)
                .ok()?;
        let series = answer["data"]["result"].as_array()?.clone();
        (series.len() > 20).then_some(series)
    });
    let value = |name: &str| {
        let of = found.iter().find(|series| series["metric"]["__name__"] == name).expect("it was scraped");
        of["value"][1].as_str().and_then(|value| value.parse::<f64>().ok()).expect("a number")
    };
    assert!((value("quell_records_total") - shown["quell_records_total"]).abs() < 0.5);
    assert!((value("up") - 1.0).abs() < 0.5);
}

/// The body of an answer, chunked or not, whose JSON is all that is wanted.
fn body(address: std::net::SocketAddr, path: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        let _ = write!(stream, "GET {path} HTTP/1.0\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
    }
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// Alerts of new hosts with long names, over four weeks that lie three months behind those before.
fn strangers(of: i64, many: u64) -> String {
    let alert = |n: u64| {
        let second = 1_600_000_000 + of * 90 * 86_400 + n.cast_signed() * 2_400;
        let (time, long) = (jiff::Timestamp::from_second(second).expect("a time"), "x".repeat(400));
        format!(
            "{{\"id\":\"{of}-{n}\",\"tenant\":\"default\",\"time\":\"{time}\",\"product\":\"edr\",\"rule_id\":\"R{}\",\
             \"rule_name\":\"A rule\",\"severity\":\"medium\",\"host\":\"{long}-{of}-{n}\",\"user\":\"u{}\"}}\n",
            n % 7,
            n % 11
        )
    };
    (0..many).map(alert).collect()
}

#[test]
fn names_that_nobody_needs_are_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let flow = asking_plan(&at("plan"));
    let input = at("days.jsonl");
    std::fs::write(&input, "").expect("room");
    let path = input.to_str().expect("a path");
    let more = ["--input", path, "--names-max", "1", "--metrics", "0", "--on-stop", "keep"];
    let live = Live::start(&flow, &at("live"), &more);
    let shown = address(&live);
    let mut file = std::fs::File::options().append(true).open(&input).expect("it");
    for part in 0..12 {
        file.write_all(strangers(part, 1_000).as_bytes()).expect("room");
        until("it is shown", || {
            (scrape(&shown)["quell_records_total"] >= part as f64 * 1_000.0).then_some(())
        });
    }
    // All of them would take 5 MB. What is swept now and then is needed until it is, and what is needed may double.
    until("names are forgotten", || {
        let now = scrape(&shown);
        (now["quell_renewals_total"] > 1.0 && now["quell_names_bytes"] < 3_500_000.0).then_some(())
    });
    let said = live.stop();
    assert_eq!(count(&said, "divergences"), 0, "{said}");
    let live = Live::start(&flow, &at("live"), &["--input", path]);
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    agrees(&live.stop(), &at("live"));
    agrees(&summary(&mut replay(&flow, &[&input], &at("again"), &["--arrival"])), &at("again"));
    assert_eq!(digest(&at("live")), digest(&at("again")));
}
