//! Sightings: what one date's parts have, entity by entity, for an index that is asked later.
//!
//! In: the published parts of `alerts`, `rejects` and `observed` of a date, of three to five columns each. Out: for each
//! entity of a tenant how many alerts, and records of no concern, have it, and for each word of a reject's text how many
//! have that; with the times of the first and the last.
//! State: one batch of one part, and an entry of 64 bytes per distinct entity and word; [`DISTINCT_MAX`] at most, the first
//! met.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use arrow_array::{RecordBatch, StringArray};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use rustc_hash::FxHashMap;

use super::layout::{self, about};
use super::part::io_error;
use super::reader::malformed;
use crate::ingest::ends::Ends;
use crate::record::{Entity, Millis, Names, Role, Sym, Tick};

/// Rows that are looked at together.
const BATCH: usize = 8 << 10;
/// Distinct entities and words of one date.
const DISTINCT_MAX: usize = 1 << 22;
/// A shorter word says nothing.
const WORD_MIN: usize = 4;

/// A hash of a tenant and an entity, or of a tenant and a word.
pub type SeenKey = [u8; 16];

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sought {
    /// Whose.
    pub tenant: Sym,
    /// What.
    pub entity: Entity,
}

impl Sought {
    /// Under what it is seen in alerts, and in rejects.
    #[must_use]
    pub fn keys(self, names: &Names) -> [SeenKey; 2] {
        let tenant = names.get(self.tenant);
        let word = names.get(self.entity.value).to_lowercase();
        [key(&tenant, ENTITY, &self.entity.text(names)), key(&tenant, WORD, &word)]
    }
}

/// How often something is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Alerts that have it.
    pub alerts: u64,
    /// Rejects whose text has it.
    pub rejects: u64,
    /// Records of no concern that name it.
    pub ignored: u64,
    /// Event time of the first; 0 where there is none.
    pub first_seen: Millis,
    /// Event time of the last.
    pub last_seen: Millis,
}

impl Seen {
    fn once(alerts: u64, rejects: u64, time: Millis) -> Seen {
        Seen { alerts, rejects, ignored: 0, first_seen: time, last_seen: time }
    }

    fn all(&self) -> u64 {
        self.alerts + self.rejects + self.ignored
    }

    /// What is seen of both.
    pub fn add(&mut self, other: Seen) {
        if other.all() > 0 {
            let anew = self.all() == 0;
            self.first_seen = if anew { other.first_seen } else { self.first_seen.min(other.first_seen) };
            self.last_seen = if anew { other.last_seen } else { self.last_seen.max(other.last_seen) };
        }
        self.alerts += other.alerts;
        self.rejects += other.rejects;
        self.ignored += other.ignored;
    }
}

/// All that a date's parts have.
pub type Sightings = FxHashMap<SeenKey, Seen>;

const ENTITY: u8 = 0;
const WORD: u8 = 1;

fn key(tenant: &str, what: u8, text: &str) -> SeenKey {
    let mut hasher = blake3::Hasher::new();
    hasher.update(tenant.as_bytes()).update(&[0, what]).update(text.as_bytes());
    let mut key = SeenKey::default();
    hasher.finalize_xof().fill(&mut key);
    key
}

/// What tells that the parts of a date (`day`, from 1970) are those that were looked through.
pub fn edition(dir: &Path, day: i32) -> io::Result<String> {
    let mut edition = Vec::new();
    for table in ["alerts", "rejects", "observed"] {
        let parts = layout::published_on(dir, table, tick(day))?;
        let last = parts.iter().filter_map(|path| path.file_name()).max().unwrap_or_default();
        edition.push(format!("{} {}", parts.len(), last.display()));
    }
    Ok(edition.join(" "))
}

/// Adds a batch of a table; none where its columns are not those of the table.
type Adding = fn(&RecordBatch, &mut Sightings) -> Option<()>;

/// Looks a date's parts (`day`, from 1970) through.
pub fn sightings(dir: &Path, day: i32) -> io::Result<Sightings> {
    let mut seen = Sightings::default();
    for (table, columns, add) in [
        ("alerts", &["tenant", "time", "entities"][..], alerts as Adding),
        ("rejects", &["tenant", "tick", "raw"], rejects),
        ("observed", &["tenant", "entity", "records", "first_seen_time", "last_seen_time"], observed),
    ] {
        for path in layout::published_on(dir, table, tick(day))? {
            for batch in batches(&path, columns)? {
                let batch = batch.map_err(|error| about(&path, "cannot read", &io::Error::other(error)))?;
                add(&batch, &mut seen).ok_or_else(|| malformed(&path, "its columns are of other types"))?;
            }
        }
    }
    Ok(seen)
}

fn tick(day: i32) -> Tick {
    Tick::from(day) * layout::DAY_S
}

fn batches(path: &Path, columns: &[&str]) -> io::Result<ParquetRecordBatchReader> {
    let file = Ends::open(path).map_err(|error| about(path, "cannot open", &error))?;
    let fail = |error| about(path, "cannot read", &io_error(error));
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).map_err(fail)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    builder.with_projection(mask).with_batch_size(BATCH).build().map_err(fail)
}

fn texts<'a>(batch: &'a RecordBatch, column: &str) -> Option<&'a StringArray> {
    batch.column_by_name(column)?.as_string_opt::<i32>()
}

fn put(seen: &mut Sightings, key: SeenKey, once: Seen) {
    let room = seen.len() < DISTINCT_MAX;
    if let Some(seen) = seen.get_mut(&key) {
        seen.add(once);
    } else if room {
        seen.insert(key, once);
    }
}

fn alerts(batch: &RecordBatch, seen: &mut Sightings) -> Option<()> {
    let tenants = texts(batch, "tenant")?;
    let times = batch.column_by_name("time")?.as_primitive_opt::<TimestampMillisecondType>()?;
    let lists = batch.column_by_name("entities")?.as_list_opt::<i32>()?;
    let values = lists.values().as_string_opt::<i32>()?;
    for (row, ends) in lists.value_offsets().windows(2).enumerate() {
        let [from, to] = [ends[0], ends[1]].map(|end| usize::try_from(end).unwrap_or_default());
        // One that is both source and destination of an alert is in one alert.
        let entities: BTreeSet<&str> = (from..to).map(|at| without_role(values.value(at))).collect();
        for entity in entities {
            put(seen, key(tenants.value(row), ENTITY, entity), Seen::once(1, 0, times.value(row)));
        }
    }
    Some(())
}

fn without_role(text: &str) -> &str {
    let roles = [Role::Source, Role::Destination];
    roles.iter().find_map(|role| text.strip_prefix(role.prefix())).unwrap_or(text)
}

fn rejects(batch: &RecordBatch, seen: &mut Sightings) -> Option<()> {
    let (tenants, raws) = (texts(batch, "tenant")?, texts(batch, "raw")?);
    let ticks = batch.column_by_name("tick")?.as_primitive_opt::<Int64Type>()?;
    for row in 0..batch.num_rows() {
        let time = ticks.value(row).saturating_mul(1000);
        for word in words(&raws.value(row).to_lowercase()) {
            put(seen, key(tenants.value(row), WORD, word), Seen::once(0, 1, time));
        }
    }
    Some(())
}

fn observed(batch: &RecordBatch, seen: &mut Sightings) -> Option<()> {
    let (tenants, entities) = (texts(batch, "tenant")?, texts(batch, "entity")?);
    let records = batch.column_by_name("records")?.as_primitive_opt::<Int64Type>()?;
    let time = |column| batch.column_by_name(column)?.as_primitive_opt::<TimestampMillisecondType>();
    let (first, last) = (time("first_seen_time")?, time("last_seen_time")?);
    for row in 0..batch.num_rows() {
        let ignored = records.value(row).cast_unsigned();
        let (first_seen, last_seen) = (first.value(row), last.value(row));
        let span = Seen { ignored, first_seen, last_seen, ..Seen::default() };
        put(seen, key(tenants.value(row), ENTITY, entities.value(row)), span);
    }
    Some(())
}

/// Words that may be an address, a domain, a hash or a mailbox, each once: 10.0.0.1 is no word of 110.0.0.12.
fn words(text: &str) -> BTreeSet<&str> {
    let within = |char: char| char.is_alphanumeric() || matches!(char, '.' | ':' | '-' | '_' | '@');
    let words = text.split(|char| !within(char)).map(|word| word.trim_matches(['.', ':', '-']));
    words.filter(|word| word.len() >= WORD_MIN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stands_by_itself_in_a_text() {
        for (text, value, want) in [
            ("from 10.0.0.1 port 22", "10.0.0.1", true),
            ("src=10.0.0.1", "10.0.0.1", true),
            ("to 10.0.0.1.", "10.0.0.1", true),
            ("at [2001:db8::1]: no", "2001:db8::1", true),
            ("110.0.0.1 10.0.0.12 7.10.0.0.1", "10.0.0.1", false),
            ("www.bad.example", "bad.example", false),
            ("{\"broken\": \"bad.example\"", "bad.example", true),
            ("http://bad.example/x", "bad.example", true),
            ("to <eve@bad.example>", "eve@bad.example", true),
        ] {
            assert_eq!(words(text).contains(value), want, "{value} in {text:?}");
        }
    }
}
