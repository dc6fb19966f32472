// SPDX-License-Identifier: GPL-2.0

//! Requests that lie in the first segment of their connection, which needs no socket then.
//!
//! The kernel's stack still does the handshake. But it is made to answer the SYN with a cookie, whenever that
//! takes nothing from the connection ([`suits_cookie()`]), and so keeps nothing of it. What it would do
//! with the segment that brings the cookie back is to make a socket: `syn_recv_sock()` of the listening
//! socket's `icsk_af_ops`. That, and `conn_request()`, are replaced at our listening sockets by functions of this file,
//! as net/smc does it at its. They ask the [`Dispatcher`], and if it does not take the segment the stack's
//! own functions do what they always do: no other path knows of this one.
//!
//! A SYN is answered with a cookie when the queue of requests is full
//! (`inet_csk_reqsk_queue_is_full()`). So `conn_request()` is called with a socket of which that is always true, which has no other use.
//!
//! # Lifetimes
//!
//! A listening socket points to the operations in its [`Core`](super::Core) until it is closed, and its `Core` outlives the
//! grace period after that: operations are used in RCU read-side sections only. Its children are given
//! the stack's own before anybody else can lock them.

use super::*;

use thop_core::syn::suits_cookie;

/// Where the control bits are in a TCP header, and those with which a segment is not only a request.
const FLAGS_AT: usize = 13;
const MORE_FLAGS: u8 = Flags::FIN.0 | Flags::SYN.0 | Flags::RST.0 | Flags::URG.0;

/// The stack's operations and ours.
pub(super) struct Operations {
    /// What the listening socket was made with. Lives as long as the kernel.
    theirs: *const bindings::inet_connection_sock_af_ops,
    ours: bindings::inet_connection_sock_af_ops,
    /// Answers SYNs with cookies. It belongs to the [`Listener`].
    cookies: *mut bindings::sock,
}

impl Operations {
    /// The operations of a listener whose socket is `sk`, and which answers with cookies by means of `cookies`.
    ///
    /// # Safety
    ///
    /// Both are open TCP sockets over IPv4; nobody else has them yet.
    pub(super) unsafe fn new<D: Dispatcher>(
        sk: *mut bindings::sock,
        cookies: *mut bindings::sock,
    ) -> Self {
        // SAFETY: By the function's requirements. A socket's operations are static data of the kernel.
        let (theirs, ours) = unsafe {
            bindings::thop_sk_answer_with_cookies(cookies);
            let theirs = bindings::thop_sk_ops(sk);
            (theirs, *theirs)
        };
        Self {
            theirs,
            ours: bindings::inet_connection_sock_af_ops {
                conn_request: Some(conn_request::<D>),
                syn_recv_sock: Some(syn_recv_sock::<D>),
                ..ours
            },
            cookies,
        }
    }

    /// Has a listening socket use them.
    ///
    /// # Safety
    ///
    /// `sk` is the socket that these were made for. They are part of a [`Core`] that outlives it.
    pub(super) unsafe fn install(&self, sk: *mut bindings::sock) {
        // SAFETY: By the function's requirements.
        unsafe { bindings::thop_sk_set_ops(sk, &self.ours) }
    }
}

/// The core of a listening socket.
///
/// # Safety
///
/// `sk` uses the operations of a `Core<D>`. The result is used within the present RCU read-side section.
unsafe fn core_of<'a, D: Dispatcher>(sk: *const bindings::sock) -> &'a Core<D> {
    // SAFETY: By the function's requirements the operations are that member of a core, which lives until a grace period
    // after the socket was closed.
    unsafe {
        let ours = bindings::thop_sk_ops(sk).cast_mut();
        &*kernel::container_of!(ours, Core<D>, operations.ours)
    }
}

/// `icsk_af_ops->conn_request`: a SYN has come. Softirq, RCU read-side section, no lock.
///
/// # Safety
///
/// Called by the stack for a listening socket with the operations of a `Core<D>`.
unsafe extern "C" fn conn_request<D: Dispatcher>(
    sk: *mut bindings::sock,
    skb: *mut bindings::sk_buff,
) -> c_int {
    // SAFETY: By the function's requirements; the stack has made both headers linear.
    let (core, options) = unsafe {
        (
            core_of::<D>(sk),
            tcp_header(skb).get(TCP_HEADER..).unwrap_or(&[]),
        )
    };
    let Operations {
        theirs, cookies, ..
    } = core.operations;
    // SAFETY: The operations are static. Both sockets are open: the listener waits for a grace period before it closes
    // the second. A SYN that takes a connection in TIME-WAIT over has its sequence number already, and a
    // request socket that remembers it.
    unsafe {
        let Some(theirs) = (*theirs).conn_request else {
            return 0;
        };
        if !suits_cookie(options)
            || bindings::thop_syn_has_isn(skb)
            || !bindings::thop_syncookies_on(bindings::thop_sk_net(sk))
            || core.closing.load(Acquire)
        {
            return theirs(sk, skb);
        }
        // Without this the cookie would not be looked at when it comes back.
        bindings::thop_sk_cookie_sent(sk);
        theirs(cookies, skb)
    }
}

/// `icsk_af_ops->syn_recv_sock`: a handshake is over. Softirq, RCU read-side section, no lock.
///
/// # Safety
///
/// Called by the stack for a listening socket with the operations of a `Core<D>`.
unsafe extern "C" fn syn_recv_sock<D: Dispatcher>(
    sk: *const bindings::sock,
    skb: *mut bindings::sk_buff,
    req: *mut bindings::request_sock,
    dst: *mut bindings::dst_entry,
    req_unhash: *mut bindings::request_sock,
    own_req: *mut bool,
    opt_child_init: Option<unsafe extern "C" fn(*mut bindings::sock, *const bindings::sock)>,
) -> *mut bindings::sock {
    // SAFETY: By the function's requirements.
    let core = unsafe { core_of::<D>(sk) };
    // A request socket that remembers the SYN is to be unhashed; one made of a cookie is not known to anybody, and
    // comes with its route.
    if req_unhash.is_null() && !dst.is_null() && !core.closing.load(Acquire) {
        let first = First {
            skb,
            req,
            _call: PhantomData,
        };
        if first.is_a_request() && core.dispatcher.first(first) {
            // SAFETY: Who makes no socket of it has to let go of the route. The stack frees the request socket, and lets
            // go of the segment.
            unsafe { bindings::dst_release(dst) };
            return ptr::null_mut();
        }
    }
    // SAFETY: The operations are static; the arguments are what the stack gave.
    unsafe {
        let Some(theirs) = (*core.operations.theirs).syn_recv_sock else {
            return ptr::null_mut();
        };
        let child = theirs(sk, skb, req, dst, req_unhash, own_req, opt_child_init);
        if !child.is_null() {
            // It is locked, and nobody has used its operations yet.
            bindings::thop_sk_set_ops(child, core.operations.theirs);
        }
        child
    }
}

/// The TCP header of a segment that the stack has received.
///
/// # Safety
///
/// The header is linear, and nobody changes it during `'a`.
unsafe fn tcp_header<'a>(skb: *mut bindings::sk_buff) -> &'a [u8] {
    let mut len = 0;
    // SAFETY: By the function's requirements.
    unsafe {
        let header = bindings::thop_tcp_header(skb, &mut len);
        slice::from_raw_parts(header, len as usize)
    }
}

/// A connection's first octets, in a segment that there is no socket for yet.
///
/// # Invariants
///
/// `skb` is a segment that the stack has received and verified, with its TCP header linear and in front. `req` is the request socket
/// that it has made of the segment's cookie. Both are valid as long as this exists, and change only by it.
pub struct First<'a> {
    skb: *mut bindings::sk_buff,
    req: *mut bindings::request_sock,
    _call: PhantomData<&'a ()>,
}

impl First<'_> {
    /// The TCP header.
    fn header(&self) -> &[u8] {
        // SAFETY: By the type invariant.
        unsafe { tcp_header(self.skb) }
    }

    /// Whether it brings octets, and nothing else.
    fn is_a_request(&self) -> bool {
        let header = self.header();
        header
            .get(FLAGS_AT)
            .is_some_and(|flags| flags & MORE_FLAGS == 0)
            && !self.is_empty()
    }

    /// Keeps the segment.
    pub fn keep(self) -> Unread {
        // SAFETY: By the type invariant the segment is valid; this adds a reference. All that the stack still does with the
        // segment, when it is told that there is no socket, is to let go of its own. That may be later than what is done with
        // ours, by another processor: `receive_again()` sees to that, and nothing else but freeing is done with it.
        let mut skb = unsafe {
            bindings::thop_skb_get(self.skb);
            SkBuff::from_raw(NonNull::new_unchecked(self.skb))
        };
        skb.detach();
        skb.forget_device();
        // INVARIANT: As of this type; what is above changes no octet.
        Unread(skb)
    }
}

impl Arrived for First<'_> {
    fn snapshot(&self) -> Snapshot {
        let mut s = bindings::thop_tcp_state::default();
        // SAFETY: By the type invariant.
        unsafe { bindings::thop_req_state(self.req, self.skb, &mut s) };
        let mut snapshot = Snapshot::of(&s);
        if let Some((_, echo)) = self.header().get(TCP_HEADER..).and_then(timestamps) {
            snapshot.age_ms = snapshot.ts_now.wrapping_sub(echo);
        }
        snapshot
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn len(&self) -> u32 {
        // SAFETY: By the type invariant the segment is valid.
        let len = unsafe { (*self.skb).len };
        len.saturating_sub(self.header().len() as u32)
    }

    fn read(&self, from: u32, f: impl FnMut(&[u8]) -> bool) {
        // SAFETY: By the type invariant, and nobody changes the segment meanwhile.
        unsafe { read_payload(self.skb, from, f) }
    }

    fn copy_to(&self, packet: &mut SkBuff, at: usize) -> Result<u32> {
        // SAFETY: By the type invariant, and nobody changes the segment meanwhile.
        unsafe { copy_payload(self.skb, packet, at) }
    }
}

/// Shows a segment's payload from `from` on, as [`Arrived::read()`].
///
/// # Safety
///
/// `skb` is valid, with its TCP header linear and in front, and does not change meanwhile.
unsafe fn read_payload(skb: *mut bindings::sk_buff, from: u32, f: impl FnMut(&[u8]) -> bool) {
    // SAFETY: By the function's requirements.
    unsafe {
        let from = from.saturating_add(tcp_header(skb).len() as u32);
        read_skb(skb, from, f);
    }
}

/// Copies a segment's payload into `packet`, at `at`, which from then on is of the segment's flow where packets are spread over
/// queues and processors. Returns how many octets that were.
///
/// # Safety
///
/// As for [`read_payload()`].
unsafe fn copy_payload(skb: *mut bindings::sk_buff, packet: &mut SkBuff, at: usize) -> Result<u32> {
    // SAFETY: By the function's requirements.
    unsafe {
        bindings::thop_skb_copy_hash(packet.as_ptr(), skb);
        copy_octets(packet, at, |f| read_payload(skb, 0, f))
    }
}

/// A segment that was kept, and can go up the stack again.
///
/// # Invariants
///
/// Its TCP header is linear and in front. Nobody changes it: the stack, which may have it still, only lets go of it.
pub struct Unread(SkBuff);

impl Unread {
    /// Copies its payload into `packet`, at `at`. Returns how many octets that were. Any context.
    pub fn copy_to(&self, packet: &mut SkBuff, at: usize) -> Result<u32> {
        // SAFETY: By the type invariant.
        unsafe { copy_payload(self.0.as_ptr(), packet, at) }
    }

    /// Has the stack receive the segment once more, as if it came just now. Any context; it may come to the dispatcher
    /// before this returns, so no lock may be held.
    ///
    /// If the device that it came from is gone the segment is lost, and the client will repeat it.
    pub fn receive_again(self, namespace: Namespace) {
        // SAFETY: The packet is ours, and given away. The stack may still have a reference: then a copy of the
        // `struct sk_buff` goes up, or nothing without memory. Softirqs are disabled and RCU held for what needs it.
        unsafe {
            let skb = bindings::thop_skb_share_check(self.0.into_raw());
            if skb.is_null() {
                return;
            }
            bindings::thop_bh_disable();
            let guard = rcu::read_lock();
            if bindings::thop_skb_receive_again(namespace.as_ptr(), skb) {
                bindings::thop_deliver_local(namespace.as_ptr(), skb);
            } else {
                bindings::thop_skb_free(skb);
            }
            drop(guard);
            bindings::thop_bh_enable();
        }
    }

    /// Lets go of a segment that has served its purpose.
    pub fn consume(self) {
        self.0.consume();
    }
}
