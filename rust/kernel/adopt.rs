// SPDX-License-Identifier: GPL-2.0

//! Giving a connection to a listener of this machine, as if the machine had made the handshake.
//!
//! The way is the one that the kernel has for SYN cookies checked by a BPF program
//! (`bpf_sk_assign_tcp_reqsk()` in `net/core/filter.c`): a `request_sock` with what was negotiated is
//! attached to the client's first segment, and the segment goes up the stack.
//! `cookie_v4_check()` makes the child, the accept queue gets it, the segment's octets are queued,
//! and the server is woken. All of that happens within [`adopt()`], in the caller's softirq.
//!
//! The death of such a child is noticed by its `sk_destruct`, which is chained. [`Sockets`] knows
//! which sockets that was done to, so that it can be undone before the module's code goes: an entry
//! is removed by the destructor itself, under its bucket's lock, so a socket that has an entry
//! exists while that lock is held.

use core::{
    mem,
    net::Ipv4Addr,
    ptr::NonNull, //
};

use kernel::{
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
};
use thop_core::{
    addr::FlowKey,
    packet::{
        Flags,
        Ipv4Tcp,
        TcpChecksum,
        MAX_WRITTEN, //
    },
    wire::{
        DropReason,
        Handoff,
        Parties,
        TcpOptions,
        TcpState, //
    },
};

use crate::{
    bindings, compat,
    instance::{
        Instance,
        Namespace, //
    },
    messages::ipv4,
    send::be32,
    skb::SkBuff,
    table::{
        Cache,
        Element,
        Room,
        Table, //
    },
};

/// An instance that adopts connections.
pub trait Adopter: Instance {
    /// The sockets that it has adopted.
    fn sockets(&self) -> &Sockets;

    /// An adopted socket has been destroyed: that of the handoff with this [`Handed::key`] and
    /// [`Handed::handoff`].
    ///
    /// Any context but hard interrupts; must not sleep.
    fn orphaned(&self, key: &FlowKey, handoff: Handoff);
}

/// What names an adopted socket while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketId(usize);

/// An adopted socket. Opaque outside this file.
pub struct Adopted {
    sk: usize,
    key: FlowKey,
    handoff: Handoff,
    /// What its `sk_destruct` was.
    destruct: bindings::thop_destruct_t,
}

impl Element for Adopted {
    type Key = usize;
    type Hasher = ();

    fn key(&self) -> usize {
        self.sk
    }

    fn hash((): &(), key: &usize) -> u32 {
        // Sockets are aligned to cache lines; the multiplier spreads what is left (Knuth).
        ((*key >> 6) as u32).wrapping_mul(0x9e37_79b1) >> 8
    }
}

/// The slab cache that [`Sockets`] takes its elements from.
pub type SocketCache = Cache<Adopted>;

/// The adopted sockets of a namespace.
pub struct Sockets {
    table: Table<Adopted>,
}

impl Sockets {
    /// At most `limit` sockets, and none before [`Sockets::prepare`].
    pub fn unprepared(cache: Arc<SocketCache>, buckets: u32, limit: u32) -> Self {
        Self {
            table: Table::unprepared(cache, buckets, limit, ()),
        }
    }

    /// Makes room for them. Process context.
    pub fn prepare(&self) -> Result {
        self.table.prepare()
    }

    /// A counted reference to a socket, unless it is dying.
    pub fn get(&self, id: SocketId) -> Option<LiveSocket> {
        self.table
            .with(&id.0, |adopted| LiveSocket::get(adopted.sk))
            .flatten()
    }

    /// Ends the watch over all sockets and gives each that is still alive to `f`. Sleeps.
    ///
    /// When this returns no destructor of this module runs, or will.
    pub fn release_all(&self, mut f: impl FnMut(LiveSocket)) {
        if !self.table.is_prepared() {
            // There never was one.
            return;
        }
        for bucket in 0..self.table.buckets() {
            // A socket must not be put with the bucket's lock held: its destructor would take it.
            while let Some(socket) = self.release_one(bucket) {
                if let Some(socket) = socket {
                    f(socket);
                }
            }
        }
        // A destructor that was on its way: in softirq,
        compat::synchronize_rcu();
        // and in a task that was preempted in it.
        // SAFETY: Process context, no locks.
        unsafe { bindings::synchronize_rcu_tasks() };
    }

    fn release_one(&self, bucket: u32) -> Option<Option<LiveSocket>> {
        let mut found = None;
        self.table.sweep(
            bucket,
            |adopted| {
                if found.is_some() {
                    return false;
                }
                // SAFETY: It has an entry, and the lock is held, so the socket exists.
                unsafe {
                    bindings::thop_sk_destruct_swap(
                        adopted.sk as *mut bindings::sock,
                        adopted.destruct,
                    )
                };
                found = Some(LiveSocket::get(adopted.sk));
                true
            },
            drop,
        );
        found
    }
}

/// A counted reference to an adopted socket.
///
/// # Invariants
///
/// The pointer is to a valid full TCP socket on which this object holds a reference.
pub struct LiveSocket(NonNull<bindings::sock>);

impl LiveSocket {
    /// For a socket that has an entry whose bucket is locked.
    fn get(sk: usize) -> Option<Self> {
        let sk = sk as *mut bindings::sock;
        // SAFETY: By the function's precondition the socket exists.
        if !unsafe { bindings::thop_sock_hold_live(sk) } {
            return None;
        }
        // INVARIANT: Just referenced.
        NonNull::new(sk).map(Self)
    }

    /// Ends the connection without a word to its peer. Process context, sleeps.
    ///
    /// A socket that its application has closed can only be ended with a reset, which the caller
    /// must stop on its way out.
    pub fn vanish(self) {
        let sk = self.0.as_ptr();
        // SAFETY: By the type invariant; process context, and the lock is held where it must be.
        let orphan = unsafe {
            bindings::thop_lock_sock(sk);
            let orphan = bindings::thop_sk_is_orphan(sk);
            if !orphan && bindings::thop_sk_state(sk) as u32 != bindings::TCP_CLOSE {
                bindings::thop_sk_disconnect_silently(sk);
            }
            bindings::release_sock(sk);
            orphan
        };
        if orphan {
            // A disconnected orphan would have nobody to free it; `tcp_done()` does.
            self.abort();
        }
    }

    /// Ends the connection with a reset. Process context, sleeps.
    pub fn abort(self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::tcp_abort(self.0.as_ptr(), bindings::ECONNABORTED as i32) };
    }
}

impl Drop for LiveSocket {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we hold a reference.
        unsafe { bindings::thop_sock_put(self.0.as_ptr()) }
    }
}

/// A handoff as it came.
pub struct Handed<'a> {
    /// What the adopter calls the connection.
    pub key: FlowKey,
    /// The handoff that the connection comes with.
    pub handoff: Handoff,
    /// Who is connected, and the listener's address.
    pub parties: &'a Parties,
    /// The connection's state.
    pub state: &'a TcpState,
    /// The datagram, beginning with its IP header.
    pub datagram: SkBuff,
    /// How many octets of it come before the request.
    pub request_at: usize,
}

/// What has come of a handoff that was not refused.
pub enum Taken {
    /// A socket lives.
    Alive(SocketId),
    /// A socket was made, and is gone already.
    Gone,
}

/// Makes a socket of a handoff and puts it into the accept queue of the listener.
///
/// Softirq, within an RCU read-side section: the listener is not referenced, so all happens here.
pub fn adopt<T: Adopter>(
    instance: &T,
    namespace: Namespace,
    handed: Handed<'_>,
) -> Result<Taken, DropReason> {
    let Handed {
        key,
        handoff,
        parties,
        state,
        datagram,
        request_at,
    } = handed;
    let (Some(client), Some(service), Some(server)) = (
        ipv4(parties.client.ip),
        ipv4(parties.service.ip),
        ipv4(parties.server.ip),
    ) else {
        return Err(DropReason::Unsupported);
    };
    let net = namespace.as_ptr();
    let skb = datagram.as_ptr();
    let (cport, sport) = (parties.client.port, parties.service.port);

    // SAFETY: Softirq and RCU, by the function's contract; the packet is valid and has its IP header
    // and device; the listener stays valid for the RCU section.
    let listener = unsafe {
        if !bindings::thop_syncookies_on(net) {
            return Err(DropReason::Unsupported);
        }
        let listener = bindings::thop_find_listener(
            net,
            skb,
            be32(client),
            cport,
            be32(server),
            parties.server.port,
        );
        if listener.is_null() {
            return Err(DropReason::NoListener);
        }
        // The stack will choose again among the group, with the client's view of the connection.
        let listener = bindings::thop_reuseport_choice(
            net,
            listener,
            skb,
            be32(client),
            cport,
            be32(service),
            sport,
        );
        if bindings::thop_sk_is_mptcp(listener) {
            return Err(DropReason::Mptcp);
        }
        if bindings::thop_sk_acceptq_is_full(listener) {
            return Err(DropReason::BacklogFull);
        }
        listener
    };
    make_room(namespace, &datagram, client, cport, service, sport)?;
    // Before there is a socket, whose death nobody would notice without it.
    let room = instance
        .sockets()
        .table
        .room()
        .map_err(|_| DropReason::NoMemory)?;

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
        timestamps: has_timestamps.then_some((state.ts_recent, state.ts_last)),
        payload_len: (datagram.len() as usize).saturating_sub(request_at),
        checksum: TcpChecksum::Partial,
    };
    let mut headers = [0u8; MAX_WRITTEN];
    let len = segment.write(&mut headers).ok_or(DropReason::Internal)?;
    let headers = headers.get(..len).ok_or(DropReason::Internal)?;
    // SAFETY: The packet is ours. What is dropped in front is more than what is put there, as a
    // CREATE's fixed part alone is longer than the headers of a segment.
    unsafe {
        if request_at < len {
            return Err(DropReason::Internal);
        }
        let at = bindings::thop_skb_replace_head(skb, request_at as u32, len as u32);
        if at.is_null() {
            return Err(DropReason::NoMemory);
        }
        core::ptr::copy_nonoverlapping(headers.as_ptr(), at.cast::<u8>(), len);
        // The octets were checked by the message's own checksum.
        bindings::thop_skb_set_unnecessary(skb);
        // Several segments of the client in one packet: said so, or TCP takes it for one.
        let payload = segment.payload_len as u32;
        let size = u32::from(state.mss)
            .min(bindings::thop_skb_dev_mtu(skb).saturating_sub(len as u32))
            .max(1);
        if payload > size {
            bindings::thop_skb_set_segments(skb, size, payload.div_ceil(size));
        }
    }
    let attributes = bindings::thop_reqsk_attrs {
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
    // SAFETY: As above. The delivery takes the packet; the counters are of this CPU, which softirq
    // does not leave.
    let made = unsafe {
        // The child answers with an address that this machine does not have.
        bindings::thop_sk_allow_foreign_source(listener);
        if !bindings::thop_reqsk_attach(skb, listener, &attributes) {
            return Err(DropReason::NoMemory);
        }
        let opened = bindings::thop_tcp_passive_opens(net);
        let dropped = bindings::thop_tcp_listen_drops(net);
        // Through PRE_ROUTING, as if it had been received: a packet filter that keeps state must
        // see the connection begin. The route to this machine it has from the datagram.
        bindings::thop_deliver_local(net, datagram.into_raw());
        // There is no return code; the kernel's own counters tell.
        bindings::thop_tcp_passive_opens(net) != opened
            && bindings::thop_tcp_listen_drops(net) == dropped
    };
    if !made {
        return Err(DropReason::Internal);
    }
    Ok(watch::<T>(
        room,
        namespace,
        (key, handoff),
        parties,
        (client, service),
    ))
}

/// Removes an old connection of the same endpoints, if only its TIME-WAIT is left.
///
/// The client has just completed a handshake from that port, so it has forgotten the old one.
fn make_room(
    namespace: Namespace,
    datagram: &SkBuff,
    client: Ipv4Addr,
    cport: u16,
    service: Ipv4Addr,
    sport: u16,
) -> Result<(), DropReason> {
    // SAFETY: As in `adopt()`; the lookup returns a counted reference, which is given back.
    unsafe {
        let old = bindings::thop_find_established(
            namespace.as_ptr(),
            datagram.as_ptr(),
            be32(client),
            cport,
            be32(service),
            sport,
        );
        if old.is_null() {
            return Ok(());
        }
        if bindings::thop_sk_state(old) as u32 == bindings::TCP_TIME_WAIT {
            bindings::thop_tw_kill(old);
            return Ok(());
        }
        bindings::thop_sock_gen_put(old);
    }
    Err(DropReason::Conflict)
}

/// Finds the new socket and chains its destructor.
fn watch<T: Adopter>(
    room: Room<'_, Adopted>,
    namespace: Namespace,
    (key, handoff): (FlowKey, Handoff),
    parties: &Parties,
    (client, service): (Ipv4Addr, Ipv4Addr),
) -> Taken {
    // SAFETY: Softirq and RCU. A null packet means: on no particular interface.
    let sk = unsafe {
        bindings::thop_find_established(
            namespace.as_ptr(),
            core::ptr::null_mut(),
            be32(client),
            parties.client.port,
            be32(service),
            parties.service.port,
        )
    };
    if sk.is_null() {
        return Taken::Gone;
    }
    // SAFETY: We hold a reference, so the socket exists.
    if unsafe { bindings::thop_sk_state(sk) } as u32 == bindings::TCP_TIME_WAIT {
        // SAFETY: The reference from the lookup.
        unsafe { bindings::thop_sock_gen_put(sk) };
        return Taken::Gone;
    }
    let socket = mem::ManuallyDrop::new(LiveSocket(match NonNull::new(sk) {
        Some(sk) => sk,
        None => return Taken::Gone,
    }));
    // SAFETY: It exists.
    let destruct = unsafe { bindings::thop_sk_destruct(sk) };
    let entry = Adopted {
        sk: sk as usize,
        key,
        handoff,
        destruct,
    };
    room.fill(entry);
    // SAFETY: It exists, and its entry is in place.
    unsafe { bindings::thop_sk_destruct_swap(sk, Some(destruct_callback::<T>)) };
    drop(mem::ManuallyDrop::into_inner(socket));
    Taken::Alive(SocketId(sk as usize))
}

/// The last reference to an adopted socket is gone. Any context but hard interrupts.
///
/// # Safety
///
/// `sk` is a socket whose `sk_destruct` `watch()` has set, called as its destructor.
unsafe extern "C" fn destruct_callback<T: Adopter>(sk: *mut bindings::sock) {
    // SAFETY: The socket is valid; its namespace is, until this has returned.
    let net = unsafe { bindings::thop_sock_net(sk) };
    // The watch may just be ending, and the instance with it: the RCU section keeps it.
    let guard = rcu::read_lock();
    // SAFETY: The namespace is valid.
    let removed = unsafe { T::slot().find(net) }.and_then(|instance: &T| {
        let adopted = instance
            .sockets()
            .table
            .remove_if(&(sk as usize), |_| true)?;
        instance.orphaned(&adopted.key, adopted.handoff);
        adopted.destruct
    });
    drop(guard);
    // Without an entry the watch has ended meanwhile, and the original is back in its place.
    // SAFETY: The socket is valid, and this is the destructor it had.
    unsafe {
        let destruct = removed.or_else(|| bindings::thop_sk_destruct(sk));
        if let Some(destruct) = destruct {
            destruct(sk);
        }
    }
}
