// SPDX-License-Identifier: GPL-2.0

//! What a module keeps per network namespace.
//!
//! C headers: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h),
//! [`include/linux/netfilter.h`](srctree/include/linux/netfilter.h),
//! [`include/linux/proc_fs.h`](srctree/include/linux/proc_fs.h)
//!
//! A module implements [`Instance`] for its state and holds one [`Registration`]. For every network
//! namespace, those that exist and those to come, an instance is made, its proc files appear under
//! `/proc/net/NAME/`, its worker is ready, and its hooks see packets. When the namespace or the
//! module goes, things end in the opposite order:
//!
//! 1. [`Instance::retire()`] ends what only the hooks keep from doing harm;
//! 2. hooks are unregistered, proc files removed (which waits for readers and writers);
//! 3. if [`Instance::is_used()`], what a hook is doing still is waited for, and what waits in queues of user space is dropped;
//! 4. [`Instance::stop()`] ends what the instance itself has begun (sockets, for instance);
//! 5. the worker is cancelled, and waited for;
//! 6. an RCU grace period passes, after which no hook can be running;
//! 7. the instance is dropped.

use core::{
    cell::UnsafeCell,
    ffi::CStr,
    marker::PhantomData,
    mem,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    },
    types::Opaque, //
};

use crate::{
    bindings,
    compat,
    memory,
    skb::SkBuff, //
};

mod files;
mod hooks;
mod worker;

pub use files::{
    File,
    Text, //
};
pub use hooks::{
    Packet,
    Passing,
    Softirq,
    Verdict, //
};
pub use worker::Worker;

/// A network namespace that is alive for `'a`: the time of a call.
///
/// An [`Instance`] is given its own when it is made, and may keep that, as it goes before its namespace does. Nothing that outlives
/// it may have it.
///
/// # Invariants
///
/// The namespace is alive during `'a`, or, if that is `'static`, as long as its instance.
#[derive(Clone, Copy)]
pub struct Namespace<'a>(NonNull<bindings::net>, PhantomData<&'a ()>);

// SAFETY: A namespace is shared by all CPUs; its functions do their own locking.
unsafe impl Send for Namespace<'_> {}
// SAFETY: As above.
unsafe impl Sync for Namespace<'_> {}

impl Namespace<'_> {
    /// The caller sees to the type invariant.
    fn new(net: NonNull<bindings::net>) -> Self {
        Self(net, PhantomData)
    }

    pub(crate) fn as_ptr(self) -> *mut bindings::net {
        self.0.as_ptr()
    }
}

/// A module's state in one network namespace.
pub trait Instance: Sized + Send + Sync + 'static {
    /// The directory under `/proc/net`.
    const NAME: &'static CStr;

    /// When its hooks are called: those of lower priority first, `i32::MIN` first of all. Fragments are collected at -400, connections
    /// tracked at -200. No two modules whose order matters have the same: netfilter calls the one that was registered last first.
    const PRIORITY: i32;

    /// What all instances of the module share.
    type Shared: Send + Sync;

    /// Where the module's registration keeps itself: a static of the module.
    fn slot() -> &'static Slot<Self>;

    /// Makes the state for a namespace, which the instance may keep, but nothing that outlives it. Process context.
    fn new(
        namespace: Namespace<'static>,
        shared: &Self::Shared,
    ) -> Result<impl PinInit<Self, Error>>;

    /// The proc files.
    fn files() -> &'static [File<Self>];

    /// The worker that calls [`Instance::work()`].
    fn worker(&self) -> &Worker;

    /// What the worker does. Returns after how many milliseconds it shall be called again, `None`
    /// for not before it is kicked. Process context; never runs twice at once.
    fn work(&self) -> Option<u32>;

    /// Sees every IPv4 packet that comes in, fragments not reassembled, but for those that [`Self::elsewhere()`] sees.
    ///
    /// Softirq, within an RCU read-side section. The packet's octets begin with a linear IP header.
    fn pre_routing<'a>(&self, packet: Packet<'a>, softirq: Softirq<'a>) -> Verdict<'a>;

    /// Sees the packets that have not come to this machine alone, but in a link's broadcast or multicast; and those of VRFs, where the
    /// same addresses mean something else. Context as for [`Self::pre_routing()`].
    fn elsewhere<'a>(&self, packet: Packet<'a>) -> Verdict<'a> {
        packet.accept()
    }

    /// Sees every IPv4 packet for this machine, fragments reassembled.
    ///
    /// Context as for [`Instance::pre_routing()`].
    fn local_in<'a>(&self, packet: Packet<'a>) -> Verdict<'a>;

    /// Whether the instance has sockets: then it sees what this machine sends, and what arrives.
    const HAS_SOCKETS: bool = false;

    /// Sees every IPv4 packet for this machine that every other hook has let pass, if [`Instance::HAS_SOCKETS`].
    ///
    /// Softirq, or process context when a program in user space has had the packet; RCU read-side section.
    fn arrives<'a>(&self, packet: Passing<'a>) -> Verdict<'a> {
        packet.accept()
    }

    /// Sees every IPv4 packet that this machine sends, if [`Instance::HAS_SOCKETS`].
    ///
    /// Softirq or process context, within an RCU read-side section.
    fn local_out<'a>(&self, packet: Passing<'a>) -> Verdict<'a> {
        packet.accept()
    }

    /// Ends what only the hooks keep from doing harm, as they are about to go. Process context; also
    /// for an instance whose hooks have never been registered.
    fn retire(&self) {}

    /// Whether its hooks have ever had anything to do. One that nobody uses ends without waiting for them.
    fn is_used(&self) -> bool;

    /// Ends what the instance has begun. Process context; if [`Instance::is_used()`] no hook runs any more.
    fn stop(&self);
}

/// Where a module's [`Registration`] can be found by C callbacks.
pub struct Slot<T: Instance> {
    id: UnsafeCell<u32>,
    shared: Atomic<*mut T::Shared>,
    /// Whether every namespace has its place.
    ready: Atomic<bool>,
    ending: Atomic<bool>,
    _instances: PhantomData<T>,
}

// SAFETY: `id` is written by C before the first instance is made and only read after, by the one registration that has set the pointer;
// that is atomic.
unsafe impl<T: Instance> Sync for Slot<T> {}

impl<T: Instance> Slot<T> {
    /// An empty slot.
    #[expect(clippy::new_without_default, reason = "used in statics only")]
    pub const fn new() -> Self {
        Self {
            id: UnsafeCell::new(0),
            shared: Atomic::new(ptr::null_mut()),
            ready: Atomic::new(false),
            ending: Atomic::new(false),
            _instances: PhantomData,
        }
    }

    /// Nothing shall begin any more: the module goes.
    pub(crate) fn set_ending(&self) {
        self.ending.store(true, Relaxed);
    }

    /// Whether the module goes.
    #[inline]
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Relaxed)
    }

    /// The instance of a namespace, if it has one.
    ///
    /// # Safety
    ///
    /// `net` is valid, and the caller keeps the instance from going while it uses the reference, by
    /// being in an RCU read-side section or by being one of the instance's own callbacks.
    pub(crate) unsafe fn find<'a>(&self, net: *mut bindings::net) -> Option<&'a T> {
        if !self.ready.load(Acquire) {
            return None;
        }
        // SAFETY: The module is registered, so the place exists, as was just seen; by the function's requirements.
        unsafe { (*Registration::<T>::place(net)).as_ref() }.map(|holder| &holder.state)
    }
}

/// All that belongs to one instance, made and ended by the namespace's callbacks.
#[pin_data]
struct Holder<T: Instance> {
    /// First, so that the worker's C part can be found from it.
    #[pin]
    state: T,
    directory: Atomic<*mut bindings::proc_dir_entry>,
    entries: UnsafeCell<Option<KVec<files::Entry<T>>>>,
    hooks: UnsafeCell<hooks::Hooks>,
}

/// The existence of a module's instances: dropping it ends them all.
pub struct Registration<T: Instance> {
    operations: Pin<KBox<Opaque<bindings::pernet_operations>>>,
    _shared: Pin<KBox<T::Shared>>,
}

// SAFETY: It is only kept and dropped.
unsafe impl<T: Instance> Send for Registration<T> {}
// SAFETY: It has no methods that take a shared reference.
unsafe impl<T: Instance> Sync for Registration<T> {}

impl<T: Instance> Registration<T> {
    /// Makes an instance in every network namespace. [`EBUSY`] while there is another registration of this type. Process context.
    pub fn new(shared: T::Shared) -> Result<Self> {
        let slot = T::slot();
        let shared = KBox::pin(shared, memory::may_sleep())?;
        let ours = ptr::from_ref(&*shared).cast_mut();
        // Who has set it has the slot, id and all, to himself.
        slot.shared
            .cmpxchg(ptr::null_mut(), ours, Full)
            .map_err(|_| EBUSY)?;
        let registered = Self::register(slot);
        match registered {
            Ok(_) => slot.ready.store(true, Release),
            Err(_) => slot.shared.store(ptr::null_mut(), Release),
        }
        Ok(Self {
            operations: registered?,
            _shared: shared,
        })
    }

    /// The slot is ours.
    fn register(slot: &Slot<T>) -> Result<Pin<KBox<Opaque<bindings::pernet_operations>>>> {
        let operations = bindings::pernet_operations {
            init: Some(Self::init_callback),
            pre_exit: Some(Self::pre_exit_callback),
            exit: Some(Self::exit_callback),
            id: slot.id.get(),
            size: mem::size_of::<*mut Holder<T>>(),
            ..Default::default()
        };
        let operations = KBox::pin(Opaque::new(operations), memory::may_sleep())?;
        // SAFETY: The operations are pinned and live until `drop()` unregisters them.
        to_result(unsafe { bindings::register_pernet_subsys(operations.get()) })?;
        Ok(operations)
    }

    /// Where the namespace keeps the pointer to its holder.
    ///
    /// # Safety
    ///
    /// `net` is valid and the operations are registered.
    unsafe fn place(net: *mut bindings::net) -> *mut *mut Holder<T> {
        // SAFETY: The id was set by `register_pernet_subsys()`, and the area it names has the size
        // of a pointer, as the operations say.
        unsafe { bindings::thop_net_generic(net, *T::slot().id.get()).cast() }
    }

    fn make(net: NonNull<bindings::net>) -> Result<Pin<KBox<Holder<T>>>> {
        let shared = T::slot().shared.load(Relaxed);
        // SAFETY: `new()` has set it before it registered the operations, and `drop()` frees it
        // after it has unregistered them.
        let shared = unsafe { &*shared };
        // INVARIANT: The namespace is alive from here until the state has been dropped by `exit_callback()`.
        let state = T::new(Namespace::new(net), shared)?;
        let holder = KBox::try_pin_init(
            try_pin_init!(Holder {
                state <- state,
                directory: Atomic::new(ptr::null_mut()),
                entries: UnsafeCell::new(None),
                hooks: UnsafeCell::new(Default::default()),
            }? Error),
            memory::may_sleep(),
        )?;
        Ok(holder)
    }

    fn start(net: NonNull<bindings::net>, holder: &Holder<T>) -> Result {
        holder.state.worker().attach(&holder.state);
        files::create(net, holder)?;
        // SAFETY: Nobody else uses the array before the hooks are registered. `hooks::register()`
        // keeps its address until `hooks::unregister()`; the holder is pinned.
        unsafe { hooks::register(net, &holder.state, holder.hooks.get()) }
    }

    /// Ends what `start()` has begun, as far as it came.
    ///
    /// # Safety
    ///
    /// `net` is the holder's namespace.
    unsafe fn end(net: NonNull<bindings::net>, holder: &Holder<T>) {
        holder.state.retire();
        let used = holder.state.is_used();
        // SAFETY: Registered by `start()`, or not at all, which it recognises.
        unsafe { hooks::unregister::<T>(net, holder.hooks.get(), !used) };
        files::remove(holder);
        if used {
            // What a hook is doing still, be it only to send something up the stack, which may wait in a queue then.
            compat::synchronize_rcu();
            // SAFETY: As above. As hooks go, the kernel drops what waits in queues (`nf_queue_nf_hook_drop()`).
            unsafe { hooks::unregister::<T>(net, holder.hooks.get(), true) };
            // What came out of a queue just before.
            compat::synchronize_rcu();
        }
        holder.state.stop();
        holder.state.worker().stop();
    }

    /// Process context, from `register_pernet_subsys()` or the creation of a namespace.
    ///
    /// # Safety
    ///
    /// `net` is a valid namespace, and the operations are registered.
    unsafe extern "C" fn init_callback(net: *mut bindings::net) -> i32 {
        from_result(|| {
            let net = NonNull::new(net).ok_or(EINVAL)?;
            let holder = Self::make(net)?;
            if let Err(error) = Self::start(net, &holder) {
                // SAFETY: It is this namespace's.
                unsafe { Self::end(net, &holder) };
                // A hook may have begun to run.
                compat::synchronize_rcu();
                return Err(error);
            }
            // SAFETY: The callback is called with a valid namespace by registered operations. The
            // holder stays pinned: `exit_callback()` makes a pinned box of it again.
            unsafe {
                *Self::place(net.as_ptr()) = KBox::into_raw(Pin::into_inner_unchecked(holder));
            }
            Ok(0)
        })
    }

    /// Process context. The core waits for an RCU grace period between this and `exit_callback()`.
    ///
    /// # Safety
    ///
    /// `net` is a valid namespace, and the operations are registered.
    unsafe extern "C" fn pre_exit_callback(net: *mut bindings::net) {
        // SAFETY: As for `init_callback()`, which has stored the holder there.
        let (Some(net), holder) = (NonNull::new(net), unsafe { *Self::place(net) }) else {
            return;
        };
        // SAFETY: The holder lives until `exit_callback()`.
        if let Some(holder) = unsafe { holder.as_ref() } {
            // SAFETY: It is this namespace's.
            unsafe { Self::end(net, holder) };
        }
    }

    /// Process context. Nothing of the instance is running any more.
    ///
    /// # Safety
    ///
    /// `net` is a valid namespace, and the operations are registered.
    unsafe extern "C" fn exit_callback(net: *mut bindings::net) {
        // SAFETY: As for `init_callback()`.
        let holder = unsafe { mem::replace(&mut *Self::place(net), ptr::null_mut()) };
        if !holder.is_null() {
            // SAFETY: It comes from `KBox::into_raw()` and is reachable from nowhere else.
            drop(unsafe { Pin::new_unchecked(KBox::from_raw(holder)) });
        }
    }
}

impl<T: Instance> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: `new()` has registered them.
        unsafe { bindings::unregister_pernet_subsys(self.operations.get()) };
        // What instances have given to RCU callbacks of this module must have run before its code
        // goes.
        // SAFETY: Process context, no locks.
        unsafe { bindings::rcu_barrier() };
        T::slot().ready.store(false, Relaxed);
        // Whoever takes the slot next comes after all that.
        T::slot().shared.store(ptr::null_mut(), Release);
    }
}
