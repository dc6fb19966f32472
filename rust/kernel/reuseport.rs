// SPDX-License-Identifier: GPL-2.0

//! Groups of listeners that share an address and port (`SO_REUSEPORT`).

use core::iter;

use crate::bindings;

/// The members of the group that a listener belongs to, or the listener alone.
///
/// # Safety
///
/// `listener` is a listening socket, valid for the RCU read-side section that the caller is in, and stays in as long as it has
/// the iterator or what that gives: the group and its members are freed by RCU.
pub(crate) unsafe fn members(
    listener: *mut bindings::sock,
) -> impl Iterator<Item = *mut bindings::sock> {
    // SAFETY: By the function's requirements.
    let (group, size) = unsafe {
        let group = bindings::thop_reuseport_group(listener);
        if group.is_null() {
            (group, 0)
        } else {
            (group, bindings::thop_reuseport_size(group))
        }
    };
    let members = (0..size).map(move |index| {
        // SAFETY: By the function's requirements. Below the size that was read, all members are or were in place.
        unsafe { bindings::thop_reuseport_member(group, index) }.cast_mut()
    });
    let alone = iter::once(listener).filter(move |_| group.is_null());
    members.chain(alone)
}
