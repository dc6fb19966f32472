// SPDX-License-Identifier: GPL-2.0

//! The least loaded server: what the policies that look at connections share.

use core::{
    cmp::Ordering,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use super::{Member, Servers};
use crate::heap::{Heap, List, OutOfMemory};

/// CPUs are as busy as each other if they are so in steps of this many thousandths. Reports are
/// some time old and noisy: more exactness would send everything to one server until the next.
const CPU_STEP: u32 = 125;

/// The servers of a pool, by their places.
pub(super) struct Field<H: Heap> {
    runners: H::List<Runner>,
    /// How often a least loaded server was chosen.
    choices: AtomicU32,
}

/// A server.
struct Runner {
    weight: u32,
    /// The choice at which it was chosen last.
    chosen: AtomicU32,
}

impl<H: Heap> Field<H> {
    /// Servers whose load is the number of their connections in proportion to their weights; or,
    /// if not `weighted`, that number alone. `before` is what this replaces.
    pub(super) fn new(
        members: &[Member<'_>],
        weighted: bool,
        before: Option<&Self>,
    ) -> Result<Self, OutOfMemory> {
        let mut runners: H::List<Runner> = Default::default();
        for (index, member) in members.iter().enumerate() {
            let before = before.and_then(|before| before.runners.get(index));
            runners.try_push(Runner {
                weight: match weighted {
                    true => member.weight,
                    false => member.weight.min(1),
                },
                chosen: AtomicU32::new(before.map_or(0, |runner| runner.chosen.load(Relaxed))),
            })?;
        }
        Ok(Self {
            runners,
            choices: AtomicU32::new(before.map_or(0, |before| before.choices.load(Relaxed))),
        })
    }

    /// Whether the server is one of those that take part: it has a weight.
    #[inline]
    pub(super) fn takes_part(&self, server: usize) -> bool {
        self.weight(server) > 0
    }

    #[inline]
    fn weight(&self, server: usize) -> u32 {
        self.runners.get(server).map_or(0, |runner| runner.weight)
    }

    /// The usable servers that take part.
    #[inline]
    pub(super) fn usable<'a, S: Servers>(
        &'a self,
        servers: &'a S,
    ) -> impl Iterator<Item = usize> + 'a {
        let runners = self.runners.iter().enumerate();
        runners.filter_map(|(server, runner)| {
            (runner.weight > 0 && servers.usable(server)).then_some(server)
        })
    }

    /// Compares the loads of two servers: the connections that each would have, with one more, in
    /// proportion to its weight.
    #[inline]
    pub(super) fn compare(&self, a: usize, b: usize, servers: &impl Servers) -> Ordering {
        let load = |server, other| {
            // At most 2^32 times 2^32 - 1.
            (u64::from(servers.connections(server)).wrapping_add(1))
                .wrapping_mul(u64::from(self.weight(other)))
        };
        load(a, b).cmp(&load(b, a))
    }

    /// Chooses the least loaded usable server. Of several, one whose CPUs are less busy; of these,
    /// the one that was not chosen for the longest time, so that equal servers take turns.
    #[inline]
    pub(super) fn choose(&self, servers: &impl Servers) -> Option<usize> {
        let choice = self.choices.fetch_add(1, Relaxed).wrapping_add(1);
        let cpu = |server| servers.cpu(server) / CPU_STEP;
        let waiting = |server: usize| {
            let chosen = self.runners.get(server).map(|r| r.chosen.load(Relaxed));
            choice.wrapping_sub(chosen.unwrap_or(choice))
        };
        let server = self.usable(servers).reduce(|best, server| {
            let order = self
                .compare(server, best, servers)
                .then_with(|| cpu(server).cmp(&cpu(best)))
                .then_with(|| waiting(best).cmp(&waiting(server)));
            match order {
                Ordering::Less => server,
                _ => best,
            }
        })?;
        if let Some(runner) = self.runners.get(server) {
            runner.chosen.store(choice, Relaxed);
        }
        Some(server)
    }
}
