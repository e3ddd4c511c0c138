//! What two archives say differently: of which tables, of which incidents, of which rulings.
//!
//! State: of each incident of both archives its last word and its standing ruling.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::archive::{Reader, digest};
use crate::record::{IncidentId, Names, Ruling, Tick, Triage};

/// Differences that are told one by one, of each kind.
const TOLD_MAX: usize = 1_000;

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Nothing.
    pub equal: bool,
    /// Tables whose digests differ.
    pub tables: Vec<&'static str>,
    /// Incidents: in one alone, or of another triage or size.
    pub incidents: Differing<LastWord>,
    /// Standing rulings, by incident: in one alone, or of another ruling or playbook.
    pub decisions: Differing<Standing>,
}

/// How one kind of thing differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Differing<T> {
    /// How many only the new archive has.
    pub only_new: u64,
    /// How many only the other has.
    pub only_other: u64,
    /// How many both have, and say otherwise.
    pub changed: u64,
    /// The first thousand of them all, by incident.
    pub told: Vec<Pair<T>>,
}

/// What each says of one incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair<T> {
    /// Whose.
    pub tenant: String,
    /// The incident.
    pub incident_id: IncidentId,
    /// What the new archive says.
    pub new: Option<T>,
    /// What the other says.
    pub other: Option<T>,
}

/// An incident's last version, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastWord {
    /// What it is taken for.
    pub triage: Option<Triage>,
    /// Alerts in it.
    pub alert_count: u64,
}

/// The ruling that stands, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// What is to be done.
    pub ruling: Ruling,
    /// The playbook, if any.
    pub playbook_id: Option<String>,
}

impl<T> Default for Differing<T> {
    fn default() -> Self {
        Differing { only_new: 0, only_other: 0, changed: 0, told: Vec::new() }
    }
}

type Key = (String, IncidentId);

/// Compares the archive of a run with another.
pub fn compare(new: &Path, other: &Path) -> io::Result<Difference> {
    let pairs = digest(new, false)?.into_iter().zip(digest(other, false)?);
    let tables: Vec<_> = pairs.filter(|(new, other)| new != other).map(|(new, _)| new.table).collect();
    let equal = tables.is_empty();
    if equal {
        return Ok(Difference { equal, ..Difference::default() });
    }
    let (new, other) = (told_by(new)?, told_by(other)?);
    Ok(Difference {
        equal,
        tables,
        incidents: differing(new.0, other.0),
        decisions: differing(new.1, other.1),
    })
}

type Told = (BTreeMap<Key, LastWord>, BTreeMap<Key, Standing>);

fn told_by(archive: &Path) -> io::Result<Told> {
    let names = Arc::new(Names::default());
    let reader = Reader::open(archive, Arc::clone(&names))?;
    let mut incidents: BTreeMap<Key, (u32, LastWord)> = BTreeMap::new();
    for line in reader.incidents(None)? {
        let line = line?;
        let (triage, alert_count) = (line.triage, line.alert_count);
        let word = (line.version, LastWord { triage, alert_count });
        let known =
            incidents.entry((names.get(line.tenant), line.incident_id)).or_insert_with(|| word.clone());
        if known.0 <= word.0 {
            *known = word;
        }
    }
    // Of the rulings that no later one replaced the last counts.
    let mut rulings = BTreeMap::new();
    let mut replaced = Vec::new();
    for line in reader.decisions(None)? {
        let line = line?;
        if line.superseded_by.is_some() {
            replaced.push(line.decision_id);
            continue;
        }
        if line.undoes.is_some() {
            continue;
        }
        let (ruling, playbook_id) = (line.ruling, line.playbook_id.map(|id| names.get(id)));
        let key = (names.get(line.tenant), line.incident_id);
        rulings.insert(line.decision_id, (line.tick, key, Standing { ruling, playbook_id }));
    }
    for id in replaced {
        rulings.remove(&id);
    }
    let mut standing: BTreeMap<Key, (Tick, Standing)> = BTreeMap::new();
    for (tick, key, ruling) in rulings.into_values() {
        let known = standing.entry(key).or_insert_with(|| (tick, ruling.clone()));
        if known.0 <= tick {
            *known = (tick, ruling);
        }
    }
    let incidents = incidents.into_iter().map(|(key, (_, word))| (key, word)).collect();
    Ok((incidents, standing.into_iter().map(|(key, (_, ruling))| (key, ruling)).collect()))
}

fn differing<T: Clone + PartialEq>(new: BTreeMap<Key, T>, mut other: BTreeMap<Key, T>) -> Differing<T> {
    let mut all: BTreeMap<Key, (Option<T>, Option<T>)> = BTreeMap::new();
    for (key, now) in new {
        let then = other.remove(&key);
        if then.as_ref() != Some(&now) {
            all.insert(key, (Some(now), then));
        }
    }
    all.extend(other.into_iter().map(|(key, then)| (key, (None, Some(then)))));
    let mut differing = Differing::default();
    for ((tenant, incident_id), (new, other)) in all {
        let count = match (&new, &other) {
            (Some(_), None) => &mut differing.only_new,
            (None, _) => &mut differing.only_other,
            (Some(_), Some(_)) => &mut differing.changed,
        };
        *count += 1;
        if differing.told.len() < TOLD_MAX {
            differing.told.push(Pair { tenant, incident_id, new, other });
        }
    }
    differing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_counted_once() {
        let key = |n: u8| (String::new(), IncidentId([n; 16]));
        let all = |words: &[(u8, u32)]| words.iter().map(|(n, word)| (key(*n), *word)).collect();
        let found = differing(all(&[(1, 1), (2, 2), (3, 3)]), all(&[(2, 2), (3, 4), (4, 4), (5, 5)]));
        assert_eq!((found.only_new, found.only_other, found.changed), (1, 2, 1));
        let told: Vec<_> =
            found.told.iter().map(|pair| (pair.incident_id.0[0], pair.new, pair.other)).collect();
        assert_eq!(told, [(1, Some(1), None), (3, Some(3), Some(4)), (4, None, Some(4)), (5, None, Some(5))]);
    }
}
