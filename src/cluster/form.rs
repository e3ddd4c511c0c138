//! Form: how a process finds the others, and what it does until all have ended.
//!
//! In: the cluster's file, and what this process is. Out: a link to every other process, as timely wants it. A process first
//! calls the first one, which tells the generation and the terms of the run; then it hears those above it and calls those
//! below.
//! State: a task a link.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::Error as TlsError;

use super::door::{Keeper, Secure, TurnedAway};
use super::hello::{Alike, Answer, Hello, Terms, hear, say};
use super::link::{Between, Broken, Talk, Traffic, carry, talk};
use super::tls::{Identity, server_name};
use super::{ClusterError, ClusterFile, Peers};
use crate::record::Names;
use crate::record::wire::Tongues;

/// How long one call may take, and the pause before the next.
const CALL: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is told who is waited for.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// How long goodbyes may take.
const PARTING: Duration = Duration::from_secs(10);

/// What a process is, in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The first: with its generation, and the terms of the run.
    First {
        /// How many times it has been started.
        generation: u64,
        /// What it tells the others.
        terms: Terms,
    },
    /// Another, by its index.
    Other(usize),
}

/// What a process forms a cluster with.
pub struct Means {
    /// The cluster's file.
    pub file: ClusterFile,
    /// What it is.
    pub role: Role,
    /// Hash of the plan.
    pub plan: String,
    /// The model's version.
    pub model: String,
    /// Its strings.
    pub names: Arc<Names>,
    /// Called where a link breaks: it ends this process.
    pub broken: Broken,
    /// Called where another process was told to stop.
    pub asked: Arc<dyn Fn() + Send + Sync>,
}

/// This process's side of a cluster.
pub struct Cluster {
    runtime: Runtime,
    links: JoinSet<()>,
    stop: watch::Sender<bool>,
    turned_away: Arc<TurnedAway>,
    traffic: Arc<Traffic>,
    process: usize,
    processes: usize,
    /// The generation.
    pub generation: u64,
    /// The terms of the run.
    pub terms: Terms,
}

impl Cluster {
    /// Waits for all others, unless `stopped`; then this process's place, and links to them.
    pub fn form(means: &Means, stopped: impl Fn() -> bool) -> Result<(Cluster, Peers), ClusterError> {
        let own = match means.role {
            Role::First { .. } => 0,
            Role::Other(own) => own,
        };
        let processes = means.file.processes.len();
        let identity = Identity::load(&means.file, own)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("links")
            .enable_io()
            .enable_time()
            .build()?;
        let turned_away = Arc::new(TurnedAway::default());
        let forming = Forming { means, identity, own, turned_away: Arc::clone(&turned_away) };
        let (hello, secure) = runtime.block_on(forming.form(&stopped))?;
        let (stop, _) = watch::channel(false);
        let (mut links, traffic) = (JoinSet::new(), Arc::new(Traffic::default()));
        let tongues = Arc::new(Tongues::new(own, processes, Arc::clone(&means.names)));
        let mut near: Vec<Option<UnixStream>> = (0..processes).map(|_| None).collect();
        let mut talks: Vec<Option<Talk>> = (0..processes).map(|_| None).collect();
        let guard = runtime.enter();
        for (peer, far) in secure {
            let (ours, timelys) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            near[peer] = Some(timelys);
            let (own, words) = talk();
            talks[peer] = Some(own);
            let between = Between {
                peer,
                names: Arc::clone(&means.names),
                tongues: Arc::clone(&tongues),
                traffic: Arc::clone(&traffic),
                stopping: stop.subscribe(),
                asked: Arc::clone(&means.asked),
                broken: Arc::clone(&means.broken),
                words,
            };
            links.spawn(carry(far, tokio::net::UnixStream::from_std(ours)?, between));
        }
        drop(guard);
        let (Some(generation), Some(terms)) = (hello.generation, hello.terms) else {
            unreachable!("the first process tells both before there are links")
        };
        let peers =
            Peers { process: own, workers: usize::from(means.file.workers), links: near, tongues, talks };
        let cluster = Cluster {
            runtime,
            links,
            stop,
            turned_away,
            traffic,
            process: own,
            processes,
            generation,
            terms,
        };
        Ok((cluster, peers))
    }

    /// Asks the first process to end the run.
    pub fn stop(&self) -> impl Fn() + Send + Sync + 'static {
        let stop = self.stop.clone();
        move || {
            stop.send_replace(true);
        }
    }

    /// Which of its processes this is.
    #[must_use]
    pub fn process(&self) -> usize {
        self.process
    }

    /// What this process has sent, so far.
    #[must_use]
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// Processes of it.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.processes
    }

    /// Who was turned away, so far.
    #[must_use]
    pub fn turned_away(&self) -> Arc<TurnedAway> {
        Arc::clone(&self.turned_away)
    }

    /// Waits until all links have ended in order, which they do when all workers have.
    pub fn part(mut self) -> Parted {
        let all = async { while self.links.join_next().await.is_some() {} };
        let in_time = self.runtime.block_on(async { timeout(PARTING, all).await.is_ok() });
        self.runtime.shutdown_background();
        let (records, strings) = (&self.traffic.records, &self.traffic.strings);
        Parted {
            in_time,
            sent: (records.load(Ordering::Relaxed), strings.load(Ordering::Relaxed)),
            turned_away: self.turned_away.counts(),
        }
    }
}

/// How a process's part in a cluster ended.
pub struct Parted {
    /// Whether all links ended in order.
    pub in_time: bool,
    /// Bytes that it sent of records and of strings.
    pub sent: (u64, u64),
    /// Who was turned away, by why.
    pub turned_away: BTreeMap<&'static str, u64>,
}

struct Forming<'a> {
    means: &'a Means,
    identity: Identity,
    own: usize,
    turned_away: Arc<TurnedAway>,
}

impl Forming<'_> {
    fn hello(&self) -> Hello {
        let (generation, terms) = match self.means.role {
            Role::First { generation, terms } => (Some(generation), Some(terms)),
            Role::Other(_) => (None, None),
        };
        let file = &self.means.file;
        let alike = Alike {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            processes: file.processes.len(),
            workers: usize::from(file.workers),
            plan: self.means.plan.clone(),
            model: self.means.model.clone(),
        };
        Hello { process: self.own, generation, alike, terms }
    }

    /// What this process is, and its connections to all others.
    async fn form(
        &self,
        stopped: &impl Fn() -> bool,
    ) -> Result<(Hello, BTreeMap<usize, Secure>), ClusterError> {
        let (mut hello, mut secure) = (self.hello(), BTreeMap::new());
        let complete = Arc::new(AtomicBool::new(false));
        let waited = Waited { missing: Mutex::default(), most_s: self.means.file.wait_s };
        let all = async {
            if self.own > 0 {
                let (link, first) = self.call(0, &hello, &waited).await?;
                secure.insert(0, link);
                (hello.generation, hello.terms) = (first.generation, first.terms);
            }
            let mut links = self.hear(&hello, &complete).await?;
            for process in 1..self.own {
                secure.insert(process, self.call(process, &hello, &waited).await?.0);
            }
            let mut missing: Vec<usize> = (self.own + 1..self.means.file.processes.len()).collect();
            while !missing.is_empty() {
                waited.is_for(&missing);
                match timeout(PAUSE, links.recv()).await {
                    Ok(Some((process, link))) => {
                        missing.retain(|other| *other != process);
                        // One that was started again before all were there is linked again.
                        secure.insert(process, link);
                    }
                    Ok(None) => break,
                    Err(_) => self.all_below_are_there(&secure).await?,
                }
            }
            Ok::<(), ClusterError>(())
        };
        tokio::select! {
            done = all => done?,
            error = waited.end(stopped) => return Err(error),
        }
        complete.store(true, Ordering::SeqCst);
        Ok((hello, secure))
    }

    /// One that this process called, and that ended before all were there, does not call back: its next start is another
    /// generation, to which this process comes by its own next start.
    async fn all_below_are_there(&self, secure: &BTreeMap<usize, Secure>) -> Result<(), ClusterError> {
        for (&process, link) in secure.range(..self.own) {
            // Nobody reads of a link before all are made: what has come stays there.
            let came = timeout(Duration::ZERO, link.get_ref().0.peek(&mut [0])).await;
            if matches!(came, Ok(Ok(0) | Err(_))) {
                let address = self.means.file.processes[process].address.clone();
                let why = "it ended before all were there; start this process again too".to_owned();
                return Err(ClusterError::Peer { process, address, why });
            }
        }
        Ok(())
    }

    /// Listens; links come as they are made.
    async fn hear(
        &self,
        hello: &Hello,
        complete: &Arc<AtomicBool>,
    ) -> Result<mpsc::UnboundedReceiver<(usize, Secure)>, ClusterError> {
        let process = &self.means.file.processes[self.own];
        let address = process.listen.map_or_else(|| process.address.clone(), |listen| listen.to_string());
        let (links, made) = mpsc::unbounded_channel();
        // Nobody calls the last one.
        if self.own + 1 == self.means.file.processes.len() {
            return Ok(made);
        }
        let listener = TcpListener::bind(&address)
            .await
            .map_err(|source| ClusterError::Listen { address: address.clone(), source })?;
        let keeper = Keeper {
            identity: self.identity.clone(),
            hello: Arc::new(hello.clone()),
            complete: Arc::clone(complete),
            turned_away: Arc::clone(&self.turned_away),
            links,
        };
        tokio::spawn(keeper.keep(listener));
        Ok(made)
    }

    /// Calls another process until it answers.
    async fn call(
        &self,
        process: usize,
        hello: &Hello,
        waited: &Waited,
    ) -> Result<(Secure, Hello), ClusterError> {
        waited.is_for(&[process]);
        let address = &self.means.file.processes[process].address;
        let peer = |why: String| ClusterError::Peer { process, address: address.clone(), why };
        loop {
            match timeout(CALL, self.call_once(process, address, hello)).await {
                Ok(Ok((link, Answer::Hello(theirs)))) => return Ok((link, theirs)),
                Ok(Ok((_, Answer::No(no)))) if !no.may_pass() => return Err(peer(no.to_string())),
                Ok(Err(error)) if is_final(&error) => return Err(peer(error.to_string())),
                // It has not been started yet, is just ending, or has much to do.
                Ok(Ok(_) | Err(_)) | Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn call_once(&self, process: usize, address: &str, hello: &Hello) -> io::Result<(Secure, Answer)> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = server_name(process).map_err(io::Error::other)?;
        let mut stream = TlsConnector::from(Arc::clone(&self.identity.client)).connect(name, stream).await?;
        say(&mut stream, hello).await?;
        let answer = hear(&mut stream).await?;
        Ok((stream.into(), answer))
    }
}

/// Whether calling again would come to the same.
fn is_final(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    matches!(tls, Some(TlsError::InvalidCertificate(_) | TlsError::AlertReceived(_)))
}

/// For whom it waits, and how long it may.
struct Waited {
    missing: Mutex<String>,
    most_s: u64,
}

impl Waited {
    fn is_for(&self, processes: &[usize]) {
        if let Ok(mut missing) = self.missing.lock() {
            *missing = processes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        }
    }

    /// Ends when the time is up, or the run is stopped; tells now and then for whom it waits.
    async fn end(&self, stopped: &impl Fn() -> bool) -> ClusterError {
        let missing = || self.missing.lock().map(|missing| missing.clone()).unwrap_or_default();
        let mut waited = Duration::ZERO;
        while waited < Duration::from_secs(self.most_s) {
            tokio::time::sleep(PAUSE).await;
            waited += PAUSE;
            if stopped() {
                return ClusterError::Stopped;
            }
            if waited.as_millis().is_multiple_of(TOLD_EVERY.as_millis()) {
                eprintln!("quell: waiting for process {}", missing());
            }
        }
        ClusterError::Alone { missing: missing(), waited_s: self.most_s }
    }
}
