// SPDX-License-Identifier: GPL-2.0

//! What must happen later: CREATE that is repeated, a server that is given up, and what has expired. Process context,
//! but for what others ask for.

use core::net::Ipv4Addr;

use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
};
use thop_core::{
    addr::FlowKey,
    buckets::POSITIONS,
    deadline::Deadlines,
    order::sort_by_key,
    packet::Ipv4Tcp,
    rounds::{
        self,
        SLICE_MS, //
    },
    wire::{
        Body,
        Message, //
    },
};
use thop_kernel::{
    memory::{
        self,
        AtomicHeap, //
    },
    messages::Outbox,
    send,
    skb::SkBuff,
    time::now_ms, //
};

use crate::{
    counters::Counter,
    handoff::{
        Connection,
        Stage,
        GIVE_UP_MS,
        PROBES,
        PROBE_MS,
        REPEAT_MS, //
    },
    server::Server,
    switch::{
        Parameters,
        Switch, //
    },
};

/// How many locks the deadlines of handoffs are spread over.
pub(crate) const SHARDS: usize = 16;
/// For how long the worker rests, milliseconds, unless somebody asks for it: what is due meanwhile is done at once.
const REST_MS: u64 = 10;

/// How long after a client has shown that its server has the connection that is asked, milliseconds, or a little more: most connections are
/// over by then, and their servers have said so. What CREATE leased is over, too.
const DOUBT_MS: u64 = 1_000;
/// How long a server may take to answer, milliseconds, until it is asked again: twice as long each time, up to the second.
const ANSWER_MS: u64 = 1_000;
const ANSWER_AT_MOST_MS: u64 = 30_000;
/// How often a server may be asked about one connection for that to be counted.
const QUESTIONS: u8 = 6;
/// Of a connection that is in doubt ([`Connection::doubt`]): that it is known to whoever looks after these.
pub(crate) const LOOKED_AT: u8 = 1;
/// The same: there was no memory to have it looked at, and the next sweep does.
const UNWATCHED: u8 = u8::MAX;
/// About how many connections servers are asked at a time, and how long after the last time, milliseconds: some 1,300 datagrams a second.
const ASKED: usize = 256;
const ASKED_MS: u64 = 10;
/// How many connections a sweep looks at for which there was no memory. Others must wait for the next.
const UNWATCHED_MOST: usize = 16;

/// Handoffs that must be looked at, by when: a key and the id it had.
pub(crate) type Agenda = Deadlines<AtomicHeap, (FlowKey, u64)>;

/// What servers are asked, all at once.
struct Questions {
    list: KVec<(Message, Ipv4Addr)>,
    most: usize,
    /// How many must wait.
    later: u64,
}

impl Questions {
    /// At most so many.
    fn new(most: usize) -> Self {
        Self {
            list: KVec::new(),
            most,
            later: 0,
        }
    }

    /// `false` if there are too many, or there is no memory. Atomic context.
    fn add(&mut self, question: Message, to: Ipv4Addr) -> bool {
        self.list.len() < self.most && self.list.push((question, to), memory::atomic()).is_ok()
    }

    /// When one comes for which there was no room, milliseconds from now: not all that wait at the same time.
    fn later_ms(&mut self) -> u64 {
        self.later += 1;
        ASKED_MS * self.later.div_ceil(ASKED as u64)
    }
}

impl Switch {
    /// Has a handoff looked at later. `false` without memory. Any context.
    pub(crate) fn look_in(&self, key: FlowKey, id: u64, ms: u64) -> bool {
        let shard = self.table.hash_of(&key) as usize % SHARDS;
        let pushed = self
            .agenda
            .get(shard)
            .is_some_and(|shard| shard.lock().push(now_ms() + ms, (key, id)).is_ok());
        self.worker.kick_in(ms as u32);
        pushed
    }

    /// Does what is due. Returns after how many milliseconds there is more to do.
    pub(crate) fn work(&self) -> Option<u32> {
        let mut outbox = Outbox::new(&self.channel);
        let mut questions = Questions::new(self.may_ask());
        let mut next = u64::from(SLICE_MS);
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
                self.look_at(&key, id, now, &mut questions);
            }
        }
        let now = now_ms();
        if now.saturating_sub(self.swept_ms.load(Relaxed)) >= u64::from(SLICE_MS) {
            self.swept_ms.store(now, Relaxed);
            self.sweep(now, &mut outbox, &mut questions);
        }
        let leaving = self.remind(now, &mut outbox);
        self.ask(questions, now, &mut outbox);
        if outbox.send().is_err() {
            self.count(Counter::SendErrors);
        }
        let tend = self.table.tend(now).map(u64::from);
        self.purge();
        let monitor = self.monitor();
        let table = (!self.table.is_empty()).then_some(next);
        let next = [table, tend, monitor, leaving]
            .into_iter()
            .flatten()
            .min()?;
        Some(next.max(REST_MS) as u32)
    }

    /// Looks at a handoff that nobody has confirmed, or nobody but the client.
    fn look_at(&self, key: &FlowKey, id: u64, now: u64, questions: &mut Questions) {
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
            if connection.pending.is_none() {
                return Some((None, self.doubt(connection, questions)?));
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
                Stage::Client(_) => Some((Some(Act::Lost), DOUBT_MS)),
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
            // Unless the client has answered just now, nobody looks in any more.
            Some(Act::Lost) => self.abandon(key, id),
        }
        if !self.look_in(*key, id, wait) {
            self.answer(key, id, 503);
            self.table.with(key, |connection| {
                connection.doubt = connection.doubt.map(|_| UNWATCHED);
            });
        }
    }

    /// Decides about a connection that only the client says its server has. Returns after how many milliseconds that must be looked at
    /// again; `None` if there is nothing to doubt any more. Under the bucket's lock.
    fn doubt(&self, connection: &mut Connection, questions: &mut Questions) -> Option<u64> {
        let asked = connection.doubt?;
        if connection.is_lost() {
            // It leaves the table.
            return None;
        }
        if asked < LOOKED_AT {
            connection.doubt = Some(LOOKED_AT);
            return Some(DOUBT_MS);
        }
        let message = Message {
            handoff: self.handoff(connection.id),
            parties: connection.parties(),
            body: Body::Confirm { asks: true },
        };
        if !questions.add(message, connection.server.ip) {
            return Some(questions.later_ms());
        }
        let asked = if asked == UNWATCHED { LOOKED_AT } else { asked };
        connection.doubt = Some(asked.saturating_add(1).min(QUESTIONS));
        Some((ANSWER_MS << (asked - LOOKED_AT)).min(ANSWER_AT_MOST_MS))
    }

    /// About how many connections servers may be asked now.
    fn may_ask(&self) -> usize {
        let since_ms = now_ms().saturating_sub(self.asked_ms.load(Relaxed));
        if since_ms >= ASKED_MS {
            ASKED
        } else {
            0
        }
    }

    /// Asks servers what they have, each about all at once.
    fn ask(&self, mut questions: Questions, now: u64, outbox: &mut Outbox<'_>) {
        if questions.list.is_empty() {
            return;
        }
        self.asked_ms.store(now, Relaxed);
        sort_by_key(&mut questions.list, |(_, to)| *to);
        for (message, to) in &questions.list {
            self.count(Counter::Questions);
            self.say(message, *to, outbox);
        }
    }

    /// What a server had is lost. Any context.
    pub(crate) fn began_anew(&self) {
        self.count(Counter::Restarts);
        self.purge.store(true, Relaxed);
        self.worker.kick();
    }

    /// Removes what has expired of a slice of the table.
    fn sweep(&self, now: u64, outbox: &mut Outbox<'_>, questions: &mut Questions) {
        let timeouts = &self.parameters.timeouts;
        let mut unwatched = [None; UNWATCHED_MOST];
        let mut free = unwatched.iter_mut();
        self.table.sweep_part(
            rounds::slice(POSITIONS, timeouts.shortest_ms()),
            |connection| {
                if connection.doubt == Some(UNWATCHED) {
                    if let Some(place) = free.next() {
                        *place = Some((connection.key, connection.id));
                    }
                }
                connection.flow.expired(timeouts, now as u32)
            },
            |connection| {
                self.count(Counter::Expired);
                let to = connection.server.ip;
                // A server that still has it ends it, and tells the client.
                if let Some(message) = self.leave(connection) {
                    self.say(&message, to, outbox);
                }
            },
        );
        for (key, id) in unwatched.into_iter().flatten() {
            self.look_at(&key, id, now, questions);
        }
        let (chain, _) = self.table.chains();
        let Parameters { chains, keyed, .. } = &*self.parameters;
        if let Some(warning) = chains.warning(chain, *keyed, now) {
            pr_warn!("{warning}\n");
        }
    }
}
