//! Whole: whether an archive still holds all that its table `epochs` tells of.
//!
//! Where a run has ended, `records + further = alerts + duplicates + rejects + ignored` holds over all of its archive: parts that were
//! lost since are missed by that. While a run goes on, and where it was cut, alerts that are not settled are in no table yet: nothing
//! can be said of it. Nor can it of an archive that keeps no alerts (`ends_at: findings`), or has no log beside it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::archive::Reader;
use crate::engine::log::Log;
use crate::record::{Names, Sym};

use super::set::FeedError;

/// An error where an archive that is to be read has lost something.
pub fn check(archive: &Path) -> Result<(), FeedError> {
    if !Log::path_of(archive).is_file() {
        return Ok(());
    }
    let ended = Log::look(archive).and_then(|log| log.meta("finished")).map_err(FeedError::Log)?.is_some();
    let missing = if ended { missing(archive).map_err(FeedError::Archive)? } else { None };
    missing.map_or(Ok(()), |missing| Err(FeedError::Missing(missing)))
}

/// What an archive whose run has ended has lost, source by source; none where it is whole.
pub fn missing(archive: &Path) -> io::Result<Option<String>> {
    let reader = Reader::open(archive, Arc::new(Names::default()))?;
    let mut told: BTreeMap<Sym, u64> = BTreeMap::new();
    for turn in reader.epochs(None)? {
        let turn = turn?;
        *told.entry(turn.source).or_default() += (turn.records + turn.further).saturating_sub(turn.ignored);
    }
    let there = reader.count("alerts")? + reader.count("duplicates")? + reader.count("rejects")?;
    let keeps_alerts = reader.count("alerts")? > 0 || reader.count("members")? > 0;
    if !keeps_alerts || there == told.values().sum::<u64>() {
        return Ok(None);
    }
    let mut held: BTreeMap<Sym, u64> = BTreeMap::new();
    let mut hold = |source: Sym| *held.entry(source).or_default() += 1;
    reader.alerts(None)?.try_for_each(|line| line.map(|line| hold(line.source)))?;
    reader.duplicates(None)?.try_for_each(|line| line.map(|line| hold(line.source)))?;
    reader.rejects(None)?.try_for_each(|line| line.map(|line| hold(line.source)))?;
    let mut sources: Vec<Sym> = told.keys().chain(held.keys()).copied().collect();
    sources.sort_by_cached_key(|source| reader.names().get(*source));
    sources.dedup();
    let of = |counts: &BTreeMap<Sym, u64>, source| counts.get(&source).copied().unwrap_or_default();
    let lost = sources.into_iter().filter_map(|source| {
        let (told, held) = (of(&told, source), of(&held, source));
        let name = reader.names().get(source);
        (told != held).then(|| {
            format!(
                "its epochs tell of {told} alerts, duplicates and rejects of {name:?}, and {held} are there"
            )
        })
    });
    Ok(Some(lost.collect::<Vec<_>>().join("; ")))
}
