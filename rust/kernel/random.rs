// SPDX-License-Identifier: GPL-2.0

//! Random numbers.

use crate::bindings;

/// A random number from the kernel's generator. Any context.
pub fn number() -> u64 {
    // SAFETY: No requirements.
    unsafe { bindings::get_random_u64() }
}
