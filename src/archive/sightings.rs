//! Sightings: how often an archive has some entities, day by day.
//!
//! In: entities of tenants. Out: for each the alerts that have it, and the rejects whose text has it, with the times of
//! the first and the last. Of alerts three columns of one date's parts are read, of rejects three; all that is asked for
//! is looked for in one pass.
//! State: one batch of one part.

use std::fs::File;
use std::io;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use arrow_array::{RecordBatch, StringArray};
use memchr::memmem::Finder;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use rustc_hash::FxHashMap;

use super::layout::{self, about};
use super::part::io_error;
use super::reader::malformed;
use crate::record::{Entity, Millis, Names, Role, Sym, Tick};

const BATCH: usize = 8 << 10;
/// A shorter value is in every other text.
const TEXT_MIN: usize = 4;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sought {
    /// Whose.
    pub tenant: Sym,
    /// What.
    pub entity: Entity,
}

/// How often it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Alerts that have it.
    pub alerts: u64,
    /// Rejects whose text has it.
    pub rejects: u64,
    /// Event time of the first; 0 where there is none.
    pub first_seen: Millis,
    /// Event time of the last.
    pub last_seen: Millis,
}

impl Seen {
    /// What is seen of both.
    pub fn add(&mut self, other: Seen) {
        if other.alerts + other.rejects > 0 {
            let anew = self.alerts + self.rejects == 0;
            self.first_seen = if anew { other.first_seen } else { self.first_seen.min(other.first_seen) };
            self.last_seen = if anew { other.last_seen } else { self.last_seen.max(other.last_seen) };
        }
        self.alerts += other.alerts;
        self.rejects += other.rejects;
    }
}

/// What one date's parts (`day`, from 1970) of the archive in `dir` have of each.
pub fn sightings(dir: &Path, day: i32, sought: &[Sought], names: &Names) -> io::Result<Vec<Seen>> {
    let mut seen = vec![Seen::default(); sought.len()];
    let tick = Tick::from(day) * layout::DAY_S;
    let alerts = Alerts::of(sought, names);
    for path in layout::published_on(dir, "alerts", tick)? {
        for batch in batches(&path, &["tenant", "time", "entities"])? {
            let batch = batch.map_err(|error| about(&path, "cannot read", &io::Error::other(error)))?;
            alerts
                .count(&batch, &mut seen)
                .ok_or_else(|| malformed(&path, "its columns are of other types"))?;
        }
    }
    let rejects = Rejects::of(sought, names);
    for path in layout::published_on(dir, "rejects", tick)? {
        for batch in batches(&path, &["tenant", "tick", "raw"])? {
            let batch = batch.map_err(|error| about(&path, "cannot read", &io::Error::other(error)))?;
            rejects
                .count(&batch, &mut seen)
                .ok_or_else(|| malformed(&path, "its columns are of other types"))?;
        }
    }
    Ok(seen)
}

fn batches(
    path: &Path,
    columns: &[&str],
) -> io::Result<parquet::arrow::arrow_reader::ParquetRecordBatchReader> {
    let file = File::open(path).map_err(|error| about(path, "cannot open", &error))?;
    let fail = |error| about(path, "cannot read", &io_error(error));
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).map_err(fail)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    builder.with_projection(mask).with_batch_size(BATCH).build().map_err(fail)
}

fn texts<'a>(batch: &'a RecordBatch, column: &str) -> Option<&'a StringArray> {
    batch.column_by_name(column)?.as_string_opt::<i32>()
}

/// What alerts are looked for, by the texts that entities have in them.
struct Alerts {
    by_text: FxHashMap<String, Vec<usize>>,
    tenants: Vec<String>,
}

impl Alerts {
    fn of(sought: &[Sought], names: &Names) -> Alerts {
        let mut by_text: FxHashMap<String, Vec<usize>> = FxHashMap::default();
        for (at, sought) in sought.iter().enumerate() {
            for role in [Role::Related, Role::Source, Role::Destination] {
                let text = format!("{}{}", role.prefix(), sought.entity.text(names));
                by_text.entry(text).or_default().push(at);
            }
        }
        Alerts { by_text, tenants: sought.iter().map(|sought| names.get(sought.tenant)).collect() }
    }

    /// Counts a batch; none where its columns are not those of alerts.
    fn count(&self, batch: &RecordBatch, seen: &mut [Seen]) -> Option<()> {
        let tenants = texts(batch, "tenant")?;
        let times = batch.column_by_name("time")?.as_primitive_opt::<TimestampMillisecondType>()?;
        let lists = batch.column_by_name("entities")?.as_list_opt::<i32>()?;
        let values = lists.values().as_string_opt::<i32>()?;
        for (row, ends) in lists.value_offsets().windows(2).enumerate() {
            let [from, to] = [ends[0], ends[1]].map(|end| usize::try_from(end).unwrap_or_default());
            let found = (from..to).filter_map(|at| self.by_text.get(values.value(at))).flatten();
            let mut found: Vec<usize> =
                found.copied().filter(|at| self.tenants[*at] == tenants.value(row)).collect();
            // One that is both source and destination of an alert is in one alert.
            found.sort_unstable();
            found.dedup();
            let time = times.value(row);
            for at in found {
                seen[at].add(Seen { alerts: 1, rejects: 0, first_seen: time, last_seen: time });
            }
        }
        Some(())
    }
}

/// What rejects are looked for, by its value.
struct Rejects {
    finders: Vec<(usize, Finder<'static>)>,
    tenants: Vec<String>,
}

impl Rejects {
    fn of(sought: &[Sought], names: &Names) -> Rejects {
        let finder = |(at, sought): (usize, &Sought)| {
            let value = names.get(sought.entity.value);
            (value.len() >= TEXT_MIN).then(|| (at, Finder::new(value.as_bytes()).into_owned()))
        };
        let finders = sought.iter().enumerate().filter_map(finder).collect();
        Rejects { finders, tenants: sought.iter().map(|sought| names.get(sought.tenant)).collect() }
    }

    fn count(&self, batch: &RecordBatch, seen: &mut [Seen]) -> Option<()> {
        let (tenants, raws) = (texts(batch, "tenant")?, texts(batch, "raw")?);
        let ticks = batch.column_by_name("tick")?.as_primitive_opt::<Int64Type>()?;
        for row in 0..batch.num_rows() {
            let (raw, time) = (raws.value(row).as_bytes(), ticks.value(row).saturating_mul(1000));
            for (at, finder) in &self.finders {
                if self.tenants[*at] == tenants.value(row) && stands_in(raw, finder) {
                    seen[*at].add(Seen { alerts: 0, rejects: 1, first_seen: time, last_seen: time });
                }
            }
        }
        Some(())
    }
}

/// Whether the text has the value by itself: 10.0.0.1 is not in 110.0.0.12.
fn stands_in(text: &[u8], finder: &Finder<'_>) -> bool {
    let part_of_more = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'-');
    let length = finder.needle().len();
    finder.find_iter(text).any(|at| {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        let dotted = |dot: Option<&u8>, beyond: Option<&u8>| dot == Some(&b'.') && part_of_more(beyond);
        let (after, beyond) = (text.get(at + length), text.get(at + length + 1));
        !part_of_more(before)
            && !part_of_more(after)
            && !dotted(before, at.checked_sub(2).and_then(|at| text.get(at)))
            && !dotted(after, beyond)
    })
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
            ("110.0.0.1", "10.0.0.1", false),
            ("10.0.0.12", "10.0.0.1", false),
            ("7.10.0.0.1", "10.0.0.1", false),
            ("10.0.0.1.5", "10.0.0.1", false),
            ("www.bad.example", "bad.example", false),
            ("\"bad.example\"", "bad.example", true),
            ("bad.example.com", "bad.example", false),
            ("x-bad.example bad.example", "bad.example", true),
        ] {
            assert_eq!(stands_in(text.as_bytes(), &Finder::new(value)), want, "{value} in {text:?}");
        }
    }
}
