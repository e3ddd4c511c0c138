//! Parquet as an input: the same records as JSON lines, CSV and Parquet are the same alerts; damage costs what it hits.

mod common;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, FixedSizeBinaryBuilder, Float32Builder,
    Float64Builder, Int64Builder, MapBuilder, StringBuilder, StringDictionaryBuilder,
    Time64MicrosecondBuilder, TimestampMicrosecondBuilder, TimestampMillisecondBuilder, UInt64Builder,
};
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, NullArray, RecordBatch, StringArray,
    StructArray,
};
use arrow_schema::Field;
use common::{conserved, count, digest, edges, replay, root, summary};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use quell::archive::Reader;
use quell::ingest::{FileReader, Framed, Limits, Origin};
use quell::record::{Names, Sym};
use serde_json::{Value, json};

/// An array of JSON values; they should be alike.
fn array(values: &[Option<&Value>]) -> ArrayRef {
    match values.iter().flatten().find(|value| !value.is_null()) {
        None | Some(Value::Null) => Arc::new(NullArray::new(values.len())),
        Some(Value::Bool(_)) => {
            Arc::new(values.iter().copied().map(|value| value?.as_bool()).collect::<BooleanArray>())
        }
        Some(Value::Number(number)) if number.is_f64() => {
            Arc::new(values.iter().copied().map(|value| value?.as_f64()).collect::<Float64Array>())
        }
        Some(Value::Number(_)) => {
            Arc::new(values.iter().copied().map(|value| value?.as_i64()).collect::<Int64Array>())
        }
        Some(Value::String(_)) => {
            Arc::new(values.iter().copied().map(|value| value?.as_str()).collect::<StringArray>())
        }
        Some(Value::Array(_)) => {
            let lists = values.iter().map(|value| value.and_then(Value::as_array));
            let items: Vec<Option<&Value>> = lists.clone().flatten().flatten().map(Some).collect();
            let items = array(&items);
            let item = Arc::new(Field::new_list_field(items.data_type().clone(), true));
            // Where lists begin and end, and which there are.
            let shape = lists.map(|list| list.map(|list| vec![Some(0); list.len()]));
            let shape = ListArray::from_iter_primitive::<Int32Type, _, _>(shape);
            Arc::new(ListArray::new(item, shape.offsets().clone(), items, shape.nulls().cloned()))
        }
        Some(Value::Object(_)) => {
            let mut keys: Vec<&String> = Vec::new();
            for key in values.iter().flatten().filter_map(|value| value.as_object()).flat_map(|o| o.keys()) {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            let column = |key: &String| {
                let column =
                    array(&values.iter().map(|value| value.and_then(|v| v.get(key))).collect::<Vec<_>>());
                (Arc::new(Field::new(key, column.data_type().clone(), true)), column)
            };
            let (fields, columns): (Vec<_>, Vec<_>) = keys.into_iter().map(column).unzip();
            let there = values.iter().map(|value| value.filter(|value| value.is_object()).map(|_| true));
            let there: BooleanArray = there.collect();
            Arc::new(StructArray::new(fields.into(), columns, there.nulls().cloned()))
        }
    }
}

/// A Parquet file of JSON objects, `group_rows` a row group.
fn write(path: &Path, records: &[Value], packing: Compression, group_rows: usize) {
    let whole = array(&records.iter().map(Some).collect::<Vec<_>>());
    let whole = whole.as_any().downcast_ref::<StructArray>().expect("objects");
    put(path, &RecordBatch::from(whole.clone()), packing, group_rows);
}

fn put(path: &Path, batch: &RecordBatch, packing: Compression, group_rows: usize) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("room for a folder");
    let settings = WriterProperties::builder()
        .set_compression(packing)
        .set_max_row_group_row_count(Some(group_rows))
        .build();
    let file = File::create(path).expect("room for a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(settings)).expect("a schema");
    writer.write(batch).and_then(|()| writer.close()).expect("room for a file");
}

fn zstd() -> Compression {
    Compression::ZSTD(ZstdLevel::default())
}

/// What a reader makes of a file: position and bytes of each record, or position and reason.
fn rows(path: &Path) -> Vec<(u64, Result<String, String>)> {
    let origin = Origin { source: Sym::EMPTY, tenant: Sym::EMPTY };
    let limits = Limits { chunk_bytes: 500, record_bytes: 2_000 };
    let mut rows = Vec::new();
    for framed in FileReader::open(path, origin, limits).expect("a file") {
        match framed {
            Framed::Chunk(chunk) => {
                for (position, ordinal, bytes) in chunk.records() {
                    assert_eq!(position, ordinal + 1);
                    rows.push((position, Ok(String::from_utf8(bytes.to_vec()).expect("UTF-8"))));
                }
            }
            Framed::Reject(reject) => rows.push((reject.position, Err(reject.reason))),
        }
    }
    rows
}

fn lines(records: &[Value]) -> String {
    records.iter().fold(String::new(), |lines, record| lines + &record.to_string() + "\n")
}

/// Alerts of the generator's shape.
fn flat() -> Vec<Value> {
    edges(500).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// OCSF Detection Findings, objects and lists in each other.
fn nested() -> Vec<Value> {
    let finding = |n: i64| {
        let mut finding = json!({
            "class_uid": 2004, "time": 1_767_571_200_000i64 + n * 60_000, "severity_id": n % 5 + 1,
            "metadata": {"version": "1.8.0", "product": {"name": "EDR", "vendor_name": "Example"}},
            "finding_info": {"uid": format!("f{n}"), "title": "Credential dumping", "analytic": {"uid": "A7"},
                "attacks": [{"technique": {"uid": "T1003"}}, {"technique": {"uid": "T1059"}, "tactics": [{"uid": "TA0002"}]}]},
            "device": {"hostname": format!("h{}", n % 3)},
            "evidences": [{"user": {"name": "ada"}, "src_endpoint": {"ip": "10.0.0.1"}}, {"dst_endpoint": {"ip": "10.0.0.2"}}],
        });
        if n % 4 == 0 {
            finding.as_object_mut().expect("an object").remove("evidences");
        }
        finding
    };
    (0..40).map(finding).collect()
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a temporary folder"))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replays a file or folder as the source `alerts`; the summary.
    fn run(&self, input: &str, more: &[&str]) -> Value {
        let flow = common::asking_plan(&self.at("plan"));
        let _ = std::fs::remove_dir_all(self.at("archive"));
        let summary = summary(&mut replay(&flow, &[&self.at(input)], &self.at("archive"), more));
        conserved(&summary);
        summary
    }

    /// Positions and reasons of the rejects of the last run.
    fn rejects(&self) -> Vec<(u64, String)> {
        let reader = Reader::open(self.at("archive"), Arc::new(Names::default())).expect("an archive");
        let lines = reader.rejects(None).expect("rejects").map(|line| line.expect("a reject"));
        lines.map(|line| (line.position, line.reason)).collect()
    }
}

const NAMED: [&str; 2] = ["--name", "alerts"];

#[test]
fn a_record_is_the_same_alert_in_every_format() {
    let place = Place::new();
    for (records, fields) in [(flat(), true), (nested(), false)] {
        std::fs::write(place.at("a.jsonl"), lines(&records)).expect("room");
        let want = place.run("a.jsonl", &NAMED);
        assert!(count(&want, "alerts") >= 40, "{want}");
        let expected = digest(&place.at("archive"));
        for (packing, group_rows) in [(zstd(), 64), (Compression::UNCOMPRESSED, 1_000)] {
            write(&place.at("a.parquet"), &records, packing, group_rows);
            for more in [&["--workers", "2"][..], &["--batch", "7"]] {
                place.run("a.parquet", &[&NAMED, more].concat());
                assert_eq!(digest(&place.at("archive")), expected, "{packing:?}");
            }
        }
        if fields {
            // A CSV's position is its line, and the header is line 1: all else is the same.
            let keys: Vec<&String> = records[0].as_object().expect("an object").keys().collect();
            let cells = |record: &Value| -> Vec<String> {
                keys.iter().map(|key| record[*key].as_str().unwrap_or_default().to_owned()).collect()
            };
            let header: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
            let text: String = records.iter().map(|record| cells(record).join(",") + "\n").collect();
            std::fs::write(place.at("a.csv"), header.join(",") + "\n" + &text).expect("room");
            place.run("a.csv", &NAMED);
            let found = digest(&place.at("archive"));
            for table in ["members", "links", "incidents", "matches", "decisions"] {
                assert_eq!(found[table], expected[table], "{table}");
            }
        }
    }
}

/// Writes the JSON lines of the first file as the second, each packing beside it.
const PYARROW: &str = "
import sys, pyarrow as pa, pyarrow.json, pyarrow.parquet as pq
table = pyarrow.json.read_json(sys.argv[1], parse_options=pyarrow.json.ParseOptions(newlines_in_values=False))
at = table.schema.get_field_index('time')
if pa.types.is_timestamp(table.schema.field(at).type):
    table = table.set_column(at, 'time', table['time'].cast(pa.timestamp('us', 'Europe/Vienna')))
    table = table.set_column(1, table.schema.names[1], table.column(1).dictionary_encode())
for packing in ['zstd', 'none', 'snappy', 'gzip', 'brotli', 'lz4']:
    pq.write_table(table, f'{sys.argv[2]}/{packing}.parquet', compression=packing, row_group_size=100)
pq.write_table(table, f'{sys.argv[2]}/old.parquet', compression='zstd', version='1.0', use_deprecated_int96_timestamps=True)
";

#[test]
fn what_pyarrow_writes_is_read_or_told() {
    let place = Place::new();
    let python = std::env::var("QUELL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    for records in [flat(), nested()] {
        std::fs::write(place.at("a.jsonl"), lines(&records)).expect("room");
        let mut command = Command::new(&python);
        match command.args(["-c", PYARROW]).arg(place.at("a.jsonl")).arg(place.0.path()).output() {
            Ok(output) if output.status.success() => {}
            missing => {
                eprintln!("SKIPPED: {python} lacks pyarrow ({missing:?}); see tests/python");
                return;
            }
        }
        place.run("a.jsonl", &NAMED);
        let expected = digest(&place.at("archive"));
        for readable in ["zstd", "snappy", "gzip", "lz4", "none", "old"] {
            place.run(&format!("{readable}.parquet"), &NAMED);
            assert_eq!(digest(&place.at("archive")), expected, "{readable}");
        }
        let summary = place.run("brotli.parquet", &NAMED);
        let (rejects, last) = (place.rejects(), records.len());
        assert_eq!((count(&summary, "records"), rejects.len()), (1, 1), "{summary} {rejects:?}");
        let reason = format!("rows 1 to {last} of the Parquet file cannot be read: pages packed by brotli");
        assert!(rejects[0].1.starts_with(&reason), "{rejects:?}");
    }
}

#[test]
fn damage_costs_the_rows_that_it_hits() {
    let place = Place::new();
    write(&place.at("a.parquet"), &flat(), zstd(), 100);
    let whole = std::fs::read(place.at("a.parquet")).expect("the file");
    let all = rows(&place.at("a.parquet"));
    for cut in [0, 3, 4, 7, 8, 11, whole.len() / 2, whole.len() - 1] {
        std::fs::write(place.at("cut.parquet"), &whole[..cut]).expect("room");
        let found = rows(&place.at("cut.parquet"));
        match (cut, found.as_slice()) {
            (0, []) => {}
            // Too little to be told from a line of text.
            (3, [(1, Ok(text))]) => assert_eq!(text, "PAR"),
            (_, [(1, Err(why))]) => assert!(why.starts_with("the footer of the Parquet file"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    let file = SerializedFileReader::new(File::open(place.at("a.parquet")).expect("it")).expect("a footer");
    let third = file.metadata().row_group(2).column(1).byte_range();
    let mut hole = whole;
    let (start, length) = third;
    hole[usize::try_from(start).expect("small")..][..usize::try_from(length).expect("small")].fill(0x55);
    std::fs::write(place.at("hole.parquet"), hole).expect("room");
    let found = rows(&place.at("hole.parquet"));
    let (lost, kept): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, row)| row.is_err());
    let [(201, Err(why))] = lost.as_slice() else { panic!("{lost:?}") };
    assert!(why.starts_with("rows 201 to 300 of the Parquet file cannot be read: "), "{why}");
    let expected: Vec<_> = all.into_iter().filter(|(at, _)| !(201..=300).contains(at)).collect();
    assert_eq!(kept, expected);
    let summary = place.run("cut.parquet", &[]);
    assert_eq!((count(&summary, "records"), count(&summary, "rejects")), (1, 1), "{summary}");
}

#[test]
fn any_damage_ends_well() {
    let place = Place::new();
    write(&place.at("a.parquet"), &nested(), zstd(), 10);
    let whole = std::fs::read(place.at("a.parquet")).expect("the file");
    // Not at random, so that what fails fails again: the footer, and all else more coarsely.
    let places = (0..whole.len()).rev().step_by(13).take(400).chain((4..whole.len()).step_by(401));
    for (n, at) in places.enumerate() {
        let mut bytes = whole.clone();
        bytes[at] = [0, 0xff, 0x80, 0x7f, bytes[at] ^ 1][n % 5];
        std::fs::write(place.at("b.parquet"), bytes).expect("room");
        rows(&place.at("b.parquet"));
    }
}

#[test]
fn a_row_too_long_is_a_reject() {
    let place = Place::new();
    let records: Vec<Value> =
        (0..5).map(|n| json!({"n": n, "text": "x".repeat(if n == 2 { 2_000 } else { 1_000 })})).collect();
    write(&place.at("a.parquet"), &records, zstd(), 100);
    let found = rows(&place.at("a.parquet"));
    let told: Vec<(u64, bool)> = found.iter().map(|(at, row)| (*at, row.is_ok())).collect();
    assert_eq!(told, [(1, true), (2, true), (3, false), (4, true), (5, true)]);
    assert!(found[2].1.as_ref().is_err_and(|why| why.contains("longer than 2000 bytes")), "{:?}", found[2]);
}

#[test]
fn folders_are_walked_and_archives_are_no_alerts() {
    let place = Place::new();
    let records = flat();
    write(&place.at("in/product=a/part-0.parquet"), &records[..100], zstd(), 30);
    write(&place.at("in/product=b/part-0.parquet"), &records[100..150], Compression::UNCOMPRESSED, 30);
    std::fs::write(place.at("in/rest.jsonl"), lines(&records[150..])).expect("room");
    std::fs::write(place.at("in/_SUCCESS"), "").expect("room");
    let summary = place.run("in", &[]);
    assert_eq!(count(&summary, "records"), records.len() as u64, "{summary}");
    assert_eq!(count(&summary, "rejects"), 0, "{summary}");
    let walked = common::held(&place.at("archive"));
    std::fs::write(place.at("all.jsonl"), lines(&records)).expect("room");
    place.run("all.jsonl", &[]);
    assert_eq!(common::held(&place.at("archive")).alerts, walked.alerts);
    // A part of an archive holds alerts that were normalized before: no mapping knows these.
    std::fs::rename(place.at("archive"), place.at("kept")).expect("the archive can be moved");
    let summary = place.run("kept/alerts", &[]);
    assert_eq!(count(&summary, "alerts"), 0, "{summary}");
    assert!(place.rejects().iter().all(|(_, why)| why.contains("no mapping takes")), "{:?}", place.rejects());
}

/// A builder that was given these values, the last of which is absent.
macro_rules! built {
    ($builder:expr, $($value:expr),*) => {{
        let mut builder = $builder;
        $(builder.append_value($value);)*
        builder.append_null();
        Arc::new(builder.finish()) as ArrayRef
    }};
}

/// Columns of every kind that JSON has no word of its own for: two rows, and one of nothing.
fn odd() -> RecordBatch {
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("a\"b");
    map.values().append_value(1);
    map.append(true).and_then(|()| map.append(true)).and_then(|()| map.append(false)).expect("a map");
    let decimals = Decimal128Builder::new().with_precision_and_scale(30, 2).expect("a scale");
    let mut words = StringDictionaryBuilder::<Int32Type>::new();
    words.append("w").and_then(|_| words.append("w")).expect("words");
    words.append_null();
    let mut bytes = FixedSizeBinaryBuilder::new(3);
    bytes.append_value([1, 2, 0xfe]).and_then(|()| bytes.append_value("abc")).expect("three bytes");
    bytes.append_null();
    let zoned = TimestampMicrosecondBuilder::new().with_timezone("+02:00");
    let columns = [
        ("binary", built!(BinaryBuilder::new(), b"\xff\x00", b"text\n")),
        ("fixed", Arc::new(bytes.finish()) as ArrayRef),
        ("float", built!(Float32Builder::new(), 0.1, f32::NAN)),
        ("double", built!(Float64Builder::new(), f64::INFINITY, 1e300)),
        ("unsigned", built!(UInt64Builder::new(), u64::MAX, 0)),
        ("truth", built!(BooleanBuilder::new(), true, false)),
        ("decimal", built!(decimals, 125, 1_234_567_890_123_456_789)),
        ("date", built!(Date32Builder::new(), 20_458, -1)),
        ("clock", built!(Time64MicrosecondBuilder::new(), 3_723_000_004, 0)),
        ("zoned", built!(zoned, 1_767_571_200_000_001, i64::MAX)),
        ("civil", built!(TimestampMillisecondBuilder::new(), 1_767_571_200_000, -1)),
        ("words", Arc::new(words.finish()) as ArrayRef),
        ("map", Arc::new(map.finish()) as ArrayRef),
        ("nothing", Arc::new(NullArray::new(3)) as ArrayRef),
    ];
    let nullable = columns.map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(nullable).expect("columns of three rows")
}

#[test]
fn every_type_has_its_json() {
    let place = Place::new();
    put(&place.at("a.parquet"), &odd(), zstd(), 2);
    let found: Vec<Value> = rows(&place.at("a.parquet"))
        .into_iter()
        .map(|(_, row)| serde_json::from_str(&row.expect("a row")).expect("JSON"))
        .collect();
    let want = [
        json!({"binary": "ff00", "fixed": "0102fe", "float": 0.1, "double": null, "unsigned": u64::MAX, "truth": true,
            "decimal": 1.25, "date": "2026-01-05", "clock": "01:02:03.000004", "zoned": "2026-01-05T00:00:00.000001Z",
            "civil": "2026-01-05T00:00:00", "words": "w", "map": {"a\"b": 1}}),
        json!({"binary": "text\n", "fixed": "616263", "float": null, "double": 1e300, "unsigned": 0, "truth": false,
            "decimal": "12345678901234567.89", "date": "1969-12-31", "clock": "00:00:00",
            "zoned": "9223372036854775807000 ns after 1970", "civil": "1969-12-31T23:59:59.999", "words": "w", "map": {}}),
        json!({}),
    ];
    assert_eq!(found, want);
}

/// A value that a column says once, and of which all rows are: a row has no more of it than that.
#[test]
fn a_long_value_that_all_rows_share_is_held_once() {
    const ROWS: usize = 1_000;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shared.parquet");
    let text = edges(ROWS as u64 + 20);
    let alerts = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).take(ROWS);
    let mut alerts: Vec<Value> = alerts.collect();
    let long = json!("x".repeat(400_000));
    for alert in &mut alerts {
        alert["padding"] = long.clone();
    }
    let columns = ["id", "time", "product", "rule_id", "rule_name", "severity", "host", "user", "padding"];
    let columns = columns.map(|name| {
        let values: Vec<Option<&Value>> = alerts.iter().map(|alert| alert.get(name)).collect();
        (name, array(&values))
    });
    let batch = RecordBatch::try_from_iter(columns).expect("columns");
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_page_size_limit(8 << 20)
        .build();
    let file = File::create(&path).expect("room");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("room");
    writer.close().expect("room");
    drop((batch, alerts));
    assert!(std::fs::metadata(&path).expect("it is there").len() < 200_000);
    let told =
        summary(&mut replay(&root().join("dataflows/pipeline.yml"), &[&path], &folder.path().join("a"), &[]));
    assert_eq!(count(&told, "records"), ROWS as u64, "{told}");
    assert_eq!(count(&told, "rejects"), 0, "{told}");
    assert!(count(&told, "peak_rss_bytes") < 400_000_000, "{told}");
}
