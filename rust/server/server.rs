// SPDX-License-Identifier: GPL-2.0

//! A server in one network namespace.
//!
//! Messages come through the LOCAL_IN hook, clients' segments through PRE_ROUTING, both in softirq;
//! what must sleep (ending a socket) and what must happen later is the worker's.
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
//! Bucket locks of the table of handoffs, of the table of sockets, the lock of the deadlines and of
//! the list of sockets to end: never two at once, all with softirqs disabled.

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
    addr::FlowKey,
    clock::remaining,
    deadline::Deadlines,
    hash::Hasher,
    heap::List,
    packet::{
        parse_ipv4,
        rewrite_destination_ipv4,
        Flags,
        Segment, //
    },
    wire::{
        Body,
        DropReason,
        Handoff,
        Haste,
        Message,
        Side,
        TcpOptions,
        TcpState, //
    },
};
use thop_kernel::{
    adopt::{
        self,
        Adopter,
        SocketCache,
        SocketId,
        Sockets,
        Taken, //
    },
    gate,
    instance::{
        File,
        Instance,
        Namespace,
        Packet,
        Slot,
        Softirq,
        Verdict,
        Worker, //
    },
    load::Cpu,
    memory,
    memory::{
        AtomicHeap,
        AtomicList, //
    },
    messages::{
        ipv4,
        Channel,
        Incoming,
        Outbox,
        Received,
        Refused, //
    },
    new_spin_lock_bh,
    random,
    segment,
    send,
    statistics::Statistics,
    sync::SpinLockBh,
    table::{
        Cache,
        ChainWatch,
        Table, //
    },
    time::now_ms, //
};

use crate::{
    counters::Counter,
    handoffs::{
        End,
        Handed,
        Phase, //
    },
    live::Live,
    report,
};

/// How long after CREATED, and then how often, a handoff is looked at that nothing has confirmed.
const ASK_MS: u64 = 200;
/// How long after CREATE that is done first if the switch is in no haste: time for most servers to answer
/// and for their clients to acknowledge, and early enough for a CREATED before the switch repeats CREATE, after 100 ms.
const ANSWER_MS: u64 = 40;
/// For how long NOTIFYCLS waits for others if the switch is in no haste.
const GATHER_MS: u64 = 4;
/// How often it is looked at when its lease is over.
const ASK_LATE_MS: u64 = 1_000;
/// For how long after its lease an unconfirmed handoff is kept, silent.
const UNCONFIRMED_MS: u64 = 15_000;
/// How long to wait for an acknowledgement of the first NOTIFYCLS; doubled each time.
const NOTICE_MS: u64 = 200;
/// How often NOTIFYCLS is sent.
const NOTICES: u8 = 8;
/// How often the table is searched for what has expired.
const SWEEP_MS: u32 = 1_000;

/// NOTIFYCLS, as long as the module stays.
const GONE: Body = Body::NotifyClose { leaves: false };

/// What the module was loaded with.
pub(crate) struct Parameters {
    pub(crate) buckets: u32,
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
    sockets: Arc<SocketCache>,
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
            sockets: Arc::new(Cache::new(c"thop_server_socket")?, memory::may_sleep())?,
            cpu: Arc::new(Cpu::new(), memory::may_sleep())?,
        })
    }
}

/// A socket that shall end.
struct Ending {
    socket: SocketId,
    reset: bool,
}

/// What the worker shall do.
struct Agenda {
    deadlines: Deadlines<AtomicHeap, FlowKey>,
    endings: KVec<Ending>,
}

/// The server's state.
#[pin_data]
pub(crate) struct Server {
    pub(crate) namespace: Namespace,
    pub(crate) parameters: Arc<Parameters>,
    pub(crate) channel: Channel,
    /// Names this life of the server in its messages. Not 0.
    pub(crate) boot: u64,
    pub(crate) handoffs: Table<Handed>,
    pub(crate) live: Live,
    /// Handoffs refused since `boot`.
    pub(crate) drops: Atomic<u64>,
    /// When the table was searched last for what has expired, milliseconds since boot.
    swept_ms: Atomic<u64>,
    pub(crate) cpu: Arc<Cpu>,
    sockets: Sockets,
    pub(crate) statistics: Statistics<Counter>,
    #[pin]
    agenda: SpinLockBh<Agenda>,
    #[pin]
    worker: Worker,
}

impl Server {
    pub(crate) fn count(&self, counter: Counter) {
        self.statistics.count(counter);
    }

    fn sent(&self, result: Result) {
        if result.is_err() {
            self.count(Counter::SendErrors);
        }
    }

    /// Tells a switch of a handoff, together with what else it is told now.
    fn tell(&self, message: &Message, switch: Ipv4Addr, outbox: &mut Outbox<'_>) {
        self.sent(outbox.push(message, address_of(message), switch));
    }

    /// Lets the worker look at a handoff later.
    fn look_in(&self, key: FlowKey, ms: u64) {
        // Without memory nobody looks: CREATED or NOTIFYCLS is not repeated, and the switch's own
        // retries and timeouts must do.
        let _ = self.agenda.lock().deadlines.push(now_ms() + ms, key);
        self.worker.kick_in(ms as u32);
    }

    fn end(&self, socket: SocketId, reset: bool) {
        let ending = Ending { socket, reset };
        // Without memory the socket stays until its application closes it.
        let _ = self.agenda.lock().endings.push(ending, memory::atomic());
        self.worker.kick();
    }

    // --- messages (softirq) ---------------------------------------------------------------------

    /// `lease_ms`: how long the connection may be kept unconfirmed from now on, if it may at all.
    fn on_create(
        &self,
        packet: Packet<'_>,
        received: &Received,
        state: &TcpState,
        haste: Haste,
        lease_ms: Option<u16>,
    ) -> Verdict {
        /// What is known of the client's port.
        enum Known {
            Nothing,
            Same(Phase),
            Late,
            Other(Option<SocketId>, bool),
        }

        self.count(Counter::Creates);
        let message = &received.message;
        let key = Handed::key_of(&message.parties);
        let known = self.handoffs.with(&key, |old| {
            if old.handoff == message.handoff {
                return Known::Same(old.phase);
            }
            if old.handoff.epoch == message.handoff.epoch && old.handoff.id > message.handoff.id {
                return Known::Late;
            }
            if lease_ms.is_none() {
                // It shall not do anything.
                return Known::Nothing;
            }
            let same_service = old.parties.service == message.parties.service;
            match old.phase {
                Phase::Alive { socket, .. } => {
                    if same_service {
                        // Nothing more is heard of it: see `Known::Other` below.
                        old.enter(Phase::TAKEN_BACK, &self.live);
                    }
                    Known::Other(Some(socket), same_service)
                }
                Phase::Adopting => Known::Other(None, same_service),
                Phase::Gone { .. } => Known::Nothing,
            }
        });
        match known.unwrap_or(Known::Nothing) {
            Known::Nothing => {}
            Known::Same(phase) => {
                self.count(Counter::CreatesAgain);
                match phase {
                    Phase::Adopting => {}
                    Phase::Alive { .. } => self.reply(received, self.created()),
                    // The switch has given it up, or is about to.
                    Phase::Gone {
                        taken_back: true, ..
                    } => {}
                    Phase::Gone { .. } => self.reply(received, GONE),
                }
                return packet.drop();
            }
            Known::Late => {
                self.count(Counter::CreatesLate);
                return packet.drop();
            }
            Known::Other(Some(socket), true) => {
                // The client has made a new connection from that port, so the old one is dead, and
                // only this side has not heard. It is ended by the worker; the switch will repeat
                // its CREATE.
                self.count(Counter::Replaced);
                self.end(socket, false);
                return packet.drop();
            }
            Known::Other(..) => {
                // Two services of one client port: the segments of both would look the same here.
                return self.refuse(packet, received, DropReason::Conflict);
            }
        }

        let Some(lease_ms) = lease_ms else {
            // The switch may have given the request to another by now. It is told the time: it may not have
            // known it.
            self.count(Counter::CreatesOverdue);
            let (boot, clock_ms) = (self.boot, self.clock_ms());
            self.reply(received, Body::Late { boot, clock_ms });
            return packet.drop();
        };
        let now = now_ms();
        let placeholder = Handed {
            handoff: message.handoff,
            parties: message.parties,
            switch: received.from,
            phase: Phase::Adopting,
            haste,
            lease_ms: now + u64::from(lease_ms),
            closed: state.options.contains(TcpOptions::FIN),
            notices: 0,
            seen_ms: now,
        };
        // Another CPU may be doing the same with a repetition: who is first, adopts.
        if let Err((refused, _)) = self.handoffs.insert_if(placeholder, |old| {
            old.handoff != message.handoff && matches!(old.phase, Phase::Gone { .. })
        }) {
            return match refused {
                thop_kernel::table::Refused::Exists => packet.drop(),
                _ => self.refuse(packet, received, DropReason::NoMemory),
            };
        }
        let namespace = packet.namespace();
        let (datagram, verdict) = packet.steal();
        let taken = adopt::adopt(
            self,
            namespace,
            adopt::Handed {
                key,
                handoff: message.handoff,
                parties: &message.parties,
                state,
                datagram,
                request_at: received.payload_at,
            },
        );
        match taken {
            Ok(taken) => self.adopted(received, &key, haste, taken),
            Err(reason) => {
                self.handoffs
                    .remove_if(&key, |handed| handed.handoff == message.handoff);
                self.drop_notice(received, reason);
            }
        }
        verdict
    }

    fn adopted(&self, received: &Received, key: &FlowKey, haste: Haste, taken: Taken) {
        let socket = match taken {
            Taken::Alive(socket) => Some(socket),
            Taken::Gone => None,
        };
        let alive = self.handoffs.with(key, |handed| {
            // The socket may have died, and its destructor been here, before this.
            if handed.phase == Phase::Adopting {
                let phase = match socket {
                    Some(socket) => Phase::Alive {
                        socket,
                        confirmed: false,
                    },
                    None => Phase::DIED,
                };
                handed.enter(phase, &self.live);
            }
            matches!(handed.phase, Phase::Alive { .. })
        });
        if alive == Some(true) {
            self.count(Counter::Adopted);
            if haste.contains(Haste::TAKEN) {
                self.reply(received, self.created());
                self.look_in(*key, ASK_MS);
            } else {
                self.look_in(*key, ANSWER_MS);
            }
        } else {
            self.count(Counter::AdoptedGone);
            self.reply(received, GONE);
            self.look_in(*key, NOTICE_MS);
        }
    }

    fn refuse(&self, packet: Packet<'_>, received: &Received, reason: DropReason) -> Verdict {
        self.drop_notice(received, reason);
        packet.drop()
    }

    fn drop_notice(&self, received: &Received, reason: DropReason) {
        self.statistics.refused(reason);
        self.drops.add(1, Relaxed);
        self.reply(received, Body::NotifyDrop(reason));
    }

    /// The message that says: taken over.
    fn created(&self) -> Body {
        Body::Created {
            boot: self.boot,
            clock_ms: self.clock_ms(),
        }
    }

    /// The clock that the switches' deadlines are in, milliseconds. It begins anywhere, so that a
    /// deadline from before this life is most likely far from it.
    pub(crate) fn clock_ms(&self) -> u32 {
        (now_ms() as u32).wrapping_add(self.boot as u32)
    }

    fn reply(&self, received: &Received, body: Body) {
        let answer = received.message.reply(body);
        self.sent(self.channel.send(&answer, received.to, received.from));
    }

    /// A message that is no CREATE.
    fn on_message(&self, received: &Received) {
        match received.message.body {
            Body::Forget { reset } => self.on_forget(received, reset),
            Body::Confirm => self.on_confirm(received),
            Body::CloseAck => self.on_close_ack(received),
            // A bundle has no CREATE, and the channel does not give what is for the other side.
            Body::Create { .. }
            | Body::Created { .. }
            | Body::NotifyClose { .. }
            | Body::NotifyDrop(_)
            | Body::Forgotten
            | Body::Late { .. } => {}
        }
    }

    fn on_forget(&self, received: &Received, reset: bool) {
        let message = &received.message;
        let key = Handed::key_of(&message.parties);
        let socket = self.handoffs.with(&key, |handed| {
            if handed.handoff != message.handoff {
                return None;
            }
            // The switch needs no notice of what it has asked for.
            match handed.phase {
                Phase::Alive { socket, .. } => {
                    let phase = if reset {
                        Phase::RESET
                    } else {
                        Phase::TAKEN_BACK
                    };
                    handed.enter(phase, &self.live);
                    Some(socket)
                }
                _ => None,
            }
        });
        match socket {
            Some(Some(socket)) => {
                self.count(Counter::Forgotten);
                self.end(socket, reset);
            }
            Some(None) => {}
            None => {
                // Its CREATE may still be on its way, and must find that it came too late.
                let now = now_ms();
                let _ = self.handoffs.insert_new(Handed {
                    handoff: message.handoff,
                    parties: message.parties,
                    switch: received.from,
                    phase: Phase::TAKEN_BACK,
                    haste: Haste::NONE,
                    lease_ms: now,
                    closed: false,
                    notices: 0,
                    seen_ms: now,
                });
                // Nobody else might look after its age.
                self.worker.kick_in(SWEEP_MS);
            }
        }
        self.reply(received, Body::Forgotten);
    }

    fn on_confirm(&self, received: &Received) {
        let message = &received.message;
        self.handoffs
            .with(&Handed::key_of(&message.parties), |handed| {
                if handed.handoff == message.handoff {
                    if let Phase::Alive { confirmed, .. } = &mut handed.phase {
                        *confirmed = true;
                    }
                }
            });
    }

    fn on_close_ack(&self, received: &Received) {
        let message = &received.message;
        let news = self
            .handoffs
            .with(&Handed::key_of(&message.parties), |handed| {
                if handed.handoff != message.handoff {
                    return false;
                }
                match &mut handed.phase {
                    Phase::Gone { acknowledged, .. } => !core::mem::replace(acknowledged, true),
                    _ => false,
                }
            });
        if news == Some(true) {
            self.count(Counter::CloseAcks);
        }
    }

    // --- segments (softirq) ---------------------------------------------------------------------

    /// Passes a client's segment to its socket: the address of the service is put back, and the
    /// packet is routed to this machine although the address is not configured here.
    fn on_segment(&self, mut packet: Packet<'_>, segment: &Segment) -> Verdict {
        let found = self.handoffs.with(&segment.key, |handed| {
            handed.seen_ms = now_ms();
            handed.closed |=
                segment.flags.contains(Flags::FIN) || segment.flags.contains(Flags::RST);
            if let Phase::Alive { confirmed, .. } = &mut handed.phase {
                *confirmed = true;
            }
            (handed.parties.service, handed.end())
        });
        let Some((service, end)) = found else {
            return packet.accept();
        };
        if let Some(end) = end {
            let segment = Segment {
                key: FlowKey {
                    client: segment.key.client,
                    service,
                },
                ..*segment
            };
            if !segment::has_socket(&mut packet, &segment.key) {
                return self.on_stray(packet, &segment, end);
            }
        }
        let addresses = (
            ipv4(segment.key.client.ip),
            ipv4(segment.key.service.ip),
            ipv4(service.ip),
        );
        let (Some(client), Some(local), Some(virtual_ip)) = addresses else {
            return packet.accept();
        };
        let partial = packet.skb().is_partial();
        let routed = packet.route_to_socket(
            (client, segment.key.client.port),
            (virtual_ip, service.port),
        ) || packet.route_to_self(local);
        let rewritten = routed
            && packet
                .skb()
                .writable(segment.headers_len())
                .and_then(|headers| {
                    rewrite_destination_ipv4(
                        headers,
                        usize::from(segment.ip_header_len),
                        (virtual_ip, service.port),
                        partial,
                    )
                })
                .is_some();
        if !rewritten {
            self.count(Counter::SegmentsLost);
            return packet.drop();
        }
        packet.destination_rewritten(local, virtual_ip);
        self.count(Counter::Segments);
        packet.accept()
    }

    /// A segment of a connection of which nothing is left here, not even a TIME-WAIT; its service's address is in its key.
    ///
    /// The stack would know nothing of it either, and can say so only if somebody listens on the service's port: it has no route
    /// of its own from an address that is not this machine's. So a client that a reset has not reached, or that has not believed it (RFC 5961, section 3), would never
    /// hear of the end. And of a SYN a listener might make a connection that nobody has dispatched.
    fn on_stray(&self, packet: Packet<'_>, segment: &Segment, end: End) -> Verdict {
        let End::Told { notice, switch } = end else {
            // It may be another's by now.
            self.count(Counter::SegmentsLost);
            return packet.drop();
        };
        if segment.flags.contains(Flags::SYN) && !segment.flags.contains(Flags::RST) {
            // The switch does not know yet that the connection is gone. When it does, it takes the SYN that is repeated.
            self.count(Counter::CloseNotices);
            let from = address_of(&notice);
            self.sent(self.channel.send(&notice, from, switch));
        } else if let Some(reset) = segment.reset() {
            self.count(Counter::Resets);
            self.sent(send::bare_segment(self.namespace, &reset));
        }
        packet.drop()
    }

    /// Stops what a server says on a connection that may be another's by now.
    fn on_output(&self, mut packet: Packet<'_>) -> Verdict {
        let len = packet.skb().len();
        let Ok(segment) = parse_ipv4(packet.skb().linear(), len) else {
            return packet.accept();
        };
        // The parser takes the sender for the client.
        let (service, client) = (segment.key.client, segment.key.service);
        let silent = self.handoffs.find(
            |hasher| hasher.client(&client),
            |handed| handed.parties.client == client && handed.parties.service == service,
            |handed| handed.must_be_silent(now_ms()),
        );
        if silent == Some(true) {
            self.count(Counter::Silenced);
            return packet.drop();
        }
        packet.accept()
    }

    // --- the worker (process context) -----------------------------------------------------------

    fn end_sockets(&self) {
        let endings = core::mem::take(&mut self.agenda.lock().endings);
        for Ending { socket, reset } in endings {
            if let Some(socket) = self.sockets.get(socket) {
                if reset {
                    socket.abort();
                } else {
                    socket.vanish();
                }
            }
        }
    }

    /// Looks at the handoffs that are due. Returns when the next one is.
    fn look(&self) -> Option<u64> {
        let mut outbox = Outbox::new(&self.channel);
        let next = loop {
            let now = now_ms();
            let mut agenda = self.agenda.lock();
            let Some(key) = agenda.deadlines.pop_due(now) else {
                break agenda.deadlines.next().map(|due| due.saturating_sub(now));
            };
            drop(agenda);
            self.look_at(&key, now, &mut outbox);
        };
        self.sent(outbox.send());
        next
    }

    fn look_at(&self, key: &FlowKey, now: u64, outbox: &mut Outbox<'_>) {
        enum Act {
            Ask(Message, Ipv4Addr, bool),
            End(SocketId),
            Notice(Message, Ipv4Addr, u8),
            GiveUp,
        }

        let act = self.handoffs.with(key, |handed| match handed.phase {
            Phase::Alive {
                confirmed: false,
                socket,
            } => Some(if now >= handed.lease_ms + UNCONFIRMED_MS {
                // The switch will give the request to another: this death is none to tell.
                handed.enter(Phase::TAKEN_BACK, &self.live);
                Act::End(socket)
            } else {
                Act::Ask(
                    handed.message(self.created()),
                    handed.switch,
                    now >= handed.lease_ms,
                )
            }),
            Phase::Gone {
                acknowledged: false,
                taken_back,
            } => Some(if handed.notices >= NOTICES {
                handed.phase = Phase::Gone {
                    acknowledged: true,
                    taken_back,
                };
                Act::GiveUp
            } else {
                handed.notices += 1;
                Act::Notice(handed.message(GONE), handed.switch, handed.notices)
            }),
            _ => None,
        });
        match act.flatten() {
            None => {}
            Some(Act::Ask(message, switch, late)) => {
                self.count(Counter::Asked);
                self.tell(&message, switch, outbox);
                self.look_in(*key, if late { ASK_LATE_MS } else { ASK_MS });
            }
            Some(Act::End(socket)) => {
                self.count(Counter::LeaseOver);
                self.end(socket, false);
            }
            Some(Act::Notice(message, switch, notices)) => {
                self.count(Counter::CloseNotices);
                self.tell(&message, switch, outbox);
                self.look_in(*key, NOTICE_MS << notices.saturating_sub(1).min(5));
            }
            Some(Act::GiveUp) => self.count(Counter::CloseUnheard),
        }
    }

    fn sweep(&self, now: u64) {
        self.handoffs.sweep_all(
            |handed| handed.expired(self.parameters.linger_ms, self.parameters.closed_ms, now),
            drop,
        );
        let (chain, _) = self.handoffs.chains();
        let Parameters { chains, keyed, .. } = &*self.parameters;
        if let Some(warning) = chains.warning(chain, *keyed, now) {
            pr_warn!("{warning}\n");
        }
    }
}

/// The server's address in a connection.
fn address_of(message: &Message) -> Ipv4Addr {
    ipv4(message.parties.server.ip).unwrap_or(Ipv4Addr::UNSPECIFIED)
}

impl Adopter for Server {
    fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    fn orphaned(&self, key: &FlowKey, handoff: Handoff) {
        let notice = self.handoffs.with(key, |handed| {
            let now = now_ms();
            if handed.handoff != handoff {
                // The client's port is in use again.
                return None;
            }
            match handed.phase {
                Phase::Gone { .. } => None,
                Phase::Adopting | Phase::Alive { .. } => {
                    // While adopting, `adopted()` tells the switch.
                    let adopting = handed.phase == Phase::Adopting;
                    handed.enter(Phase::DIED, &self.live);
                    handed.seen_ms = now;
                    if adopting {
                        return None;
                    }
                    Some(handed.haste.contains(Haste::GONE).then(|| {
                        handed.notices = 1;
                        (handed.message(GONE), handed.switch)
                    }))
                }
            }
        });
        self.count(Counter::Closed);
        match notice.flatten() {
            None => {}
            // With what else there is to say soon.
            Some(None) => self.look_in(*key, GATHER_MS),
            Some(Some((message, switch))) => {
                self.count(Counter::CloseNotices);
                let from = address_of(&message);
                self.sent(self.channel.send(&message, from, switch));
                self.look_in(*key, NOTICE_MS);
            }
        }
    }
}

impl Instance for Server {
    const NAME: &'static CStr = c"thop_server";
    type Shared = Shared;

    fn slot() -> &'static Slot<Self> {
        &crate::INSTANCES
    }

    fn new(namespace: Namespace, shared: &Shared) -> Result<impl PinInit<Self, Error>> {
        let parameters = shared.parameters.clone();
        let handoffs = Table::new(
            shared.handoffs.clone(),
            parameters.buckets,
            parameters.connections,
            Hasher::new(parameters.keyed, random::number),
        )?;
        let sockets = Sockets::new(
            shared.sockets.clone(),
            parameters.buckets,
            parameters.connections,
        )?;
        let channel = Channel::new(namespace, parameters.protocol, Side::Server, &shared.gate)?;
        let statistics = Statistics::new()?;
        let cpu = shared.cpu.clone();
        let agenda = Agenda {
            deadlines: Deadlines::new(),
            endings: KVec::new(),
        };
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
            sockets,
            statistics,
            agenda <- new_spin_lock_bh!(agenda),
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
        self.end_sockets();
        let next = self.look();
        // The worker runs far more often, for handoffs.
        let now = now_ms();
        if now.saturating_sub(self.swept_ms.load(Relaxed)) >= u64::from(SWEEP_MS) {
            self.swept_ms.store(now, Relaxed);
            self.sweep(now);
        }
        // While there is anything, age is looked after.
        let next = next.unwrap_or(u64::from(SWEEP_MS)).min(u64::from(SWEEP_MS)) as u32;
        (!self.handoffs.is_empty()).then_some(next.max(1))
    }

    fn pre_routing(&self, packet: Packet<'_>, _: Softirq<'_>) -> Verdict {
        if self.handoffs.is_empty() {
            return packet.accept();
        }
        match segment::read(packet) {
            Ok((packet, segment)) => self.on_segment(packet, &segment),
            Err(verdict) => verdict,
        }
    }

    const SEES_OUTPUT: bool = true;

    fn local_out(&self, packet: Packet<'_>) -> Verdict {
        if self.handoffs.is_empty() {
            return packet.accept();
        }
        self.on_output(packet)
    }

    fn local_in(&self, mut packet: Packet<'_>) -> Verdict {
        if !self.channel.is_message(packet.skb()) {
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
                return packet.drop();
            }
            Ok(Incoming::Monitor { message, from, to }) => {
                return self.on_monitor(packet, &message, from, to);
            }
            // What was not believed is sent again, by its own timer.
            Ok(Incoming::Epoch { .. }) => {
                self.count(Counter::Epochs);
                return packet.drop();
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
        } else {
            self.on_message(&received);
        }
        packet.drop()
    }

    /// A socket that must be silent is silent by the hook alone: it vanishes before that goes.
    fn retire(&self) {
        // Nobody else ends sockets from here on.
        self.worker.stop();
        let now = now_ms();
        let mut next = 0;
        while let Some(bucket) = self.handoffs.next_used(next) {
            let mut silent = AtomicList::default();
            self.handoffs.visit(bucket, |handed| {
                if let Phase::Alive { socket, .. } = handed.phase {
                    // Without memory it is reset with the others, which is what there was to avoid.
                    if handed.must_be_silent(now) && silent.try_push(socket).is_ok() {
                        handed.enter(Phase::TAKEN_BACK, &self.live);
                    }
                }
            });
            for socket in silent.iter() {
                if let Some(socket) = self.sockets.get(*socket) {
                    socket.vanish();
                }
            }
            next = bucket.saturating_add(1);
        }
        self.end_sockets();
    }

    fn stop(&self) {
        // What was to end since `retire()`.
        self.end_sockets();
        // The switches come first: a client whose reset is lost, or not believed, is answered by its switch when it
        // speaks next. Nobody here could.
        let mut outbox = Outbox::new(&self.channel);
        self.handoffs.sweep_all(
            |_| true,
            |handed| {
                if handed.may_be_missed() {
                    let message = handed.message(Body::NotifyClose { leaves: true });
                    self.tell(&message, handed.switch, &mut outbox);
                }
            },
        );
        self.sent(outbox.send());
        // Without this module the clients' segments would not reach these sockets any more.
        self.sockets.release_all(|socket| socket.abort());
    }
}
