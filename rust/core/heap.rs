// SPDX-License-Identifier: GPL-2.0

//! Memory that can run out.
//!
//! The kernel's vectors and the host's have nothing in common but their idea. Logic that must keep
//! things of a number not known beforehand is generic over a [`Heap`], which says what a vector is
//! here; every growth can fail, and failure is an ordinary error.

use core::ops::DerefMut;

/// There was no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// A growable array whose growth can fail.
pub trait List<T>: Default + DerefMut<Target = [T]> {
    /// Appends `value`.
    fn try_push(&mut self, value: T) -> Result<(), OutOfMemory>;

    /// Appends all of `values`, or nothing.
    fn try_extend(&mut self, values: &[T]) -> Result<(), OutOfMemory>
    where
        T: Copy;

    /// Removes the last element and returns it.
    fn pop(&mut self) -> Option<T>;

    /// Removes all elements, and keeps the memory.
    fn clear(&mut self);
}

/// Where memory comes from.
pub trait Heap {
    /// The growable array of this heap.
    type List<T>: List<T>;
}

/// The host's heap, for tests, benchmarks and user-space programs.
#[cfg(not(MODULE))]
pub struct StdHeap;

#[cfg(not(MODULE))]
impl Heap for StdHeap {
    type List<T> = alloc::vec::Vec<T>;
}

#[cfg(not(MODULE))]
impl<T> List<T> for alloc::vec::Vec<T> {
    fn try_push(&mut self, value: T) -> Result<(), OutOfMemory> {
        self.try_reserve(1).map_err(|_| OutOfMemory)?;
        self.push(value);
        Ok(())
    }

    fn try_extend(&mut self, values: &[T]) -> Result<(), OutOfMemory>
    where
        T: Copy,
    {
        self.try_reserve(values.len()).map_err(|_| OutOfMemory)?;
        self.extend_from_slice(values);
        Ok(())
    }

    fn pop(&mut self) -> Option<T> {
        alloc::vec::Vec::pop(self)
    }

    fn clear(&mut self) {
        alloc::vec::Vec::clear(self);
    }
}
