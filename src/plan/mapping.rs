//! Mapping: a file of `dataflows/mappings/` that says how one product's records become alerts. They are alerts
//! themselves and name their `rule`; or they are events, and `detection` says how Sigma rules find alerts in them.
//!
//! A field is named by its dotted path. A path means nested objects as well as a literal key with dots (Zeek's
//! `id.orig_h`), and it walks through lists: `rule.mitre.id` is every id of the list. It walks into JSON that lies within a
//! text, too (Sentinel's `Entities`), once. Where a list of fields is
//! given, the first that holds something counts; in `id` all count together, in `attacks` each counts.
//! What a record holds as `null` or as the empty string counts as absent.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor, value};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use super::detection::Detection;
use super::fault::Fault;
pub use super::field::{Condition, FieldPath, OneOrMany, Test};
use super::place::{Lines, Place};
use super::text;
use crate::record::{EntityKind, Role, Severity};

/// A mapping file: how one product's records become alerts.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Where it was read; set by [`load`].
    #[serde(skip)]
    pub file: PathBuf,
    /// What it is for, in a sentence.
    #[serde(default)]
    pub description: String,
    /// Who raised the alert.
    pub product: Product,
    /// All must hold for a record to be this mapping's; of several mappings the first in order of file names takes it,
    /// those of alerts before those of events.
    pub detect: Vec<Condition>,
    /// Records of no concern: told by name and counted, neither alert nor reject.
    #[serde(default)]
    pub ignore: Vec<Ignore>,
    /// The vendor's name for the record; several fields are one id together, each of which may be a list of
    /// alternatives.
    #[serde(default)]
    pub id: Option<OneOrMany<OneOrMany<FieldPath>>>,
    /// Whose it is, where the source lets a field say so.
    #[serde(default)]
    pub tenant: Option<OneOrMany<FieldPath>>,
    /// When it happened.
    pub time: Time,
    /// The rule's id at the product, or its name where it has none; for alerts.
    #[serde(default)]
    pub rule: Option<OneOrMany<FieldPath>>,
    /// How Sigma rules find alerts in the records; for events. Rule, title, severity and ATT&CK are then the Sigma rule's.
    #[serde(default)]
    pub detection: Option<Detection>,
    /// The rule's name; the rule's id where this is absent.
    #[serde(default)]
    pub title: Option<OneOrMany<FieldPath>>,
    /// How bad it is.
    #[serde(default)]
    pub severity: SeverityField,
    /// Fields that name ATT&CK tactics or techniques: ids, names or Sigma tags. What names neither is left out.
    #[serde(default)]
    pub attacks: Vec<FieldPath>,
    /// What it is about, the subject first: background sessions are kept of a rule and that.
    pub entities: Vec<EntityField>,
    /// What becomes of fields that are not taken.
    #[serde(default)]
    pub unmapped: Unmapped,
    /// Records with what must come of them; the tests and `quell check` run them.
    #[schemars(with = "Vec<Example>")]
    pub examples: Vec<Spanned<Example>>,
}

/// Who raised the alert.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(untagged)]
pub enum Product {
    /// Always the same.
    Constant(String),
    /// A field says so.
    Field(ProductField),
}

/// The product as a field says it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProductField {
    /// The field.
    pub field: OneOrMany<FieldPath>,
    /// Products by how the field's value begins; without this the value is the product.
    #[serde(default)]
    pub starts_with: BTreeMap<String, String>,
    /// The product where the field is absent or begins otherwise; without this such a record is a reject.
    #[serde(default)]
    pub default: Option<String>,
}

impl<'de> Deserialize<'de> for Product {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Product;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a product's name, or `field:` with where to find it")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Product, E> {
                if text.is_empty() {
                    return Err(E::custom("the product has no name"));
                }
                Ok(Product::Constant(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Product, A::Error> {
                ProductField::deserialize(value::MapAccessDeserializer::new(map)).map(Product::Field)
            }
        }
        from.deserialize_any(Either)
    }
}

/// Records of no concern.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ignore {
    /// All must hold.
    pub when: Vec<Condition>,
    /// The field by whose value such records are counted.
    #[serde(rename = "type")]
    pub kind: OneOrMany<FieldPath>,
}

/// When it happened.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// The field; of alternatives the first whose value one of the formats reads.
    pub field: OneOrMany<FieldPath>,
    /// Tried in this order.
    pub formats: Vec<TimeFormat>,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// `2026-01-31T12:00:00.123Z`, `...+01:00`, `...+0100`.
    Rfc3339,
    /// The same, also without a zone: then it is the source's.
    Iso8601,
    /// Seconds since 1970, with or without a fraction, as number or text.
    EpochSeconds,
    /// Milliseconds since 1970. A number that would be a time before 1973 is none: it is seconds, or nothing.
    EpochMillis,
    /// Microseconds since 1970, likewise.
    EpochMicros,
    /// Nanoseconds since 1970, likewise.
    EpochNanos,
    /// `Mar  4 14:14:57`: the source's zone, and the last such day that is not after tomorrow. Also with what Cisco, CEF
    /// and LEEF add: `Mar  4 2026 14:14:57.123 CET`.
    Syslog,
}

/// How bad it is: the first of `words`, `ranges` and `contains` that knows the value, else `default`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "SeverityFile")]
#[schemars(with = "SeverityFile")]
pub struct SeverityField {
    /// The field; none where the severity is always the default.
    pub field: Option<OneOrMany<FieldPath>>,
    /// By the whole value, in lower case.
    pub words: BTreeMap<String, Severity>,
    /// By number, both ends included.
    pub ranges: Vec<SeverityRange>,
    /// By a part of the value, in lower case; the first counts.
    pub contains: Vec<SeverityPart>,
    /// Where nothing above says otherwise.
    pub default: Severity,
}

/// A severity as it is written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeverityFile {
    /// The field.
    #[serde(default)]
    field: Option<OneOrMany<FieldPath>>,
    /// By the whole value, whatever its case.
    #[serde(default)]
    words: BTreeMap<String, Severity>,
    /// By number.
    #[serde(default)]
    ranges: Vec<SeverityRange>,
    /// By a part of the value, whatever its case.
    #[serde(default)]
    contains: Vec<SeverityPart>,
    /// Where nothing above says otherwise.
    #[serde(default)]
    default: Severity,
}

/// A range of numbers.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeverityRange {
    /// From this on.
    pub from: f64,
    /// Up to this.
    pub to: f64,
    /// It means this.
    pub severity: Severity,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeverityPart {
    /// What the value must contain.
    pub text: String,
    /// It means this.
    pub severity: Severity,
}

impl TryFrom<SeverityFile> for SeverityField {
    type Error = String;

    fn try_from(file: SeverityFile) -> Result<Self, String> {
        let tables = !file.words.is_empty() || !file.ranges.is_empty() || !file.contains.is_empty();
        if file.field.is_some() != tables {
            return Err(
                "a severity has a `field` and a table for it (`words`, `ranges` or `contains`), or neither"
                    .into(),
            );
        }
        if let Some(bad) = file
            .ranges
            .iter()
            .find(|range| range.to.partial_cmp(&range.from).is_none_or(std::cmp::Ordering::is_lt))
        {
            return Err(format!("the range from {} to {} holds no number", bad.from, bad.to));
        }
        let words = file.words.into_iter().map(|(word, severity)| (word.to_lowercase(), severity)).collect();
        let part = |part: SeverityPart| SeverityPart { text: part.text.to_lowercase(), ..part };
        let contains = file.contains.into_iter().map(part).collect();
        Ok(SeverityField { field: file.field, words, ranges: file.ranges, contains, default: file.default })
    }
}

/// A field that holds an entity, or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EntityField {
    /// What it is. Hosts, users, mailboxes, domains and hashes are put in lower case, addresses in their shortest
    /// spelling; an `ip` that is no address is left out.
    pub kind: EntityKind,
    /// What part it plays.
    #[serde(default)]
    pub role: Role,
    /// The field.
    pub field: OneOrMany<FieldPath>,
    /// Within free text: the word after the last place where it says one of these, as in `... from 192.0.2.1 port ...`.
    #[serde(default)]
    pub after: Vec<String>,
    /// What is done to the value first, in this order.
    #[serde(default)]
    pub transform: Vec<Transform>,
    /// Values that say nothing, compared after the transforms in lower case.
    #[serde(default)]
    pub skip: Vec<String>,
    /// Nobody asks for it: see [`super::spare`].
    #[serde(skip)]
    pub spare: bool,
}

/// What may be done to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Into lower case.
    Lower,
    /// `10.0.0.1:80`, `[::1]:80` and `mail:25` without the port.
    StripPort,
    /// `<ada>`, `"ada"` and `'ada'` without what stands around.
    Unquote,
    /// `CORP\ada` and `ada@corp.example` without the domain.
    StripDomain,
    /// Of Sysmon's `MD5=...,SHA256=...` the strongest hash of the file.
    StrongestHash,
}

/// What becomes of fields that are not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unmapped {
    /// They travel with the alert as JSON.
    Keep,
    /// They are left behind.
    #[default]
    Drop,
}

/// A record with what must come of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// What it shows.
    pub name: String,
    /// The record: an object, or text as it would stand in a file (CSV with its header).
    pub raw: serde_json::Value,
    /// What must come of it.
    pub expect: Expect,
}

/// What must come of an example.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// An alert.
    Alert(ExpectAlert),
    /// Of an event: at least these alerts, told apart by their rules.
    Alerts(Vec<ExpectAlert>),
    /// No concern: the type by which it is counted.
    Ignored(String),
    /// A reject whose reason contains this.
    Rejected(String),
}

/// An alert's fields; those left out are not compared.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectAlert {
    /// Its product.
    pub product: Option<String>,
    /// Its rule.
    pub rule: Option<String>,
    /// Its rule's name.
    pub title: Option<String>,
    /// RFC 3339.
    pub time: Option<String>,
    /// How bad it is.
    pub severity: Option<Severity>,
    /// Whether the vendor named it.
    pub identified: Option<bool>,
    /// `TA0008,T1021.002`.
    pub attacks: Option<String>,
    /// `src_ip:10.0.0.1`, in order.
    pub entities: Option<Vec<String>>,
}

/// Reads and checks the mapping file at `path`.
pub fn load(path: &Path) -> Result<Mapping, Vec<Fault>> {
    let fault =
        |line, what: String, cure: &str| Fault { file: path.to_owned(), line, what, cure: cure.into() };
    let text = text::read(path).map_err(|error| {
        vec![fault(
            None,
            format!("cannot be read: {error}"),
            "see that the file is there, readable and UTF-8",
        )]
    })?;
    let options = serde_saphyr::options! { with_snippet: false };
    let mut mapping: Mapping = serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
        let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
        vec![fault(
            line,
            error.without_snippet().to_string(),
            "see `quell schema mapping` for what may stand here",
        )]
    })?;
    path.clone_into(&mut mapping.file);
    let mut faults = Vec::new();
    let lines = Lines::of(&text);
    let top = Place::top(path, &lines);
    let mut need = |fine: bool, what: &str, cure: &str| {
        if !fine {
            faults.push(top.named(what).fault(what, cure));
        }
    };
    need(!mapping.detect.is_empty(), "`detect` is empty", "say by which fields its records are known");
    need(!mapping.time.formats.is_empty(), "`time.formats` is empty", "name at least one format");
    need(
        !mapping.examples.is_empty(),
        "`examples` is empty",
        "give a record and the alert that it must become",
    );
    need(
        mapping.ignore.iter().all(|i| !i.when.is_empty()),
        "an `ignore` without `when`",
        "say which records it ignores",
    );
    need(
        mapping.rule.is_some() != mapping.detection.is_some(),
        "it has neither `rule` nor `detection`, or both",
        "name the `rule` where records are alerts, and write `detection` where they are events",
    );
    let of_rule = mapping.title.is_some()
        || mapping.severity != SeverityField::default()
        || !mapping.attacks.is_empty();
    need(
        mapping.detection.is_none() || !of_rule,
        "`title`, `severity` and `attacks` of events are the Sigma rule's",
        "take them out",
    );
    if faults.is_empty() { Ok(mapping) } else { Err(faults) }
}

/// Reads every `.yml` and `.yaml` file of the folder `dir`, in order of name, and tells all faults at once.
pub fn load_dir(dir: &Path) -> Result<Vec<Mapping>, Vec<Fault>> {
    let listed = std::fs::read_dir(dir).and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect());
    let mut files: Vec<PathBuf> = listed.map_err(|error| {
        let (what, cure) =
            (format!("cannot be listed: {error}"), "see that the folder is there and readable".into());
        vec![Fault { file: dir.to_owned(), line: None, what, cure }]
    })?;
    files.retain(|file| file.extension().is_some_and(|ext| ext == "yml" || ext == "yaml"));
    files.sort();
    let mut mappings = Vec::new();
    let mut faults = Vec::new();
    for file in &files {
        match load(file) {
            Ok(mapping) => mappings.push(mapping),
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() { Ok(mappings) } else { Err(faults) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "\
product: x
detect: [{ field: a.b, equals: 1 }]
time: { field: t, formats: [rfc3339] }
rule: r
entities:
  - { kind: ip, role: source, field: [s, \"id.orig_h\"] }
examples:
  - { name: one, raw: { a: { b: 1 } }, expect: { rejected: no usable time } }
";

    fn faults(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.yml");
        std::fs::write(&path, text).expect("it can be written");
        let faults = load(&path).err().unwrap_or_default();
        let at = format!("{}/", folder.path().display());
        faults.iter().map(|fault| fault.to_string().replace(&at, "")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_mapping_is_read() {
        assert_eq!(faults(FINE), "");
    }

    #[test]
    fn what_is_not_supported_is_a_fault_with_its_line() {
        let spoilt = [
            ("role: source", "role: origin", "x.yml:6:", "origin"),
            ("rule: r", "rule: r\nrules: r", "x.yml:5:", "rules"),
            ("equals: 1", "like: 1", "x.yml:2:", "like"),
            (", equals: 1", "", "x.yml:2:", "a condition asks one of"),
            ("equals: 1", "equals: 1, exists: true", "x.yml:2:", "a condition asks one of"),
            ("formats: [rfc3339]", "formats: [stardate]", "x.yml:3:", "stardate"),
            ("formats: [rfc3339]", "formats: []", "x.yml:3:", "`time.formats` is empty"),
            ("[s, \"id.orig_h\"]", "[]", "x.yml:6:", "the list is empty"),
            ("a.b", "a..b", "x.yml:2:", "is not a field's path"),
            ("a.b", "a.*.b", "x.yml:2:", "lists are walked through"),
            ("rule: r", "rule: r\nseverity: { words: { a: low } }", "x.yml:5:", "a severity has a `field`"),
            ("rule: r\n", "", "x.yml:", "neither `rule` nor `detection`"),
            ("rule: r", "rule: r\ndetection: { logsource: { product: x } }", "x.yml:", "or both"),
            ("rule: r", "title: t\ndetection: { logsource: { product: x } }", "x.yml:", "the Sigma rule's"),
            ("rule: r", "detection: { logsource: { services: x } }", "x.yml:4:", "services"),
            ("rule: r", "detection: { logsource: { service: {} } }", "x.yml:4:", "field"),
            ("rule: r", "detection: { logsource: {}, roots: [a..b] }", "x.yml:4:", "a..b"),
            ("product: x", "product: { starts_with: { a: b } }", "x.yml:1:", "field"),
        ];
        for (from, to, place, what) in spoilt {
            let said = faults(&FINE.replace(from, to));
            assert!(said.starts_with(place) && said.contains(what), "{to}: {said}");
        }
    }

    #[test]
    fn a_missing_folder_is_a_fault() {
        let found = load_dir(Path::new("/nonexistent/mappings")).expect_err("it is not there");
        assert!(found[0].to_string().contains("cannot be listed"), "{}", found[0]);
    }
}
