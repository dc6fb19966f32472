// SPDX-License-Identifier: GPL-2.0

//! TCP segments in hooks.

use thop_core::{
    addr::FlowKey,
    packet::{
        parse_ipv4,
        NotSegment,
        Segment, //
    },
};

use crate::{
    bindings,
    instance::{
        Packet,
        Verdict, //
    },
    messages::ipv4,
    send::be32, //
};

/// Reads the headers of a packet in PRE_ROUTING, collecting fragments for this machine.
///
/// Gives the packet with its segment, both headers linear, or the verdict on a packet that is none
/// (it is accepted) or a piece of one (it is kept until it is whole).
#[inline]
pub fn read(mut packet: Packet<'_>) -> Result<(Packet<'_>, Segment), Verdict<'_>> {
    let mut collected = false;
    loop {
        let len = packet.skb().len();
        match parse_ipv4(packet.skb().linear(), len) {
            Ok(segment) => return Ok((packet, segment)),
            Err(NotSegment::Truncated { need }) => {
                // Each round needs more than is there, so this ends.
                if packet.skb().pull(need as usize).is_none() {
                    return Err(packet.accept());
                }
            }
            Err(NotSegment::Fragment) if !collected && packet.is_for_this_machine() => {
                collected = true;
                packet = packet.defragment()?;
            }
            Err(_) => return Err(packet.accept()),
        }
    }
}

/// Reads the headers of a packet in PRE_ROUTING that is no fragment, and makes them linear. `None` for whatever is no segment.
pub fn peek(packet: &mut Packet<'_>) -> Option<Segment> {
    loop {
        let len = packet.skb().len();
        match parse_ipv4(packet.skb().linear(), len) {
            Ok(segment) => return Some(segment),
            // Each round needs more than is there, so this ends.
            Err(NotSegment::Truncated { need }) => packet.skb().pull(need as usize)?,
            Err(_) => return None,
        };
    }
}

/// What this machine's stack has of a connection, but for sockets that listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing, or only who listens.
    Nothing,
    /// What closing leaves: a TIME-WAIT, or a FIN-WAIT-2 that nobody holds any more. A SYN that it lets
    /// pass goes to whoever listens (kernel: tcp_timewait_state_process()).
    TimeWait,
    /// A socket, or the request for one.
    Socket,
}

/// What this machine's stack has of a connection.
pub fn kept(packet: &Packet<'_>, key: &FlowKey) -> Kept {
    let (Some(client), Some(service)) = (ipv4(key.client.ip), ipv4(key.service.ip)) else {
        return Kept::Nothing;
    };
    // SAFETY: By the packet's invariant: an RCU section, and a device. The lookup gives a counted reference or null.
    // Sockets of every kind begin with what they have in common, the state included.
    unsafe {
        let sk = bindings::thop_find_established(
            packet.namespace().as_ptr(),
            packet.as_ptr(),
            be32(client),
            key.client.port,
            be32(service),
            key.service.port,
        );
        if sk.is_null() {
            return Kept::Nothing;
        }
        let state = bindings::thop_sk_state(sk);
        bindings::thop_sock_gen_put(sk);
        if state as u32 == bindings::TCP_TIME_WAIT {
            Kept::TimeWait
        } else {
            Kept::Socket
        }
    }
}

/// Whether this machine's stack has a socket of a connection, of whatever kind, but those that listen.
pub fn has_socket(packet: &Packet<'_>, key: &FlowKey) -> bool {
    kept(packet, key) != Kept::Nothing
}
