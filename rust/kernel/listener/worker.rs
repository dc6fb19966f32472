// SPDX-License-Identifier: GPL-2.0

//! What a listener's worker does: what softirq may not, and what time brings.
//!
//! All in process context, and never twice at once. Links, deadlines and `struct socket`s of children are the worker's alone.

use super::*;

/// How long an answered connection may be silent before it is closed, milliseconds. What its client still sends is thrown away: closed
/// at once, it would be reset, and the client might never read the answer.
const LINGER_MS: u64 = 5_000;
/// How long it may go on, milliseconds.
const LINGER_MOST_MS: u64 = 30_000;
/// When the worker looks again after a connection that somebody else keeps, milliseconds.
const KEPT_MS: u64 = 2_000;
/// How often the worker looks whether a grace period is over, milliseconds.
const GRACE_MS: u64 = 10;
/// How soon the worker tries again what failed for want of memory, milliseconds.
const RETRY_MS: u64 = 20;

impl<D: Dispatcher> Core<D> {
    /// Process context, on a workqueue; never twice at once.
    ///
    /// # Safety
    ///
    /// `work` is that of a core which `Listener::new()` has made.
    pub(super) unsafe extern "C" fn work_callback(work: *mut bindings::work_struct) {
        // SAFETY: `work` begins the `Work` that is the `work` member of a core, which outlives it.
        let core = unsafe { &*kernel::container_of!(work.cast::<Work>(), Self, work) };
        core.run();
    }

    fn run(&self) {
        self.work.begins();
        let mut again = u64::MAX;
        let mut grace = None;
        // First, because who is in the queue is in the accept queue already.
        let mut last = mem::replace(&mut self.queue.lock().first, ptr::null_mut());
        self.accept();
        // Who came last is first there.
        let mut queue = ptr::null_mut();
        while !last.is_null() {
            // SAFETY: The list is ours since it was taken, and so are its children's links.
            let link = unsafe { (*last).queue_next.get() };
            // SAFETY: As above.
            let before = unsafe { mem::replace(&mut *link, queue) };
            queue = mem::replace(&mut last, before);
        }
        while !queue.is_null() {
            // SAFETY: The queue owns a reference to each of its children.
            let child = unsafe { Arc::from_raw(queue) };
            // SAFETY: The list is ours since it was taken; read before the mark is cleared.
            queue = unsafe { *child.queue_next.get() };
            child.queued.store(false, Release);
            if !self.attend(&child, &mut grace) {
                again = again.min(RETRY_MS);
                Child::enqueue(child);
            }
        }
        again = again.min(self.expire()).min(self.vanish());
        if again != u64::MAX {
            self.kick_in(again as u32);
        }
    }

    /// Accepts what has been established.
    pub(super) fn accept(&self) {
        loop {
            let mut socket = ptr::null_mut();
            // SAFETY: The listening socket is open; process context.
            if unsafe { bindings::thop_socket_accept(self.socket, &mut socket) } != 0 {
                return;
            }
            // SAFETY: Just accepted.
            let sk = unsafe { bindings::thop_socket_sk(socket) };
            // SAFETY: Process context, valid socket.
            unsafe { bindings::thop_lock_sock(sk) };
            // SAFETY: It is a child of this listener, locked.
            let child = unsafe { Self::child(sk) };
            if let Some(child) = &child {
                // SAFETY: The worker's own fields; the child lives until it is closed.
                unsafe {
                    *child.socket.get() = socket;
                    // Its data may have come when there was no memory to note it.
                    Self::process(sk);
                    let (list, ms) = if child.phase.load(Acquire) == phase::WAITING {
                        (self.waiting.get(), u64::from(self.dispatcher.timeout_ms()))
                    } else {
                        (self.kept.get(), KEPT_MS)
                    };
                    *child.deadline.get() = now_ms() + ms;
                    Deadlines::append(list, Arc::as_ptr(child).cast_mut());
                    bindings::release_sock(sk);
                }
                self.make_room();
            } else {
                // No memory: the client gets a reset, as from any server that cannot go on.
                // SAFETY: Locked; nothing of ours stays behind.
                unsafe {
                    self.restore(sk);
                    bindings::release_sock(sk);
                    Self::release(socket);
                }
            }
        }
    }

    /// Gives a socket its original callbacks back.
    ///
    /// # Safety
    ///
    /// `sk` is a child of this listener, and its lock is held.
    unsafe fn restore(&self, sk: *mut bindings::sock) {
        // SAFETY: By the function's requirements.
        unsafe {
            bindings::thop_sk_set_callbacks(
                sk,
                self.callbacks.data_ready,
                self.callbacks.state_change,
            );
            bindings::thop_sk_set_user_data(sk, ptr::null_mut());
        }
    }

    /// Does what a child's phase asks for. `false` if that must be tried again. `grace` is the grace
    /// period that this run of the worker has begun.
    fn attend(&self, child: &Arc<Child<D>>, grace: &mut Option<u64>) -> bool {
        // SAFETY: The worker's own field.
        let socket = unsafe { *child.socket.get() };
        match child.phase.load(Acquire) {
            phase::RELEASED | phase::DONE | phase::ANSWERING | phase::CALLED
                if socket.is_null() =>
            {
                // Not accepted yet, or closed already.
                // SAFETY: As above.
                unsafe { *child.deadline.get() == u64::MAX }
            }
            phase::RELEASED => {
                // SAFETY: No requirements. It begins after the child was released, and so after the
                // connection was entered at the forwarder.
                let grace = *grace.get_or_insert_with(|| unsafe { bindings::thop_rcu_begin() });
                let child = Arc::as_ptr(child).cast_mut();
                // SAFETY: The worker's own fields and lists; the child is open and alive.
                unsafe {
                    *(*child).grace.get() = grace;
                    Deadlines::unlink(child);
                    Deadlines::append(self.released.get(), child);
                }
                true
            }
            phase::DONE => {
                self.close(child);
                true
            }
            phase::ANSWERING => {
                self.send_answer(child, socket);
                true
            }
            phase::LINGERING => {
                // Unless it was closed meanwhile.
                if !socket.is_null() {
                    self.hear_out(child, socket);
                }
                true
            }
            phase::CALLED => {
                // SAFETY: Process context. The socket is valid as long as it has not been closed,
                // which only the worker does; the lock is taken for `process()`.
                unsafe {
                    bindings::thop_lock_sock(child.sk);
                    let called = child
                        .phase
                        .cmpxchg(phase::CALLED, phase::WAITING, Full)
                        .is_ok();
                    if called {
                        Self::process(child.sk);
                    }
                    bindings::release_sock(child.sk);
                }
                true
            }
            _ => true,
        }
    }

    fn send_answer(&self, child: &Arc<Child<D>>, socket: *mut bindings::socket) {
        // SAFETY: Written before the phase became ANSWERING.
        let octets = unsafe { *child.answer.get() };
        // SAFETY: Process context; the socket is open, and its lock is taken where it must be.
        unsafe {
            bindings::thop_lock_sock(child.sk);
            let state = child.state.xchg(0, Relaxed);
            if state != 0 {
                bindings::thop_sk_set_state(child.sk, state);
            }
            bindings::release_sock(child.sk);
            let sent = bindings::thop_socket_send(socket, octets.as_ptr().cast(), octets.len());
            let shut = bindings::kernel_sock_shutdown(socket, bindings::sock_shutdown_cmd_SHUT_WR);
            // Only now does the state tell who has closed: before, what the client goes on sending
            // would pass for its end. What has happened meanwhile is looked at here.
            bindings::thop_lock_sock(child.sk);
            child.phase.store(phase::LINGERING, Release);
            Self::process(child.sk);
            bindings::release_sock(child.sk);
            // What the client has sent is read, or the close would turn into a reset that may
            // overtake the answer.
            let open = self.discard(socket);
            if sent < 0 || shut != 0 || !open {
                return self.close(child);
            }
            *child.answered.get() = now_ms();
            self.linger(child);
        }
        let most = self.dispatcher.most_waiting();
        // SAFETY: The worker's own list.
        while let Some(child) = unsafe { Self::first_beyond(self.lingering.get(), most) } {
            // Its answer is on its way; only how it ends is not watched.
            self.close(&child);
        }
    }

    /// A connection that was answered may go on for another while.
    fn linger(&self, child: &Arc<Child<D>>) {
        let child = Arc::as_ptr(child).cast_mut();
        // SAFETY: The worker's own fields and lists; the child is open and alive.
        unsafe {
            *(*child).deadline.get() = now_ms() + LINGER_MS;
            Deadlines::unlink(child);
            Deadlines::append(self.lingering.get(), child);
        }
    }

    /// The client goes on sending.
    fn hear_out(&self, child: &Arc<Child<D>>, socket: *mut bindings::socket) {
        // SAFETY: The worker's own field.
        let since = unsafe { *child.answered.get() };
        if self.discard(socket) && now_ms().saturating_sub(since) < LINGER_MOST_MS {
            self.linger(child);
        } else {
            self.close(child);
        }
    }

    /// Throws away what has been received. `false` when the peer has closed.
    fn discard(&self, socket: *mut bindings::socket) -> bool {
        loop {
            // SAFETY: Process context; the socket is open.
            match unsafe { bindings::thop_socket_discard(socket) } {
                0 => return false,
                n if n < 0 => return true,
                _ => {}
            }
        }
    }

    /// Closes a connection: without a word when it was released, else as TCP does.
    pub(super) fn close(&self, child: &Arc<Child<D>>) {
        // SAFETY: Worker, process context. The socket is open, and after this nobody has it.
        unsafe {
            let socket = mem::replace(&mut *child.socket.get(), ptr::null_mut());
            if socket.is_null() {
                return;
            }
            *child.deadline.get() = u64::MAX;
            Deadlines::unlink(Arc::as_ptr(child).cast_mut());
            self.discard_if(child.phase.load(Acquire) == phase::DONE, socket);
            bindings::thop_lock_sock(child.sk);
            // It may wait for its turn when the listener goes.
            let _ = child.phase.cmpxchg(phase::QUEUED, phase::DONE, Full);
            self.restore(child.sk);
            let state = child.state.xchg(0, Relaxed);
            if state != 0 {
                bindings::thop_sk_set_state(child.sk, state);
                bindings::thop_sk_disconnect_silently(child.sk);
            }
            bindings::release_sock(child.sk);
            Self::release(socket);
            // The reference that `sk_user_data` owned.
            drop(Arc::from_raw(Arc::as_ptr(child)));
        }
    }

    /// Closes a child's socket as TCP does, which may take longer than this listener lives.
    ///
    /// `tcp_close()` stops the timers of a socket of the kernel's own, as its namespace might be gone when they expire. What the
    /// peer has not acknowledged then would never be repeated, and the socket never end. So it holds its namespace from here on, as
    /// a process's does.
    ///
    /// # Safety
    ///
    /// Process context; the socket is open and not locked, and this is its last use.
    unsafe fn release(socket: *mut bindings::socket) {
        // SAFETY: By the function's requirements.
        unsafe {
            let sk = bindings::thop_socket_sk(socket);
            let open = bindings::thop_sk_state(sk) as u32 != bindings::TCP_CLOSE;
            if open && !bindings::thop_sk_hold_net(sk) {
                // The namespace is going, and nobody can wait.
                bindings::tcp_abort(sk, bindings::ECONNABORTED as i32);
            }
            bindings::sock_release(socket);
        }
    }

    fn discard_if(&self, condition: bool, socket: *mut bindings::socket) {
        if condition {
            self.discard(socket);
        }
    }

    /// Ends the connections whose time is over. Returns how many milliseconds later to look again.
    fn expire(&self) -> u64 {
        let now = now_ms();
        let mut next = u64::MAX;
        for list in [self.waiting.get(), self.kept.get(), self.lingering.get()] {
            loop {
                // SAFETY: The worker's own list; a child on it is open and alive.
                let (child, deadline) = unsafe {
                    let first = (*list).first;
                    if first.is_null() {
                        break;
                    }
                    let child = mem::ManuallyDrop::new(Arc::from_raw(first));
                    ((*child).clone(), *child.deadline.get())
                };
                if deadline > now {
                    next = next.min(deadline - now);
                    break;
                }
                self.expire_one(&child, now, D::timed_out);
            }
        }
        next
    }

    /// Lets those vanish whose grace period is over. Returns how many milliseconds later to look again.
    fn vanish(&self) -> u64 {
        let list = self.released.get();
        loop {
            // SAFETY: The worker's own list; a child on it is open and alive.
            let child = unsafe {
                let first = (*list).first;
                if first.is_null() {
                    return u64::MAX;
                }
                let child = mem::ManuallyDrop::new(Arc::from_raw(first));
                if !bindings::thop_rcu_is_over(*child.grace.get()) {
                    return GRACE_MS;
                }
                (*child).clone()
            };
            self.close(&child);
        }
    }

    /// Ends connections that wait for their requests until there are no more than there may be.
    fn make_room(&self) {
        let most = self.dispatcher.most_waiting();
        // Each turn takes one off the list.
        // SAFETY: The worker's own list; a child on it is open and alive.
        while let Some(child) = unsafe { Self::first_beyond(self.waiting.get(), most) } {
            self.expire_one(&child, now_ms(), D::crowded_out);
        }
    }

    /// The first child of a list that has more than `most`.
    ///
    /// # Safety
    ///
    /// Called by the worker; `list` is one of its own.
    unsafe fn first_beyond(list: *mut Deadlines<D>, most: u32) -> Option<Arc<Child<D>>> {
        // SAFETY: By the function's requirements; a child on a list is open and alive, and so is the
        // reference that its socket owns.
        unsafe {
            let first = (*list).first;
            if (*list).len <= most || first.is_null() {
                return None;
            }
            Some((*mem::ManuallyDrop::new(Arc::from_raw(first))).clone())
        }
    }

    fn expire_one(&self, child: &Arc<Child<D>>, now: u64, answer: fn(&D) -> &'static [u8]) {
        // SAFETY: Worker, process context; the socket is open, as it is on a list.
        unsafe {
            bindings::thop_lock_sock(child.sk);
            let late = child.phase.load(Acquire) == phase::WAITING;
            if late {
                *child.answer.get() = answer(&self.dispatcher);
                child.phase.store(phase::ANSWERING, Release);
            }
            bindings::release_sock(child.sk);
            match child.phase.load(Acquire) {
                phase::ANSWERING => {
                    let socket = *child.socket.get();
                    self.send_answer(child, socket);
                }
                phase::LINGERING | phase::DONE => self.close(child),
                _ => {
                    // Parked or queued: who did it knows how long. Else it is in the worker's queue.
                    let this = Arc::as_ptr(child).cast_mut();
                    Deadlines::unlink(this);
                    *child.deadline.get() = now + KEPT_MS;
                    Deadlines::append(self.kept.get(), this);
                }
            }
        }
    }
}
