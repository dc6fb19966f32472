// SPDX-License-Identifier: GPL-2.0

//! Work in process context, on demand and by the clock.

use kernel::sync::atomic::{
    Acquire,
    Release, //
};

use super::*;
use crate::time::now_ms;

/// Calls [`Instance::work()`] of the owner that it is given.
type Run = unsafe fn(*mut c_void) -> Option<u32>;

/// The part of an instance that lets it be called in process context: `struct delayed_work`.
#[pin_data]
#[repr(C)]
pub struct Worker {
    /// First: the callback finds the worker by its address.
    #[pin]
    work: Opaque<bindings::delayed_work>,
    owner: Atomic<*mut c_void>,
    /// When the work is due, milliseconds since boot; `u64::MAX` when it is not.
    due_ms: Atomic<u64>,
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
            // SAFETY: Initialises the work in its final place.
            work <- Opaque::ffi_init(|work| unsafe {
                bindings::thop_delayed_work_init(work, Some(Self::callback))
            }),
            owner: Atomic::new(ptr::null_mut()),
            due_ms: Atomic::new(u64::MAX),
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
        let due_ms = now_ms() + u64::from(ms);
        // Usually it is due earlier anyway. Two CPUs that pass each other here may leave the later
        // of their times standing; they differ by less than the work may be late.
        if due_ms < self.due_ms.load(Relaxed) && !self.owner.load(Acquire).is_null() {
            self.due_ms.store(due_ms, Relaxed);
            // SAFETY: The work is initialised and pinned; `stop()` cancels it before it goes.
            unsafe {
                bindings::thop_delayed_work_in(self.work.get(), bindings::thop_ms_to_jiffies(ms))
            };
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
        // SAFETY: The work is initialised. One that had read `owner` before may queue it once more,
        // so it is cancelled until nothing was pending.
        while unsafe { bindings::cancel_delayed_work_sync(self.work.get()) } {}
    }

    /// Process context, on a workqueue.
    ///
    /// # Safety
    ///
    /// `work` is that of a worker which `new()` has made.
    unsafe extern "C" fn callback(work: *mut bindings::work_struct) {
        // SAFETY: `work` is the first member of the `delayed_work`, which is the first of a worker
        // that is pinned, and lives until `stop()` has waited for this.
        let this = unsafe { &*work.cast::<Self>() };
        let owner = this.owner.load(Acquire);
        if owner.is_null() {
            return;
        }
        // Before the work looks at anything, so that what comes meanwhile is not missed.
        this.due_ms.store(u64::MAX, Relaxed);
        // SAFETY: `attach()` has set it before `owner`, for an owner of this very type, which
        // outlives its worker.
        let again = unsafe { (*this.run.get()).and_then(|run| run(owner)) };
        if let Some(ms) = again {
            this.kick_in(ms);
        }
    }
}
