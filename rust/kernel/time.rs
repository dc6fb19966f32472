// SPDX-License-Identifier: GPL-2.0

//! The clock that deadlines and ages are counted in.

use crate::bindings;

/// Milliseconds of the kernel's ticks (`jiffies_64`), whose resolution they have. Nearly nothing is
/// cheaper to read. It begins somewhere and never goes back; it stops while the machine is suspended.
///
/// Any context.
#[inline]
pub fn now_ms() -> u64 {
    // SAFETY: Reads a clock; no requirements.
    unsafe { bindings::thop_now_ms() }
}
