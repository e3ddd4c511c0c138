//! Generate: labelled synthetic SOC days, equal to the byte for equal settings on any machine.
//!
//! In: settings. Out: a folder of `alerts.jsonl` (OCSF Detection Findings in order of arrival), `truth.jsonl` (a label for
//! each alert of a campaign or a look-alike; all else is background), `environment.json` (how the simulated analysts
//! and actions behave), `assets.csv`, `identities.csv`, `indicators.csv` and `manifest.json`.
//! State: sites, habits, a few numbers for each campaign, one hour of events, and the alerts that are late.
//!
//! ```text
//!  habits -> background --+
//!                         +-> an hour of events, by time -> ocsf -> arrival -> output
//!  episodes -> script ----+
//! ```

pub(super) mod dice;
mod detections;
mod site;
mod event;
mod script;
mod campaigns;
mod lookalikes;
mod habits;
mod background;
mod episodes;
mod ocsf;
mod arrival;
mod output;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::record::Millis;
use arrival::{Arrival, Parcel};
use background::{Background, HOUR_MS};
use episodes::{Episode, Kind, Span};
use event::{Event, UseCase};
use ocsf::{Uid, Writer};
use output::{Folder, Hashed};
use site::Site;

/// The first day: Monday, 2026-01-05T00:00:00Z.
pub const START: Millis = 1_767_571_200_000;

/// Progress is told whenever so many lines are written.
const PROGRESS_EVERY: u64 = 4_096;

/// What to generate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Lines of `alerts.jsonl`, duplicates included.
    pub alerts: u64,
    /// Another seed, other days.
    pub seed: u64,
    /// Sites, each with hosts, accounts and habits of its own; 1 to 200.
    pub tenants: u32,
    /// Hosts of a site; 1 to 50,000.
    pub hosts: u32,
    /// Accounts of a site; 1 to 50,000.
    pub users: u32,
    /// Days from [`START`] on, 1 to 3,660; none: as many as give 250 alerts a day for each host, 3 at least.
    pub days: Option<u32>,
    /// Campaigns, at most 10,000; none: one for 5,000 alerts, and a few at least. The same number over more alerts is the same
    /// attacks in more noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaigns: Option<u32>,
    /// The share of alerts that come late, 0 to 1.
    pub late_share: f64,
    /// How late they come at most, in milliseconds; up to a day.
    pub late_max_ms: u64,
    /// The share of lines that are an earlier alert again, 0 to 0.5.
    pub duplicate_share: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            alerts: 150_000,
            seed: 1,
            tenants: 1,
            hosts: 200,
            users: 300,
            days: None,
            campaigns: None,
            late_share: 0.01,
            late_max_ms: 300_000,
            duplicate_share: 0.005,
        }
    }
}

impl Settings {
    /// The number of days: the one asked for, or the one that the alerts come to.
    #[must_use]
    pub fn days(&self) -> u64 {
        let a_day = u64::from(self.hosts) * u64::from(self.tenants) * 250;
        self.days.map_or_else(|| self.alerts.div_ceil(a_day.max(1)).clamp(3, 3_660), u64::from)
    }

    fn check(&self) -> Result<(), GenerateError> {
        let wrong =
            |setting: &'static str, range: &'static str| Err(GenerateError::Setting { setting, range });
        let share = |share: f64, most: f64| (0.0..=most).contains(&share);
        match self {
            s if !(1..=200).contains(&s.tenants) => wrong("tenants", "1 to 200"),
            s if !(1..=50_000).contains(&s.hosts) => wrong("hosts", "1 to 50000"),
            s if !(1..=50_000).contains(&s.users) => wrong("users", "1 to 50000"),
            s if !(1..=3_660).contains(&s.days()) => wrong("days", "1 to 3660"),
            s if s.campaigns.is_some_and(|campaigns| campaigns > 10_000) => wrong("campaigns", "0 to 10000"),
            s if s.alerts > 100_000_000_000 => wrong("alerts", "0 to 100000000000"),
            s if !share(s.late_share, 1.0) => wrong("late_share", "0 to 1"),
            s if s.late_max_ms > 86_400_000 => wrong("late_max_ms", "0 to 86400000"),
            s if !share(s.duplicate_share, 0.5) => wrong("duplicate_share", "0 to 0.5"),
            _ => Ok(()),
        }
    }
}

/// Why nothing was generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A setting is out of its range.
    #[error("{setting} must be {range}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// The folder holds something already, which would be lost.
    #[error("{path} is not empty: name a new folder, or empty this one")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A file or folder could not be written.
    #[error("cannot write {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What came of one use case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UseCaseCount {
    /// Attacks.
    pub campaigns: u64,
    /// Their alerts.
    pub campaign_alerts: u64,
    /// What resembles them and is none.
    pub look_alikes: u64,
    /// Their alerts.
    pub look_alike_alerts: u64,
}

/// What was generated. `alerts = background + floods + use cases' alerts + duplicates`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Lines of `alerts.jsonl`.
    pub alerts: u64,
    /// Lines that are an earlier alert again.
    pub duplicates: u64,
    /// Alerts that came later than they happened.
    pub late: u64,
    /// Alerts of everyday habits and oddities.
    pub background: u64,
    /// Alerts of single rules gone wild.
    pub floods: u64,
    /// By use case.
    pub use_cases: BTreeMap<&'static str, UseCaseCount>,
    /// Days covered.
    pub days: u64,
    /// BLAKE3 of each file but the manifest, in hex.
    pub files: BTreeMap<String, String>,
}

/// Writes the days that `settings` describe into `out`, a folder that must not exist or be empty, and tells `progress` how
/// many lines are written. The folder appears whole or not at all.
pub fn generate(
    settings: &Settings,
    out: &Path,
    progress: impl FnMut(u64),
) -> Result<Summary, GenerateError> {
    settings.check()?;
    let mut folder = Folder::new(out)?;
    let sites: Vec<Site> = (0..settings.tenants)
        .map(|index| Site::new(index, settings.tenants, settings.hosts, settings.users))
        .collect();
    let days = settings.days();
    let span = Span { from: START, to: START + (days * 24).cast_signed() * HOUR_MS };
    let copies = share_of(settings.alerts, settings.duplicate_share).min(settings.alerts / 2);
    let distinct = settings.alerts - copies;
    let episodes = episodes::plan(settings.seed, distinct, settings.campaigns, &sites, span);
    let mut summary = count(&episodes);
    summary.days = days;
    summary.background = distinct - episodes.iter().map(|episode| episode.alerts).sum::<u64>();
    folder.write("assets.csv", &tables::assets(&sites))?;
    folder.write("identities.csv", &tables::identities(&sites))?;
    folder.write("indicators.csv", &tables::indicators(settings.seed, &episodes))?;
    folder.write("environment.json", &tables::environment(settings.seed))?;
    let late = arrival::millionths(settings.late_share).unwrap_or(0);
    let late_max_ms = settings.late_max_ms.cast_signed();
    let mut days_file = Days {
        seed: settings.seed,
        writer: Writer::new(),
        arrival: Arrival::new(settings.seed, late, late_max_ms, distinct, copies),
        alerts: folder.file("alerts.jsonl")?,
        truth: folder.file("truth.jsonl")?,
        ordinal: 0,
        summary,
        line: String::with_capacity(2_048),
        label: String::with_capacity(256),
        progress,
    };
    let background = Background::new(settings.seed, &sites, days * 24, days_file.summary.background);
    days_file.tell(background, &episodes, &sites, span)?;
    let Days { alerts, truth, mut summary, .. } = days_file;
    folder.done(alerts)?;
    folder.done(truth)?;
    summary.files = folder.hashes.clone();
    let manifest = json!({ "generator": "quell generate", "settings": settings, "summary": summary });
    folder.write("manifest.json", &format!("{manifest:#}\n"))?;
    folder.finish()?;
    Ok(summary)
}

/// The days being written.
struct Days<P> {
    seed: u64,
    writer: Writer,
    arrival: Arrival,
    alerts: Hashed,
    truth: Hashed,
    /// Alerts so far, in order of event time.
    ordinal: u64,
    summary: Summary,
    line: String,
    label: String,
    progress: P,
}

impl<P: FnMut(u64)> Days<P> {
    /// Writes hour after hour: the background's, and what the episodes under way bring.
    fn tell(
        &mut self,
        mut background: Background,
        episodes: &[Episode],
        sites: &[Site],
        span: Span,
    ) -> Result<(), GenerateError> {
        let mut next = episodes.iter().peekable();
        let mut under_way: Vec<Event> = Vec::new();
        let mut events: Vec<Event> = Vec::new();
        let hours = (span.to - span.from) / HOUR_MS;
        for hour in 0..hours {
            let start = span.from + hour * HOUR_MS;
            let end = start + HOUR_MS;
            events.clear();
            background.hour(hour.unsigned_abs(), start, sites, &mut events);
            while let Some(episode) = next.next_if(|episode| episode.start < end) {
                under_way.append(&mut episode.tell(sites, span));
            }
            events.extend(under_way.extract_if(.., |event| event.time < end));
            // Stable: what happens in the same millisecond stays in the order in which it was made.
            events.sort_by_key(|event| event.time);
            for event in &events {
                self.raise(event, &sites[event.site as usize])?;
            }
        }
        self.deliver(Millis::MAX)?;
        (self.progress)(self.summary.alerts);
        Ok(())
    }

    /// Writes one event's alert, now or when it arrives, and its copy if it has one.
    fn raise(&mut self, event: &Event, site: &Site) -> Result<(), GenerateError> {
        let ordinal = self.ordinal;
        self.ordinal += 1;
        self.deliver(event.time)?;
        let delay = self.arrival.delay(ordinal);
        let arrival = event.time + delay;
        let uid = Uid::of(self.seed, ordinal);
        self.line.clear();
        self.writer.write(&mut self.line, event, site, uid, arrival);
        self.label.clear();
        if event.label.is_some() {
            truth_line(&mut self.label, event, uid);
        }
        if let Some(pause) = self.arrival.again(ordinal) {
            self.arrival.send(arrival + pause, self.line.clone(), String::new(), true);
        }
        if delay > 0 {
            self.summary.late += 1;
            self.arrival.send(arrival, self.line.clone(), self.label.clone(), false);
            return Ok(());
        }
        self.alerts.write(&self.line)?;
        self.truth.write(&self.label)?;
        self.written();
        Ok(())
    }

    /// Writes what has arrived by `time`.
    fn deliver(&mut self, time: Millis) -> Result<(), GenerateError> {
        while let Some(Parcel { line, truth, copy, .. }) = self.arrival.arrived(time) {
            self.alerts.write(&line)?;
            self.truth.write(&truth)?;
            self.summary.duplicates += u64::from(copy);
            self.written();
        }
        Ok(())
    }

    fn written(&mut self) {
        self.summary.alerts += 1;
        if self.summary.alerts.is_multiple_of(PROGRESS_EVERY) {
            (self.progress)(self.summary.alerts);
        }
    }
}

/// `{"alert": ..., "use_case": ..., "campaign": ..., "label": ...}` of an event that has a label.
fn truth_line(line: &mut String, event: &Event, uid: Uid) {
    let Some(label) = event.label else { return };
    line.push_str(r#"{"alert":""#);
    uid.push(line, event.rule.rule().product);
    let (use_case, triage) = (label.use_case.name(), label.triage.name());
    // Writing into a String cannot fail.
    let _ = writeln!(line, r#"","use_case":"{use_case}","campaign":{},"label":"{triage}"}}"#, label.campaign);
}

fn count(episodes: &[Episode]) -> Summary {
    let mut summary = Summary::default();
    for use_case in UseCase::ALL {
        summary.use_cases.insert(use_case.name(), UseCaseCount::default());
    }
    for episode in episodes {
        match episode.kind {
            Kind::Campaign(use_case) => {
                let count = summary.use_cases.entry(use_case.name()).or_default();
                count.campaigns += 1;
                count.campaign_alerts += episode.alerts;
            }
            Kind::LookAlike(use_case) => {
                let count = summary.use_cases.entry(use_case.name()).or_default();
                count.look_alikes += 1;
                count.look_alike_alerts += episode.alerts;
            }
            Kind::Flood(_) => summary.floods += episode.alerts,
        }
    }
    summary
}

/// That share of `count`, rounded down.
fn share_of(count: u64, share: f64) -> u64 {
    let millionths = u128::from(arrival::millionths(share).unwrap_or(0));
    u64::try_from(u128::from(count) * millionths / u128::from(dice::MILLION)).unwrap_or(0)
}
