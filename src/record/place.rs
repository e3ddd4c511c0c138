//! Place: a record's position in its source as one number, that of its partition above that of the record within it.
//!
//! A source without partitions has one, 0: its positions are lines, rows, as they are. Of a topic they are offsets.

/// Bits of the number within a partition: 2^48 records of one is a million a second for nine years.
const BITS: u32 = 48;
/// Partitions that can be told apart.
pub const PARTITIONS_MAX: u32 = 1 << (u64::BITS - BITS);

/// The position of the record numbered `at` in a partition below [`PARTITIONS_MAX`].
#[must_use]
pub fn position(partition: u32, at: u64) -> u64 {
    u64::from(partition) << BITS | (at & ((1 << BITS) - 1))
}

/// Its partition.
#[must_use]
pub fn partition_of(position: u64) -> u32 {
    u32::try_from(position >> BITS).unwrap_or(u32::MAX)
}

/// Its number within the partition: line, row or offset.
#[must_use]
pub fn within(position: u64) -> u64 {
    position & ((1 << BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_a_partition_and_a_place_in_it() {
        for (partition, at) in [(0, 0), (0, 77), (3, 0), (PARTITIONS_MAX - 1, (1 << BITS) - 1)] {
            let packed = position(partition, at);
            assert_eq!((partition_of(packed), within(packed)), (partition, at));
        }
        assert_eq!(position(0, 77), 77, "a line is its own position");
    }
}
