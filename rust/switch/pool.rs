// SPDX-License-Identifier: GPL-2.0

//! A pool: servers that can stand in for each other, the policy that chooses among them, and the
//! requests that wait for one of them.
//!
//! A pool lives as long as configurations have one of its name. Its [`Roster`] is replaced whenever
//! a server comes, goes, or changes its weight, be it by its health; requests read it under RCU.
//!
//! # Locks
//!
//! The roster's writer lock belongs to the worker and to configuration (process context). The lock of
//! the queue is a spinlock with softirqs disabled; whoever is called meanwhile is put, under the lock of a listener's queue,
//! among those that its worker looks at.
//!
//! # Who is first
//!
//! Requests get servers in the order in which they began to wait, and none that comes while others wait gets one before them.
//! More may be called than there are places, as nobody counts those that have been called and not chosen yet. They choose in their
//! order if they belong to one listener, which has one worker; who finds that an earlier one is in the queue again waits, too.

use core::mem;

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        rcu,
        Arc,
        Mutex, //
    },
};
use thop_core::{
    health::{
        Checks,
        Health, //
    },
    policy::{
        self,
        Class,
        Kind,
        Member,
        Servers,
        Setup, //
    },
    ring::Ring, //
};
use thop_kernel::{
    listener::Turn,
    memory,
    memory::ProcessHeap,
    new_rcu_box,
    new_spin_lock_bh,
    sync::{
        RcuBox,
        Retired,
        SpinLockBh,
        Writer, //
    }, //
};

use crate::{
    dispatcher::Service,
    server::Server, //
};

/// How often a choice is made anew because another CPU has taken the last place.
const RACES: u32 = 8;
/// How many backup pools, one behind the other, are tried.
const BACKUPS: u32 = 8;

/// The servers of a pool, as they are now.
pub(crate) struct Roster {
    /// By place. A place may be empty: its server has left the configuration.
    pub(crate) members: KVVec<Option<Arc<Server>>>,
    pub(crate) policy: policy::Any<ProcessHeap>,
    pub(crate) checks: Checks,
    pub(crate) queue_timeout_ms: u32,
    pub(crate) backup: Option<Arc<Pool>>,
}

impl Roster {
    /// The servers.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.members.iter().flatten()
    }

    /// Whether who waits since then has waited for longer than he may. Both times are of ticks: only when they differ by
    /// more than the timeout has it been that long.
    pub(crate) fn is_too_long(&self, since_ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(since_ms) > u64::from(self.queue_timeout_ms)
    }

    /// The policy for members whose health is what `health` says. Process context.
    pub(crate) fn policy_for(
        kind: Kind,
        setup: &Setup<'_>,
        members: &[Option<Arc<Server>>],
        health: impl Fn(&Server) -> Health,
        checks: &Checks,
        before: Option<&policy::Any<ProcessHeap>>,
        now_ms: u64,
    ) -> Result<policy::Any<ProcessHeap>> {
        let mut list = KVVec::with_capacity(members.len(), memory::may_sleep())?;
        for server in members {
            let member = match server {
                Some(server) => Member {
                    name: server.name(),
                    identity: server.endpoint.identity(),
                    weight: health(server).effective_weight(checks, now_ms),
                },
                None => Member {
                    name: "",
                    identity: 0,
                    weight: 0,
                },
            };
            list.push(member, memory::may_sleep())?;
        }
        kind.initialise(setup, &list, before).map_err(|_| ENOMEM)
    }

    fn view<'a>(&'a self, tried: &'a [Arc<Server>], now_ms: u64, shunned_too: bool) -> View<'a> {
        View {
            members: &self.members,
            tried,
            now_ms,
            shunned_too,
        }
    }
}

/// A roster as a policy sees it, for one request.
pub(crate) struct View<'a> {
    members: &'a [Option<Arc<Server>>],
    tried: &'a [Arc<Server>],
    now_ms: u64,
    shunned_too: bool,
}

impl View<'_> {
    fn server(&self, place: usize) -> Option<&Arc<Server>> {
        self.members.get(place)?.as_ref()
    }

    fn is_free(&self, server: &Arc<Server>) -> bool {
        server.room() > 0
            && (self.shunned_too || !server.is_shunned(self.now_ms))
            && !self.tried.iter().any(|tried| Arc::ptr_eq(tried, server))
    }
}

impl Servers for View<'_> {
    #[inline]
    fn usable(&self, place: usize) -> bool {
        self.server(place)
            .is_some_and(|server| server.is_open() && self.is_free(server))
    }

    #[inline]
    fn reachable(&self, place: usize) -> bool {
        self.server(place)
            .is_some_and(|server| server.is_reachable() && self.is_free(server))
    }

    #[inline]
    fn connections(&self, place: usize) -> u32 {
        self.server(place).map_or(u32::MAX, |server| server.load())
    }

    #[inline]
    fn cpu(&self, place: usize) -> u32 {
        self.server(place)
            .map_or(0, |server| server.report.cpu.load(Relaxed))
    }

    #[inline]
    fn now_ms(&self) -> u64 {
        self.now_ms
    }
}

/// Whom a request goes to.
pub(crate) enum Choice {
    /// This server, which counts it already; of this pool, for which the request means this.
    Server(Arc<Server>, Arc<Pool>, Class),
    /// All servers that could take it have as many connections as they may: those of this pool.
    Full(Arc<Pool>),
    /// There is no server.
    None,
}

/// A request that waits.
pub(crate) struct Waiting {
    turn: Turn<Service>,
    /// Since when, milliseconds since boot.
    since_ms: u64,
    ticket: Ticket,
}

/// The place of a request among all that have ever waited for a server of a pool.
type Ticket = u64;

/// Whom a server is chosen for.
#[derive(Clone, Copy)]
pub(crate) enum Standing<'a> {
    /// A request that has just come: all who wait are before it.
    New,
    /// One that has waited.
    Called(&'a Wait),
    /// One that another server has had already, and that does not wait.
    Again,
}

/// What a request keeps of its waiting for a server of a pool, until that is decided.
pub(crate) struct Wait {
    pool: Arc<Pool>,
    /// Since when, milliseconds since boot.
    pub(crate) since_ms: u64,
    ticket: Option<Ticket>,
}

impl Wait {
    /// Of a request that begins to wait, or goes on as it did `before`.
    pub(crate) fn new(pool: Arc<Pool>, since_ms: u64, before: Option<&Wait>) -> Self {
        pool.undecided.fetch_add(1, Relaxed);
        let before = before.filter(|before| Arc::ptr_eq(&before.pool, &pool));
        Self {
            ticket: before.and_then(|before| before.ticket),
            pool,
            since_ms,
        }
    }

    /// Has the request wait for its turn: behind all others, or if it has waited already, before those that have come later.
    /// Gives the turn back when there is no room.
    pub(crate) fn enqueue(&mut self, turn: Turn<Service>) -> Result<(), Turn<Service>> {
        let since_ms = self.since_ms;
        let known = self.ticket;
        let result = self.pool.with_queue(|queue| {
            let ticket = known.unwrap_or(queue.tickets);
            let waiting = Waiting {
                turn,
                since_ms,
                ticket,
            };
            if known.is_some() {
                queue
                    .places
                    .push_before(waiting, |other| other.ticket > ticket)?;
            } else {
                queue.places.push(waiting)?;
                queue.tickets = queue.tickets.wrapping_add(1);
            }
            Ok(ticket)
        });
        match result {
            Ok(ticket) => {
                self.ticket = Some(ticket);
                Ok(())
            }
            Err(Waiting { turn, .. }) => Err(turn),
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.pool.undecided.fetch_sub(1, Relaxed);
    }
}

/// Places for requests that wait.
pub(crate) type Places = Ring<ProcessHeap, Waiting>;

/// Requests that wait.
struct Queue {
    places: Places,
    /// The next that begins to wait has this one.
    tickets: Ticket,
}

/// A pool.
#[pin_data]
pub(crate) struct Pool {
    #[pin]
    pub(crate) roster: RcuBox<Roster>,
    /// Whether the policy does not know of a change yet.
    stale: Atomic<bool>,
    /// How many requests wait, for those who need not know exactly.
    waiting: Atomic<u32>,
    /// How many wait and have not ended, or have been called and are about to choose a server: see
    /// [`Wait`].
    undecided: Atomic<u32>,
    #[pin]
    queue: SpinLockBh<Queue>,
    /// Rosters that readers may still have.
    #[pin]
    retired: Mutex<KVec<Retired<Roster>>>,
    /// The roster after the last, made in time, as the end of a pool cannot fail.
    #[pin]
    nobody: Mutex<Option<KBox<Roster>>>,
}

impl Pool {
    /// A pool without servers. Process context.
    pub(crate) fn new(kind: Kind, setup: &Setup<'_>, checks: Checks) -> Result<Arc<Self>> {
        let roster = Self::nobody(kind, setup, checks)?;
        let last = Self::nobody(kind, setup, checks)?;
        Arc::pin_init(
            pin_init!(Self {
                roster <- new_rcu_box!(roster),
                stale: Atomic::new(false),
                waiting: Atomic::new(0),
                undecided: Atomic::new(0),
                queue <- new_spin_lock_bh!(Queue { places: Places::none(), tickets: 0 }),
                retired <- new_mutex!(KVec::new()),
                nobody <- new_mutex!(Some(last)),
            }),
            memory::may_sleep(),
        )
    }

    fn nobody(kind: Kind, setup: &Setup<'_>, checks: Checks) -> Result<KBox<Roster>> {
        let policy = Roster::policy_for(kind, setup, &[], Server::health, &checks, None, 0)?;
        let roster = Roster {
            members: KVVec::new(),
            policy,
            checks,
            queue_timeout_ms: 0,
            backup: None,
        };
        Ok(KBox::new(roster, memory::may_sleep())?)
    }

    // --- the choice (any context) ---------------------------------------------------------------

    /// Chooses a server for a request that was not offered to those `tried`, here or in a backup
    /// pool. `classify` tells what the request means to a policy. It finds a pool full while others wait for it who were first.
    pub(crate) fn choose(
        self: &Arc<Self>,
        rcu: &rcu::Guard,
        mut classify: impl FnMut(&policy::Any<ProcessHeap>) -> Class,
        tried: &[Arc<Server>],
        standing: Standing<'_>,
        now_ms: u64,
    ) -> Choice {
        let mut pool = self;
        for _ in 0..=BACKUPS {
            if pool.others_are_first(standing) {
                return Choice::Full(pool.clone());
            }
            let roster = pool.roster.read(rcu);
            let class = classify(&roster.policy);
            for _ in 0..RACES {
                match roster.select(class, tried, now_ms) {
                    Some(server) if server.reserve() => {
                        return Choice::Server(server.clone(), pool.clone(), class)
                    }
                    Some(_) => {}
                    None => break,
                }
            }
            // One that is open was full when the policy looked, even if it is not any more; or it has
            // just come back, and the policy does not know yet.
            let full = |server: &Arc<Server>| {
                server.is_open() && !tried.iter().any(|tried| Arc::ptr_eq(tried, server))
            };
            if roster.servers().any(full) {
                return Choice::Full(pool.clone());
            }
            match &roster.backup {
                Some(backup) => pool = backup,
                None => break,
            }
        }
        // Nobody. A server on which nobody listened when it was asked may be back by now; it is
        // offered the request, and knows best.
        let roster = self.roster.read(rcu);
        let view = roster.view(tried, now_ms, true);
        let may = |server: &&Arc<Server>| server.is_worth_a_try() && view.is_free(server);
        match roster.servers().find(may) {
            Some(server) if server.reserve() => {
                Choice::Server(server.clone(), self.clone(), classify(&roster.policy))
            }
            _ => Choice::None,
        }
    }

    /// Whether others are to get a server of this pool before this request.
    #[inline]
    fn others_are_first(self: &Arc<Self>, standing: Standing<'_>) -> bool {
        match standing {
            Standing::New => self.undecided.load(Relaxed) > 0,
            Standing::Called(wait) if Arc::ptr_eq(&wait.pool, self) => {
                let first = self.queue.lock().places.first().map(|first| first.ticket);
                first
                    .zip(wait.ticket)
                    .is_some_and(|(first, own)| first < own)
            }
            Standing::Called(_) | Standing::Again => false,
        }
    }

    /// A server has finished with a connection.
    pub(crate) fn done(&self, rcu: &rcu::Guard, server: &Server, now_ms: u64) {
        let roster = self.roster.read(rcu);
        roster
            .policy
            .done(usize::from(server.place), &roster.view(&[], now_ms, true));
    }

    // --- those who wait (any context) -----------------------------------------------------------

    /// How many wait.
    #[inline]
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Calls the first that still waits. `false` if there is none.
    pub(crate) fn call(&self) -> bool {
        self.call_if(|_| true)
    }

    /// Calls the first that still waits, if `condition` says so.
    fn call_if(&self, condition: impl Fn(&Waiting) -> bool) -> bool {
        loop {
            // Called under the lock, so that nobody who comes later is called before. What is left of it is dropped without.
            let first = self.with_queue(|queue| {
                queue.places.first().filter(|first| condition(first))?;
                let mut first = queue.places.pop()?;
                Some((first.turn.call(), first))
            });
            match first {
                None => return false,
                Some((true, _)) => return true,
                // It has ended meanwhile.
                Some((false, _)) => {}
            }
        }
    }

    /// Calls as many as there is room for, and those who have waited for too long.
    pub(crate) fn call_all(&self, rcu: &rcu::Guard, now_ms: u64) {
        if self.waiting() == 0 {
            return;
        }
        self.forget_ended();
        let roster = self.roster.read(rcu);
        let open = || roster.servers().filter(|server| server.is_open());
        let room = open().fold(0u32, |room, server| room.saturating_add(server.room()));
        // When no server is left it is the same as room for all: they hear so.
        let room = if open().next().is_some() {
            room
        } else {
            u32::MAX
        };
        for _ in 0..room.min(self.waiting()) {
            if !self.call() {
                return;
            }
        }
        let late = |first: &Waiting| roster.is_too_long(first.since_ms, now_ms);
        while self.call_if(late) {}
    }

    /// Those whose clients have given up make room. All are looked at only if there is one such, as the
    /// figures tell, or if the queue is full.
    fn forget_ended(&self) {
        self.with_queue(|queue| {
            let places = &mut queue.places;
            let ended = places.len() as u32 > self.undecided.load(Relaxed);
            if ended || places.len() == places.room() {
                // Nothing comes of dropping those.
                places.retain(|waiting| !waiting.turn.is_over());
            }
        });
    }

    /// Changes the queue, under its lock.
    fn with_queue<R>(&self, f: impl FnOnce(&mut Queue) -> R) -> R {
        let mut queue = self.queue.lock();
        let result = f(&mut queue);
        self.waiting.store(queue.places.len() as u32, Relaxed);
        result
    }

    // --- changes (process context, but for the first) -------------------------------------------

    /// The policy must learn of a change. Any context.
    pub(crate) fn set_stale(&self) {
        self.stale.store(true, Relaxed);
    }

    /// Whether the policy must learn of a change; it does, after this.
    pub(crate) fn take_stale(&self) -> bool {
        self.stale.load(Relaxed) && self.stale.xchg(false, Full)
    }

    /// Gives the pool another roster.
    pub(crate) fn replace(&self, roster: KBox<Roster>) {
        self.exchange(self.roster.write(), roster);
    }

    fn exchange(&self, current: Writer<'_, Roster>, roster: KBox<Roster>) {
        let other = current.policy.kind() != roster.policy.kind();
        let mut retired = current.retire(roster);
        if other {
            retired.wait().policy.shutdown();
        }
        // Without memory it is dropped here, which waits.
        let _ = self.retired.lock().push(retired, memory::may_sleep());
    }

    /// Lets the policy know of the present weights.
    pub(crate) fn renew(&self, kind: Kind, setup: &Setup<'_>, now_ms: u64) -> Result {
        let current = self.roster.write();
        let mut members = KVVec::with_capacity(current.members.len(), memory::may_sleep())?;
        for member in &current.members {
            members.push(member.clone(), memory::may_sleep())?;
        }
        let checks = current.checks;
        let before = Some(&current.policy);
        let roster = Roster {
            policy: Roster::policy_for(
                kind,
                setup,
                &members,
                Server::health,
                &checks,
                before,
                now_ms,
            )?,
            members,
            checks,
            queue_timeout_ms: current.queue_timeout_ms,
            backup: current.backup.clone(),
        };
        let roster = KBox::new(roster, memory::may_sleep())?;
        self.exchange(current, roster);
        Ok(())
    }

    /// Frees rosters that nobody reads any more. Returns whether none is left.
    pub(crate) fn tidy(&self) -> bool {
        loop {
            let mut list = self.retired.lock();
            let over = list.iter().position(Retired::is_over);
            let retired = over.and_then(|at| list.remove(at).ok());
            let none = list.is_empty();
            drop(list);
            if retired.is_none() {
                return none;
            }
        }
    }

    /// Gives those who wait other places; who finds no place in it is called.
    pub(crate) fn set_queue(&self, new: Places) {
        let mut left = self.with_queue(|queue| {
            let mut left = mem::replace(&mut queue.places, new);
            while queue.places.len() < queue.places.room() {
                let Some(first) = left.pop() else { break };
                // There is room.
                let _ = queue.places.push(first);
            }
            left
        });
        while let Some(mut first) = left.pop() {
            first.turn.call();
        }
    }

    /// How many requests may wait.
    pub(crate) fn queue_room(&self) -> usize {
        self.queue.lock().places.room()
    }

    /// The pool is no more: the policy shuts down, the servers are let go, and those who wait are
    /// called, to be told so.
    pub(crate) fn end(&self) {
        self.set_queue(Places::none());
        if let Some(nobody) = self.nobody.lock().take() {
            let mut retired = self.roster.write().retire(nobody);
            retired.wait().policy.shutdown();
        }
        let retired = core::mem::take(&mut *self.retired.lock());
        drop(retired);
    }
}

impl Roster {
    /// The server that the policy chooses. One that has not answered lately is the last choice.
    fn select(&self, class: Class, tried: &[Arc<Server>], now_ms: u64) -> Option<&Arc<Server>> {
        let place = |shunned_too| {
            let view = self.view(tried, now_ms, shunned_too);
            self.policy.select(class, &view)
        };
        let place = place(false).or_else(|| place(true))?;
        self.members.get(place)?.as_ref()
    }
}
