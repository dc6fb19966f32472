// SPDX-License-Identifier: GPL-2.0

//! How connections are spread over the buckets of a table.
//!
//! The paper's key, [`xor_hash()`], is cheap, and spreads honest clients well. But anyone can tell
//! which connections it puts together, so who has many addresses can aim at one bucket. SipHash
//! (Aumasson and Bernstein, 2012) takes a secret key, without which nobody can.
//!
//! SipHash is written here, and not taken from the kernel: what is hashed has one of a few fixed
//! lengths, all of whole words, so that this is short, inlined, safe code that the host tests too.

use crate::addr::{
    xor_hash,
    Endpoint,
    FlowKey, //
};
use core::net::IpAddr;

/// A hash function for connections.
#[derive(Clone, Copy)]
pub enum Hasher {
    /// The paper's: the client's address XOR its port.
    Xor,
    /// SipHash-2-4 with this key.
    Sip(u64, u64),
}

impl Hasher {
    /// The paper's hash, or if `keyed` SipHash with a key of two random numbers.
    pub fn new(keyed: bool, mut random: impl FnMut() -> u64) -> Self {
        if keyed {
            Self::Sip(random(), random())
        } else {
            Self::Xor
        }
    }

    /// The hash of a client's endpoint, whatever service it talks to.
    #[inline]
    pub fn client(&self, client: &Endpoint) -> u32 {
        match *self {
            Self::Xor => xor_hash(client),
            Self::Sip(k0, k1) => SipHash::new(k0, k1).endpoint(client).finish() as u32,
        }
    }

    /// The hash of a connection. The XOR key is of the client alone, as the paper has it.
    #[inline]
    pub fn flow(&self, key: &FlowKey) -> u32 {
        match *self {
            Self::Xor => xor_hash(&key.client),
            Self::Sip(k0, k1) => SipHash::new(k0, k1)
                .endpoint(&key.client)
                .endpoint(&key.service)
                .finish() as u32,
        }
    }
}

/// SipHash-2-4 of a sequence of words, each eight octets in little-endian order.
#[derive(Clone, Copy)]
struct SipHash {
    v: [u64; 4],
    octets: u64,
}

impl SipHash {
    #[inline]
    fn new(k0: u64, k1: u64) -> Self {
        Self {
            v: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
            octets: 0,
        }
    }

    #[inline]
    fn round(&mut self) {
        let [mut v0, mut v1, mut v2, mut v3] = self.v;
        v0 = v0.wrapping_add(v1);
        v1 = v1.rotate_left(13) ^ v0;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v3);
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.wrapping_add(v3);
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.wrapping_add(v1);
        v1 = v1.rotate_left(17) ^ v2;
        v2 = v2.rotate_left(32);
        self.v = [v0, v1, v2, v3];
    }

    #[inline]
    fn compress(&mut self, word: u64) {
        self.v[3] ^= word;
        self.round();
        self.round();
        self.v[0] ^= word;
    }

    #[inline]
    fn word(mut self, word: u64) -> Self {
        self.compress(word);
        self.octets = self.octets.wrapping_add(8);
        self
    }

    /// One word for IPv4, three for IPv6, so that no two sequences of endpoints are the same words.
    #[inline]
    fn endpoint(self, endpoint: &Endpoint) -> Self {
        let port = u64::from(endpoint.port);
        match endpoint.ip {
            IpAddr::V4(ip) => self.word((u64::from(ip.to_bits()) << 32) | port),
            IpAddr::V6(ip) => {
                let bits = ip.to_bits();
                self.word((bits >> 64) as u64).word(bits as u64).word(port)
            }
        }
    }

    #[inline]
    fn finish(mut self) -> u64 {
        // The last word is what octets are left, none here, and the length.
        self.compress(self.octets << 56);
        self.v[2] ^= 0xff;
        for _ in 0..4 {
            self.round();
        }
        let [v0, v1, v2, v3] = self.v;
        v0 ^ v1 ^ v2 ^ v3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::{
        hash::Hasher as _,
        net::{Ipv4Addr, Ipv6Addr},
    };
    use proptest::prelude::*;
    use std::{collections::HashMap, vec::Vec};

    /// Octets 0, 1, 2 and so on.
    fn counting(words: u64) -> impl Iterator<Item = u64> {
        (0..words).map(|n| u64::from_le_bytes(core::array::from_fn(|i| (8 * n) as u8 + i as u8)))
    }

    /// Key and input as in the vectors of SipHash's authors, for inputs of whole words.
    #[test]
    fn reference_vectors() {
        let mut key = counting(2);
        let (k0, k1) = (key.next().unwrap(), key.next().unwrap());
        for (words, digest) in [
            (0, [0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72]),
            (1, [0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93]),
            (2, [0xdb, 0x9b, 0xc2, 0x57, 0x7f, 0xcc, 0x2a, 0x3f]),
        ] {
            let sip = counting(words).fold(SipHash::new(k0, k1), SipHash::word);
            assert_eq!(sip.finish().to_le_bytes(), digest, "{words} words");
        }
    }

    proptest! {
        /// The standard library has had SipHash-2-4 since before it was called deprecated.
        #[test]
        #[allow(deprecated)]
        fn as_the_standard_library_has_it(
            k0: u64, k1: u64, words in proptest::collection::vec(any::<u64>(), 0..20),
        ) {
            let mut other = core::hash::SipHasher::new_with_keys(k0, k1);
            for word in &words {
                other.write(&word.to_le_bytes());
            }
            let sip = words.into_iter().fold(SipHash::new(k0, k1), SipHash::word);
            prop_assert_eq!(sip.finish(), other.finish());
        }
    }

    /// Endpoints whose XOR key is the same.
    fn colliding() -> impl Iterator<Item = Endpoint> {
        (0..4096u32).map(|n| {
            let ip = Ipv4Addr::from_bits(0x0a01_0000 | n);
            Endpoint::new(IpAddr::V4(ip), 0x4000 | (n ^ 0x0fff) as u16)
        })
    }

    fn longest_chain(hasher: &Hasher) -> usize {
        let mut chains = HashMap::<u32, usize>::new();
        for client in colliding() {
            *chains.entry(hasher.client(&client) & 0xffff).or_default() += 1;
        }
        *chains.values().max().unwrap()
    }

    #[test]
    fn keys_that_collide_by_design() {
        assert_eq!(longest_chain(&Hasher::Xor), 4096);
        // 4096 balls in 65536 bins: eight in one have a probability of less than one to a million.
        let mut keys = counting(2);
        let hasher = Hasher::new(true, || keys.next().unwrap());
        assert!(longest_chain(&hasher) < 8);
    }

    #[test]
    fn services_count_in_the_keyed_hash_of_a_connection() {
        let client = Endpoint::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1024);
        let at = |port| FlowKey {
            client,
            service: Endpoint::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 80)), port),
        };
        let sip = Hasher::Sip(1, 2);
        assert_ne!(sip.flow(&at(80)), sip.flow(&at(443)));
        assert_eq!(Hasher::Xor.flow(&at(80)), xor_hash(&client));
        assert_eq!(Hasher::Xor.flow(&at(443)), xor_hash(&client));
    }

    #[test]
    fn every_part_of_an_endpoint_counts() {
        let base = 0x2001_0db8_0000_0001_0000_0002_0000_0003u128;
        let mut all: Vec<_> = (0..128).map(|bit| (base ^ (1 << bit), 80)).collect();
        all.extend((0..16).map(|bit| (base, 80 ^ (1 << bit))));
        let mut seen: Vec<_> = all
            .iter()
            .map(|&(ip, port)| Endpoint::new(IpAddr::V6(Ipv6Addr::from_bits(ip)), port))
            .map(|endpoint| SipHash::new(1, 2).endpoint(&endpoint).finish())
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all.len());
    }
}
