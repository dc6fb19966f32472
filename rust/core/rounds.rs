// SPDX-License-Identifier: GPL-2.0

//! How fast a table is looked through for what has expired.
//!
//! Round after round, a slice at a time: however large the table is, nobody waits long for a slice. A round takes a part of the
//! shortest time after which anything expires, so that what has expired does not stay much longer than that.

/// How often there is a slice, milliseconds.
pub const SLICE_MS: u32 = 100;

/// What part of the shortest timeout a round takes.
const PART: u32 = 4;
/// How long a round takes at least and at most, milliseconds.
const SHORTEST_ROUND_MS: u32 = 1_000;
const LONGEST_ROUND_MS: u32 = 10_000;

/// How many of `buckets` are in a slice, if nothing expires in less than `shortest_ms` milliseconds.
pub fn slice(buckets: u32, shortest_ms: u32) -> u32 {
    let round_ms = (shortest_ms / PART).clamp(SHORTEST_ROUND_MS, LONGEST_ROUND_MS);
    buckets.div_ceil(round_ms / SLICE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a round takes, milliseconds.
    fn round_ms(buckets: u32, shortest_ms: u32) -> u32 {
        buckets.div_ceil(slice(buckets, shortest_ms)) * SLICE_MS
    }

    #[test]
    fn a_round_takes_a_quarter_of_the_shortest_timeout() {
        assert_eq!(round_ms(1 << 20, 10_000), 2_500);
        assert_eq!(round_ms(1 << 20, 40_000), 10_000);
    }

    #[test]
    fn but_neither_less_than_a_second_nor_more_than_ten() {
        assert_eq!(round_ms(1 << 20, 0), 1_000);
        assert_eq!(round_ms(1 << 20, 3_999), 1_000);
        assert_eq!(round_ms(1 << 20, u32::MAX), 10_000);
    }

    #[test]
    fn of_any_table() {
        for buckets in [0, 1, 9, 10, 11, 1 << 24, u32::MAX] {
            let slice = slice(buckets, 10_000);
            // Ends after at most as many slices, and no round is over at once that need not be.
            assert!(u64::from(slice) * 25 >= u64::from(buckets));
            assert!(slice <= buckets / 25 + 1);
        }
    }
}
