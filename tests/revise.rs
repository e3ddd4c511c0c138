//! `quell unlink`: an incident is taken apart by a word, live, after a crash, in the log's replay and after the end, alike.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::live::{Live, heard, taken, until};
use common::{asking_plan, count, digest, done, held, quell, replay, said};
use quell::archive::{DecisionLine, IncidentLine, Only, Reader};
use quell::record::{AlertId, IncidentId, IncidentState, Names, Ruling};
use tempfile::TempDir;

const BEGIN: i64 = 1_767_700_000;

/// One alert: when, on which host, of which rule, and of whom.
fn line(second: i64, host: &str, rule: &str, user: &str) -> String {
    let time = jiff::Timestamp::from_second(BEGIN + second).expect("a time");
    let user = if user.is_empty() { String::new() } else { format!("\"user\":\"{user}\",") };
    format!(
        "{{\"id\":\"{host}-{rule}-{second}\",\"time\":\"{time}\",\"product\":\"edr\",\"rule_id\":\"{rule}\",\
         \"rule_name\":\"{rule}\",\"severity\":\"high\",\"technique\":\"T1059\",{user}\"host\":\"{host}\"}}\n"
    )
}

const ATTACK: i64 = 30 * 3600;

/// A day of one host's hourly noise; then three alerts on web-1, one that web-1 and mallory share, two on db-2, one of them of
/// mallory; and noise until all that is settled.
fn before() -> String {
    let mut text = String::new();
    for hour in 0..30 {
        write!(text, "{}", line(hour * 3600, "noisy", "hourly", "")).expect("memory");
    }
    let attack = [
        ("web-1", "scan", ""),
        ("web-1", "shell", ""),
        ("web-1", "root", ""),
        ("web-1", "login", "mallory"),
        ("db-2", "dump", "mallory"),
        ("db-2", "copy", ""),
    ];
    for (n, (host, rule, user)) in (0..).zip(attack) {
        write!(text, "{}", line(ATTACK + 60 * n, host, rule, user)).expect("memory");
    }
    text + &line(ATTACK + 900, "noisy", "hourly", "")
}

/// Each side goes on, and something new of both: the later of them cannot make one of what was parted.
fn after() -> String {
    [
        line(ATTACK + 960, "db-2", "dump", "mallory"),
        line(ATTACK + 1_000, "web-1", "root", ""),
        line(ATTACK + 1_060, "web-1", "wipe", "mallory"),
        line(ATTACK + 2_000, "noisy", "hourly", ""),
    ]
    .concat()
}

fn reader(archive: &Path) -> Reader {
    Reader::open(archive, Arc::new(Names::default())).expect("an archive")
}

fn versions(archive: &Path, id: IncidentId) -> Vec<IncidentLine> {
    let lines = reader(archive).incidents(Some(Only::incidents([id]))).expect("incidents");
    let mut lines: Vec<IncidentLine> = lines.map(|line| line.expect("an incident")).collect();
    lines.sort_by_key(|line| line.version);
    lines
}

/// The alerts of each incident by what was written, as `host-rule-second`.
fn homes(archive: &Path) -> BTreeMap<IncidentId, Vec<String>> {
    let reader = reader(archive);
    let names = Arc::clone(reader.names());
    let mut text: BTreeMap<AlertId, (i64, String)> = BTreeMap::new();
    for alert in reader.alerts(None).expect("alerts").map(|line| line.expect("an alert")) {
        let host = alert.entities.iter().map(|it| it.text(&names)).find(|it| it.starts_with("host:"));
        let host = host.expect("a host").replace("host:", "");
        let at = alert.time.0 / 1000 - BEGIN - ATTACK;
        text.insert(alert.alert_id, (at, format!("{host} {} {at}", names.get(alert.rule))));
    }
    let mut sums: BTreeMap<(IncidentId, AlertId), i64> = BTreeMap::new();
    for member in reader.members(None).expect("members").map(|line| line.expect("a member")) {
        *sums.entry((member.incident_id, member.alert_id)).or_default() += member.diff;
    }
    let mut homes: BTreeMap<IncidentId, Vec<(i64, String)>> = BTreeMap::new();
    for ((incident, alert), _) in sums.into_iter().filter(|(_, sum)| *sum > 0) {
        homes.entry(incident).or_default().push(text[&alert].clone());
    }
    let sorted = |mut all: Vec<(i64, String)>| {
        all.sort();
        all.into_iter().map(|(_, text)| text).collect()
    };
    homes.into_iter().map(|(id, all)| (id, sorted(all))).collect()
}

/// The incident that holds an alert.
fn home(archive: &Path, alert: &str) -> IncidentId {
    let homes = homes(archive);
    let found = homes.iter().find(|(_, all)| all.iter().any(|text| text == alert));
    *found.unwrap_or_else(|| panic!("{alert} in {homes:?}")).0
}

fn alert_id(archive: &Path, rule: &str) -> AlertId {
    let reader = reader(archive);
    let names = Arc::clone(reader.names());
    let mut alerts = reader.alerts(None).expect("alerts").map(|line| line.expect("an alert"));
    alerts.find(|alert| names.get(alert.rule) == rule).expect("it is there").alert_id
}

/// Decisions that no later one replaced.
fn decisions(archive: &Path, id: IncidentId) -> Vec<DecisionLine> {
    let lines = reader(archive).decisions(Some(Only::incidents([id]))).expect("decisions");
    let lines: Vec<DecisionLine> = lines.map(|line| line.expect("a decision")).collect();
    let replaced = |line: &DecisionLine| {
        lines.iter().any(|it| it.decision_id == line.decision_id && it.superseded_by.is_some())
    };
    lines.iter().filter(|line| !replaced(line)).cloned().collect()
}

/// A plan that follows one file.
struct World {
    folder: TempDir,
    flow: PathBuf,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let flow = asking_plan(&folder.path().join("plan"));
        let source = "tenant: default\nsources:\n  - {name: hand.jsonl, type: file, path: hand.jsonl}\n";
        let text = std::fs::read_to_string(&flow).expect("the plan");
        std::fs::write(&flow, text.replace("tenant: default\n", source)).expect("room");
        World { folder, flow }
    }

    fn write(&self, text: &str) {
        std::fs::write(self.folder.path().join("plan/hand.jsonl"), text).expect("room");
    }

    fn append(&self, text: &str) {
        let path = self.folder.path().join("plan/hand.jsonl");
        let mut file = std::fs::File::options().append(true).open(path).expect("the file");
        file.write_all(text.as_bytes()).expect("room");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `quell unlink`: the exit code, and what it says.
    fn unlink(&self, archive: &Path, id: IncidentId, what: &[&str]) -> (Option<i32>, String) {
        let mut command = quell();
        command.arg("unlink").arg(id.to_string()).args(what).args(["--by", "ada", "--archive"]).arg(archive);
        let output = command.arg("--flow").arg(&self.flow).output().expect("it starts");
        (output.status.code(), said(&output))
    }

    /// A live run that is told a word between two halves, and perhaps killed when it has heard it.
    fn live(&self, name: &str, more: &[&str], killed: bool, what: impl Fn(&Path) -> Vec<String>) -> PathBuf {
        let archive = self.path(name);
        self.write(&before());
        let mut live = Live::start(&self.flow, &archive, more);
        taken(&archive, 37);
        let id = home(&archive, "web-1 scan 0");
        assert_eq!(homes(&archive)[&id].len(), 6, "{:?}", homes(&archive));
        let what = what(&archive);
        let (code, text) = self.unlink(&archive, id, &what.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((code, text.contains("the run that is going on takes it")), (Some(0), true), "{text}");
        heard(&archive, "verdict");
        if killed {
            live.kill();
            live = Live::start(&self.flow, &archive, more);
            until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
        }
        self.append(&after());
        taken(&archive, 41);
        assert_eq!(count(&live.stop(), "divergences"), 0);
        held(&archive);
        archive
    }

    fn says_the_same(&self, archive: &Path, name: &str) {
        let again = self.path(name);
        done(&mut replay(&self.flow, &[archive], &again, &["--batch", "7"]));
        held(&again);
        assert_eq!(digest(&again), digest(archive));
    }
}

fn by_alert(archive: &Path) -> Vec<String> {
    vec!["--alert".into(), alert_id(archive, "login").to_string()]
}

#[test]
fn an_alert_that_is_not_related_parts_two_hosts() {
    let world = World::new();
    let archive = world.live("live", &[], false, by_alert);
    let id = home(&archive, "web-1 scan 0");
    let homes = homes(&archive);
    let other = home(&archive, "db-2 dump 240");
    let alone = home(&archive, "web-1 login 180");
    // The keeper had most alerts; each side goes on by itself.
    assert_eq!(
        homes[&id],
        ["web-1 scan 0", "web-1 shell 60", "web-1 root 120", "web-1 root 1000", "web-1 wipe 1060"]
    );
    assert_eq!(homes[&other], ["db-2 dump 240", "db-2 copy 300", "db-2 dump 960"]);
    assert_eq!(homes[&alone], ["web-1 login 180"]);
    let lines = versions(&archive, id);
    let numbers: Vec<u32> = lines.iter().map(|line| line.version).collect();
    assert_eq!(numbers, (1..=u32::try_from(lines.len()).expect("few")).collect::<Vec<_>>());
    let split = lines.iter().position(|line| line.state == IncidentState::Split).expect("it was split");
    assert_eq!(lines[split + 1].state, IncidentState::Open);
    assert_eq!((lines[split].alert_count, lines[split + 1].alert_count), (6, 3));
    for part in [other, alone] {
        let first = versions(&archive, part).remove(0);
        assert_eq!((first.version, first.succeeds, first.tick), (1, Some(id), lines[split].tick));
        let tick = first.tick.to_le_bytes();
        let rule = if part == other { "dump" } else { "login" };
        assert_eq!(part, IncidentId::of(&[&id.0, &tick, &alert_id(&archive, rule).0]), "named as it says");
    }
    // What was asked of the whole is asked no more, but of the parts.
    for part in [id, other] {
        let standing = decisions(&archive, part);
        assert_eq!(standing.len(), 1, "{standing:?}");
        assert_eq!(standing[0].ruling, Ruling::Escalate, "{standing:?}");
        assert!(standing[0].tick >= lines[split].tick, "{standing:?}");
    }
    let lines = reader(&archive).decisions(Some(Only::incidents([id]))).expect("decisions");
    let reasons = lines.map(|line| line.expect("one")).filter(|line| line.reason_detail.is_some());
    assert!(reasons.into_iter().any(|line| line.reason_detail.expect("a reason").contains("taken apart")));
    world.says_the_same(&archive, "again");
    let first = digest(&archive);
    assert_eq!(digest(&world.live("two", &["--workers", "2", "--batch", "3"], false, by_alert)), first);
    assert_eq!(digest(&world.live("killed", &[], true, by_alert)), first);
    world.says_the_same(&world.path("again"), "and again");
}
