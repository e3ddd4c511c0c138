//! Drawn: what one seed decides, what has happened so far, and the fate that strikes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::Disk;
use super::people::Ear;
use super::play::Plant;
use super::sources::UNREADABLE;
use super::world::Doings;
use crate::act::Leaves;
use crate::flow::fate::{Deed, Fate, Strike};
use crate::record::{Alert, Millis, Severity};
use crate::replay::generate::dice::Dice;

/// What befell, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Steps of worker, clerk and archivist, and deeds that were to be made durable.
    pub steps: u64,
    /// Everything else, by its name.
    pub kinds: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: &Tally) {
        self.steps += other.steps;
        for (kind, count) in &other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
    }
}

/// The unwinding of a process that is crashed, and of the machine with it.
pub(super) struct Crashed;

/// The unwinding of a process that was thought dead, and goes on no more.
pub(super) struct Gone;

/// What others do while a process stands still.
pub(super) type Meanwhile = Rc<dyn Fn()>;

thread_local! {
    static MEANWHILE: RefCell<Option<Meanwhile>> = const { RefCell::new(None) };
}

/// Says what others do while a process stands still, or that none does.
pub(super) fn set_meanwhile(meanwhile: Option<Meanwhile>) {
    MEANWHILE.set(meanwhile);
}

/// How bad a record says it is that ends whoever works on it.
pub(super) const POISON: Severity = Severity::Fatal;
/// How often, in a million, a process stands still about a call.
const STALLS: u64 = 40_000;
/// Lines of the trace that are kept.
const TRACE_MAX: usize = 200;

/// All that one seed's play shares.
pub(super) struct Drawn {
    pub(super) dice: Dice,
    /// What befalls machines: apart, so that a seed plays the rest as it did before there were several.
    pub(super) machines: Dice,
    pub(super) disk: Disk,
    pub(super) world: Doings,
    /// What a ledger lies in for several machines.
    pub(super) book: Leaves,
    pub(super) ear: Ear,
    pub(super) plant: Plant,
    /// Machines that were lost before this one.
    pub(super) machine: u32,
    /// The machine's clock.
    pub(super) now: Millis,
    /// No fault strikes any more.
    pub(super) quiet: bool,
    /// Of a million deeds, so many strike.
    pub(super) rate: u64,
    /// Whether the process that acts was thought dead.
    pub(super) rising: bool,
    /// Processes that ended without saying why, but for those that a poisoned record ended.
    pub(super) abrupt: u64,
    pub(super) tally: Tally,
    trace: Vec<String>,
    whole: bool,
    /// What must not have happened.
    pub(super) wrong: Option<String>,
}

/// A handle on it.
pub(super) type Handle = Arc<Mutex<Drawn>>;

/// A process that was unwound while it held the lock has left what is in it whole: nothing is changed by halves.
pub(super) fn of(handle: &Handle) -> MutexGuard<'_, Drawn> {
    handle.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drawn {
    pub(super) fn new(seed: u64, disk: Disk, plant: Plant) -> Drawn {
        let mut dice = Dice::of(&[0x5157_454c, seed]);
        let rate = dice.pick(&[2_000, 10_000, 30_000]);
        Drawn {
            dice,
            machines: Dice::of(&[0x6d61_6368, seed]),
            disk,
            world: Doings::default(),
            book: Leaves::default(),
            ear: Ear::default(),
            plant,
            machine: 0,
            now: 1_767_700_000_000,
            quiet: false,
            rate,
            rising: false,
            abrupt: 0,
            tally: Tally::default(),
            trace: Vec::new(),
            whole: std::env::var_os("QUELL_SIMULATE_TRACE").is_some(),
            wrong: None,
        }
    }

    /// Notes a step.
    pub(super) fn note(&mut self, what: impl Into<String>) {
        let line = format!("{:>7} {}", self.tally.steps, what.into());
        if self.whole {
            println!("{line}");
        }
        if self.trace.len() >= TRACE_MAX {
            self.trace.drain(..TRACE_MAX / 2);
        }
        self.trace.push(line);
    }

    /// The last steps, a line each.
    pub(super) fn trace(&self) -> String {
        self.trace.join("\n")
    }

    /// Counts and notes something by its kind.
    pub(super) fn count(&mut self, kind: &'static str) {
        *self.tally.kinds.entry(kind).or_default() += 1;
        self.note(kind);
    }

    /// Something happened that must not.
    pub(super) fn accuse(&mut self, what: String) {
        self.note(format!("WRONG: {what}"));
        self.wrong.get_or_insert(what);
    }

    /// Whether a fault strikes here, at so many times the usual rate; 0 is seldom.
    pub(super) fn strikes(&mut self, times: u64) -> bool {
        self.tally.steps += 1;
        !self.quiet && self.dice.chance(if times == 0 { self.rate / 64 } else { self.rate * times })
    }

    /// What the process leaves, if it ends here.
    fn fall(&mut self, kind: &'static str) {
        self.count(kind);
        self.disk.copy();
    }
}

/// Ends the process here, if the dice say so.
pub(super) fn may_crash(handle: &Handle, times: u64) {
    let mut drawn = of(handle);
    if drawn.strikes(times) {
        drawn.abrupt += 1;
        drawn.fall("crashes");
        drop(drawn);
        resume_unwind(Box::new(Crashed));
    }
}

/// Has the process stand still here, if the dice say so, and others go on; whether it did.
pub(super) fn may_stall(handle: &Handle) -> bool {
    let stalls = {
        let mut drawn = of(handle);
        !drawn.quiet && !drawn.rising && drawn.dice.chance(STALLS)
    };
    let meanwhile = if stalls { MEANWHILE.take() } else { None };
    let Some(meanwhile) = meanwhile else { return false };
    of(handle).count("processes that stood still about a call");
    // Nobody else stands still until it wakes.
    meanwhile();
    MEANWHILE.set(Some(meanwhile));
    true
}

/// The fate of whoever does something durable on this thread.
pub(super) struct Strikes(pub(super) Handle);

impl Fate for Strikes {
    fn before(&self, deed: Deed<'_>) -> Strike {
        may_crash(&self.0, 1);
        let mut drawn = of(&self.0);
        let name = match deed {
            Deed::Log => "log",
            Deed::Ledger => "ledger",
            Deed::Book => "book",
            Deed::Contents(_) => "sync",
            Deed::Rename(..) => "rename",
            Deed::Folder(_) => "folder",
        };
        drawn.note(name);
        if !drawn.strikes(1) {
            return Strike::Spared;
        }
        if drawn.dice.chance(500_000) {
            drawn.count("failed writes");
            return Strike::Failed;
        }
        drawn.count("writes done and said to have failed");
        Strike::DoneAndFailed
    }

    fn after(&self, deed: Deed<'_>) {
        let mut drawn = of(&self.0);
        match deed {
            Deed::Rename(from, to) => drawn.disk.renamed(from, to),
            Deed::Folder(folder) => drawn.disk.synced(folder),
            Deed::Log | Deed::Ledger | Deed::Book | Deed::Contents(_) => {}
        }
        drop(drawn);
        may_crash(&self.0, 1);
        if matches!(deed, Deed::Ledger | Deed::Book) {
            // It is between its intent and its call.
            may_stall(&self.0);
        }
    }

    fn works_on(&self, alerts: &[Arc<Alert>]) {
        if alerts.iter().any(|alert| alert.severity == POISON) {
            self.ends("processes that a record ended");
        }
    }

    fn reads(&self, records: &[u8]) {
        if memchr::memmem::find(records, UNREADABLE.as_bytes()).is_some() {
            self.ends("processes that a record ended while it was parsed");
        }
    }
}

impl Strikes {
    /// A record ends the process.
    fn ends(&self, how: &'static str) -> ! {
        let mut drawn = of(&self.0);
        if drawn.rising {
            drop(drawn);
            resume_unwind(Box::new(Gone));
        }
        drawn.fall(how);
        drop(drawn);
        resume_unwind(Box::new(Crashed));
    }
}
