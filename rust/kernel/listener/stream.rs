// SPDX-License-Identifier: GPL-2.0

//! What a dispatcher sees of a connection: its receive queue and state, and the way to park it.

use super::*;

/// What a client has sent so far, and the state of its connection.
pub trait Arrived {
    /// The connection's state as it is now.
    fn snapshot(&self) -> Snapshot;

    /// Whether the client has closed its half.
    fn is_closed(&self) -> bool;

    /// How many octets have arrived.
    fn len(&self) -> u32;

    /// Whether nothing has arrived.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shows the octets from `from` on to `f`, in order and in place, until it returns `false`.
    fn read(&self, from: u32, f: impl FnMut(&[u8]) -> bool);

    /// Copies the octets from the beginning on into `packet`, at `at`. Returns how many.
    fn copy_to(&self, packet: &mut SkBuff, at: usize) -> Result<u32> {
        copy_octets(packet, at, |f| self.read(0, f))
    }
}

/// Copies what `read` shows into `packet`, at `at`. Returns how many octets that were.
pub(super) fn copy_octets(
    packet: &mut SkBuff,
    at: usize,
    read: impl FnOnce(&mut dyn FnMut(&[u8]) -> bool),
) -> Result<u32> {
    let mut copied = 0u32;
    let mut result = Ok(());
    read(&mut |octets| {
        result = packet.write(at + copied as usize, octets);
        copied += octets.len() as u32;
        result.is_ok()
    });
    result.map(|()| copied)
}

/// A connection's receive queue, locked.
pub struct Stream<'a, D: Dispatcher> {
    child: Arc<Child<D>>,
    _lock: core::marker::PhantomData<&'a mut ()>,
}

/// The TCP state of a connection. Sequence numbers and ports in host byte order.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    /// The client's endpoint.
    pub client: Endpoint,
    /// The endpoint that the client connected to.
    pub service: Endpoint,
    /// The first octet that the client sent.
    pub first: u32,
    /// The next octet expected from the client.
    pub rcv_nxt: u32,
    /// The next octet to send.
    pub snd_nxt: u32,
    /// The client's last time stamp.
    pub ts_recent: u32,
    /// The time stamp that would be sent now: no earlier than any that was.
    pub ts_now: u32,
    /// The client's receive window, octets.
    pub window: u32,
    /// The client's maximum segment size.
    pub mss: u16,
    /// The scale of windows that the client advertises, if scaling was negotiated.
    pub snd_wscale: u8,
    /// The scale of windows that this side advertises, if scaling was negotiated.
    pub rcv_wscale: u8,
    /// Whether window scaling was negotiated.
    pub wscale: bool,
    /// Whether selective acknowledgements were negotiated.
    pub sack: bool,
    /// Whether time stamps were negotiated.
    pub timestamps: bool,
    /// Whether explicit congestion notification (RFC 3168) was negotiated.
    pub ecn: bool,
    /// How long ago it was sent what the client has heard last, milliseconds; 0 without time stamps.
    pub age_ms: u32,
    /// The round-trip time of the handshake, microseconds; 0: not known.
    pub rtt_us: u32,
}

impl Snapshot {
    pub(super) fn of(s: &bindings::thop_tcp_state) -> Self {
        let endpoint = |ip, port| Endpoint::new(IpAddr::V4(from_be32(ip)), port);
        Self {
            client: endpoint(s.client_addr, s.client_port),
            service: endpoint(s.service_addr, s.service_port),
            first: s.copied_seq,
            rcv_nxt: s.rcv_nxt,
            snd_nxt: s.write_seq,
            ts_recent: s.ts_recent,
            ts_now: s.ts_now,
            window: s.snd_wnd,
            mss: s.mss,
            snd_wscale: s.snd_wscale,
            rcv_wscale: s.rcv_wscale,
            wscale: s.wscale_ok,
            sack: s.sack_ok,
            timestamps: s.tstamp_ok,
            ecn: s.ecn_ok,
            age_ms: s.age_ms,
            rtt_us: s.rtt_us,
        }
    }
}

impl<D: Dispatcher> Arrived for Stream<'_, D> {
    fn snapshot(&self) -> Snapshot {
        let mut s = bindings::thop_tcp_state::default();
        // SAFETY: The socket is valid, and its lock is held.
        unsafe { bindings::thop_tcp_state(self.child.sk, &mut s) };
        Snapshot::of(&s)
    }

    fn is_closed(&self) -> bool {
        // SAFETY: The socket is valid, and its lock is held.
        unsafe { bindings::thop_sk_state(self.child.sk) as u32 == bindings::TCP_CLOSE_WAIT }
    }

    fn len(&self) -> u32 {
        // SAFETY: The socket is valid, and its lock is held.
        let next = unsafe { bindings::thop_tcp_rcv_nxt(self.child.sk) };
        next.wrapping_sub(self.first())
            .saturating_sub(u32::from(self.is_closed()))
    }

    fn read(&self, from: u32, mut f: impl FnMut(&[u8]) -> bool) {
        let sk = self.child.sk;
        let first = self.first();
        let mut wanted = from;
        // SAFETY: The socket is valid and its lock is held, so the queue does not change.
        unsafe {
            let mut skb = bindings::thop_receive_queue_first(sk);
            while !skb.is_null() {
                // Segments are in order, but may overlap: RFC 9293, 3.10.7.4.
                let start = bindings::thop_tcp_skb_seq(skb).wrapping_sub(first);
                let len = (*skb).len;
                let skip = wanted.wrapping_sub(start);
                if skip < len {
                    if !read_skb(skb, skip, &mut f) {
                        return;
                    }
                    wanted = start.wrapping_add(len);
                }
                skb = bindings::thop_receive_queue_next(sk, skb);
            }
        }
    }
}

/// Shows the octets of a packet from `from` on to `f`, in order and in place, until it returns `false`, which this does
/// then, too.
///
/// # Safety
///
/// `skb` is valid, and does not change meanwhile.
pub(super) unsafe fn read_skb(
    skb: *mut bindings::sk_buff,
    from: u32,
    mut f: impl FnMut(&[u8]) -> bool,
) -> bool {
    // SAFETY: By the function's requirements; an all-zero state is one, and is prepared before it is used.
    unsafe {
        let mut state = mem::zeroed::<bindings::skb_seq_state>();
        bindings::skb_prepare_seq_read(skb, from, (*skb).len, &mut state);
        let mut done = 0;
        loop {
            let mut data = ptr::null();
            let n = bindings::skb_seq_read(done, &mut data, &mut state);
            if n == 0 {
                return true;
            }
            if !f(slice::from_raw_parts(data, n as usize)) {
                bindings::skb_abort_seq_read(&mut state);
                return false;
            }
            done += n;
        }
    }
}

impl<D: Dispatcher> Stream<'_, D> {
    /// The stream of a child whose socket's lock is held while the stream exists.
    pub(super) fn new(child: Arc<Child<D>>) -> Self {
        Self {
            child,
            _lock: core::marker::PhantomData,
        }
    }

    /// The first octet that the client sent.
    fn first(&self) -> u32 {
        // SAFETY: The socket is valid, and its lock is held.
        unsafe { bindings::thop_tcp_copied_seq(self.child.sk) }
    }

    /// Lets the connection wait for its turn, in the stack's hands, which receives no more than about
    /// `limit` octets: a segment may still come in whole, and so may what was offered a window before.
    pub fn queue(self, limit: u32) -> Turn<D> {
        // SAFETY: The socket is valid, and its lock is held.
        unsafe { bindings::thop_sk_limit_buffer(self.child.sk, limit as i32) };
        self.child.phase.store(phase::QUEUED, Release);
        Turn {
            child: self.child,
            counts: true,
        }
    }

    /// Takes the connection out of the stack's hands: from here on it neither acknowledges nor
    /// changes.
    pub fn park(self) -> Parked<D> {
        // SAFETY: The socket is valid, and its lock is held.
        unsafe {
            self.child
                .state
                .store(bindings::thop_sk_state(self.child.sk), Relaxed);
            bindings::thop_sk_set_state(self.child.sk, bindings::TCP_CLOSE as i32);
        }
        self.child.phase.store(phase::PARKED, Release);
        Parked(self.child)
    }
}

/// A connection that was taken out of the stack's hands. Dropping it lets it vanish.
pub struct Parked<D: Dispatcher>(Arc<Child<D>>);

impl<D: Dispatcher> Parked<D> {
    /// Gives the connection back to the stack, with these octets to send before it closes.
    ///
    /// Any context.
    pub fn answer(self, octets: &'static [u8]) {
        Child::answer(self.0.clone(), octets);
        // Not released: see `drop()`.
    }
}

impl<D: Dispatcher> Drop for Parked<D> {
    fn drop(&mut self) {
        // Another now has the connection: neither FIN nor RST may be sent. Any context.
        if self
            .0
            .phase
            .cmpxchg(phase::PARKED, phase::RELEASED, Full)
            .is_ok()
        {
            Child::enqueue(self.0.clone());
            self.0.core.kick_in(GATHER_MS);
        }
    }
}

/// A connection's place in a queue. Dropping it calls the connection: its
/// [`received()`](Dispatcher::received) runs again, soon, in process context.
pub struct Turn<D: Dispatcher> {
    child: Arc<Child<D>>,
    /// Neither called nor given up. Calling is for once: after it the connection may be queued again, with another turn.
    counts: bool,
}

impl<D: Dispatcher> Turn<D> {
    /// Calls the connection. `false` if it has ended meanwhile. Those called one after the other come in that order. Any
    /// context, under a spinlock too.
    pub fn call(&mut self) -> bool {
        let called = mem::replace(&mut self.counts, false)
            && self
                .child
                .phase
                .cmpxchg(phase::QUEUED, phase::CALLED, Full)
                .is_ok();
        if called {
            // What is dropped when the worker has it already is not the last reference.
            Child::enqueue(self.child.clone());
            self.child.core.kick();
        }
        called
    }

    /// Whether the connection has ended meanwhile, so that calling it, or dropping this, does
    /// nothing. Any context.
    pub fn is_over(&self) -> bool {
        !self.counts || self.child.phase.load(Acquire) != phase::QUEUED
    }

    /// Gives the place up: the connection is again one that waits for octets. Only within the
    /// [`received()`](Dispatcher::received) that has queued it.
    pub fn cancel(mut self) {
        if mem::replace(&mut self.counts, false) {
            let _ = self
                .child
                .phase
                .cmpxchg(phase::QUEUED, phase::WAITING, Full);
        }
    }
}

impl<D: Dispatcher> Drop for Turn<D> {
    /// Any context.
    fn drop(&mut self) {
        self.call();
    }
}
