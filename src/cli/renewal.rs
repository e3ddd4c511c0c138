//! Renewal: a run that has met too many names keeps what it remembers, and goes on with new ones.
//!
//! A table of names only grows (`record/names.rs`): a run of months would grow with it, and so would one whose alerts' fields are
//! an attacker's to choose, though what is remembered has its bounds. What is kept at an epoch's end is kept in strings; whoever
//! begins with it has the names that are still needed, and no others.

use crate::record::{Millis, Names};

/// How often names are measured.
const LOOK_MS: Millis = 1_000;

/// How a run ended that did not fail.
pub(crate) enum Ended {
    /// All that it took is settled.
    InOrder,
    /// Before it was where it had been.
    Early,
    /// As it stood: the next run goes on as though there had been no end.
    Left,
    /// As it stood, to go on at once with new names.
    Anew,
    /// As it stood, for all processes of a cluster to go on with this model.
    Promoted(String),
}

/// When it is time.
pub(crate) struct Renewal {
    /// So many bytes of names are enough; any number where it is 0.
    most: usize,
    /// What they took when the run had begun.
    began: usize,
    looked: Millis,
}

impl Renewal {
    /// One that keeps to `most` bytes.
    pub(crate) fn at(most: usize) -> Renewal {
        Renewal { most, began: 0, looked: 0 }
    }

    /// The run has begun: these names are needed.
    pub(crate) fn begin(&mut self, names: &Names) {
        self.began = names.bytes();
    }

    /// Whether there are too many. Where those that are needed take half of it already, they may double.
    pub(crate) fn is_due(&mut self, now: Millis, names: &Names) -> bool {
        if self.most == 0 || now - self.looked < LOOK_MS {
            return false;
        }
        self.looked = now;
        names.bytes() > self.most.max(2 * self.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_needed_are_no_reason() {
        let (names, mut renewal) = (Names::default(), Renewal::at(3_000));
        let meet = |many: std::ops::Range<u32>| {
            many.for_each(|n| {
                let _ = names.intern(&format!("host-{n:03}"));
            });
        };
        meet(0..100);
        renewal.begin(&names);
        assert!(!renewal.is_due(LOOK_MS, &names));
        meet(100..180);
        assert!(names.bytes() > 3_000 && !renewal.is_due(2 * LOOK_MS, &names), "{}", names.bytes());
        meet(180..250);
        assert!(!renewal.is_due(2 * LOOK_MS + 1, &names), "it is looked at now and then");
        assert!(renewal.is_due(3 * LOOK_MS, &names));
        assert!(!Renewal::at(0).is_due(9 * LOOK_MS, &names));
    }
}
