//! The sighter: the thread that looks an incident's indicators up in archives of earlier days, so that no worker waits.
//!
//! In: indicators of open incidents, each with the day of the incident's first alert; the clerk tells of them. Out: what
//! the archives have of each in the [`SightingSettings::days`] full days before that. Whoever asked makes it an input of
//! the log, as which it takes effect: what is looked up depends on when it is, what is logged does not.
//!
//! Bounds: an indicator of a tenant is looked up once a day of incidents; of an incident [`OF_INCIDENT_MAX`]; in one go
//! [`AT_ONCE_MAX`]. A date of an archive is looked through once, for the index (see [`super::seen`]); a go begins no
//! further one after [`PATIENCE`], the latest being first, and those that are left are done when nobody asks: a sighting
//! tells how many days it covers.
//! State: what was asked, until its days are [`REMEMBERED_D`] behind the latest.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use rustc_hash::{FxHashMap, FxHashSet};

use super::seen::{Date, Index};
use crate::archive::{IncidentRow, Seen, Sought};
use crate::enrich::watch::day_of;
use crate::plan::pipeline::SightingSettings;
use crate::record::{ContextRow, Entity, IncidentState, Known, Names, Sighting};

/// Indicators of one version that are looked up: the first by text.
pub const OF_INCIDENT_MAX: usize = 64;
/// Indicators that are looked up in one go.
const AT_ONCE_MAX: usize = 256;
/// Questions that may wait; what comes beyond is asked again with the incident's next version.
const WAITING_MAX: usize = 4_096;
/// How long a go may begin to index further dates.
const PATIENCE: Duration = Duration::from_secs(20);
/// When nobody has asked for so long, a date is indexed.
const IDLE: Duration = Duration::from_secs(1);
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
    ) -> io::Result<Sighter> {
        let (asks, asked) = bounded(WAITING_MAX);
        let (known, knows) = unbounded();
        let (begin, began) = bounded(1);
        let (answer, answers) = unbounded();
        let index = Index::open(&own)?;
        let archives = std::iter::once(own).chain(archives).collect();
        let (days, names, answered) = (settings.days, Arc::clone(names), FxHashSet::default());
        let work = Work { archives, days, names, answered, index, behind: Vec::new() };
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
    index: Index,
    /// Dates for which there was no time: they are indexed when nobody asks.
    behind: Vec<(PathBuf, i32)>,
}

impl Work {
    fn run(
        mut self,
        asked: &Receiver<Question>,
        knows: &Receiver<Question>,
        answers: &Sender<(Entity, ContextRow)>,
    ) {
        loop {
            let done = match asked.recv_timeout(IDLE) {
                Ok(first) => {
                    self.answered.extend(knows.try_iter());
                    let latest = self.answered.iter().map(|question| question.day).max();
                    self.answered
                        .retain(|question| latest.is_some_and(|at| at - question.day <= REMEMBERED_D));
                    let more = asked.try_iter().take(AT_ONCE_MAX - 1);
                    let mut new: Vec<Question> = std::iter::once(first).chain(more).collect();
                    new.retain(|question| self.answered.insert(*question));
                    self.answer(&new, answers)
                }
                Err(RecvTimeoutError::Timeout) => match self.behind.pop() {
                    Some((archive, day)) => self.index.add(&archive, day).map(drop),
                    None => Ok(()),
                },
                // The run has ended.
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Err(error) = done {
                eprintln!("quell: sightings are not looked up: {error}");
            }
        }
    }

    fn answer(&mut self, new: &[Question], answers: &Sender<(Entity, ContextRow)>) -> io::Result<()> {
        for (question, sighting) in new.iter().zip(self.look(new)?) {
            let Sought { tenant, entity } = question.sought;
            let row = ContextRow { tenant, protected: false, known: Known::Sightings(sighting) };
            // Nobody listens where the run has failed.
            let _ = answers.send((entity, row));
        }
        Ok(())
    }

    /// What the archives have of each.
    fn look(&mut self, questions: &[Question]) -> io::Result<Vec<Sighting>> {
        let dates = self.dates(questions)?;
        let mut sightings = Vec::new();
        for question in questions {
            let mut seen = Seen::default();
            let window = question.day - i32::from(self.days)..question.day;
            for key in question.sought.keys(&self.names) {
                let found = self.index.seen(&key)?.into_iter();
                let within = |date: &Date| dates.get(date).is_some_and(|day| window.contains(day));
                found.filter(|(date, _)| within(date)).for_each(|(_, found)| seen.add(found));
            }
            let missed = self.behind.iter().filter(|(_, day)| window.contains(day)).map(|(_, day)| *day);
            let missed = u16::try_from(missed.collect::<FxHashSet<i32>>().len()).unwrap_or(u16::MAX);
            let Seen { alerts, rejects, ignored, first_seen, last_seen } = seen;
            let days = self.days.saturating_sub(missed);
            let day = question.day;
            sightings.push(Sighting { day, days, alerts, rejects, ignored, first_seen, last_seen });
        }
        Ok(sightings)
    }

    /// The dates that bear on the questions, as far as they are indexed, or can be while there is time: the latest first.
    fn dates(&mut self, questions: &[Question]) -> io::Result<FxHashMap<Date, i32>> {
        let mut dates = FxHashMap::default();
        self.behind.clear();
        let days = questions.iter().map(|question| question.day);
        let Some((earliest, latest)) = days.clone().min().zip(days.max()) else { return Ok(dates) };
        let since = now();
        for day in (earliest - i32::from(self.days)..latest).rev() {
            let within = |it: &Question| (it.day - i32::from(self.days)..it.day).contains(&day);
            if !questions.iter().any(within) {
                continue;
            }
            for archive in &self.archives {
                match self.index.date(archive, day)? {
                    Some(date) => drop(dates.insert(date, day)),
                    None if since.elapsed() < PATIENCE => {
                        dates.insert(self.index.add(archive, day)?, day);
                    }
                    None => self.behind.push((archive.clone(), day)),
                }
            }
        }
        self.behind.reverse();
        Ok(dates)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how many days were looked at in time is in the sighting that is logged"
)]
fn now() -> Instant {
    Instant::now()
}
