// SPDX-License-Identifier: GPL-2.0

//! The switch of one network namespace: its state, and how a handoff goes on.
//!
//! What happens when:
//!
//! | event | context | file |
//! |---|---|---|
//! | a request has arrived | softirq, the socket's lock held | `dispatcher.rs` |
//! | a segment of a client comes | softirq, PRE_ROUTING | `forwarder.rs` |
//! | a message of a server comes | softirq, LOCAL_IN | here |
//! | a server's report comes | softirq, LOCAL_IN | `monitor.rs` |
//! | something is due | worker, process context | here, and `monitor.rs` |
//!
//! # Locks
//!
//! A socket's lock, if held, is the outermost. A bucket's lock of the table, a shard's lock of the
//! deadlines, that of a pool's queue and that of a server's health are taken one at a time, with
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
        rcu,
        Arc, //
    },
};
use thop_core::{
    addr::FlowKey,
    checksum::Sum,
    deadline::Deadlines,
    flow::{
        Phase,
        Timeouts, //
    },
    hash::Hasher,
    packet::{
        Flags,
        Ipv4Tcp,
        TcpChecksum, //
    },
    wire::{
        Body,
        DropReason,
        Handoff,
        Message,
        Monitor,
        Side,
        TcpOptions, //
    },
};
use thop_kernel::{
    gate,
    instance::{
        Namespace,
        Packet,
        Verdict,
        Worker, //
    },
    memory,
    memory::AtomicHeap,
    messages::{
        ipv4,
        Channel,
        Incoming,
        Outbox,
        Received,
        Refused, //
    },
    new_rcu_box,
    new_spin_lock_bh,
    random,
    send,
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
    handoff::{
        Completed,
        Connection,
        Pending,
        Spare,
        Stage,
        GIVE_UP_MS,
        LEASE_MS,
        OFFERS,
        PROBES,
        PROBE_MS,
        REPEAT_MS, //
    },
    pool::{
        Choice,
        Standing, //
    },
    server::Server,
};

/// How many locks the deadlines of handoffs are spread over.
const SHARDS: usize = 16;
/// How often the table is searched for what has expired, milliseconds.
const SWEEP_MS: u64 = 1_000;
/// For how long the worker rests, milliseconds, unless somebody asks for it: what is due meanwhile is done at once.
const REST_MS: u64 = 10;

/// What the module was loaded with.
pub(crate) struct Parameters {
    pub(crate) buckets: u32,
    pub(crate) connections: u32,
    pub(crate) held: u32,
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

/// Handoffs that must be looked at, by when: a key and the id it had.
type Agenda = Deadlines<AtomicHeap, (FlowKey, u64)>;

/// The switch's state.
#[pin_data]
pub(crate) struct Switch {
    pub(crate) namespace: Namespace,
    pub(crate) parameters: Arc<Parameters>,
    pub(crate) channel: Channel,
    pub(crate) table: Table<Connection>,
    #[pin]
    pub(crate) cluster: RcuBox<Cluster>,
    pub(crate) statistics: Statistics<Counter>,
    /// Names this life of the switch in its messages.
    epoch: u64,
    next_id: Atomic<u64>,
    next_server: Atomic<u32>,
    /// Whether servers have lost connections that are still in the table.
    pub(crate) purge: Atomic<bool>,
    swept_ms: Atomic<u64>,
    /// When this life began, milliseconds since boot.
    pub(crate) born_ms: u64,
    /// When the load monitor has something to do, milliseconds since boot; `u64::MAX`: never.
    pub(crate) monitor_ms: Atomic<u64>,
    #[pin]
    agenda: [SpinLockBh<Agenda>; SHARDS],
    #[pin]
    pub(crate) worker: Worker,
}

/// Why a handoff goes to another server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Refused,
    Silent,
}

impl Switch {
    /// The switch of a namespace, with nothing configured. Process context.
    pub(crate) fn new(
        namespace: Namespace,
        parameters: Arc<Parameters>,
        cache: Arc<Cache<Connection>>,
        gate: &gate::Shared,
    ) -> Result<Arc<Self>> {
        let channel = Channel::new(namespace, parameters.protocol, Side::Switch, gate)?;
        let hasher = Hasher::new(parameters.keyed, random::number);
        let table = Table::new(cache, parameters.buckets, parameters.connections, hasher)?;
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
                epoch: random::number(),
                next_id: Atomic::new(1),
                next_server: Atomic::new(1),
                purge: Atomic::new(false),
                swept_ms: Atomic::new(0),
                born_ms: now_ms(),
                monitor_ms: Atomic::new(u64::MAX),
                agenda <- pin_init::pin_init_array_from_fn(|_| new_spin_lock_bh!(Agenda::new())),
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

    /// Has a handoff looked at later. `false` without memory. Any context.
    pub(crate) fn look_in(&self, key: FlowKey, id: u64, ms: u64) -> bool {
        let shard = self.table.bucket_of(&key) as usize % SHARDS;
        let pushed = self
            .agenda
            .get(shard)
            .is_some_and(|shard| shard.lock().push(now_ms() + ms, (key, id)).is_ok());
        self.worker.kick_in(ms as u32);
        pushed
    }

    /// An element has left the table.
    pub(crate) fn removed(&self, mut connection: Connection) {
        if connection.uncount() {
            self.freed(&connection.server);
        }
        // A pending handoff goes with it; its socket vanishes.
    }

    // --- sending --------------------------------------------------------------------------------

    fn tell(&self, message: &Message, to: Ipv4Addr) {
        let sent = self.channel.send(message, Ipv4Addr::UNSPECIFIED, to);
        if sent.is_err() {
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

    /// The CREATE of a pending handoff as it is to be sent now.
    fn create(&self, connection: &mut Connection, now: u64) -> Result<SkBuff> {
        let server = &connection.server;
        let pending = connection.pending.as_mut().ok_or(EINVAL)?;
        let mut state = pending.state;
        // Another server may have acknowledged the request meanwhile, by a clock that went on.
        if state.options.contains(TcpOptions::TIMESTAMP) {
            let late = pending.offered_ms.saturating_sub(pending.taken_ms);
            state.ts_last = state.ts_last.wrapping_add(late as u32);
        }
        let parties = server.parties(&connection.key);
        let lease = server.lease(pending.offered_ms + LEASE_MS, now);
        if lease.ms != 0 {
            connection.life = lease.life;
        }
        let message = Message {
            handoff: self.handoff(connection.id),
            parties,
            body: lease.create(state, pending.request_len, server.haste(pending.haste)),
        };
        pending.packet(&message)
    }

    /// Asks the client what it has heard, by a segment that lies before what it expects.
    ///
    /// Its time stamp is as late as any that the server can have sent: an old acknowledgement with an
    /// older one is dropped without an answer (RFC 7323, section 5.3, as Linux has it since 6.14).
    fn probe(&self, pending: &Pending, key: &FlowKey, now: u64) -> Ipv4Tcp {
        let state = &pending.state;
        let ts_now = state
            .ts_last
            .wrapping_add(now.saturating_sub(pending.taken_ms) as u32);
        let fin = u32::from(state.options.contains(TcpOptions::FIN));
        Ipv4Tcp {
            source: key.service,
            destination: key.client,
            seq: state.isn_switch,
            ack: state
                .isn_client
                .wrapping_add(1)
                .wrapping_add(pending.request_len)
                .wrapping_add(fin),
            flags: Flags::ACK,
            window: u16::MAX,
            timestamps: state
                .options
                .contains(TcpOptions::TIMESTAMP)
                .then_some((ts_now, state.ts_recent)),
            payload_len: 0,
            checksum: TcpChecksum::Complete(Sum::new()),
        }
    }

    // --- how a handoff goes on ------------------------------------------------------------------

    /// A server has the connection: what was held goes to it, and the switch's socket vanishes.
    pub(crate) fn complete(&self, completed: Completed) {
        let Completed { server, pending } = completed;
        server.heard();
        let Some(mut pending) = pending else { return };
        server.taken.fetch_add(1, Relaxed);
        for packet in core::mem::take(&mut pending.held) {
            self.count(Counter::Flushed);
            self.forward_held(packet, &server);
        }
        if let Pending {
            spare: Spare::Segment(segment),
            ..
        } = KBox::into_inner(pending)
        {
            segment.consume();
        }
    }

    /// Offers a request to the next server, or answers it.
    ///
    /// A silent server is told to forget it only now: until the client had said that it has heard
    /// nothing, it may have had the connection.
    fn move_on(&self, key: &FlowKey, id: u64, why: Why) {
        enum Next {
            Offer(SkBuff, Arc<Server>, u64),
            Answer(u16),
        }

        let now = now_ms();
        let guard = rcu::read_lock();
        let mut left = None;
        let mut forget = None;
        let next = self.table.with(key, |connection| {
            if connection.id != id {
                return None;
            }
            let message = self.forget(connection, false);
            let pending = connection.pending.as_mut()?;
            if why == Why::Silent {
                forget = Some((message, connection.server.ip));
            }
            let last = if why == Why::Silent { 504 } else { 503 };
            if why == Why::Silent && !pending.idempotent {
                return Some(Next::Answer(504));
            }
            if pending
                .tried
                .push(connection.server.clone(), memory::atomic())
                .is_err()
                || pending.tried.len() >= OFFERS
            {
                return Some(Next::Answer(last));
            }
            let class = pending.class;
            let chosen =
                pending
                    .pool
                    .choose(&guard, |_| class, &pending.tried, Standing::Again, now);
            // When all others are full, the request does not wait again.
            let Choice::Server(server, pool, class) = chosen else {
                return Some(Next::Answer(last));
            };
            pending.pool = pool;
            pending.class = class;
            left = connection.uncount().then(|| connection.server.clone());
            connection.counted = true;
            server.offered.fetch_add(1, Relaxed);
            connection.server = server.clone();
            connection.id = self.new_id();
            let pending = connection.pending.as_mut()?;
            pending.stage = Stage::Answer(0);
            pending.told_clock = false;
            pending.offered_ms = now;
            match self.create(connection, now) {
                Ok(packet) => Some(Next::Offer(packet, server, connection.id)),
                Err(_) => Some(Next::Answer(503)),
            }
        });
        if let Some(left) = left {
            self.freed(&left);
        }
        if let Some((message, to)) = forget {
            self.tell(&message, to);
        }
        match next.flatten() {
            None => {}
            Some(Next::Offer(packet, server, id)) => {
                self.count(Counter::Moved);
                if self.look_in(*key, id, REPEAT_MS[0]) {
                    self.send_create(packet, &server);
                } else {
                    self.answer(key, id, 503);
                }
            }
            Some(Next::Answer(status)) => {
                let current = self.table.with(key, |connection| connection.id);
                if let Some(current) = current {
                    self.answer(key, current, status);
                }
            }
        }
    }

    /// Takes a pending handoff back and answers the client from here.
    pub(crate) fn answer(&self, key: &FlowKey, id: u64, status: u16) {
        let given_back = self.table.with(key, |connection| {
            if connection.id != id {
                return None;
            }
            let segment = connection.give_back(status, self.new_id())?;
            let server = connection.server.clone();
            Some((segment, connection.uncount().then_some(server)))
        });
        if let Some((segment, left)) = given_back.flatten() {
            self.count(Counter::GivenBack);
            if let Some(left) = left {
                self.freed(&left);
            }
            return segment.receive_again(self.namespace);
        }
        let removed = self.table.remove_if(key, |connection| {
            connection.id == id && connection.pending.is_some()
        });
        if let Some(connection) = removed {
            self.answer_here(connection, status);
        }
    }

    /// Has the switch's own socket, if there is one, answer a connection that is in no table.
    pub(crate) fn answer_here(&self, mut connection: Connection, status: u16) {
        if let Some(pending) = connection.pending.take() {
            let Pending { spare, speaks, .. } = KBox::into_inner(pending);
            if let Spare::Socket(parked, _) = spare {
                parked.answer(self.refusal(speaks, status));
            }
        }
        self.removed(connection);
    }

    /// What a connection is to be answered, if it has been given back to the stack.
    pub(crate) fn refused_before(&self, key: &FlowKey) -> Option<u16> {
        if !self.parameters.first_segment {
            return None;
        }
        let status = self.table.with(key, |connection| {
            (connection.flow.phase() == Phase::Returned).then_some(connection.refusal)
        });
        status.flatten()
    }

    /// Gives up a pending handoff whose server is silent and whose client does not answer.
    ///
    /// The client may have heard the beginning of a response, and an answer from here would go on
    /// where that ends. So the socket vanishes: what the client says next is answered with a reset. Only a client that shows by
    /// its cookie that it has heard nothing gets an answer.
    fn abandon(&self, key: &FlowKey, id: u64) {
        let mut forget = None;
        let abandoned = self.table.with(key, |connection| {
            if connection.id != id || connection.pending.is_none() {
                return None;
            }
            forget = Some((self.forget(connection, false), connection.server.ip));
            let pending = connection.end(504, self.new_id());
            Some((
                pending,
                connection.uncount().then(|| connection.server.clone()),
            ))
        });
        let Some((_pending, left)) = abandoned.flatten() else {
            return;
        };
        self.count(Counter::ClientsLost);
        if let Some((message, to)) = forget {
            self.tell(&message, to);
        }
        if let Some(left) = left {
            self.freed(&left);
        }
    }

    /// A connection is lost with its server. Under the bucket's lock; who calls this has the worker look for requests that wait.
    ///
    /// It is remembered for a while: a cookie is good for longer, and what must not be done twice would be dispatched
    /// anew if the client had to repeat it.
    pub(crate) fn lose(&self, connection: &mut Connection) {
        self.count(Counter::Purged);
        // Nothing is pending.
        let _ = connection.end(504, self.new_id());
        let _ = connection.uncount();
    }

    /// FORGET, for the server that a connection was offered to.
    fn forget(&self, connection: &Connection, reset: bool) -> Message {
        Message {
            handoff: self.handoff(connection.id),
            parties: connection.parties(),
            body: Body::Forget { reset },
        }
    }

    /// The client of a silent server has shown that it has heard nothing.
    pub(crate) fn client_heard_nothing(&self, key: &FlowKey, id: u64) {
        self.move_on(key, id, Why::Silent);
    }

    // --- messages (softirq) ---------------------------------------------------------------------

    /// A THOP message for this side, or a packet of something else.
    pub(crate) fn local_in(&self, mut packet: Packet<'_>) -> Verdict {
        if !self.channel.is_message(packet.skb()) {
            return packet.accept();
        }
        let mut answers = Outbox::new(&self.channel);
        match self.channel.receive(packet.skb()) {
            Ok(Incoming::Handoff(received)) => self.on_message(&received, &mut answers),
            Ok(Incoming::Bundle(bundle)) => {
                for received in bundle.messages(packet.skb()) {
                    match received {
                        Ok(received) => self.on_message(&received, &mut answers),
                        Err(how) => self.statistics.malformed(how),
                    }
                }
            }
            Ok(Incoming::Monitor { message, from, .. }) => {
                // The channel does not give what is for the other side.
                if let Monitor::Load(load) = message {
                    self.on_load(&load, from);
                }
            }
            Ok(Incoming::Epoch { from }) => self.on_epoch(from),
            // A server may live in the same namespace.
            Err(Refused::Foreign) => {
                self.count(Counter::Foreign);
                return packet.accept();
            }
            Err(Refused::Malformed(how)) => self.statistics.malformed(how),
            Err(Refused::Denied(why)) => self.statistics.denied(why),
        }
        if answers.send().is_err() {
            self.count(Counter::SendErrors);
        }
        packet.drop()
    }

    fn on_message(&self, received: &Received, answers: &mut Outbox<'_>) {
        match received.message.body {
            // As above.
            Body::Create { .. } | Body::CloseAck | Body::Forget { .. } | Body::Confirm => {}
            _ if ipv4(received.message.parties.server.ip) != Some(received.from) => {
                self.count(Counter::Foreign);
            }
            Body::Created { boot, clock_ms } => {
                self.on_created(received, boot, clock_ms, answers);
            }
            Body::Late { boot, clock_ms } => self.on_late(received, boot, clock_ms),
            Body::NotifyClose { leaves } => self.on_notify_close(received, leaves, answers),
            Body::NotifyDrop(reason) => {
                self.statistics.refused(reason);
                self.on_notify_drop(received, reason);
            }
            Body::Forgotten => {}
        }
    }

    /// Answers a message, together with others that came with it.
    fn reply(&self, received: &Received, body: Body, answers: &mut Outbox<'_>) {
        let answer = received.message.reply(body);
        if answers
            .push(&answer, Ipv4Addr::UNSPECIFIED, received.from)
            .is_err()
        {
            self.count(Counter::SendErrors);
        }
    }

    fn on_created(&self, received: &Received, boot: u64, clock_ms: u32, answers: &mut Outbox<'_>) {
        enum Is {
            News(Completed, bool),
            Known(bool),
            TooLate,
        }

        let message = &received.message;
        if message.handoff.epoch != self.epoch {
            // An earlier life of this switch; the server's lease will end it.
            return self.count(Counter::Foreign);
        }
        let is = self.table.with(&message.parties.key(), |connection| {
            if !connection.is_about(message) {
                return Is::TooLate;
            }
            let (life, began_anew) = connection.server.told(boot, clock_ms, now_ms());
            match &connection.pending {
                // Also from a server that was given up, as long as nobody else was asked.
                Some(_) => {
                    connection.flow.taken();
                    connection.life = life;
                    Is::News(connection.complete(), began_anew)
                }
                None => Is::Known(began_anew),
            }
        });
        match is {
            Some(Is::News(completed, began_anew)) => {
                if began_anew {
                    self.began_anew();
                }
                self.count(Counter::Created);
                self.complete(completed);
            }
            Some(Is::Known(began_anew)) => {
                if began_anew {
                    self.began_anew();
                }
                // The server asks whether it may keep the connection.
                self.count(Counter::CreatedAgain);
                self.reply(received, Body::Confirm, answers);
            }
            Some(Is::TooLate) | None => {
                self.count(Counter::Foreign);
                self.reply(received, Body::Forget { reset: false }, answers);
            }
        }
    }

    /// A server has got CREATE when it was over by its clock, or with no lease as its clock was not known here.
    ///
    /// CREATE is repeated at once, with what is known now; but only once, so that two machines that
    /// do not agree for whatever reason do not go on like that.
    fn on_late(&self, received: &Received, boot: u64, clock_ms: u32) {
        let message = &received.message;
        let key = message.parties.key();
        let now = now_ms();
        let known = self.table.with(&key, |connection| {
            if message.handoff.epoch != self.epoch || !connection.is_about(message) {
                return None;
            }
            let server = connection.server.clone();
            let (_, began_anew) = server.told(boot, clock_ms, now);
            let again = connection.pending.as_mut().is_some_and(|pending| {
                let first = !core::mem::replace(&mut pending.told_clock, true);
                first && matches!(pending.stage, Stage::Answer(_))
            });
            // Without memory the next repetition must do.
            let again = again.then(|| self.create(connection, now).ok()).flatten();
            Some((server, began_anew, again))
        });
        let Some((server, began_anew, again)) = known.flatten() else {
            return self.count(Counter::Foreign);
        };
        if began_anew {
            self.began_anew();
        }
        self.count(Counter::CreatesOverdue);
        if let Some(packet) = again {
            self.send_create(packet, &server);
        }
    }

    /// `leaves`: the server's module goes.
    fn on_notify_close(&self, received: &Received, leaves: bool, answers: &mut Outbox<'_>) {
        let message = &received.message;
        self.count(Counter::CloseNotices);
        if message.handoff.epoch == self.epoch {
            let completed = self.table.with(&message.parties.key(), |connection| {
                connection.is_about(message).then(|| {
                    connection.flow.gone();
                    let first = connection.uncount();
                    let completed = connection.complete();
                    if leaves {
                        self.lose(connection);
                    }
                    (first, completed)
                })
            });
            if let Some((first, completed)) = completed.flatten() {
                let server = completed.server.clone();
                self.complete(completed);
                if first {
                    server.pool.done(&rcu::read_lock(), &server, now_ms());
                    self.freed(&server);
                }
            }
        }
        // Whether it is known or not: the server need not say it again.
        self.reply(received, Body::CloseAck, answers);
    }

    fn on_notify_drop(&self, received: &Received, reason: DropReason) {
        let message = &received.message;
        let key = message.parties.key();
        let server = self.table.with(&key, |connection| {
            let about = message.handoff.epoch == self.epoch
                && connection.is_about(message)
                && connection.pending.is_some();
            about.then(|| connection.server.clone())
        });
        match server.flatten() {
            Some(server) => {
                server.heard();
                server.refused.fetch_add(1, Relaxed);
                self.refused(&server, reason);
                self.move_on(&key, message.handoff.id, Why::Refused);
            }
            None => self.count(Counter::Foreign),
        }
    }

    // --- the worker (process context) -----------------------------------------------------------

    /// Does what is due. Returns after how many milliseconds there is more to do.
    pub(crate) fn work(&self) -> Option<u32> {
        let mut next = SWEEP_MS;
        for shard in &self.agenda {
            loop {
                let now = now_ms();
                let mut agenda = shard.lock();
                let Some((key, id)) = agenda.pop_due(now) else {
                    if let Some(due) = agenda.next() {
                        next = next.min(due.saturating_sub(now));
                    }
                    break;
                };
                drop(agenda);
                self.look_at(&key, id, now);
            }
        }
        let now = now_ms();
        if now.saturating_sub(self.swept_ms.load(Relaxed)) >= SWEEP_MS {
            self.swept_ms.store(now, Relaxed);
            self.sweep(now);
        }
        self.purge();
        let monitor = self.monitor();
        let next = match (self.table.is_empty(), monitor) {
            (true, None) => return None,
            (true, Some(monitor)) => monitor,
            (false, monitor) => next.min(monitor.unwrap_or(u64::MAX)),
        };
        Some(next.max(REST_MS) as u32)
    }

    fn look_at(&self, key: &FlowKey, id: u64, now: u64) {
        enum Act {
            Repeat(SkBuff, Arc<Server>),
            GiveUp(Arc<Server>),
            Probe(Ipv4Tcp),
            Lost,
        }

        let act = self.table.with(key, |connection| {
            if connection.id != id {
                return None;
            }
            let server = connection.server.clone();
            let pending = connection.pending.as_mut()?;
            match pending.stage {
                Stage::Answer(sent) if usize::from(sent) < REPEAT_MS.len() => {
                    pending.stage = Stage::Answer(sent + 1);
                    let wait = REPEAT_MS
                        .get(usize::from(sent) + 1)
                        .copied()
                        .unwrap_or(GIVE_UP_MS);
                    // Without memory this repetition is left out.
                    let packet = self.create(connection, now).ok();
                    Some((packet.map(|p| Act::Repeat(p, server)), wait))
                }
                Stage::Answer(_) => {
                    pending.stage = Stage::Client(0);
                    Some((Some(Act::GiveUp(server)), 1))
                }
                Stage::Client(probes) if probes < PROBES => {
                    pending.stage = Stage::Client(probes + 1);
                    let probe = self.probe(pending, key, now);
                    Some((Some(Act::Probe(probe)), PROBE_MS))
                }
                Stage::Client(_) => Some((Some(Act::Lost), 0)),
            }
        });
        let Some((act, wait)) = act.flatten() else {
            return;
        };
        match act {
            None => {}
            Some(Act::Repeat(packet, server)) => self.send_create(packet, &server),
            Some(Act::GiveUp(server)) => {
                self.count(Counter::Unanswered);
                server.shun(now);
            }
            Some(Act::Probe(probe)) => {
                self.count(Counter::Probes);
                // There is another soon.
                let _ = send::bare_segment(self.namespace, &probe);
            }
            Some(Act::Lost) => return self.abandon(key, id),
        }
        if !self.look_in(*key, id, wait) {
            self.answer(key, id, 503);
        }
    }

    /// What a server had is lost. Any context.
    pub(crate) fn began_anew(&self) {
        self.count(Counter::Restarts);
        self.purge.store(true, Relaxed);
        self.worker.kick();
    }

    fn sweep(&self, now: u64) {
        let timeouts = &self.parameters.timeouts;
        self.table.sweep_all(
            |connection| connection.flow.expired(timeouts, now as u32),
            |connection| {
                self.count(Counter::Expired);
                self.removed(connection);
            },
        );
        let (chain, _) = self.table.chains();
        let Parameters { chains, keyed, .. } = &*self.parameters;
        if let Some(warning) = chains.warning(chain, *keyed, now) {
            pr_warn!("{warning}\n");
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
