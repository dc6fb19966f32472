// SPDX-License-Identifier: GPL-2.0

//! THOP messages in packets: the wire format of [`thop_core::wire`] meets `sk_buff`.

use core::net::{
    IpAddr,
    Ipv4Addr, //
};

use kernel::prelude::*;
use thop_core::{
    packet::ipv4_destination,
    wire::{
        checksum_ok,
        set_checksum,
        Body,
        DecodeError,
        EncodeError,
        Message,
        Monitor,
        Packet,
        MAX_FIXED, //
    },
};

use crate::{
    instance::Namespace,
    send,
    skb::SkBuff, //
};

/// The longest request that fits an IP datagram with its CREATE, octets.
pub const MAX_REQUEST: usize = u16::MAX as usize - 60 - MAX_FIXED;

/// A message as it came.
pub enum Incoming {
    /// About a handoff.
    Handoff(Received),
    /// Of the load monitor.
    Monitor {
        /// The message.
        message: Monitor,
        /// Who sent it.
        from: Ipv4Addr,
        /// The address it was sent to.
        to: Ipv4Addr,
    },
}

/// A message about a handoff as it came.
pub struct Received {
    /// The message.
    pub message: Message,
    /// Who sent it.
    pub from: Ipv4Addr,
    /// The address it was sent to.
    pub to: Ipv4Addr,
    /// Where in the packet the octets behind the fixed part begin.
    pub payload_at: usize,
}

/// Why a packet of THOP's protocol is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The checksum is wrong.
    Checksum,
    /// The message is not well formed.
    Decode(DecodeError),
}

impl Malformed {
    /// How many reasons there are.
    pub const COUNT: usize = DecodeError::COUNT + 1;

    /// A number below [`Self::COUNT`], for counters.
    pub const fn index(self) -> usize {
        match self {
            Self::Decode(error) => error.index(),
            Self::Checksum => DecodeError::COUNT,
        }
    }
}

/// Whether a received packet is of `protocol`. It begins with a linear IP header.
#[inline]
pub fn is_protocol(packet: &SkBuff, protocol: u8) -> bool {
    matches!(ipv4_destination(packet.linear()), Some((_, p, _)) if p == protocol)
}

/// Reads the message in a received packet, which begins with its IP header.
pub fn receive(packet: &mut SkBuff) -> Result<Incoming, Malformed> {
    const SHORT: Malformed = Malformed::Decode(DecodeError::Short);

    let head = packet.pull(20).ok_or(SHORT)?;
    let header_len = usize::from(head.first().map_or(0, |b| b & 0xf)) * 4;
    let address = |at: usize| {
        head.get(at..at + 4)
            .and_then(|a| <[u8; 4]>::try_from(a).ok())
            .map(Ipv4Addr::from)
    };
    let (from, to) = address(12).zip(address(16)).ok_or(SHORT)?;
    let total = (packet.len() as usize)
        .checked_sub(header_len)
        .ok_or(SHORT)?;
    let fixed = total.min(MAX_FIXED);
    if !checksum_ok(packet.sum(header_len)) {
        return Err(Malformed::Checksum);
    }
    let octets = packet
        .pull(header_len + fixed)
        .and_then(|octets| octets.get(header_len..header_len + fixed))
        .ok_or(SHORT)?;
    let (packet, fixed) = Packet::decode(octets, total).map_err(Malformed::Decode)?;
    Ok(match packet {
        Packet::Handoff(message) => Incoming::Handoff(Received {
            message,
            from,
            to,
            payload_at: header_len + fixed,
        }),
        Packet::Monitor(message) => Incoming::Monitor { message, from, to },
    })
}

/// The fixed part of a message as octets, with its length. The checksum is not set.
fn encode(
    write: impl FnOnce(&mut [u8; MAX_FIXED]) -> Result<usize, EncodeError>,
) -> Result<([u8; MAX_FIXED], usize)> {
    let mut fixed = [0u8; MAX_FIXED];
    let len = write(&mut fixed).map_err(|_| EINVAL)?;
    Ok((fixed, len))
}

/// Sends a message that has no request. Any context.
pub fn send(
    namespace: Namespace,
    protocol: u8,
    message: &Message,
    from: Ipv4Addr,
    to: Ipv4Addr,
) -> Result {
    send_fixed(
        namespace,
        protocol,
        encode(|out| message.encode(out))?,
        from,
        to,
    )
}

/// Sends a message of the load monitor. Any context.
pub fn send_monitor(
    namespace: Namespace,
    protocol: u8,
    message: &Monitor,
    from: Ipv4Addr,
    to: Ipv4Addr,
) -> Result {
    send_fixed(
        namespace,
        protocol,
        encode(|out| message.encode(out))?,
        from,
        to,
    )
}

/// Sends what [`encode()`] has made.
fn send_fixed(
    namespace: Namespace,
    protocol: u8,
    (mut fixed, len): ([u8; MAX_FIXED], usize),
    from: Ipv4Addr,
    to: Ipv4Addr,
) -> Result {
    let mut sum = thop_core::checksum::Sum::new();
    sum.add(fixed.get(..len).ok_or(EINVAL)?);
    set_checksum(&mut fixed, sum);
    let packet = SkBuff::new(fixed.get(..len).ok_or(EINVAL)?, 0)?;
    send::datagram(namespace, packet, protocol, from, to)
}

/// A CREATE that may be sent again and again, each time with a fixed part of its own.
pub struct Create {
    /// A place for the fixed part, then the request.
    packet: SkBuff,
    fixed: usize,
}

impl Create {
    /// A CREATE for `message`, whose request of `len` octets `copy` writes into the packet at the
    /// position it is given. Atomic context.
    pub fn new(
        message: &Message,
        len: usize,
        copy: impl FnOnce(&mut SkBuff, usize) -> Result<u32>,
    ) -> Result<Self> {
        if len > MAX_REQUEST {
            return Err(EMSGSIZE);
        }
        let (octets, fixed) = encode(|out| message.encode(out))?;
        let mut packet = SkBuff::new(octets.get(..fixed).ok_or(EINVAL)?, len)?;
        if copy(&mut packet, fixed)? as usize != len {
            return Err(EINVAL);
        }
        Ok(Self { packet, fixed })
    }

    /// A packet to send, for `message`, which may differ from the first in all but its length.
    /// Atomic context.
    pub fn packet(&self, message: &Message) -> Result<SkBuff> {
        let (mut octets, len) = encode(|out| message.encode(out))?;
        if len != self.fixed || !matches!(message.body, Body::Create { .. }) {
            return Err(EINVAL);
        }
        let mut sum = thop_core::checksum::Sum::new();
        sum.add(octets.get(..len).ok_or(EINVAL)?);
        sum.append(self.packet.sum(len));
        set_checksum(&mut octets, sum);
        let mut packet = self.packet.copy_head()?;
        packet.write(0, octets.get(..len).ok_or(EINVAL)?)?;
        Ok(packet)
    }
}

/// The IPv4 address of an endpoint, if it has one.
pub fn ipv4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}
