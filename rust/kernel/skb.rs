// SPDX-License-Identifier: GPL-2.0

//! Packets: `struct sk_buff`.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)
//!
//! A packet's octets are counted from `skb->data`. In this crate's hooks that is the IP header.

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
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

/// The linear octets of a packet.
///
/// # Safety
///
/// `skb` is valid, and nobody moves or changes the octets during `'a`.
#[inline]
unsafe fn linear_of<'a>(skb: *const bindings::sk_buff) -> &'a [u8] {
    // SAFETY: By the function's requirements; `data` has as many octets as `skb_headlen()` computes, which is what is done here.
    unsafe {
        let linear = (*skb).len.wrapping_sub((*skb).data_len);
        slice::from_raw_parts((*skb).data, linear as usize)
    }
}

/// A view of a packet that another object owns, by which it can be changed, but not exchanged for another or kept.
///
/// # Invariants
///
/// The packet is owned by an object that is borrowed during `'a`.
pub struct SkbMut<'a> {
    skb: ManuallyDrop<SkBuff>,
    _owner: PhantomData<&'a mut SkBuff>,
}

impl<'a> SkbMut<'a> {
    /// A view of the same for a shorter time.
    #[inline]
    pub fn reborrow(&mut self) -> SkbMut<'_> {
        self.skb.view()
    }

    /// As [`SkBuff::pull()`].
    #[inline]
    pub fn pull(self, len: usize) -> Option<&'a [u8]> {
        if self.linear().len() < len {
            // SAFETY: By the type invariant the packet is valid and ours.
            if !unsafe { bindings::thop_skb_may_pull(self.as_ptr(), u32::try_from(len).ok()?) } {
                return None;
            }
        }
        // SAFETY: By the type invariant the packet is borrowed during `'a`, and the view is used up.
        Some(unsafe { linear_of(self.as_ptr()) })
    }

    /// As [`SkBuff::writable()`].
    #[inline]
    pub fn writable(self, len: usize) -> Option<&'a mut [u8]> {
        let wanted = u32::try_from(len).ok()?;
        // SAFETY: By the type invariant the packet is valid and ours.
        to_result(unsafe { bindings::skb_ensure_writable(self.as_ptr(), wanted) }).ok()?;
        // SAFETY: `skb_ensure_writable()` has made `len` octets linear and unshared; the packet is borrowed during `'a`, and the view
        // is used up.
        Some(unsafe { slice::from_raw_parts_mut((*self.as_ptr()).data, len) })
    }
}

impl Deref for SkbMut<'_> {
    type Target = SkBuff;

    #[inline]
    fn deref(&self) -> &SkBuff {
        &self.skb
    }
}

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
        // SAFETY: By the type invariant the packet is valid. The octets cannot move while it is borrowed, as moving them
        // takes `&mut self`.
        unsafe { linear_of(self.as_ptr()) }
    }

    /// A view by which the packet can be changed.
    #[inline]
    pub fn view(&mut self) -> SkbMut<'_> {
        // INVARIANT: This object, which is borrowed as long as the view exists, owns the packet.
        SkbMut {
            skb: ManuallyDrop::new(Self(self.0)),
            _owner: PhantomData,
        }
    }

    /// Makes the first `len` octets linear (without a copy when they are) and returns the linear
    /// octets. `None` when the packet is shorter or there is no memory.
    #[inline]
    pub fn pull(&mut self, len: usize) -> Option<&[u8]> {
        self.view().pull(len)
    }

    /// Makes the first `len` octets linear and private, so that they may be changed.
    #[inline]
    pub fn writable(&mut self, len: usize) -> Option<&mut [u8]> {
        self.view().writable(len)
    }

    /// Overwrites octets at `offset`, where they are this packet's alone, as in one that was just made: [`EBUSY`] if another may see
    /// them, [`EFAULT`] if there are not so many.
    pub fn write(&mut self, offset: usize, octets: &[u8]) -> Result {
        let (Ok(at), Ok(len)) = (i32::try_from(offset), i32::try_from(octets.len())) else {
            return Err(EFAULT);
        };
        // SAFETY: By the type invariant the packet is valid, and what is written to is not shared; the function checks the range.
        to_result(unsafe {
            if !bindings::thop_skb_is_private(self.as_ptr(), offset.saturating_add(octets.len())) {
                return Err(EBUSY);
            }
            bindings::skb_store_bits(self.as_ptr(), at, octets.as_ptr().cast(), len)
        })
    }

    /// Puts octets in front: [`ENOSPC`] without room, [`EBUSY`] if another may see what is there.
    pub fn push(&mut self, octets: &[u8]) -> Result {
        // SAFETY: By the type invariant the packet is valid.
        if (unsafe { bindings::thop_skb_headroom(self.as_ptr()) } as usize) < octets.len() {
            return Err(ENOSPC);
        }
        // SAFETY: By the type invariant the packet is valid.
        if !unsafe { bindings::thop_skb_is_private(self.as_ptr(), 0) } {
            return Err(EBUSY);
        }
        // SAFETY: There is room, and the linear octets are this packet's own, as we have just seen.
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
