// SPDX-License-Identifier: GPL-2.0

//! The worker's lists of children, linked through the children themselves.

use core::ptr;

use super::{
    Child,
    Dispatcher, //
};

/// A child's place on a list.
pub(super) struct Links<D: Dispatcher> {
    pub(super) list: *mut Deadlines<D>,
    pub(super) previous: *mut Child<D>,
    pub(super) next: *mut Child<D>,
}

/// Children in the order of their deadlines.
pub(super) struct Deadlines<D: Dispatcher> {
    pub(super) first: *mut Child<D>,
    last: *mut Child<D>,
    pub(super) len: u32,
}

impl<D: Dispatcher> Deadlines<D> {
    pub(super) const fn new() -> Self {
        Self {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
            len: 0,
        }
    }

    /// # Safety
    ///
    /// Called by the worker; `child` is on no list and stays alive until it is unlinked; `list` does
    /// not move.
    pub(super) unsafe fn append(list: *mut Self, child: *mut Child<D>) {
        // SAFETY: By the function's requirements all of these are valid and the worker's alone.
        unsafe {
            *(*child).links.get() = Links {
                list,
                previous: (*list).last,
                next: ptr::null_mut(),
            };
            if (*list).last.is_null() {
                (*list).first = child;
            } else {
                (*(*(*list).last).links.get()).next = child;
            }
            (*list).last = child;
            (*list).len += 1;
        }
    }

    /// # Safety
    ///
    /// Called by the worker; `child` is valid, on a list or on none.
    pub(super) unsafe fn unlink(child: *mut Child<D>) {
        // SAFETY: By the requirements of `append()` neighbours on a list are valid.
        unsafe {
            let links = &mut *(*child).links.get();
            if links.list.is_null() {
                return;
            }
            if links.previous.is_null() {
                (*links.list).first = links.next;
            } else {
                (*(*links.previous).links.get()).next = links.next;
            }
            if links.next.is_null() {
                (*links.list).last = links.previous;
            } else {
                (*(*links.next).links.get()).previous = links.previous;
            }
            (*links.list).len -= 1;
            links.list = ptr::null_mut();
        }
    }
}
