// SPDX-License-Identifier: GPL-2.0

//! Things of which one can be within another, such as networks, or paths and their beginnings.
//!
//! They are sorted so that what is within another comes after it, and each knows the nearest that
//! it is within. Then those that hold something are: of the last before it in the sorting, all that
//! it is within, and itself, as far as these hold it too. For the last one begins like what is
//! looked for at least as far as any other does.

use core::cmp::Ordering;

use super::{Network, NONE};
use crate::{
    config::text::{Name, Span},
    heap::{Heap, List, OutOfMemory},
    order::sort_by_key,
};

/// One of the things.
#[derive(Clone, Copy)]
pub(super) struct Node<T> {
    /// Things can hold one another only in the same group.
    pub(super) group: u32,
    pub(super) it: T,
    /// How much of what it holds is determined by it: octets, or bits.
    pub(super) length: u32,
    /// The nearest that it is within; [`NONE`] if there is none.
    outer: u32,
    /// The key that it stands for.
    pub(super) key: u32,
    /// The first rule that is found by it, or by what it is within.
    pub(super) least: u32,
}

impl<T> Node<T> {
    /// A thing that stands for `key`, whose first rule is `least`.
    pub(super) const fn new(group: u32, it: T, length: u32, key: u32, least: u32) -> Self {
        Self {
            group,
            it,
            length,
            outer: NONE,
            key,
            least,
        }
    }
}

/// The things, sorted.
pub(super) struct Nest<H: Heap, T: Copy> {
    nodes: H::List<Node<T>>,
}

impl<H: Heap, T: Copy> Nest<H, T> {
    pub(super) fn new() -> Self {
        Self {
            nodes: Default::default(),
        }
    }

    /// Puts in a thing that is not there yet. After that, the nest must be sorted.
    pub(super) fn push(&mut self, node: Node<T>) -> Result<(), OutOfMemory> {
        self.nodes.try_push(node)
    }

    /// All of it.
    pub(super) fn all(&self) -> Span {
        let mut span = Span::EMPTY;
        span.extend_to(&self.nodes);
        span
    }

    /// Tells of each group where it is. The nest must be sorted.
    pub(super) fn groups(&self, mut tell: impl FnMut(u32, Span)) {
        let mut span = Span::EMPTY;
        for group in self.nodes.chunk_by(|a, b| a.group == b.group) {
            span.len = u32::try_from(group.len()).unwrap_or(u32::MAX);
            if let Some(node) = group.first() {
                tell(node.group, span);
            }
            span.start = span.start.saturating_add(span.len);
        }
    }

    /// Sorts by group and then by `key`, and finds out what is within what. `common` tells how much
    /// two things agree in, from their beginning.
    fn sort<K: Ord>(&mut self, key: impl Fn(&T) -> K, common: impl Fn(&T, &T) -> u32) {
        sort_by_key(&mut self.nodes, |node| (node.group, key(&node.it)));
        let mut previous: Option<(u32, Node<T>)> = None;
        for place in 0..self.nodes.len() {
            let Some(mut node) = self.nodes.get(place).copied() else {
                return;
            };
            let mut outer = previous.filter(|(_, other)| other.group == node.group);
            if let Some((_, other)) = outer {
                let common = common(&other.it, &node.it);
                while let Some((_, other)) = outer.filter(|(_, other)| other.length > common) {
                    outer = self.at(other.outer).map(|node| (other.outer, *node));
                }
            }
            if let Some((at, other)) = outer {
                node.outer = at;
                node.least = node.least.min(other.least);
            }
            if let Some(to) = self.nodes.get_mut(place) {
                *to = node;
            }
            previous = Some((place as u32, node));
        }
    }

    fn at(&self, place: u32) -> Option<&Node<T>> {
        self.nodes.get(place as usize)
    }

    /// Those of a part of the nest that hold something, the innermost first. `before` tells whether
    /// a thing is it or before it in the sorting, `common` how much it has in common with a thing.
    fn holders(
        &self,
        part: Span,
        before: impl Fn(&T) -> bool,
        common: impl Fn(&T) -> u32,
    ) -> impl Iterator<Item = &Node<T>> {
        let nodes = part.of(&self.nodes);
        let after = nodes.partition_point(|node| before(&node.it));
        let last = after.checked_sub(1).and_then(|last| nodes.get(last));
        let common = last.map_or(0, |last| common(&last.it));
        let outer = |node: &Node<T>| self.at(node.outer);
        core::iter::successors(last, move |node| outer(node))
            .skip_while(move |node| node.length > common)
    }
}

impl<H: Heap> Nest<H, Name> {
    /// Sorts it for [`that_begin`](Self::that_begin).
    pub(super) fn sort_by_beginning(&mut self, text: &[u8]) {
        self.sort(
            |name| name.of(text),
            |a, b| common_beginning(a.of(text), b.of(text)),
        );
    }

    /// Sorts it for [`that_end`](Self::that_end).
    pub(super) fn sort_by_end(&mut self, text: &[u8]) {
        self.sort(
            |name| FromEnd(name.of(text)),
            |a, b| common_end(a.of(text), b.of(text)),
        );
    }

    /// Those that `octets` begins with, the longest first.
    pub(super) fn that_begin<'s>(
        &'s self,
        part: Span,
        text: &'s [u8],
        octets: &'s [u8],
    ) -> impl Iterator<Item = &'s Node<Name>> {
        self.holders(
            part,
            move |name| name.of(text) <= octets,
            move |name| common_beginning(name.of(text), octets),
        )
    }

    /// Those that `octets` ends with, the longest first.
    pub(super) fn that_end<'s>(
        &'s self,
        part: Span,
        text: &'s [u8],
        octets: &'s [u8],
    ) -> impl Iterator<Item = &'s Node<Name>> {
        self.holders(
            part,
            move |name| FromEnd(name.of(text)) <= FromEnd(octets),
            move |name| common_end(name.of(text), octets),
        )
    }
}

impl<H: Heap> Nest<H, Network> {
    /// Sorts it for [`that_hold`](Self::that_hold).
    pub(super) fn sort_by_network(&mut self) {
        self.sort(|network| *network, Network::common);
    }

    /// The networks that hold this one, the smallest first.
    pub(super) fn that_hold<'s>(
        &'s self,
        it: &'s Network,
    ) -> impl Iterator<Item = &'s Node<Network>> {
        self.holders(
            self.all(),
            move |network| network <= it,
            move |network| network.common(it),
        )
    }
}

/// Octets that are compared from their end on.
#[derive(PartialEq, Eq)]
struct FromEnd<'t>(&'t [u8]);

impl Ord for FromEnd<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}

impl PartialOrd for FromEnd<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn common_beginning(a: &[u8], b: &[u8]) -> u32 {
    let pairs = a.iter().zip(b);
    pairs.take_while(|(a, b)| a == b).count() as u32
}

fn common_end(a: &[u8], b: &[u8]) -> u32 {
    let pairs = a.iter().rev().zip(b.iter().rev());
    pairs.take_while(|(a, b)| a == b).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::text::keep, heap::StdHeap};
    use core::net::{IpAddr, Ipv4Addr};
    use proptest::{collection::btree_set, prelude::*};
    use std::{string::String, vec::Vec};

    /// What a nest finds must be what holds the thing, the longest first, and know the least of all
    /// that come after it.
    fn check<T: Copy>(found: Vec<&Node<T>>, holders: &[(u32, u32)]) {
        let mut want = holders.to_vec();
        want.sort_by_key(|(length, _)| core::cmp::Reverse(*length));
        let is: Vec<_> = found.iter().map(|node| (node.length, node.key)).collect();
        assert_eq!(is, want);
        for (place, node) in found.iter().enumerate() {
            assert_eq!(
                node.least,
                want[place..].iter().map(|(_, key)| *key).min().unwrap()
            );
        }
    }

    proptest! {
        #[test]
        fn finds_what_holds_a_text(
            texts in btree_set((0u32..3, "[ab]{1,6}"), 0..40),
            order: u32,
            octets in "[ab]{0,8}",
        ) {
            let mut text = Vec::new();
            let mut begin = Nest::<StdHeap, Name>::new();
            let mut end = Nest::<StdHeap, Name>::new();
            let keyed: Vec<_> = texts
                .iter()
                .enumerate()
                .map(|(n, it)| ((n as u32).wrapping_mul(order | 1) & 0xffff, it))
                .collect();
            for (key, (group, it)) in &keyed {
                let name = keep(&mut text, it.bytes()).unwrap();
                begin.push(Node::new(*group, name, name.len(), *key, *key)).unwrap();
                end.push(Node::new(*group, name, name.len(), *key, *key)).unwrap();
            }
            begin.sort_by_beginning(&text);
            end.sort_by_end(&text);
            for group in 0..3 {
                let part = |nest: &Nest<StdHeap, Name>| {
                    let mut part = Span::EMPTY;
                    nest.groups(|other, span| if other == group { part = span });
                    part
                };
                let holders = |holds: &dyn Fn(&String) -> bool| -> Vec<_> {
                    let of_group = keyed.iter().filter(|(_, (other, it))| *other == group && holds(it));
                    of_group.map(|(key, (_, it))| (it.len() as u32, *key)).collect()
                };
                let found = begin.that_begin(part(&begin), &text, octets.as_bytes()).collect();
                check(found, &holders(&|it| octets.starts_with(it.as_str())));
                let found = end.that_end(part(&end), &text, octets.as_bytes()).collect();
                check(found, &holders(&|it| octets.ends_with(it.as_str())));
            }
        }

        #[test]
        fn finds_what_holds_a_network(
            networks in btree_set((0u32..8, 29u8..=32), 0..30),
            low_lengths in btree_set(0u8..=32, 0..5),
            client in 0u32..8,
        ) {
            let mut nest = Nest::<StdHeap, Network>::new();
            let ip = |low: u32| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | low));
            let mut all: Vec<_> = networks.iter().map(|(low, len)| Network::new(ip(*low), *len)).collect();
            all.extend(low_lengths.iter().map(|len| Network::new(ip(0), *len)));
            all.sort();
            all.dedup();
            for (network, key) in all.iter().zip(0..) {
                nest.push(Node::new(0, *network, network.len(), key, key)).unwrap();
            }
            nest.sort_by_network();
            let client = Network::of(ip(client));
            let holders: Vec<_> = all
                .iter()
                .zip(0..)
                .filter(|(network, _)| network.holds(&client))
                .map(|(network, key)| (network.len(), key))
                .collect();
            check(nest.that_hold(&client).collect(), &holders);
        }
    }
}
