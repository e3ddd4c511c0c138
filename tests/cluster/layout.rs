//! Processes of a cluster on this machine: the file that describes them, and the binary as each of them.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use quell::cluster::authority::Authority;

use super::common::{quell, said};

/// A cluster's file, and its certificates beside it.
pub(crate) struct Layout {
    pub(crate) folder: PathBuf,
    pub(crate) file: PathBuf,
    pub(crate) addresses: Vec<String>,
}

/// Ports that nobody listens at, now.
pub(crate) fn ports(n: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> =
        (0..n).map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}

impl Layout {
    /// So many processes of so many workers each.
    pub(crate) fn new(folder: &Path, processes: usize, workers: usize) -> Layout {
        let authority = Authority::new().expect("an authority");
        authority.write(folder, processes).expect("room for certificates");
        let addresses: Vec<String> =
            ports(processes).into_iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut text = format!("workers: {workers}\nwait_s: 60\nprocesses:\n");
        for address in &addresses {
            writeln!(text, "  - {{address: '{address}'}}").expect("memory");
        }
        text.push_str("ca: ca.pem\ncertificate: 'process-{process}.pem'\nkey: 'process-{process}.key'\n");
        let file = folder.join("cluster.yml");
        std::fs::write(&file, text).expect("room for the file");
        Layout { folder: folder.to_owned(), file, addresses }
    }

    /// What makes a command one of the processes.
    pub(crate) fn as_process<'c>(&self, command: &'c mut Command, process: usize) -> &'c mut Command {
        command.arg("--cluster").arg(&self.file).args(["--process", &process.to_string()])
    }

    /// Any process but the first.
    pub(crate) fn other(&self, process: usize, flow: &Path) -> Child {
        let mut command = quell();
        command.arg("run").arg("--flow").arg(flow).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.as_process(&mut command, process).spawn().expect("the binary starts")
    }

    /// All of them, `first` as the first; all end well, and what the first said.
    pub(crate) fn all(&self, first: &mut Command, flow: &Path) -> Output {
        let others: Vec<Child> = (1..self.addresses.len()).map(|process| self.other(process, flow)).collect();
        let output = self.as_process(first, 0).output().expect("the binary starts");
        let others: Vec<Output> =
            others.into_iter().map(|other| other.wait_with_output().expect("it ends")).collect();
        let all: String = std::iter::once(&output).chain(&others).map(said).collect();
        assert!(output.status.success() && others.iter().all(|other| other.status.success()), "{all}");
        output
    }
}
