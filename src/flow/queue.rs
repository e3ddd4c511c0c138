//! Queue: records in order of which there is mostly one, so one lies in place and takes no memory elsewhere.
//!
//! Most keys of a busy site have one record in a window. What a key costs is then what its caches miss, and a second
//! place to look at is half of that.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A queue with two ends.
#[derive(Clone, Debug)]
pub struct Queue<T>(Of<T>);

#[derive(Clone, Debug)]
enum Of<T> {
    Few(Option<T>),
    /// Stays so: a queue that grew once grows again.
    Many(VecDeque<T>),
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue(Of::Few(None))
    }
}

impl<T> Queue<T> {
    fn slices(&self) -> (&[T], &[T]) {
        match &self.0 {
            Of::Few(one) => (one.as_slice(), &[]),
            Of::Many(many) => many.as_slices(),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let (front, back) = self.slices();
        front.len() + back.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last.
    #[must_use]
    pub fn back(&self) -> Option<&T> {
        match &self.0 {
            Of::Few(one) => one.as_ref(),
            Of::Many(many) => many.back(),
        }
    }

    /// From the first to the last.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        let (front, back) = self.slices();
        front.iter().chain(back)
    }

    /// How many come before the first of which `is` does not hold; it holds of none behind that.
    pub fn partition_point(&self, is: impl FnMut(&T) -> bool) -> usize {
        match &self.0 {
            Of::Few(one) => one.as_slice().partition_point(is),
            Of::Many(many) => many.partition_point(is),
        }
    }

    /// Makes room for more than one.
    fn many(&mut self) -> &mut VecDeque<T> {
        if let Of::Few(one) = &mut self.0 {
            self.0 = Of::Many(one.take().into_iter().collect());
        }
        match &mut self.0 {
            Of::Many(many) => many,
            Of::Few(_) => unreachable!("it was made one of many"),
        }
    }

    /// Adds one behind the last.
    pub fn push_back(&mut self, item: T) {
        match &mut self.0 {
            Of::Few(one @ None) => *one = Some(item),
            Of::Few(Some(_)) | Of::Many(_) => self.many().push_back(item),
        }
    }

    /// Adds one before the first.
    pub fn push_front(&mut self, item: T) {
        match &mut self.0 {
            Of::Few(one @ None) => *one = Some(item),
            Of::Few(Some(_)) | Of::Many(_) => self.many().push_front(item),
        }
    }

    /// Takes the last.
    pub fn pop_back(&mut self) -> Option<T> {
        match &mut self.0 {
            Of::Few(one) => one.take(),
            Of::Many(many) => many.pop_back(),
        }
    }

    /// Takes the first.
    pub fn pop_front(&mut self) -> Option<T> {
        match &mut self.0 {
            Of::Few(one) => one.take(),
            Of::Many(many) => many.pop_front(),
        }
    }

    /// Takes the first where `is` holds of it.
    pub fn pop_front_if(&mut self, is: impl FnOnce(&mut T) -> bool) -> Option<T> {
        match &mut self.0 {
            Of::Few(one) => one.take_if(is),
            Of::Many(many) => many.pop_front_if(is),
        }
    }
}

impl<T> Extend<T> for Queue<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push_back(item));
    }
}

impl<T> FromIterator<T> for Queue<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut queue = Self::default();
        queue.extend(items);
        queue
    }
}

/// As a list, whichever form it has.
impl<T: Serialize> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(VecDeque::<T>::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_deque_and_is_kept_as_one(steps in prop::collection::vec((0u8..6, any::<u8>()), 0..60)) {
            let (mut queue, mut deque) = (Queue::default(), VecDeque::new());
            for (what, item) in steps {
                match what {
                    0 | 1 => {
                        queue.push_back(item);
                        deque.push_back(item);
                    }
                    2 => {
                        queue.push_front(item);
                        deque.push_front(item);
                    }
                    3 => prop_assert_eq!(queue.pop_back(), deque.pop_back()),
                    4 => prop_assert_eq!(queue.pop_front(), deque.pop_front()),
                    _ => prop_assert_eq!(
                        queue.pop_front_if(|first| *first < item),
                        deque.pop_front_if(|first| *first < item)
                    ),
                }
                prop_assert_eq!(queue.len(), deque.len());
                prop_assert_eq!(queue.is_empty(), deque.is_empty());
                prop_assert_eq!(queue.back(), deque.back());
                prop_assert!(queue.iter().eq(&deque) && queue.iter().rev().eq(deque.iter().rev()));
                let mut asked = 0;
                prop_assert_eq!(queue.partition_point(|_| true), deque.len());
                prop_assert_eq!(queue.partition_point(|_| { asked += 1; false }), 0);
                prop_assert!(asked <= 8, "it looks at {asked} of {}", deque.len());
            }
            let kept = bincode::serialize(&deque).unwrap();
            prop_assert_eq!(&bincode::serialize(&queue).unwrap(), &kept);
            let back: Queue<u8> = bincode::deserialize(&kept).unwrap();
            prop_assert!(back.iter().eq(&deque));
        }
    }
}
