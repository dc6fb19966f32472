// SPDX-License-Identifier: GPL-2.0

//! `cap`: the client-aware policy (Casalicchio and Colajanni, WWW 2001).
//!
//! How long a request will take cannot be told from it, but which resource it will load can: the
//! disk, the CPU, the network. Routes say which requests are of one service class. Within each
//! class the servers take turns, so that each server gets its share of every class, and not, by
//! chance, all the heavy ones.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::{turns::Weighted, Choice, Class, Member, Policy, Servers, Setup};
use crate::{
    heap::{Heap, List, OutOfMemory},
    request::Request,
};

pub(super) const NAME: &str = "cap";
pub(super) const OPTIONS: &[Choice] = &[];

/// The number of service classes.
const CLASSES: usize = 256;

/// The client-aware policy.
pub struct ClientAware<H: Heap> {
    turns: Weighted<H>,
    /// The turns taken, for each class.
    cursors: H::List<AtomicU32>,
}

impl<H: Heap> Policy for ClientAware<H> {
    fn initialise(
        _setup: &Setup<'_>,
        members: &[Member<'_>],
        before: Option<&Self>,
    ) -> Result<Self, OutOfMemory> {
        let mut cursors: H::List<AtomicU32> = Default::default();
        for class in 0..CLASSES {
            let cursor = before.and_then(|before| before.cursors.get(class));
            cursors.try_push(AtomicU32::new(cursor.map_or(0, |turn| turn.load(Relaxed))))?;
        }
        Ok(Self {
            turns: Weighted::new(members, before.map(|before| &before.turns))?,
            cursors,
        })
    }

    #[inline]
    fn classify(&self, request: &Request<'_>) -> Class {
        Class(u64::from(request.class))
    }

    #[inline]
    fn select(&self, class: Class, servers: &impl Servers) -> Option<usize> {
        // The grammar knows no other classes; whatever there is shares the last one.
        let class = class.0.min(CLASSES as u64 - 1);
        self.turns.next(self.cursors.get(class as usize)?, servers)
    }
}
