// SPDX-License-Identifier: GPL-2.0

//! Makes the lists and tables of [`Rules`] from conditions.

use super::{
    condition::methods,
    facts::{length_bit, Wanted},
    hash_key,
    nest::{Nest, Node},
    Condition, Host, Key, Kind, Network, Rule, Rules, ANY_HOST, NONE,
};
use crate::{
    config::{
        index::{group, hash, Index},
        text::{Name, Span},
    },
    heap::{Heap, List, OutOfMemory},
};

/// A rule and a key that it has.
#[derive(Clone, Copy)]
struct Pair {
    key: u32,
    place: u32,
}

/// What is needed only to compile.
struct Compiler<'c, H: Heap> {
    text: &'c [u8],
    conditions: &'c [Condition],
    rules: Rules<H>,
    /// The keys by which each rule could be found, rule by rule.
    candidates: H::List<Pair>,
    /// How many rules each key could find.
    popularity: H::List<u32>,
    /// The networks of the keys of clients, at the same places as the keys.
    networks: H::List<Option<Network>>,
    /// Finds the keys of clients.
    by_network: Index<H>,
}

impl<H: Heap> Rules<H> {
    fn new() -> Self {
        Self {
            rules: Default::default(),
            needs: Default::default(),
            keys: Default::default(),
            listed: Default::default(),
            index: Index::new(),
            hosts: Default::default(),
            domains: Nest::new(),
            prefixes: Nest::new(),
            suffixes: Nest::new(),
            clients: Nest::new(),
            has_methods: false,
            wanted: Wanted::default(),
            least_by_fact: NONE,
        }
    }

    /// Compiles rules, each given by its part of `conditions`, whose words are in `text`.
    pub(crate) fn compile(
        text: &[u8],
        conditions: &[Condition],
        rules: impl ExactSizeIterator<Item = Span> + Clone,
    ) -> Result<Self, OutOfMemory> {
        let mut compiler = Compiler {
            text,
            conditions,
            rules: Self::new(),
            candidates: Default::default(),
            popularity: Default::default(),
            networks: Default::default(),
            by_network: Index::new(),
        };
        // Most services have but a default pool.
        if rules.len() == 0 {
            return Ok(compiler.rules);
        }
        compiler.hosts(rules.clone())?;
        for (span, place) in rules.zip(0..) {
            compiler.rule(span, place)?;
        }
        compiler.choose()?;
        compiler.nest()?;
        Ok(compiler.rules)
    }
}

impl<H: Heap> Compiler<'_, H> {
    /// Makes the keys of hosts, which come before all others.
    fn hosts(&mut self, rules: impl Iterator<Item = Span>) -> Result<(), OutOfMemory> {
        self.new_key(Kind::AnyHost, 0, Name::EMPTY)?;
        for span in rules {
            self.host(span)?;
        }
        for _ in 0..self.rules.keys.len() {
            self.rules.hosts.try_push(Host {
                least: NONE,
                ..Host::default()
            })?;
        }
        Ok(())
    }

    /// The key of a rule's host.
    fn host(&mut self, rule: Span) -> Result<u32, OutOfMemory> {
        for condition in rule.of(self.conditions) {
            match *condition {
                Condition::Host(name) => return self.key(Kind::Host, 0, name),
                Condition::Domain(name) => return self.key(Kind::Domain, 0, name),
                _ => {}
            }
        }
        Ok(ANY_HOST)
    }

    /// Makes a rule and the keys by which it could be found.
    fn rule(&mut self, span: Span, place: u32) -> Result<(), OutOfMemory> {
        let conditions = span.of(self.conditions);
        let host = self.host(span)?;
        let mut needs = Span::after(&self.rules.needs);
        let mut alone = true;
        let mut at_host = false;
        for condition in conditions {
            let path = match *condition {
                Condition::Path(name) => Some((Kind::Prefix, name)),
                Condition::PathExact(name) => Some((Kind::Exact, name)),
                Condition::PathSuffix(name) => Some((Kind::Suffix, name)),
                _ => None,
            };
            if let Some((kind, name)) = path {
                let key = self.key(kind, host, name)?;
                self.candidate(key, place)?;
                at_host = true;
            }
        }
        if host != ANY_HOST && !at_host {
            self.candidate(host, place)?;
            at_host = true;
        }
        for condition in conditions {
            let key = match *condition {
                Condition::Header(name, value) => {
                    self.rules.wanted.fields |= length_bit(name.of(self.text));
                    self.fact(Kind::Field, name, value)?
                }
                Condition::Cookie(name, value) => {
                    self.rules.wanted.cookies = true;
                    self.fact(Kind::Cookie, name, value)?
                }
                Condition::Query(name, value) => {
                    self.rules.wanted.parameters = true;
                    self.fact(Kind::Parameter, name, value)?
                }
                Condition::Alpn(name) => {
                    self.rules.wanted.protocols = true;
                    self.fact(Kind::Protocol, name, None)?
                }
                Condition::Client(network) => {
                    let key = self.client(network)?;
                    self.candidate(key, place)?;
                    alone = false;
                    continue;
                }
                _ => continue,
            };
            self.candidate(key, place)?;
            self.rules.needs.try_push(key)?;
            alone = false;
        }
        if alone && !at_host {
            self.methods(conditions, place)?;
        }
        needs.extend_to(&self.rules.needs);
        self.rules.rules.try_push(Rule {
            conditions: span,
            needs,
        })
    }

    /// Makes the keys of a rule that asks for nothing but methods.
    fn methods(&mut self, conditions: &[Condition], place: u32) -> Result<(), OutOfMemory> {
        let text = self.text;
        for condition in conditions {
            let Condition::Method(names) = *condition else {
                continue;
            };
            let mut start = 0u32;
            for name in methods(names.of(text)) {
                let len = u32::try_from(name.len()).unwrap_or(u32::MAX);
                let key = self.key(Kind::Method, 0, names.part(start, len))?;
                self.candidate(key, place)?;
                start = start.saturating_add(len).saturating_add(1);
            }
            self.rules.has_methods = true;
        }
        Ok(())
    }

    /// The key of a field, cookie, parameter or protocol, or of its value.
    fn fact(&mut self, kind: Kind, name: Name, value: Option<Name>) -> Result<u32, OutOfMemory> {
        let key = self.key(kind, 0, name)?;
        match value {
            None => Ok(key),
            Some(value) => self.key(Kind::Value, key, value),
        }
    }

    fn client(&mut self, network: Network) -> Result<u32, OutOfMemory> {
        let hash = hash(network);
        let same = |id: u32| self.networks.get(id as usize) == Some(&Some(network));
        if let Some(key) = self.by_network.find(hash, same) {
            return Ok(key);
        }
        let key = self.new_key(Kind::Client, 0, Name::EMPTY)?;
        if let Some(place) = self.networks.get_mut(key as usize) {
            *place = Some(network);
        }
        self.by_network.insert(hash, key)?;
        Ok(key)
    }

    fn key(&mut self, kind: Kind, parent: u32, text: Name) -> Result<u32, OutOfMemory> {
        let octets = text.of(self.text);
        if let Some(key) = self.rules.key(self.text, kind, parent, octets) {
            return Ok(key);
        }
        let key = self.new_key(kind, parent, text)?;
        let hash = hash_key(kind, parent, octets.iter().copied());
        self.rules.index.insert(hash, key)?;
        Ok(key)
    }

    fn new_key(&mut self, kind: Kind, parent: u32, text: Name) -> Result<u32, OutOfMemory> {
        // A text that fits its limit has far fewer conditions.
        let key = u32::try_from(self.rules.keys.len()).unwrap_or(u32::MAX);
        self.rules.keys.try_push(Key {
            kind,
            parent,
            text,
            rules: Span::EMPTY,
        })?;
        self.popularity.try_push(0)?;
        self.networks.try_push(None)?;
        Ok(key)
    }

    fn candidate(&mut self, key: u32, place: u32) -> Result<(), OutOfMemory> {
        if let Some(count) = self.popularity.get_mut(key as usize) {
            *count = count.saturating_add(1);
        }
        self.candidates.try_push(Pair { key, place })
    }

    /// Puts each rule into the list of the key that could find the fewest rules.
    fn choose(&mut self) -> Result<(), OutOfMemory> {
        let mut chosen: H::List<Pair> = Default::default();
        for pairs in self.candidates.chunk_by(|a, b| a.place == b.place) {
            let of_methods = |pair: &Pair| {
                let key = self.rules.keys.get(pair.key as usize);
                key.is_some_and(|key| key.kind == Kind::Method)
            };
            if pairs.iter().any(of_methods) {
                // Any one of the methods will do, so the rule must be found by each.
                for pair in pairs {
                    chosen.try_push(*pair)?;
                }
                continue;
            }
            let popularity = |pair: &&Pair| self.popularity.get(pair.key as usize);
            if let Some(pair) = pairs.iter().min_by_key(popularity) {
                chosen.try_push(*pair)?;
            }
        }
        let count = self.rules.keys.len();
        let (sorted, spans) = group::<H, Pair>(&chosen, count, |pair| pair.key as usize)?;
        for (key, span) in self.rules.keys.iter_mut().zip(spans.iter()) {
            key.rules = *span;
        }
        for pair in sorted.iter() {
            self.rules.listed.try_push(pair.place)?;
        }
        Ok(())
    }

    /// Sorts what can be within each other, and finds the first rule of everything.
    fn nest(&mut self) -> Result<(), OutOfMemory> {
        let rules = &mut self.rules;
        for ((key, network), id) in rules.keys.iter().zip(self.networks.iter()).zip(0..) {
            let Some(&least) = key.rules.of(&rules.listed).first() else {
                continue;
            };
            let node = Node::new(key.parent, key.text, key.text.len(), id, least);
            let host = match key.kind {
                Kind::AnyHost | Kind::Host | Kind::Domain => id,
                Kind::Exact | Kind::Prefix | Kind::Suffix => key.parent,
                Kind::Client => {
                    if let &Some(network) = network {
                        let node = Node::new(0, network, network.len(), id, least);
                        rules.clients.push(node)?;
                    }
                    continue;
                }
                Kind::Method => continue,
                Kind::Field | Kind::Cookie | Kind::Parameter | Kind::Protocol | Kind::Value => {
                    rules.least_by_fact = rules.least_by_fact.min(least);
                    continue;
                }
            };
            if let Some(host) = rules.hosts.get_mut(host as usize) {
                host.least = host.least.min(least);
                host.has_exact |= key.kind == Kind::Exact;
            }
            match key.kind {
                Kind::Prefix => rules.prefixes.push(node)?,
                Kind::Suffix => rules.suffixes.push(node)?,
                _ => {}
            }
        }
        for ((key, host), id) in rules.keys.iter().zip(rules.hosts.iter()).zip(0..) {
            if key.kind == Kind::Domain && host.least != NONE {
                let node = Node::new(0, key.text, key.text.len(), id, host.least);
                rules.domains.push(node)?;
            }
        }
        rules.domains.sort_by_end(self.text);
        rules.prefixes.sort_by_beginning(self.text);
        rules.suffixes.sort_by_end(self.text);
        rules.clients.sort_by_network();
        let hosts = &mut rules.hosts;
        rules.prefixes.groups(|host, part| {
            if let Some(host) = hosts.get_mut(host as usize) {
                host.prefixes = part;
            }
        });
        rules.suffixes.groups(|host, part| {
            if let Some(host) = hosts.get_mut(host as usize) {
                host.suffixes = part;
            }
        });
        Ok(())
    }
}
