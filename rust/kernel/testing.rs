// SPDX-License-Identifier: GPL-2.0

//! Packets for the KUnit suites: shared, in pieces, with checksums in all forms, as drivers and other
//! parts of the stack hand them over.

use core::{
    net::Ipv4Addr,
    ptr::NonNull, //
};

use kernel::prelude::*;
use thop_core::checksum::Sum;

use crate::{
    bindings,
    send::be32,
    skb::SkBuff, //
};

/// Another packet with the same octets, not copied: `skb_clone()`. Process context.
pub fn share(packet: &SkBuff) -> Result<SkBuff> {
    // SAFETY: By its invariant the packet is valid. From now on both are known to be shared, which
    // `SkBuff` heeds before it changes octets.
    let skb = unsafe { bindings::thop_test_skb_share(packet.as_ptr()) };
    // SAFETY: Just made, and nobody else has it.
    Ok(unsafe { SkBuff::from_raw(NonNull::new(skb).ok_or(ENOMEM)?) })
}

/// Appends `tail` to a packet that has no such list yet, as a packet of its own: `frag_list`.
pub fn chain(packet: &mut SkBuff, tail: SkBuff) {
    // SAFETY: By their invariants both are valid; the tail is given away, to be freed with the head.
    unsafe { bindings::thop_test_skb_chain(packet.as_ptr(), tail.into_raw()) }
}

/// Says `CHECKSUM_PARTIAL`, for a TCP header that begins at `start`, which is linear.
pub fn set_partial(packet: &mut SkBuff, start: usize) {
    // SAFETY: By its invariant the packet is valid and ours.
    unsafe { bindings::thop_test_skb_set_partial(packet.as_ptr(), start as u32) }
}

/// Says `CHECKSUM_COMPLETE`, with the sum that the packet has now.
pub fn set_complete(packet: &mut SkBuff) {
    // SAFETY: By its invariant the packet is valid and ours.
    unsafe { bindings::thop_test_skb_set_complete(packet.as_ptr()) }
}

/// The sum that a packet says it has, if it says so: `CHECKSUM_COMPLETE`.
pub fn complete(packet: &SkBuff) -> Option<Sum> {
    // SAFETY: By its invariant the packet is valid.
    let (is_complete, sum) = unsafe {
        (
            bindings::thop_test_skb_is_complete(packet.as_ptr()),
            bindings::thop_test_skb_csum(packet.as_ptr()),
        )
    };
    is_complete.then(|| Sum::from_kernel(sum, packet.len() as usize))
}

/// What [`crate::instance::Packet::destination_rewritten()`] does for a packet in a hook.
pub fn destination_rewritten(packet: &mut SkBuff, from: Ipv4Addr, to: Ipv4Addr) {
    packet.fix_complete(be32(from), be32(to));
}
