//! Tape: the bytes at hand, how far they are scanned, and the records found in them so far.

use std::mem;

use super::chunk::{Chunk, Framing, Span};
use super::framer::{Framed, Limits, Origin};
use crate::record::{Reject, Stage};

/// How much of a rejected record is kept, in bytes.
pub const RAW_MAX: usize = 8 << 10;

/// How many bytes of a source may be scanned a second time to save the records behind a broken one: without a bound,
/// a hostile file could make the work quadratic.
const REWIND_MAX: usize = 256 << 20;

/// The first [`RAW_MAX`] bytes as text, what is not UTF-8 replaced.
#[must_use]
pub fn raw(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(RAW_MAX)]).into_owned()
}

/// Why a record of more than `bytes` is none.
pub(super) fn longer_than(bytes: usize) -> String {
    format!(
        "the record is longer than {bytes} bytes; raise the limit of its source if such records are wanted"
    )
}

/// See the head of this file. The record under way is `buf[start..scan]`.
pub(super) struct Tape {
    pub(super) buf: Vec<u8>,
    pub(super) scan: usize,
    pub(super) start: usize,
    /// The line from 1 of `scan`.
    pub(super) line: u64,
    /// The line from 1 of `start`.
    pub(super) start_line: u64,
    pub(super) framing: Framing,
    pub(super) out: Vec<Framed>,
    limits: Limits,
    origin: Origin,
    spans: Vec<Span>,
    ordinal: u64,
    /// Where the last record began.
    last_line: u64,
    rewound: usize,
}

impl Tape {
    pub(super) fn new(origin: Origin, limits: Limits) -> Tape {
        let limits = Limits { record_bytes: limits.record_bytes.clamp(1, 1 << 30), ..limits };
        Tape {
            buf: Vec::new(),
            scan: 0,
            start: 0,
            line: 1,
            start_line: 1,
            framing: Framing::Json,
            out: Vec::new(),
            limits,
            origin,
            spans: Vec::new(),
            ordinal: 0,
            last_line: 0,
            rewound: 0,
        }
    }

    /// The byte under the head.
    pub(super) fn byte(&self) -> Option<u8> {
        self.buf.get(self.scan).copied()
    }

    /// The record under way, as far as the head.
    pub(super) fn under_way(&self) -> &[u8] {
        &self.buf[self.start..self.scan]
    }

    /// The record under way begins at the head.
    pub(super) fn begin(&mut self) {
        self.start = self.scan;
        self.start_line = self.line;
    }

    /// The record under way ends at the head, where the next may begin. What is blank is none.
    pub(super) fn record(&mut self) {
        if self.overlong() {
            self.too_long();
        } else {
            let bytes = &self.buf[self.start..self.scan];
            // Around JSON white space says nothing; in a row of tabs it parts empty fields.
            let (lead, kept) = match &self.framing {
                Framing::Json => (bytes.len() - bytes.trim_ascii_start().len(), bytes.trim_ascii().len()),
                Framing::Csv(_) => (0, bytes.strip_suffix(b"\r").unwrap_or(bytes).len()),
            };
            if kept > 0 {
                let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
                let start = self.start + lead;
                self.last_line = self.start_line;
                self.spans.push(Span { start: at(start), end: at(start + kept), position: self.start_line });
            }
        }
        self.begin();
    }

    /// Forgets all bytes. What comes next stands on a line of its own.
    pub(super) fn anew(&mut self) {
        self.scan = self.buf.len();
        self.skip();
        self.line += u64::from(self.last_line == self.line);
        self.begin();
        self.framing = Framing::Json;
        self.rewound = 0;
    }

    /// Whether the record under way is too long.
    pub(super) fn overlong(&self) -> bool {
        self.scan - self.start > self.limits.record_bytes
    }

    /// Whether it would be with so many more bytes.
    pub(super) fn overlong_with(&self, more: usize) -> bool {
        self.scan + more - self.start > self.limits.record_bytes
    }

    /// Gives up the record under way, and what of it is already here.
    pub(super) fn too_long(&mut self) {
        let reason = longer_than(self.limits.record_bytes);
        let shown = self.limits.record_bytes.min(RAW_MAX);
        let raw = raw(&self.buf[self.start..self.scan.min(self.start + shown)]);
        self.reject(reason, raw);
        self.skip();
    }

    /// The stream broke: what is at hand of the record under way goes with the reject.
    pub(super) fn broke(&mut self, reason: String) {
        let raw = raw(&self.buf[self.start..]);
        self.reject(reason, raw);
        self.scan = self.buf.len();
        self.skip();
    }

    fn reject(&mut self, reason: String, raw: String) {
        self.emit();
        self.ordinal += 1;
        self.last_line = self.start_line;
        self.out.push(Framed::Reject(Reject {
            stage: Stage::Ingest,
            reason,
            tick: 0,
            tenant: self.origin.tenant,
            source: self.origin.source,
            position: self.start_line,
            raw,
        }));
    }

    /// Forgets what lies before the head.
    pub(super) fn skip(&mut self) {
        self.emit();
        self.buf.drain(..self.scan);
        self.scan = 0;
        self.begin();
    }

    /// Puts the head back to where the record under way begins, unless too much was read twice already.
    pub(super) fn rewind(&mut self) -> bool {
        self.rewound = self.rewound.saturating_add(self.scan - self.start);
        let may = self.rewound <= REWIND_MAX;
        if may {
            self.scan = self.start;
            self.line = self.start_line;
        }
        may
    }

    /// Gives the records out, if there is a chunk's worth of bytes; where those hold no record, they are let go. What is
    /// under way counts: else a second chunk's worth had to come first, for which there is no room.
    pub(super) fn emit_full(&mut self) {
        if self.scan >= self.limits.chunk_bytes && self.start > 0 {
            self.emit();
            self.buf.drain(..self.start);
            self.scan -= self.start;
            self.start = 0;
        }
    }

    /// Gives the records before `start` out; what follows moves to the front.
    pub(super) fn emit(&mut self) {
        if self.spans.is_empty() {
            return;
        }
        let mut rest = Vec::with_capacity(self.buf.len() - self.start + self.limits.chunk_bytes);
        rest.extend_from_slice(&self.buf[self.start..]);
        let mut bytes = mem::replace(&mut self.buf, rest);
        bytes.truncate(self.start);
        self.scan -= self.start;
        self.start = 0;
        let chunk = Chunk {
            bytes,
            spans: mem::take(&mut self.spans),
            ordinal: self.ordinal,
            framing: self.framing.clone(),
            times: Vec::new(),
        };
        self.ordinal += chunk.len() as u64;
        self.out.push(Framed::Chunk(chunk));
    }
}
