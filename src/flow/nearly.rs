//! Nearly: a sort for what is in order but for a few stragglers, as alerts are that come as they happen.

use std::cmp::Ordering;

/// Sorts as `sort_unstable_by` does. Each that is less than one before it is a straggler: those are sorted by themselves, and go
/// back to their places. Where they are few, each of the others is looked at once or twice, instead of as often as there are halves.
pub fn sort_nearly<T>(items: &mut Vec<T>, compare: impl Fn(&T, &T) -> Ordering) {
    if items.is_sorted_by(|one, next| compare(one, next).is_le()) {
        return;
    }
    let (mut kept, mut late) = (Vec::with_capacity(items.len()), Vec::new());
    for item in items.drain(..) {
        let is_late = kept.last().is_some_and(|last| compare(last, &item).is_gt());
        if is_late { late.push(item) } else { kept.push(item) }
    }
    late.sort_unstable_by(&compare);
    let mut late = late.into_iter().peekable();
    for item in kept {
        while let Some(straggler) = late.next_if(|straggler| compare(straggler, &item).is_lt()) {
            items.push(straggler);
        }
        items.push(item);
    }
    items.extend(late);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_sorts(mut items in prop::collection::vec(0u8..40, 0..60)) {
            let mut sorted = items.clone();
            sorted.sort_unstable();
            sort_nearly(&mut items, Ord::cmp);
            prop_assert_eq!(items, sorted);
        }
    }

    #[test]
    fn few_stragglers_cost_little() {
        let mut items: Vec<u32> = (0..10_000).map(|n| if n % 50 == 49 { n - 40 } else { n }).collect();
        let asked = Cell::new(0);
        sort_nearly(&mut items, |one, other| {
            asked.set(asked.get() + 1);
            one.cmp(other)
        });
        assert!(items.is_sorted() && asked.get() < 30_000, "{}", asked.get());
    }
}
