// SPDX-License-Identifier: GPL-2.0

//! What a switch says of a handoff: CREATE, and what follows it. Softirq.

use kernel::sync::atomic::Relaxed;
use thop_core::{
    addr::FlowKey,
    rounds::SLICE_MS,
    wire::{
        Body,
        DropReason,
        Haste,
        TcpOptions,
        TcpState, //
    },
};
use thop_kernel::{
    adopt::{
        self,
        SocketId,
        Taken, //
    },
    instance::{
        Packet,
        Verdict, //
    },
    messages::Received,
    table::Refused,
    time::now_ms, //
};

use crate::{
    counters::Counter,
    handoffs::{
        Handed,
        Phase, //
    },
    server::{
        Server,
        GONE, //
    },
    worker::{
        ANSWER_MS,
        ASK_MS,
        NOTICE_MS, //
    },
};

impl Server {
    /// `lease_ms`: how long the connection may be kept unconfirmed from now on, if it may at all.
    pub(crate) fn on_create(
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
            unwatched: false,
        };
        // Another CPU may be doing the same with a repetition: who is first, adopts.
        if let Err((refused, _)) = self.handoffs.insert_if(placeholder, |old| {
            old.handoff != message.handoff && matches!(old.phase, Phase::Gone { .. })
        }) {
            return match refused {
                Refused::Exists => packet.drop(),
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
    pub(crate) fn created(&self) -> Body {
        Body::Created {
            boot: self.boot,
            clock_ms: self.clock_ms(),
        }
    }

    fn reply(&self, received: &Received, body: Body) {
        let answer = received.message.reply(body);
        self.sent(self.channel.send(&answer, received.to, received.from));
    }

    /// A message that is no CREATE.
    pub(crate) fn on_message(&self, received: &Received) {
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
                    unwatched: false,
                });
                // Nobody else might look after its age.
                self.worker.kick_in(SLICE_MS);
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
}
