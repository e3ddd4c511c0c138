//! Slab: rows at places that are used again; what held a place before is told from what holds it now.

/// Where a row lies.
pub(super) type Place = u32;
/// A place, and the how manieth row of it is meant.
pub(super) type Ticket = (Place, u32);

/// Rows by place.
#[derive(Debug)]
pub(super) struct Slab<T> {
    rows: Vec<(u32, T)>,
    free: Vec<Place>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), free: Vec::new() }
    }
}

impl<T: Default> Slab<T> {
    /// Lays a row down.
    pub(super) fn put(&mut self, row: T) -> Place {
        if let Some(place) = self.free.pop() {
            self.rows[place as usize].1 = row;
            return place;
        }
        self.rows.push((0, row));
        Place::try_from(self.rows.len() - 1).expect("fewer than 2^32 rows are kept")
    }

    /// Takes a row away.
    pub(super) fn take(&mut self, place: Place) -> T {
        let (count, row) = &mut self.rows[place as usize];
        *count = count.wrapping_add(1);
        self.free.push(place);
        std::mem::take(row)
    }

    /// What tells this row from later ones of its place.
    pub(super) fn ticket(&self, place: Place) -> Ticket {
        (place, self.rows[place as usize].0)
    }

    /// Whether the row that the ticket is for is still there.
    pub(super) fn holds(&self, (place, count): Ticket) -> bool {
        self.rows[place as usize].0 == count
    }

    /// All places, those that are free too.
    pub(super) fn places(&self) -> std::ops::Range<Place> {
        0..Place::try_from(self.rows.len()).unwrap_or(Place::MAX)
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    /// Bytes of the rows' places, without what rows hold elsewhere.
    pub(super) fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<(u32, T)>() + self.free.capacity() * size_of::<Place>()
    }
}

impl<T> std::ops::Index<Place> for Slab<T> {
    type Output = T;
    fn index(&self, place: Place) -> &T {
        &self.rows[place as usize].1
    }
}

impl<T> std::ops::IndexMut<Place> for Slab<T> {
    fn index_mut(&mut self, place: Place) -> &mut T {
        &mut self.rows[place as usize].1
    }
}
