// SPDX-License-Identifier: GPL-2.0

//! Which targets are remembered: a bounded map from a target's hash to a slot.
//!
//! The map is set-associative: a target can be in one of eight neighbouring slots, a cache line. If
//! all are taken, a new target gets that of the one that was not asked for the longest time.
//!
//! There is no lock. A slot's key is one atomic word, which a target claims by compare and swap; who
//! loses that race is not remembered this time. What policies keep for a slot is stored apart, so a
//! reader may see, for a moment, what was kept for the target before: it will send one request to
//! a server that has not got the target in its cache. No race can give an index that does not exist.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Choice, Class, Setup, Value};
use crate::{
    heap::{Heap, List, OutOfMemory},
    request::Request,
};

/// How many slots a target can be in.
const WAYS: usize = 8;

/// How much younger its last use must be to be noted, milliseconds: a slot that is read all the time
/// is not written all the time.
const FINENESS_MS: u32 = 64;

/// How many targets are remembered.
pub(super) const ENTRIES: Choice = Choice {
    name: "entries",
    value: Value::Number(1024, 4_194_304),
};
const DEFAULT_ENTRIES: u32 = 65536;

/// The targets.
pub(super) struct Targets<H: Heap> {
    /// Of each slot: who is there, and when it was asked for last. 0: nobody.
    keys: H::List<AtomicU64>,
}

/// A target's slot.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// Which.
    pub(super) index: usize,
    /// What is kept for it was kept for this target. Else it has just got the slot.
    pub(super) known: bool,
}

impl<H: Heap> Targets<H> {
    /// A map of as many entries as the options say. It remembers what `before` does, if that has as
    /// many.
    pub(super) fn new(setup: &Setup<'_>, before: Option<&Self>) -> Result<Self, OutOfMemory> {
        let entries = setup.number(ENTRIES.name, DEFAULT_ENTRIES) as usize;
        let entries = entries.max(WAYS).checked_next_power_of_two();
        let entries = entries.ok_or(OutOfMemory)?;
        let before = before.filter(|before| before.keys.len() == entries);
        let mut keys: H::List<AtomicU64> = Default::default();
        for index in 0..entries {
            let key = before.and_then(|before| before.keys.get(index));
            keys.try_push(AtomicU64::new(key.map_or(0, |key| key.load(Relaxed))))?;
        }
        Ok(Self { keys })
    }

    /// The number of slots.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether what was kept for the slots of `before` is for the same targets here.
    pub(super) fn continues(&self, before: &Self) -> bool {
        self.len() == before.len()
    }

    /// What a request asks for, as LARD sees it: its host and path, but not its query.
    #[inline]
    pub(super) fn classify(request: &Request<'_>) -> Class {
        let hash = super::hash::Hash::new(0);
        let hash = super::key::host_part(hash, request.host.unwrap_or(&[]));
        Class::of(hash.part(request.path))
    }

    /// The target's slot, which it gets if it has none. `None`: another CPU was faster.
    #[inline]
    pub(super) fn slot(&self, target: Class, now_ms: u32) -> Option<Slot> {
        // The set is chosen by the low bits, the tag has the high ones.
        let sets = self.keys.len() / WAYS;
        let first = (target.0 as usize & sets.wrapping_sub(1)).wrapping_mul(WAYS);
        let set = self.keys.get(first..first.wrapping_add(WAYS))?;
        let key = Key::new(target, now_ms);
        let mut victim = None;
        for (way, word) in set.iter().enumerate() {
            let found = Key(word.load(Relaxed));
            let index = first.wrapping_add(way);
            if found.tag() == key.tag() {
                if found.age(now_ms) >= FINENESS_MS {
                    // If that fails another CPU has noted it, or has given the slot away.
                    let _ = word.compare_exchange(found.0, key.0, Relaxed, Relaxed);
                }
                let known = true;
                return Some(Slot { index, known });
            }
            let age = match found.0 {
                0 => u64::from(u32::MAX).wrapping_add(1),
                _ => u64::from(found.age(now_ms)),
            };
            if victim.is_none_or(|(_, oldest, _, _)| age > oldest) {
                victim = Some((index, age, word, found));
            }
        }
        let (index, _, word, found) = victim?;
        word.compare_exchange(found.0, key.0, Relaxed, Relaxed)
            .ok()?;
        let known = false;
        Some(Slot { index, known })
    }
}

/// A target's tag, with the highest bit set, above the milliseconds of its last use.
#[derive(Clone, Copy)]
struct Key(u64);

impl Key {
    fn new(target: Class, now_ms: u32) -> Self {
        let tag = (target.0 >> (Class::BITS - 32)) | (1 << 31);
        Self((tag << 32) | u64::from(now_ms))
    }

    fn tag(self) -> u64 {
        self.0 >> 32
    }

    fn age(self, now_ms: u32) -> u32 {
        elapsed_ms(self.0 as u32, now_ms)
    }
}

/// The milliseconds between two times, which are known modulo 2^32, that is 49 days. None have gone by
/// if `then` is up to a second after `now`: it is what a CPU has written whose clock was ahead.
#[inline]
pub(super) fn elapsed_ms(then: u32, now: u32) -> u32 {
    let elapsed = now.wrapping_sub(then);
    if elapsed > u32::MAX - 1000 {
        0
    } else {
        elapsed
    }
}
