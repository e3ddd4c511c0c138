//! A flood: records come five times as fast as a run can take them. It takes them at its own pace and in flat memory, the topic holds the
//! rest, and once nothing more comes it is done with all of them, each once.
//!
//! `QUELL_FLOOD_RECORDS` says how many come, or more where that is what the run takes in five seconds; as many before them show how many
//! it takes a second, and fill its windows and the parts that it writes.

use std::fmt::Write as _;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::asked;
use super::common::edges_of;
use super::common::kafka::Broker;
use super::common::live::{Live, shown};
use super::running::millis;
use super::soak::{PARTITIONS, Seen, Soak, look};

/// How much more comes than can be taken.
const TIMES: u64 = 5;
/// Bytes that each record has beside what is read of it: what is held would show.
const PADDING: usize = 4_000;
/// Records that are written at a time.
const STEP: usize = 1_000;
/// As long as it may take on any machine.
const PATIENCE: Duration = Duration::from_mins(15);
/// Lines of the curve, about.
const LINES: usize = 20;

/// Who writes to the topic.
struct Spring(BaseProducer);

impl Spring {
    fn new(broker: &Broker) -> Spring {
        let mut config = broker.config();
        config.set("linger.ms", "5").set("enable.idempotence", "true").set("compression.type", "none");
        // The test shall not hold much of what the run must not.
        Spring(config.set("queue.buffering.max.messages", "10000").create().expect("a producer"))
    }

    /// Writes records of a range.
    fn pour(&self, range: Range<u64>) {
        let padded = format!("{{\"padding\":\"{}\",", "x".repeat(PADDING));
        for from in range.clone().step_by(STEP) {
            let some = from..(from + STEP as u64).min(range.end);
            for (n, line) in some.clone().zip(edges_of(some, |_| true).lines()) {
                let (partition, value) =
                    (n % u64::from(PARTITIONS.unsigned_abs()), line.replacen('{', &padded, 1));
                let record: BaseRecord<'_, str, str> = BaseRecord::to("alerts-1").payload(&value);
                let mut sent = self.0.send(record.partition(i32::try_from(partition).expect("few")));
                while let Err((_, again)) = sent {
                    self.0.poll(Duration::from_millis(20));
                    sent = self.0.send(again);
                }
            }
            self.0.poll(Duration::ZERO);
        }
    }

    /// Writes records at a rate, as far as the machine can; how long that took.
    fn flood(&self, range: &Range<u64>, rate: u64) -> Duration {
        let (began, mut at) = (Instant::now(), range.start);
        while at < range.end {
            let due = (range.start + millis(began.elapsed()) * rate / 1_000).min(range.end);
            self.pour(at..due);
            at = due;
            thread::sleep(Duration::from_millis(20));
        }
        self.end();
        began.elapsed()
    }

    /// All is written.
    fn end(&self) {
        self.0.flush(PATIENCE).expect("all of them are taken");
    }
}

/// What is seen until the archive shows so many records: when, in milliseconds, and what.
fn watch(live: &mut Live, soak: &Soak, (records, since): (u64, Instant)) -> Vec<(u64, Seen)> {
    let mut curve = Vec::new();
    loop {
        assert!(live.ended().is_none(), "it ended by itself: {}", live.told());
        assert!(since.elapsed() < PATIENCE, "waited for long that all is taken");
        let seen = look(live);
        curve.extend(seen.map(|seen| (millis(since.elapsed()), seen)));
        // The log is asked only where it may have all: reading it costs the run something.
        let is_done = seen.is_some_and(|seen| seen.lag < 1.0);
        if is_done && shown(&soak.archive).is_some_and(|shown| shown >= records) {
            return curve;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn most(curve: &[(u64, Seen)], of: impl Fn(&Seen) -> f64) -> f64 {
    curve.iter().map(|(_, seen)| of(seen)).fold(0.0, f64::max)
}

#[test]
fn a_flood_is_taken_in_its_own_time_and_in_flat_memory() {
    let few = asked("QUELL_FLOOD_RECORDS", 60_000);
    let folder = tempfile::tempdir().expect("a folder");
    let soak = Soak::new(folder.path());
    let spring = Spring::new(&soak.broker.lock().expect("no panic"));
    spring.pour(0..few);
    spring.end();
    let mut live = soak.start();
    live.goes_on();
    let began = Instant::now();
    let mut before = watch(&mut live, &soak, (few, began));
    let capacity = few * 1_000 / millis(began.elapsed()).max(1);
    // Lag is told each second: it must last for some.
    let many = few.max(5 * capacity);
    // Parts of the archive that are being written fill up with what comes: as much of that before the flood as in it.
    spring.pour(few..many);
    spring.end();
    before.extend(watch(&mut live, &soak, (many, began)));
    let began = Instant::now();
    let (before_it, all) = (many, 2 * many);
    let flooding = thread::spawn(move || spring.flood(&(before_it..all), TIMES * capacity));
    let curve = watch(&mut live, &soak, (all, began));
    let (took, poured) = (began.elapsed(), flooding.join().expect("all is written"));
    soak.ends(live, all);
    let resident = [&before, &curve].map(|curve| most(curve, |seen| seen.resident));
    let text = told(&curve, (many, capacity), (took, poured), resident);
    println!("{text}");
    if let Some(report) = std::env::var_os("QUELL_FLOOD_REPORT") {
        std::fs::write(report, &text).expect("room");
    }
    let [was, is] = resident;
    // What lags is several times this: it would show. Parts that are written and freed make the rest.
    assert!(is < 1.4 * was, "{is} bytes, after {was}");
    // Where the machine is busy, less comes at a time; it is a flood all the same.
    let lag = most(&curve, |seen| seen.lag);
    assert!(lag > many as f64 / 8.0, "{lag} records behind at most: that is no flood");
}

fn told(
    curve: &[(u64, Seen)],
    (many, capacity): (u64, u64),
    (took, poured): (Duration, Duration),
    [before, during]: [f64; 2],
) -> String {
    let mut text = String::new();
    let mut say = |line: String| writeln!(text, "{line}").expect("memory");
    say(format!(
        "A run between topics takes {capacity} records of {} bytes a second. {many} come within {:.1} s, {} a second; it is done with all \
         of them after {:.1} s, each once, divergences 0. It lags by {:.0} records at most, in {:.0} MB at most; it needed {:.0} MB before.\n",
        PADDING + 250,
        poured.as_secs_f64(),
        many * 1_000 / millis(poured).max(1),
        took.as_secs_f64(),
        most(curve, |seen| seen.lag),
        during / 1e6,
        before / 1e6
    ));
    say("| s | lag, records | resident, MB |\n|--:|--:|--:|".to_owned());
    for (ms, seen) in curve.iter().step_by(curve.len().div_ceil(LINES).max(1)) {
        say(format!("| {:.1} | {:.0} | {:.0} |", *ms as f64 / 1e3, seen.lag, seen.resident / 1e6));
    }
    text
}
