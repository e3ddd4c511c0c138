//! Slab: rows at places that are used again; what held a place before is told from what holds it now.

use serde::{Deserialize, Serialize};

/// Where a row lies.
pub(super) type Place = u32;
/// A place, and the how manieth row of it is meant.
pub(super) type Ticket = (Place, u32);

/// Rows by place.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Slab<T> {
    boards: Vec<Vec<(u32, T)>>,
    free: Vec<Place>,
}

/// Rows that are allocated at once, few since there may be many tenants; none is ever moved.
const BOARD: usize = 64;

fn split(place: Place) -> (usize, usize) {
    let place = place as usize;
    (place / BOARD, place % BOARD)
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { boards: Vec::new(), free: Vec::new() }
    }
}

impl<T: Default> Slab<T> {
    fn row(&self, place: Place) -> &(u32, T) {
        let (board, at) = split(place);
        &self.boards[board][at]
    }

    fn row_mut(&mut self, place: Place) -> &mut (u32, T) {
        let (board, at) = split(place);
        &mut self.boards[board][at]
    }

    /// How many places there are.
    fn made(&self) -> usize {
        let last = self.boards.last().map_or(0, Vec::len);
        self.boards.len().saturating_sub(1) * BOARD + last
    }

    /// Lays a row down.
    pub(super) fn put(&mut self, row: T) -> Place {
        if let Some(place) = self.free.pop() {
            self.row_mut(place).1 = row;
            return place;
        }
        let place = Place::try_from(self.made()).expect("fewer than 2^32 rows are kept");
        match self.boards.last_mut().filter(|board| board.len() < BOARD) {
            Some(board) => board.push((0, row)),
            None => {
                let mut board = Vec::with_capacity(BOARD);
                board.push((0, row));
                self.boards.push(board);
            }
        }
        place
    }

    /// Takes a row away.
    pub(super) fn take(&mut self, place: Place) -> T {
        let (count, row) = self.row_mut(place);
        *count = count.wrapping_add(1);
        let row = std::mem::take(row);
        self.free.push(place);
        row
    }

    /// What tells this row from later ones of its place.
    pub(super) fn ticket(&self, place: Place) -> Ticket {
        (place, self.row(place).0)
    }

    /// Whether the row that the ticket is for is still there.
    pub(super) fn holds(&self, (place, count): Ticket) -> bool {
        self.row(place).0 == count
    }

    /// All places, those that are free too.
    pub(super) fn places(&self) -> std::ops::Range<Place> {
        0..Place::try_from(self.made()).unwrap_or(Place::MAX)
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.made() - self.free.len()
    }

    /// Bytes of the rows' places, without what rows hold elsewhere.
    pub(super) fn bytes(&self) -> usize {
        self.boards.len() * BOARD * size_of::<(u32, T)>() + self.free.capacity() * size_of::<Place>()
    }
}

impl<T: Default> std::ops::Index<Place> for Slab<T> {
    type Output = T;
    fn index(&self, place: Place) -> &T {
        &self.row(place).1
    }
}

impl<T: Default> std::ops::IndexMut<Place> for Slab<T> {
    fn index_mut(&mut self, place: Place) -> &mut T {
        &mut self.row_mut(place).1
    }
}
