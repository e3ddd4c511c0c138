//! A soak: records come at a steady rate, for as long as is asked, while processes and the broker are killed now and then; memory
//! and lag stay flat, and in the end everything is there once.
//!
//! `QUELL_SOAK_SECONDS` says how long, `QUELL_SOAK_RATE` how many records a second; each brings nine seconds of event time, so that
//! all windows are full after some hundred seconds; `QUELL_SOAK_AWAY_MS`, how long a killed broker is away.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::asked;
use super::common::kafka::Broker;
use super::common::live::{Live, shown, until};
use super::common::world::{Done, calling, world};
use super::common::{acting_plan, agrees, count, edges_of, held, quell, site};
use super::fault::Dice;
use super::running::millis;
use super::way::{compared, plan_of_topics};

/// Partitions of the topic.
pub const PARTITIONS: i32 = 3;
/// What is said of the time in so many parts.
const PARTS: u64 = 10;
/// From so many seconds on, memory must be flat.
const FLAT_FROM: u64 = 600;

/// What was seen at a moment.
#[derive(Clone, Copy, Default)]
pub struct Seen {
    /// Bytes of memory.
    pub resident: f64,
    /// Records that are not taken yet.
    pub lag: f64,
}

/// What was seen in a part of the time.
#[derive(Clone, Default)]
struct Part {
    seen: Vec<Seen>,
    kills: u32,
}

/// Writes records at a rate until it is told to stop; how many.
fn feed(
    broker: Arc<std::sync::Mutex<Broker>>,
    rate: u64,
    stop: Arc<AtomicBool>,
    fed: Arc<AtomicU64>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let began = Instant::now();
        let mut at = 0;
        while !stop.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(50));
            let due = u64::try_from(began.elapsed().as_millis()).expect("not so long") * rate / 1_000;
            if due <= at {
                continue;
            }
            // A broker that is away is fed later, by whoever holds it now.
            let broker = broker.lock().expect("no panic");
            for partition in 0..PARTITIONS {
                let lines = edges_of(at..due, |n| {
                    n % u64::from(PARTITIONS.unsigned_abs()) == u64::from(partition.unsigned_abs())
                });
                broker.produce("alerts-1", Some(partition), lines.lines());
            }
            at = due;
            fed.store(at, Ordering::SeqCst);
        }
    })
}

/// What the run's metrics say; none while there is no run.
pub fn look(live: &Live) -> Option<Seen> {
    let told = live.told();
    let at = told.split_once("metrics at http://")?.1.split_once('/')?.0;
    let mut stream = TcpStream::connect(at).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let sum = |name: &str| -> Option<f64> {
        let lines = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        let numbers: Vec<f64> = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
        (!numbers.is_empty()).then(|| numbers.iter().sum())
    };
    Some(Seen { resident: sum("process_resident_memory_bytes")?, lag: sum("quell_source_lag_records")? })
}

/// A run between topics, and what it acts on.
pub struct Soak {
    flow: PathBuf,
    /// Where its archive lies.
    pub archive: PathBuf,
    /// Its broker, whose `alerts-1` it reads.
    pub broker: Arc<std::sync::Mutex<Broker>>,
    /// What was done outside.
    pub world: Done,
}

impl Soak {
    /// Makes the plan, the topics and the world.
    pub fn new(folder: &Path) -> Soak {
        let (days, plan) = (folder.join("days"), folder.join("plan"));
        site(&days, 100, 5);
        let flow = acting_plan(&plan, &days, &["edges.jsonl"]);
        let (address, world) = world();
        calling(&flow, address);
        let broker = Broker::start(&folder.join("broker"));
        broker.topic("alerts-1", PARTITIONS);
        let text = std::fs::read_to_string(&flow).expect("the plan");
        std::fs::write(&flow, plan_of_topics(&broker, &text, 1)).expect("room");
        Soak { flow, archive: folder.join("archive"), broker: Arc::new(std::sync::Mutex::new(broker)), world }
    }

    /// Starts the run.
    pub fn start(&self) -> Live {
        let mut command = quell();
        command.arg("run").arg("--flow").arg(&self.flow).arg("--archive").arg(&self.archive);
        command.args(["--output", "json", "--metrics", "127.0.0.1:0", "--snapshot-every-ms", "10000"]);
        Live::of(&mut command)
    }

    /// Ends the run; so many records are all there once, inside and outside.
    pub fn ends(&self, live: Live, records: u64) {
        let summary = live.stop();
        assert_eq!(count(&summary, "records"), records, "{summary}");
        agrees(&summary, &self.archive);
        held(&self.archive);
        let broker = self.broker.lock().expect("no panic");
        compared(&broker, 1, &self.archive).expect("topics have what the archive has");
    }

    /// Kills the run or its broker; the run that goes on.
    fn strike(&self, live: Live, dice: &mut Dice) -> Live {
        if dice.below(2) == 0 {
            live.kill();
            return self.start();
        }
        let mut broker = self.broker.lock().expect("no panic");
        broker.kill();
        thread::sleep(Duration::from_millis(asked("QUELL_SOAK_AWAY_MS", 500)));
        broker.restart();
        live
    }
}

#[test]
fn at_a_steady_rate_memory_and_lag_stay_flat_whatever_is_killed() {
    let seconds = asked("QUELL_SOAK_SECONDS", 12);
    let (rate, seed) = (asked("QUELL_SOAK_RATE", 500), asked("QUELL_RELIABILITY_SEED", 1));
    let folder = tempfile::tempdir().expect("a folder");
    let soak = Soak::new(folder.path());
    let (stop, fed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let feeder = feed(Arc::clone(&soak.broker), rate, Arc::clone(&stop), Arc::clone(&fed));
    let mut dice = Dice::new(seed);
    let mut parts = vec![Part::default(); usize::try_from(PARTS).expect("few")];
    let mut live = soak.start();
    // Somebody is killed now and then, but not in the last fifth of the time; while a broker starts the time stands.
    let kills = (seconds / 6).min(PARTS - 2);
    let (began, mut lost, mut struck) = (Instant::now(), Duration::ZERO, 0);
    loop {
        thread::sleep(Duration::from_millis(100));
        let passed = millis(began.elapsed().saturating_sub(lost));
        if passed >= seconds * 1_000 {
            break;
        }
        let part = &mut parts[usize::try_from(passed * PARTS / (seconds * 1_000)).expect("few")];
        if struck < kills && passed >= (struck + 1) * seconds * 800 / (kills + 1) {
            struck += 1;
            part.kills += 1;
            let since = Instant::now();
            live = soak.strike(live, &mut dice);
            lost += since.elapsed();
        }
        assert!(live.ended().is_none(), "it ended by itself: {}", live.told());
        part.seen.extend(look(&live));
    }
    stop.store(true, Ordering::SeqCst);
    feeder.join().expect("all is written");
    let fed = fed.load(Ordering::SeqCst);
    until("everything is taken", || (shown(&soak.archive)? >= fed).then_some(()));
    soak.ends(live, fed);
    let text = told(&parts, (seconds, rate, fed), soak.world.lock().expect("no panic").len());
    println!("{text}");
    if let Some(report) = std::env::var_os("QUELL_SOAK_REPORT") {
        std::fs::write(report, &text).expect("room");
    }
    if seconds >= FLAT_FROM {
        flat(&parts);
    }
}

fn most(part: &Part, of: impl Fn(&Seen) -> f64) -> f64 {
    part.seen.iter().map(of).fold(0.0, f64::max)
}

fn middle(part: &Part, of: impl Fn(&Seen) -> f64) -> f64 {
    let mut all: Vec<f64> = part.seen.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// The last fifth needs no more memory than the parts before it, and lags no further.
fn flat(parts: &[Part]) {
    let (before, last) = parts.split_at(parts.len() * 4 / 5);
    let before = &before[before.len() / 2..];
    let greatest =
        |parts: &[Part]| parts.iter().map(|part| most(part, |seen| seen.resident)).fold(0.0, f64::max);
    let (was, is) = (greatest(before), greatest(last));
    assert!(is < 1.15 * was, "{is} bytes, after {was}");
    let lag = last.iter().map(|part| middle(part, |seen| seen.lag)).fold(0.0, f64::max);
    assert!(lag < 5_000.0, "{lag} records behind, with nobody killed");
}

fn told(parts: &[Part], (seconds, rate, fed): (u64, u64, u64), orders: usize) -> String {
    let mut text = String::new();
    let mut say = |line: String| writeln!(text, "{line}").expect("memory");
    say(format!(
        "{rate} records a second from a topic into topics for {seconds} s, each nine seconds of event time: {fed} records, {orders} orders \
         given outside; all there once, divergences 0.\n"
    ));
    say("| tenth | killed | resident, median / most, MB | lag, median / most, records |\n|---|--:|--:|--:|"
        .to_owned());
    for (n, part) in parts.iter().enumerate() {
        let mb = 1e6;
        say(format!(
            "| {} | {} | {:.0} / {:.0} | {:.0} / {:.0} |",
            n + 1,
            part.kills,
            middle(part, |seen| seen.resident) / mb,
            most(part, |seen| seen.resident) / mb,
            middle(part, |seen| seen.lag),
            most(part, |seen| seen.lag),
        ));
    }
    text
}
