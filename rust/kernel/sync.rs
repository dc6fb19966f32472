// SPDX-License-Identifier: GPL-2.0

//! Mutual exclusion between softirq and process context.

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr,
};

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        rcu, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

use crate::bindings;

/// A spinlock taken with softirqs disabled: `spin_lock_bh()`.
///
/// The `kernel` crate's spinlock leaves softirqs on, and so cannot protect what a netfilter hook
/// and process context share.
#[pin_data]
pub struct SpinLockBh<T> {
    #[pin]
    lock: Opaque<bindings::spinlock_t>,
    data: UnsafeCell<T>,
}

// SAFETY: The lock gives one holder at a time exclusive access to a `T` that may be sent.
unsafe impl<T: Send> Send for SpinLockBh<T> {}
// SAFETY: As above.
unsafe impl<T: Send> Sync for SpinLockBh<T> {}

impl<T> SpinLockBh<T> {
    /// An unlocked lock around `data`.
    pub fn new(data: T) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `thop_spin_lock_init()` initialises the lock in its final place.
            lock <- Opaque::ffi_init(|lock| unsafe { bindings::thop_spin_lock_init(lock) }),
            data: UnsafeCell::new(data),
        })
    }

    /// Takes the lock. Softirq or process context.
    pub fn lock(&self) -> Guard<'_, T> {
        // SAFETY: The lock was initialised on construction and is pinned.
        unsafe { bindings::thop_spin_lock_bh(self.lock.get()) };
        // INVARIANT: Just locked.
        Guard {
            lock: self,
            _here: NotThreadSafe,
        }
    }
}

/// A held [`SpinLockBh`].
///
/// # Invariants
///
/// `lock` is held by this CPU.
pub struct Guard<'a, T> {
    lock: &'a SpinLockBh<T>,
    _here: NotThreadSafe,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariant nobody else can reach the data.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariant nobody else can reach the data.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is held here.
        unsafe { bindings::thop_spin_unlock_bh(self.lock.lock.get()) }
    }
}

/// A value that readers see through RCU and a writer replaces as a whole.
///
/// # Invariants
///
/// The pointer comes from `KBox::into_raw()`, and the box behind it lives until a grace period has
/// passed since it was replaced.
pub struct RcuBox<T> {
    current: Atomic<*mut T>,
    _owns: PhantomData<T>,
}

// SAFETY: It owns a `T`, and hands out shared references to it.
unsafe impl<T: Send + Sync> Send for RcuBox<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for RcuBox<T> {}

impl<T> RcuBox<T> {
    /// Begins with `value`.
    pub fn new(value: KBox<T>) -> Self {
        // INVARIANT: From `KBox::into_raw()`.
        Self {
            current: Atomic::new(KBox::into_raw(value)),
            _owns: PhantomData,
        }
    }

    /// The current value, for as long as the RCU read lock is held. Any context.
    pub fn read<'a>(&'a self, _rcu: &'a rcu::Guard) -> &'a T {
        // `Full` on the writing side orders the value's initialisation before its publication;
        // the address dependency orders this side.
        let current = self.current.load(Relaxed);
        // SAFETY: By the type invariant the box lives for a grace period after its replacement,
        // and the guard keeps that from passing.
        unsafe { &*current }
    }

    /// Replaces the value, waits until no reader has the old one, and gives that back. Sleeps.
    ///
    /// Writers are serialised by the caller only as far as they care which of them is last.
    pub fn replace(&self, value: KBox<T>) -> KBox<T> {
        let old = self.current.xchg(KBox::into_raw(value), Full);
        rcu::synchronize_rcu();
        // SAFETY: It comes from `KBox::into_raw()`; it is unreachable since the exchange, and a
        // grace period has passed, so that no reader has it.
        unsafe { KBox::from_raw(old) }
    }
}

impl<T> Drop for RcuBox<T> {
    fn drop(&mut self) {
        let current = self.current.xchg(ptr::null_mut(), Full);
        // SAFETY: By the type invariant; `&mut self` means that there is no reader.
        drop(unsafe { KBox::from_raw(current) });
    }
}
