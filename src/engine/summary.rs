//! Summary: what a run adds up to, and whether its sums hold.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::archive::{DecisionRow, IncidentRow, Rows};
use crate::record::{IncidentId, IncidentState, Ruling};

/// Counts of rows, kept while they pass.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    alerts: u64,
    duplicates: u64,
    rejects: u64,
    ignored: u64,
    further: u64,
    records: u64,
    incidents: u64,
    actions: u64,
    outcomes: u64,
    versions: u64,
    decisions: Decisions,
    /// When the first incident was said; it shows in no result.
    #[serde(skip)]
    pub(super) first_incident: Option<Instant>,
    /// The most telling incidents, by name.
    worst: Vec<(Weight, IncidentRow)>,
}

/// How much an incident deserves to be told: attacks first, then by severity, evidence and size; ties by name.
type Weight = (bool, bool, u8, i32, u64, IncidentId);

/// Incidents that the summary may tell of.
const WORST_MAX: usize = 32;

impl Counts {
    /// Adds rows that were said.
    pub fn add(&mut self, rows: &Rows) {
        match rows {
            Rows::Alerts(rows) => self.alerts += rows.len() as u64,
            Rows::Duplicates(rows) => self.duplicates += rows.len() as u64,
            Rows::Rejects(rows) => self.rejects += rows.len() as u64,
            Rows::Epochs(rows) => {
                self.records += rows.iter().map(|row| row.turn.records).sum::<u64>();
                self.ignored += rows.iter().map(|row| row.turn.ignored).sum::<u64>();
                self.further += rows.iter().map(|row| row.turn.further).sum::<u64>();
            }
            Rows::Incidents(rows) => rows.iter().for_each(|row| self.version(row)),
            Rows::Decisions(rows) => rows.iter().for_each(|row| self.decisions.add(row)),
            // A joined action begins and ends with its first row, as any other begins.
            Rows::Actions(rows) => self.actions += rows.iter().filter(|row| row.seq == 0).count() as u64,
            Rows::Outcomes(rows) => self.outcomes += rows.len() as u64,
            Rows::Matches(_)
            | Rows::Members(_)
            | Rows::Links(_)
            | Rows::Candidates(_)
            | Rows::Verdicts(_)
            | Rows::Observed(_)
            | Rows::Inputs(_) => {}
        }
    }

    /// Adds alerts that are not kept.
    pub fn alerts(&mut self, many: u64) {
        self.alerts += many;
    }

    fn version(&mut self, row: &IncidentRow) {
        self.versions += 1;
        self.incidents += u64::from(row.incident.version == 1);
        let incident = &row.incident;
        self.worst.retain(|(_, known)| known.incident.id != incident.id);
        if matches!(incident.state, IncidentState::Merged | IncidentState::Split) {
            return;
        }
        let attack =
            row.judgement.as_ref().is_some_and(|said| said.triage == crate::record::Triage::TruePositive);
        let linked = incident.kind == crate::record::IncidentKind::Linked;
        let weight =
            (attack, linked, incident.severity.id(), incident.evidence, incident.alert_count, incident.id);
        let at = self.worst.partition_point(|(other, _)| *other > weight);
        if at < WORST_MAX {
            self.worst.insert(at, (weight, row.clone()));
            self.worst.truncate(WORST_MAX);
        }
    }

    /// Whether any incident was said yet.
    #[must_use]
    pub fn has_incidents(&self) -> bool {
        self.versions > 0
    }

    /// When the first incident was said.
    #[must_use]
    pub fn first_incident(&self) -> Option<Instant> {
        self.first_incident
    }

    /// The most telling incidents, most telling first.
    pub fn worst(&self) -> impl Iterator<Item = &IncidentRow> {
        self.worst.iter().map(|(_, row)| row)
    }
}

/// Rulings by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    /// Carried out.
    pub execute: u64,
    /// A person is asked.
    pub escalate: u64,
    /// Nothing is done.
    pub decline: u64,
    /// Replaced by a later one.
    pub superseded: u64,
}

impl Decisions {
    /// A ruling counts as what it is until the row comes that says it was superseded.
    fn add(&mut self, row: &DecisionRow) {
        let count = match row.decision.ruling {
            Ruling::Execute => &mut self.execute,
            Ruling::Escalate => &mut self.escalate,
            Ruling::Decline => &mut self.decline,
        };
        if row.superseded_by.is_some() {
            *count -= 1;
            self.superseded += 1;
        } else {
            *count += 1;
        }
    }
}

/// What a run adds up to: the last line of standard output with `--output json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Records taken.
    pub records: u64,
    /// Alerts. A record that is an event may have become several; see `further`.
    pub alerts: u64,
    /// The same alert again.
    pub duplicates: u64,
    /// What could not become an alert.
    pub rejects: u64,
    /// Records of no concern by name.
    pub ignored: u64,
    /// Alerts and duplicates beyond the first of their record.
    pub further: u64,
    /// Records that were taken and are none of these yet, where the run was left as it stood.
    pub unsettled: u64,
    /// Alerts whose tick was clamped.
    pub late: u64,
    /// Alerts, once for each correlation that adds up a number which they lack.
    pub without_number: u64,
    /// Incidents, merged ones included.
    pub incidents: u64,
    /// Standing rulings.
    pub decisions: Decisions,
    /// Actions.
    pub actions: u64,
    /// Outcomes.
    pub outcomes: u64,
    /// Wall time.
    pub elapsed_s: f64,
    /// Wall time until the first incident was said; none where there was none. Told to people alone: programs compare runs.
    #[serde(skip)]
    pub first_incident_s: Option<f64>,
    /// Alerts by wall time.
    pub alerts_per_s: f64,
    /// The process's greatest memory.
    pub peak_rss_bytes: u64,
    /// Recomputed results that differ from recorded ones: must be 0.
    pub divergences: u64,
}

impl Summary {
    /// Sums up; the edges add time and memory.
    #[must_use]
    pub fn of(counts: &Counts, late: u64, divergences: u64) -> Summary {
        Summary {
            records: counts.records,
            alerts: counts.alerts,
            duplicates: counts.duplicates,
            rejects: counts.rejects,
            ignored: counts.ignored,
            further: counts.further,
            late,
            incidents: counts.incidents,
            decisions: counts.decisions,
            actions: counts.actions,
            outcomes: counts.outcomes,
            divergences,
            ..Summary::default()
        }
    }

    /// `records = alerts + duplicates - further + rejects + ignored + unsettled`: what is missing, if anything.
    #[must_use]
    pub fn unaccounted(&self) -> i64 {
        let sum = self.alerts + self.duplicates + self.rejects + self.ignored + self.unsettled;
        self.records.cast_signed() + self.further.cast_signed() - sum.cast_signed()
    }
}
