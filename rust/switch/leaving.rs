// SPDX-License-Identifier: GPL-2.0

//! Connections that have left the table while their servers had them.
//!
//! A client can use its port again, or be silent for too long, without its server knowing. That is told by FORGET to end
//! what it has, and the client of that by a reset. Until the server has said that it has done so, the connection counts among
//! its connections: else it would get more than its `max` from those who have their connections leave the table.

use kernel::{
    prelude::*,
    sync::Arc, //
};
use thop_core::{
    addr::{
        Endpoint,
        FlowKey, //
    },
    wire::{
        Body,
        Message, //
    },
};
use thop_kernel::{
    memory,
    messages::Outbox,
    time::now_ms, //
};

use crate::{
    counters::Counter,
    handoff::Connection,
    server::Server,
    switch::Switch,
    worker::SHARDS, //
};

/// How long to wait for FORGOTTEN the first time, milliseconds; doubled each time.
const REMIND_MS: u64 = 200;
/// How often FORGET is sent: a server that is silent for six seconds keeps nobody's place.
const FORGETS: u8 = 5;
/// For how many connections of a shard FORGOTTEN is waited. Of any more the places are free at once.
const MOST: usize = 64;

/// A connection that its server shall end.
struct Leaving {
    server: Arc<Server>,
    key: FlowKey,
    id: u64,
    /// See [`Server::life()`].
    life: u32,
    /// How often FORGET was sent.
    sent: u8,
    due_ms: u64,
}

/// Those that are waited for. Few, and for a round trip each: they are looked through one by one.
pub(crate) struct Leavings(KVec<Leaving>);

impl Leavings {
    /// None.
    pub(crate) fn new() -> Self {
        Self(KVec::new())
    }

    fn add(&mut self, leaving: Leaving) -> bool {
        self.0.len() < MOST && self.0.push(leaving, memory::atomic()).is_ok()
    }

    /// Takes out the first that `f` accepts.
    fn take(&mut self, f: impl FnMut(&Leaving) -> bool) -> Option<Leaving> {
        let at = self.0.iter().position(f)?;
        self.0.remove(at).ok()
    }
}

impl Switch {
    /// An element has left the table. If its server has the connection, returns what it must be told. Any context.
    #[must_use]
    pub(crate) fn leave(&self, mut connection: Connection) -> Option<Message> {
        if !connection.is_at_server() {
            self.removed(connection);
            return None;
        }
        self.count(Counter::Leavings);
        let forget = self.forget(&connection, true);
        if connection.counted {
            let leaving = Leaving {
                server: connection.server.clone(),
                key: connection.key,
                id: connection.id,
                life: connection.life,
                sent: 1,
                due_ms: now_ms() + REMIND_MS,
            };
            let shard = self.leavings(connection.id);
            if shard.is_some_and(|shard| shard.lock().add(leaving)) {
                connection.counted = false;
                self.worker.kick_in(REMIND_MS as u32);
            }
        }
        self.removed(connection);
        Some(forget)
    }

    fn leavings(&self, id: u64) -> Option<&thop_kernel::sync::SpinLockBh<Leavings>> {
        self.leaving.get(id as usize % SHARDS)
    }

    /// A server says that nothing is left of a connection which is not in the table any more. Softirq.
    pub(crate) fn left(&self, id: u64, server: Endpoint) {
        let left = self.leavings(id).and_then(|shard| {
            shard
                .lock()
                .take(|leaving| leaving.id == id && leaving.server.endpoint == server)
        });
        if let Some(Leaving { server, .. }) = left {
            self.vacated(&server);
        }
    }

    /// A place is free.
    fn vacated(&self, server: &Server) {
        server.vacate();
        self.freed(server);
    }

    /// Tells servers once more what they have not answered. Returns after how many milliseconds there is more to do; `None` if there
    /// is nothing. Process context.
    pub(crate) fn remind(&self, now: u64, outbox: &mut Outbox<'_>) -> Option<u64> {
        enum Due {
            Again(Arc<Server>, Message),
            Over(Leaving),
        }

        let mut next: Option<u64> = None;
        for shard in &self.leaving {
            loop {
                let mut leavings = shard.lock();
                let over = leavings.take(|leaving| {
                    leaving.due_ms <= now
                        && (leaving.sent >= FORGETS || leaving.life != leaving.server.life())
                });
                let due = over.map(Due::Over).or_else(|| {
                    let leaving = leavings
                        .0
                        .iter_mut()
                        .find(|leaving| leaving.due_ms <= now)?;
                    leaving.due_ms = now + (REMIND_MS << leaving.sent.min(FORGETS));
                    leaving.sent += 1;
                    let message = Message {
                        handoff: self.handoff(leaving.id),
                        parties: leaving.server.parties(&leaving.key),
                        body: Body::Forget { reset: true },
                    };
                    Some(Due::Again(leaving.server.clone(), message))
                });
                let soonest = leavings.0.iter().map(|leaving| leaving.due_ms).min();
                drop(leavings);
                match due {
                    Some(Due::Over(leaving)) => self.vacated(&leaving.server),
                    Some(Due::Again(server, message)) => self.say(&message, server.ip, outbox),
                    None => {
                        let ms = soonest.map(|due| due.saturating_sub(now));
                        next = [next, ms].into_iter().flatten().min();
                        break;
                    }
                }
            }
        }
        next
    }
}
