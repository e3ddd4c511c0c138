//! From one record to one alert: identity, tenants, times, entities and what is kept.

use std::sync::Arc;

use quell::ingest::{Chunk, Framed, Framer, Limits, Origin};
use quell::normalize::{Normalizer, Parsed, SourceSettings};
use quell::plan::mapping::{Mapping, load};
use quell::record::{Alert, AlertId, Names, Stage, Sym};

const MAPPING: &str = "
product: { field: p, default: none }
detect: [{ field: kind, equals: alert }]
ignore: [{ when: [{ field: kind, in: [flow] }], type: kind }]
id: [site, id]
tenant: who
time: { field: [t, u], formats: [iso8601, epoch_seconds, syslog] }
rule: r
severity: { field: s, words: { bad: high }, ranges: [{ from: 1, to: 2.5, severity: low }], default: medium }
attacks: [x.y]
entities:
  - { kind: host, field: [h, x.h] }
  - { kind: ip, role: source, field: ip, transform: [strip_port] }
unmapped: keep
examples: [{ name: none, raw: {}, expect: { rejected: no mapping } }]
";

struct Bench {
    names: Arc<Names>,
    normalizer: Normalizer,
    parsed: Parsed,
}

fn mapping(text: &str) -> Mapping {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.yml");
    std::fs::write(&path, text).expect("it can be written");
    load(&path).unwrap_or_else(|faults| panic!("{}", faults[0]))
}

fn bench(tenant: &str, tenant_from_field: bool) -> Bench {
    let names = Arc::new(Names::default());
    let settings = SourceSettings {
        name: names.intern("src"),
        tenant: names.intern(tenant),
        tenant_from_field,
        zone: jiff::tz::TimeZone::get("Europe/Vienna").expect("the zones are bundled"),
        as_of: 1_769_904_000_000,
        future_max_ms: 86_400_000,
    };
    let normalizer = Normalizer::new(&[mapping(MAPPING)], settings, Arc::clone(&names));
    Bench { names, normalizer, parsed: Parsed::default() }
}

fn chunk(text: &str) -> Chunk {
    let origin = Origin { source: Sym::EMPTY, tenant: Sym::EMPTY };
    let mut framer = Framer::new(origin, Limits::default());
    let mut out = Vec::new();
    framer.feed(text.as_bytes(), &mut out);
    framer.finish(&mut out);
    let Some(Framed::Chunk(chunk)) = out.pop().filter(|_| out.is_empty()) else { panic!("one chunk") };
    chunk
}

impl Bench {
    fn text(&mut self, text: &str) -> &Parsed {
        self.normalizer.parse(&chunk(text), &mut self.parsed);
        &self.parsed
    }

    fn one(&mut self, record: &str) -> Result<Alert, String> {
        self.normalizer.parse(&Chunk::of_record(record.as_bytes().to_vec(), 77, 5), &mut self.parsed);
        match (self.parsed.alerts.pop(), self.parsed.rejects.pop()) {
            (Some(alert), None) => Ok(alert),
            (None, Some(reject)) => Err(reject.reason),
            other => panic!("{other:?}"),
        }
    }

    fn entities(&self, alert: &Alert) -> Vec<String> {
        alert.entities.iter().map(|entity| entity.text(&self.names)).collect()
    }
}

#[test]
fn an_alert_is_named_by_its_vendor_or_by_its_place() {
    let mut bench = bench("default", false);
    let named = bench.one(r#"{"kind":"alert","t":1,"r":"R","p":"P","site":"S","id":7}"#).expect("an alert");
    assert_eq!((named.id, named.identified), (AlertId::of(&[b"default", b"P", b"S\x1f7"]), true));
    let placed = bench.one(r#"{"kind":"alert","t":1,"r":"R","p":"P","id":7}"#).expect("an alert");
    assert_eq!(
        (placed.id, placed.identified),
        (AlertId::of(&[b"default", b"src", &5u64.to_le_bytes()]), false)
    );
    assert_eq!((placed.position, placed.time, placed.tick), (77, 1000, 1));
    assert_eq!(bench.names.get(placed.title), "R");
}

#[test]
fn a_tenant_comes_from_a_field_only_where_the_source_lets_it() {
    let record = r#"{"kind":"alert","t":1,"r":"R","who":"acme"}"#;
    let without = r#"{"kind":"alert","t":1,"r":"R"}"#;
    let tenant = |bench: &mut Bench, record| bench.one(record).map(|alert| bench.names.get(alert.tenant));
    assert_eq!(tenant(&mut bench("default", false), record).as_deref(), Ok("default"));
    assert_eq!(tenant(&mut bench("default", true), record).as_deref(), Ok("acme"));
    assert_eq!(tenant(&mut bench("default", true), without).as_deref(), Ok("default"));
    assert!(tenant(&mut bench("", true), without).is_err_and(|reason| reason.starts_with("no tenant")));
}

#[test]
fn times_that_cannot_be_used_are_rejects() {
    let mut bench = bench("default", false);
    let mut time =
        |t: &str| bench.one(&format!(r#"{{"kind":"alert","r":"R","t":{t}}}"#)).map(|alert| alert.time);
    assert_eq!(time("\"2026-01-31T12:00:00\""), Ok(1_769_857_200_000), "in the source's zone");
    assert_eq!(time("\"Jan 31 12:00:00\""), Ok(1_769_857_200_000), "in the year of the ingest time");
    assert_eq!(time("1769990400"), Ok(1_769_990_400_000), "a day after the ingest time");
    assert!(
        time("1769990401")
            .is_err_and(|reason| reason.contains("2026-02-02T00:00:01Z is too far in the future"))
    );
    assert!(time("\"soon\"").is_err_and(|reason| reason.contains("no usable time: \"soon\" is in none")));
    assert!(time("null").is_err_and(|reason| reason.contains("its field is absent")));
    assert_eq!(bench.one(r#"{"kind":"alert","r":"R","t":"x","u":2.5}"#).map(|alert| alert.time), Ok(2500));
}

#[test]
fn nested_keys_and_keys_with_dots_are_the_same_path_and_lists_are_walked_through() {
    let mut bench = bench("default", false);
    for record in
        [r#""x":{"y":["T1003","TA0006"],"h":"A."}"#, r#""x.y":"attack.t1003,credential-access","x.h":"a""#]
    {
        let alert = bench.one(&format!(r#"{{"kind":"alert","t":1,"r":"R",{record}}}"#)).expect("an alert");
        assert_eq!(bench.names.get(alert.attacks), "TA0006,T1003");
        assert_eq!(bench.entities(&alert), ["host:a"]);
        assert_eq!(alert.unmapped.as_deref(), Some(r#"{"kind":"alert"}"#));
    }
    let list = r#"{"kind":"alert","t":1,"r":"R","h":["", "B", "b"],"ip":["10.0.0.1:80","10.0.0.1","none"]}"#;
    let alert = bench.one(list).expect("an alert");
    assert_eq!(bench.entities(&alert), ["host:b", "src_ip:10.0.0.1"]);
}

#[test]
fn severities_go_by_word_by_number_or_by_default() {
    let mut bench = bench("default", false);
    for (written, read) in
        [("\"BAD\"", "high"), ("2", "low"), ("\"2.5\"", "low"), ("3", "medium"), ("null", "medium")]
    {
        let alert =
            bench.one(&format!(r#"{{"kind":"alert","t":1,"r":"R","s":{written}}}"#)).expect("an alert");
        assert_eq!(alert.severity.name(), read, "{written}");
    }
}

#[test]
fn every_record_is_accounted_for() {
    let mut bench = bench("default", false);
    let text = "{\"kind\":\"alert\",\"t\":1,\"r\":\"R\"}\n{\"kind\":\"flow\"}\n{\"kind\":\"flow\"}\n{\"kind\":\"new\"}\n[1]\n{\"kind\n";
    let parsed = bench.text(text);
    assert_eq!((parsed.records, parsed.alerts.len(), parsed.ignored_count()), (6, 1, 2));
    let reasons: Vec<(u64, Stage, &str)> = parsed
        .rejects
        .iter()
        .map(|r| (r.position, r.stage, r.reason.split([';', ':']).next().unwrap_or_default()))
        .collect();
    assert_eq!(
        reasons,
        [
            (4, Stage::Normalize, "no mapping takes a record with the keys kind"),
            (5, Stage::Normalize, "not a JSON object, nor syslog, CEF or LEEF"),
            (6, Stage::Normalize, "the JSON is cut off at column 6 of line 1 of the record"),
        ]
    );
}

#[test]
fn records_that_are_read_together_become_what_each_becomes_alone() {
    let mut bench = bench("default", true);
    let record = |n: usize| match n % 7 {
        0 => "{\"kind\":\"flow\"}".to_owned(),
        3 => "{\"kind\":".to_owned(),
        5 => format!(r#"{{"kind":"alert","t":"at {n}","r":"R"}}"#),
        rest => format!(
            r#"{{"kind":"alert","t":{n},"r":"R{rest}","p":"P{rest}","h":["host-{n}","h"],"ip":"10.0.0.{rest}:80","id":{n},"left":{n}}}"#
        ),
    };
    let mut chunk = chunk(&(1..40).map(record).collect::<Vec<_>>().join("\n"));
    bench.normalizer.parse(&chunk, &mut bench.parsed);
    let together = std::mem::take(&mut bench.parsed);
    let mut alone = Parsed::default();
    for _ in 1..40 {
        bench.normalizer.parse(&chunk.split(1), &mut bench.parsed);
        alone.alerts.append(&mut bench.parsed.alerts);
        alone.rejects.append(&mut bench.parsed.rejects);
        bench.parsed.ignored.drain().for_each(|(kind, n)| *alone.ignored.entry(kind).or_default() += n);
        alone.records += bench.parsed.records;
    }
    assert_eq!((together.alerts.len(), together.rejects.len(), together.ignored_count()), (23, 11, 5));
    assert_eq!((together.alerts, together.rejects), (alone.alerts, alone.rejects));
    assert_eq!((together.ignored, together.records), (alone.ignored, alone.records));
}

#[test]
fn csv_is_read_by_its_header_quotes_or_not() {
    let mut bench = bench("default", false);
    let text =
        "kind,t,r,x.h,rest\nalert,1,R,A,\nalert,2,\"R, \"\"S\"\"\",B,more\nalert,3,R\nalert,4,\"R\",C,d,e\n";
    bench.text(text);
    let alerts: Vec<Alert> = std::mem::take(&mut bench.parsed.alerts);
    let told = |a: &Alert| {
        (a.position, bench.names.get(a.rule), a.unmapped.as_deref().unwrap_or_default().to_owned())
    };
    assert_eq!(
        alerts.iter().map(told).collect::<Vec<_>>(),
        [
            (2, "R".to_owned(), r#"{"kind":"alert"}"#.to_owned()),
            (3, "R, \"S\"".to_owned(), r#"{"kind":"alert","rest":"more"}"#.to_owned()),
        ]
    );
    let reasons: Vec<&str> = bench.parsed.rejects.iter().map(|reject| &reject.reason[..20]).collect();
    assert_eq!(reasons, ["the row has 3 fields", "the row has 6 fields"]);
}

/// Clouds wrap records: what a path asks for is found in JSON within a text, once.
#[test]
fn json_within_a_text_is_walked_into() {
    let mut bench = bench("default", false);
    let record = r#"{"kind":"alert","t":1,"r":"R","x":"{\"y\":[\"T1003\",\"TA0006\"],\"h\":\"A\"}"}"#;
    let alert = bench.one(record).expect("an alert");
    assert_eq!(bench.names.get(alert.attacks), "TA0006,T1003");
    assert_eq!(bench.entities(&alert), ["host:a"]);
    for text in [r#""{\"h\":""#, r#""[1,{\"h\":\"{}\"""#, r#""{""#, r#""[[[[""#] {
        let alert = bench.one(&format!(r#"{{"kind":"alert","t":1,"r":"R","x":{text}}}"#)).expect("an alert");
        assert_eq!(bench.entities(&alert), Vec::<String>::new(), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(bench.one(&format!(r#"{{"kind":"alert","t":1,"r":"R","x":"{deep}"}}"#)).is_ok());
}
