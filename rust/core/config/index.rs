// SPDX-License-Identifier: GPL-2.0

//! Finding things in lists: by hash, and by group.

use core::hash::{Hash, Hasher};

use super::text::Span;
use crate::heap::{Heap, List, OutOfMemory};

/// FNV-1a (draft-eastlake-fnv). Who may write the configuration has easier means to slow the
/// machine down than collisions, so it need not be a keyed hash.
pub(crate) struct Fnv(u64);

impl Fnv {
    /// The hash of nothing.
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// The hash with another octet behind what was hashed.
    #[inline]
    pub(crate) fn push(&mut self, octet: u8) {
        self.0 = (self.0 ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
    }

    /// The hash, in the bits that an [`Index`] wants.
    #[inline]
    pub(crate) fn folded(&self) -> u32 {
        (self.0 ^ (self.0 >> 32)) as u32
    }
}

impl Hasher for Fnv {
    fn write(&mut self, octets: &[u8]) {
        for &octet in octets {
            self.push(octet);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The hash of a key, for an [`Index`].
pub(crate) fn hash(key: impl Hash) -> u32 {
    let mut fnv = Fnv::new();
    key.hash(&mut fnv);
    fnv.folded()
}

/// A hash table of indices into a list: open addressing, linear probing, at most half full.
pub(crate) struct Index<H: Heap> {
    /// As many as a power of two, or none at all.
    slots: H::List<Option<(u32, u32)>>,
    used: usize,
}

impl<H: Heap> Index<H> {
    /// An empty one, which needs no memory.
    pub(crate) fn new() -> Self {
        Self {
            slots: Default::default(),
            used: 0,
        }
    }

    /// The slot of what has this hash and is `it`, or else the free slot for it.
    fn slot(&self, hash: u32, mut it: impl FnMut(u32) -> bool) -> Option<usize> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        for _ in 0..self.slots.len() {
            match *self.slots.get(at)? {
                Some((h, id)) if h != hash || !it(id) => at = at.wrapping_add(1) & mask,
                _ => return Some(at),
            }
        }
        None
    }

    /// What has this hash and is `it`.
    pub(crate) fn find(&self, hash: u32, it: impl FnMut(u32) -> bool) -> Option<u32> {
        let slot = self.slots.get(self.slot(hash, it)?)?;
        slot.map(|(_, id)| id)
    }

    /// Puts in what was not found.
    pub(crate) fn insert(&mut self, hash: u32, id: u32) -> Result<(), OutOfMemory> {
        if self.used >= self.slots.len() / 2 {
            self.grow()?;
        }
        self.put(hash, id);
        Ok(())
    }

    fn put(&mut self, hash: u32, id: u32) {
        let at = self.slot(hash, |_| false);
        if let Some(slot) = at.and_then(|at| self.slots.get_mut(at)) {
            *slot = Some((hash, id));
            self.used = self.used.saturating_add(1);
        }
    }

    fn grow(&mut self) -> Result<(), OutOfMemory> {
        let mut new = Self::new();
        for _ in 0..self.slots.len().saturating_mul(2).max(16) {
            new.slots.try_push(None)?;
        }
        for &(hash, id) in self.slots.iter().flatten() {
            new.put(hash, id);
        }
        *self = new;
        Ok(())
    }
}

/// Sorts `items` by group, keeping their order in each group; also tells where each group is.
#[allow(clippy::type_complexity)] // As simple as a pair can be.
pub(crate) fn group<H: Heap, T: Copy>(
    items: &[T],
    groups: usize,
    group_of: impl Fn(&T) -> usize,
) -> Result<(H::List<T>, H::List<Span>), OutOfMemory> {
    let mut sorted: H::List<T> = Default::default();
    let mut spans: H::List<Span> = Default::default();
    for _ in 0..groups {
        spans.try_push(Span::default())?;
    }
    for item in items {
        // Any value will do; each is overwritten below.
        sorted.try_push(*item)?;
        if let Some(span) = spans.get_mut(group_of(item)) {
            span.len = span.len.saturating_add(1);
        }
    }
    let mut start = 0u32;
    for span in spans.iter_mut() {
        span.start = start;
        start = start.saturating_add(span.len);
        // Counted anew as the group is filled.
        span.len = 0;
    }
    for item in items {
        if let Some(span) = spans.get_mut(group_of(item)) {
            if let Some(place) = sorted.get_mut(span.end()) {
                *place = *item;
            }
            span.len = span.len.saturating_add(1);
        }
    }
    Ok((sorted, spans))
}
