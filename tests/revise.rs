//! `quell unlink`: an incident is taken apart by a word, live, after a crash, in the log's replay and after the end, alike.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::live::{Live, heard, taken, until};
use common::{asking_plan, count, digest, done, held, quell, replay, said, summary};
use quell::archive::{DecisionLine, IncidentLine, Only, Reader};
use quell::engine::log::Log;
use quell::record::{AlertId, IncidentId, IncidentState, InputKind, Names, Ruling};
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

#[test]
fn a_word_that_the_log_has_forgotten_was_said_all_the_same() {
    let world = World::new();
    let archive = world.live("kept", &["--snapshot-every-ms", "1"], true, by_alert);
    let forgotten = || {
        let log = Log::open(&archive).expect("a log");
        log.folded().expect("epochs") > 0 && log.words(InputKind::Verdict).expect("words").is_empty()
    };
    // On a busy machine a run may end before two snapshots lie behind the word: then it goes on, and keeps one at its end.
    for _ in (0..5).take_while(|_| !forgotten()) {
        let live = Live::start(&world.flow, &archive, &["--snapshot-every-ms", "1"]);
        until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
        assert_eq!(count(&live.stop(), "divergences"), 0);
    }
    let log = Log::open(&archive).expect("a log");
    assert!(log.folded().expect("epochs") > 0);
    assert!(log.words(InputKind::Verdict).expect("words").is_empty(), "the archive has it");
    let id = home(&archive, "web-1 scan 0");
    let what = by_alert(&archive);
    let (code, text) = world.unlink(&archive, id, &what.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((code, text.contains("said before")), (Some(0), true), "{text}");
    world.says_the_same(&archive, "again");
    let (again, other) = (world.path("other"), archive.display().to_string());
    let told = summary(&mut replay(&world.flow, &[&archive], &again, &["--diff", &other]));
    assert_eq!(told["diff"]["equal"], true, "{told}");
    let explained = done(quell().args(["explain", &id.to_string(), "--archive"]).arg(&archive));
    assert!(said(&explained).contains("web-1"), "{}", said(&explained));
    // It goes on, too: what it took is not taken again.
    let live = Live::start(&world.flow, &archive, &["--snapshot-every-ms", "1"]);
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    assert_eq!(count(&live.stop(), "divergences"), 0);
    held(&archive);
    world.says_the_same(&archive, "and again");
}

#[test]
fn an_entity_or_a_link_parts_them_too() {
    let world = World::new();
    let entity = |_: &Path| vec!["--entity".to_owned(), "user:mallory".to_owned()];
    let link = |archive: &Path| {
        let ends = ["dump", "login"].map(|rule| alert_id(archive, rule).to_string());
        [vec!["--link".to_owned()], ends.to_vec()].concat()
    };
    let by_entity = world.live("entity", &[], false, entity);
    let by_link = world.live("link", &[], true, link);
    for archive in [&by_entity, &by_link] {
        let homes = homes(archive);
        let (web, db) = (home(archive, "web-1 scan 0"), home(archive, "db-2 copy 300"));
        let kept = ["web-1 scan 0", "web-1 shell 60", "web-1 root 120", "web-1 login 180"];
        assert_eq!(homes[&web], [&kept[..], &["web-1 root 1000", "web-1 wipe 1060"]].concat());
        assert_eq!(homes[&db], ["db-2 dump 240", "db-2 copy 300", "db-2 dump 960"]);
        let states: Vec<_> = versions(archive, web).iter().map(|line| line.state).collect();
        assert!(states.contains(&IncidentState::Split), "{states:?}");
        world.says_the_same(archive, &format!("{}-again", archive.file_name().expect("a name").display()));
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_what_is_over_is_taken_apart_at_once() {
    let world = World::new();
    world.write(&(before() + &after()));
    let archive = world.path("over");
    done(&mut replay(&world.flow, &[&world.path("plan/hand.jsonl")], &archive, &[]));
    let id = home(&archive, "web-1 scan 0");
    let untouched = digest(&archive);
    let (login, dump, noise) =
        (alert_id(&archive, "login"), alert_id(&archive, "dump"), alert_id(&archive, "hourly"));
    let far = alert_id(&archive, "scan").to_string();
    let refused = |id: IncidentId, what: &[&str], says: &str| {
        let (code, text) = world.unlink(&archive, id, what);
        assert_eq!((code, text.contains(says)), (Some(1), true), "{what:?}: {text}");
    };
    refused(IncidentId::of(&[b"no"]), &["--entity", "host:web-1"], "no incident");
    refused(id, &["--alert", &noise.to_string()], "is not in it");
    refused(id, &["--entity", "host:noisy"], "no link in it is by that entity");
    refused(id, &["--entity", "nonsense"], "is no entity");
    refused(id, &["--link", &far, &dump.to_string()], "no link joins");
    let alone = home(&archive, "noisy hourly 900");
    if homes(&archive)[&alone].len() == 1 {
        refused(alone, &["--alert", &noise.to_string()], "is not in it");
    }
    let (code, text) = world.unlink(&archive, id, &[]);
    assert_eq!((code, text.contains("--alert")), (Some(2), true), "{text}");
    assert_eq!(digest(&archive), untouched, "what was refused left nothing");

    let (code, text) = world.unlink(&archive, id, &["--alert", &login.to_string()]);
    assert_eq!((code, text.contains("the archive tells its parts")), (Some(0), true), "{text}");
    held(&archive);
    let states: Vec<_> = versions(&archive, id).iter().map(|line| (line.version, line.state)).collect();
    assert!(states.iter().any(|(_, state)| *state == IncidentState::Split), "{states:?}");
    assert!(states.last().is_some_and(|(_, state)| *state != IncidentState::Split), "{states:?}");
    assert_eq!(homes(&archive)[&home(&archive, "web-1 login 180")], ["web-1 login 180"]);
    world.says_the_same(&archive, "again");
    let (code, text) = world.unlink(&archive, id, &["--alert", &login.to_string()]);
    assert_eq!((code, text.contains("said before")), (Some(0), true), "{text}");
    // Once more, on what is left of it; as JSON.
    let mut command = quell();
    command.args(["unlink", &id.to_string(), "--alert", &far, "--by", "bo", "--output", "json", "--archive"]);
    let said = done(command.arg(&archive).arg("--flow").arg(&world.flow));
    let told: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!((told["taken"].as_str(), told["parts"].as_array().map(Vec::len)), (Some("now"), Some(2)));
    world.says_the_same(&archive, "and again");
}

#[test]
fn words_that_wait_are_taken_one_by_one() {
    let world = World::new();
    let archive = world.path("live");
    world.write(&before());
    let live = Live::start(&world.flow, &archive, &[]);
    taken(&archive, 37);
    let id = home(&archive, "web-1 scan 0");
    live.kill();
    let (scan, login) = (alert_id(&archive, "scan").to_string(), alert_id(&archive, "login").to_string());
    for alert in [&login, &scan] {
        let (code, text) = world.unlink(&archive, id, &["--alert", alert]);
        assert_eq!((code, text.contains("when it goes on")), (Some(0), true), "{text}");
    }
    let verdict = ["verdict", &id.to_string(), "true_positive", "--by", "ada", "--archive"];
    done(quell().args(verdict).arg(&archive));
    let live = Live::start(&world.flow, &archive, &[]);
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    assert_eq!(count(&live.stop(), "divergences"), 0);
    held(&archive);
    assert_eq!(homes(&archive)[&home(&archive, "web-1 root 120")], ["web-1 shell 60", "web-1 root 120"]);
    assert_eq!(homes(&archive)[&home(&archive, "web-1 scan 0")], ["web-1 scan 0"]);
    world.says_the_same(&archive, "again");
    // A run that is over goes on with what it was told.
    let live = Live::start(&world.flow, &archive, &[]);
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    assert_eq!(count(&live.stop(), "divergences"), 0);
    held(&archive);
}

#[test]
fn what_was_done_stays_and_says_where_its_ground_is_gone() {
    let world = World::new();
    // The other side becomes the greater one, and keeps the name.
    let more = [("sell", 310), ("send", 320), ("wipe", 330)];
    let more: String = more.iter().map(|(rule, at)| line(ATTACK + at, "db-2", rule, "")).collect();
    world.write(&(before() + &more));
    let archive = world.path("over");
    done(&mut replay(&world.flow, &[&world.path("plan/hand.jsonl")], &archive, &[]));
    let id = home(&archive, "web-1 scan 0");
    let asked = decisions(&archive, id).remove(0);
    assert_eq!(asked.ruling, Ruling::Escalate);
    let approve = ["approve", &asked.decision_id.to_string(), "--by", "ada", "--archive"];
    done(quell().args(approve).arg(&archive).arg("--flow").arg(&world.flow));
    let actions = || {
        let lines = reader(&archive).actions(Some(Only::incidents([id]))).expect("actions");
        lines.map(|line| line.expect("one")).collect::<Vec<_>>()
    };
    let before = actions();
    let told = |what: &[&str]| {
        let mut explain = quell();
        explain.args(["explain", &id.to_string(), "--archive"]).arg(&archive).args(what);
        String::from_utf8(done(&mut explain).stdout).expect("text")
    };
    assert!(!told(&[]).contains("withdrawn ground"));
    let what = by_alert(&archive);
    let (code, text) = world.unlink(&archive, id, &[&what[0], &what[1]]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(actions(), before, "what was done is not taken back");
    let gone: Vec<_> = before.iter().filter(|line| line.target == "host:web-1" && line.seq == 0).collect();
    assert!(!gone.is_empty(), "{before:?}");
    assert!(homes(&archive)[&id].iter().all(|alert| alert.starts_with("db-2")), "{:?}", homes(&archive)[&id]);
    assert_eq!(told(&[]).matches("withdrawn ground").count(), gone.len(), "{}", told(&[]));
    assert!(told(&[]).contains("ada said that they are not related"), "{}", told(&[]));
    let json: serde_json::Value = serde_json::from_str(&told(&["--output", "json"])).expect("JSON");
    assert_eq!(json["withdrawn"].as_array().map(Vec::len), Some(gone.len()), "{json}");
    world.says_the_same(&archive, "again");
}
