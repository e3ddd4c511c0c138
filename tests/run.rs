//! `quell run`: what it takes live is what a replay of the same records gives; it ends in order, and a kill costs nothing.

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::live::{Live, NDJSON, heard, post, posted, taken, until};
use common::{acting_plan, agrees, copy, count, digest, done, edges, held, quell, replay, root, said, site};
use quell::archive::{DecisionLine, IncidentLine, Reader};
use quell::record::{IncidentId, IncidentState, InputKind, Names, Ruling};

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file of the test")
}

/// A plan whose sources are these lines, and nothing else than the project's own.
fn plan(folder: &Path, sources: &str) -> PathBuf {
    copy(&root().join("dataflows"), folder);
    let path = folder.join("pipeline.yml");
    let whole = text(&path).replace("tenant: default\n", &format!("tenant: default\nsources:\n{sources}\n"));
    // What the tests wait for must not depend on which model is shipped.
    let whole = whole.replace("models: ../models/ranker\n", "");
    std::fs::write(&path, whole).expect("room for the plan");
    path
}

#[test]
fn files_that_grow_give_what_their_replay_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let (days, plans) = (folder.path().join("site"), folder.path().join("plan"));
    site(&days, 1_500, 7);
    let flow = acting_plan(&plans, &days, &["alerts.jsonl", "edges.jsonl"]);
    let (all, hand) = (text(&days.join("alerts.jsonl")), edges(700));
    let inputs = [plans.join("alerts.jsonl"), plans.join("edges.jsonl")];
    std::fs::write(&inputs[0], &all).expect("room");
    std::fs::write(&inputs[1], &hand).expect("room");
    let told = folder.path().join("replayed");
    let want = common::summary(&mut replay(&flow, &[&inputs[0], &inputs[1]], &told, &["--arrival"]));
    assert!(count(&want, "actions") > 0 && count(&want, "late") > 0, "{want}");
    let expected = digest(&told);
    for (n, more) in [&["--batch", "1000"][..], &["--batch", "100", "--workers", "2"], &["--batch", "1"]]
        .iter()
        .enumerate()
    {
        let archive = folder.path().join(format!("live{n}"));
        // The first run sees the files grow, cut anywhere.
        let cut = if n == 0 { (all.len() / 3, hand.len() / 2) } else { (all.len(), hand.len()) };
        std::fs::write(&inputs[0], &all[..cut.0]).expect("room");
        std::fs::write(&inputs[1], &hand[..cut.1]).expect("room");
        let live = Live::start(&flow, &archive, more);
        if n == 0 {
            taken(&archive, 500);
            let append = |path: &Path, rest: &str| {
                let mut file = std::fs::File::options().append(true).open(path).expect("the file");
                for piece in rest.as_bytes().chunks(50_001) {
                    file.write_all(piece).expect("room");
                    thread::sleep(Duration::from_millis(3));
                }
            };
            append(&inputs[0], &all[cut.0..]);
            append(&inputs[1], &hand[cut.1..]);
        }
        taken(&archive, count(&want, "records"));
        let summary = live.stop();
        agrees(&summary, &archive);
        assert_eq!(digest(&archive), expected, "{more:?}");
    }
}

#[test]
fn standard_input_ends_the_run_and_cannot_be_gone_on_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, archive) = (folder.path().join("stdin"), folder.path().join("live"));
    let flow = root().join("dataflows/pipeline.yml");
    // The last line has no end.
    std::fs::write(&file, edges(400).trim_end()).expect("room");
    let run = |more: &[&str]| -> Output {
        let mut command = quell();
        command.args(["run", "--stdin", "--archive"]).arg(&archive).args(more);
        command.stdin(std::fs::File::open(&file).expect("the file")).output().expect("it starts")
    };
    let first = run(&[]);
    assert!(first.status.success(), "{}", said(&first));
    let told = folder.path().join("replayed");
    done(&mut replay(&flow, &[&file], &told, &["--arrival"]));
    assert_eq!(digest(&archive), digest(&told));
    let second = run(&[]);
    assert_eq!(second.status.code(), Some(1));
    assert!(said(&second).contains("cannot be read again"), "{}", said(&second));
    let third = run(&["--fresh"]);
    assert!(third.status.success(), "{}", said(&third));
    assert_eq!(digest(&archive), digest(&told));
    assert_eq!(digest(&folder.path().join("live.1")), digest(&told), "set aside, not thrown away");
    let nothing =
        quell().arg("run").arg("--archive").arg(folder.path().join("x")).output().expect("it starts");
    assert_eq!(nothing.status.code(), Some(2), "{}", said(&nothing));
}

#[test]
fn pushes_are_taken_once_and_only_as_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("live");
    let flow = plan(&folder.path().join("plan"), "  - {name: edge, type: http, listen: '127.0.0.1:0'}");
    let live = Live::start(&flow, &archive, &[]);
    let at = live.address("edge");
    let alerts = edges(10);
    let key = ("Idempotency-Key", "one");
    let (status, body) = post(&at, "/push/edge", &[NDJSON, key], &alerts);
    assert_eq!((status, body.contains("\"duplicate\":false")), (200, true), "{body}");
    let (status, body) = post(&at, "/push/edge", &[NDJSON, key], &alerts);
    assert_eq!((status, body.contains("\"duplicate\":true")), (200, true), "{body}");
    let (status, body) = post(&at, "/push/edge", &[NDJSON, key], &edges(11));
    assert_eq!((status, body.contains("another batch")), (422, true), "{body}");
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let long = " ".repeat(9 << 20);
    for (path, headers, body, want) in [
        ("/push/edge", &[form][..], alerts.as_str(), 415),
        ("/push/edge", &[], &alerts, 415),
        ("/push/other", &[NDJSON], &alerts, 404),
        ("/push/..%2fedge", &[NDJSON], &alerts, 404),
        ("/push/edge", &[NDJSON], "", 400),
        ("/push/edge", &[NDJSON, ("Idempotency-Key", "")], &alerts, 400),
        ("/push/edge", &[NDJSON], &long, 413),
    ] {
        assert_eq!(post(&at, path, headers, body).0, want, "{path} {headers:?} {}", body.len());
    }
    let mut stream = TcpStream::connect(&at).expect("it listens");
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it listens");
    let mut health = String::new();
    stream.read_to_string(&mut health).expect("an answer");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    // Another batch as one array: each batch is told by its own content, and lines go on.
    let more =
        edges(40).lines().skip(20).filter(|line| line.ends_with('}')).take(5).collect::<Vec<_>>().join(",\n");
    assert_eq!(post(&at, "/push/edge", &[("Content-Type", "application/json")], &format!("[{more}]")).0, 200);
    let elsewhere = quell().arg("run").arg("--flow").arg(&flow).arg("--archive").arg(&archive).output();
    let elsewhere = elsewhere.expect("it starts");
    assert_eq!(elsewhere.status.code(), Some(1), "one process writes an archive: {}", said(&elsewhere));
    // What is pushed goes by the wall where the plan does not say: its idle clock goes on, and is logged.
    heard(&archive, "tick");
    let summary = live.stop();
    assert_eq!(count(&summary, "records"), 15, "{summary}");
    agrees(&summary, &archive);
    let reader = Reader::open(&archive, Arc::new(Names::default())).expect("an archive");
    let inputs = reader.inputs(None).expect("inputs").map(|line| line.expect("one"));
    let pushed: Vec<String> =
        inputs.filter(|line| line.kind == InputKind::Push).map(|line| line.body).collect();
    let told =
        |key: &str, records: u8| format!("{{\"source\":\"edge\",\"key\":{key},\"records\":{records}}}");
    assert_eq!(pushed, [told("\"one\"", 10), told("null", 5)], "once each, without what was in them");
}

#[test]
fn what_was_acknowledged_survives_kills_and_is_not_doubled() {
    let folder = tempfile::tempdir().expect("a folder");
    let (days, plans, archive) =
        (folder.path().join("site"), folder.path().join("plan"), folder.path().join("live"));
    site(&days, 1_000, 11);
    let flow = acting_plan(&plans, &days, &["alerts.jsonl"]);
    let whole = text(&flow).replace(
        "sources:\n",
        "sources:\n  - {name: edge, type: http, listen: '127.0.0.1:0', clock: event}\n",
    );
    std::fs::write(&flow, whole).expect("room");
    let (all, pushed) = (text(&days.join("alerts.jsonl")), edges(600));
    let grows = plans.join("alerts.jsonl");
    std::fs::write(&grows, "").expect("room");
    let lines: Vec<&str> = pushed.split_inclusive('\n').collect();
    let (batches, pieces) = (lines.chunks(30), all.as_bytes().chunks(all.len() / 19));
    let mut live = Live::start(&flow, &archive, &["--batch", "50"]);
    for (n, (batch, piece)) in batches.zip(pieces).enumerate() {
        std::fs::File::options().append(true).open(&grows).expect("it").write_all(piece).expect("room");
        let at = live.address("edge");
        let key = format!("batch {n}");
        let headers = [NDJSON, ("Idempotency-Key", key.as_str())];
        assert_eq!(post(&at, "/push/edge", &headers, &batch.concat()).0, 200);
        if n % 6 == 3 {
            if n % 12 == 3 {
                taken(&archive, 30);
            }
            live.kill();
            live = Live::start(&flow, &archive, &["--batch", "70", "--workers", "2"]);
            let at = live.address("edge");
            let (status, body) = post(&at, "/push/edge", &headers, &batch.concat());
            assert_eq!((status, body.contains("\"duplicate\":true")), (200, true), "{body}");
        }
    }
    let there = text(&grows).len();
    std::fs::File::options()
        .append(true)
        .open(&grows)
        .expect("it")
        .write_all(&all.as_bytes()[there..])
        .expect("room");
    let file = folder.path().join("edge");
    std::fs::write(&file, &pushed).expect("room");
    let told = folder.path().join("replayed");
    let want = common::summary(&mut replay(&flow, &[&file, &grows], &told, &["--arrival"]));
    taken(&archive, count(&want, "records"));
    let summary = live.stop();
    agrees(&summary, &archive);
    assert_eq!(digest(&archive), digest(&told));
    // A run that was stopped goes on too: what it held is held, and a new batch is taken.
    let before = held(&archive).alerts;
    let live = Live::start(&flow, &archive, &[]);
    let more = edges(630).lines().skip(620).collect::<Vec<_>>().join("\n");
    assert_eq!(post(&live.address("edge"), "/push/edge", &[NDJSON], &more).0, 200);
    let summary = live.stop();
    assert!(held(&archive).alerts > before, "{summary}");
    agrees(&summary, &archive);
}

#[test]
fn a_file_that_is_rotated_loses_nothing_and_doubles_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (archive, plans) = (folder.path().join("live"), folder.path().join("plan"));
    let flow =
        plan(&plans, "  - {name: edges.jsonl, type: file, path: edges.jsonl, tenant_from_field: true}");
    let path = plans.join("edges.jsonl");
    let rotated = |n: u32| plans.join(format!("edges.jsonl.{n}"));
    let all = edges(1_000);
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    let open = || std::fs::File::options().create(true).append(true).open(&path).expect("room");
    let write = |file: &mut std::fs::File, from: usize, to: usize| {
        file.write_all(lines[from..to].concat().as_bytes()).expect("room");
    };
    let mut first = open();
    write(&mut first, 0, 200);
    let live = Live::start(&flow, &archive, &[]);
    taken(&archive, 200);
    // Renamed twice in a moment; what writes to the first file hears of it last, in the middle of a line.
    std::fs::rename(&path, rotated(1)).expect("a name");
    let mut second = open();
    write(&mut second, 300, 450);
    let (half, rest) = lines[200].split_at(40);
    first.write_all(half.as_bytes()).expect("room");
    thread::sleep(Duration::from_millis(100));
    std::fs::rename(&path, rotated(2)).expect("a name");
    let mut third = open();
    write(&mut third, 500, 600);
    thread::sleep(Duration::from_millis(200));
    first.write_all(rest.as_bytes()).expect("room");
    write(&mut first, 201, 300);
    write(&mut second, 450, 500);
    taken(&archive, 600);
    // Copied and cut, first to less than there was, then at once to more.
    for (n, from, to) in [(3, 600, 640), (4, 640, 900)] {
        std::fs::copy(&path, rotated(n)).expect("room");
        third.set_len(0).expect("a file");
        write(&mut third, from, to);
        taken(&archive, to as u64);
    }
    write(&mut third, 900, lines.len());
    taken(&archive, lines.len() as u64);
    let summary = live.stop();
    agrees(&summary, &archive);
    let (whole, told) = (folder.path().join("edges.jsonl"), folder.path().join("replayed"));
    std::fs::write(&whole, &all).expect("room");
    done(&mut replay(&flow, &[&whole], &told, &["--arrival"]));
    assert_eq!(digest(&archive), digest(&told));
}

#[test]
fn what_is_refused_under_pressure_is_taken_when_it_is_sent_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("live");
    let source = "  - {name: edge, type: http, listen: '127.0.0.1:0', clock: event, tenant_from_field: true}";
    let flow = plan(&folder.path().join("plan"), source);
    let live = Live::start(&flow, &archive, &[]);
    let at = live.address("edge");
    let all = edges(800);
    let lines: Vec<&str> = all.lines().filter(|line| line.ends_with('}')).collect();
    // Sixteen clients, each batch nearly as long as may be: eight of them are all that may wait.
    let batches: Vec<String> = lines
        .chunks(lines.len().div_ceil(16))
        .map(|lines| format!("{}\n{{\"padding\":\"{}\"}}\n", lines.join("\n"), "x".repeat(8_000_000)))
        .collect();
    let refused = std::sync::atomic::AtomicUsize::new(0);
    thread::scope(|scope| {
        for (n, batch) in batches.iter().enumerate() {
            let (at, refused) = (&at, &refused);
            scope.spawn(move || {
                let key = format!("batch {n}");
                let headers = [NDJSON, ("Idempotency-Key", key.as_str())];
                loop {
                    let (status, head, body) = posted(at, "/push/edge", &headers, batch);
                    if status == 200 {
                        break;
                    }
                    assert_eq!(status, 503, "{head}\n{body}");
                    assert!(head.to_ascii_lowercase().contains("\r\nretry-after: 1"), "{head}");
                    refused.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(100));
                }
                // Whoever did not hear the answer asks again, and changes nothing.
                if n % 5 == 0 {
                    let again = until("there is room", || {
                        Some(posted(at, "/push/edge", &headers, batch)).filter(|(status, ..)| *status != 503)
                    });
                    assert_eq!((again.0, again.2.contains("\"duplicate\":true")), (200, true), "{}", again.2);
                }
            });
        }
    });
    // A machine that takes them as fast as they come refuses none; that it must is a test of its own (`ingest::push`).
    eprintln!("{} batches were refused, and sent again", refused.into_inner());
    let records = (lines.len() + batches.len()) as u64;
    taken(&archive, records);
    let summary = live.stop();
    agrees(&summary, &archive);
    assert_eq!(count(&summary, "records"), records, "{summary}");
    assert_eq!(count(&summary, "rejects"), batches.len() as u64, "{summary}");
    let told = folder.path().join("replayed");
    let file = folder.path().join("edge");
    std::fs::write(&file, lines.join("\n")).expect("room");
    let want = common::summary(&mut replay(&flow, &[&file], &told, &["--arrival"]));
    assert_eq!(count(&summary, "alerts"), count(&want, "alerts"), "{summary}");
}

/// Incidents' last versions by name, and all versions counted.
fn incidents(archive: &Path) -> BTreeMap<IncidentId, (IncidentLine, usize)> {
    let reader = Reader::open(archive, Arc::new(Names::default())).expect("an archive");
    let mut last: BTreeMap<IncidentId, (IncidentLine, usize)> = BTreeMap::new();
    for line in reader.incidents(None).expect("incidents").map(|line| line.expect("an incident")) {
        let versions = last.get(&line.incident_id).map_or(0, |(_, versions)| *versions) + 1;
        let newest =
            last.remove(&line.incident_id).map(|(last, _)| last).filter(|it| it.version > line.version);
        last.insert(line.incident_id, (newest.unwrap_or(line), versions));
    }
    last
}

fn escalated(archive: &Path) -> Vec<DecisionLine> {
    let reader = Reader::open(archive, Arc::new(Names::default())).expect("an archive");
    let all: Vec<DecisionLine> =
        reader.decisions(None).expect("decisions").map(|line| line.expect("a decision")).collect();
    let replaced = |id| all.iter().any(|line| line.decision_id == id && line.superseded_by.is_some());
    all.iter().filter(|it| it.ruling == Ruling::Escalate && !replaced(it.decision_id)).cloned().collect()
}

#[test]
fn people_are_heard_while_it_runs_and_after() {
    let folder = tempfile::tempdir().expect("a folder");
    let (days, archive) = (folder.path().join("site"), folder.path().join("live"));
    site(&days, 1_500, 3);
    let input = days.join("alerts.jsonl");
    let flow = root().join("dataflows/pipeline.yml");
    let live = Live::start(&flow, &archive, &["--input", input.to_str().expect("a name")]);
    taken(&archive, text(&input).lines().count() as u64);
    let asked = escalated(&archive);
    assert!(asked.len() >= 2, "{}", asked.len());
    let (yes, no) = (asked[0].decision_id.to_string(), asked[1].decision_id.to_string());
    let incident = asked[1].incident_id.to_string();
    let say = |command: &str, id: &str, more: &[&str]| {
        let mut say = quell();
        say.args([command, id]).args(more).arg("--archive").arg(&archive);
        let output = say.output().expect("it starts");
        (output.status.code(), said(&output))
    };
    assert_eq!(say("approve", &yes, &["--by", "ada"]).0, Some(0));
    assert_eq!(say("approve", &yes, &["--by", "bo"]).0, Some(0));
    assert_eq!(say("deny", &no, &["--by", "ada"]).0, Some(0));
    assert_eq!(say("verdict", &incident, &["false_positive", "--by", "ada"]).0, Some(0));
    let nobody = "0".repeat(32);
    assert_eq!(say("verdict", &nobody, &["false_positive", "--by", "ada"]).0, Some(1));
    assert_eq!(say("approve", &nobody, &["--by", "ada"]).0, Some(1));
    assert_eq!(say("approve", "x", &["--by", "ada"]).0, Some(2));
    heard(&archive, "verdict");
    let summary = live.stop();
    agrees(&summary, &archive);
    let reader = Reader::open(&archive, Arc::new(Names::default())).expect("an archive");
    let decisions: Vec<_> =
        reader.decisions(None).expect("decisions").map(|line| line.expect("one")).collect();
    let replaced = |id: &str| {
        let mut by = decisions.iter().filter(|line| line.decision_id.to_string() == id);
        let by = by.find_map(|line| line.superseded_by).expect("an answer");
        decisions.iter().find(|line| line.decision_id == by).expect("its row").ruling
    };
    assert_eq!((replaced(&yes), replaced(&no)), (Ruling::Execute, Ruling::Decline));
    assert!(count(&summary, "actions") > 0, "an approved playbook is told by the dry run: {summary}");
    let outcomes = || -> Vec<(String, i64)> {
        let lines = reader.outcomes(None).expect("outcomes").map(|line| line.expect("one"));
        let mine = lines.filter(|line| line.labelled_by == "ada" && line.action_id.is_none());
        mine.map(|line| (line.verdict.expect("a verdict").name().to_owned(), line.diff)).collect()
    };
    assert_eq!(outcomes(), [("false_positive".to_owned(), 1)]);
    // The run is over: a second word takes back the first, at once, and the same again changes nothing.
    assert_eq!(say("verdict", &incident, &["true_positive", "--by", "Ada"]).0, Some(0));
    let (code, text) = say("verdict", &incident, &["true_positive", "--by", "ada"]);
    assert_eq!((code, text.contains("said before")), (Some(0), true), "{text}");
    assert_eq!(outcomes().len(), 2, "the first word, and that it is taken back: the second is Ada's");
    assert_eq!(say("approve", &yes, &["--by", "ada"]).0, Some(1), "answered before");
    // What was said after the end is part of the log: the run goes on with it.
    let before = digest(&archive);
    let live = Live::start(&flow, &archive, &["--input", input.to_str().expect("a name")]);
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    let summary = live.stop();
    assert_eq!(count(&summary, "divergences"), 0, "{summary}");
    assert_eq!(digest(&archive)["outcomes"], before["outcomes"]);
    assert_eq!(digest(&archive)["decisions"], before["decisions"]);
}

#[test]
fn new_intelligence_revises_what_it_touches_and_survives_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let (archive, plans) = (folder.path().join("live"), folder.path().join("plan"));
    let flow =
        plan(&plans, "  - {name: edges.jsonl, type: file, path: edges.jsonl, tenant_from_field: true}");
    let table = plans.join("indicators.csv");
    std::fs::write(&flow, text(&flow).replace("indicators: []", "indicators: [indicators.csv]"))
        .expect("room");
    std::fs::write(&table, "entity,confidence\nip:203.0.113.9,50\n").expect("room");
    std::fs::write(plans.join("edges.jsonl"), edges(300)).expect("room");
    let live = Live::start(&flow, &archive, &[]);
    taken(&archive, 300);
    let before = incidents(&archive);
    let known = |(line, _): &&(IncidentLine, usize)| {
        line.state == IncidentState::Open
            && line.severity_id.name() == "critical"
            && !line.entities.is_empty()
    };
    let (chosen, _) = before.values().find(known).expect("an open incident");
    let reader = Reader::open(&archive, Arc::new(Names::default())).expect("an archive");
    let names = reader.names();
    let line = reader.incidents(None).expect("incidents").map(|line| line.expect("one"));
    let entities = line.filter(|line| line.incident_id == chosen.incident_id).last().expect("it").entities;
    let told = entities.iter().map(|entity| entity.text(names)).find(|text| text.starts_with("ip:"));
    let told = told.expect("an address");
    std::fs::write(&table, format!("entity,confidence\nip:203.0.113.9,50\n{told},90\n")).expect("room");
    let changes = until("the table is read again", || Some(heard(&archive, "context")).filter(|n| *n > 1));
    assert_eq!(changes, 2, "how it stood, and the change");
    // What the log has, the next process makes again.
    live.kill();
    let live = Live::start(&flow, &archive, &[]);
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    let summary = live.stop();
    agrees(&summary, &archive);
    let after = incidents(&archive);
    let (now, _) = &after[&chosen.incident_id];
    assert_eq!(now.indicator, 90, "{} with {told}", chosen.incident_id);
    let reader = Reader::open(&archive, Arc::new(Names::default())).expect("an archive");
    let names = Arc::clone(reader.names());
    let mut untouched = 0;
    for line in reader.incidents(None).expect("incidents").map(|line| line.expect("one")) {
        let has = line.entities.iter().any(|entity| entity.text(&names) == told);
        if !has {
            assert_eq!(line.indicator, 0, "{}", line.incident_id);
            untouched += 1;
        }
    }
    assert!(untouched > 0);
}

#[test]
fn a_kill_file_holds_everything_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let (days, plans, archive) =
        (folder.path().join("site"), folder.path().join("plan"), folder.path().join("live"));
    site(&days, 800, 5);
    let flow = acting_plan(&plans, &days, &["alerts.jsonl"]);
    std::fs::copy(days.join("alerts.jsonl"), plans.join("alerts.jsonl")).expect("room");
    std::fs::create_dir_all(archive.join("_quell")).expect("room");
    std::fs::write(archive.join("_quell/KILL"), "").expect("room");
    let live = Live::start(&flow, &archive, &[]);
    taken(&archive, text(&days.join("alerts.jsonl")).lines().count() as u64);
    let summary = live.stop();
    assert!(summary["decisions"]["execute"].as_u64() > Some(0), "{summary}");
    assert_eq!(count(&summary, "actions"), 0, "{summary}");
}
