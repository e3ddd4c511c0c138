//! What the tests that run the binary share: the binary, a plan that acts, days of alerts to replay, and what an archive holds.

#![allow(dead_code, unreachable_pub, reason = "each test needs a part of it")]

pub mod days;
pub mod kafka;
pub mod live;
pub mod told;
pub mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use quell::archive::Reader;
use quell::normalize::SourceSettings;
use quell::record::{AlertId, IncidentId, Names};
use quell::replay::generate::{Settings, generate};
use serde_json::Value;

/// Time as of which all tests replay: after every alert of theirs.
pub const AS_OF: &str = "2026-03-01T00:00:00Z";

/// A source of that name, of a time long after every record of the tests.
pub fn source(name: &str, names: &Names) -> SourceSettings {
    SourceSettings {
        name: names.intern(name),
        tenant: names.intern("default"),
        tenant_from_field: false,
        zone: jiff::tz::TimeZone::UTC,
        as_of: 1_893_456_000_000,
        future_max_ms: 86_400_000,
    }
}

/// The repository's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The binary, run in the repository's folder.
pub fn quell() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quell"));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// `quell replay` with what every test gives it.
pub fn replay(flow: &Path, inputs: &[&Path], archive: &Path, more: &[&str]) -> Command {
    let mut command = quell();
    command.arg("replay").arg("--flow").arg(flow).arg("--input").args(inputs).arg("--archive").arg(archive);
    command.args(["--as-of", AS_OF, "--output", "json"]).args(more);
    command
}

/// Runs to the end; the summary. Panics with what was said where the exit code is another than 0.
pub fn summary(command: &mut Command) -> Value {
    summary_of(&done(command))
}

/// Runs to the end; panics with what was said where the exit code is another than 0.
pub fn done(command: &mut Command) -> Output {
    let output = command.output().expect("the binary starts");
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    output
}

/// The last line of standard output.
pub fn summary_of(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last:?}\n{}", said(output)))
}

/// All that was said.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// `records + further = alerts + duplicates + rejects + ignored`, and no divergence.
pub fn conserved(summary: &Value) {
    let sum: u64 =
        ["alerts", "duplicates", "rejects", "ignored"].into_iter().map(|key| count(summary, key)).sum();
    assert_eq!(count(summary, "records") + count(summary, "further"), sum, "{summary}");
    assert_eq!(count(summary, "divergences"), 0, "{summary}");
}

/// A number of the summary.
pub fn count(summary: &Value, key: &str) -> u64 {
    summary[key].as_u64().unwrap_or_else(|| panic!("{key} in {summary}"))
}

/// `quell digest` by table.
pub fn digest(archive: &Path) -> BTreeMap<String, String> {
    let output = done(quell().arg("digest").arg(archive));
    let text = String::from_utf8(output.stdout).expect("digests are text");
    text.lines()
        .map(|line| line.split_once(' ').expect("a table and its digest"))
        .map(|(table, rest)| (table.to_owned(), rest.to_owned()))
        .collect()
}

/// `quell digest --log` by table.
pub fn digest_log(archive: &Path) -> BTreeMap<String, String> {
    let output = done(quell().arg("digest").arg(archive).arg("--log"));
    let text = String::from_utf8(output.stdout).expect("digests are text");
    let line = |line: &str| line.split_once(' ').map(|(table, rest)| (table.to_owned(), rest.to_owned()));
    text.lines().filter_map(line).collect()
}

/// Changes what a file of a plan must have.
pub fn edit(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).expect("a file of the plan");
    assert!(text.contains(from), "{} has {from:?}", file.display());
    std::fs::write(file, text.replace(from, to)).expect("room for the plan");
}

/// Lets a plan act early, and its sources be an hour late.
pub fn early(flow: &Path) {
    edit(&flow.with_file_name("policies/default.yml"), "act: settled", "act: early");
    edit(flow, "lateness: 60s", "lateness: 1h");
}

/// Lets a plan execute what fits, however little is known of it.
pub fn executing(flow: &Path) {
    let (sure, unsure) =
        ("execute: { score: 0.80, confidence: 0.90 }", "execute: { score: 0.40, confidence: 0 }");
    edit(&flow.with_file_name("policies/default.yml"), sure, unsure);
}

/// A copy of the plan in `folder` that acts on its own in a simulated site, without a model, and takes tenants from the
/// records of the sources named `tenants`. What `quell generate` wrote lies in `site`.
pub fn acting_plan(folder: &Path, site: &Path, tenants: &[&str]) -> PathBuf {
    let flow = asking_plan(folder);
    executing(&flow);
    let site = site.display();
    let executor =
        format!("{{type: simulate, environment: {site}/environment.json, truth: {site}/truth.jsonl}}");
    edit(&flow, "{type: dry-run}", &executor);
    for table in ["assets", "identities", "indicators"] {
        edit(&flow, &format!("{table}: []"), &format!("{table}: [{site}/{table}.csv]"));
    }
    let mut sources = String::new();
    for name in tenants {
        writeln!(sources, "  - {{name: {name}, type: file, path: {name}, tenant_from_field: true}}")
            .expect("memory");
    }
    edit(&flow, "tenant: default\n", &format!("tenant: default\nsources:\n{sources}"));
    flow
}

/// A copy of the plan in `folder` without its model: it does nothing unasked. It looks no sightings up either: a replay of
/// a live run's files does not, and is compared with it.
pub fn asking_plan(folder: &Path) -> PathBuf {
    copy(&root().join("dataflows"), folder);
    let flow = folder.join("pipeline.yml");
    let text = std::fs::read_to_string(&flow).expect("the plan");
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("models:")).collect();
    let text = kept.join("\n") + "\n";
    assert!(text.contains("sightings: {days: 30}"), "{text}");
    std::fs::write(&flow, text.replace("sightings: {days: 30}", "sightings: {days: 0}"))
        .expect("room for the plan");
    flow
}

/// A copy of a folder of plain files and folders.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("room for a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("room for a copy");
        }
    }
}

/// Two days of two sites, with late alerts and duplicates: the folder that `quell generate` would write.
pub fn site(folder: &Path, alerts: u64, seed: u64) {
    let settings = Settings {
        alerts,
        seed,
        tenants: 2,
        hosts: 30,
        users: 40,
        days: Some(3),
        late_share: 0.05,
        duplicate_share: 0.03,
        ..Settings::default()
    };
    generate(&settings, folder, |_| {}).expect("room for generated days");
}

/// A second source, written by hand: three tenants, copies hours apart and next to each other, alerts up to ten minutes
/// late (so later than allowed), lines that are no alerts.
pub fn edges(records: u64) -> String {
    edges_of(0..records, |_| true)
}

/// Those of them that are wanted, of a range of their numbers.
pub fn edges_of(range: std::ops::Range<u64>, wanted: impl Fn(u64) -> bool) -> String {
    let mut text = String::new();
    for n in range.filter(|n| wanted(*n)) {
        if n % 97 == 13 {
            writeln!(text, "{{\"broken\": {n}").expect("memory");
            continue;
        }
        // A copy names an alert of some records ago.
        let of = if n % 29 == 5 { n.saturating_sub(n % 23) } else { n };
        let late = [0, 0, 0, 45, 0, 600, 0][(of % 7) as usize];
        let time = 1_767_700_000 + (of * 9).saturating_sub(late);
        let time = jiff::Timestamp::from_second(time.cast_signed()).expect("a time");
        let tenant = ["default", "north", "south"][(of % 3) as usize];
        let (host, user, rule) = (of % 11, of / 40 % 7, of * of % 13);
        let severity = ["low", "medium", "high", "critical"][(of / 5 % 4) as usize];
        writeln!(
            text,
            "{{\"id\":\"e{of}\",\"tenant\":\"{tenant}\",\"time\":\"{time}\",\"product\":\"edr\",\"rule_id\":\"R{rule}\",\
             \"rule_name\":\"Rule {rule}\",\"severity\":\"{severity}\",\"technique\":\"T1059\",\"host\":\"h{host}\",\
             \"user\":\"u{user}\",\"src_ip\":\"198.51.100.{}\"}}",
            of % 50
        )
        .expect("memory");
    }
    text
}

/// What an archive's own rows say, counted anew.
pub struct Held {
    /// Alerts.
    pub alerts: usize,
    /// Incidents that have or had a member.
    pub incidents: usize,
    /// Decisions that no later one replaced.
    pub standing: usize,
    /// Actions.
    pub actions: usize,
}

/// Counts an archive and checks it: each alert stands once, in exactly one incident, and no position is told twice.
pub fn held(archive: &Path) -> Held {
    let names = Arc::new(Names::default());
    let reader = Reader::open(archive, Arc::clone(&names)).expect("an archive");
    let mut places = BTreeMap::new();
    let mut alerts = BTreeMap::<AlertId, usize>::new();
    for alert in reader.alerts(None).expect("alerts").map(|line| line.expect("an alert")) {
        *alerts.entry(alert.alert_id).or_default() += 1;
        let place = (names.get(alert.source), alert.partition, alert.position);
        assert_eq!(places.insert(place, "alert"), None, "{} at {}", alert.alert_id, alert.position);
    }
    for copy in reader.duplicates(None).expect("duplicates").map(|line| line.expect("a duplicate")) {
        let place = (names.get(copy.source), copy.partition, copy.position);
        assert_eq!(places.insert(place, "duplicate"), None, "{} at {}", copy.alert_id, copy.position);
        assert!(alerts.contains_key(&copy.alert_id), "a duplicate of nothing: {}", copy.alert_id);
    }
    let mut members = BTreeMap::<(AlertId, IncidentId), i64>::new();
    for member in reader.members(None).expect("members").map(|line| line.expect("a member")) {
        *members.entry((member.alert_id, member.incident_id)).or_default() += member.diff;
    }
    let mut of = BTreeMap::<AlertId, i64>::new();
    for ((alert, incident), diff) in &members {
        assert!((0..=1).contains(diff) || alerts[alert] > 1, "{alert} stands {diff} times in {incident}");
        *of.entry(*alert).or_default() += diff;
    }
    for (alert, times) in &alerts {
        assert_eq!(of.get(alert).copied(), i64::try_from(*times).ok(), "incidents of {alert}");
    }
    assert_eq!(of.len(), alerts.len(), "members that are no alerts");
    let incidents: std::collections::BTreeSet<_> = members.keys().map(|(_, incident)| *incident).collect();
    let mut standing = BTreeMap::<_, i64>::new();
    for decision in reader.decisions(None).expect("decisions").map(|line| line.expect("a decision")) {
        let change = if decision.superseded_by.is_some() { -1 } else { 1 };
        *standing.entry(decision.decision_id).or_default() += change;
    }
    assert!(
        standing.values().all(|n| (0..=1).contains(n)),
        "a decision told twice, or replaced and never told"
    );
    let mut actions = BTreeMap::<_, u32>::new();
    for action in reader.actions(None).expect("actions").map(|line| line.expect("an action")) {
        *actions.entry(action.action_id).or_default() += u32::from(action.seq == 0);
    }
    assert!(actions.values().all(|n| *n == 1), "an action that begins twice, or never");
    Held {
        alerts: alerts.values().sum(),
        incidents: incidents.len(),
        standing: standing.values().filter(|n| **n == 1).count(),
        actions: actions.len(),
    }
}

/// Asserts that what the archive holds is what the summary says.
pub fn agrees(summary: &Value, archive: &Path) {
    conserved(summary);
    let held = held(archive);
    let decisions = &summary["decisions"];
    let standing: u64 = ["execute", "escalate", "decline"].into_iter().map(|key| count(decisions, key)).sum();
    let told = [count(summary, "alerts"), count(summary, "incidents"), standing, count(summary, "actions")];
    assert_eq!(
        [held.alerts, held.incidents, held.standing, held.actions].map(|n| n as u64),
        told,
        "{summary}"
    );
}

/// A file of real data, looked for in the folders above; says so where there is none.
pub fn real(path: &str) -> Option<PathBuf> {
    let found =
        root().ancestors().map(|above| above.join("shared/data").join(path)).find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: there is no shared/data/{path} here");
    }
    found
}
