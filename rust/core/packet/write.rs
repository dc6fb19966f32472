// SPDX-License-Identifier: GPL-2.0

//! Writing the headers of a new segment.

use super::{
    Flags,
    IPV4_HEADER,
    TCP,
    TCP_HEADER, //
};
use crate::{
    addr::Endpoint,
    checksum::{
        checksum,
        Sum, //
    },
};
use core::net::IpAddr;

/// Length of the timestamp option with its padding (RFC 7323, appendix A).
const TIMESTAMP_OPTION: usize = 12;

/// The largest head that [`Ipv4Tcp::write`] writes.
pub const MAX_WRITTEN: usize = IPV4_HEADER + TCP_HEADER + TIMESTAMP_OPTION;

/// Do not fragment.
const DONT_FRAGMENT: u16 = 0x4000;

/// Time to live of packets made here.
const TTL: u8 = 64;

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
