//! The scribe: the thread that writes a live run's log, so that what is to be durable at one time costs one wait for the disk.
//!
//! In: pushed batches and epochs, from the threads that wait until they are durable. Out: whether each was new. What came while
//! the disk was waited for is written together. State: none. The thread ends when all who might write are gone.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::log::{Entry, Log, LogError};

/// Entries of one transaction at most.
const TOGETHER_MAX: usize = 256;

/// A door to the thread.
#[derive(Clone)]
pub struct Scribe {
    door: Door,
}

#[derive(Clone)]
enum Door {
    Thread(Sender<Request>),
    /// The log itself, and what is to be written before what comes next.
    Hand(Arc<Mutex<(Log, Vec<Entry>)>>),
}

struct Request {
    entry: Entry,
    /// Who waits for it.
    done: Option<Sender<Result<bool, LogError>>>,
}

impl Scribe {
    /// Starts the thread over an archive's log.
    pub fn start(archive: &Path) -> Result<Scribe, LogError> {
        let log = Log::open_to_write(archive)?;
        let (requests, inbox) = unbounded();
        let thread = thread::Builder::new().name("log".to_owned()).spawn(move || serve(log, &inbox));
        thread.map_err(LogError::Thread)?;
        Ok(Scribe { door: Door::Thread(requests) })
    }

    /// One without a thread: whoever has something written writes it. What is to be written later is when something else is.
    pub fn by_hand(archive: &Path) -> Result<Scribe, LogError> {
        let log = Log::open_to_write(archive)?;
        Ok(Scribe { door: Door::Hand(Arc::new(Mutex::new((log, Vec::new())))) })
    }

    /// Writes an entry; it is durable when this returns. Whether it is new.
    pub fn write(&self, entry: Entry) -> Result<bool, LogError> {
        let requests = match &self.door {
            Door::Thread(requests) => requests,
            Door::Hand(hand) => {
                let mut hand = hand.lock().map_err(|_| LogError::Gone)?;
                let mut entries = std::mem::take(&mut hand.1);
                entries.push(entry);
                let written = hand.0.write(&entries);
                if written.is_err() {
                    entries.pop();
                    hand.1 = entries;
                }
                return Ok(written?.last().is_some_and(|new| *new));
            }
        };
        let (done, told) = bounded(1);
        let sent = requests.send(Request { entry, done: Some(done) });
        let told = sent.ok().and_then(|()| told.recv().ok());
        told.unwrap_or(Err(LogError::Gone))
    }

    /// Has an entry written before those that come after it. Where it cannot be, who writes an epoch next is told.
    pub fn write_later(&self, entry: Entry) -> Result<(), LogError> {
        match &self.door {
            Door::Thread(requests) => {
                requests.send(Request { entry, done: None }).map_err(|_| LogError::Gone)
            }
            Door::Hand(hand) => hand.lock().map(|mut hand| hand.1.push(entry)).map_err(|_| LogError::Gone),
        }
    }
}

fn serve(mut log: Log, inbox: &Receiver<Request>) {
    let mut failed: Option<LogError> = None;
    while let Ok(first) = inbox.recv() {
        let (mut entries, mut waiting) = (vec![first.entry], vec![first.done]);
        for Request { entry, done } in inbox.try_iter().take(TOGETHER_MAX - 1) {
            entries.push(entry);
            waiting.push(done);
        }
        let together = log.write(&entries).ok();
        for (at, (done, entry)) in waiting.iter().zip(&entries).enumerate() {
            // Where they cannot be written together, each by itself: none takes another with it.
            let alone = || log.write(std::slice::from_ref(entry)).map(|new| new[0]);
            let told = together.as_ref().map_or_else(alone, |new| Ok(new[at]));
            let is_of_log = matches!(entry, Entry::Epochs(..));
            match done {
                Some(done) if is_of_log => drop(done.send(failed.take().map_or(told, Err))),
                Some(done) => drop(done.send(told)),
                None => failed = failed.or(told.err()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::log::{Heard, LoggedEpoch};

    #[test]
    fn what_many_write_at_once_is_there_once() {
        let folder = tempfile::tempdir().unwrap();
        let scribe = Scribe::start(folder.path()).unwrap();
        let push =
            |n: usize| Entry::Input { kind: "push", body: format!("{n}"), key: Some(format!("k{}", n % 20)) };
        let told: Vec<bool> = thread::scope(|scope| {
            let one = |n: usize| {
                let scribe = scribe.clone();
                scope.spawn(move || scribe.write(push(n)).unwrap())
            };
            let all: Vec<_> = (0..60).map(one).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(told.iter().filter(|new| **new).count(), 20, "one of each key is new");
        let epochs = vec![LoggedEpoch { epoch: 1, settled: 7, last: false, parts: Vec::new() }];
        assert!(scribe.write(Entry::Epochs(epochs.clone(), Heard::default())).unwrap());
        let log = Log::open(folder.path()).unwrap();
        assert_eq!((log.inputs(0).unwrap().len(), log.epochs().unwrap()), (20, epochs));
    }
}
