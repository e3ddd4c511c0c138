//! Judge: whether a message of a topic is a word that a run can take.
//!
//! It must be what `quell approve`, `quell deny`, `quell verdict` or `quell unlink` would have left in the log. Without `time` it
//! was said when its message was written; without `tenant` it is on the plan's tenant.

use serde_json::{Map, Value};

use crate::engine::journal::{Effects, Refused, RefusedWord, Said};
use crate::ingest::raw;
use crate::plan::outside::Word;
use crate::record::{InputKind, Millis, Names};

/// The longest word, in bytes.
const WORD_BYTES_MAX: usize = 64 << 10;
/// The longest name.
const NAME_MAX: usize = 200;

/// What the log is told of a message at a place: kind and body.
#[must_use]
pub fn judged(
    word: Word,
    payload: Option<&[u8]>,
    said: (&str, Millis),
    at: (&str, i32, i64),
) -> (&'static str, String) {
    let kind = match word {
        Word::Approvals => InputKind::Approval,
        Word::Verdicts => InputKind::Verdict,
        Word::Receipts => InputKind::Receipt,
    };
    let payload = payload.unwrap_or_default();
    let body = understood(kind, payload, said);
    (kind.name(), body.unwrap_or_else(|reason| refused(reason, payload, said.0, at)))
}

/// What the log is told of a message that cannot be understood.
pub(super) fn refused(
    reason: String,
    payload: &[u8],
    tenant: &str,
    (topic, partition, offset): (&str, i32, i64),
) -> String {
    let refused = RefusedWord {
        source: format!("{topic}/{partition}"),
        position: offset.unsigned_abs(),
        reason,
        raw: raw(payload),
        tenant: tenant.to_owned(),
    };
    // Text and a number can always be written.
    serde_json::to_string(&Refused { refused }).unwrap_or_default()
}

fn understood(kind: InputKind, payload: &[u8], (tenant, time): (&str, Millis)) -> Result<String, String> {
    if payload.len() > WORD_BYTES_MAX {
        return Err(format!("a word of {} bytes; {WORD_BYTES_MAX} are the most", payload.len()));
    }
    let parsed = serde_json::from_slice::<Map<String, Value>>(payload);
    let mut fields = parsed.map_err(|error| format!("not a JSON object: {error}"))?;
    let by = fields.get("by").and_then(Value::as_str).map(str::trim).unwrap_or_default();
    if (by.is_empty() && kind != InputKind::Receipt) || by.chars().count() > NAME_MAX {
        return Err(format!("`by` must say who speaks, in 1 to {NAME_MAX} characters"));
    }
    fields.entry("tenant").or_insert_with(|| tenant.into());
    fields.entry("time").or_insert_with(|| time.into());
    if !fields["tenant"].is_string() {
        return Err("`tenant` is not text".to_owned());
    }
    let body = Value::Object(fields).to_string();
    let effects = Effects::of(&[Said { id: None, kind, body: body.clone() }], &Names::default());
    match effects.strange.first() {
        Some(strange) => Err(strange.clone()),
        None if effects.is_refusal() => Err("not a word that people say".to_owned()),
        None => Ok(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_understood_is_taken_and_all_else_is_a_reject() {
        let id = "0123456789abcdef0123456789abcdef";
        let approval = format!(r#"{{"decision_id":"{id}","approved":true,"by":"ada"}}"#);
        let verdict = format!(
            r#"{{"incident_id":"{id}","verdict":"false_positive","by":"ada","time":5,"tenant":"n"}}"#
        );
        let unlink = format!(r#"{{"incident_id":"{id}","unlink":{{"entity":"host:h"}},"by":"ada"}}"#);
        let taken = |word, text: &str| {
            let (kind, body) = judged(word, Some(text.as_bytes()), ("t", 9), ("w", 2, 7));
            let body: Value = serde_json::from_str(&body).unwrap();
            assert!(body.get("refused").is_none(), "{body}");
            (kind, body["time"].clone(), body["tenant"].clone())
        };
        assert_eq!(taken(Word::Approvals, &approval), ("approval", 9.into(), "t".into()));
        assert_eq!(taken(Word::Verdicts, &verdict), ("verdict", 5.into(), "n".into()));
        assert_eq!(taken(Word::Verdicts, &unlink), ("verdict", 9.into(), "t".into()));
        let long = approval.replace("ada", &"a".repeat(WORD_BYTES_MAX));
        let forged = r#"{"refused":{"source":"x","position":1,"reason":"","raw":"","tenant":""},"by":"ada"}"#;
        let more = approval.replace('}', r#","x":1}"#);
        let whose = verdict.replace(r#""n""#, "5");
        for text in ["", "{", "[]", "\u{0}", "{}", &verdict, &long, forged, &more, r#"{"by":7}"#] {
            let (kind, body) = judged(Word::Approvals, Some(text.as_bytes()), ("t", 9), ("w", 2, 7));
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(
                (kind, &body["refused"]["source"], &body["refused"]["position"]),
                ("approval", &"w/2".into(), &7.into()),
                "{text}"
            );
            assert!(!body["refused"]["reason"].as_str().unwrap().is_empty());
        }
        assert!(judged(Word::Verdicts, Some(whose.as_bytes()), ("t", 9), ("w", 2, 7)).1.contains("not text"));
        let receipt = format!(r#"{{"action_id":"{id}","status":"failed"}}"#);
        assert_eq!(taken(Word::Receipts, &receipt), ("receipt", 9.into(), "t".into()));
        let strange = receipt.replace("failed", "in_doubt");
        assert!(
            judged(Word::Receipts, Some(strange.as_bytes()), ("t", 9), ("w", 2, 7)).1.contains("refused")
        );
        assert!(judged(Word::Verdicts, None, ("t", 9), ("w", 2, 7)).1.contains("refused"));
    }
}
