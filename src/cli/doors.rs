//! Doors: the addresses that a run listens at, and the signals that end it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{Failure, scrape, setup};
use crate::engine::log::{Log, LogError};
use crate::engine::metrics::Metrics;
use crate::engine::pushed;
use crate::engine::scribe::Scribe;
use crate::ingest::live::Bell;
use crate::ingest::push::{Door, Room, Sink, Stored, router};

/// How long requests under way may take when the run ends.
const ENDING: Duration = Duration::from_secs(5);

/// What listens.
pub(crate) struct Doors {
    runtime: Runtime,
    closing: watch::Sender<bool>,
    serving: Vec<tokio::task::JoinHandle<()>>,
    /// Bytes of pushed batches that wait to be taken.
    pub(crate) waiting: Arc<AtomicU64>,
    /// Room for those that are being sent.
    room: Room,
}

impl Doors {
    /// Listens for signals: the first lets the run end in order, the second ends the process.
    pub(crate) fn start(bell: &Bell) -> Result<Doors, Failure> {
        let mut building = tokio::runtime::Builder::new_multi_thread();
        let runtime = building.worker_threads(2).enable_io().enable_time().build()?;
        let (closing, _) = watch::channel(false);
        let bell = bell.clone();
        let guard = runtime.enter();
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(guard);
        runtime.spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if bell.stop() {
                    eprintln!("quell: ended at once; the next run on this archive goes on from its log");
                    std::process::exit(1);
                }
                eprintln!("quell: ending in order");
            }
        });
        Ok(Doors { runtime, closing, serving: Vec::new(), waiting: Arc::default(), room: Room::default() })
    }

    /// Listens at addresses, each with the sources that may be pushed to there; where it listens.
    pub(crate) fn open(
        &mut self,
        addresses: BTreeMap<SocketAddr, Vec<String>>,
        (archive, scribe): (&Path, &Scribe),
        bell: &Bell,
    ) -> Result<Vec<(SocketAddr, Vec<String>)>, Failure> {
        // It may have been closed to go on with new names.
        let _ = self.closing.send(false);
        let sink = sink(Log::open(archive)?, scribe.clone(), bell.clone());
        let mut at = Vec::new();
        for (address, sources) in addresses {
            let listener = self.listen(address)?;
            at.push((listener.local_addr()?, sources.clone()));
            let waiting = Arc::clone(&self.waiting);
            let (sink, room) = (Arc::clone(&sink), self.room.clone());
            let door = Door { sources: sources.into(), sink, waiting, room };
            let mut closing = self.closing.subscribe();
            let closed = async move { drop(closing.wait_for(|closing| *closing).await) };
            self.serving.push(self.runtime.spawn(async move {
                let _ = axum::serve(listener, router(door)).with_graceful_shutdown(closed).await;
            }));
        }
        Ok(at)
    }

    /// Shows metrics, until the process ends, where somebody named an address; `whose` says of which process they are.
    pub(crate) fn show(
        &self,
        address: Option<SocketAddr>,
        whose: &str,
        metrics: impl FnOnce() -> Metrics,
    ) -> Result<Metrics, Failure> {
        let Some(address) = address else { return Ok(Metrics::default()) };
        let listener = self.listen(address)?;
        let (at, metrics) = (listener.local_addr()?, metrics());
        let router = scrape::router(metrics.clone());
        self.runtime.spawn(async move { axum::serve(listener, router).await });
        eprintln!("quell: metrics{whose} at http://{at}/metrics");
        open_to_all(at);
        Ok(metrics)
    }

    fn listen(&self, address: SocketAddr) -> Result<TcpListener, Failure> {
        let listener = self.runtime.block_on(TcpListener::bind(address));
        let why = || format!("cannot listen at {address}; is the port taken, or not ours to use?");
        Ok(listener.with_context(why)?)
    }

    /// Bytes of pushed batches that wait to be taken.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Takes nothing more; what was answered is in the log when this returns.
    pub(crate) fn close(&mut self) {
        let _ = self.closing.send(true);
        let serving = std::mem::take(&mut self.serving);
        self.runtime.block_on(async {
            let all = async {
                for door in serving {
                    let _ = door.await;
                }
            };
            let _ = tokio::time::timeout(ENDING, all).await;
        });
    }
}

/// What asks nobody who they are is told to be open, where it is.
pub(crate) fn open_to_all(at: SocketAddr) {
    if !at.ip().is_loopback() {
        eprintln!("quell: {at} is open to the network, and asks nobody who they are: guard it");
    }
}

/// The log as a sink: a batch is durable when it is answered. When it came is in the log, too.
fn sink(log: Log, scribe: Scribe, bell: Bell) -> Sink {
    let log = Mutex::new(log);
    let store = move |source: &str, text: &str, key: Option<&str>| -> Result<Stored, LogError> {
        let new = scribe.write(pushed::entry(source, text, key, setup::now()))?;
        bell.ring();
        let Some(key) = key.filter(|_| !new) else { return Ok(Stored::New) };
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let other = pushed::is_other(&log, source, text, key)?;
        Ok(if other { Stored::Other } else { Stored::Again })
    };
    Arc::new(move |source, text, key| store(source, text, key).map_err(|error| error.to_string()))
}
