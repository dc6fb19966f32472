// SPDX-License-Identifier: GPL-2.0

//! The clock that deadlines and ages are counted in.

use crate::bindings;

/// Returns the milliseconds since the machine was booted (`CLOCK_BOOTTIME`, coarse): with the resolution of the
/// kernel's ticks, and cheap to read.
///
/// It never goes back, and goes on while the machine is suspended. A virtual machine that its host has paused is not told: its
/// clock has stood still. Any context.
#[inline]
pub fn now_ms() -> u64 {
    // SAFETY: Reads a clock; no requirements.
    unsafe { bindings::thop_now_ms() }
}
