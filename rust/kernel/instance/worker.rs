// SPDX-License-Identifier: GPL-2.0

//! Work in process context, on demand and by the clock.

use kernel::sync::atomic::{
    Acquire,
    Release, //
};

use super::*;
use crate::work::Work;

/// Calls [`Instance::work()`] of the owner that it is given.
type Run = unsafe fn(*mut c_void) -> Option<u32>;

/// The part of an instance that lets it be called in process context.
#[pin_data]
#[repr(C)]
pub struct Worker {
    /// First: the callback finds the worker by its address.
    #[pin]
    work: Work,
    owner: Atomic<*mut c_void>,
    run: UnsafeCell<Option<Run>>,
}

// SAFETY: `run` is written once, before `owner` is published; the rest is atomic or C's.
unsafe impl Send for Worker {}
// SAFETY: As above.
unsafe impl Sync for Worker {}

impl Worker {
    /// A worker that belongs to nobody yet.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            work <- Work::new(Self::callback),
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

    /// Lets the work run within `ms` milliseconds. Any context.
    #[inline]
    pub fn kick_in(&self, ms: u32) {
        if !self.owner.load(Acquire).is_null() {
            self.work.kick_in(ms);
        }
    }

    /// Lets the work run as soon as may be. Any context.
    #[inline]
    pub fn kick(&self) {
        self.kick_in(0);
    }

    /// Ends all work for good, and waits for what is running. Sleeps; not to be called by the work.
    pub fn stop(&self) {
        self.owner.store(ptr::null_mut(), Release);
        // Who had read `owner` before may still kick it.
        self.work.cancel();
    }

    /// Process context, on a workqueue.
    ///
    /// # Safety
    ///
    /// `work` is that of a worker which `new()` has made.
    unsafe extern "C" fn callback(work: *mut bindings::work_struct) {
        // SAFETY: `work` begins the `Work` that begins a worker, which is pinned, and lives until
        // `stop()` has waited for this.
        let this = unsafe { &*work.cast::<Self>() };
        let owner = this.owner.load(Acquire);
        if owner.is_null() {
            return;
        }
        this.work.begins();
        // SAFETY: `attach()` has set it before `owner`, for an owner of this very type, which
        // outlives its worker.
        let again = unsafe { (*this.run.get()).and_then(|run| run(owner)) };
        if let Some(ms) = again {
            this.kick_in(ms);
        }
    }
}
