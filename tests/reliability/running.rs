//! A live run that acts on the world is killed and goes on: every record once in the archive, every order once in the world.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use quell::archive::Reader;
use quell::record::{ActionStatus, Names};

use super::common::live::{Live, PATIENCE, shown};
use super::common::world::{Done, calling, world};
use super::common::{acting_plan, count, digest, edges, held, quell, site, summary_of};
use super::fault::{Dice, Fault, Shim};
use super::journey::{Journey, Try};
use super::way::Way;

/// Records of the run.
const RECORDS: u64 = 240;
/// Tables that hang on the records alone: others tell when the world answered.
const SETTLED: [&str; 9] = [
    "alerts",
    "duplicates",
    "rejects",
    "matches",
    "members",
    "links",
    "incidents",
    "candidates",
    "decisions",
];

/// Its plan, the world that it acts on, and what comes of it.
pub struct Running<'a> {
    flow: PathBuf,
    /// The plan of one that reads a file.
    plan: String,
    way: Way,
    folder: PathBuf,
    shim: &'a Shim,
    world: Done,
    expected: Expected,
    calls: Vec<(&'static str, u64)>,
    usual_ms: u64,
}

/// What must be the same however often it is killed.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    tables: BTreeMap<String, String>,
    /// Ids of orders that the world has carried out.
    orders: BTreeSet<String>,
}

impl<'a> Running<'a> {
    /// Makes the plan, and runs it in peace.
    pub fn new(folder: &Path, way: Way, shim: &'a Shim) -> Running<'a> {
        let (days, plan) = (folder.join("days"), folder.join("plan"));
        site(&days, 100, 5);
        let flow = acting_plan(&plan, &days, &["edges.jsonl"]);
        std::fs::write(plan.join("edges.jsonl"), edges(RECORDS)).expect("room");
        let (address, world) = world();
        calling(&flow, address);
        let mut running = Running {
            plan: std::fs::read_to_string(&flow).expect("the plan"),
            flow,
            way,
            folder: folder.to_owned(),
            shim,
            world,
            expected: Expected::default(),
            calls: Vec::new(),
            usual_ms: 0,
        };
        let archive = running.folder.join("peace");
        running.begin();
        let began = Instant::now();
        let met = running.process(&archive, None);
        assert!(matches!(met, Met::Ended(None)), "left in peace, it ends in order: {met:?}");
        running.usual_ms = millis(began.elapsed());
        if running.way.has_calls() {
            running.calls = shim.counted();
        }
        running.expected = running.looked(&archive).expect("what is left in peace is in order").0;
        assert!(running.expected.orders.len() > 20, "{:?}", running.expected);
        running
    }
}

/// What became of one process.
#[derive(Debug)]
enum Met {
    /// It took everything, and ended when it was told to; so many milliseconds after somebody beside it was killed.
    Ended(Option<u64>),
    /// It was killed, or a call failed and it ended; with what it said, and its code.
    Fell(Option<i32>, String),
}

impl Running<'_> {
    /// Nothing was made yet: the world has no orders, and topics are new.
    fn begin(&self) {
        self.world.lock().expect("no panic").clear();
        std::fs::write(&self.flow, self.way.plan(&self.plan, RECORDS)).expect("room");
    }

    /// One process, from its start to its end.
    fn process(&self, archive: &Path, fault: Option<&Fault>) -> Met {
        let mut command = quell();
        command.arg("run").arg("--flow").arg(&self.flow).arg("--archive").arg(archive);
        command.args(["--output", "json", "--batch", "20"]);
        self.way.tell(&mut command);
        if self.way.has_calls() {
            self.shim.meet(&mut command, archive, fault);
        }
        let mut live = Live::of(&mut command);
        let (began, mut stopping, mut struck) = (Instant::now(), false, None);
        loop {
            if let Some(status) = live.ended() {
                let since = struck.map(|at: Instant| millis(at.elapsed()));
                return if status.success() {
                    Met::Ended(since)
                } else {
                    Met::Fell(status.code(), live.told())
                };
            }
            if let Some(Fault::Role(role, ms)) = fault
                && struck.is_none()
                && began.elapsed() >= Duration::from_millis(*ms)
            {
                struck = Some(Instant::now());
                if self.way.strike(role, &live) {
                    live.kill();
                    return Met::Fell(None, String::new());
                }
            }
            if let Some(Fault::Time(ms)) = fault
                && began.elapsed() >= Duration::from_millis(*ms)
            {
                live.kill();
                return Met::Fell(None, String::new());
            }
            if !stopping && live.told().contains("Ctrl-C") && shown(archive).unwrap_or(0) >= RECORDS {
                stopping = true;
                live.tell_to_stop();
            }
            assert!(began.elapsed() < PATIENCE, "{fault:?}: it does not end: {}", live.told());
            sleep(Duration::from_millis(3));
        }
    }

    /// What the archive and the world hold, and how many actions are in doubt; what is wrong in itself.
    fn looked(&self, archive: &Path) -> Result<(Expected, u64), String> {
        held(archive);
        let mut tables = digest(archive);
        tables.retain(|table, _| SETTLED.contains(&table.as_str()));
        let done = self.world.lock().expect("no panic").clone();
        let reader = Reader::open(archive, Arc::new(Names::default())).expect("an archive");
        let (mut known, mut succeeded, mut in_doubt) = (BTreeSet::new(), BTreeSet::new(), 0);
        for line in reader.actions(None).expect("actions").map(|line| line.expect("an action")) {
            let id = line.action_id.to_string();
            in_doubt += u64::from(line.status == ActionStatus::InDoubt);
            if line.status == ActionStatus::Succeeded && line.attempts > 0 && !succeeded.insert(id.clone()) {
                return Err(format!("the order {id} succeeds twice"));
            }
            known.insert(id);
        }
        let told_only: Vec<&String> = succeeded.iter().filter(|id| !done.contains_key(*id)).collect();
        if !told_only.is_empty() {
            return Err(format!("told, and never done: {told_only:?}"));
        }
        let done_only: Vec<&String> = done.keys().filter(|id| !known.contains(*id)).collect();
        if !done_only.is_empty() {
            return Err(format!("done, and never told: {done_only:?}"));
        }
        Ok((Expected { tables, orders: done.into_keys().collect() }, in_doubt))
    }

    /// What is wrong at the end.
    fn compared(&self, archive: &Path) -> Result<u64, String> {
        let (is, in_doubt) = self.looked(archive)?;
        let tables = self.expected.tables.iter();
        let differs: Vec<&String> = tables
            .filter(|(table, was)| is.tables.get(*table) != Some(was) && self.way.says_again(table))
            .map(|(table, _)| table)
            .collect();
        if !differs.is_empty() {
            return Err(format!("other rows in {differs:?}"));
        }
        let missing: Vec<&String> = self.expected.orders.difference(&is.orders).collect();
        let more: Vec<&String> = is.orders.difference(&self.expected.orders).collect();
        if !missing.is_empty() || !more.is_empty() {
            return Err(format!("orders never given {missing:?}, and given for nothing {more:?}"));
        }
        // As its own log tells it.
        let again = self.folder.join("again");
        let mut command = super::common::replay(&self.flow, &[archive], &again, &[]);
        let output = command.output().expect("the binary starts");
        if !output.status.success() {
            return Err(format!("its log cannot be replayed: {}", super::common::said(&output)));
        }
        let same = digest(&again) == digest(archive);
        std::fs::remove_dir_all(&again).expect("it can be removed");
        if count(&summary_of(&output), "divergences") > 0 || !same {
            return Err("its log tells it otherwise".to_owned());
        }
        self.way.compared(archive)?;
        Ok(in_doubt)
    }
}

/// Whole milliseconds.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("not so long")
}

impl Journey for Running<'_> {
    fn disturbed(&self, faults: &[Fault]) -> Try {
        let archive = self.folder.join("cut");
        self.begin();
        let mut tried = Try { met: Vec::new(), recovered_ms: Vec::new(), in_doubt: 0, wrong: Vec::new() };
        let mut over = false;
        for fault in faults {
            match self.process(&archive, Some(fault)) {
                Met::Ended(since) => {
                    over = true;
                    tried.met.extend(since.map(|_| fault.clone()));
                    tried.recovered_ms.extend(since);
                }
                Met::Fell(code, said) => {
                    tried.met.push(fault.clone());
                    let is_told = code == Some(1) && !said.contains("panicked");
                    if !(is_told || fault.kills() && code.is_none()) {
                        tried.wrong.push(format!("ends with {code:?}, and says {said:?}"));
                    }
                }
            }
            if over {
                break;
            }
        }
        if !over {
            let began = Instant::now();
            if let Met::Fell(code, said) = self.process(&archive, None) {
                tried.wrong.push(format!("cannot go on: {code:?}, {said}"));
            }
            tried.recovered_ms.push(millis(began.elapsed()));
        }
        match self.compared(&archive) {
            Ok(in_doubt) => tried.in_doubt = in_doubt,
            Err(wrong) => tried.wrong.push(wrong),
        }
        std::fs::remove_dir_all(&archive).expect("it can be removed");
        tried
    }

    fn fault(&self, dice: &mut Dice) -> Fault {
        self.way.fault(dice, &self.calls, self.usual_ms)
    }

    fn usual(&self) -> (Vec<(&'static str, u64)>, u64) {
        (self.calls.clone(), self.usual_ms)
    }
}
