//! Snapshots: what operators remembered at an epoch's end, beside the log, so that a run need not begin at its beginning.
//!
//! `_quell/snapshots/EPOCH.parquet` has a row for each item, by operator and worker, and for each string that items name by
//! number; `EPOCH.json` says what it is and what its bytes hash to. The manifest is renamed into place last: without it there
//! is no snapshot. The last two are kept: of the newer one the archive may have been cut.

use std::fs::{self, File};
use std::io::{self, Read};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder, UInt32Builder};
use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};

use super::layout::{WAITING, about, rename, sync_file, sync_folder, together};
use super::writer::RunStamp;
use crate::flow::Turn;
use crate::flow::kept::Kept;
use crate::ingest::ends::Ends;
use crate::record::Epoch;

/// The form of what operators keep: another one is no snapshot of this program.
const FORM: &str = concat!("9 of quell ", env!("CARGO_PKG_VERSION"));
/// Snapshots kept.
const KEPT: usize = 2;
/// Rows gathered before they are encoded, and the bytes of theirs.
const BATCH_ROWS: usize = 8 << 10;
const BATCH_BYTES: usize = 8 << 20;
/// Bytes of a group of rows, about: groups are written as they are full, and read beside each other.
const GROUP_BYTES: usize = 64 << 20;
/// Bytes that are hashed at once.
const HASHED_BYTES: u64 = 16 << 20;
/// Bytes of one item: more than this beside a batch is no Parquet value any more.
const ITEM_MAX: usize = 1 << 30;

/// What was kept at an epoch's end.
#[derive(Debug)]
pub struct Snapshot {
    /// The turn that ended it.
    pub turn: Turn,
    /// What each operator remembered.
    pub kept: Vec<Kept>,
}

/// What a snapshot is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    form: String,
    plan_hash: String,
    /// What judged when the run began that wrote it.
    model_version: String,
    turn: Turn,
    rows: u64,
    blake3: String,
}

fn folder(state: &Path) -> PathBuf {
    state.join("snapshots")
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("operator", DataType::Utf8, false),
        Field::new("worker", DataType::UInt32, false),
        Field::new("string", DataType::UInt32, true),
        Field::new("body", DataType::Binary, false),
    ]))
}

/// Writes what was kept into an archive's state folder, durably; its bytes. Of the older ones those go that are not among the
/// last two, nor the last one at or before `safe`: with a later one nobody may begin yet.
///
/// # Errors
/// The disk's.
pub fn write(state: &Path, (turn, safe): (Turn, Epoch), stamp: &RunStamp, kept: &[Kept]) -> io::Result<u64> {
    let dir = folder(state);
    fs::create_dir_all(&dir).map_err(|error| about(&dir, "cannot make", &error))?;
    let (data, manifest) = names(&dir, turn.epoch);
    let open = dir.join(".rows.tmp");
    let rows = rows(&open, kept).map_err(|error| about(&open, "cannot write", &error))?;
    let (hash, bytes) = hashed(&open)?;
    let said = Manifest {
        form: FORM.to_owned(),
        plan_hash: stamp.plan_hash.clone(),
        model_version: stamp.model_version.clone(),
        turn,
        rows,
        blake3: hash,
    };
    rename(&open, &data)?;
    let text = dir.join(".manifest.tmp");
    fs::write(&text, serde_json::to_vec_pretty(&said)?)?;
    sync_file(&File::open(&text)?, &text)?;
    rename(&text, &manifest)?;
    sync_folder(&dir)?;
    let all: Vec<Epoch> = all(&dir)?.into_iter().map(|(epoch, _)| epoch).collect();
    let begin = all.iter().copied().filter(|epoch| *epoch <= safe).max();
    for old in all.into_iter().rev().skip(KEPT).filter(|old| Some(*old) != begin) {
        let (data, manifest) = names(&dir, old);
        fs::remove_file(manifest)?;
        fs::remove_file(data)?;
    }
    Ok(bytes)
}

/// Whether there is one of an epoch, in a form that this program reads.
///
/// # Errors
/// The disk's.
pub fn is_there(state: &Path, epoch: Epoch) -> io::Result<bool> {
    let (data, manifest) = names(&folder(state), epoch);
    if !manifest.is_file() || !data.is_file() {
        return Ok(false);
    }
    Ok(serde_json::from_slice::<Manifest>(&fs::read(manifest)?).is_ok_and(|said| said.form == FORM))
}

/// The epoch before which nobody begins any more: that of the oldest snapshot, where there are enough of them, and it is at or
/// before `safe`.
///
/// # Errors
/// The disk's.
pub fn oldest(state: &Path, safe: Epoch) -> io::Result<Option<Epoch>> {
    let all = all(&folder(state))?;
    let oldest = all.first().filter(|_| all.len() >= KEPT).map(|(epoch, _)| *epoch);
    Ok(oldest.filter(|oldest| *oldest <= safe))
}

fn names(dir: &Path, epoch: Epoch) -> (PathBuf, PathBuf) {
    (dir.join(format!("{epoch}.parquet")), dir.join(format!("{epoch}.json")))
}

/// Snapshots that have a manifest, by epoch.
fn all(dir: &Path) -> io::Result<Vec<(Epoch, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let epoch = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(epoch) = epoch.filter(|_| path.extension().is_some_and(|it| it == "json")) {
            found.push((epoch, path));
        }
    }
    found.sort();
    Ok(found)
}

/// What a file's bytes hash to, and how many there are. All cores hash what was read.
fn hashed(path: &Path) -> io::Result<(String, u64)> {
    let (mut file, mut some) = (File::open(path)?, Vec::new());
    let mut hasher = blake3::Hasher::new();
    while (&mut file).take(HASHED_BYTES).read_to_end(&mut some)? > 0 {
        hasher.update_rayon(&some);
        some.clear();
    }
    Ok((hasher.finalize().to_hex().to_string(), hasher.count()))
}

fn rows(path: &Path, kept: &[Kept]) -> io::Result<u64> {
    let schema = schema();
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
    let mut writer =
        ArrowWriter::try_new(File::create(path)?, Arc::clone(&schema), Some(properties.build()))?;
    let (mut rows, mut bytes, mut group, mut count) = (Rows::default(), 0, 0, 0);
    for kept in kept {
        let strings = kept.glossary.iter().map(|(number, text)| (Some(*number), text.as_bytes()));
        let items = kept.items.iter().map(|item| (None, item.as_slice()));
        for (string, body) in strings.chain(items) {
            if body.len() > ITEM_MAX {
                let (operator, bytes) = (&kept.operator, body.len());
                return Err(io::Error::other(format!("{operator} remembers {bytes} bytes of one key")));
            }
            rows.put(kept, string, body);
            bytes += body.len();
            count += 1;
            if rows.count == BATCH_ROWS || bytes > BATCH_BYTES {
                writer.write(&rows.batch(&schema)?)?;
                group += std::mem::take(&mut bytes);
            }
            if group > GROUP_BYTES {
                writer.flush()?;
                group = 0;
            }
        }
    }
    writer.write(&rows.batch(&schema)?)?;
    writer.into_inner()?.sync_all()?;
    Ok(count)
}

#[derive(Default)]
struct Rows {
    operator: StringBuilder,
    worker: UInt32Builder,
    string: UInt32Builder,
    body: BinaryBuilder,
    count: usize,
}

impl Rows {
    fn put(&mut self, kept: &Kept, string: Option<u32>, body: &[u8]) {
        self.operator.append_value(&kept.operator);
        self.worker.append_value(u32::try_from(kept.worker).unwrap_or(u32::MAX));
        self.string.append_option(string);
        self.body.append_value(body);
        self.count += 1;
    }

    fn batch(&mut self, schema: &SchemaRef) -> io::Result<RecordBatch> {
        let Rows { operator, worker, string, body, .. } = std::mem::take(self);
        let (mut operator, mut worker, mut string, mut body) = (operator, worker, string, body);
        let columns = vec![
            Arc::new(operator.finish()) as _,
            Arc::new(worker.finish()) as _,
            Arc::new(string.finish()) as _,
            Arc::new(body.finish()) as _,
        ];
        RecordBatch::try_new(Arc::clone(schema), columns).map_err(io::Error::other)
    }
}

/// The plan that a run begins by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By<'a> {
    /// Its hash.
    pub plan: &'a str,
    /// The epoch after which it is in force; 0 where it always was. What another plan left there is begun with.
    pub since: Epoch,
}

impl By<'_> {
    fn fits(self, epoch: Epoch, plan: &str) -> bool {
        (epoch == self.since && epoch > 0) || (epoch > self.since && plan == self.plan)
    }
}

/// The last snapshot through `committed` that a plan may begin with; why others were passed over is told by `complain`. Which model
/// judges from there on is the log's to say: operators remember what was judged, and nothing of who did.
///
/// # Errors
/// Where the folder cannot be read.
pub fn latest(
    state: &Path,
    committed: Epoch,
    by: By<'_>,
    mut complain: impl FnMut(String),
) -> io::Result<Option<Snapshot>> {
    let dir = folder(state);
    if !dir.is_dir() {
        return Ok(None);
    }
    for (epoch, manifest) in all(&dir)?.into_iter().rev().filter(|(epoch, _)| *epoch <= committed) {
        match read(&dir, epoch, &manifest, by) {
            Ok(snapshot) => return Ok(Some(snapshot)),
            Err(why) => complain(format!("the snapshot {} is passed over: {why}", manifest.display())),
        }
    }
    Ok(None)
}

fn read(dir: &Path, epoch: Epoch, manifest: &Path, by: By<'_>) -> Result<Snapshot, String> {
    let text = fs::read(manifest).map_err(|error| error.to_string())?;
    let said: Manifest = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if said.form != FORM {
        return Err(format!("its form is {}, and this is {FORM}", said.form));
    }
    if !by.fits(epoch, &said.plan_hash) {
        return Err("it is of another plan".to_owned());
    }
    let (data, _) = names(dir, epoch);
    let (hash, _) = hashed(&data).map_err(|error| error.to_string())?;
    if hash != said.blake3 || said.turn.epoch != epoch {
        return Err("it is not what was written".to_owned());
    }
    // Its bytes are what their manifest says; that these are rows is not said thereby, and Parquet's readers panic at some.
    let kept = catch_unwind(|| items(&data, epoch))
        .unwrap_or_else(|_| Err(io::Error::other("they contradict each other")));
    let kept = kept.map_err(|error| format!("its rows cannot be read: {error}"))?;
    Ok(Snapshot { turn: said.turn, kept })
}

fn items(path: &Path, epoch: Epoch) -> io::Result<Vec<Kept>> {
    let file = Ends::open(path)?;
    let form = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?;
    if form.schema().fields() != schema().fields() {
        return Err(io::Error::other("its columns are not a snapshot's"));
    }
    let groups = together(0..form.metadata().num_row_groups(), WAITING, |group| {
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(Ends::open(path)?, form.clone());
        let mut all = Vec::new();
        for batch in reader.with_row_groups(vec![group]).build()? {
            take(&mut all, epoch, &batch.map_err(io::Error::other)?)?;
        }
        Ok(all)
    })?;
    let mut all = Vec::new();
    groups.into_iter().flatten().for_each(|kept| Kept::join(&mut all, kept));
    Ok(all)
}

fn take(all: &mut Vec<Kept>, epoch: Epoch, batch: &RecordBatch) -> io::Result<()> {
    let (operator, worker) =
        (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<UInt32Type>());
    let (string, body) = (batch.column(2).as_primitive::<UInt32Type>(), batch.column(3).as_binary::<i32>());
    for row in 0..batch.num_rows() {
        let (name, at) = (operator.value(row), worker.value(row) as usize);
        if all.last().is_none_or(|last| (last.operator.as_str(), last.worker) != (name, at)) {
            let (items, glossary) = (Vec::new(), Vec::new());
            all.push(Kept { epoch, operator: name.to_owned(), worker: at, items, glossary });
        }
        let Some(kept) = all.last_mut() else { continue };
        if string.is_null(row) {
            kept.items.push(body.value(row).to_vec());
        } else {
            let text = String::from_utf8(body.value(row).to_vec()).map_err(io::Error::other)?;
            kept.glossary.push((string.value(row), text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_form_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), (turn(3), 3), &stamp("p"), &kept(3)).unwrap();
        let (_, manifest) = names(&folder(dir.path()), 3);
        let text = fs::read_to_string(&manifest).unwrap();
        for (form, is_read) in [("9 of quell", true), ("8 of quell", false), ("10 of quell", false)] {
            fs::write(&manifest, text.replace("9 of quell", form)).unwrap();
            let found = latest(dir.path(), 9, by("p"), |_| ()).unwrap();
            assert_eq!(found.is_some(), is_read, "{form}");
        }
    }

    fn turn(epoch: Epoch) -> Turn {
        Turn { epoch, settled: 5, acts: 6, last: false, keeps: true }
    }

    fn by(plan: &str) -> By<'_> {
        By { plan, since: 0 }
    }

    #[test]
    fn another_plan_begins_with_what_was_left_to_it_and_goes_on_with_its_own() {
        let dir = tempfile::tempdir().unwrap();
        for (epoch, plan) in [(3, "p"), (5, "p"), (8, "q")] {
            write(dir.path(), (turn(epoch), 3), &stamp(plan), &kept(epoch)).unwrap();
        }
        let began = |committed, plan, since| {
            let found = latest(dir.path(), committed, By { plan, since }, |_| ()).unwrap();
            found.map(|found| found.turn.epoch)
        };
        assert_eq!([9, 7, 4].map(|committed| began(committed, "q", 5)), [Some(8), Some(5), None]);
        assert_eq!([9, 7, 4].map(|committed| began(committed, "p", 0)), [Some(5), Some(5), Some(3)]);
        assert_eq!(began(9, "p", 8), Some(8), "it went back to the first");
        assert_eq!([3, 4, 8].map(|epoch| is_there(dir.path(), epoch).unwrap()), [true, false, true]);
    }

    fn stamp(plan: &str) -> RunStamp {
        RunStamp { plan_hash: plan.to_owned(), model_version: "m".to_owned() }
    }

    fn kept(epoch: Epoch) -> Vec<Kept> {
        let kept = |operator: &str, worker, items: &[&[u8]], glossary: &[(u32, &str)]| Kept {
            epoch,
            operator: operator.to_owned(),
            worker,
            items: items.iter().map(|item| item.to_vec()).collect(),
            glossary: glossary.iter().map(|(number, text)| (*number, (*text).to_owned())).collect(),
        };
        vec![
            kept("dedup", 0, &[b"a", b""], &[(7, "web-01")]),
            kept("dedup", 1, &[b"b"], &[]),
            kept("desk", 0, &[&[0; 20_000]], &[(7, "other"), (16, "")]),
        ]
    }

    #[test]
    fn the_last_whole_one_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let read = |committed, plan: &str| {
            let mut why = Vec::new();
            let found = latest(dir.path(), committed, by(plan), |text| why.push(text)).unwrap();
            (found.map(|found| (found.turn.epoch, found.kept)), why)
        };
        assert_eq!(read(9, "p"), (None, Vec::new()));
        for epoch in [3, 5, 8] {
            assert!(write(dir.path(), (turn(epoch), epoch), &stamp("p"), &kept(epoch)).unwrap() > 0);
        }
        assert_eq!([4, 5, 9].map(|safe| oldest(dir.path(), safe).unwrap()), [None, Some(5), Some(5)]);
        assert_eq!(read(9, "p"), (Some((8, kept(8))), Vec::new()));
        assert_eq!(read(7, "p").0, Some((5, kept(5))));
        assert_eq!(read(4, "p").0, None, "two are kept");
        let (none, why) = read(9, "q");
        assert!(none.is_none() && why.len() == 2 && why[0].contains("another plan"), "{why:?}");
        // One that is damaged is passed over.
        let damaged = dir.path().join("snapshots/8.parquet");
        let mut bytes = fs::read(&damaged).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&damaged, bytes).unwrap();
        let (found, why) = read(9, "p");
        assert_eq!(found, Some((5, kept(5))));
        assert!(why[0].contains("not what was written"), "{why:?}");
    }

    #[test]
    fn what_fills_several_groups_is_one_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = kept(4);
        kept[0].items.extend((1..=3).map(|n| vec![n; GROUP_BYTES / 2 + 1]));
        write(dir.path(), (turn(4), 4), &stamp("p"), &kept).unwrap();
        let (data, _) = names(&folder(dir.path()), 4);
        let form = ArrowReaderMetadata::load(&Ends::open(&data).unwrap(), ArrowReaderOptions::new()).unwrap();
        assert_eq!(form.metadata().num_row_groups(), 2);
        let found = latest(dir.path(), 4, by("p"), |why| panic!("{why}")).unwrap().unwrap();
        assert!(found.kept == kept);
    }

    #[test]
    fn one_that_a_run_may_begin_with_stays() {
        let dir = tempfile::tempdir().unwrap();
        for epoch in [2, 3, 5, 8, 9] {
            write(dir.path(), (turn(epoch), 4), &stamp("p"), &kept(epoch)).unwrap();
        }
        let left: Vec<Epoch> =
            all(&folder(dir.path())).unwrap().into_iter().map(|(epoch, _)| epoch).collect();
        assert_eq!(left, [3, 8, 9], "what came after 4 may have to be said again");
        assert_eq!(oldest(dir.path(), 4).unwrap(), Some(3));
    }
}
