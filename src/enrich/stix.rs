//! STIX 2.1 bundles as a table of indicators: what their `indicator` objects look for.
//!
//! In: a bundle's JSON. Out: entities with a confidence. An indicator whose pattern is one comparison, or several of which
//! any suffices, names entities; one that asks for several things at once, for an order or for anything but
//! equality names none: it is told, and left out. Of several versions of an object the last modified one counts. Revoked
//! indicators are gone. `valid_from` and `valid_until` are not looked
//! at: a replay of the past wants what was valid then, and a feed takes out what is so no longer.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::record::EntityKind;

/// The confidence of an indicator that states none.
const UNSTATED: u8 = 50;

/// A bundle; of its objects only indicators matter here.
#[derive(Debug, Deserialize)]
struct Bundle {
    #[serde(default)]
    objects: Vec<Object>,
}

#[derive(Debug, Deserialize)]
struct Object {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: String,
    /// RFC 3339 in UTC.
    #[serde(default)]
    modified: String,
    #[serde(default)]
    pattern: String,
    #[serde(default)]
    pattern_type: String,
    #[serde(default)]
    confidence: Option<u8>,
    #[serde(default)]
    revoked: bool,
}

/// What a bundle's indicators look for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Indicators {
    /// Kind, value, and confidence from 0 to 100.
    pub entities: Vec<(EntityKind, String, u8)>,
    /// Indicators that name no entity, with the reason.
    pub left_out: Vec<String>,
}

/// Whether the text is a bundle rather than a table of lines.
#[must_use]
pub fn is_bundle(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    text.trim_start().starts_with('{')
        && serde_json::from_str::<Kind>(text).is_ok_and(|object| object.kind == "bundle")
}

/// Reads a bundle; the error says where it is not one.
pub fn read(text: &str) -> Result<Indicators, String> {
    let bundle: Bundle = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut found = Indicators::default();
    let indicators = bundle.objects.iter().enumerate().filter(|(_, object)| object.kind == "indicator");
    let mut latest: BTreeMap<&str, (Option<jiff::Timestamp>, usize)> = BTreeMap::new();
    for (at, object) in bundle.objects.iter().enumerate().filter(|(_, object)| !object.id.is_empty()) {
        let version = (object.modified.parse().ok(), at);
        let slot = latest.entry(&object.id).or_insert(version);
        *slot = (*slot).max(version);
    }
    let is_last =
        |(at, object): &(usize, &Object)| latest.get(&*object.id).is_none_or(|(_, last)| last == at);
    for (_, object) in indicators.filter(is_last).filter(|(_, object)| !object.revoked) {
        let confidence = object.confidence.unwrap_or(UNSTATED).min(100);
        let entities = match object.pattern_type.as_str() {
            "" | "stix" => entities(&object.pattern),
            other => Err(format!("its pattern is of type {other}")),
        };
        match entities {
            Ok(entities) => {
                found.entities.extend(entities.into_iter().map(|(kind, value)| (kind, value, confidence)));
            }
            Err(why) => found.left_out.push(format!("{}: {why}", object.id)),
        }
    }
    Ok(found)
}

/// What a pattern looks for, where any one of it suffices.
fn entities(pattern: &str) -> Result<Vec<(EntityKind, String)>, String> {
    let mut tokens = tokens(pattern)?.into_iter().peekable();
    let mut found = Vec::new();
    let mut open = false;
    loop {
        while tokens.next_if(|token| matches!(token, Token::Mark('[' | '('))).is_some() {
            open = true;
        }
        let (Some(Token::Word(path)), Some(Token::Mark('=')), Some(Token::Text(value))) =
            (tokens.next(), tokens.next(), tokens.next())
        else {
            return Err("it does more than compare with a text".to_owned());
        };
        found.push((kind_of(&path).ok_or_else(|| format!("nothing here is a {path}"))?, value));
        while tokens.next_if(|token| matches!(token, Token::Mark(']' | ')'))).is_some() {}
        match tokens.next() {
            None if open => return Ok(found),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("or") => {}
            Some(_) | None => return Err("it asks for several things at once, or for an order".to_owned()),
        }
    }
}

/// The kind of entity that an object's property is.
fn kind_of(path: &str) -> Option<EntityKind> {
    let path = path.to_ascii_lowercase();
    let (object, property) = path.split_once(':')?;
    Some(match (object, property) {
        ("ipv4-addr" | "ipv6-addr", "value") => EntityKind::Ip,
        ("domain-name", "value") => EntityKind::Domain,
        ("url", "value") => EntityKind::Url,
        ("email-addr", "value") | ("email-message", "from_ref.value" | "sender_ref.value") => {
            EntityKind::Mailbox
        }
        ("user-account", "user_id" | "account_login") => EntityKind::User,
        ("file", hash) if hash.starts_with("hashes.") => EntityKind::Hash,
        ("file", "name") => EntityKind::File,
        ("process", "name") => EntityKind::Process,
        _ => return None,
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Mark(char),
    Word(String),
    Text(String),
}

/// A pattern's tokens. A path's parts may be quoted (`file:hashes.'SHA-256'`): they are one word.
fn tokens(pattern: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            _ if char.is_whitespace() => {}
            '\'' => tokens.push(Token::Text(quoted(&mut chars)?)),
            '[' | ']' | '(' | ')' | '=' | '!' | '<' | '>' => tokens.push(Token::Mark(char)),
            _ => {
                let mut word = String::from(char);
                loop {
                    match chars.next_if(|next| !next.is_whitespace() && !"[]()=!<>".contains(*next)) {
                        Some('\'') => word.push_str(&quoted(&mut chars)?),
                        Some(next) => word.push(next),
                        None => break,
                    }
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

/// The rest of a quoted text, whose opening quote has been read.
fn quoted(chars: &mut impl Iterator<Item = char>) -> Result<String, String> {
    let mut text = String::new();
    loop {
        match chars.next() {
            Some('\'') => return Ok(text),
            Some('\\') => text.extend(chars.next()),
            Some(char) => text.push(char),
            None => return Err("a text in it does not end".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pattern: &str) -> Result<Vec<(EntityKind, String)>, String> {
        entities(pattern)
    }

    #[test]
    fn what_any_one_of_names_is_found() {
        let one = |kind, value: &str| (kind, value.to_owned());
        assert_eq!(of("[ipv4-addr:value = '198.51.100.1']"), Ok(vec![one(EntityKind::Ip, "198.51.100.1")]));
        assert_eq!(
            of(
                "[file:hashes.'SHA-256' = 'ab' OR file:hashes.MD5='cd'] OR [domain-name:value = 'bad.example']"
            ),
            Ok(vec![
                one(EntityKind::Hash, "ab"),
                one(EntityKind::Hash, "cd"),
                one(EntityKind::Domain, "bad.example")
            ])
        );
        assert_eq!(of(r"[(file:name = 'it\'s.exe')]"), Ok(vec![one(EntityKind::File, "it's.exe")]));
    }

    #[test]
    fn what_asks_for_more_is_told() {
        for (pattern, why) in [
            ("[ipv4-addr:value = '1.2.3.4' AND domain-name:value = 'x']", "several things"),
            ("[ipv4-addr:value = '1.2.3.4'] FOLLOWEDBY [url:value = 'x']", "several things"),
            ("[ipv4-addr:value ISSUBSET '10.0.0.0/8']", "more than compare"),
            ("[ipv4-addr:value != '10.0.0.0']", "more than compare"),
            ("[windows-registry-key:key = 'x']", "nothing here"),
            ("[ipv4-addr:value = '1.2.3.4", "does not end"),
            ("", "more than compare"),
        ] {
            let said = of(pattern).expect_err(pattern);
            assert!(said.contains(why), "{pattern}: {said}");
        }
    }

    #[test]
    fn of_several_versions_of_an_indicator_the_last_counts() {
        let version = |id: u8, modified: &str, value: &str, revoked: bool| {
            format!(
                r#"{{"type": "indicator", "id": "indicator--{id}", "modified": "2026-01-{modified}Z", "revoked": {revoked},
                 "pattern": "[domain-name:value = '{value}']"}}"#
            )
        };
        let objects = [
            version(1, "02T00:00:00.5", "gone.example", true),
            version(1, "02T00:00:00", "gone.example", false),
            version(2, "01T00:00:00", "old.example", false),
            version(2, "03T00:00:00.000", "new.example", false),
        ];
        let bundle = format!(r#"{{"type": "bundle", "objects": [{}]}}"#, objects.join(","));
        let found = read(&bundle).expect("a bundle").entities;
        assert_eq!(found, [(EntityKind::Domain, "new.example".to_owned(), UNSTATED)]);
    }

    #[test]
    fn a_bundle_is_read_and_revoked_indicators_are_gone() {
        let bundle = r#"{"type": "bundle", "id": "bundle--1", "objects": [
            {"type": "identity", "id": "identity--1", "name": "x"},
            {"type": "indicator", "id": "indicator--1", "pattern_type": "stix", "confidence": 85,
             "pattern": "[email-addr:value = 'a@bad.example']"},
            {"type": "indicator", "id": "indicator--2", "revoked": true, "pattern": "[url:value = 'x']"},
            {"type": "indicator", "id": "indicator--3", "pattern_type": "yara", "pattern": "rule x {}"},
            {"type": "indicator", "id": "indicator--4", "pattern": "[domain-name:value = 'bad.example']"}]}"#;
        assert!(is_bundle(bundle) && !is_bundle("{\"entity\":\"ip:1.2.3.4\"}\n{}") && !is_bundle("entity,x"));
        let found = read(bundle).expect("a bundle");
        assert_eq!(
            found.entities,
            [
                (EntityKind::Mailbox, "a@bad.example".to_owned(), 85),
                (EntityKind::Domain, "bad.example".to_owned(), UNSTATED)
            ]
        );
        assert_eq!(found.left_out, ["indicator--3: its pattern is of type yara"]);
    }
}
