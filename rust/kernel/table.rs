// SPDX-License-Identifier: GPL-2.0

//! A hash table whose buckets are locked each for itself.
//!
//! This is the table of the paper (section 2.3, "Design solutions for efficiency"): CPUs that work
//! on different buckets do not meet, and elements come from a slab cache of their own.
//!
//! Hashing rules: an element stays in the bucket of its key from [`Table::insert`] until it is
//! removed; its key never changes meanwhile. Bucket locks are taken with softirqs disabled, one at a
//! time. Closures given to the table run with the bucket's lock held: they must not send, sleep, or
//! use the table. Elements that are removed are returned, so that they are dropped without the lock.
//!
//! A table takes its buckets when it is told to ([`Table::prepare`]). Before that it is an empty one that has no
//! room: whoever makes a network namespace, be it for a container or without any right, does not take memory for
//! tables that nobody there uses.
//!
//! A lookup costs as much as its bucket's chain is long. The table knows its longest chain: at
//! every insertion, which has walked the chain anyway, and from every sweep of the whole table.

use core::{
    cell::UnsafeCell,
    ffi::CStr,
    marker::PhantomData,
    mem,
    ops::Range,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    fmt,
    prelude::*,
    static_lock_class,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    },
};

use crate::bindings;

/// What a table holds.
pub trait Element: Send {
    /// What names an element.
    type Key: Copy + Eq;

    /// What hashes names.
    type Hasher: Send + Sync;

    /// The element's name. It must not change while the element is in a table.
    fn key(&self) -> Self::Key;

    /// The hash of a name; buckets are chosen by its low bits.
    fn hash(hasher: &Self::Hasher, key: &Self::Key) -> u32;
}

/// A slab cache for the elements of tables: `struct kmem_cache`.
///
/// # Invariants
///
/// `cache` is a cache for objects of the size and alignment of `Node<T>`.
pub struct Cache<T> {
    cache: NonNull<bindings::kmem_cache>,
    _objects: PhantomData<T>,
}

// SAFETY: `kmem_cache` functions may be called from anywhere.
unsafe impl<T: Send> Send for Cache<T> {}
// SAFETY: As above.
unsafe impl<T: Send> Sync for Cache<T> {}

impl<T> Cache<T> {
    /// Creates the cache; `/proc/slabinfo` shows it as `name`. Process context.
    pub fn new(name: &'static CStr) -> Result<Self> {
        // SAFETY: `name` is a C string that lives for ever.
        let cache = unsafe {
            bindings::thop_cache_create(
                name.as_char_ptr(),
                mem::size_of::<Node<T>>() as u32,
                mem::align_of::<Node<T>>() as u32,
            )
        };
        // INVARIANT: Created for `Node<T>`.
        Ok(Self {
            cache: NonNull::new(cache).ok_or(ENOMEM)?,
            _objects: PhantomData,
        })
    }

    /// An object that is not initialised.
    fn alloc(&self) -> Option<NonNull<Node<T>>> {
        // SAFETY: By the type invariant this is a cache.
        NonNull::new(unsafe { bindings::thop_cache_alloc(self.cache.as_ptr()) }.cast())
    }

    /// # Safety
    ///
    /// `node` comes from `alloc()` of this cache, and was not initialised.
    unsafe fn free_unused(&self, node: NonNull<Node<T>>) {
        // SAFETY: By the function's requirements.
        unsafe { bindings::kmem_cache_free(self.cache.as_ptr(), node.as_ptr().cast()) };
    }

    /// # Safety
    ///
    /// `node` comes from `alloc()` of this cache, holds a value, and nobody can reach it any more.
    unsafe fn free(&self, node: NonNull<Node<T>>) -> T {
        // SAFETY: By the function's requirements; the value is moved out before the object is freed.
        let Node { value, .. } = unsafe { node.as_ptr().read() };
        // SAFETY: By the function's requirements.
        unsafe { bindings::kmem_cache_free(self.cache.as_ptr(), node.as_ptr().cast()) };
        value
    }
}

impl<T> Drop for Cache<T> {
    fn drop(&mut self) {
        // SAFETY: Tables hold a reference to their cache and free all elements when they go, so the
        // cache is empty.
        unsafe { bindings::kmem_cache_destroy(self.cache.as_ptr()) }
    }
}

struct Node<T> {
    next: *mut Node<T>,
    value: T,
}

#[repr(C)]
struct Bucket<T> {
    lock: UnsafeCell<bindings::spinlock_t>,
    first: UnsafeCell<*mut Node<T>>,
}

/// Initialises a bucket's lock. To lockdep those of all tables are alike: nobody has two at once.
///
/// Not part of [`Table`], of whose methods there are many: lockdep wants one name where there is one class.
///
/// # Safety
///
/// `lock` can be written to.
unsafe fn init_lock(lock: *mut bindings::spinlock_t) {
    static NAME: &CStr = c"thop_bucket";
    let class = static_lock_class!();
    // SAFETY: By the function's requirements. Name and class live as long as the module.
    unsafe { bindings::thop_spin_lock_init(lock, NAME.as_char_ptr(), class.as_ptr().cast()) }
}

/// Why an element could not be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is an element of that key, and it must stay.
    Exists,
    /// The table holds as many as it may.
    Full,
    /// There is no memory.
    NoMemory,
}

/// How often the log says that a chain is long, milliseconds.
const WARN_MS: u64 = 60_000;

/// Watches over the chains of all tables of a module, so that the log says when one is long, and is
/// not filled with it.
pub struct ChainWatch {
    limit: u32,
    /// When it was said last, milliseconds since boot; 0: never.
    said_ms: Atomic<u64>,
}

impl ChainWatch {
    /// Chains of up to `limit` elements are nothing to tell of.
    pub const fn new(limit: u32) -> Self {
        Self {
            limit,
            said_ms: Atomic::new(0),
        }
    }

    /// What is to be said of a chain of connections of this length, if it is time to say it; `keyed`:
    /// they are hashed with a secret key. Any context.
    pub fn warning(&self, length: u32, keyed: bool, now_ms: u64) -> Option<LongChain> {
        let said = self.said_ms.load(Relaxed);
        let due = length > self.limit
            && (said == 0 || now_ms.saturating_sub(said) >= WARN_MS)
            && self.said_ms.cmpxchg(said, now_ms.max(1), Relaxed).is_ok();
        due.then_some(LongChain { length, keyed })
    }
}

/// That a chain is long, and what to do about it.
pub struct LongChain {
    length: u32,
    keyed: bool,
}

impl fmt::Display for LongChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections share one bucket of the table: too few buckets (parameter buckets)",
            self.length
        )?;
        if !self.keyed {
            f.write_str(", or addresses chosen to collide (then hash=siphash helps)")?;
        }
        Ok(())
    }
}

/// The hash table.
///
/// # Invariants
///
/// - `buckets` is null, or points to `mask + 1` buckets with initialised locks, owned by the table. It changes only
///   once, from one to the other.
/// - Each bucket's list holds nodes of `cache`, and is touched only under the bucket's lock.
pub struct Table<T: Element> {
    buckets: Atomic<*mut Bucket<T>>,
    mask: u32,
    limit: u32,
    count: Atomic<i32>,
    hasher: T::Hasher,
    /// The longest chain that there ever was.
    longest: Atomic<u32>,
    /// The longest chain that the last sweep of all buckets has left.
    swept: Atomic<u32>,
    /// Where a sweep by parts goes on, and the longest chain that this round of it has left so far.
    part: Atomic<u32>,
    part_longest: Atomic<u32>,
    cache: Arc<Cache<T>>,
}

// SAFETY: Elements may be sent, and are reached by one CPU at a time, under a bucket's lock.
unsafe impl<T: Element> Send for Table<T> {}
// SAFETY: As above.
unsafe impl<T: Element> Sync for Table<T> {}

impl<T: Element> Table<T> {
    /// A table for at least `buckets` buckets (rounded up to a power of two) that never holds more
    /// than `limit` elements, and none before [`Table::prepare`].
    pub fn unprepared(cache: Arc<Cache<T>>, buckets: u32, limit: u32, hasher: T::Hasher) -> Self {
        let buckets = buckets.clamp(1, 1 << 24).next_power_of_two();
        // INVARIANT: There are no buckets.
        Self {
            buckets: Atomic::new(ptr::null_mut()),
            mask: buckets - 1,
            limit: limit.min(i32::MAX as u32),
            count: Atomic::new(0),
            hasher,
            longest: Atomic::new(0),
            swept: Atomic::new(0),
            part: Atomic::new(0),
            part_longest: Atomic::new(0),
            cache,
        }
    }

    /// The same, prepared. Process context.
    pub fn new(cache: Arc<Cache<T>>, buckets: u32, limit: u32, hasher: T::Hasher) -> Result<Self> {
        let table = Self::unprepared(cache, buckets, limit, hasher);
        table.prepare()?;
        Ok(table)
    }

    /// Makes the table ready for elements, if it is not yet. [`ENOMEM`] leaves it as it is. Process context.
    pub fn prepare(&self) -> Result {
        if !self.buckets.load(Relaxed).is_null() {
            return Ok(());
        }
        let size = self.buckets() as usize * mem::size_of::<Bucket<T>>();
        // SAFETY: Plain allocation; no requirements.
        let memory = unsafe { bindings::thop_kvzalloc(size) }.cast::<Bucket<T>>();
        if memory.is_null() {
            return Err(ENOMEM);
        }
        for index in 0..self.buckets() as usize {
            // SAFETY: Within the allocation, which is zeroed: an empty list is a null pointer.
            unsafe { init_lock(ptr::addr_of_mut!((*memory.add(index)).lock).cast()) };
        }
        // Who sees the pointer sees the locks.
        // INVARIANT: All locks are initialised, all lists empty.
        let first = self.buckets.cmpxchg(ptr::null_mut(), memory, Full);
        if first.is_err() {
            // SAFETY: Somebody else was faster; nobody has seen this one.
            unsafe { bindings::kvfree(memory.cast()) };
        }
        Ok(())
    }

    /// Whether there is, or was, room for any element.
    pub fn is_prepared(&self) -> bool {
        self.prepared().is_some()
    }

    #[inline]
    fn prepared(&self) -> Option<Buckets<'_, T>> {
        // INVARIANT: By the type invariant. They are initialised as far as this reads: `prepare()` released them.
        Some(Buckets {
            first: NonNull::new(self.buckets.load(Acquire))?,
            table: self,
        })
    }

    /// How many buckets there are.
    pub fn buckets(&self) -> u32 {
        self.mask + 1
    }

    /// How many elements the table holds.
    pub fn len(&self) -> u32 {
        self.count.load(Relaxed).max(0) as u32
    }

    /// Whether the table holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The longest chain: as the last sweep of the whole table has left it, and that there ever was.
    pub fn chains(&self) -> (u32, u32) {
        // Elements may have gone since.
        (
            self.swept.load(Relaxed).min(self.len()),
            self.longest.load(Relaxed),
        )
    }

    /// A chain has grown to this length.
    #[inline]
    fn grown(&self, length: u32) {
        let mut longest = self.longest.load(Relaxed);
        while length > longest {
            match self.longest.cmpxchg(longest, length, Relaxed) {
                Ok(_) => break,
                Err(other) => longest = other,
            }
        }
    }

    /// The bucket that a key belongs to.
    #[inline]
    pub fn bucket_of(&self, key: &T::Key) -> u32 {
        T::hash(&self.hasher, key) & self.mask
    }

    /// Runs `f` on the element named `key`, under its bucket's lock.
    #[inline]
    pub fn with<R>(&self, key: &T::Key, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut chain = self.prepared()?.lock(self.bucket_of(key));
        let node = chain.find(|value| value.key() == *key)?;
        Some(f(node))
    }

    /// The same with something that `f` takes over, and that is given back if there is no such element.
    #[inline]
    pub fn with_given<G, R>(
        &self,
        key: &T::Key,
        given: G,
        f: impl FnOnce(&mut T, G) -> R,
    ) -> Result<R, G> {
        let Some(buckets) = self.prepared() else {
            return Err(given);
        };
        let mut chain = buckets.lock(self.bucket_of(key));
        match chain.find(|value| value.key() == *key) {
            Some(node) => Ok(f(node, given)),
            None => Err(given),
        }
    }

    /// Runs `f` on the first element that `matches`, among those whose keys have this hash.
    #[inline]
    pub fn find<R>(
        &self,
        hash: impl FnOnce(&T::Hasher) -> u32,
        mut matches: impl FnMut(&T) -> bool,
        f: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        let mut chain = self.prepared()?.lock(hash(&self.hasher));
        let node = chain.find(|value| matches(value))?;
        Some(f(node))
    }

    /// Removes the element named `key` if `f` says so, under its bucket's lock.
    pub fn remove_if(&self, key: &T::Key, mut f: impl FnMut(&mut T) -> bool) -> Option<T> {
        let mut chain = self.prepared()?.lock(self.bucket_of(key));
        let node = chain.unlink(|value| value.key() == *key && f(value))?;
        drop(chain);
        self.count.fetch_sub(1, Relaxed);
        // SAFETY: Unlinked under the lock, so nobody can reach it; it came from this cache.
        Some(unsafe { self.cache.free(node) })
    }

    /// Room for one more element, so that its insertion cannot fail. Atomic context.
    pub fn room(&self) -> Result<Room<'_, T>, Refused> {
        let buckets = self.prepared().ok_or(Refused::NoMemory)?;
        if self.count.fetch_add(1, Relaxed) >= self.limit as i32 {
            self.count.fetch_sub(1, Relaxed);
            return Err(Refused::Full);
        }
        match self.cache.alloc() {
            // INVARIANT: Just allocated, and counted.
            Some(node) => Ok(Room { buckets, node }),
            None => {
                self.count.fetch_sub(1, Relaxed);
                Err(Refused::NoMemory)
            }
        }
    }

    /// Inserts `value`. An element of the same key is replaced and returned. Atomic context.
    pub fn insert(&self, value: T) -> Result<Option<T>, (Refused, T)> {
        match self.room() {
            Ok(room) => Ok(room.fill(value)),
            Err(refused) => Err((refused, value)),
        }
    }

    /// Inserts `value` unless there is an element of the same key that `f` does not give up.
    /// Atomic context.
    pub fn insert_if(
        &self,
        value: T,
        f: impl FnMut(&mut T) -> bool,
    ) -> Result<Option<T>, (Refused, T)> {
        match self.room() {
            Ok(room) => room
                .fill_if(value, f)
                .map_err(|value| (Refused::Exists, value)),
            Err(refused) => Err((refused, value)),
        }
    }

    /// Inserts `value` unless there is an element of the same key. Atomic context.
    pub fn insert_new(&self, value: T) -> Result<(), (Refused, T)> {
        self.insert_if(value, |_| false).map(|_| ())
    }

    /// Removes those elements of a bucket that `f` chooses, and gives each to `gone` once the lock
    /// is released. Returns how many are left.
    pub fn sweep(
        &self,
        bucket: u32,
        f: impl FnMut(&mut T) -> bool,
        mut gone: impl FnMut(T),
    ) -> u32 {
        let Some(buckets) = self.prepared() else {
            return 0;
        };
        let (mut removed, left) = buckets.lock(bucket).unlink_all(f);
        while let Some(node) = NonNull::new(removed) {
            // SAFETY: It is on our own list; read before it is freed.
            removed = unsafe { (*node.as_ptr()).next };
            self.count.fetch_sub(1, Relaxed);
            // SAFETY: Unlinked under the lock, so nobody can reach it; it came from this cache.
            gone(unsafe { self.cache.free(node) });
        }
        left
    }

    /// [`Table::sweep()`] of all buckets, each for itself.
    pub fn sweep_all(&self, f: impl FnMut(&mut T) -> bool, gone: impl FnMut(T)) {
        let longest = self.sweep_range(0..self.buckets(), f, gone);
        self.swept.store(longest, Relaxed);
    }

    /// The same of the next `count` buckets; after the last comes the first again. What [`Table::chains`] tells is new
    /// after each round. Callers take turns: two at once would leave buckets to the next round.
    pub fn sweep_part(&self, count: u32, f: impl FnMut(&mut T) -> bool, gone: impl FnMut(T)) {
        let from = self.part.load(Relaxed);
        let end = from.saturating_add(count).min(self.buckets());
        let longest = self.sweep_range(from..end, f, gone);
        let longest = longest.max(self.part_longest.load(Relaxed));
        if end < self.buckets() {
            self.part.store(end, Relaxed);
            self.part_longest.store(longest, Relaxed);
        } else {
            self.part.store(0, Relaxed);
            self.part_longest.store(0, Relaxed);
            self.swept.store(longest, Relaxed);
        }
    }

    /// [`Table::sweep()`] of these buckets. Returns the longest chain that is left.
    fn sweep_range(
        &self,
        mut range: Range<u32>,
        mut f: impl FnMut(&mut T) -> bool,
        mut gone: impl FnMut(T),
    ) -> u32 {
        let mut longest = 0;
        while let Some(bucket) = self.first_used(range.clone()) {
            longest = longest.max(self.sweep(bucket, &mut f, &mut gone));
            range.start = bucket + 1;
        }
        longest
    }

    /// Shows each element of a bucket to `f`, under the bucket's lock.
    pub fn visit(&self, bucket: u32, mut f: impl FnMut(&mut T)) {
        let Some(buckets) = self.prepared() else {
            return;
        };
        let mut chain = buckets.lock(bucket);
        chain.find(|value| {
            f(value);
            false
        });
    }

    /// The first bucket from `from` on that has an element, as seen without locks.
    pub fn next_used(&self, from: u32) -> Option<u32> {
        self.first_used(from..self.buckets())
    }

    fn first_used(&self, mut range: Range<u32>) -> Option<u32> {
        let buckets = self.prepared()?;
        range.find(|&bucket| {
            // SAFETY: The pointer is only compared.
            unsafe { !ptr::read_volatile(buckets.at(bucket).first.get()).is_null() }
        })
    }
}

/// The buckets of a table that is prepared.
///
/// # Invariants
///
/// `first` points to the table's buckets, whose locks are initialised.
struct Buckets<'a, T: Element> {
    first: NonNull<Bucket<T>>,
    table: &'a Table<T>,
}

impl<'a, T: Element> Buckets<'a, T> {
    #[inline]
    fn at(&self, index: u32) -> &'a Bucket<T> {
        // SAFETY: The mask keeps the index within the buckets, by the table's invariant; they live as long as it.
        unsafe { &*self.first.as_ptr().add((index & self.table.mask) as usize) }
    }

    #[inline]
    fn lock(&self, index: u32) -> Chain<'a, T> {
        let bucket = self.at(index);
        // SAFETY: By the type invariant the lock is initialised; the buckets never move.
        unsafe { bindings::thop_spin_lock_bh(bucket.lock.get()) };
        // INVARIANT: Just locked.
        Chain { bucket }
    }
}

/// A place in a table that is kept free for an element.
///
/// # Invariants
///
/// `node` comes from the table's cache, is not initialised, belongs to this object, and is counted.
pub struct Room<'a, T: Element> {
    buckets: Buckets<'a, T>,
    node: NonNull<Node<T>>,
}

impl<T: Element> Room<'_, T> {
    /// Puts an element there. One of the same key is replaced and returned. Any context.
    pub fn fill(self, value: T) -> Option<T> {
        // None that is given up stays.
        self.fill_if(value, |_| true)
            .unwrap_or_else(|value| Some(value))
    }

    /// The same, unless there is an element of the same key that `f` does not give up.
    fn fill_if(self, value: T, mut f: impl FnMut(&mut T) -> bool) -> Result<Option<T>, T> {
        let Self { ref buckets, node } = *mem::ManuallyDrop::new(self);
        let table = buckets.table;
        let key = value.key();
        // SAFETY: By the type invariant it is ours, and an object for a `Node<T>`.
        unsafe {
            node.as_ptr().write(Node {
                next: ptr::null_mut(),
                value,
            })
        };
        let mut chain = buckets.lock(table.bucket_of(&key));
        let (mut seen, mut exists) = (0, false);
        let old = chain.unlink(|value| {
            seen += 1;
            let same = value.key() == key;
            exists |= same;
            same && f(value)
        });
        let stays = exists && old.is_none();
        if !stays {
            chain.push(node);
        }
        drop(chain);
        if !exists {
            table.grown(seen + 1);
        }
        if stays {
            table.count.fetch_sub(1, Relaxed);
            // SAFETY: It was never in the table, came from this cache, and holds a value.
            return Err(unsafe { table.cache.free(node) });
        }
        let Some(old) = old else { return Ok(None) };
        table.count.fetch_sub(1, Relaxed);
        // SAFETY: Unlinked under the lock, so nobody can reach it; it came from this cache.
        Ok(Some(unsafe { table.cache.free(old) }))
    }
}

impl<T: Element> Drop for Room<'_, T> {
    fn drop(&mut self) {
        let table = self.buckets.table;
        table.count.fetch_sub(1, Relaxed);
        // SAFETY: By the type invariant.
        unsafe { table.cache.free_unused(self.node) }
    }
}

impl<T: Element> Drop for Table<T> {
    fn drop(&mut self) {
        self.sweep_all(|_| true, drop);
        // SAFETY: By the type invariant the memory, if there is any, is ours, and the lists are empty now.
        unsafe { bindings::kvfree(self.buckets.load(Relaxed).cast()) };
    }
}

/// A locked bucket.
///
/// # Invariants
///
/// The bucket's lock is held by this CPU.
struct Chain<'a, T> {
    bucket: &'a Bucket<T>,
}

impl<T> Chain<'_, T> {
    /// The first element that `f` accepts.
    #[inline]
    fn find(&mut self, mut f: impl FnMut(&mut T) -> bool) -> Option<&mut T> {
        // SAFETY: By the type invariant the list is ours while the lock is held; each node on it is
        // initialised and stays until it is unlinked.
        unsafe {
            let mut node = *self.bucket.first.get();
            while !node.is_null() {
                if f(&mut (*node).value) {
                    return Some(&mut (*node).value);
                }
                node = (*node).next;
            }
        }
        None
    }

    /// Takes the first element that `f` accepts out of the list.
    #[inline]
    fn unlink(&mut self, mut f: impl FnMut(&mut T) -> bool) -> Option<NonNull<Node<T>>> {
        // SAFETY: As for `find()`; `link` points to the bucket's head or into a node on the list.
        unsafe {
            let mut link = self.bucket.first.get();
            while let Some(node) = NonNull::new(*link) {
                if f(&mut (*node.as_ptr()).value) {
                    *link = (*node.as_ptr()).next;
                    return Some(node);
                }
                link = ptr::addr_of_mut!((*node.as_ptr()).next);
            }
        }
        None
    }

    /// Takes all elements that `f` accepts out of the list, in one walk. Returns them as a list of
    /// their own, and how many are left.
    fn unlink_all(&mut self, mut f: impl FnMut(&mut T) -> bool) -> (*mut Node<T>, u32) {
        let (mut removed, mut left) = (ptr::null_mut(), 0);
        // SAFETY: As for `unlink()`. A node that was unlinked is ours alone.
        unsafe {
            let mut link = self.bucket.first.get();
            while let Some(node) = NonNull::new(*link) {
                let node = node.as_ptr();
                if f(&mut (*node).value) {
                    *link = (*node).next;
                    (*node).next = removed;
                    removed = node;
                } else {
                    left += 1;
                    link = ptr::addr_of_mut!((*node).next);
                }
            }
        }
        (removed, left)
    }

    fn push(&mut self, node: NonNull<Node<T>>) {
        // SAFETY: By the type invariant the list is ours; the node is not on any list yet.
        unsafe {
            (*node.as_ptr()).next = *self.bucket.first.get();
            *self.bucket.first.get() = node.as_ptr();
        }
    }
}

impl<T> Drop for Chain<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is held here.
        unsafe { bindings::thop_spin_unlock_bh(self.bucket.lock.get()) }
    }
}
