//! Ask: what a filter's selection asks of a field: Sigma's values and modifiers.

use std::net::IpAddr;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::rule::{Bounds, Comparison};
use crate::record::Decimal;

/// One question.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Text { pattern: Vec<Glob>, cased: bool },
    Number(Bounds),
    Exists(bool),
    Pattern(Regex),
    Network { address: IpAddr, bits: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Glob {
    Char(char),
    One,
    Any,
}

/// How a value is compared: a key's modifiers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct How<'a> {
    by: Option<&'a str>,
    cased: bool,
    /// Of a pattern: `i`, `m`, `s`.
    flags: Vec<&'a str>,
}

/// A pattern's memory when compiled; attackers do not write filters, but a slip may.
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl<'a> How<'a> {
    /// Of the words behind a key's field; and whether all of its values must hold.
    pub(super) fn read(key: &str, words: impl Iterator<Item = &'a str>) -> Result<(How<'a>, bool), String> {
        let (mut how, mut all) = (How::default(), false);
        for word in words {
            match word {
                "all" => all = true,
                "cased" if how.by != Some("re") => how.cased = true,
                "contains" | "startswith" | "endswith" | "exists" | "lt" | "lte" | "gt" | "gte" | "cidr"
                    if how.by.is_none() =>
                {
                    how.by = Some(word);
                }
                "re" if how.by.is_none() && !how.cased => how.by = Some(word),
                "i" | "m" | "s" if how.by == Some("re") => how.flags.push(word),
                _ => return Err(format!("the modifier `{word}` of {key:?} is not supported here")),
            }
        }
        Ok((how, all))
    }
}

impl Ask {
    /// Of a value in a filter.
    pub(super) fn read(key: &str, how: &How<'_>, value: &Value) -> Result<Ask, String> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(there) if how.by == Some("exists") => return Ok(Ask::Exists(*there)),
            Value::Bool(yes) => yes.to_string(),
            Value::Null if how.by.is_none() => return Ok(Ask::Exists(false)),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(format!("{key:?} is compared with {value}"));
            }
        };
        let number = |comparison| match Decimal::parse(&text) {
            Some(number) => Ok(Ask::Number(Bounds(vec![(comparison, number)]))),
            None => Err(format!("{key:?} is compared with {text:?}")),
        };
        match how.by {
            Some("lt") => number(Comparison::Less),
            Some("lte") => number(Comparison::AtMost),
            Some("gt") => number(Comparison::Greater),
            Some("gte") => number(Comparison::AtLeast),
            Some("exists") => Err(format!("{key:?} is neither true nor false but {text:?}")),
            Some("re") => pattern(&text, &how.flags).map_err(|why| format!("{key:?} is no pattern: {why}")),
            Some("cidr") => network(&text).ok_or_else(|| {
                format!("{text:?} of {key:?} is no network: write its first address and how many bits are fixed, as in 10.0.0.0/8")
            }),
            Some(_) | None => Ok(words(&text, how)),
        }
    }

    /// Whether it holds of what an alert has in the field.
    pub(super) fn holds(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Ask::Exists(there), value) => *there == value.is_some(),
            (Ask::Text { .. } | Ask::Number(_) | Ask::Pattern(_) | Ask::Network { .. }, None) => false,
            (Ask::Text { pattern, cased: true }, Some(text)) => fits(pattern, text),
            (Ask::Text { pattern, cased: false }, Some(text)) => fits(pattern, &text.to_lowercase()),
            (Ask::Number(bounds), Some(text)) => {
                Decimal::parse(text).is_some_and(|number| bounds.hold(number.billionths(), 1))
            }
            (Ask::Pattern(pattern), Some(text)) => pattern.is_match(text),
            (Ask::Network { address, bits }, Some(text)) => text.parse::<IpAddr>().is_ok_and(|ip| {
                ip.to_canonical().is_ipv4() == address.is_ipv4()
                    && first(ip.to_canonical(), *bits) == *address
            }),
        }
    }
}

/// A text with wildcards, whole or a part.
fn words(text: &str, how: &How<'_>) -> Ask {
    let mut pattern = glob(&if how.cased { text.to_owned() } else { text.to_lowercase() });
    if matches!(how.by, Some("contains" | "endswith")) {
        pattern.insert(0, Glob::Any);
    }
    if matches!(how.by, Some("contains" | "startswith")) {
        pattern.push(Glob::Any);
    }
    Ask::Text { pattern, cased: how.cased }
}

/// A regular expression, found anywhere in the text and with its case, as Sigma says; without look-around and references
/// back, of which no time that it takes could be promised.
fn pattern(text: &str, flags: &[&str]) -> Result<Ask, String> {
    let has = |flag| flags.contains(&flag);
    let mut builder = RegexBuilder::new(text);
    builder.case_insensitive(has("i")).multi_line(has("m")).dot_matches_new_line(has("s"));
    let pattern = builder.size_limit(PATTERN_BYTES_MAX).build();
    pattern
        .map(Ask::Pattern)
        .map_err(|error| error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
}

/// `10.0.0.0/8`; what lies behind the fixed bits must be zero.
fn network(text: &str) -> Option<Ask> {
    let (address, bits) = text.trim().split_once('/')?;
    let (address, bits): (IpAddr, u32) = (address.parse().ok()?, bits.parse().ok()?);
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most && first(address, bits) == address).then_some(Ask::Network { address, bits })
}

/// The first address of the network of so many bits in which one lies.
fn first(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0)).into())
        }
        IpAddr::V6(v6) => {
            IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0)).into())
        }
    }
}

/// Sigma's wildcards; a backslash takes the meaning from a star, a question mark or a backslash.
fn glob(text: &str) -> Vec<Glob> {
    let mut pattern = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        pattern.push(match c {
            '\\' => Glob::Char(chars.next_if(|next| "*?\\".contains(*next)).unwrap_or('\\')),
            '*' => Glob::Any,
            '?' => Glob::One,
            _ => Glob::Char(c),
        });
    }
    pattern
}

/// Whether a text fits: where a letter does not, the last star takes in one more.
fn fits(pattern: &[Glob], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut place, mut star) = (0, 0, None);
    while at < text.len() {
        match pattern.get(place) {
            Some(Glob::Any) => {
                star = Some((place, at));
                place += 1;
            }
            Some(Glob::One) => (at, place) = (at + 1, place + 1),
            Some(Glob::Char(c)) if *c == text[at] => (at, place) = (at + 1, place + 1),
            Some(Glob::Char(_)) | None => {
                let Some((before, from)) = star else { return false };
                star = Some((before, from + 1));
                (at, place) = (from + 1, before + 1);
            }
        }
    }
    pattern[place..].iter().all(|glob| *glob == Glob::Any)
}
