// SPDX-License-Identifier: GPL-2.0

//! TCP segments over IPv4: the crate `etherparse` must read them alike, and agree with the checksums
//! after each rewriting.
//!
//! The first octets of the input are the length of the linear head, a new address and a new port.

#![no_main]

use core::net::{IpAddr, Ipv4Addr};
use etherparse::{Ipv4HeaderSlice, TcpHeaderSlice};
use libfuzzer_sys::fuzz_target;
use thop_core::packet::{
    decrement_ttl, ipv4_destination, parse_ipv4, rewrite_destination_ipv4, rewrite_source_ipv4,
    timestamps, NotSegment, Segment,
};

fuzz_target!(|data: &[u8]| {
    let Some((&[linear, a, b, c, d, p, q], packet)) = data.split_first_chunk() else {
        return;
    };
    let new = (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p, q]));
    let Ok(packet_len) = u32::try_from(packet.len()) else {
        return;
    };
    let result = parse_ipv4(packet, packet_len);
    check_head(packet, packet_len, usize::from(linear), result);
    match (result, read(packet)) {
        (Ok(segment), Some((ip, tcp))) => {
            check_fields(&segment, &ip, &tcp);
            check_options(segment.options(packet).unwrap(), &tcp);
            check_rewriting(packet, &segment, new);
        }
        (Ok(_), None) => panic!("{result:?}"),
        (Err(NotSegment::Truncated { .. }), _) => panic!("all of it is there"),
        (Err(_), None) => {}
        (Err(error), Some(_)) => panic!("{error:?}"),
    }
});

/// What `etherparse` reads, if it is a whole segment.
fn read(packet: &[u8]) -> Option<(Ipv4HeaderSlice<'_>, TcpHeaderSlice<'_>)> {
    let ip = Ipv4HeaderSlice::from_slice(packet).ok()?;
    if ip.protocol().0 != 6 || ip.is_fragmenting_payload() {
        return None;
    }
    let total = match usize::from(ip.total_len()) {
        0 if packet.len() > 65535 => packet.len(),
        total => total,
    };
    let tcp = TcpHeaderSlice::from_slice(packet.get(ip.slice().len()..total)?).ok()?;
    Some((ip, tcp))
}

/// Checks that a part of the packet gives the same, or asks for what is missing. What is wrong with a
/// packet may look different.
fn check_head(packet: &[u8], len: u32, linear: usize, whole: Result<Segment, NotSegment>) {
    let head = packet.get(..linear).unwrap_or(packet);
    match parse_ipv4(head, len) {
        Err(NotSegment::Truncated { need }) => {
            assert!(need as usize > head.len() && need <= len);
        }
        Err(_) => assert!(whole.is_err()),
        segment => assert_eq!(segment, whole),
    }
    let _ = ipv4_destination(head);
    let _ = timestamps(head);
}

fn check_fields(segment: &Segment, ip: &Ipv4HeaderSlice<'_>, tcp: &TcpHeaderSlice<'_>) {
    assert_eq!(segment.key.client.ip, IpAddr::V4(ip.source_addr()));
    assert_eq!(segment.key.service.ip, IpAddr::V4(ip.destination_addr()));
    assert_eq!(segment.key.client.port, tcp.source_port());
    assert_eq!(segment.key.service.port, tcp.destination_port());
    assert_eq!(segment.seq, tcp.sequence_number());
    assert_eq!(segment.ack, tcp.acknowledgment_number());
    assert_eq!(segment.window, tcp.window_size());
    assert_eq!(segment.ttl, ip.ttl());
    assert_eq!(segment.flags.0, tcp.slice()[13]);
    assert_eq!(segment.headers_len(), ip.slice().len() + tcp.slice().len());
    let payload_len = usize::from(ip.total_len()).checked_sub(segment.headers_len());
    if let Some(payload_len) = payload_len {
        assert_eq!(segment.payload_len as usize, payload_len);
    }
    let look = ipv4_destination(ip.slice());
    assert_eq!(look, Some((ip.destination_addr(), 6, false)));
}

/// Checks the timestamps against what `etherparse` finds before it meets with something odd.
fn check_options(options: &[u8], tcp: &TcpHeaderSlice<'_>) {
    use etherparse::TcpOptionElement::Timestamp;

    assert_eq!(options, tcp.options());
    let theirs = tcp.options_iterator().map_while(Result::ok);
    let stamp = theirs.into_iter().find_map(|element| match element {
        Timestamp(value, echo) => Some((value, echo)),
        _ => None,
    });
    if stamp.is_some() {
        assert_eq!(timestamps(options), stamp);
    }
}

fn check_rewriting(packet: &[u8], segment: &Segment, new: (Ipv4Addr, u16)) {
    let total = segment.headers_len() + segment.payload_len as usize;
    let ip_len = usize::from(segment.ip_header_len);
    let mut sound = packet[..total].to_vec();
    let check = ip_check(&sound);
    sound[10..12].copy_from_slice(&check.to_be_bytes());
    let check = tcp_check(&sound);
    sound[ip_len + 16..][..2].copy_from_slice(&check.to_be_bytes());

    let rewrite = |rewritten: &mut [u8], source: bool| {
        if source {
            rewrite_source_ipv4(rewritten, ip_len, new, false)
        } else {
            rewrite_destination_ipv4(rewritten, ip_len, new, false)
        }
    };
    for source in [true, false] {
        let mut rewritten = sound.clone();
        assert_eq!(rewrite(&mut rewritten, source), Some(()));
        let (address, port) = if source { (12, 0) } else { (16, 2) };
        let mut expected = sound.clone();
        expected[address..][..4].copy_from_slice(&new.0.octets());
        expected[ip_len + port..][..2].copy_from_slice(&new.1.to_be_bytes());
        // Both zeros are right in a checksum.
        assert!(same(&rewritten[10..12], ip_check(&expected)));
        assert!(same(&rewritten[ip_len + 16..][..2], tcp_check(&expected)));
        for packet in [&mut rewritten, &mut expected] {
            packet[10..12].fill(0);
            packet[ip_len + 16..][..2].fill(0);
        }
        assert_eq!(rewritten, expected);
    }

    let mut older = sound.clone();
    match decrement_ttl(&mut older) {
        Some(()) => {
            assert_eq!(older[8], sound[8] - 1);
            assert!(same(&older[10..12], ip_check(&older)));
        }
        None => {
            assert!(sound[8] <= 1);
            assert_eq!(older, sound);
        }
    }
}

fn same(field: &[u8], check: u16) -> bool {
    let field = u16::from_be_bytes([field[0], field[1]]);
    field == check || (field ^ check == 0xffff && matches!(check, 0 | 0xffff))
}

/// The checksum that `etherparse` wants in the IP header.
fn ip_check(packet: &[u8]) -> u16 {
    let ip = Ipv4HeaderSlice::from_slice(packet).unwrap();
    ip.to_header().calc_header_checksum()
}

/// The checksum that `etherparse` wants in the TCP header.
fn tcp_check(packet: &[u8]) -> u16 {
    let ip = Ipv4HeaderSlice::from_slice(packet).unwrap();
    let (tcp, payload) = {
        let rest = &packet[ip.slice().len()..];
        let tcp = TcpHeaderSlice::from_slice(rest).unwrap();
        let payload = &rest[tcp.slice().len()..];
        (tcp, payload)
    };
    tcp.calc_checksum_ipv4(&ip, payload).unwrap()
}
