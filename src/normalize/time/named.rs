//! Times with the month's name: `Jan 31 14:14:57` of RFC 3164, and as Cisco, CEF and LEEF write it, with a year before or
//! behind the clock, a fraction and a zone: `Jan 31 2026 14:14:57.123 CET`.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};

use super::{Frame, floor};
use crate::record::Millis;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Hours from Greenwich: the names of RFC 2822 and those of Europe's summers, which the database of zones lacks.
const ZONES: [(&str, i8); 16] = [
    ("UTC", 0),
    ("GMT", 0),
    ("UT", 0),
    ("Z", 0),
    ("EST", -5),
    ("EDT", -4),
    ("CST", -6),
    ("CDT", -5),
    ("MST", -7),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
    ("WEST", 1),
    ("CET", 1),
    ("CEST", 2),
    ("EEST", 3),
];

/// Reads `text`. Without a year it is the last such day that is not after tomorrow; without a zone in the source's.
pub(super) fn read(text: &str, frame: &Frame) -> Option<Millis> {
    let mut words = text.split_whitespace();
    let name = words.next()?.to_ascii_lowercase();
    let month = i8::try_from(MONTHS.iter().position(|month| *month == name)?).ok()? + 1;
    let day = words.next()?.parse::<i8>().ok()?;
    let mut word = words.next()?;
    let mut year = year_of(word);
    if year.is_some() {
        word = words.next()?;
    }
    let clock = clock(word)?;
    let mut word = words.next();
    if year.is_none()
        && let Some(found) = word.and_then(year_of)
    {
        (year, word) = (Some(found), words.next());
    }
    let zone = word.map_or(Some(frame.zone.clone()), zone_of)?;
    if words.next().is_some() {
        return None;
    }
    let at = |year: i16| {
        let time =
            DateTime::from_parts(Date::new(year, month, day).ok()?, clock).to_zoned(zone.clone()).ok()?;
        Some(floor(time.timestamp()))
    };
    if let Some(year) = year {
        return at(year);
    }
    let day_after =
        Timestamp::from_millisecond(frame.as_of).ok()?.to_zoned(zone.clone()).saturating_add(1.day());
    let latest = floor(day_after.timestamp());
    // The 29th of February may be as far as eight years back.
    (0..=8).filter_map(|back| at(day_after.year() - back)).find(|time| *time <= latest)
}

fn year_of(word: &str) -> Option<i16> {
    (word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit())).then(|| word.parse().ok())?
}

/// `14:14:57`, with a fraction or not.
fn clock(word: &str) -> Option<Time> {
    let mut parts = word.split(':');
    let mut part = || parts.next().filter(|part| part.len() <= 2)?.parse::<i8>().ok();
    let (hour, minute) = (part()?, part()?);
    let seconds = parts.next()?;
    let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    if parts.next().is_some() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) || fraction.is_empty() {
        return None;
    }
    let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Time::new(hour, minute, second.parse().ok()?, nanos).ok()
}

/// `UTC`, `CEST`, `+01:00`, `+0100` or `Europe/Vienna`.
fn zone_of(word: &str) -> Option<TimeZone> {
    let word = word.trim_matches(['(', ')']);
    if let Some((_, hours)) = ZONES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
        return Some(TimeZone::fixed(Offset::constant(*hours)));
    }
    let digits: String = word.chars().filter(char::is_ascii_digit).collect();
    match (word.as_bytes().first(), digits.len()) {
        (Some(sign @ (b'+' | b'-')), 4) => {
            let minutes = digits[..2].parse::<i32>().ok()? * 60 + digits[2..].parse::<i32>().ok()?;
            let seconds = minutes * if *sign == b'-' { -60 } else { 60 };
            Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
        }
        _ => TimeZone::get(word).ok(),
    }
}
