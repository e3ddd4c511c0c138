//! CEF, `ArcSight`'s Common Event Format, version 0 and 1: `CEF:0|vendor|product|version|id|name|severity|key=value ...`.
//!
//! In the header `\|` and `\\` are escapes; in the extension `\=`, `\\`, `\n` and `\r`. Values hold blanks, and many that
//! write CEF leave `=` in values as it is: only where a key stands between a blank and `=` does a value end.

use std::borrow::Cow;

use super::{Broken, Key, Line, unescaped_with};

/// The header behind the version.
const HEADER: [&str; 6] =
    ["deviceVendor", "deviceProduct", "deviceVersion", "signatureId", "name", "severity"];

/// Reads what stands behind `CEF:`.
pub(super) fn read<'a>(text: &'a str, line: &mut Line<'a>) -> Result<(), Broken> {
    const CUT: Broken = Broken("its CEF header has fewer than seven parts");
    let (version, mut rest) = text.split_once('|').ok_or(CUT)?;
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(Broken("its CEF version is no number"));
    }
    for (at, name) in HEADER.iter().enumerate() {
        let end = bar(rest);
        let (field, behind) = match end {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            // Some leave out the last bar where no extension follows.
            None if at + 1 == HEADER.len() => (rest, ""),
            None => return Err(CUT),
        };
        line.put(Key::Cef(name), unescaped(field.trim()));
        rest = behind;
    }
    extension(rest, line);
    Ok(())
}

/// The first bar that no backslash stands before.
fn bar(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'|' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn extension<'a>(text: &'a str, line: &mut Line<'a>) {
    let begin = line.fields.len();
    let mut key: Option<(&str, usize)> = None;
    for (at, next) in keys(text) {
        if let Some((name, from)) = key {
            line.put(Key::Extension(name), unescaped(text[from..at].trim()));
        }
        key = Some((next, at + next.len() + 1));
    }
    if let Some((name, from)) = key {
        line.put(Key::Extension(name), unescaped(text[from..].trim()));
    }
    custom(begin, line);
}

/// Keys with their places.
fn keys(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'[' | b']');
    memchr::memchr_iter(b'=', text.as_bytes()).filter_map(move |equals| {
        let length = text.as_bytes()[..equals].iter().rev().take_while(|byte| is_key(byte)).count();
        let (before, key) = text[..equals].split_at(equals - length);
        let begins = before.is_empty() || before.ends_with([' ', '\t']);
        (begins && !key.is_empty()).then_some((before.len(), key))
    })
}

/// What `cs1` holds goes by the name that `cs1Label` says, too.
fn custom(begin: usize, line: &mut Line<'_>) {
    let labels = line.fields[begin..].iter().filter_map(|(key, label)| match (key, label) {
        // A label with escapes is nobody's name for a field.
        (Key::Extension(key), Cow::Borrowed(label)) => Some((key.strip_suffix("Label")?, *label)),
        _ => None,
    });
    let mut named = Vec::new();
    for (key, label) in labels {
        let of = |(other, _): &&(Key<'_>, Cow<'_, str>)| *other == Key::Extension(key);
        if let Some((_, value)) = line.fields[begin..].iter().find(of) {
            named.push((Key::Custom(label), value.clone()));
        }
    }
    for (key, value) in named {
        line.put(key, value);
    }
}

fn unescaped(text: &str) -> Cow<'_, str> {
    unescaped_with(text, |char| match char {
        '=' | '|' | '\\' => Some(char),
        'n' => Some('\n'),
        'r' => Some('\r'),
        _ => None,
    })
}
