// SPDX-License-Identifier: GPL-2.0

//! Unit tests of reading, rewriting and writing headers.

use super::*;
use crate::checksum::checksum;

const CLIENT: Endpoint = Endpoint::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 40_000);
const SERVICE: Endpoint = Endpoint::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 80);

fn sample(checksum: TcpChecksum) -> ([u8; MAX_WRITTEN], Ipv4Tcp) {
    let segment = Ipv4Tcp {
        source: CLIENT,
        destination: SERVICE,
        seq: 0x0102_0304,
        ack: 0xfffe_fdfc,
        flags: Flags::ACK | Flags::PSH,
        window: 0x7210,
        timestamps: Some((0xa1a2_a3a4, 0xb1b2_b3b4)),
        payload_len: 0,
        checksum,
    };
    let mut out = [0; MAX_WRITTEN];
    assert_eq!(segment.write(&mut out), Some(MAX_WRITTEN));
    (out, segment)
}

fn tcp_sum(packet: &[u8]) -> u16 {
    let mut sum = Sum::pseudo(CLIENT.ip, SERVICE.ip, TCP, packet.len() as u32 - 20);
    sum.add(&packet[20..]);
    sum.fold()
}

#[test]
fn what_is_written_is_read() {
    let (packet, wrote) = sample(TcpChecksum::Complete(Sum::new()));
    let read = parse_ipv4(&packet, 52).unwrap();
    assert_eq!(read.key.client, CLIENT);
    assert_eq!(read.key.service, SERVICE);
    assert_eq!(
        (read.seq, read.ack, read.flags, read.window),
        (wrote.seq, wrote.ack, wrote.flags, wrote.window)
    );
    assert_eq!((read.ip_header_len, read.tcp_header_len), (20, 32));
    assert_eq!((read.payload_len, read.ttl), (0, 64));
    assert_eq!(timestamps(read.options(&packet).unwrap()), wrote.timestamps);
    assert_eq!(crate::checksum::checksum(&packet[..20]), 0);
    assert_eq!(tcp_sum(&packet), 0xffff);
    assert_eq!(
        ipv4_destination(&packet),
        Some((Ipv4Addr::new(198, 51, 100, 1), TCP, false))
    );
}

#[test]
fn a_partial_checksum_is_the_sum_of_the_pseudo_header() {
    let (packet, _) = sample(TcpChecksum::Partial);
    let pseudo = Sum::pseudo(CLIENT.ip, SERVICE.ip, TCP, 32).fold();
    assert_eq!(packet[36..38], pseudo.to_be_bytes());
}

/// The table of RFC 9293, section 3.10.7.1, across the edge of the numbers.
#[test]
fn a_reset_is_what_the_peer_believes() {
    let (packet, _) = sample(TcpChecksum::Partial);
    let segment = Segment {
        seq: u32::MAX,
        payload_len: 3,
        ..parse_ipv4(&packet, 52).unwrap()
    };
    let reset = |flags: Flags| {
        let reset = Segment { flags, ..segment }.reset()?;
        let mut octets = [0; MAX_WRITTEN];
        assert_eq!(reset.write(&mut octets), Some(40));
        assert_eq!(tcp_sum(&octets[..40]), 0xffff);
        let read = parse_ipv4(&octets, 40).unwrap();
        assert_eq!((read.key.client, read.key.service), (SERVICE, CLIENT));
        Some((read.seq, read.ack, read.flags))
    };
    let acknowledged = Some((0xfffe_fdfc, 0, Flags::RST));
    assert_eq!(reset(Flags::ACK), acknowledged);
    assert_eq!(reset(Flags::ACK | Flags::FIN), acknowledged);
    assert_eq!(reset(Flags::ACK | Flags::SYN), acknowledged);
    let answer = |ack| Some((0, ack, Flags::RST | Flags::ACK));
    assert_eq!(reset(Flags(0)), answer(2));
    assert_eq!(reset(Flags::SYN), answer(3));
    assert_eq!(reset(Flags::FIN), answer(3));
    assert_eq!(reset(Flags::RST), None);
    assert_eq!(reset(Flags::RST | Flags::ACK), None);
}

#[test]
fn a_short_head_is_asked_for_twice() {
    let (packet, _) = sample(TcpChecksum::Partial);
    let need = |len: usize| match parse_ipv4(&packet[..len], 52) {
        Err(NotSegment::Truncated { need }) => need,
        other => panic!("{other:?}"),
    };
    assert_eq!(need(0), 20);
    assert_eq!(need(19), 20);
    assert_eq!(need(20), 40);
    assert_eq!(need(39), 40);
    assert_eq!(need(40), 52);
    assert_eq!(need(51), 52);
}

#[test]
fn padding_of_the_link_is_no_payload() {
    let (packet, _) = sample(TcpChecksum::Partial);
    let mut padded = [0; 60];
    padded[..52].copy_from_slice(&packet);
    assert_eq!(parse_ipv4(&padded, 60).unwrap().payload_len, 0);
    assert_eq!(parse_ipv4(&padded, 51), Err(NotSegment::Malformed));
}

#[test]
fn a_large_gro_packet_may_have_no_length() {
    let (mut packet, _) = sample(TcpChecksum::Partial);
    [packet[2], packet[3]] = [0, 0];
    assert_eq!(parse_ipv4(&packet, 52), Err(NotSegment::Malformed));
    assert_eq!(parse_ipv4(&packet, 65_535), Err(NotSegment::Malformed));
    assert_eq!(parse_ipv4(&packet, 180_052).unwrap().payload_len, 180_000);
}

#[test]
fn other_packets_are_told_apart() {
    let (sample, _) = sample(TcpChecksum::Partial);
    let with = |at: usize, octet: u8| {
        let mut packet = sample;
        packet[at] = octet;
        parse_ipv4(&packet, 52).map(|_| ())
    };
    assert_eq!(with(0, 0x65), Err(NotSegment::NotIpv4));
    assert_eq!(with(0, 0x44), Err(NotSegment::Malformed));
    assert_eq!(with(3, 53), Err(NotSegment::Malformed));
    assert_eq!(with(3, 39), Err(NotSegment::Malformed));
    assert_eq!(with(3, 51), Err(NotSegment::Malformed));
    assert_eq!(with(6, 0x20), Err(NotSegment::Fragment));
    assert_eq!(with(6, 0x01), Err(NotSegment::Fragment));
    assert_eq!(with(7, 0x01), Err(NotSegment::Fragment));
    assert_eq!(with(6, 0xc0), Ok(()));
    assert_eq!(with(9, 17), Err(NotSegment::NotTcp));
    assert_eq!(with(32, 0x40), Err(NotSegment::Malformed));
    assert_eq!(with(32, 0x90), Err(NotSegment::Malformed));
}

#[test]
fn the_ttl_never_becomes_zero() {
    let (mut packet, _) = sample(TcpChecksum::Partial);
    for ttl in (1..64).rev() {
        assert_eq!(decrement_ttl(&mut packet), Some(()));
        assert_eq!(packet[8], ttl);
        assert_eq!(checksum(&packet[..20]), 0);
    }
    assert_eq!(decrement_ttl(&mut packet), None);
    assert_eq!(packet[8], 1);
    packet[8] = 0;
    assert_eq!(decrement_ttl(&mut packet), None);
    assert_eq!(decrement_ttl(&mut packet[..19]), None);
}

#[test]
fn broken_options_have_no_timestamps() {
    let good = [8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    assert_eq!(timestamps(&good), Some((1, 2)));
    assert_eq!(timestamps(&good[..9]), None);
    assert_eq!(timestamps(&[8]), None);
    assert_eq!(timestamps(&[]), None);
    // End of the list, then a timestamp.
    assert_eq!(timestamps(&[0, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]), None);
    // Options without a length, and of length 1.
    assert_eq!(timestamps(&[2, 0, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]), None);
    assert_eq!(timestamps(&[2, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]), None);
    // MSS, a timestamp of a wrong length, the real one.
    assert_eq!(
        timestamps(&[2, 4, 5, 180, 8, 3, 9, 1, 8, 10, 0, 0, 0, 3, 0, 0, 0, 4]),
        Some((3, 4))
    );
}

#[test]
fn timestamps_are_alone_or_not() {
    let good = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    assert_eq!(only_timestamps(&good), Some((1, 2)));
    let with = |more: &[u8]| {
        let mut options = std::vec::Vec::from(good);
        options.extend(more);
        only_timestamps(&options)
    };
    // What only fills, and what follows the end, is nothing.
    assert_eq!(with(&[1, 1, 0, 2]), Some((1, 2)));
    assert_eq!(with(&[4, 2]), None);
    assert_eq!(with(&[2]), None);
    assert_eq!(with(&good), None);
    assert_eq!(only_timestamps(&[4, 2]), None);
    assert_eq!(only_timestamps(&[]), None);
}

#[test]
fn what_cannot_be_written_leaves_no_trace() {
    let (_, segment) = sample(TcpChecksum::Partial);
    let mut out = [0xee; MAX_WRITTEN];
    assert_eq!(segment.write(&mut out[..51]), None);
    for payload_len in [65_484, usize::MAX] {
        let long = Ipv4Tcp {
            payload_len,
            ..segment
        };
        assert_eq!(long.write(&mut out), None);
    }
    let v6 = Ipv4Tcp {
        source: Endpoint::new(IpAddr::V6(core::net::Ipv6Addr::LOCALHOST), 1),
        ..segment
    };
    assert_eq!(v6.write(&mut out), None);
    assert_eq!(out, [0xee; MAX_WRITTEN]);
    let longest = Ipv4Tcp {
        payload_len: 65_483,
        ..segment
    };
    assert_eq!(longest.write(&mut out), Some(52));
    assert_eq!(out[2..4], [0xff, 0xff]);
}

#[test]
fn ip_options_that_ask_something_of_routers_are_found() {
    let passes = |octets: &[u8]| ip_options_may_pass(octets);
    assert!(passes(&[]));
    assert!(passes(&[1, 1, 1, 0]));
    // Labels, and what follows the end of the list.
    assert!(passes(&[134, 6, 0, 0, 0, 1, 0, 0]));
    assert!(passes(&[1, 130, 3, 0xab]));
    assert!(passes(&[0, 131, 3, 4]));
    // Record route and time stamps.
    assert!(passes(&[7, 7, 4, 0, 0, 0, 0, 0]));
    assert!(passes(&[1, 68, 8, 5, 0, 0, 0, 0, 0]));
    // Loose and strict source route, router alert, and one that nobody knows.
    for kind in [131, 137, 148, 30] {
        assert!(!passes(&[kind, 4, 4, 0]), "{kind}");
        assert!(
            !passes(&[1, 134, 3, 0, kind, 3, 4, 0]),
            "{kind} after others"
        );
    }
    // No list of options.
    for broken in [[134, 0, 0, 0], [134, 1, 0, 0], [134, 5, 0, 0]] {
        assert!(!passes(&broken), "{broken:?}");
    }
    assert!(!passes(&[1, 1, 1, 134]));
}
