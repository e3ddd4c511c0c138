//! Lane: one partition of a topic, in order, as chunks of records.
//!
//! State: where it goes on, and whether it was at its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::Hearing;
use super::{Bounds, Reader, bounds, place};
use crate::ingest::chunk::{Chunk, Framing, Span};
use crate::ingest::framer::{Framed, Origin};
use crate::ingest::live::Bell;
use crate::ingest::raw;
use crate::plan::topic::{TimeOf, Topic};
use crate::record::place::{position, within};
use crate::record::{Millis, Reject, Stage};

/// A piece holds no more than this: it is given out then.
const PIECE_BYTES: usize = 256 << 10;
const PIECE_RECORDS: usize = 1_024;

/// What a lane says.
#[derive(Debug)]
pub enum Heard {
    /// The next records.
    Records(Vec<Framed>),
    /// Records were removed before they were read: the one that comes next is not there any more.
    Lost {
        /// The offset that should have come.
        wanted: u64,
        /// What there is.
        bounds: Bounds,
    },
}

/// One partition of a topic.
pub struct Lane {
    queue: PartitionQueue<Hearing>,
    reader: Arc<Reader>,
    bell: Bell,
    ahead: usize,
    topic: String,
    partition: u32,
    origin: Origin,
    record_bytes: usize,
    /// Whether the topic's time stands for one that a record lacks.
    timed: bool,
    /// The offset from which on it goes on.
    next: u64,
    at_end: bool,
    /// When the oldest record that was given out last was appended.
    appended: Option<Millis>,
    /// What there is where it should go on and cannot: to be told, and told.
    lost: (Option<Bounds>, bool),
}

/// Records that lie together, in the making.
#[derive(Default)]
struct Piece {
    framed: Vec<Framed>,
    chunk: Option<Chunk>,
    bytes: usize,
    records: usize,
}

impl Lane {
    pub(super) fn new(
        queue: PartitionQueue<Hearing>,
        (reader, bell, ahead): (Arc<Reader>, Bell, usize),
        topic: &Topic,
        (partition, next): (u32, u64),
        origin: Origin,
        record_bytes: usize,
    ) -> Lane {
        Lane {
            queue,
            reader,
            bell,
            ahead,
            topic: topic.topic.clone(),
            partition,
            origin,
            record_bytes,
            timed: topic.time == TimeOf::Broker,
            next,
            at_end: false,
            appended: None,
            lost: (None, false),
        }
    }

    /// Its number.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Bytes of it that may wait to be taken.
    #[must_use]
    pub fn ahead(&self) -> usize {
        self.ahead
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The next records, waited for no longer than this; none when the run is to stop.
    pub fn next(&mut self, wait: Duration) -> Option<Heard> {
        if self.bell.stopped() || self.lost.1 {
            return None;
        }
        let mut piece = Piece::default();
        let (mut wait, mut oldest) = (wait, None);
        while piece.bytes < PIECE_BYTES && piece.records < PIECE_RECORDS {
            let Some(come) = self.queue.poll(wait) else { break };
            wait = Duration::ZERO;
            match come {
                Ok(message) => {
                    self.at_end = false;
                    let offset = u64::try_from(message.offset()).unwrap_or(0);
                    // A fetch begins with a batch, which may begin before what was asked for.
                    if offset >= self.next {
                        self.next = offset + 1;
                        oldest = oldest.or(message.timestamp().to_millis());
                        self.add(&message, offset, &mut piece);
                    }
                }
                Err(KafkaError::PartitionEOF(_)) => {
                    self.at_end = true;
                    break;
                }
                Err(error) if is_lost(&error) => match self.bounds() {
                    // A replica that lags behind may not have it yet: it is asked for again.
                    Ok(bounds) if !is_truncated(&error) && bounds.has(self.next) => {
                        match self.go_on_at(self.next) {
                            Ok(()) => break,
                            Err(error) => self.troubled(&error),
                        }
                    }
                    Ok(bounds) => {
                        self.lost.0 = Some(bounds);
                        break;
                    }
                    Err(error) => self.troubled(&error),
                },
                Err(error) => self.troubled(&error),
            }
        }
        let framed = piece.finish();
        if !framed.is_empty() {
            self.appended = oldest;
            return Some(Heard::Records(framed));
        }
        let bounds = self.lost.0.take()?;
        self.lost.1 = true;
        Some(Heard::Lost { wanted: self.next, bounds })
    }

    /// When the oldest of the records that it said last was appended, as far as its topic tells.
    #[must_use]
    pub fn appended(&self) -> Option<Millis> {
        self.appended
    }

    /// Records that it has not given out, as far as brokers told.
    #[must_use]
    pub fn behind(&self) -> Option<u64> {
        // Offsets at the end may be none of records.
        let newest = if self.at_end { Some(self.next) } else { self.reader.context().newest(self.partition) };
        newest.map(|newest| newest.saturating_sub(self.next))
    }

    /// Whether the run is to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.bell.stopped()
    }

    /// Whether all that there is was read, as far as anybody can tell now.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.at_end && !self.reader.context().away.load(Ordering::SeqCst)
    }

    /// Goes on with the offset `earliest`, without what was lost before it; one reject tells what that was.
    pub fn skip_to(&mut self, earliest: u64) -> Result<Framed, KafkaError> {
        let wanted = self.next;
        self.go_on_at(earliest)?;
        let reason = format!(
            "offsets {wanted} to {} of partition {} of topic {} were removed before they were read; keep records longer, \
             or find out what held their reading up",
            earliest.saturating_sub(1),
            self.partition,
            self.topic
        );
        Ok(self.reject(wanted, reason, &[]))
    }

    fn go_on_at(&mut self, offset: u64) -> Result<(), KafkaError> {
        self.reader.incremental_unassign(&place(&self.topic, self.partition, self.next))?;
        self.reader.incremental_assign(&place(&self.topic, self.partition, offset))?;
        (self.next, self.lost) = (offset, (None, false));
        Ok(())
    }

    fn bounds(&self) -> Result<Bounds, KafkaError> {
        bounds(&self.reader, &self.topic, self.partition)
    }

    fn troubled(&mut self, error: &KafkaError) {
        self.at_end = false;
        self.reader.context().wrong(error);
    }

    fn add(&self, message: &impl Message, offset: u64, piece: &mut Piece) {
        match message.payload() {
            Some(bytes) if bytes.len() <= self.record_bytes => {
                let time = message.timestamp().to_millis().filter(|time| self.timed && *time > 0);
                piece.add(bytes, position(self.partition, offset), time);
            }
            Some(bytes) => {
                let reason = format!(
                    "the record has {} bytes, more than the {} that a record may have; split it, or raise --record-bytes-max",
                    bytes.len(),
                    self.record_bytes
                );
                piece.reject(self.reject(offset, reason, bytes));
            }
            None => {
                let reason = "the record has no value: a tombstone, which deletes a key of a compacted topic, is no alert";
                let key = message.key().unwrap_or_default();
                piece.reject(self.reject(offset, reason.to_owned(), key));
            }
        }
    }

    fn reject(&self, offset: u64, reason: String, bytes: &[u8]) -> Framed {
        Framed::Reject(Reject {
            stage: Stage::Ingest,
            reason,
            tick: 0,
            tenant: self.origin.tenant,
            source: self.origin.source,
            position: position(self.partition, offset),
            raw: raw(bytes),
        })
    }
}

impl Piece {
    /// Appends a record; records of one chunk are numbered without a gap, as offsets of a topic need not be.
    fn add(&mut self, bytes: &[u8], position: u64, time: Option<Millis>) {
        let follows = |chunk: &Chunk| chunk.ordinal + chunk.spans.len() as u64 == position;
        if !self.chunk.as_ref().is_some_and(follows) {
            self.close();
        }
        let chunk = self.chunk.get_or_insert_with(|| Chunk {
            bytes: Vec::new(),
            spans: Vec::new(),
            ordinal: position,
            framing: Framing::Json,
            times: Vec::new(),
        });
        let end = |chunk: &Chunk| u32::try_from(chunk.bytes.len()).unwrap_or(u32::MAX);
        let start = end(chunk);
        chunk.bytes.extend_from_slice(bytes);
        chunk.spans.push(Span { start, end: end(chunk), position });
        chunk.times.push(time);
        self.bytes += bytes.len();
        self.records += 1;
    }

    fn reject(&mut self, reject: Framed) {
        self.close();
        self.framed.push(reject);
        self.records += 1;
    }

    fn close(&mut self) {
        self.framed.extend(self.chunk.take().map(Framed::Chunk));
    }

    fn finish(mut self) -> Vec<Framed> {
        self.close();
        self.framed
    }
}

/// Whether an error says that what was asked for is not there any more.
fn is_lost(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(code, Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange))
        || is_truncated(error)
}

/// Whether an error says that records which were read are gone from the topic's end.
fn is_truncated(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::LogTruncation)
}

/// The place of a framed record within its partition: the first and the one after the last.
#[must_use]
pub fn range(framed: &Framed) -> Option<(u64, u64)> {
    match framed {
        Framed::Chunk(chunk) => {
            let (first, last) = (chunk.spans.first()?, chunk.spans.last()?);
            Some((within(first.position), within(last.position) + 1))
        }
        Framed::Reject(reject) => Some((within(reject.position), within(reject.position) + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_between_offsets_parts_chunks() {
        let mut piece = Piece::default();
        for offset in [4, 5, 7, 9, 10] {
            piece.add(b"{}", position(3, offset), None);
        }
        let framed = piece.finish();
        let ranges: Vec<_> = framed.iter().filter_map(range).collect();
        assert_eq!(ranges, [(4, 6), (7, 8), (9, 11)]);
        let Framed::Chunk(last) = &framed[2] else { panic!("records") };
        let numbers: Vec<_> = last.records().map(|(at, ordinal, bytes)| (at, ordinal, bytes.len())).collect();
        assert_eq!(
            numbers,
            [9, 10].map(|at| (position(3, at), position(3, at), 2)),
            "what it is and what it is named by"
        );
    }
}
