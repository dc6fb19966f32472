// SPDX-License-Identifier: GPL-2.0

//! An in-kernel TCP listener whose connections are handled where their data arrives.
//!
//! The kernel's own stack does the handshake, SYN cookies, reassembly and retransmission. What is
//! different from an ordinary server: no thread reads. `sk_data_ready`, which children inherit from
//! the listening socket, runs in softirq under the child's lock; there the [`Dispatcher`] looks at
//! the receive queue in place and decides. A worker in process context does what softirq may not:
//! accept, send error responses, and close.
//!
//! # The life of a connection
//!
//! ```text
//!             data            data
//!   Waiting ───────> Waiting ───────> Parked ────> Released     vanishes: no FIN, no RST
//!      │                                 │
//!      │ malformed, too slow             │ nobody takes it
//!      └─────────────> Answering <───────┘
//!                          │ sent
//!                      Lingering ──────────────> Done           an ordinary close
//! ```
//!
//! A request that lies in its connection's first segment can do without all that: see `listener/first.rs`. What the worker does
//! is in `listener/worker.rs`.
//!
//! A connection may also be *queued*: `Waiting` in all but that new octets change nothing until its
//! [`Turn`] comes. Its socket stays with the stack, which acknowledges, and notices a reset.
//!
//! A *parked* socket is out of the game but not gone: its state is set to `TCP_CLOSE` without
//! unhashing it, so that the stack discards silently what still reaches it (segments that were past
//! the forwarder on another CPU), neither acknowledging nor resetting. Its true state is kept: it is
//! put back before the socket is closed, or when the switch must answer itself after all.
//!
//! A parked socket that was released is unhashed only when an RCU grace period has passed: a segment
//! may have passed the forwarder just before the connection was entered there, and would meet no
//! socket, which is answered with a reset. From there to the socket it is one read-side section.
//!
//! # How many
//!
//! [`Dispatcher::most_waiting()`] bounds how many connections are Waiting, and how many are Lingering:
//! for one more the oldest goes. So clients that never finish keep nobody out who does. Those that are
//! parked or queued are bounded by who keeps them.
//!
//! # Locking
//!
//! `progress`, and a change from Waiting, belong to the socket's lock. The queue of children that
//! wait for the worker has a lock of its own, taken last. Links, deadline and `struct socket` belong
//! to the worker, which never runs twice at once.
//!
//! # References
//!
//! A child's `sk_user_data` owns one reference to its [`Child`], from the first event until the
//! worker closes the socket. A [`Parked`] owns one, and so does an entry of the worker's queue. A
//! `Child` owns one reference to the [`Core`].

use core::{
    cell::UnsafeCell,
    ffi::c_int,
    marker::PhantomData,
    mem,
    net::{
        IpAddr,
        Ipv4Addr, //
    },
    ptr,
    ptr::NonNull,
    slice, //
};

use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        rcu,
        Arc, //
    }, //
};
use thop_core::{
    addr::Endpoint,
    packet::{
        timestamps,
        Flags,
        TCP_HEADER, //
    },
};

use crate::{
    bindings,
    compat,
    instance::Namespace,
    memory,
    messages::ipv4,
    new_spin_lock_bh,
    send::{
        be32,
        from_be32, //
    },
    skb::SkBuff,
    sync::SpinLockBh,
    time::now_ms,
    work::Work, //
};

mod deadlines;
mod first;
mod handshakes;
mod stream;
mod worker;

use deadlines::{
    Deadlines,
    Links, //
};
use first::Operations;
pub use first::{
    offer_first,
    First,
    Unread, //
};
pub use handshakes::Handshakes;
use stream::{
    copy_octets,
    read_skb, //
};
pub use stream::{
    Arrived,
    Parked,
    Snapshot,
    Stream,
    Turn, //
};

/// For how long the worker waits for more of what is not urgent, milliseconds: to accept, so that time begins to run
/// for a client, and to look after a socket that was released. A run of the worker costs more than either.
const GATHER_MS: u32 = 4;

/// What a listener's connections are for.
pub trait Dispatcher: Send + Sync + 'static {
    /// What is kept of a connection while its request arrives.
    type Progress: Send;

    /// The progress of a connection of which nothing has been seen. Atomic context.
    fn begin(&self) -> Result<Self::Progress>;

    /// New octets have arrived, or the peer has closed its half.
    ///
    /// Softirq, or process context, with the socket's lock.
    fn received(&self, stream: Stream<'_, Self>, progress: &mut Self::Progress) -> Outcome
    where
        Self: Sized;

    /// A connection's first octets have come, and there is no socket for it yet. Whether it is taken: then there
    /// will be none. Else all goes its usual way.
    ///
    /// Softirq, RCU read-side section, without a lock. Two processors may come with the same octets at once.
    fn first(&self, first: First<'_>) -> bool;

    /// What is known of handshakes whose SYN was answered with a cookie. Any context.
    fn handshakes(&self) -> &Handshakes;

    /// What the kernel makes of a cookie was compared with what this side would, and differs: counts it. Softirq.
    fn cookie_differs(&self);

    /// A client came by a VRF, and its SYN was dropped. Softirq, RCU read-side section, without a lock.
    fn vrf(&self);

    /// A connection has ended while it was queued: see [`Stream::queue()`].
    ///
    /// Context as for [`Dispatcher::received()`].
    fn ended(&self, progress: &mut Self::Progress);

    /// How long a request may take to arrive, milliseconds.
    fn timeout_ms(&self) -> u32;

    /// The answer to a request that took longer.
    fn timed_out(&self) -> &'static [u8];

    /// How many connections may wait for their requests at a time.
    fn most_waiting(&self) -> u32;

    /// The answer to the one that has waited longest, when there are more.
    fn crowded_out(&self) -> &'static [u8];
}

/// What shall become of a connection.
pub enum Outcome {
    /// Wait for more.
    Wait,
    /// Send these octets and close.
    Answer(&'static [u8]),
    /// Close.
    Close,
    /// [`Stream::park()`] has been called.
    Parked,
    /// [`Stream::queue()`] has been called.
    Queued,
}

/// Where a child stands; see the module's documentation.
mod phase {
    pub(super) const WAITING: u32 = 0;
    pub(super) const PARKED: u32 = 1;
    pub(super) const RELEASED: u32 = 2;
    pub(super) const ANSWERING: u32 = 3;
    pub(super) const LINGERING: u32 = 4;
    pub(super) const DONE: u32 = 5;
    pub(super) const QUEUED: u32 = 6;
    pub(super) const CALLED: u32 = 7;
}

/// What `sk_user_data` points to: of a listening socket and a child of which nothing is known a
/// [`Core`], else a [`Child`]. Both begin with this.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Kind {
    Core,
    Child,
}

/// What a listener shares with its connections.
#[pin_data]
#[repr(C)]
struct Core<D: Dispatcher> {
    kind: Kind,
    dispatcher: D,
    /// No connection may begin any more.
    closing: Atomic<bool>,
    socket: *mut bindings::socket,
    /// The callbacks that the listening socket was made with.
    callbacks: Callbacks,
    /// What the listening socket does with connection requests.
    operations: Operations,
    /// Children that wait for the worker; each entry owns a reference.
    #[pin]
    queue: SpinLockBh<Queue<D>>,
    /// The worker's alone.
    waiting: UnsafeCell<Deadlines<D>>,
    /// Found to wait for no request any more, when they were accepted or should have been ended.
    kept: UnsafeCell<Deadlines<D>>,
    lingering: UnsafeCell<Deadlines<D>>,
    /// Released, and waiting for a grace period to end; in the order of their grace periods.
    released: UnsafeCell<Deadlines<D>>,
    #[pin]
    work: Work,
}

// SAFETY: The raw pointers are used as the module's documentation on locking says.
unsafe impl<D: Dispatcher> Send for Core<D> {}
// SAFETY: As above.
unsafe impl<D: Dispatcher> Sync for Core<D> {}

#[derive(Clone, Copy)]
struct Callbacks {
    data_ready: Option<unsafe extern "C" fn(*mut bindings::sock)>,
    state_change: Option<unsafe extern "C" fn(*mut bindings::sock)>,
}

struct Queue<D: Dispatcher> {
    first: *mut Child<D>,
    /// The listener is gone, and nobody will look. A child that was parked may outlive it.
    closed: bool,
}

// SAFETY: It owns references to children, which are Send and Sync.
unsafe impl<D: Dispatcher> Send for Queue<D> {}

/// One connection.
#[repr(C)]
struct Child<D: Dispatcher> {
    kind: Kind,
    phase: Atomic<u32>,
    core: Arc<Core<D>>,
    sk: *mut bindings::sock,
    /// The socket's true state while it is parked.
    state: Atomic<i32>,
    /// Written before the phase becomes ANSWERING, read after.
    answer: UnsafeCell<&'static [u8]>,
    /// With the socket's lock.
    progress: UnsafeCell<D::Progress>,
    /// Whether it is in the worker's queue.
    queued: Atomic<bool>,
    queue_next: UnsafeCell<*mut Child<D>>,
    /// From here on the worker's alone.
    socket: UnsafeCell<*mut bindings::socket>,
    deadline: UnsafeCell<u64>,
    /// When it was answered.
    answered: UnsafeCell<u64>,
    /// The grace period that must end before the socket may go.
    grace: UnsafeCell<u64>,
    links: UnsafeCell<Links<D>>,
}

// SAFETY: The raw pointers are used as the module's documentation on locking says.
unsafe impl<D: Dispatcher> Send for Child<D> {}
// SAFETY: As above.
unsafe impl<D: Dispatcher> Sync for Child<D> {}

impl<D: Dispatcher> Child<D> {
    fn new(core: Arc<Core<D>>, sk: *mut bindings::sock) -> Result<Arc<Self>> {
        let progress = core.dispatcher.begin()?;
        Ok(Arc::new(
            Self {
                kind: Kind::Child,
                phase: Atomic::new(phase::WAITING),
                core,
                sk,
                state: Atomic::new(0),
                answer: UnsafeCell::new(&[]),
                progress: UnsafeCell::new(progress),
                queued: Atomic::new(false),
                queue_next: UnsafeCell::new(ptr::null_mut()),
                socket: UnsafeCell::new(ptr::null_mut()),
                deadline: UnsafeCell::new(0),
                answered: UnsafeCell::new(0),
                grace: UnsafeCell::new(0),
                links: UnsafeCell::new(Links {
                    list: ptr::null_mut(),
                    previous: ptr::null_mut(),
                    next: ptr::null_mut(),
                }),
            },
            memory::atomic(),
        )?)
    }

    /// Puts the child into the worker's queue, unless there will be no worker any more. Any context.
    fn enqueue(this: Arc<Self>) {
        if this.queued.xchg(true, Full) {
            // The worker will look at the phase after it has cleared the mark.
            return;
        }
        let core = this.core.clone();
        let mut queue = core.queue.lock();
        if !queue.closed {
            // SAFETY: Not queued, so the link is unused; it belongs to the queue's lock.
            unsafe { *this.queue_next.get() = queue.first };
            queue.first = Arc::into_raw(this).cast_mut();
        }
    }

    /// Sets the phase and hands the child to the worker.
    fn finish(this: Arc<Self>, to: u32) {
        let core = this.core.clone();
        this.phase.store(to, Release);
        Self::enqueue(this);
        core.kick();
    }

    fn answer(this: Arc<Self>, octets: &'static [u8]) {
        // SAFETY: The worker reads it only in phase ANSWERING, which is set below, once.
        unsafe { *this.answer.get() = octets };
        Self::finish(this, phase::ANSWERING);
    }
}

impl<D: Dispatcher> Core<D> {
    /// Lets the worker run within `ms` milliseconds, unless the listener goes.
    fn kick_in(&self, ms: u32) {
        if !self.closing.load(Acquire) {
            self.work.kick_in(ms);
        }
    }

    fn kick(&self) {
        self.kick_in(0);
    }

    /// The child of a socket, made if there is none yet. `None` without memory, while closing, and
    /// for a socket that is not ours any more.
    ///
    /// # Safety
    ///
    /// `sk` is a child of a listener of this type, and its lock is held.
    unsafe fn child(sk: *mut bindings::sock) -> Option<Arc<Child<D>>> {
        // SAFETY: By the function's requirements.
        let data = unsafe { bindings::thop_sk_user_data(sk) };
        if data.is_null() {
            return None;
        }
        // SAFETY: Both things that a socket of ours can point to begin with their kind.
        match unsafe { *data.cast::<Kind>() } {
            Kind::Child => {
                // SAFETY: The socket owns a reference, which cannot go while its lock is held.
                let child =
                    unsafe { mem::ManuallyDrop::new(Arc::from_raw(data.cast::<Child<D>>())) };
                Some((*child).clone())
            }
            Kind::Core => {
                // SAFETY: The listening socket and its fresh children point to the core, which
                // outlives them: see `Listener::drop()`.
                let core = unsafe { mem::ManuallyDrop::new(Arc::from_raw(data.cast::<Core<D>>())) };
                if core.closing.load(Acquire) {
                    return None;
                }
                let child = Child::new((*core).clone(), sk).ok()?;
                // SAFETY: With the socket's lock; the socket now owns one reference.
                unsafe {
                    bindings::thop_sk_set_user_data(
                        sk,
                        Arc::into_raw(child.clone()).cast_mut().cast(),
                    )
                };
                Some(child)
            }
        }
    }

    /// Looks at a socket on which something has happened.
    ///
    /// # Safety
    ///
    /// As for [`Core::child()`].
    unsafe fn process(sk: *mut bindings::sock) {
        // SAFETY: By the function's requirements.
        let Some(child) = (unsafe { Self::child(sk) }) else {
            return;
        };
        // SAFETY: As above.
        let state = unsafe { bindings::thop_sk_state(sk) } as u32;
        if child.core.closing.load(Acquire) {
            // The listener closes what has not been parked.
            return;
        }
        match child.phase.load(Acquire) {
            phase::WAITING => {}
            phase::QUEUED | phase::CALLED => {
                if state == bindings::TCP_CLOSE {
                    // Reset; nobody else changes the phase to DONE.
                    // SAFETY: The socket's lock is held, and nobody but this function uses it.
                    let progress = unsafe { &mut *child.progress.get() };
                    child.core.dispatcher.ended(progress);
                    Child::finish(child, phase::DONE);
                }
                return;
            }
            phase::LINGERING => {
                if state != bindings::TCP_FIN_WAIT1 && state != bindings::TCP_FIN_WAIT2 {
                    // The peer has closed, too.
                    Child::finish(child, phase::DONE);
                // SAFETY: The socket is valid, and its lock is held.
                } else if !unsafe { bindings::thop_receive_queue_first(sk) }.is_null() {
                    child.core.kick_in(GATHER_MS);
                    Child::enqueue(child);
                }
                return;
            }
            _ => return,
        }
        if state == bindings::TCP_CLOSE {
            // Reset.
            return Child::finish(child, phase::DONE);
        }
        let stream = Stream::new(child.clone());
        // SAFETY: The socket's lock is held, and nobody but this function uses it.
        let progress = unsafe { &mut *child.progress.get() };
        match child.core.dispatcher.received(stream, progress) {
            Outcome::Wait | Outcome::Parked | Outcome::Queued => {}
            Outcome::Answer(octets) => Child::answer(child, octets),
            Outcome::Close => Child::finish(child, phase::DONE),
        }
    }

    /// Softirq or process context, with the lock of `sk` (unless it is the listening socket).
    ///
    /// # Safety
    ///
    /// `sk` is a listening socket of this type or a child of one.
    unsafe extern "C" fn data_ready_callback(sk: *mut bindings::sock) {
        // SAFETY: The stack passes a valid socket.
        if unsafe { bindings::thop_sk_state(sk) } as u32 == bindings::TCP_LISTEN {
            // SAFETY: As above; a listening socket points to the core, until it is closed.
            let core = unsafe { bindings::thop_sk_user_data(sk).cast::<Self>().as_ref() };
            if let Some(core) = core {
                // SAFETY: As above.
                let (queue, limit) = unsafe {
                    (
                        bindings::thop_sk_acceptq_len(sk),
                        bindings::thop_sk_acceptq_limit(sk),
                    )
                };
                core.kick_in(if queue > limit / 4 { 0 } else { GATHER_MS });
            }
            return;
        }
        // SAFETY: By the callback's contract the lock is held.
        unsafe { Self::process(sk) }
    }

    /// Softirq or process context, with the lock of `sk`.
    ///
    /// # Safety
    ///
    /// `sk` is a listening socket of this type or a child of one.
    unsafe extern "C" fn state_change_callback(sk: *mut bindings::sock) {
        // SAFETY: The stack passes a valid socket.
        let state = unsafe { bindings::thop_sk_state(sk) } as u32;
        // That the handshake is over is news to nobody here.
        if state != bindings::TCP_LISTEN && state != bindings::TCP_ESTABLISHED {
            // SAFETY: By the callback's contract the lock is held.
            unsafe { Self::process(sk) }
        }
    }
}

/// A socket of the kernel's own, open as long as this exists.
struct Socket(NonNull<bindings::socket>);

// SAFETY: A socket belongs to no thread.
unsafe impl Send for Socket {}
// SAFETY: As above.
unsafe impl Sync for Socket {}

impl Socket {
    /// A TCP socket over IPv4. Process context.
    fn new(namespace: Namespace<'_>) -> Result<Self> {
        let mut socket = ptr::null_mut();
        // SAFETY: The namespace is alive; process context.
        to_result(unsafe { bindings::thop_socket_create(namespace.as_ptr(), &mut socket) })?;
        NonNull::new(socket).map(Self).ok_or(ENOMEM)
    }

    fn as_ptr(&self) -> *mut bindings::socket {
        self.0.as_ptr()
    }

    fn sk(&self) -> *mut bindings::sock {
        // SAFETY: It is open.
        unsafe { bindings::thop_socket_sk(self.as_ptr()) }
    }
}

impl Drop for Socket {
    /// Process context.
    fn drop(&mut self) {
        // SAFETY: It is open, and this is its last use.
        unsafe { bindings::sock_release(self.as_ptr()) }
    }
}

/// A listening socket with its connections. Dropping it closes all that were not parked away.
pub struct Listener<D: Dispatcher> {
    core: Arc<Core<D>>,
    /// Closed when nobody uses [`Core::operations`] any more.
    _cookies: Socket,
}

impl<D: Dispatcher> Listener<D> {
    /// Listens on `address`, which need not be configured on this machine yet. `window` is how many
    /// octets a client may send at first. With `first`, requests are taken from first segments. Process context.
    pub fn new(
        namespace: Namespace<'_>,
        address: (Ipv4Addr, u16),
        window: u32,
        first: bool,
        dispatcher: D,
    ) -> Result<Self> {
        let socket = Socket::new(namespace)?;
        let cookies = Socket::new(namespace)?;
        let (open, sk) = (socket.as_ptr(), socket.sk());
        let mut callbacks = Callbacks {
            data_ready: None,
            state_change: None,
        };
        // SAFETY: Nobody else has the sockets yet.
        let operations = unsafe {
            bindings::thop_sk_get_callbacks(
                sk,
                &mut callbacks.data_ready,
                &mut callbacks.state_change,
            );
            Operations::new::<D>(sk, cookies.sk(), first)
        };
        let core = Arc::pin_init(
            pin_init!(Core {
                kind: Kind::Core,
                dispatcher,
                closing: Atomic::new(false),
                socket: open,
                callbacks,
                operations,
                queue <- new_spin_lock_bh!(Queue { first: ptr::null_mut(), closed: false }),
                waiting: UnsafeCell::new(Deadlines::new()),
                kept: UnsafeCell::new(Deadlines::new()),
                lingering: UnsafeCell::new(Deadlines::new()),
                released: UnsafeCell::new(Deadlines::new()),
                work <- Work::new(Self::work_callback()),
            }),
            memory::may_sleep(),
        )?;
        // From here on `drop()` closes it.
        let _ = mem::ManuallyDrop::new(socket);
        let this = Self {
            core,
            _cookies: cookies,
        };
        // SAFETY: Nobody else has the socket before it listens. The core outlives it: see `drop()`. The window that a cookie's
        // SYN-ACK offers is the one that the child will have.
        unsafe {
            to_result(bindings::thop_socket_bind(
                this.core.socket,
                be32(address.0),
                address.1,
            ))?;
            bindings::thop_sk_set_callbacks(
                sk,
                Some(Core::<D>::data_ready_callback),
                Some(Core::<D>::state_change_callback),
            );
            bindings::thop_sk_set_user_data(sk, Arc::as_ptr(&this.core).cast_mut().cast());
            for sk in [sk, this._cookies.sk()] {
                bindings::thop_sk_limit_window(sk, window as i32);
            }
            this.core.operations.install(sk);
            to_result(bindings::thop_socket_listen(this.core.socket))?;
        }
        Ok(this)
    }

    fn work_callback() -> unsafe extern "C" fn(*mut bindings::work_struct) {
        Core::<D>::work_callback
    }
}

impl<D: Dispatcher> Drop for Listener<D> {
    /// Process context. When this returns no callback of the listener runs, or will.
    fn drop(&mut self) {
        let core = &self.core;
        core.closing.store(true, Release);
        // Whoever did not see the mark in softirq is done after this; softirqs are readers.
        compat::synchronize_rcu();
        // Nobody kicks it any more but the work itself, which looks at the mark.
        core.work.cancel();
        // What the work's last run has parked may go after this, as what softirqs have.
        compat::synchronize_rcu();
        // With the worker stopped, its part is ours. All children that have a `Child` are in the
        // accept queue or on one of the lists.
        core.accept();
        for list in [
            core.waiting.get(),
            core.kept.get(),
            core.lingering.get(),
            core.released.get(),
        ] {
            loop {
                // SAFETY: The worker has stopped; a child on a list is open and alive.
                let child = unsafe {
                    let first = (*list).first;
                    if first.is_null() {
                        break;
                    }
                    (*mem::ManuallyDrop::new(Arc::from_raw(first))).clone()
                };
                core.close(&child);
            }
        }
        // SAFETY: The last use of the socket. Children that have come meanwhile have no `Child`; the
        // stack resets them. No callback can be running when the grace period is over. The `struct sock` may live on, for
        // request sockets that refer to it.
        unsafe {
            let sk = bindings::thop_socket_sk(core.socket);
            bindings::thop_sk_set_user_data(sk, ptr::null_mut());
            core.operations.uninstall(sk);
            bindings::sock_release(core.socket);
        }
        compat::synchronize_rcu();
        let mut guard = core.queue.lock();
        guard.closed = true;
        let mut queue = mem::replace(&mut guard.first, ptr::null_mut());
        drop(guard);
        while !queue.is_null() {
            // SAFETY: The queue owned a reference to each of its children.
            let child = unsafe { Arc::from_raw(queue) };
            // SAFETY: The list is ours.
            queue = unsafe { *child.queue_next.get() };
        }
    }
}
