//! A replay that is cut and resumed: the archive is the one that a replay writes which is left in peace.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::common::days::{Days, Digests, told};
use super::common::{digest, held, summary};
use super::fault::{Fault, Shim};
use super::journey::{Journey, Try};

/// Its days, and what comes of them.
pub struct Replaying<'a> {
    days: Days,
    folder: PathBuf,
    shim: &'a Shim,
    expected: (Digests, serde_json::Value),
    calls: Vec<(&'static str, u64)>,
    usual_ms: u64,
}

const SETTINGS: [&str; 4] = ["--batch", "60", "--commit-every-ms", "5"];

impl<'a> Replaying<'a> {
    /// Makes days, and replays them in peace.
    pub fn new(folder: &Path, shim: &'a Shim) -> Replaying<'a> {
        let days = Days::new(1_500);
        let archive = folder.join("peace");
        let mut command = days.replay(&archive, &SETTINGS);
        shim.meet(&mut command, &archive, None);
        let began = Instant::now();
        let said = told(summary(&mut command));
        let usual_ms = u64::try_from(began.elapsed().as_millis()).expect("not so long");
        let (calls, digests) = (shim.counted(), digest(&archive));
        Replaying { days, folder: folder.to_owned(), shim, expected: (digests, said), calls, usual_ms }
    }
}

/// Waits for a child's end, or ends it; whether it ended in order.
pub fn ended(child: &mut Child, fault: &Fault) -> Option<i32> {
    if let Fault::Time(ms) = fault {
        sleep(Duration::from_millis(*ms));
        child.kill().expect("a child of ours");
    }
    child.wait().expect("it ends").code()
}

impl Journey for Replaying<'_> {
    fn disturbed(&self, faults: &[Fault]) -> Try {
        let archive = self.folder.join("cut");
        let mut tried = Try { met: Vec::new(), recovered_ms: Vec::new(), in_doubt: 0, wrong: Vec::new() };
        for fault in faults {
            let mut command = self.days.replay(&archive, &[&SETTINGS[..], &["--resume"]].concat());
            self.shim.meet(&mut command, &archive, Some(fault));
            let said = self.folder.join("said");
            let stderr = std::fs::File::create(&said).expect("room");
            let mut child = command.stdout(Stdio::null()).stderr(stderr).spawn().expect("the binary starts");
            let code = ended(&mut child, fault);
            let text = std::fs::read_to_string(&said).expect("text");
            match code {
                // It was not met.
                Some(0) => break,
                None => tried.met.push(fault.clone()),
                Some(code) => {
                    tried.met.push(fault.clone());
                    if code != 1 || text.contains("panicked") || text.trim().is_empty() || fault.kills() {
                        tried.wrong.push(format!("ends with {code}, and says {text:?}"));
                    }
                }
            }
        }
        let mut command = self.days.replay(&archive, &[&SETTINGS[..], &["--resume"]].concat());
        let began = Instant::now();
        tried.wrong.extend(self.compared(&mut command, &archive).err());
        tried.recovered_ms.push(u64::try_from(began.elapsed().as_millis()).expect("not so long"));
        std::fs::remove_dir_all(&archive).expect("it can be removed");
        tried
    }

    fn usual(&self) -> (Vec<(&'static str, u64)>, u64) {
        (self.calls.clone(), self.usual_ms)
    }
}

impl Replaying<'_> {
    /// Lets it end, and compares.
    fn compared(&self, command: &mut Command, archive: &Path) -> Result<(), String> {
        let output = command.output().expect("the binary starts");
        if !output.status.success() {
            return Err(format!("it cannot go on: {}", super::common::said(&output)));
        }
        let said = told(super::common::summary_of(&output));
        // Every record once, every incident's members, decisions and actions begun once: or it panics.
        held(archive);
        let digests = digest(archive);
        let differs: Vec<&String> = self
            .expected
            .0
            .iter()
            .filter(|(table, is)| digests.get(*table) != Some(is))
            .map(|(table, _)| table)
            .collect();
        if !differs.is_empty() {
            return Err(format!("other rows in {differs:?}"));
        }
        if said != self.expected.1 {
            return Err(format!("another summary: {said}, not {}", self.expected.1));
        }
        Ok(())
    }
}
