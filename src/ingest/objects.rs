//! Objects: JSON objects one after the other or in an array, each over any number of lines. An array may be the first member of
//! an envelope, as AWS and Azure write theirs: `{"Records": [...]}`.
//!
//! Only brackets and strings are followed. A record is broken where brackets do not match, where a string holds a
//! newline, or where an object begins that cannot stand there; it then ends before the next line that begins an
//! object no further indented than itself. Text between objects is a record that cannot be read.
//! State: the open brackets of the record under way, and how many arrays around it are open.

use super::tape::Tape;

/// Brackets remembered at most. What is too deep to be read is its parser's to say: given up here, it would take the
/// records behind it on its line with it.
const DEPTH_MAX: usize = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Between,
    Junk,
    Inside,
    InString,
    Escaped,
    Broken,
}

/// What follows the opening of an envelope and its member's name and colon, where `bytes` begin with one.
pub(super) fn envelope(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(b"{")?.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"Records\"").or_else(|| rest.strip_prefix(b"\"records\""))?;
    Some(rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start())
}

/// See the head of this file.
pub(super) struct Objects {
    state: State,
    /// The open brackets: true for an object.
    open: Vec<bool>,
    /// The last byte that was no white space.
    last: u8,
    /// How far the line is indented.
    indent: usize,
    /// Whether only white space was met on the line.
    leading: bool,
    record_indent: usize,
    /// Whether the record under way was given up already.
    skipping: bool,
    /// How many arrays are open around records. They are counted, not kept: a hostile file opens as many as it has bytes.
    arrays: u64,
    /// Whether they are in an envelope, and on which line it begins.
    enveloped: bool,
    envelope_line: u64,
    record_line: u64,
}

impl Default for Objects {
    fn default() -> Self {
        Objects {
            state: State::Between,
            open: Vec::new(),
            last: 0,
            indent: 0,
            leading: true,
            record_indent: 0,
            skipping: false,
            arrays: 0,
            enveloped: false,
            envelope_line: 0,
            record_line: 0,
        }
    }
}

impl Objects {
    pub(super) fn step(&mut self, tape: &mut Tape, done: bool) {
        loop {
            while tape.scan < tape.buf.len() {
                match self.state {
                    State::Between => self.between(tape),
                    State::Junk => self.junk(tape),
                    State::Inside => self.inside(tape),
                    State::InString => self.in_string(tape),
                    // JSON has no newline in a string, behind a backslash neither.
                    State::Escaped if tape.byte() == Some(b'\n') => self.give_up(tape),
                    State::Escaped => {
                        tape.scan += 1;
                        self.state = State::InString;
                    }
                    State::Broken => self.broken(tape),
                }
            }
            let open = matches!(self.state, State::Inside | State::InString | State::Escaped);
            if done && open && !self.skipping {
                self.give_up(tape);
            }
            if tape.scan == tape.buf.len() {
                break;
            }
        }
        if self.skipping {
            tape.skip();
        } else if self.state == State::Between {
            tape.begin();
        } else if tape.overlong() {
            tape.too_long();
            self.skipping = true;
        } else if done {
            tape.record();
        }
    }

    /// Whether the source, if it ends here, ends within an array and no record says so.
    pub(super) fn breaks_off(&self) -> bool {
        self.state == State::Between && (self.arrays > 0 || self.enveloped)
    }

    fn between(&mut self, tape: &mut Tape) {
        let Some(byte) = tape.byte() else { return };
        match byte {
            b'{' => {
                tape.begin();
                self.open.clear();
                self.open.push(true);
                (self.record_indent, self.record_line) = (self.indent, tape.line);
                self.state = State::Inside;
                self.pass(tape, byte);
            }
            b',' | b'[' | b']' => {
                self.arrays += u64::from(byte == b'[');
                self.close(byte);
                self.pass(tape, byte);
            }
            b'}' if self.enveloped && self.arrays == 0 => {
                self.close(byte);
                self.pass(tape, byte);
            }
            _ if byte.is_ascii_whitespace() => self.pass(tape, byte),
            _ => {
                tape.begin();
                self.state = State::Junk;
            }
        }
    }

    fn junk(&mut self, tape: &mut Tape) {
        let Some(byte) = tape.byte() else { return };
        match byte {
            b'{' | b'\n' | b',' => self.end(tape),
            _ => {
                // A bracket too many takes that of the array along.
                self.close(byte);
                self.pass(tape, byte);
            }
        }
    }

    fn close(&mut self, byte: u8) {
        self.enveloped &= byte != b'}' || self.arrays > 0;
        self.arrays = self.arrays.saturating_sub(u64::from(byte == b']'));
    }

    /// Whether the array that begins at the head holds records, and what is before it none.
    fn is_envelope(&self, tape: &Tape) -> bool {
        let outside = self.arrays == 0 && !self.enveloped && self.open == [true];
        outside && !self.skipping && !tape.overlong() && envelope(tape.under_way()) == Some(b"")
    }

    fn inside(&mut self, tape: &mut Tape) {
        let Some(byte) = tape.byte() else { return };
        match byte {
            b'"' => self.state = State::InString,
            b'{' if !self.value_may_follow() || self.open.len() >= DEPTH_MAX => return self.give_up(tape),
            b'{' => self.open.push(true),
            b'[' if self.is_envelope(tape) => {
                (self.enveloped, self.arrays, self.state) = (true, 1, State::Between);
                self.envelope_line = self.record_line;
                return self.pass(tape, byte);
            }
            b'[' if self.open.len() >= DEPTH_MAX => return self.give_up(tape),
            b'[' => self.open.push(false),
            b'}' | b']' if self.open.pop() != Some(byte == b'}') => return self.give_up(tape),
            _ => {}
        }
        self.pass(tape, byte);
        if self.open.is_empty() {
            self.end(tape);
        }
    }

    fn in_string(&mut self, tape: &mut Tape) {
        let Some(at) = memchr::memchr3(b'"', b'\\', b'\n', &tape.buf[tape.scan..]) else {
            tape.scan = tape.buf.len();
            return;
        };
        tape.scan += at;
        match tape.buf[tape.scan] {
            b'"' => {
                self.state = State::Inside;
                self.pass(tape, b'"');
            }
            b'\\' => {
                self.state = State::Escaped;
                tape.scan += 1;
            }
            _ => self.give_up(tape),
        }
    }

    fn broken(&mut self, tape: &mut Tape) {
        let Some(byte) = tape.byte() else { return };
        if byte == b'{' && self.leading && self.indent <= self.record_indent {
            if self.enveloped && self.record_line == self.envelope_line {
                // An envelope a line: the end of this one went with the record.
                (self.enveloped, self.arrays) = (false, 0);
            }
            self.end(tape);
        } else if self.leading {
            self.pass(tape, byte);
        } else {
            tape.scan += memchr::memchr(b'\n', &tape.buf[tape.scan..]).unwrap_or(tape.buf.len() - tape.scan);
            if let Some(newline) = tape.byte() {
                self.pass(tape, newline);
            }
        }
    }

    /// Moves on by one byte outside of strings.
    fn pass(&mut self, tape: &mut Tape, byte: u8) {
        tape.scan += 1;
        if byte == b'\n' {
            tape.line += 1;
            (self.indent, self.leading) = (0, true);
        } else if !byte.is_ascii_whitespace() {
            (self.last, self.leading) = (byte, false);
        } else if self.leading {
            self.indent += 1;
        }
    }

    fn value_may_follow(&self) -> bool {
        matches!(self.last, b'[' | b':') || self.last == b',' && self.open.last() == Some(&false)
    }

    /// The record ends before the head.
    fn end(&mut self, tape: &mut Tape) {
        if std::mem::take(&mut self.skipping) {
            tape.skip();
        } else {
            tape.record();
        }
        self.state = State::Between;
    }

    /// The record is broken: look for the next from its second line on.
    fn give_up(&mut self, tape: &mut Tape) {
        self.state = State::Broken;
        if !self.skipping && tape.overlong() {
            tape.too_long();
            self.skipping = true;
        }
        if !self.skipping && tape.rewind() {
            tape.scan += 1;
            self.leading = false;
        }
    }
}
