//! Chunk: some 256 KiB of whole records, owned, so that any thread may parse it.

use std::sync::Arc;

use crate::record::Millis;

/// What the records of a chunk are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Each should be one JSON object.
    Json,
    /// Each is a row under this header.
    Csv(Arc<Header>),
}

/// A CSV header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Column names, without quotes.
    pub columns: Vec<String>,
    /// What stands between fields.
    pub delimiter: u8,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first byte in the chunk.
    pub start: u32,
    /// One past its last.
    pub end: u32,
    /// The line from 1 in its source on which it begins, or its offset there.
    pub position: u64,
}

/// Whole records, in the order of their source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The records and what stood between them.
    pub bytes: Vec<u8>,
    /// Where each record lies in `bytes`.
    pub spans: Vec<Span>,
    /// The first record's number in its source, from 0; those after it follow.
    pub ordinal: u64,
    /// What the records are.
    pub framing: Framing,
    /// When its source's log took each record, where that stands for an event time which the record lacks; else empty.
    pub times: Vec<Option<Millis>>,
}

impl Chunk {
    /// A chunk of one JSON record that came by itself, as over Kafka.
    ///
    /// Longer than 4 GiB it is cut, and so becomes a reject.
    #[must_use]
    pub fn of_record(bytes: Vec<u8>, position: u64, ordinal: u64) -> Chunk {
        let end = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let spans = vec![Span { start: 0, end, position }];
        Chunk { bytes, spans, ordinal, framing: Framing::Json, times: Vec::new() }
    }

    /// How many records it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Takes the first `count` records off, as a chunk of their own.
    #[must_use]
    pub fn split(&mut self, count: usize) -> Chunk {
        let mut spans: Vec<Span> = self.spans.drain(..count.min(self.spans.len())).collect();
        let begin = spans.first().map_or(0, |span| span.start);
        let end = spans.last().map_or(begin, |span| span.end);
        let bytes = self.bytes.get(begin as usize..end as usize).unwrap_or_default().to_vec();
        for span in &mut spans {
            (span.start, span.end) = (span.start - begin, span.end - begin);
        }
        let ordinal = self.ordinal;
        self.ordinal += spans.len() as u64;
        let times = self.times.drain(..spans.len().min(self.times.len())).collect();
        Chunk { bytes, spans, ordinal, framing: self.framing.clone(), times }
    }

    /// Position, ordinal and bytes of each record.
    pub fn records(&self) -> impl Iterator<Item = (u64, u64, &[u8])> {
        self.spans.iter().zip(self.ordinal..).map(|(span, ordinal)| {
            (
                span.position,
                ordinal,
                self.bytes.get(span.start as usize..span.end as usize).unwrap_or_default(),
            )
        })
    }
}
