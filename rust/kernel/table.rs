// SPDX-License-Identifier: GPL-2.0

//! A hash table whose buckets are locked each for itself.
//!
//! This is the table of the paper (section 2.3, "Design solutions for efficiency"): CPUs that work
//! on different buckets do not meet, and elements come from a slab cache of their own.
//!
//! Hashing rules: an element is in the bucket of its key from [`Table::insert`] until it is
//! removed; its key never changes meanwhile. Bucket locks are taken with softirqs disabled, one at a
//! time, but when a bucket is split or merged: then that of the lower number first. Closures given to the table run with the bucket's lock held: they must not send, sleep, or
//! use the table. Elements that are removed are returned, so that they are dropped without the lock.
//!
//! A table takes its buckets when it is told to ([`Table::prepare`]). Before that it is an empty one that has no
//! room: whoever makes a network namespace, be it for a container or without any right, does not take memory for
//! tables that nobody there uses.
//!
//! A table that may ([`Table::growing`]) grows and shrinks while it is used, by linear hashing ([`thop_core::buckets`]): whoever tends
//! it ([`Table::tend`]) splits and merges buckets one by one. Each bucket says which bits its hashes agree in, so that who has locked it sees
//! whether it is the right one; if not he goes on to another. No lookup waits for more than one bucket. Without memory the table stays as it is.
//! What goes through a table goes by positions, which do not change with its buckets.
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
            Relaxed,
            Release, //
        },
        rcu,
        Arc, //
    },
};
use thop_core::buckets::{
    self,
    Bounds,
    Goal,
    Shape,
    Step,
    POSITIONS,
    SEGMENTS, //
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
    /// In which bits the hashes agree here. None in a bucket above the first means that it is still, or again, part of its parent.
    /// Changes under the lock.
    known: Atomic<u32>,
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
            "{} connections share one bucket of the table: too few buckets (parameter most_buckets)",
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
/// - Each of `segments` is null or points to as many buckets as [`buckets::segment_len()`] says, with initialised locks, owned by the
///   table. The first is null until the table is prepared, and then never again. Another is null as long as none of its buckets is split off. It
///   is freed no earlier than an RCU grace period after it has become null again.
/// - Each bucket's list holds nodes of `cache`, and is touched only under the bucket's lock.
/// - `care` is touched only by who has set `tended`.
pub struct Table<T: Element> {
    segments: [Atomic<*mut Bucket<T>>; SEGMENTS],
    /// The bits of a hash by which a lookup begins: a guess that is right for most.
    mask: Atomic<u32>,
    bounds: Bounds,
    /// How many buckets there are.
    buckets: Atomic<u32>,
    /// Whether somebody tends the table just now: not 0.
    tended: Atomic<u32>,
    care: UnsafeCell<Care<T>>,
    /// How often there was no memory for more buckets.
    no_memory: Atomic<u32>,
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
    /// Odd while elements move from one bucket to another.
    moves: Atomic<u32>,
    cache: Arc<Cache<T>>,
}

/// What is known to who tends a table.
struct Care<T> {
    shape: Shape,
    /// Since when the table is nearly empty, milliseconds since boot; 0: it is not.
    sparse_ms: u64,
    /// When memory may be asked for again.
    retry_ms: u64,
    /// A segment that is to be freed when this grace period is over.
    retired: Option<(NonNull<Bucket<T>>, u64)>,
}

/// How many buckets are split or merged in one go: some hundred microseconds' worth.
const STEPS: u32 = 2_048;
/// How long after that the next go is, milliseconds.
const NEXT_MS: u32 = 10;
/// How often a table that may shrink is looked at, milliseconds.
const LOOK_MS: u32 = 1_000;
/// How long after failure memory is asked for again, milliseconds.
const RETRY_MS: u64 = 5_000;

// SAFETY: Elements may be sent, and are reached by one CPU at a time, under a bucket's lock.
unsafe impl<T: Element> Send for Table<T> {}
// SAFETY: As above.
unsafe impl<T: Element> Sync for Table<T> {}

impl<T: Element> Table<T> {
    /// A table for at least `buckets` buckets (rounded up to a power of two) that never holds more
    /// than `limit` elements, and none before [`Table::prepare`].
    pub fn unprepared(cache: Arc<Cache<T>>, buckets: u32, limit: u32, hasher: T::Hasher) -> Self {
        let least = buckets::bits_for(buckets);
        // INVARIANT: There are no buckets.
        Self {
            segments: [const { Atomic::new(ptr::null_mut()) }; SEGMENTS],
            mask: Atomic::new(buckets::mask(least)),
            bounds: Bounds { least, most: least },
            buckets: Atomic::new(1 << least),
            tended: Atomic::new(0),
            care: UnsafeCell::new(Care {
                shape: Shape {
                    bits: least,
                    split: 0,
                },
                sparse_ms: 0,
                retry_ms: 0,
                retired: None,
            }),
            no_memory: Atomic::new(0),
            limit: limit.min(i32::MAX as u32),
            count: Atomic::new(0),
            hasher,
            longest: Atomic::new(0),
            swept: Atomic::new(0),
            part: Atomic::new(0),
            part_longest: Atomic::new(0),
            moves: Atomic::new(0),
            cache,
        }
    }

    /// The same, prepared. Process context.
    pub fn new(cache: Arc<Cache<T>>, buckets: u32, limit: u32, hasher: T::Hasher) -> Result<Self> {
        let table = Self::unprepared(cache, buckets, limit, hasher);
        table.prepare()?;
        Ok(table)
    }

    /// The same, which grows to as many as `buckets` (rounded up to a power of two), and shrinks again, if it is tended to.
    pub fn growing(mut self, buckets: u32) -> Self {
        self.bounds.most = buckets::bits_for(buckets).max(self.bounds.least);
        self
    }

    /// Makes the table ready for elements, if it is not yet. [`ENOMEM`] leaves it as it is. Process context.
    pub fn prepare(&self) -> Result {
        self.add_segment(0, buckets::mask(self.bounds.least))
    }

    /// Makes a segment, if it is not there, of buckets that know these bits. Process context.
    fn add_segment(&self, number: usize, known: u32) -> Result {
        let segment = self.segments.get(number).ok_or(EINVAL)?;
        if !segment.load(Relaxed).is_null() {
            return Ok(());
        }
        let len = buckets::segment_len(number, self.bounds.least) as usize;
        // SAFETY: Plain allocation; no requirements.
        let memory = unsafe { bindings::thop_kvzalloc(len * mem::size_of::<Bucket<T>>()) };
        let memory = memory.cast::<Bucket<T>>();
        if memory.is_null() {
            return Err(ENOMEM);
        }
        for index in 0..len {
            // SAFETY: Within the allocation, which is zeroed: an empty list is a null pointer.
            unsafe {
                init_lock(ptr::addr_of_mut!((*memory.add(index)).lock).cast());
                ptr::addr_of_mut!((*memory.add(index)).known).write(Atomic::new(known));
            }
        }
        // Who sees the pointer sees the locks.
        // INVARIANT: All locks are initialised, all lists empty.
        if segment.cmpxchg(ptr::null_mut(), memory, Full).is_err() {
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
        let [first, ..] = &self.segments;
        // INVARIANT: Not null.
        (!first.load(Relaxed).is_null()).then_some(Buckets { table: self })
    }

    /// How many buckets there are.
    pub fn buckets(&self) -> u32 {
        self.buckets.load(Relaxed)
    }

    /// How often there was no memory for more buckets.
    pub fn no_memory(&self) -> u32 {
        self.no_memory.load(Relaxed)
    }

    /// Lets the table grow or shrink a little, if it should. Returns after how many milliseconds it wants to be tended again, `None`
    /// for not before there is another element. `now_ms` is the time since boot. Process context; does not wait.
    pub fn tend(&self, now_ms: u64) -> Option<u32> {
        let buckets = self.prepared()?;
        if self.tended.cmpxchg(0, 1, Full).is_err() {
            return Some(NEXT_MS);
        }
        // SAFETY: By the type invariant it is ours.
        let next = buckets.tend(unsafe { &mut *self.care.get() }, now_ms);
        self.tended.store(0, Release);
        next
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

    /// The hash of a key.
    #[inline]
    pub fn hash_of(&self, key: &T::Key) -> u32 {
        T::hash(&self.hasher, key)
    }

    /// The position of a key.
    pub fn position_of(&self, key: &T::Key) -> u32 {
        buckets::position_of(self.hash_of(key))
    }

    /// Runs `f` on the element named `key`, under its bucket's lock.
    #[inline]
    pub fn with<R>(&self, key: &T::Key, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut chain = self.prepared()?.lock(self.hash_of(key));
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
        let mut chain = buckets.lock(self.hash_of(key));
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
        let mut chain = self.prepared()?.lock(self.hash_of(key));
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

    /// Removes those elements that `f` chooses of the bucket at a position, and gives each to `gone` once the lock
    /// is released. Returns how many are left.
    pub fn sweep(&self, position: u32, f: impl FnMut(&mut T) -> bool, gone: impl FnMut(T)) -> u32 {
        self.sweep_at(position, f, gone).0
    }

    /// The same. Returns also the position behind the bucket.
    fn sweep_at(
        &self,
        position: u32,
        f: impl FnMut(&mut T) -> bool,
        mut gone: impl FnMut(T),
    ) -> (u32, u32) {
        let Some(buckets) = self.prepared() else {
            return (0, POSITIONS);
        };
        let mut chain = buckets.lock(buckets::hash_at(position));
        let next = chain.behind(position);
        let (mut removed, left) = chain.unlink_all(f);
        drop(chain);
        while let Some(node) = NonNull::new(removed) {
            // SAFETY: It is on our own list; read before it is freed.
            removed = unsafe { (*node.as_ptr()).next };
            self.count.fetch_sub(1, Relaxed);
            // SAFETY: Unlinked under the lock, so nobody can reach it; it came from this cache.
            gone(unsafe { self.cache.free(node) });
        }
        (left, next)
    }

    /// [`Table::sweep()`] of all buckets, each for itself.
    pub fn sweep_all(&self, f: impl FnMut(&mut T) -> bool, gone: impl FnMut(T)) {
        let (longest, _) = self.sweep_range(0..POSITIONS, f, gone);
        self.swept.store(longest, Relaxed);
    }

    /// The same of the next `count` of [`POSITIONS`], and what else is in their buckets; after the last comes the first again. What [`Table::chains`] tells is new
    /// after each round. Callers take turns: two at once would leave buckets to the next round.
    ///
    /// A round meets each element, and only where buckets are merged meanwhile some of them twice.
    pub fn sweep_part(&self, count: u32, f: impl FnMut(&mut T) -> bool, gone: impl FnMut(T)) {
        let from = self.part.load(Relaxed);
        let end = from.saturating_add(count).min(POSITIONS);
        let (longest, end) = self.sweep_range(from..end, f, gone);
        let longest = longest.max(self.part_longest.load(Relaxed));
        if end < POSITIONS {
            self.part.store(end, Relaxed);
            self.part_longest.store(longest, Relaxed);
        } else {
            self.part.store(0, Relaxed);
            self.part_longest.store(0, Relaxed);
            self.swept.store(longest, Relaxed);
        }
    }

    /// [`Table::sweep()`] of the buckets at these positions. Returns the longest chain that is left, and the position behind the last of them.
    fn sweep_range(
        &self,
        mut range: Range<u32>,
        mut f: impl FnMut(&mut T) -> bool,
        mut gone: impl FnMut(T),
    ) -> (u32, u32) {
        let mut longest = 0;
        loop {
            match self.first_used(range.clone()) {
                Ok((position, _)) => {
                    let (left, next) = self.sweep_at(position, &mut f, &mut gone);
                    longest = longest.max(left);
                    range.start = next;
                }
                Err(end) => return (longest, end),
            }
        }
    }

    /// Shows each element of the bucket at a position to `f`, under the bucket's lock. Returns the position behind it.
    pub fn visit(&self, position: u32, mut f: impl FnMut(&mut T)) -> u32 {
        let Some(buckets) = self.prepared() else {
            return POSITIONS;
        };
        let mut chain = buckets.lock(buckets::hash_at(position));
        chain.find(|value| {
            f(value);
            false
        });
        chain.behind(position)
    }

    /// The first position from `from` on whose bucket has an element, as seen without locks.
    pub fn next_used(&self, from: u32) -> Option<u32> {
        self.first_used(from..POSITIONS)
            .ok()
            .map(|(position, _)| position)
    }

    /// For who goes through a table by numbers, as those do who read a file: the first number from `from` on that stands for elements. It may be asked for
    /// again; the next is at least one more. None is left out on the way, and only where buckets are merged meanwhile some are met twice.
    pub fn seek(&self, from: u64) -> Option<u64> {
        let (position, known) = self
            .first_used(buckets::from_number(from)..POSITIONS)
            .ok()?;
        Some(buckets::number(position, known))
    }

    /// Shows the elements that a number of [`Table::seek`] stands for, each under its bucket's lock.
    pub fn show(&self, number: u64, mut f: impl FnMut(&mut T)) {
        // What is behind it is where the next number looks.
        let end = buckets::from_number(number.saturating_add(1));
        let mut position = buckets::position_in(number);
        while position < end {
            position = self.visit(position, &mut f);
        }
    }

    /// The first position of a range whose bucket has an element, with the bits that it knows; or where the first bucket behind the range
    /// begins.
    fn first_used(&self, range: Range<u32>) -> Result<(u32, u32), u32> {
        let Range {
            start: mut position,
            end,
        } = range;
        let Some(buckets) = self.prepared() else {
            return Err(POSITIONS);
        };
        let guard = rcu::read_lock();
        while position < end {
            let (used, known) = buckets.peek(buckets::hash_at(position), &guard);
            if used {
                return Ok((position, known));
            }
            position = buckets::behind(position, known);
        }
        Err(position)
    }
}

/// The buckets of a table.
///
/// # Invariants
///
/// The table is prepared.
struct Buckets<'a, T: Element> {
    table: &'a Table<T>,
}

impl<'a, T: Element> Buckets<'a, T> {
    /// Locks the bucket that what has this hash is in.
    #[inline]
    fn lock(&self, hash: u32) -> Chain<'a, T> {
        let mut index = hash & self.table.mask.load(Relaxed);
        loop {
            index = match self.lock_at(index) {
                Some(chain) => match chain.other(index, hash) {
                    None => return chain,
                    Some(other) => other,
                },
                None => buckets::parent(index),
            };
        }
    }

    /// Locks a bucket, if its segment is there: that of the first is.
    #[inline]
    fn lock_at(&self, index: u32) -> Option<Chain<'a, T>> {
        let (segment, at) = buckets::place(index, self.table.bounds.least);
        let segment = self.table.segments.get(segment)?;
        // SAFETY: By the table's invariant the segment, unless it is null, has that bucket, with an initialised lock first in it, and stays as long as
        // softirqs are disabled, which are no grace period's end.
        let bucket = unsafe {
            bindings::thop_lock_bh_in(
                segment.as_ptr().cast(),
                at as usize * mem::size_of::<Bucket<T>>(),
            )
        };
        // INVARIANT: Just locked.
        Some(Chain {
            // SAFETY: As above.
            bucket: unsafe { bucket.cast::<Bucket<T>>().as_ref() }?,
        })
    }

    /// Whether the bucket of what has this hash has an element, as seen without locks, and the bits that it knows.
    fn peek(&self, hash: u32, _rcu: &rcu::Guard) -> (bool, u32) {
        let table = self.table;
        let moves = table.moves.load(Acquire);
        let mut index = hash & table.mask.load(Relaxed);
        loop {
            let (segment, at) = buckets::place(index, table.bounds.least);
            let segment = table.segments.get(segment).map(|s| s.load(Acquire));
            let Some(segment) = segment.and_then(NonNull::new) else {
                index = buckets::parent(index);
                continue;
            };
            // SAFETY: By the table's invariant it is within the segment, which stays for this RCU read-side section.
            let bucket = unsafe { &*segment.as_ptr().add(at as usize) };
            let known = bucket.known.load(Acquire);
            if let Some(other) = other(index, hash, known) {
                index = other;
                continue;
            }
            // SAFETY: The pointer is only compared.
            let used = unsafe { !ptr::read_volatile(bucket.first.get()).is_null() };
            // Paired with `move_between()`: what looks empty while elements are on the move is none that can be passed over.
            // SAFETY: No requirements.
            unsafe { bindings::thop_smp_rmb() };
            let moved = moves % 2 == 1 || table.moves.load(Relaxed) != moves;
            return (used || moved, known);
        }
    }

    /// As [`Table::tend()`].
    fn tend(&self, care: &mut Care<T>, now_ms: u64) -> Option<u32> {
        let table = self.table;
        if let Some((segment, grace)) = care.retired {
            // SAFETY: `grace` was given by `thop_rcu_begin()`.
            if unsafe { bindings::thop_rcu_is_over(grace) } {
                care.retired = None;
                // SAFETY: It was the table's, and the grace period is over since nobody can find it any more.
                unsafe { bindings::kvfree(segment.as_ptr().cast()) };
            }
        }
        let mut next = None;
        for step in 0.. {
            let len = table.len();
            if !table.bounds.is_sparse(care.shape, len) {
                care.sparse_ms = 0;
            } else if care.sparse_ms == 0 {
                care.sparse_ms = now_ms.max(1);
            }
            let sparse_ms = match care.sparse_ms {
                0 => 0,
                since => now_ms.saturating_sub(since),
            };
            let goal = table.bounds.goal(care.shape, len, sparse_ms);
            if goal != Goal::Stay && step == STEPS {
                next = Some(NEXT_MS);
                break;
            }
            let done = match goal {
                Goal::Stay => break,
                Goal::Grow => now_ms >= care.retry_ms && self.grow(care, now_ms),
                Goal::Shrink => self.shrink(care),
            };
            if !done {
                break;
            }
        }
        let Shape { bits, split } = care.shape;
        // The guess that is right for more.
        let bits = bits + u32::from(split > 1 << bits >> 1);
        table.mask.store(buckets::mask(bits), Relaxed);
        table.buckets.store(care.shape.buckets(), Relaxed);
        let waits = care.sparse_ms != 0 || care.retired.is_some();
        next.or(waits.then_some(LOOK_MS))
    }

    /// Splits a bucket. `false` without memory.
    fn grow(&self, care: &mut Care<T>, now_ms: u64) -> bool {
        let (Step::Split(from, bit), after) = care.shape.grow() else {
            return false;
        };
        let (segment, _) = buckets::place(from + bit, self.table.bounds.least);
        // No bits: not split off yet.
        if self.table.add_segment(segment, 0).is_err() {
            self.table.no_memory.fetch_add(1, Relaxed);
            care.retry_ms = now_ms + RETRY_MS;
            return false;
        }
        self.move_between(from, bit, |low, high| {
            let moved = low.take(|value| self.table.hash_of(&value.key()) & bit != 0);
            high.put(moved);
            let known = bit | (bit - 1);
            high.bucket.known.store(known, Release);
            low.bucket.known.store(known, Release);
        });
        care.shape = after;
        true
    }

    /// Merges a bucket with that which was split off from it. `false` if this must wait.
    fn shrink(&self, care: &mut Care<T>) -> bool {
        let Some((Step::Merge(to, bit), after)) = care.shape.shrink() else {
            return false;
        };
        let frees = after.split == 0;
        if frees && care.retired.is_some() {
            return false;
        }
        self.move_between(to, bit, |low, high| {
            low.put(high.take(|_| true));
            high.bucket.known.store(0, Release);
            low.bucket.known.store(bit - 1, Release);
        });
        care.shape = after;
        let (segment, _) = buckets::place(bit, self.table.bounds.least);
        if let (true, Some(segment)) = (frees, self.table.segments.get(segment)) {
            // INVARIANT: None of its buckets is split off, and it is freed when the grace period is over that begins after this.
            let old = segment.xchg(ptr::null_mut(), Full);
            // SAFETY: No requirements.
            let grace = unsafe { bindings::thop_rcu_begin() };
            care.retired = NonNull::new(old).map(|old| (old, grace));
        }
        true
    }

    /// Runs `f` on a bucket and the one that is further by `bit`, both locked.
    fn move_between(
        &self,
        low: u32,
        bit: u32,
        f: impl FnOnce(&mut Chain<'a, T>, &mut Chain<'a, T>),
    ) {
        let (segment, at) = buckets::place(low + bit, self.table.bounds.least);
        let segment = self.table.segments.get(segment).map(|s| s.load(Relaxed));
        let (Some(mut low), Some(segment)) = (self.lock_at(low), segment.and_then(NonNull::new))
        else {
            return;
        };
        // SAFETY: By the table's invariant it is within the segment, which only who tends the table retires, and that is the caller.
        let bucket = unsafe { &*segment.as_ptr().add(at as usize) };
        // SAFETY: The lock is initialised. Whoever else has two takes the lower first, too.
        unsafe { bindings::thop_spin_lock_nested(bucket.lock.get()) };
        // INVARIANT: Just locked. It is unlocked below, and not when it is dropped, as softirqs stay disabled.
        let mut high = mem::ManuallyDrop::new(Chain { bucket });
        self.table.moves.fetch_add(1, Full);
        f(&mut low, &mut high);
        self.table.moves.fetch_add(1, Full);
        // SAFETY: Locked above.
        unsafe { bindings::thop_spin_unlock(bucket.lock.get()) };
    }
}

/// Where to look for what has this hash instead of in a bucket that knows these bits; `None`: it is the right one.
#[inline]
fn other(index: u32, hash: u32, known: u32) -> Option<u32> {
    match hash & known {
        same if same == index => None,
        // It is part of its parent.
        _ if known == 0 => Some(buckets::parent(index)),
        // It was split.
        child => Some(child),
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
        let mut chain = buckets.lock(table.hash_of(&key));
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
        let retired = self.care.get_mut().retired;
        let retired = retired.map_or(ptr::null_mut(), |(segment, _)| segment.as_ptr());
        for segment in self.segments.iter().map(|s| s.load(Relaxed)) {
            // SAFETY: By the type invariant the memory, if there is any, is ours, and the lists are empty now.
            unsafe { bindings::kvfree(segment.cast()) };
        }
        // SAFETY: It was the table's, and nobody uses that any more.
        unsafe { bindings::kvfree(retired.cast()) };
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
    /// Where to look for what has this hash instead, if this is not the right bucket; its number is `index`.
    #[inline]
    fn other(&self, index: u32, hash: u32) -> Option<u32> {
        other(index, hash, self.bucket.known.load(Relaxed))
    }

    /// The position behind this bucket, which is at `position`.
    fn behind(&self, position: u32) -> u32 {
        buckets::behind(position, self.bucket.known.load(Relaxed))
    }

    /// Takes all elements that `f` accepts out of the list, as a list of their own.
    fn take(&mut self, f: impl FnMut(&mut T) -> bool) -> *mut Node<T> {
        self.unlink_all(f).0
    }

    /// Adds a list that [`Chain::take()`] gave.
    fn put(&mut self, mut list: *mut Node<T>) {
        while let Some(node) = NonNull::new(list) {
            // SAFETY: The list is ours alone.
            list = unsafe { (*node.as_ptr()).next };
            self.push(node);
        }
    }

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
