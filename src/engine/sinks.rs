//! Sinks: the thread that says in topics what the archive is told, each row once, whatever crashes.
//!
//! In: rows of epochs that are done and that the log has, durably: so a run that goes on after a crash computes the same
//! rows of the same epochs again. Out: messages, each with its place (epoch, and number in it) in its headers.
//! The log keeps the place through which all is delivered, and where the partitions ended then. What a crash left beyond it
//! is read back from there before anything is sent, and what is there already is not sent again.
//! Messages of one key keep their order. State: what waits to be delivered, bounded: beyond that the archivist waits, and
//! with it the sources.
//!
//! What this does not cover. One process at a time writes an archive's topics: its lock sees to that on one machine. What
//! a killed process had handed to the network is waited for some 300 ms after the ends stand still: a broker that takes it
//! in later has it twice, and so has one that had appended and not replicated it when asked. What retention or compaction
//! removed beyond the place is sent again. In each case the ids in the headers are the same.

mod ends;
mod gate;
mod message;
mod place;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rdkafka::ClientConfig;

use self::ends::{Already, already};
use self::gate::Gate;
use self::message::{Message, is_of, messages};
use self::place::Place;
use super::log::{Log, LogError};
use crate::archive::Rows;
use crate::kafka::{self, Letter, Patience, ProduceError, Producer};
use crate::plan::outside::{KafkaSinks, Stream};
use crate::record::{Epoch, Names};

/// Rows whose messages are sent before their acknowledgements are waited for.
const TOGETHER: usize = 10_000;

/// Why topics could not be told. The archive has what they lack, and the next run on it goes on with them.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Brokers.
    #[error("sinks")]
    Produce(#[from] ProduceError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A defect.
    #[error("sinks: their thread failed; this is a defect of quell: please report it with the message above")]
    Panic,
    /// The thread.
    #[error("a thread cannot be started; check the limits on processes and memory")]
    Thread(#[source] std::io::Error),
}

/// What sinks are made from.
pub struct SinkSettings {
    /// Topics and cluster.
    pub kafka: KafkaSinks,
    /// The folder of the plan, for certificates.
    pub folder: PathBuf,
    /// The name of the archive's run: messages of others in the same topics are none of ours.
    pub run: String,
    /// Whether the run is ending: then brokers that take nothing are waited for no longer than the plan says.
    pub ending: Box<dyn Fn() -> bool + Send>,
}

/// The thread.
pub struct Sinks {
    thread: JoinHandle<Result<u64, SinkError>>,
}

/// The epoch through which topics were told everything, as the log has it; 0 where that is not known.
///
/// # Errors
/// The log's.
pub fn delivered(log: &Log) -> Result<Epoch, LogError> {
    Ok(Place::of(log)?.map_or(0, |place| place.epoch))
}

/// By which rows are handed over; the thread ends when it is gone and everything is delivered.
pub struct Hand {
    topics: Vec<Stream>,
    queue: Sender<Handed>,
    gate: Arc<Gate>,
    place: Arc<Mutex<Place>>,
    /// The last epoch that was handed over, whether there was anything to say of it or not.
    through: Arc<AtomicU64>,
    /// The last epoch of which it was told that all through it is delivered: it is not taken back, though nothing may have been
    /// sent of it.
    told: AtomicU64,
}

type Handed = (Epoch, Vec<Rows>);

/// What the thread works with.
struct Worker {
    streams: Vec<Stream>,
    names: Arc<Names>,
    log: Log,
    config: ClientConfig,
    out: Producer,
    run: String,
    gate: Arc<Gate>,
    shared: Arc<Mutex<Place>>,
    through: Arc<AtomicU64>,
    place: Place,
    divergences: u64,
}

impl Sinks {
    /// Starts the thread over an archive's log.
    pub fn start(
        settings: SinkSettings,
        archive: &Path,
        names: &Arc<Names>,
    ) -> Result<(Sinks, Hand), SinkError> {
        let SinkSettings { kafka, folder, run, ending } = settings;
        let config = kafka::config(&kafka.cluster(), &folder).map_err(ProduceError::Settings)?;
        let (streams, topics): (Vec<Stream>, Vec<String>) =
            kafka.topics().into_iter().map(|(stream, topic)| (stream, topic.to_owned())).unzip();
        let patience = Patience { ending, most: Duration::from_secs(kafka.delivery_timeout_s()) };
        let out = Producer::new("sinks", &config, topics, patience)?;
        let (gate, shared) =
            (Arc::new(Gate::new(kafka.waiting_max as usize)), Arc::new(Mutex::new(Place::default())));
        let (queue, inbox) = unbounded();
        let through = Arc::new(AtomicU64::new(0));
        let hand = Hand {
            topics: streams.clone(),
            queue,
            gate: Arc::clone(&gate),
            place: Arc::clone(&shared),
            through: Arc::clone(&through),
            told: AtomicU64::new(0),
        };
        let (log, names, place) = (Log::open(archive)?, Arc::clone(names), Place::default());
        let worker =
            Worker { streams, names, log, config, out, run, gate, shared, through, place, divergences: 0 };
        let thread = thread::Builder::new().name("sinks".into()).spawn(move || worker.run(&inbox));
        Ok((Sinks { thread: thread.map_err(SinkError::Thread)? }, hand))
    }

    /// Whether it has ended while rows may still come, and [`Sinks::finish`] says why.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until everything is delivered; how many messages were there already and say something else now: must be 0.
    pub fn finish(self) -> Result<u64, SinkError> {
        self.thread.join().unwrap_or(Err(SinkError::Panic))
    }
}

impl Hand {
    /// Hands over what an epoch says, when there is room for it; false where nobody delivers any more.
    #[must_use]
    pub(super) fn take(&self, epoch: Epoch, rows: Vec<Rows>) -> bool {
        let wanted = |rows: &Rows| self.topics.iter().any(|stream| is_of(*stream, rows));
        let rows: Vec<Rows> = rows.into_iter().filter(wanted).collect();
        let many = rows.iter().map(Rows::len).sum();
        self.through.store(epoch, Ordering::SeqCst);
        many == 0 || (self.gate.enter(many) && self.queue.send((epoch, rows)).is_ok())
    }

    /// How far everything is delivered, for the log; none where that is not known yet.
    pub(super) fn place(&self) -> Option<Place> {
        // Asked before the place is: nothing that was handed over waits, so all of it is in the place.
        let through = self.gate.is_empty().then(|| self.through.load(Ordering::SeqCst));
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let place = Some(place).filter(|place| *place != Place::default())?.through(through);
        let told = self.told.fetch_max(place.epoch, Ordering::SeqCst);
        Some(place.through(Some(told)))
    }
}

/// Lets those go who would wait for room.
struct Closing(Arc<Gate>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Worker {
    fn run(mut self, inbox: &Receiver<Handed>) -> Result<u64, SinkError> {
        let _closing = Closing(Arc::clone(&self.gate));
        let mut already = self.begin()?;
        while let Ok(first) = inbox.recv() {
            let mut rows = length(&first);
            let mut group = vec![first];
            while rows < TOGETHER
                && let Ok(next) = inbox.try_recv()
            {
                rows += length(&next);
                group.push(next);
            }
            self.deliver(&group, &mut already)?;
            self.gate.leave(group.len(), rows);
        }
        // Everything that was handed over is delivered.
        self.place.clone().through(Some(self.through.load(Ordering::SeqCst))).keep(&self.log)?;
        // What was told of these epochs before a crash, and is not so any more.
        let left = already.keys().filter(|(_, epoch, _)| *epoch <= self.place.epoch).count() as u64;
        Ok(self.divergences + left)
    }

    /// Finds where the topics stand; what is in them beyond the place that the log knows.
    fn begin(&mut self) -> Result<Already, SinkError> {
        let partitions = self.out.partitions()?;
        let topics: Vec<String> = self.out.topics().to_vec();
        let topics: Vec<(&str, Vec<i32>)> = topics.iter().map(String::as_str).zip(partitions).collect();
        let mut found = Already::new();
        match Place::of(&self.log)? {
            // Nothing was ever sent: it is known where that begins before anything is.
            None => {
                self.place = self.out.patiently(|out| Place::at_ends(out, &topics))?;
                self.place.keep(&self.log)?;
            }
            Some(place) => {
                let (config, run) = (&self.config, &self.run);
                found = self.out.patiently(|_| already(config, &topics, &place, run))?;
                self.place = place;
            }
        }
        self.share();
        Ok(found)
    }

    fn deliver(&mut self, group: &[Handed], already: &mut Already) -> Result<(), SinkError> {
        let Some((last, _)) = group.last() else { return Ok(()) };
        let beyond = self.place.epoch;
        let new = group.iter().filter(|(epoch, _)| *epoch > beyond);
        let mut all: Vec<Message> =
            new.flat_map(|(epoch, rows)| messages(*epoch, rows, &self.streams, &self.names)).collect();
        all.retain(|message| match already.remove(&(message.topic, message.epoch, message.seq)) {
            Some(id) => {
                self.divergences += u64::from(id != message.id);
                false
            }
            None => true,
        });
        let letters: Vec<Letter> = all.into_iter().map(|message| message.letter(&self.run)).collect();
        let place = &mut self.place;
        self.out
            .deliver(&letters, &mut |topic, partition, offset| place.ends_at(topic, partition, offset + 1))?;
        self.place.epoch = beyond.max(*last);
        self.share();
        Ok(())
    }

    fn share(&self) {
        self.place.clone_into(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn length((_, rows): &Handed) -> usize {
    rows.iter().map(Rows::len).sum()
}
