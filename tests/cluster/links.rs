//! Links that are slow, and links that are cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::common::days::{Days, told};
use super::common::live::{Live, taken, until};
use super::common::{acting_plan, agrees, digest, edges, quell, said, site, summary_of};
use super::layout::Layout;
use super::results::append;

/// A network between two processes.
struct Network {
    address: String,
    ways: Arc<Mutex<Vec<TcpStream>>>,
}

impl Network {
    /// Carries what is sent to it to `to` and back, some bytes at a time, each after a pause.
    fn to(to: &str, piece: usize, pause: Duration) -> Network {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("an address").to_string();
        let (ways, to) = (Arc::<Mutex<Vec<TcpStream>>>::default(), to.to_owned());
        let kept = Arc::clone(&ways);
        thread::spawn(move || {
            for from in listener.incoming().filter_map(Result::ok) {
                let Ok(to) = TcpStream::connect(&to) else { continue };
                let both = [(&from, &to), (&to, &from)];
                for (one, other) in both.map(|(one, other)| (one.try_clone(), other.try_clone())) {
                    let (one, other) = (one.expect("a socket"), other.expect("a socket"));
                    thread::spawn(move || carry(one, other, piece, pause));
                }
                kept.lock().expect("no panic").extend([from, to]);
            }
        });
        Network { address, ways }
    }

    /// Nothing goes through any more.
    fn cut(&self) {
        for way in self.ways.lock().expect("no panic").drain(..) {
            let _ = way.shutdown(Shutdown::Both);
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, piece: usize, pause: Duration) {
    let mut bytes = vec![0; piece];
    while let Ok(read) = from.read(&mut bytes) {
        if read == 0 || to.write_all(&bytes[..read]).is_err() {
            break;
        }
        thread::sleep(pause);
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// The second process, which reaches the first through the network.
fn beyond(layout: &Layout, network: &Network, flow: &Path) -> Child {
    let text = std::fs::read_to_string(&layout.file).expect("the file");
    let file = layout.folder.join("beyond.yml");
    std::fs::write(&file, text.replace(&layout.addresses[0], &network.address)).expect("room");
    let mut command = quell();
    command.arg("run").arg("--flow").arg(flow).arg("--cluster").arg(file).args(["--process", "1"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
}

#[test]
fn a_slow_link_changes_nothing() {
    let days = Days::new(600);
    let (first, said_first) = days.run("one", &[]);
    let folder = days.folder.path().join("two");
    let layout = Layout::new(&folder, 2, 1);
    let network = Network::to(&layout.addresses[0], 2_048, Duration::from_millis(1));
    let other = beyond(&layout, &network, &days.flow);
    let archive = folder.join("archive");
    let output = layout.as_process(&mut days.replay(&archive, &[]), 0).output().expect("it starts");
    assert!(output.status.success(), "{}", said(&output));
    assert!(other.wait_with_output().expect("it ends").status.success());
    assert_eq!(digest(&archive), first);
    assert_eq!(told(summary_of(&output)), told(said_first));
}

#[test]
fn a_link_that_is_cut_ends_both() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), 100, 5);
    let flow = acting_plan(&at("plan"), &at("days"), &["edges.jsonl"]);
    append(&at("plan").join("edges.jsonl"), &edges(50));
    let layout = Layout::new(&at("cluster"), 2, 1);
    let network = Network::to(&layout.addresses[0], 65_536, Duration::ZERO);
    let other = beyond(&layout, &network, &flow);
    let mut first = quell();
    first.arg("run").arg("--flow").arg(&flow).arg("--archive").arg(at("live"));
    let first = layout.as_process(&mut first, 0).stdout(Stdio::piped()).stderr(Stdio::piped());
    let first = first.spawn().expect("the binary starts");
    taken(&at("live"), 50);
    network.cut();
    for (process, lost) in [(first, 1), (other, 0)] {
        let output = process.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(&format!("process {lost} is lost: ")), "{}", said(&output));
    }
    // By itself it goes on from there.
    let live = Live::start(&flow, &at("live"), &[]);
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    agrees(&live.stop(), &at("live"));
}
