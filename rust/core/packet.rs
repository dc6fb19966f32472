// SPDX-License-Identifier: GPL-2.0

//! IPv4 (RFC 791) and TCP (RFC 9293) headers: reading, rewriting, writing.
//!
//! Lengths are octets; ports, sequence numbers and windows are in host byte order. A packet begins
//! at its IP header. Its octets may be only the linear head of an skb: what is missing is asked
//! for. Nothing here verifies a checksum; whoever rewrites keeps a wrong one wrong (RFC 1624).
//!
//! A TCP checksum field may be in the form of `CHECKSUM_PARTIAL` (include/linux/skbuff.h): the
//! folded, not complemented sum of the pseudo-header, which the sending device completes.

mod options;
mod rewrite;
#[cfg(test)]
mod tests;
mod write;

use crate::{
    addr::{
        Endpoint,
        FlowKey, //
    },
    checksum::Sum,
};
use core::{
    fmt,
    net::{
        IpAddr,
        Ipv4Addr, //
    },
    ops::BitOr,
};

pub use options::{
    ip_options_may_pass,
    only_timestamps,
    tcp_options,
    timestamps,
    BadLength,
    MAXIMUM_SEGMENT_SIZE,
    SACK_PERMITTED,
    TIMESTAMP,
    WINDOW_SCALE, //
};
pub use rewrite::{
    decrement_ttl,
    rewrite_destination_ipv4,
    rewrite_source_ipv4, //
};
pub use write::{
    Ipv4Tcp,
    TcpChecksum,
    MAX_WRITTEN, //
};

/// Protocol number of TCP.
pub const TCP: u8 = 6;

/// Length of an IPv4 header without options.
pub const IPV4_HEADER: usize = 20;

/// Length of a TCP header without options.
pub const TCP_HEADER: usize = 20;

/// More fragments follow (in the word of flags and offset).
const MORE_FRAGMENTS: u16 = 0x2000;

/// The fragment's offset.
const FRAGMENT_OFFSET: u16 = 0x1fff;

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
