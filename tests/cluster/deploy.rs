//! What `deploy/` says is so: processes that nobody supervises together find one another again, with the next generation.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use quell::cluster::ClusterFile;

use super::common::live::{Live, taken, until};
use super::common::{acting_plan, agrees, count, digest, edges, quell, replay, root, said, site, summary};
use super::layout::Layout;
use super::results::append;

/// A line of the unit: what it says of a key.
fn unit(key: &str) -> String {
    let text = std::fs::read_to_string(root().join("deploy/systemd/quell@.service")).expect("a unit");
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("the unit says nothing of {key}")).to_owned()
}

/// What systemd makes of the unit, for each process by itself: a shell that knows of no other.
struct Units {
    folder: PathBuf,
    shells: Vec<Child>,
}

impl Units {
    fn start(folder: &Path, flow: &Path, archive: &Path, layout: &Layout) -> Units {
        let (mut units, program) = (Units { folder: folder.to_owned(), shells: Vec::new() }, quell());
        let (pause, never) = (unit("RestartSec"), unit("RestartPreventExitStatus").replace(' ', "|"));
        assert_eq!(unit("Restart"), "always");
        // The last one first: they wait for one another.
        for process in (0..layout.addresses.len()).rev() {
            let line = unit("ExecStart").replace("%i", &process.to_string());
            let places = [
                ("/usr/local/bin/quell", Path::new(program.get_program())),
                ("/etc/quell/dataflows/pipeline.yml", flow),
                ("/etc/quell/cluster.yml", &layout.file),
                ("/var/lib/quell/archive", archive),
            ];
            let line = places.iter().fold(line, |line, (unit, ours)| {
                assert!(line.contains(unit), "{line}");
                line.replace(unit, &ours.display().to_string())
            });
            let script = format!(
                "while :; do\n{line} >/dev/null 2>>told-{process} & echo $! >pid-{process}\nwait $!; code=$?\n\
                 [ -e stop ] && exit $code\ncase $code in {never}) exit $code;; esac\nsleep {pause}\ndone\n"
            );
            let mut shell = Command::new("sh");
            // The plan's own paths are relative to the plan.
            shell.args(["-c", &script]).current_dir(folder).env("METRICS", "0").stdin(Stdio::null());
            units.shells.push(shell.spawn().expect("a shell"));
        }
        units
    }

    fn told(&self, process: usize) -> String {
        std::fs::read_to_string(self.folder.join(format!("told-{process}"))).unwrap_or_default()
    }

    fn signal(&self, name: &str, process: usize) -> bool {
        let pid = std::fs::read_to_string(self.folder.join(format!("pid-{process}"))).unwrap_or_default();
        let mut kill = Command::new("kill");
        !pid.is_empty()
            && kill.args([name, pid.trim()]).stderr(Stdio::null()).status().expect("kill").success()
    }

    /// Waits until both are of a generation.
    fn of_generation(&self, generation: u64) {
        for process in 0..2 {
            let line = format!("process {process} of 2, 1 workers each, generation {generation}\n");
            until("they have found one another", || self.told(process).contains(&line).then_some(()));
        }
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        for shell in &mut self.shells {
            let _ = shell.kill();
            let _ = shell.wait();
        }
        for process in 0..2 {
            self.signal("-KILL", process);
        }
    }
}

/// Certificates as somebody makes them who follows the unit's head.
fn certificates(layout: &Layout) {
    let mut script = Command::new(root().join("deploy/certificates"));
    let made = script.arg(layout.addresses.len().to_string()).arg(&layout.folder).output().expect("bash");
    if !made.status.success() {
        return eprintln!("SKIPPED: no certificates by deploy/certificates: {}", said(&made));
    }
    let output = quell().arg("check").arg("--cluster").arg(&layout.file).output().expect("it starts");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn processes_that_are_restarted_each_by_itself_go_on_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), 100, 5);
    let flow = acting_plan(&at("plan"), &at("days"), &["edges.jsonl"]);
    let (archive, input, all) = (at("live"), at("plan").join("edges.jsonl"), edges(600));
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    let give = |n: usize| append(&input, &lines[n * 150..(n + 1) * 150].concat());
    give(0);
    let layout = Layout::new(&at("cluster"), 2, 1);
    certificates(&layout);
    let mut units = Units::start(folder.path(), &flow, &archive, &layout);
    units.of_generation(1);
    taken(&archive, 150);
    // Either is killed; then a machine is rebooted in order, and comes back.
    for (n, (signal, process)) in [("-KILL", 1), ("-KILL", 0), ("-TERM", 1)].into_iter().enumerate() {
        assert!(units.signal(signal, process), "it runs: {}", units.told(process));
        units.of_generation(n as u64 + 2);
        give(n + 1);
        taken(&archive, 150 * (n as u64 + 2));
    }
    assert!(units.told(0).contains("process 1 is lost: "), "{}", units.told(0));
    std::fs::write(at("stop"), "").expect("room");
    assert!(units.signal("-TERM", 0), "it runs");
    for shell in &mut units.shells {
        assert!(shell.wait().expect("a shell").success(), "{}{}", units.told(0), units.told(1));
    }
    // It was left as it stood; settled at last, it is what a run says that nobody disturbed.
    let live = Live::start(&flow, &archive, &[]);
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    let said = live.stop();
    agrees(&said, &archive);
    assert_eq!(count(&said, "records"), 600, "{said}");
    agrees(&summary(&mut replay(&flow, &[&input], &at("again"), &["--arrival"])), &at("again"));
    assert_eq!(digest(&archive), digest(&at("again")));
}

#[test]
fn one_that_waits_for_more_ends_with_one_that_it_has_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), 100, 5);
    let flow = acting_plan(&at("plan"), &at("days"), &["edges.jsonl"]);
    append(&at("plan").join("edges.jsonl"), &edges(50));
    let layout = Layout::new(&at("cluster"), 3, 1);
    let file = layout.file.display().to_string();
    let first = Live::start(&flow, &at("live"), &["--cluster", &file, "--process", "0"]);
    let other = layout.other(1, &flow);
    // It listens once it has found the first.
    until("it has found the first", || TcpStream::connect(&layout.addresses[1]).ok());
    thread::sleep(Duration::from_millis(300));
    first.kill();
    let output = other.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("it ended before all were there"), "{}", said(&output));
}

#[test]
fn examples_of_clusters_can_be_read() {
    let systemd = ClusterFile::read(&root().join("deploy/systemd/cluster.yml")).expect("a cluster");
    let text = std::fs::read_to_string(root().join("deploy/kubernetes/quell.yml")).expect("manifests");
    let (_, map) = text.split_once("  cluster.yml: |\n").expect("a cluster's file");
    let lines: Vec<&str> = map.lines().map_while(|line| line.strip_prefix("    ")).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cluster.yml");
    std::fs::write(&path, lines.join("\n") + "\n").expect("room");
    let kubernetes = ClusterFile::read(&path).expect("a cluster");
    assert!(text.contains(&format!("  replicas: {}\n", kubernetes.processes.len())));
    for file in [systemd, kubernetes] {
        assert!(file.processes.len() > 1 && file.processes.iter().all(|process| process.listen.is_some()));
        assert!(file.identity(1).0.ends_with("process-1.pem"), "{:?}", file.identity(1));
    }
}
