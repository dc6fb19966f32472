// SPDX-License-Identifier: GPL-2.0

//! A heap that runs out when a test says so.

use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
};
use thop_core::heap::{Heap, List, OutOfMemory};

thread_local! {
    /// How many more elements this thread's heap can take.
    pub static ROOM: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// A heap that can run out.
pub struct ScarceHeap;

pub struct ScarceList<T>(Vec<T>);

impl Heap for ScarceHeap {
    type List<T> = ScarceList<T>;
}

impl<T> Default for ScarceList<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for ScarceList<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for ScarceList<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> List<T> for ScarceList<T> {
    fn try_push(&mut self, value: T) -> Result<(), OutOfMemory> {
        let left = ROOM.get().checked_sub(1).ok_or(OutOfMemory)?;
        ROOM.set(left);
        self.0.push(value);
        Ok(())
    }

    fn try_extend(&mut self, values: &[T]) -> Result<(), OutOfMemory>
    where
        T: Copy,
    {
        let left = ROOM.get().checked_sub(values.len() as u64);
        ROOM.set(left.ok_or(OutOfMemory)?);
        self.0.extend_from_slice(values);
        Ok(())
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
