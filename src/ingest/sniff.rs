//! Sniff: what a stream of bytes is, told by how it begins.

use super::chunk::Header;
use super::objects::envelope;

/// A first line longer than this is judged by its beginning.
const PROBE_MAX: usize = 1 << 20;

/// What was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sniffed {
    /// More bytes are needed.
    Wait,
    /// A record a line.
    Lines,
    /// JSON objects, whatever their lines.
    Objects,
    /// Rows under a header; the header is the first line that is not blank, as long as this many bytes.
    Rows { header: Header, length: usize },
    /// Something that holds no records as they stand: what it is, and what to do; so many bytes told it.
    Foreign { what: &'static str, magic_bytes: usize },
}

/// How formats begin that are mistaken for files of alerts.
const FOREIGN: [(&[u8], &str); 14] = [
    (b"PK\x03\x04", "a zip archive; unpack it, and name the files in it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it, and name the files in it"),
    (b"Rar!\x1a\x07", "a RAR archive; unpack it, and name the files in it"),
    (b"\xfd7zXZ\0", "packed by xz; unpack it, or pack it by gzip or zstd"),
    (b"BZh91AY&SY", "packed by bzip2; unpack it, or pack it by gzip or zstd"),
    (b"\x04\x22\x4d\x18", "packed by lz4; unpack it, or pack it by gzip or zstd"),
    (b"\x1f\x8b", "packed twice; unpack it once"),
    (b"\x28\xb5\x2f\xfd", "packed twice; unpack it once"),
    (b"PAR1", "Parquet, which is read only as an unpacked file that `quell replay` is given"),
    (b"ARROW1", "an Arrow file; write it as Parquet or JSON lines"),
    (b"Obj\x01", "an Avro file; write it as Parquet or JSON lines"),
    (b"ElfFile\0", "a Windows event log; export its events as JSON lines, one alert each"),
    (b"SQLite format 3\0", "an SQLite database; export its alerts as JSON lines or CSV"),
    (b"%PDF-", "a PDF document; export its alerts as JSON lines or CSV"),
];

/// Where a tar archive says that it is one.
const TAR_AT: usize = 257;

fn foreign(bytes: &[u8]) -> Option<Sniffed> {
    if bytes.get(TAR_AT..TAR_AT + 5) == Some(b"ustar") {
        let what = "a tar archive; unpack it, and name the files in it";
        return Some(Sniffed::Foreign { what, magic_bytes: 8 });
    }
    let (magic, what) = FOREIGN.iter().find(|(magic, _)| bytes.starts_with(magic))?;
    Some(Sniffed::Foreign { what, magic_bytes: magic.len() })
}

/// Tells what `bytes` are, which begin at the first byte that is no white space; `done` says that none will follow.
pub(super) fn sniff(bytes: &[u8], done: bool) -> Sniffed {
    let newline = memchr::memchr(b'\n', bytes);
    let whole = newline.is_some() || done || bytes.len() >= PROBE_MAX;
    let line = &bytes[..newline.unwrap_or(bytes.len())];
    if let Some(foreign) = foreign(bytes) {
        return foreign;
    }
    match bytes.first() {
        None => Sniffed::Wait,
        Some(b'[') => Sniffed::Objects,
        Some(b'{') if envelope(bytes).is_some_and(|rest| rest.starts_with(b"[")) => Sniffed::Objects,
        // Lines of logs, though bars or commas part them.
        Some(b'<') => Sniffed::Lines,
        _ if bytes.starts_with(b"CEF:") || bytes.starts_with(b"LEEF:") => Sniffed::Lines,
        _ if !whole => Sniffed::Wait,
        Some(b'{') => match shape(line) {
            Shape::Whole => Sniffed::Lines,
            Shape::Many | Shape::OpenBeforeValue => Sniffed::Objects,
            Shape::Open if newline.is_none() => Sniffed::Lines,
            // Either an object over many lines, or a cut one with whole ones after it: the next line tells.
            Shape::Open => match bytes[line.len()..].iter().find(|b| **b != b'\n' && **b != b'\r') {
                Some(b'{') => Sniffed::Lines,
                Some(_) => Sniffed::Objects,
                // Nothing but newlines for so long tells nothing, and would be kept until something comes.
                None if done || bytes.len() >= PROBE_MAX => Sniffed::Lines,
                None => Sniffed::Wait,
            },
        },
        Some(_) => match (separator(line), newline) {
            (Some(delimiter), Some(at)) => match sniff(&bytes[at + 1..], done) {
                Sniffed::Rows { header, length } if header.delimiter == delimiter => {
                    Sniffed::Rows { header, length: at + 1 + length }
                }
                Sniffed::Wait if !done => Sniffed::Wait,
                Sniffed::Wait
                | Sniffed::Lines
                | Sniffed::Objects
                | Sniffed::Rows { .. }
                | Sniffed::Foreign { .. } => Sniffed::Lines,
            },
            _ => match header(line) {
                Some(header) => Sniffed::Rows { header, length: newline.map_or(bytes.len(), |at| at + 1) },
                None => Sniffed::Lines,
            },
        },
    }
}

enum Shape {
    /// One object.
    Whole,
    /// One object and something else.
    Many,
    /// An object that does not end here.
    Open,
    /// The same, where the next thing may well be an object inside it.
    OpenBeforeValue,
}

fn shape(line: &[u8]) -> Shape {
    let (mut depth, mut in_string, mut escaped, mut last) = (0u32, false, false, 0u8);
    for (at, byte) in line.iter().enumerate() {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => depth += 1,
            (false, b'}' | b']') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    let rest = line[at + 1..].trim_ascii();
                    return if rest.is_empty() { Shape::Whole } else { Shape::Many };
                }
            }
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            last = *byte;
        }
    }
    if !in_string && matches!(last, b'[' | b':') { Shape::OpenBeforeValue } else { Shape::Open }
}

/// What `sep=;` says, with which spreadsheets begin a CSV.
fn separator(line: &[u8]) -> Option<u8> {
    match line.trim_ascii_end() {
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter] => Some(*delimiter),
        b"sep=" => Some(b'\t'),
        _ => None,
    }
}

/// A CSV header, where the line looks like one: two or more distinct plain words. Some may have no name, as the numbers
/// of rows that data frames write and what stands behind a last delimiter; of a name that comes twice the first counts.
fn header(line: &[u8]) -> Option<Header> {
    // A last delimiter, though it be a tab, parts off a column.
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let count = |delimiter: u8| memchr::memchr_iter(delimiter, line).count();
    let delimiter = *b",\t;|".iter().max_by_key(|d| (count(**d), std::cmp::Reverse(**d)))?;
    if count(delimiter) == 0 || count(delimiter) > 4096 {
        return None;
    }
    let plain = |c: char| c.is_alphanumeric() || "_ .-/@#$()[]{}%&*+?".contains(c);
    let mut columns: Vec<String> = Vec::new();
    for field in std::str::from_utf8(line).ok()?.split(char::from(delimiter)) {
        let field = field.trim();
        let field = field.strip_prefix('"').and_then(|f| f.strip_suffix('"')).unwrap_or(field);
        let begins = field.chars().next().is_some_and(|c| c.is_alphabetic() || "_@#$".contains(c));
        // Where a name has a colon, as in a path or a namespace, it has no spaces: a line of a log does.
        let spaced = field.contains(' ');
        let word = begins && field.chars().all(|c| plain(c) || c == ':' && !spaced);
        if !word && !field.is_empty() {
            return None;
        }
        let known = columns.iter().any(|column| column == field);
        columns.push(if known { String::new() } else { field.to_owned() });
    }
    if columns.iter().filter(|column| !column.is_empty()).count() < 2 {
        return None;
    }
    Some(Header { columns, delimiter })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> &'static str {
        match sniff(text.as_bytes(), true) {
            Sniffed::Wait => "wait",
            Sniffed::Lines => "lines",
            Sniffed::Objects => "objects",
            Sniffed::Rows { .. } => "rows",
            Sniffed::Foreign { .. } => "foreign",
        }
    }

    #[test]
    fn formats_are_told_by_content() {
        assert_eq!(told(""), "wait");
        assert_eq!(told("{\"a\":1}\n{\"a\":2}\n"), "lines");
        assert_eq!(told("{\"a\":{\n{\"a\":2}\n"), "lines");
        assert_eq!(told("{\"a\":\"cut\n{\"a\":2}\n"), "lines");
        assert_eq!(told("{\n  \"a\": 1\n}\n"), "objects");
        assert_eq!(told("{\"a\":[\n{\"b\":1}\n]}"), "objects");
        assert_eq!(told("{\"a\":1}{\"a\":2}"), "objects");
        assert_eq!(told("[\n"), "objects");
        assert_eq!(told("{\"Records\":[{\"a\":1}]}\n{\"Records\":[]}\n"), "objects");
        assert_eq!(told("{ \"records\" : ["), "objects");
        assert_eq!(told("{\"records\":1}\n{\"records\":2}\n"), "lines");
        assert_eq!(told("time,name,ip\n1,2,3\n"), "rows");
        assert_eq!(told("\"time\";\"name\"\n1;2\n"), "rows");
        assert_eq!(told(",id,name\n0,1,2\n"), "rows");
        assert_eq!(told("id,name,\n1,2,\n"), "rows");
        assert_eq!(told("id,name,name\n1,2,3\n"), "rows");
        assert_eq!(told("TimeGenerated [UTC],host:name\n1,2\n"), "rows");
        assert_eq!(told("sep=;\r\na;b\r\n1;2\r\n"), "rows");
        assert_eq!(told("sep=;\r\na,b\r\n1,2\r\n"), "lines");
        assert_eq!(told(",,,\n1,2,3,4\n"), "lines");
        assert_eq!(told("Mar  4 14:14:57 mail auth: a, b\n"), "lines");
        assert_eq!(told("CEF:0|V|P|v|rule|name|High|\n"), "lines");
        assert_eq!(told("LEEF:1.0|V|P|v|rule|a=b\n"), "lines");
        assert_eq!(told("<134>1 - - app - - -\n"), "lines");
        assert_eq!(told("PK\u{3}\u{4}\n"), "foreign");
        assert_eq!(told("PK,time\n"), "rows");
        assert_eq!(sniff(b"{\"a\":1}", false), Sniffed::Wait);
    }
}
