// SPDX-License-Identifier: GPL-2.0

//! THOP's pure logic.
//!
//! Everything here is safe Rust that knows nothing of the kernel: it allocates only through
//! [`heap::Heap`], reads no clock, and cannot panic on data from the wire. The kernel modules
//! compile it as it stands; on the host it is an ordinary crate with unit and property tests.
//!
//! | module | what it knows |
//! |---|---|
//! | [`addr`] | endpoints, connection keys, the XOR hash |
//! | [`auth`] | keys, and which messages have come before |
//! | [`hash`] | how connections are spread over a table: the XOR hash, or one with a secret key |
//! | [`buckets`] | how a hash table grows and shrinks while it is used |
//! | [`checksum`] | the Internet checksum and its incremental update |
//! | [`packet`] | IPv4 and TCP headers: reading, writing, rewriting |
//! | [`http`] | the request head, incrementally |
//! | [`tls`] | the TLS ClientHello, incrementally |
//! | [`request`] | what rules and policies see of a request |
//! | [`rules`] | the choice of a route, whatever their number |
//! | [`policy`] | the choice of a server |
//! | [`http2`] | how HTTP/2 is refused |
//! | [`config`] | the configuration grammar and the choice of a pool |
//! | [`command`] | what an operator may order |
//! | [`wire`] | THOP messages |
//! | [`syn`] | whether a SYN may be answered with a cookie |
//! | [`agreement`] | whether two ways to judge agree, by samples |
//! | [`rtt`] | the round-trip time of a handshake of which nothing else is kept |
//! | [`flow`] | the life of a handed-over connection at the switch |
//! | [`health`] | a server's checks made into a state |
//! | [`clock`] | what time it is at another machine, at least |
//! | [`deadline`] | a queue of things to do later |
//! | [`ring`] | a bounded queue |
//! | [`order`] | sorting without a panic path |
//! | [`heap`] | fallible memory, supplied by the user of this crate |

#![cfg_attr(not(MODULE), no_std)]
#![forbid(unsafe_code)]

// For the host's heap; the kernel has its own.
#[cfg(not(MODULE))]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod addr;
pub mod agreement;
pub mod auth;
pub mod buckets;
pub mod checksum;
pub mod clock;
pub mod command;
pub mod config;
pub mod deadline;
pub mod flow;
pub mod hash;
pub mod health;
pub mod heap;
pub mod http;
pub mod http2;
pub mod order;
pub mod packet;
pub mod policy;
pub mod request;
pub mod ring;
pub mod rounds;
pub mod rtt;
pub mod rules;
pub mod syn;
pub mod tls;
pub mod wire;
