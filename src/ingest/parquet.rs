//! Parquet: the rows of a file as JSON records, a batch at a time.
//!
//! A record's position is its row from 1. Row groups are read apart, so that damage costs the rest of its group and no
//! other: one reject tells which rows. A footer that cannot be read costs the file, since it alone says where rows lie.
//! State: one page a column (which the library unpacks to the length that the page says, 2 GiB at most), one batch, and the chunk under
//! way.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{Array, StructArray};
use arrow_schema::{DataType, FieldRef, Fields, Schema, SchemaRef};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Compression, ConvertedType, LogicalType, Type};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};

use super::chunk::{Chunk, Framing, Span};
use super::columns::{Mark, Object};
use super::ends::Ends;
use super::framer::{Framed, Limits, Origin};
use super::tape::{longer_than, raw};
use crate::record::{Reject, Stage};

/// What a Parquet file begins with.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// Bytes of rows that a batch is meant to hold, and rows that it holds at most.
const BATCH_BYTES: u64 = 4 << 20;
const BATCH_ROWS: u64 = 1024;

/// Reads one Parquet file as chunks and rejects, in its order.
pub(super) struct ParquetReader {
    file: Ends,
    metadata: Option<ArrowReaderMetadata>,
    marks: Vec<Mark>,
    origin: Origin,
    limits: Limits,
    /// The row group that is read next.
    group: usize,
    /// Batches of the group before, and the row from 1 behind its last.
    under_way: Option<(ParquetRecordBatchReader, u64)>,
    /// The batch that was read last, and its first row that is not given out: as JSON all of it may be far more than it is here.
    batch: Option<(StructArray, usize)>,
    /// The row from 1 that comes next.
    row: u64,
    chunk: Chunk,
    /// Rows that cannot be read, from the first to the last, for one reason.
    damage: Option<(u64, u64, String)>,
    ready: VecDeque<Framed>,
}

impl ParquetReader {
    /// Reads the footer of `file`; where it cannot be read, that is the only thing that it will tell.
    pub(super) fn new(file: File, origin: Origin, limits: Limits) -> ParquetReader {
        // Only what Parquet itself says counts: the schema that Arrow's writers embed may contradict it.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let file = Ends(file);
        let metadata = guarded(|| {
            let metadata = ArrowReaderMetadata::load(&file, options.clone()).map_err(told)?;
            let options = options.with_schema(viewed(metadata.schema()));
            ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options).map_err(told)
        });
        let mut reader = ParquetReader {
            file,
            metadata: None,
            marks: Vec::new(),
            origin,
            limits,
            group: 0,
            under_way: None,
            batch: None,
            row: 1,
            chunk: empty(1),
            damage: None,
            ready: VecDeque::new(),
        };
        match metadata {
            Ok(metadata) => {
                reader.marks = marks(&metadata);
                reader.metadata = Some(metadata);
            }
            Err(why) => {
                let cure = "fetch or write the file again, its end is missing or damaged";
                reader.reject(1, format!("the footer of the Parquet file cannot be read: {why}; {cure}"), "");
            }
        }
        reader
    }

    fn read(&mut self) {
        if let Some((batch, from)) = self.batch.take() {
            return self.take(batch, from);
        }
        let Some((mut batches, end)) = self.under_way.take() else { return self.begin() };
        match guarded(|| batches.next().transpose().map_err(told)) {
            Ok(Some(batch)) => {
                self.batch = Some((batch.into(), 0));
                self.under_way = Some((batches, end));
            }
            Ok(None) if self.row < end => self.lost(end, "they are not there"),
            Ok(None) => {}
            Err(why) => self.lost(end, &why),
        }
    }

    /// Goes on with the next row group; without one the file is done.
    fn begin(&mut self) {
        let Some(metadata) = &self.metadata else { return };
        let Some(group) = metadata.metadata().row_groups().get(self.group) else {
            self.metadata = None;
            return self.emit();
        };
        let end = self.row.saturating_add(rows(group));
        let builder = |file| {
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
                .with_row_groups(vec![self.group])
                .with_batch_size(batch_rows(group))
        };
        let file = self.file.try_clone().map_err(told);
        let batches = file.and_then(|file| guarded(|| builder(file).build().map_err(told)));
        self.group += 1;
        match batches {
            Ok(batches) => self.under_way = Some((batches, end)),
            Err(why) => self.lost(end, &why),
        }
    }

    /// Gives out rows of a batch, a chunk at most.
    fn take(&mut self, batch: StructArray, from: usize) {
        let object = Object::new(&batch, &self.marks);
        let mut row = from;
        while row < batch.len() && self.ready.is_empty() {
            let start = self.chunk.bytes.len();
            object.write(row, &mut self.chunk.bytes);
            let length = self.chunk.bytes.len() - start;
            if length > self.limits.record_bytes {
                let text = raw(&self.chunk.bytes[start..][..self.limits.record_bytes]);
                self.chunk.bytes.truncate(start);
                self.reject(self.row, longer_than(self.limits.record_bytes), &text);
            } else {
                let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
                self.chunk.spans.push(Span { start: at(start), end: at(start + length), position: self.row });
            }
            (self.row, row) = (self.row + 1, row + 1);
            if self.chunk.bytes.len() >= self.limits.chunk_bytes {
                self.emit();
            }
        }
        drop(object);
        if row < batch.len() {
            self.batch = Some((batch, row));
        }
    }

    /// The rows from here to before `end` cannot be read.
    fn lost(&mut self, end: u64, why: &str) {
        let why = self
            .packing(why)
            .unwrap_or_else(|| format!("{why}; fetch or write the file again, it is damaged"));
        let (first, last) = (self.row, end.saturating_sub(1).max(self.row));
        self.row = last + 1;
        match &mut self.damage {
            // A whole file may be packed in a way that is not understood: one reject tells that too.
            Some((_, known_last, known)) if *known_last + 1 == first && *known == why => *known_last = last,
            _ => {
                self.emit();
                self.damage = Some((first, last, why));
            }
        }
        self.chunk = empty(self.row);
    }

    /// Of an error in the group under way: whether it is only packed in a way that this build does not unpack.
    fn packing(&self, why: &str) -> Option<String> {
        let group = self.metadata.as_ref()?.metadata().row_groups().get(self.group.checked_sub(1)?)?;
        let known = |packing| !matches!(packing, Compression::BROTLI(_) | Compression::LZO);
        let packings = group.columns().iter().map(ColumnChunkMetaData::compression);
        let unknown = packings.filter(|packing| !known(*packing)).map(|packing| packing.to_string());
        let unknown = unknown.map(|name| name.split('(').next().unwrap_or_default().to_lowercase());
        let unknown = unknown.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" and ");
        why.contains("Disabled feature").then(|| {
            format!("pages packed by {unknown} are not understood; write the file with zstd, snappy, gzip or lz4, or without compression")
        })
    }

    fn tell_damage(&mut self) {
        if let Some((first, last, why)) = self.damage.take() {
            let reason = format!("rows {first} to {last} of the Parquet file cannot be read: {why}");
            self.push(first, reason, "");
        }
    }

    fn reject(&mut self, position: u64, reason: String, raw: &str) {
        self.emit();
        self.push(position, reason, raw);
        self.chunk = empty(position + 1);
    }

    fn push(&mut self, position: u64, reason: String, raw: &str) {
        self.ready.push_back(Framed::Reject(Reject {
            stage: Stage::Ingest,
            reason,
            tick: 0,
            tenant: self.origin.tenant,
            source: self.origin.source,
            position,
            raw: raw.to_owned(),
        }));
    }

    /// Gives out the rows at hand.
    fn emit(&mut self) {
        self.tell_damage();
        let next = self.chunk.ordinal + self.chunk.len() as u64;
        let chunk = mem::replace(&mut self.chunk, empty(next + 1));
        if !chunk.is_empty() {
            self.ready.push_back(Framed::Chunk(chunk));
        }
    }
}

impl Iterator for ParquetReader {
    type Item = Framed;

    fn next(&mut self) -> Option<Framed> {
        while self.ready.is_empty() && self.metadata.is_some() {
            self.read();
        }
        self.ready.pop_front()
    }
}

/// A chunk whose first record is that of `row`, from 1.
fn empty(row: u64) -> Chunk {
    let ordinal = row.saturating_sub(1);
    Chunk { bytes: Vec::new(), spans: Vec::new(), ordinal, framing: Framing::Json, times: Vec::new() }
}

fn rows(group: &RowGroupMetaData) -> u64 {
    u64::try_from(group.num_rows()).unwrap_or(0)
}

/// Fewer where rows are long.
fn batch_rows(group: &RowGroupMetaData) -> usize {
    let bytes = u64::try_from(group.total_byte_size()).unwrap_or(0);
    let long = (bytes / rows(group).max(1)).max(1);
    usize::try_from((BATCH_BYTES / long).clamp(1, BATCH_ROWS)).unwrap_or(1)
}

/// The same columns, but for texts and bytes, of which a row has a view: a column may say one long value once of all its rows.
fn viewed(schema: &SchemaRef) -> SchemaRef {
    let fields: Fields = schema.fields().iter().map(viewed_field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a new type has no texts that are known of")]
fn viewed_field(field: &FieldRef) -> FieldRef {
    let viewed = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(viewed_field).collect()),
        DataType::List(item) => DataType::List(viewed_field(item)),
        DataType::Map(entries, sorted) => DataType::Map(viewed_field(entries), *sorted),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(viewed))
}

/// What the file says of its columns.
fn marks(metadata: &ArrowReaderMetadata) -> Vec<Mark> {
    let columns = metadata.parquet_schema().root_schema().get_fields().iter().map(|column| {
        let info = column.get_basic_info();
        match info.logical_type_ref() {
            Some(LogicalType::Json) => Mark::Json,
            Some(LogicalType::Uuid) => Mark::Uuid,
            _ if info.converted_type() == ConvertedType::JSON => Mark::Json,
            // Parquet's oldest timestamps say no zone, and are always of UTC.
            _ if column.is_primitive() && column.get_physical_type() == Type::INT96 => Mark::Utc,
            _ => Mark::Plain,
        }
    });
    columns.collect()
}

/// What the library says, without the kinds of errors that it wraps it in.
fn told<E: Into<Box<dyn std::error::Error>>>(error: E) -> String {
    let text = error.into().to_string();
    let mut rest = text.as_str();
    while let Some((_, after)) = ["Parquet argument error: ", "Parquet error: ", "External: ", "Arrow: "]
        .iter()
        .find_map(|kind| rest.strip_prefix(kind).map(|after| (kind, after)))
    {
        rest = after;
    }
    rest.to_owned()
}

/// Reads what may be hostile: where the library panics over it, that is one more reason why it cannot be read.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("its bytes contradict each other".to_owned()))
}

/// Whether the file's first bytes are Parquet's; the file is then at its beginning again.
pub(super) fn is_parquet(file: &mut File) -> io::Result<bool> {
    use io::{Read, Seek};
    let mut magic = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
    file.rewind()?;
    Ok(magic == MAGIC)
}
