// SPDX-License-Identifier: GPL-2.0

//! What can be wrong with a configuration, and how it is told.

use core::fmt;

use super::{
    parser::{CONDITION_KEYS, POOL_KEYS},
    Protocol, MAX_CONDITIONS, MAX_LINE, MAX_NAME, MAX_TEXT,
};
use crate::{addr::Endpoint, heap::OutOfMemory, policy};

/// Why a text is no configuration, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// The line at fault, the first being 1. 0: the text as a whole.
    pub line: u32,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There was no memory.
    OutOfMemory,
    /// The text has more than [`MAX_TEXT`] octets.
    TextTooLong,
    /// The line has more than [`MAX_LINE`] octets.
    LineTooLong,
    /// There are more of this kind than this.
    TooMany(Kind, usize),
    /// This word means nothing here; these would.
    UnknownWord(Word, &'static [&'static str]),
    /// This word means nothing on the line of a pool with this policy.
    UnknownPoolWord(Word, policy::Kind),
    /// There is no policy of this name.
    UnknownPolicy(Word),
    /// This has no name.
    MissingName(Kind),
    /// This option is the last word of its line.
    MissingValue(&'static str),
    /// This must have this option.
    MissingOption(Kind, &'static str),
    /// A route has no condition.
    MatchesAll,
    /// A route has more than [`MAX_CONDITIONS`] conditions.
    TooManyConditions,
    /// There are more than this many servers in a pool.
    FullPool(usize),
    /// This option is of no use with this protocol.
    NotWith(&'static str, Protocol),
    /// This option is there twice.
    Repeated(&'static str),
    /// This cannot be a name.
    BadName(Word),
    /// A name is given to a second thing of this kind.
    Duplicate(Kind, Word),
    /// An address with its port is given to a second thing of this kind.
    DuplicateAddress(Kind, Endpoint),
    /// Nothing of this kind has this name yet.
    Undefined(Kind, Word),
    /// This is no address with a port.
    BadAddress(Word),
    /// Nothing can be there: the address is unspecified, multicast or broadcast.
    UnusableAddress(Word),
    /// An IPv6 address.
    Ipv6(Word),
    /// The value of this option is no number.
    BadNumber(&'static str, Word),
    /// The value of this option is no time.
    BadDuration(&'static str, Word),
    /// The value of this is not in this range.
    OutOfRange(&'static str, Word, Range),
    /// This cannot be a host.
    BadHost(Word),
    /// This cannot be a path.
    BadPath(Word),
    /// This cannot be the end of a path.
    BadSuffix(Word),
    /// These are no methods.
    BadMethod(Word),
    /// This is no name, nor a name, `=` and a value, for this condition.
    BadPair(&'static str, Word),
    /// This is no address, nor a network.
    BadNetwork(Word),
    /// This cannot be the name of a protocol (RFC 7301).
    BadProtocol(Word),
    /// The value of this option is not what of a request can be hashed.
    BadKey(&'static str, Word),
    /// The value of this option is no token.
    BadToken(&'static str, Word),
    /// The value of this option is a policy that cannot stand in for this one.
    BadPolicy(&'static str, Word, policy::Kind),
}

/// The least and the greatest value of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Of a number.
    Numbers(u32, u32),
    /// Of a time, in milliseconds.
    Times(u32, u32),
}

/// A time in milliseconds, shown in its shortest form.
pub(super) struct Time(pub(super) u32);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0s"),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Numbers(least, most) => write!(f, "{least} to {most}"),
            Self::Times(least, most) => write!(f, "{} to {}", Time(least), Time(most)),
        }
    }
}

/// Shows words as alternatives.
fn choice<'w>(f: &mut fmt::Formatter<'_>, words: impl Iterator<Item = &'w str>) -> fmt::Result {
    for (n, word) in words.enumerate() {
        let or = if n == 0 { "" } else { " or " };
        write!(f, "{or}{word}")?;
    }
    Ok(())
}

/// What a line defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A [`Service`](super::Service).
    Service,
    /// A [`Pool`](super::Pool).
    Pool,
    /// A [`Server`](super::Server).
    Server,
    /// A [`Route`](super::Route).
    Route,
    /// A service class, which routes name.
    Class,
}

/// A word of the text, copied to be shown; only its beginning, if it is long.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Word {
    octets: [u8; MAX_NAME],
    len: u8,
    cut: bool,
}

impl Word {
    /// Copies a word.
    pub fn new(word: &[u8]) -> Self {
        let mut octets = [0; MAX_NAME];
        for (to, from) in octets.iter_mut().zip(word) {
            *to = *from;
        }
        Self {
            octets,
            len: word.len().min(MAX_NAME) as u8,
            cut: word.len() > MAX_NAME,
        }
    }

    /// What is left of the word.
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dots = if self.cut { "..." } else { "" };
        write!(f, "\"{}{dots}\"", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Service => "service",
            Kind::Pool => "pool",
            Kind::Server => "server",
            Kind::Route => "route",
            Kind::Class => "class",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line != 0 {
            write!(f, "line {}: ", self.line)?;
        }
        self.reason.fmt(f)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::OutOfMemory => f.write_str("out of memory"),
            Reason::TextTooLong => write!(f, "the text is longer than {MAX_TEXT} octets"),
            Reason::LineTooLong => write!(f, "the line is longer than {MAX_LINE} octets"),
            Reason::TooMany(Kind::Class, most) => write!(f, "more than {most} classes"),
            Reason::TooMany(kind, most) => write!(f, "more than {most} {kind}s"),
            Reason::UnknownWord(word, expected) => {
                write!(f, "unknown word {word} (expected ")?;
                choice(f, expected.iter().copied())?;
                f.write_str(")")
            }
            Reason::UnknownPoolWord(word, policy) => {
                write!(f, "unknown word {word} (expected ")?;
                let options = policy.options().iter().map(|option| option.name);
                choice(f, POOL_KEYS.into_iter().chain(options))?;
                write!(f, " with policy {})", policy.name())
            }
            Reason::UnknownPolicy(word) => {
                write!(f, "unknown word {word} (expected ")?;
                choice(f, policy::Kind::ALL.iter().map(|kind| kind.name()))?;
                f.write_str(")")
            }
            Reason::MissingName(kind) => write!(f, "the {kind} has no name"),
            Reason::MissingValue(key) => write!(f, "{key} has no value"),
            Reason::MissingOption(kind, key) => write!(f, "the {kind} needs: {key}"),
            Reason::MatchesAll => {
                f.write_str("the route needs a condition: ")?;
                choice(f, CONDITION_KEYS.into_iter())
            }
            Reason::TooManyConditions => {
                write!(f, "the route has more than {MAX_CONDITIONS} conditions")
            }
            Reason::FullPool(most) => write!(f, "more than {most} servers in this pool"),
            Reason::NotWith(key, protocol) => write!(
                f,
                "{key} cannot be used with protocol {} of the service",
                protocol.name()
            ),
            Reason::Repeated(key) => write!(f, "{key} is given twice"),
            Reason::BadName(word) => write!(
                f,
                "{word} is no name (1 to {MAX_NAME} letters, digits, dots, hyphens, underscores)"
            ),
            Reason::Duplicate(Kind::Server, word) => {
                write!(f, "server {word} is already defined in this pool")
            }
            Reason::Duplicate(kind, word) => write!(f, "{kind} {word} is already defined"),
            Reason::DuplicateAddress(Kind::Server, endpoint) => {
                write!(f, "another server of this pool has address {endpoint}")
            }
            Reason::DuplicateAddress(kind, endpoint) => {
                write!(f, "another {kind} has address {endpoint}")
            }
            Reason::Undefined(kind, word) => {
                write!(f, "unknown {kind} {word} (define it on an earlier line)")
            }
            Reason::BadAddress(word) => write!(
                f,
                "{word} is no address and port (expected 192.0.2.1:80 or [2001:db8::1]:80)"
            ),
            Reason::UnusableAddress(word) => write!(
                f,
                "address {word} is of no use (unspecified, multicast or broadcast)"
            ),
            Reason::Ipv6(word) => write!(f, "address {word}: IPv6 is not supported yet"),
            Reason::BadNumber(key, word) => write!(f, "{key} {word} is no number"),
            Reason::BadDuration(key, word) => write!(
                f,
                "{key} {word} is no duration (a number and a unit: ms, s or m)"
            ),
            Reason::OutOfRange(key, word, range) => {
                write!(f, "{key} {word} is out of range (must be {range})")
            }
            Reason::BadHost(word) => write!(
                f,
                "{word} is no host (a domain name of letters, digits, hyphens, underscores, or *. and one; no port)"
            ),
            Reason::BadPath(word) => write!(
                f,
                "{word} is no path (must begin with /, without ? and #, non-ASCII only as %XX)"
            ),
            Reason::BadSuffix(word) => write!(
                f,
                "{word} is no end of a path (without ? and #, non-ASCII only as %XX)"
            ),
            Reason::BadMethod(word) => {
                write!(f, "{word} is no method (expected GET or GET,HEAD)")
            }
            Reason::BadPair(key, word) => {
                write!(f, "{key} {word} is bad (expected NAME or NAME=VALUE, in ASCII)")
            }
            Reason::BadNetwork(word) => write!(
                f,
                "{word} is no network (expected 192.0.2.1 or 192.0.2.0/24)"
            ),
            Reason::BadProtocol(word) => {
                write!(f, "{word} is no protocol (expected h2, for one)")
            }
            Reason::BadKey(key, word) => write!(
                f,
                "{key} {word} is no key (expected client or host or path or uri or header:NAME or cookie:NAME)"
            ),
            Reason::BadToken(key, word) => write!(
                f,
                "{key} {word} is no token (letters, digits and !#$%&'*+-.^_`|~)"
            ),
            Reason::BadPolicy(key, word, own) => {
                write!(f, "{key} {word} is bad (expected ")?;
                let others = policy::Kind::ALL.iter().filter(|kind| *kind != own);
                choice(f, others.map(|kind| kind.name()))?;
                f.write_str(")")
            }
        }
    }
}

impl core::error::Error for Error {}

impl From<OutOfMemory> for Reason {
    fn from(_: OutOfMemory) -> Self {
        Reason::OutOfMemory
    }
}
