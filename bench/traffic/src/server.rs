// SPDX-License-Identifier: GPL-2.0

//! The servers' end.

use std::{
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use thop_core::{
    checksum::Sum,
    wire::{set_checksum, Body, Packet, MAX_FIXED},
};

use crate::segment::{receiver, sender, Segment, ACK, SYN};

/// The number of THOP among IP's protocols.
const THOP: u8 = 253;
/// Never 0.
const BOOT: u64 = 1;

/// Answers for ever, as the server with this address.
pub fn serve(address: Ipv4Addr) -> io::Result<()> {
    let mut receiver = receiver()?;
    let segments = sender()?;
    let messages = Socket::new(
        Domain::IPV4,
        Type::RAW,
        Some(Protocol::from(i32::from(THOP))),
    )?;
    let mut datagram = [0; 65536];
    loop {
        let len = receiver.read(&mut datagram)?;
        let datagram = &datagram[..len];
        if datagram.get(9) == Some(&THOP) {
            take_over(datagram, address, &messages)?;
        } else {
            shake_hands(datagram, &segments)?;
        }
    }
}

/// A SYN is answered, by whom it was sent to.
fn shake_hands(datagram: &[u8], sender: &Socket) -> io::Result<()> {
    let Some(syn) = Segment::read(datagram).filter(|s| s.flags & (SYN | ACK) == SYN) else {
        return Ok(());
    };
    let answer = Segment {
        from: syn.to,
        to: syn.from,
        seq: !syn.seq,
        ack: syn.seq.wrapping_add(1),
        flags: SYN | ACK,
    };
    let to: SockAddr = SocketAddrV4::new(syn.from.0, 0).into();
    sender.send_to(&answer.write(&[]), &to).map(drop)
}

/// A CREATE is answered.
fn take_over(datagram: &[u8], address: Ipv4Addr, sender: &Socket) -> io::Result<()> {
    let Some((from, message)) = split(datagram) else {
        return Ok(());
    };
    let Ok((Packet::Handoff(create), _)) = Packet::decode(message, message.len()) else {
        return Ok(());
    };
    if !matches!(create.body, Body::Create { .. })
        || create.parties.server.ip != IpAddr::V4(address)
    {
        return Ok(());
    }
    let created = create.reply(Body::Created {
        boot: BOOT,
        clock_ms: 0,
    });
    let mut octets = [0; MAX_FIXED];
    let length = created
        .encode(&mut octets)
        .map_err(|e| io::Error::other(format!("{e:?}")))?;
    let mut sum = Sum::new();
    sum.add(&octets[..length]);
    set_checksum(&mut octets, sum);
    let to: SockAddr = SocketAddrV4::new(from, 0).into();
    sender.send_to(&octets[..length], &to).map(drop)
}

/// Who sent an IP datagram, and what it carries; `None` if it is cut off.
fn split(datagram: &[u8]) -> Option<(Ipv4Addr, &[u8])> {
    let header = usize::from(datagram.first()? & 15) * 4;
    let from: [u8; 4] = datagram.get(12..16)?.try_into().ok()?;
    Some((from.into(), datagram.get(header..)?))
}
