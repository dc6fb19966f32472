// SPDX-License-Identifier: GPL-2.0

//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! A sum is taken over 16-bit big-endian words; a value of type `u16` here is the host-order value
//! of such a word, and is stored with `to_be_bytes()`. The kernel's counterparts are
//! `csum_partial()`, `csum_fold()` and `csum_replace2()` in include/net/checksum.h.

use core::net::{
    IpAddr,
    Ipv4Addr,
    Ipv6Addr, //
};

/// A ones' complement sum that grows octet by octet.
///
/// The data may come in chunks of any length: the sum knows whether it stands in the middle of a
/// word. A sum of 64-bit words with end-around carry folds to the same 16 bits as one of 16-bit
/// words (RFC 1071, section 2 (C)), and it cannot overflow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    words: u64,
    odd: bool,
}

impl Sum {
    /// The sum of nothing.
    #[inline]
    pub const fn new() -> Self {
        Self {
            words: 0,
            odd: false,
        }
    }

    /// The sum that the kernel has computed over `len` octets, a `__wsum`.
    ///
    /// The kernel adds words in the byte order of the machine. The order of the octets in memory
    /// is the same for both (RFC 1071, section 2 (B)), so it is enough to read the folded word
    /// anew.
    #[inline]
    pub const fn from_kernel(wsum: u32, len: usize) -> Self {
        let folded = fold(wsum as u64);
        Self {
            words: u16::from_be_bytes(folded.to_ne_bytes()) as u64,
            odd: len % 2 != 0,
        }
    }

    /// The sum of the pseudo-header of RFC 9293, section 3.1 (IPv4), or RFC 8200, section 8.1.
    ///
    /// `len` counts the octets of the upper layer's header and data. The two addresses are of one
    /// family; the sum of a mixture means nothing.
    #[inline]
    pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, len: u32) -> Self {
        let mut sum = Self::new();
        for address in [source, destination] {
            match address {
                IpAddr::V4(ip) => sum.add_ipv4(ip),
                IpAddr::V6(ip) => sum.add_ipv6(ip),
            }
        }
        sum.add_u16(u16::from(protocol));
        sum.add_u32(len);
        sum
    }

    /// Adds one aligned 64-bit word with end-around carry.
    #[inline]
    fn carry_in(&mut self, word: u64) {
        let (words, carry) = self.words.overflowing_add(word);
        // After a carry the sum is below its maximum, so this addition never wraps.
        self.words = words.wrapping_add(u64::from(carry));
    }

    /// Appends octets.
    pub fn add(&mut self, octets: &[u8]) {
        let mut rest = octets;
        if self.odd {
            let Some((&low, after)) = rest.split_first() else {
                return;
            };
            self.carry_in(u64::from(low));
            self.odd = false;
            rest = after;
        }
        while let Some((word, after)) = rest.split_first_chunk::<8>() {
            self.carry_in(u64::from_be_bytes(*word));
            rest = after;
        }
        while let Some((word, after)) = rest.split_first_chunk::<2>() {
            self.carry_in(u64::from(u16::from_be_bytes(*word)));
            rest = after;
        }
        if let Some(&high) = rest.first() {
            self.carry_in(u64::from(high) << 8);
            self.odd = true;
        }
    }

    /// Appends a 16-bit field.
    #[inline]
    pub fn add_u16(&mut self, field: u16) {
        self.add_word(u64::from(field));
    }

    /// Appends a 32-bit field.
    #[inline]
    pub fn add_u32(&mut self, field: u32) {
        self.add_word(u64::from(field));
    }

    /// Appends an IPv4 address.
    #[inline]
    pub fn add_ipv4(&mut self, ip: Ipv4Addr) {
        self.add_u32(ip.to_bits());
    }

    /// Appends an IPv6 address.
    #[inline]
    pub fn add_ipv6(&mut self, ip: Ipv6Addr) {
        let bits = ip.to_bits();
        self.add_word((bits >> 64) as u64);
        self.add_word(bits as u64);
    }

    /// Appends another sum, as if its octets came here.
    #[inline]
    pub fn append(&mut self, other: Sum) {
        self.add_word(u64::from(other.fold()));
        self.odd ^= other.odd;
    }

    /// Adds a whole number of 16-bit words.
    ///
    /// At an odd offset every octet takes the other place of its word: the folded word is swapped
    /// (RFC 1071, section 2 (B)).
    #[inline]
    fn add_word(&mut self, word: u64) {
        if self.odd {
            self.carry_in(u64::from(fold(word).swap_bytes()));
        } else {
            self.carry_in(word);
        }
    }

    /// The sum in 16 bits, not complemented: what CHECKSUM_PARTIAL wants in the field.
    #[inline]
    pub const fn fold(self) -> u16 {
        fold(self.words)
    }

    /// The checksum: the complement of the sum, in host byte order.
    #[inline]
    pub const fn finish(self) -> u16 {
        !self.fold()
    }
}

/// Folds a sum of words into 16 bits, with end-around carry.
#[inline]
const fn fold(words: u64) -> u16 {
    // Four words of 16 bits need 18 bits, then 17, then 16.
    let sum = (words & 0xffff)
        .wrapping_add((words >> 16) & 0xffff)
        .wrapping_add((words >> 32) & 0xffff)
        .wrapping_add(words >> 48);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    sum as u16
}

/// The checksum of `octets`, in host byte order.
#[inline]
pub fn checksum(octets: &[u8]) -> u16 {
    let mut sum = Sum::new();
    sum.add(octets);
    sum.finish()
}

/// The checksum after a 16-bit word under it has changed from `old` to `new`.
///
/// This is equation 3 of RFC 1624, `HC' = ~(~HC + ~m + m')`: unlike the update of RFC 1141 it never
/// turns one form of zero into the other, so the result is the one that a full computation gives.
#[inline]
pub const fn update16(check: u16, old: u16, new: u16) -> u16 {
    !fold(
        (!check as u64)
            .wrapping_add(!old as u64)
            .wrapping_add(new as u64),
    )
}

/// The checksum after an aligned 32-bit word under it has changed from `old` to `new`.
#[inline]
pub const fn update32(check: u16, old: u32, new: u32) -> u16 {
    !fold(
        (!check as u64)
            .wrapping_add(!old as u64)
            .wrapping_add(new as u64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 1071, section 3.
    const EXAMPLE: [u8; 8] = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];

    #[test]
    fn the_example_of_rfc_1071() {
        let mut sum = Sum::new();
        sum.add(&EXAMPLE);
        assert_eq!(sum.fold(), 0xddf2);
        assert_eq!(sum.finish(), 0x220d);
        assert_eq!(checksum(&EXAMPLE), 0x220d);
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // Section 4: equation 2 would give 0xffff here.
        assert_eq!(update16(0xdd2f, 0x5555, 0x3285), 0x0000);
        assert_eq!(update32(0xdd2f, 0x0000_5555, 0x0000_3285), 0x0000);
    }

    #[test]
    fn a_known_ipv4_header() {
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(checksum(&header), 0);
    }

    #[test]
    fn chunks_may_split_words() {
        for cut in 0..=EXAMPLE.len() {
            for second in cut..=EXAMPLE.len() {
                let mut sum = Sum::new();
                sum.add(&EXAMPLE[..cut]);
                sum.add(&[]);
                sum.add(&EXAMPLE[cut..second]);
                sum.add(&EXAMPLE[second..]);
                assert_eq!(sum.fold(), 0xddf2);
            }
        }
    }

    #[test]
    fn the_largest_words_carry_around() {
        let mut sum = Sum::new();
        sum.add(&[0xff; 64]);
        assert_eq!(sum.fold(), 0xffff);
        sum.add_u32(1);
        assert_eq!(sum.fold(), 1);
    }

    #[test]
    fn the_kernels_sum_is_read_in_memory_order() {
        let mut native = 0u32;
        for word in EXAMPLE.chunks(2) {
            native += u32::from(u16::from_ne_bytes([word[0], word[1]]));
        }
        assert_eq!(Sum::from_kernel(native, 8).fold(), 0xddf2);
    }
}
