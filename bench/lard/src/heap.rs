// SPDX-License-Identifier: GPL-2.0

//! The host's memory, as `thop_core` sees it.

use std::ops::{Deref, DerefMut};
use thop_core::heap::{Heap, List, OutOfMemory};

pub struct HostHeap;

pub struct HostList<T>(Vec<T>);

impl Heap for HostHeap {
    type List<T> = HostList<T>;
}

impl<T> Default for HostList<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for HostList<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for HostList<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> List<T> for HostList<T> {
    fn try_push(&mut self, value: T) -> Result<(), OutOfMemory> {
        self.0.try_reserve(1).map_err(|_| OutOfMemory)?;
        self.0.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }
}
