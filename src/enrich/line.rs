//! A line of a context table as a row: what each table's columns are called, and what they may hold.
//!
//! Columns have OCSF's names where it has the thing: `owner`, `criticality`, `subnet`, `zone`, `base_score` (CVSS),
//! `is_exploit_available`, `confidence`. `tenant` is optional everywhere; further columns are ignored.

use serde::{Deserialize, Deserializer};

use crate::normalize::canonical::canonical;
use crate::record::{ContextRow, ContextTable, Entity, EntityKind, Exposure, Known, Names, Net, Sym};

/// A line of any of the tables.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    #[serde(deserialize_with = "text")]
    entity: String,
    #[serde(deserialize_with = "text")]
    subnet: String,
    #[serde(deserialize_with = "text")]
    tenant: String,
    #[serde(alias = "criticality", alias = "privilege", alias = "confidence")]
    grade: Loose,
    exposed: Loose,
    protected: Loose,
    #[serde(deserialize_with = "text")]
    owner: String,
    #[serde(deserialize_with = "text")]
    zone: String,
    #[serde(deserialize_with = "text")]
    exposure: String,
    #[serde(alias = "cve_uid", deserialize_with = "text")]
    cve: String,
    base_score: Loose,
    is_exploit_available: Loose,
}

/// Text; what an export writes as null is absent.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Option::<String>::deserialize(from).map(Option::unwrap_or_default)
}

impl Line {
    /// A line of indicators.
    pub(super) fn indicator(entity: String, confidence: u8) -> Line {
        Line { entity, grade: Loose::Number(u64::from(confidence)), ..Line::default() }
    }
}

/// A number or a truth value, as CSV and JSON write them.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Loose {
    #[default]
    Absent,
    Number(u64),
    Decimal(f64),
    Truth(bool),
    Text(String),
}

impl Loose {
    fn number(&self, max: u8) -> Option<u8> {
        let number = match self {
            Loose::Absent => 0,
            Loose::Number(number) => *number,
            Loose::Decimal(_) => return None,
            Loose::Truth(truth) => u64::from(*truth),
            Loose::Text(text) => match text.trim() {
                "" | "false" | "no" => 0,
                "true" | "yes" => 1,
                text => text.parse().ok()?,
            },
        };
        u8::try_from(number).ok().filter(|number| *number <= max)
    }

    /// A score from 0 to 10 with one decimal, in tenths.
    fn tenths(&self) -> Option<u8> {
        let text = match self {
            Loose::Absent => return Some(0),
            Loose::Number(number) => number.to_string(),
            Loose::Decimal(number) => number.to_string(),
            Loose::Truth(_) => return None,
            Loose::Text(text) if text.trim().is_empty() => return Some(0),
            Loose::Text(text) => text.trim().to_owned(),
        };
        let (whole, part) = text.split_once('.').unwrap_or((&text, "0"));
        let one_digit = part.len() == 1 || part.strip_prefix(|_: char| true)?.bytes().all(|b| b == b'0');
        let part: u8 = part.get(..1)?.parse().ok()?;
        let tenths = whole.parse::<u8>().ok()?.checked_mul(10)?.checked_add(part)?;
        (one_digit && tenths <= 100).then_some(tenths)
    }

    fn truth(&self, name: &str) -> Result<bool, String> {
        self.number(1).map(|n| n == 1).ok_or_else(|| format!("`{name}` is not true or false"))
    }

    fn within(&self, name: &str, max: u8) -> Result<u8, String> {
        self.number(max).ok_or_else(|| format!("`{name}` is not a whole number from 0 to {max}"))
    }
}

/// The row that a line is; the error says why it is none.
pub(super) fn row(table: ContextTable, line: &Line, names: &Names) -> Result<(Entity, ContextRow), String> {
    let owner = || names.intern(line.owner.trim());
    let (entity, known) = match table {
        ContextTable::Assets => {
            let criticality = line.grade.within("criticality", 4)?;
            let exposed = line.exposed.truth("exposed")?;
            (entity(line, names)?, Known::Assets { criticality, exposed, owner: owner() })
        }
        ContextTable::Identities => {
            (entity(line, names)?, Known::Identities { privilege: line.grade.within("privilege", 2)? })
        }
        ContextTable::Indicators => {
            (entity(line, names)?, Known::Indicators { confidence: line.grade.within("confidence", 100)? })
        }
        ContextTable::NeverLink => (entity(line, names)?, Known::NeverLink),
        ContextTable::Zones => zone(line, names)?,
        ContextTable::Vulnerabilities => (entity(line, names)?, vulnerability(line, names)?),
    };
    let tenant = if line.tenant.is_empty() { Sym::EMPTY } else { names.intern(&line.tenant) };
    Ok((entity, ContextRow { tenant, protected: line.protected.truth("protected")?, known }))
}

/// In the spelling that alerts have: WEB-01 in a spreadsheet is web-01 in an alert.
fn entity(line: &Line, names: &Names) -> Result<Entity, String> {
    let spelt = line.entity.split_once(':').and_then(|(kind, value)| {
        let kind = EntityKind::parse(kind.trim())?;
        Some(Entity { kind, value: names.intern(&canonical(kind, &[], &[], value.trim())?) })
    });
    spelt.ok_or_else(|| format!("`entity` {:?} is not one, as host:web-01 or ip:10.0.0.1", line.entity))
}

fn zone(line: &Line, names: &Names) -> Result<(Entity, Known), String> {
    let net = Net::parse(&line.subnet)
        .ok_or_else(|| format!("`subnet` {:?} is not one, as 10.1.0.0/16 or 2001:db8::/32", line.subnet))?;
    if line.zone.trim().is_empty() {
        return Err("`zone` is empty".to_owned());
    }
    let exposure = match line.exposure.trim().to_lowercase().as_str() {
        "" => Exposure::Internal,
        name => Exposure::parse(name)
            .ok_or_else(|| format!("`exposure` {name:?} is not internal, dmz or external"))?,
    };
    let value = names.intern(&net.to_string());
    let zone = names.intern(line.zone.trim());
    Ok((Entity { kind: EntityKind::Ip, value }, Known::Zones { zone, exposure }))
}

fn vulnerability(line: &Line, names: &Names) -> Result<Known, String> {
    let cve = line.cve.trim().to_uppercase();
    if cve.is_empty() {
        return Err("`cve` is empty".to_owned());
    }
    let base_score = line.base_score.tenths();
    let base_score =
        base_score.ok_or("`base_score` is not a CVSS score from 0 to 10 with one decimal, as 9.8")?;
    let is_exploit_available = line.is_exploit_available.truth("is_exploit_available")?;
    Ok(Known::Vulnerabilities { cve: names.intern(&cve), base_score, is_exploit_available })
}

/// What would make a line of the table a row.
pub(super) fn cure(table: ContextTable) -> &'static str {
    match table {
        ContextTable::Assets => {
            "columns: entity (kind:value), criticality 0 to 4, exposed and protected true or false, owner"
        }
        ContextTable::Identities => "columns: entity (kind:value), privilege 0 to 2, protected true or false",
        ContextTable::Indicators => "columns: entity (kind:value), confidence 0 to 100",
        ContextTable::Zones => {
            "columns: subnet (CIDR), zone (its name), exposure internal, dmz or external, protected true or false"
        }
        ContextTable::Vulnerabilities => {
            "columns: entity (kind:value), cve, base_score 0 to 10, is_exploit_available true or false"
        }
        ContextTable::NeverLink => "column: entity (kind:value)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_export_writes_as_null_is_absent() {
        let names = Names::default();
        let read =
            |text: &str| row(ContextTable::Assets, &serde_json::from_str(text).unwrap(), &names).unwrap();
        let nulls =
            r#"{"entity": "host:a", "tenant": null, "owner": null, "criticality": null, "exposed": null}"#;
        assert_eq!(read(nulls), read(r#"{"entity": "host:a"}"#));
    }

    #[test]
    fn scores_are_read_as_written() {
        let text = |text: &str| Loose::Text(text.to_owned()).tenths();
        assert_eq!(
            [text("9.8"), text("10"), text("10.0"), text("7.50"), text("")],
            [Some(98), Some(100), Some(100), Some(75), Some(0)]
        );
        assert_eq!([text("10.1"), text("9.85"), text("-1"), text("9."), text("high")], [None; 5]);
        assert_eq!((Loose::Decimal(9.8).tenths(), Loose::Number(7).tenths()), (Some(98), Some(70)));
    }
}
