//! Sources: files that grow, cut anywhere, read again from their beginning by every process; and batches that are pushed, again
//! until they are acknowledged, in whatever order that leaves them.

use std::fmt::Write as _;

use crossbeam_channel::{Receiver, Sender, unbounded};
use serde_json::json;

use super::play::Plant;
use crate::ingest::live::Heard;
use crate::record::Millis;
use crate::replay::generate::dice::Dice;

/// A file that grows.
pub(super) struct File {
    pub(super) name: String,
    pub(super) text: Vec<u8>,
    /// Lines of it, which are records.
    pub(super) records: u64,
    /// Bytes that are there so far.
    pub(super) there: usize,
}

/// A batch to be pushed.
#[derive(Clone)]
pub(super) struct Batch {
    pub(super) text: String,
    pub(super) key: String,
    pub(super) acknowledged: bool,
}

/// All of them.
pub(super) struct Sources {
    pub(super) files: Vec<File>,
    pub(super) batches: Vec<Batch>,
    pub(super) pushed: u64,
    /// Records that end whoever works on them: copies of one.
    pub(super) poisoned: u64,
}

/// The source that is pushed to.
pub(super) const PUSHED: &str = "pushed";

impl Sources {
    /// Some records, by the dice.
    pub(super) fn new(dice: &mut Dice, began: Millis) -> Sources {
        let mut serial = Serial { last: 0, poisoned: dice.chance(120_000).then(|| dice.between(1, 20)) };
        let mut files = Vec::new();
        for at in 0..dice.between(1, 2) {
            let records = dice.between(8, 40);
            let mut text = String::new();
            for n in 0..records {
                record(&mut text, dice, (&mut serial, n), began);
            }
            files.push(File { name: format!("file{at}"), text: text.into_bytes(), records, there: 0 });
        }
        let mut batches = Vec::new();
        let mut pushed = 0;
        if dice.chance(600_000) {
            for at in 0..dice.between(1, 8) {
                let mut text = String::new();
                for _ in 0..dice.between(1, 6) {
                    record(&mut text, dice, (&mut serial, pushed), began);
                    pushed += 1;
                }
                batches.push(Batch { text, key: format!("k{at}"), acknowledged: false });
            }
        }
        let is_poison = |line: &&str| is_poison(line);
        let files_of =
            files.iter().flat_map(|file| std::str::from_utf8(&file.text).unwrap_or_default().lines());
        let poisoned =
            files_of.chain(batches.iter().flat_map(|batch| batch.text.lines())).filter(is_poison).count();
        Sources { files, batches, pushed, poisoned: poisoned as u64 }
    }

    /// Whether everything was given.
    pub(super) fn are_given(&self) -> bool {
        self.files.iter().all(|file| file.there == file.text.len())
            && self.batches.iter().all(|batch| batch.acknowledged)
    }

    /// Which batch is sent next: mostly the first that nobody has acknowledged, but a later one may overtake it.
    pub(super) fn next_batch(&self, dice: &mut Dice) -> Option<usize> {
        let open: Vec<usize> = (0..self.batches.len()).filter(|at| !self.batches[*at].acknowledged).collect();
        let at = if dice.chance(800_000) { 0 } else { dice.index(open.len()) };
        open.get(at).copied()
    }

    /// A batch's acknowledgement was lost.
    pub(super) fn sent_in_vain(&mut self, at: usize, plant: Plant) {
        if plant == Plant::OtherKeys {
            self.batches[at].key.push('x');
        }
    }
}

impl File {
    /// A stream of what is there, for a process that begins; it is told of the rest.
    pub(super) fn follow(&self, dice: &mut Dice) -> (Sender<Heard>, Receiver<Heard>) {
        let (tell, stream) = unbounded();
        let mut rest = &self.text[..self.there];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(1 + dice.index(rest.len()));
            let _ = tell.send(Heard::Bytes(now.to_vec()));
            rest = later;
        }
        let _ = tell.send(Heard::CaughtUp);
        (tell, stream)
    }

    /// It grows by some bytes; what they are.
    pub(super) fn grow(&mut self, dice: &mut Dice) -> Vec<u8> {
        let rest = self.text.len() - self.there;
        let more = if rest == 0 { 0 } else { 1 + dice.index(rest.min(2_000)) };
        self.there += more;
        self.text[self.there - more..self.there].to_vec()
    }
}

/// The numbers of alerts.
struct Serial {
    last: u64,
    /// The one that ends whoever works on it.
    poisoned: Option<u64>,
}

/// Numbers of the rules that records are of.
pub(super) const RULES: std::ops::RangeInclusive<u32> = 1..=5;

/// What a record says that ends whoever works on it, and what one says that ends whoever parses it.
pub(super) const POISONED: &str = "\"severity\":\"fatal\"";
pub(super) const UNREADABLE: &str = "\"severity\":\"unreadable\"";

/// Whether a record ends whoever takes it.
pub(super) fn is_poison(line: &str) -> bool {
    [POISONED, UNREADABLE].iter().any(|it| line.contains(it))
}

/// A line: mostly an alert of few hosts, users and addresses; sometimes late, a copy, or broken.
fn record(text: &mut String, dice: &mut Dice, (serial, at): (&mut Serial, u64), began: Millis) {
    if dice.chance(30_000) {
        let _ = writeln!(text, "{{\"broken\": {at}");
        return;
    }
    serial.last += u64::from(!dice.chance(60_000) || serial.last == 0);
    let (number, poisoned) = (serial.last, serial.poisoned == Some(serial.last));
    // A copy is equal, but for its time: all else of an alert follows from its number.
    let mut of = Dice::of(&[number, began.cast_unsigned()]);
    let late = if of.chance(100_000) { of.span(0, 600_000) } else { 0 };
    let time = began + (at * 4_000).cast_signed() - late;
    let (technique, rule) = of.pick(&[("T1110", 1), ("T1059", 2), ("T1486", 3), ("T1566", 4), ("T1110", 5)]);
    let line = json!({
        "id": format!("a{number}"),
        "time": jiff::Timestamp::from_millisecond(time).unwrap_or_default().to_string(),
        "product": "edr",
        "rule_id": format!("R{rule}"),
        "rule_name": format!("Rule {rule}"),
        "severity": if poisoned { of.pick(&["fatal", "unreadable"]) } else { of.pick(&["low", "medium", "high", "critical"]) },
        "technique": technique,
        "host": format!("h{}", of.below(5)),
        "user": format!("u{}", of.below(6)),
        "src_ip": format!("198.51.100.{}", of.below(8)),
    });
    let _ = writeln!(text, "{line}");
}
