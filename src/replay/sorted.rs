//! Sorted runs: all alerts of the files by event time, or of an archive by epoch, in bounded memory.
//!
//! State: at most [`RUN_ALERTS`] alerts in memory, in the pieces that they came in, each sorted; further ones lie in sorted runs
//! on disk. All are merged as they are read, and a piece's memory is given back when it has been: what comes nearly in order, as
//! most files do, costs a comparison or two an alert. The files of runs have no name: they are gone with the process, however it
//! ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::record::{Alert, Epoch, Order};

/// Alerts of one run: about 80 MB.
const RUN_ALERTS: usize = 500_000;

/// What can be sorted.
pub trait Placed: Serialize + DeserializeOwned {
    /// Its place.
    type Key: Ord + Copy;
    /// Where it belongs.
    fn key(&self) -> Self::Key;
}

impl Placed for Alert {
    type Key = Order;

    fn key(&self) -> Order {
        self.order()
    }
}

/// With the epoch that it came in.
impl Placed for (Epoch, Alert) {
    type Key = (Epoch, Order);

    fn key(&self) -> (Epoch, Order) {
        (self.0, self.1.order())
    }
}

/// Gathers alerts in any order.
pub struct Sorter<T = Alert> {
    folder: PathBuf,
    run_alerts: usize,
    pieces: Vec<Vec<T>>,
    /// Alerts in these.
    held: usize,
    runs: Vec<File>,
}

/// Gives them back in their order: by tick, where they have one, then event time, identity and position.
pub struct Sorted<T: Placed = Alert> {
    memory: Merge<T>,
    runs: Vec<(BufReader<File>, Option<T>)>,
    heap: BinaryHeap<Reverse<(T::Key, usize)>>,
}

impl<T: Placed> Sorter<T> {
    /// Runs will lie in `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Sorter<T> {
        let (pieces, runs) = (Vec::new(), Vec::new());
        Sorter { folder: folder.to_owned(), run_alerts: RUN_ALERTS, pieces, held: 0, runs }
    }

    /// Adds alerts.
    pub fn add(&mut self, mut alerts: Vec<T>) -> io::Result<()> {
        alerts.sort_unstable_by_key(T::key);
        self.held += alerts.len();
        self.pieces.push(alerts);
        if self.held >= self.run_alerts { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        let path = self.folder.join(format!(".run-{}-{}", std::process::id(), self.runs.len()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        self.held = 0;
        for alert in Merge::of(std::mem::take(&mut self.pieces)) {
            bincode::serialize_into(&mut out, &alert).map_err(io::Error::other)?;
        }
        out.flush()?;
        let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.runs.push(file);
        Ok(())
    }

    /// All that was added, in order.
    pub fn finish(self) -> io::Result<Sorted<T>> {
        let mut sorted = Sorted { memory: Merge::of(self.pieces), runs: Vec::new(), heap: BinaryHeap::new() };
        for file in self.runs {
            sorted.runs.push((BufReader::with_capacity(1 << 18, file), None));
        }
        for run in 0..sorted.runs.len() {
            sorted.refill(run)?;
        }
        Ok(sorted)
    }
}

/// Sorted pieces as one. Of alerts at one place that of the piece which was added first comes first.
struct Merge<T: Placed> {
    pieces: Vec<std::vec::IntoIter<T>>,
    heads: BinaryHeap<Reverse<(T::Key, usize)>>,
}

impl<T: Placed> Merge<T> {
    fn of(pieces: Vec<Vec<T>>) -> Merge<T> {
        let head = |(at, piece): (usize, &Vec<T>)| Some(Reverse((piece.first()?.key(), at)));
        let heads = pieces.iter().enumerate().filter_map(head).collect();
        Merge { pieces: pieces.into_iter().map(Vec::into_iter).collect(), heads }
    }

    /// Where the next one belongs.
    fn key(&self) -> Option<T::Key> {
        self.heads.peek().map(|Reverse((key, _))| *key)
    }
}

impl<T: Placed> Iterator for Merge<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let mut least = self.heads.peek_mut()?;
        let Reverse((key, at)) = &mut *least;
        let piece = &mut self.pieces[*at];
        let alert = piece.next();
        if let Some(next) = piece.as_slice().first() {
            *key = next.key();
        } else {
            *piece = Vec::new().into_iter();
            PeekMut::pop(least);
        }
        alert
    }
}

fn ended(error: &bincode::ErrorKind) -> bool {
    matches!(error, bincode::ErrorKind::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof)
}

impl<T: Placed> Sorted<T> {
    fn refill(&mut self, run: usize) -> io::Result<()> {
        let (file, head) = &mut self.runs[run];
        *head = match bincode::deserialize_from::<_, T>(file) {
            Ok(alert) => Some(alert),
            // A run ends where no alert begins.
            Err(error) if ended(&error) => None,
            Err(error) => return Err(io::Error::other(error)),
        };
        if let Some(alert) = head {
            self.heap.push(Reverse((alert.key(), run)));
        }
        Ok(())
    }

    /// The next alert in order.
    pub fn pull(&mut self) -> io::Result<Option<T>> {
        let Some(Reverse((least, run))) = self.heap.peek().copied() else { return Ok(self.memory.next()) };
        if self.memory.key().is_some_and(|key| key <= least) {
            return Ok(self.memory.next());
        }
        self.heap.pop();
        let alert = self.runs[run].1.take();
        self.refill(run)?;
        Ok(alert)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{AlertId, Millis};

    fn alert(time: Millis, n: u64) -> Alert {
        Alert {
            id: AlertId::of(&[&n.to_le_bytes()]),
            time,
            position: n,
            unmapped: n.is_multiple_of(3).then(|| "{\"a\":1}".into()),
            ..Alert::bare()
        }
    }

    proptest! {
        #[test]
        fn runs_on_disk_sort_as_memory_does(times in prop::collection::vec(-50i64..50, 0..200), run in 1usize..40) {
            let folder = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::new(folder.path());
            sorter.run_alerts = run;
            let all: Vec<Alert> = times.iter().zip(0..).map(|(time, n)| alert(*time, n)).collect();
            for piece in all.chunks(7) {
                sorter.add(piece.to_vec()).unwrap();
            }
            let mut expected = all;
            expected.sort_by_key(Alert::order);
            let mut sorted = sorter.finish().unwrap();
            let mut found = Vec::new();
            while let Some(alert) = sorted.pull().unwrap() {
                found.push(alert);
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
