// SPDX-License-Identifier: GPL-2.0

//! The running configuration: services, pools and servers.
//!
//! A [`Cluster`] is made from a configuration as a whole and never changes; it is replaced. What
//! must outlive a replacement, pools and servers of the same name and address, is carried over by
//! reference.
//!
//! A replacement has two halves. A [`Change`] is prepared, which may fail and touches nothing that
//! runs; then it is carried out, which cannot fail.

use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
};
use thop_core::{
    addr::Endpoint,
    config::{
        self,
        Config,
        PoolId,
        Service,
        ServiceId, //
    },
    order::sort_by_key,
    policy::Setup, //
};
use thop_kernel::{
    memory,
    memory::ProcessHeap,
    sync::{
        Retired,
        Writer, //
    },
    time::now_ms, //
};

use crate::{
    pool::{
        Places,
        Pool,
        Roster, //
    },
    server::Server, //
};

/// A configuration that runs.
pub(crate) struct Cluster {
    pub(crate) config: Config<ProcessHeap>,
    pools: KVVec<Arc<Pool>>,
    /// In the order of the configuration's.
    servers: KVVec<Arc<Server>>,
    /// Services in the order of their endpoints.
    by_endpoint: KVVec<(Endpoint, ServiceId)>,
    /// Servers in the order of their numbers.
    by_number: KVVec<(u32, Arc<Server>)>,
}

impl Cluster {
    /// What runs before anything is configured.
    pub(crate) fn empty() -> Self {
        Self {
            config: Config::empty(),
            pools: KVVec::new(),
            servers: KVVec::new(),
            by_endpoint: KVVec::new(),
            by_number: KVVec::new(),
        }
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

    /// All pools.
    pub(crate) fn pools(&self) -> impl Iterator<Item = (PoolId, &Arc<Pool>)> {
        (0..)
            .zip(&self.pools)
            .map(|(id, pool)| (PoolId::new(id), pool))
    }

    /// The server of this number.
    pub(crate) fn server(&self, number: u32) -> Option<&Arc<Server>> {
        let at = self
            .by_number
            .binary_search_by_key(&number, |&(number, _)| number)
            .ok()?;
        self.by_number.get(at).map(|(_, server)| server)
    }

    /// The state of a pool's servers, in the order of the configuration's.
    pub(crate) fn pool_servers(
        &self,
        pool: PoolId,
    ) -> impl Iterator<Item = (&config::Server, &Arc<Server>)> {
        let servers = self.config.pool_servers(pool);
        servers.filter_map(|(id, entry)| Some((entry, self.servers.get(id.index())?)))
    }

    /// The server of this name in the pool of that name. A search through all: for operators.
    pub(crate) fn named(&self, pool: &str, server: &str) -> Option<&Arc<Server>> {
        let mut pools = (0..).zip(self.config.pools());
        let (id, _) = pools.find(|(_, entry)| self.config.name(entry.name) == pool)?;
        let mut servers = self.pool_servers(PoolId::new(id));
        let (_, server) = servers.find(|(_, known)| known.name() == server)?;
        Some(server)
    }
}

/// What a pool gets from a change.
struct PoolChange {
    pool: Arc<Pool>,
    roster: KBox<Roster>,
    /// Another queue, if its room differs.
    queue: Option<Places>,
}

/// A replacement of the running configuration, all prepared.
pub(crate) struct Change {
    cluster: KBox<Cluster>,
    pools: KVVec<PoolChange>,
    /// Pools that are no more.
    gone: KVVec<Arc<Pool>>,
}

impl Change {
    /// Prepares to run `config` in place of `old`. `number` gives each new server a number. Process
    /// context.
    pub(crate) fn prepare(
        config: Config<ProcessHeap>,
        old: &Cluster,
        mut number: impl FnMut() -> u32,
    ) -> Result<Self> {
        let (pools, gone) = pools_of(&config, old)?;
        let mut changes = KVVec::with_capacity(pools.len(), memory::may_sleep())?;
        let mut servers = KVVec::new();
        for (id, pool) in (0..).zip(&pools) {
            let id = PoolId::new(id);
            let first = servers.len();
            let members = members_of(&config, id, pool, &mut number, &mut servers)?;
            let listed = servers.get(first..).unwrap_or_default();
            changes.push(
                PoolChange {
                    pool: pool.clone(),
                    queue: queue_of(&config, id, pool)?,
                    roster: roster_of(&config, id, pool, members, listed, &pools)?,
                },
                memory::may_sleep(),
            )?;
        }
        let mut by_number = KVVec::with_capacity(servers.len(), memory::may_sleep())?;
        for server in &servers {
            by_number.push((server.number, server.clone()), memory::may_sleep())?;
        }
        let mut by_endpoint = KVVec::new();
        for (id, service) in (0..).zip(config.services()) {
            by_endpoint.push((service.endpoint, ServiceId::new(id)), memory::may_sleep())?;
        }
        sort_by_key(&mut by_endpoint, |&(endpoint, _)| endpoint);
        sort_by_key(&mut by_number, |&(number, _)| number);
        let cluster = Cluster {
            config,
            pools,
            servers,
            by_endpoint,
            by_number,
        };
        Ok(Self {
            cluster: KBox::new(cluster, memory::may_sleep())?,
            pools: changes,
            gone,
        })
    }

    /// Carries it out. The old configuration is returned, which readers may still have. Process
    /// context.
    pub(crate) fn commit(self, current: Writer<'_, Cluster>) -> Retired<Cluster> {
        let now = now_ms();
        let entries = self.cluster.config.servers();
        for (entry, server) in entries.iter().zip(&self.cluster.servers) {
            server.max.store(entry.max.unwrap_or(0), Relaxed);
            server.configure_weight(entry.weight, now);
        }
        for change in self.pools {
            change.pool.replace(change.roster);
            if let Some(queue) = change.queue {
                change.pool.set_queue(queue);
            }
            // A server's health may have changed since the roster was prepared.
            change.pool.set_stale();
        }
        let retired = current.retire(self.cluster);
        for pool in self.gone {
            pool.end();
        }
        retired
    }
}

/// The pools of `config`, known ones being carried over, and those that it does not have any more.
#[allow(clippy::type_complexity)] // As simple as a pair can be.
fn pools_of(
    config: &Config<ProcessHeap>,
    old: &Cluster,
) -> Result<(KVVec<Arc<Pool>>, KVVec<Arc<Pool>>)> {
    let mut known = KVVec::new();
    for ((_, pool), entry) in old.pools().zip(old.config.pools()) {
        known.push(
            (old.config.name(entry.name), pool, false),
            memory::may_sleep(),
        )?;
    }
    sort_by_key(&mut known, |&(name, _, _)| name);
    let mut pools = KVVec::new();
    for (id, entry) in (0..).zip(config.pools()) {
        let name = config.name(entry.name);
        let same = known
            .binary_search_by_key(&name, |&(name, _, _)| name)
            .ok()
            .and_then(|at| known.get_mut(at));
        let pool = match same {
            Some((_, pool, stays)) => {
                *stays = true;
                (*pool).clone()
            }
            None => {
                let option = |key| config.pool_option(PoolId::new(id), key);
                Pool::new(entry.policy, &Setup { option: &option }, entry.checks())?
            }
        };
        pools.push(pool, memory::may_sleep())?;
    }
    let mut gone = KVVec::new();
    for (_, pool, _) in known.iter().filter(|(_, _, stays)| !stays) {
        gone.push((*pool).clone(), memory::may_sleep())?;
    }
    Ok((pools, gone))
}

/// The servers of a pool by their places, of which known ones keep theirs. They are also appended to
/// `all`, in the order of the configuration.
fn members_of(
    config: &Config<ProcessHeap>,
    id: PoolId,
    pool: &Arc<Pool>,
    number: &mut impl FnMut() -> u32,
    all: &mut KVVec<Arc<Server>>,
) -> Result<KVVec<Option<Arc<Server>>>> {
    let current = pool.roster.write();
    let mut known = KVVec::new();
    for server in current.servers() {
        known.push(server, memory::may_sleep())?;
    }
    sort_by_key(&mut known, |server| server.name());
    let same = |entry: &config::Server| {
        let name = config.name(entry.name);
        let at = known.binary_search_by_key(&name, |server| server.name());
        let server = at.ok().and_then(|at| known.get(at));
        server.filter(|server| server.endpoint == entry.endpoint)
    };

    let mut members: KVVec<Option<Arc<Server>>> = KVVec::new();
    for _ in 0..current.members.len() {
        members.push(None, memory::may_sleep())?;
    }
    for server in config.pool_servers(id).filter_map(|(_, entry)| same(entry)) {
        if let Some(place) = members.get_mut(usize::from(server.place)) {
            *place = Some((*server).clone());
        }
    }
    let mut next = 0;
    for (_, entry) in config.pool_servers(id) {
        if let Some(server) = same(entry) {
            all.push((*server).clone(), memory::may_sleep())?;
            continue;
        }
        while members.get(next).is_some_and(Option::is_some) {
            next += 1;
        }
        let new = Server::new(
            config.name(entry.name),
            entry,
            pool.clone(),
            number(),
            u16::try_from(next).map_err(|_| E2BIG)?,
        )?;
        all.push(new.clone(), memory::may_sleep())?;
        match members.get_mut(next) {
            Some(place) => *place = Some(new),
            None => members.push(Some(new), memory::may_sleep())?,
        }
    }
    Ok(members)
}

/// The roster of a pool. `members` are its servers by their places, `listed` the same in the order of
/// the configuration.
fn roster_of(
    config: &Config<ProcessHeap>,
    id: PoolId,
    pool: &Arc<Pool>,
    members: KVVec<Option<Arc<Server>>>,
    listed: &[Arc<Server>],
    pools: &[Arc<Pool>],
) -> Result<KBox<Roster>> {
    let entry = config.pool(id).ok_or(EINVAL)?;
    let option = |key| config.pool_option(id, key);
    // The weights are given to the servers later, but requests must go by them from the first on.
    let mut weights = KVVec::from_elem(0, members.len(), memory::may_sleep())?;
    for ((_, entry), server) in config.pool_servers(id).zip(listed) {
        if let Some(weight) = weights.get_mut(usize::from(server.place)) {
            *weight = entry.weight;
        }
    }
    let now = now_ms();
    let weight = |server: &Server| weights.get(usize::from(server.place)).copied();
    let current = pool.roster.write();
    let policy = Roster::policy_for(
        entry.policy,
        &Setup { option: &option },
        &members,
        |server| server.health_with(weight(server).unwrap_or(0), now),
        &entry.checks(),
        Some(&current.policy),
        now,
    )?;
    let backup = entry.backup.and_then(|id| pools.get(id.index()));
    let roster = Roster {
        members,
        policy,
        checks: entry.checks(),
        queue_timeout_ms: entry.queue_timeout_ms,
        backup: backup.cloned(),
    };
    Ok(KBox::new(roster, memory::may_sleep())?)
}

/// Another queue for a pool, if it needs one.
fn queue_of(config: &Config<ProcessHeap>, id: PoolId, pool: &Arc<Pool>) -> Result<Option<Places>> {
    let room = config.pool(id).ok_or(EINVAL)?.queue as usize;
    if pool.queue_room() == room {
        return Ok(None);
    }
    Ok(Some(Places::new(room).map_err(|_| ENOMEM)?))
}
