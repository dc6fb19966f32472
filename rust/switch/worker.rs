// SPDX-License-Identifier: GPL-2.0

//! What must happen later: CREATE that is repeated, a server that is given up, and what has expired. Process context,
//! but for what others ask for.

use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
};
use thop_core::{
    addr::FlowKey,
    deadline::Deadlines,
    packet::Ipv4Tcp,
    rounds::{
        self,
        SLICE_MS, //
    }, //
};
use thop_kernel::{
    memory::AtomicHeap,
    send,
    skb::SkBuff,
    time::now_ms, //
};

use crate::{
    counters::Counter,
    handoff::{
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

/// Handoffs that must be looked at, by when: a key and the id it had.
pub(crate) type Agenda = Deadlines<AtomicHeap, (FlowKey, u64)>;

impl Switch {
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

    /// Does what is due. Returns after how many milliseconds there is more to do.
    pub(crate) fn work(&self) -> Option<u32> {
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
                self.look_at(&key, id, now);
            }
        }
        let now = now_ms();
        if now.saturating_sub(self.swept_ms.load(Relaxed)) >= u64::from(SLICE_MS) {
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

    /// Removes what has expired of a slice of the table.
    fn sweep(&self, now: u64) {
        let timeouts = &self.parameters.timeouts;
        self.table.sweep_part(
            rounds::slice(self.table.buckets(), timeouts.shortest_ms()),
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
}
