//! Kept: what operators remember, told at the end of an epoch, so that another run begins there.
//!
//! In: from each operator, at the turns that say so, its items: what it remembers of one key, or for one worker all. Out:
//! [`Kept`], an operator's items of one worker. Items know nothing of workers: in a run of another layout each worker takes
//! those whose keys lead to it. Between processes they cross in pieces.
//! State: none.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use crossbeam_channel::bounded;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Turn;
use super::fate::is_set;
use crate::record::pen::{Glossary, Meanings, of_bytes, reading_by, to_bytes, writing};
use crate::record::{Epoch, Names};

/// Bytes of a piece, about, unless an item alone has more.
const PIECE_BYTES: usize = 64 << 10;

/// An operator's items of one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The epoch at whose end this was so.
    pub epoch: Epoch,
    /// Which operator.
    pub operator: String,
    /// At which worker.
    pub worker: usize,
    /// Each item's bytes.
    pub items: Vec<Vec<u8>>,
    /// The strings that they name by number.
    pub glossary: Glossary,
}

/// What an earlier run kept, by operator, until every worker has what is its own.
#[derive(Debug, Default)]
pub struct Past {
    all: RwLock<BTreeMap<String, Vec<Kept>>>,
    /// Workers that have.
    done: AtomicUsize,
}

impl Past {
    /// Of everything that was kept at one epoch.
    #[must_use]
    pub fn of(kept: Vec<Kept>) -> Past {
        let past = Past::default();
        for kept in kept {
            past.put(kept);
        }
        past
    }

    /// Takes in more, or a piece that follows the one before it.
    pub fn put(&self, kept: Kept) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let all = all.entry(kept.operator.clone()).or_default();
        Kept::join(all, kept);
    }

    /// Gives, in pieces, all that the operators `wanted` kept.
    pub fn pieces(&self, wanted: impl Fn(&str) -> bool, mut give: impl FnMut(Kept)) {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = all.iter().filter(|(operator, _)| wanted(operator));
        wanted.flat_map(|(_, kept)| kept).flat_map(Kept::pieces).for_each(&mut give);
    }

    /// What an operator kept is with the only worker: it need not lie here, too, until the others have theirs.
    fn forget(&self, operator: &str) {
        self.all.write().unwrap_or_else(PoisonError::into_inner).remove(operator);
    }

    /// One of so many workers has taken what is its own: after the last nothing is held any more.
    pub fn release(&self, workers: usize) {
        if self.done.fetch_add(1, Ordering::SeqCst) + 1 == workers {
            self.all.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// Gives each of an operator's items, in their order; so many hands read ahead of whoever takes them.
    ///
    /// # Panics
    /// Where an item is not what the operator wrote, though it is whole: the snapshot is of another version of quell, and was
    /// to be refused before.
    pub fn each<T: DeserializeOwned + Send>(
        &self,
        operator: &str,
        names: &Names,
        hands: usize,
        mut take: impl FnMut(T),
    ) {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        for kept in all.get(operator).into_iter().flatten() {
            let meanings = Arc::new(Meanings::of(names, &kept.glossary));
            let read = |items: &&[Vec<u8>]| -> Vec<T> {
                let item =
                    |item: &Vec<u8>| of_bytes(item).unwrap_or_else(|error| panic!("{operator}: {error}"));
                reading_by(&meanings, || items.iter().map(item).collect())
            };
            let some: Vec<&[Vec<u8>]> = kept.items.chunks(AT_ONCE).collect();
            let hands = if some.len() < FEW || is_set() { 0 } else { hands };
            ahead(&some, hands, read, |read| read.into_iter().for_each(&mut take));
        }
    }
}

/// Items that a hand reads at once.
const AT_ONCE: usize = 64;
/// Fewer times so many are read by whoever takes them.
const FEW: usize = 16;

/// Does `work` for each job, so many hands ahead of `take`, which gets the results in the order of the jobs.
fn ahead<J: Sync, R: Send>(jobs: &[J], hands: usize, work: impl Fn(&J) -> R + Sync, mut take: impl FnMut(R)) {
    if hands < 2 {
        return jobs.iter().map(work).for_each(take);
    }
    thread::scope(|scope| {
        let doors = (0..hands).map(|hand| {
            let (give, door) = bounded(2);
            let own = jobs.iter().skip(hand).step_by(hands);
            let work = &work;
            scope.spawn(move || own.map(work).try_for_each(|result| give.send(result)).is_ok());
            door
        });
        let doors: Vec<_> = doors.collect();
        for at in 0..jobs.len() {
            // A hand that panicked gives nothing more, and the scope passes its panic on.
            let Ok(result) = doors[at % hands].recv() else { break };
            take(result);
        }
    });
}

/// Where what is kept goes.
pub type Out = Rc<dyn Fn(Kept)>;

/// What a worker's operators keep by.
#[derive(Clone, Default)]
pub struct Keeper {
    at: (usize, usize),
    names: Arc<Names>,
    out: Option<Out>,
    past: Option<Arc<Past>>,
}

impl Keeper {
    /// A worker's, of so many; what is kept goes `out`, what was kept before is in `past`.
    #[must_use]
    pub fn new(at: (usize, usize), names: Arc<Names>, out: Out, past: Option<Arc<Past>>) -> Keeper {
        Keeper { at, names, out: Some(out), past }
    }

    /// One operator's.
    #[must_use]
    pub fn of(&self, operator: impl Into<String>) -> Keeping {
        Keeping { keeper: self.clone(), operator: operator.into() }
    }
}

/// What an operator keeps by.
pub struct Keeping {
    keeper: Keeper,
    operator: String,
}

impl Keeping {
    /// Gives the operator each item that it kept and that leads to this worker: `route` is that of the operator's exchange.
    pub fn restore<T: DeserializeOwned + Send>(&self, route: impl Fn(&T) -> u64, mut take: impl FnMut(T)) {
        self.restore_all(|item| {
            if self.owns(route(&item)) {
                take(item);
            }
        });
    }

    /// Whether what is routed like that leads to this worker.
    #[must_use]
    pub fn owns(&self, route: u64) -> bool {
        let (own, peers) = self.keeper.at;
        peers <= 1 || route % peers as u64 == own as u64
    }

    /// Gives the operator all items that it kept, at whichever worker.
    pub fn restore_all<T: DeserializeOwned + Send>(&self, take: impl FnMut(T)) {
        if let Some(past) = &self.keeper.past {
            let cores = thread::available_parallelism().map_or(1, NonZero::get);
            let peers = self.keeper.at.1.max(1);
            past.each(&self.operator, &self.keeper.names, cores / peers, take);
            if peers == 1 {
                past.forget(&self.operator);
            }
        }
    }

    /// Whether it is the first worker's.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.keeper.at.0 == 0
    }

    /// Tells what is to be kept, where the turn says so.
    ///
    /// # Panics
    /// Where an item cannot be written, which is a defect.
    pub fn keep(&self, turn: Turn, tell: impl FnOnce(&mut Items)) {
        let Some(out) = self.keeper.out.as_ref().filter(|_| turn.keeps) else { return };
        out(Kept::of(&self.operator, (turn.epoch, self.keeper.at.0), &self.keeper.names, tell));
    }
}

/// Items as they are written.
#[derive(Default)]
pub struct Items(Vec<Vec<u8>>);

impl Items {
    /// One more.
    ///
    /// # Panics
    /// Where it cannot be written, which is a defect.
    pub fn put(&mut self, item: &impl Serialize) {
        let mut bytes = Vec::new();
        to_bytes(item, &mut bytes).expect("what is remembered can be written");
        self.0.push(bytes);
    }
}

impl Kept {
    /// One more, or a piece that follows the last one: what one operator kept at one worker lies together.
    pub fn join(all: &mut Vec<Kept>, next: Kept) {
        match all.last_mut().filter(|last| (&last.operator, last.worker) == (&next.operator, next.worker)) {
            Some(last) => {
                last.items.extend(next.items);
                last.glossary.extend(next.glossary);
            }
            None => all.push(next),
        }
    }

    /// What `tell` puts, of an operator at an epoch's end and a worker.
    pub fn of(
        operator: &str,
        (epoch, worker): (Epoch, usize),
        names: &Names,
        tell: impl FnOnce(&mut Items),
    ) -> Kept {
        let mut items = Items::default();
        let ((), glossary) = writing(names, || tell(&mut items));
        Kept { epoch, operator: operator.to_owned(), worker, items: items.0, glossary }
    }

    /// The same in pieces, the strings first: what is large is never sent, or held by whoever sends it, at once.
    pub fn pieces(&self) -> impl Iterator<Item = Kept> {
        let (mut strings, mut items) = (self.glossary.as_slice(), self.items.as_slice());
        std::iter::from_fn(move || {
            let mut room = PIECE_BYTES;
            let glossary = front(&mut strings, &mut room, |(_, text)| text.len()).to_vec();
            let items = front(&mut items, &mut room, Vec::len).to_vec();
            let (epoch, operator, worker) = (self.epoch, self.operator.clone(), self.worker);
            let is_any = !glossary.is_empty() || !items.is_empty();
            is_any.then_some(Kept { epoch, operator, worker, items, glossary })
        })
    }
}

/// Takes off the front what there is room for, and one more.
fn front<'a, T>(all: &mut &'a [T], room: &mut usize, bytes: impl Fn(&T) -> usize) -> &'a [T] {
    /// What it costs beside its bytes.
    const EACH: usize = 16;
    let mut count = 0;
    while *room > 0
        && let Some(next) = all.get(count)
    {
        *room = room.saturating_sub(bytes(next) + EACH);
        count += 1;
    }
    let (front, rest) = all.split_at(count);
    *all = rest;
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_ahead_comes_in_order_and_a_panic_comes_through() {
        let jobs: Vec<u32> = (0..1_000).collect();
        for hands in [0, 1, 2, 3, 8] {
            let mut taken = Vec::new();
            ahead(&jobs, hands, |job| job * 3, |result| taken.push(result));
            assert_eq!(taken, jobs.iter().map(|job| job * 3).collect::<Vec<_>>(), "{hands}");
            let falls = std::panic::AssertUnwindSafe(|| {
                ahead(&jobs, hands, |job| assert_ne!(*job, 700, "planted"), |()| ());
            });
            assert!(std::panic::catch_unwind(falls).is_err(), "{hands}");
        }
    }

    #[test]
    fn many_items_are_what_they_were_whoever_reads_them() {
        let names = Names::default();
        let strings: Vec<_> = (0..5_000).map(|n| names.intern(&format!("host-{n}"))).collect();
        let kept = Kept::of("dedup", (7, 0), &names, |items| strings.iter().for_each(|it| items.put(it)));
        let (past, other) = (Past::of(vec![kept]), Names::default());
        for hands in [1, 2, 5] {
            let mut read = Vec::new();
            past.each("dedup", &other, hands, |it: crate::record::Sym| read.push(other.get(it)));
            assert_eq!(read, strings.iter().map(|it| names.get(*it)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn pieces_are_small_and_make_the_whole() {
        let text = |n: u32| "x".repeat(n as usize % 3_000);
        let kept = |worker| Kept {
            epoch: 7,
            operator: "dedup".to_owned(),
            worker,
            items: [(0..500).map(|n| vec![1; n]).collect(), vec![vec![2; 3 * PIECE_BYTES], Vec::new()]]
                .concat(),
            glossary: (0..200).map(|n| (n, text(n * 40))).collect(),
        };
        let nothing = Kept { items: Vec::new(), glossary: Vec::new(), ..kept(1) };
        assert_eq!(nothing.pieces().count(), 0);
        let (whole, past) = (Past::of(vec![kept(0), kept(3)]), Past::default());
        let mut pieces = Vec::new();
        whole.pieces(|operator| operator == "dedup", |piece| pieces.push(piece));
        whole.pieces(|operator| operator == "other", |_| unreachable!("nobody wants it"));
        assert!(pieces.len() > 10);
        for piece in pieces {
            let bytes: usize = piece.items.iter().map(Vec::len).sum();
            assert!(bytes < PIECE_BYTES + 500 || piece.items.iter().any(|item| item.len() > PIECE_BYTES));
            past.put(piece);
        }
        assert_eq!(past.all.into_inner().unwrap()["dedup"], [kept(0), kept(3)]);
    }
}
