// SPDX-License-Identifier: GPL-2.0

//! IPv4 (RFC 791) and TCP (RFC 9293) headers: reading, rewriting, writing.
//!
//! Lengths are octets; ports, sequence numbers and windows are in host byte order. A packet begins
//! at its IP header. Its octets may be only the linear head of an skb: what is missing is asked
//! for. Nothing here verifies a checksum; whoever rewrites keeps a wrong one wrong (RFC 1624).
//!
//! A TCP checksum field may be in the form of `CHECKSUM_PARTIAL` (include/linux/skbuff.h): the
//! folded, not complemented sum of the pseudo-header, which the sending device completes.

use crate::{
    addr::{
        Endpoint,
        FlowKey, //
    },
    checksum::{
        checksum,
        update16,
        update32,
        Sum, //
    },
};
use core::{
    fmt,
    net::{
        IpAddr,
        Ipv4Addr, //
    },
    ops::BitOr,
};

/// Protocol number of TCP.
pub const TCP: u8 = 6;

/// Length of an IPv4 header without options.
pub const IPV4_HEADER: usize = 20;

/// Length of a TCP header without options.
pub const TCP_HEADER: usize = 20;

/// Length of the timestamp option with its padding (RFC 7323, appendix A).
const TIMESTAMP_OPTION: usize = 12;

/// The largest head that [`Ipv4Tcp::write`] writes.
pub const MAX_WRITTEN: usize = IPV4_HEADER + TCP_HEADER + TIMESTAMP_OPTION;

/// More fragments follow (in the word of flags and offset).
const MORE_FRAGMENTS: u16 = 0x2000;

/// Do not fragment.
const DONT_FRAGMENT: u16 = 0x4000;

/// The fragment's offset.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Time to live of packets made here.
const TTL: u8 = 64;

/// The control bits of a TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// The sender has nothing more to send.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// Congestion was experienced (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// The congestion window was reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all of `other` is set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a TCP segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The connection, if a client sent this: the source is the client, the destination the
    /// service.
    pub key: FlowKey,
    /// The control bits.
    pub flags: Flags,
    /// The sequence number.
    pub seq: u32,
    /// The acknowledgement number, which counts only with [`Flags::ACK`].
    pub ack: u32,
    /// The window as it stands in the header, not scaled.
    pub window: u16,
    /// Length of the IP header.
    pub ip_header_len: u8,
    /// Length of the TCP header.
    pub tcp_header_len: u8,
    /// Length of the payload. Padding of the link does not count.
    pub payload_len: u32,
    /// The time to live.
    pub ttl: u8,
}

impl Segment {
    /// Where the payload begins in the packet.
    #[inline]
    pub const fn headers_len(&self) -> usize {
        // Each is at most 60.
        (self.ip_header_len as usize).wrapping_add(self.tcp_header_len as usize)
    }

    /// The TCP options, found in the octets that this segment was read from.
    #[inline]
    pub fn options<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        packet
            .get(usize::from(self.ip_header_len)..self.headers_len())?
            .get(TCP_HEADER..)
    }

    /// The reset that answers this segment where nothing is known of its connection (RFC 9293, section
    /// 3.10.7.1). Nothing answers a reset.
    pub fn reset(&self) -> Option<Ipv4Tcp> {
        if self.flags.contains(Flags::RST) {
            return None;
        }
        let (seq, ack, flags) = if self.flags.contains(Flags::ACK) {
            (self.ack, 0, Flags::RST)
        } else {
            // SYN and FIN take a number each.
            let takes = |flag| u32::from(self.flags.contains(flag));
            let end = self
                .seq
                .wrapping_add(self.payload_len)
                .wrapping_add(takes(Flags::SYN))
                .wrapping_add(takes(Flags::FIN));
            (0, end, Flags::RST | Flags::ACK)
        };
        Some(Ipv4Tcp {
            source: self.key.service,
            destination: self.key.client,
            seq,
            ack,
            flags,
            window: 0,
            timestamps: None,
            payload_len: 0,
            checksum: TcpChecksum::Complete(Sum::new()),
        })
    }
}

/// Why a packet is not a TCP segment over IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSegment {
    /// The packet is not of IPv4.
    NotIpv4,
    /// Another protocol.
    NotTcp,
    /// A fragment of a TCP segment.
    Fragment,
    /// The linear head is too short.
    Truncated {
        /// It must have so many octets. The packet has them.
        need: u32,
    },
    /// The lengths contradict each other.
    Malformed,
}

impl fmt::Display for NotSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotIpv4 => f.write_str("not IPv4"),
            Self::NotTcp => f.write_str("not TCP"),
            Self::Fragment => f.write_str("fragment"),
            Self::Truncated { need } => write!(f, "first {need} octets needed"),
            Self::Malformed => f.write_str("malformed"),
        }
    }
}

/// The fields of an IPv4 header that matter here. Their place is known to be in the header: the
/// compiler checks constant indices into an array.
struct Ipv4 {
    version: u8,
    header_len: u8,
    total_len: u16,
    fragment: bool,
    ttl: u8,
    protocol: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
}

#[inline]
fn read_ipv4(h: &[u8; IPV4_HEADER]) -> Ipv4 {
    Ipv4 {
        version: h[0] >> 4,
        header_len: (h[0] & 0x0f) << 2,
        total_len: u16::from_be_bytes([h[2], h[3]]),
        fragment: u16::from_be_bytes([h[6], h[7]]) & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0,
        ttl: h[8],
        protocol: h[9],
        source: Ipv4Addr::new(h[12], h[13], h[14], h[15]),
        destination: Ipv4Addr::new(h[16], h[17], h[18], h[19]),
    }
}

/// The destination, the protocol, and whether this is a fragment: enough to let most packets go
/// their way.
#[inline]
pub fn ipv4_destination(packet: &[u8]) -> Option<(Ipv4Addr, u8, bool)> {
    let ip = read_ipv4(packet.first_chunk()?);
    (ip.version == 4).then_some((ip.destination, ip.protocol, ip.fragment))
}

/// The error for a head that has no more than the packet's `len` octets, where `need` are needed.
#[inline]
fn too_short(need: u32, len: u32) -> NotSegment {
    if need <= len {
        NotSegment::Truncated { need }
    } else {
        NotSegment::Malformed
    }
}

/// Reads a TCP segment over IPv4.
///
/// `packet` is the linear head of the packet, `packet_len` the length of all of it, which may
/// include padding of the link. A total length of zero, in a packet longer than 65,535 octets,
/// stands for the whole packet: so does Linux write it in large GRO packets (`iph_totlen()`).
#[inline]
pub fn parse_ipv4(packet: &[u8], packet_len: u32) -> Result<Segment, NotSegment> {
    let linear = usize::try_from(packet_len)
        .ok()
        .and_then(|len| packet.get(..len))
        .unwrap_or(packet);
    if linear.first().is_some_and(|first| first >> 4 != 4) {
        return Err(NotSegment::NotIpv4);
    }
    let Some(head) = linear.first_chunk() else {
        return Err(too_short(20, packet_len));
    };
    let ip = read_ipv4(head);
    if ip.protocol != TCP {
        return Err(NotSegment::NotTcp);
    }
    let ip_len = u32::from(ip.header_len);
    let total = match u32::from(ip.total_len) {
        0 if packet_len > u32::from(u16::MAX) => packet_len,
        len => len,
    };
    if ip_len < 20 || total < ip_len || total > packet_len {
        return Err(NotSegment::Malformed);
    }
    if ip.fragment {
        return Err(NotSegment::Fragment);
    }

    // Both lengths of headers are at most 60, so these sums cannot overflow.
    let Some(h) = linear
        .get(usize::from(ip.header_len)..)
        .and_then(|tcp| tcp.first_chunk::<TCP_HEADER>())
    else {
        return Err(too_short(ip_len.wrapping_add(20), total));
    };
    let tcp_header_len = (h[12] >> 4) << 2;
    if tcp_header_len < 20 {
        return Err(NotSegment::Malformed);
    }
    let headers = ip_len.wrapping_add(u32::from(tcp_header_len));
    let payload_len = total.checked_sub(headers).ok_or(NotSegment::Malformed)?;
    if linear.len() < headers as usize {
        return Err(NotSegment::Truncated { need: headers });
    }

    Ok(Segment {
        key: FlowKey {
            client: Endpoint::new(IpAddr::V4(ip.source), u16::from_be_bytes([h[0], h[1]])),
            service: Endpoint::new(IpAddr::V4(ip.destination), u16::from_be_bytes([h[2], h[3]])),
        },
        flags: Flags(h[13]),
        seq: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
        ack: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
        window: u16::from_be_bytes([h[14], h[15]]),
        ip_header_len: ip.header_len,
        tcp_header_len,
        payload_len,
        ttl: ip.ttl,
    })
}

/// The kind of a TCP option: maximum segment size (RFC 9293, section 3.2).
pub const MAXIMUM_SEGMENT_SIZE: u8 = 2;
/// Window scale (RFC 7323, section 2.2).
pub const WINDOW_SCALE: u8 = 3;
/// Selective acknowledgements permitted (RFC 2018, section 2).
pub const SACK_PERMITTED: u8 = 4;
/// Time stamps (RFC 7323, section 3.2).
pub const TIMESTAMP: u8 = 8;

/// The length of a TCP option cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength;

/// TCP options (RFC 9293, section 3.1): the kind and the data of each, without those that only fill.
///
/// Options are read as `tcp_parse_options()` in net/ipv4/tcp_input.c does: a length that cannot be ends the list.
#[inline]
pub fn tcp_options(octets: &[u8]) -> impl Iterator<Item = Result<(u8, &[u8]), BadLength>> {
    const END: u8 = 0;
    const NOTHING: u8 = 1;

    let mut rest = octets;
    core::iter::from_fn(move || loop {
        let (&kind, after) = rest.split_first()?;
        match kind {
            END => return None,
            NOTHING => rest = after,
            _ => {
                // The length counts the octets of kind and length too.
                let split = after.split_first().and_then(|(&len, after)| {
                    after.split_at_checked(usize::from(len).checked_sub(2)?)
                });
                let (data, after) = split.unzip();
                rest = after.unwrap_or(&[]);
                return Some(data.map(|data| (kind, data)).ok_or(BadLength));
            }
        }
    })
}

/// The timestamps in TCP options: TSval and TSecr. The first counts.
pub fn timestamps(options: &[u8]) -> Option<(u32, u32)> {
    for option in tcp_options(options) {
        if let (TIMESTAMP, &[v3, v2, v1, v0, e3, e2, e1, e0]) = option.ok()? {
            return Some((
                u32::from_be_bytes([v3, v2, v1, v0]),
                u32::from_be_bytes([e3, e2, e1, e0]),
            ));
        }
    }
    None
}

/// The same, if there is no other option.
pub fn only_timestamps(options: &[u8]) -> Option<(u32, u32)> {
    let mut all = tcp_options(options);
    let only = all.next().is_some() && all.next().is_none();
    only.then(|| timestamps(options)).flatten()
}

/// Which end of a segment is rewritten.
#[derive(Clone, Copy)]
enum End {
    Source,
    Destination,
}

/// Puts another destination into a TCP segment and updates both checksums (RFC 1624).
///
/// `packet` has both headers without options at least, `ip_header_len` is what [`parse_ipv4`] said.
/// With `partial`, the TCP checksum field is in the form of `CHECKSUM_PARTIAL`. Returns `None`, and
/// changes nothing, if the headers are not there.
#[inline]
pub fn rewrite_destination_ipv4(
    packet: &mut [u8],
    ip_header_len: usize,
    new: (Ipv4Addr, u16),
    partial: bool,
) -> Option<()> {
    rewrite(packet, ip_header_len, End::Destination, new, partial)
}

/// Puts another source into a TCP segment, as [`rewrite_destination_ipv4`] does for the
/// destination.
#[inline]
pub fn rewrite_source_ipv4(
    packet: &mut [u8],
    ip_header_len: usize,
    new: (Ipv4Addr, u16),
    partial: bool,
) -> Option<()> {
    rewrite(packet, ip_header_len, End::Source, new, partial)
}

#[inline]
fn rewrite(
    packet: &mut [u8],
    ip_header_len: usize,
    end: End,
    (new_ip, new_port): (Ipv4Addr, u16),
    partial: bool,
) -> Option<()> {
    let (ip, tcp) = packet.split_at_mut_checked(ip_header_len)?;
    let ip = ip.first_chunk_mut::<IPV4_HEADER>()?;
    let tcp = tcp.first_chunk_mut::<TCP_HEADER>()?;

    let [.., c1, c0, s3, s2, s1, s0, d3, d2, d1, d0] = ip;
    let [sp1, sp0, dp1, dp0, _, _, _, _, _, _, _, _, _, _, _, _, t1, t0, _, _] = tcp;
    let (address, port) = match end {
        End::Source => ([s3, s2, s1, s0], [sp1, sp0]),
        End::Destination => ([d3, d2, d1, d0], [dp1, dp0]),
    };

    let old_ip = u32::from_be_bytes(address.each_ref().map(|octet| **octet));
    let old_port = u16::from_be_bytes(port.each_ref().map(|octet| **octet));
    let ip_check = u16::from_be_bytes([*c1, *c0]);
    let tcp_check = u16::from_be_bytes([*t1, *t0]);

    let ip_check = update32(ip_check, old_ip, new_ip.to_bits());
    let tcp_check = if partial {
        // A sum instead of its complement, and the ports are not in it.
        !update32(!tcp_check, old_ip, new_ip.to_bits())
    } else {
        update16(
            update32(tcp_check, old_ip, new_ip.to_bits()),
            old_port,
            new_port,
        )
    };

    store(address, new_ip.octets());
    store(port, new_port.to_be_bytes());
    store([c1, c0], ip_check.to_be_bytes());
    store([t1, t0], tcp_check.to_be_bytes());
    Some(())
}

/// Writes a field whose octets lie in these places.
#[inline]
fn store<const N: usize>(places: [&mut u8; N], field: [u8; N]) {
    for (place, octet) in places.into_iter().zip(field) {
        *place = octet;
    }
}

/// Takes one from the time to live and updates the IP checksum.
///
/// Returns `None`, and changes nothing, if the packet has lived long enough: nothing would be left.
#[inline]
pub fn decrement_ttl(packet: &mut [u8]) -> Option<()> {
    let h = packet.first_chunk_mut::<IPV4_HEADER>()?;
    let ttl = h[8].checked_sub(1).filter(|&ttl| ttl != 0)?;
    let check = update16(
        u16::from_be_bytes([h[10], h[11]]),
        u16::from_be_bytes([h[8], h[9]]),
        u16::from_be_bytes([ttl, h[9]]),
    );
    h[8] = ttl;
    [h[10], h[11]] = check.to_be_bytes();
    Some(())
}

/// How the TCP checksum of a new segment is made.
#[derive(Clone, Copy, Debug)]
pub enum TcpChecksum {
    /// In the form of `CHECKSUM_PARTIAL`: somebody completes it later.
    Partial,
    /// Complete, with this sum over the payload.
    Complete(Sum),
}

/// A TCP segment over IPv4, to be written.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Tcp {
    /// The sender.
    pub source: Endpoint,
    /// The receiver.
    pub destination: Endpoint,
    /// The sequence number of the payload's first octet.
    pub seq: u32,
    /// The acknowledgement number.
    pub ack: u32,
    /// The control bits.
    pub flags: Flags,
    /// The window as it stands in the header, scaled down.
    pub window: u16,
    /// TSval and TSecr, if there is to be a timestamp option.
    pub timestamps: Option<(u32, u32)>,
    /// Length of the payload.
    pub payload_len: usize,
    /// How to make the TCP checksum.
    pub checksum: TcpChecksum,
}

impl Ipv4Tcp {
    /// Length of both headers: 40 octets, or 52 with timestamps.
    #[inline]
    pub const fn headers_len(&self) -> usize {
        if self.timestamps.is_some() {
            MAX_WRITTEN
        } else {
            IPV4_HEADER + TCP_HEADER
        }
    }

    /// Writes both headers to the front of `out` and returns their length.
    ///
    /// Returns `None`, and writes nothing, if `out` is too short, an endpoint is not of IPv4, or
    /// the packet would be longer than IPv4 can say.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (self.source.ip, self.destination.ip)
        else {
            return None;
        };
        let headers_len = self.headers_len();
        let total_len = u16::try_from(self.payload_len.checked_add(headers_len)?).ok()?;
        let tcp_header_len = headers_len.checked_sub(IPV4_HEADER)?;
        let out = out.get_mut(..headers_len)?;
        let (ip, tcp) = out.split_first_chunk_mut::<IPV4_HEADER>()?;
        let (tcp, options) = tcp.split_first_chunk_mut::<TCP_HEADER>()?;

        *ip = [0; IPV4_HEADER];
        ip[0] = 0x45;
        [ip[2], ip[3]] = total_len.to_be_bytes();
        [ip[6], ip[7]] = DONT_FRAGMENT.to_be_bytes();
        ip[8] = TTL;
        ip[9] = TCP;
        [ip[12], ip[13], ip[14], ip[15]] = source.octets();
        [ip[16], ip[17], ip[18], ip[19]] = destination.octets();
        [ip[10], ip[11]] = checksum(ip).to_be_bytes();

        *tcp = [0; TCP_HEADER];
        [tcp[0], tcp[1]] = self.source.port.to_be_bytes();
        [tcp[2], tcp[3]] = self.destination.port.to_be_bytes();
        [tcp[4], tcp[5], tcp[6], tcp[7]] = self.seq.to_be_bytes();
        [tcp[8], tcp[9], tcp[10], tcp[11]] = self.ack.to_be_bytes();
        // The header's length in words of four octets: 5 or 8.
        tcp[12] = if self.timestamps.is_some() {
            0x80
        } else {
            0x50
        };
        tcp[13] = self.flags.0;
        [tcp[14], tcp[15]] = self.window.to_be_bytes();

        if let Some((value, echo)) = self.timestamps {
            let options = options.first_chunk_mut::<TIMESTAMP_OPTION>()?;
            let [v3, v2, v1, v0] = value.to_be_bytes();
            let [e3, e2, e1, e0] = echo.to_be_bytes();
            *options = [1, 1, 8, 10, v3, v2, v1, v0, e3, e2, e1, e0];
        }

        let tcp_len = self.payload_len.checked_add(tcp_header_len)?;
        let mut sum = Sum::pseudo(
            self.source.ip,
            self.destination.ip,
            TCP,
            u32::try_from(tcp_len).ok()?,
        );
        let check = match self.checksum {
            TcpChecksum::Partial => sum.fold(),
            TcpChecksum::Complete(payload) => {
                sum.add(tcp);
                sum.add(options);
                sum.append(payload);
                sum.finish()
            }
        };
        [tcp[16], tcp[17]] = check.to_be_bytes();
        Some(headers_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
