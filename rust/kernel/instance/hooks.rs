// SPDX-License-Identifier: GPL-2.0

//! Netfilter hooks.

use core::marker::PhantomData;

use thop_core::packet::{
    Segment,
    IPV4_HEADER,
    TCP_HEADER, //
};

use super::*;
use crate::skb::SkbMut;

/// Ties a packet and its verdict to the call of a hook: invariant in `'a`, which each call has for itself, and bound to its
/// thread.
type Call<'a> = PhantomData<(fn(&'a ()) -> &'a (), *mut ())>;

/// A packet that came in and that a hook is asked about. It must be accepted, dropped or taken.
///
/// # Invariants
///
/// - The packet is the hook's. Its octets begin with its network header, a linear IP header, and it has a device.
/// - As long as this exists softirqs are disabled, within an RCU read-side section.
/// - `'a` is the time of the hook's call, and no other call's.
pub struct Packet<'a> {
    skb: SkBuff,
    namespace: Namespace<'a>,
    call: Call<'a>,
}

/// A packet on its way, out or to its protocol, that a hook is asked about. It must be accepted or dropped.
///
/// It may have no device yet, and softirqs need not be disabled, so less can be done with it. Its RCU read-side section is there.
pub struct Passing<'a>(Packet<'a>);

/// What becomes of a packet. Only the methods of [`Packet`] and [`Passing`] make one, each for the call that its packet is of:
/// it cannot be kept for another packet.
pub struct Verdict<'a>(u32, Call<'a>);

impl<'a> Verdict<'a> {
    #[inline]
    fn new(verdict: u32, call: Call<'a>) -> Self {
        Self(verdict, call)
    }
}

impl<'a> Passing<'a> {
    /// As [`Packet::as_ptr()`].
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    /// The namespace that the packet is in.
    #[inline]
    pub fn namespace(&self) -> Namespace<'a> {
        self.0.namespace()
    }

    /// The packet.
    #[inline]
    pub fn skb(&mut self) -> SkbMut<'_> {
        self.0.skb()
    }

    /// Lets the packet go on.
    #[inline]
    pub fn accept(self) -> Verdict<'a> {
        self.0.accept()
    }

    /// Drops the packet.
    #[inline]
    pub fn drop(self) -> Verdict<'a> {
        self.0.drop()
    }
}

impl<'a> Packet<'a> {
    /// The packet. It stays the hook's: what is given out is a view of it.
    #[inline]
    pub fn skb(&mut self) -> SkbMut<'_> {
        self.skb.view()
    }

    /// The pointer, still owned by this object.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut bindings::sk_buff {
        self.skb.as_ptr()
    }

    /// The linear octets.
    #[inline]
    pub(crate) fn linear(&self) -> &[u8] {
        self.skb.linear()
    }

    /// The namespace that the packet is in.
    #[inline]
    pub fn namespace(&self) -> Namespace<'a> {
        self.namespace
    }

    /// Shows that softirqs are disabled.
    #[inline]
    pub fn softirq(&self) -> Softirq<'a> {
        // INVARIANT: By the type invariant, for `'a`; neither type leaves its thread.
        Softirq(PhantomData)
    }

    /// Lets the packet go on.
    #[inline]
    pub fn accept(self) -> Verdict<'a> {
        // Netfilter has it again.
        let _ = self.skb.into_raw();
        Verdict::new(bindings::NF_ACCEPT, self.call)
    }

    /// Takes the packet out of the kernel's hands.
    #[inline]
    pub fn steal(self) -> (SkBuff, Verdict<'a>) {
        (self.skb, Verdict::new(bindings::NF_STOLEN, self.call))
    }

    /// Drops the packet.
    #[inline]
    pub fn drop(self) -> Verdict<'a> {
        // Freed here, so that the reason is this module, not netfilter.
        let (skb, verdict) = self.steal();
        drop(skb);
        verdict
    }

    /// Frees a packet that has served its purpose, which is not a drop.
    #[inline]
    pub fn consume(self) -> Verdict<'a> {
        let (skb, verdict) = self.steal();
        skb.consume();
        verdict
    }

    /// Whether an IPsec policy of this namespace, or the way that the packet came, may keep it out.
    #[inline]
    pub fn is_asked_about(&mut self) -> bool {
        // SAFETY: The packet and the namespace are valid.
        unsafe { bindings::thop_xfrm_asks_input(self.namespace.as_ptr(), self.skb.as_ptr()) }
    }

    /// Whether the namespace's IPsec policies for input let it in, as `tcp_v4_rcv()` asks. One that is kept out is counted in
    /// `/proc/net/xfrm_stat`.
    pub fn is_allowed_in(&mut self) -> bool {
        // SAFETY: Within the hook's RCU section, with a device; the network header is in place.
        unsafe { bindings::thop_xfrm_allows_input(self.skb.as_ptr()) }
    }

    /// Collects the fragments of the packet that this is a piece of.
    ///
    /// Gives the whole packet back when this was the last piece, else the verdict on the piece. A packet whose first fragment has not come
    /// to this machine (see [`Instance::elsewhere()`]) is the stack's.
    pub fn defragment(self) -> Result<Self, Verdict<'a>> {
        let Self {
            skb,
            namespace,
            call,
        } = self;
        let skb = skb.into_raw();
        // SAFETY: By the type invariant: softirq, and the packet is ours; unless the result is 0 it is gone.
        if unsafe { bindings::thop_defrag(namespace.as_ptr(), skb) } != 0 {
            return Err(Verdict::new(bindings::NF_STOLEN, call));
        }
        match NonNull::new(skb) {
            Some(skb) => {
                // SAFETY: On success the packet is still ours, and whole.
                let (skb, is_for_us) = unsafe {
                    let is_for_us = bindings::thop_skb_is_host(skb.as_ptr());
                    (SkBuff::from_raw(skb), is_for_us)
                };
                // INVARIANT: A whole packet begins as its first piece did.
                let whole = Self {
                    skb,
                    namespace,
                    call,
                };
                if is_for_us {
                    Ok(whole)
                } else {
                    Err(whole.accept())
                }
            }
            None => Err(Verdict::new(bindings::NF_STOLEN, call)),
        }
    }

    /// Whether the packet has the headers that `segment` says, linear. What C code finds by the headers themselves lies within the packet
    /// then, whoever has made `segment`.
    #[inline]
    pub(crate) fn has_headers_of(&self, segment: &Segment) -> bool {
        let (ip, tcp) = (segment.ip_header_len, segment.tcp_header_len);
        let octets = self.skb.linear();
        let at = |at: usize| octets.get(at).copied().unwrap_or(0);
        octets.len() >= segment.headers_len()
            && usize::from(ip) >= IPV4_HEADER
            && usize::from(tcp) >= TCP_HEADER
            // Both lengths are counted in words of four octets.
            && at(0) & 0xf == ip >> 2
            && at(usize::from(ip) + 12) >> 4 == tcp >> 2
    }

    /// Whether the segment acknowledges a SYN cookie of this machine's, and begins `before` octets before what its
    /// client has to send first.
    pub fn acks_cookie(&self, segment: &Segment, before: u32) -> bool {
        self.has_headers_of(segment)
            // SAFETY: By the type invariant the packet is valid, and both headers are linear, as was just seen; the function only reads them.
            && unsafe { bindings::thop_skb_acks_cookie(self.as_ptr(), before) != 0 }
    }

    /// By how many octets the segment is behind the first that its client has to send, if it acknowledges
    /// a SYN cookie that this machine could have made now; else it is any number. What a cookie says of the segment
    /// size is added to it, and makes it up to 3 too small.
    pub fn behind_cookie(&self, segment: &Segment) -> i32 {
        if !self.has_headers_of(segment) {
            return i32::MIN;
        }
        // SAFETY: By the type invariant the packet is valid, and both headers are linear, as was just seen; the function only reads them.
        unsafe { bindings::thop_skb_behind_cookie(self.as_ptr()) }
    }

    /// Whether the packet is for an address of this machine.
    pub fn is_for_this_machine(&mut self) -> bool {
        // SAFETY: By the type invariant the packet has its IP header and device; softirq.
        unsafe { bindings::thop_is_local(self.namespace.as_ptr(), self.skb.as_ptr()) }
    }

    /// Routes the packet as if it were for `to`, an address of this machine, so that it will be
    /// delivered here whatever its destination says then.
    #[inline]
    pub fn route_to_self(&mut self, to: core::net::Ipv4Addr) -> bool {
        // SAFETY: By the type invariant: an RCU section, a device, and the network header in place.
        unsafe { bindings::thop_route_local(self.skb.as_ptr(), crate::send::be32(to)) }
    }

    /// Gives the packet to the socket of a connection, by its route: that by which the packet before came. So the packet needs
    /// neither to be routed nor to have its socket looked for again. `false` if there is no such socket, or route.
    #[inline]
    pub fn route_to_socket(
        &mut self,
        client: (core::net::Ipv4Addr, u16),
        service: (core::net::Ipv4Addr, u16),
    ) -> bool {
        // SAFETY: By the type invariant: an RCU section, softirq, and a device; a packet that comes in has no socket here.
        unsafe {
            bindings::thop_early_demux(
                self.namespace.as_ptr(),
                self.skb.as_ptr(),
                crate::send::be32(client.0),
                client.1,
                crate::send::be32(service.0),
                service.1,
            )
        }
    }

    /// Tells the checksum of a packet for this machine that its destination was rewritten.
    #[inline]
    pub fn destination_rewritten(&mut self, from: core::net::Ipv4Addr, to: core::net::Ipv4Addr) {
        self.skb
            .fix_complete(crate::send::be32(from), crate::send::be32(to));
    }
}

/// The hooks of an instance; the last two are for those that have sockets.
pub(super) type Hooks = [bindings::nf_hook_ops; 4];

const fn count<T: Instance>() -> u32 {
    if T::HAS_SOCKETS {
        4
    } else {
        2
    }
}

/// Registers the hooks of an instance. Process context.
///
/// # Safety
///
/// `hooks` is unused, and it and `state` stay where they are until `unregister()` and an RCU grace
/// period after it.
pub(super) unsafe fn register<T: Instance>(
    net: NonNull<bindings::net>,
    state: &T,
    hooks: *mut Hooks,
) -> Result {
    let entry = |hook, point: u32, priority| bindings::nf_hook_ops {
        hook: Some(hook),
        priv_: ptr::from_ref(state).cast_mut().cast(),
        pf: bindings::NFPROTO_IPV4 as u8,
        hooknum: point,
        priority,
        ..Default::default()
    };
    let first = T::PRIORITY;
    // SAFETY: By the function's requirements the array is ours.
    unsafe {
        *hooks = [
            // A client's segment of a handed-over connection must not travel further up.
            entry(
                pre_routing_callback::<T> as unsafe extern "C" fn(_, _, _) -> _,
                bindings::nf_inet_hooks_NF_INET_PRE_ROUTING,
                first,
            ),
            // THOP messages, which may have come in fragments.
            entry(
                local_in_callback::<T> as unsafe extern "C" fn(_, _, _) -> _,
                bindings::nf_inet_hooks_NF_INET_LOCAL_IN,
                first,
            ),
            // What must not be said any more is stopped before anything else sees it.
            entry(
                local_out_callback::<T> as unsafe extern "C" fn(_, _, _) -> _,
                bindings::nf_inet_hooks_NF_INET_LOCAL_OUT,
                first,
            ),
            // What the others let pass reaches its protocol: behind it is only the confirmation of what was tracked.
            entry(
                arrives_callback::<T> as unsafe extern "C" fn(_, _, _) -> _,
                bindings::nf_inet_hooks_NF_INET_LOCAL_IN,
                i32::MAX,
            ),
        ];
        let registered = to_result(bindings::nf_register_net_hooks(
            net.as_ptr(),
            hooks.cast(),
            count::<T>(),
        ));
        if registered.is_err() {
            *hooks = Default::default();
        }
        registered
    }
}

/// Unregisters them, as far as they are registered: all, or all but the last. Process context.
///
/// # Safety
///
/// `hooks` is an array that was given to `register()`, or a default one.
pub(super) unsafe fn unregister<T: Instance>(
    net: NonNull<bindings::net>,
    hooks: *mut Hooks,
    all: bool,
) {
    // SAFETY: By the function's requirements. One that is not registered has no function.
    unsafe {
        for index in 0..count::<T>() as usize - usize::from(!all) {
            let hook = hooks.cast::<bindings::nf_hook_ops>().add(index);
            if (*hook).hook.is_some() {
                bindings::nf_unregister_net_hooks(net.as_ptr(), hook, 1);
                *hook = Default::default();
            }
        }
    }
}

/// Shows that softirqs are disabled on this processor, and will be as long as this exists.
///
/// # Invariants
///
/// Made only for the time of a call in which that is so, and never leaves its thread.
#[derive(Clone, Copy)]
pub struct Softirq<'a>(PhantomData<(&'a (), *mut ())>);

impl Softirq<'_> {
    /// Disables them meanwhile. Any context but hard interrupts.
    pub fn disabled<R>(f: impl FnOnce(Softirq<'_>) -> R) -> R {
        // SAFETY: Enabled again below; nothing in between leaves this function otherwise, as nothing unwinds in the kernel.
        unsafe { bindings::thop_bh_disable() };
        // INVARIANT: Just disabled; the argument's lifetime keeps it within the call.
        let result = f(Softirq(PhantomData));
        // SAFETY: Disabled above.
        unsafe { bindings::thop_bh_enable() };
        result
    }
}

/// # Safety
///
/// Called by netfilter with a hook that `register()` has registered, for a packet that comes in; or the packet is given to `hook` as
/// [`Passing`].
#[inline]
unsafe fn call<T: Instance>(
    context: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
    hook: impl for<'a> FnOnce(&T, Packet<'a>) -> Verdict<'a>,
) -> u32 {
    // SAFETY: Netfilter passes valid pointers.
    let (skb, net) = unsafe {
        (
            NonNull::new_unchecked(skb),
            NonNull::new_unchecked((*state).net),
        )
    };
    // INVARIANT: The callers say what hook this is; what it gets is good for this call, and it has nothing else of that lifetime.
    let packet = Packet {
        // SAFETY: The packet is the hook's until it returns its verdict, which each of the methods
        // that make a verdict respects.
        skb: unsafe { SkBuff::from_raw(skb) },
        // The namespace is alive during the call.
        namespace: Namespace::new(net),
        call: PhantomData,
    };
    // SAFETY: `register()` has set it to the instance, which outlives the hook.
    hook(unsafe { &*context.cast::<T>() }, packet).0
}

/// Softirq, RCU read-side section.
///
/// # Safety
///
/// Called by netfilter, with a hook that `register()` has registered.
unsafe extern "C" fn pre_routing_callback<T: Instance>(
    context: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> u32 {
    // SAFETY: By netfilter's contract.
    unsafe {
        // A segment that `adopt()` has made is for the rest of the stack.
        if bindings::thop_skb_is_prefetched(skb) {
            return bindings::NF_ACCEPT;
        }
        // It may be bridged to whom it is for. If that is this machine, `local_in_callback()` sees it.
        if bindings::thop_skb_is_in_bridge(skb) {
            return bindings::NF_ACCEPT;
        }
        let for_us = bindings::thop_skb_is_for_us(skb);
        call(context, skb, state, |state: &T, packet| {
            if for_us {
                let softirq = packet.softirq();
                state.pre_routing(packet, softirq)
            } else {
                state.elsewhere(packet)
            }
        })
    }
}

/// Softirq, RCU read-side section.
///
/// # Safety
///
/// Called by netfilter, with a hook that `register()` has registered.
unsafe extern "C" fn local_in_callback<T: Instance>(
    context: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> u32 {
    // SAFETY: By netfilter's contract. What is for this machine has a linear IP header and a device here, too, and where a hook
    // accepts it still is netfilter's.
    unsafe {
        // PRE_ROUTING saw it in a bridge only. Should it have seen it since, what was accepted there is accepted again.
        if bindings::thop_skb_was_in_bridge(skb) {
            // A socket that was found by the packet's addresses is not that of what it is rewritten to.
            if !bindings::thop_skb_is_prefetched(skb) {
                bindings::thop_skb_orphan(skb);
            }
            let to = bindings::thop_skb_daddr(skb);
            let verdict = pre_routing_callback::<T>(context, skb, state);
            if verdict != bindings::NF_ACCEPT {
                return verdict;
            }
            if bindings::thop_skb_daddr(skb) != to {
                // It is for another address now, and has a route: what keeps state of connections must see that from the beginning.
                // Here it comes again, and nothing is to be rewritten any more.
                bindings::thop_skb_untrack(skb);
                bindings::thop_deliver_local((*state).net, skb);
                return bindings::NF_STOLEN;
            }
        }
        call(context, skb, state, T::local_in)
    }
}

/// Softirq or process context, RCU read-side section.
///
/// # Safety
///
/// Called by netfilter, with a hook that `register()` has registered.
unsafe extern "C" fn arrives_callback<T: Instance>(
    context: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> u32 {
    // SAFETY: By netfilter's contract.
    unsafe {
        call(context, skb, state, |state: &T, packet| {
            state.arrives(Passing(packet))
        })
    }
}

/// Softirq or process context, RCU read-side section.
///
/// # Safety
///
/// Called by netfilter, with a hook that `register()` has registered.
unsafe extern "C" fn local_out_callback<T: Instance>(
    context: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> u32 {
    // SAFETY: By netfilter's contract.
    unsafe {
        call(context, skb, state, |state: &T, packet| {
            state.local_out(Passing(packet))
        })
    }
}
