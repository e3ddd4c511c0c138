//! Tests of the whole generator: bytes, counts, times and labels.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// A generated folder, read back.
struct Made {
    summary: Summary,
    alerts: Vec<Value>,
    truth: Vec<Value>,
}

fn make(settings: &Settings) -> Made {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("days");
    let summary = generate(settings, &out, |_| {}).expect("generated");
    let lines = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(out.join(name)).expect("a file");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    Made { summary, alerts: lines("alerts.jsonl"), truth: lines("truth.jsonl") }
}

fn small() -> Settings {
    Settings { alerts: 12_000, hosts: 40, users: 60, ..Settings::default() }
}

fn uid(alert: &Value) -> &str {
    alert["finding_info"]["uid"].as_str().expect("a vendor id")
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let once = make(&small()).summary;
    assert_eq!(once, make(&small()).summary);
    let other = make(&Settings { seed: 2, ..small() }).summary;
    assert_ne!(once.files["alerts.jsonl"], other.files["alerts.jsonl"]);
    assert_ne!(once.files["truth.jsonl"], other.files["truth.jsonl"]);
}

#[test]
fn the_same_campaigns_can_be_had_in_more_noise() {
    let told = |alerts| {
        let made =
            make(&Settings { alerts, campaigns: Some(6), days: Some(3), duplicate_share: 0.0, ..small() });
        made.summary.use_cases
    };
    let (once, twice) = (told(12_000), told(24_000));
    assert_eq!(once, twice);
    assert_eq!(once.values().map(|count| count.campaigns).sum::<u64>(), 6);
}

#[test]
fn every_alert_is_counted_once_and_every_label_has_its_alert() {
    let made = make(&small());
    let summary = &made.summary;
    let told: u64 =
        summary.use_cases.values().map(|count| count.campaign_alerts + count.look_alike_alerts).sum();
    assert_eq!(summary.alerts, 12_000);
    assert_eq!(made.alerts.len(), 12_000);
    assert_eq!(summary.background + summary.floods + told + summary.duplicates, 12_000);
    assert_eq!(made.truth.len() as u64, told);
    let uids: BTreeSet<&str> = made.alerts.iter().map(uid).collect();
    assert_eq!(uids.len() as u64, summary.alerts - summary.duplicates);
    let labelled: BTreeSet<&str> = made.truth.iter().filter_map(|line| line["alert"].as_str()).collect();
    assert_eq!(labelled.len(), made.truth.len());
    assert!(labelled.is_subset(&uids));
    for count in summary.use_cases.values() {
        assert!(count.campaigns >= 1 && count.look_alikes >= 1, "{summary:?}");
    }
}

#[test]
fn alerts_come_by_arrival_within_the_span_and_as_late_and_as_often_as_asked() {
    let settings = Settings { late_share: 0.05, late_max_ms: 60_000, duplicate_share: 0.02, ..small() };
    let made = make(&settings);
    assert_eq!(made.summary.duplicates, 240);
    assert!((480..=720).contains(&made.summary.late), "{}", made.summary.late);
    let end = START + settings.days().cast_signed() * 24 * HOUR_MS;
    let (mut seen, mut clock, mut late) = (BTreeSet::new(), 0, 0);
    for alert in &made.alerts {
        let time = alert["time"].as_i64().expect("a time");
        let arrival = alert["metadata"]["logged_time"].as_i64().expect("a time");
        assert!((START..end).contains(&time));
        assert!((0..=60_000).contains(&(arrival - time)));
        if seen.insert(uid(alert)) {
            assert!(arrival >= clock, "out of order of arrival");
            clock = arrival;
            late += u64::from(arrival > time);
        }
    }
    assert_eq!(late, made.summary.late);
}

#[test]
fn alerts_are_detection_findings() {
    for alert in make(&Settings { alerts: 3_000, tenants: 2, ..small() }).alerts {
        assert_eq!(alert["class_uid"], 2004);
        assert_eq!(alert["type_uid"], 200_401);
        assert!((1..=5).contains(&alert["severity_id"].as_u64().unwrap_or(0)), "{alert}");
        for path in [
            "/finding_info/title",
            "/finding_info/analytic/uid",
            "/finding_info/attacks/0/tactic/uid",
            "/finding_info/attacks/0/technique/uid",
            "/metadata/product/name",
            "/metadata/tenant_uid",
            "/message",
        ] {
            assert!(alert.pointer(path).is_some_and(Value::is_string), "{path} is missing in {alert}");
        }
        let about = ["/device/hostname", "/evidences/0/actor/user/name", "/evidences/0/user/name"];
        assert!(about.iter().any(|path| alert.pointer(path).is_some()), "{alert}");
    }
}

#[test]
fn most_volume_recurs_every_day_and_few_rules_make_most_of_it() {
    let made = make(&Settings { alerts: 30_000, hosts: 40, users: 60, days: Some(3), ..Settings::default() });
    let mut days: BTreeMap<(String, String), (BTreeSet<i64>, usize)> = BTreeMap::new();
    let mut rules: BTreeMap<String, usize> = BTreeMap::new();
    for alert in &made.alerts {
        let subject = ["/device/hostname", "/evidences/0/user/name", "/evidences/0/actor/user/name"]
            .iter()
            .find_map(|path| alert.pointer(path).and_then(Value::as_str))
            .unwrap_or_default();
        let rule = alert["finding_info"]["title"].as_str().unwrap_or_default();
        let pair = days.entry((subject.to_owned(), rule.to_owned())).or_default();
        pair.0.insert(alert["time"].as_i64().unwrap_or(0) / (24 * HOUR_MS));
        pair.1 += 1;
        *rules.entry(rule.to_owned()).or_default() += 1;
    }
    let daily: usize = days.values().filter(|(days, _)| days.len() == 3).map(|(_, count)| count).sum();
    assert!(daily * 100 >= made.alerts.len() * 75, "{daily} of {}", made.alerts.len());
    let mut counts: Vec<usize> = rules.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let first: usize = counts.iter().take(6).sum();
    assert!(first * 2 >= made.alerts.len(), "{first} of {}", made.alerts.len());
}

#[test]
fn neither_severity_nor_rule_tells_an_attack() {
    let made = make(&small());
    let labels: BTreeMap<&str, &str> = made
        .truth
        .iter()
        .filter_map(|line| Some((line["alert"].as_str()?, line["label"].as_str()?)))
        .collect();
    let mut by_severity: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    for alert in &made.alerts {
        let label = labels.get(uid(alert)).copied().unwrap_or("false_positive");
        by_severity.entry(alert["severity_id"].as_u64().unwrap_or(0)).or_default().insert(label);
    }
    for severity in 1..=4 {
        assert_eq!(by_severity[&severity].len(), 3, "severity {severity}: {by_severity:?}");
    }
}

#[test]
fn what_is_held_at_a_time_does_not_grow_with_the_days() {
    let held = |days: u32| {
        let settings = Settings { days: Some(days), alerts: 4_000 * u64::from(days), ..small() };
        let sites = [Site::new(0, 1, settings.hosts, settings.users)];
        let hours = settings.days() * 24;
        let mut background = Background::new(1, &sites, hours, settings.alerts);
        let mut most = 0;
        for hour in 0..hours {
            let mut events = Vec::new();
            background.hour(hour, START + hour.cast_signed() * HOUR_MS, &sites, &mut events);
            most = most.max(events.len());
        }
        most
    };
    let (short, long) = (held(7), held(70));
    assert!(long < short * 2, "{short} events in the fullest hour of 7 days, {long} of 70");
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("mine"), "x").expect("written");
    let error = generate(&Settings { alerts: 10, ..small() }, folder.path(), |_| {}).expect_err("refused");
    assert!(matches!(error, GenerateError::NotEmpty { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).expect("made");
    generate(&Settings { alerts: 10, ..small() }, &empty, |_| {}).expect("an empty folder will do");
    assert_eq!(fs::read_dir(&empty).expect("a folder").count(), 7);
}

#[test]
fn settings_out_of_range_are_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for settings in [
        Settings { tenants: 0, ..small() },
        Settings { hosts: 0, ..small() },
        Settings { days: Some(0), ..small() },
        Settings { late_share: f64::NAN, ..small() },
        Settings { duplicate_share: 0.9, ..small() },
        Settings { alerts: u64::MAX, ..small() },
    ] {
        let error = generate(&settings, &folder.path().join("x"), |_| {}).expect_err("refused");
        assert!(matches!(error, GenerateError::Setting { .. }), "{error}");
    }
}

#[test]
fn the_shipped_day_is_what_its_manifest_says() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/soc-day");
    let manifest: Value =
        serde_json::from_str(&fs::read_to_string(shipped.join("manifest.json")).expect("a manifest"))
            .expect("JSON");
    let settings: Settings = serde_json::from_value(manifest["settings"].clone()).expect("settings");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("again");
    let summary = generate(&settings, &out, |_| {}).expect("generated");
    assert_eq!(serde_json::to_value(&summary).expect("JSON"), manifest["summary"]);
    let packed = fs::File::open(shipped.join("alerts.jsonl.zst")).expect("the packed alerts");
    let alerts = zstd::decode_all(packed).expect("zstd");
    assert_eq!(blake3::hash(&alerts).to_hex().to_string(), summary.files["alerts.jsonl"]);
    for (name, hash) in summary.files.iter().filter(|(name, _)| *name != "alerts.jsonl") {
        let bytes = fs::read(shipped.join(name)).expect("a shipped file");
        assert_eq!(&blake3::hash(&bytes).to_hex().to_string(), hash, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_small_settings_give_exactly_the_alerts_asked_for(
        (alerts, seed, tenants, hosts) in (0u64..2_500, any::<u64>(), 1u32..4, 1u32..60),
        (users, days, late_share) in (1u32..80, proptest::option::of(1u32..5), 0.0..=1.0),
        (late_max_ms, duplicate_share) in (0u64..86_400_000, 0.0..=0.5),
    ) {
        let campaigns = None;
            let settings =
                Settings { alerts, seed, tenants, hosts, users, days, campaigns, late_share, late_max_ms, duplicate_share };
        let made = make(&settings);
        prop_assert_eq!(made.alerts.len() as u64, alerts);
        prop_assert_eq!(made.summary.alerts, alerts);
    }
}
