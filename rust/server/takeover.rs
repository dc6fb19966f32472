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
        Name,
        Sent, //
    },
    instance::{
        Packet,
        Softirq,
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
    pub(crate) fn on_create<'a>(
        &self,
        packet: Packet<'a>,
        received: &Received,
        state: &TcpState,
        haste: Haste,
        lease_ms: Option<u16>,
    ) -> Verdict<'a> {
        /// What is known of the client's port.
        enum Known {
            Nothing,
            Same(Phase),
            Late,
            /// An older connection of the same service.
            Old,
            /// One of another service, or one that is just beginning.
            Other,
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
                _ if old.gives_way() => Known::Nothing,
                Phase::Alive { .. } if same_service => {
                    // Nothing more is heard of it: see `Known::Old` below.
                    old.enter(Phase::TAKEN_BACK, &self.live);
                    Known::Old
                }
                // The worker is about to end it.
                Phase::Gone { .. } => Known::Old,
                Phase::Alive { .. } | Phase::Adopting => Known::Other,
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
                return packet.consume();
            }
            Known::Late => {
                self.count(Counter::CreatesLate);
                return packet.consume();
            }
            Known::Old => {
                // The client has made a new connection from that port, so the old one is dead, and
                // only this side has not heard. It is ended by the worker; the switch will repeat
                // its CREATE.
                self.count(Counter::Replaced);
                self.look_in(key, 0);
                return packet.consume();
            }
            Known::Other => {
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
            return packet.consume();
        };
        let now = now_ms();
        let placeholder = Handed {
            haste,
            lease_ms: now + u64::from(lease_ms),
            closed: state.options.contains(TcpOptions::FIN),
            rtt_us: state.rtt_us,
            ..Handed::new(
                message.handoff,
                message.parties,
                received.from,
                Phase::Adopting,
                now,
            )
        };
        let name = placeholder.name;
        // Another CPU may be doing the same with a repetition: who is first, adopts.
        if let Err((refused, _)) = self.handoffs.insert_if(placeholder, |old| {
            old.handoff != message.handoff && old.gives_way()
        }) {
            return match refused {
                Refused::Exists => packet.consume(),
                _ => self.refuse(packet, received, DropReason::NoMemory),
            };
        }
        let (sent, verdict) = adopt::adopt::<Self>(
            packet,
            adopt::Handed {
                name,
                parties: &message.parties,
                state,
                request_at: received.payload_at,
            },
        );
        self.sent_up(received, &key, name, sent);
        verdict
    }

    /// The request of a handoff was sent up the stack, or could not be: what has become of it?
    fn sent_up(
        &self,
        received: &Received,
        key: &FlowKey,
        name: Name,
        sent: Result<Sent, DropReason>,
    ) {
        enum Is {
            Refused(DropReason),
            Queued(u64),
            Alive(Haste),
            Gone,
            TakenBack,
        }

        let cpu = Softirq::disabled(adopt::this_cpu);
        let is = self.handoffs.with(key, |handed| {
            if handed.name != name {
                return Is::TakenBack;
            }
            match (handed.phase, sent) {
                (Phase::Adopting, Err(why)) => Is::Refused(why),
                (Phase::Adopting, Ok(Sent::Dropped)) if handed.passed.is_none() => {
                    Is::Refused(DropReason::Filtered)
                }
                // Nobody else was on this processor meanwhile: TCP has had it from here, and has nobody for it.
                (Phase::Adopting, Ok(_)) if handed.passed == Some(cpu) => {
                    Is::Refused(DropReason::Internal)
                }
                (Phase::Adopting, Ok(_)) => {
                    handed.queued = true;
                    Is::Queued(handed.lease_ms)
                }
                (Phase::Alive { .. }, _) => Is::Alive(handed.haste),
                (Phase::Gone { taken_back, .. }, _) if taken_back => Is::TakenBack,
                (Phase::Gone { .. }, _) => Is::Gone,
            }
        });
        match is {
            // It was refused, and the switch told, behind the hooks.
            None | Some(Is::TakenBack) => {}
            Some(Is::Refused(why)) => self.refuse_named(key, name, why),
            Some(Is::Queued(lease_ms)) => {
                self.count(Counter::Queued);
                self.look_in(*key, lease_ms.saturating_sub(now_ms()));
            }
            Some(Is::Alive(haste)) => {
                self.count(Counter::Adopted);
                if haste.contains(Haste::TAKEN) {
                    self.reply(received, self.created());
                    self.look_in(*key, ASK_MS);
                } else {
                    self.look_in(*key, ANSWER_MS);
                }
            }
            Some(Is::Gone) => {
                self.count(Counter::AdoptedGone);
                self.reply(received, GONE);
                self.look_in(*key, NOTICE_MS);
            }
        }
    }

    /// Forgets a handoff whose request will never be a socket's, and tells its switch. Softirq or process context, no lock.
    pub(crate) fn refuse_named(&self, key: &FlowKey, name: Name, why: DropReason) {
        let removed = self.handoffs.remove_if(key, |handed| {
            handed.name == name && handed.phase == Phase::Adopting
        });
        if let Some(handed) = removed {
            self.count_refused(why);
            self.say(&handed.message(Body::NotifyDrop(why)), handed.switch);
        }
    }

    pub(crate) fn count_refused(&self, why: DropReason) {
        self.statistics.refused(why);
        self.drops.add(1, Relaxed);
    }

    fn refuse<'a>(
        &self,
        packet: Packet<'a>,
        received: &Received,
        reason: DropReason,
    ) -> Verdict<'a> {
        self.count_refused(reason);
        self.reply(received, Body::NotifyDrop(reason));
        packet.consume()
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
            Body::Confirm { asks } => self.on_confirm(received, asks),
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
        let known = self.handoffs.with(&key, |handed| {
            if handed.handoff != message.handoff {
                return None;
            }
            // The switch needs no notice of what it has asked for.
            let lived = match handed.phase {
                Phase::Alive { .. } => true,
                // The request may be in a queue: it will not pass the last of the hooks.
                Phase::Adopting => false,
                Phase::Gone { .. } => return None,
            };
            let phase = if reset {
                Phase::RESET
            } else {
                Phase::TAKEN_BACK
            };
            handed.enter(phase, &self.live);
            Some(lived)
        });
        match known {
            Some(Some(lived)) => {
                self.count(Counter::Forgotten);
                if lived {
                    self.look_in(key, 0);
                }
            }
            Some(None) => {}
            None => {
                // Its CREATE may still be on its way, and must find that it came too late.
                let _ = self.handoffs.insert_new(Handed::new(
                    message.handoff,
                    message.parties,
                    received.from,
                    Phase::TAKEN_BACK,
                    now_ms(),
                ));
                // Nobody else might look after its age.
                self.worker.kick_in(SLICE_MS);
            }
        }
        self.reply(received, Body::Forgotten);
    }

    /// `asks`: the switch knows it only from the client, and must be told.
    fn on_confirm(&self, received: &Received, asks: bool) {
        /// Nothing is here that the client could reach.
        const NOTHING: Option<Body> = Some(Body::NotifyClose { leaves: true });

        let message = &received.message;
        let key = Handed::key_of(&message.parties);
        let answer = self.handoffs.with(&key, |handed| {
            if handed.handoff != message.handoff {
                return NOTHING;
            }
            match &mut handed.phase {
                // It is asked again.
                Phase::Adopting => None,
                Phase::Alive { confirmed, .. } => {
                    *confirmed = true;
                    Some(self.created())
                }
                Phase::Gone { taken_back, .. } => {
                    if *taken_back {
                        NOTHING
                    } else {
                        Some(GONE)
                    }
                }
            }
        });
        if asks {
            if let Some(answer) = answer.unwrap_or(NOTHING) {
                self.reply(received, answer);
            }
        }
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
