//! Framer: a growing stream of bytes in, chunks of whole records and rejects out, however the bytes were cut.
//!
//! State: the bytes of the chunk and of the record under way: at most the two limits and one piece.

use std::io::{self, Read};
use std::sync::Arc;

use super::chunk::{Chunk, Framing};
use super::lines::Lines;
use super::objects::Objects;
use super::rows::Rows;
use super::sniff::{Sniffed, sniff};
use super::tape::Tape;
use super::utf16::Decoder;
use crate::record::{Reject, Sym};

/// What is said where a source ends within an array.
const BREAKS_OFF: &str =
    "the array breaks off before its closing bracket; fetch or send it again, its end is missing";

/// Whose records they are, for those that are rejected here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The source's name.
    pub source: Sym,
    /// The tenant that the source's settings name.
    pub tenant: Sym,
}

/// Bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A chunk is given out once it holds this many bytes.
    pub chunk_bytes: usize,
    /// A longer record is a reject; at most 1 GiB.
    pub record_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { chunk_bytes: 256 << 10, record_bytes: 16 << 20 }
    }
}

/// What a framer gives out, in the order of the source.
#[derive(Clone, Debug, PartialEq)]
pub enum Framed {
    /// Records.
    Chunk(Chunk),
    /// A record whose bytes could not be had; it counts as one record.
    Reject(Reject),
}

/// Cuts a stream of bytes into records.
pub struct Framer {
    decoder: Decoder,
    tape: Tape,
    scanner: Scanner,
    piece_bytes: usize,
}

/// How records are told apart.
enum Scanner {
    /// Nothing but white space was seen.
    Unknown {
        bom: bool,
    },
    Lines(Lines),
    Objects(Objects),
    Rows(Rows),
    /// No records; that was said.
    Foreign,
}

impl Framer {
    /// A framer at the beginning of a source.
    #[must_use]
    pub fn new(origin: Origin, limits: Limits) -> Framer {
        let piece_bytes = limits.chunk_bytes.max(1);
        Framer {
            decoder: Decoder::Unknown(None),
            tape: Tape::new(origin, limits),
            scanner: Scanner::Unknown { bom: true },
            piece_bytes,
        }
    }

    /// Takes the next bytes and appends the chunks that they fill to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Framed>) {
        for piece in bytes.chunks(self.piece_bytes) {
            self.decoder.feed(piece, &mut self.tape.buf);
            self.step(false);
            self.tape.emit_full();
        }
        out.append(&mut self.tape.out);
    }

    /// The same of at most a piece from a reader: how many bytes that were, and what broke it off behind them. What passes as it
    /// is goes to its chunk without a copy.
    pub fn feed_from(&mut self, mut from: impl Read, out: &mut Vec<Framed>) -> (usize, io::Result<()>) {
        let piece = from.by_ref().take(self.piece_bytes as u64);
        let (length, read) = if self.decoder.is_plain() {
            read_to(piece, &mut self.tape.buf)
        } else {
            let mut bytes = Vec::with_capacity(self.piece_bytes);
            let (length, read) = read_to(piece, &mut bytes);
            self.decoder.feed(&bytes, &mut self.tape.buf);
            (length, read)
        };
        if length > 0 {
            self.step(false);
            self.tape.emit_full();
            out.append(&mut self.tape.out);
        }
        (length, read)
    }

    /// Gives out the whole records at hand, though they fill no chunk: a live source is idle.
    pub fn flush(&mut self, out: &mut Vec<Framed>) {
        self.tape.emit();
        out.append(&mut self.tape.out);
    }

    /// The source has ended: what is left is its last record. An array that is still open there is a reject: what it would
    /// have held is missing.
    pub fn finish(&mut self, out: &mut Vec<Framed>) {
        self.stop(out);
        if let Scanner::Objects(objects) = &self.scanner
            && objects.breaks_off()
        {
            self.cut(BREAKS_OFF.to_owned(), out);
        }
    }

    /// The source is read no further, though it may go on: what is left is its last record. That an array is open says
    /// nothing: whoever reads on later finds its next record there, and no reject.
    pub fn stop(&mut self, out: &mut Vec<Framed>) {
        self.decoder.finish(&mut self.tape.buf);
        self.step(true);
        self.flush(out);
    }

    /// What the source gave so far has ended, and what comes next begins anew, in whatever format: a file was replaced.
    /// Lines and records go on being counted.
    pub fn anew(&mut self, out: &mut Vec<Framed>) {
        self.finish(out);
        self.tape.anew();
        self.decoder = Decoder::Unknown(None);
        self.scanner = Scanner::Unknown { bom: true };
    }

    /// The source broke off for `reason`: the record under way, whole or not, is a reject that says so.
    pub fn cut(&mut self, reason: String, out: &mut Vec<Framed>) {
        self.tape.broke(reason);
        self.flush(out);
    }

    /// The line from 1 up to which the source was read.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.tape.line
    }

    /// Whether the source holds what cannot be cut into records, so that reading on is in vain.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        matches!(self.scanner, Scanner::Foreign)
    }

    fn step(&mut self, done: bool) {
        if let Scanner::Unknown { bom } = self.scanner {
            self.tell(bom, done);
        }
        match &mut self.scanner {
            Scanner::Unknown { .. } => {}
            Scanner::Lines(lines) => lines.step(&mut self.tape, done),
            Scanner::Objects(objects) => objects.step(&mut self.tape, done),
            Scanner::Rows(rows) => rows.step(&mut self.tape, done),
            Scanner::Foreign => {
                self.tape.scan = self.tape.buf.len();
                self.tape.skip();
            }
        }
    }

    /// Tells the format, once there are bytes enough.
    fn tell(&mut self, bom: bool, done: bool) {
        const BOM: &[u8] = b"\xef\xbb\xbf";
        let tape = &mut self.tape;
        if bom && tape.buf.starts_with(BOM) {
            tape.scan = BOM.len();
            self.scanner = Scanner::Unknown { bom: false };
        } else if bom && !done && BOM.starts_with(&tape.buf) {
            return;
        }
        while let Some(byte) = tape.byte().filter(u8::is_ascii_whitespace) {
            tape.line += u64::from(byte == b'\n');
            tape.scan += 1;
        }
        if tape.scan > 0 {
            tape.skip();
            self.scanner = Scanner::Unknown { bom: false };
        }
        self.scanner = match sniff(&tape.buf, done) {
            Sniffed::Wait => return,
            Sniffed::Lines => Scanner::Lines(Lines::default()),
            Sniffed::Objects => Scanner::Objects(Objects::default()),
            Sniffed::Foreign { what, magic_bytes } => {
                tape.buf.truncate(magic_bytes);
                tape.broke(format!("the source is {what}; not one record of it was read"));
                Scanner::Foreign
            }
            Sniffed::Rows { header, length } => {
                tape.line += memchr::memchr_iter(b'\n', &tape.buf[..length]).count() as u64;
                let line = tape.buf[..length].trim_ascii_end();
                let line = line.rsplit(|byte| *byte == b'\n').next().unwrap_or_default().to_vec();
                tape.scan = length;
                tape.skip();
                let rows = Rows::new(header.columns.len(), header.delimiter, line);
                tape.framing = Framing::Csv(Arc::new(header));
                Scanner::Rows(rows)
            }
        };
    }
}

/// Reads to the end, behind what is there: how much that was, whether or not it was all.
fn read_to(mut from: impl Read, to: &mut Vec<u8>) -> (usize, io::Result<()>) {
    let before = to.len();
    let read = from.read_to_end(to);
    (to.len() - before, read.map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_records_is_not_kept() {
        let limits = Limits { chunk_bytes: 1 << 10, record_bytes: 1 << 12 };
        let origin = Origin { source: Sym::EMPTY, tenant: Sym::EMPTY };
        for (begin, filling) in [
            ("", "["),
            ("[{\"a\":1}", ","),
            ("{\"Records\":[", "[]"),
            ("{\"a\":1}\n", "\n"),
            ("{\"a\":\n", "\n"),
            ("a,b\n1,2\n", "\n"),
        ] {
            let mut framer = Framer::new(origin, limits);
            let mut out = Vec::new();
            framer.feed(begin.as_bytes(), &mut out);
            for _ in 0..64 {
                framer.feed(filling.repeat(1 << 16).as_bytes(), &mut out);
                assert!(framer.tape.buf.capacity() < 3 << 20, "{begin:?} {filling:?}");
            }
        }
    }
}
