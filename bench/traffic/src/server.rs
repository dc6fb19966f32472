// SPDX-License-Identifier: GPL-2.0

//! The servers' end.

use std::{
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    thread,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use thop_core::{
    checksum::Sum,
    wire::{set_checksum, Body, Packet, MAX_FIXED},
};

use crate::segment::{Segment, ACK, SYN};

/// The number of THOP among IP's protocols.
const THOP: i32 = 253;
/// `IPPROTO_RAW`.
const RAW: i32 = 255;
/// Never 0.
const BOOT: u64 = 1;

/// Answers for ever.
pub fn serve(address: Ipv4Addr) -> io::Result<()> {
    let tcp = thread::spawn(shake_hands);
    let thop = thread::spawn(move || take_over(address));
    for thread in [tcp, thop] {
        thread.join().expect("no thread panics")?;
    }
    Ok(())
}

/// A socket that hears all of a protocol, whatever address it is sent to: behind who does not rewrite it, that
/// is the service's.
fn receiver(protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol))?;
    socket.set_recv_buffer_size(8 << 20)?;
    Ok(socket)
}

/// Every SYN is answered, by whom it was sent to.
fn shake_hands() -> io::Result<()> {
    let mut receiver = receiver(Protocol::TCP)?;
    let sender = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)))?;
    let mut datagram = [0; 2048];
    loop {
        let len = receiver.read(&mut datagram)?;
        let Some(syn) = Segment::read(&datagram[..len]).filter(|s| s.flags & (SYN | ACK) == SYN)
        else {
            continue;
        };
        let answer = Segment {
            from: syn.to,
            to: syn.from,
            seq: !syn.seq,
            ack: syn.seq.wrapping_add(1),
            flags: SYN | ACK,
        };
        let to: SockAddr = SocketAddrV4::new(syn.from.0, 0).into();
        sender.send_to(&answer.write(&[]), &to)?;
    }
}

/// Every CREATE is answered.
fn take_over(address: Ipv4Addr) -> io::Result<()> {
    let mut socket = receiver(Protocol::from(THOP))?;
    let mut datagram = [0; 65536];
    loop {
        let len = socket.read(&mut datagram)?;
        let header = usize::from(datagram[0] & 15) * 4;
        let from = Ipv4Addr::new(datagram[12], datagram[13], datagram[14], datagram[15]);
        let message = &datagram[header..len];
        let Ok((Packet::Handoff(create), _)) = Packet::decode(message, message.len()) else {
            continue;
        };
        if !matches!(create.body, Body::Create { .. })
            || create.parties.server.ip != IpAddr::V4(address)
        {
            continue;
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
        socket.send_to(&octets[..length], &to)?;
    }
}
