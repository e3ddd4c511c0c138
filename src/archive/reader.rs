//! Reader: parts back to rows, for `explain`, for a replay of the log and for learning.
//!
//! In: published parts. Out: typed lines, part by part in order of date, tick and worker.
//! State: one batch of one part.

use std::collections::BTreeSet;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    RowFilter,
};
use rustc_hash::FxHashSet;

use crate::ingest::ends::Ends;
use crate::record::id::hex;
use crate::record::{AlertId, IncidentId, Names};

use super::layout::{self, about};
use super::line::Line;
use super::part::io_error;

const BATCH: usize = 8 << 10;

/// An archive to read. What it names is interned in `names`.
#[derive(Clone)]
pub struct Reader {
    dir: PathBuf,
    names: Arc<Names>,
}

/// Only rows whose `column` holds one of some ids. That column is read first; the others only where it says so.
#[derive(Clone, Debug)]
pub struct Only {
    column: &'static str,
    ids: Arc<FxHashSet<[u8; 32]>>,
}

impl Only {
    /// Rows of these incidents, in tables with an `incident_id`.
    pub fn incidents(ids: impl IntoIterator<Item = IncidentId>) -> Only {
        Only::of("incident_id", ids.into_iter().map(|id| id.0))
    }

    /// Rows of these alerts, in tables with an `alert_id`.
    pub fn alerts(ids: impl IntoIterator<Item = AlertId>) -> Only {
        Only::of("alert_id", ids.into_iter().map(|id| id.0))
    }

    /// Rows whose `column` (of ids) holds one of `ids`.
    pub fn of(column: &'static str, ids: impl IntoIterator<Item = [u8; 16]>) -> Only {
        let digits = |id: [u8; 16]| {
            let mut digits = [0; 32];
            hex(&id, &mut digits);
            digits
        };
        Only { column, ids: Arc::new(ids.into_iter().map(digits).collect()) }
    }

    fn matches(&self, column: &ArrayRef) -> BooleanArray {
        let Some(texts) = column.as_string_opt::<i32>() else {
            return BooleanArray::from(vec![false; column.len()]);
        };
        let hit = |text: Option<&str>| {
            text.and_then(|text| <[u8; 32]>::try_from(text.as_bytes()).ok())
                .is_some_and(|id| self.ids.contains(&id))
        };
        texts.iter().map(|text| Some(hit(text))).collect()
    }
}

impl Reader {
    /// An error where there is no such folder.
    pub fn open(dir: impl Into<PathBuf>, names: Arc<Names>) -> io::Result<Reader> {
        let dir = dir.into();
        let listed = std::fs::read_dir(&dir);
        listed.map_err(|error| about(&dir, "cannot read the archive", &error))?;
        Ok(Reader { dir, names })
    }

    /// The names that what is read is interned in.
    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// How many rows a table has, as its parts' footers tell.
    pub fn count(&self, table: &str) -> io::Result<u64> {
        let mut rows = 0;
        for path in layout::published(&self.dir, table)? {
            let file = Ends::open(&path).map_err(|error| about(&path, "cannot open", &error))?;
            let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            let part = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
                .map_err(|error| about(&path, "cannot read", &io_error(error)))?;
            rows += part.metadata().file_metadata().num_rows().max(0).cast_unsigned();
        }
        Ok(rows)
    }

    /// The ids in `column` of `table` that begin with `prefix`, in hex. No other column is read.
    pub fn ids(&self, table: &str, column: &str, prefix: &str) -> io::Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for path in layout::published(&self.dir, table)? {
            let file = Ends::open(&path).map_err(|error| about(&path, "cannot open", &error))?;
            let fail = |error| about(&path, "cannot read", &io_error(error));
            let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            let builder =
                ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).map_err(fail)?;
            let mask = ProjectionMask::columns(builder.parquet_schema(), [column]);
            let batches = builder.with_projection(mask).with_batch_size(BATCH).build().map_err(fail)?;
            for batch in batches {
                let batch = batch.map_err(|error| about(&path, "cannot read", &io::Error::other(error)))?;
                let texts = batch.columns().first().and_then(|column| column.as_string_opt::<i32>());
                let texts = texts.ok_or_else(|| malformed(&path, &format!("{column:?} is no text")))?;
                let new = texts.iter().flatten().filter(|text| text.starts_with(prefix));
                found.extend(new.map(str::to_owned));
            }
        }
        Ok(found)
    }

    /// The lines of a table; none where it has no folder.
    pub fn lines<L: Line>(&self, only: Option<Only>) -> io::Result<Lines<L>> {
        if let Some(only) = &only
            && !L::fields().iter().any(|field| field.name() == only.column)
        {
            let text = format!("table {:?} has no column {:?} to choose rows by", L::TABLE, only.column);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let parts = layout::published(&self.dir, L::TABLE)?.into_iter();
        let names = Arc::clone(&self.names);
        Ok(Lines {
            parts,
            only,
            names,
            open: None,
            path: PathBuf::new(),
            batch: Vec::new(),
            rows: 0,
            at: 0,
            of: PhantomData,
        })
    }
}

/// The lines of one table. An error names the part; the iterator ends after it.
pub struct Lines<L> {
    parts: std::vec::IntoIter<PathBuf>,
    only: Option<Only>,
    names: Arc<Names>,
    open: Option<ParquetRecordBatchReader>,
    path: PathBuf,
    /// Columns in the order of the table's fields.
    batch: Vec<ArrayRef>,
    rows: usize,
    at: usize,
    of: PhantomData<L>,
}

impl<L: Line> Lines<L> {
    fn advance(&mut self) -> io::Result<Option<L>> {
        while self.at == self.rows {
            if !self.next_batch()? {
                return Ok(None);
            }
        }
        self.at += 1;
        L::read(&self.batch, self.at - 1, &self.names)
            .map(Some)
            .map_err(|fault| malformed(&self.path, &fault))
    }

    /// Goes on to the next batch; false where there is none.
    fn next_batch(&mut self) -> io::Result<bool> {
        let Some(open) = &mut self.open else {
            let Some(path) = self.parts.next() else { return Ok(false) };
            self.open = Some(open(&path, self.only.as_ref())?);
            self.path = path;
            return Ok(true);
        };
        let Some(batch) = open.next() else {
            self.open = None;
            return Ok(true);
        };
        let batch = batch.map_err(|error| about(&self.path, "cannot read", &io::Error::other(error)))?;
        self.batch.clear();
        for field in L::fields() {
            let column = batch.column_by_name(field.name());
            let missing = || malformed(&self.path, &format!("column {:?} is missing", field.name()));
            self.batch.push(Arc::clone(column.ok_or_else(missing)?));
        }
        (self.rows, self.at) = (batch.num_rows(), 0);
        Ok(true)
    }
}

impl<L: Line> Iterator for Lines<L> {
    type Item = io::Result<L>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.advance().transpose();
        if let Some(Err(_)) = line {
            (self.parts, self.open, self.rows, self.at) = (Vec::new().into_iter(), None, 0, 0);
        }
        line
    }
}

/// The batches of one part.
pub(super) fn open(path: &Path, only: Option<&Only>) -> io::Result<ParquetRecordBatchReader> {
    let file = Ends::open(path).map_err(|error| about(path, "cannot open", &error))?;
    let fail = |error| about(path, "cannot read", &io_error(error));
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let mut builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).map_err(fail)?;
    if let Some(only) = only.cloned() {
        let mask = ProjectionMask::columns(builder.parquet_schema(), [only.column]);
        let choose = move |batch: RecordBatch| Ok(only.matches(batch.column(0)));
        builder =
            builder.with_row_filter(RowFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, choose))]));
    }
    builder.with_batch_size(BATCH).build().map_err(fail)
}

pub(super) fn malformed(path: &Path, fault: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {fault}", path.display()))
}
