// SPDX-License-Identifier: GPL-2.0

//! How busy a listener and the machine are.

use core::net::Ipv4Addr;

use kernel::sync::{
    atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
    rcu,
};
use thop_core::{
    addr::Endpoint,
    wire::CPU_FULL, //
};

use crate::{
    bindings,
    instance::Packet,
    messages::ipv4,
    reuseport,
    send::be32,
    time::now_ms, //
};

/// What waits for a server to accept it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptQueue {
    /// Connections in the queue.
    pub waiting: u32,
    /// For how many it has room, in the sense of `listen(2)`: Linux takes one more.
    pub limit: u32,
}

/// The accept queue of the listener at `server` that a handoff from `switch` would meet, or `None`
/// when no handoff can succeed there. Of a group of listeners (`SO_REUSEPORT`), which one a handoff
/// meets depends on its client, and so this is the sum over the group.
///
/// The device that `packet` has come by may matter to the choice of the listener.
pub fn accept_queue(
    packet: &Packet<'_>,
    switch: Ipv4Addr,
    server: &Endpoint,
) -> Option<AcceptQueue> {
    let address = ipv4(server.ip)?;
    let net = packet.namespace().as_ptr();
    // What is found stays while this is held.
    let _rcu = rcu::read_lock();
    // SAFETY: By the packet's invariant: softirq, RCU, and a packet that is valid and has its IP header and
    // device. A listener, its group and the group's members are freed by RCU.
    unsafe {
        // Without SYN cookies every handoff is refused, and so is it by a listener of Multipath TCP:
        // see `adopt()`.
        if !bindings::thop_syncookies_on(net) {
            return None;
        }
        let listener = bindings::thop_find_listener(
            net,
            packet.as_ptr(),
            be32(switch),
            0,
            be32(address),
            server.port,
        );
        if listener.is_null() || bindings::thop_sk_is_mptcp(listener) {
            return None;
        }
        let mut sum = AcceptQueue {
            waiting: 0,
            limit: 0,
        };
        for member in reuseport::members(listener) {
            let member = queue_of(member);
            sum.waiting = sum.waiting.saturating_add(member.waiting);
            sum.limit = sum.limit.saturating_add(member.limit);
        }
        Some(sum)
    }
}

/// # Safety
///
/// `listener` is a valid listening socket.
unsafe fn queue_of(listener: *const bindings::sock) -> AcceptQueue {
    // SAFETY: By the function's requirements.
    unsafe {
        AcceptQueue {
            waiting: bindings::thop_sk_acceptq_len(listener),
            limit: bindings::thop_sk_acceptq_limit(listener),
        }
    }
}

/// How busy the machine's processors are: all that are online, whatever the namespace.
///
/// The share of user, system, interrupt and stolen time in the time that has passed, between two
/// looks at the kernel's own accounts. That is counted by those who ask: nothing runs when nobody
/// does, and then the next answer is about the whole silence.
///
/// The accounts of idle time need care (a processor without ticks is behind with them), but only busy
/// time is read here, and it is written where a processor is busy. One that user space has without
/// ticks (`nohz_full`) is behind until its next system call.
pub struct Cpu {
    /// When the accounts were looked at, milliseconds since boot.
    at_ms: Atomic<u64>,
    /// Busy nanoseconds of all processors, at that time.
    busy_ns: Atomic<u64>,
    /// What came of it, thousandths.
    busy: Atomic<u32>,
}

/// For how long an answer holds. Long enough that ticks (1 to 10 ms) do not show.
const HOLDS_MS: u64 = 250;

impl Cpu {
    /// Begins to count.
    pub fn new() -> Self {
        Self {
            at_ms: Atomic::new(now_ms()),
            busy_ns: Atomic::new(busy_ns()),
            busy: Atomic::new(0),
        }
    }

    /// Thousandths, at most [`CPU_FULL`]: over the time between the last two looks, which lie at
    /// least a quarter of a second apart. Any context.
    pub fn busy(&self) -> u16 {
        let now = now_ms();
        let then = self.at_ms.load(Relaxed);
        let passed = now.saturating_sub(then);
        // Whoever sets the time makes the next look; others answer with the last. Should one be
        // delayed for so long that the next look overtakes it, a value is wrong once, within bounds.
        if passed >= HOLDS_MS && self.at_ms.cmpxchg(then, now, Full).is_ok() {
            let busy_ns = busy_ns();
            let worked_us = busy_ns.saturating_sub(self.busy_ns.xchg(busy_ns, Relaxed)) / 1_000;
            // SAFETY: Reads a counter; no requirements.
            let cpus = unsafe { bindings::thop_cpus_online() };
            // Microseconds in milliseconds are thousandths.
            let busy = worked_us
                .checked_div(passed.saturating_mul(u64::from(cpus)))
                .unwrap_or(0)
                .min(u64::from(CPU_FULL));
            self.busy.store(busy as u32, Relaxed);
        }
        // At most `CPU_FULL`, which fits.
        self.busy.load(Relaxed) as u16
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

/// Nanoseconds that all processors have been busy since boot.
fn busy_ns() -> u64 {
    // SAFETY: Reads counters; no requirements.
    unsafe { bindings::thop_cpus_busy_ns() }
}
