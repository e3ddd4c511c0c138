//! Scan: the straight way through a record's JSON. What is not plain, it leaves to [`super::extract`].
//!
//! It takes a part of what `serde_json` takes, with the same values, and nothing else: whatever it is not sure of (an
//! escape in a wanted key, deep nesting, any fault) it gives up, and the record is read again by `serde_json`, whose word
//! counts. So it can be fast and simple, and need not tell what is wrong. A test holds the two to each other.

use std::borrow::Cow;

use wide::u8x16;

use super::guesses::{Guess, Guesses, START};
use super::paths::{NOWHERE, Node, Paths, ROOT};
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
    let mut scan = Scan { paths, guesses, last: START, text, bytes: text.as_bytes(), slots };
    let (byte, at) = scan.token(0)?;
    let end = scan.value(byte, at, ROOT, 0)?;
    scan.token(end).is_none().then_some(())
}

/// How far it is goes from hand to hand: each step waits for the one before, and would wait longer for what lies in memory.
struct Scan<'p, 's, 'a> {
    paths: &'p Paths,
    guesses: &'p mut Guesses,
    /// The key before.
    last: Guess,
    text: &'a str,
    bytes: &'a [u8],
    slots: &'s mut Slots<'a>,
}

impl<'a> Scan<'_, '_, 'a> {
    #[inline]
    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    /// The first byte from there on that is no white space, and where it lies. Mostly it is the first of all.
    #[inline]
    fn token(&self, at: usize) -> Option<(u8, usize)> {
        match self.byte(at)? {
            0..=b' ' => self.token_behind(at),
            byte => Some((byte, at)),
        }
    }

    fn token_behind(&self, at: usize) -> Option<(u8, usize)> {
        let space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\t' | b'\r');
        let at = at + self.bytes.get(at..)?.iter().position(|byte| !space(byte))?;
        Some((self.byte(at)?, at))
    }

    #[inline]
    fn put(&mut self, node: Node, value: Value<'a>) {
        if node == NOWHERE {
            return;
        }
        if let Some(slot) = self.paths.slot_at(node) {
            self.slots.put(slot, value);
        }
    }

    /// A value at a node that begins with this byte. Answers where it ends, as all of these do.
    #[inline]
    fn value(&mut self, byte: u8, at: usize, node: Node, depth: usize) -> Option<usize> {
        if byte == b'"' { self.text_at(at, node) } else { self.other(byte, at, node, depth) }
    }

    /// A value that is no text.
    fn other(&mut self, byte: u8, at: usize, node: Node, depth: usize) -> Option<usize> {
        match byte {
            b'-' | b'0'..=b'9' => self.number(at, node),
            b'{' if depth < DEPTH_MAX => self.object(at, node, depth + 1),
            b'[' if depth < DEPTH_MAX => self.array(at, node, depth + 1),
            b't' => self.word(at, "true", node, Value::Bool(true)),
            b'f' => self.word(at, "false", node, Value::Bool(false)),
            b'n' => self.word(at, "null", NOWHERE, Value::Absent),
            _ => None,
        }
    }

    fn object(&mut self, at: usize, node: Node, depth: usize) -> Option<usize> {
        let (byte, mut at) = self.token(at + 1)?;
        if byte == b'}' {
            return Some(at + 1);
        }
        loop {
            let (child, colon) = self.key(at, node)?;
            let (byte, begin) = self.token(colon)?;
            let end = self.value(byte, begin, child, depth)?;
            match self.token(end)? {
                (b'}', end) => return Some(end + 1),
                (b',', end) => (_, at) = self.token(end + 1)?,
                _ => return None,
            }
        }
    }

    /// Passes a key of an object at `node` and the colon; where it leads.
    #[inline]
    fn key(&mut self, at: usize, node: Node) -> Option<(Node, usize)> {
        if let Some((guess, length, child)) = self.guesses.next(self.last, node, self.bytes.get(at..)?) {
            self.last = guess;
            return Some((child, at + length));
        }
        self.strange_key(at, node)
    }

    /// The same of one that was not guessed.
    fn strange_key(&mut self, at: usize, node: Node) -> Option<(Node, usize)> {
        if self.byte(at)? != b'"' {
            return None;
        }
        let (end, plain) = self.string(at)?;
        let child = match node {
            NOWHERE => NOWHERE,
            node if plain => self.paths.step(node, self.text.get(at + 1..end - 1)?).unwrap_or(NOWHERE),
            // The key's letters are not its bytes.
            _ => return None,
        };
        if plain && self.byte(end) == Some(b':') {
            self.last = self.guesses.learn(self.last, node, child, &self.bytes[at..=end]);
        }
        let (byte, colon) = self.token(end)?;
        (byte == b':').then_some((child, colon + 1))
    }

    fn array(&mut self, at: usize, node: Node, depth: usize) -> Option<usize> {
        let (mut byte, mut at) = self.token(at + 1)?;
        if byte == b']' {
            return Some(at + 1);
        }
        loop {
            let end = self.value(byte, at, node, depth)?;
            match self.token(end)? {
                (b']', end) => return Some(end + 1),
                (b',', end) => (byte, at) = self.token(end + 1)?,
                _ => return None,
            }
        }
    }

    fn word(&mut self, at: usize, word: &str, node: Node, value: Value<'a>) -> Option<usize> {
        if !self.bytes[at..].starts_with(word.as_bytes()) {
            return None;
        }
        self.put(node, value);
        Some(at + word.len())
    }

    /// A string, which begins with a quote there.
    #[inline]
    fn text_at(&mut self, at: usize, node: Node) -> Option<usize> {
        let (end, plain) = self.string(at)?;
        if node == NOWHERE {
            return Some(end);
        }
        let text = if plain {
            Cow::Borrowed(self.text.get(at + 1..end - 1)?)
        } else {
            Cow::Owned(serde_json::from_str(self.text.get(at..end)?).ok()?)
        };
        // It may be JSON that a path goes on in.
        if matches!(text.as_bytes().first(), Some(b'{' | b'[')) && self.paths.goes_on(node) {
            return None;
        }
        self.put(node, Value::Text(text));
        Some(end)
    }

    /// Passes a string whose first quote is there; whether it is without escapes.
    #[inline]
    fn string(&self, at: usize) -> Option<(usize, bool)> {
        let end = at + 1 + telling(self.bytes.get(at + 1..)?);
        if self.byte(end)? == b'"' { Some((end + 1, true)) } else { self.escaped(end) }
    }

    /// The rest of a string from the first byte on that is not as it is.
    fn escaped(&self, mut at: usize) -> Option<(usize, bool)> {
        loop {
            match self.byte(at)? {
                b'"' => return Some((at + 1, false)),
                b'\\' => {
                    let escaped = self.byte(at + 1)?;
                    at += 2;
                    if escaped == b'u' {
                        let digits = self.bytes.get(at..at + 4)?;
                        at += 4;
                        digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                    } else if !br#""\/bfnrt"#.contains(&escaped) {
                        return None;
                    }
                }
                _ => return None,
            }
            at += telling(&self.bytes[at..]);
        }
    }

    /// Where digits end.
    #[inline]
    fn digits(&self, mut at: usize) -> usize {
        while let Some(eight) = self.bytes.get(at..).and_then(<[u8]>::first_chunk) {
            let digits = digits_of(*eight);
            at += digits;
            if digits < eight.len() {
                return at;
            }
        }
        while self.byte(at).is_some_and(|byte| byte.is_ascii_digit()) {
            at += 1;
        }
        at
    }

    fn number(&mut self, start: usize, node: Node) -> Option<usize> {
        let negative = self.byte(start)? == b'-';
        let first = start + usize::from(negative);
        let leads = self.byte(first) == Some(b'0');
        let mut at = self.digits(first);
        let whole = at - first;
        if whole == 0 || whole > 1 && leads {
            return None;
        }
        let mut integer = whole <= DIGITS_MAX && !(negative && leads);
        if self.byte(at) == Some(b'.') {
            integer = false;
            at = self.some_digits(at + 1)?;
        }
        if let Some(b'e' | b'E') = self.byte(at) {
            integer = false;
            let signed = matches!(self.byte(at + 1), Some(b'+' | b'-'));
            at = self.some_digits(at + 1 + usize::from(signed))?;
        }
        if node != NOWHERE {
            let text = self.text.get(start..at)?;
            let value = if integer { Value::Int(text.parse().ok()?) } else { number(text)? };
            self.put(node, value);
        }
        Some(at)
    }

    /// Where digits end, of which there is at least one.
    fn some_digits(&self, at: usize) -> Option<usize> {
        Some(self.digits(at)).filter(|end| *end > at)
    }
}

/// Any other number, as `serde_json` reads it.
fn number(text: &str) -> Option<Value<'static>> {
    let number: serde_json::Number = serde_json::from_str(text).ok()?;
    let signed = number.as_i64().map(Value::Int);
    signed.or_else(|| number.as_u64().map(Value::Uint)).or_else(|| number.as_f64().map(Value::Float))
}

/// How many of these are digits before the first that is none: a digit's upper half is a three, also with six added to it. What is
/// carried over comes from a byte that is no digit, and spoils only those behind it.
#[inline]
fn digits_of(bytes: [u8; 8]) -> usize {
    const UPPER: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    const THREES: u64 = 0x3030_3030_3030_3030;
    const SIXES: u64 = 0x0606_0606_0606_0606;
    let bytes = u64::from_le_bytes(bytes);
    let other = ((bytes & UPPER) ^ THREES) | ((bytes.wrapping_add(SIXES) & UPPER) ^ THREES);
    (other.trailing_zeros() / 8) as usize
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
    fn digits_are_counted_to_the_first_other() {
        for other in 0..=u8::MAX {
            for at in 0..8 {
                for behind in [b'0', b'9', 0xff, 0] {
                    let mut bytes = *b"90817253";
                    bytes[at] = other;
                    bytes[at + 1..].fill(behind);
                    let count = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
                    assert_eq!(digits_of(bytes), count, "{bytes:?}");
                }
            }
        }
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
