// SPDX-License-Identifier: GPL-2.0

//! For the KUnit suites: packets that are shared, in pieces, with checksums in all forms, as drivers and other
//! parts of the stack hand them over; and work.

use core::{
    net::Ipv4Addr,
    ptr::NonNull, //
};

use kernel::{
    error::to_result,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use thop_core::checksum::Sum;

use crate::{
    bindings,
    send::be32,
    skb::SkBuff,
    work::Work, //
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

/// Says that it was merged of several, each with `size` octets: in a way that can be undone, or not, as by LRO.
pub fn set_merged(packet: &mut SkBuff, size: u32, can_be_undone: bool) {
    // SAFETY: By its invariant the packet is valid and ours.
    unsafe { bindings::thop_test_skb_set_gso(packet.as_ptr(), size, can_be_undone) }
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

/// Work that counts its runs, and each time asks for the next in an hour, as that of a listener does whose clients have an hour.
#[pin_data]
#[repr(C)]
pub struct Hourly {
    /// First: the function finds what it belongs to by its address.
    #[pin]
    work: Work,
    runs: Atomic<u64>,
}

impl Hourly {
    /// How many milliseconds that is.
    pub const HOUR_MS: u32 = 3_600_000;
    /// Turns between a run's being counted and its asking for the next.
    pub const PAUSE: u32 = 200;

    /// Work that nobody has asked for yet. It must be [`Hourly::stop()`]ped before it goes.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            work <- Work::new(Self::callback),
            runs: Atomic::new(0),
        })
    }

    /// Waits until it does not run, and lets it run now, on that processor. Sleeps.
    pub fn start_on(&self, cpu: u32) {
        self.work.start_on(cpu);
    }

    /// Lets it run within `ms` milliseconds. Softirq or process context.
    pub fn kick_in(&self, ms: u32) {
        self.work.kick_in(ms);
    }

    /// How often it has run.
    pub fn runs(&self) -> u64 {
        self.runs.load(Relaxed)
    }

    /// Ends it. Sleeps.
    pub fn stop(&self) {
        self.work.cancel();
    }

    /// # Safety
    ///
    /// `work` is that of an object which `new()` has made.
    unsafe extern "C" fn callback(work: *mut bindings::work_struct) {
        // SAFETY: `work` begins the `Work` that begins an object, which is pinned and lives until it is stopped.
        let this = unsafe { &*work.cast::<Self>() };
        this.work.begins();
        this.runs.add(1, Relaxed);
        // Time for who waits for this to see it, and to ask for another run before or after the next line.
        for _ in 0..Self::PAUSE {
            core::hint::spin_loop();
        }
        this.work.kick_in(Self::HOUR_MS);
    }
}

/// Keeps the running thread on one processor from now on. Sleeps.
pub fn stay_on(cpu: u32) -> Result {
    // SAFETY: No requirements; process context.
    to_result(unsafe { bindings::thop_test_stay_on(cpu) })
}
