// SPDX-License-Identifier: GPL-2.0

//! Marks for bench/instructions.

/// Sets a mark: an instruction that does nothing, and that the plugin in QEMU knows.
#[inline(always)]
pub fn mark() {
    // SAFETY: It exchanges a register with itself.
    unsafe { std::arch::asm!("xchg bx, bx", options(nomem, nostack, preserves_flags)) }
}
