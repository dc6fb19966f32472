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
        lock::mutex::MutexGuard,
        rcu,
        LockClassKey,
        Mutex, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

use crate::{
    bindings,
    compat, //
};

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

/// Creates a [`SpinLockBh`] with a lock class of its own: to lockdep those made in one place are alike, and only those.
#[macro_export]
macro_rules! new_spin_lock_bh {
    ($data:expr $(,)?) => {
        $crate::sync::SpinLockBh::new(
            $data,
            ::kernel::optional_name!(),
            ::kernel::static_lock_class!(),
        )
    };
}

impl<T> SpinLockBh<T> {
    /// An unlocked lock around `data`. Use [`new_spin_lock_bh!`].
    pub fn new(
        data: T,
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- Opaque::ffi_init(|lock| {
                // SAFETY: `lock` is the lock's final place. Name and class live as long as the module, and so no less than it.
                unsafe {
                    bindings::thop_spin_lock_init(lock, name.as_char_ptr(), class.as_ptr().cast())
                }
            }),
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

/// A value that readers see through RCU and writers, one at a time, replace as a whole.
///
/// # Invariants
///
/// The pointer comes from `KBox::into_raw()`, changes only with `writer` held, and the box behind it
/// lives until a grace period has passed since it was replaced.
#[pin_data(PinnedDrop)]
pub struct RcuBox<T> {
    current: Atomic<*mut T>,
    #[pin]
    writer: Mutex<()>,
    _owns: PhantomData<T>,
}

// SAFETY: It owns a `T`, and hands out shared references to it.
unsafe impl<T: Send + Sync> Send for RcuBox<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for RcuBox<T> {}

/// Creates an [`RcuBox`] whose writers have a lock class of their own.
///
/// Writers of one may wait for those of another, in an order. To lockdep those made in one place are
/// alike, and only those.
#[macro_export]
macro_rules! new_rcu_box {
    ($value:expr $(,)?) => {
        $crate::sync::RcuBox::new(
            $value,
            ::kernel::optional_name!(),
            ::kernel::static_lock_class!(),
        )
    };
}

impl<T> RcuBox<T> {
    /// Begins with `value`. Use [`new_rcu_box!`].
    pub fn new(
        value: KBox<T>,
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        // INVARIANT: From `KBox::into_raw()`.
        pin_init!(Self {
            current: Atomic::new(KBox::into_raw(value)),
            writer <- Mutex::new((), name, class),
            _owns: PhantomData,
        })
    }

    /// The current value, for as long as the RCU read lock is held. Any context.
    #[inline]
    pub fn read<'a>(&'a self, _rcu: &'a rcu::Guard) -> &'a T {
        // `Full` on the writing side orders the value's initialisation before its publication;
        // the address dependency orders this side.
        let current = self.current.load(Relaxed);
        // SAFETY: By the type invariant the box lives for a grace period after its replacement,
        // and the guard keeps that from passing.
        unsafe { &*current }
    }

    /// Waits for other writers. Sleeps.
    pub fn write(&self) -> Writer<'_, T> {
        Writer {
            _only: self.writer.lock(),
            value: self,
        }
    }
}

#[pinned_drop]
impl<T> PinnedDrop for RcuBox<T> {
    fn drop(self: Pin<&mut Self>) {
        let current = self.current.xchg(ptr::null_mut(), Full);
        // SAFETY: By the type invariant; `&mut self` means that there is neither reader nor writer.
        drop(unsafe { KBox::from_raw(current) });
    }
}

/// The only writer of an [`RcuBox`]. It reads the value that it may replace.
pub struct Writer<'a, T> {
    _only: MutexGuard<'a, ()>,
    value: &'a RcuBox<T>,
}

impl<T> Deref for Writer<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariant of `RcuBox` nobody else replaces the value, so that it lives
        // as long as this writer.
        unsafe { &*self.value.current.load(Relaxed) }
    }
}

impl<T> Writer<'_, T> {
    /// Replaces the value, waits until no reader has the old one, and gives that back. Sleeps.
    pub fn replace(self, value: KBox<T>) -> KBox<T> {
        let old = self.value.current.xchg(KBox::into_raw(value), Full);
        compat::synchronize_rcu();
        // SAFETY: It comes from `KBox::into_raw()`; it is unreachable since the exchange, and a
        // grace period has passed, so that no reader has it.
        unsafe { KBox::from_raw(old) }
    }

    /// Replaces the value without waiting. Process context.
    pub fn retire(self, value: KBox<T>) -> Retired<T> {
        let old = self.value.current.xchg(KBox::into_raw(value), Full);
        // INVARIANT: From `KBox::into_raw()`, and unreachable since the exchange; the grace period
        // begins after that.
        Retired {
            old,
            // SAFETY: No requirements.
            grace: unsafe { bindings::thop_rcu_begin() },
            _owns: PhantomData,
        }
    }
}

/// A value that has been replaced, and that readers may still have. Dropping it waits for them if
/// they are not gone: see [`Retired::is_over()`].
///
/// # Invariants
///
/// `old` comes from `KBox::into_raw()`, belongs to this object, and can be reached only by readers
/// that began before the end of the grace period `grace`.
pub struct Retired<T> {
    old: *mut T,
    grace: u64,
    _owns: PhantomData<T>,
}

// SAFETY: It owns a `T`, to which other threads may have shared references for a while.
unsafe impl<T: Send + Sync> Send for Retired<T> {}

impl<T> Retired<T> {
    /// Whether no reader has the value any more, so that dropping it does not wait. Any context.
    pub fn is_over(&self) -> bool {
        // SAFETY: `grace` was given by `thop_rcu_begin()`.
        unsafe { bindings::thop_rcu_is_over(self.grace) }
    }

    /// The value, when no reader has it any more. Sleeps.
    pub fn wait(&mut self) -> &mut T {
        if !self.is_over() {
            compat::synchronize_rcu();
        }
        // SAFETY: By the type invariant it is ours, and no reader has it any more.
        unsafe { &mut *self.old }
    }
}

impl<T> Drop for Retired<T> {
    /// Process context.
    fn drop(&mut self) {
        self.wait();
        // SAFETY: From `KBox::into_raw()`; as above.
        drop(unsafe { KBox::from_raw(self.old) });
    }
}
