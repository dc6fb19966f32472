// SPDX-License-Identifier: GPL-2.0

//! What differs between kernel series, in one place.
//!
//! The crate builds on 7.2 and later. What 7.2's `kernel` crate lacks is spelled out here and used
//! on all series alike.

use core::borrow::Borrow;

use kernel::error::Error;

use crate::bindings;

/// Waits until all RCU readers of this moment are done. Sleeps. (`kernel::sync::rcu` has it since
/// 7.3.)
pub(crate) fn synchronize_rcu() {
    // SAFETY: Callers are in process context, in no read-side section.
    unsafe { bindings::synchronize_rcu() }
}

/// No route to host. (Not among the `kernel` crate's error codes before 7.3.)
pub(crate) fn no_route() -> Error {
    Error::from_errno(-(bindings::EHOSTUNREACH as i32))
}

/// The value of a module parameter, which kernels before 7.3 lend and later ones give.
pub fn parameter<T: Copy>(value: impl Borrow<T>) -> T {
    *value.borrow()
}
