//! Tests: owners that take a ledger over from one another at any step, against what its log says by definition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::record::{ActionClass, DecisionId, IncidentId, Verb};

fn order(n: u8) -> Order {
    Order {
        action_id: ActionId([n; 16]),
        tenant: "default".into(),
        decision_id: DecisionId([n; 16]),
        incident_id: IncidentId([n; 16]),
        playbook: "block".into(),
        use_case: "phishing".into(),
        step: "action--1".into(),
        agent: "firewall".into(),
        verb: Verb::Deny,
        target: format!("ip:198.51.100.{n}"),
        parameters: serde_json::json!({"n": n}),
        class: ActionClass::Idempotent,
        ttl_s: None,
        undo_of: None,
        timeout_ms: None,
        requested: i64::from(n),
    }
}

fn done(tick: Tick) -> Known {
    Known { status: ActionStatus::Succeeded, attempts: 1, tick, detail: String::new(), place: 0 }
}

/// What is done, by which of the machines.
#[derive(Clone, Debug)]
enum Deed {
    /// It starts, with the archive that it has.
    Start,
    /// It starts with a new archive.
    Anew,
    /// It makes an intent, and calls if that counts.
    Intend(u8),
    /// It notes an outcome.
    Outcome(u8),
}

fn deeds() -> impl Strategy<Value = Vec<(usize, Deed)>> {
    let deed = prop_oneof![
        2 => Just(Deed::Start),
        1 => Just(Deed::Anew),
        6 => (0..6_u8).prop_map(Deed::Intend),
        3 => (0..6_u8).prop_map(Deed::Outcome),
    ];
    prop::collection::vec((0..3_usize, deed), 1..40)
}

/// A machine: its archive, and the process on it, which others may have succeeded without its knowledge.
#[derive(Default)]
struct Machine {
    archives: u32,
    folder: Option<tempfile::TempDir>,
    ledger: Option<Ledger>,
}

impl Machine {
    fn start(&mut self, name: usize, book: &Leaves, anew: bool) {
        self.ledger = None;
        if anew || self.folder.is_none() {
            (self.archives, self.folder) = (self.archives + 1, Some(tempfile::tempdir().unwrap()));
        }
        let common = Common {
            book: Box::new(book.clone()),
            archive: format!("{name}/{}", self.archives),
            yields: false,
        };
        self.ledger = Some(Ledger::open(self.folder.as_ref().unwrap().path(), Some(common)).unwrap());
    }
}

/// Machines, and what is true of them: who took the ledger over last, what was called, and what was noted of it while that counted.
#[derive(Default)]
struct World {
    book: Leaves,
    machines: [Machine; 3],
    owner: Option<usize>,
    called: BTreeSet<u8>,
    outcomes: BTreeMap<u8, Tick>,
}

impl World {
    fn does(&mut self, at: usize, deed: &Deed) -> Result<(), TestCaseError> {
        match *deed {
            Deed::Start => self.starts(at, false),
            Deed::Anew => self.starts(at, true),
            Deed::Intend(n) => self.intends(at, n),
            Deed::Outcome(n) => self.hears(at, n),
        }
    }

    fn starts(&mut self, at: usize, anew: bool) -> Result<(), TestCaseError> {
        self.machines[at].start(at, &self.book, anew);
        self.owner = Some(at);
        let ledger = self.machines[at].ledger.as_ref().unwrap();
        for n in 0..6_u8 {
            let id = ActionId([n; 16]);
            prop_assert_eq!(ledger.intended(id).unwrap(), self.called.contains(&n));
            let known = ledger.known(id).unwrap().first().map(|known| known.tick);
            prop_assert_eq!(known, self.outcomes.get(&n).copied());
        }
        let open = ledger.in_doubt().unwrap();
        let open: Vec<u8> = open.iter().map(|it| it.order.action_id.0[0]).collect();
        let unheard = self.called.iter().copied().filter(|n| !self.outcomes.contains_key(n));
        prop_assert_eq!(open, unheard.collect::<Vec<_>>());
        Ok(())
    }

    fn intends(&mut self, at: usize, n: u8) -> Result<(), TestCaseError> {
        let Some(ledger) = &mut self.machines[at].ledger else { return Ok(()) };
        if ledger.intended(ActionId([n; 16])).unwrap() {
            return Ok(());
        }
        let written = ledger.write(&[Entry::Intent { epoch: 7, order: order(n) }]);
        prop_assert_eq!(written.is_ok(), self.owner == Some(at));
        if written.is_err() {
            self.machines[at].ledger = None;
            return Ok(());
        }
        prop_assert_eq!(leave(ledger), Leave::Granted);
        prop_assert!(self.called.insert(n), "called twice");
        Ok(())
    }

    fn hears(&mut self, at: usize, n: u8) -> Result<(), TestCaseError> {
        let id = ActionId([n; 16]);
        let Some(ledger) = &mut self.machines[at].ledger else { return Ok(()) };
        if !ledger.intended(id).unwrap() || !ledger.known(id).unwrap().is_empty() {
            return Ok(());
        }
        let tick = i64::from(n) + 100 * i64::try_from(at).unwrap();
        let written = ledger.write(&[Entry::Outcome { action_id: id, seq: 1, known: done(tick) }]);
        prop_assert_eq!(written.is_ok(), self.owner == Some(at));
        if written.is_ok() {
            self.outcomes.insert(n, tick);
        } else {
            self.machines[at].ledger = None;
        }
        Ok(())
    }
}

/// Whether its owner may call now.
fn leave(ledger: &Ledger) -> Leave {
    let lease = Arc::new(ledger.lease().unwrap());
    lease.awake(Moment::default());
    lease.grant().look(Moment::default(), 1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whoever may call knows of every call before, and nobody else may call.
    #[test]
    fn one_owner_at_a_time_who_knows_what_was_done(deeds in deeds()) {
        let mut world = World::default();
        for (at, deed) in deeds {
            world.does(at, &deed)?;
            for (other, machine) in world.machines.iter().enumerate() {
                if let Some(ledger) = machine.ledger.as_ref().filter(|_| world.owner != Some(other)) {
                    prop_assert_eq!(leave(ledger), Leave::Lost, "machine {}", other);
                }
            }
        }
        let ledgers = world.machines.iter().flat_map(|it| &it.ledger);
        prop_assert_eq!(ledgers.map(|it| it.divergences).sum::<u64>(), 0);
    }
}

fn begun(folder: &tempfile::TempDir, book: &Leaves, archive: &str) -> Result<Ledger, LedgerError> {
    let common = Common { book: Box::new(book.clone()), archive: archive.into(), yields: false };
    Ledger::open(folder.path(), Some(common))
}

#[test]
fn what_an_owner_before_still_writes_is_passed_over() {
    let book = Leaves::default();
    let [one, two] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut first = begun(&one, &book, "one").unwrap();
    first.write(&[Entry::Intent { epoch: 1, order: order(1) }]).unwrap();
    let mut second = begun(&two, &book, "two").unwrap();
    let late = first.write(&[Entry::Intent { epoch: 1, order: order(2) }]);
    assert!(matches!(late, Err(LedgerError::Fenced)), "{late:?}");
    // It lies there all the same, and takes nothing from whoever has the ledger.
    assert_eq!(book.all().len(), 4);
    assert_eq!(leave(&second), Leave::Granted);
    second.write(&[Entry::Intent { epoch: 1, order: order(3) }]).unwrap();
    let yields = Common { book: Box::new(book.clone()), archive: "one".into(), yields: true };
    let over = Ledger::open(one.path(), Some(yields)).map(drop);
    assert!(matches!(&over, Err(LedgerError::Yielded { other }) if other == "two"), "{over:?}");
    let third = begun(&one, &book, "one").unwrap();
    assert_eq!(third.standing_elsewhere().unwrap(), 0);
    let had = |n| third.intended(ActionId([n; 16])).unwrap();
    assert_eq!([1, 2, 3].map(had), [true, false, true]);
    // Epochs of another archive are none here; those of this one are.
    assert_eq!(third.begun_in(ActionId([1; 16])).unwrap(), Some(1));
    assert_eq!(third.begun_in(ActionId([3; 16])).unwrap(), Some(0));
    assert!(third.is_elsewhere(ActionId([3; 16])).unwrap());
}

#[test]
fn what_is_written_again_is_one_page() {
    let (book, folder) = (Leaves::default(), tempfile::tempdir().unwrap());
    let entries = [
        Entry::Intent { epoch: 1, order: order(1) },
        Entry::Outcome { action_id: ActionId([1; 16]), seq: 1, known: done(4) },
        Entry::Given { action_id: ActionId([1; 16]) },
        Entry::Ended { caller: ActionId([1; 16]), tick: 9 },
    ];
    let mut ledger = begun(&folder, &book, "one").unwrap();
    ledger.write(&entries).unwrap();
    // Of an effect that nobody has nothing ends.
    assert_eq!(book.all().len(), 4);
    ledger.write(&entries).unwrap();
    assert_eq!(book.all().len(), 4);
    assert_eq!(ledger.divergences, 0);
    let other = Entry::Outcome { action_id: ActionId([1; 16]), seq: 1, known: done(5) };
    ledger.write(&[other]).unwrap();
    assert_eq!(ledger.divergences, 1);
}

#[test]
fn a_book_that_is_not_what_was_read_is_refused() {
    let (book, folder) = (Leaves::default(), tempfile::tempdir().unwrap());
    let mut ledger = begun(&folder, &book, "one").unwrap();
    ledger.write(&[Entry::Intent { epoch: 1, order: order(1) }]).unwrap();
    drop(ledger);
    let none = Ledger::open(folder.path(), None).map(drop);
    assert!(matches!(none, Err(LedgerError::NotShared)), "{none:?}");
    let anew = begun(&folder, &Leaves::default(), "one").map(drop);
    assert!(matches!(anew, Err(LedgerError::MadeAnew { ends: 0, read: 2 })), "{anew:?}");
    // What a stranger wrote is passed over, and what a later version wrote is not.
    book.all().push(b"hello".to_vec());
    let mut ledger = begun(&folder, &book, "one").unwrap();
    book.all().push(b"{\"hello\": 1}".to_vec());
    ledger.write(&[Entry::Given { action_id: ActionId([1; 16]) }]).unwrap();
    assert_eq!(leave(&ledger), Leave::Granted);
    let later = br#"{"wrote": {"owner": 3, "entry": {"later": {}}}}"#;
    book.all().push(later.to_vec());
    let stranger = begun(&folder, &book, "one").map(drop);
    assert!(matches!(stranger, Err(LedgerError::Page { at: 6, .. })), "{stranger:?}");
    let alone = tempfile::tempdir().unwrap();
    Ledger::open(alone.path(), None).unwrap().write(&[Entry::Intent { epoch: 1, order: order(1) }]).unwrap();
    let late = begun(&alone, &Leaves::default(), "two").map(drop);
    assert!(matches!(late, Err(LedgerError::Unshared)), "{late:?}");
}
