//! Detection: how a mapping says which Sigma log source its events are of, and where in them a rule's fields lie.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::{MapAccess, SeqAccess, Visitor, value};
use serde::{Deserialize, Deserializer};

use super::field::{FieldPath, OneOrMany};
use super::router::Router;

/// What tries a mapping's records, which are events, against Sigma rules.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Detection {
    /// Whose events they are, as rules say it in their `logsource`.
    pub logsource: LogSource,
    /// Where the fields lie that rules name: `record` is the record itself, else a path to an object in it, or with
    /// `.*` behind it to all objects in that one. The first that holds the field counts.
    #[serde(default = "record")]
    pub roots: Vec<Root>,
    /// What a rule's field is called here; the first name that is there counts. Fields that stand here not are called
    /// as rules call them.
    #[serde(default)]
    pub fields: BTreeMap<String, OneOrMany<String>>,
    /// Fields that hold paths as Windows' kernel has them, `\Device\HarddiskVolume2\Windows\...`: rules see `C:\Windows\...`.
    #[serde(default)]
    pub device_paths: Vec<FieldPath>,
    /// Fields that hold a program's name without its folder: rules, which ask how a path ends, see a `\` before it.
    #[serde(default)]
    pub base_names: Vec<FieldPath>,
    /// Fields that rules know and records do not have, by what a field of theirs says; at the record itself.
    #[serde(default)]
    pub derived: BTreeMap<String, Derived>,
    /// The plan's rules, by log source; none before the plan is read as a whole.
    #[serde(skip)]
    pub router: Option<Arc<Router>>,
}

/// A field of rules by another's value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    /// The other; of alternatives the first that is there.
    pub field: OneOrMany<FieldPath>,
    /// What each of its values means; of others nothing is derived.
    pub table: BTreeMap<String, String>,
}

/// The log sources of a mapping's events. A rule is tried where what its `logsource` names is among them; what its
/// `logsource` leaves out may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSource {
    /// The product.
    pub product: Option<String>,
    /// The service, or several.
    pub service: Option<Terms>,
    /// The category, or several. A key of its table is a value of its field, or `SERVICE/VALUE`.
    pub category: Option<Terms>,
}

/// What an event's service or category is.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(untagged)]
pub enum Terms {
    /// Always these.
    Always(OneOrMany<String>),
    /// A field says so.
    Field(TermsField),
}

/// A service or a category as a field says it. Letters' case does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TermsField {
    /// The field.
    pub field: OneOrMany<FieldPath>,
    /// What its value means; without a table it is the term itself.
    #[serde(default)]
    pub table: BTreeMap<String, OneOrMany<String>>,
}

impl<'de> Deserialize<'de> for Terms {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Terms;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word, a list of words, or `field:` with where to find it")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Terms, E> {
                Ok(Terms::Always(OneOrMany(vec![text.to_owned()])))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Terms, A::Error> {
                OneOrMany::deserialize(value::SeqAccessDeserializer::new(items)).map(Terms::Always)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Terms, A::Error> {
                TermsField::deserialize(value::MapAccessDeserializer::new(map)).map(Terms::Field)
            }
        }
        from.deserialize_any(Either)
    }
}

impl Terms {
    /// The field that says it, if one does.
    #[must_use]
    pub fn field(&self) -> Option<&OneOrMany<FieldPath>> {
        match self {
            Terms::Always(_) => None,
            Terms::Field(terms) => Some(&terms.field),
        }
    }
}

/// A place in a record where rules' fields lie.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Root {
    /// The keys on the way there; none for the record itself.
    pub keys: Vec<String>,
    /// Whether they lie in the objects within it.
    pub within: bool,
}

impl TryFrom<String> for Root {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "record" {
            return Ok(Root { keys: Vec::new(), within: false });
        }
        let (path, within) = text.strip_suffix(".*").map_or((text.as_str(), false), |path| (path, true));
        let path = FieldPath::try_from(path.to_owned())?;
        Ok(Root { keys: path.text().split('.').map(str::to_owned).collect(), within })
    }
}

fn record() -> Vec<Root> {
    vec![Root { keys: Vec::new(), within: false }]
}
