// SPDX-License-Identifier: GPL-2.0

//! A queue of bounded length that takes all its memory at the start.

use crate::heap::{Heap, List, OutOfMemory};

/// First in, first out.
pub struct Ring<H: Heap, T> {
    places: H::List<Option<T>>,
    first: usize,
    len: usize,
}

impl<H: Heap, T> Ring<H, T> {
    /// A queue without room.
    pub fn none() -> Self {
        Self {
            places: Default::default(),
            first: 0,
            len: 0,
        }
    }

    /// A queue with room for `room`.
    pub fn new(room: usize) -> Result<Self, OutOfMemory> {
        let mut ring = Self::none();
        for _ in 0..room {
            ring.places.try_push(None)?;
        }
        Ok(ring)
    }

    /// For how many there is room in all.
    pub fn room(&self) -> usize {
        self.places.len()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends `value`, or gives it back when there is no room.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.len >= self.places.len() {
            return Err(value);
        }
        match self.place(self.len) {
            Some(place) => *place = Some(value),
            None => return Err(value),
        }
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    /// Puts `value` before the first for which `later` is true, or after all; or gives it back when
    /// there is no room. It costs as many steps as there are before it.
    pub fn push_before(&mut self, value: T, mut later: impl FnMut(&T) -> bool) -> Result<(), T> {
        if self.len >= self.places.len() {
            return Err(value);
        }
        // A free place before all, to which those move up that stay before the new one.
        self.first = match self.first.checked_sub(1) {
            Some(before) => before,
            None => self.places.len().saturating_sub(1),
        };
        let mut free = 0;
        for next in 1..=self.len {
            let Some(stays) = self
                .place(next)
                .and_then(|place| place.take_if(|value| !later(value)))
            else {
                break;
            };
            if let Some(place) = self.place(free) {
                *place = Some(stays);
            }
            free = next;
        }
        match self.place(free) {
            Some(place) => *place = Some(value),
            None => return Err(value),
        }
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    /// The first.
    pub fn first(&self) -> Option<&T> {
        self.places.get(self.first)?.as_ref()
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<T> {
        let value = self.place(0)?.take()?;
        self.first = self
            .first
            .saturating_add(1)
            .checked_rem(self.places.len())?;
        self.len = self.len.saturating_sub(1);
        Some(value)
    }

    /// Keeps those for which `keep` is true, in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        for _ in 0..self.len {
            // There is room for one that has just been taken.
            if let Some(value) = self.pop().filter(&mut keep) {
                let _ = self.push(value);
            }
        }
    }

    /// The place of the `nth` from the first.
    fn place(&mut self, nth: usize) -> Option<&mut Option<T>> {
        let at = self
            .first
            .saturating_add(nth)
            .checked_rem(self.places.len())?;
        self.places.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::StdHeap;
    use proptest::prelude::*;
    use std::{collections::VecDeque, vec::Vec};

    proptest! {
        #[test]
        fn does_what_the_standard_library_does(room in 0usize..6, steps: Vec<u8>) {
            let mut ring = Ring::<StdHeap, u8>::new(room).unwrap();
            let mut model = VecDeque::new();
            for step in steps {
                match step % 8 {
                    7 => {
                        ring.retain(|value| value % 3 > 0);
                        model.retain(|value| value % 3 > 0);
                    }
                    0 | 1 | 4 | 5 if model.len() < room => {
                        ring.push(step).unwrap();
                        model.push_back(step);
                    }
                    2 | 6 if model.len() < room => {
                        ring.push_before(step, |value| *value > step).unwrap();
                        let at = model.iter().position(|value| *value > step);
                        model.insert(at.unwrap_or(model.len()), step);
                    }
                    0..=2 | 4..=6 => {
                        prop_assert_eq!(ring.push(step), Err(step));
                        prop_assert_eq!(ring.push_before(step, |_| true), Err(step));
                    }
                    _ => prop_assert_eq!(ring.pop(), model.pop_front()),
                }
                prop_assert_eq!(ring.first(), model.front());
                prop_assert_eq!(ring.len(), model.len());
                prop_assert_eq!(ring.is_empty(), model.is_empty());
                prop_assert_eq!(ring.room(), room);
            }
        }
    }
}
