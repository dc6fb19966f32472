// SPDX-License-Identifier: GPL-2.0

//! Which of the fields, cookies, parameters and protocols that rules name a request has.

use super::{hash_key, Kind, Rules, MAX_FACTS};
use crate::{
    heap::Heap,
    request::{cookie_pair, cookie_pieces, Request, MAX_COOKIES},
};

/// What of a request some rule asks for.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted {
    /// The lengths of the names of fields: bit n for those of n octets, the last for longer ones.
    pub(super) fields: u64,
    pub(super) cookies: bool,
    pub(super) parameters: bool,
    pub(super) protocols: bool,
}

/// The bit in [`Wanted::fields`] for names as long as this one.
pub(super) fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

/// The keys that a request has, as far as they are names of fields, cookies, parameters and
/// protocols, or their values. Nothing is looked for before it is needed, and then once.
pub(super) struct Facts {
    gathered: bool,
    keys: [u32; MAX_FACTS],
    count: usize,
    /// A bit for each key's last bits, so that most keys that are not there cost nothing.
    sketch: u64,
}

impl Facts {
    pub(super) const fn new() -> Self {
        Self {
            gathered: false,
            keys: [0; MAX_FACTS],
            count: 0,
            sketch: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// One of the keys, in the order in which the request has them.
    pub(super) fn get(&self, place: usize) -> Option<u32> {
        self.keys.get(place).copied()
    }

    /// Whether the request has this key.
    pub(super) fn contains(&self, key: u32) -> bool {
        self.sketch & sketch_of(key) != 0 && self.keys.iter().take(self.count).any(|&k| k == key)
    }

    /// Whether the key is new and there was room for it.
    fn add(&mut self, key: u32) -> bool {
        if self.contains(key) {
            return false;
        }
        let Some(place) = self.keys.get_mut(self.count) else {
            return false;
        };
        *place = key;
        self.count = self.count.saturating_add(1);
        self.sketch |= sketch_of(key);
        true
    }

    fn is_full(&self) -> bool {
        self.count >= MAX_FACTS
    }

    /// Looks the request through, if it has not been done.
    pub(super) fn gather<H: Heap>(&mut self, rules: &Rules<H>, text: &[u8], request: &Request<'_>) {
        if self.gathered {
            return;
        }
        self.gathered = true;
        let wanted = rules.wanted;
        if wanted.fields != 0 || wanted.cookies {
            let mut cookies_left = MAX_COOKIES;
            for (name, value) in request.field_lines() {
                if self.is_full() {
                    return;
                }
                if wanted.fields & length_bit(name) != 0 {
                    if let Some(key) = field_key(rules, text, name) {
                        self.add(key);
                        self.add_value(rules, text, key, value);
                    }
                }
                if wanted.cookies && name.eq_ignore_ascii_case(b"cookie") {
                    for piece in cookie_pieces(value).take(cookies_left) {
                        cookies_left = cookies_left.saturating_sub(1);
                        let Some((name, value)) = cookie_pair(piece) else {
                            continue;
                        };
                        if let Some(key) = rules.key(text, Kind::Cookie, 0, name) {
                            // The first of a name counts.
                            if self.add(key) {
                                self.add_value(rules, text, key, value);
                            }
                        }
                    }
                }
            }
        }
        if wanted.parameters {
            for (name, value) in request.parameters() {
                if self.is_full() {
                    return;
                }
                if let Some(key) = rules.key(text, Kind::Parameter, 0, name) {
                    self.add(key);
                    self.add_value(rules, text, key, value);
                }
            }
        }
        if wanted.protocols {
            for name in request.protocols() {
                if let Some(key) = rules.key(text, Kind::Protocol, 0, name) {
                    self.add(key);
                }
            }
        }
    }

    fn add_value<H: Heap>(&mut self, rules: &Rules<H>, text: &[u8], name: u32, value: &[u8]) {
        if let Some(key) = rules.key(text, Kind::Value, name, value) {
            self.add(key);
        }
    }
}

const fn sketch_of(key: u32) -> u64 {
    1 << (key % 64)
}

/// The key of a field's name, whose case does not matter.
fn field_key<H: Heap>(rules: &Rules<H>, text: &[u8], name: &[u8]) -> Option<u32> {
    let lower = name.iter().map(u8::to_ascii_lowercase);
    rules.index.find(hash_key(Kind::Field, 0, lower), |id| {
        rules.keys.get(id as usize).is_some_and(|key| {
            key.kind == Kind::Field && key.text.of(text).eq_ignore_ascii_case(name)
        })
    })
}
