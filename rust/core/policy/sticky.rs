// SPDX-License-Identifier: GPL-2.0

//! `sticky`: a cookie names the server; requests without it are for another policy.
//!
//! Servers set the cookie, each to its own name in the pool. A named server is chosen as long as it
//! can be reached, even if it is being drained: its sessions live there.

use super::{Any, Choice, Class, Kind, Member, Policy, Servers, Setup, Value};
use crate::{
    heap::{Heap, List, OutOfMemory},
    order,
    request::Request,
};

pub(super) const NAME: &str = "sticky";
pub(super) const OPTIONS: &[Choice] = &[COOKIE, FALLBACK];

/// The cookie's name.
const COOKIE: Choice = Choice {
    name: "cookie",
    value: Value::Token,
};
const DEFAULT_COOKIE: &str = "SERVER";

/// Who chooses for the other requests.
const FALLBACK: Choice = Choice {
    name: "fallback",
    value: Value::Policy,
};

/// Affinity by cookie.
pub struct Sticky<H: Heap> {
    /// The cookie's name.
    cookie: H::List<u8>,
    /// The servers' names, one after another.
    text: H::List<u8>,
    /// The servers, sorted by name.
    names: H::List<Name>,
    /// The other policy: one element, as a list is all that a heap has.
    fallback: H::List<Any<H>>,
}

/// A server's name.
#[derive(Clone, Copy)]
struct Name {
    start: u32,
    len: u32,
    server: u16,
    /// It has a weight. Of two places with one name, one is that of a server that has gone.
    takes_part: bool,
}

impl Name {
    fn of(self, text: &[u8]) -> &[u8] {
        let start = self.start as usize;
        let end = start.saturating_add(self.len as usize);
        text.get(start..end).unwrap_or(&[])
    }
}

impl<H: Heap> Sticky<H> {
    /// The server that the request's cookie names.
    #[inline]
    fn named(&self, request: &Request<'_>) -> Option<u16> {
        let value = request.cookie(&self.cookie)?;
        let first = self
            .names
            .partition_point(|name| name.of(&self.text) < value);
        let name = self.names.get(first)?;
        (name.of(&self.text) == value).then_some(name.server)
    }
}

impl<H: Heap> Policy for Sticky<H> {
    fn initialise(
        setup: &Setup<'_>,
        members: &[Member<'_>],
        before: Option<&Self>,
    ) -> Result<Self, OutOfMemory> {
        let mut cookie: H::List<u8> = Default::default();
        for &octet in (setup.option)(COOKIE.name)
            .unwrap_or(DEFAULT_COOKIE)
            .as_bytes()
        {
            cookie.try_push(octet)?;
        }
        let mut text: H::List<u8> = Default::default();
        let mut names: H::List<Name> = Default::default();
        for (member, server) in members.iter().zip(0..) {
            let start = text.len() as u32;
            for &octet in member.name.as_bytes() {
                text.try_push(octet)?;
            }
            let len = (text.len() as u32).saturating_sub(start);
            let takes_part = member.weight > 0;
            names.try_push(Name {
                start,
                len,
                server,
                takes_part,
            })?;
        }
        order::sort_by_key(&mut names, |name| {
            (name.of(&text), !name.takes_part, name.server)
        });
        let kind = (setup.option)(FALLBACK.name)
            .and_then(|name| Kind::fallback(name.as_bytes()))
            .unwrap_or(Kind::WeightedRoundRobin);
        let setup = Setup { option: &|_| None };
        let before = before.and_then(|before| before.fallback.first());
        let mut fallback: H::List<Any<H>> = Default::default();
        fallback.try_push(kind.initialise(&setup, members, before)?)?;
        Ok(Self {
            cookie,
            text,
            names,
            fallback,
        })
    }

    /// The server that is named, plus one, above what the other policy has understood.
    #[inline]
    fn classify(&self, request: &Request<'_>) -> Class {
        let other = self.fallback.first();
        let class = other.map_or(Class::default(), |other| other.classify(request));
        let server = self
            .named(request)
            .map_or(0, |server| u64::from(server) + 1);
        Class((server << Class::BITS) | (class.0 & Class::MASK))
    }

    #[inline]
    fn select(&self, class: Class, servers: &impl Servers) -> Option<usize> {
        let named = ((class.0 >> Class::BITS) as usize).checked_sub(1);
        named
            .filter(|&server| servers.reachable(server))
            .or_else(|| {
                let class = Class(class.0 & Class::MASK);
                self.fallback.first()?.select(class, servers)
            })
    }

    #[inline]
    fn done(&self, server: usize, servers: &impl Servers) {
        if let Some(other) = self.fallback.first() {
            other.done(server, servers);
        }
    }

    fn shutdown(&mut self) {
        if let Some(other) = self.fallback.first_mut() {
            other.shutdown();
        }
    }
}
