//! Bytes become records, whatever they are and however they are cut: one test a bad input, and properties of all.

use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use quell::ingest::{FileReader, Framed, Framer, IngestError, Limits, Origin};
use quell::normalize::{Normalizer, Parsed, SourceSettings};
use quell::plan::mapping::{Mapping, load_dir};
use quell::record::{Names, Stage, Sym};

const ORIGIN: Origin = Origin { source: Sym::EMPTY, tenant: Sym::EMPTY };

fn small() -> Limits {
    Limits { chunk_bytes: 64, record_bytes: 200 }
}

/// What was framed, a line each: position, ordinal and bytes, or position, ordinal and why not.
fn told(framed: &[Framed]) -> Vec<String> {
    let mut lines = Vec::new();
    for item in framed {
        match item {
            Framed::Chunk(chunk) => {
                assert_eq!(chunk.ordinal, lines.len() as u64, "ordinals follow");
                let tell =
                    |(at, _, bytes): (u64, u64, &[u8])| format!("{at}: {}", String::from_utf8_lossy(bytes));
                lines.extend(chunk.records().map(tell));
            }
            Framed::Reject(reject) => {
                lines.push(format!("{}: !{} {}", reject.position, reject.reason, reject.raw));
            }
        }
    }
    lines
}

fn framed_by(bytes: &[u8], limits: Limits, cuts: &[usize]) -> Vec<String> {
    let mut framer = Framer::new(ORIGIN, limits);
    let mut out = Vec::new();
    let mut start = 0;
    for cut in cuts {
        let end = (start + cut).min(bytes.len());
        framer.feed(&bytes[start..end], &mut out);
        start = end;
    }
    framer.feed(&bytes[start..], &mut out);
    framer.finish(&mut out);
    told(&out)
}

fn framed(text: &str) -> Vec<String> {
    framed_by(text.as_bytes(), small(), &[])
}

fn file(bytes: Vec<u8>) -> Vec<String> {
    told(
        &FileReader::new(Box::new(Cursor::new(bytes)), ORIGIN, small())
            .expect("it can be read")
            .collect::<Vec<_>>(),
    )
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).expect("a vector takes all");
    packer.finish().expect("a vector takes all")
}

/// Parses `bytes` with the shipped mappings; answers alerts' positions and rejects' stage, position and reason.
fn parsed(bytes: &[u8], mappings: &[Mapping]) -> (Vec<u64>, Vec<(Stage, u64, String)>) {
    let names = Arc::new(Names::default());
    let settings = SourceSettings {
        name: names.intern("test"),
        tenant: names.intern("default"),
        tenant_from_field: false,
        zone: jiff::tz::TimeZone::UTC,
        as_of: 1_893_456_000_000,
        future_max_ms: 86_400_000,
    };
    let mut normalizer = Normalizer::new(mappings, settings, names);
    let (mut alerts, mut rejects, mut records) = (Vec::new(), Vec::new(), 0);
    let mut out = Parsed::default();
    for item in
        FileReader::new(Box::new(Cursor::new(bytes.to_vec())), ORIGIN, small()).expect("it can be read")
    {
        match item {
            Framed::Chunk(chunk) => {
                normalizer.parse(&chunk, &mut out);
                assert_eq!(out.records, (out.alerts.len() + out.rejects.len()) as u64 + out.ignored_count());
                records += out.records;
                alerts.extend(out.alerts.iter().map(|alert| alert.position));
                rejects.extend(out.rejects.iter().map(|r| (r.stage, r.position, r.reason.clone())));
            }
            Framed::Reject(reject) => {
                records += 1;
                rejects.push((reject.stage, reject.position, reject.reason));
            }
        }
    }
    assert!(records >= (alerts.len() + rejects.len()) as u64);
    (alerts, rejects)
}

fn mappings() -> Vec<Mapping> {
    load_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("dataflows/mappings"))
        .expect("the shipped mappings load")
}

fn line(id: usize) -> String {
    format!(r#"{{"id":"{id}","time":"2026-01-01T00:00:00Z","product":"p","rule_id":"r","rule_name":"n"}}"#)
}

#[test]
fn every_format_has_positions_and_records() {
    assert_eq!(framed("{\"a\":1}\r\n\n{\"a\":2}"), ["1: {\"a\":1}", "3: {\"a\":2}"]);
    assert_eq!(framed("\u{feff}\n{\"a\":1}\n"), ["2: {\"a\":1}"]);
    assert_eq!(framed("[\n{\"a\":1},\n\n {\"b\":[{}]}]\n"), ["2: {\"a\":1}", "4: {\"b\":[{}]}"]);
    assert_eq!(framed("[{\"a\":\"}\"},{\"b\":\"\\\"{\"}]"), ["1: {\"a\":\"}\"}", "1: {\"b\":\"\\\"{\"}"]);
    assert_eq!(framed("{\n  \"a\": 1\n}\n{\n \"b\": 2\n}"), ["1: {\n  \"a\": 1\n}", "4: {\n \"b\": 2\n}"]);
    assert_eq!(framed("{\"a\":1}{\"b\":2}"), ["1: {\"a\":1}", "1: {\"b\":2}"]);
    assert_eq!(
        framed("a,b\r\n1,2\r\n\n\"x\ny\",\"\"\"\"\n3,4"),
        ["2: 1,2", "4: \"x\ny\",\"\"\"\"", "6: 3,4"]
    );
    assert_eq!(framed("a\tb\n\t\n1\t\n"), ["2: \t", "3: 1\t"]);
}

#[test]
fn an_empty_file_gives_nothing() {
    for text in ["", "\n \n", "[]", "a,b\n", "\u{feff}"] {
        assert_eq!(framed(text), [""; 0], "{text:?}");
        assert_eq!(file(gzip(text.as_bytes())), [""; 0], "{text:?}");
    }
}

#[test]
fn a_record_too_long_is_a_reject_and_reading_goes_on() {
    let long = "x".repeat(100_000);
    for (before, after, end, positions) in [("", "\n", "", [1, 2, 3]), ("[\n", ",\n", "]", [2, 3, 4])] {
        let text = format!("{before}{{\"a\":1}}{after}{{\"a\":\"{long}\"}}{after}{{\"a\":3}}{end}");
        let told = framed(&text);
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(
            [&told[0], &told[2]],
            [&format!("{}: {{\"a\":1}}", positions[0]), &format!("{}: {{\"a\":3}}", positions[2])]
        );
        assert!(
            told[1].starts_with(&format!("{}: !the record is longer than 200 bytes", positions[1])),
            "{told:?}"
        );
    }
    let told = framed(&format!("a,b\n1,2\n\"{long}\n{long}\",2\n3,4\n"));
    assert_eq!([told[0].as_str(), told[told.len() - 1].as_str()], ["2: 1,2", "5: 3,4"]);
}

#[test]
fn a_line_of_many_megabytes_takes_little_memory() {
    let limits = Limits { chunk_bytes: 1 << 10, record_bytes: 1 << 16 };
    let mut framer = Framer::new(ORIGIN, limits);
    let mut out = Vec::new();
    framer.feed(b"{\"a\":1}\n{\"a\":\"", &mut out);
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..200 {
        framer.feed(&piece, &mut out);
    }
    framer.feed(b"\"}\n{\"a\":3}\n", &mut out);
    framer.finish(&mut out);
    let told = told(&out);
    assert_eq!((told.len(), told[2].as_str()), (3, "3: {\"a\":3}"));
    assert!(told[1].len() < 9 << 10);
}

#[test]
fn json_cut_in_the_middle_costs_no_other_record() {
    let cut = [
        "{\"id\":\"2\",\"time\":\"2026",
        "{\"id\":{\"x\":[1,",
        "{\"id\":[",
        "{",
        "nonsense",
        "}",
        "\"",
        "{\"a\":1}}",
    ];
    for cut in cut {
        let lines = format!("{}\n{cut}\n{}\n", line(1), line(3));
        let (alerts, rejects) = parsed(lines.as_bytes(), &mappings());
        assert_eq!((alerts, rejects.len()), (vec![1, 3], 1), "lines: {cut}");
    }
    let whole = "{\n  \"a\": 1\n}\n";
    for cut in [
        "{\n  \"a\": \"x\n",
        "{\n  \"a\": 1,\n",
        "{\n  \"a\": [1,\n",
        "{\n  \"a\":\n",
        "{\n  \"a\": [1}\n",
        "{\n",
    ] {
        let told = framed(&format!("{whole}{cut}{whole}{whole}"));
        assert_eq!(told.iter().filter(|t| t.ends_with(whole.trim())).count(), 3, "{cut:?}: {told:?}");
        assert_eq!(told.len(), 4, "{cut:?}: {told:?}");
    }
}

#[test]
fn an_array_that_breaks_off_is_told_once() {
    let told =
        "!the array breaks off before its closing bracket; fetch or send it again, its end is missing ";
    for (text, records, line) in [
        ("[", 0, 1),
        ("[[[[\n\n", 0, 3),
        ("[{\"a\":1},", 1, 1),
        ("[{\"a\":1}", 1, 1),
        ("[\n{\"a\":1}\n", 1, 3),
        ("[{\"a\":1}]\n[{\"a\":2}", 2, 2),
    ] {
        let framed = framed(text);
        assert_eq!(framed.len(), records + 1, "{text:?}: {framed:?}");
        assert_eq!(framed[records], format!("{line}: {told}"), "{text:?}");
        assert_eq!(file(gzip(text.as_bytes())), framed, "{text:?}");
    }
    // What is whole, and where a record tells that something is wrong, is told no second time.
    for (text, records) in [
        ("[{\"a\":1}]", 1),
        ("[[{\"a\":1}],[]]", 1),
        ("[{\"a\":1}}]\n", 2),
        ("[{\"a\":1},nul", 2),
        ("[{\"a\":1},{\"a\":", 2),
        ("[{\"a\":1},{\"a\":\"2\n]", 2),
        ("[2026-01-05] a: b\n[2026-01-05] c: d\n", 2),
    ] {
        let framed = framed(text);
        assert_eq!(framed.len(), records, "{text:?}: {framed:?}");
        assert!(!framed.iter().any(|line| line.contains(told)), "{text:?}: {framed:?}");
    }
}

#[test]
fn an_envelope_is_its_records() {
    let (one, two) = ("1: {\"a\":1}", "1: {\"a\":[2]}");
    for text in [
        "{\"Records\":[{\"a\":1},{\"a\":[2]}]}",
        "{ \"records\" : [ {\"a\":1} , {\"a\":[2]} ] }\n",
        "{\"Records\":[{\"a\":1}]} {\"Records\":[]} {\"Records\":[{\"a\":[2]}]}",
    ] {
        assert_eq!(framed(text), [one, two], "{text:?}");
        assert_eq!(file(gzip(text.as_bytes())), [one, two], "{text:?}");
    }
    let pretty = "{\n  \"Records\": [\n    {\n      \"a\": 1\n    },\n    {\n      \"a\": 2\n    }\n  ]\n}\n";
    assert_eq!(framed(pretty), ["3: {\n      \"a\": 1\n    }", "6: {\n      \"a\": 2\n    }"]);
    // One a line; a member of that name within a record, and one that holds no array, are the record's own.
    let lines = "{\"Records\":[{\"Records\":[{}]}]}\n{\"Records\":[{\"a\":1}]}\n{\"Records\":2}";
    assert_eq!(framed(lines), ["1: {\"Records\":[{}]}", "2: {\"a\":1}", "3: {\"Records\":2}"]);
    assert_eq!(framed("[{\"Records\":[{}]}]"), ["1: {\"Records\":[{}]}"]);
    let spoilt = "{\"Records\":[{\"a\":1},{\"b\":\"\n{\"Records\":[{\"a\":1}]}\n";
    assert_eq!(framed(spoilt), [one, "1: {\"b\":\"", "2: {\"a\":1}"]);
    // What is beside the array is told, and what breaks off.
    assert_eq!(framed("{\"Records\":[{\"a\":1}],\"next\":2}\n"), [one, "1: \"next\":2}"]);
    for cut in ["{\"Records\":[{\"a\":1},", "{\"Records\":[{\"a\":1}]\n"] {
        let told = framed(cut);
        assert!(told.len() == 2 && told[1].contains("!the array breaks off"), "{told:?}");
    }
}

#[test]
fn bytes_that_are_not_utf8_cost_their_record_only() {
    let mut bytes = line(1).into_bytes();
    bytes.extend_from_slice(b"\n{\"id\":\"\xff\",\"unmapped\":\"\xfe\"}\n");
    bytes.extend_from_slice(line(3).as_bytes());
    let (alerts, rejects) = parsed(&bytes, &mappings());
    assert_eq!(alerts, [1, 3]);
    assert_eq!((rejects[0].0, rejects[0].1), (Stage::Ingest, 2));
    assert!(rejects[0].2.starts_with("not UTF-8 at byte 7"), "{rejects:?}");
}

#[test]
fn a_truncated_stream_gives_what_is_whole_and_says_where_it_broke() {
    let lines: Vec<String> = (0..2000).map(|at| format!("{{\"number\":{}}}\n", at * 7919 % 2003)).collect();
    let lines = lines.concat();
    let zstd = zstd::encode_all(lines.as_bytes(), 1).expect("a vector takes all");
    for (packed, name) in [(gzip(lines.as_bytes()), "gzip"), (zstd, "zstd")] {
        assert_eq!(file(packed.clone()).len(), 2000);
        let told = file(packed[..packed.len() - 9].to_vec());
        let (last, whole) = told.split_last().expect("there is a reject");
        assert!(last.contains(&format!("!the {name} stream breaks off after ")), "{last}");
        for (at, record) in whole.iter().enumerate() {
            assert_eq!(*record, format!("{}: {{\"number\":{}}}", at + 1, at * 7919 % 2003));
        }
        assert!(last.starts_with(&format!("{}: !", whole.len() + 1)), "{last}");
    }
}

#[test]
fn a_backslash_at_the_end_of_a_line_takes_no_other_line_along() {
    let text = "{\n\"a\":1}\n{\"b\":\"\\\n{\"c\":\"}\n{\"d\":1}\n";
    assert_eq!(framed(text), ["1: {\n\"a\":1}", "3: {\"b\":\"\\", "4: {\"c\":\"}", "5: {\"d\":1}"]);
}

#[test]
fn packed_members_one_after_the_other_are_one_file() {
    let mut bytes = gzip(b"{\"a\":1}\n{\"a\"");
    bytes.extend(gzip(b":2}\n"));
    assert_eq!(file(bytes), ["1: {\"a\":1}", "2: {\"a\":2}"]);
    let mut bytes = zstd::encode_all(&b"{\"a\":1}\n"[..], 1).expect("a vector takes all");
    bytes.extend(zstd::encode_all(&b"{\"a\":2}\n"[..], 1).expect("a vector takes all"));
    assert_eq!(file(bytes), ["1: {\"a\":1}", "2: {\"a\":2}"]);
}

#[test]
fn a_quote_that_is_never_closed_costs_its_row_only() {
    assert_eq!(framed("a,b\n1,\"2\n3,4\n5,6\n"), ["2: 1,\"2", "3: 3,4", "4: 5,6"]);
    assert_eq!(framed("a,b\n1,\"2\n3,4\n5,\"6\n7,8\n").len(), 4);
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_a_cure() {
    let open = |path: &Path| FileReader::open(path, ORIGIN, small()).err().expect("it cannot be opened");
    let folder = tempfile::tempdir().expect("a folder");
    let error = open(folder.path());
    assert!(
        matches!(error, IngestError::Folder { .. }) && error.to_string().contains("name the files in it"),
        "{error}"
    );
    let error = open(&folder.path().join("no.json"));
    assert!(matches!(error, IngestError::Open { .. }) && error.to_string().contains("no.json"), "{error}");
}

#[test]
fn a_live_stream_gives_its_records_when_asked() {
    let mut framer = Framer::new(ORIGIN, Limits::default());
    let mut out = Vec::new();
    framer.feed(b"{\"a\":1}\n{\"a\"", &mut out);
    assert!(out.is_empty());
    framer.flush(&mut out);
    assert_eq!(told(&out), ["1: {\"a\":1}"]);
    framer.feed(b":2}\n", &mut out);
    framer.finish(&mut out);
    assert_eq!(told(&out), ["1: {\"a\":1}", "2: {\"a\":2}"]);
    // Whoever reads an array on later finds its next record where the reading was stopped, and no reject before it.
    let (mut framer, mut out) = (Framer::new(ORIGIN, Limits::default()), Vec::new());
    framer.feed(b"[{\"a\":1},\n", &mut out);
    framer.stop(&mut out);
    framer.feed(b"{\"a\":2}]", &mut out);
    framer.finish(&mut out);
    assert_eq!(told(&out), ["1: {\"a\":1}", "2: {\"a\":2}"]);
}

#[test]
fn a_source_that_begins_anew_is_told_anew() {
    let mut framer = Framer::new(ORIGIN, Limits::default());
    let mut out = Vec::new();
    for (part, text) in
        ["{\"a\":1}\n{\"a\":2}", "a,b\n1,2\n", "a,b\n3,4\n", "\u{feff}{\n\"a\":5\n}"].iter().enumerate()
    {
        if part > 0 {
            framer.anew(&mut out);
        }
        framer.feed(text.as_bytes(), &mut out);
    }
    framer.finish(&mut out);
    assert_eq!(told(&out), ["1: {\"a\":1}", "2: {\"a\":2}", "4: 1,2", "6: 3,4", "7: {\n\"a\":5\n}"]);
}

/// Texts made of what formats are made of.
fn soup() -> impl Strategy<Value = String> {
    let words = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        ",",
        ":",
        "\n",
        "\r\n",
        " ",
        "a",
        "1",
        "{\"a\":1}",
        "{\"a\":\n",
        "a,b\n",
        "\u{20ac}",
        "x,\"y\n",
        "  ",
        "\t",
        "\"id\"",
        "\u{feff}",
        "null",
        "1,2\n",
        "{\"Records\":[",
        "\"records\"",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..60)
        .prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn framing_is_independent_of_how_bytes_are_cut(text in soup(), cuts in proptest::collection::vec(0usize..9, 0..200)) {
        let limits = Limits { chunk_bytes: 16, record_bytes: 40 };
        let whole = framed_by(text.as_bytes(), limits, &[]);
        prop_assert_eq!(&framed_by(text.as_bytes(), limits, &cuts), &whole);
        let large_chunks = Limits { chunk_bytes: 1 << 20, ..limits };
        prop_assert_eq!(&framed_by(text.as_bytes(), large_chunks, &[]), &whole);
        let lines: Vec<&str> = text.split('\n').collect();
        for told in &whole {
            let (line, record) = told.split_once(": ").expect("its line");
            let begins = record.lines().next().unwrap_or_default();
            let line: usize = line.parse().expect("a number");
            prop_assert!(record.starts_with('!') || lines[line - 1].contains(begins), "{} of {:?}", told, text);
        }
    }

    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        framed_by(&bytes, small(), &[7, 1, 30]);
        file(bytes.clone());
        let mut packed = gzip(b"{\"a\":1}\n");
        packed.extend(&bytes);
        file(packed);
    }

    #[test]
    fn good_records_around_bad_ones_are_all_there(bad in proptest::collection::vec((0usize..20, "[^\n{]{0,30}"), 0..10)) {
        let mut text = String::new();
        let mut wanted = Vec::new();
        for at in 0..20usize {
            for (_, bad) in bad.iter().filter(|(before, _)| *before == at) {
                text += "{\"id\":\"";
                text += bad;
                text += "\n";
            }
            wanted.push(text.matches('\n').count() as u64 + 1);
            text += &line(at);
            text += "\n";
        }
        let mappings = GOOD.get_or_init(mappings);
        let (alerts, _) = parsed(text.as_bytes(), mappings);
        for position in wanted {
            prop_assert!(alerts.contains(&position), "line {} of {}", position, text);
        }
    }

    #[test]
    fn any_soup_is_parsed(text in soup()) {
        parsed(text.as_bytes(), GOOD.get_or_init(mappings));
    }
}

static GOOD: std::sync::OnceLock<Vec<Mapping>> = std::sync::OnceLock::new();
