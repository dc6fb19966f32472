// SPDX-License-Identifier: GPL-2.0

//! A connection at the switch, and its handing over.
//!
//! The element of the table stays small; what is needed only until the server has answered is in a
//! [`Pending`] of its own.
//!
//! # Silence
//!
//! A server that refuses has nothing, and the request can go to the next. A server that is silent
//! may have taken over, with its answer lost. Two facts decide:
//!
//! - The server may keep a connection that nothing confirms only for the lease that CREATE grants,
//!   which ends before the switch gives up: at a time by the server's own clock, so that it does not matter how
//!   long CREATE is under way. After that it says nothing new.
//! - A client that has heard the server acknowledges more than the handoff point. So when the lease
//!   is over, the client is *probed* with an empty segment that TCP must answer with the client's
//!   acknowledgement (RFC 9293, 3.10.7.4, first check).
//!
//! If the client has heard the server, the server has the connection, whatever became of CREATED. So it
//! has when CREATED comes after all, before the client has answered. That is enough to serve the client, and not to believe it: it may
//! acknowledge what nobody has sent. So a server that has not said itself, within a second, that it has the connection is
//! asked (CONFIRM), until it answers. If the client has heard nothing, a
//! request whose method is idempotent goes to another server, and any other is answered with 504: it
//! may have been carried out. Only then is the silent server told to forget the handoff.

use kernel::{
    prelude::*,
    sync::Arc, //
};
use thop_core::{
    addr::FlowKey,
    flow::{
        Flow,
        Phase, //
    },
    hash::Hasher,
    policy::Class,
    wire::{
        Haste,
        Message,
        Parties,
        TcpState, //
    },
};
use thop_kernel::{
    listener::{
        Parked,
        Unread, //
    },
    messages::{
        self,
        Create, //
    },
    skb::SkBuff,
    table::Element, //
};

use crate::{
    dispatcher::Service,
    pool::Pool,
    refusal::Speaks,
    server::Server, //
};

/// When CREATE is repeated, milliseconds after it was sent before.
pub(crate) const REPEAT_MS: [u64; 4] = [100, 200, 300, 400];
/// When a silent server is given up, milliseconds after the last repetition.
pub(crate) const GIVE_UP_MS: u64 = 500;
/// How long the switch waits for an answer, all in all, milliseconds.
pub(crate) const PATIENCE_MS: u64 = 1_500;
/// When a server's lease ends, milliseconds after it was first offered the handoff. That is 0.4 s before the
/// switch's patience does: time for what the server has sent last to reach the client, and for the
/// client's acknowledgement to come.
pub(crate) const LEASE_MS: u64 = PATIENCE_MS - 400;
/// How often a client is probed, milliseconds. Linux answers one probe in half a second.
pub(crate) const PROBE_MS: u64 = 600;
/// How many probes a client may leave unanswered: as long as the server keeps what nothing has
/// confirmed, the connection can go on.
pub(crate) const PROBES: u8 = 20;
/// To how many servers a request may be offered.
pub(crate) const OFFERS: usize = 8;

/// An element of the table: a connection that was handed over, or is being.
pub(crate) struct Connection {
    pub(crate) key: FlowKey,
    pub(crate) server: Arc<Server>,
    /// The handoff's id; its epoch is the switch's.
    pub(crate) id: u64,
    /// The first sequence number that the server sends.
    pub(crate) handoff_ack: u32,
    pub(crate) flow: Flow,
    /// The server's life in which it took the connection, or is offered it: see [`Server::life()`].
    pub(crate) life: u32,
    /// Whether it counts among the server's connections.
    pub(crate) counted: bool,
    /// Only the client has said that the server has it; so often the server was asked: see
    /// [`Switch::look_at()`](crate::switch::Switch::look_at). `None`: the server has said so, or nobody has yet.
    pub(crate) doubt: Option<u8>,
    /// See [`Connection::end()`].
    pub(crate) refusal: u16,
    /// What is needed until the server has the connection.
    pub(crate) pending: Option<KBox<Pending>>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// An answer to the CREATE that was sent this many times before.
    Answer(u8),
    /// The client's acknowledgement; this many probes were sent.
    Client(u8),
}

/// What the switch has of a connection that is handed over, and will not need if that succeeds.
pub(crate) enum Spare {
    /// Its socket, out of the stack's hands, and a copy of the request. Dropped, it vanishes.
    Socket(Parked<Service>, Create),
    /// The segment with the request, without a socket.
    Segment(Unread),
}

/// A handoff that the server has not answered yet.
pub(crate) struct Pending {
    /// With what the switch can answer itself, or offer the request again.
    pub(crate) spare: Spare,
    pub(crate) state: TcpState,
    pub(crate) request_len: u32,
    pub(crate) pool: Arc<Pool>,
    /// What the request means to the pool's policy.
    pub(crate) class: Class,
    /// What must be known at once, whoever the server is.
    pub(crate) haste: Haste,
    /// What the client speaks.
    pub(crate) speaks: Speaks,
    /// Who has refused or been silent.
    pub(crate) tried: KVec<Arc<Server>>,
    pub(crate) stage: Stage,
    /// Whether CREATE was sent once more as this server had told its clock.
    pub(crate) told_clock: bool,
    /// When this server was first offered the handoff, milliseconds since boot.
    pub(crate) offered_ms: u64,
    /// When the state was taken, milliseconds since boot.
    pub(crate) taken_ms: u64,
    /// Whether the request may be carried out twice (RFC 9110, section 9.2.2).
    pub(crate) idempotent: bool,
    /// The client's segments that came meanwhile, in order.
    pub(crate) held: KVec<SkBuff>,
}

impl Pending {
    /// A packet that offers the request by `message`, a CREATE. Atomic context.
    pub(crate) fn packet(&self, message: &Message) -> Result<SkBuff> {
        match &self.spare {
            Spare::Socket(_, create) => create.packet(message),
            Spare::Segment(segment) => {
                messages::create(message, self.request_len as usize, |packet, at| {
                    segment.copy_to(packet, at)
                })
            }
        }
    }
}

/// What comes after a handoff was taken: to be done without the bucket's lock.
pub(crate) struct Completed {
    pub(crate) server: Arc<Server>,
    pub(crate) pending: Option<KBox<Pending>>,
}

impl Connection {
    /// The parties to this connection with its server.
    pub(crate) fn parties(&self) -> Parties {
        self.server.parties(&self.key)
    }

    /// The server has the connection.
    pub(crate) fn complete(&mut self) -> Completed {
        Completed {
            server: self.server.clone(),
            pending: self.pending.take(),
        }
    }

    /// The client has shown that the server has the connection, or pretends to.
    pub(crate) fn proven(&mut self) -> Completed {
        self.doubt = Some(0);
        self.complete()
    }

    /// The connection is over as far as servers go, and what its client sends is the stack's from here on. A request that
    /// the client repeats by its cookie is answered with `status`. Nobody's message is about this connection any
    /// more: it is `id` now. The caller sees to [`uncount()`](Self::uncount).
    pub(crate) fn end(&mut self, status: u16, id: u64) -> Option<KBox<Pending>> {
        self.flow.returned();
        self.refusal = status;
        self.doubt = None;
        self.id = id;
        self.pending.take()
    }

    /// No server has taken the connection. If the switch has no socket of it, its segment is to go up the stack,
    /// which will make one.
    pub(crate) fn give_back(&mut self, status: u16, id: u64) -> Option<Unread> {
        if !matches!(self.pending.as_ref()?.spare, Spare::Segment(_)) {
            return None;
        }
        match KBox::into_inner(self.end(status, id)?).spare {
            Spare::Segment(segment) => Some(segment),
            Spare::Socket(..) => None,
        }
    }

    /// The server does not have the connection any more. Returns whether it did, and so has room for
    /// another: see [`Switch::freed()`](crate::switch::Switch::freed).
    #[must_use]
    pub(crate) fn uncount(&mut self) -> bool {
        let counted = core::mem::replace(&mut self.counted, false);
        if counted {
            self.server.vacate();
        }
        counted
    }

    /// Whether the server has begun anew since it took the connection, and so has lost it.
    #[inline]
    pub(crate) fn is_lost(&self) -> bool {
        self.life != self.server.life()
            && self.pending.is_none()
            && self.flow.phase() != Phase::Returned
    }

    /// Whether the server has the connection, for all that is known.
    pub(crate) fn is_at_server(&self) -> bool {
        self.pending.is_none()
            && self.flow.phase() != Phase::Returned
            && !self.flow.is_gone()
            && self.life == self.server.life()
    }

    /// Whether `message` is about this handoff, as its present server would send it.
    pub(crate) fn is_about(&self, message: &Message) -> bool {
        self.id == message.handoff.id && self.server.endpoint == message.parties.server
    }
}

impl Element for Connection {
    type Key = FlowKey;
    type Hasher = Hasher;

    #[inline]
    fn key(&self) -> FlowKey {
        self.key
    }

    #[inline]
    fn hash(hasher: &Hasher, key: &FlowKey) -> u32 {
        hasher.flow(key)
    }
}
