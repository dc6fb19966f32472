// SPDX-License-Identifier: GPL-2.0

//! Random numbers that are the same in every run, so that what failed once fails again.

/// Marsaglia's xorshift.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // The upper bits are the better ones.
        (self.next() >> 33) as usize % limit.max(1)
    }

    pub(crate) fn fill(&mut self, octets: &mut [u8]) {
        for octet in octets {
            *octet = (self.next() >> 40) as u8;
        }
    }
}
