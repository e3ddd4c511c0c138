//! Kafka sources and who may read what: what is wrong is told at once, with its cause and its cure, and no secret.

#![allow(clippy::disallowed_methods, reason = "a test of how long something takes reads the clock")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::kafka::Broker;
use common::live::{Live, taken, until};
use common::{agrees, asking_plan, edges, quell, said};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

const PASSWORD: &str = "swordfish-7351";

/// An authority's certificate in `folder`, and what signs with it.
fn authority(folder: &Path, name: &str) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("room");
    Issuer::new(params, key)
}

/// A broker's key and certificate in one file, valid until the end of that year.
fn keystore(folder: &Path, name: &str, authority: &Issuer<'_, KeyPair>, until_year: i32) -> PathBuf {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    params.not_before = date_time_ymd(2019, 1, 1);
    params.not_after = date_time_ymd(until_year, 12, 31);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    let file = folder.join(format!("{name}.pem"));
    std::fs::write(&file, key.serialize_pem() + &certificate.pem()).expect("room");
    file
}

/// A broker that asks users of port 2 for a SCRAM password over TLS, and shows an expired certificate at port 3.
fn broker(folder: &Path) -> Broker {
    let ours = authority(folder, "ca");
    authority(folder, "strangers");
    let (good, old) = (keystore(folder, "good", &ours, 2090), keystore(folder, "old", &ours, 2020));
    let more = format!(
        "listeners=PLAINTEXT://127.0.0.1:{{0}},CONTROLLER://127.0.0.1:{{1}},GOOD://127.0.0.1:{{2}},OLD://127.0.0.1:{{3}}
advertised.listeners=PLAINTEXT://127.0.0.1:{{0}},GOOD://127.0.0.1:{{2}},OLD://127.0.0.1:{{3}}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,GOOD:SASL_SSL,OLD:SSL
listener.name.good.sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.good.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.good.ssl.keystore.type=PEM
listener.name.good.ssl.keystore.location={}
listener.name.old.ssl.keystore.type=PEM
listener.name.old.ssl.keystore.location={}
",
        good.display(),
        old.display()
    );
    let scram = format!("SCRAM-SHA-256=[name=ada,password={PASSWORD}]");
    Broker::start_with(&folder.join("broker"), &more, Some(&scram))
}

fn plan(folder: &Path, source: &str) -> PathBuf {
    let flow = asking_plan(folder);
    let text = std::fs::read_to_string(&flow).expect("the plan");
    let source = format!("tenant: default\nsources:\n  - {{name: alerts, type: kafka, {source}}}\n");
    std::fs::write(&flow, text.replace("tenant: default\n", &source)).expect("room for the plan");
    flow
}

fn run(flow: &Path, archive: &Path) -> Command {
    let mut command = quell();
    command.arg("run").arg("--flow").arg(flow).arg("--archive").arg(archive).args(["--output", "json"]);
    command.env("QUELL_TEST_PASSWORD", PASSWORD).env("QUELL_TEST_WRONG", "wrong-9182");
    command
}

const SASL: &str = "protocol: sasl_ssl, mechanism: scram-sha-256, user: ada";

/// Sources that cannot be read, each with what must be said of it.
fn cases(folder: &Path, broker: &Broker) -> Vec<(String, &'static str)> {
    let (plain, good, old) = (broker.address_of(0), broker.address_of(2), broker.address_of(3));
    let (ca, strangers) = (folder.join("ca.pem"), folder.join("strangers.pem"));
    let (ca, strangers) = (ca.display(), strangers.display());
    vec![
        (format!("brokers: '{plain}', topic: alarts"), "has no topic alarts; make it"),
        ("brokers: '127.0.0.1:9', topic: alerts".to_owned(), "127.0.0.1:9 does not answer"),
        (format!("brokers: '{good}', topic: alerts"), "`protocol` is what they speak there"),
        (
            format!(
                "brokers: '{good}', topic: alerts, security: {{{SASL}, ca: {ca}, password_env: QUELL_TEST_WRONG}}"
            ),
            "does not let \"ada\" in",
        ),
        (
            format!(
                "brokers: '{good}', topic: alerts, security: {{{SASL}, ca: {ca}, password_env: QUELL_TEST_NONE}}"
            ),
            "environment variable QUELL_TEST_NONE is not set",
        ),
        (
            format!(
                "brokers: '{good}', topic: alerts, security: {{{SASL}, ca: {strangers}, password_env: QUELL_TEST_PASSWORD}}"
            ),
            "UnknownIssuer",
        ),
        (
            format!("brokers: '{old}', topic: alerts, security: {{protocol: ssl, ca: {ca}}}"),
            "certificate expired",
        ),
    ]
}

#[test]
fn who_may_not_read_is_told_why_and_who_may_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let broker = broker(folder);
    broker.topic("alerts", 2);
    let cases = cases(folder, &broker);
    thread::scope(|scope| {
        for (n, (source, wanted)) in cases.iter().enumerate() {
            scope.spawn(move || {
                let flow = plan(&folder.join(format!("plan{n}")), source);
                let since = Instant::now();
                let archive = folder.join(format!("live{n}"));
                let output = run(&flow, &archive).output().expect("it starts");
                let told = said(&output);
                eprintln!("{:?} {told}", since.elapsed());
                assert_eq!(output.status.code(), Some(1), "{source}: {told}");
                assert!(told.contains(wanted), "{source}: {told}");
                assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
                assert!(!told.contains(PASSWORD) && !told.contains("wrong-9182"), "{told}");
                assert!(!archive.exists(), "nothing is begun");
            });
        }
    });
    let (good, ca) = (broker.address_of(2), folder.join("ca.pem"));
    let ca = ca.display();
    let right = format!(
        "brokers: '{good}', topic: alerts, security: {{{SASL}, ca: {ca}, password_env: QUELL_TEST_PASSWORD}}"
    );
    let (flow, archive) = (plan(&folder.join("plan"), &right), folder.join("live"));
    // Each process of several shows who it is, and reads.
    let live = Live::of(run(&flow, &archive).args(["--supervise", "2"]));
    for partition in [0_i32, 1] {
        let own = |(n, _): &(usize, &str)| n % 2 == partition.unsigned_abs() as usize;
        broker.produce(
            "alerts",
            Some(partition),
            edges(200).lines().enumerate().filter(own).map(|(_, line)| line),
        );
    }
    taken(&archive, 200);
    until("another one reads", || live.told().contains("reading partition 1").then_some(()));
    until("it has said where it reads", || live.told().contains("reading topic alerts").then_some(()));
    assert!(!live.told().contains(PASSWORD), "{}", live.told());
    agrees(&live.stop(), &archive);
    let log = std::fs::read(archive.join("_quell/log.db")).expect("a log");
    assert!(
        !log.windows(PASSWORD.len()).any(|bytes| bytes == PASSWORD.as_bytes()),
        "the log has the password"
    );
}
