//! Fate: where a process meets what outlives it. What is made durable is made so through [`meet`], and a simulation that has set a
//! fate on its thread ([`set`]) may let it fail there, or end the process.
//!
//! Where none is set, which is everywhere but in a simulation, the deed is simply done.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::record::Alert;

/// What is about to be made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed<'a> {
    /// A transaction of the log.
    Log,
    /// A transaction of the ledger.
    Ledger,
    /// Pages of the log that a ledger lies in for several machines.
    Book,
    /// A file's bytes.
    Contents(&'a Path),
    /// A file's name: from, to.
    Rename(&'a Path, &'a Path),
    /// The names in a folder.
    Folder(&'a Path),
}

/// What befalls a deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// Nothing.
    Spared,
    /// It is not done, and said to have failed.
    Failed,
    /// It is done, and said to have failed.
    DoneAndFailed,
}

/// Who strikes. Either may end the process, by unwinding.
pub trait Fate {
    /// Asked before a deed.
    fn before(&self, deed: Deed<'_>) -> Strike;
    /// Told after a deed that was done.
    fn after(&self, deed: Deed<'_>);
    /// Told before a worker works on alerts: one of them may be what ends it.
    fn works_on(&self, _alerts: &[Arc<Alert>]) {}
    /// Told before records are parsed: one of them may be what ends it.
    fn reads(&self, _records: &[u8]) {}
}

thread_local! {
    static FATE: RefCell<Option<Rc<dyn Fate>>> = const { RefCell::new(None) };
}

/// Sets this thread's fate, or none.
pub fn set(fate: Option<Rc<dyn Fate>>) {
    FATE.set(fate);
}

/// Whether this thread has one: then nothing may be done on another.
pub fn is_set() -> bool {
    FATE.with_borrow(Option::is_some)
}

/// Tells this thread's fate, if there is one, what a worker works on.
pub fn works_on(alerts: &[Arc<Alert>]) {
    if let Some(fate) = FATE.with_borrow(Clone::clone) {
        fate.works_on(alerts);
    }
}

/// Tells this thread's fate, if there is one, what is going to be parsed.
pub fn reads(records: &[u8]) {
    if let Some(fate) = FATE.with_borrow(Clone::clone) {
        fate.reads(records);
    }
}

/// Does a deed, unless it is struck: then it fails as `error` says.
pub fn meet<T, E>(
    deed: Deed<'_>,
    act: impl FnOnce() -> Result<T, E>,
    error: impl FnOnce() -> E,
) -> Result<T, E> {
    let Some(fate) = FATE.with_borrow(Clone::clone) else { return act() };
    match fate.before(deed) {
        Strike::Spared => {
            let done = act()?;
            fate.after(deed);
            Ok(done)
        }
        Strike::Failed => Err(error()),
        Strike::DoneAndFailed => act().and_then(|_| Err(error())),
    }
}
