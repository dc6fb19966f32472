// SPDX-License-Identifier: GPL-2.0

//! What the server knows of a connection that was handed to it.

use core::net::Ipv4Addr;

use thop_core::{
    addr::FlowKey,
    hash::Hasher,
    wire::{
        Body,
        Handoff,
        Haste,
        Message,
        Parties, //
    },
};
use thop_kernel::{
    adopt::{
        LiveSocket,
        Name, //
    },
    table::Element, //
};

use crate::live::Live;

/// Where a handoff stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The request is on its way to a socket; repetitions of CREATE are not answered.
    Adopting,
    /// The socket lives.
    Alive {
        /// Something of the switch's has shown that it knows.
        confirmed: bool,
    },
    /// The connection is over. The element stays for a while: for the client's last segments, which may
    /// meet a TIME-WAIT, and so that a late CREATE is known for what it is.
    Gone {
        /// The switch knows.
        acknowledged: bool,
        /// It did not end by itself: the switch has taken it back, or nothing confirmed it in time.
        taken_back: bool,
    },
}

impl Phase {
    /// The socket has ended by itself, and the switch shall hear of it.
    pub(crate) const DIED: Self = Self::Gone {
        acknowledged: false,
        taken_back: false,
    };

    /// The switch has ended the connection, and needs no notice; the socket may still say so.
    pub(crate) const RESET: Self = Self::Gone {
        acknowledged: true,
        taken_back: false,
    };

    /// The switch has given the handoff up, and needs no notice.
    pub(crate) const TAKEN_BACK: Self = Self::Gone {
        acknowledged: true,
        taken_back: true,
    };
}

/// How a connection has ended whose socket is gone.
pub(crate) enum End {
    /// The client has been told, or may be.
    Told {
        /// NOTIFYCLS, and whom it is for.
        notice: Message,
        switch: Ipv4Addr,
    },
    /// Nothing may be said to the client: another server may have the connection.
    Silent,
}

/// An element of the table.
pub(crate) struct Handed {
    pub(crate) handoff: Handoff,
    /// What its request, and then its socket, is known by.
    pub(crate) name: Name,
    pub(crate) parties: Parties,
    /// The switch it came from.
    pub(crate) switch: Ipv4Addr,
    pub(crate) phase: Phase,
    /// The socket, from the time that it is established until it is closed. In [`Phase::Gone`] it is still to be ended, by the
    /// worker: with a reset, unless the handoff was taken back.
    pub(crate) socket: Option<LiveSocket>,
    /// On which processor the request has passed all hooks, if it has.
    pub(crate) passed: Option<u32>,
    /// The request did not get through at once: a program in user space has it, or had it.
    pub(crate) queued: bool,
    /// There is a socket, or has been one.
    pub(crate) born: bool,
    /// The round-trip time that it begins with, microseconds; 0: not known.
    pub(crate) rtt_us: u32,
    /// What the switch must be told at once.
    pub(crate) haste: Haste,
    /// Until when it may stay unconfirmed, milliseconds since boot.
    pub(crate) lease_ms: u64,
    /// The client has sent FIN or RST.
    pub(crate) closed: bool,
    /// How often NOTIFYCLS was sent.
    pub(crate) notices: u8,
    /// When the client was last heard, milliseconds since boot.
    pub(crate) seen_ms: u64,
    /// There was no memory to note when to look at it: the next sweep does.
    pub(crate) unwatched: bool,
    /// The switch was told that the module goes.
    pub(crate) told: bool,
}

impl Handed {
    /// A handoff that was just heard of.
    pub(crate) fn new(
        handoff: Handoff,
        parties: Parties,
        switch: Ipv4Addr,
        phase: Phase,
        now_ms: u64,
    ) -> Self {
        Self {
            handoff,
            name: Name::new(),
            parties,
            switch,
            phase,
            socket: None,
            passed: None,
            queued: false,
            born: false,
            rtt_us: 0,
            haste: Haste::NONE,
            lease_ms: now_ms,
            closed: false,
            notices: 0,
            seen_ms: now_ms,
            unwatched: false,
            told: false,
        }
    }

    /// The key of the connection that a message is about, as the client's forwarded segments show
    /// it: they are addressed to the server.
    pub(crate) fn key_of(parties: &Parties) -> FlowKey {
        FlowKey {
            client: parties.client,
            service: parties.server,
        }
    }

    /// A message about this handoff.
    pub(crate) fn message(&self, body: Body) -> Message {
        Message {
            handoff: self.handoff,
            parties: self.parties,
            body,
        }
    }

    /// Goes on to another phase, and counts what lives. All changes from or to [`Phase::Alive`] are
    /// made here.
    pub(crate) fn enter(&mut self, phase: Phase, live: &Live) {
        let lived = matches!(self.phase, Phase::Alive { .. });
        self.phase = phase;
        match (lived, matches!(phase, Phase::Alive { .. })) {
            (false, true) => live.begin(&self.parties.server),
            (true, false) => live.end(&self.parties.server),
            _ => {}
        }
    }

    /// Whether a socket may be made for it now.
    pub(crate) fn may_be_born(&self, now_ms: u64) -> bool {
        self.phase == Phase::Adopting && now_ms < self.lease_ms
    }

    /// Whether the socket may not speak to the client now.
    pub(crate) fn must_be_silent(&self, now_ms: u64) -> bool {
        match self.phase {
            Phase::Alive { confirmed } => !confirmed && now_ms >= self.lease_ms,
            Phase::Gone { taken_back, .. } => taken_back,
            // There is no socket yet that could say anything; the stack might, if it has nobody for the request.
            Phase::Adopting => true,
        }
    }

    /// What to do with the client's segments that find nothing, if the socket is gone.
    pub(crate) fn end(&self) -> Option<End> {
        let Phase::Gone { taken_back, .. } = self.phase else {
            return None;
        };
        Some(if taken_back {
            End::Silent
        } else {
            End::Told {
                notice: self.message(Body::NotifyClose { leaves: false }),
                switch: self.switch,
            }
        })
    }

    /// Whether the client may still say something that is for this machine.
    pub(crate) fn may_be_missed(&self) -> bool {
        match self.phase {
            Phase::Gone {
                taken_back: true, ..
            } => false,
            // Both sides have closed, and the switch knows.
            Phase::Gone {
                acknowledged: true, ..
            } => !self.closed,
            Phase::Gone { .. } | Phase::Adopting | Phase::Alive { .. } => true,
        }
    }

    /// Whether a later handoff of the same client port may take its place.
    pub(crate) fn gives_way(&self) -> bool {
        matches!(self.phase, Phase::Gone { .. }) && self.socket.is_none()
    }

    /// The socket that is to be ended, and whether with a reset.
    pub(crate) fn take_ending(&mut self) -> Option<(LiveSocket, bool)> {
        let Phase::Gone { taken_back, .. } = self.phase else {
            return None;
        };
        Some((self.socket.take()?, !taken_back))
    }

    /// Whether the table may forget it.
    ///
    /// As at the switch: when only the server has closed, the client's FIN must still find its way
    /// to the FIN-WAIT-2 or TIME-WAIT that is left.
    pub(crate) fn expired(&self, linger_ms: u32, closed_ms: u32, now_ms: u64) -> bool {
        let Phase::Gone {
            acknowledged: true,
            taken_back,
        } = self.phase
        else {
            return false;
        };
        if self.socket.is_some() {
            return false;
        }
        let stays_ms = if self.closed || taken_back {
            linger_ms
        } else {
            closed_ms.max(linger_ms)
        };
        now_ms.saturating_sub(self.seen_ms) >= u64::from(stays_ms)
    }
}

impl Element for Handed {
    type Key = FlowKey;
    type Hasher = Hasher;

    #[inline]
    fn key(&self) -> FlowKey {
        Self::key_of(&self.parties)
    }

    /// What a server sends shows the service's address and not its own, so that only the client is
    /// known both there and here.
    #[inline]
    fn hash(hasher: &Hasher, key: &FlowKey) -> u32 {
        hasher.client(&key.client)
    }
}
