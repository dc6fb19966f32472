// SPDX-License-Identifier: GPL-2.0

//! Packets: `struct sk_buff`.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)
//!
//! A packet's octets are counted from `skb->data`. In this crate's hooks that is the IP header.

use core::{
    mem::ManuallyDrop,
    ptr::NonNull,
    slice, //
};

use kernel::{
    error::to_result,
    prelude::*, //
};
use thop_core::checksum::Sum;

use crate::bindings;

/// How much a packet has besides its head before pages are used, octets: about what comes in one segment.
const MAX_LINEAR: usize = 1_500;

/// An owned packet.
///
/// # Invariants
///
/// The pointer is to a valid `struct sk_buff` that nobody else may change.
pub struct SkBuff(NonNull<bindings::sk_buff>);

// SAFETY: A packet belongs to one owner at a time and is tied to no CPU.
unsafe impl Send for SkBuff {}
// SAFETY: Shared references only read.
unsafe impl Sync for SkBuff {}

impl SkBuff {
    /// Takes ownership of `skb`.
    ///
    /// # Safety
    ///
    /// `skb` is valid, and the caller gives it away.
    pub(crate) unsafe fn from_raw(skb: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: By the function's requirements.
        Self(skb)
    }

    /// The pointer, still owned by this object.
    pub(crate) fn as_ptr(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    /// Gives ownership to C.
    pub(crate) fn into_raw(self) -> *mut bindings::sk_buff {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// A new packet without headers, of octets that are to be written: `head` that are linear, then `more`, of which many are in
    /// pages. There is room for link and IP headers in front. Atomic context.
    pub fn with_room(head: usize, more: usize) -> Result<Self> {
        // A page is dear for little, and much may not be found in one piece.
        let paged = if more > MAX_LINEAR { more } else { 0 };
        Self::make(head + more - paged, paged)
    }

    /// The same of `head`, and `paged` octets that are to be written, in pages however few they are.
    pub fn new(head: &[u8], paged: usize) -> Result<Self> {
        let mut packet = Self::make(head.len(), paged)?;
        packet.write(0, head)?;
        Ok(packet)
    }

    /// A packet of so many octets, linear and in pages.
    fn make(linear: usize, paged: usize) -> Result<Self> {
        // SAFETY: Plain allocation; no requirements.
        let skb = unsafe { bindings::thop_skb_alloc(linear as u32, paged as u32) };
        // INVARIANT: Just allocated.
        Ok(Self(NonNull::new(skb).ok_or(ENOMEM)?))
    }

    /// A copy with linear octets of its own that shares the pages, if there are any. Atomic context.
    pub fn copy_head(&self) -> Result<Self> {
        // SAFETY: By the type invariant the packet is valid.
        let skb = unsafe { bindings::thop_skb_copy_head(self.as_ptr()) };
        // INVARIANT: Just allocated.
        Ok(Self(NonNull::new(skb).ok_or(ENOMEM)?))
    }

    /// All octets, linear or not.
    #[inline]
    pub fn len(&self) -> u32 {
        // SAFETY: By the type invariant the packet is valid.
        unsafe { (*self.as_ptr()).len }
    }

    /// What the packet takes of memory with all its buffers, octets: `skb->truesize`.
    #[inline]
    pub fn memory(&self) -> u32 {
        // SAFETY: By the type invariant the packet is valid.
        unsafe { (*self.as_ptr()).truesize }
    }

    /// Whether a device has merged it of several in a way that nobody can undo (LRO). Such packets are not to be forwarded.
    #[inline]
    pub fn is_lro(&self) -> bool {
        // One that is linear is not asked about.
        self.linear().len() < self.len() as usize
            // SAFETY: By the type invariant the packet is valid.
            && unsafe { bindings::thop_skb_is_lro(self.as_ptr()) }
    }

    /// Whether there are no octets.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The linear octets.
    #[inline]
    pub fn linear(&self) -> &[u8] {
        // SAFETY: By the type invariant the packet is valid; `data` has as many octets as `skb_headlen()` computes, which is what
        // is done here, and they cannot move while it is borrowed, as moving them takes `&mut self`.
        unsafe {
            let skb = self.as_ptr();
            let linear = (*skb).len.wrapping_sub((*skb).data_len);
            slice::from_raw_parts((*skb).data, linear as usize)
        }
    }

    /// Makes the first `len` octets linear (without a copy when they are) and returns the linear
    /// octets. `None` when the packet is shorter or there is no memory.
    #[inline]
    pub fn pull(&mut self, len: usize) -> Option<&[u8]> {
        if self.linear().len() < len {
            // SAFETY: By the type invariant the packet is valid and ours.
            if !unsafe { bindings::thop_skb_may_pull(self.as_ptr(), len as u32) } {
                return None;
            }
        }
        Some(self.linear())
    }

    /// Makes the first `len` octets linear and private, so that they may be changed.
    #[inline]
    pub fn writable(&mut self, len: usize) -> Option<&mut [u8]> {
        // SAFETY: By the type invariant the packet is valid and ours.
        to_result(unsafe { bindings::skb_ensure_writable(self.as_ptr(), len as u32) }).ok()?;
        // SAFETY: `skb_ensure_writable()` has made `len` octets linear and unshared.
        Some(unsafe { slice::from_raw_parts_mut((*self.as_ptr()).data, len) })
    }

    /// Overwrites octets at `offset`, in a packet that this module has made.
    pub fn write(&mut self, offset: usize, octets: &[u8]) -> Result {
        // SAFETY: By the type invariant the packet is valid; the function checks the range.
        to_result(unsafe {
            bindings::skb_store_bits(
                self.as_ptr(),
                offset as i32,
                octets.as_ptr().cast(),
                octets.len() as i32,
            )
        })
    }

    /// Puts octets in front of a packet that this module has made.
    pub fn push(&mut self, octets: &[u8]) -> Result {
        // SAFETY: By the type invariant the packet is valid.
        if (unsafe { bindings::thop_skb_headroom(self.as_ptr()) } as usize) < octets.len() {
            return Err(ENOSPC);
        }
        // SAFETY: There is room, as we have just seen, and the linear octets are this packet's own:
        // `new()` and `copy_head()` give each its own.
        unsafe {
            let at = bindings::thop_skb_push(self.as_ptr(), octets.len() as u32).cast::<u8>();
            at.copy_from_nonoverlapping(octets.as_ptr(), octets.len());
        }
        Ok(())
    }

    /// Shows all octets from `offset` on, in order: the linear ones where they are, and of others some at a time.
    pub fn for_each(&self, offset: usize, mut f: impl FnMut(&[u8])) {
        let linear = self.linear();
        if let Some(octets) = linear.get(offset..).filter(|octets| !octets.is_empty()) {
            f(octets);
        }
        let mut at = offset.max(linear.len());
        let end = self.len() as usize;
        if at >= end {
            return;
        }
        let mut buffer = [0; 256];
        while at < end {
            let len = (end - at).min(buffer.len());
            let Some(part) = buffer.get_mut(..len) else {
                return;
            };
            self.copy_to(at, part);
            f(part);
            at += len;
        }
    }

    /// Copies octets from `offset` on, linear or not; what the packet does not have is left as it was.
    pub fn copy_to(&self, offset: usize, to: &mut [u8]) {
        let len = (self.len() as usize).saturating_sub(offset).min(to.len());
        // SAFETY: By the type invariant the packet is valid; the range lies within it and `to`.
        unsafe {
            bindings::skb_copy_bits(
                self.as_ptr(),
                offset as i32,
                to.as_mut_ptr().cast(),
                len as i32,
            )
        };
    }

    /// The Internet checksum's sum over the octets from `offset` on.
    pub fn sum(&self, offset: usize) -> Sum {
        let len = (self.len() as usize).saturating_sub(offset);
        if len == 0 {
            return Sum::new();
        }
        // SAFETY: By the type invariant the packet is valid, and the range lies within it.
        let sum = unsafe { bindings::skb_checksum(self.as_ptr(), offset as i32, len as i32, 0) };
        Sum::from_kernel(sum, len)
    }

    /// Whether the TCP checksum holds only the pseudo-header's part yet (`CHECKSUM_PARTIAL`).
    #[inline]
    pub fn is_partial(&self) -> bool {
        // SAFETY: By the type invariant the packet is valid.
        unsafe { bindings::thop_skb_is_partial(self.as_ptr()) }
    }

    /// Tells a receiving stack's checksum (`CHECKSUM_COMPLETE`) that the destination address, in
    /// network byte order as read from memory, was replaced.
    #[inline]
    pub(crate) fn fix_complete(&mut self, from: u32, to: u32) {
        // SAFETY: By the type invariant the packet is valid and ours.
        unsafe { bindings::thop_skb_fix_complete(self.as_ptr(), from, to) }
    }

    /// Whether a received TCP segment acknowledges a SYN cookie of this machine's, and begins `before` octets before what its
    /// client has to send first. It begins with its IP header, and both headers are linear.
    pub fn acks_cookie(&self, before: u32) -> bool {
        // SAFETY: By the type invariant the packet is valid; the function only reads headers.
        unsafe { bindings::thop_skb_acks_cookie(self.as_ptr(), before) != 0 }
    }

    /// By how many octets a received TCP segment is behind the first that its client has to send, if it acknowledges
    /// a SYN cookie that this machine could have made now; else it is any number. What a cookie says of the segment
    /// size is added to it, and makes it up to 3 too small. The packet is as for [`Self::acks_cookie()`].
    pub fn behind_cookie(&self) -> i32 {
        // SAFETY: By the type invariant the packet is valid; the function only reads headers.
        unsafe { bindings::thop_skb_behind_cookie(self.as_ptr()) }
    }

    /// Cuts every tie to the way the packet came: socket, route, connection tracking, time stamp.
    #[inline]
    pub fn detach(&mut self) {
        // SAFETY: By the type invariant the packet is valid and ours.
        unsafe { bindings::thop_skb_detach(self.as_ptr()) }
    }

    /// Forgets the device the packet came from, which it does not keep alive.
    ///
    /// For packets that are kept; they can only be forwarded afterwards.
    pub fn forget_device(&mut self) {
        // SAFETY: By the type invariant the packet is valid and ours.
        unsafe { bindings::thop_skb_set_dev(self.as_ptr(), core::ptr::null_mut()) }
    }

    /// Frees a packet that has served its purpose, which is not a drop.
    pub fn consume(self) {
        // SAFETY: By the type invariant the packet is valid; ownership is given up.
        unsafe { bindings::thop_skb_consume(self.into_raw()) }
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the packet is valid and ours.
        unsafe { bindings::thop_skb_free(self.as_ptr()) }
    }
}
