//! Networks of the kernel's own: two processes in a namespace each, on a link that is slow, and cut.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::common::live::{Live, shown, taken, until};
use super::common::{quell, root, said};
use super::growing::{Growing, begun};
use super::layout::Layout;

/// Where the processes are.
const ADDRESSES: [&str; 2] = ["10.77.0.1:7700", "10.77.0.2:7700"];

/// Two namespaces and a link between them, for as long as this lives.
struct Networks {
    /// Each is held by a process that sleeps.
    holders: Vec<Child>,
}

impl Networks {
    /// Both; why not, where this machine does not let us.
    fn new() -> Result<Networks, String> {
        let mut networks = Networks { holders: Vec::new() };
        let unshare = Command::new("unshare");
        networks.hold(unshare, &["--user", "--map-root-user", "--net"])?;
        let unshare = networks.inside(0, "unshare");
        networks.hold(unshare, &["--net"])?;
        let other = networks.holders[1].id().to_string();
        networks.ip(0, &format!("link add far0 type veth peer name far1 netns {other}"))?;
        for n in 0..2 {
            networks.ip(n, "link set lo up")?;
            networks.ip(n, &format!("addr add 10.77.0.{}/24 dev far{n}", n + 1))?;
            networks.ip(n, &format!("link set far{n} up"))?;
        }
        Ok(networks)
    }

    /// Starts one that sleeps in a namespace of its own, and waits until it does.
    fn hold(&mut self, mut unshare: Command, how: &[&str]) -> Result<(), String> {
        let command = unshare.args(how).args(["sleep", "600"]).stdin(Stdio::null()).stderr(Stdio::piped());
        self.holders.push(command.spawn().map_err(|error| error.to_string())?);
        let at = self.holders.len() - 1;
        let comm = format!("/proc/{}/comm", self.holders[at].id());
        let gone = until("a namespace is there", || {
            let status = self.holders[at].try_wait().expect("a child");
            let sleeps = std::fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "sleep");
            (sleeps || status.is_some()).then_some(status.is_some())
        });
        if !gone {
            return Ok(());
        }
        let output = self.holders.remove(at).wait_with_output().map_err(|error| error.to_string())?;
        Err(said(&output))
    }

    /// A command in one of them.
    fn inside(&self, n: usize, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holders[n].id().to_string(), "--user", "--net"]);
        command.args(["--preserve-credentials", program]).current_dir(root()).stdin(Stdio::null());
        command
    }

    fn ip(&self, n: usize, words: &str) -> Result<(), String> {
        let output =
            self.inside(n, "ip").args(words.split(' ')).output().map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(said(&output)) }
    }

    /// 50 ms there and back, and one packet of a hundred is lost; where the kernel has no such thing, it is narrow.
    fn slow(&self) -> &'static str {
        let both = |how: &str| {
            (0..2).all(|n| {
                let mut tc = self.inside(n, "tc");
                let tc =
                    tc.args(["qdisc", "replace", "dev", &format!("far{n}"), "root"]).args(how.split(' '));
                tc.output().is_ok_and(|output| output.status.success())
            })
        };
        if both("netem delay 25ms loss 1%") {
            "50 ms there and back, one packet of a hundred lost"
        } else if both("tbf rate 20mbit burst 16kbit latency 200ms") {
            "20 Mbit/s: the kernel has no netem"
        } else {
            "not slow: the kernel has neither netem nor tbf"
        }
    }

    fn cut(&self, is_cut: bool) {
        self.ip(0, if is_cut { "link set far0 down" } else { "link set far0 up" }).expect("a link");
    }

    /// Both processes of a run.
    fn run(&self, days: &Growing) -> (Live, Child) {
        let layout = Layout::new(&days.at("2x1"), 2, 1);
        let text = std::fs::read_to_string(&layout.file).expect("the file");
        let text =
            ADDRESSES.iter().zip(&layout.addresses).fold(text, |text, (far, near)| text.replace(near, far));
        std::fs::write(&layout.file, text).expect("room");
        let program = quell().get_program().to_string_lossy().into_owned();
        let [mut first, mut other] = [0, 1].map(|n| {
            let mut command = self.inside(n, &program);
            command.arg("run").arg("--flow").arg(&days.flow);
            layout.as_process(&mut command, n);
            command
        });
        let other = other.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        first.arg("--archive").arg(days.at("live")).args(["--output", "json", "--snapshot-every-ms", "100"]);
        (Live::of(first.args(["--batch", "40"])), other)
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

#[test]
fn a_slow_network_that_is_cut_for_seconds_changes_nothing_and_for_long_ends_all() {
    let networks = match Networks::new() {
        Ok(networks) => networks,
        Err(why) => return eprintln!("SKIPPED: no namespaces of networks here: {why}"),
    };
    eprintln!("the network: {}", networks.slow());
    let mut days = Growing::new(900);
    let (first, other) = networks.run(&days);
    days.grow((0, 3));
    taken(&days.at("live"), days.given);
    // Seconds are nothing: what was under way arrives, and nobody is taken for lost.
    days.grow((1, 3));
    networks.cut(true);
    thread::sleep(Duration::from_secs(1));
    let before = shown(&days.at("live"));
    thread::sleep(Duration::from_secs(4));
    assert_eq!(shown(&days.at("live")), before, "nothing is done by one of them alone");
    networks.cut(false);
    taken(&days.at("live"), days.given);
    assert!(!first.told().contains("is lost"), "{}", first.told());
    // More than the link's patience ends both, wherever they are.
    days.grow((2, 3));
    networks.cut(true);
    let told = first.failed();
    assert!(told.contains("process 1 is lost: it has been silent for long"), "{told}");
    let output = other.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("process 0 is lost: it has been silent for long"), "{}", said(&output));
    // As a supervisor does: all are started again, and find one another once they can.
    let (first, other) = networks.run(&days);
    thread::sleep(Duration::from_secs(1));
    networks.cut(false);
    assert!(begun(&first) > Some(0), "{}", first.told());
    days.is_as_undisturbed(first);
    assert!(other.wait_with_output().expect("it ends").status.success());
}
