// SPDX-License-Identifier: GPL-2.0

//! `lard`: locality-aware request distribution (Pai et al., ASPLOS 1998, figure 2).
//!
//! A target stays with the server that got it first, and so in that server's cache, until the
//! server is overloaded: it has more than `high` connections while another has less than `low`, or
//! twice `high`. Then the target moves to the least loaded server.
//!
//! The number of connections admitted in total, which the paper bounds too, is not this policy's
//! matter: a server's limit is that of its configuration.

use core::sync::atomic::{AtomicU16, Ordering::Relaxed};

use super::{
    least::Field,
    targets::{self, Slot, Targets},
    Choice, Class, Member, Policy, Servers, Setup, Value,
};
use crate::{
    heap::{Heap, List, OutOfMemory},
    request::Request,
};

pub(super) const NAME: &str = "lard";
pub(super) const OPTIONS: &[Choice] = &[LOW, HIGH, targets::ENTRIES];

/// Fewer connections than this: a server is idle enough to take others' targets.
pub(super) const LOW: Choice = Choice {
    name: "low",
    value: Value::Number(1, 1_000_000),
};
/// More connections than this: a server is busy.
pub(super) const HIGH: Choice = Choice {
    name: "high",
    value: Value::Number(1, 1_000_000),
};

/// When targets leave a server.
#[derive(Clone, Copy)]
pub(super) struct Thresholds {
    low: u32,
    high: u32,
}

impl Thresholds {
    /// Those of the options; of the paper, if there are none.
    pub(super) fn new(setup: &Setup<'_>) -> Self {
        Self {
            low: setup.number(LOW.name, 25),
            high: setup.number(HIGH.name, 65),
        }
    }

    /// Whether the server is overloaded. The thresholds are numbers of connections, whatever a
    /// server's weight.
    #[inline]
    pub(super) fn exceeded<H: Heap>(
        self,
        server: usize,
        field: &Field<H>,
        servers: &impl Servers,
    ) -> bool {
        let load = servers.connections(server);
        let idle = |other| servers.connections(other) < self.low;
        load >= self.high.saturating_mul(2) || (load > self.high && field.usable(servers).any(idle))
    }
}

/// Locality-aware request distribution.
pub struct Lard<H: Heap> {
    thresholds: Thresholds,
    field: Field<H>,
    targets: Targets<H>,
    /// Of each target's slot: its server's index, plus one; or 0.
    homes: H::List<AtomicU16>,
}

impl<H: Heap> Lard<H> {
    /// The target's server, if it still takes part and is usable.
    #[inline]
    fn home(&self, slot: Slot, servers: &impl Servers) -> Option<usize> {
        let home = self.homes.get(slot.index)?.load(Relaxed);
        let server = usize::from(home).checked_sub(1)?;
        (slot.known && self.field.takes_part(server) && servers.usable(server)).then_some(server)
    }
}

impl<H: Heap> Policy for Lard<H> {
    fn initialise(
        setup: &Setup<'_>,
        members: &[Member<'_>],
        before: Option<&Self>,
    ) -> Result<Self, OutOfMemory> {
        // The keys first: what changes meanwhile is, at worst, another target's home.
        let targets = Targets::new(setup, before.map(|before| &before.targets))?;
        let homes_before = before.filter(|before| targets.continues(&before.targets));
        let mut homes: H::List<AtomicU16> = Default::default();
        for index in 0..targets.len() {
            let home = homes_before.and_then(|before| before.homes.get(index));
            homes.try_push(AtomicU16::new(home.map_or(0, |home| home.load(Relaxed))))?;
        }
        Ok(Self {
            thresholds: Thresholds::new(setup),
            field: Field::new(members, true, before.map(|before| &before.field))?,
            targets,
            homes,
        })
    }

    #[inline]
    fn classify(&self, request: &Request<'_>) -> Class {
        Targets::<H>::classify(request)
    }

    #[inline]
    fn select(&self, class: Class, servers: &impl Servers) -> Option<usize> {
        let slot = self.targets.slot(class, servers.now_ms() as u32);
        if let Some(home) = slot.and_then(|slot| self.home(slot, servers)) {
            if !self.thresholds.exceeded(home, &self.field, servers) {
                return Some(home);
            }
        }
        let chosen = self.field.choose(servers);
        if let Some(home) = slot.and_then(|slot| self.homes.get(slot.index)) {
            home.store(
                chosen.map_or(0, |server| server.wrapping_add(1)) as u16,
                Relaxed,
            );
        }
        chosen
    }
}
