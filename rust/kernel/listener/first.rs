// SPDX-License-Identifier: GPL-2.0

//! Requests that lie in the first segment of their connection, which needs no socket then.
//!
//! The kernel's stack still answers the SYN. But it is made to do so with a cookie, whenever that
//! takes nothing from the connection ([`suits_cookie()`]), and so keeps nothing of it. What it would do
//! with the segment that brings the cookie back is to make a socket: `syn_recv_sock()` of the listening
//! socket's `icsk_af_ops`. That, and `conn_request()`, are replaced at our listening sockets by functions of this file,
//! as net/smc does it at its. They ask the [`Dispatcher`], and if it does not take the segment the stack's
//! own functions do what they always do: no other path knows of this one.
//!
//! A SYN is answered with a cookie when the queue of requests is full
//! (`inet_csk_reqsk_queue_is_full()`). So `conn_request()` is called with a socket of which that is always true, which has no other use.
//!
//! # Past the stack
//!
//! Nearly always the segment need not go up to the stack at all: [`offer_first()`] does in PRE_ROUTING what the stack would do with
//! the cookie. What a cookie means is the kernel's own affair, though. So a listener's first request goes up, and [`Core::hear()`] compares what the
//! kernel has made of its cookie with what [`Agreed`] says. Only if that is the same do others pass by; and each that
//! still goes up is compared as well, of those that could pass by one in [`ONE_IN`] among them. How many may differ,
//! [`Agreement`] says. A request that was compared is always taken for what the kernel has made of it.
//!
//! What the kernel judges by that very segment, and not by its cookie, is none of this: such a segment goes up, and nothing is
//! compared.
//!
//! # ECN
//!
//! A connection that is handed over has congestion notification as in RFC 3168, or none: its counters of Accurate ECN (RFC
//! 9768) would begin anew at the server, which its client takes for congestion. So the stack is never shown a SYN that asks for that
//! where it would agree: it sees the one that it would be for a server that does not know Accurate ECN.
//!
//! # Lifetimes
//!
//! A listening socket points to the operations in its [`Core`](super::Core) until it is closed, and its `Core` outlives the
//! grace period after that: operations are used in RCU read-side sections only. Its children are given
//! the stack's own before anybody else can lock them.

use super::{
    handshakes::clock_us,
    *, //
};

use thop_core::{
    agreement::Agreement,
    packet::{
        only_timestamps,
        Segment,
        IPV4_HEADER, //
    },
    rtt::Handshake,
    syn::{
        suits_cookie,
        Allowed,
        Kept, //
    },
};

use crate::{
    instance::{
        Packet,
        Softirq,
        Verdict, //
    },
    segment::has_socket, //
};

/// Where the control bits are in a TCP header, in two octets, and those with which a segment is not only a request. In a segment that
/// brings a cookie, those of ECN have the kernel think that Accurate ECN was agreed on (`cookie_accecn_ok()`).
const FLAGS_AT: usize = 13;
const MORE_FLAGS: u8 =
    Flags::FIN.0 | Flags::SYN.0 | Flags::RST.0 | Flags::URG.0 | Flags::ECE.0 | Flags::CWR.0;
const AE_AT: usize = 12;
const AE: u8 = 0x01;

/// One in so many requests that could pass by the stack is shown to it nevertheless.
const ONE_IN: u32 = 256;
/// The log says no more often than this that the stack sees all requests, milliseconds.
const TELL_MS: u64 = 60_000;

/// How much later than the kernel this file can look at the clock, when it compares, milliseconds.
const MOST_LATER_MS: u32 = 1_000;

/// The stack's operations and ours.
pub(super) struct Operations {
    /// What the listening socket was made with. Lives as long as the kernel.
    theirs: *const bindings::inet_connection_sock_af_ops,
    ours: bindings::inet_connection_sock_af_ops,
    /// Answers SYNs with cookies. It belongs to the [`Listener`].
    cookies: *mut bindings::sock,
    /// Whether requests are taken from first segments.
    first: bool,
    /// An [`Agreement`]: whether the kernel means by its cookies what this file thinks.
    agreement: Atomic<u32>,
    /// When the log has said last that it does not, milliseconds since boot; 0: never.
    told_ms: Atomic<u64>,
}

impl Operations {
    /// The operations of a listener whose socket is `sk`, and which answers with cookies by means of `cookies`, if it takes requests
    /// from `first` segments.
    ///
    /// # Safety
    ///
    /// Both are open TCP sockets over IPv4; nobody else has them yet.
    pub(super) unsafe fn new<D: Dispatcher>(
        sk: *mut bindings::sock,
        cookies: *mut bindings::sock,
        first: bool,
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
            first,
            agreement: Atomic::new(0),
            told_ms: Atomic::new(0),
        }
    }

    fn agreement(&self) -> Agreement {
        Agreement::from_bits(self.agreement.load(Relaxed))
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

    /// Gives the socket the stack's own back, so that nothing points to these any more.
    ///
    /// # Safety
    ///
    /// `sk` is the socket that these were made for. They are freed no earlier than a grace period after this.
    pub(super) unsafe fn uninstall(&self, sk: *mut bindings::sock) {
        // SAFETY: By the function's requirements; the stack's are static.
        unsafe { bindings::thop_sk_set_ops(sk, self.theirs) }
    }
}

impl<D: Dispatcher> Core<D> {
    /// Compares what the kernel has made of a cookie with what we would.
    fn hear(&self, kernel: &Snapshot, ours: &Agreed) {
        let operations = &self.operations;
        let same = ours.is_what(kernel);
        if !same {
            self.dispatcher.cookie_differs();
        }
        let (before, after) = loop {
            let before = operations.agreement();
            let after = before.after(same);
            // Nearly always nothing changes.
            let old = before.to_bits();
            if before == after
                || operations
                    .agreement
                    .cmpxchg(old, after.to_bits(), Relaxed)
                    .is_ok()
            {
                break (before, after);
            }
        };
        if !after.holds() && (before.holds() || before == Agreement::default()) {
            let (now, told) = (now_ms().max(1), operations.told_ms.load(Relaxed));
            let due = told == 0 || now.wrapping_sub(told) >= TELL_MS;
            if due && operations.told_ms.cmpxchg(told, now, Relaxed).is_ok() {
                pr_warn!(
                    "this kernel's SYN cookies are not understood: its stack sees all requests until they are\n"
                );
            }
        }
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
    // SAFETY: By the function's requirements.
    let core = unsafe { core_of::<D>(sk) };
    let Operations {
        theirs,
        cookies,
        first,
        ..
    } = core.operations;
    // SAFETY: The operations are static. Both sockets are open: the listener waits for a grace period before it closes
    // the second. The stack has made both headers linear. A SYN that takes a connection in TIME-WAIT over has its sequence
    // number already, and a request socket that remembers it.
    unsafe {
        let Some(theirs) = (*theirs).conn_request else {
            return 0;
        };
        // What follows would not be forwarded: see `Instance::elsewhere()`. The stack lets it come here with `tcp_l3mdev_accept`.
        if bindings::thop_tcp_skb_has_vrf(skb) {
            core.dispatcher.vrf();
            return 0;
        }
        if !bindings::thop_syn_without_accecn(sk, skb) {
            // It is as if it had been lost.
            return 0;
        }
        let net = bindings::thop_sock_net(sk);
        let header = tcp_header(skb);
        let options = header.get(TCP_HEADER..).unwrap_or(&[]);
        let flags = Flags(header.get(FLAGS_AT).copied().unwrap_or(0));
        if !first
            || !suits_cookie(options, flags, &allowed(net))
            || bindings::thop_syn_has_isn(skb)
            || !bindings::thop_syncookies_on(net)
            || core.closing.load(Acquire)
        {
            return theirs(sk, skb);
        }
        if let Some(handshake) = handshake_of_syn(skb, header) {
            core.dispatcher.handshakes().answered(handshake);
        }
        // Without this the cookie would not be looked at when it comes back.
        bindings::thop_sk_cookie_sent(sk);
        theirs(cookies, skb)
    }
}

/// What a network namespace lets TCP negotiate.
///
/// # Safety
///
/// `net` is alive.
unsafe fn allowed(net: *mut bindings::net) -> Allowed {
    let mut allowed = bindings::thop_tcp_allowed::default();
    // SAFETY: By the function's requirements.
    unsafe { bindings::thop_tcp_allowed(net, &mut allowed) };
    Allowed {
        timestamps: allowed.timestamps,
        sack: allowed.sack,
        scaling: allowed.scaling,
        ecn: allowed.ecn,
    }
}

/// The handshake that a SYN begins.
///
/// # Safety
///
/// `skb` is a SYN that the stack has received, and `header` its TCP header.
unsafe fn handshake_of_syn(skb: *mut bindings::sk_buff, header: &[u8]) -> Option<Handshake> {
    let &[f1, f0, t1, t0, s3, s2, s1, s0] = header.first_chunk()?;
    let (mut client, mut service) = (0, 0);
    // SAFETY: By the function's requirements.
    unsafe { bindings::thop_skb_endpoints(skb, &mut client, &mut service) };
    Some(Handshake::of(
        (Ipv4Addr::from_bits(client), u16::from_be_bytes([f1, f0])),
        (Ipv4Addr::from_bits(service), u16::from_be_bytes([t1, t0])),
        u32::from_be_bytes([s3, s2, s1, s0]).wrapping_add(1),
    ))
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
    let by_cookie = req_unhash.is_null() && !dst.is_null();
    let mut rtt_us = 0;
    if by_cookie {
        // SAFETY: By the function's requirements the stack has verified the segment, and made the request socket of its cookie, whose
        // SYN-ACK has not agreed on Accurate ECN.
        let mut first = unsafe {
            bindings::thop_req_without_accecn(req);
            First::of_stack(skb, req)
        };
        rtt_us = first.measure(core.dispatcher.handshakes());
        if core.operations.first && !core.closing.load(Acquire) {
            // SAFETY: As above; the socket's namespace is alive.
            let ours = unsafe { Agreed::of(bindings::thop_sock_net(sk), skb, first.options()) };
            if let Some(ours) = ours.filter(|_| first.is_plain()) {
                core.hear(&first.snapshot, &ours);
            }
            if first.is_a_request() && first.offer_to(&core.dispatcher) {
                // SAFETY: Who makes no socket of it has to let go of the route. The stack frees the request socket, and lets
                // go of the segment.
                unsafe { bindings::dst_release(dst) };
                return ptr::null_mut();
            }
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
            if by_cookie {
                bindings::thop_tcp_set_rtt(child, rtt_us);
            }
        }
        child
    }
}

/// What was agreed on in a handshake, as the segment says it that brings the cookie back.
#[derive(Clone, Copy)]
struct Agreed {
    kept: Kept,
    /// The client's time stamp, and what it echoes.
    value: u32,
    echo: u32,
    /// This side's clock for the connection, now.
    now: u32,
}

impl Agreed {
    /// Of a segment with these TCP options. `None` without a good cookie, and for what is better left to the stack: other options than
    /// time stamps, and what a sysctl does not allow any more.
    ///
    /// # Safety
    ///
    /// `net` is alive. `skb` is a valid packet, with its IP and TCP headers linear, of which the first is its network header.
    unsafe fn of(
        net: *mut bindings::net,
        skb: *mut bindings::sk_buff,
        options: &[u8],
    ) -> Option<Self> {
        let (value, echo) = only_timestamps(options)?;
        // SAFETY: By the function's requirements; these only read.
        unsafe {
            if echo == 0 {
                return None;
            }
            let mss = bindings::thop_skb_acks_cookie(skb, 0);
            if mss == 0 {
                return None;
            }
            let offset = bindings::thop_tcp_clock_offset(net, skb);
            let stamp = echo.wrapping_sub(offset);
            let kept = Kept::of(mss, stamp, bindings::thop_tcp_most_window(net));
            let now_ms = (clock_us() / 1000) as u32;
            kept.is_within(&allowed(net)).then_some(Self {
                kept,
                value,
                echo,
                now: now_ms.wrapping_add(offset),
            })
        }
    }

    /// Whether the kernel has found the same.
    fn is_what(&self, kernel: &Snapshot) -> bool {
        let kept = Kept {
            mss: kernel.mss,
            scales: kernel
                .wscale
                .then_some((kernel.snd_wscale, kernel.rcv_wscale)),
            sack: kernel.sack,
            ecn: kernel.ecn,
        };
        // It has looked at its clock before.
        let later = self.now.wrapping_sub(kernel.ts_now);
        kernel.timestamps
            && (self.kept, self.value) == (kept, kernel.ts_recent)
            && later < MOST_LATER_MS
    }

    /// The connection's state, when `segment` is its first.
    fn snapshot(&self, segment: &Segment) -> Snapshot {
        let (snd_wscale, rcv_wscale) = self.kept.scales.unwrap_or((0, 0));
        Snapshot {
            client: segment.key.client,
            service: segment.key.service,
            first: segment.seq,
            rcv_nxt: segment.seq.wrapping_add(segment.payload_len),
            snd_nxt: segment.ack,
            ts_recent: self.value,
            ts_now: self.now,
            window: u32::from(segment.window) << snd_wscale,
            mss: self.kept.mss,
            snd_wscale,
            rcv_wscale,
            wscale: self.kept.scales.is_some(),
            sack: self.kept.sack,
            timestamps: true,
            ecn: self.kept.ecn,
            age_ms: self.now.wrapping_sub(self.echo),
            rtt_us: 0,
        }
    }
}

/// Offers a segment of a connection that nobody knows to the dispatcher of its listener, if it is a request that brings back the
/// connection's cookie. Gives it back if it is not, or was not taken: then the stack decides.
///
/// PRE_ROUTING.
pub fn offer_first<'a, D: Dispatcher>(
    packet: Packet<'a>,
    segment: &Segment,
) -> Result<Verdict<'a>, Packet<'a>> {
    let guard = rcu::read_lock();
    let Some((core, snapshot)) = judge::<D>(&packet, segment, &guard) else {
        return Err(packet);
    };
    let skb = packet.as_ptr();
    // SAFETY: The packet is the hook's, and both headers are linear.
    unsafe { bindings::thop_skb_pull_ip(skb) };
    // INVARIANT: `judge()` has verified it, and its TCP header is in front now.
    let first = First {
        skb,
        snapshot,
        _call: PhantomData,
    };
    if first.offer_to(&core.dispatcher) {
        let (skb, verdict) = packet.steal();
        skb.consume();
        return Ok(verdict);
    }
    // SAFETY: The network header is where it was.
    unsafe { bindings::thop_skb_push_ip(skb) };
    Err(packet)
}

/// The core of the listener that a segment is for, and the connection's state, if the segment is its first and may pass
/// by the stack: what `tcp_v4_rcv()` and `cookie_v4_check()` would look at.
fn judge<'a, D: Dispatcher>(
    packet: &Packet<'_>,
    segment: &Segment,
    _rcu: &'a rcu::Guard,
) -> Option<(&'a Core<D>, Snapshot)> {
    let plain = usize::from(segment.ip_header_len) == IPV4_HEADER
        && packet.linear().get(IPV4_HEADER..).is_some_and(is_plain)
        && segment.flags.contains(Flags::ACK)
        && segment.payload_len > 0;
    // Some are left to the stack to be compared. No common counter: a client's numbers are as good as any.
    if !plain || segment.seq % ONE_IN == 0 || !packet.has_headers_of(segment) {
        return None;
    }
    let (client, service) = (ipv4(segment.key.client.ip)?, ipv4(segment.key.service.ip)?);
    let net = packet.namespace().as_ptr();
    let skb = packet.as_ptr();
    // SAFETY: The packet is in a hook: its device's namespace is alive, and all happens within the RCU read-side
    // section. Its headers are linear, as was just seen. The lookup gives a listener that is valid for the section, and one with
    // our operations is one of a `Core<D>`.
    unsafe {
        let agreed = Agreed::of(net, skb, segment.options(packet.linear())?)?;
        let (client, service) = (be32(client), be32(service));
        let (from, to) = (segment.key.client.port, segment.key.service.port);
        if has_socket(packet, &segment.key) {
            return None;
        }
        let sk = bindings::thop_find_listener(net, skb, client, from, service, to);
        if sk.is_null() || !is_ours::<D>(sk) {
            return None;
        }
        let core = core_of::<D>(sk);
        let passes = core.operations.first
            && core.operations.agreement().holds()
            && !core.closing.load(Acquire)
            && bindings::thop_syncookies_on(net)
            && bindings::thop_sk_expects_cookies(sk)
            && bindings::thop_tcp_checksum_ok(skb);
        passes.then(|| {
            let mut snapshot = agreed.snapshot(segment);
            let handshakes = core.dispatcher.handshakes();
            snapshot.rtt_us = handshakes.round_trip_us(&snapshot, snapshot.age_ms);
            (core, snapshot)
        })
    }
}

/// Whether a listening socket uses the operations of a `Core<D>`.
///
/// # Safety
///
/// `sk` is a TCP socket, valid for the present RCU read-side section.
unsafe fn is_ours<D: Dispatcher>(sk: *const bindings::sock) -> bool {
    // SAFETY: By the function's requirements; a socket's operations outlive it.
    let theirs = unsafe { (*bindings::thop_sk_ops(sk)).conn_request };
    theirs.is_some_and(|theirs| {
        ptr::fn_addr_eq(
            theirs,
            conn_request::<D>
                as unsafe extern "C" fn(*mut bindings::sock, *mut bindings::sk_buff) -> c_int,
        )
    })
}

/// Whether a segment with this TCP header is no more than octets and an acknowledgement.
fn is_plain(header: &[u8]) -> bool {
    let bits = |at| header.get(at).copied();
    bits(AE_AT).is_some_and(|bits| bits & AE == 0)
        && bits(FLAGS_AT).is_some_and(|bits| bits & MORE_FLAGS == 0)
}

/// The TCP header of a segment that was received.
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
/// `skb` is a segment that was received and verified, with its TCP header linear and in front. It is valid as long as this exists, and changes
/// only by it.
pub struct First<'a> {
    skb: *mut bindings::sk_buff,
    snapshot: Snapshot,
    _call: PhantomData<&'a ()>,
}

impl First<'_> {
    /// One that the stack has received.
    ///
    /// # Safety
    ///
    /// `skb` is as the type wants it, and `req` the request socket that the stack has made of its cookie.
    unsafe fn of_stack(skb: *mut bindings::sk_buff, req: *mut bindings::request_sock) -> Self {
        let mut s = bindings::thop_tcp_state::default();
        // SAFETY: By the function's requirements.
        unsafe { bindings::thop_req_state(req, skb, &mut s) };
        // INVARIANT: By the function's requirements.
        let mut first = Self {
            skb,
            snapshot: Snapshot::of(&s),
            _call: PhantomData,
        };
        if let Some((_, echo)) = timestamps(first.options()) {
            first.snapshot.age_ms = first.snapshot.ts_now.wrapping_sub(echo);
        }
        first
    }

    /// The TCP header.
    fn header(&self) -> &[u8] {
        // SAFETY: By the type invariant.
        unsafe { tcp_header(self.skb) }
    }

    /// The TCP options.
    fn options(&self) -> &[u8] {
        self.header().get(TCP_HEADER..).unwrap_or(&[])
    }

    /// Whether it says nothing by its control bits that the kernel judges besides its cookie.
    fn is_plain(&self) -> bool {
        is_plain(self.header())
    }

    /// Whether it brings octets, and nothing else.
    fn is_a_request(&self) -> bool {
        self.is_plain() && !self.is_empty()
    }

    /// Finds out how long the handshake took, microseconds; 0: not known.
    fn measure(&mut self, handshakes: &Handshakes) -> u32 {
        if timestamps(self.options()).is_some_and(|(_, echo)| echo != 0) {
            self.snapshot.rtt_us = handshakes.round_trip_us(&self.snapshot, self.snapshot.age_ms);
        }
        self.snapshot.rtt_us
    }

    /// Offers it. Whether it was taken; if not, its device is what it was, even if it was kept for a while; a route it may have lost.
    fn offer_to<D: Dispatcher>(self, dispatcher: &D) -> bool {
        let skb = self.skb;
        // SAFETY: By the type invariant; the device is that of a packet which is being received, and stays meanwhile.
        unsafe {
            let device = bindings::thop_skb_dev(skb);
            let taken = dispatcher.first(self);
            if !taken {
                // Nobody else has the segment any more.
                bindings::thop_skb_set_dev(skb, device);
            }
            taken
        }
    }

    /// Keeps the segment.
    pub fn keep(self) -> Unread {
        // SAFETY: By the type invariant the segment is valid; this adds a reference. All that is still done with the other one, when
        // it is told that the segment was taken, is to let go of it. That may be later than what is done with
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
        self.snapshot
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
    pub fn receive_again(self, namespace: Namespace<'_>) {
        let net = namespace.as_ptr();
        let again = |_: Softirq<'_>| {
            let _rcu = rcu::read_lock();
            // SAFETY: The packet is ours, and given away. Who has taken it before may still have a reference: then a copy of the
            // `struct sk_buff` goes up, or nothing without memory. Softirqs are disabled and RCU held for what needs it.
            unsafe {
                let skb = bindings::thop_skb_share_check(self.0.into_raw());
                if skb.is_null() {
                    return;
                }
                if bindings::thop_skb_receive_again(net, skb) {
                    bindings::thop_deliver_local(net, skb);
                } else {
                    bindings::thop_skb_free(skb);
                }
            }
        };
        Softirq::disabled(again);
    }

    /// Lets go of a segment that has served its purpose.
    pub fn consume(self) {
        self.0.consume();
    }
}
