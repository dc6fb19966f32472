// SPDX-License-Identifier: GPL-2.0

//! The hash of policies: 64 bits, without a key.
//!
//! Without a key, because every switch in front of the same servers must come to the same choice.
//! Whoever wants to can therefore find requests that meet in one value, and so on one server; but
//! whoever may choose paths can ask for one path all the time as well.
//!
//! Octets are taken eight at a time, each word through [`mix`], which is a bijection: parts of up
//! to eight octets and the same length never meet.

/// 2^64 divided by the golden ratio, and odd: a step that spreads counters well.
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads a number over 64 bits, one to one (the finaliser of SplitMix64: Steele, Lea and Flood,
/// OOPSLA 2014, with Stafford's thirteenth set of constants).
#[inline]
pub const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A hash that takes octets part by part.
///
/// A part's length counts: `ab`, `c` and `a`, `bc` are different.
#[derive(Clone, Copy, Debug)]
pub struct Hash(u64);

impl Hash {
    /// The hash of nothing. Different seeds give unrelated functions.
    #[inline]
    pub const fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(GOLDEN)))
    }

    /// Takes another part.
    #[inline]
    #[must_use]
    pub fn part(self, octets: &[u8]) -> Self {
        self.take(octets, |word| word)
    }

    /// Takes another part, without regard to the case of its ASCII letters.
    #[inline]
    #[must_use]
    pub fn part_ignoring_case(self, octets: &[u8]) -> Self {
        self.take(octets, |word| word.map(|octet| octet.to_ascii_lowercase()))
    }

    /// The value.
    #[inline]
    pub const fn value(self) -> u64 {
        self.0
    }

    #[inline]
    fn take(mut self, octets: &[u8], fold: impl Fn([u8; 8]) -> [u8; 8]) -> Self {
        let mut rest = octets;
        while let Some((word, after)) = rest.split_first_chunk() {
            self.word(u64::from_le_bytes(fold(*word)));
            rest = after;
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.word(u64::from_le_bytes(fold(last)));
        self.word(octets.len() as u64);
        self
    }

    #[inline]
    fn word(&mut self, word: u64) {
        self.0 = mix(self.0.wrapping_add(GOLDEN) ^ word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::HashSet, format, vec::Vec};

    /// Other switches may run another release: the value must never change.
    #[test]
    fn is_fixed() {
        // The first outputs of SplitMix64 for the seed 0, as published with it.
        assert_eq!(mix(GOLDEN), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(GOLDEN.wrapping_mul(2)), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(mix(GOLDEN.wrapping_mul(3)), 0x06c4_5d18_8009_454f);
        // By the definition above, one word after another.
        let step = |state: u64, word: u64| mix(state.wrapping_add(GOLDEN) ^ word);
        let start = mix(5u64.wrapping_add(GOLDEN));
        let expected = step(step(step(start, 0x6867_6665_6463_6261), 0x6a69), 10);
        assert_eq!(Hash::new(5).part(b"abcdefghij").value(), expected);
    }

    #[test]
    fn boundaries_and_zeros_count() {
        let of = |parts: &[&[u8]]| {
            let hash = Hash::new(0);
            parts
                .iter()
                .fold(hash, |hash, part| hash.part(part))
                .value()
        };
        let all: &[&[&[u8]]] = &[
            &[],
            &[b""],
            &[b"", b""],
            &[b"\0"],
            &[b"\0\0"],
            &[b"ab", b"c"],
            &[b"a", b"bc"],
            &[b"abc"],
            &[b"abc", b""],
            &[b"12345678"],
            &[b"12345678\0"],
            &[b"1234567", b"8"],
        ];
        let values: HashSet<u64> = all.iter().map(|parts| of(parts)).collect();
        assert_eq!(values.len(), all.len());
    }

    /// One bit of the input changes each bit of the value in about half of all cases.
    #[test]
    fn one_bit_changes_half_of_the_value() {
        let names: Vec<_> = (0..400).map(|n| format!("/images/{n}.jpg")).collect();
        let mut changed = [0u32; 64];
        let mut cases = 0;
        for name in &names {
            let mut octets = name.clone().into_bytes();
            let before = Hash::new(0).part(&octets).value();
            for bit in 0..octets.len() * 8 {
                octets[bit / 8] ^= 1 << (bit % 8);
                let differs = before ^ Hash::new(0).part(&octets).value();
                octets[bit / 8] ^= 1 << (bit % 8);
                cases += 1;
                for (at, count) in changed.iter_mut().enumerate() {
                    *count += ((differs >> at) & 1) as u32;
                }
            }
        }
        // 48,000 cases or so: the standard deviation of a share is 0.0023.
        for count in changed {
            let share = f64::from(count) / f64::from(cases);
            assert!((0.485..0.515).contains(&share), "{share}");
        }
    }

    proptest! {
        #[test]
        fn case_is_ignored_where_it_shall_be(octets: Vec<u8>) {
            let lower = octets.to_ascii_lowercase();
            let upper = octets.to_ascii_uppercase();
            let hash = Hash::new(1);
            let value = hash.part_ignoring_case(&octets).value();
            prop_assert_eq!(value, hash.part(&lower).value());
            prop_assert_eq!(value, hash.part_ignoring_case(&upper).value());
        }
    }
}
