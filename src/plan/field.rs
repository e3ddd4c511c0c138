//! Fields: how a mapping names what lies in a record, and what it may ask of it.

use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::{SeqAccess, Visitor, value};
use serde::{Deserialize, Deserializer};

/// A dotted path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub struct FieldPath(String);

/// A path of n parts is tried as 2^(n-1) spellings (nested, or a literal key with dots), so n is bounded.
const PATH_PARTS_MAX: usize = 8;

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
