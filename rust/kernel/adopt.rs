// SPDX-License-Identifier: GPL-2.0

//! Giving a connection to a listener of this machine, as if the machine had made the handshake.
//!
//! The way is the one that the kernel has for SYN cookies checked by a BPF program
//! (`bpf_sk_assign_tcp_reqsk()` in `net/core/filter.c`): a `request_sock` with what was negotiated is
//! attached to the client's first segment, and the segment goes up the stack.
//! `cookie_v4_check()` makes the child, the accept queue gets it, the segment's octets are queued,
//! and the server is woken.
//!
//! # The way of the segment
//!
//! 1. [`adopt()`] makes the segment of the datagram that has brought it, names it ([`Name`]), and sends it through
//!    PRE_ROUTING and LOCAL_IN, so that a packet filter sees the connection begin.
//! 2. [`arrive()`] is behind all other hooks of LOCAL_IN. There the adopter is asked whether it still wants the
//!    connection, and only there the listener is looked for.
//! 3. TCP makes the child, which has the segment's name, and [`Watch`] sees it: the adopter gets the socket before its
//!    application can.
//!
//! Nearly always all of this happens within [`adopt()`]. But a rule may hand the segment to a program in user space
//! (NFQUEUE), which lets it go on when it likes, or never. So nothing is concluded from `adopt()`'s
//! return but what that says, and nothing of the listener is kept meanwhile.
//!
//! # The life of the socket
//!
//! Nothing of this module is put into a socket: its application may do with it whatever the kernel allows, a listener's
//! children would inherit what there was, and others chain to it and would call it after the module has gone. What
//! becomes of sockets is told by the trace point `inet_sock_set_state`, which every change of a TCP socket's state passes. A
//! socket that was adopted is known there by its name, which is its `sk_cookie`. The adopter
//! holds a reference ([`LiveSocket`]) from the time it is established until it is closed.

use core::{
    ffi::c_int,
    marker::PhantomData,
    net::IpAddr,
    ptr,
    ptr::NonNull, //
};

use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu, //
    },
};
use thop_core::{
    addr::{
        Endpoint,
        FlowKey, //
    },
    packet::{
        parse_ipv4,
        Flags,
        Ipv4Tcp,
        Segment,
        TcpChecksum,
        MAX_WRITTEN, //
    },
    wire::{
        DropReason,
        Parties,
        TcpOptions,
        TcpState, //
    },
};

use crate::{
    bindings,
    compat,
    instance::{
        Instance,
        Namespace,
        Packet,
        Passing,
        Softirq,
        Verdict, //
    },
    messages::ipv4,
    random,
    reuseport,
    send::{
        be32,
        from_be32, //
    },
    skb::SkBuff, //
};

/// An instance that adopts connections.
///
/// A connection is named by client and service (the key's), and by the [`Name`] that [`adopt()`] was given.
pub trait Adopter: Instance {
    /// A connection's segment has passed all hooks. Returns where its listener is, if the connection is still wanted.
    ///
    /// Softirqs disabled, RCU read-side section, no lock.
    fn wanted(&self, connection: &FlowKey, name: Name) -> Option<Endpoint>;

    /// The segment that [`Self::wanted()`] was asked about cannot be given to anybody. Context as there.
    fn refused(&self, connection: &FlowKey, name: Name, why: DropReason);

    /// The segment goes to TCP now, on processor `cpu`. Returns whether it may: the connection may be unwanted since. Context as
    /// for [`Self::wanted()`].
    fn passes(&self, connection: &FlowKey, name: Name, cpu: u32) -> bool;

    /// TCP makes a socket. Returns the round-trip time that it begins with, microseconds; 0: none is known. `None`: this is
    /// not the one that the connection was waiting for, but one that has been adopted, and used again by its application.
    ///
    /// RCU read-side section, with the socket's lock; softirq, or process context.
    fn begins(&self, connection: &FlowKey, name: Name) -> Option<u32>;

    /// The socket is established, about which [`Self::begins()`] was asked just now. Context as there.
    fn established(&self, connection: &FlowKey, name: Name, socket: LiveSocket);

    /// The socket is closed: the connection is over, though its application may have the socket still. Returns what
    /// [`Self::established()`] was given, if it is still there.
    ///
    /// Softirq or process context, RCU read-side section, with the socket's lock. A packet's lock is never held, as
    /// it may be where a socket's memory is freed; even so nothing is sent from here.
    fn ended(&self, connection: &FlowKey, name: Name) -> Option<LiveSocket>;
}

/// What names a connection from the time that it is to be adopted: no other, of this life of the machine, has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name(u64);

impl Name {
    /// What no cookie of the kernel's own has: those count from 1 (`gen_cookie_next()`).
    const OURS: u64 = 1 << 63;

    /// Returns a new one. Any context.
    pub fn new() -> Self {
        static NEXT: Atomic<u64> = Atomic::new(0);
        // Another life of the module has begun somewhere else.
        if NEXT.load(Relaxed) == 0 {
            let _ = NEXT.cmpxchg(0, random::number() | 1, Relaxed);
        }
        Self(NEXT.fetch_add(1, Relaxed) | Self::OURS)
    }

    /// The name that a number is, if it is one.
    #[inline]
    fn of(number: u64) -> Option<Self> {
        (number & Self::OURS != 0).then_some(Self(number))
    }
}

impl Default for Name {
    fn default() -> Self {
        Self::new()
    }
}

/// A counted reference to an adopted socket.
///
/// Dropped, it lets go of the socket. Nobody may have a lock then that the end of a socket takes.
///
/// # Invariants
///
/// The pointer is to a full TCP socket on which this object holds a reference.
pub struct LiveSocket {
    sk: NonNull<bindings::sock>,
    /// Whether its application has not made it transparent itself.
    lent: bool,
}

// SAFETY: A socket belongs to no thread; a reference may be given back anywhere.
unsafe impl Send for LiveSocket {}
// SAFETY: Shared references only read its state.
unsafe impl Sync for LiveSocket {}

impl LiveSocket {
    /// Refers to a socket that becomes established, and has it answer with an address that this machine need not have.
    ///
    /// # Safety
    ///
    /// `sk` is a TCP socket, and locked.
    unsafe fn begin(sk: NonNull<bindings::sock>) -> Self {
        // SAFETY: By the function's requirements. A socket that is locked is referenced. Its routes are looked up as a transparent
        // one's, and so are those of what answers for it when it is closed (TIME-WAIT), which HDRINCL would not do.
        let lent = unsafe {
            bindings::thop_sock_hold(sk.as_ptr());
            let own = bindings::thop_sk_set_transparent(sk.as_ptr(), true);
            bindings::thop_sk_route_from_anywhere(sk.as_ptr(), false);
            !own
        };
        // INVARIANT: Just referenced.
        Self { sk, lent }
    }

    /// Takes back what was lent: a socket that is transparent may be bound to a foreign address once it is closed, which takes
    /// a right that its application need not have. Its routes may still begin at such an address. Any context.
    pub fn take_back(&self) {
        if self.lent {
            // SAFETY: By the type invariant.
            unsafe {
                bindings::thop_sk_route_from_anywhere(self.sk.as_ptr(), true);
                bindings::thop_sk_set_transparent(self.sk.as_ptr(), false);
            }
        }
    }

    /// Returns whether the socket is closed. Any context.
    pub fn is_closed(&self) -> bool {
        // SAFETY: By the type invariant.
        (unsafe { bindings::thop_sk_state(self.sk.as_ptr()) }) as u32 == bindings::TCP_CLOSE
    }

    /// Ends the connection; its application finds an orderly end. Process context, sleeps.
    ///
    /// A reset is sent, which the caller must stop on its way out if the peer shall hear nothing.
    pub fn end(self) {
        self.take_back();
        let sk = self.sk.as_ptr();
        // SAFETY: By the type invariant; process context, and the lock is held where it must be.
        unsafe {
            bindings::thop_lock_sock(sk);
            bindings::thop_sk_end_reading(sk);
            bindings::release_sock(sk);
            // Whatever protocol is above it, and also for a socket that its application has closed, which would have nobody
            // to free it otherwise. It looks at the state itself.
            bindings::tcp_abort(sk, 0);
        }
    }

    /// Ends the connection with a reset. To its application that is one of its peer's. Process context, sleeps.
    pub fn abort(self) {
        self.take_back();
        // SAFETY: By the type invariant.
        unsafe { bindings::tcp_abort(self.sk.as_ptr(), bindings::ECONNRESET as i32) };
    }
}

impl Drop for LiveSocket {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we hold a reference.
        unsafe { bindings::thop_sock_put(self.sk.as_ptr()) }
    }
}

/// A handoff as it came.
pub struct Handed<'a> {
    /// What the adopter calls it.
    pub name: Name,
    /// Who is connected, and the listener's address.
    pub parties: &'a Parties,
    /// The connection's state.
    pub state: &'a TcpState,
    /// How many octets of the datagram that it came in come before the request.
    pub request_at: usize,
}

/// What has become of a segment that was sent up the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// A hook has dropped it.
    Dropped,
    /// It has reached TCP, or who has it may let it go on: [`Adopter::passes()`] tells.
    Away,
}

/// Sends a handoff's octets up the stack, to become a socket in the accept queue of the listener.
///
/// An error means that there will be none. Softirq, RCU read-side section, no lock.
pub fn adopt<'a, T: Adopter>(
    packet: Packet<'a>,
    handed: Handed<'_>,
) -> (Result<Sent, DropReason>, Verdict<'a>) {
    let namespace = packet.namespace();
    let (datagram, verdict) = packet.steal();
    // SAFETY: It was a packet of this call's, which has come in.
    let sent = unsafe { send_up::<T>(namespace, datagram, handed) };
    (sent, verdict)
}

/// As [`adopt()`].
///
/// # Safety
///
/// Softirq, RCU read-side section. `datagram` has come in: it begins with its IP header, linear, and has a device.
unsafe fn send_up<T: Adopter>(
    namespace: Namespace<'_>,
    datagram: SkBuff,
    handed: Handed<'_>,
) -> Result<Sent, DropReason> {
    let Handed {
        name,
        parties,
        state,
        request_at,
    } = handed;
    let net = namespace.as_ptr();
    let skb = datagram.as_ptr();
    // SAFETY: By its invariant the namespace is alive.
    if !unsafe { bindings::thop_syncookies_on(net) } || T::slot().is_ending() {
        return Err(DropReason::Unsupported);
    }
    let has_timestamps = state.options.contains(TcpOptions::TIMESTAMP);
    let segment = Ipv4Tcp {
        source: parties.client,
        destination: parties.service,
        seq: state.isn_client.wrapping_add(1),
        ack: state.isn_switch.wrapping_add(1),
        flags: Flags(
            Flags::ACK.0
                | Flags::PSH.0
                | if state.options.contains(TcpOptions::FIN) {
                    Flags::FIN.0
                } else {
                    0
                },
        ),
        window: (state.window >> state.snd_wscale.min(14)).min(u32::from(u16::MAX)) as u16,
        // No echo: it would be of this very moment, and be taken for a round trip of no time.
        timestamps: has_timestamps.then_some((state.ts_recent, 0)),
        payload_len: (datagram.len() as usize).saturating_sub(request_at),
        checksum: TcpChecksum::Partial,
    };
    let mut headers = [0u8; MAX_WRITTEN];
    let len = segment.write(&mut headers).ok_or(DropReason::Unsupported)?;
    let headers = headers.get(..len).ok_or(DropReason::Internal)?;
    let attributes = bindings::thop_reqsk_attrs {
        name: name.0,
        mss: state.mss,
        snd_wscale: state.snd_wscale,
        rcv_wscale: state.rcv_wscale,
        ts_recent: state.ts_recent,
        ts_value: state.ts_last,
        wscale_ok: state.options.contains(TcpOptions::WSCALE),
        sack_ok: state.options.contains(TcpOptions::SACK),
        tstamp_ok: has_timestamps,
        ecn_ok: state.options.contains(TcpOptions::ECN),
    };
    // SAFETY: The packet is ours and has its IP header and device. What is dropped in front is more than what is put there, as a
    // CREATE's fixed part alone is longer than the headers of a segment. The delivery takes the packet.
    let sent = unsafe {
        if request_at < len {
            return Err(DropReason::Internal);
        }
        let at = bindings::thop_skb_replace_head(skb, request_at as u32, len as u32);
        if at.is_null() {
            return Err(DropReason::NoMemory);
        }
        ptr::copy_nonoverlapping(headers.as_ptr(), at.cast::<u8>(), len);
        // The octets were checked by the message's own checksum.
        bindings::thop_skb_set_unnecessary(skb);
        if !bindings::thop_reqsk_attach(skb, net, &attributes) {
            return Err(DropReason::NoMemory);
        }
        // Through PRE_ROUTING, as if it had been received: a packet filter that keeps state must
        // see the connection begin. The route to this machine it has from the datagram.
        bindings::thop_deliver_local(net, datagram.into_raw())
    };
    Ok(if sent < 0 { Sent::Dropped } else { Sent::Away })
}

/// Sees a packet for this machine behind all other hooks of LOCAL_IN, and gives a segment of [`adopt()`]'s a listener.
///
/// Softirq, or process context when a program in user space has had the segment; RCU read-side section.
pub fn arrive<'a, T: Adopter>(instance: &T, mut packet: Passing<'a>) -> Verdict<'a> {
    // SAFETY: The packet is valid; the function only reads.
    let Some(name) = Name::of(unsafe { bindings::thop_skb_name(packet.as_ptr()) }) else {
        return packet.accept();
    };
    let len = packet.skb().len();
    // What has been made longer or shorter on its way is read as it is now.
    let segment = match packet.skb().pull(MAX_WRITTEN.min(len as usize)) {
        Some(octets) => parse_ipv4(octets, len).ok(),
        None => None,
    };
    let Some(segment) = segment else {
        return packet.drop();
    };
    let connection = segment.key;
    let passes = Softirq::disabled(|_| {
        let server = instance.wanted(&connection, name)?;
        if T::slot().is_ending() {
            instance.refused(&connection, name, DropReason::Unsupported);
            return None;
        }
        let listener = match find_listener(&packet, &connection, &server) {
            Ok(listener) => listener,
            Err(why) => {
                instance.refused(&connection, name, why);
                return None;
            }
        };
        // SAFETY: The packet is the hook's, and has a request of ours. The listener is valid within the present RCU read-side
        // section, and nothing is between this hook and TCP that may keep the packet for longer.
        unsafe { bindings::thop_skb_set_listener(packet.as_ptr(), listener) };
        say_segments(&packet, &segment);
        // SAFETY: Softirqs are disabled, so it stays the same.
        let cpu = unsafe { bindings::thop_this_cpu() };
        instance.passes(&connection, name, cpu).then_some(())
    });
    match passes {
        Some(()) => packet.accept(),
        None => packet.drop(),
    }
}

/// Several segments of the client in one packet: said so, or TCP takes it for one. Not before, as there may be who cuts such a packet
/// up on its way, or sends a copy of it elsewhere; the pieces would have no request.
fn say_segments(packet: &Passing<'_>, segment: &Segment) {
    let skb = packet.as_ptr();
    let payload = segment.payload_len;
    // SAFETY: The packet is the hook's, has a request of ours and has come in, so it has a device.
    unsafe {
        let room = bindings::thop_skb_dev_mtu(skb).saturating_sub(segment.headers_len() as u32);
        let size = u32::from(bindings::thop_skb_mss(skb)).min(room).max(1);
        if payload > size {
            bindings::thop_skb_set_segments(skb, size, payload.div_ceil(size));
        }
    }
}

/// The processor that this runs on.
pub fn this_cpu(_: Softirq<'_>) -> u32 {
    // SAFETY: No requirements; with softirqs disabled it stays the same.
    unsafe { bindings::thop_this_cpu() }
}

/// Finds the listener for a connection, at `server`. It stays valid for the present RCU read-side section.
///
/// Softirqs disabled, RCU.
fn find_listener(
    packet: &Passing<'_>,
    connection: &FlowKey,
    server: &Endpoint,
) -> Result<*mut bindings::sock, DropReason> {
    let addresses = (
        ipv4(connection.client.ip),
        ipv4(connection.service.ip),
        ipv4(server.ip),
    );
    let (Some(client), Some(service), Some(local)) = addresses else {
        return Err(DropReason::Unsupported);
    };
    let net = packet.namespace().as_ptr();
    let skb = packet.as_ptr();
    let (cport, sport) = (connection.client.port, connection.service.port);
    // SAFETY: Softirqs are disabled and RCU is held; the packet is valid and has its device. Listeners, their groups and the groups'
    // members are freed by RCU. The lookup of a connection returns a counted reference, which is given back.
    unsafe {
        let listener =
            bindings::thop_find_listener(net, skb, be32(client), cport, be32(local), server.port);
        if listener.is_null() {
            return Err(DropReason::NoListener);
        }
        // The stack will choose again among the group, with the client's view of the connection, or with a program's.
        let mut members = 0;
        for member in reuseport::members(listener) {
            prepare(member)?;
            members += 1;
        }
        if members == 1 && bindings::thop_sk_acceptq_is_full(listener) {
            return Err(DropReason::BacklogFull);
        }
        let old =
            bindings::thop_find_established(net, skb, be32(client), cport, be32(service), sport);
        if !old.is_null() {
            // The client has just completed a handshake from that port, so it has forgotten the old connection. If only its
            // TIME-WAIT is left, that goes.
            if bindings::thop_sk_state(old) as u32 != bindings::TCP_TIME_WAIT {
                bindings::thop_sock_gen_put(old);
                return Err(DropReason::Conflict);
            }
            bindings::thop_tw_kill(old);
        }
        Ok(listener)
    }
}

/// Makes a listening socket one whose children may answer with an address that this machine does not have.
///
/// # Safety
///
/// `listener` is a listening TCP socket, valid for the present RCU read-side section.
unsafe fn prepare(listener: *mut bindings::sock) -> Result<(), DropReason> {
    // SAFETY: By the function's requirements.
    unsafe {
        // Its requests are longer than what is attached.
        if bindings::thop_sk_is_mptcp(listener) {
            return Err(DropReason::Mptcp);
        }
        // `cookie_v4_check()` looks for the child's route as the listener's.
        bindings::thop_sk_route_from_anywhere(listener, true);
    }
    Ok(())
}

/// Watches what becomes of sockets. Dropped, nobody is adopted any more, and then nobody watched.
///
/// A module's first field, so that it goes before its instances do: those end the sockets that are left.
pub struct Watch<T: Adopter>(PhantomData<T>);

// SAFETY: There is nothing in it.
unsafe impl<T: Adopter> Send for Watch<T> {}
// SAFETY: As above.
unsafe impl<T: Adopter> Sync for Watch<T> {}

impl<T: Adopter> Watch<T> {
    /// Begins to watch. [`EOPNOTSUPP`]: the kernel was built without trace points. Process context.
    pub fn new() -> Result<Self> {
        // SAFETY: The function is of the type that the trace point wants, and stays until `drop()`.
        to_result(unsafe { bindings::thop_states_watch(Some(state_probe::<T>)) }).inspect_err(
            |_| {
                pr_err!("this kernel has no trace point inet_sock_set_state (CONFIG_TRACEPOINTS)\n")
            },
        )?;
        Ok(Self(PhantomData))
    }
}

impl<T: Adopter> Drop for Watch<T> {
    fn drop(&mut self) {
        T::slot().set_ending();
        // Who did not see the mark has adopted before this returns.
        compat::synchronize_rcu();
        // SAFETY: `new()` has registered it; process context, no locks.
        unsafe { bindings::thop_states_unwatch(Some(state_probe::<T>)) };
    }
}

/// A socket goes over to another state.
///
/// Softirq or process context; the socket is locked, or not known to anybody else yet.
///
/// # Safety
///
/// Called by the trace point `inet_sock_set_state`.
unsafe extern "C" fn state_probe<T: Adopter>(
    _: *mut c_void,
    sk: *const bindings::sock,
    _from: c_int,
    to: c_int,
) {
    let to = to as u32;
    let Some(sk) = NonNull::new(sk.cast_mut()) else {
        return;
    };
    if !matches!(
        to,
        bindings::TCP_SYN_RECV | bindings::TCP_ESTABLISHED | bindings::TCP_CLOSE
    ) {
        return;
    }
    // SAFETY: By the trace point's contract the socket is valid. What is no TCP socket is not looked at.
    let name = unsafe {
        if !bindings::thop_sk_is_tcp(sk.as_ptr()) {
            return;
        }
        Name::of(bindings::thop_sk_name(sk.as_ptr()))
    };
    let Some(name) = name else {
        if to == bindings::TCP_SYN_RECV {
            // An ordinary child of a listener that `prepare()` has marked. TCP sockets have the mark from there only.
            // SAFETY: Nobody else knows the socket yet.
            unsafe { bindings::thop_sk_route_from_anywhere(sk.as_ptr(), false) };
        }
        return;
    };
    let mut ends = bindings::thop_sk_ends::default();
    // SAFETY: The socket is valid, and so is its namespace as long as it exists.
    let net = unsafe {
        bindings::thop_sk_ends(sk.as_ptr(), &mut ends);
        bindings::thop_sock_net(sk.as_ptr())
    };
    let endpoint = |ip, port| Endpoint::new(IpAddr::V4(from_be32(ip)), port);
    let connection = FlowKey {
        client: endpoint(ends.remote, ends.remote_port),
        service: endpoint(ends.local, ends.local_port),
    };
    let _guard = rcu::read_lock();
    // SAFETY: The namespace is valid; the RCU read-side section keeps the instance. A socket with a name holds its namespace, which
    // so cannot be going.
    let Some(instance) = (unsafe { T::slot().find(net) }) else {
        return;
    };
    // SAFETY: The socket is valid and locked, or nobody else knows it.
    unsafe {
        match to {
            bindings::TCP_SYN_RECV => {
                if let Some(rtt_us @ 1..) = instance.begins(&connection, name) {
                    bindings::thop_sk_set_rtt(sk.as_ptr(), rtt_us);
                }
            }
            bindings::TCP_ESTABLISHED => {
                let Some(rtt_us) = instance.begins(&connection, name) else {
                    return;
                };
                if rtt_us != 0 {
                    bindings::thop_sk_set_least_rtt(sk.as_ptr(), rtt_us);
                }
                instance.established(&connection, name, LiveSocket::begin(sk));
            }
            _ => {
                if let Some(socket) = instance.ended(&connection, name) {
                    // Who closes it has a reference of its own, so this is not the last.
                    socket.take_back();
                }
                bindings::thop_sk_route_from_anywhere(sk.as_ptr(), false);
            }
        }
    }
}
