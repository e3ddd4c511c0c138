//! What a run finds and does lies in topics, each row once, against a real broker: after orderly ends, kills, and with the
//! broker away.

#![allow(clippy::disallowed_methods, reason = "a test that kills at some moment reads the clock")]

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use common::kafka::Broker;
use common::live::{Live, taken, until};
use common::told::{id, in_order, lying, rows, topics};
use common::{acting_plan, agrees, edges, site};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

const TOPICS: [&str; 5] = ["decisions", "actions", "incidents", "rejects", "findings"];

/// A folder with a broker that has the topics, and a plan that acts and tells them.
struct Site {
    folder: tempfile::TempDir,
    broker: Broker,
    flow: PathBuf,
}

impl Site {
    fn new(timeout: &str) -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let broker = Broker::start(&at("broker"));
        topics(&broker, &TOPICS, 3);
        site(&at("days"), 300, 5);
        let flow = acting_plan(&at("plan"), &at("days"), &["edges.jsonl"]);
        let names: Vec<String> = TOPICS.iter().map(|name| format!("{name}: {name}")).collect();
        let sinks = format!(
            "sinks: {{kafka: {{brokers: '{}', delivery_timeout: {timeout}, {}}}}}\n",
            broker.address(),
            names.join(", ")
        );
        let mut file = std::fs::File::options().append(true).open(&flow).expect("the plan");
        file.write_all(sinks.as_bytes()).expect("room");
        std::fs::write(at("plan/edges.jsonl"), "").expect("room");
        Site { folder, broker, flow }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn feed(&self, lines: &str) {
        let mut file = std::fs::File::options().append(true).open(self.at("plan/edges.jsonl")).expect("it");
        file.write_all(lines.as_bytes()).expect("room");
    }

    fn early(&self) {
        let policy = self.flow.with_file_name("policies/default.yml");
        let text = std::fs::read_to_string(&policy).expect("the policy");
        std::fs::write(&policy, text.replace("act: settled", "act: early")).expect("room");
    }

    /// What the archive has is what the topics have, each row once, and of each key in order.
    fn told(&self, archive: &Path) -> BTreeMap<&'static str, usize> {
        let expected = rows(archive);
        let mut counts = BTreeMap::new();
        for topic in TOPICS {
            let told = lying(&self.broker, topic);
            in_order(topic, &told);
            let mut ids: Vec<(String, u64)> = told.iter().map(|it| (id(topic, it), it.epoch())).collect();
            ids.sort();
            let twice = ids.windows(2).filter(|pair| pair[0] == pair[1]).count();
            assert_eq!(twice, 0, "{topic}: told twice");
            assert_eq!(ids.len(), expected[topic].len(), "{topic}");
            assert_eq!(ids, expected[topic], "{topic}");
            counts.insert(topic, ids.len());
        }
        counts
    }
}

#[test]
fn every_row_is_told_once_over_orderly_runs() {
    let site = Site::new("60s");
    let (all, archive) = (edges(600), site.at("live"));
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    for (n, piece) in lines.chunks(200).enumerate() {
        site.feed(&piece.concat());
        if n == 2 {
            // By another plan, too.
            let text = std::fs::read_to_string(&site.flow).expect("a plan");
            std::fs::write(&site.flow, format!("# a comment\n{text}")).expect("room");
        }
        let live = Live::start(&site.flow, &archive, &["--batch", "17"]);
        live.goes_on();
        assert_eq!(live.told().contains("on it goes otherwise"), n == 2, "{}", live.told());
        taken(&archive, 1);
        agrees(&live.stop(), &archive);
        let counts = site.told(&archive);
        assert!(TOPICS[..4].iter().all(|topic| counts[topic] > 0), "{counts:?}");
    }
    // Another run of the same alerts tells the same topics, and is not taken for this one.
    let before = lying(&site.broker, "decisions").len();
    let live = Live::start(&site.flow, &site.at("other"), &["--batch", "17"]);
    taken(&site.at("other"), 600);
    agrees(&live.stop(), &site.at("other"));
    assert!(lying(&site.broker, "decisions").len() > before);
    let runs: std::collections::BTreeSet<String> =
        lying(&site.broker, "decisions").iter().map(|it| it.header("quell-run").to_owned()).collect();
    assert_eq!(runs.len(), 2);
}

/// Topics that another plan names are told what comes from there on.
#[test]
fn topics_that_are_named_later_are_told_what_comes_then() {
    let site = Site::new("60s");
    let archive = site.at("live");
    let named = std::fs::read_to_string(&site.flow).expect("a plan");
    let silent: String = named
        .lines()
        .filter(|line| !line.starts_with("sinks:"))
        .fold(String::new(), |text, line| text + line + "\n");
    std::fs::write(&site.flow, silent).expect("room");
    let all = edges(600);
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    site.feed(&lines[..300].concat());
    let live = Live::start(&site.flow, &archive, &["--batch", "17"]);
    taken(&archive, 300);
    live.stop();
    let before = rows(&archive);
    std::fs::write(&site.flow, named).expect("room");
    site.feed(&lines[300..].concat());
    let live = Live::start(&site.flow, &archive, &["--batch", "17"]);
    taken(&archive, 600);
    agrees(&live.stop(), &archive);
    for (topic, rows) in rows(&archive) {
        let mut told: Vec<(String, u64)> =
            lying(&site.broker, topic).iter().map(|it| (id(topic, it), it.epoch())).collect();
        told.sort();
        let through = before.values().flatten().map(|(_, epoch)| *epoch).max().unwrap_or(0);
        let since: Vec<(String, u64)> = rows.into_iter().filter(|(_, epoch)| *epoch > through).collect();
        assert!(topic == "findings" || !since.is_empty(), "{topic}");
        assert_eq!(told, since, "{topic}");
    }
}

/// Runs that are killed at moments spread over what they do, ten times or as often as `QUELL_KILLS` says; nothing is told twice,
/// nothing is missing.
fn killed(site: &Site) {
    let kills = std::env::var("QUELL_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(10);
    let records = 90 * kills;
    let (all, archive) = (edges(records), site.at("live"));
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    let mut live = Live::start(&site.flow, &archive, &["--batch", "7"]);
    let mut dice = 17_u64;
    for (n, piece) in lines.chunks(90).enumerate() {
        site.feed(&piece.concat());
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Some are killed while they begin, some while they tell, some when all is told.
        thread::sleep(Duration::from_millis([40, 300, 600, 1_200][n % 4] + (dice >> 33) % 300));
        live.kill();
        let workers = ["1", "2", "3"][n % 3];
        live = Live::start(&site.flow, &archive, &["--batch", "11", "--workers", workers]);
    }
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    taken(&archive, records);
    agrees(&live.stop(), &archive);
    let counts = site.told(&archive);
    assert!(counts["decisions"] > 50 && counts["actions"] > 0, "{counts:?}");
}

#[test]
fn kills_lose_nothing_and_double_nothing() {
    killed(&Site::new("60s"));
}

#[test]
fn kills_lose_nothing_and_double_nothing_where_it_is_acted_early() {
    let site = Site::new("60s");
    site.early();
    killed(&site);
}

#[test]
fn a_broker_that_is_away_is_waited_for() {
    let mut site = Site::new("3s");
    let (all, archive) = (edges(600), site.at("live"));
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    site.feed(&lines[..200].concat());
    let live = Live::start(&site.flow, &archive, &["--batch", "17"]);
    taken(&archive, 200);
    site.broker.kill();
    site.feed(&lines[200..400].concat());
    // The run goes on without it.
    taken(&archive, 400);
    until("it is told", || live.told().contains("the brokers take nothing").then_some(()));
    site.broker.restart();
    until("that it is over too", || live.told().contains("take messages again").then_some(()));
    site.broker.kill();
    site.feed(&lines[400..].concat());
    taken(&archive, 600);
    // What cannot be delivered at the end is an error, and the next run's.
    let said = live.fail();
    assert!(said.contains("are not delivered"), "{said}");
    site.broker.restart();
    let live = Live::start(&site.flow, &archive, &[]);
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    agrees(&live.stop(), &archive);
    site.told(&archive);
}

#[test]
fn sources_wait_for_a_broker_that_is_away_for_long_and_so_does_the_end_for_a_while() {
    let mut site = Site::new("2s, waiting_max: 30");
    let archive = site.at("live");
    site.feed(&edges(50));
    let live = Live::start(&site.flow, &archive, &["--batch", "2"]);
    taken(&archive, 50);
    site.broker.kill();
    let all = edges(2_600);
    site.feed(&all.split_inclusive('\n').skip(50).collect::<String>());
    until("it is told", || live.told().contains("the brokers take nothing").then_some(()));
    let took = || {
        let log = quell::engine::log::Log::open(&archive).expect("a log");
        log.epochs()
            .expect("epochs")
            .iter()
            .flat_map(|epoch| &epoch.parts)
            .map(|part| part.records)
            .sum::<u64>()
    };
    // It goes on until some thousand epochs are under way, and no further.
    let waits = until("the sources wait", || {
        let before = took();
        thread::sleep(Duration::from_secs(1));
        (took() == before).then_some(before)
    });
    assert!((50..2_600).contains(&waits), "{waits}");
    let said = live.fail();
    assert!(said.contains("are not delivered"), "{said}");
    let live = Live::start(&site.flow, &archive, &["--batch", "10"]);
    until("it is told", || live.told().contains("the brokers take nothing").then_some(()));
    site.broker.restart();
    taken(&archive, 2_600);
    agrees(&live.stop(), &archive);
    site.told(&archive);
}

/// A listener beside the plain one, which asks who it is.
const ASKING: &str = "\
listeners=PLAINTEXT://127.0.0.1:{0},CONTROLLER://127.0.0.1:{1},SASL://127.0.0.1:{2}
advertised.listeners=PLAINTEXT://127.0.0.1:{0},SASL://127.0.0.1:{2}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_quell=\"open-sesame\";
";

/// One that speaks TLS, and asks for a certificate.
const ENCRYPTED: &str = "\
listeners=PLAINTEXT://127.0.0.1:{0},CONTROLLER://127.0.0.1:{1},SSL://127.0.0.1:{2}
advertised.listeners=PLAINTEXT://127.0.0.1:{0},SSL://127.0.0.1:{2}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL
ssl.keystore.type=PEM
ssl.keystore.location=FOLDER/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=FOLDER/ca.pem
ssl.client.auth=required
";

#[test]
fn who_is_not_let_in_says_so_and_never_the_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start_with(&folder.path().join("broker"), ASKING, None);
    let at = broker.address_of(2);
    topics(&broker, &["decisions", "approvals"], 1);
    let flow = common::asking_plan(&folder.path().join("plan"));
    let plan = std::fs::read_to_string(&flow).expect("the plan");
    let security =
        "{protocol: sasl_plaintext, mechanism: plain, user: quell, password_env: QUELL_TEST_PASSWORD}";
    let input = folder.path().join("edges.jsonl");
    std::fs::write(&input, edges(100)).expect("room");
    let input = ["--input", input.to_str().expect("text")];
    for topics in ["sinks: {kafka: {decisions: decisions, ", "words: {kafka: {approvals: approvals, "] {
        let text = format!("{plan}{topics} brokers: '{at}', security: {security}}}}}\n");
        std::fs::write(&flow, text).expect("room");
        let archive = folder.path().join(&topics[..5]);
        let with =
            |password: &str| Live::start_with(&flow, &archive, &input, &[("QUELL_TEST_PASSWORD", password)]);
        let said = with("abracadabra").failed();
        assert_eq!(said.matches("do not let us in").count(), 1, "{said}");
        assert!(!said.contains("abracadabra"), "{said}");
        let said = with("").failed();
        assert!(said.contains("QUELL_TEST_PASSWORD is not set"), "{said}");
        let live = with("open-sesame");
        until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
        taken(&archive, 100);
        agrees(&live.stop(), &archive);
    }
    assert!(!lying(&broker, "decisions").is_empty());
}

/// Writes an authority, and certificates of it for the broker and for us: `ca.pem`, `broker.pem` with its key, `own.pem`,
/// `own.key`.
fn certificates(folder: &Path) {
    std::fs::create_dir_all(folder).expect("room");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("room");
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    // A certificate whose issuer has its own name would be taken for the authority itself.
    authority.distinguished_name.push(DnType::CommonName, "authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    write("ca.pem", &authority.self_signed(&key).expect("a certificate").pem());
    let issuer = Issuer::new(authority, key);
    let signed = || {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        (params.signed_by(&key, &issuer).expect("a certificate").pem(), key.serialize_pem())
    };
    let (broker, key) = signed();
    write("broker.pem", &format!("{key}{broker}"));
    let (own, key) = signed();
    write("own.pem", &own);
    write("own.key", &key);
}

#[test]
fn brokers_are_spoken_to_over_tls_and_know_us_by_our_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = folder.path().join("plan");
    let flow = common::asking_plan(&plan);
    certificates(&plan);
    certificates(&plan.join("other"));
    let properties = ENCRYPTED.replace("FOLDER", &plan.display().to_string());
    let broker = Broker::start_with(&folder.path().join("broker"), &properties, None);
    let at = broker.address_of(2);
    topics(&broker, &["decisions", "approvals"], 1);
    std::fs::write(folder.path().join("edges.jsonl"), edges(100)).expect("room");
    let input = folder.path().join("edges.jsonl").display().to_string();
    let text = std::fs::read_to_string(&flow).expect("the plan");
    let with = |ca: &str| {
        let cluster = format!(
            "brokers: '{at}', security: {{protocol: ssl, ca: {ca}, certificate: own.pem, key: own.key}}"
        );
        let topics = format!(
            "{text}sinks: {{kafka: {{{cluster}, decisions: decisions}}}}\nwords: {{kafka: {{{cluster}, approvals: approvals}}}}\n"
        );
        std::fs::write(&flow, topics).expect("room");
        Live::start(&flow, &folder.path().join(&ca[..2]), &["--input", &input])
    };
    let said = with("other/ca.pem").failed();
    assert!(said.contains("do not let us in") && said.contains("certificate"), "{said}");
    let live = with("ca.pem");
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    taken(&folder.path().join("ca"), 100);
    agrees(&live.stop(), &folder.path().join("ca"));
    assert!(!lying(&broker, "decisions").is_empty());
}

#[test]
fn what_is_wrong_with_topics_is_said() {
    let site = Site::new("60s");
    let text = std::fs::read_to_string(&site.flow).expect("the plan");
    site.feed(&edges(20));
    let refused = |change: (&str, &str), what: &str| {
        let flow = site.flow.with_file_name("other.yml");
        std::fs::write(&flow, text.replace(change.0, change.1)).expect("room");
        let archive = site.at("refused");
        let _ = std::fs::remove_dir_all(&archive);
        let said = Live::start(&flow, &archive, &[]).failed();
        assert!(said.contains(what), "{said}");
    };
    refused(("actions: actions", "actions: nowhere"), "there is no topic \"nowhere\"");
    refused(("actions: actions", "actions: decisions"), "is for two things");
}
