// SPDX-License-Identifier: GPL-2.0

//! The clock that deadlines and ages are counted in.

use crate::bindings;

/// Milliseconds since boot, of the coarse monotonic clock (a tick's resolution, cheap to read).
///
/// Any context.
#[inline]
pub fn now_ms() -> u64 {
    // SAFETY: Reads a clock; no requirements.
    unsafe { bindings::thop_now_ms() }
}
