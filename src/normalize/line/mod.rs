//! Line: a record that is text and no JSON. Syslog (RFC 5424, RFC 3164 and what programs make of it), CEF and LEEF,
//! alone or within syslog, become fields that a mapping can name as if they were JSON:
//!
//! | fields | are |
//! |---|---|
//! | `syslog.facility`, `syslog.severity` | by name: `auth`, `local4`; `err`, `info` |
//! | `syslog.timestamp`, `.host`, `.appname`, `.procid`, `.msgid`, `.message` | the header's and the message |
//! | `syslog.structuredData.ID.NAME` | RFC 5424's parameters |
//! | `cef.deviceVendor`, `.deviceProduct`, `.deviceVersion`, `.signatureId`, `.name`, `.severity` | CEF's header |
//! | `cef.extension.KEY` | CEF's extension: `cef.extension.src` |
//! | `cef.custom.LABEL` | what `cs1` holds where `cs1Label` calls it so |
//! | `leef.vendor`, `.product`, `.productVersion`, `.eventId` and `leef.attributes.KEY` | LEEF |
//!
//! A syslog message that is a JSON object (`@cee:` before it or not) is the record itself, beside `syslog`'s header.
//! Values are borrowed from the line but where they hold escapes.

mod cef;
mod leef;
mod syslog;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::Value as Json;
use smallvec::SmallVec;

use super::extract::extract;
use super::guesses::Guesses;
use super::paths::{Paths, ROOT};
use super::refusal::Refusal;
use super::value::{Slots, Value};

/// Fields of one line; attackers choose how many there are.
const FIELDS_MAX: usize = 512;

/// Where a field lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key<'a> {
    Syslog(&'static str),
    /// Of structured data: the element's id and the parameter's name.
    Data(&'a str, &'a str),
    Cef(&'static str),
    Extension(&'a str),
    /// The extension's field whose value names the field before it.
    Custom(&'a str),
    Leef(&'static str),
    Attribute(&'a str),
}

impl Key<'_> {
    fn path(&self) -> SmallVec<[&str; 4]> {
        match self {
            Key::Syslog(name) => SmallVec::from_slice(&["syslog", name]),
            Key::Data(id, name) => SmallVec::from_slice(&["syslog", "structuredData", id, name]),
            Key::Cef(name) => SmallVec::from_slice(&["cef", name]),
            Key::Extension(name) => SmallVec::from_slice(&["cef", "extension", name]),
            Key::Custom(label) => SmallVec::from_slice(&["cef", "custom", label]),
            Key::Leef(name) => SmallVec::from_slice(&["leef", name]),
            Key::Attribute(name) => SmallVec::from_slice(&["leef", "attributes", name]),
        }
    }
}

/// A line's fields, in its order.
#[derive(Debug, Default)]
pub(super) struct Line<'a> {
    fields: Vec<(Key<'a>, Cow<'a, str>)>,
    /// The message, where it is a JSON object.
    json: Option<&'a str>,
}

/// What is wrong with a line that begins well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) &'static str);

impl<'a> Line<'a> {
    fn put(&mut self, key: Key<'a>, value: impl Into<Cow<'a, str>>) {
        let value = value.into();
        if self.fields.len() < FIELDS_MAX && !value.is_empty() {
            self.fields.push((key, value));
        }
    }

    /// The fields of `text`, which is no JSON object.
    pub(super) fn read(text: &'a str) -> Result<Line<'a>, Refusal> {
        let mut line = Line::default();
        let text = text.trim_matches(['\n', '\r', ' ', '\t', '\0']);
        let message = match line.format(text) {
            Ok(true) => return Ok(line),
            Ok(false) => syslog::read(text, &mut line),
            Err(broken) => Err(broken),
        };
        let Some(message) = message.map_err(Refusal::Broken)? else { return Err(Refusal::NotAnObject) };
        let bare = message.trim_start();
        let bare = bare.strip_prefix("@cee:").map_or(bare, str::trim_start);
        if bare.starts_with('{') && bare.trim_end().ends_with('}') {
            line.json = Some(bare);
        } else if !line.format(bare).map_err(Refusal::Broken)? {
            line.put(Key::Syslog("message"), message);
        }
        Ok(line)
    }

    /// Whether `text` is CEF or LEEF, which is read then.
    fn format(&mut self, text: &'a str) -> Result<bool, Broken> {
        if let Some(rest) = text.strip_prefix("CEF:") {
            cef::read(rest, self).map(|()| true)
        } else if let Some(rest) = text.strip_prefix("LEEF:") {
            leef::read(rest, self).map(|()| true)
        } else {
            Ok(false)
        }
    }

    /// Fills `slots` with what `paths` ask for.
    pub(super) fn fill(
        self,
        paths: &Paths,
        guesses: &mut Guesses,
        slots: &mut Slots<'a>,
    ) -> Result<(), Refusal> {
        if let Some(json) = self.json {
            extract(paths, guesses, json, slots).map_err(|error| Refusal::json(&error))?;
        }
        for (key, value) in self.fields {
            let leaf = key.path().iter().try_fold(ROOT, |node, key| paths.step(node, key));
            if let Some(slot) = leaf.and_then(|leaf| paths.slot_at(leaf)) {
                slots.put(slot, Value::Text(value));
            }
        }
        Ok(())
    }

    /// The record as a tree; of a field that comes twice the first counts.
    pub(super) fn tree(&self) -> Result<Json, Refusal> {
        let mut root = match self.json {
            Some(json) => serde_json::from_str(json).map_err(|error| Refusal::json(&error))?,
            None => Json::Object(serde_json::Map::new()),
        };
        for (key, value) in &self.fields {
            let path = key.path();
            let leaf = path.iter().try_fold(&mut root, |node, key| {
                Some(
                    node.as_object_mut()?.entry(*key).or_insert_with(|| Json::Object(serde_json::Map::new())),
                )
            });
            if let Some(leaf) = leaf.filter(|leaf| leaf.as_object().is_some_and(serde_json::Map::is_empty)) {
                *leaf = Json::String(value.clone().into_owned());
            }
        }
        Ok(root)
    }

    /// The fields' names, those of the JSON first.
    pub(super) fn names(&self) -> Vec<String> {
        let json = self.json.and_then(|json| serde_json::from_str::<serde_json::Map<_, _>>(json).ok());
        let json = json.unwrap_or_default().into_iter().map(|(key, _): (String, Json)| key);
        json.chain(self.fields.iter().map(|(key, _)| key.path().join("."))).collect()
    }
}

/// A text without its escapes: `meant` says what a character stands for behind a backslash; before any other a backslash
/// is itself.
fn unescaped_with(text: &str, meant: impl Fn(char) -> Option<char>) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        let escaped = rest.clone().next().filter(|_| char == '\\').and_then(&meant);
        if escaped.is_some() {
            rest.next();
        }
        plain.push(escaped.unwrap_or(char));
    }
    Cow::Owned(plain)
}
