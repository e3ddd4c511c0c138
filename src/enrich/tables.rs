//! Context tables: CSV or JSON-lines files of assets, identities and indicators, read and compared with what stood.
//!
//! CSV columns (JSON keys): `entity` (`host:web-01`); assets `criticality` 0-4, `exposed`, `protected`; identities
//! `privilege` 0-2, `protected`; indicators `confidence` 0-100. `tenant` is optional. Further columns are ignored.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use crate::plan::Fault;
use crate::record::{ContextRow, ContextTable, Diff, Entity, Names, Sym};

/// A line of any of the tables.
#[derive(Debug, Deserialize)]
struct Line {
    entity: String,
    #[serde(default)]
    tenant: String,
    #[serde(default, alias = "criticality", alias = "privilege", alias = "confidence")]
    grade: Loose,
    #[serde(default)]
    exposed: Loose,
    #[serde(default)]
    protected: Loose,
}

/// A number or a truth value, as CSV and JSON write them.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Loose {
    #[default]
    Absent,
    Number(u64),
    Truth(bool),
    Text(String),
}

impl Loose {
    fn number(&self, max: u8) -> Option<u8> {
        let number = match self {
            Loose::Absent => 0,
            Loose::Number(number) => *number,
            Loose::Truth(truth) => u64::from(*truth),
            Loose::Text(text) => match text.trim() {
                "" | "false" | "no" => 0,
                "true" | "yes" => 1,
                text => text.parse().ok()?,
            },
        };
        u8::try_from(number).ok().filter(|number| *number <= max)
    }
}

/// A table's rows.
pub type Rows = BTreeSet<(Entity, ContextRow)>;

/// Reads a table; every bad line is a fault with its number.
pub fn read(table: ContextTable, path: &Path, names: &Names) -> Result<Rows, Vec<Fault>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![Fault::of(
            path,
            format!("cannot be read: {error}"),
            "make it readable, or take it out of the plan",
        )]
    })?;
    let (mut rows, mut faults) = (Rows::new(), Vec::new());
    let csv = !text.trim_start().starts_with('{');
    let mut header: Vec<String> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        if csv && header.is_empty() {
            header = line.split(',').map(|name| name.trim().to_owned()).collect();
            continue;
        }
        let parsed =
            if csv { from_csv(&header, line) } else { serde_json::from_str(line).map_err(|e| e.to_string()) };
        match parsed.and_then(|line| row(table, &line, names)) {
            Ok(row) => drop(rows.insert(row)),
            Err(what) => faults.push(Fault {
                file: path.to_owned(),
                line: Some(n as u64 + 1),
                what,
                cure: "write entity as kind:value and numbers within their range".to_owned(),
            }),
        }
    }
    if faults.is_empty() { Ok(rows) } else { Err(faults) }
}

fn from_csv(header: &[String], line: &str) -> Result<Line, String> {
    // Context tables are our own simple format: no field of theirs needs a comma or a quote.
    let object: serde_json::Map<String, serde_json::Value> =
        header.iter().cloned().zip(line.split(',').map(|field| field.trim().into())).collect();
    serde_json::from_value(object.into()).map_err(|error| error.to_string())
}

fn row(table: ContextTable, line: &Line, names: &Names) -> Result<(Entity, ContextRow), String> {
    let entity =
        Entity::parse(&line.entity, names).ok_or_else(|| format!("{:?} is not an entity", line.entity))?;
    let max = match table {
        ContextTable::Assets => 4,
        ContextTable::Identities => 2,
        ContextTable::Indicators => 100,
    };
    let grade = line.grade.number(max).ok_or_else(|| format!("the grade is not a number from 0 to {max}"))?;
    let truth = |value: &Loose, name: &str| {
        value.number(1).map(|n| n == 1).ok_or(format!("{name} is not true or false"))
    };
    let tenant = if line.tenant.is_empty() { Sym::EMPTY } else { names.intern(&line.tenant) };
    let (exposed, protected) = (truth(&line.exposed, "exposed")?, truth(&line.protected, "protected")?);
    Ok((entity, ContextRow { table, grade, exposed, protected, tenant }))
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

    #[test]
    fn csv_and_json_say_the_same_and_bad_lines_are_all_told() {
        let names = Names::default();
        let folder = tempfile::tempdir().unwrap();
        let (csv, json) = (folder.path().join("a.csv"), folder.path().join("a.jsonl"));
        std::fs::write(&csv, "entity,criticality,exposed,protected\nhost:web-01,3,true,false\n").unwrap();
        std::fs::write(&json, "{\"entity\":\"host:web-01\",\"criticality\":3,\"exposed\":true}\n").unwrap();
        let read = |path: &Path| read(ContextTable::Assets, path, &names).unwrap();
        assert_eq!(read(&csv), read(&json));
        assert!(changes(&read(&csv), &read(&json)).is_empty());
        std::fs::write(&csv, "entity,criticality\nweb-01,3\nhost:a,9\nhost:b,1\n").unwrap();
        let faults = super::read(ContextTable::Assets, &csv, &names).unwrap_err();
        assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [Some(2), Some(3)]);
    }
}
