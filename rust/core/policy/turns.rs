// SPDX-License-Identifier: GPL-2.0

//! Taking turns: what the policies of round robin's family share.
//!
//! A *ring* is a list of servers in the order in which they come round. A *cursor* counts the turns
//! that were taken; its remainder by the ring's length is the next place. Selecting takes no lock:
//! CPUs that select at once get different turns.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::{Member, Servers};
use crate::{
    heap::{Heap, List, OutOfMemory},
    order,
};

/// The greatest length of a weighted ring.
///
/// Its weights are then small enough that making it costs at most 2^24.5 simple steps: so many
/// different weights as come to this sum, the first 361 numbers, are looked at for each place.
const MAX_PERIOD: u32 = 1 << 16;

/// How many turns of unusable servers in a row are taken before weights are left aside.
const SKIPS: usize = 64;

/// Takes turns until one is that of a usable server, at most `tries` of them.
///
/// The turns of unusable servers are used up. If only the turn were looked for, and not taken, the
/// next server would get the requests of the one before it besides its own.
#[inline]
fn take(ring: &[u16], cursor: &AtomicU32, tries: usize, servers: &impl Servers) -> Option<usize> {
    for _ in 0..tries {
        let turn = cursor.fetch_add(1, Relaxed) as usize;
        let server = usize::from(*ring.get(turn.checked_rem(ring.len())?)?);
        if servers.usable(server) {
            return Some(server);
        }
    }
    None
}

/// Takes the next turn of a usable server on a ring without repetitions; none if there is none.
#[inline]
pub(super) fn next(ring: &[u16], cursor: &AtomicU32, servers: &impl Servers) -> Option<usize> {
    take(ring, cursor, ring.len(), servers).or_else(|| {
        // Other CPUs may have taken just the turns that would have done.
        let mut ring = ring.iter().map(|&server| usize::from(server));
        ring.find(|&server| servers.usable(server))
    })
}

/// The servers that take part: those of a weight.
pub(super) fn ring<H: Heap>(members: &[Member<'_>]) -> Result<H::List<u16>, OutOfMemory> {
    let mut ring: H::List<u16> = Default::default();
    for (member, index) in members.iter().zip(0..) {
        if member.weight > 0 {
            ring.try_push(index)?;
        }
    }
    Ok(ring)
}

/// A ring on which each server comes round as often as its weight says, and as evenly as may be.
///
/// The order is that of nginx's smooth weighted round robin: at each step, each server's credit
/// grows by its weight; who has the most, the first of them if there are several, gets the turn
/// and pays the sum of all weights. After as many steps as that sum is, divided by the greatest
/// common divisor of the weights, all credits are zero again. So many turns are computed beforehand.
///
/// If that were more than [`MAX_PERIOD`], the weights are scaled: each server has the nearest
/// number of places, and at least one. Its share is then off by less than one place in 60,000.
pub(super) struct Weighted<H: Heap> {
    ring: H::List<u16>,
    /// The same servers, each once.
    each: H::List<u16>,
    /// The turns on `each`.
    spare: AtomicU32,
}

impl<H: Heap> Weighted<H> {
    /// For the servers that have a weight. `before` is what this replaces.
    pub(super) fn new(members: &[Member<'_>], before: Option<&Self>) -> Result<Self, OutOfMemory> {
        let mut shares: H::List<Share> = Default::default();
        for (member, server) in members.iter().zip(0..) {
            if member.weight > 0 {
                let weight = member.weight;
                shares.try_push(Share { weight, server })?;
            }
        }
        shorten(&mut shares);
        Ok(Self {
            ring: smooth::<H>(&mut shares)?,
            each: ring::<H>(members)?,
            spare: AtomicU32::new(before.map_or(0, |before| before.spare.load(Relaxed))),
        })
    }

    /// Takes the next turn of a usable server by this cursor; none if there is none.
    ///
    /// Servers that are so heavy that they have [`SKIPS`] turns in a row, and are not usable, would
    /// make the search long. Then the others come round without regard to their weights.
    #[inline]
    pub(super) fn next(&self, cursor: &AtomicU32, servers: &impl Servers) -> Option<usize> {
        take(&self.ring, cursor, SKIPS, servers).or_else(|| next(&self.each, &self.spare, servers))
    }
}

/// How often a server comes round.
#[derive(Clone, Copy)]
struct Share {
    weight: u32,
    server: u16,
}

/// Makes weights smaller, so that their sum is at most [`MAX_PERIOD`], and keeps their proportions.
fn shorten(shares: &mut [Share]) {
    reduce(shares);
    let sum = sum(shares);
    if sum <= u64::from(MAX_PERIOD) {
        return;
    }
    // Rounding adds less than one to each.
    let room = u64::from(MAX_PERIOD).saturating_sub(shares.len() as u64);
    for share in shares.iter_mut() {
        let scaled = u64::from(share.weight)
            .wrapping_mul(room)
            .wrapping_add(sum / 2)
            .checked_div(sum);
        share.weight = scaled.unwrap_or(0).max(1) as u32;
    }
    reduce(shares);
}

/// Divides all weights by their greatest common divisor.
fn reduce(shares: &mut [Share]) {
    let mut divisor = 0u32;
    for share in shares.iter() {
        let mut other = share.weight;
        while let Some(rest) = divisor.checked_rem(other) {
            (divisor, other) = (other, rest);
        }
    }
    for share in shares.iter_mut() {
        share.weight = share.weight.checked_div(divisor).unwrap_or(share.weight);
    }
}

fn sum(shares: &[Share]) -> u64 {
    let weights = shares.iter().map(|share| u64::from(share.weight));
    weights.fold(0, u64::wrapping_add)
}

/// Servers of the same weight. They take turns among themselves, so one credit does for all.
struct Group {
    weight: i64,
    /// Where its servers are in the list of all.
    start: usize,
    len: usize,
    /// Which of them is next.
    next: usize,
    /// The credit of the one that is next: no other of the group has more.
    credit: i64,
}

/// The sequence of turns.
fn smooth<H: Heap>(shares: &mut [Share]) -> Result<H::List<u16>, OutOfMemory> {
    order::sort_by_key(shares, |share| (share.weight, share.server));
    let mut groups: H::List<Group> = Default::default();
    for (place, share) in shares.iter().enumerate() {
        let weight = i64::from(share.weight);
        match groups.last_mut() {
            Some(group) if group.weight == weight => group.len = group.len.saturating_add(1),
            _ => groups.try_push(Group {
                weight,
                start: place,
                len: 1,
                next: 0,
                credit: 0,
            })?,
        }
    }
    let period = sum(shares);
    let mut ring: H::List<u16> = Default::default();
    for _ in 0..period {
        let mut best: Option<(i64, u16, &mut Group)> = None;
        for group in groups.iter_mut() {
            group.credit = group.credit.wrapping_add(group.weight);
            let place = group.start.saturating_add(group.next);
            let server = shares.get(place).map_or(0, |share| share.server);
            let better = best.as_ref().is_none_or(|&(credit, first, _)| {
                group.credit > credit || (group.credit == credit && server < first)
            });
            if better {
                best = Some((group.credit, server, group));
            }
        }
        let Some((_, server, group)) = best else {
            break;
        };
        ring.try_push(server)?;
        group.next = group.next.saturating_add(1);
        if group.next >= group.len {
            // All of the group have paid once more.
            group.next = 0;
            group.credit = group.credit.wrapping_sub(period as i64);
        }
    }
    Ok(ring)
}
