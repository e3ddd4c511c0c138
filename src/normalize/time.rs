//! Time: event times as products write them, in milliseconds.

mod named;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::canonical::trimmed;
use super::value::{Digits, Value};
use crate::plan::mapping::TimeFormat;
use crate::record::Millis;

/// What a time leaves open.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// The zone of a time that names none.
    pub(super) zone: TimeZone,
    /// The ingest time: a time without a year is the last that is not over a day after it.
    pub(super) as_of: Millis,
}

/// Numbers of seconds from here on are no seconds: the year would be past 5100.
const SECONDS_MAX: f64 = 1e11;

/// Numbers of smaller units from here on are those: with `SECONDS_MAX`, each number is at most one unit's, so that a
/// mapping may name them all, and what is in seconds is not taken for a day of 1970.
const FINE_MIN: i64 = 100_000_000_000;

/// Times before 1900 are what programs write that have none: the first of January of the year 1, most often.
const MILLIS_MIN: i64 = -2_208_988_800_000;

/// The time that the first fitting format reads in `value`.
pub(super) fn read(value: &Value<'_>, formats: &[TimeFormat], frame: &Frame) -> Option<Millis> {
    let mut digits: Digits = [0; 40];
    let times = formats.iter().filter_map(|format| match (format, value) {
        (TimeFormat::EpochSeconds, Value::Int(seconds)) => epoch_seconds_int(*seconds),
        (TimeFormat::EpochSeconds, Value::Float(seconds)) => epoch_seconds(*seconds),
        (TimeFormat::EpochMillis, Value::Int(millis)) => fine(*millis, 1),
        (format, value) => text(value.text(&mut digits)?, *format, frame),
    });
    times.into_iter().find(|time| *time >= MILLIS_MIN)
}

fn text(text: &str, format: TimeFormat, frame: &Frame) -> Option<Millis> {
    let text = trimmed(text);
    match format {
        TimeFormat::Rfc3339 => instant(text),
        // Of a time that names its zone in brackets that zone counts.
        TimeFormat::Iso8601 if text.ends_with(']') => {
            text.parse::<Zoned>().ok().map(|z| floor(z.timestamp()))
        }
        TimeFormat::Iso8601 => instant(text).or_else(|| zoned(text.parse().ok()?, frame)),
        TimeFormat::EpochSeconds => match text.parse::<i64>() {
            Ok(seconds) => epoch_seconds_int(seconds),
            Err(_) => epoch_seconds(text.parse().ok()?),
        },
        TimeFormat::EpochMillis => fine(whole(text)?, 1),
        TimeFormat::EpochMicros => fine(whole(text)?, 1_000),
        TimeFormat::EpochNanos => fine(whole(text)?, 1_000_000),
        TimeFormat::Syslog => named::read(text, frame),
    }
}

/// A time with its zone.
fn instant(text: &str) -> Option<Millis> {
    fixed(text.as_bytes()).or_else(|| timestamp(text)).or_else(|| {
        // As databases write it.
        let bare = [" UTC", " GMT", " Z"].iter().find_map(|zone| text.strip_suffix(zone))?;
        timestamp(&format!("{bare}Z"))
    })
}

/// A whole number, though it be written as a double.
fn whole(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        #[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
        (number.abs() < 9e18).then(|| number.round() as i64)
    })
}

/// So many units, of which a millisecond has `of_milli`.
fn fine(units: i64, of_milli: i64) -> Option<Millis> {
    let unit = units.unsigned_abs() / of_milli.unsigned_abs();
    let bounded = unit >= FINE_MIN.unsigned_abs() && unit < FINE_MIN.unsigned_abs() * 1_000;
    bounded.then(|| units.div_euclid(of_milli)).and_then(in_range)
}

fn epoch_seconds_int(seconds: i64) -> Option<Millis> {
    in_range(seconds.checked_mul(1000).filter(|_| seconds.unsigned_abs() < 100_000_000_000)?)
}

fn epoch_seconds(seconds: f64) -> Option<Millis> {
    // By way of microseconds, so that 1.001 s, which no float is, does not become 1,000 ms. NaN is below no bound.
    if seconds.abs() < SECONDS_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
        let micros = (seconds * 1e6).round() as i64;
        return in_range(micros.div_euclid(1000));
    }
    None
}

/// Only times that the calendar holds.
fn in_range(millis: i64) -> Option<Millis> {
    Timestamp::from_millisecond(millis).ok().map(|_| millis)
}

fn timestamp(text: &str) -> Option<Millis> {
    text.parse::<Timestamp>().ok().map(floor)
}

/// Towards the past, as ticks round; jiff itself would round towards 1970.
fn floor(time: Timestamp) -> Millis {
    i64::try_from(time.as_nanosecond().div_euclid(1_000_000)).unwrap_or(time.as_millisecond())
}

fn zoned(time: DateTime, frame: &Frame) -> Option<Millis> {
    time.to_zoned(frame.zone.clone()).ok().map(|time| floor(time.timestamp()))
}

/// `2026-01-31T12:00:00[.fraction](Z|+hh:mm|+hhmm)` by hand: the shape of nearly every time there is. None is no
/// verdict: what is odd (leap seconds, say) is left to jiff.
fn fixed(text: &[u8]) -> Option<Millis> {
    let (stamp, rest) = text.split_at_checked(19)?;
    let shape = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if shape.iter().any(|(at, byte)| stamp[*at] != *byte) || !matches!(stamp[10], b'T' | b't' | b' ') {
        return None;
    }
    let year = two(&stamp[0..2])? * 100 + two(&stamp[2..4])?;
    let (month, day) = (two(&stamp[5..7])?, two(&stamp[8..10])?);
    let (hour, minute, second) = (two(&stamp[11..13])?, two(&stamp[14..16])?, two(&stamp[17..19])?);
    if !(1..=12).contains(&month)
        || day < 1
        || day > days_in(year, month)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let (millis, rest) = fraction(rest)?;
    let offset = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, minutes @ ..] => {
            let minutes = two(minutes.strip_prefix(b":").unwrap_or(minutes))?;
            let hours = two(&[*h1, *h2])?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(seconds * 1000 + millis)
}

/// Milliseconds of a fraction of any length, cut, and what follows it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.' | b',', digits @ ..] = text else { return Some((0, text)) };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 || count > 9 {
        return None;
    }
    let digit = |at: usize| if at < count { i64::from(digits[at] - b'0') } else { 0 };
    Some((digit(0) * 100 + digit(1) * 10 + digit(2), &digits[count..]))
}

fn two(text: &[u8]) -> Option<i64> {
    match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some(i64::from(a - b'0') * 10 + i64::from(b - b'0')),
        _ => None,
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar, counted in years that begin in March, so that a leap day is the
/// last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let march_year = if month > 2 { year } else { year - 1 };
    let era = march_year.div_euclid(400);
    let year_of_era = march_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;

    fn frame() -> Frame {
        Frame { zone: TimeZone::UTC, as_of: 1_583_280_000_000 }
    }

    fn of(written: &str, format: TimeFormat) -> Option<Millis> {
        read(&Value::Text(Cow::Borrowed(written)), &[format], &frame())
    }

    #[test]
    fn every_format_is_read() {
        let at = Some(1_583_330_105_224);
        assert_eq!(of("2020-03-04T13:55:05.224939Z", TimeFormat::Rfc3339), at);
        assert_eq!(of("2020-03-04T14:55:05.224939+01:00", TimeFormat::Rfc3339), at);
        assert_eq!(of("2020-03-04T13:55:05.224939", TimeFormat::Rfc3339), None, "no zone");
        assert_eq!(of("2020-03-04T13:55:05.224939+0000", TimeFormat::Iso8601), at);
        assert_eq!(of("2020-03-04 13:55:05.224939", TimeFormat::Iso8601), at);
        assert_eq!(of("1583330105.224939", TimeFormat::EpochSeconds), at);
        assert_eq!(of("1583330105224", TimeFormat::EpochMillis), at);
        assert_eq!(of("1583330105224939", TimeFormat::EpochMicros), at);
        assert_eq!(of("Mar  4 13:55:05", TimeFormat::Syslog), Some(1_583_330_105_000));
        assert_eq!(of("Dec 31 00:00:00", TimeFormat::Syslog), Some(1_577_750_400_000), "the year before");
        assert_eq!(of("Feb 30 00:00:00", TimeFormat::Syslog), None);
        assert_eq!(of("Feb 29 00:00:00", TimeFormat::Syslog), Some(1_582_934_400_000));
        for text in [
            "Mar 04 2020 13:55:05.224",
            "Mar  4 2020 13:55:05.224939 UTC",
            "mar 4 14:55:05.224 CET",
            "Mar 4 13:55:05.224 2020",
            "Mar 4 2020 14:55:05.224 +01:00",
            "Mar 4 2020 09:55:05.224 (-0400)",
            "Mar 4 2020 14:55:05.224 Europe/Vienna",
        ] {
            assert_eq!(of(text, TimeFormat::Syslog), at, "{text}");
        }
        for text in ["Mar 4 13:55", "Mar 4 2020", "Mar 4 13:55:05 later", "Mar 4 24:00:00", "Mar x 13:55:05"]
        {
            assert_eq!(of(text, TimeFormat::Syslog), None, "{text}");
        }
        assert_eq!(read(&Value::Float(1.001), &[TimeFormat::EpochSeconds], &frame()), Some(1001));
        assert_eq!(read(&Value::Int(-1), &[TimeFormat::EpochSeconds], &frame()), Some(-1000));
        assert_eq!(
            of("1583330105224.0", TimeFormat::EpochMillis),
            at,
            "as programs without integers write it"
        );
        assert_eq!(read(&Value::Float(1_583_330_105_224.4), &[TimeFormat::EpochMillis], &frame()), at);
        assert_eq!(of("1583330105224939", TimeFormat::EpochMicros), at);
        assert_eq!(of("1583330105224939000", TimeFormat::EpochNanos), at);
        let epochs = [
            TimeFormat::EpochMillis,
            TimeFormat::EpochMicros,
            TimeFormat::EpochNanos,
            TimeFormat::EpochSeconds,
        ];
        for text in ["1583330105.224", "1583330105224", "1583330105224000", "1583330105224000000"] {
            assert_eq!(
                read(&Value::Text(text.into()), &epochs, &frame()),
                at,
                "a number is of one unit: {text}"
            );
        }
        assert_eq!(of("0", TimeFormat::EpochMillis), None, "no time, as programs write it");
        assert_eq!(of("0001-01-01T00:00:00Z", TimeFormat::Rfc3339), None, "likewise");
        assert_eq!(of("2020-03-04 13:55:05.224 UTC", TimeFormat::Rfc3339), at);
        assert_eq!(of("2020-03-04T13:55:05,224Z", TimeFormat::Rfc3339), at);
        assert_eq!(of("2020-03-04T14:55:05.224[Europe/Vienna]", TimeFormat::Iso8601), at);
        for none in ["", "-", "1e300", "nan", "inf", "9999999999999999"] {
            assert_eq!(of(none, TimeFormat::EpochSeconds), None, "{none}");
        }
    }

    #[test]
    fn a_time_without_a_zone_is_in_that_of_its_source() {
        let zone = TimeZone::get("Europe/Vienna").expect("the bundled zones");
        let read = text("2020-07-04T12:00:00", TimeFormat::Iso8601, &Frame { zone, ..frame() });
        assert_eq!(read, timestamp("2020-07-04T10:00:00Z"));
    }

    proptest! {
        #[test]
        fn the_short_way_agrees_with_jiff(millis in -62_135_596_800_000i64..253_402_200_000_000, minutes in -1439i64..1440) {
            let offset = jiff::tz::Offset::from_seconds(i32::try_from(minutes * 60).unwrap()).unwrap();
            let time = Timestamp::from_millisecond(millis).unwrap();
            let written = time.display_with_offset(offset).to_string();
            if !written.starts_with('-') {
                prop_assert_eq!(fixed(written.as_bytes()), Some(millis), "{}", written);
            }
        }

        #[test]
        fn any_text_is_read_or_not(written in ".{0,40}") {
            for format in [TimeFormat::Rfc3339, TimeFormat::Iso8601, TimeFormat::EpochSeconds, TimeFormat::EpochMillis, TimeFormat::EpochMicros, TimeFormat::Syslog] {
                let _ = of(&written, format);
            }
        }
    }
}
