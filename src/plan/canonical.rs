//! Canonical JSON: one spelling of a value, so that a hash of it means the value and not its layout.
//!
//! Keys in byte order, no space between tokens; numbers and strings as `serde_json` writes them.

use serde_json::Value;

/// The canonical text of `value`.
#[must_use]
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// BLAKE3 of the canonical text.
#[must_use]
pub fn hash(value: &Value) -> [u8; 32] {
    *blake3::hash(text(value).as_bytes()).as_bytes()
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            // Whether serde_json keeps insertion order depends on a feature that any dependency may switch on.
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            out.push('{');
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write(&map[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_and_order_do_not_matter() {
        let one: Value = serde_json::from_str(r#"{"b": [1, {"d": null, "c": "x\n"}], "a": true}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"a":true,"b":[1,{"c":"x\n","d":null}]}"#).unwrap();
        assert_eq!(text(&one), r#"{"a":true,"b":[1,{"c":"x\n","d":null}]}"#);
        assert_eq!(hash(&one), hash(&other));
    }
}
