//! What was noted is told, once and in whole lines.

use super::*;

#[test]
fn what_was_noted_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::of(folder.path(), 2);
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
    };
    metrics.stand(vec![standing(0, Some(9)), standing(1, None)], 12, 1);
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
    has("quell_epoch{stage=\"shown\"} 3");
    has("quell_epoch_shown_seconds_count 1");
    // What was computed again was decided before.
    has("quell_decision_seconds_count 2");
    has("quell_decision_seconds_bucket{le=\"1.0\"} 0");
    assert!(!text.contains("partition=\"1\"} 9") && text.ends_with('\n'), "{text}");
    assert_eq!(Metrics::default().text(), "");
}
