// SPDX-License-Identifier: GPL-2.0

//! Work in process context, on demand and by the clock.

use kernel::sync::atomic::{
    Acquire,
    Release, //
};

use super::*;

/// The part of an instance that lets it be called in process context: `struct delayed_work`.
#[pin_data]
#[repr(C)]
pub struct Worker {
    /// First: the callback finds the worker by its address.
    #[pin]
    work: Opaque<bindings::delayed_work>,
    owner: Atomic<*mut c_void>,
    run: UnsafeCell<Option<unsafe fn(*mut c_void) -> Option<u32>>>,
}

// SAFETY: `run` is written once, before `owner` is published; the rest is atomic or C's.
unsafe impl Send for Worker {}
// SAFETY: As above.
unsafe impl Sync for Worker {}

impl Worker {
    /// A worker that belongs to nobody yet.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: Initialises the work in its final place.
            work <- Opaque::ffi_init(|work| unsafe {
                bindings::thop_delayed_work_init(work, Some(Self::callback))
            }),
            owner: Atomic::new(ptr::null_mut()),
            run: UnsafeCell::new(None),
        })
    }

    /// Makes `owner` the one whose `work()` is called.
    pub(super) fn attach<T: Instance>(&self, owner: &T) {
        // SAFETY: Before `owner` is published nobody reads it.
        unsafe { *self.run.get() = Some(|owner| (*owner.cast::<T>()).work()) };
        self.owner
            .store(ptr::from_ref(owner).cast_mut().cast(), Release);
    }

    /// Lets the work run as soon as may be. Any context.
    #[inline]
    pub fn kick(&self) {
        if !self.owner.load(Acquire).is_null() {
            // SAFETY: The work is initialised and pinned; `stop()` cancels it before it goes.
            unsafe { bindings::thop_delayed_work_now(self.work.get()) };
        }
    }

    /// Lets the work run within `ms` milliseconds, if it is not due earlier. Any context.
    pub fn kick_in(&self, ms: u32) {
        if !self.owner.load(Acquire).is_null() {
            // SAFETY: As for `kick()`.
            unsafe {
                bindings::thop_delayed_work_in(
                    self.work.get(),
                    bindings::thop_ms_to_jiffies(ms),
                )
            };
        }
    }

    /// Ends all work, and waits for what is running. Sleeps.
    pub(super) fn stop(&self) {
        self.owner.store(ptr::null_mut(), Release);
        // SAFETY: The work is initialised. One that had read `owner` before may queue it once more,
        // so it is cancelled until nothing was pending.
        while unsafe { bindings::cancel_delayed_work_sync(self.work.get()) } {}
    }

    /// Process context, on a workqueue.
    unsafe extern "C" fn callback(work: *mut bindings::work_struct) {
        // SAFETY: `work` is the first member of the `delayed_work`, which is the first of a worker
        // that is pinned, and lives until `stop()` has waited for this.
        let this = unsafe { &*work.cast::<Self>() };
        let owner = this.owner.load(Acquire);
        if owner.is_null() {
            return;
        }
        // SAFETY: `attach()` has set it before `owner`, for an owner of this very type, which
        // outlives its worker.
        let again = unsafe { (*this.run.get()).and_then(|run| run(owner)) };
        if let Some(ms) = again {
            this.kick_in(ms);
        }
    }
}
