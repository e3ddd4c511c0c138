//! Scan: the straight way through a record's JSON. What is not plain, it leaves to [`super::extract`].
//!
//! It takes a part of what `serde_json` takes, with the same values, and nothing else: whatever it is not sure of (an
//! escape in a wanted key, deep nesting, any fault) it gives up, and the record is read again by `serde_json`, whose word
//! counts. So it can be fast and simple, and need not tell what is wrong. A test holds the two to each other.

use std::borrow::Cow;

use wide::u8x16;

use super::guesses::{Guess, Guesses, START};
use super::paths::{Node, Paths, ROOT};
use super::value::{Slots, Value};

/// Nesting beyond this is given up.
const DEPTH_MAX: usize = 64;

/// Longer whole numbers may not fit in 64 bits.
const DIGITS_MAX: usize = 18;

/// Fills `slots` from the one JSON object in `text`; none where it gave up, having filled some.
pub(super) fn scan<'a>(
    paths: &Paths,
    guesses: &mut Guesses,
    text: &'a str,
    slots: &mut Slots<'a>,
) -> Option<()> {
    let mut scan = Scan { paths, guesses, last: START, text, bytes: text.as_bytes(), at: 0, slots };
    scan.space();
    scan.value(Some(ROOT), 0)?;
    scan.space();
    (scan.at == scan.bytes.len()).then_some(())
}

struct Scan<'p, 's, 'a> {
    paths: &'p Paths,
    guesses: &'p mut Guesses,
    /// The key before.
    last: Guess,
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    slots: &'s mut Slots<'a>,
}

/// Where a key leads; none where nobody asks.
struct Place(Option<Node>);

impl<'a> Scan<'_, '_, 'a> {
    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.byte() {
            self.at += 1;
        }
    }

    /// Whether `byte` comes next, which is then passed.
    fn passes(&mut self, byte: u8) -> bool {
        let is = self.byte() == Some(byte);
        self.at += usize::from(is);
        is
    }

    fn put(&mut self, node: Option<Node>, value: Value<'a>) {
        if let Some(slot) = node.and_then(|node| self.paths.slot_at(node)) {
            self.slots.put(slot, value);
        }
    }

    /// A value at a node; none where nobody asks for it.
    fn value(&mut self, node: Option<Node>, depth: usize) -> Option<()> {
        match self.byte()? {
            b'"' => self.text_at(node),
            b'{' if depth < DEPTH_MAX => self.object(node, depth + 1),
            b'[' if depth < DEPTH_MAX => self.array(node, depth + 1),
            b't' => self.word("true", node, Value::Bool(true)),
            b'f' => self.word("false", node, Value::Bool(false)),
            b'n' => self.word("null", None, Value::Absent),
            b'-' | b'0'..=b'9' => self.number(node),
            _ => None,
        }
    }

    fn object(&mut self, node: Option<Node>, depth: usize) -> Option<()> {
        self.at += 1;
        self.space();
        if self.passes(b'}') {
            return Some(());
        }
        loop {
            let Place(child) = self.key(node)?;
            self.space();
            self.value(child, depth)?;
            self.space();
            if self.passes(b'}') {
                return Some(());
            }
            if !self.passes(b',') {
                return None;
            }
            self.space();
        }
    }

    /// Passes a key of an object at `node` and the colon; where it leads.
    fn key(&mut self, node: Option<Node>) -> Option<Place> {
        if let Some((guess, length, child)) = self.guesses.next(self.last, node, &self.bytes[self.at..]) {
            self.last = guess;
            self.at += length;
            return Some(Place(child));
        }
        let (start, plain) = self.string()?;
        let child = match node {
            Some(node) if plain => self.paths.step(node, self.text.get(start..self.at - 1)?),
            // The key's letters are not its bytes.
            Some(_) => return None,
            None => None,
        };
        if plain && self.byte() == Some(b':') {
            self.last = self.guesses.learn(self.last, node, child, &self.bytes[start - 1..=self.at]);
        }
        self.space();
        self.passes(b':').then_some(Place(child))
    }

    fn array(&mut self, node: Option<Node>, depth: usize) -> Option<()> {
        self.at += 1;
        self.space();
        if self.passes(b']') {
            return Some(());
        }
        loop {
            self.value(node, depth)?;
            self.space();
            if self.passes(b']') {
                return Some(());
            }
            if !self.passes(b',') {
                return None;
            }
            self.space();
        }
    }

    fn word(&mut self, word: &str, node: Option<Node>, value: Value<'a>) -> Option<()> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return None;
        }
        self.at += word.len();
        self.put(node, value);
        Some(())
    }

    fn text_at(&mut self, node: Option<Node>) -> Option<()> {
        let (start, plain) = self.string()?;
        let Some(at) = node else { return Some(()) };
        let text = if plain {
            Cow::Borrowed(self.text.get(start..self.at - 1)?)
        } else {
            Cow::Owned(serde_json::from_str(self.text.get(start - 1..self.at)?).ok()?)
        };
        // It may be JSON that a path goes on in.
        if matches!(text.as_bytes().first(), Some(b'{' | b'[')) && self.paths.goes_on(at) {
            return None;
        }
        self.put(node, Value::Text(text));
        Some(())
    }

    /// Passes a string; where its content begins, and whether that is without escapes.
    fn string(&mut self) -> Option<(usize, bool)> {
        if !self.passes(b'"') {
            return None;
        }
        let (start, mut plain) = (self.at, true);
        loop {
            self.at += telling(&self.bytes[self.at..]);
            match self.byte()? {
                b'"' => {
                    self.at += 1;
                    return Some((start, plain));
                }
                b'\\' => {
                    plain = false;
                    let escaped = *self.bytes.get(self.at + 1)?;
                    self.at += 2;
                    if escaped == b'u' {
                        let digits = self.bytes.get(self.at..self.at + 4)?;
                        self.at += 4;
                        digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                    } else if !br#""\/bfnrt"#.contains(&escaped) {
                        return None;
                    }
                }
                _ => return None,
            }
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self, node: Option<Node>) -> Option<()> {
        let start = self.at;
        let negative = self.passes(b'-');
        let leading = self.byte();
        let whole = self.digits();
        if whole == 0 || whole > 1 && leading == Some(b'0') {
            return None;
        }
        let mut integer = whole <= DIGITS_MAX && !(negative && leading == Some(b'0'));
        if self.passes(b'.') {
            integer = false;
            (self.digits() > 0).then_some(())?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            integer = false;
            self.at += 1;
            if !self.passes(b'+') {
                self.passes(b'-');
            }
            (self.digits() > 0).then_some(())?;
        }
        if node.is_some() {
            let text = self.text.get(start..self.at)?;
            let value = if integer { Value::Int(text.parse().ok()?) } else { number(text)? };
            self.put(node, value);
        }
        Some(())
    }
}

/// Any other number, as `serde_json` reads it.
fn number(text: &str) -> Option<Value<'static>> {
    let number: serde_json::Number = serde_json::from_str(text).ok()?;
    let signed = number.as_i64().map(Value::Int);
    signed.or_else(|| number.as_u64().map(Value::Uint)).or_else(|| number.as_f64().map(Value::Float))
}

/// Bytes that are looked at at once.
const WIDE: usize = 16;

/// How many bytes come before the first that a string cannot hold as it is: a quote, a backslash, a control character.
fn telling(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(wide) = bytes[at..].first_chunk::<WIDE>() {
        if let Some(found) = telling_of(*wide) {
            return at + found;
        }
        at += WIDE;
    }
    let rest = bytes[at..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
    rest.map_or(bytes.len(), |rest| at + rest)
}

/// The first telling byte of these.
fn telling_of(bytes: [u8; WIDE]) -> Option<usize> {
    let all = u8x16::new(bytes);
    let is = |byte: u8| all.simd_eq(u8x16::splat(byte));
    let control = all.min(u8x16::splat(0x1f)).simd_eq(all);
    let found = (is(b'"') | is(b'\\') | control).to_bitmask();
    (found != 0).then(|| found.trailing_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::normalize::extract::read;
    use crate::plan::mapping::FieldPath;

    fn paths() -> Paths {
        let mut paths = Paths::new();
        for path in ["a", "b.c", "b", "d", "é", "e.f.g"] {
            paths.slot(&FieldPath::try_from(path.to_owned()).unwrap());
        }
        paths
    }

    /// What is wrong with the text, or what it holds.
    fn whole(paths: &Paths, text: &str) -> Result<String, String> {
        let mut slots = Slots::new(paths.len());
        read(paths, text, &mut slots).map_err(|error| error.to_string())?;
        Ok(shown(paths, &slots))
    }

    fn shown(paths: &Paths, slots: &Slots<'_>) -> String {
        let all = |slot| slots.all(slot).map(|value| format!("{value:?}")).collect::<Vec<_>>();
        let every: Vec<_> = (0..u16::try_from(paths.len()).unwrap()).map(all).collect();
        format!("{every:?}")
    }

    /// Where the straight way goes through it says what `serde_json` says; whether it did.
    fn agrees(text: &str) -> bool {
        let paths = paths();
        let mut guesses = Guesses::new();
        let mut agreed = || agrees_after(&paths, &mut guesses, text);
        // The first time nothing is known of its keys, then all is.
        let done = agreed();
        assert_eq!(done, agreed(), "{text}");
        done
    }

    fn agrees_after(paths: &Paths, guesses: &mut Guesses, text: &str) -> bool {
        let mut slots = Slots::new(paths.len());
        let done = scan(paths, guesses, text, &mut slots);
        if done.is_some() {
            assert_eq!(whole(paths, text), Ok(shown(paths, &slots)), "{text}");
        }
        done.is_some()
    }

    #[test]
    fn plain_records_go_straight_and_faults_do_not() {
        for text in [
            "{}",
            r#" { "a" : "x" , "b":{"c":[1,-2,3.5e-3]},"z":{"a":[{"q":null}]}, "é":true} "#,
            r#"{"a":"\u00e9\n\"","z":"\ud800 \\ \/","d":123456789012345678,"b":18446744073709551615}"#,
            r#"{"a":-0,"a":0,"z":1E400}"#,
            r#"{"a":[],"b":[[],{}],"e":{"f":{"g":"deep"}}, "b.c":-1.25, "d":99999999999999999999}"#,
            "{\"a\":\"a text that is longer than eight bytes, with é and 漢 in it\"}",
        ] {
            assert!(agrees(text), "{text}");
        }
        for text in [
            "",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":-}",
            "{\"a\":1e}",
            "{\"a\":tru}",
            "{\"a\":\"\t\"}",
            "{\"z\":\"\u{1}\"}",
            "{\"z\":\"\\x\"}",
            "{\"z\":\"\\u00g0\"}",
            "{} x",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":[1 2]}",
            "{'a':1}",
            "{\"a\":+1}",
            "{\"a\":.5}",
            "{\"a\":1e999}",
            "{\"a\":NaN}",
            "{\"a\":\"",
        ] {
            assert!(!agrees(text), "{text:?}");
            assert!(whole(&paths(), text).is_err(), "{text:?}");
        }
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|b| b.to_string()),
            any::<i64>().prop_map(|n| n.to_string()),
            any::<u64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_filter_map("finite", |n| n.is_finite().then(|| format!("{n:?}"))),
            "\\PC{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
            "[x\\[{]\\PC{0,6}".prop_map(|text| serde_json::to_string(&text).unwrap()),
            ".{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            let key = prop_oneof![
                Just("a"),
                Just("b"),
                Just("c"),
                Just("b.c"),
                Just("e"),
                Just("f"),
                Just("g"),
                Just("é"),
                Just("z")
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|all| format!("[{}]", all.join(" , "))),
                prop::collection::vec((key, inner), 0..5).prop_map(|all| {
                    let fields: Vec<String> =
                        all.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
                    format!("{{{}}}", fields.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_agrees_on_json(value in json()) {
            let text = format!("{{\"e\":{value},\"a\":{value}}}");
            // A text that may be JSON itself is left to serde_json.
            prop_assert!(agrees(&text) || text.contains("\"{") || text.contains("\"["), "{}", text);
        }

        #[test]
        fn it_agrees_on_json_with_a_fault(value in json(), at in any::<prop::sample::Index>(), byte in "[\\x00-\\x7f]") {
            let mut text: Vec<char> = format!("{{\"b\":{value}}}").chars().collect();
            let at = at.index(text.len());
            text[at] = byte.chars().next().unwrap();
            agrees(&text.into_iter().collect::<String>());
        }

        #[test]
        fn it_agrees_whatever_came_before(values in prop::collection::vec(json(), 1..6), cut in 0..40usize) {
            let (paths, mut guesses) = (paths(), Guesses::new());
            for value in &values {
                let text = format!("{{\"e\":{value},\"a\":{value}}}");
                agrees_after(&paths, &mut guesses, &text);
                // What breaks off where a guess was right.
                agrees_after(&paths, &mut guesses, &text[..text.floor_char_boundary(cut)]);
            }
        }

        #[test]
        fn the_telling_byte_is_the_first(text in "[a-zA-Z\"\\\\\\x00-\\x7fé漢]{0,40}") {
            let first = text.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            prop_assert_eq!(telling(text.as_bytes()), first.unwrap_or(text.len()));
        }
    }
}
