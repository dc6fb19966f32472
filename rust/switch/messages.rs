// SPDX-License-Identifier: GPL-2.0

//! What servers say of what was handed to them. Softirq, LOCAL_IN, no lock held.

use core::net::Ipv4Addr;

use kernel::sync::{
    atomic::Relaxed,
    rcu,
    Arc, //
};
use thop_core::wire::{
    Body,
    DropReason,
    Message,
    Monitor, //
};
use thop_kernel::{
    gate::Denied,
    instance::{
        Packet,
        Verdict, //
    },
    messages::{
        ipv4,
        Incoming,
        Outbox,
        Received,
        Refused, //
    },
    time::now_ms, //
};

use crate::{
    counters::Counter,
    handoff::{
        Completed,
        Stage, //
    },
    offers::Why,
    server::Server,
    switch::Switch,
    worker::LOOKED_AT, //
};

impl Switch {
    /// A THOP message for this side, or a packet of something else.
    pub(crate) fn local_in<'a>(&self, mut packet: Packet<'a>) -> Verdict<'a> {
        if !self.channel.is_message(&packet.skb()) {
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
            // Where there never was a service a server may live, and it says what it thinks of this.
            Err(Refused::Malformed(_) | Refused::Denied(Denied::NoKey))
                if !self.table.is_prepared() =>
            {
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
        }
        if answers.send().is_err() {
            self.count(Counter::SendErrors);
        }
        packet.consume()
    }

    fn on_message(&self, received: &Received, answers: &mut Outbox<'_>) {
        match received.message.body {
            // As above.
            Body::Create { .. } | Body::CloseAck | Body::Forget { .. } | Body::Confirm { .. } => {}
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
            Body::Forgotten => {
                let Message {
                    handoff, parties, ..
                } = received.message;
                if handoff.epoch == self.epoch() {
                    self.left(handoff.id, parties.server);
                }
            }
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
            Settled(Arc<Server>, bool, bool),
            Known(bool),
            TooLate,
        }

        let message = &received.message;
        if message.handoff.epoch != self.epoch() {
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
                None => match connection.doubt.take() {
                    Some(asked) => {
                        connection.life = life;
                        Is::Settled(connection.server.clone(), began_anew, asked > LOOKED_AT)
                    }
                    None => Is::Known(began_anew),
                },
            }
        });
        match is {
            Some(Is::News(completed, began_anew)) => {
                if began_anew {
                    self.began_anew();
                }
                self.count(Counter::Created);
                completed.server.heard();
                self.complete(completed);
            }
            Some(Is::Settled(server, began_anew, asked)) => {
                if began_anew {
                    self.began_anew();
                }
                self.count(Counter::Created);
                server.heard();
                // The question was a CONFIRM already.
                if !asked {
                    self.reply(received, Body::Confirm { asks: false }, answers);
                }
            }
            Some(Is::Known(began_anew)) => {
                if began_anew {
                    self.began_anew();
                }
                // The server asks whether it may keep the connection.
                self.count(Counter::CreatedAgain);
                self.reply(received, Body::Confirm { asks: false }, answers);
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
            if message.handoff.epoch != self.epoch() || !connection.is_about(message) {
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

    /// `leaves`: nothing is left that the client could reach.
    fn on_notify_close(&self, received: &Received, leaves: bool, answers: &mut Outbox<'_>) {
        let message = &received.message;
        self.count(Counter::CloseNotices);
        if message.handoff.epoch == self.epoch() {
            let completed = self.table.with(&message.parties.key(), |connection| {
                connection.is_about(message).then(|| {
                    connection.flow.gone();
                    if connection.doubt.take().is_some() && leaves {
                        self.count(Counter::Disproved);
                    }
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
                server.heard();
                self.complete(completed);
                if first {
                    server.pool.done(&rcu::read_lock(), &server, now_ms());
                    self.freed(&server);
                }
            } else {
                self.left(message.handoff.id, message.parties.server);
            }
        }
        // Whether it is known or not: the server need not say it again.
        self.reply(received, Body::CloseAck, answers);
    }

    fn on_notify_drop(&self, received: &Received, reason: DropReason) {
        enum Was {
            Offered(Arc<Server>),
            /// Only the client had said that the server has it.
            Doubted(Arc<Server>, bool, Message),
        }

        let message = &received.message;
        let key = message.parties.key();
        let was = self.table.with(&key, |connection| {
            if message.handoff.epoch != self.epoch() || !connection.is_about(message) {
                return None;
            }
            let server = connection.server.clone();
            if connection.pending.is_some() {
                return Some(Was::Offered(server));
            }
            connection.doubt.filter(|_| !connection.flow.is_gone())?;
            // Should it have taken a repetition after all, that ends, too.
            let forget = self.forget(connection, true);
            let first = connection.uncount();
            self.lose(connection);
            Some(Was::Doubted(server, first, forget))
        });
        let Some(was) = was.flatten() else {
            return self.count(Counter::Foreign);
        };
        let (Was::Offered(server) | Was::Doubted(server, ..)) = &was;
        server.heard();
        server.refused.fetch_add(1, Relaxed);
        self.refused(server, reason);
        match was {
            Was::Offered(_) => self.move_on(&key, message.handoff.id, Why::Refused),
            Was::Doubted(server, first, forget) => {
                self.count(Counter::Disproved);
                self.tell(&forget, server.ip);
                if first {
                    self.freed(&server);
                }
            }
        }
    }
}
