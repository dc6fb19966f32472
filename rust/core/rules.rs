// SPDX-License-Identifier: GPL-2.0

//! Which rule a request meets first: the routes of a service, compiled.
//!
//! A rule is a set of [conditions](Condition), all of which must hold; of several rules that match,
//! the first wins. Trying them one after another costs more the more there are. So the rules are put
//! into lists by *keys*, and a request is asked which keys it has:
//!
//! | key | how a request finds those it has |
//! |---|---|
//! | host | by hash |
//! | domain of a host (`*.example.com`) | the longest by binary search, then those within each other |
//! | host or domain or neither, with an exact path | by hash |
//! | the same with the beginning or the end of a path | as for domains |
//! | network of a client | as for domains |
//! | header, cookie, parameter, protocol: name, or name and value | by hash, for each that the request has |
//! | method, if a rule has no other condition | by hash |
//!
//! Each rule is in the list of one key, of those it could be in the one that the fewest rules could
//! be in. A list is in the order of the rules. It is left as soon as its next rule is behind one
//! already found, or matches. So what a lookup costs depends on the request and on how many rules
//! share their most selective key, but not on how many rules there are.
//!
//! A client knows this code but does not choose the rules. How many keys a request can have is
//! limited: see [`request`](crate::request) for fields, cookies, parameters and protocols, of which
//! moreover only [`MAX_FACTS`] are noticed that rules name. Keys within each other, say `/a` and
//! `/a/b`, are as many as the rules have.

use crate::{
    config::{
        index::{Fnv, Index},
        text::{Name, Span},
        MAX_HOST,
    },
    heap::Heap,
    request::Request,
};

mod compile;
mod condition;
mod facts;
mod nest;

pub use self::condition::{Condition, Network};
use self::{facts::Facts, nest::Nest};

/// How many different names and values of fields, cookies, parameters and protocols that some rule
/// of the service names are noticed in a request. What comes after them is not.
pub const MAX_FACTS: usize = 64;

/// No rule: behind all of them.
const NONE: u32 = u32::MAX;

/// The key of rules that name no host.
const ANY_HOST: u32 = 0;

/// What a key is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    AnyHost,
    Host,
    Domain,
    /// The whole path, at the host that is the key's parent.
    Exact,
    /// The beginning of the path, at the host that is the key's parent.
    Prefix,
    /// The end of the path, at the host that is the key's parent.
    Suffix,
    Method,
    Client,
    /// A field, by its name in lower case.
    Field,
    Cookie,
    Parameter,
    Protocol,
    /// The value of what the key's parent names.
    Value,
}

/// Something that a request can have, and the rules that are found by it.
#[derive(Clone, Copy)]
struct Key {
    kind: Kind,
    /// The key that this one refines: the host of a path, the name of a value. Else 0.
    parent: u32,
    text: Name,
    /// In `Rules::listed`.
    rules: Span,
}

/// What follows the key of a host.
#[derive(Clone, Copy, Default)]
struct Host {
    /// Its part of `Rules::prefixes`.
    prefixes: Span,
    /// Its part of `Rules::suffixes`.
    suffixes: Span,
    /// Whether it has keys of kind [`Kind::Exact`].
    has_exact: bool,
    /// The first rule that is found by this host.
    least: u32,
}

/// A rule, apart from what it is for.
#[derive(Clone, Copy)]
struct Rule {
    /// In the configuration's list of conditions.
    conditions: Span,
    /// In `Rules::needs`.
    needs: Span,
}

/// The compiled rules of a service. A rule is known by its place among them.
pub struct Rules<H: Heap> {
    rules: H::List<Rule>,
    /// The keys of fields, cookies, parameters and protocols that a rule wants, rule by rule.
    needs: H::List<u32>,
    /// All keys, those of hosts first, of which the first is [`ANY_HOST`].
    keys: H::List<Key>,
    /// The places of rules, key by key, each key's in order.
    listed: H::List<u32>,
    /// Finds all keys but those of clients.
    index: Index<H>,
    /// What follows each key that is one of a host.
    hosts: H::List<Host>,
    domains: Nest<H, Name>,
    prefixes: Nest<H, Name>,
    suffixes: Nest<H, Name>,
    clients: Nest<H, Network>,
    has_methods: bool,
    /// What of a request must be looked through.
    wanted: facts::Wanted,
    /// The first rule that is found by a field, cookie, parameter or protocol.
    least_by_fact: u32,
}

/// The hash of a key.
fn hash_key(kind: Kind, parent: u32, octets: impl Iterator<Item = u8>) -> u32 {
    let mut fnv = Fnv::new();
    fnv.push(kind as u8);
    for octet in parent.to_le_bytes() {
        fnv.push(octet);
    }
    for octet in octets {
        fnv.push(octet);
    }
    fnv.folded()
}

impl<H: Heap> Rules<H> {
    /// The place of the first rule that matches the request.
    ///
    /// `text` and `conditions` are those that the rules were compiled from.
    pub(crate) fn find(
        &self,
        text: &[u8],
        conditions: &[Condition],
        request: &Request<'_>,
    ) -> Option<usize> {
        if self.rules.is_empty() {
            return None;
        }
        let mut lower = [0; MAX_HOST];
        let mut search = Search {
            rules: self,
            text,
            conditions,
            request,
            host: request.host.and_then(|host| plain_host(host, &mut lower)),
            facts: Facts::new(),
            best: NONE,
        };
        search.by_host();
        search.by_method();
        search.by_client();
        search.by_facts();
        (search.best != NONE).then_some(search.best as usize)
    }

    /// The key of this kind with this text.
    fn key(&self, text: &[u8], kind: Kind, parent: u32, octets: &[u8]) -> Option<u32> {
        self.index
            .find(hash_key(kind, parent, octets.iter().copied()), |id| {
                self.keys.get(id as usize).is_some_and(|key| {
                    key.kind == kind && key.parent == parent && key.text.of(text) == octets
                })
            })
    }
}

/// A host in lower case and without the dot at its end; `None` if no rule can have it.
fn plain_host<'b>(host: &[u8], buffer: &'b mut [u8; MAX_HOST]) -> Option<&'b [u8]> {
    let host = host.strip_suffix(b".").unwrap_or(host);
    let plain = buffer.get_mut(..host.len())?;
    for (to, from) in plain.iter_mut().zip(host) {
        *to = from.to_ascii_lowercase();
    }
    Some(plain)
}

/// A lookup under way.
struct Search<'s, H: Heap> {
    rules: &'s Rules<H>,
    text: &'s [u8],
    conditions: &'s [Condition],
    request: &'s Request<'s>,
    /// As [`plain_host`] makes it.
    host: Option<&'s [u8]>,
    facts: Facts,
    /// The first rule so far.
    best: u32,
}

impl<H: Heap> Search<'_, H> {
    /// The rules that are found by a host, a path, or both.
    fn by_host(&mut self) {
        let rules = self.rules;
        self.by_path(ANY_HOST);
        let Some(host) = self.host else {
            return;
        };
        if let Some(key) = rules.key(self.text, Kind::Host, 0, host) {
            self.by_path(key);
        }
        let all = rules.domains.all();
        for node in rules.domains.that_end(all, self.text, host) {
            if node.least >= self.best {
                break;
            }
            // A domain, which begins with its dot, is not under itself.
            if node.length < host.len() as u32 {
                self.by_path(node.key);
            }
        }
    }

    /// The rules of a host.
    fn by_path(&mut self, parent: u32) {
        let rules = self.rules;
        let path = self.request.path;
        let Some(host) = rules.hosts.get(parent as usize) else {
            return;
        };
        if host.least >= self.best {
            return;
        }
        self.walk(parent);
        if host.has_exact {
            if let Some(key) = rules.key(self.text, Kind::Exact, parent, path) {
                self.walk(key);
            }
        }
        for node in rules.prefixes.that_begin(host.prefixes, self.text, path) {
            if node.least >= self.best {
                break;
            }
            self.walk(node.key);
        }
        for node in rules.suffixes.that_end(host.suffixes, self.text, path) {
            if node.least >= self.best {
                break;
            }
            self.walk(node.key);
        }
    }

    fn by_method(&mut self) {
        let rules = self.rules;
        if rules.has_methods {
            let method = self.request.method;
            if let Some(key) = rules.key(self.text, Kind::Method, 0, method) {
                self.walk(key);
            }
        }
    }

    fn by_client(&mut self) {
        let client = Network::of(self.request.client);
        for node in self.rules.clients.that_hold(&client) {
            if node.least >= self.best {
                break;
            }
            self.walk(node.key);
        }
    }

    /// The rules that are found by a field, a cookie, a parameter or a protocol.
    fn by_facts(&mut self) {
        if self.rules.least_by_fact >= self.best {
            return;
        }
        self.facts.gather(self.rules, self.text, self.request);
        // Walking does not gather again, so these are all of them.
        for place in 0..self.facts.len() {
            if let Some(key) = self.facts.get(place) {
                self.walk(key);
            }
        }
    }

    /// Looks for a matching rule in the list of a key that the request has.
    fn walk(&mut self, key: u32) {
        let rules = self.rules;
        let Some(key) = rules.keys.get(key as usize) else {
            return;
        };
        for &place in key.rules.of(&rules.listed) {
            if place >= self.best {
                return;
            }
            if self.matches(place) {
                self.best = place;
                return;
            }
        }
    }

    fn matches(&mut self, place: u32) -> bool {
        let Some(rule) = self.rules.rules.get(place as usize) else {
            return false;
        };
        let mut conditions = rule.conditions.of(self.conditions).iter();
        if !conditions.all(|condition| condition.holds(self.text, self.host, self.request)) {
            return false;
        }
        let needs = rule.needs.of(&self.rules.needs);
        if needs.is_empty() {
            return true;
        }
        self.facts.gather(self.rules, self.text, self.request);
        needs.iter().all(|&key| self.facts.contains(key))
    }
}

#[cfg(test)]
mod tests;
