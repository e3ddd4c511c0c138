//! Rows: CSV rows under a header (RFC 4180); a quoted field may hold newlines.
//!
//! A quote that is never closed would swallow the rows behind it. So where a row of several lines has not as many
//! fields as the header, text behind a closing quote, or no end, its first line alone is the bad row.
//! The header again is no row: files that were put one behind the other have one each.
//! State: the fields of the row under way.

use super::tape::Tape;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    FieldStart,
    Plain,
    Quoted,
    /// After a quote within quotes: the end, or the first of two.
    QuoteInQuoted,
}

/// See the head of this file.
pub(super) struct Rows {
    columns: usize,
    delimiter: u8,
    state: State,
    fields: usize,
    /// Whether something follows a closing quote.
    odd: bool,
    lines: u32,
    skipping: bool,
    /// The header's line, trimmed.
    header: Vec<u8>,
}

impl Rows {
    pub(super) fn new(columns: usize, delimiter: u8, header: Vec<u8>) -> Rows {
        Rows {
            columns,
            delimiter,
            state: State::FieldStart,
            fields: 1,
            odd: false,
            lines: 0,
            skipping: false,
            header,
        }
    }

    pub(super) fn step(&mut self, tape: &mut Tape, done: bool) {
        loop {
            let rest = &tape.buf[tape.scan..];
            let newline = memchr::memchr(b'\n', rest);
            let length = newline.unwrap_or(rest.len());
            let overlong = tape.overlong_with(length);
            let ended = if self.skipping {
                self.skipping = newline.is_none();
                tape.scan += length;
                tape.skip();
                true
            } else if overlong && self.lines > 0 || done && rest.is_empty() && self.lines > 0 {
                self.first_line_only(tape);
                continue;
            } else if overlong {
                tape.scan += length;
                tape.too_long();
                self.skipping = newline.is_none();
                true
            } else if newline.is_none() && (!done || rest.is_empty()) {
                return;
            } else {
                self.line(tape, length);
                if self.state != State::Quoted
                    && (self.lines == 1 || self.fields == self.columns && !self.odd)
                {
                    self.end(tape);
                    true
                } else if self.state != State::Quoted {
                    self.first_line_only(tape);
                    continue;
                } else {
                    false
                }
            };
            if newline.is_none() && !(done && self.lines > 0) {
                return;
            }
            if newline.is_some() {
                tape.scan += 1;
                tape.line += 1;
            }
            if ended {
                tape.begin();
            }
        }
    }

    fn line(&mut self, tape: &mut Tape, length: usize) {
        let (start, end) = (tape.scan, tape.scan + length);
        if self.lines > 0 || memchr::memchr(b'"', &tape.buf[start..end]).is_some() {
            for at in start..end {
                self.byte(tape.buf[at]);
            }
        }
        tape.scan = end;
        self.lines += 1;
    }

    fn end(&mut self, tape: &mut Tape) {
        if tape.under_way().trim_ascii_end() == self.header {
            tape.begin();
        } else {
            tape.record();
        }
        *self = Rows::new(self.columns, self.delimiter, std::mem::take(&mut self.header));
    }

    /// Ends the record at its first line, and goes on behind that.
    fn first_line_only(&mut self, tape: &mut Tape) {
        if tape.rewind() {
            let line = memchr::memchr(b'\n', &tape.buf[tape.scan..]);
            tape.scan += line.unwrap_or(tape.buf.len() - tape.scan);
        }
        self.end(tape);
    }

    fn byte(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::Quoted, b'"') => State::QuoteInQuoted,
            (State::Quoted, _) | (State::FieldStart | State::QuoteInQuoted, b'"') => State::Quoted,
            (State::FieldStart | State::Plain | State::QuoteInQuoted, byte) if byte == self.delimiter => {
                self.fields += 1;
                State::FieldStart
            }
            (State::FieldStart | State::Plain, _) | (State::QuoteInQuoted, b'\r') => State::Plain,
            (State::QuoteInQuoted, _) => {
                self.odd = true;
                State::Plain
            }
        };
    }
}
