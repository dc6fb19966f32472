// SPDX-License-Identifier: GPL-2.0

//! How many handed-over connections live, in all and at each listener.
//!
//! A listener is what a CREATE calls so: an address of this machine and a port. There are few of
//! them, so each gets a place at its first connection and keeps it as long as the module lives. Then
//! counting is one atomic addition, and needs no lock. Should there ever be more listeners than
//! places, the rest is only counted in all.

use core::net::IpAddr;

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use thop_core::addr::Endpoint;

/// How many listeners are told apart.
const PLACES: usize = 64;

/// The count of one listener.
struct Place {
    /// Its name; 0 when the place is free. It changes once.
    name: Atomic<u64>,
    connections: Atomic<i32>,
}

/// The counts.
pub(crate) struct Live {
    all: Atomic<i32>,
    places: [Place; PLACES],
}

impl Live {
    /// All zero.
    pub(crate) fn new() -> Self {
        Self {
            all: Atomic::new(0),
            places: core::array::from_fn(|_| Place {
                name: Atomic::new(0),
                connections: Atomic::new(0),
            }),
        }
    }

    /// A connection to `listener` begins to live.
    pub(crate) fn begin(&self, listener: &Endpoint) {
        self.all.add(1, Relaxed);
        if let Some(place) = self.place(listener, true) {
            place.connections.add(1, Relaxed);
        }
    }

    /// A connection to `listener` that [`Live::begin()`] has counted is over.
    pub(crate) fn end(&self, listener: &Endpoint) {
        self.all.add(-1, Relaxed);
        // Without a place now there was none then: they are never given up.
        if let Some(place) = self.place(listener, true) {
            place.connections.add(-1, Relaxed);
        }
    }

    /// How many live.
    pub(crate) fn all(&self) -> u32 {
        not_negative(self.all.load(Relaxed))
    }

    /// How many live at `listener`; or in all, if that listener has found no place.
    pub(crate) fn at(&self, listener: &Endpoint) -> u32 {
        match self.place(listener, false) {
            Some(place) => not_negative(place.connections.load(Relaxed)),
            None if self.is_crowded() => self.all(),
            None => 0,
        }
    }

    /// The place of a listener. Which is looked for first depends on its name; the next ones follow.
    fn place(&self, listener: &Endpoint, take: bool) -> Option<&Place> {
        let name = name_of(listener)?;
        let first = (name ^ (name >> 16)) as usize;
        for step in 0..PLACES {
            let place = self.places.get(first.wrapping_add(step) % PLACES)?;
            let mut there = place.name.load(Relaxed);
            if there == 0 {
                if !take {
                    return None;
                }
                // Another CPU may be faster, with this listener or with another.
                there = match place.name.cmpxchg(0, name, Relaxed) {
                    Ok(_) => name,
                    Err(there) => there,
                };
            }
            if there == name {
                return Some(place);
            }
        }
        None
    }

    fn is_crowded(&self) -> bool {
        self.places
            .iter()
            .all(|place| place.name.load(Relaxed) != 0)
    }
}

/// Address and port in one word, which is not 0, as no port is.
fn name_of(listener: &Endpoint) -> Option<u64> {
    match listener.ip {
        IpAddr::V4(ip) => Some(u64::from(u32::from(ip)) << 16 | u64::from(listener.port)),
        // Nothing is handed over to these.
        IpAddr::V6(_) => None,
    }
}

/// Additions and subtractions of several CPUs may be seen in another order.
fn not_negative(count: i32) -> u32 {
    u32::try_from(count).unwrap_or(0)
}
