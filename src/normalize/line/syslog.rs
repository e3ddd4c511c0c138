//! Syslog: RFC 5424 with structured data; RFC 3164 as it is met: with or without a priority, its time with a year, a
//! fraction or a zone or as ISO 8601, its host or its tag left out.

use std::borrow::Cow;

use super::{Broken, Key, Line, unescaped_with};

/// RFC 5424, table 1.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// RFC 5424, table 2, by the names that `syslog.h` gives them.
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads the header of `text` into `line`; answers the message, or none where this is no syslog.
pub(super) fn read<'a>(text: &'a str, line: &mut Line<'a>) -> Result<Option<&'a str>, Broken> {
    let Some((priority, rest)) = priority(text) else {
        // Without a priority only a time tells that it is syslog.
        return Ok(time(text).map(|(stamp, rest)| legacy(Some(stamp), rest, line)));
    };
    let names = FACILITIES.get(usize::from(priority / 8)).zip(SEVERITIES.get(usize::from(priority % 8)));
    let Some((facility, severity)) = names else {
        return Err(Broken("its syslog priority is above 191"));
    };
    line.put(Key::Syslog("facility"), *facility);
    line.put(Key::Syslog("severity"), *severity);
    if let Some(rest) = rest.strip_prefix("1 ") {
        return modern(rest, line).map(Some);
    }
    let (stamp, rest) = time(rest).map_or((None, rest), |(stamp, rest)| (Some(stamp), rest));
    Ok(Some(legacy(stamp, rest, line)))
}

/// `<134>`.
fn priority(text: &str) -> Option<(u8, &str)> {
    let (digits, rest) = text.strip_prefix('<')?.split_once('>')?;
    let fits = matches!(digits.len(), 1..=3) && digits.bytes().all(|byte| byte.is_ascii_digit());
    Some((digits.parse().ok().or(Some(u8::MAX)).filter(|_| fits)?, rest))
}

/// RFC 5424 behind its version.
fn modern<'a>(text: &'a str, line: &mut Line<'a>) -> Result<&'a str, Broken> {
    let mut rest = text;
    for name in ["timestamp", "host", "appname", "procid", "msgid"] {
        let (field, behind) = rest.split_once(' ').ok_or(Broken("its syslog header is cut off"))?;
        if field != "-" {
            line.put(Key::Syslog(name), field);
        }
        rest = behind;
    }
    let rest = match rest.strip_prefix('-') {
        Some(behind) => behind,
        None => structured(rest, line)?,
    };
    match rest.strip_prefix(' ') {
        Some(message) => Ok(message.strip_prefix('\u{feff}').unwrap_or(message)),
        None if rest.is_empty() => Ok(rest),
        None => Err(Broken("no blank stands between its structured data and its message")),
    }
}

/// `[id name="value" ...]...`; answers what is behind.
fn structured<'a>(text: &'a str, line: &mut Line<'a>) -> Result<&'a str, Broken> {
    const CUT: Broken = Broken("its structured data is cut off");
    let mut rest =
        text.strip_prefix('[').ok_or(Broken("where its structured data should be is something else"))?;
    loop {
        let end = rest.find([' ', ']']).ok_or(CUT)?;
        let (id, mut behind) = rest.split_at(end);
        while let Some(parameter) = behind.strip_prefix(' ') {
            let parameter = parameter.trim_start_matches(' ');
            if parameter.starts_with(']') {
                behind = parameter;
                break;
            }
            let (name, quoted) = parameter.split_once("=\"").ok_or(CUT)?;
            let end = closing(quoted).ok_or(CUT)?;
            line.put(Key::Data(id, name), unescaped(&quoted[..end]));
            behind = &quoted[end + 1..];
        }
        behind =
            behind.strip_prefix(']').ok_or(Broken("a parameter of its structured data has no quotes"))?;
        match behind.strip_prefix('[') {
            Some(next) => rest = next,
            None => return Ok(behind),
        }
    }
}

/// Where the quote stands that ends a value.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

/// Without the escapes of RFC 5424, section 6.3.3: `\"`, `\\` and `\]`; before anything else a backslash is itself.
fn unescaped(text: &str) -> Cow<'_, str> {
    unescaped_with(text, |char| matches!(char, '"' | '\\' | ']').then_some(char))
}

/// What stands behind the time, in RFC 3164's way: host and tag, each of which may be missing.
fn legacy<'a>(stamp: Option<&'a str>, text: &'a str, line: &mut Line<'a>) -> &'a str {
    let Some(stamp) = stamp else {
        return tag(text).map_or(text, |tagged| tagged.put(line));
    };
    line.put(Key::Syslog("timestamp"), stamp);
    if let Some(tagged) = tag(text) {
        return tagged.put(line);
    }
    // A message may follow at once, and begin with anything but a host.
    let Some((host, rest)) = text.split_once(' ').filter(|(host, _)| is_host(host)) else { return text };
    line.put(Key::Syslog("host"), host);
    tag(rest).map_or(rest, |tagged| tagged.put(line))
}

fn is_host(word: &str) -> bool {
    !word.is_empty()
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'%'))
        && !word.ends_with(':')
        && !word.starts_with("CEF:")
        && !word.starts_with("LEEF:")
}

/// `sshd[123]: message`.
struct Tagged<'a> {
    appname: &'a str,
    procid: &'a str,
    message: &'a str,
}

impl<'a> Tagged<'a> {
    fn put(self, line: &mut Line<'a>) -> &'a str {
        line.put(Key::Syslog("appname"), self.appname);
        line.put(Key::Syslog("procid"), self.procid);
        self.message
    }
}

fn tag(text: &str) -> Option<Tagged<'_>> {
    let end = text.find([':', '[', ' ', '{'])?;
    let (appname, rest) = text.split_at(end);
    let (procid, rest) = match rest.strip_prefix('[') {
        Some(inner) => inner.split_once(']').filter(|(id, _)| !id.contains(' '))?,
        None => ("", rest),
    };
    let message = rest.strip_prefix(':')?;
    // `CEF:0` and `http://` are no tags, an address with its colons is none either.
    let ends = message.is_empty() || message.starts_with(' ') || !procid.is_empty();
    (ends && !appname.is_empty()).then(|| Tagged {
        appname,
        procid,
        message: message.strip_prefix(' ').unwrap_or(message),
    })
}

/// The time at the beginning of `text`, and what stands behind it.
fn time(text: &str) -> Option<(&str, &str)> {
    // Cisco says by this that its clock is not set.
    let text = text.trim_start_matches(['*', '.']);
    let end = iso(text).or_else(|| named(text))?;
    let (stamp, rest) = text.split_at_checked(end)?;
    // Cisco ends its time with a colon.
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    let rest = if rest.is_empty() { rest } else { rest.strip_prefix(' ')? };
    Some((stamp, rest.trim_start_matches(' ')))
}

/// `2026-01-31T14:14:57.123456+01:00`, the T a blank or not.
fn iso(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let shape = b"0000-00-00T00:00:00";
    let fits = |(at, wanted): (usize, &u8)| match (wanted, bytes.get(at)) {
        (b'0', Some(byte)) => byte.is_ascii_digit(),
        (b'T', Some(byte)) => matches!(byte, b'T' | b' '),
        (wanted, byte) => byte == Some(wanted),
    };
    shape.iter().enumerate().all(|(at, wanted)| fits((at, wanted))).then_some(())?;
    let more = bytes[shape.len()..].iter().take_while(|byte| !matches!(byte, b' ' | b'\t'));
    Some(shape.len() + more.count()).filter(|end| text.is_char_boundary(*end))
}

/// `Jan 31 14:14:57`, with a year behind the day or the time, a fraction, a zone.
fn named(text: &str) -> Option<usize> {
    let month = text.get(..3).filter(|month| MONTHS.contains(month))?;
    let mut words = Words { text, at: month.len() };
    let day = words.next(2)?;
    let digits = |word: &str, of: std::ops::RangeInclusive<usize>| {
        of.contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut clock = words.next(1).filter(|_| digits(day, 1..=2))?;
    if digits(clock, 4..=4) {
        clock = words.next(1)?;
    }
    if clock.len() < 8 || !clock.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.')) {
        return None;
    }
    let mut end = words.at - usize::from(clock.ends_with(':'));
    // A year or a zone behind it, each of which could be the host's name: a year is none, of zones the plain ones.
    let mut more = |is: &dyn Fn(&str) -> bool| {
        let before = words.at;
        match words.next(1).map(|word| word.trim_end_matches(':')) {
            Some(word) if is(word) => end = before + 1 + word.len(),
            _ => words.at = before,
        }
    };
    if !clock.ends_with(':') {
        more(&|word| digits(word, 4..=4) && word.starts_with(['1', '2']));
        more(&|word| matches!(word, "UTC" | "GMT" | "Z"));
    }
    Some(end)
}

/// Words between blanks.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    /// The next word, before which stand at most so many blanks and at least one.
    fn next(&mut self, blanks_max: usize) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        let word = rest.trim_start_matches(' ');
        let blanks = rest.len() - word.len();
        if !(1..=blanks_max).contains(&blanks) {
            return None;
        }
        let length = word.find(' ').unwrap_or(word.len());
        self.at += blanks + length;
        Some(&word[..length]).filter(|word| !word.is_empty())
    }
}
