// SPDX-License-Identifier: GPL-2.0

//! Netfilter hooks.

use core::marker::PhantomData;

use super::*;

/// A packet that a hook is asked about. It must be accepted, dropped or taken.
pub struct Packet<'a> {
    skb: SkBuff,
    namespace: Namespace,
    _call: PhantomData<&'a ()>,
}

/// What becomes of a packet. Only [`Packet`]'s methods make one.
pub struct Verdict(u32);

impl Verdict {
    /// For a packet that was stolen before.
    #[inline]
    pub const fn stolen() -> Self {
        Self(bindings::NF_STOLEN)
    }
}

impl Packet<'_> {
    /// The packet.
    #[inline]
    pub fn skb(&mut self) -> &mut SkBuff {
        &mut self.skb
    }

    /// The namespace that the packet is in.
    #[inline]
    pub fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// Lets the packet go on.
    #[inline]
    pub fn accept(self) -> Verdict {
        // Netfilter has it again.
        let _ = self.skb.into_raw();
        Verdict(bindings::NF_ACCEPT)
    }

    /// Takes the packet out of the kernel's hands.
    #[inline]
    pub fn steal(self) -> (SkBuff, Verdict) {
        (self.skb, Verdict(bindings::NF_STOLEN))
    }

    /// Drops the packet.
    #[inline]
    pub fn drop(self) -> Verdict {
        // Freed here, so that the reason is this module, not netfilter.
        let (skb, verdict) = self.steal();
        drop(skb);
        verdict
    }

    /// Frees a packet that has served its purpose, which is not a drop.
    #[inline]
    pub fn consume(self) -> Verdict {
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
    pub fn defragment(self) -> Result<Self, Verdict> {
        let Self {
            skb,
            namespace,
            _call,
        } = self;
        let skb = skb.into_raw();
        // SAFETY: Softirq, and the packet is ours; unless the result is 0 it is gone.
        if unsafe { bindings::thop_defrag(namespace.as_ptr(), skb) } != 0 {
            return Err(Verdict(bindings::NF_STOLEN));
        }
        match NonNull::new(skb) {
            Some(skb) => {
                // SAFETY: On success the packet is still ours, and whole.
                let (skb, is_for_us) = unsafe {
                    let is_for_us = bindings::thop_skb_is_host(skb.as_ptr());
                    (SkBuff::from_raw(skb), is_for_us)
                };
                let whole = Self {
                    skb,
                    namespace,
                    _call,
                };
                if is_for_us {
                    Ok(whole)
                } else {
                    Err(whole.accept())
                }
            }
            None => Err(Verdict(bindings::NF_STOLEN)),
        }
    }

    /// Whether the packet is for an address of this machine.
    pub fn is_for_this_machine(&mut self) -> bool {
        // SAFETY: The packet has its IP header and device; softirq.
        unsafe { bindings::thop_is_local(self.namespace.as_ptr(), self.skb.as_ptr()) }
    }

    /// Routes the packet as if it were for `to`, an address of this machine, so that it will be
    /// delivered here whatever its destination says then.
    #[inline]
    pub fn route_to_self(&mut self, to: core::net::Ipv4Addr) -> bool {
        // SAFETY: Within the hook's RCU section, with a device; the network header is in place.
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
        // SAFETY: Within the hook's RCU section, in softirq, with a device; the packet has no socket.
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
/// Called by netfilter with a hook that `register()` has registered.
#[inline]
unsafe fn call<T: Instance>(
    context: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
    hook: impl FnOnce(&T, Packet<'_>) -> Verdict,
) -> u32 {
    // SAFETY: Netfilter passes valid pointers.
    let (skb, net) = unsafe {
        (
            NonNull::new_unchecked(skb),
            NonNull::new_unchecked((*state).net),
        )
    };
    let packet = Packet {
        // SAFETY: The packet is the hook's until it returns its verdict, which each of the methods
        // that make a verdict respects.
        skb: unsafe { SkBuff::from_raw(skb) },
        namespace: Namespace(net),
        _call: PhantomData,
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
        let for_us = bindings::thop_skb_is_for_us(skb);
        call(context, skb, state, |state: &T, packet| {
            if for_us {
                // INVARIANT: Netfilter calls this for a packet that has just come in.
                state.pre_routing(packet, Softirq(PhantomData))
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
    // SAFETY: By netfilter's contract.
    unsafe { call(context, skb, state, T::local_in) }
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
    unsafe { call(context, skb, state, T::arrives) }
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
    unsafe { call(context, skb, state, T::local_out) }
}
