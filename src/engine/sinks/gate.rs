//! Gate: what waits to be delivered is bounded; whoever hands more over waits until there is room.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Epochs that may wait, however few rows they have.
const EPOCHS_MAX: usize = 4_096;

/// See the head of this file.
pub(super) struct Gate {
    /// Rows that may wait.
    rows_max: usize,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    epochs: usize,
    rows: usize,
    closed: bool,
}

impl Gate {
    /// A gate that lets so many rows wait.
    pub(super) fn new(rows_max: usize) -> Gate {
        Gate { rows_max, waiting: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes an epoch of so many rows in, when there is room for it: one that is larger than all room goes in alone. False
    /// where nobody delivers any more.
    pub(super) fn enter(&self, rows: usize) -> bool {
        let full = |waiting: &mut Waiting| {
            let no_room = waiting.epochs >= EPOCHS_MAX || waiting.rows + rows > self.rows_max;
            !waiting.closed && waiting.epochs > 0 && no_room
        };
        let waited = self.changed.wait_while(self.waiting(), full);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.epochs += 1;
        waiting.rows += rows;
        !waiting.closed
    }

    /// So many epochs of so many rows are delivered.
    pub(super) fn leave(&self, epochs: usize, rows: usize) {
        let mut waiting = self.waiting();
        waiting.epochs -= epochs;
        waiting.rows -= rows;
        self.changed.notify_all();
    }

    /// Whether nothing waits to be delivered.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting().epochs == 0
    }

    /// Nobody delivers any more.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.changed.notify_all();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn who_hands_over_too_much_waits_until_there_is_room_or_no_hope() {
        let gate = Arc::new(Gate::new(10));
        assert!(gate.enter(20), "one epoch is always taken");
        let other = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || (gate.enter(1), gate.enter(10)))
        };
        gate.leave(1, 20);
        thread::yield_now();
        gate.close();
        let (first, second) = other.join().unwrap();
        assert!(!second, "it is closed while the second waits: {first}");
    }
}
