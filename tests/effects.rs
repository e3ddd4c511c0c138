//! Effects happen once: kills of a run that acts on the world, seen from the world.

#![allow(clippy::disallowed_methods, reason = "a test that waits must end: it reads the clock")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::live::{Live, taken, until};
use common::{acting_plan, count, edges, site};
use quell::archive::Reader;
use quell::record::{ActionStatus, Names};

/// Orders carried out, by `Idempotency-Key`.
type Done = Arc<Mutex<BTreeMap<String, u32>>>;

/// A system that does what it is told, slowly enough to be met in the middle.
fn world() -> (SocketAddr, Done) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("an address");
    let done = Done::default();
    let counts = Arc::clone(&done);
    // It lives as long as the test's process.
    thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            let counts = Arc::clone(&counts);
            thread::spawn(move || carry_out(&stream, &counts));
        }
    });
    (address, done)
}

fn carry_out(stream: &TcpStream, done: &Done) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut key, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? <= 2 {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => value.trim().clone_into(&mut key),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    *done.lock().ok()?.entry(key).or_default() += 1;
    thread::sleep(Duration::from_millis(2));
    let mut answer = stream;
    answer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()
}

#[test]
fn an_order_is_given_once_whatever_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (days, plans, archive) =
        (folder.path().join("site"), folder.path().join("plan"), folder.path().join("live"));
    site(&days, 300, 5);
    let flow = acting_plan(&plans, &days, &["edges.jsonl"]);
    let (address, done) = world();
    let text = std::fs::read_to_string(&flow).expect("the plan");
    let webhook = format!("executor: {{type: webhook, url: 'http://{address}/orders'}}");
    let lines = text.lines().map(|line| if line.starts_with("executor:") { webhook.as_str() } else { line });
    std::fs::write(&flow, lines.collect::<Vec<_>>().join("\n")).expect("room");
    std::fs::write(plans.join("edges.jsonl"), edges(600)).expect("room");
    let given = || done.lock().expect("no panic").len();
    let mut kills = 0;
    let mut live = Live::start(&flow, &archive, &["--batch", "20"]);
    while kills < 4 {
        let before = given();
        // Towards the end there is less to be met in the middle of.
        let since = Instant::now();
        until("more is ordered", || {
            (given() > before + 40 || since.elapsed() > Duration::from_secs(2)).then_some(())
        });
        live.kill();
        kills += 1;
        live = Live::start(&flow, &archive, &["--batch", "50", "--workers", "2"]);
    }
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    taken(&archive, 600);
    let summary = live.stop();
    assert_eq!(count(&summary, "divergences"), 0, "{summary}");
    let done = done.lock().expect("no panic").clone();
    // What was in flight at a kill is asked for again, with the same key.
    let again = done.values().filter(|times| **times > 1).count();
    assert!(done.values().all(|times| *times <= 1 + kills), "{done:?}");
    assert!(again < done.len() / 2, "{again} of {} were asked for again", done.len());
    let reader = Reader::open(&archive, Arc::new(Names::default())).expect("an archive");
    let mut called = BTreeSet::new();
    for line in reader.actions(None).expect("actions").map(|line| line.expect("an action")) {
        assert_ne!(line.status, ActionStatus::InDoubt, "{}", line.action_id);
        if line.status == ActionStatus::Succeeded && line.attempts > 0 {
            assert!(called.insert(line.action_id.to_string()), "{} succeeds twice", line.action_id);
        }
    }
    assert!(called.len() > 50, "{summary}");
    // Besides actions the world sees what undoes them, which has ids of its own.
    assert!(called.iter().all(|id| done.contains_key(id)), "told, and never done");
}
