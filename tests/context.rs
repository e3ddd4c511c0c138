//! What is known beside alerts, through the real binary: a changed row of each table ranks what it touches again; what our
//! own archive has seen before; what is unusual at a tenant. All of it again from the archive, and at any number of workers.

mod common;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::live::{Live, heard, taken, until};
use common::{agrees, asking_plan, digest, done, quell, replay, summary};
use quell::archive::{IncidentLine, Reader};
use quell::record::{Entity, InputKind, Names};

/// Noon of a day.
const NOON: i64 = 1_767_700_800;
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// An alert that is ranked by itself.
fn line(id: &str, time: i64, severity: &str, entities: &[(&str, &str)]) -> String {
    let time = jiff::Timestamp::from_second(time).expect("a time");
    let mut text = format!(
        "{{\"id\":\"{id}\",\"time\":\"{time}\",\"product\":\"edr\",\"rule_id\":\"R{id}\",\"rule_name\":\"Rule {id}\",\
         \"severity\":\"{severity}\",\"technique\":\"T1059\""
    );
    for (key, value) in entities {
        write!(text, ",\"{key}\":\"{value}\"").expect("memory");
    }
    text + "}\n"
}

/// A plan that follows `alerts.jsonl` beside it, with all tables beside it too.
fn following(folder: &Path, days: u16) -> PathBuf {
    let flow = asking_plan(folder);
    let mut text = std::fs::read_to_string(&flow).expect("the plan");
    text = text.replace(
        "tenant: default\n",
        "tenant: default\nsources:\n  - {name: alerts.jsonl, type: file, path: alerts.jsonl}\n",
    );
    text = text.replace("sightings: {days: 0}", &format!("sightings: {{days: {days}}}"));
    for (table, head) in HEADS {
        text = text.replace(&format!("{table}: []"), &format!("{table}: [{table}.csv]"));
        std::fs::write(folder.join(format!("{table}.csv")), format!("{head}\n")).expect("room");
    }
    std::fs::write(&flow, text).expect("room for the plan");
    flow
}

const HEADS: [(&str, &str); 5] = [
    ("assets", "entity,owner,criticality,exposed,protected"),
    ("identities", "entity,privilege"),
    ("indicators", "entity,confidence"),
    ("zones", "subnet,zone,exposure,protected"),
    ("vulnerabilities", "entity,cve,base_score,is_exploit_available"),
];

/// Versions of incidents, in order.
fn versions(archive: &Path) -> (Vec<IncidentLine>, Arc<Names>) {
    let reader = Reader::open(archive, Arc::new(Names::default())).expect("an archive");
    let lines = reader.incidents(None).expect("incidents").map(|line| line.expect("a line"));
    let mut lines: Vec<IncidentLine> = lines.collect();
    lines.sort_by_key(|line| (line.incident_id, line.version));
    (lines, Arc::clone(reader.names()))
}

/// The last version of the incident with an entity.
fn of(archive: &Path, entity: &str) -> (IncidentLine, Arc<Names>) {
    let (lines, names) = versions(archive);
    let has = |line: &&IncidentLine| line.entities.iter().any(|it| it.text(&names) == entity);
    (lines.iter().rfind(has).unwrap_or_else(|| panic!("an incident about {entity}")).clone(), names)
}

fn inputs(archive: &Path, kind: InputKind) -> Vec<String> {
    let reader = Reader::open(archive, Arc::new(Names::default())).expect("an archive");
    let lines = reader.inputs(None).expect("inputs").map(|line| line.expect("a line"));
    lines.filter(|line| line.kind == kind).map(|line| line.body).collect()
}

/// The archive replayed says the same, whatever workers and batches.
fn says_the_same(flow: &Path, archive: &Path, folder: &Path) {
    for (workers, batch) in [("1", "1000"), ("3", "7")] {
        let to = folder.join(format!("again by {workers}"));
        let more = ["--batch", batch, "--workers", workers];
        agrees(&summary(&mut replay(flow, &[archive], &to, &more)), &to);
        assert_eq!(digest(&to), digest(archive), "{workers} workers");
    }
}

/// `quell explain` says what each row said.
fn explained(archive: &Path) {
    for (n, says) in [
        (0, "owned by Ada"),
        (1, "privilege 2 of 2"),
        (2, "indicators, 90 % sure: ip:10.1.2.7"),
        (3, "in zones plant"),
        (4, "vulnerable: CVE-2026-0001 (1 in all, CVSS up to 9.8, an exploit is known)"),
    ] {
        let id = of(archive, &format!("host:h{n}")).0.incident_id.to_string();
        let told = done(quell().arg("explain").arg(&id).arg("--archive").arg(archive));
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains(says), "{says}: {told}");
    }
}

#[test]
fn a_changed_row_of_each_table_is_told_of_what_it_touches() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plan, archive) = (folder.path().join("plan"), folder.path().join("live"));
    let flow = following(&plan, 0);
    let mut alerts = String::new();
    for n in 0..6 {
        let (host, user, ip) = (format!("h{n}"), format!("u{n}"), format!("10.1.{n}.7"));
        let about = [("host", host.as_str()), ("user", user.as_str()), ("src_ip", ip.as_str())];
        alerts += &line(&n.to_string(), NOON + n, "critical", &about);
    }
    alerts += &line("end", NOON + 90, "low", &[("host", "other")]);
    std::fs::write(plan.join("alerts.jsonl"), alerts).expect("room");
    let live = Live::start(&flow, &archive, &["--workers", "2"]);
    taken(&archive, 7);
    let rows = [
        ("assets", "host:h0,Ada,4,true,false"),
        ("identities", "user:u1,2"),
        ("indicators", "ip:10.1.2.7,90"),
        ("zones", "10.1.3.0/24,plant,dmz,true"),
        ("vulnerabilities", "host:h4,CVE-2026-0001,9.8,true"),
    ];
    for (n, (table, row)) in rows.iter().enumerate() {
        let head = HEADS.iter().find(|(name, _)| name == table).expect("a table").1;
        std::fs::write(plan.join(format!("{table}.csv")), format!("{head}\n{row}\n")).expect("room");
        until("the table is read again", || (heard(&archive, "context") > n + 1).then_some(()));
    }
    agrees(&live.stop(), &archive);
    let (lines, names) = versions(&archive);
    let count = |host: &str| {
        let has = |line: &&IncidentLine| line.entities.iter().any(|it| it.text(&names) == host);
        lines.iter().filter(has).count()
    };
    let untouched = count("host:h5");
    for n in 0..5 {
        assert_eq!(count(&format!("host:h{n}")), untouched + 1, "one version more of h{n}");
    }
    let last = |n: usize| of(&archive, &format!("host:h{n}")).0;
    let texts = |of: &[quell::record::Sym]| of.iter().map(|sym| names.get(*sym)).collect::<Vec<_>>();
    let asset = last(0);
    assert_eq!((asset.criticality, asset.exposed), (4, true));
    assert_eq!(last(1).privilege, 2);
    assert_eq!((last(2).indicator, last(2).indicator_count), (90, 1));
    let (zoned, zone_names) = of(&archive, "host:h3");
    let protected: Vec<String> =
        zoned.protected.iter().map(|entity: &Entity| entity.text(&zone_names)).collect();
    assert_eq!(zone_names.get(zoned.zones[0]), "plant");
    assert_eq!((zoned.exposed, protected), (true, vec!["ip:10.1.3.7".to_owned()]));
    let flawed = last(4);
    assert_eq!((flawed.vulnerability_count, flawed.base_score, flawed.is_exploit_available), (1, 98, true));
    assert!(texts(&last(5).zones).is_empty() && last(5).vulnerability_count == 0);
    explained(&archive);
    says_the_same(&flow, &archive, folder.path());
}

#[test]
fn what_the_archive_has_seen_before_is_told_and_logged() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plan, archive) = (folder.path().join("plan"), folder.path().join("live"));
    let flow = following(&plan, 30);
    std::fs::write(plan.join("indicators.csv"), "entity,confidence\nip:203.0.113.50,90\n").expect("room");
    let mut before = String::new();
    for n in 0..5 {
        let about = [("host", "h1"), ("src_ip", "203.0.113.50")];
        before += &line(&format!("a{n}"), NOON + n * 60, "low", &about);
    }
    before += &line("b", NOON + 400, "low", &[("host", "h2"), ("src_ip", "203.0.113.5")]);
    before += "{\"broken\": \"203.0.113.50\"\n";
    // Flows are no alerts, and in no incident; that the address was in them is known.
    for time in [NOON - 100, NOON + 500] {
        let time = jiff::Timestamp::from_second(time).expect("a time");
        let ends = "\"src_ip\":\"10.0.0.9\",\"dest_ip\":\"203.0.113.50\"";
        writeln!(before, "{{\"timestamp\":\"{time}\",\"event_type\":\"flow\",{ends}}}").expect("memory");
    }
    let file = plan.join("alerts.jsonl");
    std::fs::write(&file, before).expect("room");
    let live = Live::start(&flow, &archive, &[]);
    taken(&archive, 9);
    let later = NOON + DAY;
    let mut after = line("c", later, "critical", &[("host", "h3"), ("dst_ip", "203.0.113.50")]);
    after += &line("d", later + 600, "low", &[("host", "h4")]);
    std::fs::File::options().append(true).open(&file).expect("it").write_all(after.as_bytes()).expect("room");
    until("it is looked up", || Some(heard(&archive, "sighting")).filter(|n| *n > 0));
    taken(&archive, 11);
    // What was found is in the log: the next process does not ask again.
    live.kill();
    let live = Live::start(&flow, &archive, &[]);
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    agrees(&live.stop(), &archive);
    let (line, names) = of(&archive, "host:h3");
    let sighted: Vec<String> = line.sighted.iter().map(|entity| entity.text(&names)).collect();
    assert_eq!((line.sightings, sighted), (8, vec!["ip:203.0.113.50".to_owned()]));
    assert_eq!(line.first_sighted_time.map(|time| time.0), Some((NOON - 100) * 1000));
    assert_eq!(of(&archive, "host:h4").0.sightings, 0);
    let said = inputs(&archive, InputKind::Sighting);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("\"alerts\":5,\"rejects\":1,\"ignored\":2"), "{said:?}");
    let id = line.incident_id.to_string();
    let told = done(quell().arg("explain").arg(&id).arg("--archive").arg(&archive));
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("seen before, 8 times"), "{told}");
    says_the_same(&flow, &archive, folder.path());
}

#[test]
fn what_is_unusual_is_told_whatever_workers_and_batches() {
    let folder = tempfile::tempdir().expect("a folder");
    let flow = following(&folder.path().join("plan"), 0);
    let mut alerts = String::new();
    for day in 0..14 {
        for hour in -4..5 {
            let time = NOON + day * DAY + hour * HOUR;
            let id = format!("{day}.{hour}");
            alerts += &line(&format!("a{id}"), time, "low", &[("host", "desk-1"), ("user", "ada")]);
            alerts += &line(&format!("b{id}"), time + 60, "low", &[("host", "desk-2"), ("user", "bob")]);
        }
    }
    let night = NOON + 14 * DAY - 9 * HOUR;
    alerts += &line("night", night, "critical", &[("host", "desk-2"), ("user", "ada")]);
    alerts += &line("new", night + 9 * HOUR, "critical", &[("host", "desk-9"), ("user", "mallory")]);
    let file = folder.path().join("alerts.jsonl");
    std::fs::write(&file, alerts).expect("room");
    let at = |name: &str| folder.path().join(name);
    done(&mut replay(&flow, &[&file], &at("one"), &[]));
    done(&mut replay(&flow, &[&file], &at("three"), &["--workers", "3", "--batch", "5"]));
    assert_eq!(digest(&at("one")), digest(&at("three")));
    done(&mut replay(&flow, &[&at("one")], &at("again"), &["--workers", "3"]));
    assert_eq!(digest(&at("one")), digest(&at("again")));
    let (lines, names) = versions(&at("one"));
    let has = |line: &&IncidentLine, entity: &str| line.entities.iter().any(|it| it.text(&names) == entity);
    let strange = lines.iter().find(|line| line.new_pair).expect("a known user on another's host");
    assert!(has(&strange, "user:ada") && has(&strange, "host:desk-2"));
    assert!(strange.unusual_hour > 1_000 && strange.rarity == 0, "{strange:?}");
    let rare = lines.iter().find(|line| line.rarity > 0).expect("a stranger");
    assert!(has(&rare, "user:mallory"), "{rare:?}");
    let id = strange.incident_id.to_string();
    let told = done(quell().arg("explain").arg(&id).arg("--archive").arg(at("one")));
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("a user on a host for the first time"), "{told}");
}

#[test]
fn archives_of_earlier_runs_are_looked_through_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plan, earlier) = (folder.path().join("plan"), folder.path().join("earlier"));
    let flow = following(&plan, 2);
    std::fs::write(plan.join("indicators.csv"), "entity,confidence\nip:203.0.113.50,90\n").expect("room");
    let about = [("host", "h1"), ("src_ip", "203.0.113.50")];
    // Three days before, out of reach; two days, and one day before.
    let before: String = (1..4).map(|n| line(&format!("a{n}"), NOON - n * DAY, "low", &about)).collect();
    let old = folder.path().join("old.jsonl");
    std::fs::write(&old, before).expect("room");
    done(&mut replay(&flow, &[&old], &earlier, &[]));
    let text = std::fs::read_to_string(&flow).expect("the plan");
    let text = text.replace("sightings: {days: 2}", "sightings: {days: 2, archives: [../earlier]}");
    std::fs::write(&flow, text).expect("room");
    let now = line("c", NOON, "critical", &about) + &line("d", NOON + 90, "low", &[("host", "h4")]);
    std::fs::write(plan.join("alerts.jsonl"), now).expect("room");
    let archive = folder.path().join("live");
    let live = Live::start(&flow, &archive, &[]);
    until("it is looked up", || Some(heard(&archive, "sighting")).filter(|n| *n > 0));
    agrees(&live.stop(), &archive);
    assert_eq!(of(&archive, "host:h1").0.sightings, 2);
    let said = inputs(&archive, InputKind::Sighting);
    assert!(said.len() == 1 && said[0].contains("\"days\":2,\"alerts\":2"), "{said:?}");
    let text = std::fs::read_to_string(&flow).expect("the plan");
    std::fs::write(&flow, text.replace("days: 2, archives: [../earlier]", "days: 400, archives: [nowhere]"))
        .expect("room");
    let output = quell().args(["check", "--flow"]).arg(&flow).output().expect("it starts");
    let told = common::said(&output);
    assert!(
        output.status.code() == Some(3) && told.contains("400 days") && told.contains("nowhere"),
        "{told}"
    );
}

#[test]
fn a_bad_row_is_told_with_its_place_and_cure() {
    let folder = tempfile::tempdir().expect("a folder");
    let flow = following(folder.path(), 0);
    let zones = "subnet,zone,exposure\n10.0.0.0/33,a,internal\n10.0.0.0/8,,internal\n10.0.0.0/8,b,inside\n";
    std::fs::write(folder.path().join("zones.csv"), zones).expect("room");
    let flaws = "entity,cve,base_score\nhost:a,,1\nhost:a,CVE-1,11\n";
    std::fs::write(folder.path().join("vulnerabilities.csv"), flaws).expect("room");
    let output = quell().args(["check", "--flow"]).arg(&flow).output().expect("it starts");
    assert_eq!(output.status.code(), Some(3));
    let said = common::said(&output);
    for part in [
        "zones.csv:2",
        "zones.csv:3",
        "zones.csv:4",
        "vulnerabilities.csv:2",
        "vulnerabilities.csv:3",
        "CIDR",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}
