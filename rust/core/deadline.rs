// SPDX-License-Identifier: GPL-2.0

//! Things to do later, the earliest first.
//!
//! A binary heap in an array: the children of element `i` are `2i + 1` and `2i + 2`, and none is due
//! before its parent. Nothing is ever taken out early: whoever finds, when a deadline comes, that
//! the matter is settled, does nothing.

use crate::heap::{
    Heap,
    List,
    OutOfMemory, //
};

/// A queue of keys, each with the time at which it is due. Times are milliseconds of any clock that
/// does not go back.
pub struct Deadlines<H: Heap, K> {
    heap: H::List<(u64, K)>,
}

impl<H: Heap, K> Default for Deadlines<H, K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Heap, K> Deadlines<H, K> {
    /// An empty queue.
    pub fn new() -> Self {
        Self {
            heap: Default::default(),
        }
    }

    /// How many keys are waiting.
    #[inline]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none is waiting.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// When the next key is due.
    #[inline]
    pub fn next(&self) -> Option<u64> {
        self.heap.first().map(|(due_ms, _)| *due_ms)
    }

    /// Adds `key`, due at `due_ms`. Without memory for it the queue stays as it was.
    pub fn push(&mut self, due_ms: u64, key: K) -> Result<(), OutOfMemory> {
        let end = self.heap.len();
        self.heap.try_push((due_ms, key))?;
        rise(&mut self.heap, end);
        Ok(())
    }

    /// Takes the key that is due first, if it is due at `now_ms`. Keys due at the same time come in
    /// no particular order.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<K> {
        if self.next()? > now_ms {
            return None;
        }
        let last = self.heap.len().checked_sub(1)?;
        swap(&mut self.heap, 0, last);
        let (_, key) = self.heap.pop()?;
        sink(&mut self.heap);
        Some(key)
    }
}

/// Whether element `a` is due before element `b`. An element that is not there never is.
#[inline]
fn before<K>(heap: &[(u64, K)], a: usize, b: usize) -> bool {
    matches!((heap.get(a), heap.get(b)), (Some((a, _)), Some((b, _))) if a < b)
}

/// Exchanges two elements that are there.
#[inline]
fn swap<K>(heap: &mut [(u64, K)], a: usize, b: usize) {
    if a < heap.len() && b < heap.len() {
        heap.swap(a, b);
    }
}

/// Moves element `at` up until its parent is not due after it.
fn rise<K>(heap: &mut [(u64, K)], mut at: usize) {
    while let Some(above) = at.checked_sub(1) {
        let parent = above / 2;
        if !before(heap, at, parent) {
            break;
        }
        swap(heap, at, parent);
        at = parent;
    }
}

/// Moves the first element down until none of its children is due before it.
fn sink<K>(heap: &mut [(u64, K)]) {
    let mut at = 0usize;
    loop {
        // The length of an array is at most `isize::MAX` octets: these do not wrap in it.
        let left = at.wrapping_mul(2).wrapping_add(1);
        let right = left.wrapping_add(1);
        let child = if before(heap, right, left) {
            right
        } else {
            left
        };
        if !before(heap, child, at) {
            break;
        }
        swap(heap, at, child);
        at = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::StdHeap;

    #[test]
    fn the_earliest_comes_first_and_only_when_due() {
        let mut queue = Deadlines::<StdHeap, u32>::new();
        assert_eq!(queue.next(), None);
        assert_eq!(queue.pop_due(u64::MAX), None);
        for due_ms in [5, 1, 4, 1, 3, 9, 2, 6] {
            queue.push(due_ms, due_ms as u32).unwrap();
        }
        assert_eq!(queue.len(), 8);
        assert_eq!(queue.next(), Some(1));
        assert_eq!(queue.pop_due(0), None);
        let mut order = std::vec::Vec::new();
        while let Some(key) = queue.pop_due(5) {
            order.push(key);
        }
        assert_eq!(order, [1, 1, 2, 3, 4, 5]);
        assert_eq!(queue.next(), Some(6));
        assert!(!queue.is_empty());
    }
}
