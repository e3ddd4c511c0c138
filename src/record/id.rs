//! Identities: 128 bits of BLAKE3 over what makes the thing itself, never over a clock, a worker or a path.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// The identity of the thing that `parts` describe; parts are length-prefixed, so none can run into the next.
            #[must_use]
            pub fn of(parts: &[&[u8]]) -> Self {
                Self(digest($prefix, parts))
            }

            /// Reads what `Display` writes.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let hex = text.as_bytes();
                if hex.len() != 32 {
                    return None;
                }
                let mut id = [0u8; 16];
                for (byte, pair) in id.iter_mut().zip(hex.chunks_exact(2)) {
                    let high = (pair[0] as char).to_digit(16)?;
                    let low = (pair[1] as char).to_digit(16)?;
                    *byte = u8::try_from(high << 4 | low).ok()?;
                }
                Some(Self(id))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0u8; 32];
                hex(&self.0, &mut text);
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                if to.is_human_readable() {
                    return to.collect_str(self);
                }
                to.serialize_u128(u128::from_le_bytes(self.0))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if !from.is_human_readable() {
                    return Ok(Self(u128::deserialize(from)?.to_le_bytes()));
                }
                let text = String::deserialize(from)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not 32 hex digits")))
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })
            }
        }
    };
}

identity!(
    /// An alert: tenant, product and vendor id, or tenant, source name and ordinal.
    AlertId, b"quell.alert"
);
identity!(
    /// An incident: the alert that it began with when it was first published.
    IncidentId, b"quell.incident"
);
identity!(
    /// A ruling on one version of an incident.
    DecisionId, b"quell.decision"
);
identity!(
    /// One command to the world: incident, playbook, step, target, parameters, occurrence.
    ActionId, b"quell.action"
);

fn digest(prefix: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    /// Longer ones are rare.
    const SHORT_MAX: usize = 192;
    // Most fit one or two BLAKE3 blocks: gather them first, one update is several times cheaper than many.
    let length = prefix.len() + parts.iter().map(|part| size_of::<u64>() + part.len()).sum::<usize>();
    let (mut short, mut long) = ([0; SHORT_MAX], Vec::new());
    let all = match short.get_mut(..length) {
        Some(all) => all,
        None => {
            long.resize(length, 0);
            &mut long[..]
        }
    };
    let mut rest = &mut *all;
    let mut put = |bytes: &[u8]| {
        let (here, behind) = std::mem::take(&mut rest).split_at_mut(bytes.len());
        here.copy_from_slice(bytes);
        rest = behind;
    };
    put(prefix);
    for part in parts {
        put(&(part.len() as u64).to_le_bytes());
        put(part);
    }
    let mut id = [0u8; 16];
    id.copy_from_slice(&blake3::hash(all).as_bytes()[..16]);
    id
}

/// Writes 16 bytes as 32 hex digits.
pub fn hex(id: &[u8; 16], text: &mut [u8; 32]) {
    for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(id) {
        *pair = PAIRS[usize::from(*byte)];
    }
}

/// Each byte's two digits: an archive has three ids an alert.
const PAIRS: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_run_into_each_other() {
        assert_ne!(AlertId::of(&[b"ab", b"c"]), AlertId::of(&[b"a", b"bc"]));
        assert_ne!(AlertId::of(&[b"a"]).0, IncidentId::of(&[b"a"]).0);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let id = AlertId::of(&[b"x"]);
        assert_eq!(AlertId::parse(&id.to_string()), Some(id));
        for byte in 0..=255 {
            assert_eq!(AlertId([byte; 16]).to_string(), format!("{byte:02x}").repeat(16));
        }
        assert_eq!(AlertId::parse("x"), None);
        assert_eq!(AlertId::parse(&"g".repeat(32)), None);
    }
}
