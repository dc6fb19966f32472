// SPDX-License-Identifier: GPL-2.0

//! How a hash table grows and shrinks a bucket at a time, while it is used: linear hashing (Litwin, 1980).
//!
//! There are `2^bits` buckets, and of these the first `split` are split in two: what has the next bit of its hash set is in
//! the bucket `2^bits` further. So the table grows by splitting the next bucket, and shrinks by merging the last that was split. Buckets lie in
//! segments that double the table each, so that none ever moves: segment 0 has those that there are at least.
//!
//! A sweep through the table goes by *positions*, of which there are always as many, whatever the number of buckets: the bits of a hash in
//! reverse order. So each bucket covers positions that lie together, and splitting or merging buckets changes nothing about
//! the order: what a sweep has passed lies behind it.

/// How many bits of a hash choose a bucket at most.
pub const MOST_BITS: u32 = 24;
/// How many positions there are.
pub const POSITIONS: u32 = 1 << MOST_BITS;
/// How many segments a table can have.
pub const SEGMENTS: usize = MOST_BITS as usize + 1;

/// For how long a table must have been nearly empty before it shrinks, milliseconds.
pub const SPARSE_MS: u64 = 30_000;
/// How many buckets there must be for each element then.
const SPARSE: u32 = 8;

/// The bits of a hash that count among `2^bits` buckets.
#[inline]
pub const fn mask(bits: u32) -> u32 {
    (1u32 << (bits & 31)).wrapping_sub(1)
}

/// How many bits name so many buckets, rounded up; at most [`MOST_BITS`].
pub fn bits_for(buckets: u32) -> u32 {
    buckets
        .clamp(1, POSITIONS)
        .next_power_of_two()
        .trailing_zeros()
}

/// In which segment a bucket lies, and where there, if the first segment has `2^least`.
#[inline]
pub const fn place(bucket: u32, least: u32) -> (usize, u32) {
    let above = bucket >> (least & 31);
    if above == 0 {
        return (0, bucket);
    }
    let segment = 32 - above.leading_zeros();
    (
        segment as usize,
        bucket ^ (1 << ((least + segment - 1) & 31)),
    )
}

/// How many buckets are in a segment.
pub const fn segment_len(segment: usize, least: u32) -> u32 {
    match segment {
        0 => 1 << (least & 31),
        _ => 1 << ((least + segment as u32 - 1) & 31),
    }
}

/// The bucket that one is split off from. That which is split off from nothing has no segment above the first.
#[inline]
pub const fn parent(bucket: u32) -> u32 {
    match bucket {
        0 => 0,
        _ => bucket ^ (1 << (31 - bucket.leading_zeros())),
    }
}

/// The hashes at a position, or rather the bits of them that count.
#[inline]
pub const fn hash_at(position: u32) -> u32 {
    position.reverse_bits() >> (32 - MOST_BITS)
}

/// The position of a hash.
#[inline]
pub const fn position_of(hash: u32) -> u32 {
    hash.reverse_bits() >> (32 - MOST_BITS)
}

/// The first position behind those of the bucket at `position`, in which hashes agree in the bits of `mask`.
#[inline]
pub const fn behind(position: u32, mask: u32) -> u32 {
    let width = POSITIONS >> mask.count_ones();
    (position & !(width - 1)) + width
}

/// The number by which who goes through a table knows the bucket at a position, in which hashes agree in the bits of `known`: it says
/// how far the bucket reached, so that the way goes on behind it whatever has become of it. It is even; the next, which is
/// odd, stands for what is behind.
pub const fn number(position: u32, known: u32) -> u64 {
    (((position as u64) << 5) | known.count_ones() as u64) << 1
}

/// The position of the bucket that a number stands for.
pub const fn position_in(number: u64) -> u32 {
    (number >> 6) as u32
}

/// Where to go on from a number: at its bucket, or behind it.
pub const fn from_number(number: u64) -> u32 {
    let position = position_in(number);
    match number & 1 {
        0 => position,
        _ => behind(position, mask(((number >> 1) & 31) as u32)),
    }
}

/// How many buckets a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// So many bits of a hash name a bucket that is not split.
    pub bits: u32,
    /// So many buckets are split.
    pub split: u32,
}

/// What changes a [`Shape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This bucket is split by this bit of its hashes, into itself and the one further by that.
    Split(u32, u32),
    /// This bucket takes back what is in the one further by this bit.
    Merge(u32, u32),
}

impl Shape {
    /// How many buckets there are.
    pub fn buckets(self) -> u32 {
        (1 << self.bits) + self.split
    }

    /// The next step of growing, and what the table is after it.
    pub fn grow(self) -> (Step, Self) {
        let Self { bits, split } = self;
        let after = if split + 1 == 1 << bits {
            Self {
                bits: bits + 1,
                split: 0,
            }
        } else {
            Self {
                bits,
                split: split + 1,
            }
        };
        (Step::Split(split, 1 << bits), after)
    }

    /// The next step of shrinking, and what the table is after it. `None` with one bucket.
    pub fn shrink(self) -> Option<(Step, Self)> {
        let Self { bits, split } = match self {
            Self { bits: 0, split: 0 } => return None,
            Self { bits, split: 0 } => Self {
                bits: bits - 1,
                split: 1 << (bits - 1),
            },
            other => other,
        };
        let after = Self {
            bits,
            split: split - 1,
        };
        Some((Step::Merge(after.split, 1 << bits), after))
    }
}

/// Where a table shall go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// It is as it should be.
    Stay,
    /// More buckets.
    Grow,
    /// Fewer.
    Shrink,
}

/// Within which bounds a table grows.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The bits that it has at least and at most.
    pub least: u32,
    /// See `least`.
    pub most: u32,
}

impl Bounds {
    /// Whether a table is nearly empty, so that it could do with half of its buckets.
    pub fn is_sparse(self, shape: Shape, len: u32) -> bool {
        shape.buckets() > 1 << self.least && len < shape.buckets() / SPARSE
    }

    /// Where a table with `len` elements shall go, which has been nearly empty for `sparse_ms` milliseconds.
    ///
    /// It grows as long as there are more elements than buckets, and shrinks as long as there are eight buckets for each: so it does not go to
    /// and fro.
    pub fn goal(self, shape: Shape, len: u32, sparse_ms: u64) -> Goal {
        if shape.bits < self.most && len > shape.buckets() {
            Goal::Grow
        } else if self.is_sparse(shape, len) && sparse_ms >= SPARSE_MS {
            Goal::Shrink
        } else {
            Goal::Stay
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// The bucket of a hash, and the bits by which it is known.
    fn bucket_of(shape: Shape, hash: u32) -> (u32, u32) {
        let bucket = hash & mask(shape.bits);
        if bucket < shape.split {
            (hash & mask(shape.bits + 1), mask(shape.bits + 1))
        } else {
            (bucket, mask(shape.bits))
        }
    }

    #[test]
    fn each_step_splits_or_merges_one_bucket_and_leads_back() {
        let mut shape = Shape { bits: 0, split: 0 };
        assert_eq!(shape.shrink(), None);
        for buckets in 1..600 {
            assert_eq!(shape.buckets(), buckets);
            let (step, after) = shape.grow();
            let Step::Split(from, bit) = step else {
                panic!("{step:?}")
            };
            // The new bucket is the next in number, and its parent is the one that is split.
            assert_eq!(from + bit, buckets);
            assert_eq!(parent(from + bit), from);
            assert_eq!(after.shrink(), Some((Step::Merge(from, bit), shape)));
            for hash in 0..2048 {
                let (was, is) = (bucket_of(shape, hash).0, bucket_of(after, hash).0);
                assert!(was == is && is < buckets || was == from && is == from + bit);
                assert_eq!(is == from + bit, was == from && hash & bit != 0);
            }
            shape = after;
        }
    }

    #[test]
    fn places_are_all_different_and_fill_their_segments() {
        for least in [0, 1, 5] {
            let mut seen = Vec::new();
            for segment in 0..6 {
                for at in 0..segment_len(segment, least) {
                    seen.push((segment, at));
                }
            }
            let places: Vec<_> = (0..seen.len() as u32).map(|b| place(b, least)).collect();
            assert_eq!(places, seen);
        }
        assert_eq!(place(POSITIONS - 1, 0).0, SEGMENTS - 1);
    }

    #[test]
    fn a_sweep_meets_every_bucket_once_whatever_its_number() {
        let mut shape = Shape { bits: 0, split: 0 };
        for _ in 0..200 {
            let (mut position, mut met) = (0, Vec::new());
            while position < POSITIONS {
                let (bucket, bits) = bucket_of(shape, hash_at(position));
                met.push(bucket);
                position = behind(position, bits);
            }
            assert_eq!(position, POSITIONS);
            met.sort_unstable();
            assert!(met.iter().copied().eq(0..shape.buckets()));
            shape = shape.grow().1;
        }
    }

    #[test]
    fn what_a_sweep_has_passed_stays_behind_it() {
        // From any shape to any other in the middle of a sweep: nothing is left out, and what is met twice is so where buckets were merged.
        let shapes: Vec<_> = (0..40)
            .scan(Shape { bits: 0, split: 0 }, |shape, _| {
                let this = *shape;
                *shape = shape.grow().1;
                Some(this)
            })
            .collect();
        for (i, first) in shapes.iter().enumerate() {
            for (j, second) in shapes.iter().enumerate() {
                for change_after in 0..first.buckets().min(9) {
                    let mut met = [0; 64];
                    let (mut position, mut steps) = (0, 0);
                    while position < POSITIONS {
                        let shape = if steps < change_after {
                            *first
                        } else {
                            *second
                        };
                        let (bucket, bits) = bucket_of(shape, hash_at(position));
                        for (hash, met) in (0..).zip(met.iter_mut()) {
                            *met += i32::from(bucket_of(shape, hash).0 == bucket);
                        }
                        position = behind(position, bits);
                        steps += 1;
                    }
                    assert!(met.iter().all(|&n| n == 1 || n == 2 && j < i));
                }
            }
        }
    }

    #[test]
    fn hashes_and_positions_are_the_reverse_of_each_other() {
        for n in (0..POSITIONS).step_by(977) {
            assert_eq!(position_of(hash_at(n)), n);
            // Only the low bits count.
            assert_eq!(position_of(hash_at(n) | 0xff00_0000), n);
        }
        assert_eq!(behind(0, 0), POSITIONS);
        assert_eq!(behind(POSITIONS - 1, mask(MOST_BITS)), POSITIONS);
    }

    #[test]
    fn a_number_leads_behind_its_bucket_and_no_further() {
        assert_eq!(from_number(0), 0);
        for bits in 0..=MOST_BITS {
            let width = POSITIONS >> bits;
            for bucket in (0..1 << bits).step_by(1 << bits.saturating_sub(6)) {
                let number = number(bucket * width, mask(bits));
                assert_eq!(position_in(number), bucket * width);
                // Who has not had it yet begins there once more.
                assert_eq!(from_number(number), bucket * width);
                assert_eq!(from_number(number + 1), (bucket + 1) * width);
            }
        }
    }

    #[test]
    fn as_many_bits_as_buckets_need() {
        let bits = [0, 1, 2, 3, 4, 1000, 1 << 24, u32::MAX].map(bits_for);
        assert_eq!(bits, [0, 0, 1, 2, 2, 10, 24, 24]);
    }

    #[test]
    fn grows_until_there_is_a_bucket_for_each_and_shrinks_late() {
        let bounds = Bounds { least: 2, most: 10 };
        let settle = |mut shape: Shape, len, sparse_ms| {
            for _ in 0..5000 {
                shape = match bounds.goal(shape, len, sparse_ms) {
                    Goal::Stay => return shape,
                    Goal::Grow => shape.grow().1,
                    Goal::Shrink => shape.shrink().unwrap().1,
                };
                assert!((4..=1024).contains(&shape.buckets()));
            }
            panic!("goes to and fro")
        };
        let least = Shape { bits: 2, split: 0 };
        for len in (0..300).chain(1000..1100) {
            let grown = settle(least, len, 0);
            assert_eq!(grown.buckets(), len.clamp(4, 1024));
            // It stays, however long that lasts.
            assert_eq!(settle(grown, len, u64::MAX), grown);
            // Nearly empty, it stays for a while and then shrinks, but not by so much that it would grow again.
            let most = Shape { bits: 10, split: 0 };
            assert_eq!(settle(most, len, SPARSE_MS - 1), most);
            let shrunk = settle(most, len, SPARSE_MS);
            assert!(shrunk.buckets() < ((len + 1) * SPARSE).max(5));
            assert!(len <= shrunk.buckets() || shrunk == most);
        }
    }
}
