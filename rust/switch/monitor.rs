// SPDX-License-Identifier: GPL-2.0

//! The load monitor: servers are asked how they are, and what they answer decides who gets requests.
//!
//! Asking, and noticing silence, is the worker's (process context). Answers come in softirq and take
//! effect at once: requests see a server that has just failed as closed before the policy of its pool
//! has been told.

use core::net::Ipv4Addr;

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Full,
            Relaxed, //
        },
        rcu,
        Arc, //
    },
};
use thop_core::{
    command::{
        commands,
        What, //
    },
    health::{
        Checks,
        Reason, //
    },
    policy::Setup,
    wire::{
        DropReason,
        Load,
        Monitor,
        Ping, //
    },
};
use thop_kernel::time::now_ms;

use crate::{
    counters::Counter,
    handoff::Connection,
    server::Server,
    switch::Switch, //
};

/// How often a pool in which requests wait is looked at, milliseconds.
const QUEUE_MS: u64 = 20;
/// How often rosters are looked at that have been replaced, milliseconds.
const TIDY_MS: u64 = 50;
/// Over how many parts of an interval the servers of a pool are spread.
const SPREAD: u64 = 16;

impl Switch {
    /// Has the load monitor look at all pools within `ms` milliseconds. Any context.
    pub(crate) fn monitor_in(&self, ms: u32) {
        let due = now_ms() + u64::from(ms);
        // Two CPUs that pass each other here may leave the later of their times standing: they want
        // it soon, both.
        if due < self.monitor_ms.load(Relaxed) {
            self.monitor_ms.store(due, Relaxed);
        }
        self.worker.kick_in(ms);
    }

    /// Looks at all pools if that is due: the worker runs far more often, for handoffs. Returns after
    /// how many milliseconds it will be due; `None` if there is nothing. Process context.
    pub(crate) fn monitor(&self) -> Option<u64> {
        let now = now_ms();
        if now >= self.monitor_ms.load(Relaxed) {
            // Before anything is looked at, so that what comes meanwhile is not missed.
            self.monitor_ms.store(u64::MAX, Relaxed);
            if let Some(ms) = self.look_at_pools() {
                self.monitor_in(ms.min(u64::from(u32::MAX)) as u32);
            }
        }
        match self.monitor_ms.load(Relaxed) {
            u64::MAX => None,
            due => Some(due.saturating_sub(now)),
        }
    }

    /// Asks servers, notices silence, tells policies of changes, and calls those who wait. Returns
    /// after how many milliseconds there is more to do; `None` if there is nothing.
    fn look_at_pools(&self) -> Option<u64> {
        let cluster = self.cluster.write();
        let mut next: Option<u64> = None;
        let mut sooner = |ms: u64| next = Some(next.map_or(ms, |next| next.min(ms)));
        for (id, pool) in cluster.pools() {
            let now = now_ms();
            {
                let roster = pool.roster.write();
                for server in roster.servers() {
                    if let Some(ms) = self.check(server, &roster.checks, now) {
                        sooner(ms);
                    }
                }
            }
            if pool.take_stale() {
                let option = |key| cluster.config.pool_option(id, key);
                let kind = cluster.config.pool(id).map(|pool| pool.policy);
                let renewed = kind.map(|kind| pool.renew(kind, &Setup { option: &option }, now));
                if renewed.is_some_and(|result| result.is_err()) {
                    // No memory: the old policy does, and what is closed stays so.
                    pool.set_stale();
                    sooner(TIDY_MS);
                }
            }
            if !pool.tidy() {
                sooner(TIDY_MS);
            }
            pool.call_all(&rcu::read_lock(), now);
            if pool.waiting() > 0 {
                sooner(QUEUE_MS);
            }
        }
        next
    }

    /// Looks at one server. Returns after how many milliseconds it must be looked at again.
    fn check(&self, server: &Arc<Server>, checks: &Checks, now: u64) -> Option<u64> {
        let interval = checks.interval_ms.map(u64::from);
        let due = server.ask_ms.load(Relaxed);
        // Never asked, or by a longer interval that holds no more.
        let first = interval.is_some_and(|interval| due == 0 || due > now + interval);
        let ask = interval.filter(|_| first || now >= due);
        let mut silent_at = None;
        server.with_health(|health| {
            let changed = health.tick(checks, now);
            if ask.is_some() {
                health.asked(now);
            }
            silent_at = health.silent_at_ms(checks);
            changed
        });
        let Some(interval) = interval else {
            // The last report would count for ever.
            server.report.forget();
            return None;
        };
        if ask.is_some() {
            // The first time at once; from then on not all in the same moment.
            let offset = if first {
                interval * (u64::from(server.place) % SPREAD) / SPREAD
            } else {
                0
            };
            let next = now + interval - offset;
            server.ask_ms.store(next, Relaxed);
            self.ping(server);
        }
        let next = server
            .ask_ms
            .load(Relaxed)
            .min(silent_at.unwrap_or(u64::MAX));
        Some(next.saturating_sub(now).max(1))
    }

    fn ping(&self, server: &Server) {
        self.count(Counter::Pings);
        let asked = server.asked.fetch_add(1, Relaxed).wrapping_add(1);
        let ping = Ping {
            epoch: self.epoch(),
            sequence: (u64::from(server.number) << 32) | u64::from(asked),
            server: server.endpoint,
        };
        let sent =
            self.channel
                .send_monitor(&Monitor::Ping(ping), Ipv4Addr::UNSPECIFIED, server.ip);
        if sent.is_err() {
            self.count(Counter::SendErrors);
        }
    }

    /// A machine has begun a new epoch, and did not believe what was sent to it: its servers are asked
    /// again at once. Handoffs repeat their CREATE by themselves. Softirq.
    pub(crate) fn on_epoch(&self, from: Ipv4Addr) {
        self.count(Counter::Epochs);
        let guard = rcu::read_lock();
        let mut some = false;
        for (_, pool) in self.cluster.read(&guard).pools() {
            for server in pool.roster.read(&guard).servers() {
                if server.ip == from {
                    server.ask_ms.store(0, Relaxed);
                    some = true;
                }
            }
        }
        if some {
            self.monitor_in(0);
        }
    }

    /// A server has answered. Softirq.
    pub(crate) fn on_load(&self, load: &Load, from: Ipv4Addr) {
        let guard = rcu::read_lock();
        let cluster = self.cluster.read(&guard);
        let known = cluster.server((load.ping.sequence >> 32) as u32);
        let Some(server) = known.filter(|server| {
            load.ping.epoch == self.epoch()
                && load.ping.server == server.endpoint
                && from == server.ip
        }) else {
            return self.count(Counter::Foreign);
        };
        let checks = server.pool.roster.read(&guard).checks;
        let Some((changed, began_anew)) = server.on_load(load, &checks, now_ms()) else {
            // Old, or a duplicate.
            return;
        };
        self.count(Counter::Loads);
        if began_anew {
            self.began_anew();
        }
        if changed {
            self.monitor_in(0);
        }
    }

    /// A server has refused a connection: what that tells of it. Any context.
    pub(crate) fn refused(&self, server: &Server, why: DropReason) {
        let reason = match why {
            DropReason::BacklogFull => Reason::QueueFull,
            DropReason::NoListener | DropReason::Mptcp => Reason::NoListener,
            // These say nothing of the next connection.
            DropReason::NoMemory
            | DropReason::Conflict
            | DropReason::Unsupported
            | DropReason::Internal
            | DropReason::Filtered => return,
        };
        let guard = rcu::read_lock();
        let checks = server.pool.roster.read(&guard).checks;
        if server.with_health(|health| health.refused(reason, &checks, now_ms())) {
            self.monitor_in(0);
        }
    }

    /// A connection of a server is over, or was taken from it: another request may go there. Any
    /// context.
    pub(crate) fn freed(&self, server: &Server) {
        if server.pool.waiting() > 0 {
            server.pool.call();
        }
    }

    /// Connections that servers have lost by beginning anew leave the table. What their clients send
    /// next goes up the stack, which resets it. Process context.
    pub(crate) fn purge(&self) {
        if self.purge.xchg(false, Full) {
            let lose = |connection: &mut Connection| {
                if connection.is_lost() {
                    self.lose(connection);
                }
                false
            };
            self.table.sweep_all(lose, drop);
            self.monitor_in(1);
        }
    }

    /// An operator's orders, all or none of them. Process context.
    pub(crate) fn order(&self, text: &[u8]) -> Result {
        let cluster = self.cluster.write();
        for command in commands(text) {
            let command = command.ok_or(EINVAL)?;
            cluster.named(command.pool, command.server).ok_or(ENOENT)?;
        }
        let now = now_ms();
        for command in commands(text).flatten() {
            if let Some(server) = cluster.named(command.pool, command.server) {
                server.with_health(|health| match command.what {
                    What::Order(order) => health.order(order, now),
                    What::Weight(weight) => health.reweigh(weight, now),
                });
            }
        }
        drop(cluster);
        self.monitor_in(0);
        Ok(())
    }
}
