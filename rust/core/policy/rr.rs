// SPDX-License-Identifier: GPL-2.0

//! `rr`: the servers take turns, whatever their weights (but for weight 0).

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::{turns, Choice, Class, Member, Policy, Servers, Setup};
use crate::heap::{Heap, OutOfMemory};

pub(super) const NAME: &str = "rr";
pub(super) const OPTIONS: &[Choice] = &[];

/// Round robin.
pub struct RoundRobin<H: Heap> {
    /// Who takes part.
    ring: H::List<u16>,
    /// Whose turn it is, modulo their number.
    cursor: AtomicU32,
}

impl<H: Heap> Policy for RoundRobin<H> {
    fn initialise(
        _setup: &Setup<'_>,
        members: &[Member<'_>],
        before: Option<&Self>,
    ) -> Result<Self, OutOfMemory> {
        Ok(Self {
            ring: turns::ring::<H>(members)?,
            cursor: AtomicU32::new(before.map_or(0, |before| before.cursor.load(Relaxed))),
        })
    }

    #[inline]
    fn select(&self, _class: Class, servers: &impl Servers) -> Option<usize> {
        turns::next(&self.ring, &self.cursor, servers)
    }
}
