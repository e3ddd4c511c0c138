//! Context tables: CSV or JSON-lines files, or a STIX 2.1 bundle of indicators, read and compared with what stood.
//!
//! CSV columns are JSON keys; [`super::line`] tells which there are.

use std::collections::BTreeSet;
use std::path::Path;

use csv_core::ReadRecordResult;

use super::line::{Line, cure, row};
use super::stix;
use crate::plan::Fault;
use crate::record::{ContextRow, ContextTable, Diff, Entity, Names};

/// A table's rows.
pub type Rows = BTreeSet<(Entity, ContextRow)>;

/// A table as a file tells it.
#[derive(Debug, Default)]
pub struct Table {
    /// Its rows.
    pub rows: Rows,
    /// What the file holds that is no row, and why: indicators whose patterns name no entity.
    pub left_out: Vec<String>,
}

/// Reads a table; every bad line is a fault with its number.
pub fn read(table: ContextTable, path: &Path, names: &Names) -> Result<Table, Vec<Fault>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![Fault::of(
            path,
            format!("cannot be read: {error}"),
            "make it readable, or take it out of the plan",
        )]
    })?;
    let text = text.trim_start_matches('\u{feff}');
    if table == ContextTable::Indicators && stix::is_bundle(text) {
        return bundle(path, text, names);
    }
    let (mut rows, mut faults) = (Rows::new(), Vec::new());
    let lines = if text.trim_start().starts_with('{') { json_lines(text) } else { csv_lines(text) };
    for (line, parsed) in lines {
        match parsed.and_then(|parsed| row(table, &parsed, names)) {
            Ok(row) => drop(rows.insert(row)),
            Err(what) => faults.push(Fault {
                file: path.to_owned(),
                line: Some(line),
                what,
                cure: cure(table).to_owned(),
            }),
        }
    }
    if faults.is_empty() { Ok(Table { rows, left_out: Vec::new() }) } else { Err(faults) }
}

/// The row that JSON tells; without `entity` it is on `key`. The error says why it is none.
pub fn row_of(
    table: ContextTable,
    key: &str,
    json: &[u8],
    names: &Names,
) -> Result<(Entity, ContextRow), String> {
    let why = |what: String| format!("{what}; {}", cure(table));
    let fields = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(json);
    let mut fields = fields.map_err(|error| why(format!("not a JSON object: {error}")))?;
    fields.entry("entity").or_insert_with(|| key.into());
    let line: Line = serde_json::from_value(fields.into()).map_err(|error| why(error.to_string()))?;
    row(table, &line, names).map_err(why)
}

fn bundle(path: &Path, text: &str, names: &Names) -> Result<Table, Vec<Fault>> {
    let found = stix::read(text).map_err(|error| {
        vec![Fault::of(path, format!("is no STIX 2.1 bundle: {error}"), "export it again, as JSON")]
    })?;
    let mut table = Table { rows: Rows::new(), left_out: found.left_out };
    for (kind, value, confidence) in found.entities {
        let line = Line::indicator(format!("{}:{value}", kind.name()), confidence);
        match row(ContextTable::Indicators, &line, names) {
            Ok(row) => drop(table.rows.insert(row)),
            Err(why) => table.left_out.push(why),
        }
    }
    Ok(table)
}

/// Lines with their numbers.
type Lines = Vec<(u64, Result<Line, String>)>;

fn json_lines(text: &str) -> Lines {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(n, line)| (n, serde_json::from_str(line).map_err(|error| error.to_string()))).collect()
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// CSV as spreadsheets write it: fields may be quoted, and hold commas and line ends then.
fn csv_lines(text: &str) -> Lines {
    let mut reader = csv_core::ReaderBuilder::new().build();
    let (mut rest, mut header, mut lines) = (text.as_bytes(), None, Lines::new());
    let mut fields = vec![0; text.len()];
    let mut ends = vec![0; text.len() + 1];
    let mut line = 1;
    loop {
        // What ended the record before, and empty lines, belong to none.
        let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        line += newlines(&rest[..blank]);
        rest = &rest[blank..];
        let (result, read, _, n) = reader.read_record(rest, &mut fields, &mut ends);
        let own = line;
        line += newlines(&rest[..read]);
        rest = &rest[read..];
        if matches!(result, ReadRecordResult::End) {
            return lines;
        }
        let starts = std::iter::once(0).chain(ends[..n].iter().copied());
        let record: Vec<&str> = starts
            .zip(&ends[..n])
            .map(|(start, end)| std::str::from_utf8(&fields[start..*end]).unwrap_or_default().trim())
            .collect();
        if record.iter().all(|field| field.is_empty()) {
            continue;
        }
        let Some(names) = &header else {
            header = Some(record.into_iter().map(str::to_owned).collect::<Vec<String>>());
            continue;
        };
        let object: serde_json::Map<String, serde_json::Value> =
            names.iter().cloned().zip(record.into_iter().map(Into::into)).collect();
        lines.push((own, serde_json::from_value(object.into()).map_err(|error| error.to_string())));
    }
}

/// What must be added to and taken from `before` to have `after`.
#[must_use]
pub fn changes(before: &Rows, after: &Rows) -> Vec<((Entity, ContextRow), Diff)> {
    let gone = before.iter().filter(|row| !after.contains(row)).map(|row| (*row, -1));
    let new = after.iter().filter(|row| !before.contains(row)).map(|row| (*row, 1));
    gone.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Known;

    #[test]
    fn csv_and_json_say_the_same_and_bad_lines_are_all_told() {
        let names = Names::default();
        let folder = tempfile::tempdir().unwrap();
        let (csv, json) = (folder.path().join("a.csv"), folder.path().join("a.jsonl"));
        std::fs::write(&csv, "entity,criticality,exposed,protected\nhost:web-01,3,true,false\n").unwrap();
        std::fs::write(&json, "{\"entity\":\"host:web-01\",\"criticality\":3,\"exposed\":true}\n").unwrap();
        let read = |path: &Path| read(ContextTable::Assets, path, &names).unwrap().rows;
        assert_eq!(read(&csv), read(&json));
        assert!(changes(&read(&csv), &read(&json)).is_empty());
        std::fs::write(&csv, "entity,criticality\nweb-01,3\nhost:a,9\nhost:b,1\n").unwrap();
        let faults = super::read(ContextTable::Assets, &csv, &names).unwrap_err();
        assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [Some(2), Some(3)]);
    }

    #[test]
    fn entities_are_spelt_as_alerts_spell_them() {
        let names = Names::default();
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("a.csv");
        let text = "\u{feff}entity,owner,criticality\r\nhost:WEB-01.,\"Ada, Lovelace\r\n(ops)\",3\r\n\r\nip:::FFFF:10.0.0.1,x,1\r\nip:nowhere,x,1\r\n";
        std::fs::write(&csv, text).unwrap();
        let faults = super::read(ContextTable::Assets, &csv, &names).unwrap_err();
        assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [Some(6)]);
        std::fs::write(&csv, text.replace("ip:nowhere,x,1\r\n", "")).unwrap();
        let table = super::read(ContextTable::Assets, &csv, &names).unwrap();
        let texts: BTreeSet<String> = table.rows.iter().map(|(entity, _)| entity.text(&names)).collect();
        assert_eq!(texts, BTreeSet::from(["host:web-01".to_owned(), "ip:10.0.0.1".to_owned()]));
    }

    #[test]
    fn a_bundle_is_a_table_of_indicators() {
        let names = Names::default();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feed.json");
        let bundle = r#"{"type": "bundle", "objects": [
            {"type": "indicator", "id": "indicator--1", "confidence": 85, "pattern": "[domain-name:value = 'Bad.Example']"},
            {"type": "indicator", "id": "indicator--2", "pattern": "[ipv4-addr:value = 'none']"},
            {"type": "indicator", "id": "indicator--3", "pattern": "[mutex:name = 'x']"}]}"#;
        std::fs::write(&path, bundle).unwrap();
        let table = super::read(ContextTable::Indicators, &path, &names).unwrap();
        let rows: Vec<_> = table.rows.iter().map(|(entity, row)| (entity.text(&names), row.known)).collect();
        let known = Known::Indicators { confidence: 85 };
        assert_eq!((rows, table.left_out.len()), (vec![("domain:bad.example".to_owned(), known)], 2));
    }
}
