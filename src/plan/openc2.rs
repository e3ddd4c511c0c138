//! OpenC2 commands as CACAO carries them: base64 of `{"action": ..., "target": {...}, "args": {...}}`.
//!
//! Two variables may stand for a whole string value: `__target__:value` (the entity acted on) and
//! `__incident__:value` (the incident's id). They are put in as JSON values, never spliced into text, so that a
//! hostile entity can't change the command around it.

use serde_json::Value;

use crate::record::Verb;

/// The variable that stands for the entity acted on.
pub const TARGET: &str = "__target__:value";
/// The variable that stands for the incident's id.
pub const INCIDENT: &str = "__incident__:value";

/// The verb of an OpenC2 action (Language Specification 1.0, table 3.3.1.1-1), where Quell has one.
#[must_use]
pub fn verb_of(action: &str) -> Option<Verb> {
    Some(match action {
        "contain" => Verb::Contain,
        "deny" => Verb::Deny,
        "allow" => Verb::Allow,
        "delete" => Verb::Delete,
        "set" | "update" => Verb::Set,
        "restart" => Verb::Restart,
        "investigate" | "scan" | "query" => Verb::Investigate,
        "copy" => Verb::Copy,
        _ => return None,
    })
}

/// Reads a command's content.
///
/// # Errors
/// What is wrong with it, in words.
pub fn decode(content_b64: &str) -> Result<(Verb, Value), String> {
    let bytes = base64(content_b64).ok_or("content_b64 is not base64 (RFC 4648, section 4)")?;
    let command: Value =
        serde_json::from_slice(&bytes).map_err(|error| format!("content_b64 does not hold JSON: {error}"))?;
    let Some(fields) = command.as_object() else { return Err("the OpenC2 command is not an object".into()) };
    if let Some(field) =
        fields.keys().find(|key| !["action", "target", "args", "profile"].contains(&key.as_str()))
    {
        return Err(format!("OpenC2 command field {field:?} is not supported"));
    }
    let action = fields.get("action").and_then(Value::as_str).ok_or("the OpenC2 command has no action")?;
    let verb = verb_of(action).ok_or_else(|| format!("OpenC2 action {action:?} has no verb here"))?;
    if fields.get("target").and_then(Value::as_object).is_none_or(|target| target.len() != 1) {
        return Err("the OpenC2 command's target must hold exactly one target type".into());
    }
    check_variables(&command)?;
    Ok((verb, command))
}

/// Refuses variables that nothing would fill in.
///
/// # Errors
/// The first such text.
pub fn check_variables(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) if text == TARGET || text == INCIDENT => Ok(()),
        Value::String(text) if text.contains("__:value") => {
            Err(format!("{text:?} holds a variable that is not supported"))
        }
        Value::Array(items) => items.iter().try_for_each(check_variables),
        Value::Object(map) => map.values().try_for_each(check_variables),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Whether the command names the entity acted on.
#[must_use]
pub fn names_target(value: &Value) -> bool {
    match value {
        Value::String(text) => text == TARGET,
        Value::Array(items) => items.iter().any(names_target),
        Value::Object(map) => map.values().any(names_target),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The command with its variables filled in.
#[must_use]
pub fn fill(value: &Value, target: &str, incident: &str) -> Value {
    match value {
        Value::String(text) if text == TARGET => Value::String(target.to_owned()),
        Value::String(text) if text == INCIDENT => Value::String(incident.to_owned()),
        Value::Array(items) => Value::Array(items.iter().map(|item| fill(item, target, incident)).collect()),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(key, item)| (key.clone(), fill(item, target, incident))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Standard base64 with padding; none for anything else.
fn base64(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(bytes.len() / 4 * 3);
    let last = bytes.len() / 4;
    for (at, quad) in bytes.chunks_exact(4).enumerate() {
        let padding = quad.iter().rev().take_while(|byte| **byte == b'=').count();
        if padding > 2 || (padding > 0 && at + 1 != last) {
            return None;
        }
        let mut group = 0u32;
        for byte in &quad[..4 - padding] {
            group = group << 6 | sextet(*byte)?;
        }
        let [_, a, b, c] = (group << (6 * padding)).to_be_bytes();
        out.extend_from_slice(&[a, b, c][..3 - padding]);
    }
    Some(out)
}

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_rfc_4648() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob")]
        {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        for text in ["Z", "Zg=", "Zg", "Z===", "====", "Zg==Zg==", "Zm9-", "Zm 9"] {
            assert_eq!(base64(text), None, "{text}");
        }
    }

    #[test]
    fn a_hostile_target_stays_one_string() {
        let command = serde_json::json!({"target": {"device": {"hostname": TARGET}}, "note": "__target__"});
        let filled = fill(&command, "a\",\"action\":\"allow", "i");
        assert_eq!(filled["target"]["device"]["hostname"], "a\",\"action\":\"allow");
        assert!(check_variables(&serde_json::json!("x __target__:value")).is_err());
    }
}
