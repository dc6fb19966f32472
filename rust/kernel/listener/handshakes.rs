// SPDX-License-Identifier: GPL-2.0

//! When handshakes began of which nothing else is kept: see [`thop_core::rtt`].

use thop_core::rtt::{
    Handshake,
    WORDS, //
};

use super::*;

/// The words of a network namespace's handshakes, 256 KiB. There are none before [`Handshakes::prepare()`]; then
/// nothing is known.
///
/// There is no lock. Who reads a word that somebody else writes at the same time reads the one or the other.
///
/// # Invariants
///
/// `words` is null, or points to [`WORDS`] initialised words, as long as this exists.
pub struct Handshakes {
    words: Atomic<*mut Atomic<u64>>,
}

impl Handshakes {
    /// None.
    pub fn unprepared() -> Self {
        // INVARIANT: It is null.
        Self {
            words: Atomic::new(ptr::null_mut()),
        }
    }

    /// Takes the memory, if it is not there yet. [`ENOMEM`] leaves it as it is. Process context.
    pub fn prepare(&self) -> Result {
        if !self.words.load(Relaxed).is_null() {
            return Ok(());
        }
        // SAFETY: Plain allocation; no requirements.
        let words = unsafe { bindings::thop_kvzalloc(WORDS * mem::size_of::<Atomic<u64>>()) };
        if words.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: A word of zeros is one.
        let first = self.words.cmpxchg(ptr::null_mut(), words.cast(), Full);
        if first.is_err() {
            // SAFETY: Somebody else was faster; nobody has seen this one.
            unsafe { bindings::kvfree(words) };
        }
        Ok(())
    }

    fn words(&self) -> &[Atomic<u64>] {
        match NonNull::new(self.words.load(Acquire)) {
            // SAFETY: By the type invariant.
            Some(words) => unsafe { slice::from_raw_parts(words.as_ptr(), WORDS) },
            None => &[],
        }
    }

    /// A SYN is being answered with a cookie. Any context.
    pub(super) fn answered(&self, handshake: Handshake) {
        if let Some(word) = self.words().get(handshake.index) {
            word.store(handshake.answered(clock_us()), Relaxed);
        }
    }

    /// An acknowledgement has come from a client (address and port) to a service that brings nothing but the end of their
    /// handshake; `first` is its sequence number. Any context.
    pub fn ended(&self, client: &Endpoint, service: &Endpoint, first: u32) {
        let Some(handshake) = handshake_of(client, service, first) else {
            return;
        };
        if let Some(word) = self.words().get(handshake.index) {
            let known = word.load(Relaxed);
            if let Some(ended) = handshake.ended(known, clock_us()) {
                // Who has written it meanwhile knows more.
                let _ = word.cmpxchg(known, ended, Relaxed);
            }
        }
    }

    /// The round-trip time of the handshake with which a connection began, microseconds, when its first segment with octets has
    /// come, with an echo of `age_ms`. 0: not known. Any context.
    pub(super) fn round_trip_us(&self, snapshot: &Snapshot, age_ms: u32) -> u32 {
        let of = handshake_of(&snapshot.client, &snapshot.service, snapshot.first);
        of.map_or(0, |handshake| {
            let word = self.words().get(handshake.index);
            // None fits a word of zeros.
            let word = word.map_or(0, |word| word.load(Relaxed));
            handshake.round_trip_us(word, clock_us(), age_ms)
        })
    }
}

impl Drop for Handshakes {
    /// Process context.
    fn drop(&mut self) {
        // SAFETY: By the type invariant the memory, if there is any, is ours; nobody else has a reference.
        unsafe { bindings::kvfree(self.words.load(Relaxed).cast()) };
    }
}

fn handshake_of(client: &Endpoint, service: &Endpoint, first: u32) -> Option<Handshake> {
    let client = (ipv4(client.ip)?, client.port);
    Some(Handshake::of(
        client,
        (ipv4(service.ip)?, service.port),
        first,
    ))
}

/// TCP's clock, of which its time stamps are milliseconds (`tcp_clock_us()`): microseconds.
pub(super) fn clock_us() -> u64 {
    // SAFETY: Reads a clock; no requirements.
    unsafe { bindings::thop_tcp_clock_us() }
}
