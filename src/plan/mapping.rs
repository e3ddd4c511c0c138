//! Mapping: a file of `dataflows/mappings/` that says how one product's records become alerts.
//!
//! A field is named by its dotted path. A path means nested objects as well as a literal key with dots (Zeek's
//! `id.orig_h`), and it walks through lists: `rule.mitre.id` is every id of the list. Where a list of fields is
//! given, the first that holds something counts; in `id` all count together, in `attacks` each counts.
//! What a record holds as `null` or as the empty string counts as absent.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::{MapAccess, SeqAccess, Visitor, value};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use super::fault::Fault;
use crate::record::{EntityKind, Role, Severity};

/// One mapping file.
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
    /// All must hold for a record to be this mapping's; of several mappings the first in order of file names takes it.
    pub detect: Vec<Condition>,
    /// Records of no concern: told by name and counted, neither alert nor reject.
    #[serde(default)]
    pub ignore: Vec<Ignore>,
    /// The vendor's name for the alert; several fields are one id together.
    #[serde(default)]
    pub id: Option<OneOrMany<FieldPath>>,
    /// Whose it is, where the source lets a field say so.
    #[serde(default)]
    pub tenant: Option<OneOrMany<FieldPath>>,
    /// When it happened.
    pub time: Time,
    /// The rule's id at the product, or its name where it has none.
    pub rule: OneOrMany<FieldPath>,
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

/// A dotted path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub struct FieldPath(String);

/// A path of n parts is tried as 2^(n-1) spellings (nested, or a literal key with dots), so n is bounded.
const PATH_PARTS_MAX: usize = 6;

impl FieldPath {
    /// The path as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FieldPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.split('.').count();
        if text.split('.').any(str::is_empty) {
            Err(format!(
                "{text:?} is not a field's path: between dots stands a name, as in `alert.signature_id`"
            ))
        } else if parts > PATH_PARTS_MAX {
            Err(format!("the path {text:?} has {parts} parts, of which {PATH_PARTS_MAX} are supported"))
        } else if text.contains(['[', ']', '*']) {
            Err(format!("the path {text:?} has a bracket or a star: lists are walked through without one"))
        } else {
            Ok(FieldPath(text))
        }
    }
}

/// One thing, or a list of such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one text or a list of texts")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                T::deserialize(value::StrDeserializer::new(text)).map(|one| OneOrMany(vec![one]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                if all.is_empty() {
                    return Err(serde::de::Error::custom(
                        "the list is empty: name at least one, or leave the key out",
                    ));
                }
                Ok(OneOrMany(all))
            }
        }
        from.deserialize_any(Either(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<T>();
        schemars::json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
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

/// A question that a record answers with yes or no.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "ConditionFile")]
#[schemars(with = "ConditionFile")]
pub struct Condition {
    /// Of which field; of a list of alternatives the first that holds something.
    pub field: OneOrMany<FieldPath>,
    /// What is asked.
    pub test: Test,
}

/// What a condition asks of a field. Values are compared as text, case and all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// Whether it is there.
    Exists(bool),
    /// Whether it is one of these; an absent field is none of them.
    In(Vec<String>),
    /// Whether it is there and none of these.
    NotIn(Vec<String>),
    /// Whether it begins with one of these.
    StartsWith(Vec<String>),
}

/// A condition as it is written: `field` and exactly one of the others.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConditionFile {
    /// Of which field.
    field: OneOrMany<FieldPath>,
    /// Whether it is there.
    #[serde(default)]
    exists: Option<bool>,
    /// Whether it is this.
    #[serde(default)]
    equals: Option<String>,
    /// Whether it is one of these.
    #[serde(default, rename = "in")]
    one_of: Option<OneOrMany<String>>,
    /// Whether it is there and none of these.
    #[serde(default)]
    not_in: Option<OneOrMany<String>>,
    /// Whether it begins with one of these.
    #[serde(default)]
    starts_with: Option<OneOrMany<String>>,
}

impl TryFrom<ConditionFile> for Condition {
    type Error = String;

    fn try_from(file: ConditionFile) -> Result<Self, String> {
        let tests = [
            file.exists.map(Test::Exists),
            file.equals.map(|text| Test::In(vec![text])),
            file.one_of.map(|texts| Test::In(texts.0)),
            file.not_in.map(|texts| Test::NotIn(texts.0)),
            file.starts_with.map(|texts| Test::StartsWith(texts.0)),
        ];
        let mut tests = tests.into_iter().flatten();
        match (tests.next(), tests.next()) {
            (Some(test), None) => Ok(Condition { field: file.field, test }),
            _ => Err(
                "a condition asks one of `exists`, `equals`, `in`, `not_in` or `starts_with` of its field"
                    .into(),
            ),
        }
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
    /// Milliseconds since 1970.
    EpochMillis,
    /// `Mar  4 14:14:57`: the source's zone, and the last such day that is not after tomorrow.
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
        if let Some(bad) =
            file.ranges.iter().find(|range| range.to.partial_cmp(&range.from).is_none_or(|o| o.is_lt()))
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
    /// What is done to the value first, in this order.
    #[serde(default)]
    pub transform: Vec<Transform>,
    /// Values that say nothing, compared after the transforms in lower case.
    #[serde(default)]
    pub skip: Vec<String>,
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
    let text = std::fs::read_to_string(path).map_err(|error| {
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
    let mut need = |fine: bool, what: &str, cure: &str| {
        if !fine {
            faults.push(fault(None, what.to_owned(), cure));
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
