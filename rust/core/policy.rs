// SPDX-License-Identifier: GPL-2.0

//! How the server for a request is chosen from its pool.
//!
//! A policy is one file in `policy/`: a type that implements [`Policy`], whose five hooks are those
//! of the paper ("Dispatcher module"), and one line in the registry below. Nothing else knows it.
//!
//! | hook of the paper | here | when |
//! |---|---|---|
//! | initialisation | [`Policy::initialise`] | a pool begins, or what is known of its servers has changed |
//! | request parsing | [`Policy::classify`] | once for each request |
//! | server selection | [`Policy::select`] | for each offer of a request to a server |
//! | post request | [`Policy::done`] | a server has told that a connection is over |
//! | shutdown | [`Policy::shutdown`] | the pool goes, or has got another policy |
//!
//! `classify`, `select` and `done` run on any number of CPUs at once, in softirq, and take no lock
//! and no memory: what they change is atomic. All orderings are relaxed: each atomic stands for
//! itself, and a decision that misses another CPU's latest is as good as one made a moment earlier.

use crate::{
    heap::{Heap, OutOfMemory},
    request::Request,
};

pub mod hash;

mod cap;
mod key;
mod lard;
mod lard_r;
mod lc;
mod least;
mod maglev;
mod rr;
mod sticky;
mod targets;
mod turns;
mod wlc;
mod wrr;

/// The greatest number of places in a pool.
pub const MAX_MEMBERS: usize = 4096;

/// A server's place in a pool, as a policy is told of it.
///
/// Its index does not change as long as the server is in the pool. The place of a server that has
/// gone stays, with weight 0, until a new server gets it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The server's name.
    pub name: &'a str,
    /// Names the server for hashing: the same on every switch that has the same configuration.
    pub identity: u64,
    /// Its share of the requests, in units that mean something only within the pool. 0: it gets no
    /// request that could go elsewhere, being drained, down, or no more.
    pub weight: u32,
}

/// What is known of a pool's servers at the moment.
pub trait Servers {
    /// Whether this server may get the request: it is up, below its limit, and was not offered the
    /// request before.
    fn usable(&self, server: usize) -> bool;

    /// The same for a request that belongs to this server and no other: weight 0 does not matter.
    fn reachable(&self, server: usize) -> bool;

    /// The connections that it has, from all switches as far as known.
    fn connections(&self, server: usize) -> u32;

    /// How busy its CPUs are, in thousandths; 0 when it is not known.
    fn cpu(&self, server: usize) -> u32;

    /// Milliseconds since boot.
    fn now_ms(&self) -> u64;
}

/// What a policy has understood of a request; it alone knows the meaning.
///
/// Only the low [`BITS`](Class::BITS) are a policy's own: one that asks another policy keeps what
/// itself must know in the high ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Class(pub u64);

impl Class {
    /// How many bits a policy may use.
    pub const BITS: u32 = 48;
    /// These bits.
    pub const MASK: u64 = (1 << Self::BITS) - 1;

    /// The class of a hash.
    #[inline]
    pub const fn of(hash: hash::Hash) -> Self {
        Self(hash.value() >> (u64::BITS - Self::BITS))
    }
}

/// A policy. See the [module](self) for what calls its hooks.
pub trait Policy: Sized {
    /// Makes a policy for these servers, at most [`MAX_MEMBERS`]. `before` is the one that it
    /// replaces: what shall outlive a change of weights is copied from there. Process context; the
    /// only hook that may take memory.
    fn initialise(
        setup: &Setup<'_>,
        members: &[Member<'_>],
        before: Option<&Self>,
    ) -> Result<Self, OutOfMemory>;

    /// Takes from a request what the choice depends on.
    #[inline]
    fn classify(&self, request: &Request<'_>) -> Class {
        let _ = request;
        Class::default()
    }

    /// Chooses a server that is [usable](Servers::usable), or none.
    fn select(&self, class: Class, servers: &impl Servers) -> Option<usize>;

    /// A server has finished with a connection.
    #[inline]
    fn done(&self, server: usize, servers: &impl Servers) {
        let _ = (server, servers);
    }

    /// The pool goes, or has got another policy. What the policy has is freed after this. Process
    /// context.
    fn shutdown(&mut self) {}
}

/// An option of a policy: the grammar checks its value by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its key.
    pub name: &'static str,
    /// What its value must be.
    pub value: Value,
}

/// What the value of an option must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A decimal number in this range.
    Number(u32, u32),
    /// A number and a unit, `ms`, `s` or `m`; in this range of milliseconds.
    Duration(u32, u32),
    /// What of a request is hashed: `client`, `host`, `path`, `uri`, `header:NAME` or `cookie:NAME`.
    Key,
    /// A token (RFC 9110, section 5.6.2): the name of a cookie, for one.
    Token,
    /// Another policy, without options of its own: what [`Kind::fallback`] knows.
    Policy,
}

/// What the configuration says of a pool's policy.
pub struct Setup<'a> {
    /// The value of an option, if the configuration has it. It has been checked.
    pub option: &'a dyn Fn(&'static str) -> Option<&'a str>,
}

impl Setup<'_> {
    /// The value of an option that is a [number](Value::Number), or this one if there is none.
    pub fn number(&self, name: &'static str, default: u32) -> u32 {
        let text = (self.option)(name);
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// The value of an option that is a [duration](Value::Duration), in milliseconds, or this one if
    /// there is none.
    pub fn duration_ms(&self, name: &'static str, default: u32) -> u32 {
        let duration = |text: &str| {
            let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
            let factor = match text.strip_prefix(digits)? {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                _ => return None,
            };
            digits.parse::<u32>().ok()?.checked_mul(factor)
        };
        (self.option)(name).and_then(duration).unwrap_or(default)
    }
}

macro_rules! policies {
    ($($(#[$doc:meta])* $variant:ident($policy:ty) = $module:ident,)*) => {
        /// Which policy.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// Every policy there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// What the configuration calls it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $module::NAME,)*
                }
            }

            /// The options that it understands, besides those of every pool.
            pub const fn options(self) -> &'static [Choice] {
                match self {
                    $(Self::$variant => $module::OPTIONS,)*
                }
            }

            /// Makes a policy of this kind: [`Policy::initialise`].
            pub fn initialise<H: Heap>(
                self,
                setup: &Setup<'_>,
                members: &[Member<'_>],
                before: Option<&Any<H>>,
            ) -> Result<Any<H>, OutOfMemory> {
                match self {
                    $(Self::$variant => {
                        let before = match before {
                            Some(Any::$variant(before)) => Some(before),
                            _ => None,
                        };
                        <$policy>::initialise(setup, members, before).map(Any::$variant)
                    })*
                }
            }
        }

        /// Any policy.
        pub enum Any<H: Heap> {
            $($(#[$doc])* $variant($policy),)*
        }

        impl<H: Heap> Any<H> {
            /// Which policy it is.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant(_) => Kind::$variant,)*
                }
            }

            /// [`Policy::classify`].
            #[inline]
            pub fn classify(&self, request: &Request<'_>) -> Class {
                match self {
                    $(Self::$variant(policy) => policy.classify(request),)*
                }
            }

            /// [`Policy::select`].
            #[inline]
            pub fn select(&self, class: Class, servers: &impl Servers) -> Option<usize> {
                match self {
                    $(Self::$variant(policy) => policy.select(class, servers),)*
                }
            }

            /// [`Policy::done`].
            #[inline]
            pub fn done(&self, server: usize, servers: &impl Servers) {
                match self {
                    $(Self::$variant(policy) => policy.done(server, servers),)*
                }
            }

            /// [`Policy::shutdown`].
            pub fn shutdown(&mut self) {
                match self {
                    $(Self::$variant(policy) => policy.shutdown(),)*
                }
            }
        }
    };
}

// The registry: each policy's type, with the module that also has its `NAME` and `OPTIONS`.
policies! {
    /// The servers take turns.
    RoundRobin(rr::RoundRobin<H>) = rr,
    /// The servers take turns, as often as their weights say.
    WeightedRoundRobin(wrr::WeightedRoundRobin<H>) = wrr,
    /// The server with the fewest connections.
    LeastConnections(lc::LeastConnections<H>) = lc,
    /// The server with the fewest connections in proportion to its weight.
    WeightedLeastConnections(wlc::WeightedLeastConnections<H>) = wlc,
    /// The server that has the target in its cache, unless it is overloaded.
    Lard(lard::Lard<H>) = lard,
    /// The least loaded of the servers that have the target in their caches.
    LardR(lard_r::LardR<H>) = lard_r,
    /// The servers take turns within each service class.
    ClientAware(cap::ClientAware<H>) = cap,
    /// The server that a hash of the request gives.
    Maglev(maglev::Maglev<H>) = maglev,
    /// The server that a cookie names.
    Sticky(sticky::Sticky<H>) = sticky,
}

impl Kind {
    /// The policy of this name.
    pub fn named(name: &[u8]) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|kind| kind.name().as_bytes() == name)
    }

    /// The policy of this name, if another policy may ask it: any but `sticky`, so that no chain is
    /// longer than two.
    pub fn fallback(name: &[u8]) -> Option<Self> {
        Self::named(name).filter(|&kind| kind != Self::Sticky)
    }
}
