// SPDX-License-Identifier: GPL-2.0

//! TCP segments in IP datagrams, as octets.

use std::{io, net::Ipv4Addr};

use socket2::{Domain, Protocol, Socket, Type};
use thop_core::checksum::Sum;

pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;
pub const PSH: u8 = 0x08;

/// Length of the IP header, and of the IP and the TCP header.
const IP: usize = 20;
pub const HEADERS: usize = IP + 20;

/// `IPPROTO_RAW`.
const IPPROTO_RAW: i32 = 255;
/// `ETH_P_IP`, in the order of the network as packet(7) wants it.
const ETH_P_IP: u16 = 0x0800_u16.to_be();

/// A socket that sends whole datagrams.
pub fn sender() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))
}

/// A socket that hears every datagram that comes, whatever address it is sent to, before IP does: which may
/// then drop it, instead of answering for a connection that it knows nothing of.
pub fn receiver() -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::PACKET,
        Type::DGRAM,
        Some(Protocol::from(i32::from(ETH_P_IP))),
    )?;
    socket.set_recv_buffer_size(8 << 20)?;
    Ok(socket)
}

/// What a segment says.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub from: (Ipv4Addr, u16),
    pub to: (Ipv4Addr, u16),
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
}

impl Segment {
    /// As a datagram. A SYN has the option MSS.
    pub fn write(&self, payload: &[u8]) -> Vec<u8> {
        let options: &[u8] = if self.flags & SYN != 0 {
            &[2, 4, 5, 0xb4]
        } else {
            &[]
        };
        let length = HEADERS + options.len() + payload.len();
        let mut out = Vec::with_capacity(length);
        out.extend([0x45, 0]);
        out.extend((length as u16).to_be_bytes());
        out.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        out.extend(self.from.0.octets());
        out.extend(self.to.0.octets());
        out.extend(self.from.1.to_be_bytes());
        out.extend(self.to.1.to_be_bytes());
        out.extend(self.seq.to_be_bytes());
        out.extend(self.ack.to_be_bytes());
        out.extend([(5 + options.len() as u8 / 4) << 4, self.flags]);
        out.extend(0xffff_u16.to_be_bytes());
        out.extend([0; 4]);
        out.extend(options);
        out.extend(payload);
        let header = checksum(&[&out[..IP]]);
        out[10..12].copy_from_slice(&header);
        let tcp_length = [0, 6, ((length - IP) >> 8) as u8, (length - IP) as u8];
        let tcp = checksum(&[&out[12..IP], &tcp_length, &out[IP..]]);
        out[IP + 16..IP + 18].copy_from_slice(&tcp);
        out
    }

    /// What a datagram that came says; `None` if it is not TCP.
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let header = usize::from(datagram.first()? & 15) * 4;
        let tcp = datagram.get(header..header + 20)?;
        if datagram[9] != 6 {
            return None;
        }
        let address = |at| Ipv4Addr::from(<[u8; 4]>::try_from(&datagram[at..at + 4]).unwrap());
        let short = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let long = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
        Some(Self {
            from: (address(12), short(0)),
            to: (address(16), short(2)),
            seq: long(4),
            ack: long(8),
            flags: tcp[13],
        })
    }
}

/// The Internet checksum of these, each but the last of an even length.
pub fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum = Sum::default();
    for part in parts {
        sum.add(part);
    }
    sum.finish().to_be_bytes()
}
