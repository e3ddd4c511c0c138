//! A pushed batch as the log has it, which keeps it until it is taken, and after: written when it is pushed, read when it is taken.
//! With a key it has its digest, too, which is kept as long as the key: another batch under the same key is told from it.

use super::log::{Entry, Log, LogError, LoggedInput};
use crate::record::{InputKind, Millis};

/// What the log gets of a batch that came at that time; an `Idempotency-Key` is its source's own.
#[must_use]
pub fn entry(source: &str, text: &str, key: Option<&str>, time: Millis) -> Entry {
    let mut body = serde_json::json!({ "source": source, "text": text, "time": time });
    if key.is_some() {
        body["digest"] = digest(text).into();
    }
    let key = key.map(|key| of_source(source) + key);
    Entry::Input { kind: InputKind::Push.name(), body: body.to_string(), key }
}

/// Whether the batch that the log has under this key is known to be another. An earlier version kept no digests.
pub fn is_other(log: &Log, source: &str, text: &str, key: &str) -> Result<bool, LogError> {
    Ok(log.digest(&(of_source(source) + key))?.is_some_and(|known| known != digest(text)))
}

fn digest(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
}

/// A batch, as it was pushed.
pub struct Read<'a> {
    /// To which source.
    pub source: String,
    /// Its records.
    pub text: String,
    /// Its key.
    pub key: Option<&'a str>,
    /// When it came, where that is known.
    pub time: Option<Millis>,
}

/// As it was pushed; none where this program did not write it.
#[must_use]
pub fn read(batch: &LoggedInput) -> Option<Read<'_>> {
    let body: serde_json::Value = serde_json::from_str(&batch.body).ok()?;
    let field = |name: &str| body.get(name).and_then(|text| text.as_str()).map(str::to_owned);
    let (source, text) = field("source").zip(field("text"))?;
    let key = batch.key.as_deref().and_then(|key| key.strip_prefix(&of_source(&source)));
    let time = body.get("time").and_then(serde_json::Value::as_i64);
    Some(Read { source, text, key, time })
}

fn of_source(source: &str) -> String {
    format!("push/{source}/")
}
