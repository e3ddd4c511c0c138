//! What was noted is told, once and in whole lines.

use super::super::live::Read;
use super::*;

#[test]
fn what_was_noted_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::of(folder.path());
    metrics.goes_on(2);
    metrics.took(2, 40, Some(1), 1);
    metrics.took(3, 50, Some(wall_ms() - 2_000), 1);
    metrics.decided(2, 1);
    metrics.decided(3, 2);
    metrics.done(3, std::iter::empty());
    let mut counts = Counts::default();
    counts.alerts(7);
    metrics.shows(3, &counts);
    let standing = |partition, lag| Standing {
        source: "a\"b".to_owned(),
        partition,
        lag,
        waiting: 4,
        clock: Some(60_500),
        // The other one is read elsewhere.
        read: (partition == 0).then_some(Read { records: 30, bytes: 700 }),
    };
    metrics.stand(vec![standing(0, Some(9)), standing(1, None)], (12, 1), 99);
    let text = metrics.text();
    let has = |line: &str| assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    has("# TYPE quell_alerts_total counter");
    has("quell_alerts_total 7");
    has("quell_late_total 1");
    has("quell_divergences_total 1");
    has("quell_action_changes_total{status=\"in_doubt\"} 0");
    has("quell_source_lag_records{source=\"a\\\"b\",partition=\"0\"} 9");
    has("quell_source_clock_seconds{source=\"a\\\"b\",partition=\"1\"} 60.5");
    has("quell_settled_lag_seconds 10.5");
    has("quell_read_records_total{source=\"a\\\"b\",partition=\"0\"} 30");
    has("quell_read_waiting_bytes{source=\"a\\\"b\",partition=\"0\"} 700");
    assert_eq!(text.matches("quell_read_lag_records{").count(), 1, "{text}");
    has("quell_epoch{stage=\"shown\"} 3");
    has("quell_epoch_shown_seconds_count 1");
    has("quell_names_bytes 99");
    has("quell_renewals_total 0");
    // What was computed again was decided before.
    has("quell_decision_seconds_count 2");
    has("quell_decision_seconds_bucket{le=\"1.0\"} 0");
    assert!(!text.contains("partition=\"1\"} 9") && text.ends_with('\n'), "{text}");
    assert_eq!(Metrics::default().text(), "");
}

#[test]
fn another_process_tells_of_itself_alone() {
    let metrics = Metrics::of_another();
    metrics.fed(7);
    metrics.worked(5);
    let read = Some(Read { records: 30, bytes: 700 });
    let standing =
        Standing { source: "a".to_owned(), partition: 1, lag: Some(9), waiting: 4, clock: None, read };
    metrics.stand(vec![standing], (0, 0), 3);
    let text = metrics.text();
    let has = |line: &str| assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    has("quell_epoch{stage=\"taken\"} 7");
    has("quell_epoch{stage=\"done\"} 5");
    has("quell_read_records_total{source=\"a\",partition=\"1\"} 30");
    has("quell_read_lag_records{source=\"a\",partition=\"1\"} 9");
    // What adds up is the first process's.
    for of_the_run in ["quell_records_total", "quell_source_", "quell_log_bytes", "quell_divergences"] {
        assert!(!text.contains(of_the_run), "{of_the_run}\n{text}");
    }
}
