// SPDX-License-Identifier: GPL-2.0

//! Which memory is asked for, and the kernel's vectors as heaps of the pure crate.

use core::ops::{
    Deref,
    DerefMut, //
};

use kernel::{
    alloc::{
        flags::*,
        Flags, //
    },
    prelude::*, //
};
use thop_core::heap::{
    Heap,
    List,
    OutOfMemory, //
};

/// Memory for process context: may sleep, may be large.
///
/// The log says nothing of failure: how much is asked for is a matter of parameters and configurations, and
/// who gives them is told.
#[inline]
pub fn may_sleep() -> Flags {
    GFP_KERNEL | __GFP_NOWARN
}

/// Memory for any context. That there is none is counted, and not told in the log packet by packet.
#[inline]
pub fn atomic() -> Flags {
    GFP_ATOMIC | __GFP_NOWARN
}

/// Memory of [`may_sleep()`].
pub struct ProcessHeap;

/// Memory of [`atomic()`]: contiguous, never sleeps.
pub struct AtomicHeap;

macro_rules! list {
    ($(#[$doc:meta])* $name:ident, $inner:ident, $flags:expr) => {
        $(#[$doc])*
        pub struct $name<T>($inner<T>);

        impl<T> Default for $name<T> {
            fn default() -> Self {
                Self($inner::new())
            }
        }

        impl<T> Deref for $name<T> {
            type Target = [T];

            fn deref(&self) -> &[T] {
                &self.0
            }
        }

        impl<T> DerefMut for $name<T> {
            fn deref_mut(&mut self) -> &mut [T] {
                &mut self.0
            }
        }

        impl<T> List<T> for $name<T> {
            fn try_push(&mut self, value: T) -> Result<(), OutOfMemory> {
                self.0.push(value, $flags).map_err(|_| OutOfMemory)
            }

            fn try_extend(&mut self, values: &[T]) -> Result<(), OutOfMemory>
            where
                T: Copy,
            {
                let extended = self.0.extend_from_slice(values, $flags);
                extended.map_err(|_| OutOfMemory)
            }

            fn pop(&mut self) -> Option<T> {
                self.0.pop()
            }

            fn clear(&mut self) {
                self.0.truncate(0);
            }
        }
    };
}

list!(
    /// A vector of [`ProcessHeap`].
    ProcessList,
    KVVec,
    may_sleep()
);
list!(
    /// A vector of [`AtomicHeap`].
    AtomicList,
    KVec,
    atomic()
);

impl Heap for ProcessHeap {
    type List<T> = ProcessList<T>;
}

impl Heap for AtomicHeap {
    type List<T> = AtomicList<T>;
}
