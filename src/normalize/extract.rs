//! Extract: one pass over a record's JSON that keeps what the trie asks for and skips the rest, without a tree and,
//! but for strings with escapes, without a copy.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::guesses::Guesses;
use super::paths::{Node, Paths, ROOT};
use super::scan::scan;
use super::value::{Slots, Value};

/// Fills `slots`, which are clear, from the one JSON object in `text`.
pub(super) fn extract<'a>(
    paths: &Paths,
    guesses: &mut Guesses,
    text: &'a str,
    slots: &mut Slots<'a>,
) -> Result<(), serde_json::Error> {
    if scan(paths, guesses, text, slots).is_some() {
        return Ok(());
    }
    slots.clear();
    read(paths, text, slots)
}

/// The same without haste.
pub(super) fn read<'a>(paths: &Paths, text: &'a str, slots: &mut Slots<'a>) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    At { paths, node: ROOT, slots }.deserialize(&mut json)?;
    json.end()
}

/// The value at a node.
struct At<'p, 's, 'a> {
    paths: &'p Paths,
    node: Node,
    slots: &'s mut Slots<'a>,
}

impl<'a> At<'_, '_, 'a> {
    fn put(self, value: Value<'a>) {
        if let Some(slot) = self.paths.slot_at(self.node) {
            self.slots.put(slot, value);
        }
    }
}

impl<'a> DeserializeSeed<'a> for At<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for At<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<(), E> {
        within(self.paths, self.node, text, self.slots);
        self.put(Value::Text(Cow::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        within(self.paths, self.node, text, self.slots);
        self.put(Value::Text(Cow::Owned(text.to_owned())));
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.put(Value::Int(number));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.put(i64::try_from(number).map_or(Value::Uint(number), Value::Int));
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.put(Value::Float(number));
        Ok(())
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<(), E> {
        self.put(Value::Bool(truth));
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        let At { paths, node, slots } = self;
        while items.next_element_seed(At { paths, node, slots: &mut *slots })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut fields: A) -> Result<(), A::Error> {
        let At { paths, node, slots } = self;
        while let Some(child) = fields.next_key_seed(Key { paths, node })? {
            match child {
                Some(node) => fields.next_value_seed(At { paths, node, slots: &mut *slots })?,
                None => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Fills `slots` from the JSON that a text holds where a path goes on, as clouds wrap records; what is no JSON is a text
/// like others. JSON within that is not looked into again.
fn within(paths: &Paths, node: Node, text: &str, slots: &mut Slots<'_>) {
    if text.starts_with(['{', '[']) && paths.goes_on(node) {
        let inner = serde_json::from_str(text).unwrap_or_default();
        walk(paths, node, inner, slots);
    }
}

fn walk(paths: &Paths, node: Node, value: serde_json::Value, slots: &mut Slots<'_>) {
    let value = match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                if let Some(child) = paths.step(node, &key) {
                    walk(paths, child, value, slots);
                }
            }
            return;
        }
        serde_json::Value::Array(items) => {
            return items.into_iter().for_each(|item| walk(paths, node, item, slots));
        }
        serde_json::Value::String(text) => Value::Text(Cow::Owned(text)),
        serde_json::Value::Bool(truth) => Value::Bool(truth),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::Uint(number),
            (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
        },
        serde_json::Value::Null => return,
    };
    if let Some(slot) = paths.slot_at(node) {
        slots.put(slot, value);
    }
}

/// A key: where it leads.
struct Key<'p> {
    paths: &'p Paths,
    node: Node,
}

impl<'a> DeserializeSeed<'a> for Key<'_> {
    type Value = Option<Node>;

    fn deserialize<D: Deserializer<'a>>(self, from: D) -> Result<Option<Node>, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Option<Node>, E> {
        Ok(self.paths.step(self.node, key))
    }
}
