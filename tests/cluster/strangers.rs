//! Who is not of the cluster is turned away and counted, and the run is unharmed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quell::cluster::ClusterFile;
use quell::cluster::authority::Authority;
use quell::cluster::hello::{Alike, Answer, Hello, No};
use quell::cluster::tls::{Identity, server_name};
use quell::plan::catalog::Plan;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::common::live::{Live, taken, until};
use super::common::{acting_plan, agrees, digest, edges, quell, replay, said, site, summary};
use super::layout::Layout;
use super::results::append;

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// One who knows where the first process listens.
struct Stranger {
    address: String,
    config: Arc<ClientConfig>,
}

impl Stranger {
    /// Calls; what is said first, and what is heard then.
    fn says(&self, words: &[u8]) -> std::io::Result<Vec<u8>> {
        let name = server_name(0).expect("a name");
        let connection =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(std::io::Error::other)?;
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut stream = Stream::new(connection, stream);
        stream.write_all(words)?;
        stream.flush()?;
        let mut heard = Vec::new();
        match stream.read_to_end(&mut heard) {
            Err(error) if heard.is_empty() => Err(error),
            _ => Ok(heard),
        }
    }

    fn asks(&self, hello: &Hello) -> std::io::Result<Answer> {
        let text = serde_json::to_vec(hello)?;
        let length = u32::try_from(text.len()).expect("a short word").to_le_bytes();
        let heard = self.says(&[&length[..], &text].concat())?;
        serde_json::from_slice(heard.get(4..).unwrap_or_default()).map_err(std::io::Error::other)
    }
}

/// The file with another certificate and key in it.
fn with(layout: &Layout, folder: &Path, process: usize) -> Arc<ClientConfig> {
    let file = ClusterFile::read(&layout.file).expect("a sound file");
    let own = |end: &str| folder.join(format!("process-{process}.{end}"));
    let file = ClusterFile { certificate: own("pem"), key: own("key"), ..file };
    Identity::load(&file, process).expect("an identity").client
}

fn nameless(layout: &Layout) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(layout.folder.join("ca.pem")).expect("a certificate");
    roots.add(ca).expect("an authority");
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// What a process of this plan says; the generation is what it has heard.
fn hello(flow: &Path, process: usize, generation: Option<u64>) -> Hello {
    let plan = Plan::load(flow).map_err(|faults| format!("{faults:?}")).expect("a plan");
    let alike = Alike {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        processes: 3,
        workers: 1,
        plan: plan.hash.clone(),
        model: "untrained".to_owned(),
    };
    Hello { process, generation, alike, terms: None }
}

/// Everybody tries, once; `complete` says whether all processes have their links.
fn all_try(layout: &Layout, foreign: &Path, flow: &Path, complete: bool) {
    let address = layout.addresses[0].clone();
    let stranger = |config| Stranger { address: address.clone(), config };
    for garbage in [&[77; 8][..], b"GET / HTTP/1.1\r\n\r\n", &[0; 4096]] {
        let mut stream = TcpStream::connect(&address).expect("it listens");
        let _ = stream.write_all(garbage);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let none = stranger(nameless(layout));
    assert!(none.asks(&hello(flow, 1, None)).is_err(), "no certificate");
    let other = stranger(with(layout, foreign, 1));
    assert!(other.asks(&hello(flow, 1, None)).is_err(), "another authority");
    let second = stranger(with(layout, &layout.folder, 2));
    assert!(second.asks(&hello(flow, 1, None)).is_err(), "another process");
    assert!(second.says(&[0xff; 64]).map_or(true, |heard| heard.is_empty()), "no hello");
    assert_eq!(second.asks(&hello(flow, 2, Some(0))).expect("an answer"), Answer::No(No::Stale));
    let mut otherwise = hello(flow, 2, None);
    "x".clone_into(&mut otherwise.alike.plan);
    assert!(matches!(second.asks(&otherwise).expect("an answer"), Answer::No(No::Differs(..))));
    if complete {
        assert_eq!(second.asks(&hello(flow, 2, None)).expect("an answer"), Answer::No(No::Linked));
    }
}

#[test]
fn strangers_are_turned_away_and_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), 100, 5);
    let flow: PathBuf = acting_plan(&at("plan"), &at("days"), &["edges.jsonl"]);
    let input = at("plan").join("edges.jsonl");
    append(&input, &edges(150));
    let layout = Layout::new(&at("cluster"), 3, 1);
    Authority::new().expect("an authority").write(&at("foreign"), 3).expect("room");
    let file = layout.file.display().to_string();
    let live = Live::start(&flow, &at("live"), &["--cluster", &file, "--process", "0"]);
    until("it listens", || TcpStream::connect(&layout.addresses[0]).ok());
    // More than may be under way at a time say nothing, and hold on.
    let idle: Vec<TcpStream> =
        (0..80).map(|_| TcpStream::connect(&layout.addresses[0]).expect("it listens")).collect();
    all_try(&layout, &at("foreign"), &flow, false);
    let others = [layout.other(1, &flow), layout.other(2, &flow)];
    taken(&at("live"), 150);
    all_try(&layout, &at("foreign"), &flow, true);
    drop(idle);
    append(&input, &edges(300)[edges(150).len()..]);
    taken(&at("live"), 300);
    // What it tells at the end, it tells before it ends.
    let told = stop_and_listen(live, &at("live"));
    for other in others {
        let output = other.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", said(&output));
    }
    for (why, least) in [
        ("it speaks no TLS 1.3", 6),
        ("no certificate", 2),
        ("a certificate of another authority", 2),
        ("the certificate of another process", 2),
        ("it said no hello", 2),
        ("a stale generation", 2),
        ("another plan, model, layout or version", 2),
        ("linked already", 1),
        ("it was slow, and others came", 10),
    ] {
        let line = told.lines().find_map(|line| line.strip_prefix(&format!("quell: turned away: {why}: ")));
        let count: u64 = line.and_then(|count| count.parse().ok()).unwrap_or(0);
        assert!(count >= least, "{why}: {count}\n{told}");
    }
    let replayed = summary(&mut replay(&flow, &[&input], &at("replayed"), &["--arrival"]));
    agrees(&replayed, &at("replayed"));
    assert_eq!(digest(&at("live")), digest(&at("replayed")));
}

/// Stops a run, checks it, and gives all that it told.
fn stop_and_listen(live: Live, archive: &Path) -> String {
    let (summary, told) = live.stop_telling();
    agrees(&summary, archive);
    told
}

#[test]
fn a_difference_is_told_at_both_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), 100, 5);
    let flow = acting_plan(&at("plan"), &at("days"), &["edges.jsonl"]);
    let other = acting_plan(&at("other"), &at("days"), &["edges.jsonl"]);
    let text = std::fs::read_to_string(&other).expect("a plan");
    std::fs::write(&other, text.replace("dedup_window: 5m", "dedup_window: 6m")).expect("room");
    append(&at("plan").join("edges.jsonl"), &edges(50));
    let layout = Layout::new(&at("cluster"), 2, 1);
    let file = layout.file.display().to_string();
    let live = Live::start(&flow, &at("live"), &["--cluster", &file, "--process", "0"]);
    let output = layout.other(1, &other).wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("process 0 at 127.0.0.1:"), "{}", said(&output));
    assert!(said(&output).contains("its plan is"), "{}", said(&output));
    until("it is told", || live.told().contains("its plan is").then_some(()));
    // It waits for the right one, which comes.
    let right = layout.other(1, &flow);
    taken(&at("live"), 50);
    agrees(&live.stop(), &at("live"));
    assert!(right.wait_with_output().expect("it ends").status.success());
    // Nobody takes the first one's place.
    let mut command = quell();
    let nobody = layout.as_process(command.arg("run"), 7).output().expect("it starts");
    assert_eq!(nobody.status.code(), Some(2), "{}", said(&nobody));
}

#[test]
fn a_clusters_file_is_checked_with_what_it_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let layout = Layout::new(folder.path(), 3, 1);
    let check = || {
        let mut command = quell();
        let output = command.arg("check").arg("--cluster").arg(&layout.file).output().expect("it starts");
        (output.status.code(), said(&output))
    };
    assert_eq!(check().0, Some(0), "{}", check().1);
    std::fs::copy(folder.path().join("process-0.pem"), folder.path().join("process-1.pem")).expect("room");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(folder.path().join("process-2.key"), open).expect("ours");
    let (code, told) = check();
    assert_eq!(code, Some(3), "{told}");
    for what in ["it is not for the name process-1.quell", "everybody may read the key"] {
        assert!(told.contains(what), "{told}");
    }
}
