// SPDX-License-Identifier: GPL-2.0

//! `maglev`: consistent hashing (Eisenbud et al., NSDI 2016, section 3.4), with weights.
//!
//! A request's key is hashed, and the hash is a place in a table of servers. Each server prefers the
//! places of the table in an order of its own. They choose in turn: each takes the first place in its
//! order that is still free. So servers have as many places as each other, and when one comes or
//! goes few of the others' places change.
//!
//! A server of twice the weight has two turns where the other has one. Turns are ordered by time: a
//! server has its first one at 0 and the next ones at intervals of 1/weight. When one server's
//! weight changes, the others' turns keep their times and thereby their order.
//!
//! The table depends on nothing but the identities and weights of the servers of a weight, and on
//! the size, which comes from the number of places in the pool. So all switches with the same
//! configuration send a key to the same server.

use super::{
    hash::{mix, Hash, GOLDEN},
    key::Key,
    Choice, Class, Member, Policy, Servers, Setup, Value,
};
use crate::{
    heap::{Heap, List, OutOfMemory},
    order,
    request::Request,
};

pub(super) const NAME: &str = "maglev";
pub(super) const OPTIONS: &[Choice] = &[KEY];

/// What is hashed.
const KEY: Choice = Choice {
    name: "key",
    value: Value::Key,
};

/// The sizes of tables, which are prime. The first that is a hundred times the number of members is
/// taken. A server has at most one place more than its weight says, and at most one percent less, by
/// the places that others have before their first interval is over. (A server that goes down keeps
/// its place in the pool, and does not change the size.)
const SIZES: [u32; 4] = [65_537, 131_101, 262_147, 409_609];

/// How often an unusable server makes the hash be hashed again.
const REHASHES: u64 = 8;

/// How many neighbouring places are looked at after that.
const STEPS: usize = 64;

/// A place that nobody has taken yet.
const FREE: u16 = u16::MAX;

/// Maglev hashing.
pub struct Maglev<H: Heap> {
    key: Key<H>,
    table: H::List<u16>,
    /// The servers in the table, each once, in the order of their identities.
    each: H::List<u16>,
}

/// A server that takes places.
struct Taker {
    /// The time of its next turn.
    time: u64,
    /// The time between its turns.
    interval: u64,
    /// The place that it likes best of those that it has not tried.
    place: u32,
    /// The distance to the one that it likes next; not a multiple of the table's size.
    skip: u32,
    identity: u64,
    server: u16,
}

impl Taker {
    fn new(member: &Member<'_>, server: u16, size: u32) -> Self {
        let number = |seed, below: u32| {
            let hash = Hash::new(seed).part(&member.identity.to_le_bytes());
            let number = hash.value().checked_rem(u64::from(below));
            number.unwrap_or(0) as u32
        };
        Self {
            time: 0,
            // At most 409609 intervals are added up.
            interval: (1u64 << 40)
                .checked_div(u64::from(member.weight))
                .unwrap_or(0)
                .max(1),
            place: number(1, size),
            skip: number(2, size.saturating_sub(1)).saturating_add(1),
            identity: member.identity,
            server,
        }
    }

    /// Whose turn is first.
    fn turn(&self) -> (u64, u64, u16) {
        (self.time, self.identity, self.server)
    }

    /// Takes the best free place. There must be one.
    fn take(&mut self, table: &mut [u16]) {
        let size = table.len() as u32;
        for _ in 0..size {
            let place = table.get_mut(self.place as usize);
            self.place = self.place.wrapping_add(self.skip);
            if self.place >= size {
                self.place = self.place.wrapping_sub(size);
            }
            if let Some(place) = place.filter(|place| **place == FREE) {
                *place = self.server;
                break;
            }
        }
        self.time = self.time.saturating_add(self.interval);
    }
}

/// Moves the first of the takers, whose turn has become later, to where it belongs in the heap.
fn sift_down(takers: &mut [Taker]) {
    let mut parent = 0usize;
    loop {
        let left = parent.saturating_mul(2).saturating_add(1);
        let right = left.saturating_add(1);
        let turn = |index: usize| takers.get(index).map(Taker::turn);
        let Some(left_turn) = turn(left) else {
            return;
        };
        let (child, child_turn) = match turn(right) {
            Some(right_turn) if right_turn < left_turn => (right, right_turn),
            _ => (left, left_turn),
        };
        if turn(parent).is_none_or(|parent_turn| parent_turn <= child_turn) {
            return;
        }
        if parent.max(child) < takers.len() {
            takers.swap(parent, child);
        }
        parent = child;
    }
}

impl<H: Heap> Maglev<H> {
    /// The servers that are asked for a class, in this order: those of the places that repeated
    /// hashing gives, then their neighbours. The same server can come more than once.
    #[inline]
    fn candidates(&self, class: Class) -> impl Iterator<Item = usize> + '_ {
        let size = self.table.len();
        let place = move |hash: u64| hash.checked_rem(size as u64).unwrap_or(0) as usize;
        let again = move |attempt| place(mix(class.0.wrapping_add(GOLDEN.wrapping_mul(attempt))));
        let hashed = core::iter::once(place(class.0)).chain((1..=REHASHES).map(again));
        let steps = (1..=STEPS).map(move |step| {
            let place = again(REHASHES).wrapping_add(step);
            place.checked_rem(size).unwrap_or(0)
        });
        hashed
            .chain(steps)
            .filter_map(|place| Some(usize::from(*self.table.get(place)?)))
    }

    /// The same for when none of these is usable: every server, beginning with one that the class
    /// decides.
    fn others(&self, class: Class) -> impl Iterator<Item = usize> + '_ {
        let count = self.each.len();
        let first = class.0.checked_rem(count as u64).unwrap_or(0) as usize;
        (0..count).filter_map(move |step| {
            let place = first.wrapping_add(step).checked_rem(count)?;
            Some(usize::from(*self.each.get(place)?))
        })
    }
}

impl<H: Heap> Policy for Maglev<H> {
    fn initialise(
        setup: &Setup<'_>,
        members: &[Member<'_>],
        _before: Option<&Self>,
    ) -> Result<Self, OutOfMemory> {
        let enough = members.len().saturating_mul(100);
        let largest = SIZES.iter().rev().take(1);
        let mut sizes = SIZES.iter().filter(|&&size| size as usize >= enough);
        let size = sizes.by_ref().chain(largest).next().map_or(0, |&size| size);

        let mut takers: H::List<Taker> = Default::default();
        for (member, server) in members.iter().zip(0..) {
            if member.weight > 0 {
                takers.try_push(Taker::new(member, server, size))?;
            }
        }
        // Sorted, it is a heap.
        order::sort_by_key(&mut takers, Taker::turn);
        let mut each: H::List<u16> = Default::default();
        for taker in takers.iter() {
            each.try_push(taker.server)?;
        }
        let mut table: H::List<u16> = Default::default();
        if !takers.is_empty() {
            for _ in 0..size {
                table.try_push(FREE)?;
            }
            for _ in 0..size {
                if let Some(first) = takers.first_mut() {
                    first.take(&mut table);
                }
                sift_down(&mut takers);
            }
        }
        Ok(Self {
            key: Key::named((setup.option)(KEY.name).unwrap_or_default())?,
            table,
            each,
        })
    }

    #[inline]
    fn classify(&self, request: &Request<'_>) -> Class {
        self.key.class(request)
    }

    #[inline]
    fn select(&self, class: Class, servers: &impl Servers) -> Option<usize> {
        let usable = |&server: &usize| servers.usable(server);
        let chosen = self.candidates(class).find(usable);
        chosen.or_else(|| self.others(class).find(usable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::MAX_MEMBERS;

    #[test]
    fn sizes_are_prime_and_large_enough() {
        for size in SIZES {
            let mut divisors = (2..).take_while(|divisor| divisor * divisor <= size);
            assert!(divisors.all(|divisor| size % divisor != 0), "{size}");
        }
        assert!(SIZES.is_sorted());
        assert!(SIZES[SIZES.len() - 1] as usize >= 100 * MAX_MEMBERS);
    }
}
