// SPDX-License-Identifier: GPL-2.0

//! TCP segments in hooks.

use thop_core::packet::{
    parse_ipv4,
    NotSegment,
    Segment, //
};

use crate::instance::{
    Packet,
    Verdict, //
};

/// Reads the headers of a packet in PRE_ROUTING, collecting fragments for this machine.
///
/// Gives the packet with its segment, both headers linear, or the verdict on a packet that is none
/// (it is accepted) or a piece of one (it is kept until it is whole).
#[inline]
pub fn read(mut packet: Packet<'_>) -> Result<(Packet<'_>, Segment), Verdict> {
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
