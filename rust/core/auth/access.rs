// SPDX-License-Identifier: GPL-2.0

//! What an operator says of who may speak.
//!
//! ```text
//! # comment
//! key ID HEX        ID is 1..255, HEX 32 to 128 hexadecimal digits; at most two keys
//! send ID           the key for what is sent (default: the first)
//! from NETWORK      who may speak: an address, or one with a prefix length (default: anybody)
//! ```
//!
//! The text replaces what was before as a whole. One without keys takes them away.
//!
//! Keys are exchanged without loss in three steps, each on all machines before the next: the new key
//! is added, the new key is sent with, the old key is left out.

use core::{
    fmt,
    net::IpAddr,
    str, //
};

use crate::{
    config::network_of,
    heap::{
        Heap,
        List,
        OutOfMemory, //
    },
    rules::Network, //
};

/// How many keys there may be at a time.
pub const KEYS: usize = 2;

/// The shortest key, octets: the length of the MAC that is sent.
pub const MIN_KEY: usize = 16;

/// The longest key, octets: the block of SHA-256. A longer one would be hashed first (RFC 2104).
pub const MAX_KEY: usize = 64;

/// A key. It does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    id: u8,
    len: u8,
    octets: [u8; MAX_KEY],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    /// Its name in seals: 1 to 255.
    pub fn id(&self) -> u8 {
        self.id
    }

    /// The secret.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or(&[])
    }

    fn read(id: u8, hex: &[u8]) -> Option<Self> {
        let mut key = Self {
            id,
            len: 0,
            octets: [0; MAX_KEY],
        };
        let pairs = hex.chunks_exact(2);
        if !pairs.remainder().is_empty() || !(MIN_KEY..=MAX_KEY).contains(&pairs.len()) {
            return None;
        }
        for (octet, pair) in key.octets.iter_mut().zip(pairs) {
            let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
            *octet = u8::try_from(digit(0)?.wrapping_shl(4) | digit(1)?).ok()?;
            key.len = key.len.wrapping_add(1);
        }
        Some(key)
    }
}

/// Why a text was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A line begins with another word.
    Word,
    /// A line has too few words, or too many.
    Words,
    /// An id is not 1 to 255.
    Id,
    /// A key is not of 32 to 128 hexadecimal digits.
    Hex,
    /// Two keys have one id.
    Twice,
    /// There is a third key.
    TooMany,
    /// `send` names no key of the text, or comes twice.
    Send,
    /// What stands behind `from` is no network.
    Network,
    /// There is no memory.
    Memory,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Word => "expected key, send or from",
            Self::Words => "wrong number of words",
            Self::Id => "an id is a number from 1 to 255",
            Self::Hex => "a key has 32 to 128 hexadecimal digits",
            Self::Twice => "that key is there already",
            Self::TooMany => "two keys are the most",
            Self::Send => "send names one key of this text, once",
            Self::Network => "bad network",
            Self::Memory => "out of memory",
        })
    }
}

/// A text that was not understood. Nothing of it, which may be secret, is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The line, from 1 on.
    pub line: u32,
    /// What is wrong with it.
    pub why: Why,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// Who may speak, and how this side does.
pub struct Access<H: Heap> {
    keys: [Option<Key>; KEYS],
    /// The id of the key for what is sent; 0 without keys.
    send: u8,
    networks: H::List<Network>,
}

impl<H: Heap> Access<H> {
    /// No key, no network.
    pub fn none() -> Self {
        Self {
            keys: [const { None }; KEYS],
            send: 0,
            networks: Default::default(),
        }
    }

    /// Reads a text.
    pub fn parse(text: &[u8]) -> Result<Self, Rejected> {
        let mut access = Self::none();
        let mut send = None;
        let lines = text.split(|&octet| octet == b'\n');
        for (line, number) in lines.zip(1u32..) {
            access
                .line(line, number, &mut send)
                .map_err(|why| Rejected { line: number, why })?;
        }
        if let Some((id, line)) = send {
            if access.key(id).is_none() {
                let why = Why::Send;
                return Err(Rejected { line, why });
            }
            access.send = id;
        }
        Ok(access)
    }

    fn line(&mut self, line: &[u8], number: u32, send: &mut Option<(u8, u32)>) -> Result<(), Why> {
        let line = line.split(|&octet| octet == b'#').next().unwrap_or(&[]);
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let Some(first) = words.next() else {
            return Ok(());
        };
        match first {
            b"key" => {
                let id = id_of(words.next().ok_or(Why::Words)?)?;
                let key = Key::read(id, words.next().ok_or(Why::Words)?).ok_or(Why::Hex)?;
                if self.key(id).is_some() {
                    return Err(Why::Twice);
                }
                let room = self.keys.iter_mut().find(|room| room.is_none());
                *room.ok_or(Why::TooMany)? = Some(key);
                if self.send == 0 {
                    self.send = id;
                }
            }
            b"send" => {
                let id = id_of(words.next().ok_or(Why::Words)?)?;
                if send.replace((id, number)).is_some() {
                    return Err(Why::Send);
                }
            }
            b"from" => {
                let network =
                    network_of(words.next().ok_or(Why::Words)?).map_err(|_| Why::Network)?;
                self.networks
                    .try_push(network)
                    .map_err(|OutOfMemory| Why::Memory)?;
            }
            _ => return Err(Why::Word),
        }
        match words.next() {
            None => Ok(()),
            Some(_) => Err(Why::Words),
        }
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().flatten()
    }

    /// The key of that id.
    pub fn key(&self, id: u8) -> Option<&Key> {
        self.keys().find(|key| key.id == id)
    }

    /// The id of the key for what is sent; 0 without keys.
    pub fn send(&self) -> u8 {
        self.send
    }

    /// The networks from which one may speak; all, if there are none.
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// The same, for whoever keeps them: see [`admits()`].
    pub fn into_networks(self) -> H::List<Network> {
        self.networks
    }
}

/// Whether one may speak from there, if these are the networks from which one may.
pub fn admits(networks: &[Network], from: IpAddr) -> bool {
    networks.is_empty() || {
        let from = Network::of(from);
        networks.iter().any(|network| network.holds(&from))
    }
}

fn id_of(word: &[u8]) -> Result<u8, Why> {
    let good = word.iter().all(u8::is_ascii_digit);
    let id = str::from_utf8(word).ok().and_then(|id| id.parse().ok());
    match id {
        Some(id @ 1..) if good => Ok(id),
        _ => Err(Why::Id),
    }
}

#[cfg(test)]
mod tests;
