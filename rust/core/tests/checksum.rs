// SPDX-License-Identifier: GPL-2.0

//! The Internet checksum against the plain definition of RFC 1071.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use proptest::{collection::vec, prelude::*};
use thop_core::checksum::{checksum, update16, update32, Sum};

/// One word after the other, as the C program of RFC 1071, section 4.1.
fn reference(octets: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8;
        sum += u32::from(*pair.get(1).unwrap_or(&0));
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    sum as u16
}

/// Octets that like the extremes.
fn octet() -> impl Strategy<Value = u8> {
    prop_oneof![3 => any::<u8>(), 1 => Just(0), 1 => Just(0xff)]
}

proptest! {
    #[test]
    fn any_octets(octets in vec(octet(), 0..200)) {
        prop_assert_eq!(checksum(&octets), !reference(&octets));
    }

    #[test]
    fn any_chunks(chunks in vec(vec(octet(), 0..40), 0..12)) {
        let mut sum = Sum::new();
        for chunk in &chunks {
            sum.add(chunk);
        }
        prop_assert_eq!(sum.fold(), reference(&chunks.concat()));
    }

    #[test]
    fn any_sums_in_a_row(chunks in vec(vec(octet(), 0..40), 0..12)) {
        let mut whole = Sum::new();
        for chunk in &chunks {
            let mut sum = Sum::new();
            sum.add(chunk);
            whole.append(sum);
        }
        prop_assert_eq!(whole.fold(), reference(&chunks.concat()));
    }

    #[test]
    fn any_sum_of_the_kernel(front in vec(octet(), 0..9), octets in vec(octet(), 0..200)) {
        let mut native = 0u32;
        for pair in octets.chunks(2) {
            native += u32::from(u16::from_ne_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        let mut sum = Sum::new();
        sum.add(&front);
        sum.append(Sum::from_kernel(native, octets.len()));
        sum.add(&front);
        prop_assert_eq!(sum.fold(), reference(&[&front[..], &octets, &front].concat()));
    }

    #[test]
    fn fields_at_any_offset(front in vec(octet(), 0..5), a: u16, b: u32, v4: [u8; 4], v6: [u8; 16]) {
        let mut sum = Sum::new();
        sum.add(&front);
        sum.add_u16(a);
        sum.add_u32(b);
        sum.add_ipv4(Ipv4Addr::from(v4));
        sum.add_ipv6(Ipv6Addr::from(v6));
        let octets =
            [&front[..], &a.to_be_bytes(), &b.to_be_bytes(), &v4, &v6].concat();
        prop_assert_eq!(sum.fold(), reference(&octets));
    }

    #[test]
    fn the_pseudo_header_of_ipv4(source: [u8; 4], destination: [u8; 4], protocol: u8, len: u16) {
        let octets =
            [&source[..], &destination, &[0, protocol], &len.to_be_bytes()].concat();
        let sum = Sum::pseudo(
            IpAddr::from(source),
            IpAddr::from(destination),
            protocol,
            u32::from(len),
        );
        prop_assert_eq!(sum.fold(), reference(&octets));
    }

    #[test]
    fn the_pseudo_header_of_ipv6(source: [u8; 16], destination: [u8; 16], next: u8, len: u32) {
        let octets =
            [&source[..], &destination, &len.to_be_bytes(), &[0, 0, 0, next]].concat();
        let sum = Sum::pseudo(IpAddr::from(source), IpAddr::from(destination), next, len);
        prop_assert_eq!(sum.fold(), reference(&octets));
    }

    /// The first word stays and is not zero, as in any header: then there is one form of zero.
    #[test]
    fn an_update_is_a_full_computation(
        octets in vec(octet(), 4..100),
        at in any::<prop::sample::Index>(),
        new: [u8; 4],
        first in 1u8..,
    ) {
        let mut octets = octets;
        octets[0] = first;
        let words = octets.len() / 2;
        let check = checksum(&octets);

        let at16 = 2 * (1 + at.index(words - 1));
        let mut changed = octets.clone();
        let old = u16::from_be_bytes([octets[at16], octets[at16 + 1]]);
        changed[at16..at16 + 2].copy_from_slice(&new[..2]);
        prop_assert_eq!(
            update16(check, old, u16::from_be_bytes([new[0], new[1]])),
            checksum(&changed)
        );

        if words > 2 {
            let at32 = 2 * (1 + at.index(words - 2));
            let mut changed = octets.clone();
            let old = u32::from_be_bytes(octets[at32..at32 + 4].try_into().unwrap());
            changed[at32..at32 + 4].copy_from_slice(&new);
            prop_assert_eq!(update32(check, old, u32::from_be_bytes(new)), checksum(&changed));
        }
    }
}
