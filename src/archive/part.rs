//! Part: the rows of one table, date and worker since the last seal.
//!
//! In: rows. Out: one Parquet file, open, then sealed.
//! State: at most `BATCH` rows as columns and one row group encoded; the file is opened when the first batch is
//! full, so that a table with few rows holds no file open. A day's rows are encoded when those of another day begin: else all
//! days would be when they are sealed, and nobody would have anything else to do then.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::record::{Epoch, Names, Tick};

use super::layout::{self, PartName, about, rename, sync_file, sync_folder};
use super::line::Line;
use super::writer::RunStamp;

/// Rows gathered as columns before they are encoded.
const BATCH: usize = 8 << 10;
const ROW_GROUP_ROWS: usize = 64 << 10;
/// A row group of fewer is not made before it must be.
const REST_ROWS: usize = 1 << 10;
const ROW_GROUP_BYTES: usize = 8 << 20;

/// How the parts of one table are written.
pub(super) struct Format {
    schema: SchemaRef,
    properties: WriterProperties,
}

impl Format {
    pub(super) fn of<L: Line>(stamp: &RunStamp) -> Format {
        let schema: SchemaRef = Arc::new(Schema::new(L::fields()));
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("quell ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .set_key_value_metadata(Some(vec![
                KeyValue::new("quell.table".to_owned(), L::TABLE.to_owned()),
                KeyValue::new("quell.plan_hash".to_owned(), stamp.plan_hash.clone()),
                KeyValue::new("quell.model_version".to_owned(), stamp.model_version.clone()),
            ]));
        for field in schema.fields() {
            properties = encoding(properties, field.name(), field.data_type());
        }
        Format { schema, properties: properties.build() }
    }
}

/// How texts lie that are in no dictionary.
const TEXTS: Encoding = Encoding::DELTA_LENGTH_BYTE_ARRAY;

/// Numbers that move on in small steps lie as differences. Ids are as good as random: a dictionary of them would
/// only cost, save for the incident's, which comes again with each of its alerts. Texts lie one behind the other, and
/// their lengths by themselves, which are all the same for ids: between them they would look like something that comes again.
/// The least and greatest text of a chunk helps no query, and costs a comparison a row.
fn encoding(
    properties: WriterPropertiesBuilder,
    name: &str,
    data_type: &DataType,
) -> WriterPropertiesBuilder {
    let path = || ColumnPath::from(name);
    if matches!(data_type, DataType::Int64 | DataType::Timestamp(..)) {
        return properties
            .set_column_dictionary_enabled(path(), false)
            .set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
    }
    if let DataType::List(element) = data_type {
        let leaf = || ColumnPath::from(vec![name.to_owned(), "list".to_owned(), "element".to_owned()]);
        let is_text = *element.data_type() == DataType::Utf8;
        let properties = properties
            .set_column_dictionary_enabled(leaf(), matches!(element.data_type(), DataType::Dictionary(..)))
            .set_column_statistics_enabled(leaf(), EnabledStatistics::None);
        return if is_text { properties.set_column_encoding(leaf(), TEXTS) } else { properties };
    }
    if matches!(data_type, DataType::Dictionary(..)) {
        return properties.set_column_statistics_enabled(path(), EnabledStatistics::None);
    }
    if matches!(data_type, DataType::Utf8) {
        return properties
            .set_column_dictionary_enabled(path(), matches!(name, "incident_id" | "decision_id" | "reason"))
            .set_column_encoding(path(), TEXTS)
            .set_column_statistics_enabled(path(), EnabledStatistics::None);
    }
    properties
}

/// One part under construction.
pub(super) struct Part<L: Line> {
    folder: PathBuf,
    worker: u32,
    columns: L::Columns,
    buffered: usize,
    rows: u64,
    epochs: (Epoch, Epoch),
    file: Option<ArrowWriter<File>>,
    /// Whether it is written though it has no rows.
    shown: bool,
}

impl<L: Line> Part<L> {
    pub(super) fn new(folder: PathBuf, worker: u32) -> Part<L> {
        Part {
            folder,
            worker,
            columns: L::columns(),
            buffered: 0,
            rows: 0,
            epochs: (Epoch::MAX, 0),
            file: None,
            shown: false,
        }
    }

    fn open_path(&self) -> PathBuf {
        self.folder.join(PartName::Open { worker: self.worker }.text())
    }

    pub(super) fn push(
        &mut self,
        epoch: Epoch,
        row: &L::Row,
        names: &Names,
        format: &Format,
    ) -> io::Result<()> {
        L::push(&mut self.columns, epoch, row, names);
        self.epochs = (self.epochs.0.min(epoch), self.epochs.1.max(epoch));
        self.buffered += 1;
        self.rows += 1;
        if self.buffered == BATCH { self.drain(format) } else { Ok(()) }
    }

    /// Hands the gathered rows to the encoder, which writes a row group when it has enough.
    fn drain(&mut self, format: &Format) -> io::Result<()> {
        if self.buffered == 0 && !self.shown {
            return Ok(());
        }
        let path = self.open_path();
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(&self.folder, &path, format)?),
        };
        if self.buffered == 0 {
            return Ok(());
        }
        let batch = RecordBatch::try_new(Arc::clone(&format.schema), L::finish(&mut self.columns))
            .map_err(|error| about(&path, "cannot write", &io::Error::other(error)))?;
        self.buffered = 0;
        file.write(&batch).map_err(|error| about(&path, "cannot write", &io_error(error)))
    }

    /// Encodes and writes what it has, if that is much: rows come to another part now.
    fn rest(&mut self, format: &Format) -> io::Result<()> {
        let encoding = self.file.as_ref().map_or(0, ArrowWriter::in_progress_rows);
        if self.buffered + encoding < REST_ROWS {
            return Ok(());
        }
        self.drain(format)?;
        let flushed = self.file.as_mut().map_or(Ok(()), ArrowWriter::flush);
        flushed.map_err(|error| about(&self.open_path(), "cannot write", &io_error(error)))
    }

    /// Bytes written or about to be, and whether a file is open.
    pub(super) fn weight(&self) -> (usize, bool) {
        let bytes = self.file.as_ref().map_or(0, |file| file.bytes_written() + file.in_progress_size());
        (bytes, self.file.is_some())
    }

    /// Ends the file, makes its bytes durable and gives it the name that tells its epochs. Answers that name and the one to publish
    /// it under. The folders' entries are durable then, too.
    fn seal(mut self, tick: Tick, format: &Format) -> io::Result<(PathBuf, PathBuf)> {
        let target = self.folder.join(PartName::Published { tick, worker: self.worker }.text());
        refuse_existing(&target)?;
        self.drain(format)?;
        let open = self.open_path();
        let mut writer =
            self.file.take().ok_or_else(|| io::Error::other("a part without rows cannot be sealed"))?;
        writer.finish().map_err(|error| about(&open, "cannot write", &io_error(error)))?;
        // The footer may still lie in the writer's buffer.
        writer.sync().map_err(|error| about(&open, "cannot write", &error))?;
        sync_file(writer.inner(), &open)?;
        let (first, last) = self.epochs;
        let sealed = self.folder.join(PartName::Sealed { tick, worker: self.worker, first, last }.text());
        rename(&open, &sealed)?;
        sync_folder(&self.folder)?;
        Ok((sealed, target))
    }
}

/// What ends a part: the names that it has then, and is to have.
pub(super) type Sealing<'a> = Box<dyn FnOnce() -> io::Result<(PathBuf, PathBuf)> + Send + 'a>;

/// An error where a part of that tick and worker was published before: it would be lost.
pub(super) fn refuse_existing(target: &Path) -> io::Result<()> {
    if target.exists() {
        let already =
            "it is there already: a worker seals a tick once, and an archive has one writer at a time";
        let error = io::Error::new(io::ErrorKind::AlreadyExists, already);
        return Err(about(target, "cannot publish", &error));
    }
    Ok(())
}

fn open(folder: &Path, path: &Path, format: &Format) -> io::Result<ArrowWriter<File>> {
    fs::create_dir_all(folder).map_err(|error| about(folder, "cannot make folder", &error))?;
    let file = File::create(path).map_err(|error| about(path, "cannot create", &error))?;
    // Without Arrow's own schema in the footer, dictionaries read as the plain text that they stand for.
    let options =
        ArrowWriterOptions::new().with_properties(format.properties.clone()).with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(file, Arc::clone(&format.schema), options)
        .map_err(|error| about(path, "cannot write", &io_error(error)))
}

/// The operating system's error inside Parquet's, so that a full disk is told as one.
pub(super) fn io_error(error: ParquetError) -> io::Error {
    let ParquetError::External(inner) = error else { return io::Error::other(error) };
    inner.downcast::<io::Error>().map_or_else(io::Error::other, |inner| *inner)
}

/// The parts of one table, by day.
pub(super) struct Parts<L: Line> {
    format: Format,
    parts: Vec<(i64, Part<L>)>,
}

impl<L: Line> Parts<L> {
    pub(super) fn new(stamp: &RunStamp) -> Parts<L> {
        Parts { format: Format::of::<L>(stamp), parts: Vec::new() }
    }

    pub(super) fn push(
        &mut self,
        (dir, worker, names): (&Path, u32, &Names),
        epoch: Epoch,
        rows: &[L::Row],
    ) -> io::Result<()> {
        let mut last = None;
        for row in rows {
            let tick = L::tick(row);
            let day = layout::day_of(tick);
            // Rows of one push are nearly always of one day.
            let at = match last {
                Some((at, of)) if of == day => at,
                _ => self.part_of(day, || Part::new(layout::folder(dir, L::TABLE, tick), worker))?,
            };
            last = Some((at, day));
            self.parts[at].1.push(epoch, row, names, &self.format)?;
        }
        Ok(())
    }

    /// Where a day's part is. Where it begins, the one that began last rests.
    fn part_of(&mut self, day: i64, begin: impl FnOnce() -> Part<L>) -> io::Result<usize> {
        if let Some(at) = self.parts.iter().position(|(of, _)| *of == day) {
            return Ok(at);
        }
        if let Some((_, before)) = self.parts.last_mut() {
            before.rest(&self.format)?;
        }
        self.parts.push((day, begin()));
        Ok(self.parts.len() - 1)
    }
}

/// What can be done with the parts of any table.
pub(super) trait AnyParts: Send {
    /// The greatest part's bytes, the number of parts, the number of open files.
    fn load(&self) -> (usize, usize, usize);
    /// Notes an empty part where the table has none at all, so that readers find its columns.
    fn show(&mut self, dir: &Path, worker: u32, epoch: Epoch, tick: Tick) -> io::Result<()>;
    /// What ends each part, and makes it durable under a name that readers pass over.
    fn seal(&mut self, tick: Tick) -> Vec<Sealing<'_>>;
}

impl<L: Line> AnyParts for Parts<L> {
    fn load(&self) -> (usize, usize, usize) {
        let weights = || self.parts.iter().map(|(_, part)| part.weight());
        let bytes_max = weights().map(|(bytes, _)| bytes).max().unwrap_or_default();
        (bytes_max, self.parts.len(), weights().filter(|(_, open)| *open).count())
    }

    fn show(&mut self, dir: &Path, worker: u32, epoch: Epoch, tick: Tick) -> io::Result<()> {
        if self.parts.is_empty() && layout::parts(dir, L::TABLE)?.is_empty() {
            let mut part = Part::new(layout::folder(dir, L::TABLE, tick), worker);
            part.epochs = (epoch, epoch);
            part.shown = true;
            self.parts.push((layout::day_of(tick), part));
        }
        Ok(())
    }

    fn seal(&mut self, tick: Tick) -> Vec<Sealing<'_>> {
        let format = &self.format;
        let parts = self.parts.drain(..);
        parts.map(|(_, part)| Box::new(move || part.seal(tick, format)) as Sealing<'_>).collect()
    }
}
