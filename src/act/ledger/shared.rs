//! A ledger that lies in one log for all who may own it, wherever they run: [`Book`]. Its order says who owns it.
//!
//! Whoever takes it over appends a page that says so, and reads everything before that page; only then it acts. From that page on
//! nobody reads what the owner before it still writes. And before what an owner has written counts, it makes sure that nobody took
//! the ledger over before it was written: its pages lie behind one another without a gap, so nobody's lies between them, or it
//! reads what lies there. So of two who both think that they own it one finds out before it acts, and an intent that was acted on
//! is an intent that every later owner has read.
//!
//! The ledger beside the archive ([`super`]) is a copy of it, which knows how far it has read. Pages of another archive tell what was
//! done; that archive's epochs are none here ([`Entry::elsewhere`]).
//!
//! State: which page made this process the owner, and where the next one will lie.

use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::LedgerError;
use super::book::{Book, Common, Page, Pages};
use super::entry::{Entry, Whose};

/// See the head of this file.
pub(super) struct Shared {
    book: Box<dyn Book>,
    owner: i64,
    next: Arc<Next>,
}

/// Where the next page will lie. Whoever writes holds it until it knows: who looks meanwhile would take our own page for a stranger's,
/// and read it.
struct Next(RwLock<i64>);

impl Next {
    fn read(&self) -> RwLockReadGuard<'_, i64> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, i64> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pages that are read at a time.
const AT_A_TIME: i64 = 10_000;
/// How often it is asked whether anybody has written while nobody can tell, and after which time again: a minute in all.
const ASKED: u32 = 600;
const AGAIN: Duration = Duration::from_millis(100);

/// Ledgers of before have none of these.
pub(super) const SCHEMA: &str = "
create table if not exists shared (
    one integer primary key check (one = 1), next integer not null, owner integer not null, archive text not null
);
create table if not exists elsewhere (action_id blob primary key) without rowid;
";

/// How far a copy has read: where the next page lies, and who owned the ledger there, for which archive.
struct Copied {
    next: i64,
    owner: i64,
    archive: String,
}

impl Copied {
    /// None where it is the copy of nothing.
    fn of(connection: &Connection) -> Result<Option<Copied>, LedgerError> {
        let mut said = connection.prepare_cached("select next, owner, archive from shared")?;
        let row = |row: &rusqlite::Row<'_>| {
            Ok(Copied { next: row.get(0)?, owner: row.get(1)?, archive: row.get(2)? })
        };
        Ok(said.query_row([], row).optional()?)
    }

    /// What has been read so far, if that is of this book: nobody is disturbed by whoever has another one.
    fn to_go_on(connection: &Connection, lying: &dyn Pages) -> Result<Copied, LedgerError> {
        let copied = Copied::of(connection)?;
        let is_empty = "select not exists (select 1 from intent) and not exists (select 1 from outcome)";
        if copied.is_none() && !connection.query_row(is_empty, [], |row| row.get::<_, bool>(0))? {
            return Err(LedgerError::Unshared);
        }
        let copied = copied.unwrap_or(Copied { next: 0, owner: -1, archive: String::new() });
        match lying.bounds()? {
            (_, ends) if ends < copied.next => Err(LedgerError::MadeAnew { ends, read: copied.next }),
            (first, _) if first > copied.next => Err(LedgerError::Forgotten { first, read: copied.next }),
            _ => Ok(copied),
        }
    }

    fn note(&self, work: &Transaction<'_>) -> Result<(), LedgerError> {
        let said = "insert or replace into shared values (1, ?, ?, ?)";
        work.prepare_cached(said)?.execute(params![self.next, self.owner, self.archive])?;
        Ok(())
    }

    /// What lies at `at`, in the copy too.
    fn take_in(
        &mut self,
        (at, page): (i64, &[u8]),
        work: &Transaction<'_>,
        own: &str,
    ) -> Result<(), LedgerError> {
        match Page::read(at, page)? {
            Some(Page::Took { archive }) => (self.owner, self.archive) = (at, archive),
            Some(Page::Wrote { owner, entry }) if owner == self.owner => {
                if self.archive == own {
                    entry.write(work, Whose::Own)?;
                } else if let Some(entry) = entry.elsewhere() {
                    entry.write(work, Whose::Others)?;
                }
            }
            // Who wrote this had lost it.
            Some(Page::Wrote { .. }) => {}
            None => eprintln!(
                "quell: the ledger's topic has at offset {at} what is no page of a ledger: it is passed over; see who else may write there"
            ),
        }
        self.next = at + 1;
        Ok(())
    }
}

/// Whether a ledger lies in a book, as its copy has it.
pub(super) fn is_copy(connection: &Connection) -> Result<bool, LedgerError> {
    Ok(Copied::of(connection)?.is_some())
}

impl Shared {
    /// Takes the ledger over, and reads all that was written before.
    pub(super) fn take(common: Common, connection: &mut Connection) -> Result<Shared, LedgerError> {
        let Common { mut book, archive, yields } = common;
        let lying = book.pages();
        let mut copied = Copied::to_go_on(connection, &*lying)?;
        if yields && copied.next > 0 {
            let (_, end) = lying.bounds()?;
            let found = Found::between(&*lying, copied.next..end, copied.owner)?;
            if let Some(other) = found.taken.filter(|other| *other != archive) {
                return Err(LedgerError::Yielded { other });
            }
        }
        let page = Page::Took { archive: archive.clone() }.written()?;
        // Brokers say where it lies; one that does not is asked again by the next run.
        let owner = *book.append(&[(None, page)])?.first().unwrap_or(&-1);
        if owner < copied.next {
            return Err(LedgerError::Unread { from: copied.next, to: owner });
        }
        while copied.next <= owner {
            let pages = lying.read(copied.next..(copied.next + AT_A_TIME).min(owner + 1))?;
            let work = connection.transaction()?;
            let before = copied.next;
            for (at, page) in &pages {
                copied.take_in((*at, page), &work, &archive)?;
            }
            if copied.next == before {
                return Err(LedgerError::Unread { from: before, to: owner });
            }
            copied.note(&work)?;
            work.commit()?;
        }
        if copied.owner != owner {
            return Err(LedgerError::Fenced);
        }
        Ok(Shared { book, owner, next: Arc::new(Next(RwLock::new(copied.next))) })
    }

    /// Writes entries, which count from then on: nobody has taken the ledger over before they were written.
    pub(super) fn write(&mut self, entries: &[&Entry]) -> Result<(), LedgerError> {
        if entries.is_empty() {
            return Ok(());
        }
        let page = |entry: &&Entry| {
            let page = Page::Wrote { owner: self.owner, entry: Box::new((*entry).clone()) };
            Ok((entry.about(), page.written()?))
        };
        let pages = entries.iter().map(page).collect::<Result<Vec<_>, LedgerError>>()?;
        let mut now = self.next.write();
        let from = *now;
        let places = self.book.append(&pages)?;
        let mut next = from;
        for place in &places {
            next += i64::from(*place == next);
        }
        if next - from != i64::try_from(entries.len()).unwrap_or(i64::MAX) {
            next = self.read_back(from, entries.len())?;
        }
        *now = next;
        Ok(())
    }

    /// The copy has what was written.
    pub(super) fn note(&self, work: &Transaction<'_>) -> Result<(), LedgerError> {
        let next = *self.next.read();
        work.prepare_cached("update shared set next = ?")?.execute([next])?;
        Ok(())
    }

    /// Somebody else has written: whoever has lost the ledger, which changes nothing, or whoever has it now.
    fn read_back(&self, from: i64, many: usize) -> Result<i64, LedgerError> {
        let pages = self.book.pages();
        let (_, end) = pages.bounds()?;
        let found = Found::between(&*pages, from..end, self.owner)?;
        match found {
            Found { taken: Some(_), .. } => Err(LedgerError::Fenced),
            Found { own, .. } if own == many => Ok(end),
            Found { .. } => Err(LedgerError::Unread { from, to: end }),
        }
    }

    /// To look whether anybody has taken it over since.
    pub(super) fn watch(&self) -> Watch {
        Watch { pages: self.book.pages(), owner: self.owner, next: Arc::clone(&self.next) }
    }
}

/// What lies somewhere.
struct Found {
    /// For which archive somebody has taken the ledger over, the last one; none where nobody has.
    taken: Option<String>,
    /// Pages of the owner.
    own: usize,
}

impl Found {
    fn between(pages: &dyn Pages, range: Range<i64>, owner: i64) -> Result<Found, LedgerError> {
        let (mut next, mut own, mut taken) = (range.start, 0, None);
        while next < range.end {
            let before = next;
            for (at, page) in pages.read(next..(next + AT_A_TIME).min(range.end))? {
                match Page::read(at, &page)? {
                    Some(Page::Took { archive }) => taken = Some(archive),
                    Some(Page::Wrote { owner: by, .. }) => own += usize::from(by == owner),
                    None => {}
                }
                next = at + 1;
            }
            if next == before {
                return Err(LedgerError::Unread { from: before, to: range.end });
            }
        }
        Ok(Found { taken, own })
    }
}

/// Tells whether the ledger is whose it was.
pub(super) struct Watch {
    pages: Arc<dyn Pages>,
    owner: i64,
    next: Arc<Next>,
}

impl Watch {
    /// Whether nobody has taken it over; false too where nobody can tell for a minute.
    pub(super) fn is_held(&self) -> bool {
        (0..ASKED).find_map(|_| self.look()).unwrap_or(false)
    }

    fn look(&self) -> Option<bool> {
        let now = self.next.read();
        let (next, bounds) = (*now, self.pages.bounds());
        drop(now);
        let held = bounds.and_then(|(_, end)| match end.cmp(&next) {
            std::cmp::Ordering::Equal => Ok(Some(true)),
            // A broker that leads since a moment ago may not know all yet.
            std::cmp::Ordering::Less => Ok(None),
            std::cmp::Ordering::Greater => {
                let found = Found::between(&*self.pages, next..end, self.owner)?;
                if found.taken.is_none() {
                    let mut now = self.next.write();
                    *now = end.max(*now);
                }
                Ok(Some(found.taken.is_none()))
            }
        });
        let held = held.unwrap_or(None);
        if held.is_none() {
            std::thread::sleep(AGAIN);
        }
        held
    }
}
