// SPDX-License-Identifier: GPL-2.0

//! Routes, and sending what did not come from a socket.
//!
//! All functions may be called in softirq and in process context; none sleeps.

use core::{
    cell::UnsafeCell,
    net::Ipv4Addr,
    ptr::NonNull, //
};

use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    sync::rcu, //
};
use thop_core::packet::{
    Ipv4Tcp,
    IPV4_HEADER,
    MAX_WRITTEN,
    TCP, //
};

use crate::{
    bindings,
    compat,
    instance::{
        Namespace,
        Softirq, //
    },
    messages::ipv4,
    skb::SkBuff, //
};

/// The address as the C side keeps it: network byte order in memory.
pub(crate) fn be32(ip: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(ip.octets())
}

/// The reverse of [`be32()`].
pub(crate) fn from_be32(ip: u32) -> Ipv4Addr {
    Ipv4Addr::from(ip.to_ne_bytes())
}

/// What passes everywhere in one piece (RFC 791, section 3.2), octets: most acknowledgements do.
const MIN_MTU: u32 = 68;

/// How a packet fits the route by which it is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// As it is, or cut into segments by its device.
    Whole,
    /// In fragments (RFC 791, section 3.2): it is longer than the route's MTU, and DF is not set; or it has come in fragments.
    Fragments,
    /// Not at all: it is longer, and DF is set.
    Not,
}

/// A route to somewhere: a counted `struct dst_entry`.
///
/// # Invariants
///
/// The pointer is to a valid `dst_entry` on which this object holds a reference.
pub struct Route(NonNull<bindings::dst_entry>);

impl Route {
    /// The route to `to`.
    pub fn lookup(namespace: Namespace<'_>, to: Ipv4Addr) -> Result<Self> {
        // SAFETY: By its invariant `namespace` is alive.
        let dst = unsafe { bindings::thop_route_output(namespace.as_ptr(), be32(to)) };
        // INVARIANT: The lookup returns a counted reference.
        NonNull::new(dst).map(Self).ok_or_else(compat::no_route)
    }

    /// The route of a TCP segment that will have the destination `to` and `port`, by all that routing rules and IPsec policies may ask
    /// of it: the source, both ports, the mark, the DSCP. `Err(EPERM)`: a policy forbids to send it.
    ///
    /// To rules it is what this machine sends itself (`iif lo`). Its headers are linear, and its network header is the IP header.
    #[cold]
    pub fn of_segment(
        namespace: Namespace<'_>,
        packet: &SkBuff,
        (to, port): (Ipv4Addr, u16),
    ) -> Result<Self> {
        // SAFETY: By their invariants namespace and packet are valid; the function only reads headers.
        let dst = from_err_ptr(unsafe {
            bindings::thop_route_segment(namespace.as_ptr(), packet.as_ptr(), be32(to), port)
        })?;
        // INVARIANT: The lookup returns a counted reference.
        NonNull::new(dst).map(Self).ok_or_else(compat::no_route)
    }

    /// How `packet` fits this route. Its network header is the IP header.
    #[inline]
    pub fn fit(&self, packet: &SkBuff) -> Fit {
        if packet.len() <= MIN_MTU {
            return Fit::Whole;
        }
        // SAFETY: By their invariants packet and route are valid.
        unsafe {
            let mtu = bindings::thop_dst_mtu(self.0.as_ptr());
            if !bindings::thop_skb_exceeds_mtu(packet.as_ptr(), mtu) {
                Fit::Whole
            } else if bindings::thop_skb_may_be_fragmented(packet.as_ptr(), mtu) {
                Fit::Fragments
            } else {
                Fit::Not
            }
        }
    }

    /// The longest packet, octets from the IP header on.
    pub fn mtu(&self) -> u32 {
        // SAFETY: By the type invariant the route is valid.
        unsafe { bindings::thop_dst_mtu(self.0.as_ptr()) }
    }

    /// Sends a packet that begins with its IP header by this route.
    ///
    /// As a flowtable does it (`nf_flow_offload_ip_hook()`): straight to the neighbour, so that neither
    /// the route's address nor a hook of netfilter's is asked again for each packet. A route that wants more than
    /// a neighbour has all it wants, POST_ROUTING included, and so has a packet that goes in fragments.
    #[inline]
    pub fn forward(self, namespace: Namespace<'_>, packet: SkBuff, fit: Fit) {
        let dst = core::mem::ManuallyDrop::new(self).0.as_ptr();
        let skb = packet.into_raw();
        // The neighbour may go as soon as this ends.
        let _guard = rcu::read_lock();
        // SAFETY: The packet takes over our reference to the route, which it holds as long as it
        // exists. Either function takes the packet.
        unsafe {
            bindings::thop_skb_set_dst(skb, dst);
            if fit == Fit::Whole
                && bindings::thop_dst_is_plain(dst)
                && bindings::thop_skb_has_room_for(skb, dst)
            {
                bindings::thop_neigh_output(skb, dst);
            } else {
                bindings::thop_dst_output(namespace.as_ptr(), skb);
            }
        }
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we hold a reference.
        unsafe { bindings::dst_release(self.0.as_ptr()) }
    }
}

/// Routes to one address, one for each processor: `struct dst_cache`.
///
/// A route that has become invalid is noticed when it is used (`ipv4_dst_check()`), and a device that goes
/// takes the routes over it with it, as for the kernel's own tunnels, which keep theirs in the same way.
///
/// # Invariants
///
/// `cache` was initialised.
pub struct RouteCache {
    cache: UnsafeCell<bindings::dst_cache>,
    to: Ipv4Addr,
}

// SAFETY: The cache is one for each processor, and used with softirqs disabled only.
unsafe impl Send for RouteCache {}
// SAFETY: As above.
unsafe impl Sync for RouteCache {}

impl RouteCache {
    /// Routes to `to`. Process context.
    pub fn new(to: Ipv4Addr) -> Result<Self> {
        let mut cache = bindings::dst_cache::default();
        // SAFETY: The object is ours.
        to_result(unsafe { bindings::thop_dst_cache_init(&mut cache) })?;
        // INVARIANT: Just initialised; what it points to does not point back, so it may be moved.
        Ok(Self {
            cache: UnsafeCell::new(cache),
            to,
        })
    }

    /// The route.
    #[inline]
    pub fn route(&self, namespace: Namespace<'_>, _: Softirq<'_>) -> Result<Route> {
        // SAFETY: By the type invariant; softirqs are disabled, as the function wants: by the argument's.
        let dst = unsafe { bindings::dst_cache_get(self.cache.get()) };
        match NonNull::new(dst) {
            // INVARIANT: The cache gives a counted reference.
            Some(dst) => Ok(Route(dst)),
            // SAFETY: Softirqs are disabled, as above.
            None => unsafe { self.look_up(namespace) },
        }
    }

    /// The way of a datagram of `protocol`, which is the same each time, from the address that the route chooses.
    pub fn path<'a>(
        &self,
        namespace: Namespace<'a>,
        protocol: u8,
        _: Softirq<'_>,
    ) -> Result<Path<'a>> {
        let mut source = 0;
        // SAFETY: By the type invariant; softirqs are disabled, as the function wants: by the argument's.
        let dst = unsafe { bindings::thop_dst_cache_get(self.cache.get(), &mut source) };
        if let Some(dst) = NonNull::new(dst) {
            return Ok(Path {
                namespace,
                // INVARIANT: The cache gives a counted reference.
                route: Route(dst),
                protocol,
                from: from_be32(source),
                to: self.to,
            });
        }
        let path = Path::lookup(namespace, protocol, Ipv4Addr::UNSPECIFIED, self.to)?;
        // SAFETY: As above; the cache takes a reference of its own.
        unsafe {
            bindings::dst_cache_set_ip4(self.cache.get(), path.route.0.as_ptr(), be32(path.from));
        }
        Ok(path)
    }

    /// # Safety
    ///
    /// Softirqs are disabled.
    #[cold]
    unsafe fn look_up(&self, namespace: Namespace<'_>) -> Result<Route> {
        let route = Route::lookup(namespace, self.to)?;
        // SAFETY: By the function's requirements; the cache takes a reference of its own.
        unsafe { bindings::dst_cache_set_ip4(self.cache.get(), route.0.as_ptr(), 0) };
        Ok(route)
    }
}

impl Drop for RouteCache {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; nobody uses it any more.
        unsafe { bindings::dst_cache_destroy(self.cache.get()) }
    }
}

/// The way of a datagram: its route, and the addresses it has.
pub struct Path<'a> {
    namespace: Namespace<'a>,
    route: Route,
    protocol: u8,
    from: Ipv4Addr,
    to: Ipv4Addr,
}

impl<'a> Path<'a> {
    /// The way for IP datagrams of `protocol`. `from` may be unspecified: the route chooses.
    pub fn lookup(
        namespace: Namespace<'a>,
        protocol: u8,
        from: Ipv4Addr,
        to: Ipv4Addr,
    ) -> Result<Self> {
        Self::find(namespace, protocol, false, from, to)
    }

    /// `any_source`: even if `from` is no address of this machine's.
    fn find(
        namespace: Namespace<'a>,
        protocol: u8,
        any_source: bool,
        from: Ipv4Addr,
        to: Ipv4Addr,
    ) -> Result<Self> {
        let mut source = be32(from);
        // SAFETY: By its invariant `namespace` is alive; the address is ours.
        let dst = unsafe {
            bindings::thop_route_between(
                namespace.as_ptr(),
                protocol,
                any_source,
                &mut source,
                be32(to),
            )
        };
        Ok(Self {
            namespace,
            // INVARIANT: The lookup returns a counted reference.
            route: NonNull::new(dst).map(Route).ok_or_else(compat::no_route)?,
            protocol,
            from: from_be32(source),
            to,
        })
    }

    /// The address that the datagram comes from.
    pub fn from(&self) -> Ipv4Addr {
        self.from
    }

    /// The address that it is for.
    pub fn to(&self) -> Ipv4Addr {
        self.to
    }

    /// Sends `payload`.
    pub fn send(self, payload: SkBuff) -> Result {
        let dst = core::mem::ManuallyDrop::new(self.route).0.as_ptr();
        // SAFETY: By its invariant the namespace is valid; packet and route are given away.
        let sent = unsafe {
            bindings::thop_ip_send(
                self.namespace.as_ptr(),
                payload.into_raw(),
                dst,
                self.protocol,
                be32(self.from),
                be32(self.to),
            )
        };
        // Positive values are congestion notices of the queue.
        to_result(sent.min(0))
    }
}

/// Sends `payload` as an IP datagram of `protocol`. `from` may be unspecified: the route chooses.
pub fn datagram(
    namespace: Namespace<'_>,
    payload: SkBuff,
    protocol: u8,
    from: Ipv4Addr,
    to: Ipv4Addr,
) -> Result {
    Path::lookup(namespace, protocol, from, to)?.send(payload)
}

/// Sends a TCP segment without payload, its checksum complete. It may come from an address of another machine: a
/// service's is the switch's.
pub fn bare_segment(namespace: Namespace<'_>, segment: &Ipv4Tcp) -> Result {
    let (Some(from), Some(to)) = (ipv4(segment.source.ip), ipv4(segment.destination.ip)) else {
        return Err(EINVAL);
    };
    let mut octets = [0u8; MAX_WRITTEN];
    let len = segment.write(&mut octets).ok_or(EINVAL)?;
    // The IP header is made anew, as for every datagram.
    let packet = SkBuff::new(octets.get(IPV4_HEADER..len).ok_or(EINVAL)?, 0)?;
    Path::find(namespace, TCP, true, from, to)?.send(packet)
}

/// Whether a segment's route may depend on more than where it goes to: the namespace has routing rules of its own, or IPsec
/// policies for output. Then [`Route::of_segment()`] knows it, and no kept route does.
#[inline]
pub fn routes_by_segment(namespace: Namespace<'_>) -> bool {
    // SAFETY: By its invariant `namespace` is alive.
    unsafe { bindings::thop_routes_by_segment(namespace.as_ptr()) }
}

/// Tells the sender of a received packet that it must send smaller ones (RFC 792, code 4). `to` is the address of
/// this machine that it was for.
///
/// Its network header is the IP header. If the device that it came by has gone, nobody is told.
pub fn fragmentation_needed(namespace: Namespace<'_>, packet: SkBuff, to: Ipv4Addr, mtu: u32) {
    return_error(namespace, packet, to, |skb| {
        // SAFETY: `return_error()` passes a valid packet with a route.
        unsafe { bindings::thop_icmp_frag_needed(skb, mtu) }
    });
}

/// Tells the sender of a received packet that it travelled too far (RFC 792, time exceeded). Otherwise like
/// [`fragmentation_needed()`].
pub fn time_exceeded(namespace: Namespace<'_>, packet: SkBuff, to: Ipv4Addr) {
    return_error(namespace, packet, to, |skb| {
        // SAFETY: As above.
        unsafe { bindings::thop_icmp_ttl_exceeded(skb) }
    });
}

/// Drops a packet, and has `send` send an ICMP error about it, if it can be given the route that it came by, as that wants.
fn return_error(
    namespace: Namespace<'_>,
    packet: SkBuff,
    to: Ipv4Addr,
    send: impl FnOnce(*mut bindings::sk_buff),
) {
    // The packet is dropped before this ends: it counts neither its route nor its device.
    let _guard = rcu::read_lock();
    let skb = packet.as_ptr();
    // SAFETY: By their invariants packet and namespace are valid, the packet is ours, and RCU is held.
    let routed = unsafe {
        if bindings::thop_skb_dev(skb).is_null() {
            bindings::thop_skb_find_dev(namespace.as_ptr(), skb);
        }
        !bindings::thop_skb_dev(skb).is_null() && bindings::thop_route_local(skb, be32(to))
    };
    if routed {
        send(skb);
    }
    drop(packet);
}
