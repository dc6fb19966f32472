// SPDX-License-Identifier: GPL-2.0

//! Rewriting headers in place, with incremental checksums (RFC 1624).

use super::{
    IPV4_HEADER,
    TCP_HEADER, //
};
use crate::checksum::{
    update16,
    update32, //
};
use core::net::Ipv4Addr;

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
