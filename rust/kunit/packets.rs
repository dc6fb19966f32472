// SPDX-License-Identifier: GPL-2.0

//! Packets in all their forms: what is read from them, and what rewriting makes of them, against
//! checksums that are computed anew, octet by octet.

use core::net::{
    IpAddr,
    Ipv4Addr, //
};

use kernel::{
    macros::kunit_tests,
    prelude::*, //
};
use thop_core::packet::{
    decrement_ttl,
    parse_ipv4,
    rewrite_destination_ipv4, //
};
use thop_kernel::{
    skb::SkBuff,
    testing, //
};

use crate::random::Random;

/// The longest packet that is made.
const LONGEST: usize = 3000;

/// The forms that a packet's checksum has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// In the header, and nobody has looked at it.
    None,
    /// The header has the pseudo-header's part.
    Partial,
    /// A device has summed the packet up.
    Complete,
}

/// Where octets lie: in the linear part up to the first number, in pages up to the second, in a
/// packet of the list from there on.
type Pieces = (usize, usize);

/// The Internet checksum's sum of RFC 1071, of 16-bit words, as slow as can be.
fn sum(octets: &[u8]) -> u16 {
    let mut sum = 0u32;
    for (at, octet) in octets.iter().enumerate() {
        sum += u32::from(*octet) << if at % 2 == 0 { 8 } else { 0 };
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    sum as u16
}

/// Zero has two representations in ones' complement.
fn same_sum(a: u16, b: u16) -> bool {
    a == b || a ^ b == 0xffff && (a == 0 || b == 0)
}

/// The sum over the TCP segment of a packet with its pseudo-header.
fn tcp_sum(packet: &[u8], ip_header_len: usize) -> Option<u16> {
    let (ip, tcp) = packet.split_at_checked(ip_header_len)?;
    let mut all = KVec::with_capacity(tcp.len() + 12, GFP_KERNEL).ok()?;
    all.extend_from_slice(ip.get(12..20)?, GFP_KERNEL).ok()?;
    all.extend_from_slice(&[0, 6], GFP_KERNEL).ok()?;
    let len = u16::try_from(tcp.len()).ok()?.to_be_bytes();
    all.extend_from_slice(&len, GFP_KERNEL).ok()?;
    all.extend_from_slice(tcp, GFP_KERNEL).ok()?;
    Some(sum(&all))
}

/// Writes a 16-bit field.
fn put(octets: &mut [u8], at: usize, value: u16) -> Option<()> {
    octets
        .get_mut(at..at.checked_add(2)?)?
        .copy_from_slice(&value.to_be_bytes());
    Some(())
}

/// A TCP segment with options of both headers and random contents, all else well formed. Returns the
/// octets, and the length of the IP header.
fn segment(random: &mut Random, form: Form) -> Option<(KVec<u8>, usize)> {
    let ip_header_len = 20 + 4 * random.below(11);
    let tcp_header_len = 20 + 4 * random.below(11);
    let payload = random.below(LONGEST - 120);
    let len = ip_header_len + tcp_header_len + payload;
    let mut octets = KVec::from_elem(0u8, len, GFP_KERNEL).ok()?;
    random.fill(&mut octets);
    *octets.get_mut(0)? = 0x40 | (ip_header_len / 4) as u8;
    put(&mut octets, 2, len as u16)?;
    // Not a fragment.
    put(&mut octets, 6, 0x4000)?;
    *octets.get_mut(8)? = 2 + random.below(250) as u8;
    *octets.get_mut(9)? = 6;
    put(&mut octets, 10, 0)?;
    let check = !sum(octets.get(..ip_header_len)?);
    put(&mut octets, 10, check)?;
    *octets.get_mut(ip_header_len + 12)? = (tcp_header_len as u8 / 4) << 4;
    put(&mut octets, ip_header_len + 16, 0)?;
    let check = match form {
        Form::Partial => {
            // The pseudo-header's sum: that of all, less that of the segment, whose field is zero.
            let all = u32::from(tcp_sum(&octets, ip_header_len)?);
            let segment = u32::from(sum(octets.get(ip_header_len..)?));
            let pseudo = all + (0xffff - segment);
            ((pseudo & 0xffff) + (pseudo >> 16)) as u16
        }
        _ => !tcp_sum(&octets, ip_header_len)?,
    };
    put(&mut octets, ip_header_len + 16, check)?;
    Some((octets, ip_header_len))
}

/// A packet of these octets in these pieces.
fn packet(octets: &[u8], (linear, paged): Pieces) -> Result<SkBuff> {
    let (head, rest) = octets.split_at_checked(linear).ok_or(EINVAL)?;
    let (middle, tail) = rest.split_at_checked(paged).ok_or(EINVAL)?;
    let mut packet = SkBuff::new(head, middle.len())?;
    packet.write(head.len(), middle)?;
    if !tail.is_empty() {
        // Half of the last piece in pages, too.
        let (head, middle) = tail.split_at(tail.len() / 2);
        let mut last = SkBuff::new(head, middle.len())?;
        last.write(head.len(), middle)?;
        testing::chain(&mut packet, last);
    }
    Ok(packet)
}

/// All octets of a packet.
fn contents(packet: &SkBuff) -> Result<KVec<u8>> {
    let mut octets = KVec::from_elem(0u8, packet.len() as usize, GFP_KERNEL)?;
    packet.copy_to(0, &mut octets);
    Ok(octets)
}

/// Pieces of a packet of `len` octets, any way it may be cut, and the usual ways more often.
fn pieces(random: &mut Random, len: usize) -> Pieces {
    match random.below(4) {
        0 => (len, 0),
        1 => (0, len),
        2 => (random.below(len + 1), 0),
        _ => {
            let linear = random.below(len + 1);
            (linear, random.below(len - linear + 1))
        }
    }
}

/// Rewrites a segment as the forwarder does, and as the server does; whether all that must follow
/// does, and nothing else.
fn rewrite(random: &mut Random, form: Form, shared: bool, forwarded: bool) -> Result<bool> {
    let (octets, ip_header_len) = segment(random, form).ok_or(ENOMEM)?;
    let cut = pieces(random, octets.len());
    let mut skb = packet(&octets, cut)?;
    let other = if shared {
        Some(testing::share(&skb)?)
    } else {
        None
    };
    let parsed = loop {
        match parse_ipv4(skb.linear(), skb.len()) {
            Ok(parsed) => break parsed,
            // Headers that are not linear are asked for, as `segment::read()` does.
            Err(thop_core::packet::NotSegment::Truncated { need }) => {
                if skb.pull(need as usize).is_none() {
                    return Ok(false);
                }
            }
            Err(_) => return Ok(false),
        }
    };
    match form {
        Form::None => {}
        // A device needs the header where it is told that it is: in the linear part.
        Form::Partial => {
            if skb.pull(parsed.headers_len()).is_none() {
                return Ok(false);
            }
            testing::set_partial(&mut skb, ip_header_len);
        }
        Form::Complete => testing::set_complete(&mut skb),
    }
    if skb.is_partial() != (form == Form::Partial) {
        return Ok(false);
    }

    let IpAddr::V4(from) = parsed.key.service.ip else {
        return Ok(false);
    };
    let to = Ipv4Addr::from_bits(random.next() as u32);
    let port = random.next() as u16;
    let partial = skb.is_partial();
    let Some(headers) = skb.writable(parsed.headers_len()) else {
        return Ok(false);
    };
    if forwarded && decrement_ttl(headers).is_none() {
        return Ok(false);
    }
    if rewrite_destination_ipv4(headers, ip_header_len, (to, port), partial).is_none() {
        return Ok(false);
    }
    testing::destination_rewritten(&mut skb, from, to);

    // What it must be now: the same but for destination and time to live, and right checksums.
    let got = contents(&skb)?;
    let mut expected = KVec::from_elem(0u8, octets.len(), GFP_KERNEL)?;
    expected.copy_from_slice(&octets);
    let fill = |expected: &mut [u8]| -> Option<()> {
        expected.get_mut(16..20)?.copy_from_slice(&to.octets());
        put(expected, ip_header_len + 2, port)?;
        let ttl = expected.get_mut(8)?;
        *ttl -= u8::from(forwarded);
        // The checksums are judged by what they say.
        for at in [10, ip_header_len + 16] {
            let field = got.get(at..at + 2)?;
            expected.get_mut(at..at + 2)?.copy_from_slice(field);
        }
        Some(())
    };
    fill(&mut expected).ok_or(EINVAL)?;
    let ip_good = got.get(..ip_header_len).map(sum) == Some(0xffff);
    let tcp_good = match form {
        Form::Partial => {
            // What a device will make of it: the sum from the TCP header on, over the field's value.
            let segment = got.get(ip_header_len..).ok_or(EINVAL)?;
            let check = !sum(segment);
            let mut sent = KVec::from_elem(0u8, got.len(), GFP_KERNEL)?;
            sent.copy_from_slice(&got);
            put(&mut sent, ip_header_len + 16, check).ok_or(EINVAL)?;
            tcp_sum(&sent, ip_header_len).ok_or(ENOMEM)? == 0xffff
        }
        _ => tcp_sum(&got, ip_header_len).ok_or(ENOMEM)? == 0xffff,
    };
    let complete_good = match testing::complete(&skb) {
        Some(told) => form == Form::Complete && same_sum(told.fold(), sum(&got)),
        None => form != Form::Complete,
    };
    // Who shares the octets has not been told of any of this.
    let other_good = match &other {
        Some(other) => *contents(other)? == *octets,
        None => true,
    };
    skb.detach();
    let after_good = *contents(&skb)? == *got;
    skb.consume();
    Ok(*got == *expected && ip_good && tcp_good && complete_good && other_good && after_good)
}

/// Whether [`rewrite()`] does right by many segments, shared or not, forwarded or not.
fn are_rewritten(seed: u64, form: Form) -> Result<bool> {
    let mut random = Random::new(seed);
    for round in 0..200 {
        if !rewrite(&mut random, form, round % 2 == 0, round % 3 == 0)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[kunit_tests(thop_packets)]
mod tests {
    use super::*;

    #[test]
    fn have_the_octets_that_they_were_given() -> Result {
        let mut random = Random::new(2);
        for _ in 0..100 {
            let len = 1 + random.below(LONGEST);
            let mut octets = KVec::from_elem(0u8, len, GFP_KERNEL)?;
            random.fill(&mut octets);
            let cut = pieces(&mut random, len);
            let mut skb = packet(&octets, cut)?;
            assert_eq!(skb.len() as usize, len);
            assert!(!skb.is_empty());
            assert_eq!(skb.linear().len(), cut.0);
            // From anywhere to anywhere, beyond the end too, where nothing is written.
            let from = random.below(len + 10);
            let mut some = [0xaa; 50];
            skb.copy_to(from, &mut some);
            for (at, octet) in some.iter().enumerate() {
                assert_eq!(*octet, *octets.get(from + at).unwrap_or(&0xaa));
            }
            let tail = octets.get(from..).unwrap_or(&[]);
            assert!(same_sum(skb.sum(from).fold(), sum(tail)));
            // What is pulled is linear, and what is not there cannot be.
            let need = random.below(len + 1);
            let pulled = skb.pull(need).ok_or(ENOMEM)?;
            assert!(pulled.len() >= need);
            assert!(octets.get(..pulled.len()) == Some(pulled));
            assert!(skb.pull(len + 1).is_none());
            assert!(skb.writable(len + 1).is_none());
            assert!(*contents(&skb)? == *octets);
        }
        Ok(())
    }

    #[test]
    fn can_be_written_to_within_their_length() -> Result {
        let mut random = Random::new(3);
        for _ in 0..100 {
            let len = 1 + random.below(LONGEST);
            let mut octets = KVec::from_elem(0u8, len, GFP_KERNEL)?;
            random.fill(&mut octets);
            let cut = pieces(&mut random, len);
            let mut skb = packet(&octets, cut)?;
            let mut new = [0u8; 60];
            random.fill(&mut new);
            let at = random.below(len);
            let fits = at + new.len() <= len;
            assert_eq!(skb.write(at, &new).is_ok(), fits);
            if fits {
                if let Some(place) = octets.get_mut(at..at + new.len()) {
                    place.copy_from_slice(&new);
                }
            }
            assert!(*contents(&skb)? == *octets);
        }
        Ok(())
    }

    #[test]
    fn copies_have_heads_of_their_own() -> Result {
        let mut random = Random::new(4);
        for _ in 0..100 {
            let len = 40 + random.below(LONGEST - 40);
            let mut octets = KVec::from_elem(0u8, len, GFP_KERNEL)?;
            random.fill(&mut octets);
            let head = 1 + random.below(40);
            let skb = packet(&octets, (head, len - head))?;
            let mut copy = skb.copy_head()?;
            assert!(*contents(&copy)? == *octets);
            let mut new = [0u8; 40];
            random.fill(&mut new);
            let new = new.get(..head).ok_or(EINVAL)?;
            copy.write(0, new)?;
            assert!(copy.linear() == new);
            assert!(*contents(&skb)? == *octets);
            // The pages stay when the first owner goes.
            drop(skb);
            assert!(contents(&copy)?.get(head..) == octets.get(head..));
        }
        Ok(())
    }

    /// What another packet shares is not written to: neither linear octets nor pages, nor what is in front.
    #[test]
    fn are_not_written_to_where_they_are_shared() -> Result {
        let octets = [7u8; 3_000];
        let mut skb = packet(&octets, (1_000, 2_000))?;
        // All is this packet's alone.
        skb.write(0, &[7; 10])?;
        skb.write(2_000, &[7; 10])?;
        // A copy has linear octets of its own, and shares the pages.
        let mut copy = skb.copy_head()?;
        copy.write(0, &[1; 10])?;
        copy.push(&[1; 10])?;
        assert!(copy.write(1_900, &[1; 10]) == Err(EBUSY));
        assert!(skb.write(1_900, &[1; 10]) == Err(EBUSY));
        assert!(*contents(&skb)? == octets);
        drop(copy);
        skb.write(1_900, &[7; 10])?;
        // Another packet with the same octets shares all of them.
        let other = testing::share(&skb)?;
        assert!(skb.write(0, &[1; 10]) == Err(EBUSY));
        assert!(skb.push(&[1; 10]) == Err(EBUSY));
        assert!(*contents(&other)? == octets);
        drop(other);
        skb.push(&[7; 10])?;
        assert_eq!(skb.len() as usize, octets.len() + 10);
        Ok(())
    }

    #[test]
    fn are_rewritten_with_plain_checksums() -> Result {
        assert!(are_rewritten(5, Form::None)?);
        Ok(())
    }

    #[test]
    fn are_rewritten_with_partial_checksums() -> Result {
        assert!(are_rewritten(6, Form::Partial)?);
        Ok(())
    }

    #[test]
    fn are_rewritten_with_complete_checksums() -> Result {
        assert!(are_rewritten(7, Form::Complete)?);
        Ok(())
    }

    #[test]
    fn merged_ones_that_cannot_be_cut_are_known() -> Result {
        let mut skb = packet(&[0; 3000], (100, 2900))?;
        assert!(!skb.is_lro());
        testing::set_merged(&mut skb, 1448, true);
        assert!(!skb.is_lro());
        testing::set_merged(&mut skb, 1448, false);
        assert!(skb.is_lro());
        Ok(())
    }
}
