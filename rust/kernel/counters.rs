// SPDX-License-Identifier: GPL-2.0

//! Per-CPU counters.

use core::ptr::NonNull;

use kernel::prelude::*;

use crate::bindings;

/// A fixed number of 64-bit event counters, one set per CPU.
///
/// # Invariants
///
/// `counters` points to a per-CPU allocation of `len` `u64`, owned by this object.
pub struct Counters {
    counters: NonNull<u64>,
    len: u32,
}

// SAFETY: Each access goes through this_cpu operations or reads whole words, from any CPU.
unsafe impl Send for Counters {}
// SAFETY: As above.
unsafe impl Sync for Counters {}

impl Counters {
    /// Allocates `len` counters, all zero. Process context.
    pub fn new(len: u32) -> Result<Self> {
        // SAFETY: Plain allocation; no requirements.
        let counters = unsafe { bindings::thop_counters_alloc(len) };
        // INVARIANT: Just allocated with this length.
        Ok(Self {
            counters: NonNull::new(counters).ok_or(ENOMEM)?,
            len,
        })
    }

    /// Adds to a counter. An index that does not exist is ignored. Any context.
    #[inline]
    pub fn add(&self, index: usize, value: u64) {
        if index < self.len as usize {
            // SAFETY: By the type invariant the allocation has that counter.
            unsafe { bindings::thop_counter_add(self.counters.as_ptr(), index as u32, value) }
        }
    }

    /// The sum over all CPUs.
    pub fn sum(&self, index: usize) -> u64 {
        if index >= self.len as usize {
            return 0;
        }
        // SAFETY: By the type invariant the allocation has that counter.
        unsafe { bindings::thop_counter_sum(self.counters.as_ptr(), index as u32) }
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this is our allocation, and nobody else has it.
        unsafe { bindings::free_percpu(self.counters.as_ptr().cast()) }
    }
}
