// SPDX-License-Identifier: GPL-2.0

//! The running configuration: services, pools and servers, and what is known of each server.
//!
//! A [`Cluster`] is made from a configuration as a whole and never changes; it is replaced. What
//! must outlive a replacement, the state of pools and servers of the same name and address, is
//! carried over by reference.

use core::net::Ipv4Addr;

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};
use thop_core::{
    addr::Endpoint,
    config::{
        Config,
        PoolId,
        Service,
        ServiceId, //
    },
    order::sort_by_key, //
};
use thop_kernel::{
    memory::ProcessHeap,
    messages::ipv4, //
};

/// For how long a server that did not answer is passed over while others are to be had.
const SHUN_MS: u64 = 5_000;

/// A server, as long as any configuration or connection knows it.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) endpoint: Endpoint,
    /// Its address once more, for packets.
    pub(crate) ip: Ipv4Addr,
    /// Connections that it has.
    pub(crate) connections: Atomic<i32>,
    /// Handoffs that it was offered.
    pub(crate) offered: Atomic<u64>,
    /// Handoffs that it has taken.
    pub(crate) taken: Atomic<u64>,
    /// Handoffs that it has refused.
    pub(crate) refused: Atomic<u64>,
    /// Handoffs that it did not answer.
    pub(crate) unanswered: Atomic<u64>,
    /// Until when it is passed over, milliseconds since boot.
    shunned_until: Atomic<u64>,
}

impl Server {
    fn new(endpoint: Endpoint) -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                endpoint,
                ip: ipv4(endpoint.ip).ok_or(EINVAL)?,
                connections: Atomic::new(0),
                offered: Atomic::new(0),
                taken: Atomic::new(0),
                refused: Atomic::new(0),
                unanswered: Atomic::new(0),
                shunned_until: Atomic::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    /// It did not answer: others are tried first for a while.
    pub(crate) fn shun(&self, now_ms: u64) {
        self.unanswered.fetch_add(1, Relaxed);
        self.shunned_until.store(now_ms + SHUN_MS, Relaxed);
    }

    /// It has answered.
    pub(crate) fn heard(&self) {
        if self.shunned_until.load(Relaxed) != 0 {
            self.shunned_until.store(0, Relaxed);
        }
    }

    /// Whether it is passed over.
    pub(crate) fn is_shunned(&self, now_ms: u64) -> bool {
        self.shunned_until.load(Relaxed) > now_ms
    }
}

/// A server's place in a pool.
pub(crate) struct Member {
    pub(crate) server: Arc<Server>,
    pub(crate) weight: u16,
}

/// Servers that serve the same content.
pub(crate) struct Pool {
    pub(crate) members: KVVec<Member>,
    /// Whose turn it is.
    turn: Atomic<u32>,
}

impl Pool {
    /// The next server in turn that has not been tried; one that does not answer only if there is no
    /// other. Any context.
    pub(crate) fn choose(&self, tried: &[Arc<Server>], now_ms: u64) -> Option<Arc<Server>> {
        let count = self.members.len();
        let start = self.turn.fetch_add(1, Relaxed) as usize;
        let mut second = None;
        for step in 0..count {
            let member = self.members.get(start.wrapping_add(step) % count)?;
            if member.weight == 0 || tried.iter().any(|t| Arc::ptr_eq(t, &member.server)) {
                continue;
            }
            if !member.server.is_shunned(now_ms) {
                return Some(member.server.clone());
            }
            second = second.or(Some(&member.server));
        }
        second.cloned()
    }
}

/// A configuration that runs.
pub(crate) struct Cluster {
    pub(crate) config: Config<ProcessHeap>,
    pools: KVVec<Arc<Pool>>,
    /// Services in the order of their endpoints.
    by_endpoint: KVVec<(Endpoint, ServiceId)>,
}

impl Cluster {
    /// What runs before anything is configured.
    pub(crate) fn empty() -> Self {
        Self {
            config: Config::empty(),
            pools: KVVec::new(),
            by_endpoint: KVVec::new(),
        }
    }

    /// Makes `config` runnable, with what `old` knows of servers that stay. Process context.
    pub(crate) fn new(config: Config<ProcessHeap>, old: &Self) -> Result<Self> {
        // Old members in the order of pool and server names, to find them by.
        let mut known = KVVec::new();
        for (id, pool) in old.config.pools().iter().enumerate() {
            let name = old.config.name(pool.name);
            for ((_, server), member) in old
                .config
                .pool_servers(PoolId::new(id as u32))
                .zip(old.pools.get(id).map_or(&[][..], |pool| &pool.members))
            {
                known.push((name, old.config.name(server.name), member), GFP_KERNEL)?;
            }
        }
        sort_by_key(&mut known, |&(pool, server, _)| (pool, server));

        let mut pools = KVVec::new();
        for (id, pool) in config.pools().iter().enumerate() {
            let mut members = KVVec::new();
            for (_, server) in config.pool_servers(PoolId::new(id as u32)) {
                let name = (config.name(pool.name), config.name(server.name));
                let same = known
                    .binary_search_by_key(&name, |&(pool, server, _)| (pool, server))
                    .ok()
                    .and_then(|at| known.get(at))
                    .map(|(_, _, member)| &member.server)
                    .filter(|known| known.endpoint == server.endpoint);
                let state = match same {
                    Some(state) => state.clone(),
                    None => Server::new(server.endpoint)?,
                };
                members.push(
                    Member {
                        server: state,
                        weight: server.weight,
                    },
                    GFP_KERNEL,
                )?;
            }
            pools.push(
                Arc::new(
                    Pool {
                        members,
                        turn: Atomic::new(0),
                    },
                    GFP_KERNEL,
                )?,
                GFP_KERNEL,
            )?;
        }
        let mut by_endpoint = KVVec::new();
        for (id, service) in config.services().iter().enumerate() {
            by_endpoint.push((service.endpoint, ServiceId::new(id as u32)), GFP_KERNEL)?;
        }
        sort_by_key(&mut by_endpoint, |&(endpoint, _)| endpoint);
        // `known` borrows the old configuration's names.
        drop(known);
        Ok(Self {
            config,
            pools,
            by_endpoint,
        })
    }

    /// The service at an endpoint.
    pub(crate) fn service(&self, endpoint: &Endpoint) -> Option<(ServiceId, &Service)> {
        let at = self
            .by_endpoint
            .binary_search_by_key(endpoint, |&(endpoint, _)| endpoint)
            .ok()?;
        let (_, id) = *self.by_endpoint.get(at)?;
        Some((id, self.config.service(id)?))
    }

    /// A pool's state.
    pub(crate) fn pool(&self, id: PoolId) -> Option<&Arc<Pool>> {
        self.pools.get(id.index())
    }
}
