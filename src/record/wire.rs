//! Wire: how interned strings cross between the processes of a cluster.
//!
//! Each process numbers its strings itself. A record that crosses carries the sender's numbers; the sender tells what
//! they stand for once a link, ahead of the first record that has them ([`Telling`]), and the receiver keeps, for each
//! other process, which of its own strings each number is ([`Tongues`]). So a string crosses a link once, however many
//! records have it, and a record's strings cost 5 bytes each.
//!
//! Only a thread that has entered a cluster, as its dataflow workers do, writes and reads numbers like that; everywhere
//! else a `Sym` is the bare number that it is within the process. What people can read never has this form.
//!
//! State: for every string of another process a number, at each worker too, and for every string its place at each worker:
//! 4 bytes each, for as long as the strings themselves live.

use std::cell::RefCell;
use std::sync::{Arc, PoisonError, RwLock};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::names::{Names, SHARDS, Sym};

/// By shard and place.
type Learned = [Vec<Sym>; SHARDS];

/// What one process of a cluster knows of the others' numbers.
pub struct Tongues {
    own: u8,
    names: Arc<Names>,
    learned: Vec<RwLock<Learned>>,
}

/// What was told of strings makes no sense: whoever told it is no process of this cluster, or defective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what it tells of its strings is garbled")]
pub struct Garbled;

impl Tongues {
    /// Process `own` of `processes`, 256 at most, that knows nothing yet.
    #[must_use]
    pub fn new(own: usize, processes: usize, names: Arc<Names>) -> Tongues {
        let learned = (0..processes).map(|_| RwLock::default()).collect();
        Tongues { own: u8::try_from(own).expect("256 processes at most"), names, learned }
    }

    /// Takes in what process `from` told.
    pub fn learn(&self, from: usize, mut told: &[u8]) -> Result<(), Garbled> {
        let mut learned = self.learned[from].write().unwrap_or_else(PoisonError::into_inner);
        while !told.is_empty() {
            let [shard, first, count] = [number(&mut told)?, number(&mut told)?, number(&mut told)?];
            let known = learned.get_mut(shard).filter(|known| known.len() == first).ok_or(Garbled)?;
            let lengths = told.split_off(..count.checked_mul(4).ok_or(Garbled)?).ok_or(Garbled)?;
            for mut length in lengths.chunks_exact(4) {
                let text = told.split_off(..number(&mut length)?).ok_or(Garbled)?;
                known.push(self.names.intern(std::str::from_utf8(text).map_err(|_| Garbled)?));
            }
        }
        Ok(())
    }
}

fn number(from: &mut &[u8]) -> Result<usize, Garbled> {
    let bytes = from.split_off(..4).ok_or(Garbled)?;
    Ok(u32::from_le_bytes(bytes.try_into().map_err(|_| Garbled)?) as usize)
}

/// Strings of a shard that are told at once: longer news would be held in memory as a whole.
const MOST: usize = 1 << 10;

/// How far one other process has been told of our strings.
#[derive(Default)]
pub struct Telling {
    told: [usize; SHARDS],
}

impl Telling {
    /// What is new since it was told last, or the beginning of it, for [`Tongues::learn`]; empty where nothing is. Called until
    /// then, it has told whatever was interned before the first call.
    pub fn news(&mut self, names: &Names) -> Vec<u8> {
        let mut news = Vec::new();
        for (shard, told) in self.told.iter_mut().enumerate() {
            let from = *told;
            let tell = |lengths: &[u32], text: &str| {
                for number in [shard, from, lengths.len()] {
                    news.extend(
                        u32::try_from(number).expect("fewer than 2^28 strings a shard").to_le_bytes(),
                    );
                }
                news.extend(lengths.iter().flat_map(|length| length.to_le_bytes()));
                news.extend(text.as_bytes());
            };
            *told = names.since(shard, (from, MOST), tell).map_or(from, |(through, ())| through);
        }
        news
    }
}

/// What a worker of a cluster has at hand.
struct Abroad {
    tongues: Arc<Tongues>,
    /// Of each process what was needed of [`Tongues`] so far, and what was known by then: read without a lock.
    known: Vec<Learned>,
    /// [`Sym::place`] of each of our own numbers; 0 where it was not asked for yet.
    places: Vec<u32>,
}

thread_local! {
    static ABROAD: RefCell<Option<Abroad>> = const { RefCell::new(None) };
}

/// From now on this thread is a worker of a cluster.
pub fn enter(tongues: Arc<Tongues>) {
    let known = tongues.learned.iter().map(|_| Learned::default()).collect();
    ABROAD.set(Some(Abroad { tongues, known, places: Vec::new() }));
}

/// Whether this thread is a worker of a cluster.
fn is_abroad() -> bool {
    ABROAD.with_borrow(Option::is_some)
}

impl Abroad {
    fn understand(&mut self, process: u8, raw: u32) -> Option<Sym> {
        let (process, sym) = (usize::from(process), Sym::of_raw(raw));
        if process == usize::from(self.tongues.own) {
            return Some(sym);
        }
        let (shard, at) = sym.at();
        let known = &mut self.known.get_mut(process)?[shard];
        if at >= known.len() {
            let learned = self.tongues.learned[process].read().unwrap_or_else(PoisonError::into_inner);
            let more = learned[shard].get(known.len()..)?;
            known.extend_from_slice(more);
        }
        known.get(at).copied()
    }

    fn place(&mut self, sym: Sym) -> u64 {
        let at = sym.raw() as usize;
        if at >= self.places.len() {
            self.places.resize((at + 1).next_power_of_two(), 0);
        }
        if self.places[at] == 0 {
            let hash = self.tongues.names.with(sym, |text| blake3::hash(text.as_bytes()));
            let first = hash.as_bytes()[..4].try_into().unwrap_or_default();
            self.places[at] = u32::from_le_bytes(first).max(1);
        }
        u64::from(self.places[at])
    }
}

impl Sym {
    /// What says where its records go: the same for equal strings at all workers of a run, in whichever process. It shows in
    /// no result.
    #[must_use]
    pub fn place(self) -> u64 {
        ABROAD.with_borrow_mut(|abroad| match abroad {
            Some(abroad) => abroad.place(self),
            None => u64::from(self.raw()),
        })
    }
}

impl Serialize for Sym {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if !to.is_human_readable() && super::pen::note(self.raw()) {
            return self.raw().serialize(to);
        }
        let own = ABROAD.with_borrow(|abroad| abroad.as_ref().map(|abroad| abroad.tongues.own));
        match own.filter(|_| !to.is_human_readable()) {
            Some(own) => (own, self.raw()).serialize(to),
            None => self.raw().serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Sym {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            return u32::deserialize(from).map(Sym::of_raw);
        }
        if !is_abroad() || super::pen::is_reading() {
            let raw = u32::deserialize(from)?;
            return super::pen::look_up(raw).unwrap_or(Ok(Sym::of_raw(raw))).map_err(D::Error::custom);
        }
        let (process, raw) = <(u8, u32)>::deserialize(from)?;
        let known = ABROAD.with_borrow_mut(|abroad| abroad.as_mut()?.understand(process, raw));
        known
            .ok_or_else(|| D::Error::custom(format!("process {process} never told what its string {raw} is")))
    }
}

#[cfg(test)]
mod tests;
