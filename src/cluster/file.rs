//! The cluster's file: the same at all of its processes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::{Fault, yaml};

/// Processes, and workers of each, at most.
const MOST: usize = 64;

/// A cluster: which processes there are, and how they know one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterFile {
    /// The processes, by index. The first one reads the sources and keeps log, ledger and archive.
    pub processes: Vec<Process>,
    /// Dataflow workers of each process; results do not depend on it.
    #[serde(default = "one")]
    pub workers: u16,
    /// The cluster's own certificate authority, PEM. Paths are relative to this file; `{process}` stands for the index.
    pub ca: PathBuf,
    /// A process's certificate for the name `process-N.quell`, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM (PKCS #8, SEC1 or PKCS #1); for nobody else to read.
    pub key: PathBuf,
    /// How long processes wait for one another when they start, in seconds.
    #[serde(default = "two_minutes")]
    pub wait_s: u64,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Where the others reach it: `10.0.0.1:7400`, `quell-0.quell:7400`.
    pub address: String,
    /// Where it listens, where that is another address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
}

fn one() -> u16 {
    1
}

fn two_minutes() -> u64 {
    120
}

impl ClusterFile {
    /// Reads and checks a file; what is wrong comes with its place and cure. Paths are made whole.
    pub fn read(path: &Path) -> Result<ClusterFile, Vec<Fault>> {
        let cure = "see `quell schema cluster`";
        let text = std::fs::read_to_string(path)
            .map_err(|error| vec![Fault::of(path, format!("cannot be read: {error}"), "check the path")])?;
        let mut file: ClusterFile = yaml::parse(path, &text, cure)?;
        let faults: Vec<Fault> = file.faults().into_iter().map(|what| Fault::of(path, what, cure)).collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        for path in [&mut file.ca, &mut file.certificate, &mut file.key] {
            *path = folder.join(&*path);
        }
        Ok(file)
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !(1..=MOST).contains(&self.processes.len()) {
            faults.push(format!("{} processes are too few or too many", self.processes.len()));
        }
        if !(1..=MOST).contains(&usize::from(self.workers)) {
            faults.push(format!("{} workers are too few or too many", self.workers));
        }
        for (at, process) in self.processes.iter().enumerate() {
            let address = &process.address;
            let port = address.rsplit_once(':').and_then(|(host, port)| {
                (!host.is_empty()).then_some(port.parse::<u16>().ok().filter(|port| *port > 0)).flatten()
            });
            if port.is_none() {
                faults.push(format!("{address:?} is no host and port"));
            }
            if self.processes[..at].iter().any(|other| other.address == *address) {
                faults.push(format!("two processes are at {address}"));
            }
        }
        faults
    }

    /// The certificate and the key of a process.
    #[must_use]
    pub fn identity(&self, process: usize) -> (PathBuf, PathBuf) {
        let own = |path: &Path| {
            PathBuf::from(path.to_string_lossy().replace("{process}", &process.to_string()).as_str())
        };
        (own(&self.certificate), own(&self.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cluster.yml");
        let write = |text: &str| std::fs::write(&path, text).expect("room");
        write(
            "processes: [{address: 'a:1'}, {address: 'a:1'}, {address: 'b'}]\nworkers: 0\nca: c\ncertificate: p\nkey: k\n",
        );
        let faults = ClusterFile::read(&path).expect_err("it has faults");
        let told: Vec<&str> = faults.iter().map(|fault| fault.what.as_str()).collect();
        assert_eq!(
            told,
            ["0 workers are too few or too many", "two processes are at a:1", "\"b\" is no host and port"]
        );
        write("processes: [{address: 'a:1'}]\nca: c\ncertificate: 'p-{process}.pem'\nkey: k\n");
        let file = ClusterFile::read(&path).expect("it is sound");
        assert_eq!(file.identity(3).0, folder.path().join("p-3.pem"));
        assert_eq!((file.workers, file.wait_s), (1, 120));
        write("processes: []\nca: c\ncertificate: p\nkey: k\nport: 1\n");
        assert_eq!(ClusterFile::read(&path).expect_err("no such field")[0].line, Some(5));
    }
}
