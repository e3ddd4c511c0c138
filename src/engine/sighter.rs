//! The sighter: the thread that looks an incident's indicators up in archives of earlier days, so that no worker waits.
//!
//! In: indicators of open incidents, each with the day of the incident's first alert; the clerk tells of them. Out: what
//! the archives have of each in the [`SightingSettings::days`] full days before that. Whoever asked makes it an input of
//! the log, as which it takes effect: what is looked up depends on when it is, what is logged does not.
//!
//! Bounds: an indicator of a tenant is looked up once a day of incidents; of an incident [`OF_INCIDENT_MAX`]; in one go
//! [`AT_ONCE_MAX`]; a go begins no further day after [`PATIENCE`], the latest days being first: a sighting tells how many
//! days it covers.
//! State: what was asked, until its days are [`REMEMBERED_D`] behind the latest.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rustc_hash::FxHashSet;

use crate::archive::{IncidentRow, Seen, Sought, sightings};
use crate::enrich::watch::day_of;
use crate::plan::pipeline::SightingSettings;
use crate::record::{ContextRow, Entity, IncidentState, Known, Names, Sighting};

/// Indicators of one version that are looked up: the first by text.
pub const OF_INCIDENT_MAX: usize = 64;
/// Indicators that are looked up in one go.
const AT_ONCE_MAX: usize = 256;
/// Questions that may wait; what comes beyond is asked again with the incident's next version.
const WAITING_MAX: usize = 4_096;
/// How long a go may begin to look at further days.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many days what was asked is remembered.
const REMEMBERED_D: i32 = 32;

/// What is asked: an indicator, and the day before which it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// What, and whose.
    pub sought: Sought,
    /// From 1970.
    pub day: i32,
}

/// Asks of a version's indicators; closed incidents are not ranked again, and so not asked of.
pub fn ask(asks: &Sender<Question>, rows: &[IncidentRow]) {
    for row in rows.iter().filter(|row| row.incident.state == IncidentState::Open) {
        let day = day_of(row.incident.first_seen);
        for entity in row.context.indicators.iter().take(OF_INCIDENT_MAX) {
            let sought = Sought { tenant: row.incident.tenant, entity: *entity };
            // A full queue is no reason to wait: see `WAITING_MAX`.
            let _ = asks.try_send(Question { sought, day });
        }
    }
}

/// The thread, as the run's loop sees it.
pub struct Sighter {
    asks: Sender<Question>,
    known: Sender<Question>,
    begin: Sender<()>,
    answers: Receiver<(Entity, ContextRow)>,
}

impl Sighter {
    /// Starts it; it looks nothing up before `begin`.
    pub fn start(
        own: PathBuf,
        settings: &SightingSettings,
        archives: Vec<PathBuf>,
        names: &Arc<Names>,
    ) -> std::io::Result<Sighter> {
        let (asks, asked) = bounded(WAITING_MAX);
        let (known, knows) = unbounded();
        let (begin, began) = bounded(1);
        let (answer, answers) = unbounded();
        let archives = std::iter::once(own).chain(archives).collect();
        let work =
            Work { archives, days: settings.days, names: Arc::clone(names), answered: FxHashSet::default() };
        thread::Builder::new().name("sight".into()).spawn(move || {
            // What is not begun is not wanted: the run was stopped before.
            if began.recv().is_ok() {
                work.run(&asked, &knows, &answer);
            }
        })?;
        Ok(Sighter { asks, known, begin, answers })
    }

    /// Where the clerk asks.
    #[must_use]
    pub fn asks(&self) -> Sender<Question> {
        self.asks.clone()
    }

    /// The log has these: they are not looked up again.
    pub fn know(&self, rows: impl Iterator<Item = (Entity, ContextRow)>) {
        for (entity, row) in rows {
            if let Known::Sightings(sighting) = row.known {
                let sought = Sought { tenant: row.tenant, entity };
                let _ = self.known.send(Question { sought, day: sighting.day });
            }
        }
    }

    /// What the log has is known: from now on it looks up.
    pub fn begin(&self) {
        let _ = self.begin.try_send(());
    }

    /// What it has found since.
    pub fn found(&self) -> Vec<(Entity, ContextRow)> {
        self.answers.try_iter().collect()
    }
}

struct Work {
    archives: Vec<PathBuf>,
    days: u16,
    names: Arc<Names>,
    answered: FxHashSet<Question>,
}

impl Work {
    fn run(
        mut self,
        asked: &Receiver<Question>,
        knows: &Receiver<Question>,
        answers: &Sender<(Entity, ContextRow)>,
    ) {
        while let Ok(first) = asked.recv() {
            self.answered.extend(knows.try_iter());
            let latest = self.answered.iter().map(|question| question.day).max().unwrap_or(i32::MIN);
            self.answered.retain(|question| latest - question.day <= REMEMBERED_D);
            let more = asked.try_iter().take(AT_ONCE_MAX - 1);
            let mut new: Vec<Question> = std::iter::once(first).chain(more).collect();
            new.retain(|question| self.answered.insert(*question));
            let found = match self.look(&new) {
                Ok(found) => found,
                Err(error) => {
                    eprintln!("quell: sightings are not looked up: {error}");
                    continue;
                }
            };
            for (question, sighting) in new.into_iter().zip(found) {
                let Sought { tenant, entity } = question.sought;
                let row = ContextRow { tenant, protected: false, known: Known::Sightings(sighting) };
                if answers.send((entity, row)).is_err() {
                    return;
                }
            }
        }
    }

    /// The latest days first, for all at once.
    fn look(&self, questions: &[Question]) -> std::io::Result<Vec<Sighting>> {
        let mut seen = vec![Seen::default(); questions.len()];
        let mut covered = vec![0; questions.len()];
        let Some(latest) = questions.iter().map(|question| question.day).max() else { return Ok(Vec::new()) };
        let earliest = questions.iter().map(|question| question.day).min().unwrap_or(latest);
        let since = now();
        for day in (earliest - i32::from(self.days)..latest).rev() {
            if since.elapsed() > PATIENCE {
                break;
            }
            let wanted =
                |question: &Question| (question.day - i32::from(self.days)..question.day).contains(&day);
            let at: Vec<usize> = (0..questions.len()).filter(|at| wanted(&questions[*at])).collect();
            let sought: Vec<Sought> = at.iter().map(|at| questions[*at].sought).collect();
            for archive in self.archives.iter().filter(|_| !sought.is_empty()) {
                let found = sightings(archive, day, &sought, &self.names)?;
                at.iter().zip(found).for_each(|(at, found)| seen[*at].add(found));
            }
            at.iter().for_each(|at| covered[*at] += 1);
        }
        let sighting = |((question, seen), days): ((&Question, Seen), u16)| {
            let Seen { alerts, rejects, first_seen, last_seen } = seen;
            Sighting { day: question.day, days, alerts, rejects, first_seen, last_seen }
        };
        Ok(questions.iter().zip(seen).zip(covered).map(sighting).collect())
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a look-up took is in the sighting that is logged")]
fn now() -> Instant {
    Instant::now()
}
