// SPDX-License-Identifier: GPL-2.0

//! A server as the switch knows it, as long as any configuration or connection does.
//!
//! What requests read is atomic: whether the server is open to them, how many connections it has,
//! and what it has reported. Behind that is its [`Health`], under a lock that no request takes.

use core::net::Ipv4Addr;

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc, //
    },
};
use thop_core::{
    addr::{
        Endpoint,
        FlowKey, //
    },
    clock::Reading,
    config,
    health::{
        Checks,
        Health,
        State, //
    },
    wire::{
        Body,
        Haste,
        Load,
        Parties,
        TcpState, //
    },
};
use thop_kernel::{
    memory,
    messages::ipv4,
    new_spin_lock_bh,
    send::RouteCache,
    sync::SpinLockBh,
    time::now_ms, //
};

use crate::pool::Pool;

/// For how long a server that did not answer CREATE is passed over while others are to be had.
const SHUN_MS: u64 = 5_000;

/// A server of a pool.
#[pin_data]
pub(crate) struct Server {
    /// Its name, which no other server of its pool has.
    pub(crate) name: KVVec<u8>,
    /// Where it listens.
    pub(crate) endpoint: Endpoint,
    /// Its address once more, for packets.
    pub(crate) ip: Ipv4Addr,
    /// The way there, of clients' segments.
    pub(crate) routes: RouteCache,
    /// The way there, of messages.
    pub(crate) messages: RouteCache,
    /// The pool it belongs to, which lets go of it when the pool ends: see [`Pool::end()`].
    pub(crate) pool: Arc<Pool>,
    /// Names this object in PING.
    pub(crate) number: u32,
    /// Its place in the pool's roster.
    pub(crate) place: u16,

    /// Connections that it has from this switch.
    pub(crate) connections: Atomic<i32>,
    /// How many it may have; 0: any number.
    pub(crate) max: Atomic<u32>,
    /// The weight that the configuration gives it.
    weight: Atomic<u32>,
    /// Handoffs that it was offered.
    pub(crate) offered: Atomic<u64>,
    /// Handoffs that it has taken.
    pub(crate) taken: Atomic<u64>,
    /// Handoffs that it has refused.
    pub(crate) refused: Atomic<u64>,
    /// Handoffs that it did not answer.
    pub(crate) unanswered: Atomic<u64>,
    /// Until when it is passed over, milliseconds since boot.
    shunned_until: Atomic<u64>,

    /// It is UP.
    open: Atomic<bool>,
    /// It is UP or DRAIN.
    reachable: Atomic<bool>,
    /// See [`Health::is_worth_a_try()`].
    worth_a_try: Atomic<bool>,
    #[pin]
    health: SpinLockBh<Health>,

    /// The boot epochs of the life it is in, as far as this switch has noticed, and the one before; 0 is none.
    boots: [Atomic<u64>; 2],
    /// The last PING, and the last that was answered.
    pub(crate) asked: Atomic<u32>,
    answered: Atomic<u32>,
    /// Its clock, as a [`Reading`].
    clock: Atomic<u64>,
    /// When the next PING is due, milliseconds since boot.
    pub(crate) ask_ms: Atomic<u64>,
    /// What the last LOAD said.
    pub(crate) report: Report,
}

/// For how long a server may own a connection that nothing confirms.
#[derive(Clone, Copy, Default)]
pub(crate) struct Lease {
    /// At most so long, milliseconds; 0: not at all.
    pub(crate) ms: u16,
    /// Until its clock shows this.
    pub(crate) deadline_ms: u32,
    /// In which of its lives that is: it has another clock in any other.
    pub(crate) life: u32,
}

impl Lease {
    /// What CREATE says with this lease.
    pub(crate) fn create(self, state: TcpState, request_len: u32, haste: Haste) -> Body {
        Body::Create {
            state,
            lease_ms: self.ms,
            deadline_ms: self.deadline_ms,
            haste,
            request_len,
        }
    }
}

/// A server's own account of its load.
pub(crate) struct Report {
    /// Connections that it has from other switches.
    elsewhere: Atomic<u32>,
    /// Connections in the accept queue, and how many it takes.
    pub(crate) queue: Atomic<u32>,
    pub(crate) queue_limit: Atomic<u32>,
    /// How busy its CPUs are, thousandths.
    pub(crate) cpu: Atomic<u32>,
    /// Handoffs that it has refused since its boot, whoever offered them.
    pub(crate) drops: Atomic<u64>,
}

impl Report {
    /// Nothing of it is true any more.
    pub(crate) fn forget(&self) {
        self.elsewhere.store(0, Relaxed);
        self.queue.store(0, Relaxed);
        self.queue_limit.store(0, Relaxed);
        self.cpu.store(0, Relaxed);
    }
}

impl Server {
    /// A server that nothing is known of.
    pub(crate) fn new(
        name: &str,
        entry: &config::Server,
        pool: Arc<Pool>,
        number: u32,
        place: u16,
    ) -> Result<Arc<Self>> {
        let endpoint = entry.endpoint;
        let mut octets = KVVec::new();
        octets.extend_from_slice(name.as_bytes(), memory::may_sleep())?;
        let ip = ipv4(endpoint.ip).ok_or(EINVAL)?;
        let (routes, messages) = (RouteCache::new(ip)?, RouteCache::new(ip)?);
        let health = Health::new(entry.weight, now_ms());
        let up = health.state().0 == State::Up;
        Arc::pin_init(
            pin_init!(Self {
                name: octets,
                endpoint,
                ip,
                routes,
                messages,
                pool,
                number,
                place,
                connections: Atomic::new(0),
                max: Atomic::new(entry.max.unwrap_or(0)),
                weight: Atomic::new(u32::from(entry.weight)),
                offered: Atomic::new(0),
                taken: Atomic::new(0),
                refused: Atomic::new(0),
                unanswered: Atomic::new(0),
                shunned_until: Atomic::new(0),
                open: Atomic::new(up),
                reachable: Atomic::new(true),
                worth_a_try: Atomic::new(false),
                health <- new_spin_lock_bh!(health),
                boots: [Atomic::new(0), Atomic::new(0)],
                asked: Atomic::new(0),
                answered: Atomic::new(0),
                clock: Atomic::new(Reading::NONE.to_bits()),
                ask_ms: Atomic::new(0),
                report: Report {
                    elsewhere: Atomic::new(0),
                    queue: Atomic::new(0),
                    queue_limit: Atomic::new(0),
                    cpu: Atomic::new(0),
                    drops: Atomic::new(0),
                },
            }),
            memory::may_sleep(),
        )
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        core::str::from_utf8(&self.name).unwrap_or("")
    }

    /// The parties to a connection that it has, or is to have.
    pub(crate) fn parties(&self, key: &FlowKey) -> Parties {
        Parties {
            client: key.client,
            service: key.service,
            server: self.endpoint,
        }
    }

    // --- what requests look at (any context) ----------------------------------------------------

    /// Whether it is UP.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// Whether it is UP or DRAIN.
    pub(crate) fn is_reachable(&self) -> bool {
        self.reachable.load(Relaxed)
    }

    /// Whether it is offered what nobody else can have, although it is DOWN.
    pub(crate) fn is_worth_a_try(&self) -> bool {
        self.worth_a_try.load(Relaxed)
    }

    /// How many more connections it may have from here; `u32::MAX` without a limit.
    pub(crate) fn room(&self) -> u32 {
        match self.max.load(Relaxed) {
            0 => u32::MAX,
            max => max.saturating_sub(self.connections.load(Relaxed).max(0) as u32),
        }
    }

    /// What must be known of its connections at once, besides `haste`: when one is over, if there may be only so
    /// many of them.
    pub(crate) fn haste(&self, haste: Haste) -> Haste {
        haste.with(Haste::GONE, self.max.load(Relaxed) != 0)
    }

    /// Counts a connection, unless it has as many as it may.
    pub(crate) fn reserve(&self) -> bool {
        let before = self.connections.fetch_add(1, Relaxed).max(0) as u32;
        let max = self.max.load(Relaxed);
        if max != 0 && before >= max {
            self.vacate();
            return false;
        }
        true
    }

    /// A connection that was counted is over.
    pub(crate) fn vacate(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    /// Its connections, those of other switches included as of its last report.
    pub(crate) fn load(&self) -> u32 {
        let own = self.connections.load(Relaxed).max(0) as u32;
        own.saturating_add(self.report.elsewhere.load(Relaxed))
    }

    /// It did not answer CREATE: others are tried first for a while.
    pub(crate) fn shun(&self, now_ms: u64) {
        self.unanswered.fetch_add(1, Relaxed);
        self.shunned_until.store(now_ms + SHUN_MS, Relaxed);
    }

    /// It has said something of a handoff, or is UP again. That a client has heard it does not count: clients may lie.
    pub(crate) fn heard(&self) {
        if self.shunned_until.load(Relaxed) != 0 {
            self.shunned_until.store(0, Relaxed);
        }
    }

    /// Whether it is passed over.
    pub(crate) fn is_shunned(&self, now_ms: u64) -> bool {
        self.shunned_until.load(Relaxed) > now_ms
    }

    // --- its lives ------------------------------------------------------------------------------

    /// Which life it is in. A connection that was handed to another is lost.
    #[inline]
    pub(crate) fn life(&self) -> u32 {
        life_of(self.boots[0].load(Relaxed))
    }

    /// It has told its boot epoch and, at the same time, what its clock showed. Returns which life of its that is, and
    /// whether it has just been noticed that this has begun after another.
    pub(crate) fn told(&self, boot: u64, clock_ms: u32, now_ms: u64) -> (u32, bool) {
        let began_anew = self.booted(boot);
        let life = life_of(boot);
        // A message of an earlier life, which was long under way, has another clock.
        if life == self.life() {
            self.clock
                .store(Reading::new(clock_ms, now_ms).to_bits(), Release);
        }
        (life, began_anew)
    }

    /// A boot epoch was seen in a message. Returns whether it is a new one, after another.
    fn booted(&self, boot: u64) -> bool {
        let [current, previous] = &self.boots;
        let known = current.load(Relaxed);
        if boot == known || boot == previous.load(Relaxed) {
            return false;
        }
        // Before it is not the current one any more: what it has said, and is still under way, is known for what it is.
        previous.store(known, Relaxed);
        // If that fails another CPU has seen it, too.
        if current.cmpxchg(known, boot, Full).is_err() || known == 0 {
            return false;
        }
        self.report.elsewhere.store(0, Relaxed);
        true
    }

    // --- its clock (any context) ----------------------------------------------------------------

    /// The lease of a CREATE that is sent now and shall end at `end_ms`: how long it is, and when that
    /// is by the server's clock. It has no length when it is over, or the clock is not known.
    pub(crate) fn lease(&self, end_ms: u64, now_ms: u64) -> Lease {
        // A life is entered before its clock is, so that it is never older than the clock.
        let reading = Reading::from_bits(self.clock.load(Acquire));
        match reading.at_least(end_ms) {
            Some(deadline_ms) => Lease {
                ms: end_ms.saturating_sub(now_ms).try_into().unwrap_or(u16::MAX),
                deadline_ms,
                life: self.life(),
            },
            None => Lease::default(),
        }
    }

    // --- its health (any context) ---------------------------------------------------------------

    /// Its health now.
    pub(crate) fn health(&self) -> Health {
        *self.health.lock()
    }

    /// Its health as it will be once the configuration gives it this weight: see
    /// [`Self::configure_weight()`].
    pub(crate) fn health_with(&self, weight: u16, now_ms: u64) -> Health {
        let mut health = self.health();
        if self.weight.load(Relaxed) != u32::from(weight) {
            health.reweigh(weight, now_ms);
        }
        health
    }

    /// Makes what requests look at agree with its health, which is locked.
    fn settle(&self, health: &Health) {
        let state = health.state().0;
        let up = state == State::Up;
        if up && !self.open.load(Relaxed) {
            // What it did not answer was of the time before.
            self.heard();
        }
        self.open.store(up, Relaxed);
        self.reachable
            .store(matches!(state, State::Up | State::Drain), Relaxed);
        self.worth_a_try.store(health.is_worth_a_try(), Relaxed);
    }

    /// Changes its health. Returns whether the pool must be told, which is so when `f` says so.
    pub(crate) fn with_health(&self, f: impl FnOnce(&mut Health) -> bool) -> bool {
        let mut health = self.health.lock();
        let changed = f(&mut health);
        self.settle(&health);
        drop(health);
        if changed {
            self.pool.set_stale();
        }
        changed
    }

    /// The configuration gives it a weight. What an operator has ordered stands until that changes.
    pub(crate) fn configure_weight(&self, weight: u16, now_ms: u64) {
        if self.weight.xchg(u32::from(weight), Full) != u32::from(weight) {
            self.with_health(|health| health.reweigh(weight, now_ms));
        }
    }

    /// It has answered a PING. Returns whether its state has changed, and whether it has begun anew; `None` if it is
    /// an old answer.
    pub(crate) fn on_load(
        &self,
        load: &Load,
        checks: &Checks,
        now_ms: u64,
    ) -> Option<(bool, bool)> {
        let sequence = load.ping.sequence as u32;
        let last = self.answered.load(Relaxed);
        // Newer than the last answer, and no newer than the last question.
        let newer = sequence.wrapping_sub(last).wrapping_sub(1) < 1 << 31;
        let asked = self.asked.load(Relaxed).wrapping_sub(sequence) < 1 << 31;
        if !newer || !asked || self.answered.cmpxchg(last, sequence, Full).is_err() {
            return None;
        }
        let (_, began_anew) = self.told(load.boot, load.clock_ms, now_ms);
        let report = &self.report;
        let own = self.connections.load(Relaxed).max(0) as u32;
        report
            .elsewhere
            .store(load.connections.saturating_sub(own), Relaxed);
        report.queue.store(load.queue, Relaxed);
        report.queue_limit.store(load.queue_limit, Relaxed);
        report.cpu.store(u32::from(load.cpu), Relaxed);
        report.drops.store(load.drops, Relaxed);
        // As `sk_acceptq_is_full()` has it.
        let full = load.queue > load.queue_limit;
        let changed =
            self.with_health(|health| health.answered(load.listening, full, checks, now_ms));
        Some((changed, began_anew))
    }
}

/// A life of a server by its boot epoch, which is random: enough of it to tell it from the one before.
fn life_of(boot: u64) -> u32 {
    boot as u32
}
