//! Text: what was noted, metric by metric, with the names and the help that a dashboard shows.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::exposition::{Label, Out};
use super::{Noted, State};
use crate::engine::log::Log;
use crate::record::{Millis, NOTHING_SETTLED};

impl Noted {
    /// All of it, as text.
    pub(super) fn text(&self) -> String {
        let mut out = Out::default();
        let state = self.state();
        if self.archive.is_some() {
            run(&mut out, &state);
        } else {
            works(&mut out, &state);
        }
        reads(&mut out, &state);
        cluster(&mut out, &state);
        out.gauge("quell_names_bytes", "Bytes of names that are remembered", state.names as u64);
        let began = state.began;
        drop(state);
        if let Some(archive) = &self.archive {
            out.gauge("quell_log_bytes", "Bytes of the log", log_bytes(archive));
        }
        process(&mut out, began);
        out.finish()
    }
}

/// What only whoever keeps the archive knows.
fn run(out: &mut Out, state: &State) {
    sums(out, state);
    actions(out, state);
    sources(out, state);
    epochs(out, state);
    let help = "Seconds from when an epoch is taken to when the archive shows it";
    out.histogram("quell_epoch_shown_seconds", help, &state.times.shown);
    let help = "Seconds from when the oldest record of an epoch was appended to its topic, or came, to each decision \
                that the epoch led to";
    out.histogram("quell_decision_seconds", help, &state.times.decided);
    snapshots(out, state);
    let said = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("plan", state.plan_hash.clone()),
        ("model", state.model_version.clone()),
    ];
    out.gauges("quell_run_info", "What runs", [(said, 1)]);
    let help = "How often the run went on with the names that it still needed";
    out.counter("quell_renewals_total", help, state.beginnings.saturating_sub(1));
}

/// How far the workers of another process are.
fn works(out: &mut Out, state: &State) {
    let of = |stage: &str, epoch: u64| (vec![("stage", stage.to_owned())], epoch);
    let help = "The last epoch that was taken in here, and that is worked off everywhere";
    out.gauges("quell_epoch", help, [of("taken", state.taken), of("done", state.done)]);
}

/// What this process itself reads.
fn reads(out: &mut Out, state: &State) {
    let all = || {
        state.sources.iter().filter_map(|it| {
            let labels: Vec<Label> =
                vec![("source", it.source.clone()), ("partition", it.partition.to_string())];
            Some((labels, it, it.read?))
        })
    };
    let records = all().map(|(labels, _, read)| (labels, read.records));
    out.counters("quell_read_records_total", "Records that this process has read since it began", records);
    let help = "Records that this process has read, of an epoch that is not taken yet";
    out.gauges("quell_read_waiting_records", help, all().map(|(labels, it, _)| (labels, it.waiting as u64)));
    let help = "Bytes that this process has read, of epochs that are not taken yet";
    out.gauges("quell_read_waiting_bytes", help, all().map(|(labels, _, read)| (labels, read.bytes as u64)));
    let help = "Records of a topic's partition, which this process reads, that are not taken yet";
    let lag = all().filter_map(|(labels, it, _)| Some((labels, it.lag?)));
    out.gauges("quell_read_lag_records", help, lag);
}

/// What the archive shows: `records + further = alerts + duplicates + rejects + ignored`.
fn sums(out: &mut Out, state: &State) {
    let sums = &state.sums;
    let said = [
        ("quell_records_total", "Records taken, as far as the archive shows them", sums.records),
        ("quell_alerts_total", "Alerts", sums.alerts),
        ("quell_duplicates_total", "Alerts that had come before", sums.duplicates),
        ("quell_rejects_total", "Records that could not become alerts", sums.rejects),
        ("quell_ignored_total", "Records of no concern by name", sums.ignored),
        ("quell_further_total", "Alerts and duplicates beyond the first of their record", sums.further),
        ("quell_late_total", "Alerts taken whose tick was clamped", state.late),
        ("quell_incidents_total", "Incidents, merged ones included", sums.incidents),
        ("quell_actions_total", "Actions that were begun", sums.actions),
        ("quell_outcomes_total", "Outcomes", sums.outcomes),
        (
            "quell_decisions_superseded_total",
            "Decisions that a later one replaced",
            sums.decisions.superseded,
        ),
    ];
    for (name, help, value) in said {
        out.counter(name, help, value);
    }
    let by = |ruling: &str, count: u64| (vec![("ruling", ruling.to_owned())], count);
    let decisions = &sums.decisions;
    let standing = [
        by("execute", decisions.execute),
        by("escalate", decisions.escalate),
        by("decline", decisions.decline),
    ];
    out.gauges("quell_decisions_standing", "Decisions that no later one replaced", standing);
    let all = state.divergences.0 + state.divergences.1;
    out.counter("quell_divergences_total", "What was computed again and came out otherwise: must be 0", all);
}

fn actions(out: &mut Out, state: &State) {
    let of = |(status, count): (&&'static str, &u64)| (vec![("status", (*status).to_owned())], *count);
    let help = "Actions that came to a status since this process began";
    out.counters("quell_action_changes_total", help, state.statuses.iter().map(of));
    let (awaited, in_doubt) = state.actions;
    out.gauge("quell_actions_awaited", "Actions whose end is not known yet", awaited as u64);
    out.gauge(
        "quell_actions_in_doubt",
        "Actions of which nobody knows whether they were done",
        in_doubt as u64,
    );
}

fn sources(out: &mut Out, state: &State) {
    let all = || {
        state.sources.iter().map(|it| {
            let labels: Vec<Label> =
                vec![("source", it.source.clone()), ("partition", it.partition.to_string())];
            (labels, it)
        })
    };
    let lag = all().filter_map(|(labels, it)| Some((labels, it.lag?)));
    let help = "Records of a topic that are not taken yet: its newest offset less the next one to be taken";
    out.gauges("quell_source_lag_records", help, lag);
    let help = "Records that are read and not taken yet";
    let waiting = all().map(|(labels, it)| (labels, it.waiting as u64));
    out.gauges("quell_source_waiting_records", help, waiting);
    let clocks = all().filter_map(|(labels, it)| Some((labels, seconds(it.clock?))));
    out.gauges("quell_source_clock_seconds", "Greatest event time, in Unix time", clocks);
    out.gauge("quell_push_waiting_bytes", "Bytes of pushed batches that wait", state.pushed_bytes);
    if state.settled > NOTHING_SETTLED {
        let help = "The tick below which all is settled, in Unix time";
        out.gauge("quell_settled_seconds", help, state.settled as f64);
        let greatest = state.sources.iter().filter_map(|it| it.clock).max();
        if let Some(greatest) = greatest {
            let lag = (seconds(greatest) - state.settled as f64).max(0.0);
            let help = "Greatest event time of all sources less the tick below which all is settled";
            out.gauge("quell_settled_lag_seconds", help, lag);
        }
    }
}

fn epochs(out: &mut Out, state: &State) {
    let of = |stage: &str, epoch: u64| (vec![("stage", stage.to_owned())], epoch);
    let stages = [of("taken", state.taken), of("done", state.done), of("shown", state.shown)];
    let help = "The last epoch that was taken in, that is worked off, and that the archive shows";
    out.gauges("quell_epoch", help, stages);
    let under_way = state.taken.saturating_sub(state.done);
    out.gauge("quell_epochs_under_way", "Epochs that are taken and not worked off", under_way);
}

fn snapshots(out: &mut Out, state: &State) {
    if let Some(snapshot) = &state.snapshot {
        out.gauge("quell_snapshot_epoch", "The epoch of the last snapshot", snapshot.epoch);
        let help = "When the last snapshot was kept, in Unix time";
        out.gauge("quell_snapshot_timestamp_seconds", help, seconds(snapshot.at));
        let help = "How long writing the last snapshot took";
        out.gauge("quell_snapshot_duration_seconds", help, snapshot.took.as_secs_f64());
    }
    out.counter("quell_snapshots_failed_total", "Snapshots that could not be kept", state.snapshots_failed);
}

fn cluster(out: &mut Out, state: &State) {
    let Some(member) = &state.cluster else { return };
    out.gauge("quell_cluster_process", "The index of this process", member.process as u64);
    out.gauge("quell_cluster_processes", "Processes of the cluster", member.processes as u64);
    out.gauge("quell_cluster_generation", "How often the cluster was started", member.generation);
    let help = "When all processes had their links, in Unix time: one that is lost ends the others";
    out.gauge("quell_cluster_since_timestamp_seconds", help, seconds(member.since));
    let sent = [("records", &member.traffic.records), ("strings", &member.traffic.strings)];
    let sent = sent.map(|(of, bytes)| (vec![("of", of.to_owned())], bytes.load(Ordering::Relaxed)));
    out.counters("quell_cluster_sent_bytes_total", "Bytes that this process sent to others", sent);
    let counts = member.turned_away.counts();
    let counts = counts.into_iter().map(|(why, count)| (vec![("reason", why.to_owned())], count));
    out.counters("quell_cluster_turned_away_total", "Connections that were turned away", counts);
}

/// Named as Prometheus' own clients do, so that dashboards of processes show it.
fn process(out: &mut Out, began: Millis) {
    let help = "When the process began, in Unix time";
    out.gauge("process_start_time_seconds", help, seconds(began));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    if let Some(kib) = kib {
        out.gauge("process_resident_memory_bytes", "Resident memory", kib * 1024);
    }
}

fn log_bytes(archive: &Path) -> u64 {
    let path = Log::path_of(archive);
    // SQLite's write-ahead log lies beside it.
    let mut ahead = path.as_os_str().to_owned();
    ahead.push("-wal");
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |it| it.len());
    bytes(&path) + bytes(Path::new(&ahead))
}

fn seconds(time: i64) -> f64 {
    time as f64 / 1e3
}
