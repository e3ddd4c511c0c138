//! What the tests of withdrawn ground share: a plan of few playbooks, hosts and addresses by hand, a site that takes orders.

#![allow(unreachable_pub, reason = "as in `common`")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use quell::archive::{ActionLine, DecisionLine, Reader};
use quell::record::{ActionStatus, AlertId, DecisionId, IncidentId, Names};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::world::calling;
use crate::common::{asking_plan, digest, done, held, quell, replay};

const BEGIN: i64 = 1_767_700_000;
const ATTACK: i64 = 30 * 3600;

/// One alert, seconds after the attack began.
#[derive(Clone, Copy)]
pub struct Line {
    pub host: &'static str,
    pub rule: &'static str,
    pub user: &'static str,
    pub ip: &'static str,
    pub severity: &'static str,
    pub second: i64,
}

impl Default for Line {
    fn default() -> Line {
        Line { host: "", rule: "", user: "", ip: "", severity: "high", second: 0 }
    }
}

impl Line {
    pub fn with(self, rule: &'static str, second: i64) -> Line {
        Line { rule, second, ..self }
    }

    pub fn at(self, second: i64) -> String {
        Line { second, ..self }.text()
    }

    pub fn text(self) -> String {
        let Line { host, rule, user, ip, severity, second } = self;
        let time = jiff::Timestamp::from_second(BEGIN + ATTACK + second).expect("a time");
        let field = |name: &str, value: &str| {
            if value.is_empty() { String::new() } else { format!("\"{name}\":\"{value}\",") }
        };
        format!(
            "{{\"id\":\"{host}-{rule}-{second}\",\"time\":\"{time}\",\"product\":\"edr\",\"rule_id\":\"{rule}\",\
             \"rule_name\":\"{rule}\",\"severity\":\"{severity}\",\"technique\":\"T1110\",{}{}\"host\":\"{host}\"}}\n",
            field("user", user),
            field("src_ip", ip)
        )
    }
}

/// The noise of a host that nobody attacks.
pub fn noise(second: i64) -> String {
    Line { host: "noisy", rule: "hourly", severity: "low", ..Line::default() }.at(second)
}

/// Thirty hours of it.
pub fn noise_before() -> String {
    (0..30).map(|hour| noise(hour * 3600 - ATTACK)).collect()
}

/// A plan that may block addresses, and a site that does it.
pub struct World {
    folder: TempDir,
    pub flow: PathBuf,
    pub site: Site,
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).expect("a file of the plan");
    assert!(text.contains(from), "{} has {from:?}", path.display());
    std::fs::write(path, text.replace(from, to)).expect("room");
}

impl World {
    /// It asks people about everything.
    pub fn asking() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let flow = asking_plan(&folder.path().join("plan"));
        for entry in std::fs::read_dir(folder.path().join("plan/playbooks")).expect("playbooks") {
            let path = entry.expect("one").path();
            if !path.ends_with("credential-stuffing-block.json") {
                std::fs::remove_file(path).expect("it is there");
            }
        }
        edit(&flow, "indicators: []", "indicators: [indicators.csv]");
        let source = "tenant: default\nsources:\n  - {name: hand.jsonl, type: file, path: hand.jsonl}\n";
        edit(&flow, "tenant: default\n", source);
        let world = World { flow, folder, site: Site::start() };
        edit(&world.flow, "never_link: []", "never_link: [never.csv]");
        world.indicators(&[]);
        world.never_link(&[]);
        world
    }

    /// It blocks addresses by itself, live at a site, in a replay of files at a simulated one; and undoes as `on` says.
    pub fn acting(on: &str) -> World {
        let world = World::asking();
        let policy = world.path("plan/policies/default.yml");
        let (from, to) =
            ("execute: { score: 0.80, confidence: 0.90 }", "execute: { score: 0.40, confidence: 0 }");
        edit(&policy, from, to);
        edit(&policy, "withdrawn_ground: ask", &format!("withdrawn_ground: {on}"));
        calling(&world.flow, world.site.address());
        world
    }

    /// A step has one target at most.
    pub fn with_one_target(self) -> World {
        edit(&self.path("plan/policies/default.yml"), "targets_max: 20", "targets_max: 1");
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn hand(&self) -> PathBuf {
        self.path("plan/hand.jsonl")
    }

    pub fn write(&self, text: &str) {
        std::fs::write(self.hand(), text).expect("room");
    }

    pub fn append(&self, text: &str) {
        let mut file = std::fs::File::options().append(true).open(self.hand()).expect("the file");
        file.write_all(text.as_bytes()).expect("room");
    }

    /// The table of indicators.
    pub fn indicators(&self, entities: &[&str]) {
        self.table("indicators.csv", "entity,confidence", entities);
    }

    /// The list of entities that never link.
    pub fn never_link(&self, entities: &[&str]) {
        self.table("never.csv", "entity,why", entities);
    }

    fn table(&self, name: &str, head: &str, entities: &[&str]) {
        let mut text = format!("{head}\n");
        for entity in entities {
            writeln!(text, "{entity},90").expect("memory");
        }
        std::fs::write(self.path("plan").join(name), text).expect("room");
    }

    /// A run over the file that is over, with its orders carried out in a simulated site; the incident of an alert.
    pub fn replayed(&self, archive: &Path, alert: &str) -> IncidentId {
        done(&mut self.simulated(&[&self.hand()], archive));
        home(archive, alert)
    }

    /// The same in the file's own order, by three workers, a record at a time.
    pub fn replayed_as_it_came(&self, archive: &Path) {
        let mut command = self.simulated(&[&self.hand()], archive);
        done(command.args(["--arrival", "--workers", "3", "--batch", "1"]));
    }

    fn simulated(&self, inputs: &[&Path], archive: &Path) -> std::process::Command {
        let environment = r#"{"seed": 7, "analyst": {"coverage": 0.0, "error": 0.0, "delay_s": [1, 1]}, "success": [], "otherwise": 1.0}"#;
        let path = self.path("environment.json");
        std::fs::write(&path, environment).expect("room");
        let mut command = replay(&self.flow, inputs, archive, &[]);
        command.arg("--environment").arg(path);
        command
    }

    pub fn unlink(&self, archive: &Path, id: IncidentId, what: &[&str]) {
        let mut command = quell();
        command.arg("unlink").arg(id.to_string()).args(what).args(["--by", "ada", "--archive"]).arg(archive);
        done(command.arg("--flow").arg(&self.flow));
    }

    pub fn approve(&self, archive: &Path, id: DecisionId, approved: bool) {
        let mut command = quell();
        command.args([
            if approved { "approve" } else { "deny" },
            &id.to_string(),
            "--by",
            "ada",
            "--archive",
        ]);
        done(command.arg(archive).arg("--flow").arg(&self.flow));
    }

    pub fn explain(&self, archive: &Path, id: &str) -> String {
        let mut command = quell();
        command.args(["explain", id, "--archive"]).arg(archive).arg("--flow").arg(&self.flow);
        String::from_utf8(done(&mut command).stdout).expect("text")
    }

    /// The archive is replayed, and tells the same; nobody is called for it.
    pub fn says_the_same(&self, archive: &Path, name: &str) {
        let (again, calls) = (self.path(name), self.site.calls());
        let log = quell::engine::log::Log::open(archive).expect("a log");
        if log.meta("executor").expect("it").is_some() {
            done(&mut self.simulated(&[archive], &again));
        } else {
            done(&mut replay(&self.flow, &[archive], &again, &["--batch", "7", "--workers", "3"]));
        }
        held(&again);
        assert_eq!(digest(&again), digest(archive));
        assert_eq!(self.site.calls(), calls);
    }
}

fn reader(archive: &Path) -> Reader {
    Reader::open(archive, Arc::new(Names::default())).expect("an archive")
}

/// All rows of actions.
pub fn actions(archive: &Path) -> Vec<ActionLine> {
    reader(archive).actions(None).expect("actions").map(|line| line.expect("one")).collect()
}

/// Rows that say that something was undone.
pub fn undone(archive: &Path) -> Vec<ActionLine> {
    actions(archive).into_iter().filter(|line| line.status == ActionStatus::Undone).collect()
}

/// Decisions as they were said.
pub fn decisions(archive: &Path) -> Vec<DecisionLine> {
    let lines = reader(archive).decisions(None).expect("decisions").map(|line| line.expect("one"));
    lines.filter(|line| line.superseded_by.is_none()).collect()
}

/// Those that no later one replaced.
pub fn standing(archive: &Path) -> Vec<DecisionLine> {
    let lines = reader(archive).decisions(None).expect("decisions").map(|line| line.expect("one"));
    let lines: Vec<DecisionLine> = lines.collect();
    let replaced: BTreeSet<DecisionId> =
        lines.iter().filter(|line| line.superseded_by.is_some()).map(|line| line.decision_id).collect();
    lines.into_iter().filter(|line| !replaced.contains(&line.decision_id)).collect()
}

pub fn alert_id(archive: &Path, rule: &str) -> AlertId {
    let reader = reader(archive);
    let names = Arc::clone(reader.names());
    let mut alerts = reader.alerts(None).expect("alerts").map(|line| line.expect("an alert"));
    alerts.find(|alert| names.get(alert.rule) == rule).expect("it is there").alert_id
}

/// The incident that holds an alert, written as `host rule second`.
pub fn home(archive: &Path, alert: &str) -> IncidentId {
    let words: Vec<&str> = alert.split(' ').collect();
    let vendor = words.join("-");
    let id = AlertId::of(&[b"default", b"edr", vendor.as_bytes()]);
    let mut sums: BTreeMap<IncidentId, i64> = BTreeMap::new();
    for member in reader(archive).members(None).expect("members").map(|line| line.expect("one")) {
        if member.alert_id == id {
            *sums.entry(member.incident_id).or_default() += member.diff;
        }
    }
    let found = sums.into_iter().find(|(_, sum)| *sum > 0);
    found.unwrap_or_else(|| panic!("{alert} is in no incident")).0
}

/// Digests of what was settled: without where records lay, and without what came in beside them.
pub fn tables(archive: &Path) -> BTreeMap<String, String> {
    let mut all = digest(archive);
    all.retain(|table, _| {
        ["incidents", "members", "links", "candidates", "decisions", "actions", "outcomes"]
            .contains(&&**table)
    });
    assert_eq!(all.len(), 7);
    all
}

/// A site that takes orders over HTTP, and remembers them; it may hang on what undoes.
pub struct Site {
    address: std::net::SocketAddr,
    orders: Arc<Mutex<Vec<Value>>>,
    hangs: Arc<AtomicBool>,
}

impl Site {
    fn start() -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("an address");
        let (orders, hangs) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<AtomicBool>::default());
        let (seen, hang) = (Arc::clone(&orders), Arc::clone(&hangs));
        // It lives as long as the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let (seen, hang) = (Arc::clone(&seen), Arc::clone(&hang));
                thread::spawn(move || carry_out(&stream, &seen, &hang));
            }
        });
        Site { address, orders, hangs }
    }

    fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// The next order that undoes something is never answered.
    pub fn hang_on_undo(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }

    /// Whatever was ordered so far is another run's.
    pub fn forget(&self) {
        self.orders.lock().expect("no panic").clear();
    }

    fn all(&self) -> Vec<Value> {
        self.orders.lock().expect("no panic").clone()
    }

    pub fn calls(&self) -> usize {
        self.all().len()
    }

    pub fn undos(&self) -> usize {
        self.all().iter().filter(|order| !order["undo_of"].is_null()).count()
    }

    /// Orders of a verb, as `verb target`, sorted.
    pub fn orders(&self, verb: &str) -> Vec<String> {
        let all = self.all();
        let own = all.iter().filter(|order| order["verb"] == verb);
        let mut own: Vec<String> =
            own.map(|order| format!("{verb} {}", order["target"].as_str().expect("a target"))).collect();
        own.sort();
        own
    }

    /// The distinct ids of orders of a verb.
    pub fn keys(&self, verb: &str) -> BTreeSet<String> {
        let all = self.all();
        all.iter().filter(|order| order["verb"] == verb).map(|order| order["action_id"].to_string()).collect()
    }
}

fn carry_out(stream: &TcpStream, seen: &Mutex<Vec<Value>>, hangs: &AtomicBool) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? <= 2 {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let order: Value = serde_json::from_slice(&body).ok()?;
    let undoes = !order["undo_of"].is_null();
    seen.lock().ok()?.push(order);
    if undoes && hangs.swap(false, Ordering::SeqCst) {
        thread::sleep(Duration::from_mins(1));
        return None;
    }
    let mut answer = stream;
    answer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()
}
