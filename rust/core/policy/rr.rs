// SPDX-License-Identifier: GPL-2.0

//! `rr`: the servers take turns, whatever their weights (but for weight 0).

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::{Choice, Class, Member, Policy, Servers, Setup};
use crate::heap::{Heap, List, OutOfMemory};

pub(super) const NAME: &str = "rr";
pub(super) const OPTIONS: &[Choice] = &[];

/// Round robin.
pub struct RoundRobin<H: Heap> {
    /// Who takes part.
    servers: H::List<u16>,
    /// Whose turn it is, modulo their number.
    turn: AtomicU32,
}

impl<H: Heap> Policy for RoundRobin<H> {
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
            turn: AtomicU32::new(before.map_or(0, |before| before.turn.load(Relaxed))),
        })
    }

    #[inline]
    fn select(&self, _class: Class, servers: &impl Servers) -> Option<usize> {
        let count = self.servers.len();
        let turn = self.turn.fetch_add(1, Relaxed) as usize;
        let mut places = (0..count).map(|step| turn.wrapping_add(step).checked_rem(count));
        places.find_map(|place| {
            let server = usize::from(*self.servers.get(place?)?);
            servers.usable(server).then_some(server)
        })
    }
}
