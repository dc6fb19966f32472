// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions over the kernel's C APIs that THOP needs and the `kernel` crate lacks.
//!
//! All unsafe code of the project lives in this crate. Each file wraps one concept:
//!
//! | module | what it wraps |
//! |---|---|
//! | [`sync`] | a spinlock that keeps softirqs out, and RCU-protected replacement |
//! | [`memory`] | the kernel's vectors as [`thop_core::heap::Heap`]s |
//! | [`counters`] | per-CPU counters |
//! | [`statistics`] | what one side of THOP counts |
//! | [`table`] | a hash table: one spinlock per bucket, elements from a `kmem_cache` |
//! | [`skb`] | `struct sk_buff` |
//! | [`text`] | small things for readable tables |
//! | [`instance`] | what a module keeps per network namespace: hooks, proc files, a worker |
//! | [`listener`] | an in-kernel TCP listener whose connections are handled where data arrives |
//! | [`adopt`] | giving a connection to a listener of this machine |
//! | [`load`] | how busy a listener and the machine are |
//! | [`messages`] | THOP messages in packets |
//! | [`gate`] | who may speak THOP to an instance |
//! | [`hmac`] | keyed codes, and secrets |
//! | [`segment`] | TCP segments in hooks |
//! | [`hash`] | the module parameter that chooses the hash of connections |
//! | [`random`] | random numbers |
//! | [`send`] | routes, and sending what did not come from a socket |
//! | `testing` | packets for the KUnit suites, on kernels that have KUnit |
//!
//! # Locks
//!
//! No two of this crate's spinlocks are ever held at once, but for one: work may be asked for under any of
//! them, and the lock for that is the last. None is held while a packet is sent or a socket is called. A
//! socket's own lock is taken before any of them, never after.

#![deny(unsafe_op_in_unsafe_fn)]

mod bindings;
mod compat;

pub mod adopt;
pub mod counters;
pub mod gate;
pub mod hash;
pub mod hmac;
pub mod instance;
pub mod listener;
pub mod load;
pub mod memory;
pub mod messages;
pub mod random;
mod reuseport;
pub mod segment;
pub mod send;
pub mod skb;
pub mod statistics;
pub mod sync;
pub mod table;
#[cfg(CONFIG_KUNIT = "y")]
pub mod testing;
pub mod text;
pub mod time;
mod work;

pub use compat::parameter;

/// What the kernel's `pr_*!` macros put before this crate's messages.
const __LOG_PREFIX: &[u8] = b"thop\0";
