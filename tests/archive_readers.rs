//! Other people's readers: `DuckDB`, Polars and pyarrow each read an archive as it lies and agree on what is in it.
//!
//! Needs a Python with these modules: `QUELL_PYTHON=$(tests/python) cargo test`. Without one the test says so and
//! passes.

mod archive_samples;

use std::process::Command;
use std::sync::Arc;

use archive_samples::{Dice, rows};
use quell::archive::{RunStamp, Writer, digest, table_schemas};
use quell::record::Names;
use serde_json::Value;

/// The contract's columns, with the type that a reader must see.
const CONTRACT: [(&str, &str); 15] = [
    (
        "alerts",
        "alert_id:string time:time source:string position:int64 product:string rule:string severity_id:int32 \
         entities:list<string> attacks:list<string> repeat_of:string",
    ),
    ("duplicates", "alert_id:string source:string position:int64"),
    ("rejects", "stage:string reason:string source:string position:int64 raw:string"),
    ("matches", "correlation:string group:string time:time alert_ids:list<string> diff:int64"),
    ("members", "incident_id:string alert_id:string diff:int64"),
    (
        "links",
        "incident_id:string alert_id:string other_alert_id:string entity:string evidence:string weight:int32 \
         diff:int64",
    ),
    (
        "incidents",
        "incident_id:string version:int64 tick:int64 kind:string state:string merged_into:string succeeds:string \
         first_seen_time:time last_seen_time:time alert_count:int64 entities:list<string> severity_id:int32 \
         attacks:list<string> triage:string confidence:double next_tactics:list<string> features:list<float> \
         tokens:list<int32>",
    ),
    (
        "candidates",
        "incident_id:string tick:int64 playbook_id:string score:double propensity:double eligible:bool diff:int64",
    ),
    (
        "decisions",
        "decision_id:string incident_id:string tick:int64 playbook_id:string ruling:string reason:string \
         score:double confidence:double model_version:string plan_hash:string superseded_by:string",
    ),
    (
        "actions",
        "action_id:string seq:int64 decision_id:string verb:string target:string class:string status:string \
         attempts:int64 requested_time:time finished_time:time",
    ),
    (
        "outcomes",
        "action_id:string incident_id:string success:bool verdict:string label_source:string labelled_by:string \
         time:time diff:int64",
    ),
    ("verdicts", "incident_id:string verdict:string by:string time:time"),
    (
        "epochs",
        "tick:int64 source:string partition:int64 from:int64 to:int64 plan_hash:string model_version:string",
    ),
    ("inputs", "kind:string body:string"),
    ("observed", "source:string entity:string records:int64 first_seen_time:time last_seen_time:time"),
];

#[test]
fn duckdb_polars_and_pyarrow_read_it_as_it_lies() {
    let (dir, names) = (tempfile::tempdir().expect("a folder"), Arc::new(Names::default()));
    let stamp = RunStamp { plan_hash: "plan".to_owned(), model_version: "v1".to_owned() };
    for worker in 0..2 {
        let mut writer = Writer::new(dir.path(), worker, Arc::clone(&names), &stamp, 0);
        for rows in rows(&mut Dice(worker.into()), &names, 1, 300) {
            writer.push(1, &rows).expect("room");
        }
        writer.seal(1_643_000_000).and_then(quell::archive::Sealed::publish).expect("a seal");
    }
    // What a run in progress leaves beside the parts must not disturb a reader.
    let mut open = Writer::new(dir.path(), 2, Arc::clone(&names), &stamp, 0);
    for rows in rows(&mut Dice(9), &names, 2, 9_000) {
        open.push(2, &rows).expect("room");
    }

    let python = std::env::var("QUELL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/archive_readers.py");
    let told = match Command::new(&python).arg(script).arg(dir.path()).output() {
        Ok(told) if told.status.code() != Some(77) => told,
        missing => {
            eprintln!("SKIPPED: {python} lacks duckdb, polars or pyarrow ({missing:?}); see tests/python");
            return;
        }
    };
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    let [duckdb, polars, pyarrow] =
        ["with_duckdb", "with_polars", "with_pyarrow"].map(|reader| &told[reader]);
    assert_eq!(duckdb, polars);
    assert_eq!(duckdb, pyarrow);

    let tables: Vec<&str> =
        digest(dir.path(), true).expect("a digest").iter().map(|table| table.table).collect();
    assert_eq!(tables, CONTRACT.map(|(table, _)| table));
    for ((table, columns), (_, schema)) in CONTRACT.into_iter().zip(table_schemas()) {
        let seen = &duckdb[table];
        assert_eq!(seen["rows"], 600, "{table}");
        for column in columns.split_whitespace().chain(["tenant:string", "epoch:int64", "tick:int64"]) {
            let (name, kind) = column.split_once(':').expect("name:type");
            assert_eq!(seen["kinds"][name], kind, "{table}.{name}");
        }
        let columns = seen["kinds"].as_object().expect("columns");
        assert!(schema.fields().iter().all(|field| columns.contains_key(field.name())), "{table}");
    }
}
