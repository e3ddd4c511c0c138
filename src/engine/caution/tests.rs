//! Tests: who is ended by records, by which, and who is only killed.

use proptest::prelude::*;

use super::*;
use crate::act::{Entry, Order};

/// A log of records, some of which end whoever takes them, and what a supervisor sees of it.
struct World {
    poison: Vec<u64>,
    /// Those of them that end it before the log has their epoch.
    unreadable: Vec<u64>,
    kept_out: Vec<u64>,
    /// Bounds of epochs that are committed, and of those in the log that are not.
    committed: Vec<(u64, u64)>,
    logged: Vec<(u64, u64)>,
    known: Known,
}

const USUAL: u64 = 100;

impl World {
    fn logged(&self) -> Option<LoggedEpoch> {
        let Some(&(first, next)) = self.logged.first() else {
            return self.known.unread(self.committed.len() as u64);
        };
        let part = LoggedPart { source: "s".into(), partition: 0, records: next - first, first, next };
        let epoch = self.committed.len() as u64 + 1;
        Some(LoggedEpoch { epoch, settled: 0, last: false, parts: vec![part] })
    }

    /// A process: whether it took all of `records`, and whether it was worth starting.
    fn process(&mut self, records: u64, killed: bool) -> Option<bool> {
        let first = self.logged();
        let (known, step) = self.known.clone().next(self.committed.len() as u64, first.as_ref());
        self.known = known;
        let mut most = USUAL;
        match step {
            Step::Boldly | Step::Carefully => {}
            Step::As(fewer) => most = fewer,
            Step::In(fewer) => {
                self.logged.clear();
                most = fewer;
            }
            Step::Quarantine(_) => {
                let unread = first.map(|it| (it.parts[0].first, it.parts[0].next));
                self.logged.truncate(1);
                self.logged.extend(unread.filter(|_| self.logged.is_empty()));
                self.kept_out.push(self.logged[0].0);
            }
            Step::InVain => return None,
        }
        if killed {
            return Some(false);
        }
        loop {
            let at = self.committed.last().map_or(0, |(_, next)| *next);
            let (first, next) = match self.logged.first() {
                Some(first) => *first,
                None => (at, (at + most).min(records)),
            };
            if first == next {
                self.known = Known::default();
                return Some(true);
            }
            if self.is_ended_in((first, next)) {
                return Some(false);
            }
            if !self.logged.is_empty() {
                self.logged.remove(0);
            }
            self.committed.push((first, next));
            self.known.strikes = 0;
            most = (most * 2).min(USUAL);
        }
    }
}

impl World {
    /// Whether a process is ended by these records: while it reads them, or when it works on them.
    fn is_ended_in(&mut self, (first, next): (u64, u64)) -> bool {
        let is_poison = |at: &&u64| (first..next).contains(*at) && !self.kept_out.contains(at);
        let epoch = self.committed.len() as u64 + 1;
        let reads = self.logged.is_empty();
        let reading = reads && self.unreadable.iter().any(|at| is_poison(&at));
        if !reading && !self.poison.iter().any(|at| is_poison(&at)) {
            return false;
        }
        if reads && !reading {
            self.logged.push((first, next));
        }
        if self.known.careful {
            let part = LoggedPart { first, next, ..LoggedPart::unread("s".into(), 0, next - first) };
            let reads = LoggedEpoch { epoch, settled: 0, last: false, parts: vec![part] };
            (self.known.begun, self.known.reads) = (epoch, reading.then_some(reads));
        }
        true
    }
}

proptest! {
    #[test]
    fn what_ends_it_is_kept_out_and_nothing_else(
        mut poison in prop::collection::vec(0_u64..700, 0..8),
        killed in prop::collection::vec(any::<bool>(), 40),
        unreadable in 0_u64..3,
    ) {
        poison.sort_unstable();
        poison.dedup();
        let (kept_out, committed, logged) = (Vec::new(), Vec::new(), Vec::new());
        let unreadable = poison.iter().copied().filter(|at| at % 3 < unreadable).collect();
        let known = Known::default();
        let mut world = World { poison: poison.clone(), unreadable, kept_out, committed, logged, known };
        let mut processes = 0;
        while !world.process(700, killed.get(processes).copied().unwrap_or(false)).expect("few enough") {
            processes += 1;
            prop_assert!(processes < 40 * (poison.len() + 2), "it gets no further: {:?}", world.known);
        }
        prop_assert_eq!(&world.kept_out, &poison);
        let taken: u64 = world.committed.iter().map(|(first, next)| next - first).sum();
        prop_assert_eq!(taken, 700);
    }
}

#[test]
fn where_every_record_ends_it_there_is_no_use_in_going_on() {
    let mut world = World {
        poison: (0..700).collect(),
        unreadable: (0..700).step_by(2).collect(),
        kept_out: Vec::new(),
        committed: Vec::new(),
        logged: Vec::new(),
        known: Known::default(),
    };
    let mut processes = 0;
    while world.process(700, false).is_some() {
        processes += 1;
        assert!(processes < 200);
    }
    assert_eq!(world.kept_out.len(), QUARANTINED_MAX as usize);
}

#[test]
fn a_process_that_was_thought_dead_changes_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let begin = || {
        let mut log = Log::open(folder.path()).unwrap();
        log.claim().unwrap();
        Caution::begin(&mut log, 0, (1_000, Act::Settled), |_| ()).map(|it| (it, log)).unwrap()
    };
    let (mut zombie, mut log) = begin();
    let others: Vec<_> = (0..STARTS).map(|_| begin()).collect();
    let known = || Log::open(folder.path()).unwrap().meta(KEY).unwrap();
    let before = known();
    assert!(others.last().unwrap().0.fears(1));
    for said in
        [zombie.begins(&log, 7), zombie.withdraw(&log), Caution::end(&log), log.let_go(0), log.quarantine(1)]
    {
        assert!(matches!(said, Err(LogError::Fenced)), "{said:?}");
    }
    assert_eq!(known(), before);
}

#[test]
fn where_it_is_acted_early_what_was_called_stays_in_its_epoch() {
    let order: Order = serde_json::from_value(serde_json::json!({
        "action_id": "0".repeat(32), "tenant": "t", "decision_id": "0".repeat(32), "incident_id": "0".repeat(32),
        "playbook": "p", "use_case": "u", "step": "s", "agent": "a", "verb": "deny", "target": "ip:192.0.2.1",
        "parameters": {}, "class": "keyed", "ttl_s": null, "requested": 0
    }))
    .unwrap();
    for (act, left) in [(Act::Settled, 0), (Act::Early, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let begin = || {
            let mut log = Log::open(folder.path()).unwrap();
            Caution::begin(&mut log, 0, (1_000, act), |_| ()).map(|it| (it, log)).unwrap()
        };
        let (_, mut log) = begin();
        let part = LoggedPart { source: "s".into(), partition: 0, records: 9, first: 1, next: 10 };
        let logged = LoggedEpoch { epoch: 1, settled: 0, last: false, parts: vec![part] };
        log.record(&[logged], None).unwrap();
        let mut ledger = Ledger::open(log.folder(), None).unwrap();
        ledger.write(&[Entry::Intent { epoch: 1, order: order.clone() }]).unwrap();
        (1..STARTS).for_each(|_| drop(begin()));
        for _ in 0..=STRIKES {
            let (mut caution, log) = begin();
            caution.begins(&log, 1).unwrap();
        }
        assert_eq!(log.epochs().unwrap().len(), left, "{act:?}");
    }
}

#[test]
fn what_was_taken_after_a_record_that_is_kept_out_is_taken_anew() {
    let folder = tempfile::tempdir().unwrap();
    let begin = || {
        let mut log = Log::open(folder.path()).unwrap();
        Caution::begin(&mut log, 0, (1_000, Act::Settled), |_| ()).map(|it| (it, log)).unwrap()
    };
    let (_, mut log) = begin();
    for epoch in 1..=3 {
        let part = LoggedPart { source: "s".into(), partition: 0, records: 1, first: epoch, next: epoch + 1 };
        let logged = LoggedEpoch { epoch, settled: 0, last: false, parts: vec![part] };
        log.record(&[logged], None).unwrap();
    }
    (1..STARTS).for_each(|_| drop(begin()));
    for _ in 0..STRIKES {
        let (mut caution, log) = begin();
        caution.begins(&log, 1).unwrap();
    }
    assert!(log.quarantined().unwrap().is_empty());
    drop(begin());
    let left: Vec<Epoch> = log.epochs().unwrap().iter().map(|logged| logged.epoch).collect();
    assert_eq!((left, log.quarantined().unwrap()), (vec![1], [1].into()));
}

#[test]
fn what_is_counted_survives_and_what_was_told_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let begin = |told: &mut u32| {
        let mut log = Log::open(folder.path()).unwrap();
        Caution::begin(&mut log, 0, (1_000, Act::Settled), |_| *told += 1).map(|it| (it, log)).unwrap()
    };
    let mut told = 0;
    for _ in 0..3 {
        let (caution, _) = begin(&mut told);
        assert!(!caution.fears(1));
    }
    for _ in 0..5 {
        let (caution, log) = begin(&mut told);
        assert!(caution.fears(1));
        caution.withdraw(&log).unwrap();
    }
    assert_eq!(told, 5);
    let (mut caution, log) = begin(&mut told);
    (0..CALM).for_each(|_| caution.passed(&log).unwrap());
    assert!(!caution.fears(1) && !begin(&mut told).0.fears(1));
}
