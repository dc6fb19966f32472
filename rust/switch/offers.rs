// SPDX-License-Identifier: GPL-2.0

//! What becomes of a request that is offered to a server: it is taken, offered to another, or answered here.
//!
//! Any context, and no bucket's lock held unless a function says so: what is sent, and whose socket is called, comes
//! after the bucket's lock, never under it.

use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        rcu,
        Arc, //
    },
};
use thop_core::{
    addr::FlowKey,
    checksum::Sum,
    flow::Phase,
    packet::{
        Flags,
        Ipv4Tcp,
        TcpChecksum, //
    },
    wire::{
        Body,
        Message,
        TcpOptions, //
    },
};
use thop_kernel::{
    memory,
    skb::SkBuff,
    time::now_ms, //
};

use crate::{
    counters::Counter,
    handoff::{
        Completed,
        Connection,
        Pending,
        Spare,
        Stage,
        LEASE_MS,
        OFFERS,
        REPEAT_MS, //
    },
    pool::{
        Choice,
        Standing, //
    },
    server::Server,
    switch::Switch,
};

/// Why a handoff goes to another server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Refused,
    Silent,
}

impl Switch {
    /// A server has the connection, by its own word or its client's: what was held goes to it, and the switch's socket vanishes.
    pub(crate) fn complete(&self, completed: Completed) {
        let Completed { server, pending } = completed;
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
    pub(crate) fn move_on(&self, key: &FlowKey, id: u64, why: Why) {
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
    pub(crate) fn abandon(&self, key: &FlowKey, id: u64) {
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
    pub(crate) fn forget(&self, connection: &Connection, reset: bool) -> Message {
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

    /// The CREATE of a pending handoff as it is to be sent now. Under the bucket's lock.
    pub(crate) fn create(&self, connection: &mut Connection, now: u64) -> Result<SkBuff> {
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
    pub(crate) fn probe(&self, pending: &Pending, key: &FlowKey, now: u64) -> Ipv4Tcp {
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
}
