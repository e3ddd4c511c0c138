//! Pen: how interned strings are written down for a later process, which numbers its strings otherwise.
//!
//! While a thread writes by [`writing`], each `Sym` is the bare number that it is within this process, and the numbers
//! met are noted: the strings that they stand for go beside what was written. While a thread reads by [`reading`], a number
//! is looked up there, and is this process's own number of that string.

use std::cell::RefCell;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::names::{Names, SHARDS, Sym};

/// Strings by the number that the writer had for them, in the order of these numbers.
pub type Glossary = Vec<(u32, String)>;

enum Pen {
    Writing(FxHashSet<u32>),
    Reading(Arc<Meanings>),
}

/// This process's own numbers, by those of the writer: by shard and place, since millions of records name each string. Places
/// that lie far behind all others, as no writer's do, are looked for.
#[derive(Default)]
pub struct Meanings {
    near: [Vec<Option<Sym>>; SHARDS],
    far: FxHashMap<u32, Sym>,
}

impl Meanings {
    /// Of a glossary.
    #[must_use]
    pub fn of(names: &Names, glossary: &[(u32, String)]) -> Meanings {
        let mut it = Meanings::default();
        for (raw, text) in glossary {
            let (shard, place) = Sym::of_raw(*raw).at();
            let own = names.intern(text);
            if place < FAR + glossary.len() / 2 {
                let near = &mut it.near[shard];
                near.resize(near.len().max(place + 1), None);
                near[place] = Some(own);
            } else {
                it.far.insert(*raw, own);
            }
        }
        it
    }

    fn get(&self, raw: u32) -> Option<Sym> {
        let (shard, place) = Sym::of_raw(raw).at();
        self.near[shard].get(place).copied().flatten().or_else(|| self.far.get(&raw).copied())
    }
}

/// A place is near up to here, and up to half as many as there are strings, which lie in sixteen shards.
const FAR: usize = 1 << 10;

thread_local! {
    static PEN: RefCell<Option<Pen>> = const { RefCell::new(None) };
}

/// Puts the pen down, also where the work panics.
struct Down;

impl Drop for Down {
    fn drop(&mut self) {
        PEN.take();
    }
}

/// Lets `work` write; what it gives, and the strings that it wrote numbers of.
pub fn writing<R>(names: &Names, work: impl FnOnce() -> R) -> (R, Glossary) {
    PEN.set(Some(Pen::Writing(FxHashSet::default())));
    let down = Down;
    let result = work();
    let Some(Pen::Writing(met)) = PEN.take() else { return (result, Glossary::new()) };
    drop(down);
    let mut met: Vec<u32> = met.into_iter().collect();
    met.sort_unstable();
    (result, met.into_iter().map(|raw| (raw, names.get(Sym::of_raw(raw)))).collect())
}

/// Lets `work` read what was written with these strings.
pub fn reading<R>(names: &Names, glossary: &[(u32, String)], work: impl FnOnce() -> R) -> R {
    reading_by(&Arc::new(Meanings::of(names, glossary)), work)
}

/// The same, where several threads read.
pub fn reading_by<R>(meanings: &Arc<Meanings>, work: impl FnOnce() -> R) -> R {
    PEN.set(Some(Pen::Reading(Arc::clone(meanings))));
    let _down = Down;
    work()
}

/// Notes a number that is written; whether anything is written here at all.
pub(super) fn note(raw: u32) -> bool {
    PEN.with_borrow_mut(|pen| match pen {
        Some(Pen::Writing(met)) => {
            met.insert(raw);
            true
        }
        Some(Pen::Reading(_)) | None => false,
    })
}

/// Whether this thread reads what another process wrote.
pub(super) fn is_reading() -> bool {
    PEN.with_borrow(|pen| matches!(pen, Some(Pen::Reading(_))))
}

/// What a number that is read is here; nothing where the thread reads nothing of another process, and an error's text
/// where its string was not told.
pub(super) fn look_up(raw: u32) -> Option<Result<Sym, String>> {
    PEN.with_borrow(|pen| match pen {
        Some(Pen::Reading(own)) => {
            Some(own.get(raw).ok_or_else(|| format!("no string goes with the number {raw}")))
        }
        Some(Pen::Writing(_)) | None => None,
    })
}

/// An item as bytes, its strings to go beside it.
///
/// # Errors
/// Where the item cannot be written: a length that nothing has.
pub fn to_bytes(item: &impl Serialize, to: &mut Vec<u8>) -> Result<(), bincode::Error> {
    bincode::serialize_into(to, item)
}

/// An item of bytes.
///
/// # Errors
/// Where the bytes are not what was written.
pub fn of_bytes<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, bincode::Error> {
    bincode::deserialize(bytes)
}

/// JSON among what is written: as text, where the form itself is not one that tells what comes.
pub mod json {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    /// As serde asks for it.
    ///
    /// # Errors
    /// The form's own.
    pub fn serialize<S: Serializer>(value: &Value, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            return value.serialize(to);
        }
        serde_json::to_string(value).map_err(S::Error::custom)?.serialize(to)
    }

    /// As serde asks for it.
    ///
    /// # Errors
    /// The form's own, or text that is no JSON.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
        if from.is_human_readable() {
            return Value::deserialize(from);
        }
        serde_json::from_str(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_the_same_in_another_process() {
        let (here, there) = (Names::default(), Names::default());
        for other in ["x", "y", "z"] {
            let _ = there.intern(other);
        }
        let item = (here.intern("web-01"), vec![Sym::EMPTY, here.intern("ada")]);
        let mut bytes = Vec::new();
        let (written, glossary) = writing(&here, || to_bytes(&item, &mut bytes));
        written.unwrap();
        assert_eq!(glossary.iter().map(|(_, text)| text.as_str()).filter(|text| !text.is_empty()).count(), 2);
        let read: (Sym, Vec<Sym>) = reading(&there, &glossary, || of_bytes(&bytes)).unwrap();
        assert_eq!((there.get(read.0), there.get(read.1[1])), ("web-01".to_owned(), "ada".to_owned()));
        assert_eq!(read.1[0], Sym::EMPTY);
        let far: Glossary = glossary.iter().map(|(raw, text)| (raw | 1 << 31, text.clone())).collect();
        for (raw, _) in &far {
            let found = reading(&there, &far, || look_up(*raw).unwrap().unwrap());
            assert_eq!(there.get(found), here.get(Sym::of_raw(raw & !(1 << 31))), "far, and found");
        }
        let lost = reading(&there, &glossary[..1], || of_bytes::<(Sym, Vec<Sym>)>(&bytes));
        assert!(lost.is_err(), "a number without its string");
    }
}
