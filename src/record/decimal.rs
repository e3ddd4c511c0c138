//! Decimal: numbers as rules and alerts write them, exact to nine places, so that sums do not drift.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number in billionths. Its magnitude is at most 10^20 (more than 64 bits count), so that 10^9 of them add up
/// without overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(i128);

impl Decimal {
    /// Billionths of one.
    pub const SCALE: i128 = 1_000_000_000;
    const MAX: i128 = 100_000_000_000_000_000_000 * Self::SCALE;

    /// A whole number.
    #[must_use]
    pub fn whole(number: i64) -> Decimal {
        Decimal(i128::from(number) * Self::SCALE)
    }

    /// In billionths.
    #[must_use]
    pub fn billionths(self) -> i128 {
        self.0
    }

    /// Reads `12`, `-0.5`, `1.5e3`; places behind the ninth are cut off. None for what is no such number, or too large.
    #[must_use]
    pub fn parse(text: &str) -> Option<Decimal> {
        let text = text.trim();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (digits, 0),
        };
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && part.is_empty() || exponent.abs() > 60 {
            return None;
        }
        // The value is the sum of digit i times 10^(place - i), where place is that of the first digit.
        let mut place = i32::try_from(whole.len()).ok()? + exponent + 8;
        let mut value = 0i128;
        for digit in whole.bytes().chain(part.bytes()) {
            let digit = i128::from(char::from(digit).to_digit(10)?);
            if digit > 0 && place >= 0 {
                let weight = 10i128.checked_pow(u32::try_from(place).ok()?)?;
                value = value.checked_add(digit.checked_mul(weight)?)?;
            }
            place -= 1;
        }
        (value <= Self::MAX).then_some(Decimal(if negative { -value } else { value }))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, part) = (self.0.abs() / Self::SCALE, self.0.abs() % Self::SCALE);
        if part == 0 {
            return write!(f, "{sign}{whole}");
        }
        write!(f, "{sign}{whole}.{}", format!("{part:09}").trim_end_matches('0'))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Decimal;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, at most 10^20")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Decimal, E> {
                Decimal::parse(text).ok_or_else(|| E::custom(format!("{text:?} is no number up to 10^20")))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Decimal, E> {
                Ok(Decimal::whole(number))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Decimal, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Decimal, E> {
                self.visit_str(&number.to_string())
            }
        }
        from.deserialize_any(Number)
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Decimal".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["number", "string"] })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_exactly() {
        for (text, told) in [
            ("0", "0"),
            ("-0.5", "-0.5"),
            ("+12", "12"),
            (" 1.5e3 ", "1500"),
            ("15E-1", "1.5"),
            (".25", "0.25"),
            ("7.", "7"),
            ("0.1234567899", "0.123456789"),
            ("18446744073709551615", "18446744073709551615"),
            ("100000000000000000000", "100000000000000000000"),
        ] {
            assert_eq!(Decimal::parse(text).map(|n| n.to_string()).as_deref(), Some(told), "{text}");
        }
        for text in ["", "-", ".", "abc", "1,5", "0x10", "NaN", "1e99", "100000000000000000001", "1e", "--1"]
        {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_told_is_read(billionths in -10i128.pow(29)..10i128.pow(29)) {
            let number = Decimal(billionths);
            prop_assert_eq!(Decimal::parse(&number.to_string()), Some(number));
        }
    }
}
