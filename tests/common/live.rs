//! A `quell run` under way, seen from outside: what it says, what its log has, and how it is pushed to, stopped and killed.

#![allow(clippy::disallowed_methods, reason = "a test that waits must end: it reads the clock")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use quell::archive::Reader;
use quell::engine::log::Log;
use serde_json::Value;

use super::quell;

/// Long enough for a busy machine; a test that fails waits no longer.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A `quell run` under way; killed where a test forgets it.
pub struct Live {
    child: Child,
    told: Arc<Mutex<String>>,
}

impl Live {
    /// Starts it.
    pub fn start(flow: &Path, archive: &Path, more: &[&str]) -> Live {
        let mut command = quell();
        command.arg("run").arg("--flow").arg(flow).arg("--archive").arg(archive).args(["--output", "json"]);
        // All that holds of one process holds of several: `QUELL_PROCESSES=2 cargo test` runs live tests so.
        if let Ok(processes) = std::env::var("QUELL_PROCESSES") {
            command.args(["--supervise", &processes]);
        }
        Live::of(command.args(more))
    }

    /// The same, with more of an environment.
    pub fn start_with(flow: &Path, archive: &Path, more: &[&str], environment: &[(&str, &str)]) -> Live {
        let mut command = quell();
        command.arg("run").arg("--flow").arg(flow).arg("--archive").arg(archive).args(["--output", "json"]);
        Live::of(command.args(more).envs(environment.iter().copied()))
    }

    /// Starts it as the command says.
    pub fn of(command: &mut Command) -> Live {
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("the binary starts");
        let told = Arc::new(Mutex::new(String::new()));
        let (lines, hears) = (BufReader::new(child.stderr.take().expect("a pipe")), Arc::clone(&told));
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut hears = hears.lock().expect("no panic there");
                hears.push_str(&line);
                hears.push('\n');
            }
        });
        Live { child, told }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said for people so far.
    pub fn told(&self) -> String {
        self.told.lock().expect("no panic there").clone()
    }

    /// Where the source is pushed to.
    pub fn address(&self, source: &str) -> String {
        let line = until("it listens", || {
            let end = format!("/push/{source}");
            self.told().lines().find(|line| line.ends_with(&end)).map(str::to_owned)
        });
        let (_, rest) = line.split_once("http://").expect("an address");
        rest.split('/').next().expect("an address").to_owned()
    }

    /// How it has ended, where it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits until it has all that it needs and has begun.
    pub fn goes_on(&self) {
        let since = Instant::now();
        while !self.told().contains("Ctrl-C") {
            assert!(since.elapsed() < PATIENCE, "it does not go on: {}", self.told());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM, and nothing waited for.
    pub fn tell_to_stop(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill").success());
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM, and what it comes to.
    pub fn stop(self) -> Value {
        self.stop_telling().0
    }

    /// SIGTERM, what it comes to, and all that it said for people.
    pub fn stop_telling(self) -> (Value, String) {
        // One that is told so before it has begun has nothing to end in order: a cluster then fails.
        self.goes_on();
        self.tell_to_stop();
        let told = Arc::clone(&self.told);
        let summary = self.end();
        // Its last words are on their way.
        thread::sleep(Duration::from_millis(100));
        let told = told.lock().expect("no panic there").clone();
        (summary, told)
    }

    /// SIGTERM, and what it says where it fails.
    pub fn fail(self) -> String {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill").success());
        self.failed()
    }

    /// What it says where it fails by itself.
    pub fn failed(mut self) -> String {
        let status = until("it ends", || self.child.try_wait().expect("a child"));
        // The last lines may still be on their way.
        thread::sleep(Duration::from_millis(200));
        assert!(!status.success(), "{}", self.told());
        self.told()
    }

    /// What it comes to by itself.
    pub fn end(mut self) -> Value {
        let status = until("it ends", || self.child.try_wait().expect("a child"));
        let mut text = String::new();
        self.child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("text");
        assert!(status.success(), "{status}\n{text}{}", self.told());
        serde_json::from_str(text.lines().last().unwrap_or_default()).expect("a summary")
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until there is an answer.
pub fn until<T>(what: &str, mut asked: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = asked() {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "waited for long that {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until the log has so many records, and the archive shows them.
pub fn taken(archive: &Path, records: u64) {
    until("the records are taken", || (shown(archive)? >= records).then_some(()));
}

/// How many records the archive shows; none while it is about to show more.
pub fn shown(archive: &Path) -> Option<u64> {
    let log = Log::open(archive).ok()?;
    let through = log.committed().ok()??.0;
    let records = log.parts_through(through).ok()?.iter().map(|part| part.records).sum();
    // What the log has committed is renamed after it: a reader that comes between sees what was committed before.
    (!waits(archive, through)).then_some(records)
}

/// Whether a part through that epoch has not got its final name.
fn waits(folder: &Path, through: u64) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let last = name
            .to_str()
            .and_then(|name| name.strip_prefix(".part-")?.strip_suffix(".tmp")?.rsplit_once('-'));
        let sealed = last.and_then(|(_, last)| last.parse().ok()).is_some_and(|last: u64| last <= through);
        sealed || entry.path().is_dir() && waits(&entry.path(), through)
    })
}

/// Waits until an epoch took an input of that kind; how many there are.
pub fn heard(archive: &Path, kind: &str) -> usize {
    until("the run has heard it", || {
        let log = Log::open(archive).ok()?;
        let inputs = log.taken().ok()?;
        let folded = log.folded().ok()?;
        // What is folded the archive has.
        let archived = if folded > 0 { Reader::open(archive, Arc::default()).ok() } else { None };
        let archived = archived.and_then(|reader| reader.inputs(None).ok()).into_iter().flatten();
        let archived = archived.flatten().filter(|line| line.epoch <= folded && line.kind.name() == kind);
        let logged = inputs.iter().filter(|input| input.kind == kind && input.epoch > Some(folded));
        Some(logged.count() + archived.count()).filter(|count| *count > 0)
    })
}

/// The ids of the processes of a supervised run's last start.
pub fn processes(live: &Live, n: usize) -> Vec<String> {
    let told = live.told();
    let ids = told.lines().rev().filter_map(|line| line.strip_prefix("quell: process ")?.split_once(" is "));
    let ids: Vec<String> = ids.map(|(_, id)| id.to_owned()).filter(|id| id.parse::<u32>().is_ok()).collect();
    ids.into_iter().take(n).rev().collect()
}

/// Posts, and gives the status and the body; no status where the connection broke.
pub fn post(address: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let (status, _, body) = posted(address, path, headers, body);
    (status, body)
}

/// Posts, and gives the status, the head and the body.
pub fn posted(address: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    write!(request, "Content-Length: {}\r\n", body.len()).expect("memory");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").expect("memory");
    }
    let talk = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{request}\r\n").as_bytes())?;
        // What is refused unread may break the connection under what is still being sent.
        let _ = stream.write_all(body.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = talk().unwrap_or_default();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (status, head.to_owned(), body.to_owned())
}

/// The header of newline-delimited JSON.
pub const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");
