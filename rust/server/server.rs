// SPDX-License-Identifier: GPL-2.0

//! A server in one network namespace.
//!
//! Messages come through the LOCAL_IN hook (`takeover.rs`), clients' segments through PRE_ROUTING (`segments.rs`), both in softirq;
//! what must sleep (ending a socket) and what must happen later is the worker's (`worker.rs`).
//!
//! # A handoff
//!
//! CREATE is answered by CREATED or NOTIFYDROP. All messages name their handoff and may come any
//! number of times. A handoff is *confirmed* by the first segment that the switch forwards, or by
//! CONFIRM; until then CREATED is repeated. If the switch is in no haste, CREATED is not even sent
//! before that might have come: a client that acknowledges the response shows both sides that the
//! handoff has succeeded. From the end of its lease on, an unconfirmed socket may not speak: the
//! switch may have given the request to another server, when it has heard nothing. That is judged
//! for each segment as it is sent, so that no late timer can break it. The switch says which it is:
//! CONFIRM lets the socket go on, FORGET lets it vanish; so does long silence. When the socket dies,
//! NOTIFYCLS is repeated until it is acknowledged; if the switch is in no haste, it waits for others
//! to go with.
//!
//! # Locks
//!
//! Bucket locks of the table of handoffs, and the lock of the deadlines: never two at once, all with softirqs disabled.
//! Either may be taken with a socket's lock held; no socket is locked or let go of under one of them.

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
    addr::{
        Endpoint,
        FlowKey, //
    },
    clock::remaining,
    hash::Hasher,
    rounds::SLICE_MS,
    wire::{
        Body,
        DropReason,
        Haste,
        Message,
        Side, //
    },
};
use thop_kernel::{
    adopt::{
        self,
        Adopter,
        LiveSocket,
        Name, //
    },
    gate,
    instance::{
        File,
        Instance,
        Namespace,
        Packet,
        Passing,
        Slot,
        Softirq,
        Verdict,
        Worker, //
    },
    load::Cpu,
    memory,
    messages::{
        ipv4,
        Channel,
        Incoming,
        Outbox,
        Refused, //
    },
    new_spin_lock_bh,
    random,
    segment,
    statistics::Statistics,
    sync::SpinLockBh,
    table::{
        Cache,
        ChainWatch,
        Element,
        Table, //
    },
    time::now_ms, //
};

use crate::{
    counters::Counter,
    handoffs::{
        Handed,
        Phase, //
    },
    live::Live,
    report,
    worker::{
        Agenda,
        GATHER_MS, //
    },
};

/// NOTIFYCLS, as long as the module stays.
pub(crate) const GONE: Body = Body::NotifyClose { leaves: false };

/// What the module was loaded with.
pub(crate) struct Parameters {
    pub(crate) buckets: u32,
    pub(crate) most_buckets: u32,
    pub(crate) connections: u32,
    pub(crate) linger_ms: u32,
    pub(crate) closed_ms: u32,
    pub(crate) protocol: u8,
    pub(crate) insecure: bool,
    pub(crate) peers: u32,
    /// Whether connections are hashed with a secret key.
    pub(crate) keyed: bool,
    pub(crate) chains: ChainWatch,
}

/// What all instances share.
pub(crate) struct Shared {
    parameters: Arc<Parameters>,
    handoffs: Arc<Cache<Handed>>,
    gate: gate::Shared,
    /// The processors are those of the machine, in every namespace.
    cpu: Arc<Cpu>,
}

impl Shared {
    pub(crate) fn new(parameters: Parameters) -> Result<Self> {
        let gate = gate::Shared::new(
            parameters.insecure,
            parameters.peers,
            c"thop_server_sender",
            c"thop_server_receiver",
        )?;
        Ok(Self {
            gate,
            parameters: Arc::new(parameters, memory::may_sleep())?,
            handoffs: Arc::new(Cache::new(c"thop_server_handoff")?, memory::may_sleep())?,
            cpu: Arc::new(Cpu::new(), memory::may_sleep())?,
        })
    }
}

/// The server's state.
#[pin_data]
pub(crate) struct Server {
    pub(crate) namespace: Namespace<'static>,
    pub(crate) parameters: Arc<Parameters>,
    pub(crate) channel: Channel,
    /// Names this life of the server in its messages. Not 0.
    pub(crate) boot: u64,
    pub(crate) handoffs: Table<Handed>,
    pub(crate) live: Live,
    /// Handoffs refused since `boot`.
    pub(crate) drops: Atomic<u64>,
    /// When a slice of the table was last searched for what has expired, milliseconds since boot.
    swept_ms: Atomic<u64>,
    pub(crate) cpu: Arc<Cpu>,
    pub(crate) statistics: Statistics<Counter>,
    #[pin]
    pub(crate) agenda: SpinLockBh<Agenda>,
    #[pin]
    pub(crate) worker: Worker,
}

impl Server {
    /// Makes a text the keys, or changes none. Without keys nobody hands over, and there need be no tables; once there
    /// are, they stay. Process context.
    pub(crate) fn authorise(&self, text: &[u8]) -> Result {
        self.handoffs.prepare()?;
        self.channel.gate.configure(text)
    }

    pub(crate) fn count(&self, counter: Counter) {
        self.statistics.count(counter);
    }

    /// Counts what could not be sent.
    pub(crate) fn sent(&self, result: Result) {
        if result.is_err() {
            self.count(Counter::SendErrors);
        }
    }

    /// The clock that the switches' deadlines are in, milliseconds. It begins anywhere, so that a
    /// deadline from before this life is most likely far from it.
    pub(crate) fn clock_ms(&self) -> u32 {
        (now_ms() as u32).wrapping_add(self.boot as u32)
    }
}

/// The server's address in a connection.
pub(crate) fn address_of(message: &Message) -> Ipv4Addr {
    ipv4(message.parties.server.ip).unwrap_or(Ipv4Addr::UNSPECIFIED)
}

impl Server {
    /// Runs `f` on the handoff of a request or a socket that is known by `name`, under its bucket's lock.
    fn named<R>(
        &self,
        connection: &FlowKey,
        name: Name,
        f: impl FnOnce(&mut Handed) -> R,
    ) -> Option<R> {
        self.handoffs.find(
            |hasher| hasher.client(&connection.client),
            |handed| handed.name == name && handed.parties.key() == *connection,
            f,
        )
    }
}

impl Adopter for Server {
    fn wanted(&self, connection: &FlowKey, name: Name) -> Option<Endpoint> {
        self.named(connection, name, |handed| {
            handed
                .may_be_born(now_ms())
                .then_some(handed.parties.server)
        })?
    }

    fn refused(&self, connection: &FlowKey, name: Name, why: DropReason) {
        let key = self.named(connection, name, |handed| handed.key());
        if let Some(key) = key {
            self.refuse_named(&key, name, why);
        }
    }

    fn passes(&self, connection: &FlowKey, name: Name, cpu: u32) -> bool {
        let passes = self.named(connection, name, |handed| {
            let passes = handed.may_be_born(now_ms());
            if passes {
                handed.passed = Some(cpu);
            }
            passes
        });
        passes == Some(true)
    }

    fn begins(&self, connection: &FlowKey, name: Name) -> Option<u32> {
        self.named(connection, name, |handed| {
            (handed.passed.is_some() && !handed.born).then_some(handed.rtt_us)
        })?
    }

    fn established(&self, connection: &FlowKey, name: Name, socket: LiveSocket) {
        let mut socket = Some(socket);
        let look = self.named(connection, name, |handed| {
            handed.born = true;
            handed.socket = socket.take();
            match handed.phase {
                Phase::Adopting => {
                    handed.enter(Phase::Alive { confirmed: false }, &self.live);
                    // Else who has sent the request up the stack is about to see it.
                    handed.queued.then(|| (handed.key(), true))
                }
                // It was taken back as the request was under way: the worker ends the socket.
                Phase::Alive { .. } | Phase::Gone { .. } => Some((handed.key(), false)),
            }
        });
        if let Some(Some((key, adopted))) = look {
            if adopted {
                self.count(Counter::Adopted);
            }
            self.look_in(key, 0);
        }
    }

    fn ended(&self, connection: &FlowKey, name: Name) -> Option<LiveSocket> {
        let (socket, notice) = self.named(connection, name, |handed| {
            let socket = handed.socket.take()?;
            let lived = matches!(handed.phase, Phase::Alive { .. });
            if lived {
                handed.enter(Phase::DIED, &self.live);
                handed.seen_ms = now_ms();
            }
            let ms = if handed.haste.contains(Haste::GONE) {
                0
            } else {
                // With what else there is to say soon.
                GATHER_MS
            };
            Some((socket, lived.then(|| (handed.key(), ms))))
        })??;
        self.count(Counter::Closed);
        if let Some((key, ms)) = notice {
            self.look_in(key, ms);
        }
        Some(socket)
    }
}

impl Instance for Server {
    const NAME: &'static CStr = c"thop_server";
    // After a switch in this namespace.
    const PRIORITY: i32 = i32::MIN + 1;
    type Shared = Shared;

    fn slot() -> &'static Slot<Self> {
        &crate::INSTANCES
    }

    fn new(namespace: Namespace<'static>, shared: &Shared) -> Result<impl PinInit<Self, Error>> {
        let parameters = shared.parameters.clone();
        let handoffs = Table::unprepared(
            shared.handoffs.clone(),
            parameters.buckets,
            parameters.connections,
            Hasher::new(parameters.keyed, random::number),
        )
        .growing(parameters.most_buckets);
        if parameters.insecure {
            // Everybody may hand over at once.
            handoffs.prepare()?;
        }
        let channel = Channel::new(namespace, parameters.protocol, Side::Server, &shared.gate)?;
        let statistics = Statistics::new()?;
        let cpu = shared.cpu.clone();
        Ok(try_pin_init!(Self {
            namespace,
            parameters,
            channel,
            boot: random::number().max(1),
            handoffs,
            live: Live::new(),
            drops: Atomic::new(0),
            swept_ms: Atomic::new(0),
            cpu,
            statistics,
            agenda <- new_spin_lock_bh!(Agenda::new()),
            worker <- Worker::new(),
        }? Error))
    }

    fn files() -> &'static [File<Self>] {
        report::FILES
    }

    fn worker(&self) -> &Worker {
        &self.worker
    }

    fn work(&self) -> Option<u32> {
        let next = self.look();
        // The worker runs far more often, for handoffs.
        let now = now_ms();
        if now.saturating_sub(self.swept_ms.load(Relaxed)) >= u64::from(SLICE_MS) {
            self.swept_ms.store(now, Relaxed);
            self.sweep(now);
        }
        // While there is anything, age is looked after.
        let next = next.unwrap_or(u64::from(SLICE_MS)).min(u64::from(SLICE_MS)) as u32;
        let next = (!self.handoffs.is_empty()).then_some(next.max(1));
        [self.handoffs.tend(now), next].into_iter().flatten().min()
    }

    fn elsewhere<'a>(&self, mut packet: Packet<'a>) -> Verdict<'a> {
        let known = segment::peek(&mut packet)
            .and_then(|segment| self.handoffs.with(&segment.key, |_| ()))
            .is_some();
        if known {
            self.count(Counter::Ignored);
        }
        packet.accept()
    }

    fn pre_routing<'a>(&self, packet: Packet<'a>, _: Softirq<'a>) -> Verdict<'a> {
        if self.handoffs.is_empty() {
            return packet.accept();
        }
        match segment::read(packet) {
            Ok((packet, segment)) => self.on_segment(packet, &segment),
            Err(verdict) => verdict,
        }
    }

    const HAS_SOCKETS: bool = true;

    fn arrives<'a>(&self, packet: Passing<'a>) -> Verdict<'a> {
        adopt::arrive(self, packet)
    }

    fn local_out<'a>(&self, packet: Passing<'a>) -> Verdict<'a> {
        if self.handoffs.is_empty() {
            return packet.accept();
        }
        self.on_output(packet)
    }

    fn local_in<'a>(&self, mut packet: Packet<'a>) -> Verdict<'a> {
        if !self.channel.is_message(&packet.skb()) {
            return packet.accept();
        }
        let received = match self.channel.receive(packet.skb()) {
            Ok(Incoming::Handoff(received)) => received,
            Ok(Incoming::Bundle(bundle)) => {
                for received in bundle.messages(packet.skb()) {
                    match received {
                        Ok(received) => self.on_message(&received),
                        Err(how) => self.statistics.malformed(how),
                    }
                }
                return packet.consume();
            }
            Ok(Incoming::Monitor { message, from, to }) => {
                return self.on_monitor(packet, &message, from, to);
            }
            // What was not believed is sent again, by its own timer.
            Ok(Incoming::Epoch { .. }) => {
                self.count(Counter::Epochs);
                return packet.consume();
            }
            // A switch may live in the same namespace.
            Err(Refused::Foreign) => {
                self.count(Counter::Foreign);
                return packet.accept();
            }
            Err(Refused::Malformed(how)) => {
                self.statistics.malformed(how);
                return packet.drop();
            }
            Err(Refused::Denied(why)) => {
                self.statistics.denied(why);
                return packet.drop();
            }
        };
        if let Body::Create {
            state,
            lease_ms,
            deadline_ms,
            haste,
            ..
        } = received.message.body
        {
            if ipv4(received.message.parties.server.ip) == Some(received.to) {
                let lease_ms = remaining(deadline_ms, self.clock_ms(), lease_ms);
                return self.on_create(packet, &received, &state, haste, lease_ms);
            }
            self.count(Counter::Foreign);
            return packet.drop();
        }
        self.on_message(&received);
        packet.consume()
    }

    /// A socket that must be silent is silent by the hook alone: it ends before that goes.
    fn retire(&self) {
        // Nobody else ends sockets from here on.
        self.worker.stop();
        let now = now_ms();
        let mut next = 0;
        while let Some(position) = self.handoffs.next_used(next) {
            // One at a time: a socket is not ended under the bucket's lock.
            loop {
                let mut silent = None;
                next = self.handoffs.visit(position, |handed| {
                    if silent.is_none() && handed.socket.is_some() && handed.must_be_silent(now) {
                        handed.enter(Phase::TAKEN_BACK, &self.live);
                        silent = handed.socket.take();
                    }
                });
                match silent {
                    Some(socket) => socket.end(),
                    None => break,
                }
            }
        }
    }

    fn is_used(&self) -> bool {
        self.handoffs.is_prepared()
    }

    fn stop(&self) {
        // The switches come first: a client whose reset is lost, or not believed, is answered by its switch when it
        // speaks next. Nobody here could.
        let mut outbox = Outbox::new(&self.channel);
        let mut next = 0;
        while let Some(position) = self.handoffs.next_used(next) {
            // One at a time: nothing is sent under the bucket's lock.
            loop {
                let mut notice = None;
                next = self.handoffs.visit(position, |handed| {
                    if notice.is_none() && !handed.told && handed.may_be_missed() {
                        handed.told = true;
                        let leaves = Body::NotifyClose { leaves: true };
                        notice = Some((handed.message(leaves), handed.switch));
                    }
                });
                match notice {
                    Some((message, switch)) => self.tell(&message, switch, &mut outbox),
                    None => break,
                }
            }
        }
        self.sent(outbox.send());
        // Without this module the clients' segments would not reach these sockets any more.
        self.handoffs.sweep_all(
            |_| true,
            |handed| {
                if let Some(socket) = handed.socket {
                    socket.abort();
                }
            },
        );
    }
}
