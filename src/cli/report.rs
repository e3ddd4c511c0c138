//! Reports: progress on a terminal, and what a run came to, told for people or as one JSON line.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::archive::{IncidentRow, Only, Reader};
use crate::engine::summary::{Counts, Summary};
use crate::record::{IncidentKind, Names, Triage};
use crate::replay::diff::{Difference, LastWord, Standing};

/// Differences of each kind that are told one by one; `--output json` has more.
const DIFFERENCES_TOLD: usize = 10;

/// Progress of a long job: drawn on a terminal, silent in a pipe.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn start(total_bytes: u64) -> Progress {
        let bar = ProgressBar::new(total_bytes);
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template("{msg:>9} [{bar:32}] {percent:>3} %  {elapsed} elapsed");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        bar.set_message("reading");
        Progress(bar)
    }

    /// A job that begins with another phase than reading.
    pub(crate) fn of(name: &'static str, total: u64) -> Progress {
        let progress = Progress::start(total);
        progress.0.set_message(name);
        progress
    }

    /// Goes on to another phase of `total` units.
    pub(crate) fn phase(&self, name: &'static str, total: u64) {
        self.0.set_message(name);
        self.0.set_length(total);
        self.0.set_position(0);
    }

    pub(crate) fn at(&self, position: u64) {
        self.0.set_position(position);
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// Measures a whole job, for the report alone.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "how long it took is reported, and shows in no result")]
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The greatest memory that this process had, in bytes; 0 where the system does not tell.
pub(crate) fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Adds wall time and memory to a summary.
pub(crate) fn measured(mut summary: Summary, counts: &Counts, watch: &Stopwatch) -> Summary {
    let seconds = |time: Duration| (time.as_secs_f64() * 1000.0).round() / 1000.0;
    let elapsed = watch.elapsed();
    summary.alerts_per_s = (summary.alerts as f64 / elapsed.as_secs_f64().max(1e-9)).round();
    summary.elapsed_s = seconds(elapsed);
    summary.first_incident_s = counts.first_incident().map(|at| seconds(at.duration_since(watch.0)));
    summary.peak_rss_bytes = peak_rss_bytes();
    summary
}

/// Tells a run for people: what came in, what was found, the three most severe, and what to do next.
pub(crate) fn tell(summary: &Summary, counts: &Counts, archive: &Path, names: &Arc<Names>) {
    let s = summary;
    say!(
        "{} records in {:.1} s ({} alerts/s, {} MB at most{})",
        group(s.records),
        s.elapsed_s,
        group(rate(s)),
        s.peak_rss_bytes >> 20,
        s.first_incident_s.map_or_else(String::new, |after| format!(", first incident after {after:.2} s"))
    );
    say!(
        "  {} alerts{}   {} duplicates   {} rejects   {} ignored   {} late",
        group(s.alerts),
        if s.further == 0 { String::new() } else { format!(" ({} further of an event)", group(s.further)) },
        group(s.duplicates),
        group(s.rejects),
        group(s.ignored),
        group(s.late)
    );
    if s.without_number > 0 {
        say!("  {} times an alert lacked the number that a correlation adds up", group(s.without_number));
    }
    say!(
        "  {} incidents -> {} executed, {} escalated to people, {} declined, {} superseded",
        group(s.incidents),
        group(s.decisions.execute),
        group(s.decisions.escalate),
        group(s.decisions.decline),
        group(s.decisions.superseded)
    );
    say!("  {} actions, {} outcomes", group(s.actions), group(s.outcomes));
    let worst: Vec<&IncidentRow> =
        counts.worst().filter(|row| row.incident.kind == IncidentKind::Linked).take(3).collect();
    if !worst.is_empty() {
        say!("\nThe most severe:");
    }
    for row in worst {
        tell_incident(row, names);
        tell_response(row, archive, names);
    }
    say!("\nArchive: {}", archive.display());
    say!("Next:    quell explain INCIDENT --archive {0}    quell digest {0}", archive.display());
    if s.rejects > 0 {
        say!("         the rejects, with reasons, are in {}/rejects", archive.display());
    }
}

fn rate(summary: &Summary) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive rate")]
    {
        summary.alerts_per_s as u64
    }
}

fn tell_incident(row: &IncidentRow, names: &Names) {
    let incident = &row.incident;
    let triage = row.judgement.as_ref().map_or("not triaged", |said| match said.triage {
        Triage::TruePositive => "an attack",
        Triage::BenignPositive => "real but harmless",
        Triage::FalsePositive => "a false alarm",
    });
    let sure = row.judgement.as_ref().map_or(0.0, |said| said.confidence.value() * 100.0);
    say!("\n  {}  {}, taken for {triage} ({sure:.0} % sure)", incident.id, incident.severity.name());
    let mut rules: Vec<(u32, String)> =
        incident.rules.iter().map(|(rule, n)| (*n, names.get(*rule))).collect();
    rules.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let told: Vec<String> = rules.iter().take(3).map(|(n, rule)| format!("{} ({n})", plain(rule))).collect();
    let more = rules.len().saturating_sub(3);
    let more = if more > 0 { format!(" and {more} more rules") } else { String::new() };
    let when =
        |time| jiff::Timestamp::from_millisecond(time).map(|t| t.strftime("%Y-%m-%d %H:%M").to_string());
    let from = when(incident.first_seen).unwrap_or_default();
    let to = when(incident.last_seen).unwrap_or_default();
    say!("    {} alerts from {from} to {to}: {}{more}", group(incident.alert_count), told.join(", "));
    let entities: Vec<String> =
        incident.entities.iter().take(5).map(|entity| plain(&entity.text(names))).collect();
    let more = (incident.entity_count as usize).saturating_sub(entities.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    say!("    about {}{more}", entities.join(", "));
    let attacks: Vec<String> = incident.attacks.iter().take(6).map(|id| names.get(*id)).collect();
    if !attacks.is_empty() {
        say!("    ATT&CK {}", attacks.join(" "));
    }
}

/// What was ruled on an incident and done, read back from the archive: what is told is what was written.
fn tell_response(row: &IncidentRow, archive: &Path, names: &Arc<Names>) {
    let Ok(reader) = Reader::open(archive, Arc::clone(names)) else { return };
    let only = || Some(Only::incidents([row.incident.id]));
    let rulings: Vec<_> = reader.decisions(only()).into_iter().flatten().flatten().collect();
    let actions: Vec<_> = reader.actions(only()).into_iter().flatten().flatten().collect();
    let superseded =
        |id| rulings.iter().any(|other| other.decision_id == id && other.superseded_by.is_some());
    for ruling in rulings.iter().filter(|ruling| !superseded(ruling.decision_id)) {
        let playbook = ruling.playbook_id.map_or_else(String::new, |id| format!(" {}", names.get(id)));
        let why = ruling.reason_detail.as_deref().unwrap_or_default();
        say!("    -> {}{playbook}: {}", ruling.ruling.name(), plain(why));
        let own: Vec<_> = actions.iter().filter(|action| action.decision_id == ruling.decision_id).collect();
        for action in &own {
            let later = own.iter().any(|other| other.action_id == action.action_id && other.seq > action.seq);
            if !later {
                say!("         {} {} ({})", action.verb.name(), plain(&action.target), action.status.name());
            }
        }
    }
}

/// Tells for people what differs between a run and another archive.
pub(crate) fn tell_difference(difference: &Difference, other: &Path) {
    if difference.equal {
        say!("\nNothing differs from {}.", other.display());
        return;
    }
    say!("\nAgainst {}: {} differ", other.display(), difference.tables.join(", "));
    let line = |kind: &str, new: u64, other: u64, changed: u64, how: &str| {
        say!("  {} {kind} only here, {} only there, {} {how}", group(new), group(other), group(changed));
    };
    let Difference { incidents, decisions, .. } = difference;
    let how = "of another triage or size";
    line("incidents", incidents.only_new, incidents.only_other, incidents.changed, how);
    for pair in incidents.told.iter().take(DIFFERENCES_TOLD) {
        let word = |word: &Option<LastWord>| match word {
            Some(LastWord { triage, alert_count }) => {
                format!("{} alerts, {}", group(*alert_count), triage.map_or("not triaged", Triage::name))
            }
            None => "none".to_owned(),
        };
        say!("    {}  here {}; there {}", pair.incident_id, word(&pair.new), word(&pair.other));
    }
    let how = "ruled otherwise";
    line("rulings", decisions.only_new, decisions.only_other, decisions.changed, how);
    for pair in decisions.told.iter().take(DIFFERENCES_TOLD) {
        let word = |word: &Option<Standing>| match word {
            Some(Standing { ruling, playbook_id }) => {
                format!("{} {}", ruling.name(), plain(playbook_id.as_deref().unwrap_or_default()))
            }
            None => "none".to_owned(),
        };
        say!("    {}  here {}; there {}", pair.incident_id, word(&pair.new), word(&pair.other));
    }
}

/// An attacker's text on a terminal: characters that move the cursor or turn the writing are shown, not obeyed.
pub(crate) fn plain(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if obeyed(c) { '\u{fffd}' } else { c }).collect()
}

/// 1234567 as 1,234,567.
pub(crate) fn group(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(group), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn an_attackers_text_moves_no_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
        assert_eq!(plain("\u{202e}gpj.exe"), "\u{fffd}gpj.exe");
    }
}
