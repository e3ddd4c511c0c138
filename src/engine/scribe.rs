//! The scribe: the thread that writes a live run's log, so that what is to be durable at one time costs one wait for the disk.
//!
//! In: pushed batches and epochs, from the threads that wait until they are durable. Out: whether each was new. What came while
//! the disk was waited for is written together. State: none. The thread ends when all who might write are gone.

use std::path::Path;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::log::{Entry, Log, LogError};

/// Entries of one transaction at most.
const TOGETHER_MAX: usize = 256;

/// A door to the thread.
#[derive(Clone)]
pub struct Scribe {
    requests: Sender<Request>,
}

struct Request {
    entry: Entry,
    done: Sender<Result<bool, LogError>>,
}

impl Scribe {
    /// Starts the thread over an archive's log.
    pub fn start(archive: &Path) -> Result<Scribe, LogError> {
        let log = Log::open_to_write(archive)?;
        let (requests, inbox) = unbounded();
        let thread = thread::Builder::new().name("log".to_owned()).spawn(move || serve(log, &inbox));
        thread.map_err(LogError::Thread)?;
        Ok(Scribe { requests })
    }

    /// Writes an entry; it is durable when this returns. Whether it is new.
    pub fn write(&self, entry: Entry) -> Result<bool, LogError> {
        let (done, told) = bounded(1);
        let sent = self.requests.send(Request { entry, done });
        let told = sent.ok().and_then(|()| told.recv().ok());
        told.unwrap_or(Err(LogError::Gone))
    }
}

fn serve(mut log: Log, inbox: &Receiver<Request>) {
    while let Ok(first) = inbox.recv() {
        let (mut entries, mut waiting) = (vec![first.entry], vec![first.done]);
        for Request { entry, done } in inbox.try_iter().take(TOGETHER_MAX - 1) {
            entries.push(entry);
            waiting.push(done);
        }
        if let Ok(new) = log.write(&entries) {
            for (done, new) in waiting.iter().zip(new) {
                let _ = done.send(Ok(new));
            }
        } else {
            // Each by itself: one that cannot be written takes no other with it.
            for (done, entry) in waiting.iter().zip(&entries) {
                let alone = log.write(std::slice::from_ref(entry));
                let _ = done.send(alone.map(|new| new.first().copied().unwrap_or(false)));
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
