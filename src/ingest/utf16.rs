//! UTF-16: what Windows exports, mostly with a byte order mark, goes on as UTF-8.
//!
//! In: bytes. Out: the same bytes, or the text that they are, in UTF-8. Half a pair of surrogates becomes bytes that are
//! no UTF-8, so that its record is told as such. State: the bytes of the character under way.

/// See the head of this file.
#[derive(Debug)]
pub(super) enum Decoder {
    /// At most one byte was seen.
    Unknown(Option<u8>),
    /// What is no UTF-16 passes as it is.
    Plain,
    /// UTF-16.
    Utf16 {
        /// Whether the greater byte comes first.
        big: bool,
        /// The first byte of a unit.
        byte: Option<u8>,
        /// The first unit of a pair.
        high: Option<u16>,
    },
}

/// Bytes that no UTF-8 text has.
const BROKEN: &[u8] = b"\xff";

impl Decoder {
    /// Whether bytes pass as they are.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Decoder::Plain)
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        if let Decoder::Unknown(first) = self {
            let [next, rest @ ..] = bytes else { return };
            let Some(first) = first.replace(*next) else { return self.feed(rest, out) };
            bytes = rest;
            *self = match [first, *next] {
                [0xff, 0xfe] => Decoder::Utf16 { big: false, byte: None, high: None },
                [0xfe, 0xff] => Decoder::Utf16 { big: true, byte: None, high: None },
                // Without a mark: no other text has a NUL beside its first letter.
                [letter @ b'\t'..=b'~', 0] => {
                    out.push(letter);
                    Decoder::Utf16 { big: false, byte: None, high: None }
                }
                [0, letter @ b'\t'..=b'~'] => {
                    out.push(letter);
                    Decoder::Utf16 { big: true, byte: None, high: None }
                }
                begin => {
                    out.extend_from_slice(&begin);
                    Decoder::Plain
                }
            };
        }
        let Decoder::Utf16 { big, byte, high } = self else { return out.extend_from_slice(bytes) };
        for next in bytes {
            let Some(first) = byte.take() else {
                *byte = Some(*next);
                continue;
            };
            let pair = [first, *next];
            unit(if *big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }, high, out);
        }
    }

    /// There will be no more bytes.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        match std::mem::replace(self, Decoder::Plain) {
            Decoder::Unknown(first) => out.extend(first),
            Decoder::Utf16 { byte: None, high: None, .. } | Decoder::Plain => {}
            Decoder::Utf16 { .. } => out.extend_from_slice(BROKEN),
        }
    }
}

fn unit(unit: u16, high: &mut Option<u16>, out: &mut Vec<u8>) {
    let before = high.take();
    for decoded in char::decode_utf16(before.into_iter().chain([unit])) {
        match decoded {
            Ok(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(half) if half.unpaired_surrogate() == unit && (0xd800..0xdc00).contains(&unit) => {
                *high = Some(unit);
            }
            Err(_) => out.extend_from_slice(BROKEN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], piece: usize) -> Vec<u8> {
        let (mut decoder, mut out) = (Decoder::Unknown(None), Vec::new());
        bytes.chunks(piece).for_each(|piece| decoder.feed(piece, &mut out));
        decoder.finish(&mut out);
        out
    }

    #[test]
    fn utf16_is_utf8_however_it_is_cut() {
        let text = "{\"a\":\"\u{20ac}\u{1f98a}\"}\r\n";
        for (mark, bytes) in
            [([0xff, 0xfe], u16::to_le_bytes as fn(u16) -> [u8; 2]), ([0xfe, 0xff], u16::to_be_bytes)]
        {
            let units = text.encode_utf16().flat_map(bytes);
            let written: Vec<u8> = mark.into_iter().chain(units).collect();
            for piece in 1..6 {
                assert_eq!(decoded(&written, piece), text.as_bytes());
                assert_eq!(decoded(&written[2..], piece), text.as_bytes(), "without a mark");
                assert_eq!(decoded(text.as_bytes(), piece), text.as_bytes());
            }
        }
        assert_eq!(decoded(b"x", 1), b"x");
        assert_eq!(decoded(b"", 1), b"");
        assert_eq!(decoded(b"\xff\xfea\0\x3d\xd8b\0\x3d\xd8", 3), b"a\xffb\xff", "halves of pairs");
        assert_eq!(decoded(b"\xff\xfea\0b", 3), b"a\xff", "half a unit");
    }
}
