//! Metrics: what an operator sees of a run while it goes on: sums of what the archive shows, how far sources are taken, how
//! long things take; and of each process what it reads, how far its workers are, and how it stands in its cluster.
//!
//! What is named `quell_read_` is each process's own, and adds up over processes; all else of sources is the whole run's, and the
//! first process's to tell.
//! In: what the run's threads notice. Out: Prometheus' text, made when somebody asks. State: the last of each; the time of each
//! epoch that the archive does not show. Nobody but a scraper reads it, so no result can depend on it; where nobody may ask,
//! nothing is noted. A label's value is a name of the plan, a number, or a word of a closed set: none that an alert chose.

mod exposition;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use self::exposition::Histogram;
use super::live::Standing;
use super::summary::{Counts, Summary};
use crate::archive::Rows;
use crate::cluster::link::Traffic;
use crate::cluster::{Cluster, TurnedAway};
use crate::flow::Turn;
use crate::record::{ActionStatus, Epoch, Millis, NOTHING_SETTLED, Tick};

/// By what is noted, from any thread; nothing where nobody may ask.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Option<Arc<Noted>>);

/// What was noted.
#[derive(Debug)]
struct Noted {
    /// None where another process keeps it.
    archive: Option<PathBuf>,
    state: Mutex<State>,
}

/// How long things take.
#[derive(Debug, Default)]
struct Times {
    /// From when an epoch was taken to when the archive shows it.
    shown: Histogram,
    /// From when the oldest record of an epoch was appended, or came, to each decision that the epoch led to.
    decided: Histogram,
}

#[derive(Debug, Default)]
struct State {
    /// When this process began.
    began: Millis,
    times: Times,
    plan_hash: String,
    model_version: String,
    /// What the archive shows.
    sums: Summary,
    late: u64,
    /// The last epoch that was taken, that is complete, and that the archive shows.
    taken: Epoch,
    done: Epoch,
    shown: Epoch,
    settled: Tick,
    /// Epochs that the archive does not show: when each was taken, and when its oldest record was appended.
    under_way: BTreeMap<Epoch, (Instant, Option<Millis>)>,
    statuses: BTreeMap<&'static str, u64>,
    sources: Vec<Standing>,
    /// Bytes of pushed batches that wait.
    pushed_bytes: u64,
    /// Actions whose end is awaited, and those in doubt.
    actions: (usize, usize),
    /// What was computed again and came out otherwise: at the sources, at the desk.
    divergences: (u64, u64),
    snapshot: Option<Snapshot>,
    snapshots_failed: u64,
    /// Bytes of names, and how often it began with new ones.
    names: usize,
    beginnings: u64,
    cluster: Option<Member>,
}

/// The last snapshot that was kept.
#[derive(Debug)]
struct Snapshot {
    epoch: Epoch,
    at: Millis,
    took: Duration,
}

/// A process's place in a run of several.
#[derive(Debug)]
struct Member {
    process: usize,
    processes: usize,
    generation: u64,
    /// When all of them were there.
    since: Millis,
    turned_away: Arc<TurnedAway>,
    traffic: Arc<Traffic>,
}

impl Metrics {
    /// Of a run on that archive.
    #[must_use]
    pub fn of(archive: &Path) -> Metrics {
        Metrics::new(Some(archive), State { statuses: all_statuses(), ..State::default() })
    }

    /// Of a process that reads and works for the first one.
    #[must_use]
    pub fn of_another() -> Metrics {
        Metrics::new(None, State::default())
    }

    fn new(archive: Option<&Path>, state: State) -> Metrics {
        let state = State { began: wall_ms(), settled: NOTHING_SETTLED, ..state };
        Metrics(Some(Arc::new(Noted { archive: archive.map(Path::to_owned), state: Mutex::new(state) })))
    }

    /// It goes on with an archive that shows epochs through `shown`: at its beginning, and each time that it has new names.
    pub fn goes_on(&self, shown: Epoch) {
        self.note(|state| {
            state.shown = shown;
            state.under_way.clear();
            state.beginnings += 1;
        });
    }

    /// All that was noted, as Prometheus reads it; nothing where nobody may ask.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.as_ref().map(|noted| noted.text()).unwrap_or_default()
    }

    fn note(&self, what: impl FnOnce(&mut State)) {
        if let Some(noted) = &self.0 {
            what(&mut noted.state());
        }
    }

    /// What the run is made from, and what an earlier one came to where it goes on.
    pub(super) fn begins(&self, (plan_hash, model_version): (&str, &str), before: &Counts) {
        self.note(|state| {
            state.sums = Summary::of(before, 0, 0);
            plan_hash.clone_into(&mut state.plan_hash);
            model_version.clone_into(&mut state.model_version);
        });
    }

    /// Another model judges.
    pub(super) fn judges(&self, model: &str) {
        self.note(|state| model.clone_into(&mut state.model_version));
    }

    /// It is one of several processes, which are all there.
    pub fn joins(&self, cluster: &Cluster) {
        let member = Member {
            process: cluster.process(),
            processes: cluster.processes(),
            generation: cluster.generation,
            since: wall_ms(),
            turned_away: cluster.turned_away(),
            traffic: cluster.traffic(),
        };
        self.note(|state| state.cluster = Some(member));
    }

    /// What this process read of an epoch went to its workers, where another one decides epochs.
    pub(super) fn fed(&self, epoch: Epoch) {
        self.note(|state| state.taken = epoch);
    }

    /// Epochs through this one are worked off, where another process hears of what they led to.
    pub(super) fn worked(&self, epoch: Epoch) {
        self.note(|state| state.done = epoch);
    }

    /// An epoch is taken, whose oldest record was appended then; so many alerts were late so far.
    pub(super) fn took(&self, epoch: Epoch, settled: Tick, appended: Option<Millis>, late: u64) {
        self.note(|state| {
            (state.taken, state.settled, state.late) = (epoch, settled, late);
            if epoch > state.shown {
                state.under_way.insert(epoch, (now(), appended));
            }
        });
    }

    /// An epoch led to so many decisions, which are acted on now.
    pub(super) fn decided(&self, epoch: Epoch, many: usize) {
        self.note(|state| {
            if let Some((_, Some(appended))) = state.under_way.get(&epoch) {
                let seconds = (wall_ms() - appended).max(0) as f64 / 1e3;
                state.times.decided.observe(seconds, many as u64);
            }
        });
    }

    /// What the desk has under way: actions whose end is awaited, actions in doubt, divergences.
    pub(super) fn acts(&self, actions: (usize, usize), divergences: u64) {
        self.note(|state| (state.actions, state.divergences.1) = (actions, divergences));
    }

    /// Epochs through this one are complete, and led to these rows.
    pub(super) fn done<'a>(&self, epoch: Epoch, rows: impl Iterator<Item = &'a Rows>) {
        self.note(|state| {
            state.done = state.done.max(epoch);
            for rows in rows {
                if let Rows::Actions(rows) = rows {
                    for row in rows {
                        *state.statuses.entry(row.status.name()).or_default() += 1;
                    }
                }
            }
        });
    }

    /// The archive shows epochs through this one, which come to that.
    pub(super) fn shows(&self, epoch: Epoch, counts: &Counts) {
        self.note(|state| {
            (state.shown, state.sums) = (epoch, Summary::of(counts, 0, 0));
            let later = state.under_way.split_off(&(epoch + 1));
            for (taken, _) in std::mem::replace(&mut state.under_way, later).into_values() {
                state.times.shown.observe(taken.elapsed().as_secs_f64(), 1);
            }
        });
    }

    /// What is remembered at a turn was kept, or could not be.
    pub(super) fn kept(&self, turn: Turn, since: Instant, kept: bool) {
        self.note(|state| {
            if kept {
                state.snapshot = Some(Snapshot { epoch: turn.epoch, at: wall_ms(), took: since.elapsed() });
            } else {
                state.snapshots_failed += 1;
            }
        });
    }

    /// Whether somebody may ask.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// How the sources stand, how many bytes of pushed batches wait, and what was read again and came out otherwise; and the
    /// bytes that names take.
    pub fn stand(&self, sources: Vec<Standing>, (pushed_bytes, divergences): (u64, u64), names: usize) {
        self.note(|state| {
            (state.sources, state.pushed_bytes, state.divergences.0) = (sources, pushed_bytes, divergences);
            state.names = names;
        });
    }
}

impl Noted {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sum of nothing is told too, so that the first of it is seen to come.
fn all_statuses() -> BTreeMap<&'static str, u64> {
    use ActionStatus::{DryRun, Failed, InDoubt, Joined, Requested, Succeeded, Undone};
    let all = [Requested, Succeeded, Failed, Joined, DryRun, InDoubt, Undone];
    all.into_iter().map(|status| (status.name(), 0)).collect()
}

#[expect(clippy::disallowed_methods, reason = "how long things take shows in no result")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The machine's clock, in milliseconds of Unix time, as brokers have theirs.
#[expect(clippy::disallowed_methods, reason = "how old things are shows in no result")]
fn wall_ms() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
