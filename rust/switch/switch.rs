// SPDX-License-Identifier: GPL-2.0

//! The switch of one network namespace: its state.
//!
//! What happens when:
//!
//! | event | context | file |
//! |---|---|---|
//! | a request has arrived | softirq, the socket's lock held | `dispatcher.rs` |
//! | a segment of a client comes | softirq, PRE_ROUTING | `forwarder.rs` |
//! | a message of a server comes | softirq, LOCAL_IN | `messages.rs` |
//! | a server's report comes | softirq, LOCAL_IN | `monitor.rs` |
//! | something is due | worker, process context | `worker.rs`, `monitor.rs` |
//!
//! How a handoff goes on then is in `offers.rs`.
//!
//! # Locks
//!
//! A socket's lock, if held, is the outermost. A bucket's lock of the table, a shard's lock of the
//! deadlines or of what leaves, that of a pool's queue and that of a server's health are taken one at a time, with
//! softirqs disabled; nothing is sent and no socket called under them. The configuration and the
//! pools' rosters are read under RCU; their writers' mutexes are taken in this order (process
//! context): the listeners', the configuration's, a roster's.

use core::net::Ipv4Addr;

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};
use thop_core::{
    flow::Timeouts,
    hash::Hasher,
    wire::{
        Handoff,
        Message,
        Side, //
    },
};
use thop_kernel::{
    gate,
    instance::{
        Namespace,
        Worker, //
    },
    listener::Handshakes,
    memory,
    messages::{
        Channel,
        Outbox, //
    },
    new_rcu_box,
    new_spin_lock_bh,
    random,
    skb::SkBuff,
    statistics::Statistics,
    sync::{
        RcuBox,
        SpinLockBh, //
    },
    table::{
        Cache,
        ChainWatch,
        Table, //
    },
    time::now_ms, //
};

use crate::{
    cluster::Cluster,
    counters::Counter,
    handoff::Connection,
    leaving::Leavings,
    server::Server,
    worker::{
        Agenda,
        SHARDS, //
    },
};

/// What the module was loaded with.
pub(crate) struct Parameters {
    pub(crate) buckets: u32,
    pub(crate) most_buckets: u32,
    pub(crate) connections: u32,
    pub(crate) held: u32,
    pub(crate) held_octets: u32,
    pub(crate) timeouts: Timeouts,
    pub(crate) protocol: u8,
    pub(crate) insecure: bool,
    pub(crate) peers: u32,
    /// Whether connections are hashed with a secret key.
    pub(crate) keyed: bool,
    pub(crate) chains: ChainWatch,
    /// Whether requests are taken from first segments, without a socket.
    pub(crate) first_segment: bool,
}

/// The switch's state.
#[pin_data]
pub(crate) struct Switch {
    pub(crate) namespace: Namespace<'static>,
    pub(crate) parameters: Arc<Parameters>,
    pub(crate) channel: Channel,
    pub(crate) table: Table<Connection>,
    #[pin]
    pub(crate) cluster: RcuBox<Cluster>,
    pub(crate) statistics: Statistics<Counter>,
    /// For how long handshakes took, whose SYN was answered with a cookie.
    pub(crate) handshakes: Handshakes,
    /// Names this life of the switch in its messages.
    epoch: u64,
    next_id: Atomic<u64>,
    next_server: Atomic<u32>,
    /// Whether servers have lost connections that are still in the table.
    pub(crate) purge: Atomic<bool>,
    /// When a slice of the table was last searched for what has expired, milliseconds since boot.
    pub(crate) swept_ms: Atomic<u64>,
    /// When this life began, milliseconds since boot.
    pub(crate) born_ms: u64,
    /// When the load monitor has something to do, milliseconds since boot; `u64::MAX`: never.
    pub(crate) monitor_ms: Atomic<u64>,
    /// By the hash of the key.
    #[pin]
    pub(crate) agenda: [SpinLockBh<Agenda>; SHARDS],
    /// By the id of the handoff.
    #[pin]
    pub(crate) leaving: [SpinLockBh<Leavings>; SHARDS],
    /// When servers were last asked what they have, milliseconds since boot.
    pub(crate) asked_ms: Atomic<u64>,
    #[pin]
    pub(crate) worker: Worker,
}

impl Switch {
    /// The switch of a namespace, with nothing configured. Process context.
    pub(crate) fn new(
        namespace: Namespace<'static>,
        parameters: Arc<Parameters>,
        cache: Arc<Cache<Connection>>,
        gate: &gate::Shared,
    ) -> Result<Arc<Self>> {
        let channel = Channel::new(namespace, parameters.protocol, Side::Switch, gate)?;
        let hasher = Hasher::new(parameters.keyed, random::number);
        let table = Table::unprepared(cache, parameters.buckets, parameters.connections, hasher)
            .growing(parameters.most_buckets);
        let cluster = KBox::new(Cluster::empty(), memory::may_sleep())?;
        let statistics = Statistics::new()?;
        Arc::pin_init(
            pin_init!(Self {
                namespace,
                parameters,
                channel,
                table,
                cluster <- new_rcu_box!(cluster),
                statistics,
                handshakes: Handshakes::unprepared(),
                epoch: random::number(),
                next_id: Atomic::new(1),
                next_server: Atomic::new(1),
                purge: Atomic::new(false),
                swept_ms: Atomic::new(0),
                born_ms: now_ms(),
                monitor_ms: Atomic::new(u64::MAX),
                agenda <- pin_init::pin_init_array_from_fn(|_| new_spin_lock_bh!(Agenda::new())),
                leaving <- pin_init::pin_init_array_from_fn(|_| new_spin_lock_bh!(Leavings::new())),
                asked_ms: Atomic::new(0),
                worker <- Worker::new(),
            }),
            memory::may_sleep(),
        )
    }

    #[inline]
    pub(crate) fn count(&self, counter: Counter) {
        self.statistics.count(counter);
    }

    /// A name for a new handoff.
    pub(crate) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Relaxed)
    }

    /// A number for a new server.
    pub(crate) fn new_server(&self) -> u32 {
        self.next_server.fetch_add(1, Relaxed)
    }

    /// Names this life of the switch.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn handoff(&self, id: u64) -> Handoff {
        Handoff {
            epoch: self.epoch,
            id,
        }
    }

    /// An element has left the table.
    pub(crate) fn removed(&self, mut connection: Connection) {
        if connection.uncount() {
            self.freed(&connection.server);
        }
        // A pending handoff goes with it; its socket vanishes.
    }

    /// Sends a message about a connection.
    pub(crate) fn tell(&self, message: &Message, to: Ipv4Addr) {
        let sent = self.channel.send(message, Ipv4Addr::UNSPECIFIED, to);
        if sent.is_err() {
            self.count(Counter::SendErrors);
        }
    }

    /// Sends a message about a connection, together with what else is said.
    pub(crate) fn say(&self, message: &Message, to: Ipv4Addr, outbox: &mut Outbox<'_>) {
        if outbox.push(message, Ipv4Addr::UNSPECIFIED, to).is_err() {
            self.count(Counter::SendErrors);
        }
    }

    /// Sends a CREATE that was prepared.
    pub(crate) fn send_create(&self, packet: SkBuff, to: &Server) {
        self.count(Counter::CreatesSent);
        let sent = self.channel.send_create(packet, &to.messages);
        if sent.is_err() {
            self.count(Counter::SendErrors);
        }
    }

    /// Empties the table. The servers end what they have of it: their clients could not reach them
    /// any more. Process context, with no listener left.
    pub(crate) fn stop(&self) {
        // Who waits holds its listener, and servers hold their pools: both are let go here.
        let cluster = self.cluster.write();
        for (_, pool) in cluster.pools() {
            pool.end();
        }
        drop(cluster);
        self.table.sweep_all(
            |_| true,
            |connection| {
                if !connection.flow.is_gone() {
                    self.tell(&self.forget(&connection, true), connection.server.ip);
                }
                self.removed(connection);
            },
        );
    }
}
