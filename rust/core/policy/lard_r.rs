// SPDX-License-Identifier: GPL-2.0

//! `lard/r`: locality-aware request distribution with replication (Pai et al., ASPLOS 1998,
//! figure 3).
//!
//! As `lard`, but a target has a set of servers, of which the least loaded gets the request. When
//! that one is overloaded the least loaded of all servers joins the set. When the set has not changed
//! for `decay`, its most loaded server leaves it. So one target may keep several servers busy.

use core::sync::atomic::{AtomicU16, AtomicU32, Ordering::Relaxed};

use super::{
    lard::{Thresholds, HIGH, LOW},
    least::Field,
    targets::{self, Targets},
    Choice, Class, Member, Policy, Servers, Setup, Value,
};
use crate::{
    heap::{Heap, List, OutOfMemory},
    request::Request,
};

pub(super) const NAME: &str = "lard/r";
pub(super) const OPTIONS: &[Choice] = &[LOW, HIGH, DECAY, targets::ENTRIES];

/// How long a set stays as it is before one leaves it.
const DECAY: Choice = Choice {
    name: "decay",
    value: Value::Duration(100, 3_600_000),
};
/// That of the paper.
const DEFAULT_DECAY_MS: u32 = 20_000;

/// The greatest number of servers that have one target: with the time, as many as 32 octets hold.
/// One more would take the place of the most loaded.
const REPLICAS: usize = 14;

/// Locality-aware request distribution with replication.
pub struct LardR<H: Heap> {
    thresholds: Thresholds,
    decay_ms: u32,
    field: Field<H>,
    targets: Targets<H>,
    /// Of each target's slot.
    sets: H::List<Set>,
}

/// The servers of a target.
struct Set {
    /// Their indices, each plus one; or 0.
    servers: [AtomicU16; REPLICAS],
    /// When the set changed last, in milliseconds, modulo 2^32.
    changed: AtomicU32,
}

/// What a look at a set has shown.
#[derive(Default)]
struct View {
    /// The least loaded usable server.
    least: Option<usize>,
    /// The most loaded server, with its place in the set.
    most: Option<(usize, usize)>,
    /// A place that nobody has.
    free: Option<usize>,
    size: usize,
}

impl Set {
    fn new(before: Option<&Self>) -> Self {
        let server = |place| before.and_then(|before| before.servers.get(place));
        Self {
            servers: core::array::from_fn(|place| {
                AtomicU16::new(server(place).map_or(0, |server| server.load(Relaxed)))
            }),
            changed: AtomicU32::new(before.map_or(0, |before| before.changed.load(Relaxed))),
        }
    }

    fn clear(&self) {
        for server in &self.servers {
            server.store(0, Relaxed);
        }
    }

    /// Looks at the servers. Those that have no weight any more leave.
    #[inline]
    fn look<H: Heap>(&self, field: &Field<H>, servers: &impl Servers) -> View {
        let mut view = View::default();
        for (place, word) in self.servers.iter().enumerate() {
            let server = match usize::from(word.load(Relaxed)).checked_sub(1) {
                Some(server) if field.takes_part(server) => server,
                gone => {
                    if gone.is_some() {
                        word.store(0, Relaxed);
                    }
                    view.free = view.free.or(Some(place));
                    continue;
                }
            };
            view.size = view.size.wrapping_add(1);
            let more = |other| field.compare(server, other, servers).is_gt();
            if view.most.is_none_or(|(_, most)| more(most)) {
                view.most = Some((place, server));
            }
            let less = |other| field.compare(server, other, servers).is_lt();
            if view.least.is_none_or(less) && servers.usable(server) {
                view.least = Some(server);
            }
        }
        view
    }

    fn has(&self, server: usize) -> bool {
        let word = server.wrapping_add(1) as u16;
        self.servers.iter().any(|other| other.load(Relaxed) == word)
    }

    #[inline]
    fn put(&self, place: usize, word: u16) {
        if let Some(server) = self.servers.get(place) {
            server.store(word, Relaxed);
        }
    }
}

impl<H: Heap> LardR<H> {
    #[inline]
    fn select_from(&self, set: &Set, now_ms: u32, servers: &impl Servers) -> Option<usize> {
        let mut view = set.look(&self.field, servers);
        let mut chosen = view.least;
        let mut changed = false;
        let stays = |&server: &usize| !self.thresholds.exceeded(server, &self.field, servers);
        if view.least.filter(stays).is_none() {
            chosen = self.field.choose(servers);
            if let Some(server) = chosen.filter(|&server| !set.has(server)) {
                // A set that is full changes its most loaded server for the new one.
                let place = view
                    .free
                    .or_else(|| view.most.take().map(|(place, _)| place));
                set.put(place.unwrap_or(0), server.wrapping_add(1) as u16);
                view.size = view.size.wrapping_add(1);
                changed = true;
            }
        }
        let age = targets::elapsed_ms(set.changed.load(Relaxed), now_ms);
        if let Some((place, _)) = view.most {
            // As the paper has it: the time is that before the one who has just joined.
            if view.size > 1 && age > self.decay_ms {
                set.put(place, 0);
                changed = true;
            }
        }
        if changed {
            set.changed.store(now_ms, Relaxed);
        }
        chosen
    }
}

impl<H: Heap> Policy for LardR<H> {
    fn initialise(
        setup: &Setup<'_>,
        members: &[Member<'_>],
        before: Option<&Self>,
    ) -> Result<Self, OutOfMemory> {
        // The keys first: what changes meanwhile is, at worst, another target's set.
        let targets = Targets::new(setup, before.map(|before| &before.targets))?;
        let sets_before = before.filter(|before| targets.continues(&before.targets));
        let mut sets: H::List<Set> = Default::default();
        for index in 0..targets.len() {
            let set = sets_before.and_then(|before| before.sets.get(index));
            sets.try_push(Set::new(set))?;
        }
        Ok(Self {
            thresholds: Thresholds::new(setup),
            decay_ms: setup.duration_ms(DECAY.name, DEFAULT_DECAY_MS),
            field: Field::new(members, true, before.map(|before| &before.field))?,
            targets,
            sets,
        })
    }

    #[inline]
    fn classify(&self, request: &Request<'_>) -> Class {
        Targets::<H>::classify(request)
    }

    #[inline]
    fn select(&self, class: Class, servers: &impl Servers) -> Option<usize> {
        let now_ms = servers.now_ms() as u32;
        let slot = self.targets.slot(class, now_ms);
        match slot.and_then(|slot| Some((slot, self.sets.get(slot.index)?))) {
            Some((slot, set)) => {
                if !slot.known {
                    set.clear();
                    set.changed.store(now_ms, Relaxed);
                }
                self.select_from(set, now_ms, servers)
            }
            None => self.field.choose(servers),
        }
    }
}
