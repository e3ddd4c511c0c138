//! Gate: what waits to be delivered is bounded; whoever hands more over waits until there is room.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Epochs and rows that may wait: some seconds of a busy run, a minute of a quiet one.
const EPOCHS_MAX: usize = 4_096;
const ROWS_MAX: usize = 50_000;

/// See the head of this file.
#[derive(Default)]
pub(super) struct Gate {
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
    /// Takes an epoch of so many rows in, when there is room for it: one that is larger than all room goes in alone. False
    /// where nobody delivers any more.
    pub(super) fn enter(&self, rows: usize) -> bool {
        let full = |waiting: &mut Waiting| {
            let no_room = waiting.epochs >= EPOCHS_MAX || waiting.rows + rows > ROWS_MAX;
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
        let gate = Arc::new(Gate::default());
        assert!(gate.enter(2 * ROWS_MAX), "one epoch is always taken");
        let other = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || (gate.enter(1), gate.enter(ROWS_MAX)))
        };
        gate.leave(1, 2 * ROWS_MAX);
        thread::yield_now();
        gate.close();
        let (first, second) = other.join().unwrap();
        assert!(!second, "it is closed while the second waits: {first}");
    }
}
