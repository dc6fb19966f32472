// SPDX-License-Identifier: GPL-2.0

//! `wrr`: the servers take turns, as often as their weights say, and evenly spread.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::{turns::Weighted, Choice, Class, Member, Policy, Servers, Setup};
use crate::heap::{Heap, OutOfMemory};

pub(super) const NAME: &str = "wrr";
pub(super) const OPTIONS: &[Choice] = &[];

/// Smooth weighted round robin.
pub struct WeightedRoundRobin<H: Heap> {
    turns: Weighted<H>,
    /// The turns taken. It goes on when weights change: a pool that gets few requests between two
    /// changes would otherwise send all of them to whoever is first.
    cursor: AtomicU32,
}

impl<H: Heap> Policy for WeightedRoundRobin<H> {
    fn initialise(
        _setup: &Setup<'_>,
        members: &[Member<'_>],
        before: Option<&Self>,
    ) -> Result<Self, OutOfMemory> {
        Ok(Self {
            turns: Weighted::new(members, before.map(|before| &before.turns))?,
            cursor: AtomicU32::new(before.map_or(0, |before| before.cursor.load(Relaxed))),
        })
    }

    #[inline]
    fn select(&self, _class: Class, servers: &impl Servers) -> Option<usize> {
        self.turns.next(&self.cursor, servers)
    }
}
