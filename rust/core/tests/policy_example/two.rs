// SPDX-License-Identifier: GPL-2.0

//! `two`: the less loaded of two servers that chance picks (Mitzenmacher 2001).
//!
//! Nearly as even as the least loaded of all, at a cost that does not grow with the pool.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{hash, Choice, Class, Member, Policy, Servers, Setup};
use crate::heap::{Heap, List, OutOfMemory};

pub(super) const NAME: &str = "two";
pub(super) const OPTIONS: &[Choice] = &[];

/// Two random choices.
pub struct TwoChoices<H: Heap> {
    /// Who takes part.
    servers: H::List<u16>,
    /// How often was chosen: hashed, that is random enough.
    choices: AtomicU64,
}

impl<H: Heap> TwoChoices<H> {
    /// One of the servers, by a random number.
    fn pick(&self, random: u64) -> Option<usize> {
        let place = random.checked_rem(self.servers.len() as u64)?;
        Some(usize::from(*self.servers.get(place as usize)?))
    }
}

impl<H: Heap> Policy for TwoChoices<H> {
    fn initialise(
        _setup: &Setup<'_>,
        members: &[Member<'_>],
        before: Option<&Self>,
    ) -> Result<Self, OutOfMemory> {
        let mut servers: H::List<u16> = Default::default();
        for (member, index) in members.iter().zip(0..) {
            if member.weight > 0 {
                servers.try_push(index)?;
            }
        }
        Ok(Self {
            servers,
            choices: AtomicU64::new(before.map_or(0, |before| before.choices.load(Relaxed))),
        })
    }

    fn select(&self, _class: Class, servers: &impl Servers) -> Option<usize> {
        let random = hash::mix(self.choices.fetch_add(1, Relaxed));
        let two = [random >> 32, random & 0xffff_ffff].map(|random| self.pick(random));
        let usable = two.into_iter().flatten().filter(|&s| servers.usable(s));
        let chosen = usable.min_by_key(|&server| servers.connections(server));
        // Chance has picked none that can be used. Whoever can is better than nobody.
        chosen.or_else(|| {
            let mut all = self.servers.iter().map(|&server| usize::from(server));
            all.find(|&server| servers.usable(server))
        })
    }
}
