//! How fast one core turns bytes into alerts: flat JSON alerts of some 660 bytes, and CSV rows of some 80; and how fast it
//! tries Windows events of some 900 bytes against the Sigma rules of the plan that `QUELL_FLOW` names, by default the shipped one.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::fmt::Write;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quell::ingest::{Chunk, Framed, Framer, Limits, Origin};
use quell::normalize::{Normalizer, Parsed, SourceSettings};
use quell::plan::catalog::Plan;
use quell::record::{Names, Sym};

const ORIGIN: Origin = Origin { source: Sym::EMPTY, tenant: Sym::EMPTY };
const RECORDS: u64 = 50_000;

/// A number that looks random, the same each run.
fn mixed(seed: u64) -> u64 {
    let x = (seed ^ (seed >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ (x >> 29)
}

fn json() -> String {
    let mut text = String::new();
    for at in 0..RECORDS {
        let z = mixed(at);
        let (host, user, rule) = (z % 10_000, z % 20_000, z % 300);
        let address = |n: u64| format!("10.{}.{}.{}", n % 50_000 / 250, n % 250, n % 50_000 / 999);
        let (src, dst) = (address(z / 7), address(z / 11));
        let _ = writeln!(
            text,
            r#"{{"id":"a{at:08}-{z:08x}","time":"2026-01-01T00:{:02}:{:02}.163Z","product":"proxy","rule_id":"R{rule:04}","rule_name":"Multiple Failed Logons {rule:03}","severity":"medium","tactic":"lateral-movement","technique":"T{}","src_ip":"{src}","dst_ip":"{dst}","host":"host-{host:05}.corp.example","user":"user{user:05}@corp.example","message":"Multiple Failed Logons {rule:03} observed on host-{host:05} by user{user:05} from {src} to {dst}; action=alert, sensor=proxy-32","raw":{{"event_id":4092,"process":{{"name":"proc34.exe","pid":24192,"cmd":"C:\\Windows\\proc34.exe -q 6ccbb3e8"}},"net":{{"sport":30216,"dport":443,"proto":"tcp","bytes":283717}},"tags":["t6","t1"]}}}}"#,
            at / 60 % 60,
            at % 60,
            1001 + rule,
        );
    }
    text
}

/// Processes that start, none of which a rule is about.
fn events() -> String {
    let mut text = String::new();
    for at in 0..RECORDS {
        let z = mixed(at);
        let (host, user, program) = (z % 1_000, z % 2_000, z % 97);
        let _ = writeln!(
            text,
            r#"{{"Channel":"Microsoft-Windows-Sysmon/Operational","EventID":1,"RecordNumber":{at},"Hostname":"ws-{host:04}.corp.example","@timestamp":"2026-01-01T00:{:02}:{:02}.163Z","ProviderName":"Microsoft-Windows-Sysmon","Task":"1","ProcessId":"{}","Image":"C:\\Program Files\\Example\\tool-{program}.exe","OriginalFileName":"tool-{program}.exe","Description":"A tool","Product":"Tools","Company":"Example","CommandLine":"\"C:\\Program Files\\Example\\tool-{program}.exe\" --job {z:x} --quiet","CurrentDirectory":"C:\\Users\\user{user:04}\\","User":"CORP\\user{user:04}","IntegrityLevel":"Medium","Hashes":"SHA1=8D6F2CF5A8E24A2C9E0C4B6B1F9A7F2C1B3D5E7F,MD5=0123456789ABCDEF0123456789ABCDEF","ParentProcessId":"4242","ParentImage":"C:\\Windows\\explorer.exe","ParentCommandLine":"C:\\Windows\\explorer.exe"}}"#,
            at / 60 % 60,
            at % 60,
            z % 30_000,
        );
    }
    text
}

fn csv() -> String {
    let mut text = "time,name,ip,host,short,time_label,event_label\n".to_owned();
    for at in 0..RECORDS {
        let z = mixed(at);
        let time = 1_642_213_952 + at / 3;
        let _ = writeln!(
            text,
            "{time},Wazuh: Web server 400 error code.,192.0.2.{},host-{},W-Acc,false_positive,-",
            z % 200,
            z % 90
        );
    }
    text
}

fn chunks(text: &str) -> Vec<Chunk> {
    let mut out = Vec::new();
    let mut framer = Framer::new(ORIGIN, Limits::default());
    framer.feed(text.as_bytes(), &mut out);
    framer.finish(&mut out);
    let chunk = |framed| match framed {
        Framed::Chunk(chunk) => Some(chunk),
        Framed::Reject(_) => None,
    };
    out.into_iter().filter_map(chunk).collect()
}

fn normalize(criterion: &mut Criterion) {
    let shipped = || Path::new(env!("CARGO_MANIFEST_DIR")).join("dataflows/pipeline.yml");
    let flow = std::env::var_os("QUELL_FLOW").map_or_else(shipped, PathBuf::from);
    let mappings = Plan::load(&flow).expect("it loads").mappings;
    let mut group = criterion.benchmark_group("normalize");
    group.throughput(Throughput::Elements(RECORDS)).sample_size(20);
    for (name, text) in [("json", json()), ("csv", csv()), ("events", events())] {
        let chunks = chunks(&text);
        let names = Arc::new(Names::default());
        let settings = SourceSettings {
            name: names.intern("bench"),
            tenant: names.intern("default"),
            tenant_from_field: false,
            zone: jiff::tz::TimeZone::UTC,
            as_of: 1_893_456_000_000,
            future_max_ms: 86_400_000,
        };
        let mut normalizer = Normalizer::new(&mappings, settings, names);
        let mut parsed = Parsed::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for chunk in &chunks {
                    normalizer.parse(chunk, &mut parsed);
                    assert!(parsed.rejects.is_empty());
                    black_box(&parsed);
                }
            });
        });
        group.bench_function(format!("frame {name}"), |bencher| {
            bencher.iter(|| self::chunks(black_box(&text)));
        });
    }
    group.finish();
}

criterion_group!(benches, normalize);
criterion_main!(benches);
