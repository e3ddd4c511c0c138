//! Faults: which call of the program is met, and how. The shim of `faults.c` is preloaded into the binary, which knows nothing
//! of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The calls by which state leaves the process, as `faults.c` names them.
pub const CALLS: [&str; 6] = ["sync", "write", "rename", "unlink", "truncate", "send"];

/// Who is killed beside the command that is made.
const ROLES: [&str; 4] = ["process 0", "process 1", "supervisor", "broker"];

/// Numbers that a seed makes: the same everywhere.
pub struct Dice(u64);

impl Dice {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound.max(1)
    }

    /// One of these.
    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        let at = self.below(all.len() as u64);
        all[usize::try_from(at).expect("a place")]
    }
}

/// What is done to the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL so many milliseconds after its start.
    Time(u64),
    /// SIGKILL of whoever plays a role beside it, so many milliseconds after its start.
    Role(&'static str, u64),
    /// At a call: how, which, and its number from 1.
    Call(String, &'static str, u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Time(ms) => write!(f, "time:{ms}"),
            Fault::Role(role, ms) => write!(f, "{role}:{ms}"),
            Fault::Call(how, call, at) => write!(f, "{how}:{call}:{at}"),
        }
    }
}

impl Fault {
    /// As it was told.
    pub fn parse(text: &str) -> Fault {
        let mut parts = text.split(':');
        let ms = |parts: &mut std::str::Split<'_, char>| {
            parts.next().and_then(|ms| ms.parse().ok()).expect("milliseconds")
        };
        match parts.next().unwrap_or_default() {
            "time" => Fault::Time(ms(&mut parts)),
            role if ROLES.contains(&role) => {
                let role = ROLES.into_iter().find(|known| *known == role).expect("a role");
                Fault::Role(role, ms(&mut parts))
            }
            how => {
                let mut part = || parts.next().unwrap_or_default();
                let call = part();
                let call = CALLS.into_iter().find(|known| *known == call).expect("a call");
                Fault::Call(how.to_owned(), call, part().parse().expect("a number"))
            }
        }
    }

    /// Whether the process is killed by it, rather than told that a call failed.
    pub fn kills(&self) -> bool {
        !matches!(self, Fault::Call(how, _, _) if how.starts_with('E'))
    }

    /// One of those that a run can meet which makes so many of each call and takes so long.
    pub fn any(dice: &mut Dice, calls: &[(&'static str, u64)], usual_ms: u64) -> Fault {
        if dice.below(4) == 0 {
            return Fault::Time(dice.below(usual_ms) + 1);
        }
        let made: Vec<(&'static str, u64)> = calls.iter().copied().filter(|(_, many)| *many > 0).collect();
        let (call, many) = dice.of(&made);
        let how = match call {
            "write" => dice.of(&["before", "after", "torn", "EIO", "ENOSPC"]),
            "sync" => dice.of(&["before", "after", "after", "EIO"]),
            "send" => dice.of(&["before", "after"]),
            _ => dice.of(&["before", "after", "EIO"]),
        };
        Fault::Call(how.to_owned(), call, dice.below(many) + 1)
    }
}

/// `faults.c`, built.
pub struct Shim {
    library: PathBuf,
    counts: PathBuf,
}

impl Shim {
    /// Builds it.
    pub fn build(folder: &Path) -> Shim {
        let library = folder.join("faults.so");
        let source = super::common::root().join("tests/reliability/faults.c");
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-Wall", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
        assert!(cc.status().expect("a C compiler, cc").success(), "faults.c is built");
        Shim { library, counts: folder.join("counts") }
    }

    /// Lets a command meet a fault among its calls on files under `archive`, and on sockets.
    pub fn meet(&self, command: &mut Command, archive: &Path, fault: Option<&Fault>) {
        command.env("LD_PRELOAD", &self.library).env("QUELL_FAULT_UNDER", archive);
        command.env("QUELL_FAULT_COUNT", &self.counts);
        if let Some(fault @ Fault::Call(..)) = fault {
            command.env("QUELL_FAULT", fault.to_string());
        }
    }

    /// Has a command killed where it writes `word` anywhere but under `archive`.
    pub fn meet_word(&self, command: &mut Command, archive: &Path, word: &str) {
        self.meet(command, archive, None);
        command.env("QUELL_FAULT_WORD", word);
    }

    /// How many of each call the last command that ended in order made.
    pub fn counted(&self) -> Vec<(&'static str, u64)> {
        let text = std::fs::read_to_string(&self.counts).expect("the command ended in order");
        let count = |call: &&str| {
            let line = text.lines().find_map(|line| line.strip_prefix(*call)).expect("each call is told");
            line.trim().parse().expect("a number")
        };
        CALLS.into_iter().map(|call| (call, count(&call))).collect()
    }
}
