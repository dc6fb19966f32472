// SPDX-License-Identifier: GPL-2.0

//! Headers against a slow reader of their own, and rewriting against full computation.

use core::net::{IpAddr, Ipv4Addr};
use proptest::{collection::vec, prelude::*};
use thop_core::{
    addr::Endpoint,
    checksum::{checksum, Sum},
    packet::{
        decrement_ttl, ipv4_destination, parse_ipv4, rewrite_destination_ipv4, rewrite_source_ipv4,
        timestamps, Flags, Ipv4Tcp, NotSegment, TcpChecksum, MAX_WRITTEN,
    },
};

/// A field of `bits` bits, `at` bits into the packet.
fn field(packet: &[u8], at: usize, bits: usize) -> u64 {
    (at..at + bits).fold(0, |value, bit| {
        (value << 1) | u64::from((packet[bit / 8] >> (7 - bit % 8)) & 1)
    })
}

/// A packet with any addresses, ports, options and payload; its checksums are right.
#[derive(Clone, Debug)]
struct Packet {
    octets: Vec<u8>,
    ip_header_len: usize,
    tcp_header_len: usize,
}

impl Packet {
    /// The sum of the pseudo-header.
    fn pseudo(&self) -> Sum {
        let ip = |at: usize| {
            IpAddr::V4(Ipv4Addr::from(
                <[u8; 4]>::try_from(&self.octets[at..at + 4]).unwrap(),
            ))
        };
        let len = self.octets.len() - self.ip_header_len;
        Sum::pseudo(ip(12), ip(16), 6, len as u32)
    }

    /// Computes both checksums in full.
    fn complete(&mut self, partial: bool) {
        self.octets[10..12].fill(0);
        let check = checksum(&self.octets[..self.ip_header_len]);
        self.octets[10..12].copy_from_slice(&check.to_be_bytes());

        let at = self.ip_header_len + 16;
        self.octets[at..at + 2].fill(0);
        let mut sum = self.pseudo();
        let check = if partial {
            sum.fold()
        } else {
            sum.add(&self.octets[self.ip_header_len..]);
            sum.finish()
        };
        self.octets[at..at + 2].copy_from_slice(&check.to_be_bytes());
    }
}

prop_compose! {
    fn packet()(
        ip_words in 5usize..=15,
        tcp_words in 5usize..=15,
        payload in vec(any::<u8>(), 0..50),
        headers in vec(any::<u8>(), 120),
        partial: bool,
    ) -> (Packet, bool) {
        let ip_header_len = 4 * ip_words;
        let tcp_header_len = 4 * tcp_words;
        let mut octets = headers[..ip_header_len + tcp_header_len].to_vec();
        octets.extend(&payload);
        octets[0] = 0x40 | ip_words as u8;
        let total = octets.len() as u16;
        octets[2..4].copy_from_slice(&total.to_be_bytes());
        octets[6] &= 0xc0;
        octets[7] = 0;
        octets[9] = 6;
        octets[ip_header_len + 12] = (tcp_words as u8) << 4;
        let mut packet = Packet { octets, ip_header_len, tcp_header_len };
        packet.complete(partial);
        (packet, partial)
    }
}

/// Octets that come close to a packet: most fields that decide are likely to be good.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    (
        vec(any::<u8>(), 0..140),
        prop_oneof![4 => 0x45u8..=0x4f, 1 => any::<u8>()],
        prop_oneof![4 => 0u16..160, 1 => any::<u16>()],
        prop_oneof![4 => Just(0u8), 1 => any::<u8>()],
        prop_oneof![8 => Just(6u8), 1 => any::<u8>()],
        prop_oneof![4 => 5u8..=15, 1 => 0u8..5],
    )
        .prop_map(|(mut octets, first, total, fragment, protocol, doff)| {
            let total = total.to_be_bytes();
            let tcp = usize::from(first & 15) * 4;
            for (at, octet) in [
                (0, first),
                (2, total[0]),
                (3, total[1]),
                (6, fragment),
                (7, fragment),
                (9, protocol),
                (tcp + 12, doff << 4),
            ] {
                if let Some(place) = octets.get_mut(at) {
                    *place = octet;
                }
            }
            octets
        })
}

/// Whether `octets` of a packet of `len` octets are a segment, read bit by bit.
fn reference(octets: &[u8], len: u32) -> Result<(usize, usize, u32), NotSegment> {
    let len = len as usize;
    let octets = &octets[..octets.len().min(len)];
    let need = |n: usize, of: usize| -> Result<(), NotSegment> {
        if octets.len() >= n && of >= n {
            Ok(())
        } else if of >= n {
            Err(NotSegment::Truncated { need: n as u32 })
        } else {
            Err(NotSegment::Malformed)
        }
    };
    if !octets.is_empty() && field(octets, 0, 4) != 4 {
        return Err(NotSegment::NotIpv4);
    }
    need(20, len)?;
    if field(octets, 72, 8) != 6 {
        return Err(NotSegment::NotTcp);
    }
    let ip = 4 * field(octets, 4, 4) as usize;
    let mut total = field(octets, 16, 16) as usize;
    if total == 0 && len >= 65_536 {
        total = len;
    }
    if ip < 20 || total < ip || total > len {
        return Err(NotSegment::Malformed);
    }
    if field(octets, 50, 1) == 1 || field(octets, 51, 13) > 0 {
        return Err(NotSegment::Fragment);
    }
    need(ip + 20, total)?;
    let tcp = 4 * field(octets, 8 * (ip + 12), 4) as usize;
    if tcp < 20 {
        return Err(NotSegment::Malformed);
    }
    need(ip + tcp, total)?;
    Ok((ip, tcp, (total - ip - tcp) as u32))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn reading_agrees_with_the_reference(
        octets in nearly(),
        more in prop_oneof![3 => 0u32..100, 1 => 65_400u32..65_700, 1 => any::<u32>()],
        less in 0u32..20,
    ) {
        let len = (octets.len() as u32).saturating_add(more).saturating_sub(less);
        let read = parse_ipv4(&octets, len);
        prop_assert_eq!(
            read.map(|s| (
                usize::from(s.ip_header_len),
                usize::from(s.tcp_header_len),
                s.payload_len
            )),
            reference(&octets, len)
        );
        if let Ok(s) = read {
            let tcp = 8 * usize::from(s.ip_header_len);
            let address = |at| IpAddr::V4(Ipv4Addr::from_bits(field(&octets, at, 32) as u32));
            prop_assert_eq!(s.key.client.ip, address(96));
            prop_assert_eq!(s.key.service.ip, address(128));
            prop_assert_eq!(u64::from(s.key.client.port), field(&octets, tcp, 16));
            prop_assert_eq!(u64::from(s.key.service.port), field(&octets, tcp + 16, 16));
            prop_assert_eq!(u64::from(s.seq), field(&octets, tcp + 32, 32));
            prop_assert_eq!(u64::from(s.ack), field(&octets, tcp + 64, 32));
            prop_assert_eq!(u64::from(s.flags.0), field(&octets, tcp + 104, 8));
            prop_assert_eq!(u64::from(s.window), field(&octets, tcp + 112, 16));
            prop_assert_eq!(u64::from(s.ttl), field(&octets, 64, 8));
            let options = &octets[tcp / 8 + 20..s.headers_len()];
            prop_assert_eq!(s.options(&octets), Some(options));
        }
        // What says that it is too short is content when it gets what it asked for.
        if let Err(NotSegment::Truncated { need }) = read {
            prop_assert!(need <= len && need as usize > octets.len());
            let mut longer = octets.clone();
            longer.resize(need as usize, 0);
            let again = parse_ipv4(&longer, len);
            let progress = match again {
                Err(NotSegment::Truncated { need: more }) => more > need,
                _ => true,
            };
            prop_assert!(progress);
        }
    }

    #[test]
    fn nothing_panics(
        octets in vec(any::<u8>(), 0..140),
        len: u32,
        at in prop_oneof![0usize..160, any::<usize>()],
        partial: bool,
    ) {
        let _ = parse_ipv4(&octets, len);
        let _ = ipv4_destination(&octets);
        let _ = timestamps(&octets);
        let mut changed = octets.clone();
        let _ = decrement_ttl(&mut changed);
        let new = (Ipv4Addr::LOCALHOST, 80);
        let mut changed = octets.clone();
        if rewrite_destination_ipv4(&mut changed, at, new, partial).is_none() {
            prop_assert_eq!(&changed, &octets);
        }
        if rewrite_source_ipv4(&mut changed, at, new, partial).is_none() {
            prop_assert_eq!(&changed, &octets);
        }
    }

    #[test]
    fn the_cheap_look_agrees((packet, _) in packet(), fragment: [u8; 2]) {
        let mut octets = packet.octets;
        octets[6..8].copy_from_slice(&fragment);
        let (ip, protocol, is_fragment) = ipv4_destination(&octets).unwrap();
        match parse_ipv4(&octets, octets.len() as u32) {
            Ok(s) => prop_assert!(s.key.service.ip == ip && protocol == 6 && !is_fragment),
            Err(e) => prop_assert!(e == NotSegment::Fragment && is_fragment),
        }
    }

    #[test]
    fn rewriting_is_full_computation(
        (packet, partial) in packet(),
        ip: [u8; 4],
        port: u16,
        source: bool,
    ) {
        let at = packet.ip_header_len;
        let new = (Ipv4Addr::from(ip), port);
        let rewrite = if source { rewrite_source_ipv4 } else { rewrite_destination_ipv4 };
        let (ip_at, port_at) = if source { (12, at) } else { (16, at + 2) };

        // Both headers are enough.
        let mut head = packet.octets[..at + packet.tcp_header_len].to_vec();
        prop_assert_eq!(rewrite(&mut head, at, new, partial), Some(()));

        let mut expected = packet.clone();
        expected.octets[ip_at..ip_at + 4].copy_from_slice(&ip);
        expected.octets[port_at..port_at + 2].copy_from_slice(&port.to_be_bytes());
        expected.complete(partial);
        prop_assert_eq!(&head[..], &expected.octets[..head.len()]);

        // And back.
        let old_ip: [u8; 4] = packet.octets[ip_at..ip_at + 4].try_into().unwrap();
        let old_port = u16::from_be_bytes([packet.octets[port_at], packet.octets[port_at + 1]]);
        rewrite(&mut head, at, (Ipv4Addr::from(old_ip), old_port), partial).unwrap();
        prop_assert_eq!(&head[..], &packet.octets[..head.len()]);
    }

    #[test]
    fn a_wrong_checksum_stays_wrong((packet, _) in packet(), wrong: u16, ip: [u8; 4]) {
        let mut packet = packet;
        let at = packet.ip_header_len + 16;
        packet.octets[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
        let is_right = |packet: &Packet| {
            let mut sum = packet.pseudo();
            sum.add(&packet.octets[packet.ip_header_len..]);
            sum.fold() == 0xffff
        };
        let before = is_right(&packet);
        let new = (Ipv4Addr::from(ip), 8080);
        rewrite_destination_ipv4(&mut packet.octets, packet.ip_header_len, new, false).unwrap();
        prop_assert_eq!(is_right(&packet), before);
    }

    #[test]
    fn a_ttl_is_full_computation((packet, partial) in packet()) {
        let mut octets = packet.octets.clone();
        let ttl = octets[8];
        match decrement_ttl(&mut octets[..20]) {
            None => {
                prop_assert!(ttl < 2);
                prop_assert_eq!(octets, packet.octets);
            }
            Some(()) => {
                prop_assert!(ttl >= 2);
                let mut expected = packet;
                expected.octets[8] = ttl - 1;
                expected.complete(partial);
                prop_assert_eq!(octets, expected.octets);
            }
        }
    }

    #[test]
    fn what_is_written_is_right(
        source: ([u8; 4], u16),
        destination: ([u8; 4], u16),
        numbers: (u32, u32, u16, u8),
        stamps: Option<(u32, u32)>,
        payload in vec(any::<u8>(), 0..60),
        partial: bool,
    ) {
        let (seq, ack, window, flags) = numbers;
        let mut sum = Sum::new();
        sum.add(&payload);
        let segment = Ipv4Tcp {
            source: Endpoint::new(IpAddr::from(source.0), source.1),
            destination: Endpoint::new(IpAddr::from(destination.0), destination.1),
            seq,
            ack,
            flags: Flags(flags),
            window,
            timestamps: stamps,
            payload_len: payload.len(),
            checksum: if partial { TcpChecksum::Partial } else { TcpChecksum::Complete(sum) },
        };
        let mut out = [0xee; MAX_WRITTEN + 1];
        let len = segment.write(&mut out).unwrap();
        prop_assert_eq!(len, if stamps.is_some() { 52 } else { 40 });
        prop_assert!(out[len..].iter().all(|&octet| octet == 0xee));

        let mut packet = Packet {
            octets: [&out[..len], &payload[..]].concat(),
            ip_header_len: 20,
            tcp_header_len: len - 20,
        };
        let wrote = packet.octets.clone();
        packet.complete(partial);
        prop_assert_eq!(&packet.octets, &wrote);

        let read = parse_ipv4(&wrote, wrote.len() as u32).unwrap();
        prop_assert_eq!(read.key.client, segment.source);
        prop_assert_eq!(read.key.service, segment.destination);
        prop_assert_eq!(
            (read.seq, read.ack, read.window, read.flags.0, read.ttl),
            (seq, ack, window, flags, 64)
        );
        prop_assert_eq!(read.payload_len as usize, payload.len());
        prop_assert_eq!(timestamps(read.options(&wrote).unwrap()), stamps);
    }

    /// Options made of whole pieces, cut anywhere.
    #[test]
    fn timestamps_are_found_where_they_are(
        before in vec(
            prop_oneof![
                Just(vec![1u8]),
                (2u8..=7, vec(any::<u8>(), 0..6)).prop_map(|(kind, data)| {
                    [&[kind, data.len() as u8 + 2], &data[..]].concat()
                }),
            ],
            0..6,
        ),
        stamps: (u32, u32),
        cut in 0usize..60,
    ) {
        let mut options = before.concat();
        options.extend([8, 10]);
        options.extend(stamps.0.to_be_bytes());
        options.extend(stamps.1.to_be_bytes());
        let whole = options.len();
        options.extend([1, 1, 0]);
        prop_assert_eq!(timestamps(&options), Some(stamps));
        let cut = cut.min(options.len());
        let expected = (cut >= whole).then_some(stamps);
        prop_assert_eq!(timestamps(&options[..cut]), expected);
    }
}
