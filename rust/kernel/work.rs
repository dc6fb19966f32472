// SPDX-License-Identifier: GPL-2.0

//! Work on a workqueue, by the clock: `struct delayed_work`.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};

use crate::{
    bindings,
    time::now_ms, //
};

/// Runs a function in process context, never twice at once, at the earliest of the times that were asked for.
#[pin_data]
#[repr(C)]
pub(crate) struct Work {
    /// First: the function finds what it belongs to by its address.
    #[pin]
    work: Opaque<bindings::delayed_work>,
    /// When it is due, milliseconds since boot; `u64::MAX` when it is not.
    due_ms: Atomic<u64>,
}

// SAFETY: The work is C's, which knows its own locks; the rest is atomic.
unsafe impl Send for Work {}
// SAFETY: As above.
unsafe impl Sync for Work {}

impl Work {
    /// Work that runs `function`, which is passed the address of this object and calls [`Work::begins()`]
    /// first.
    pub(crate) fn new(
        function: unsafe extern "C" fn(*mut bindings::work_struct),
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: Initialises the work in its final place.
            work <- Opaque::ffi_init(move |work| unsafe {
                bindings::thop_delayed_work_init(work, Some(function))
            }),
            due_ms: Atomic::new(u64::MAX),
        })
    }

    /// Lets it run within `ms` milliseconds. Any context.
    #[inline]
    pub(crate) fn kick_in(&self, ms: u32) {
        let due_ms = now_ms() + u64::from(ms);
        // Usually it is due earlier anyway. Two CPUs that pass each other here may leave the later
        // of their times standing; they differ by less than the work may be late.
        if due_ms < self.due_ms.load(Relaxed) {
            self.due_ms.store(due_ms, Relaxed);
            // SAFETY: The work is initialised and pinned; its owner cancels it before it goes.
            unsafe {
                bindings::thop_delayed_work_in(self.work.get(), bindings::thop_ms_to_jiffies(ms))
            };
        }
    }

    /// It runs: what comes from here on is for its next run. Called before the function looks at
    /// anything, so that nothing is missed.
    #[inline]
    pub(crate) fn begins(&self) {
        self.due_ms.store(u64::MAX, Relaxed);
    }

    /// Waits until it does not run, and will not. Sleeps; nobody but the work itself may kick it any
    /// more.
    pub(crate) fn cancel(&self) {
        // SAFETY: The work is initialised. One that runs may queue itself once more, so it is
        // cancelled until nothing was pending.
        while unsafe { bindings::cancel_delayed_work_sync(self.work.get()) } {}
    }
}
