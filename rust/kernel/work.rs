// SPDX-License-Identifier: GPL-2.0

//! Work on a workqueue, by the clock: `struct delayed_work`.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
    types::Opaque, //
};

use crate::{
    bindings,
    new_spin_lock_bh,
    sync::SpinLockBh,
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
    /// Held while the time and the workqueue are told of the same: else who asks for a late run could take away an early one
    /// that another has asked for meanwhile. Taken last of all, with softirqs disabled; the workqueue's own locks come below it.
    #[pin]
    asking: SpinLockBh<()>,
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
            asking <- new_spin_lock_bh!(()),
        })
    }

    /// Lets it run within `ms` milliseconds. Softirq or process context, under a spinlock too.
    #[inline]
    pub(crate) fn kick_in(&self, ms: u32) {
        let due_ms = now_ms() + u64::from(ms);
        // Usually it is due earlier anyway. In full order, as `begins()`: either that run sees what this caller has done before,
        // or this sees that the run has begun.
        if due_ms >= self.due_ms.fetch_add(0, Full) {
            return;
        }
        let _asking = self.asking.lock();
        if due_ms < self.due_ms.load(Relaxed) {
            self.due_ms.store(due_ms, Relaxed);
            // SAFETY: The work is initialised and pinned; its owner cancels it before it goes.
            unsafe {
                bindings::thop_delayed_work_in(self.work.get(), bindings::thop_ms_to_jiffies(ms))
            };
        }
    }

    /// For the KUnit suites: waits until it does not run, and lets it run now, on that processor. Nobody else may ask for it
    /// meanwhile. Sleeps.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(crate) fn start_on(&self, cpu: u32) {
        // SAFETY: As for `kick_in()`.
        unsafe { bindings::thop_test_work_on(cpu, self.work.get()) };
    }

    /// It runs: what comes from here on is for its next run. Called before the function looks at
    /// anything, so that nothing is missed.
    #[inline]
    pub(crate) fn begins(&self) {
        // A time that is being told to the workqueue at this moment is forgotten here. So it may run once more than was asked
        // for, but not later: what its run would have found, this one finds.
        self.due_ms.xchg(u64::MAX, Full);
    }

    /// Waits until it does not run, and will not. Sleeps; nobody but the work itself may kick it any
    /// more.
    pub(crate) fn cancel(&self) {
        // SAFETY: The work is initialised. One that runs may queue itself once more, so it is
        // cancelled until nothing was pending.
        while unsafe { bindings::cancel_delayed_work_sync(self.work.get()) } {}
    }
}
