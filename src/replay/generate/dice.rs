//! Dice: randomness that is a function of what it is asked for, equal on every machine.
//!
//! `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014) over a counter: integers only, so no last bit of a libm can differ.

use crate::record::Millis;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A million: the unit of every probability here.
pub(in crate::replay) const MILLION: u64 = 1_000_000;

/// `SplitMix64`'s finaliser. A bijection: different numbers stay different, which is what makes vendor ids unique.
pub(in crate::replay) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One number for what `parts` name.
pub(in crate::replay) fn key(parts: &[u64]) -> u64 {
    parts.iter().fold(GOLDEN, |sum, part| mix(sum ^ mix(*part)))
}

/// The throws that belong to one thing: equal things throw equal numbers.
#[derive(Clone)]
pub(in crate::replay) struct Dice {
    key: u64,
    count: u64,
}

impl Dice {
    /// The dice of what `parts` name.
    pub(in crate::replay) fn of(parts: &[u64]) -> Dice {
        Dice { key: key(parts), count: 0 }
    }

    /// Sixty-four even bits.
    pub(in crate::replay) fn bits(&mut self) -> u64 {
        self.count += 1;
        mix(self.key ^ self.count.wrapping_mul(GOLDEN))
    }

    /// A number in `0..n`; 0 where `n` is 0.
    pub(in crate::replay) fn below(&mut self, n: u64) -> u64 {
        let wide = u128::from(self.bits()) * u128::from(n);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number in `low..=high`.
    pub(in crate::replay) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// An index into something of `len` things; 0 where it is empty.
    pub(in crate::replay) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// True in `millionth` of a million throws.
    pub(in crate::replay) fn chance(&mut self, millionth: u64) -> bool {
        self.below(MILLION) < millionth
    }

    /// A length of time in `low..=high` milliseconds.
    pub(in crate::replay) fn span(&mut self, low: Millis, high: Millis) -> Millis {
        low + self.below(high.abs_diff(low.min(high)) + 1).cast_signed()
    }

    /// One of `things`, which must not be empty.
    pub(in crate::replay) fn pick<T: Copy>(&mut self, things: &[T]) -> T {
        things[self.index(things.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throws_stay_in_range_and_repeat() {
        let mut dice = Dice::of(&[1, 2]);
        let mut again = Dice::of(&[1, 2]);
        for n in [0, 1, 2, 10, u64::MAX] {
            let throw = dice.below(n);
            assert!(throw < n.max(1));
            assert_eq!(throw, again.below(n));
        }
        assert!((5..=9).contains(&dice.between(5, 9)));
        assert!((-5..=9).contains(&dice.span(-5, 9)));
        assert!(!dice.chance(0) && dice.chance(MILLION));
        assert_ne!(Dice::of(&[1, 2]).bits(), Dice::of(&[2, 1]).bits());
    }
}
